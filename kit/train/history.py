"""What training leaves behind: a line per epoch, a number per step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class EpochLog:
    """One line of the training table."""

    epoch: int  # over both stages, from 1
    stage: str  # "head" (frozen body) or "all"
    lr: float  # of the head, at the epoch's last step
    image_size: int  # pixels
    train_loss: float  # mean over the epoch's steps, nats
    valid_loss: float | None  # on the held-out fold, nats; None without one
    valid_accuracy: float | None  # of several labels: all of them and no other
    seconds: float
    images_per_second: float  # of training alone
    measures: Mapping[str, float] = field(default_factory=dict)  # more of the held-out fold, that somebody asked for


Tick: TypeAlias = Callable[[int, int, float], None]  # step, steps in all, loss
Report: TypeAlias = Callable[[EpochLog], None]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What training left behind."""

    history: tuple[EpochLog, ...]
    losses: NDArray[np.float32]  # (steps,) nats
    lrs: NDArray[np.float64]  # (steps,) of the head
    minutes: float
    best_epoch: int | None  # lowest validation loss; its weights are `best.safetensors`, for a look, not for scores
    resumed_at: int  # the step from which this process went on; 0: from the start
    notes: tuple[str, ...]  # what was chosen for the recipe (weights of classes, where the images are), and what the
    # training was changed to when memory ran out
    micro_batch: int  # images at once in each process, in the end: fewer than the recipe's if memory ran out
    too_many: int | None  # images at once for which there was no memory, the last time that it ran out

    @property
    def num_steps(self) -> int:
        """Optimizer steps, over both stages."""
        return len(self.losses)
