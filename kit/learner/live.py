"""Training as it is watched: in a notebook a table and a plot that redraw, elsewhere plain lines on stderr."""

import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

from kit.interpret.notebook import escaped, figure_png
from kit.learner.cycle import number
from kit.progress import Counter, Lines, duration, silent
from kit.train.history import EpochLog

REDRAW_SECONDS = 0.5  # between two drawings of what changes in a notebook, at least
PLOT_SECONDS = 2.0  # between two plots, at least
PLOT_SHARE = 0.05  # of the time that drawing them may take


class Live(Protocol):
    """What is told while a cycle trains."""

    def tick(self, step: int, total: int, loss: float) -> None:
        """Take a step."""

    def look(self, num_images: int) -> None:
        """Take held-out images that were looked at."""

    def report(self, log: EpochLog) -> None:
        """Take an epoch."""

    def say(self, line: str) -> None:
        """Take a line on what is not as usual."""

    def close(self) -> None:
        """End, however the training ended."""


def live_for(measures: Sequence[str], *, num_epochs: int, images_per_epoch: int) -> Live:
    """Return what suits the place where this process runs.

    Args:
        measures: their names.
        num_epochs: of the cycle.
        images_per_epoch: that are learned from.
    """
    kind = InNotebook if kernel_display() is not None else InTerminal
    return kind(measures, num_epochs=num_epochs, images_per_epoch=images_per_epoch)


def kernel_display() -> Any:
    """Return IPython.display where a Jupyter kernel runs this process, else None; IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or getattr(shell, "kernel", None) is None:
        return None
    import IPython.display

    return IPython.display


def screen() -> Lines:
    """Return where a count is told: a line of the notebook's cell, or stderr."""
    return InCell() if kernel_display() is not None else Lines()


class InCell(Lines):
    """A line in the output of a notebook's cell, which changes and goes away."""

    def __init__(self) -> None:
        """Begin without a line."""
        super().__init__()
        self._display, self._handle, self._shown = kernel_display(), None, 0.0

    @property
    def is_live(self) -> bool:
        """A cell always can."""
        return True

    def draw(self, text: str) -> None:
        """Show the line, twice a second at most."""
        now = time.monotonic()
        if now - self._shown < REDRAW_SECONDS:
            return
        self._shown = now
        content = self._display.HTML(f"<p>{escaped(text)}</p>")
        if self._handle is None:
            self._handle = self._display.display(content, display_id=True)
        else:
            self._handle.update(content)

    def clear(self) -> None:
        """Take the line away."""
        if self._handle is not None:
            self._handle.update(self._display.HTML(""))


class _Table:
    """What both ways of telling share: the cells of the table."""

    def __init__(self, measures: Sequence[str]) -> None:
        self.measures = tuple(measures)
        self.heads = ["epoch", "train loss", "valid loss", *self.measures, "time"]

    def row(self, log: EpochLog) -> list[str]:
        measured = [number(log.measures.get(name)) for name in self.measures]
        return [str(log.epoch), number(log.train_loss), number(log.valid_loss), *measured, duration(log.seconds)]


class _Count:
    """Counts the images of a cycle."""

    def __init__(self, *, num_epochs: int, images_per_epoch: int, say: Any) -> None:
        self._num_epochs, self._per_epoch, self._say = num_epochs, images_per_epoch, say
        self._counter: Counter | None = None
        self._looking: Counter | None = None

    def look(self, num_images: int) -> Counter:
        if self._looking is None:
            self._looking = Counter("held-out images", say=self._say, unit="images")
        self._looking.add(num_images)
        return self._looking

    def reach(self, step: int, total: int) -> Counter:
        per_step = self._num_epochs * self._per_epoch / total
        if self._counter is None:  # what was done before a stop counts for no rate
            whole, before = self._num_epochs * self._per_epoch, round((step - 1) * per_step)
            self._counter = Counter("", say=self._say, total=whole, unit="images in all", done=before)
        self._counter.what = f"epoch {1 + (step - 1) * self._num_epochs // total} of {self._num_epochs}"
        self._counter.reach(round(step * per_step))
        self._looking = None
        return self._counter


