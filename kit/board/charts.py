"""Charts as SVG that takes the page's colours: points with intervals over years or costs, and small bars in tables.

Every chart has a title and a description for people who do not see it, and stands beside a table with its numbers.
Nothing is told by colour alone: a protocol group has a letter, our runs are diamonds, an unverified value is hollow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from kit.board.markup import scrolling, text

WIDE, NARROW = (760, 380), (400, 300)  # width and height of a chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 56, 20, 34, 46  # margins
BAR = 144  # width of a bar in a table
NUM_COLOURS = 6
MOST_TICKS = 8


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One result in a chart."""

    x: float
    y: float
    label: str  # raw text, shown where the pointer rests
    group: int = 0  # its protocol group: letter and colour
    ours: bool = False
    verified: bool = True
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One direction of a chart."""

    title: str  # raw text, with its unit
    log: bool = False
    whole: bool = False  # ticks at whole numbers only, without separators: years


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Points, and lines that join the best of a group so far."""

    title: str
    description: str  # what a reader who cannot see it should know
    x: Axis
    y: Axis
    marks: Sequence[Mark]
    steps: Sequence[tuple[int, Sequence[tuple[float, float]]]] = field(default=())  # (group, corners)


def letter(group: int) -> str:
    """Return the name of a protocol group: A to Z, then AA, AB, ..."""
    first, last = divmod(group, 26)
    return (letter(first - 1) if first else "") + chr(ord("A") + last)


def colour(group: int) -> str:
    """Return the class of a group's colour; groups behind the last colour share a grey."""
    return f"g{group}" if group < NUM_COLOURS else "gx"


def chart(drawn: Chart, *, key: str, letters: bool = True, size: tuple[int, int] = WIDE) -> str:
    """Return a chart as an SVG, a wide one in a part that scrolls.

    Args:
        drawn: what to draw; it has at least one mark.
        key: unique on its page.
        letters: each mark with its group's letter, an interval and a label; else plain dots, for hundreds of marks.
        size: WIDE or NARROW.
    """
    width, height = size
    across = _Scale([mark.x for mark in drawn.marks], LEFT, width - RIGHT, drawn.x)
    ends = [edge for mark in drawn.marks for edge in (mark.y, mark.low, mark.high) if edge is not None]
    up = _Scale(ends, height - BOTTOM, TOP, drawn.y)
    kind = "chart" if size == WIDE else "chart narrow"
    parts = [
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{key}-t {key}-d">'
        f'<title id="{key}-t">{text(drawn.title)}</title><desc id="{key}-d">{text(drawn.description)}</desc>'
    ]
    for place, label in up.ticks:
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{place}" y2="{place}"/>'
            f'<text class="end" x="{LEFT - 8}" y="{place + 4}">{label}</text>'
        )
    for place, label in across.ticks:
        parts.append(f'<text class="middle" x="{place}" y="{height - BOTTOM + 20}">{label}</text>')
    parts.append(
        f'<line class="axis" x1="{LEFT}" x2="{width - RIGHT}" y1="{height - BOTTOM}" y2="{height - BOTTOM}"/>'
        f'<text class="middle" x="{(LEFT + width - RIGHT) / 2}" y="{height - 8}">{text(drawn.x.title)}</text>'
        f'<text x="4" y="16">{text(drawn.y.title)}</text>'
    )
    for group, corners in drawn.steps:
        points = " ".join(f"{across.at(x)},{up.at(y)}" for x, y in corners)
        parts.append(f'<polyline class="steps {colour(group)}" points="{points}"/>')
    if letters:  # ours are drawn last, on top of the others
        parts += [_mark(mark, across, up) for mark in sorted(drawn.marks, key=lambda mark: mark.ours)]
    else:
        parts += _dots(drawn.marks, across, up)
    picture = "".join([*parts, "</svg>"])
    return scrolling(drawn.title, picture) if size == WIDE else picture


def _dots(marks: Sequence[Mark], across: "_Place", up: "_Place") -> list[str]:
    """Return one path per group: a dot is a line without length and with round ends."""
    paths: dict[str, list[str]] = {}
    for mark in marks:
        paths.setdefault(colour(mark.group), []).append(f"M{across.at(mark.x)} {up.at(mark.y)}h0")
    return [f'<path class="dots {group}" d="{"".join(places)}"/>' for group, places in paths.items()]


