"""Figures of the confusion matrix and of the accuracies of classes or groups."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.interpret.confusion import Confusion
from kit.interpret.drawing import BLUE, SOFT, sentence, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CLASSES = 60  # that a matrix shows with names one can read
NAME_LENGTH = 26  # characters
BARS = 40  # at most


def plot_confusion(
    found: Confusion,
    *,
    figsize: tuple[float, float] | None = None,
    dpi: float | None = None,
    max_classes: int = MOST_CLASSES,
) -> "Figure":
    """Return a figure of a confusion matrix: rows are actual, columns predicted classes.

    Colours follow the square root of the values, from 0 to the largest.

    Args:
        found: of `kit.interpret.confusion.confusion`.
        figsize: width and height in inches; default: by the number of classes.
        dpi: pixels per inch; default: matplotlib's.
        max_classes: of more classes only those with the most wrong answers, given or got, are shown; the title says so.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    shown = _with_most_errors(found, max_classes)
    num = len(shown.classes)
    side = 4.0 + 0.27 * num
    figure = Figure(figsize=figsize or (side + 0.6, side), dpi=dpi, layout="constrained")
    axes = figure.add_subplot()
    # By the counts themselves the diagonal of a good network would leave all else white; ending where mistakes do, a
    # handful of them would be as dark as hundreds of right answers.
    norm = PowerNorm(gamma=0.5, vmin=0, vmax=float(shown.values.max(initial=0)) or 1.0)
    picture = axes.imshow(shown.values, cmap="Blues", norm=norm)
    names = [shortened(name, NAME_LENGTH) for name in shown.classes]
    font = 9 if num > 12 else 11
    axes.set_xticks(
        range(num), names, rotation=90 if num > 6 else 30, ha="center" if num > 6 else "right", fontsize=font
    )
    axes.set_yticks(range(num), names, fontsize=font)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    what = {"none": "images", "actual": "share of the actual class", "predicted": "share of the predicted class"}
    title = f"Confusion matrix ({what.get(found.normalise, 'share of all images')})"
    if num < len(found.classes):
        title += f"\nthe {num} of {len(found.classes)} classes with the most wrong answers"
    axes.set_title(title)
    axes.set_xticks(np.arange(num - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(num - 1) + 0.5, minor=True)
    axes.grid(visible=True, which="minor", color="0.93", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    colours = picture.to_rgba(shown.values)  # (C, C, 4)
    for row, column in zip(*np.nonzero(shown.counts), strict=True):
        value = shown.values[row, column]
        text = str(int(value)) if found.normalise == "none" else f"{value:.2f}".replace("0.", ".")
        axes.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=8 if num > 12 else 11,
            color=_readable_on(colours[row, column]),
        )
    figure.colorbar(picture, ax=axes, shrink=0.6, label=what.get(found.normalise, "share of all images"))
    return figure


def _readable_on(colour: NDArray[np.float64]) -> str:
    """Return black or white, whichever has more contrast on sRGB (3,) or (4,) in [0, 1], by WCAG's luminance."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    luminance = float(linear[:3] @ (0.2126, 0.7152, 0.0722))
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"


def _with_most_errors(found: Confusion, max_classes: int) -> Confusion:
    if len(found.classes) <= max_classes:
        return found
    wrong = found.counts - np.diag(np.diag(found.counts))
    errors = wrong.sum(axis=0) + wrong.sum(axis=1)
    kept = np.sort(np.argsort(-errors, kind="stable")[:max_classes])
    block = np.ix_(kept, kept)
    classes = tuple(found.classes[k] for k in kept)
    return replace(found, classes=classes, counts=found.counts[block], values=found.values[block])


def plot_table(table: pd.DataFrame, *, figsize: tuple[float, float] | None = None, max_rows: int = BARS) -> "Figure":
    """Return a figure of a table of `kit.interpret.tables`: accuracies with their 95 % intervals, the lowest on top.

    Args:
        table: of `class_table` or `group_table`.
        figsize: width and height in inches; default: by the number of rows.
        max_rows: of a longer table only its first rows are shown; the title says so.
    """
    from matplotlib.figure import Figure

    what, shown = str(table.columns[0]), table.head(max_rows)
    figure = Figure(figsize=figsize or (7.5, 1.6 + 0.27 * len(shown)), layout="constrained")
    if shown.empty:
        return sentence(figure, f"There is no {what} to show.")
    axes = figure.add_subplot()
    places = np.arange(len(shown))
    accuracy = shown["accuracy"].to_numpy()
    arms = np.abs(np.stack([accuracy - shown["low"].to_numpy(), shown["high"].to_numpy() - accuracy]))
    axes.errorbar(accuracy, places, xerr=arms, fmt="o", color=BLUE, ecolor="0.6", capsize=3, markersize=6)
    axes.set_yticks(
        places,
        [f"{shortened(name, NAME_LENGTH)}  ({n})" for name, n in zip(shown[what], shown["num_images"], strict=True)],
    )
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("accuracy, 95 % Wilson interval")
    axes.set_ylabel(f"{what} (images)", color=SOFT)
    axes.grid(visible=True, axis="x", color="0.9")
    few = f": the {len(shown)} lowest of {len(table)}" if len(shown) < len(table) else ""
    axes.set_title(f"Accuracy by {what}{few}")
    return figure