class InTerminal(_Table):
    """A line per epoch on stderr; between them a live one on a terminal, one every ten seconds elsewhere."""

    def __init__(self, measures: Sequence[str], *, num_epochs: int, images_per_epoch: int) -> None:
        """Begin; see `live_for`."""
        super().__init__(measures)
        self.say = Lines()
        self._count = _Count(num_epochs=num_epochs, images_per_epoch=images_per_epoch, say=self.say)
        self._headed = False

    def tick(self, step: int, total: int, loss: float) -> None:
        """Take a step."""
        self._count.reach(step, total)

    def look(self, num_images: int) -> None:
        """Take held-out images that were looked at."""
        self._count.look(num_images)

    def report(self, log: EpochLog) -> None:
        """Take an epoch."""
        widths = [max(len(head), 10 if head == "time" else 6) for head in self.heads]
        if not self._headed:
            self.say("  ".join(head.rjust(width) for head, width in zip(self.heads, widths, strict=True)))
            self._headed = True
        self.say("  ".join(cell.rjust(width) for cell, width in zip(self.row(log), widths, strict=True)))

    def close(self) -> None:
        """Take the live line away."""
        self.say.clear()


class InNotebook(_Table):
    """A table and a plot in the cell's output, redrawn in place."""

    def __init__(self, measures: Sequence[str], *, num_epochs: int, images_per_epoch: int) -> None:
        """Begin; see `live_for`."""
        super().__init__(measures)
        self._num_epochs, self._display = num_epochs, kernel_display()
        self._count = _Count(num_epochs=num_epochs, images_per_epoch=images_per_epoch, say=silent)
        self._said: list[str] = []
        self._logs: list[EpochLog] = []
        self._losses: list[tuple[int, float]] = []
        self._now, self._total, self._pause = "", 1, PLOT_SECONDS
        self._drawn = self._shown = time.monotonic()
        self._table = self._display.display(self._display.HTML(self._page()), display_id=True)
        self._plot: Any = None

    def tick(self, step: int, total: int, loss: float) -> None:
        """Take a step."""
        self._tell(self._count.reach(step, total))
        self._losses.append((step, loss))
        self._total = total
        if time.monotonic() - self._drawn >= self._pause:
            self._draw()

    def look(self, num_images: int) -> None:
        """Take held-out images that were looked at."""
        self._tell(self._count.look(num_images))

    def _tell(self, counter: Counter) -> None:
        now = time.monotonic()
        if now - self._shown >= REDRAW_SECONDS:
            self._shown, self._now = now, str(counter)
            self._redraw()

    def report(self, log: EpochLog) -> None:
        """Take an epoch."""
        self._logs.append(log)
        self._now = ""
        self._redraw()

    def say(self, line: str) -> None:
        """Take a line."""
        self._said.append(line)
        self._redraw()

    def close(self) -> None:
        """Draw what stays."""
        self._now = ""
        self._redraw()
        if self._losses:
            self._draw()

    def _redraw(self) -> None:
        self._table.update(self._display.HTML(self._page()))

    def _page(self) -> str:
        cell = "style='text-align:right;padding:2px 6px'"
        heads = "".join(f"<th {cell}>{escaped(head)}</th>" for head in self.heads)
        rows = "".join(
            "<tr>" + "".join(f"<td {cell}>{escaped(one)}</td>" for one in self.row(log)) + "</tr>" for log in self._logs
        )
        said = "".join(f"<p style='margin:2px 0'>{escaped(line)}</p>" for line in self._said)
        now = f"<p style='margin:2px 0'>{escaped(self._now)}</p>" if self._now else ""
        return f"{said}<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{now}"

    def _draw(self) -> None:
        from kit.learner.plots import loss_figure

        begun, per_epoch = time.monotonic(), self._total / self._num_epochs
        figure = loss_figure(
            [self._losses],
            valid=[(log.epoch * per_epoch, log.valid_loss) for log in self._logs if log.valid_loss is not None],
            num_steps=self._total,
        )
        image = self._display.Image(figure_png(figure))
        if self._plot is None:
            self._plot = self._display.display(image, display_id=True)
        else:
            self._plot.update(image)
        self._drawn = time.monotonic()
        self._pause = max(PLOT_SECONDS, (self._drawn - begun) / PLOT_SHARE)
