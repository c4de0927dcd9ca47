"""Progress: how a stage tells what it is doing, in lines, and in counts with their rate and the time that is left."""

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from time import monotonic
from types import TracebackType
from typing import TypeAlias, TypeVar

Say: TypeAlias = Callable[[str], None]  # takes one line; the command line prints it to stderr
T = TypeVar("T")

QUIET_SECONDS = 2.0  # what is over by then says nothing
LINE_SECONDS = 10.0  # between two lines of a count, where there is no terminal
DRAW_SECONDS = 0.1  # between two drawings of a count, on a terminal
RATE_SECONDS, RATE_POINTS = 30.0, 10  # over which a rate is taken, at least: training may change its pace
COLUMNS = 80  # of a terminal that does not say


class Lines:
    """A `Say` that prints to stderr, and on a terminal keeps one live line below what it has printed.

    A terminal that says of itself that it is dumb (TERM=dumb), a file and a pipe get plain lines alone.
    """

    def __init__(self, *, prefix: str = "", above: "Lines | None" = None) -> None:
        """Begin without a live line.

        Args:
            prefix: before each line.
            above: whose screen is shared, see `within`.
        """
        self._prefix, self._above = prefix, above
        self._lock = threading.RLock()
        self._drawn = False

    @property
    def is_live(self) -> bool:
        """Whether a live line can be drawn."""
        return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def __call__(self, line: str) -> None:
        """Print one line, above the live one."""
        if self._above is not None:
            self._above(self._prefix + line)
            return
        with self._lock:
            self.clear()
            print(self._prefix + line, file=sys.stderr, flush=True)

    def draw(self, text: str) -> None:
        """Draw the live line anew, cut to the terminal's width."""
        if self._above is not None:
            self._above.draw(self._prefix + text)
            return
        with self._lock:
            columns = COLUMNS
            with contextlib.suppress(OSError, ValueError):
                columns = os.get_terminal_size(sys.stderr.fileno()).columns or COLUMNS
            self._drawn = True  # before it is: a Ctrl-C may come between
            print(f"\r{(self._prefix + text)[: columns - 1]}\x1b[K", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Remove the live line."""
        if self._above is not None:
            self._above.clear()
            return
        with self._lock:
            if self._drawn:
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)
                self._drawn = False

    def within(self, name: str) -> "Lines":
        """Return a `Say` of the same screen, whose lines and counts begin with `name` and a colon."""
        return Lines(prefix=f"{name}: ", above=self)


def within(say: Say, name: str) -> Say:
    """Return a `Say` whose lines begin with `name` and a colon; live where `say` is."""
    return say.within(name) if isinstance(say, Lines) else lambda line: say(f"{name}: {line}")


def silent(line: str) -> None:
    """Say nothing: for callers who do not want to hear."""


class Counter:
    """Tells how much of something is done, how fast it goes and how long it will take; nothing if it is quick.

    Where `say` is `Lines` on a terminal, one live line is drawn; else lines are said, one each `LINE_SECONDS`. An `add`
    costs 0.25 µs of a core, a `reach` 0.12 µs, unless something is due. `add` may be called by any thread.
    """

    def __init__(
        self, what: str, *, say: Say, total: int | None = None, unit: str = "", done: int = 0, scale: float = 1
    ) -> None:
        """Begin to count; use it in a `with`, which takes the live line away.

        Args:
            what: a verb and its object, e.g. "decoding".
            say: where it is told.
            total: how many there will be; None: not known.
            unit: of the numbers, in the plural, e.g. "images".
            done: how many were there before we began; they do not count for the rate.
            scale: how many make one of the unit, e.g. 1e6 bytes a MB.
        """
        self.what, self.total, self.unit, self.done = what, total, unit, done
        self._say, self._scale = say, scale
        self._live = isinstance(say, Lines) and say.is_live
        self._lock = threading.Lock()
        self._began = monotonic()
        self._points: deque[tuple[float, int]] = deque([(self._began, done)])
        self._due = self._began + QUIET_SECONDS
        self._shown = False

    def __enter__(self) -> "Counter":
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Take the live line away; say how long it took, if that was long and all went well."""
        if not self._shown:
            return
        if self._live and isinstance(self._say, Lines):
            self._say.clear()
        if kind is None:
            self._say(f"{self.what}: {self._number(self.done)}{self._unit} in {duration(monotonic() - self._began)}")

    def add(self, number: int = 1) -> None:
        """Count `number` more."""
        with self._lock:
            self.done += number
        if monotonic() >= self._due:
            self._tell()

    def reach(self, done: int, total: int | None = None) -> None:
        """Say that `done` are done, and perhaps of how many; fewer than before begin a count of another thing."""
        self.done = done
        self.total = self.total if total is None else total
        if monotonic() >= self._due:
            self._tell()

    def __str__(self) -> str:
        """Return e.g. "decoding: 1,200 of 7,349 images, 240 a second, 26 s left"."""
        text, rate = self._amount, self.rate / self._scale
        if not rate:
            return text
        speed = f"{rate:,.{0 if rate >= 10 else 1}f} a second" if rate >= 1 else f"{1 / rate:.1f} s each"
        left = "" if self.total is None else f", {duration(max(0, self.total - self.done) / self.rate)} left"
        return f"{text}, {speed}{left}"

    @property
    def rate(self) -> float:
        """How many a second, over the last `RATE_SECONDS`."""
        then, before = self._points[0]
        return max(0, self.done - before) / max(1e-9, monotonic() - then)

    def _tell(self) -> None:
        with self._lock:  # of several threads one tells
            now = monotonic()
            if now < self._due:
                return
            self._due = now + (DRAW_SECONDS if self._live else LINE_SECONDS)
            if self.done < self._points[-1][1]:
                self._points.clear()
            text = str(self) if self._points else self._amount
            if not self._points or self.done != self._points[-1][1]:
                self._points.append((now, self.done))
            while len(self._points) > RATE_POINTS and now - self._points[1][0] > RATE_SECONDS:
                self._points.popleft()
            self._shown = True
        if self._live and isinstance(self._say, Lines):
            self._say.draw(text)
        else:
            self._say(text)

    def _number(self, number: int) -> str:
        return f"{number / self._scale:,.0f}"

    @property
    def _amount(self) -> str:
        of = "" if self.total is None else f" of {self._number(self.total)}"
        return f"{self.what}: {self._number(self.done)}{of}{self._unit}"

    @property
    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""


def counted(things: Iterable[T], what: str, *, say: Say, total: int | None = None, unit: str = "") -> Iterator[T]:
    """Yield `things`, and tell as `Counter` does how many were taken and how long the rest will take.

    Args:
        things: what is gone through.
        what: e.g. "decoding".
        say: where it is told.
        total: how many there are; None: their length, if they have one.
        unit: of the numbers, e.g. "images".
    """
    if total is None and isinstance(things, Sized):
        total = len(things)
    with Counter(what, say=say, total=total, unit=unit) as counter:
        for thing in things:
            yield thing
            counter.add()


def duration(seconds: float) -> str:
    """Return seconds as people say them: "8 s", "3 min 20 s", "2 h 5 min", "3 days 4 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 and whole % 60 else f"{round(whole / 60)} min"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} days {whole % 86400 // 3600} h"
