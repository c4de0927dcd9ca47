"""Manifest: what became of every address of a collection. A journal while it is fetched, a CSV when it is done.

The journal is only ever appended to, a JSON line per address that is settled, after the image's file is in its place.
So a kill at any moment costs what was under way, and a torn last line is dropped. `manifest.csv` is written whole, and
then the journal is emptied.
"""

import csv
import fcntl
import io
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from kit.errors import DataError
from kit.home import explained, make_folder, write_text
from kit.scrape.url_lists import ListRow

MANIFEST, JOURNAL = "manifest.csv", "manifest.journal"
STATUSES = ("ok", "failed", "refused", "duplicate")
_NUMBERS = ("attempts", "num_bytes", "width", "height")


@dataclass(frozen=True, kw_only=True)
class ManifestRow:
    """One row of the manifest; empty and 0 stand for what is not known."""

    url: str  # as it stands in the list
    label: str
    status: str  # one of STATUSES
    reason: str = ""  # why not ok; what varies from address to address stands in brackets at the end
    attempts: int = 0
    sha256: str = ""  # of the file's bytes
    num_bytes: int = 0
    width: int = 0  # pixels
    height: int = 0
    format: str = ""  # by content: "jpeg", "png", "gif", "bmp", "tiff", "webp"
    final_url: str = ""  # behind all redirects
    fetched_at: str = ""  # UTC, ISO 8601
    file: str = ""  # below the collected folder; of a duplicate: the file that is kept
    licence: str = ""  # what the answer's headers or the image itself say; often nothing
    opt_out: str = ""  # the directive by which the publisher has opted out

    @property
    def kind_of_reason(self) -> str:
        """The reason without what varies."""
        return self.reason.partition(" (")[0]


class Journal:
    """The open journal of a collection; `add` may be called from many threads."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def add(self, key: str, row: ManifestRow) -> None:
        """Append what became of the address `key`."""
        line = json.dumps({"key": key, **asdict(row)}, ensure_ascii=True).encode() + b"\n"
        with self._lock:
            os.write(self._descriptor, line)

    def clear(self) -> None:
        """Empty the journal, once the manifest has what it holds. The file stays: it carries the lock."""
        with self._lock:
            os.ftruncate(self._descriptor, 0)


@contextmanager
def open_journal(folder: Path) -> Iterator[tuple[Journal, dict[str, ManifestRow]]]:
    """Open the journal in `folder` and give it with what an interrupted run has left in it, by key.

    Raises:
        DataError: another process is collecting into this folder.
    """
    path = make_folder(folder) / JOURNAL
    with explained(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"Another `kit scrape` is collecting into {folder}. Wait until it is done.") from None
        rows, whole = _read_journal(path.read_bytes())
        os.ftruncate(descriptor, whole)  # else the next line would continue a torn one
        yield Journal(descriptor), rows
    finally:
        os.close(descriptor)


def read_manifest(folder: Path) -> list[ManifestRow]:
    """Return the rows of `manifest.csv`; none where there is no manifest yet.

    Raises:
        DataError: the file has other columns or values than the kit writes.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return []
    names = [field.name for field in fields(ManifestRow)]
    try:
        table = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
        if not table or table[0] != names:
            raise ValueError("the columns are others")
        return [_row(dict(zip(names, cells, strict=True))) for cells in table[1:]]
    except (ValueError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read: {error}. The kit writes it, with the columns {', '.join(names)}; rows may be "
            "removed, but its form must stay. Move it away to collect anew."
        ) from error


def write_manifest(folder: Path, rows: Sequence[ManifestRow]) -> Path:
    """Write `manifest.csv` whole and return its path."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(ManifestRow)])
    # An unpaired surrogate, as a script's escapes may leave one, is in no file.
    writer.writerows([_storable(value) for value in asdict(row).values()] for row in rows)
    write_text(folder / MANIFEST, text.getvalue())
    return folder / MANIFEST


def merged(rows: Sequence[ListRow], earlier: Sequence[ListRow]) -> list[ListRow]:
    """Return `earlier`, then those of `rows` that are not among them, counted: a row given twice stands twice."""
    left: dict[ListRow, int] = {}
    for row in earlier:
        left[row] = left.get(row, 0) + 1
    new = []
    for row in rows:
        if left.get(row, 0):
            left[row] -= 1
        else:
            new.append(row)
    return [*earlier, *new]


def settle(
    rows: Sequence[ListRow],
    keys: Sequence[str],
    outcomes: Mapping[str, ManifestRow],
    *,
    standing: Sequence[ManifestRow],
) -> list[ManifestRow]:
    """Return the manifest: a row for each list row, and each image kept once.

    The row that keeps an image is the one that does so already in the last manifest, else the first in the lists.

    Args:
        rows: the list rows.
        keys: the normalised address of each.
        outcomes: what became of each address.
        standing: the last manifest.
    """
    keeper = {row.sha256: row for row in standing if row.status == "ok"}
    kept: set[str] = set()
    settled: list[ManifestRow] = []
    for row, key in zip(rows, keys, strict=True):
        found = replace(outcomes[key], url=row.url, label=row.label)
        if found.status in ("ok", "duplicate"):
            first = keeper.setdefault(found.sha256, found)
            if found.sha256 not in kept and (first.url, first.label) == (row.url, row.label):
                kept.add(found.sha256)
                found = replace(found, status="ok", reason="")
            else:
                kind = "same image" if first.label == row.label else f"conflict: same image in class {first.label}"
                found = replace(found, status="duplicate", reason=f"{kind} ({first.url})", file=first.file)
        settled.append(found)
    return settled


def conflicts_in(rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    """Return the rows whose image is kept in another class."""
    return [row for row in rows if row.reason.startswith("conflict: ")]


def _read_journal(data: bytes) -> tuple[dict[str, ManifestRow], int]:
    """Return the rows of the whole lines, the last of each key, and how many bytes those lines take."""
    rows, whole = {}, data.rfind(b"\n") + 1
    for line in data[:whole].splitlines():
        try:
            value = json.loads(line)
            key = str(value.pop("key"))
            rows[key] = _row(value)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # a line that a crash of the machine has spoiled: its address is fetched again
    return rows, whole


def _row(values: Mapping[str, Any]) -> ManifestRow:
    read: dict[str, Any] = {name: int(text) if name in _NUMBERS else str(text) for name, text in values.items()}
    row = ManifestRow(**read)
    if row.status not in STATUSES:
        raise ValueError(f"status {row.status!r}, expected one of {', '.join(STATUSES)}")
    return row


def _storable(value: object) -> str:
    return str(value).encode("utf-8", errors="replace").decode("utf-8")
