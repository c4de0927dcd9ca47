"""Images on demand: the picture of an id, as the run's pack holds it, and as the network sees it.

From the pack where it is open, else file by file from the data folder: a report needs some dozens of them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.config import InputConfig
from kit.data.augment import central_view
from kit.errors import DataError
from kit.home import sha256_of_file
from kit.store.decode import Image, central_square, printable, read_image, reduced
from kit.store.pack import Pack

ReadImage = Callable[[str], Image]  # image id -> (H, W, 3) uint8 RGB


def images_of_pack(pack: Pack) -> ReadImage:
    """Return a reader of a pack's images."""

    def read(image_id: str) -> Image:
        row = pack.row_of.get(image_id)
        if row is None:
            raise DataError(
                f"The pack {pack.folder} has no image {printable(image_id)!r}: predictions and images are of different "
                "data."
            )
        return pack.image(row)

    return read


def images_of_folder(folder: Path, table: pd.DataFrame, *, store: InputConfig) -> ReadImage:
    """Return a reader of image files that makes of each what a pack would hold.

    Args:
        folder: `path` is relative to it.
        table: rows with `image_id`, `path` and `sha256`, as kit.data.schema says. A file that has become another one
            since is refused: the answer was not about it.
        store: how the run's pack is made of files.
    """
    facts: dict[str, tuple[str, str]] = {
        image_id: (path, sha256)
        for image_id, path, sha256 in zip(table["image_id"], table["path"], table["sha256"], strict=True)
    }

    def read(image_id: str) -> Image:
        path, sha256 = facts.get(image_id, ("", ""))
        if not path:
            raise DataError(f"The table of {folder} has no file for the image {printable(image_id)!r}.")
        image = read_image(folder / path, name=path, shorter_side=store.store_size)
        if sha256 and sha256_of_file(folder / path) != sha256:
            raise DataError(
                f"{folder / printable(path)} is another file than the one that the run was judged on. Fetch it again "
                "(`kit cache --clear data`, then `kit fetch`)."
            )
        if store.store_layout == "square":
            return central_square(image, store.store_size)
        return reduced(image, store.store_size)

    return read


def views_of(read: ReadImage, image_ids: Sequence[str], *, image_size: int, crop_share: float) -> NDArray[np.uint8]:
    """Return (N, S, S, 3) uint8: the central views that evaluation sees.

    Args:
        read: gives the images.
        image_ids: N ids.
        image_size: S, pixels.
        crop_share: share of the shorter side that is seen, in (0, 1].
    """
    view = central_view(image_size=image_size, crop_share=crop_share)
    views = np.empty((len(image_ids), image_size, image_size, 3), dtype=np.uint8)
    for row, image_id in enumerate(image_ids):
        views[row] = view([read(image_id)], [image_id], 0)[0]
    return views
