"""Reading what is to be linted: bytes from anywhere become a table of text cells, or findings on why they do not.

The file is hostile: its size, rows and cells are bounded before they are kept, and nothing in it is evaluated.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.kaggle.lint_codes import Finding, finding

LARGEST = 100 * 2**20  # bytes
MOST_ROWS = 5_000_000
MOST_CHARACTERS = 10_000  # of a cell: ids, classes and numbers are far shorter
SEPARATORS = (";", "\t", "|")
_ARCHIVES = ((b"PK\x03\x04", "zip"), (b"\x1f\x8b", "gzip"), (b"7z\xbc\xaf", "7z"), (b"BZh", "bzip2"))
_MARKS = ((b"\xff\xfe", "UTF-16 or UTF-32"), (b"\xfe\xff", "UTF-16"), (b"\0\0\xfe\xff", "UTF-32"))


@dataclass(frozen=True, kw_only=True)
class Cells:
    """A file's cells, as text."""

    header: tuple[str, ...]  # (K,)
    rows: list[list[str]]  # (N, K)
    lines: list[int]  # (N,) number of the line on which each row ends

    def column(self, place: int) -> list[str]:
        """Return one column's cells (N,)."""
        return [row[place] for row in self.rows]


def read_cells(path: Path) -> tuple[Cells | None, list[Finding]]:
    """Return the file's cells, or None where it has none that could be looked at, and what is wrong with its form."""
    if not path.is_file():
        return None, [finding("L100", f"There is no file {path}.")]
    if (size := path.stat().st_size) > LARGEST:
        return None, [finding("L102", f"The file has {size:,} bytes; more than {LARGEST:,} are not looked at.")]
    content = path.read_bytes()
    text, found = _text_of(content)
    if text is None:
        return None, found
    cells, further = _parsed(text)
    return cells, [*found, *further]


def _text_of(content: bytes) -> tuple[str | None, list[Finding]]:
    if not content.strip():
        return None, [finding("L101", "The file is empty.")]
    for start, name in _ARCHIVES:
        if content.startswith(start):
            return None, [finding("L112", f"The file is a {name} archive, and a CSV was expected.")]
    for start, name in _MARKS:
        if content.startswith(start):
            return None, [finding("L104", f"The file is {name}; UTF-8 was expected.")]
    if (at := content.find(b"\0")) >= 0:
        # Text of Latin letters in UTF-16 without its mark has a NUL in every second place.
        if content.count(b"\0") > len(content) // 3:
            return None, [finding("L104", "Every second byte is NUL, as in UTF-16; UTF-8 was expected.")]
        return None, [finding("L103", f"The file has a NUL, the first at byte {at:,}: it is not text.")]
    found = []
    if content.startswith(b"\xef\xbb\xbf"):
        found.append(
            finding("L106", "The file begins with a byte-order mark, which makes the first column's name another one.")
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        message = f"Byte {error.start:,} is {content[error.start]:#04x}, which is not UTF-8."
        return None, [*found, finding("L105", message, where=f"line {line}")]
    if "\r" in text.replace("\r\n", ""):
        found.append(finding("L115", 'Some lines end with a lone "\\r", as on computers of the last century.'))
    return text, found


def _parsed(text: str) -> tuple[Cells | None, list[Finding]]:
    # Strict: a quote in a wrong place is a finding and not a guess. The module's limit of 128 KiB a cell stays.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    blank: list[int] = []
    uneven: list[tuple[int, int]] = []
    try:
        for row in reader:
            line = reader.line_num
            if not row:
                blank.append(line)
            elif not header:
                header = row
            elif len(row) != len(header):
                uneven.append((line, len(row)))
            elif len(rows) >= MOST_ROWS:
                return None, [finding("L102", f"The file has more than {MOST_ROWS:,} rows.")]
            else:
                rows.append(row)
                lines.append(line)
            if any(len(cell) > MOST_CHARACTERS for cell in row):
                return None, [_huge(line)]
    except csv.Error as error:
        if "field larger" in str(error):
            return None, [_huge(reader.line_num)]
        return None, [finding("L108", f"The quotes do not fit: {error}.", where=f"line {reader.line_num}")]
    found = [] if not blank else [finding("L114", f"{len(blank):,} lines are empty.", where=f"line {blank[0]}")]
    if separator := _separator(header, rows, uneven):
        return None, [finding("L107", f"The cells are parted by {separator!r}, and not by commas.", where="line 1")]
    if uneven:
        line, num = uneven[0]
        message = (
            f"{len(uneven):,} rows have another number of cells than the header's {len(header)}, the first one {num}."
        )
        return None, [*found, finding("L109", message, where=f"line {line}")]
    if not rows:
        return None, [*found, finding("L113", "The file has a header and no rows.")]
    return Cells(header=tuple(header), rows=rows, lines=lines), found


def _huge(line: int) -> Finding:
    return finding("L110", f"A cell has more than {MOST_CHARACTERS:,} characters.", where=f"line {line}")


def _separator(header: Sequence[str], rows: Sequence[Sequence[str]], uneven: Sequence[object]) -> str:
    """Return what parts the cells where it is no comma, or an empty string."""
    if len(header) > 1:
        return ""
    for separator in SEPARATORS:
        # With decimal commas the rows have another number of cells than the header, which has none.
        if header and separator in header[0] and (uneven or all(separator in row[0] for row in rows[:10])):
            return separator
    return ""
