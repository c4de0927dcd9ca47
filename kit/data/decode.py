"""Decode: the bytes of an image file become (H, W, 3) `uint8` RGB, in one way whatever their colour mode."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.errors import DataError

Image = NDArray[np.uint8]  # (H, W, 3), RGB


def read_image(path: Path) -> Image:
    """Decode one image file to (H, W, 3) uint8 RGB, turned upright by its EXIF orientation.

    Raises:
        DataError: the bytes are not an image that OpenCV reads.
    """
    return decode_image(path.read_bytes(), name=str(path))


def decode_image(data: bytes, *, name: str) -> Image:
    """Decode the bytes of an image file; see `read_image`. `name` stands in the error."""
    import cv2

    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    except cv2.error:  # e.g. a header that promises more pixels than OpenCV accepts
        image = None
    if image is None:
        raise DataError(f"{name} cannot be read as an image ({len(data):,} bytes).")
    decoded: Image = image
    return decoded


def reduced(image: Image, shorter_side: int) -> Image:
    """Return `image` with its shorter side at most `shorter_side`, aspect kept; images are never enlarged."""
    import cv2

    height, width = image.shape[:2]
    scale = shorter_side / min(height, width)
    if scale >= 1:
        return image
    size = (max(round(width * scale), shorter_side), max(round(height * scale), shorter_side))
    smaller: Image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return smaller
