"""Decode: the bytes of an image file become (H, W, 3) `uint8` RGB, in one way whatever their colour mode.

| what the file has | what becomes of it |
| --- | --- |
| EXIF orientation | applied: the picture stands upright |
| alpha, a transparent colour | put on white |
| 16 bits a channel | the higher 8 of them |
| a palette, 1 bit, grey | RGB of the same colours |
| CMYK, YCCK | RGB by Pillow, which knows Adobe's inverted ones; no profile |
| an ICC profile, a gamma | not applied: the stored values are what networks were trained on |
| several frames or pages | the first |
| 32-bit integers, floats, LAB | refused: nobody says which range is black to white |

Plain JPEG that EXIF does not turn is decoded by simplejpeg, what that refuses and plain PNG by OpenCV, all else by
Pillow, which is the reference: where several can, their pixels are equal. simplejpeg takes 5 to 14 % less time than
OpenCV, and writes into any memory it is given (`kit.store.arena`). Two faults stay unseen: a JPEG whose middle is
damaged but whose end is there decodes with grey or shifted blocks, and a PNG with alpha that holds fewer rows than it
says is black below.
"""

import functools
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kit.errors import DataError
from kit.store.headers import JPEG, PNG, Header, described, jpeg_header, kind_of, png_header

if TYPE_CHECKING:
    from PIL import Image as Pillow

Image = NDArray[np.uint8]  # (H, W, 3), RGB
Room = Callable[[int, int], Image]  # height, width -> the memory that an image may be put into

# Pillow refuses more than this as well (2 x Image.MAX_IMAGE_PIXELS); decoded they are half a GiB.
MAX_PIXELS = 178_956_970
MAX_FILE_GIB = 2
OPENCV_SIDE = 2**20  # pixels; a longer image is Pillow's

# Named, because Pillow would try others too: its EPS reader runs Ghostscript on the file.
PILLOW_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "JPEG2000", "AVIF")


def new_memory(height: int, width: int) -> Image:
    """Return (height, width, 3) uint8 of any content."""
    return np.empty((height, width, 3), dtype=np.uint8)


def read_image(path: str | Path, *, name: str | None = None, shorter_side: int = 0, room: Room = new_memory) -> Image:
    """Decode one image file to (H, W, 3) uint8 RGB; see the table above.

    Args:
        path: the file.
        name: stands in the error; default: the path.
        shorter_side: see `decode_image`.
        room: see `decode_image`.

    Raises:
        DataError: no file, no permission, empty, truncated, not an image, of an unknown kind, too large, or damaged.
    """
    shown = printable(name or str(path))
    try:
        data = _content(path, shown)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise DataError(f"{shown} cannot be opened: {reason}.") from error
    return decode_image(data, name=shown, shorter_side=shorter_side, room=room)


def _content(path: str | Path, shown: str) -> bytes:
    # Not blocking, because a named pipe would wait for ever; system calls, because a file object takes as long again.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        status = os.fstat(file)
        if stat.S_ISDIR(status.st_mode):
            raise DataError(f"{shown} is a folder, not an image file.")
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{shown} is a device or a pipe, not an image file.")
        if status.st_size > MAX_FILE_GIB * 2**30:
            raise DataError(f"{shown} has {status.st_size / 2**30:.1f} GiB; an image file has at most {MAX_FILE_GIB}.")
        data = os.read(file, status.st_size)
        while len(data) < status.st_size and (more := os.read(file, status.st_size - len(data))):
            data += more
        return data
    finally:
        os.close(file)


