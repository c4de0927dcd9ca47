"""Plots of a sweep as SVG that takes the page's colours: trials over time, and one objective against another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 300  # of a plot, in its own units
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 30, 44  # margins


@dataclass(frozen=True, kw_only=True)
class Point:
    """One trial in a plot."""

    x: float
    y: float | None  # None: it has no value; drawn above the plot
    label: str  # shown where the pointer rests
    kind: str  # "plain", "best", "front" or "lost": of the page's styles


def plot(points: Sequence[Point], *, x: str, y: str, line: Sequence[tuple[float, float]] = (), title: str) -> str:
    """Return an SVG of points.

    Args:
        points: what to draw; at least one has a value.
        x: what is drawn to the right.
        y: what is drawn upwards.
        line: corners of a line through the plot, in the plot's values.
        title: for people who do not see it.
    """
    values = [point.y for point in points if point.y is not None]
    across, up = _Axis([point.x for point in points], LEFT, WIDTH - RIGHT), _Axis(values, HEIGHT - BOTTOM, TOP)
    parts = [f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">']
    for tick in up.ticks:
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up.at(tick)}" y2="{up.at(tick)}"/>'
            f'<text class="end" x="{LEFT - 8}" y="{up.at(tick) + 4}">{tick:g}</text>'
        )
    parts += [
        f'<text class="middle" x="{across.at(tick)}" y="{HEIGHT - BOTTOM + 18}">{tick:g}</text>'
        for tick in across.ticks
    ]
    parts.append(f'<text class="middle" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}">{escape(x)}</text>')
    parts.append(f'<text x="4" y="14">{escape(y)}</text>')
    if line:
        corners = " ".join(f"{across.at(a)},{up.at(b)}" for a, b in line)
        parts.append(f'<polyline class="line" points="{corners}"/>')
    for point in sorted(points, key=lambda point: point.kind == "best"):  # the best one is on top
        name = escape(point.label)
        if point.y is None:
            at, top = across.at(point.x), TOP - 10
            parts.append(f'<path class="lost" d="M{at - 4},{top - 4}l8,8m0,-8l-8,8"><title>{name}</title></path>')
        else:
            radius = 6 if point.kind == "best" else 4
            parts.append(
                f'<circle class="{point.kind}" cx="{across.at(point.x)}" cy="{up.at(point.y)}" r="{radius}">'
                f"<title>{name}</title></circle>"
            )
    return "".join([*parts, "</svg>"])


class _Axis:
    """Values on a straight line from one place to another, with round numbers beside it."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        low, high = min(values), max(values)
        room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
        self._low, self._high, self._begin, self._end = low - room, high + room, begin, end
        step = 10 ** math.floor(math.log10(self._high - self._low))
        step *= next(factor for factor in (0.1, 0.2, 0.5, 1, 2) if (self._high - self._low) / (factor * step) <= 7)
        first = math.ceil(self._low / step)
        self.ticks = [round(k * step, 12) for k in range(first, math.floor(self._high / step) + 1)]

    def at(self, value: float) -> float:
        """Return the place of a value."""
        share = (value - self._low) / (self._high - self._low)
        return round(self._begin + share * (self._end - self._begin), 1)
