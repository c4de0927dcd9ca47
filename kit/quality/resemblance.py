"""Resemblance: whether two image files show the same picture, by their pixels.

Two images are brought to 64 x 64 and freed of brightness and contrast. Their difference is 1 - the least of three
correlations: of colour, of shapes (all but a slow change of light) and of details (finer than 2 pixels). Measured at
MAX_DISTANCE bits and beyond: the ten true pairs of the 2,937 Oxford-IIIT pets differ by 0.0001 to 0.020, the most alike
other ones by 0.45 (one photograph, cut otherwise) and 0.73. Of 600 copies (scaled by 0.3 to 1.5, JPEG quality 40 to 95,
brightened) 594 are found; half differ by less than 0.007, 99 % by less than 0.08. Cells of one
kind of solar module (ELPV) differ by as little as 0.003: no such measure tells these look-alikes from copies, so
their chains are capped (`duplicates.clusters_of`).
"""

import hashlib
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.errors import DataError
from kit.quality.hashes import NearPairs
from kit.store.decode import Image, read_image

Floats = NDArray[np.float32]

_SIDE = 64  # pixels that two images are compared at
# Standard deviation, in grey levels, below which a band of an image is no structure but noise of its encoding.
_SHAPE_FLOOR, _DETAIL_FLOOR = 4.0, 1.5
_BATCH = 1_024  # pairs that are compared at once
_MOST_KEPT = 16_384  # images that are kept at 64 x 64, some 200 MiB


def compare_pairs(
    folder: Path, names: NDArray[np.object_], close: NearPairs
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return what the pixels of pairs that are close by hash say.

    Args:
        folder: the data folder.
        names: (N,) paths below it.
        close: P pairs of row numbers of `names`, by which they are in order, so that an image is read about once.

    Returns:
        equal: (P,) the same size and the same pixels, not mirrored.
        difference: (P,) 1 - correlation; inf where the images are plain or cannot be read.
    """
    equal, difference = np.zeros(len(close), dtype=bool), np.full(len(close), np.inf)
    kept: OrderedDict[str, _Small] = OrderedDict()
    with ThreadPoolExecutor() as pool:
        for at in range(0, len(close), _BATCH):
            batch = slice(at, at + _BATCH)
            rows, index = np.unique(np.stack([close.first[batch], close.second[batch]]), return_inverse=True)
            wanted = [str(name) for name in names[rows]]
            for name in wanted:
                if name in kept:
                    kept.move_to_end(name)
            missing = [name for name in wanted if name not in kept]
            kept.update(zip(missing, pool.map(_Small.read, [folder / name for name in missing]), strict=True))
            smalls = [kept[name] for name in wanted]
            a, b = index.reshape(2, -1)
            digests = np.array([small.digest for small in smalls], dtype="S32")
            equal[batch] = (digests[a] == digests[b]) & (digests[a] != b"") & ~close.mirrored[batch]
            difference[batch] = _differences(smalls, a, b, mirrored=close.mirrored[batch])
            while len(kept) > _MOST_KEPT:
                kept.popitem(last=False)
    return equal, difference


@dataclass(frozen=True)
class _Small:
    """What is kept of an image: its pixels at 64 x 64 and a checksum of all of them; "" of an unreadable one."""

    pixels: Image
    digest: str

    @classmethod
    def read(cls, path: Path) -> "_Small":
        import cv2

        try:
            image = read_image(path)
        except DataError:
            return cls(np.zeros((_SIDE, _SIDE, 3), dtype=np.uint8), "")
        small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        return cls(np.asarray(small, dtype=np.uint8), _digest(image))


def pixel_digest(path: Path) -> str:
    """Return a checksum of an image's shape and pixels, however they are encoded; "" of an unreadable one."""
    try:
        return _digest(read_image(path))
    except DataError:
        return ""


def _digest(image: Image) -> str:
    digest = hashlib.blake2b(str(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def _differences(
    smalls: list[_Small], a: NDArray[np.int64], b: NDArray[np.int64], *, mirrored: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return 1 - the least correlation of pairs of images over the bands that have structure; inf where none has.

    Args:
        smalls: M images.
        a: (P,) index of each pair's first image.
        b: (P,) of its second.
        mirrored: (P,) compare with the second's mirror image.
    """
    import cv2

    pixels = np.stack([small.pixels for small in smalls]).astype(np.float32)  # (M, 64, 64, 3)
    grey = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in pixels])  # (M, 64, 64)
    colour = pixels.reshape(-1, 32, 2, 32, 2, 3).mean(axis=(2, 4))  # (M, 32, 32, 3)
    colour -= colour.mean(axis=(1, 2), keepdims=True)
    least = np.ones(len(a))
    # A slow change, such as a lamp's light on a wall, is alike in very different pictures: it never decides.
    shapes = _without_slow_change(grey)
    details = np.stack([image - cv2.GaussianBlur(image, (0, 0), 2) for image in grey])
    for band, floor in ((shapes, _SHAPE_FLOOR), (details, _DETAIL_FLOOR), (colour, 0.0)):
        strength = band.std(axis=tuple(range(1, band.ndim)))
        structured = np.maximum(strength[a], strength[b]) >= floor
        if band is shapes:
            least[~structured] = -np.inf
        least = np.where(structured, np.minimum(least, _correlation(band, a, b, mirrored=mirrored)), least)
    difference: NDArray[np.float64] = np.maximum(1 - least, 0)
    return difference


def _without_slow_change(grey: Floats) -> Floats:
    """Return (M, 64, 64) grey images less the surface of second degree that comes nearest to each."""
    across = np.linspace(-1, 1, _SIDE)
    y, x = np.meshgrid(across, across, indexing="ij")
    surfaces = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y]).reshape(6, -1)
    basis, _ = np.linalg.qr(surfaces.T)  # (4096, 6)
    flat = grey.reshape(len(grey), -1)
    left: Floats = (flat - (flat @ basis) @ basis.T).astype(np.float32).reshape(grey.shape)
    return left


def _correlation(
    band: Floats, a: NDArray[np.int64], b: NDArray[np.int64], *, mirrored: NDArray[np.bool_]
) -> NDArray[np.float64]:
    flat = band.reshape(len(band), -1)
    flipped = np.ascontiguousarray(band[:, :, ::-1]).reshape(len(band), -1)
    norm = np.maximum(np.linalg.norm(flat, axis=1), 1e-6)
    product = np.array(
        [flat[i] @ (flipped if turned else flat)[j] for i, j, turned in zip(a, b, mirrored, strict=True)],
        dtype=np.float64,
    )
    correlation: NDArray[np.float64] = product / (norm[a] * norm[b])
    return correlation