def decode_image(data: bytes, *, name: str, shorter_side: int = 0, room: Room = new_memory) -> Image:
    """Decode the bytes of an image file; see `read_image`.

    Args:
        data: of the whole file.
        name: stands in the error.
        shorter_side: pixels that suffice; 0: all. A plain JPEG that has at least twice as many is decoded at 1/2, 1/4
            or 1/8, by libjpeg's smaller cosine transforms: half the time, and pixels that differ from the reduced
            whole image by 0.1 to 0.8 of 255 on average.
        room: asked for memory where the decoder can do with any; where it cannot, the image has memory of its own.
    """
    name = printable(name)
    if not data:
        raise DataError(f"{name} is empty: it has 0 bytes.")
    kind = kind_of(data)
    if kind == JPEG and data[2:3] not in (b"\xff", b""):
        kind = ""
    if not kind:
        raise DataError(f"{name} is not an image: its {len(data):,} bytes are {described(data)}.")
    if kind == "HEIC":
        raise DataError(f"{name} is a HEIC picture, which is not supported. Convert it to JPEG or PNG.")
    if kind in (JPEG, PNG):
        header = jpeg_header(data, name=name) if kind == JPEG else png_header(data, name=name)
        _check_size(header.height, header.width, name=name)
        if header.plain:
            enough = min(header.height, header.width) // shorter_side if kind == JPEG and shorter_side else 1
            factor = next(factor for factor in (8, 4, 2, 1) if factor <= max(1, enough))
            if kind == JPEG and header.upright and (image := _by_simplejpeg(data, header, factor, room)) is not None:
                return image
            if (image := _by_opencv(data, factor)) is not None:
                return image
            if kind == PNG and max(header.height, header.width) <= OPENCV_SIDE:
                # Pillow would take a PNG whose rows end too early, and make the others black.
                raise DataError(f"{name} is a damaged PNG: its pixels cannot be decompressed, or are too few.")
    elif kind == "WebP" and int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise DataError(f"{name} is truncated: this WebP of {len(data):,} bytes ends before its pixels do.")
    return _by_pillow(data, kind=kind, name=name)


def image_size(path: Path) -> tuple[int, int] | None:
    """Return (height, width) as the header says, before EXIF turns it, or None where Pillow finds no image."""
    from PIL import Image as Pillow

    try:
        with Pillow.open(path, formats=PILLOW_FORMATS) as file:
            return file.height, file.width
    except Exception:  # see `_by_pillow`
        return None


def printable(name: str) -> str:
    """Return `name` as it can be printed anywhere: control characters and undecodable bytes are escaped."""
    return name if name.isprintable() else ascii(name)[1:-1]


def reduced(image: Image, shorter_side: int, *, room: Room = new_memory) -> Image:
    """Return `image` with its shorter side at most `shorter_side`, aspect kept; images are never enlarged.

    Args:
        image: returned as it is, if it is small enough.
        shorter_side: pixels.
        room: asked for memory if it is not; not that of `image`.
    """
    height, width = image.shape[:2]
    if min(height, width) <= shorter_side:
        return image
    return _scaled(image, shorter_side, room)


