"""The learning-rate finder: a sweep of rates over a copy of the network, and what its losses suggest.

Smith 2017 ("Cyclical learning rates", the range test), in the form that fast.ai gave it: the rate grows geometrically
from step to step, and the losses are smoothed. The training itself is not touched: a copy learns, with an optimizer
of its own, and the random generators are put back.
"""

import copy
import math
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from kit.config import Recipe
from kit.errors import TrainingError
from kit.interpret.drawing import BLUE, GREEN, VERMILION, png_of
from kit.store.pack import Pack
from kit.train.course import Course, Stage
from kit.train.engine import Engine
from kit.train.feed import Feed, Step
from kit.train.history import Tick
from kit.train.loss import Objective, epoch_order
from kit.train.model import Network
from kit.train.schedule import MOMENTUM, CyclePoint
from kit.train.state import generators, set_generators

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOWEST, HIGHEST, NUM_STEPS = 1e-7, 10.0, 100  # fast.ai's
SMOOTHING = 0.98  # of the moving average of losses, as in fast.ai
DIVERGED = 4.0  # times the lowest smoothed loss: there the sweep ends
LEFT_OUT = 0.1, 5  # of the suggestions: the first tenth of the sweep, in which the average settles, and the last points
FEWEST_POINTS = 5  # of which something may be suggested


@dataclass(frozen=True, kw_only=True, repr=False)
class LrFind:
    """What a sweep found."""

    stage: Stage
    lrs: NDArray[np.float64]  # (K,) of the head, rising
    losses: NDArray[np.float64]  # (K,) nats, of each step's images
    smoothed: NDArray[np.float64]  # (K,) nats
    valley: float  # the rate in the middle of the longest fall
    steepest: float  # the rate at which the loss falls fastest

    @property
    def suggested(self) -> float:
        """The rate to begin with, as the head's peak: the valley's."""
        return self.valley

    def plot(self, *, title: str = "") -> "Figure":
        """Return a figure of the sweep, see `plot_lr_find`."""
        return plot_lr_find(self, title=title)

    def __repr__(self) -> str:
        """Return a line, as there are too many numbers for more."""
        return (
            f"<LrFind of stage {self.stage!r}: suggested {self.suggested:.2g} (valley), steepest {self.steepest:.2g}; "
            ".plot() draws it>"
        )

    def _repr_html_(self) -> str:
        import base64

        image = base64.b64encode(png_of(self.plot())).decode()
        rates = f"valley {self.valley:.2g}, steepest {self.steepest:.2g}"
        return f"<p>suggested learning rate: {self.suggested:.2g} ({rates})</p>" + (
            f"<img alt='loss over learning rate' style='max-width:100%' src='data:image/png;base64,{image}'>"
        )


