"""Strokes: a table of pointer events becomes a drawing, with speed as colour and clicks as white dots on black.

Speed is distance on the screen over time, in screen pixels per second, on a scale of logarithms: a hand that looks for
a button and one that throws the pointer across the screen differ a hundredfold.
"""

import sys
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.data.render.colours import Colours, coloured
from kit.errors import ConfigError, DataError

Image = NDArray[np.uint8]  # (S, S, 3), RGB
TimeUnit: TypeAlias = Literal["s", "ms", "us", "ns"]

SCREEN = (1920, 1080)  # pixels, width and height
SPEEDS = (50.0, 5000.0)  # screen pixels per second: drawn darkest, and lightest
SECONDS_OF: dict[str, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
COLUMNS = ("x", "y", "t", "event", "click")
LARGEST = sys.float_info.max
CLICKS = ("click", "down", "mousedown", "pointerdown", "press", "pressed", "touchstart")  # in a column `event`
SHORTEST = 1e-9  # seconds: less is the rounding of a clock, not a time
SIZES = range(16, 4097)  # pixels
DARKEST = 40  # of viridis: what is slowest still stands out from black
_SHIFT = 6  # bits behind the point of the coordinates that OpenCV takes
_YES_NO = {"0": False, "1": True, "false": False, "true": True, "no": False, "yes": True, "": False}


def draw_events(
    table: pd.DataFrame,
    *,
    size: int = 224,
    screen: tuple[int, int] | None = SCREEN,
    speeds: tuple[float, float] = SPEEDS,
    time_unit: TimeUnit = "s",
    name: str = "the table",
) -> Image:
    """Draw the trace of a pointer.

    Each two events in turn are joined by a line in the colour of the speed between them; where lines cross, the faster
    is on top. A step of a pixel or more that took no time by the clock counts as fastest. A click is a white dot with a
    black rim.

    Args:
        table: a row per event, in order of time, with the columns
            `x`, `y`: pixels from the upper left corner of the screen; `t`: when, a number or a date.
            Clicks are told by `click` (true, false, 0 or 1) or by `event` (a word: click, down, press and their like).
        size: pixels a side of the picture.
        screen: width and height in pixels of what the events were recorded on. It is fitted into the middle of the
            picture, aspect kept, so that a place on the screen is the same place in each picture. None: the trace
            itself is fitted, so that only its shape is left.
        speeds: screen pixels per second that are drawn darkest and lightest; what lies beyond is drawn as the end.
        time_unit: of `t`, if it is a number.
        name: stands in errors.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        DataError: no rows, a missing column, a value that is no finite number, times that go back, a point that is not
            on the screen.
        ConfigError: a size, a screen or speeds that cannot be.
    """
    import cv2

    check_settings(size=size, screen=screen, speeds=speeds, time_unit=time_unit)
    points, seconds, clicked = _events(table, time_unit=time_unit, name=name)
    _check_on_screen(points, screen, name=name)
    places = _places(points, size=size, screen=screen)  # (N, 2), pixels of the picture
    fixed = np.rint(places * (1 << _SHIFT)).astype(np.int32)
    stroke, dot = _widths(size)
    image = np.zeros((size, size, 3), dtype=np.uint8)
    lines = np.stack([fixed[:-1], fixed[1:]], axis=1) if len(fixed) > 1 else np.stack([fixed, fixed], axis=1)
    speed = _speeds(points, seconds) if len(fixed) > 1 else np.zeros(1)
    colours = speed_colours(speed, speeds=speeds)
    # One call for all lines of a colour: drawing leaves Python, so that threads draw side by side.
    order = np.argsort(_share(speed, speeds), kind="stable")
    borders = np.flatnonzero((colours[order][1:] != colours[order][:-1]).any(axis=1)) + 1
    for alike in np.split(order, borders):
        cv2.polylines(image, list(lines[alike]), False, colours[alike[0]].tolist(), stroke, cv2.LINE_AA, _SHIFT)
    for x, y in fixed[clicked].tolist():
        for radius, value in ((dot + 2, 0), (dot, 255)):
            cv2.circle(image, (x, y), radius << _SHIFT, (value, value, value), cv2.FILLED, cv2.LINE_AA, _SHIFT)
    return image


def speed_colours(speed: NDArray[np.float64], *, speeds: tuple[float, float] = SPEEDS) -> Colours:
    """Return the colours that `draw_events` gives to speeds in screen pixels per second: (..., 3) uint8 RGB."""
    return coloured(_share(np.asarray(speed, dtype=np.float64), speeds), darkest=DARKEST)


def check_settings(*, size: int, screen: tuple[int, int] | None, speeds: tuple[float, float], time_unit: str) -> None:
    """Refuse settings that nothing can be drawn with.

    Raises:
        ConfigError: see `draw_events`.
    """
    check_size(size)
    if screen is not None:
        what = "its width and height in pixels, such as (1920, 1080), or None to fit each trace into its picture"
        pair_of_numbers(screen, "screen", expected=what)
        if not all(isinstance(side, int | np.integer) and 1 <= side <= 10**6 for side in screen):
            raise ConfigError(f"screen is {screen!r}: expected {what}.")
    what = (
        "the slowest and the fastest that colours tell apart, in screen pixels per second, the slowest above 0, "
        f"such as {SPEEDS}"
    )
    slowest, fastest = pair_of_numbers(speeds, "speeds", expected=what)
    if not 0 < slowest < fastest:
        raise ConfigError(f"speeds is {speeds!r}: expected {what}.")
    if time_unit not in SECONDS_OF:
        raise ConfigError(f"time_unit is {time_unit!r}: expected one of {', '.join(SECONDS_OF)}.")


def check_size(size: int) -> None:
    """Refuse a size of pictures that cannot be, with a ConfigError."""
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size not in SIZES:
        raise ConfigError(f"size is {size!r}: expected whole pixels from {SIZES[0]} to {SIZES[-1]}, such as 224.")


def pair_of_numbers(value: object, name: str, *, expected: str) -> tuple[float, float]:
    """Return two finite numbers that somebody gave.

    Args:
        value: what was given.
        name: of the argument, for the error.
        expected: what the two are, for the error.

    Raises:
        ConfigError: it is something else.
    """
    listed = isinstance(value, tuple | list) or (isinstance(value, np.ndarray) and value.ndim == 1)
    numbers: list[Any] = list(value) if listed else []  # type: ignore[call-overload]
    kinds = (int, float, np.integer, np.floating)
    if len(numbers) != 2 or not all(
        isinstance(one, kinds) and not isinstance(one, bool) and -LARGEST <= one <= LARGEST for one in numbers
    ):
        raise ConfigError(f"{name} is {value!r}: expected {expected}.")
    return float(numbers[0]), float(numbers[1])


def refuse_doubled(table: pd.DataFrame, columns: Sequence[str], *, name: str) -> None:
    """Refuse a table in which one of the columns is there twice, with a DataError."""
    if doubled := [column for column in columns if (table.columns == column).sum() > 1]:
        raise DataError(
            f"{name} has the column {doubled[0]!r} more than once, so which one is meant is not clear. Rename or drop "
            "the others."
        )


def _events(
    table: pd.DataFrame, *, time_unit: str, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return points (N, 2), seconds from the first event (N,), and which are clicks (N,), all checked."""
    if not isinstance(table, pd.DataFrame):
        raise DataError(f"{name} is a {type(table).__name__}: expected a table of pandas with a row per event.")
    refuse_doubled(table, COLUMNS, name=name)
    for column, what in (("x", "pixels from the left"), ("y", "pixels from the top"), ("t", "the time")):
        if column not in table.columns:
            raise DataError(
                f"{name} lacks the column {column!r} ({what}); it has {_listed(table)}. Rename the column that has it, "
                f"e.g. `table.rename(columns={{'...': {column!r}}})`."
            )
    if table.empty:
        raise DataError(f"{name} has no events: nothing can be drawn. Leave it out.")
    points = np.stack([_numbers(table[column], name=name) for column in ("x", "y")], axis=1)
    if pd.api.types.is_datetime64_any_dtype(table["t"]):
        if (gaps := table["t"].isna()).any():
            raise DataError(_bad_value(table["t"], gaps.to_numpy(), name=name))
        seconds = (table["t"] - table["t"].iloc[0]).dt.total_seconds().to_numpy(dtype=np.float64)
    else:
        times = _numbers(table["t"], name=name)
        seconds = (times - times[0]) * SECONDS_OF[time_unit]
    if (back := np.diff(seconds) < 0).any():
        row = int(back.argmax()) + 1
        raise DataError(
            f"The times of {name} go back {int(back.sum())} times, first from row {row - 1} to row {row} "
            f"(t = {table['t'].iloc[row - 1]} to {table['t'].iloc[row]}). Events must be in order of time: "
            "`table.sort_values('t', kind='stable')`, one session at a time."
        )
    clicked = np.zeros(len(table), dtype=bool)
    if "click" in table.columns:
        clicked |= _yes_or_no(table["click"], name=name)
    if "event" in table.columns:
        clicked |= table["event"].astype("str").str.strip().str.lower().isin(CLICKS).to_numpy(dtype=bool)
    return points, seconds, clicked


def _listed(table: pd.DataFrame) -> str:
    return ", ".join(map(repr, table.columns[:8])) + (" and more" if len(table.columns) > 8 else "") or "none"


def _numbers(column: pd.Series, *, name: str) -> NDArray[np.float64]:
    """Return a column as finite float64 (N,)."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if (bad := ~np.isfinite(values)).any():
        raise DataError(_bad_value(column, bad, name=name))
    return values


def _bad_value(column: pd.Series, bad: NDArray[np.bool_], *, name: str) -> str:
    row = int(bad.argmax())
    return (
        f"{int(bad.sum())} of {len(column)} values of {column.name!r} in {name} are no numbers, first "
        f"{str(column.iloc[row])[:40]!r} in row {row} (rows count from 0). Drop these events, e.g. "
        f"`table.dropna(subset=[{column.name!r}])`, or mend them."
    )


def _yes_or_no(column: pd.Series, *, name: str) -> NDArray[np.bool_]:
    """Return a column of truth values as bool (N,): bool("False") is true in Python, so words are read as words."""
    words = column.astype("str").str.strip().str.lower().str.removesuffix(".0")
    found = words.map(_YES_NO)
    if (odd := found.isna()).any():
        raise DataError(
            f"The column 'click' of {name} has {str(column[odd].iloc[0])[:40]!r} in row {int(odd.to_numpy().argmax())}:"
            " expected true or false, 1 or 0. A column of words such as 'move' and 'down' is called 'event'."
        )
    return found.to_numpy(dtype=bool)


def _check_on_screen(points: NDArray[np.float64], screen: tuple[int, int] | None, *, name: str) -> None:
    if screen is None:
        return
    outside = ((points < 0) | (points > screen)).any(axis=1)
    if outside.any():
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        raise DataError(
            f"{int(outside.sum())} of {len(points)} events of {name} are not on a screen of {screen[0]} x "
            f"{screen[1]} pixels, first in row {int(outside.argmax())}: x is {left:g} to {right:g}, y is "
            f"{top:g} to {bottom:g}. Say how large the screen was, `screen=(width, height)`, or "
            "`screen=None` to fit each trace into its picture."
        )


def _places(points: NDArray[np.float64], *, size: int, screen: tuple[int, int] | None) -> NDArray[np.float64]:
    """Return where points of the screen lie in the picture, (N, 2) float64; pixel k of a side has its centre at k."""
    if screen is not None:
        corner, extent, room = np.zeros(2), np.array(screen, dtype=np.float64), float(size)
    else:
        margin = _widths(size)[1] + 3  # a dot at the edge is whole
        corner, room = points.min(axis=0), float(size - 2 * margin)
        extent = points.max(axis=0) - corner + 1
    scale = room / extent.max()
    edge = (size - extent * scale) / 2
    places: NDArray[np.float64] = edge + (points - corner + 0.5) * scale - 0.5
    return places


def _widths(size: int) -> tuple[int, int]:
    """Return the width of a line and the radius of a dot, in pixels of the picture."""
    # OpenCV draws a line of a single pixel paler than its colour.
    return max(2, round(size / 112)), max(3, round(size / 56))


def _speeds(points: NDArray[np.float64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the speed between each event and the next, (N - 1,), in screen pixels per second."""
    distance = np.hypot(*np.diff(points, axis=0).T)
    duration = np.diff(seconds)
    timed = duration > SHORTEST
    return np.where(timed, distance / np.where(timed, duration, 1.0), np.where(distance >= 1, np.inf, 0.0))


def _share(speed: NDArray[np.float64], speeds: tuple[float, float]) -> NDArray[np.float64]:
    """Return where a speed lies between the slowest (0) and the fastest (1), by logarithms."""
    slowest, fastest = np.log(speeds)
    share: NDArray[np.float64] = (np.log(np.clip(speed, *speeds)) - slowest) / (fastest - slowest)
    return share
