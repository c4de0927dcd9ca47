"""Single images from anywhere, as a learner's network sees those of its pack."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from kit.config import InputConfig
from kit.errors import DataError
from kit.store.decode import Image, central_square, decode_image, read_image, reduced
from kit.store.pack import Pack

if TYPE_CHECKING:
    from PIL import Image as Pillow

# A file, its bytes, a Pillow image, or an array (H, W, 3) or (H, W), uint8.
Picture: TypeAlias = "str | os.PathLike[str] | bytes | Pillow.Image | np.ndarray[Any, Any]"

ONE = pd.DataFrame({"image_id": ["it"]})


def pack_of_one(picture: Picture, sizes: InputConfig) -> Pack:
    """Return one image as a pack in memory, reduced as those of the packs on disk.

    Args:
        picture: see `Picture`; any colour mode.
        sizes: of the recipe.

    Raises:
        DataError: no image, or one that cannot be read.
    """
    image = _pixels(picture, shorter_side=sizes.store_size)
    if sizes.store_layout == "square":
        image = central_square(image, sizes.store_size)
    image = np.ascontiguousarray(reduced(image, sizes.store_size))
    return Pack(
        pixels=image.reshape(-1),
        offsets=np.array([0, image.size], dtype=np.int64),
        shapes=np.array([image.shape[:2]], dtype=np.int64),
        row_of={"it": 0},
        folder=Path(),
    )


def _pixels(picture: Any, *, shorter_side: int) -> Image:
    if isinstance(picture, str | os.PathLike):
        return read_image(Path(picture).expanduser(), shorter_side=shorter_side)
    if isinstance(picture, bytes | bytearray):
        return decode_image(bytes(picture), name="the bytes given", shorter_side=shorter_side)
    if hasattr(picture, "convert") and hasattr(picture, "save"):  # Pillow's, which need not be imported to ask
        return _of_pillow(picture)
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or 0 in array.shape:
        raise DataError(
            f"An image was expected: a path, its bytes, a Pillow image, or a uint8 array (H, W, 3) or (H, W), got "
            f"{type(picture).__name__}{f' {array.dtype} {array.shape}' if array.ndim else ''}."
        )
    if array.ndim == 2:
        array = array[:, :, None]
    if array.shape[2] not in (1, 3):
        raise DataError(
            f"An image array has the shape (H, W, 3), RGB, or (H, W), got {array.shape}. Channels stand last; an alpha "
            "channel is left out by image[:, :, :3]."
        )
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _of_pillow(image: "Pillow.Image") -> Image:
    """Let our one decoder see it: transparency, palettes and orientation become what they become in a file."""
    import io

    from PIL import ImageOps

    file = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("CMYK", "YCbCr", "HSV", "LAB", "RGBX"):
            upright = upright.convert("RGB")
        upright.save(file, format="PNG")
    except (OSError, ValueError) as error:
        raise DataError(f"The Pillow image {image!r} cannot be read: {error}.") from error
    return decode_image(file.getvalue(), name="the Pillow image")
