"""Pixels: images that are published as numbers, in CSV or IDX files, become arrays and then image files."""

import csv
import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from kit.errors import DataError
from kit.home import explained, make_folder

Pixels = NDArray[np.uint8]

CHUNK_BYTES = 1 << 20
_VALUES = {str(value): value for value in range(256)}  # a look-up is stricter than int(), and quicker
MAX_IDX_GIB = 2  # decoded; EMNIST, the largest set in this format that we know, has half a GiB


def write_images(folder: Path, images: Pixels, names: Sequence[str]) -> None:
    """Write each image as a PNG file, without loss.

    Args:
        folder: the names are relative to it; folders that they name are made.
        images: (N, H, W) uint8 grey, or (N, H, W, 3) uint8 RGB.
        names: N of them, with forward slashes, ending in .png, each once.

    Raises:
        DataError: a name is doubled, does not lie below `folder`, or does not end in .png.
    """
    import cv2

    assert images.dtype == np.uint8 and (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3))
    assert len(images) == len(names)
    if len(set(names)) < len(names):
        raise DataError(
            f"{len(names) - len(set(names))} of {len(names)} image names stand there twice. Name each once."
        )
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or path.suffix != ".png":
            raise DataError(f"{name!r} cannot be an image's name: it must end in .png and lie below the data folder.")
    for parent in {(folder / name).parent for name in names}:
        make_folder(parent)
    for name, image in zip(names, images, strict=True):
        file = folder / name
        with explained(file):
            file.write_bytes(cv2.imencode(".png", image if image.ndim == 2 else image[..., ::-1])[1].tobytes())


def read_pixel_csv(path: Path, *, label_column: str | None, shape: tuple[int, int]) -> tuple[Pixels, list[str]]:
    """Read a CSV with a header and a row per image, one column per pixel.

    Args:
        path: read line by line, so that memory holds the pixels and not their text.
        label_column: the one column that is not a pixel; None where all are.
        shape: (H, W); the pixel columns follow each other row by row.

    Returns:
        The images (N, H, W) uint8, and N labels as they stand there (none without `label_column`).

    Raises:
        DataError: no such column, a wrong number of columns in any row, or a value that is no whole number of 0 to 255.
    """
    pixels, labels = bytearray(), []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            where = _label_position(path, header, label_column, num_pixels=math.prod(shape))
            for row in rows:
                if len(row) != len(header):
                    raise DataError(
                        f"{path}, line {rows.line_num}: {len(row)} values under a header of {len(header)} columns. The "
                        "file is damaged or cut off; fetch it again."
                    )
                if where is not None:
                    labels.append(row.pop(where))
                try:
                    pixels += bytes(map(_VALUES.__getitem__, row))
                except KeyError as error:
                    raise DataError(
                        f"{path}, line {rows.line_num}: a pixel is {error.args[0][:40]!r}, expected a whole number of "
                        "0 to 255. Fetch the file again."
                    ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}.") from error
    if not pixels:
        raise DataError(f"{path} has a header but no rows: a row per image was expected.")
    return np.frombuffer(pixels, dtype=np.uint8).reshape(-1, *shape), labels


def _label_position(path: Path, header: Sequence[str], label_column: str | None, *, num_pixels: int) -> int | None:
    """Return the label's place in a row, after a look at the header."""
    if label_column is not None and label_column not in header:
        raise DataError(f"{path} lacks the column {label_column!r}; it begins with {', '.join(header[:5])}.")
    found = len(header) - (label_column is not None)
    if found != num_pixels:
        raise DataError(
            f"{path} has {found} columns of pixels, expected {num_pixels}. Is it another competition's file?"
        )
    return None if label_column is None else header.index(label_column)


def read_idx(path: Path) -> Pixels:
    """Read an IDX file of bytes, gzipped or plain: labels (N,) or images (N, H, W), uint8.

    The format is that of MNIST's publisher: two zero bytes, 8 for unsigned bytes, the number of dimensions (1 or 3),
    each dimension as 4 bytes with the highest first, and the values.

    Raises:
        DataError: not such a file, cut off, longer than its header says, or larger than `MAX_IDX_GIB`.
    """

    def refuse(what: str) -> DataError:
        return DataError(f"{path} is not an IDX file of labels or images: {what}. Fetch it again.")

    try:
        with path.open("rb") as plain:
            zipped = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            magic = file.read(4)
            if magic not in (b"\0\0\x08\x01", b"\0\0\x08\x03"):
                raise refuse(f"it begins with {magic.hex(' ') or 'nothing'}, expected 00 00 08 01 or 00 00 08 03")
            sizes = file.read(4 * magic[3])
            if len(sizes) < 4 * magic[3]:
                raise refuse("it ends within its header")
            dimensions = [int.from_bytes(sizes[k : k + 4], "big") for k in range(0, len(sizes), 4)]
            shape = " x ".join(f"{size:,}" for size in dimensions)
            if not 0 < (wanted := math.prod(dimensions)) <= MAX_IDX_GIB << 30:
                raise refuse(f"its header promises {shape} values, between 1 byte and {MAX_IDX_GIB} GiB are read")
            values = bytearray()
            # By pieces: memory follows what is there, not what the header promises.
            while len(values) <= wanted and (piece := file.read(min(CHUNK_BYTES, wanted + 1 - len(values)))):
                values += piece
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}. Fetch it again.") from error
    if len(values) != wanted:
        found = "more" if len(values) > wanted else f"{len(values):,}"
        raise refuse(f"its header promises {shape} values, and {found} follow")
    return np.frombuffer(values, dtype=np.uint8).reshape(dimensions)
