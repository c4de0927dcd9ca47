"""The store: images behind each other in one memory-mapped file, with an index, checked when opened.

| file | holds |
| --- | --- |
| `pixels.u8`, `pixels.npy` or `images.jpeg` | ragged or square pixels, or JPEG files, row after row |
| `index.npz` | offsets, shapes, ids, and the checksum of each chunk of 16 MiB |
| `pack.json` | the settings, the counts, and the checksum of `index.npz`; written last |
"""

import json
import os
import random
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from kit.home import explained, sha256_of_file, write_json
from kit.store.decode import Image
from kit.store.growing import PAGE

PACK_VERSION = 3
JPEG_QUALITY = 95
CHUNKS_CHECKED = 4  # when a pack is opened, of 16 MiB each
READ_AHEAD = "kit-read-ahead"  # the name of that thread
READ_AHEAD_BYTES = 8 * 2**20  # at once
SHARE_AHEAD = 0.5  # of the machine's memory: a larger pack would push itself out of the page cache

Layout = Literal["ragged", "square"]
Storage = Literal["raw", "jpeg"]


def _file_name(layout: Layout, storage: Storage) -> str:
    if storage == "jpeg":
        return "images.jpeg"
    return "pixels.npy" if layout == "square" else "pixels.u8"


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """What decides the bytes of a store, beside the images."""

    store_size: int  # pixels: the shorter side at most (ragged), or both sides (square)
    layout: Layout
    storage: Storage
    version: int = PACK_VERSION

    @property
    def file_name(self) -> str:
        """The name of the file that holds the images."""
        return _file_name(self.layout, self.storage)

    def header(self, num_images: int) -> bytes:
        """Return what that file begins with: where all images have one shape, a .npy file's header, a page long."""
        if self.file_name != "pixels.npy":
            return b""
        shape = (num_images, self.store_size, self.store_size, 3)
        about = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode()
        start = np.lib.format.magic(1, 0)
        return start + struct.pack("<H", PAGE - len(start) - 2) + about.ljust(PAGE - len(start) - 3) + b"\n"


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Decoded images by row number."""

    pixels: NDArray[np.uint8]  # flat, memory-mapped: pixels, or JPEG files where `storage` is jpeg
    offsets: NDArray[np.int64]  # (N + 1,) into `pixels`: where each row begins; zeros may lie before the next one
    shapes: NDArray[np.int64]  # (N, 2): height, width
    row_of: Mapping[str, int]  # image_id -> row
    folder: Path
    layout: Layout = "ragged"
    storage: Storage = "raw"

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.shapes)

    def image(self, row: int) -> Image:
        """Return image `row` as (H, W, 3) uint8 RGB, read-only: a view, or decoded where the storage is jpeg."""
        height, width = self.shapes[row]
        start = self.offsets[row]
        if self.storage == "raw":
            return self.pixels[start : start + height * width * 3].reshape(height, width, 3)
        import cv2

        image = cv2.imdecode(self.pixels[start : self.offsets[row + 1]], cv2.IMREAD_COLOR_RGB)
        assert image is not None, f"row {row} of {self.folder} is damaged"
        image.flags.writeable = False
        decoded: Image = image
        return decoded

    def read_ahead(self, *, memory: int) -> None:
        """Let a thread bring the images into the page cache, in order: they are written past it.

        The first epoch, which asks for them in any order, would wait for the disk otherwise.

        Args:
            memory: bytes of this machine; nothing is done for a pack that takes more than SHARE_AHEAD of it.
        """
        if self.pixels.size <= SHARE_AHEAD * memory:
            path = self.folder / _file_name(self.layout, self.storage)
            thread = threading.Thread(target=_bring_to_memory, args=(path,), daemon=True, name=READ_AHEAD)
            with suppress(RuntimeError):  # no further thread may be had
                thread.start()


def _bring_to_memory(path: Path) -> None:
    # Where this fails, images are read when they are asked for.
    with suppress(OSError), path.open("rb") as file, Path(os.devnull).open("wb") as nowhere:
        while os.sendfile(nowhere.fileno(), file.fileno(), None, READ_AHEAD_BYTES):
            pass


def checksum(stored: NDArray[np.uint8], before: int = 0) -> int:
    """Return a 32-bit checksum of the bytes of rows, one row after the other.

    It is the CRC-32 of the sums of each 4 KiB (as 64-bit words) and of the bytes left over: a CRC-32 of every byte
    would take a sixth of the time that decoding takes, this takes a fiftieth.

    Args:
        stored: (K,) one row's bytes.
        before: the checksum of the rows before it.
    """
    return zlib.crc32(page_sums(stored), before)


def page_sums(stored: NDArray[np.uint8]) -> bytes:
    """Return what the checksum of a row is the CRC-32 of; threads can make it while others decode."""
    whole = len(stored) // PAGE * PAGE
    sums: NDArray[np.uint64] = stored[:whole].view(np.uint64).reshape(-1, PAGE // 8).sum(axis=1)
    return sums.tobytes() + stored[whole:].tobytes()


def checksum_of_rows(file: BinaryIO, lengths: Iterable[int]) -> int:
    """Return the checksum of the rows that `file` gives next; of fewer, if it ends before."""
    crc = 0
    for length in lengths:
        crc = checksum(np.frombuffer(file.read(length), dtype=np.uint8), crc)
    return crc


def write_index(
    folder: Path,
    settings: StoreSettings,
    *,
    image_ids: Sequence[str],
    lengths: NDArray[np.int64],
    shapes: NDArray[np.int64],
    chunks: NDArray[np.int64],
) -> None:
    """Write `index.npz` and `pack.json` beside the images' file.

    Args:
        folder: where that file is.
        settings: of the store.
        image_ids: N ids, in the order of the rows.
        lengths: (N,) bytes from each row to the next.
        shapes: (N, 2) height and width of each image.
        chunks: (K, 3) for each chunk: rows and bytes until its end, counted from the first row, and its checksum.
    """
    blob = bytearray()
    id_ends = np.zeros(len(lengths) + 1, dtype=np.int64)
    for row, image_id in enumerate(image_ids):
        blob += image_id.encode("utf-8", "surrogateescape")
        id_ends[row + 1] = len(blob)
    with explained(folder), (folder / "index.npz").open("wb") as file:
        np.savez(
            file,
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            shapes=shapes,
            ids=np.frombuffer(bytes(blob), dtype=np.uint8),
            id_ends=id_ends,
            chunks=chunks,
        )
        file.flush()
        os.fsync(file.fileno())
    about = {
        **asdict(settings),
        "num_images": len(lengths),
        "num_bytes": int(lengths.sum()),
        "index_sha256": sha256_of_file(folder / "index.npz"),
    }
    write_json(folder / "pack.json", about)


def open_pack(folder: Path, settings: StoreSettings, *, chunks_checked: int | None = CHUNKS_CHECKED) -> Pack | None:
    """Return the pack in `folder`, or None if it is not whole.

    Args:
        folder: its place.
        settings: it must have these.
        chunks_checked: sizes and the index are checked, and of the images so many random chunks; None: all.
    """
    try:
        about = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
        if {name: about[name] for name in asdict(settings)} != asdict(settings):
            return None
        if sha256_of_file(folder / "index.npz") != about["index_sha256"]:
            return None
        # Opened here, because np.load leaves a broken zip file open.
        with (folder / "index.npz").open("rb") as file, np.load(file, allow_pickle=False) as index:
            offsets, shapes, chunks = index["offsets"], index["shapes"], index["chunks"]
            row_of = _row_of(index["ids"].tobytes(), index["id_ends"])
        images, header = folder / settings.file_name, settings.header(len(shapes))
        if images.stat().st_size != len(header) + offsets[-1] or len(row_of) != len(shapes):
            return None
        if not _chunks_are_whole(images, offsets, chunks, header=header, most=chunks_checked):
            return None
        empty = offsets[-1] == 0  # which cannot be mapped
        pixels = np.zeros(0, np.uint8) if empty else np.memmap(images, dtype=np.uint8, mode="r", offset=len(header))
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return Pack(
        pixels=pixels,
        offsets=offsets,
        shapes=shapes,
        row_of=row_of,
        folder=folder,
        layout=settings.layout,
        storage=settings.storage,
    )


def _row_of(ids: bytes, ends: NDArray[np.int64]) -> dict[str, int]:
    starts = ends.tolist()
    return {ids[starts[k] : starts[k + 1]].decode("utf-8", "surrogateescape"): k for k in range(len(starts) - 1)}


def _chunks_are_whole(
    images: Path, offsets: NDArray[np.int64], chunks: NDArray[np.int64], *, header: bytes, most: int | None
) -> bool:
    chosen: Sequence[int] = range(len(chunks))
    if most is not None and most < len(chunks):
        chosen = random.Random().sample(chosen, most)  # of its own: who seeded Python's generator draws what was meant
    with images.open("rb") as file:
        if file.read(len(header)) != header:
            return False
        for k in chosen:
            first, last = int(chunks[k - 1, 0]) if k else 0, int(chunks[k, 0])
            file.seek(len(header) + int(offsets[first]))
            if checksum_of_rows(file, np.diff(offsets[first : last + 1]).tolist()) != chunks[k, 2]:
                return False
    return True
