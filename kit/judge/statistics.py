"""How sure a score is: 95 % intervals, and the words for a difference."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.judge.bootstrap import bca_interval, draws_of, no_spread, strata_of, weighted
from kit.metrics import Probabilities, Truth, score
from kit.progress import Say, silent

CONFIDENCE = 0.95
LEVEL = 0.05  # of a two-sided test: below it a difference is called one
NUM_DRAWS = 1000
SHARES = ("accuracy", "error_rate", "top5_accuracy", "micro_f1", "exact_match")  # of images: right or wrong
# Means of numbers in [0, 1], which vary at most as right and wrong do: p (1 - p) (Bhatia and Davis 2000).
BOUNDED_MEANS = ("mean_f1", "map5")
BETTER, WORSE, NOT_DISTINGUISHABLE, NO_VERDICT = "better", "worse", "not distinguishable", "no verdict"


def verdict_on(difference: float, *, p_value: float) -> str:
    """Return the word for a difference, positive where better, by its two-sided p at a level of 5 %."""
    if p_value >= LEVEL:
        return NOT_DISTINGUISHABLE
    return BETTER if difference > 0 else WORSE


@dataclass(frozen=True, kw_only=True)
class Score:
    """A number with its 95 % interval."""

    metric: str
    value: float
    low: float
    high: float
    num_images: int
    interval: str  # how it was made

    def __str__(self) -> str:
        """Return e.g. "accuracy 0.9944 [0.9897, 0.9970], n = 1,797"."""
        return f"{self.metric} {self.value:.4f} [{self.low:.4f}, {self.high:.4f}], n = {self.num_images:,}"


def wilson_interval(num_right: int, num_images: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share (Wilson 1927), by scipy."""
    from scipy.stats import binomtest

    found = binomtest(num_right, num_images).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def score_with_interval(
    metric: str, *, labels: Truth, probabilities: Probabilities, seed: int = 0, say: Say = silent
) -> Score:
    """Return a metric's value with its 95 % interval: Wilson's for shares of images, else a stratified bootstrap's.

    The bootstrap draws images inside each class (see `drawn_counts`), and its interval is Efron's BCa: it is about
    other images of the same classes in the same numbers. Where all draws are alike, as where every answer is right, it
    can tell nothing, and Wilson's interval is given for a mean of numbers in [0, 1], none for other metrics.

    Args:
        metric: a key of METRICS.
        labels: the truth: class indices (N,) or targets (N, C).
        probabilities: (N, C).
        seed: of the bootstrap's draws.
        say: takes lines of progress.
    """
    value = score(metric, labels=labels, probabilities=probabilities)
    num_images = len(labels)
    if metric in SHARES:
        (low, high), how = wilson_interval(round(value * num_images), num_images), "Wilson"
    else:
        answers = np.asarray(probabilities, dtype=np.float64)
        drawn = weighted(metric, labels, answers)
        draws = draws_of(drawn, strata_of(labels), num_draws=NUM_DRAWS, seed=seed, say=say)
        low, high = bca_interval(draws, value, confidence=CONFIDENCE)
        how = f"{'stratified ' if labels.ndim == 1 else ''}bootstrap, {NUM_DRAWS:,} draws, BCa"
        if no_spread(draws):
            how = "none: all draws of a bootstrap are alike"
            if value in (0, 1) and metric in (*BOUNDED_MEANS, "mean_per_class_accuracy", "macro_f1"):
                low, high = wilson_interval(round(value * num_images), num_images)
                how = "Wilson, since all draws of a bootstrap are alike"
    return Score(metric=metric, value=value, low=low, high=high, num_images=num_images, interval=how)


def confusion_matrix(labels: NDArray[np.int64], probabilities: Probabilities) -> NDArray[np.int64]:
    """Return (C, C) counts: row = true class, column = predicted class."""
    num_classes = probabilities.shape[1]
    cells = labels * num_classes + probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.int64)


def most_confused(
    matrix: NDArray[np.int64], classes: tuple[str, ...], *, min_count: int = 1
) -> list[tuple[str, str, int]]:
    """Return (true class, predicted class, count) off the diagonal, most frequent first."""
    off = matrix.copy()
    np.fill_diagonal(off, 0)
    pairs = [
        (classes[i], classes[j], int(off[i, j])) for i, j in zip(*np.nonzero(off >= max(1, min_count)), strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))