def central_square(image: Image, side: int) -> Image:
    """Return (side, side, 3): the shorter side scaled to `side`, smaller images enlarged, then the middle cut out."""
    if min(image.shape[:2]) != side:
        image = _scaled(image, side)
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def _scaled(image: Image, shorter_side: int, room: Room = new_memory) -> Image:
    import cv2

    height, width = image.shape[:2]
    scale = shorter_side / min(height, width)
    size = (max(round(width * scale), shorter_side), max(round(height * scale), shorter_side))
    if scale > 1:
        enlarged: Image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
        return enlarged
    # Halved by the mean of 2 x 2 pixels while it is at least twice too large, then bilinear: nothing aliases, and it
    # takes an eighth of the time of OpenCV's area averaging in one step, which is more than decoding takes.
    while min(image.shape[:2]) >= 2 * shorter_side:
        height, width = image.shape[0] // 2, image.shape[1] // 2  # an odd last row or column is left out
        image = cv2.resize(image[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    scaled: Image = cv2.resize(image, size, dst=room(size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return scaled


def _by_simplejpeg(data: bytes, header: Header, factor: int, room: Room) -> Image | None:
    """Return the JPEG at 1/1, 1/2, 1/4 or 1/8 of its size; None where anything is wrong with it, or unusual."""
    import simplejpeg

    height, width = -(-header.height // factor), -(-header.width // factor)
    least = {"min_height": height, "min_width": width} if factor > 1 else {}
    image = room(height, width)
    try:
        decoded = simplejpeg.decode_jpeg(data, "RGB", buffer=image, **least)
    except ValueError:
        return None
    return image if decoded.shape == image.shape else None  # else the file tells its size twice, differently


def _by_opencv(data: bytes, factor: int) -> Image | None:
    """Return the image at 1/1, 1/2, 1/4 or 1/8 of its size; None where OpenCV fails."""
    cv2 = _opencv()
    flags = cv2.IMREAD_COLOR_RGB if factor == 1 else getattr(cv2, f"IMREAD_REDUCED_COLOR_{factor}")
    try:
        image: Image | None = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error:
        return None
    if image is None or flags == cv2.IMREAD_COLOR_RGB:
        return image
    turned: Image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)  # the reduced ones come as BGR only
    return turned


@functools.cache
def _opencv() -> Any:
    import cv2

    # What OpenCV would print of a bad file is said by our error, with the file's name.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def _by_pillow(data: bytes, *, kind: str, name: str) -> Image:
    from PIL import Image as Pillow
    from PIL import ImageOps, UnidentifiedImageError

    try:
        with Pillow.open(io.BytesIO(data), formats=PILLOW_FORMATS) as file:
            _check_size(file.height, file.width, name=name)
            file.load()
            picture: Pillow.Image = file
            # A damaged EXIF block is no reason to refuse a picture: it stays as it is stored.
            try:
                picture = ImageOps.exif_transpose(file)
            except Exception:
                picture = file
            return _as_rgb(picture, kind=kind, name=name)
    except (DataError, MemoryError):
        raise
    except Pillow.DecompressionBombError as error:
        limit = f"{MAX_PIXELS / 1e6:.0f} megapixels"
        raise DataError(f"{name} has too many pixels: at most {limit} are decoded. Reduce it first.") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{name} is a damaged {kind}, or of a variant that is not supported.") from error
    # Pillow has no error class of its own: broken files end in OSError, SyntaxError, ValueError, struct.error, ...
    except Exception as error:
        if isinstance(error, EOFError) or "truncated" in str(error).lower():
            raise DataError(
                f"{name} is truncated: this {kind} of {len(data):,} bytes ends before its pixels do."
            ) from error
        raise DataError(f"{name} is a damaged {kind}: {printable(str(error))}.") from error


def _as_rgb(picture: "Pillow.Image", *, kind: str, name: str) -> Image:
    """Return any picture of Pillow's as (H, W, 3) uint8 RGB."""
    from PIL import Image as Pillow

    if picture.mode.startswith("I;16"):
        wide = np.asarray(picture).astype(np.uint16)  # native byte order
        grey = (wide >> 8).astype(np.uint8)  # as Pillow and libpng do with 16-bit RGB
        if isinstance(transparent := picture.info.get("transparency"), int):
            grey[wide == transparent] = 255
        picture = Pillow.fromarray(grey)
    if picture.mode in ("I", "F", "LAB", "HSV"):
        raise DataError(
            f"{name} has pixels of Pillow's mode {picture.mode!r}, which are not supported: the file does not say "
            f"which values are black and white. Convert this {kind} to 8 or 16 bits a channel."
        )
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Pillow.alpha_composite(Pillow.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB"))


def _check_size(height: int, width: int, *, name: str) -> None:
    if height * width > MAX_PIXELS:
        raise DataError(
            f"{name} has too many pixels: it claims {width:,} x {height:,}, {height * width / 1e6:,.0f} megapixels; "
            f"at most {MAX_PIXELS / 1e6:.0f} are decoded. Reduce it first."
        )
