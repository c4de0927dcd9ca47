"""The stack: several networks' answers to the same images, as arrays that the rules of blending work on."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kit.metrics import Probabilities


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What R networks say about N images of C classes."""

    probabilities: NDArray[np.float64]  # (R, N, C)
    ranks: NDArray[np.float64]  # (R, N, C) in (0, 1), see `ranks_of`
    several: bool = False  # an image may have any number of labels: rows need not sum to 1

    @classmethod
    def of(cls, probabilities: NDArray[np.float64], *, parts: NDArray[np.int64], several: bool = False) -> "Stack":
        """Build a stack; `parts` (R, N) names the network that made each row, see `ranks_of`."""
        return cls(probabilities=probabilities, ranks=ranks_of(probabilities, parts), several=several)

    def rows(self, chosen: NDArray[np.bool_]) -> "Stack":
        """Return the stack of some of the images, `chosen` being (N,); their ranks stay those among all."""
        return replace(self, probabilities=self.probabilities[:, chosen], ranks=self.ranks[:, chosen])


def ranks_of(probabilities: NDArray[np.float64], parts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (R, N, C): each class's probabilities as mid-ranks in (0, 1), among the images of one part.

    The images of one part were predicted by one network: those of a fold, or all test images. No label is looked at.

    Args:
        probabilities: (R, N, C).
        parts: (R, N).
    """
    from scipy.stats import rankdata

    found = np.empty_like(probabilities)
    for run, of_run in enumerate(parts):
        for part in np.unique(of_run):
            rows = np.flatnonzero(of_run == part)
            found[run, rows] = (rankdata(probabilities[run, rows], axis=0) - 0.5) / len(rows)
    return found


def arithmetic(stacked: NDArray[np.float64], weights: NDArray[np.float64]) -> Probabilities:
    """Return (N, C): the weighted mean over the networks of (R, N, C), weights (R,) of sum 1."""
    mixed: Probabilities = np.tensordot(weights, stacked, axes=1)
    return mixed


def geometric(stacked: NDArray[np.float64], weights: NDArray[np.float64], *, several: bool) -> Probabilities:
    """Return (N, C): the weighted geometric mean, scaled so that yes and no, or all classes, sum to 1 again.

    Args:
        stacked: (R, N, C); kept off 0, and with several labels off 1, by 1e-7.
        weights: (R,), sum 1.
        several: each class is a question of its own.
    """
    kept = np.clip(stacked, 1e-7, 1 - 1e-7 if several else None)
    yes = np.tensordot(weights, np.log(kept), axes=1)
    if several:
        no = np.tensordot(weights, np.log1p(-kept), axes=1)
        return np.asarray(1 / (1 + np.exp(no - yes)), dtype=np.float64)
    return scaled(np.exp(yes - yes.max(axis=1, keepdims=True)))


def mean_rank(ranks: NDArray[np.float64], weights: NDArray[np.float64], *, several: bool) -> Probabilities:
    """Return (N, C): the weighted mean of ranks; rows of one label are scaled to sum to 1 (two classes' do so)."""
    mixed = arithmetic(ranks, weights)
    return mixed if several else scaled(mixed)


def scaled(values: NDArray[np.float64]) -> Probabilities:
    """Return rows divided by their sums."""
    return np.asarray(values / values.sum(axis=1, keepdims=True), dtype=np.float64)


def shifted(probabilities: Probabilities, thresholds: tuple[float, ...], *, several: bool) -> Probabilities:
    """Return probabilities whose odds are divided by those of the thresholds, so that 1/2 is where they were.

    Args:
        probabilities: (N, C).
        thresholds: one per class with several labels; else one, of the second class of two. Empty: as they are.
        several: an image may have any number of labels.
    """
    if not thresholds:
        return probabilities
    yes = probabilities if several else probabilities[:, 1:]
    border = np.asarray(thresholds)
    moved = yes * (1 - border) / (yes * (1 - border) + (1 - yes) * border)
    return np.asarray(moved if several else np.hstack([1 - moved, moved]), dtype=np.float64)
