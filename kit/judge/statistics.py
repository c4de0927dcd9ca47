"""How sure a score is: 95 % intervals."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.metrics import METRICS, Probabilities, Truth, class_of, score

CONFIDENCE = 0.95
NUM_DRAWS = 1000


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


def score_with_interval(metric: str, *, labels: Truth, probabilities: Probabilities, seed: int = 0) -> Score:
    """Return a metric's value with its interval: Wilson for accuracy and error rate, else a stratified bootstrap.

    Args:
        metric: a key of METRICS.
        labels: the truth: class indices (N,) or targets (N, C).
        probabilities: (N, C).
        seed: of the bootstrap's draws.
    """
    value = score(metric, labels=labels, probabilities=probabilities)
    if metric in ("accuracy", "error_rate"):
        num_right = int((probabilities.argmax(axis=1) == class_of(labels)).sum())
        low, high = wilson_interval(num_right, len(labels))
        if metric == "error_rate":
            low, high = 1 - high, 1 - low
        how = "Wilson"
    else:
        low, high = _bootstrap(metric, labels, probabilities, seed=seed)
        how = f"{'stratified ' if labels.ndim == 1 else ''}bootstrap, {NUM_DRAWS:,} draws"
    return Score(metric=metric, value=value, low=low, high=high, num_images=len(labels), interval=how)


def _bootstrap(metric: str, labels: Truth, probabilities: Probabilities, *, seed: int) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % percentiles over draws with replacement, inside each class where there is one.

    Several or soft labels make no strata: nearly every row would be one of its own, and each draw the same.
    """
    random = np.random.default_rng(seed)
    strata = labels if labels.ndim == 1 else np.zeros(len(labels), dtype=np.int64)
    of_class = [np.flatnonzero(strata == k) for k in np.unique(strata)]
    function = METRICS[metric].function
    draws = np.empty(NUM_DRAWS)
    for k in range(NUM_DRAWS):
        rows: NDArray[np.int64] = np.concatenate([random.choice(rows, size=len(rows)) for rows in of_class])
        draws[k] = function(labels[rows], probabilities[rows])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail])  # a draw may miss all members of a rare class
    return float(low), float(high)


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