def _mark(mark: Mark, across: "_Place", up: "_Place") -> str:
    x, y = across.at(mark.x), up.at(mark.y)
    classes = f"{colour(mark.group)}{' ours' if mark.ours else ''}{'' if mark.verified else ' hollow'}"
    parts = [f'<g class="{classes}"><title>{text(mark.label)}</title>']
    if mark.low is not None and mark.high is not None:
        parts.append(f'<path class="whisker" d="M{x},{up.at(mark.low)}V{up.at(mark.high)}"/>')
    if mark.ours:
        parts.append(f'<path class="dot" d="M{x},{round(y - 9, 1)}l9,9l-9,9l-9,-9z"/>')
    else:
        parts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="7.5"/>')
    parts.append(f'<text class="letter" x="{x}" y="{round(y + 3.5, 1)}">{letter(mark.group)}</text>')
    return "".join([*parts, "</g>"])


def key_mark(group: int, *, ours: bool = False, verified: bool = True) -> str:
    """Return the mark of a group as a small picture for a legend or a heading; words stand beside it."""
    inner = _mark(Mark(x=0, y=0, label="", group=group, ours=ours, verified=verified), _Fixed(), _Fixed()).replace(
        "<title></title>", ""
    )
    return f'<svg class="key" viewBox="0 0 20 20" aria-hidden="true">{inner}</svg>'


def bar(value: float, low: float | None, high: float | None, *, span: tuple[float, float], ours: bool) -> str:
    """Return a value with its interval as a small drawing for a cell; the numbers stand in the cells beside it."""

    def at(number: float) -> float:
        return round(6 + (BAR - 12) * (number - span[0]) / ((span[1] - span[0]) or 1), 1)

    parts = [f'<svg class="bar{" ours" if ours else ""}" viewBox="0 0 {BAR} 18" aria-hidden="true">']
    if low is not None and high is not None:
        parts.append(f'<path d="M{at(low)},9H{max(at(high), at(low) + 1)}"/>')
    return "".join([*parts, f'<circle cx="{at(value)}" cy="9" r="4.5"/></svg>'])


class _Place(Protocol):
    """Where a value is drawn."""

    def at(self, value: float) -> float:
        """Return the place of a value."""
        ...


class _Fixed:
    """The middle of a mark that stands alone."""

    def at(self, value: float) -> float:
        return 10 + value


class _Scale:
    """Values on a straight line from one place to another, with round numbers beside it."""

    def __init__(self, values: Sequence[float], begin: float, end: float, axis: Axis) -> None:
        self._log, self._begin, self._end = axis.log, begin, end
        kept = [self._inner(value) for value in values]
        low, high = min(kept), max(kept)
        room = (high - low) * 0.06 or (0.3 if axis.log else 1.0 if axis.whole else abs(high) * 0.05 or 1.0)
        self._low, self._high = low - room, high + room
        wanted = _powers(self._low, self._high) if axis.log else _round_numbers(self._low, self._high, whole=axis.whole)
        self.ticks = [
            (self.at(tick), f"{tick:.0f}" if axis.whole else _tick(tick))
            for tick in wanted
            if self._low <= self._inner(tick) <= self._high
        ]

    def _inner(self, value: float) -> float:
        return math.log10(max(value, 1e-9)) if self._log else value

    def at(self, value: float) -> float:
        share = (self._inner(value) - self._low) / (self._high - self._low)
        return round(self._begin + share * (self._end - self._begin), 1)


def _tick(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _round_numbers(low: float, high: float, *, whole: bool) -> list[float]:
    step = 10 ** math.floor(math.log10(high - low)) / 10
    factors = (factor * 10**power for power in count() for factor in (1, 2, 5))
    step *= next(f for f in factors if (high - low) / (f * step) <= MOST_TICKS and not (whole and f * step < 1))
    return [round(k * step, 12) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _powers(low: float, high: float) -> list[float]:
    decades = range(math.floor(low), math.ceil(high) + 1)
    parts = (1, 2, 5) if len(decades) <= 4 else (1,)
    return [round(part * 10.0**power, 12) for power in decades for part in parts]
