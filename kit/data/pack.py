"""The pack: every image decoded once, its shorter side reduced to `store_size`, in one memory-mapped `uint8` file.

A pack is a folder: `pixels.u8` holds the images behind each other, (H, W, 3) RGB each; `index.npz` holds their
offsets, shapes and ids. It is named by its contents and settings, so that a changed image means another pack.
"""

import os
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.data.decode import Image, read_image, reduced
from kit.data.samples import Samples
from kit.errors import DataError
from kit.home import explained, family, filling, fingerprint

PACK_VERSION = 1
CHUNK = 64  # images in flight: bounds the memory whatever their number

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Decoded images by row number."""

    pixels: NDArray[np.uint8]  # flat, memory-mapped
    offsets: NDArray[np.int64]  # (N + 1,)
    shapes: NDArray[np.int64]  # (N, 2): height, width
    row_of: dict[str, int]  # image_id -> row
    folder: Path

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.shapes)

    def image(self, row: int) -> Image:
        """Return image `row` as a read-only view (H, W, 3) uint8 RGB."""
        height, width = self.shapes[row]
        return self.pixels[self.offsets[row] : self.offsets[row + 1]].reshape(height, width, 3)


def pack_images(samples: Samples, *, store_size: int, say: Say = print) -> Pack:
    """Return the pack of all used images of `samples`, decoding them if that was not done before.

    Raises:
        DataError: one or more images cannot be decoded; names the first five and the count.
    """
    table = samples.table[samples.table["split"] != "unused"].reset_index(drop=True)
    key = fingerprint(str(PACK_VERSION), str(store_size), "\n".join(table["image_id"] + " " + table["sha256"]))
    folder = family("packs") / key[:20]
    if (folder / "index.npz").is_file():
        pack = _open(folder)
        if pack is not None:
            return pack
        say(f"the pack {folder} is damaged: decoding again")
    say(f"decoding {len(table):,} images to {store_size} px")
    with filling(folder) as part:
        _fill(part, samples.folder, table, store_size)
    opened = _open(folder)
    assert opened is not None
    return opened


def _fill(part: Path, data: Path, table: pd.DataFrame, store_size: int) -> None:
    import cv2

    cv2.setNumThreads(0)  # the threads below are enough; OpenCV's own would fight with them
    unreadable: list[str] = []

    def decode(path: str) -> Image | None:
        try:
            return reduced(read_image(data / path), store_size)
        except DataError:
            unreadable.append(path)
            return None

    offsets, shapes = [0], []
    with (part / "pixels.u8").open("wb") as file, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(table), CHUNK):
            for image in pool.map(decode, table["path"].iloc[start : start + CHUNK]):
                if image is None:
                    continue
                with explained(part):
                    file.write(np.ascontiguousarray(image).data)
                offsets.append(offsets[-1] + image.size)
                shapes.append(image.shape[:2])
    if unreadable:
        raise DataError(
            f"{len(unreadable)} of {len(table)} images in {data} cannot be decoded, first {sorted(unreadable)[:5]}. "
            "Replace these files, or leave them out by narrowing labels.images in competition.toml."
        )
    np.savez(
        part / "index.npz",
        offsets=np.array(offsets, dtype=np.int64),
        shapes=np.array(shapes, dtype=np.int64).reshape(-1, 2),
        image_ids=table["image_id"].to_numpy(dtype="U"),
    )


def _open(folder: Path) -> Pack | None:
    """Return the pack in `folder`, or None if it is not whole."""
    try:
        # Opened here, because np.load leaves a broken zip file open.
        with (folder / "index.npz").open("rb") as file, np.load(file, allow_pickle=False) as index:
            offsets, shapes, image_ids = index["offsets"], index["shapes"], index["image_ids"]
        if (folder / "pixels.u8").stat().st_size != offsets[-1] or len(shapes) != len(image_ids):
            return None
        pixels = np.memmap(folder / "pixels.u8", dtype=np.uint8, mode="r")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    row_of = {str(image_id): row for row, image_id in enumerate(image_ids)}
    return Pack(pixels=pixels, offsets=offsets, shapes=shapes, row_of=row_of, folder=folder)
