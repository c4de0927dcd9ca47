"""Figures of what a network looks at: Grad-CAM sheets, filters, exciting patches, the embedding map."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kit.interpret.cases import Case
from kit.interpret.drawing import COLOURS, MARKERS, POINTS_PER_CHARACTER, SOFT, characters, sentence, shortened
from kit.interpret.embedding import EmbeddingMap
from kit.interpret.filters import FirstLayer, Stage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEAT = "viridis"  # even in lightness, and told apart by people with any colour vision
MOST_NAMES = 40  # of classes on the map
COLUMNS = 4  # units side by side
NAME_LENGTH = 24  # characters there


@dataclass(frozen=True, kw_only=True, eq=False)
class Attention:
    """One case, what the network saw, and where it found what spoke for two classes."""

    case: Case
    view: NDArray[np.uint8]  # (S, S, 3) RGB
    of_predicted: NDArray[np.float32]  # (S, S) in [0, 1], of `kit.interpret.attention.grad_cam`
    of_actual: NDArray[np.float32]  # (S, S) in [0, 1]


def plot_attention(
    found: Sequence[Attention], *, title: str = "Where the network looked", figsize: tuple[float, float] | None = None
) -> "Figure":
    """Return a Grad-CAM sheet: each image as seen, and under it what spoke for the predicted and the actual class.

    Args:
        found: a column each; the actual class has a row only where some answer was wrong.
        title: of the sheet.
        figsize: width and height in inches; default: by the number of images.
    """
    from matplotlib.figure import Figure

    rows = 2 if all(one.case.right for one in found) else 3
    width, height = figsize or (2.3 * max(1, len(found)), 2.6 * rows + 0.5)
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=14)
    if not found:
        return sentence(figure, "There is no such image.")
    room = characters(width / len(found), font_size=9)
    for column, one in enumerate(found):
        pictures: list[tuple[NDArray[np.uint8], NDArray[np.float32] | None, str]] = [
            (one.view, None, shortened(one.case.image_id, room)),
            (one.view, one.of_predicted, "for " + shortened(one.case.predicted, room - 4)),
        ]
        if rows == 3:
            pictures.append((one.view, one.of_actual, "for " + shortened(one.case.actual, room - 4)))
        for row, (view, heat, text) in enumerate(pictures):
            axes = figure.add_subplot(rows, len(found), row * len(found) + column + 1)
            axes.imshow(view)
            if heat is not None:
                # Where nothing speaks for the class, the image stays as it is.
                axes.imshow(heat, cmap=HEAT, vmin=0, vmax=1, alpha=0.75 * heat)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            axes.set_title(text, fontsize=9, color=SOFT if row == 0 else "black")
        probabilities = f"{one.case.probability:.2f}" + (
            f" / {one.case.probability_of_actual:.2f}" if rows == 3 else ""
        )
        axes.set_xlabel(probabilities, fontsize=9, color=SOFT)
    return figure


def plot_filters(layer: FirstLayer, *, figsize: tuple[float, float] | None = None) -> "Figure":
    """Return a figure of first-layer filters, grey where a weight is 0, each enlarged."""
    from matplotlib.figure import Figure

    number = len(layer.filters)
    columns = max(1, ceil(sqrt(number * 1.6)))
    rows = ceil(number / columns)
    figure = Figure(figsize=figsize or (0.62 * columns + 0.4, 0.62 * rows + 0.8), layout="constrained")
    height, width = layer.filters.shape[1:3]
    figure.suptitle(f"{number} filters of {width} x {height} pixels ({shortened(layer.name, 40)})", fontsize=11)
    for k in range(number):
        axes = figure.add_subplot(rows, columns, k + 1)
        axes.imshow(layer.filters[k], interpolation="nearest")
        axes.set_axis_off()
    return figure


def plot_patches(
    stages: Sequence[Stage],
    views: NDArray[np.uint8],
    image_ids: Sequence[str],
    *,
    figsize: tuple[float, float] | None = None,
) -> "Figure":
    """Return a figure of the patches that excite units most: a block of patches per unit, a row or more per stage.

    Args:
        stages: of `kit.interpret.filters.strongest_patches`.
        views: (N, S, S, 3) that it was given.
        image_ids: N ids that it was given.
        figsize: width and height in inches; default: by the number of stages and units.
    """
    from matplotlib.figure import Figure

    row_of = {image_id: row for row, image_id in enumerate(image_ids)}
    columns = min(COLUMNS, max((len(stage.units) for stage in stages), default=1) or 1)
    starts = np.cumsum([0, *(max(1, ceil(len(stage.units) / columns)) for stage in stages)])
    rows = int(starts[-1])
    figure = Figure(figsize=figsize or (2.3 * columns + 0.6, 2.55 * rows + 0.5), layout="constrained")
    by_stage = ", stage by stage" if len(stages) > 1 else ""
    figure.suptitle(f"Patches that excite single units most{by_stage}", fontsize=13)
    for start, stage in zip(starts.tolist(), stages, strict=False):
        for place, unit in enumerate(stage.units):
            axes = figure.add_subplot(rows, columns, start * columns + place + 1)
            cut = [
                views[row_of[one.image_id]][one.top : one.top + one.side, one.left : one.left + one.side]
                for one in unit.patches
            ]
            axes.imshow(_mosaic(cut), interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            axes.set_title(f"unit {unit.number}", fontsize=9)
            if place == 0:
                field = stage.receptive_field
                axes.set_ylabel(f"{shortened(stage.name, 22)}\n{field} x {field} pixels", fontsize=10)
    return figure


def _mosaic(patches: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return patches of one size as one picture, three in a row with white lines between; small ones enlarged alike."""
    side = patches[0].shape[0]
    scale = max(1, round(48 / side))
    gap, cell = 2, side * scale
    rows = ceil(len(patches) / 3)
    sheet = np.full((rows * (cell + gap) - gap, 3 * (cell + gap) - gap, 3), 255, dtype=np.uint8)
    for k, patch in enumerate(patches):
        top, left = (k // 3) * (cell + gap), (k % 3) * (cell + gap)
        sheet[top : top + cell, left : left + cell] = patch.repeat(scale, axis=0).repeat(scale, axis=1)
    return sheet


def plot_embedding(found: EmbeddingMap, *, figsize: tuple[float, float] = (11, 9)) -> "Figure":
    """Return a figure of the embedding map: colour and shape are the actual class, rings are wrong answers.

    Each class's name stands at the middle of its points, or as near to it as other names let it; of more than
    MOST_NAMES classes those with the most points have one, and all others are grey.
    """
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke

    figure = Figure(figsize=figsize, layout="constrained")
    axes = figure.add_subplot()
    actual, wrong = np.array(found.actual), np.array(found.actual) != np.array(found.predicted)
    names, counts = np.unique(actual, return_counts=True)
    named = set(names[np.argsort(-counts, kind="stable")[:MOST_NAMES]].tolist())
    middles: dict[str, NDArray[np.float64]] = {}
    for k, name in enumerate(sorted(names.tolist(), key=lambda one: one not in named)):
        mine = actual == name
        points = found.points[mine]
        colour, marker = COLOURS[k % len(COLOURS)], MARKERS[(k // len(COLOURS)) % len(MARKERS)]
        if name not in named:
            colour, marker = "0.8", "."
        axes.scatter(points[:, 0], points[:, 1], s=22, c=colour, marker=marker, linewidths=0, alpha=0.85)
        if name in named:
            middles[name] = np.median(points, axis=0).astype(np.float64)
    ringed = found.points[wrong]
    axes.scatter(
        ringed[:, 0],
        ringed[:, 1],
        s=70,
        facecolors="none",
        edgecolors="black",
        linewidths=1.1,
        zorder=3,
        label=f"wrong answers ({len(ringed)} of {len(actual)})",
    )
    for name, (x, y) in zip(middles, _apart(list(middles.values()), list(middles), found, figsize), strict=True):
        text = axes.text(x, y, shortened(name, NAME_LENGTH), fontsize=9, ha="center", va="center", zorder=4)
        text.set_path_effects([withStroke(linewidth=3, foreground="white")])
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title("Images near each other look alike to the network")
    if len(ringed):
        axes.legend(loc="lower left", frameon=True)
    return figure


def _apart(
    middles: Sequence[NDArray[np.float64]], names: Sequence[str], found: EmbeddingMap, figsize: tuple[float, float]
) -> list[tuple[float, float]]:
    """Return places for names of the map: their own, moved up or down by as much as it takes to be read."""
    if not middles:
        return []
    per_inch = np.maximum(np.ptp(found.points, axis=0), 1e-9) / (np.array(figsize) * 0.9)  # units of the map
    places = np.stack(middles) / per_inch  # inches
    widths = np.array([min(len(name), NAME_LENGTH) for name in names]) * 9 * POINTS_PER_CHARACTER / 72
    height = 11 / 72
    for _ in range(200):
        across = (widths[:, None] + widths[None]) / 2 - np.abs(places[:, None, 0] - places[None, :, 0])
        away = places[:, None, 1] - places[None, :, 1]
        up = np.where((away > 0) | ((away == 0) & np.tri(len(names), k=-1, dtype=bool)), 1, -1)
        overlap = np.where((across > 0) & (np.abs(away) < height), height - np.abs(away), 0)
        np.fill_diagonal(overlap, 0)
        if not overlap.any():
            break
        places[:, 1] += (overlap * up).sum(axis=1) * 0.51
    return [(float(x), float(y)) for x, y in places * per_inch]
