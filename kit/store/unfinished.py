"""Unfinished stores: a folder that is filled in order, with a journal, so that no work is done twice.

`KEY.unfinished` belongs to the process that holds its lock, which the system takes away when the process ends. Each
finished chunk is one line of `journal` with checksums of line and chunk: whatever ended the work, the next run drops
what is behind the last whole chunk and goes on there. Where the list of images has changed meanwhile (a bad file was
replaced or left out), the store has another key, and takes what it can from the unfinished one before.
"""

import fcntl
import hashlib
import json
import math
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kit.home import make_folder, write_json, writing
from kit.progress import Say
from kit.store.decode import Image
from kit.store.growing import PAGE, GrowingFile
from kit.store.store import StoreSettings, checksum_of_rows, page_sums, write_index

CHUNK_BYTES, CHUNK_ROWS = 16 * 2**20, 1024  # a chunk ends with the group that reaches either: what a crash can cost
# What a thread makes at once: of pixels about so many bytes (1, 2 and 8 MiB are slower), and no more rows, as decoding
# what they are made from may take long, and few images are to keep many cores busy.
GROUP_BYTES, GROUP_ROWS = 4 * 2**20, 64

Keys = NDArray[np.uint64]  # (N, 2): a 128-bit hash of each row's content key


def hashed(content_keys: Sequence[str]) -> Keys:
    """Return (N, 2) uint64: hashes of `content_keys`, 16 bytes each, whatever their length."""
    keys = np.empty((len(content_keys), 2), dtype=np.uint64)
    for row, key in enumerate(content_keys):
        digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
        keys[row] = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
    return keys


@dataclass(frozen=True, kw_only=True)
class Row:
    """What there is to know about the bytes of one row, or why it has none."""

    shape: tuple[int, int] = (0, 0)  # height, width of the image
    num_bytes: int = 0  # until the next row begins
    sums: bytes = b""  # see `kit.store.store.page_sums`
    reason: str = ""

    @classmethod
    def of(cls, stored: NDArray[np.uint8], shape: tuple[int, int]) -> "Row":
        """Describe the (K,) bytes of an image of (height, width)."""
        return cls(shape=shape, num_bytes=len(stored), sums=page_sums(stored))


