"""URL lists: files of addresses become rows (url, label), in order, none left out and none trusted."""

import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.errors import ConfigError, DataError
from kit.scrape.saved_pages import addresses_in_har, addresses_in_page

LONGEST_CLASS = 100  # characters; a file name may have 255 bytes, and a letter up to four
LARGEST_LIST_BYTES = 1 << 29
SUFFIXES = (".txt", ".csv", ".tsv", ".html", ".htm", ".har")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{k}" for name in ("com", "lpt") for k in range(10))}


@dataclass(frozen=True, kw_only=True)
class ListRow:
    """One row of a list: an address as it stands there, and the class it is to be an example of."""

    url: str
    label: str


def read_url_lists(paths: Sequence[Path], *, label: str | None = None) -> list[ListRow]:
    """Read lists of addresses; a folder stands for all lists directly in it, by name.

    `NAME.txt` holds one address a line (`#` begins a comment) of the class NAME; a CSV (`,`, `;` or tab) has the
    columns url and label; `NAME.html` is a saved results page and `NAME.har` a browser's network log, whose
    image addresses are of the class NAME.

    Args:
        paths: files and folders.
        label: the class of text lists, pages and logs, in place of the file's name.

    Raises:
        ConfigError: no such file, a kind that is not read, or no address at all.
        DataError: a list that cannot be read, or a class name that is not safe as a folder's name.
    """
    rows = [row for path in _files(paths) for row in _read(path, label)]
    if not rows:
        raise ConfigError(f"There is no address in {', '.join(map(str, paths))}. One http address a line is expected.")
    _refuse_twins(rows)
    return rows


def checked_class(name: str, *, where: str) -> str:
    """Return `name` (NFC) if it is safe as a folder's name on any system.

    Raises:
        DataError: says what is wrong with it, and `where` it stands.
    """
    name = unicodedata.normalize("NFC", name.strip())
    fault = ""
    if not name:
        fault = "it is empty"
    elif len(name) > LONGEST_CLASS or len(name.encode(errors="replace")) > 200:
        fault = f"it is longer than {LONGEST_CLASS} characters or 200 bytes"
    elif bad := [character for character in name if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn")]:
        fault = f"it has the unprintable character {bad[0]!a}"
    elif bad := [character for character in name if character in '/\\:*?"<>|']:
        fault = f"it has the character {bad[0]!r}"
    elif name.startswith(".") or name.endswith("."):
        fault = "it begins or ends with a dot"
    elif name.partition(".")[0].rstrip().lower() in _RESERVED:
        fault = "Windows keeps that name for a device"
    if fault:
        raise DataError(
            f"{where}: {name[:LONGEST_CLASS]!r} cannot name a class, for {fault}, and a class is a folder. "
            "Letters, digits, spaces, - and _ are safe. Rename the file or the label, or give --label."
        )
    return name


def _files(paths: Sequence[Path]) -> list[Path]:
    found = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise ConfigError(f"{path} holds no list. Lists end in {', '.join(SUFFIXES)}.")
            found += inside
        elif not path.is_file():
            raise ConfigError(f"--urls {path}: there is no such file or folder.")
        elif path.suffix.lower() not in SUFFIXES:
            raise ConfigError(f"--urls {path}: this kind of file is not read. Lists end in {', '.join(SUFFIXES)}.")
        else:
            found.append(path)
    return found


def _read(path: Path, label: str | None) -> list[ListRow]:
    if path.stat().st_size > LARGEST_LIST_BYTES:
        raise DataError(f"{path} is larger than {LARGEST_LIST_BYTES >> 20} MiB. Split it, or save fewer results.")
    kind = path.suffix.lower()
    try:
        text = path.read_text(encoding="utf-8-sig", errors="strict" if kind in (".txt", ".csv", ".tsv") else "replace")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}. Save it as UTF-8.") from error
    if kind in (".csv", ".tsv"):
        return _rows_of_csv(path, text)
    name = checked_class(label if label is not None else path.stem, where="--label" if label is not None else str(path))
    if kind == ".txt":
        lines = (re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip() for line in text.splitlines())
        return [ListRow(url=line, label=name) for line in lines if line]
    urls = addresses_in_har(text, where=str(path)) if kind == ".har" else addresses_in_page(text)
    return [ListRow(url=url, label=name) for url in urls]


def _rows_of_csv(path: Path, text: str) -> list[ListRow]:
    header = text.partition("\n")[0].strip()
    for delimiter in ",;\t":
        names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
        if {"url", "label"} <= set(names):
            break
    else:
        raise DataError(
            f"{path}: the first line must name the columns url and label, parted by a comma, a semicolon or a tab. "
            f"It is {header[:100]!r}."
        )
    url, label = names.index("url"), names.index("label")
    rows = []
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        next(reader)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) <= max(url, label):
                raise DataError(f"{path}, line {reader.line_num}: has {len(cells)} cells, expected {len(names)}.")
            name = checked_class(cells[label], where=f"{path}, line {reader.line_num}")
            rows.append(ListRow(url=cells[url].strip(), label=name))
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as CSV: {error}.") from error
    return rows


def _refuse_twins(rows: Sequence[ListRow]) -> None:
    """Refuse classes that only differ by case: on some disks they would be one folder."""
    seen: dict[str, str] = {}
    for label in dict.fromkeys(row.label for row in rows):
        if (twin := seen.setdefault(label.casefold(), label)) != label:
            raise DataError(f"The classes {twin!r} and {label!r} differ only by case. Rename one of the lists.")
