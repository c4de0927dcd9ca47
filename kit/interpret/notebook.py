"""In a notebook: small tables for results, and figures that show themselves."""

import html
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST_CELL = 200  # characters


def html_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, caption: str = "", note: str = "") -> str:
    """Return a table as HTML; all text is escaped, since names of classes and files come from outside.

    Args:
        columns: headings.
        rows: each as long as `columns`; what is no text is turned into it.
        caption: a line above.
        note: a line below.
    """
    head = "".join(f"<th style='text-align:left'>{_safe(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:{_side(cell)}'>{_safe(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    above = f"<p><b>{_safe(caption, longest=2000)}</b></p>" if caption else ""
    below = f"<p>{_safe(note, longest=2000)}</p>" if note else ""
    return f"{above}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def _safe(cell: object, *, longest: int = LONGEST_CELL) -> str:
    text = str(cell)
    shown = text if len(text) <= longest else text[: longest - 1] + "…"
    return escaped("".join(one if one.isprintable() else "�" for one in shown))


def escaped(text: str) -> str:
    """Return text for a notebook's HTML; a dollar would begin a formula where the notebook typesets them."""
    return html.escape(text).replace("$", "&#36;")


def _side(cell: object) -> str:
    return "right" if isinstance(cell, int | float) else "left"


def show_figures() -> None:
    """Let a running notebook show a matplotlib figure that is the last value of a cell; elsewhere nothing happens.

    Ours are made without pyplot, and IPython shows those of pyplot alone unless it is told. Matplotlib is not imported.
    """
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    formatter = getattr(shell, "display_formatter", None)
    if formatter is None:
        return
    known = formatter.formatters["image/png"]
    if ("matplotlib.figure", "Figure") not in {*known.deferred_printers, *map(_name_of, known.type_printers)}:
        known.for_type_by_name("matplotlib.figure", "Figure", figure_png)


def _name_of(kind: type) -> tuple[str, str]:
    return kind.__module__, kind.__name__


def figure_png(figure: "Figure") -> bytes:
    """Return a figure as a PNG file, of its own number of pixels per inch."""
    from kit.interpret.drawing import png_of

    return png_of(figure, dpi=int(figure.dpi))
