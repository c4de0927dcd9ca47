"""A cycle that was trained, as `fit_one_cycle` returns it."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.config import Recipe
from kit.train.course import Stage
from kit.train.history import EpochLog, Trained


@dataclass(frozen=True, kw_only=True, eq=False)
class Cycle:
    """What one cycle did: `fit_one_cycle` returns it, and `learn.cycles` keeps it."""

    number: int  # from 1
    stage: Stage  # "head": the body was frozen; or "all"
    recipe: Recipe  # of this cycle alone
    peak_lrs: tuple[float, ...]  # of each depth group, stem first
    seed: int
    trained: Trained
    before: str  # SHA-256 of the weights that it began from
    after: str  # and of those that it left
    images: str  # SHA-256 of the ids of the images that it learned from

    @property
    def history(self) -> tuple[EpochLog, ...]:
        """One entry per epoch."""
        return self.trained.history

    @property
    def losses(self) -> NDArray[np.float32]:
        """(steps,) training loss of each step, nats."""
        return self.trained.losses

    @property
    def lrs(self) -> NDArray[np.float64]:
        """(steps,) learning rate of the head at each step."""
        return self.trained.lrs

    def table(self) -> pd.DataFrame:
        """Return a row per epoch: epoch, train_loss, valid_loss (NaN: nothing held out), the measures, seconds."""
        rows = [
            {
                "epoch": log.epoch,
                "train_loss": log.train_loss,
                "valid_loss": float("nan") if log.valid_loss is None else log.valid_loss,
                **log.measures,
                "seconds": log.seconds,
            }
            for log in self.history
        ]
        return pd.DataFrame(rows).set_index("epoch")

    @property
    def words(self) -> str:
        """What was done and where it led, in a line."""
        last, num = self.history[-1], len(self.history)
        peak, stem = self.peak_lrs[-1], self.peak_lrs[0]
        what = "the head" if self.stage == "head" else "all layers"
        rates = f"{peak:.2g}" if self.stage == "head" or stem == peak else f"{stem:.2g} to {peak:.2g}"
        seen = {"train loss": last.train_loss, "valid loss": last.valid_loss, **last.measures}
        shown = ", ".join(f"{name} {number(value)}" for name, value in seen.items() if value is not None)
        return f"{num} epoch{'s' * (num > 1)} of {what} at {rates}; {shown}"

    def __repr__(self) -> str:
        """Return a line."""
        return f"<cycle {self.number}: {self.words}>"


def number(value: float | None) -> str:
    """Return four digits after the point, or a dash where there is no number; one that runs away is cut short."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.4f}" if abs(value) < 1e4 else f"{value:.1e}"