def find_lr(
    engine: Engine,
    feed: Feed,
    *,
    course: Course,
    num_train: int,
    stage: Stage,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    num_steps: int = NUM_STEPS,
    tick: Tick = lambda step, total, loss: None,
) -> LrFind:
    """Sweep the learning rate over the steps that `stage` begins with, from the engine's present weights.

    The engine, whatever it is in the middle of, is afterwards what it was, bit by bit, however the sweep ends: so are
    the generators of torch, NumPy and Python. It takes the memory of a second network and optimizer meanwhile.

    The other depth groups' rates keep their ratio to the head's, as the recipe spreads them. Momentum is that at the
    peak of the cycle, for which the rate is sought. The moving average of the weights takes no part.

    Args:
        engine: the network to be trained.
        feed: its images.
        course: the stages of its recipe.
        num_train: rows of the training table.
        stage: which layers learn.
        lowest: rate of the first step.
        highest: rate of the last one.
        num_steps: of the sweep; fewer are done where the loss diverges.
        tick: called after each step.

    Raises:
        TrainingError: the loss never fell, or diverged before there was anything to see.
    """
    lrs = np.geomspace(lowest, highest, num_steps)
    losses: list[float] = []
    smoothed: list[float] = []
    with _generators_kept():
        twin = copy.copy(engine)
        twin.module, twin.scaler, twin.average = copy.deepcopy(engine.module), copy.deepcopy(engine.scaler), None
        peaks = course.peak_lrs_of(stage, num_groups=twin.num_groups)
        twin.begin(stage, [peak / peaks[-1] for peak in peaks])
        twin.train_mode()
        epoch = course.recipe.schedule.frozen_epochs if stage == "all" else 0
        with closing(_steps(engine, feed, course=course, num_train=num_train, first_epoch=epoch)) as steps:
            for number, lr in enumerate(lrs):
                point = CyclePoint(lr=float(lr), momentum=MOMENTUM[1])
                loss = float(twin.step(next(steps), point, number=number, mixes=course.mixes(epoch)))
                if not math.isfinite(loss):
                    break
                losses.append(loss)
                smoothed.append(_next_average(smoothed, loss))
                tick(number + 1, num_steps, loss)
                if smoothed[-1] > DIVERGED * min(smoothed):
                    break
    found = lrs[: len(losses)], np.array(smoothed)
    kept = slice(int(LEFT_OUT[0] * num_steps), max(0, len(losses) - LEFT_OUT[1]))
    valley, steepest = suggestions(found[0][kept], found[1][kept])
    return LrFind(
        stage=stage, lrs=found[0], losses=np.array(losses), smoothed=found[1], valley=valley, steepest=steepest
    )


def find_lr_for(
    network: Network,
    pack: Pack,
    train: pd.DataFrame,
    *,
    recipe: Recipe,
    classes: tuple[str, ...],
    several: bool,
    device: torch.device,
    seed: int,
    stage: Stage,
    tick: Tick = lambda step, total, loss: None,
) -> LrFind:
    """Sweep the learning rate of a stage of a recipe, from where that stage begins; `network` stays as it was.

    Before the stage "all" a copy's head is trained on the frozen body, as the recipe says: from a new head, the sweep
    would show how fast a head learns.

    Args:
        network: from `make_network`.
        pack: holds the images.
        train: rows with `image_id` and the truth.
        recipe: schedule, augmentation, sizes.
        classes: in order.
        several: an image may have any number of labels.
        device: where to train.
        seed: of order, dropout and augmentation.
        stage: "head" or "all".
        tick: called after each step, of the head's training too.

    Raises:
        TrainingError: the loss never fell, or diverged before there was anything to see.
    """
    recipe = replace(recipe, compile="none")  # a hundred steps do not earn back what compiling takes
    with _generators_kept():
        network = replace(network, module=copy.deepcopy(network.module))
        objective = Objective.of(recipe.loss, several=several, train=train, classes=classes, device=device)
        engine = Engine(network, objective, recipe=recipe, num_classes=len(classes), device=device, seed=seed)
        feed = Feed(pack, train["image_id"].tolist(), recipe=recipe, spec=network.input, device=device, seed=seed)
        course = Course(recipe=recipe, steps_per_epoch=feed.steps_per_epoch)
        if stage == "all" and recipe.schedule.frozen_epochs:
            _train_head(engine, feed, course=course, num_train=len(train), tick=tick)
        return find_lr(engine, feed, course=course, num_train=len(train), stage=stage, tick=tick)


@contextmanager
def _generators_kept() -> Iterator[None]:
    before = generators()
    try:
        yield
    finally:
        set_generators(before)


def _steps(engine: Engine, feed: Feed, *, course: Course, num_train: int, first_epoch: int) -> Generator[Step]:
    """Yield steps without end, from those of an epoch (from 0) on, all of that epoch's size."""
    image_size = course.image_size_of(first_epoch)
    epoch = first_epoch
    while True:
        epoch += 1
        order = epoch_order(engine.objective, num_rows=num_train, seed=engine.seed, epoch=epoch)
        yield from feed.steps(order, epoch=epoch, image_size=image_size)


