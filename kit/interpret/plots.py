"""Sheets of single images with what was answered, as fast.ai's `plot_top_losses` draws them."""

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

from kit.interpret.cases import HEADING, Case
from kit.interpret.drawing import SOFT, both_shortened, characters, sentence, shortened
from kit.interpret.images import ReadImage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE_SIZE = 11  # points
ID_SIZE = 9


def plot_cases(
    cases: Sequence[Case],
    read: ReadImage,
    *,
    title: str = HEADING,
    figsize: tuple[float, float] | None = None,
    columns: int = 3,
) -> "Figure":
    """Return a sheet of images, each under "prediction / actual", loss and probability of the actual class.

    Args:
        cases: what to show, row by row; with none of them the figure says so.
        read: gives their images.
        title: of the sheet.
        figsize: width and height in inches; default: 5 x 3.7 for each image.
        columns: images in a row.

    Raises:
        DataError: an image cannot be had.
    """
    from matplotlib.figure import Figure

    columns = max(1, min(columns, len(cases)))
    rows = max(1, ceil(len(cases) / columns))
    width, height = figsize or (5.0 * columns, 3.7 * rows)
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=14)
    if not cases:
        return sentence(figure, "There is no such image.")
    room = characters(width / columns, font_size=TITLE_SIZE)
    for k, case in enumerate(cases):
        axes = figure.add_subplot(rows, columns, k + 1)
        axes.imshow(read(case.image_id))
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        names = both_shortened(case.predicted, case.actual, room)
        axes.set_title(f"{names}\n{case.loss:.2f} / {case.probability_of_actual:.2f}", fontsize=TITLE_SIZE)
        axes.set_xlabel(
            shortened(case.image_id, characters(width / columns, font_size=ID_SIZE)), fontsize=ID_SIZE, color=SOFT
        )
    return figure
