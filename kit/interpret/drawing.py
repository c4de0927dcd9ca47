"""What all figures share: colours, short names, and the bytes of a picture file.

Figures are matplotlib's, without pyplot: nothing is kept between them, and no window is opened.
"""

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np

from kit.store.decode import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart by people with any colour vision; black is left for text.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#7A6A00", "#7F7F7F")
BLUE, GREEN, VERMILION = COLOURS[0], COLOURS[2], COLOURS[3]
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
SOFT = "0.35"  # grey of what is read second: 7:1 on white
NEARLY_WHITE = 246  # of 255, in each channel
POINTS_PER_CHARACTER = 0.58  # mean width of a character of DejaVu Sans, of the font's size


def shortened(name: str, length: int) -> str:
    """Return somebody's name for one line of a figure: at most `length` characters, the middle left out as "…".

    Both ends are kept, because names of classes and files differ there. Control characters are shown as such, and a
    dollar stays a dollar: matplotlib would read what stands between two as a formula.
    """
    text = printable(name).replace("\n", " ")
    if len(text) > max(3, length):
        kept = max(3, length) - 1
        text = text[: kept - kept // 2] + "…" + text[len(text) - kept // 2 :]
    return text.replace("$", r"\$")


def both_shortened(one: str, other: str, length: int) -> str:
    """Return "one / other" for one line of `length` characters; the longer name is shortened first."""
    room = length - 3
    first = max(room - len(other), room // 2)
    return f"{shortened(one, first)} / {shortened(other, max(room - len(one), room - room // 2))}"


def characters(inches: float, *, font_size: float) -> int:
    """Return how many characters of a font fit into a width."""
    return max(6, int(inches * 72 / (font_size * POINTS_PER_CHARACTER)))


def sentence(figure: "Figure", text: str) -> "Figure":
    """Return `figure` with a sentence in its middle, where there is nothing to draw."""
    figure.text(0.5, 0.5, text, ha="center", va="center", color=SOFT, fontsize=12, wrap=True)
    return figure


def png_of(figure: "Figure", *, dpi: int = 80, photographs: bool = False) -> bytes:
    """Return a figure as a PNG file.

    Args:
        figure: any.
        dpi: pixels per inch.
        photographs: keep 256 colours, dithered: a sheet of photographs then takes a third of the bytes.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; the same name stands in the page's text.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    if not photographs:
        return buffer.getvalue()
    from PIL import Image

    buffer.seek(0)
    smaller = io.BytesIO()
    with Image.open(buffer) as picture:
        plain = picture.convert("RGB")
        # Pillow dithers to a given palette only, and without that a sky becomes bands. It looks for the nearest colour
        # coarsely, so that all that is nearly white is made white: the page's.
        found = np.reshape([*(plain.quantize(255).getpalette() or [])[: 3 * 255], 255, 255, 255], (-1, 3))
        found[found.min(axis=1) >= NEARLY_WHITE] = 255
        palette = Image.new("P", (1, 1))
        palette.putpalette(found.ravel().tolist())
        plain.quantize(palette=palette).save(smaller, format="png", optimize=True)
    return smaller.getvalue()
