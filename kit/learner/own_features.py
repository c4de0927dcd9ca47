"""Features for a model of one's own: pixels, a function of each image, or the columns of a table.

They are made of each row by itself, so that no fold learns from another. What is fitted to data (a scaler, a PCA, a
vocabulary) belongs into the model, e.g. as a scikit-learn Pipeline, which is fitted anew for each fold.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.data.augment import central_view
from kit.errors import ConfigError, DataError, did_you_mean
from kit.home import family, fingerprint, writing
from kit.learner.own_identity import code_fingerprint
from kit.progress import Counter, Say
from kit.store.decode import printable

if TYPE_CHECKING:
    from kit.learner.data import Data

Image = NDArray[np.uint8]  # (S, S, 3) RGB
OfImage = Callable[[Image], Any]
FEATURES_VERSION = 1  # goes up when the same function on the same images is to be called again
_GROUP = 64  # images that a thread takes at once


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """What a model learns from: a row per row of the sample table."""

    rows: NDArray[Any] | pd.DataFrame  # (N, F)
    row_of: dict[str, int]  # image id -> row
    name: str  # for people
    key: str  # SHA-256 of what made them

    def of(self, image_ids: Iterable[str]) -> Any:
        """Return the rows of these images, in their order, as a copy that a model may change."""
        chosen = [self.row_of[image_id] for image_id in image_ids]
        return self.rows.iloc[chosen] if isinstance(self.rows, pd.DataFrame) else np.array(self.rows[chosen])


def pixels(image: Image) -> NDArray[np.float32]:
    """Return (S * S * 3,) float32 in [0, 1]: the image's pixels row by row, red, green and blue of each."""
    return image.reshape(-1).astype(np.float32) / np.float32(255)


def hog(image: Image, *, cell: int = 4, bins: int = 9) -> NDArray[np.float32]:
    """Return the histograms of oriented gradients of an image: its edges, wherever the light came from.

    Of each cell, gradients vote by their strength for the two nearest of `bins` directions in [0, 180) degrees; cells
    are normalised in blocks of 2 x 2 that overlap, to length 1, clipped at 0.2 and normalised again (Dalal and Triggs
    2005, L2-Hys; votes are not shared between cells).

    Args:
        image: (S, S, 3) uint8; its mean over the channels counts.
        cell: pixels of a cell's side; at the right and lower edge less than a cell is left out.
        bins: number of directions.

    Returns:
        ((S // cell - 1) ** 2 * 4 * bins,) float32.

    Raises:
        ConfigError: the image has fewer than 2 x 2 cells.
    """
    num = len(image) // cell
    if num < 2:
        raise ConfigError(
            f"hog: an image of {len(image)} px has fewer than 2 x 2 cells of {cell} px; give a smaller cell."
        )
    grey = np.sqrt(image.mean(axis=2, dtype=np.float32))  # square root: the paper's gamma
    down, right = np.zeros_like(grey), np.zeros_like(grey)
    down[1:-1], right[:, 1:-1] = grey[2:] - grey[:-2], grey[:, 2:] - grey[:, :-2]
    strength = np.hypot(down, right)
    direction = np.arctan2(down, right) % np.pi * (bins / np.pi) - 0.5  # in bins, from the middle of the first
    lower = np.floor(direction)
    share = direction - lower
    side = np.arange(len(image)) // cell
    place = (side[:, None] * num + side[None, :]) * bins
    kept = (side < num)[:, None] & (side < num)[None, :]
    votes = np.zeros(num * num * bins)
    for which, weight in ((lower, 1 - share), (lower + 1, share)):
        bin_of = which.astype(np.int64) % bins
        votes += np.bincount((place + bin_of)[kept], (strength * weight)[kept], minlength=len(votes))
    cells = votes.reshape(num, num, bins)
    blocks = np.concatenate([cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]], axis=2)
    for _ in range(2):
        blocks = np.minimum(blocks / np.sqrt((blocks**2).sum(axis=2, keepdims=True) + 1e-6), 0.2)
    blocks /= np.sqrt((blocks**2).sum(axis=2, keepdims=True) + 1e-6)
    return blocks.ravel().astype(np.float32)


def features_of(data: "Data", features: OfImage | Sequence[str] | None, *, say: Say = print) -> Features:
    """Return the features of all rows of `data` that train or are predicted.

    Args:
        data: the plan's rows with their images, or with the columns that the competition's adapter gives.
        features: of images: a function (S, S, 3) uint8 -> (F,) numbers, S being `data.size`, or None: `pixels`. It is
            called once for each image, in threads, and its values are kept. Of rows without images: names of columns,
            or None: all.
        say: takes lines of progress.

    Raises:
        ConfigError: a function where there are no images, columns where there are no columns of that name.
        DataError: the function fails, gives rows of different lengths or values that are no finite numbers; the
            adapter gives no table, or lacks rows.
    """
    samples = data.plan.samples
    table = samples.table[samples.table["split"] != "unused"]
    imageless = (table["path"] == "").to_numpy()
    if imageless.all():
        return _columns(data, features, table["image_id"].tolist())
    if features is not None and not callable(features):
        raise ConfigError(
            f"features is a {type(features).__name__}, and {data.plan.competition.slug} has images: give a function "
            "that takes an image (S, S, 3) uint8 and returns its features, or nothing for the pixels."
        )
    return _of_images(data, features or pixels, table["image_id"].tolist(), say=say)


