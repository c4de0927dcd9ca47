"""A learner's plots: losses and learning rates over the steps of its cycles."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kit.interpret.drawing import BLUE, VERMILION, sentence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kit.learner.cycle import Cycle

SMOOTHING = 0.98  # of the moving average of losses, as in fast.ai, of many steps
WINDOWS = 12  # of the moving average in a cycle, at least: of few steps 0.98 would show the beginning for long


def loss_figure(
    cycles: Sequence[Sequence[tuple[int, float]]],
    *,
    valid: Sequence[tuple[float, float]] = (),
    num_steps: int = 0,
    figsize: tuple[float, float] = (6.4, 3.2),
) -> "Figure":
    """Return a figure of training losses, smoothed over them, and of held-out ones; dotted lines part the cycles.

    Args:
        cycles: (number of the step, nats) of each cycle's steps.
        valid: (step, nats) at the end of each epoch.
        num_steps: how far the axis goes, at least.
        figsize: inches.
    """
    figure, axes = _axes(figsize, any(cycles))
    if axes is None:
        return figure
    for k, steps in enumerate(cycles):
        numbers, losses = [step for step, _ in steps], [loss for _, loss in steps]
        axes.plot(numbers, losses, color="0.8", linewidth=1)
        axes.plot(numbers, smoothed(losses), color=BLUE, linewidth=2, label="" if k else "training")
        if k:
            axes.axvline(numbers[0] - 0.5, color="0.6", linewidth=1, linestyle=":")
    if valid:
        axes.plot([x for x, _ in valid], [y for _, y in valid], "o-", color=VERMILION, linewidth=2, label="held out")
    axes.set_xlim(0, max(num_steps, cycles[-1][-1][0]) * 1.02)
    # A single wild step would flatten all others.
    top = float(np.quantile([loss for steps in cycles for _, loss in steps], 0.98))
    axes.set_ylim(0, 1.15 * max([top, *(loss for _, loss in valid)]))
    return _finished(figure, axes, "loss (nats)")


def smoothed(losses: Sequence[float]) -> list[float]:
    """Return the exponential moving average of losses, without the bias towards its start at 0."""
    kept = min(SMOOTHING, max(0.0, 1 - WINDOWS / max(1, len(losses))))
    total, weight, found = 0.0, 0.0, []
    for loss in losses:
        total, weight = kept * total + (1 - kept) * loss, kept * weight + (1 - kept)
        found.append(total / weight)
    return found


def losses_of(cycles: Sequence["Cycle"], *, figsize: tuple[float, float] = (8, 4)) -> "Figure":
    """Return a figure of the losses of all cycles, one after the other."""
    first, steps, valid = 0, [], []
    for cycle in cycles:
        steps.append([(first + k, float(loss)) for k, loss in enumerate(cycle.losses, 1)])
        per_epoch = len(cycle.losses) / len(cycle.history)
        seen = [log for log in cycle.history if log.valid_loss is not None]
        valid += [(first + log.epoch * per_epoch, log.valid_loss or 0.0) for log in seen]
        first += len(cycle.losses)
    return loss_figure(steps, valid=valid, figsize=figsize)


def rates_of(cycles: Sequence["Cycle"], *, figsize: tuple[float, float] = (8, 4)) -> "Figure":
    """Return a figure of the learning rates of all cycles: that of the head, and of the stem where it is another."""
    figure, axes = _axes(figsize, bool(cycles))
    if axes is None:
        return figure
    first, lowest, stems = 0, 1.0, 0
    for cycle in cycles:
        numbers = np.arange(first + 1, first + 1 + len(cycle.lrs))
        axes.plot(numbers, cycle.lrs, color=BLUE, linewidth=2, label="" if first else "head")
        ratio = cycle.peak_lrs[0] / cycle.peak_lrs[-1]
        lowest = min(lowest, cycle.peak_lrs[0])
        if cycle.stage == "all" and ratio != 1:
            label = "" if stems else "first layers"
            axes.plot(numbers, cycle.lrs * ratio, color=VERMILION, linewidth=2, linestyle="--", label=label)
            stems += 1
        if first:
            axes.axvline(first + 0.5, color="0.6", linewidth=1, linestyle=":")
        first += len(cycle.lrs)
    axes.set_yscale("log")
    # Each cycle begins at a 25th of its peak and ends at a 100,000th, which would take most of the figure.
    axes.set_ylim(lowest / 50, 2 * max(cycle.peak_lrs[-1] for cycle in cycles))
    return _finished(figure, axes, "learning rate")


def _axes(figsize: tuple[float, float], anything: bool) -> "tuple[Figure, Axes | None]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=figsize, dpi=100, layout="constrained")
    if not anything:
        return sentence(figure, "No step was taken yet."), None
    return figure, figure.add_subplot()


def _finished(figure: "Figure", axes: "Axes", what: str) -> "Figure":
    axes.set_xlabel("step", fontsize=11)
    axes.set_ylabel(what, fontsize=11)
    axes.tick_params(labelsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=11)
    return figure
