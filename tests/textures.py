"""Made-up pictures with structure, no two alike: for tests of what looks at files, copies and leaks."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray


def texture(seed: int, *, height: int = 72, width: int = 96) -> NDArray[np.uint8]:
    """Return (height, width, 3) uint8: coloured clouds, coarse and fine, and a little grain."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), dtype=np.float32)
    for cells, weight in ((4, 60), (9, 40), (20, float(rng.uniform(5, 30)))):
        noise = rng.normal(size=(cells, cells, 3)).astype(np.float32)
        image += weight * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    image += rng.uniform(90, 160, 3).astype(np.float32) + rng.normal(0, 4, image.shape).astype(np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)


def encoded(image: NDArray[np.uint8], *, suffix: str = ".jpg", quality: int = 90) -> bytes:
    """Return an image as the bytes of a file."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    data: bytes = cv2.imencode(suffix, image, options)[1].tobytes()
    return data


def table_of(paths: Sequence[str], labels: Sequence[str], *, splits: Sequence[str] | None = None) -> pd.DataFrame:
    """Return a sample table in which every image is its own group."""
    ids = [path.rpartition(".")[0] for path in paths]
    return pd.DataFrame(
        {
            "image_id": ids,
            "path": list(paths),
            "label": list(labels),
            "group": ids,
            "split": list(splits) if splits is not None else ["train"] * len(ids),
            "sha256": "",
        },
        dtype="str",
    )


def write_textures(folder: Path, *, num_images: int, seed: int, suffix: str = ".jpg", quality: int = 90) -> list[str]:
    """Write different pictures and return their paths; the names are without order."""
    rng = np.random.default_rng(seed)
    paths = []
    for k in range(num_images):
        path = f"{rng.integers(1 << 40):010x}{suffix}"
        (folder / path).write_bytes(encoded(texture(1000 * seed + k), suffix=suffix, quality=quality))
        paths.append(path)
    return paths