def group_rows(settings: StoreSettings) -> int:
    """Return how many rows are made and appended at once.

    A group of a square pack ends on a page where so many rows can (sides that are multiples of 8); one of a ragged pack
    is filled up.
    """
    most = min(GROUP_ROWS, CHUNK_ROWS)
    square = settings.store_size**2 * 3
    if settings.layout == "ragged":
        return min(max(1, GROUP_BYTES * 3 // (4 * square)), most)  # images are 4 : 3 in the middle
    rows = min(max(1, GROUP_BYTES // square), most)
    on_pages = PAGE // math.gcd(PAGE, square)  # rows
    if on_pages > most or on_pages * square > 2 * GROUP_BYTES:
        return rows
    return max(1, rows // on_pages) * on_pages


@dataclass(kw_only=True)
class Unfinished:
    """A store that is being filled. Rows are appended in order; a row without an image has a reason, and no bytes."""

    folder: Path
    settings: StoreSettings
    lengths: NDArray[np.int64]  # (N,) bytes from each row to the next
    shapes: NDArray[np.int64]  # (N, 2) height, width
    images: GrowingFile
    journal: BinaryIO
    reasons: dict[int, str] = field(default_factory=dict)  # row -> why there is no image
    chunks: list[tuple[int, int, int]] = field(default_factory=list)  # rows and bytes until its end, its checksum
    filled: int = 0  # rows, also of the chunk that is open
    open_bytes: int = 0
    open_crc: int = 0

    @property
    def num_rows(self) -> int:
        """The number of rows when it is finished."""
        return len(self.lengths)

    @property
    def rows_done(self) -> int:
        """Rows of finished chunks."""
        return self.chunks[-1][0] if self.chunks else 0

    @property
    def bytes_done(self) -> int:
        """Bytes of finished chunks."""
        return self.chunks[-1][1] if self.chunks else 0

    def append(self, rows: Sequence[Row], stored: NDArray[np.uint8]) -> None:
        """Add the next rows, whose bytes are `stored`, one behind the other. A chunk ends behind one of them."""
        self.images.append(stored)
        for row in rows:
            if row.reason:
                self.reasons[self.filled] = row.reason
            else:
                self.lengths[self.filled], self.shapes[self.filled] = row.num_bytes, row.shape
                self.open_crc = zlib.crc32(row.sums, self.open_crc)
                self.open_bytes += row.num_bytes
            self.filled += 1
        full = self.open_bytes >= CHUNK_BYTES or self.filled - self.rows_done >= CHUNK_ROWS
        if full or self.filled == self.num_rows:
            self._close_chunk()

    def finish(self, folder: Path, image_ids: Sequence[str]) -> None:
        """Write the index and take the place of `folder`."""
        assert self.rows_done == self.num_rows and not self.reasons
        self.images.cut(len(self.settings.header(self.num_rows)) + self.bytes_done)
        self.images.sync()
        chunks = np.array(self.chunks, dtype=np.int64).reshape(-1, 3)
        write_index(
            self.folder,
            self.settings,
            image_ids=image_ids,
            lengths=self.lengths,
            shapes=self.shapes,
            chunks=chunks,
        )
        for name in ("journal", "about.json", "keys.npy"):
            (self.folder / name).unlink()
        if folder.exists():
            shutil.rmtree(folder)
        self.folder.rename(folder)
        (folder / "lock").unlink()

    def _close_chunk(self) -> None:
        rows = slice(self.rows_done, self.filled)
        chunk = (self.filled, self.bytes_done + self.open_bytes, self.open_crc)
        entry = {
            "chunk": chunk,
            "lengths": self.lengths[rows].tolist(),
            "shapes": self.shapes[rows].tolist(),
            "reasons": {row: self.reasons[row] for row in range(rows.start, rows.stop) if row in self.reasons},
        }
        self.journal.write(_journal_line(entry))
        self.journal.flush()
        self.chunks.append(chunk)
        self.open_bytes = self.open_crc = 0

    def resume(self) -> None:
        """Read the journal, check each finished chunk against its checksum, and drop what follows the last whole one.

        Every byte is read: that takes a tenth of decoding them again, and a crash of the machine spoils any of them.
        """
        header, whole = self.settings.header(self.num_rows), 0
        with (self.folder / self.settings.file_name).open("rb") as images:
            if images.read(len(header)) == header:
                for line in self.journal:
                    if not self._take(line, images):
                        break
                    whole += len(line)
        self.filled = self.rows_done
        self.journal.seek(whole)
        self.journal.truncate()
        if self.chunks:
            self.images.cut(len(header) + self.bytes_done)
        else:
            self.images.cut(0)
            self.images.append(np.frombuffer(header, dtype=np.uint8))

    def _take(self, line: bytes, images: BinaryIO) -> bool:
        """Take over the chunk of a journal line, if the line and the chunk, which `images` gives next, are whole."""
        if (entry := _journal_entry(line)) is None:
            return False
        rows, end, crc = entry["chunk"]
        if rows > self.num_rows or checksum_of_rows(images, entry["lengths"]) != crc:
            return False
        self.lengths[self.rows_done : rows] = entry["lengths"]
        self.shapes[self.rows_done : rows] = entry["shapes"]
        self.reasons |= {int(row): reason for row, reason in entry["reasons"].items()}
        self.chunks.append((rows, end, crc))
        return True


@contextmanager
def owned(folder: Path, *, say: Say) -> Iterator[None]:
    """Make `folder` if need be and hold its lock; a second process waits. The lock goes where the folder goes."""
    while True:
        make_folder(folder)
        try:
            lock = (folder / "lock").open("ab")
        except FileNotFoundError:  # finished or removed by another process in this moment
            continue
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"another process is decoding into {folder}: waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_the_file(lock, folder / "lock"):
                yield
                return


@contextmanager
def unfinished(folder: Path, settings: StoreSettings, *, keys: Keys, source: Path) -> Iterator[Unfinished]:
    """Open the store that is being filled in `folder`, which the caller owns, behind its last whole chunk.

    Args:
        folder: its place while it is filled.
        settings: what is stored, and how.
        keys: (N, 2) what each row is made from, kept for a later store that has some of the same rows.
        source: the folder of the image files, for the same purpose.
    """
    if not (folder / "about.json").is_file():
        with writing(folder / "keys.npy", "wb") as file:
            np.save(file, keys)
        write_json(folder / "about.json", _about(settings, source))
    with _opened(folder, settings, num_rows=len(keys)) as store:
        yield store


def _about(settings: StoreSettings, source: Path) -> dict[str, str]:
    return {"settings": repr(settings), "source": str(source)}


@contextmanager
def _opened(folder: Path, settings: StoreSettings, *, num_rows: int) -> Iterator[Unfinished]:
    (folder / "journal").touch()
    with GrowingFile(folder / settings.file_name) as images, (folder / "journal").open("r+b") as journal:
        store = Unfinished(
            folder=folder,
            settings=settings,
            lengths=np.zeros(num_rows, dtype=np.int64),
            shapes=np.zeros((num_rows, 2), dtype=np.int64),
            images=images,
            journal=journal,
        )
        store.resume()
        yield store


def _is_the_file(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


class Donor:
    """An unfinished store of the same settings and source, whose finished rows another store may take over."""

    def __init__(self, store: Unfinished, keys: Keys) -> None:
        """Sort the rows that hold an image by their keys."""
        rows = np.flatnonzero(store.shapes[: store.rows_done, 0])
        self._rows = rows[np.argsort(keys[rows, 0], kind="stable")]
        self._keys = keys[self._rows]
        self._starts = np.cumsum(store.lengths) - store.lengths + len(store.settings.header(store.num_rows))
        self._store = store

    def has(self, keys: Keys) -> NDArray[np.bool_]:
        """Tell for each of `keys` whether its row can be had."""
        return np.isin(keys[:, 0], self._keys[:, 0])

    def is_in(self, keys: Keys) -> bool:
        """Tell whether all that it has is among `keys`."""
        return bool(np.isin(self._keys[:, 0], keys[:, 0]).all())

    def get(self, key: NDArray[np.uint64]) -> tuple[Image, tuple[int, int]] | None:
        """Return the stored bytes and (height, width) of the row made from `key`, or None."""
        at = int(np.searchsorted(self._keys[:, 0], key[0]))
        while at < len(self._keys) and self._keys[at, 0] == key[0]:
            if self._keys[at, 1] == key[1]:
                row = self._rows[at]
                height, width = self._store.shapes[row].tolist()
                raw = self._store.settings.storage == "raw"
                num_bytes = height * width * 3 if raw else int(self._store.lengths[row])
                data = self._store.images.read(num_bytes, int(self._starts[row]))
                return np.frombuffer(data, dtype=np.uint8), (height, width)
            at += 1
        return None


@contextmanager
def donor(folder: Path, receiver: Unfinished, *, keys: Keys, source: Path) -> Iterator[Donor | None]:
    """Give the unfinished store in `folder` as a donor; None if it is of another kind, or another process is at it.

    It is removed in the end if the receiver has all that it had.

    Args:
        folder: of the store that may give.
        receiver: the store that takes.
        keys: (N, 2) of the receiver's rows.
        source: the folder of the image files.
    """
    with ExitStack() as stack:
        try:
            lock = stack.enter_context((folder / "lock").open("ab"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
            own_keys = np.load(folder / "keys.npy", allow_pickle=False)
            same = about == _about(receiver.settings, source) and _is_the_file(lock, folder / "lock")
            store = stack.enter_context(_opened(folder, receiver.settings, num_rows=len(own_keys))) if same else None
        except (OSError, ValueError, EOFError):
            store = None
        if store is None:
            yield None
            return
        one = Donor(store, own_keys)
        yield one
        if one.is_in(keys[receiver.shapes[:, 0] > 0]):
            shutil.rmtree(folder)


def _journal_line(entry: Mapping[str, object]) -> bytes:
    text = json.dumps(entry, separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _journal_entry(line: bytes) -> dict[str, Any] | None:
    """Return what a line of the journal says, or None if it is torn."""
    crc, _, text = line.partition(b" ")
    if not text.endswith(b"\n") or crc != b"%08x" % zlib.crc32(text[:-1]):
        return None
    entry: dict[str, Any] = json.loads(text)
    return entry
