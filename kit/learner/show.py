"""A batch as the network sees it, as a figure; and the folds, as a table."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kit.config import Recipe
from kit.data.augment import training_view
from kit.data.render.strokes import pair_of_numbers
from kit.data.schema import JOINED
from kit.errors import ConfigError
from kit.home import fingerprint
from kit.interpret.drawing import characters, shortened
from kit.interpret.notebook import show_figures
from kit.store.decode import Image
from kit.store.pack import Pack

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE_SIZE = 11  # points
LINE = 1.35 * TITLE_SIZE / 72  # height of a line of a title, inches
SIDE = 3.0  # of a picture, inches, where the figure's size is not given
WIDEST = 10.0  # inches
MOST_ROWS = 20
FEWEST = 4  # characters of a line of a title


def batch_figure(
    train: pd.DataFrame,
    pack: Pack,
    *,
    recipe: Recipe,
    rows: int,
    figsize: tuple[float, float] | None,
    epoch: int,
    several: bool,
) -> "Figure":
    """Return a figure of `rows` x `rows` training images as the network sees them, with their classes above.

    Args:
        train: rows to choose from, with `image_id` and `label`.
        pack: their images.
        recipe: its augmentation, size and seed.
        rows: of pictures, and columns.
        figsize: width and height in inches; default: 3 inches a picture, at most 10 inches wide.
        epoch: whose random views, from 1; another one shows other images, too.
        several: an image may have any number of labels.

    Raises:
        ConfigError: the number of rows, or a side of the figure, is none or out of range.
        DataError: images cannot be decoded.
    """
    from matplotlib.figure import Figure

    if isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= MOST_ROWS:
        raise ConfigError(f"rows must be a whole number from 1 to {MOST_ROWS}, got {rows!r}.")
    if figsize is not None:
        what = "width and height in inches, such as (8, 8)"
        if min(pair_of_numbers(figsize, "figsize", expected=what)) <= 0:
            raise ConfigError(f"figsize is {figsize!r}: expected {what}.")
    chosen = _chosen(train, rows * rows, seed=f"{recipe.seed} {epoch}")
    views = _views(pack, chosen["image_id"].tolist(), recipe=recipe, epoch=epoch)
    columns = min(rows, len(views))
    lines = -(-len(views) // columns)
    width = figsize[0] if figsize is not None else min(SIDE * columns, WIDEST)
    side = width / columns
    height = figsize[1] if figsize is not None else lines * (side + 2 * LINE)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, view, label in zip(axes, views, chosen["label"], strict=False):
        small = recipe.input.image_size < 64  # single pixels stay visible
        axis.imshow(view, interpolation="nearest" if small else "antialiased")
        axis.set_title(_title(label, inches=min(side, height / lines), several=several), fontsize=TITLE_SIZE)
    show_figures()
    return figure


def fold_table(train: pd.DataFrame, *, classes: Sequence[str], held_out: Sequence[int], several: bool) -> pd.DataFrame:
    """Return a row per fold: `images`, a column per class with its images, and whether it is `held out`.

    The index is the fold; -1 are images that are never held out. Without folds there is one row, "all".
    """
    fold = train["fold"] if "fold" in train else pd.Series("all", index=train.index, name="fold")
    counts = {
        name: pd.Series([name in _parts(label, several=several) for label in train["label"]]).groupby(fold).sum()
        for name in classes
    }
    table = pd.DataFrame({"images": fold.value_counts().sort_index(), **counts}).astype("int64")
    table.insert(0, "held out", [number in held_out for number in table.index])
    return table.rename_axis("fold")


def _parts(label: str, *, several: bool) -> list[str]:
    return label.split(JOINED) if several else [label]


def _chosen(train: pd.DataFrame, count: int, *, seed: str) -> pd.DataFrame:
    """Return `count` rows, others for another seed: chosen by a hash, since files often lie in the order of classes."""
    rank = [fingerprint(seed, image_id) for image_id in train["image_id"]]
    return train.iloc[np.argsort(rank)[:count]]


def _views(pack: Pack, image_ids: Sequence[str], *, recipe: Recipe, epoch: int) -> list[Image]:
    view = training_view(recipe.augment, image_size=recipe.input.image_size, seed=recipe.seed)
    stored = [pack.image(pack.row_of[one]) for one in image_ids]
    return view(stored, image_ids, epoch)


def _title(label: str, *, inches: float, several: bool) -> str:
    """Return the class on one line, or on two where it does not fit; several labels as far as there is room."""
    if several and not label:
        return "(no label)"
    room = characters(inches, font_size=TITLE_SIZE)
    while room > FEWEST and _width(title := _in_lines(label, room=room)) > 0.95 * inches:
        room -= 1  # of its letters more than usual are wide
    return title if room > FEWEST else _in_lines(label, room=FEWEST)


def _width(title: str) -> float:
    """Return the width of the longest line, in inches."""
    from matplotlib.textpath import TextPath

    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font"
        )  # drawn as boxes, of much the same width
        return max(float(TextPath((0, 0), one, size=TITLE_SIZE).get_extents().width) for one in title.split("\n")) / 72


def _in_lines(label: str, *, room: int) -> str:
    if len(label) <= room:
        return shortened(label, room)
    cut = max((label.rfind(sign, 1, room + 1) for sign in " _-+"), default=-1)
    if cut < 1:
        return shortened(label, room)
    return f"{shortened(label[:cut].strip(), room)}\n{shortened(label[cut:].strip(' _'), room)}"