def _train_head(engine: Engine, feed: Feed, *, course: Course, num_train: int, tick: Tick) -> None:
    engine.begin("head", course.peak_lrs_of("head", num_groups=engine.num_groups))
    engine.train_mode()
    total = course.recipe.schedule.frozen_epochs * course.steps_per_epoch
    with closing(_steps(engine, feed, course=course, num_train=num_train, first_epoch=0)) as steps:
        for number in range(total):
            mixes = course.mixes(number // course.steps_per_epoch)
            loss = engine.step(next(steps), course.point_of(number), number=number, mixes=mixes)
            tick(number + 1, total, float(loss))


def _next_average(before: list[float], loss: float) -> float:
    """Return the exponential moving average after `before`, without the bias towards its start at 0."""
    weight_before = 1 - SMOOTHING ** len(before)  # of all losses until now, in the average that begins at 0
    total = SMOOTHING * weight_before * (before[-1] if before else 0.0) + (1 - SMOOTHING) * loss
    return total / (1 - SMOOTHING ** (len(before) + 1))


def suggestions(lrs: NDArray[np.float64], losses: NDArray[np.float64]) -> tuple[float, float]:
    """Return the valley's learning rate and the steepest one.

    The valley is fast.ai's rule (`valley` in fastai/callback/schedule.py, 2021): among all choices of points whose
    losses fall from each to the next, gaps allowed, take the longest, and where it ends; as many points before that
    end as it has are the fall, and its middle is suggested. The steepest rate is where the loss falls most per change
    of the rate's logarithm.

    Args:
        lrs: (K,) rising.
        losses: (K,) smoothed.

    Raises:
        TrainingError: fewer than five points, or the loss never falls.
    """
    if len(lrs) < FEWEST_POINTS:
        raise TrainingError(
            "The loss ran away before the sweep of learning rates had anything to suggest from. Is the data labelled "
            "as it should be (kit look)? With a network that diverges at any rate, try --set schedule.clip_norm=1."
        )
    longest = np.ones(len(losses), dtype=int)  # points of the longest fall that ends here
    for k in range(1, len(losses)):
        longest[k] += longest[:k][losses[:k] > losses[k]].max(initial=0)
    end = int(longest.argmax())
    length = int(longest[end])
    if length == 1:
        raise TrainingError(
            "The loss fell at no learning rate of the sweep, so none is suggested. Is the head new and are labels and "
            "images those of this competition (kit look)? A network that has learned all it can looks like this too."
        )
    third = length / 3
    middle = max(0, end - length + int(third) + int(third / 2))
    slope = np.diff(losses) / np.diff(np.log(lrs))
    return float(lrs[middle]), float(lrs[int(slope.argmin())])


def plot_lr_find(found: LrFind, *, title: str = "") -> "Figure":
    """Return a figure of the sweep: loss against learning rate, both suggestions marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(found.lrs, found.losses, color="0.75", linewidth=1, label="each step")
    axes.plot(found.lrs, found.smoothed, color=BLUE, linewidth=2.5, label="smoothed")
    marks = (("valley", found.valley, VERMILION, "o"), ("steepest", found.steepest, GREEN, "s"))
    for name, lr, colour, marker in marks:
        loss = float(np.interp(np.log(lr), np.log(found.lrs), found.smoothed))
        label = f"{name}: {lr:.2g}"
        axes.plot(lr, loss, marker, color=colour, markersize=11, markeredgecolor="white", label=label, linestyle="none")
    # What a diverging loss reaches would flatten the fall, which is what one looks for; a trained network has none.
    lowest, highest = float(found.smoothed.min()), float(found.smoothed[: (len(found.smoothed) + 1) // 2].max())
    room = max(highest - lowest, highest / 10, 1e-3)
    axes.set_ylim(lowest - 0.25 * room, highest + 0.75 * room)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate of the head")
    axes.set_ylabel("training loss (nats)")
    axes.set_title(title or f"Learning rates, stage {found.stage!r}")
    axes.grid(visible=True, color="0.9")
    axes.legend(frameon=False)
    return figure