def _columns(data: "Data", names: OfImage | Sequence[str] | None, image_ids: list[str]) -> Features:
    competition = data.plan.competition
    function = competition.adapter_function("features")
    whose = f"features in {competition.folder / 'adapter.py'}"
    if function is None:
        raise DataError(
            f"The rows of {competition.slug} have no images, and {competition.folder / 'adapter.py'} has no function "
            "features(data_dir), so a model has nothing to learn from. Write one that returns a pandas.DataFrame: a "
            "row per image_id, which is its index, and a column per feature."
        )
    found = function(data.plan.samples.folder)
    if not isinstance(found, pd.DataFrame) or not found.index.is_unique or not found.columns.is_unique:
        raise DataError(
            f"{whose} gave a {type(found).__name__}{' with doubled ids or columns' if hasattr(found, 'index') else ''}"
            ", expected a pandas.DataFrame with a row per image_id, which is its index, and a column per feature."
        )
    found = found.set_axis(found.index.astype("str"), axis=0)
    if lacking := [image_id for image_id in image_ids if image_id not in found.index]:
        raise DataError(
            f"{whose} lacks {len(lacking):,} of {len(image_ids):,} rows, first {lacking[:5]}. Its index must hold each "
            "image_id that train_samples gives."
        )
    if names is not None:
        if callable(names) or isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise ConfigError(
                f"The rows of {competition.slug} have no images, so `features` must be a list of column names, or be "
                f"left out: all of them. There are: {', '.join(map(str, found.columns))}."
            )
        if unknown := [name for name in names if name not in found.columns]:
            raise ConfigError(
                f"{whose} gives no column {unknown[0]!r}.{did_you_mean(unknown[0], list(map(str, found.columns)))} "
                f"It gives: {', '.join(map(str, found.columns))}."
            )
        found = found[list(names)]
    found = found.loc[image_ids]
    text = found.to_csv(lineterminator="\n")
    return Features(
        rows=found.reset_index(drop=True),
        row_of={image_id: row for row, image_id in enumerate(image_ids)},
        name=f"columns {', '.join(map(str, found.columns))}",
        key=fingerprint("columns", str(found.dtypes.to_dict()), text),
    )


def _of_images(data: "Data", function: OfImage, image_ids: list[str], *, say: Say) -> Features:
    pack, given = data.pack, data.plan.recipe.input
    crop = given.test_crop or 1.0
    code = code_fingerprint(function)
    key = fingerprint(str(FEATURES_VERSION), code, pack.folder.name, str(given.image_size), str(crop))
    path = family("tables") / "features" / f"{key[:24]}.npy"
    rows = _kept(path, num_rows=len(pack))
    if rows is None:
        view = central_view(image_size=given.image_size, crop_share=crop)

        def image(row: int) -> Image:
            return np.ascontiguousarray(view([pack.image(row)], [""], 0)[0])

        names = sorted(pack.row_of, key=pack.row_of.__getitem__)
        rows = _computed(function, image, names, say=say)
        with writing(path, "wb") as file:
            np.save(file, rows, allow_pickle=False)
    name = getattr(getattr(function, "func", function), "__name__", type(function).__name__)
    return Features(
        rows=rows,
        row_of={image_id: pack.row_of[image_id] for image_id in image_ids},
        name=f"{name} of {given.image_size} px",
        key=key,
    )


def _kept(path: Path, *, num_rows: int) -> NDArray[Any] | None:
    """Return what an earlier call kept, or None: a file that cannot be read is made again."""
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.ndim == 2 and len(found) == num_rows else None


def _computed(function: OfImage, image: Callable[[int], Image], names: list[str], *, say: Say) -> NDArray[Any]:
    """Call the function for each image, several at a time, and return (N, F)."""
    import os

    first = _vector(function, image(0), name=names[0])
    rows = np.empty((len(names), len(first)), dtype=first.dtype)
    rows[0] = first
    fill = partial(_fill, function, image, rows, names)
    starts = range(1, len(names), _GROUP)
    counter = Counter("features", say=say, total=len(names), unit="images", done=1)
    with counter, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        try:
            for done, _ in enumerate(pool.map(fill, starts), 1):
                counter.reach(min(len(names), 1 + done * _GROUP))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return rows


def _fill(function: OfImage, image: Callable[[int], Image], rows: NDArray[Any], names: list[str], start: int) -> None:
    for row in range(start, min(start + _GROUP, len(rows))):
        found = _vector(function, image(row), name=names[row])
        if len(found) != rows.shape[1]:
            raise DataError(
                f"The feature function gave {len(found):,} numbers for the image {printable(names[row])} and "
                f"{rows.shape[1]:,} for {printable(names[0])}. It must give equally many for each image."
            )
        rows[row] = found


def _vector(function: OfImage, image: Image, *, name: str) -> NDArray[Any]:
    """Return the features of one image, float32 unless the function gives float64."""
    try:
        found = np.asarray(function(image))
    except Exception as error:
        raise DataError(
            f"The feature function failed on the image {printable(name)}, (S, S, 3) uint8 with S = {len(image)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if found.ndim != 1 or not len(found) or found.dtype.kind not in "fiub" or not np.isfinite(found).all():
        what = f"an array {found.shape} of {found.dtype}"
        if found.ndim == 1 and len(found) and found.dtype.kind == "f":
            what = "values that are not finite"
        raise DataError(
            f"The feature function gave {what} for the image {printable(name)}, expected (F,) finite numbers, at least "
            "one: flatten what it returns, and answer plain images with a number too."
        )
    return found if found.dtype == np.float64 else found.astype(np.float32)
