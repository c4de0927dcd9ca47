"""Several trainings of one recipe: over seeds, over folds, and several comparisons at once.

Scores over seeds are independent, given the images. Scores over folds are not: each two networks share most of their
training images, so that the plain standard error is too small, and is not given as one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kit.errors import DataError
from kit.judge.statistics import CONFIDENCE, LEVEL, verdict_on

ROUNDING = 1e-12  # differences of scores that are nearer to each other are equal


@dataclass(frozen=True, kw_only=True)
class SeedMean:
    """The mean score over trainings that differ in the seed alone."""

    values: tuple[float, ...]  # by seed
    mean: float
    deviation: float  # sample standard deviation (ddof 1) of one training
    low: float | None  # 95 % interval of the mean over all seeds, on these very images; None where all are equal
    high: float | None

    def __str__(self) -> str:
        """Return e.g. "0.9412 [0.9350, 0.9474] over 3 seeds (s = 0.0025), on these images"."""
        if self.low is None or self.high is None:
            return f"{self.mean:.4f} over {len(self.values)} seeds on these images, all equal, which gives no interval"
        return (
            f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}] over {len(self.values)} seeds "
            f"(s = {self.deviation:.4f}), on these images"
        )


@dataclass(frozen=True, kw_only=True)
class FoldSpread:
    """How far the folds' scores lie apart. It describes; no interval and no test can be made of it alone."""

    values: tuple[float, ...]  # by fold
    mean: float
    deviation: float  # sample standard deviation (ddof 1)

    def __str__(self) -> str:
        """Return e.g. "0.9412, folds from 0.9301 to 0.9503 (s = 0.0071; descriptive, folds are not independent)"."""
        return (
            f"{self.mean:.4f}, folds from {min(self.values):.4f} to {max(self.values):.4f} "
            f"(s = {self.deviation:.4f}; descriptive, folds are not independent)"
        )


@dataclass(frozen=True, kw_only=True)
class FoldTest:
    """The corrected resampled test of two recipes on the same folds."""

    by_fold: tuple[float, ...]  # second better by so much; negative where it is worse, whatever the metric
    mean: float
    low: float  # 95 % interval of the mean
    high: float
    p_value: float  # two-sided
    verdict: str  # "better", "worse" or "not distinguishable": the second beside the first


def over_seeds(values: Sequence[float]) -> SeedMean:
    """Return the mean over seeds with Student's 95 % interval (standard deviation with ddof 1).

    The interval is about other seeds on the same images. What other images would have shown is not in it. Seeds that
    are all equal tell nothing about chance, and there is none.

    Raises:
        DataError: fewer than two values, which have no spread.
    """
    half, mean, deviation = _student(values, factor=1 / max(1, len(values)), what="seeds")
    low, high = (None, None) if deviation <= ROUNDING * max(1.0, abs(mean)) else (mean - half, mean + half)
    return SeedMean(values=tuple(values), mean=mean, deviation=deviation, low=low, high=high)


def over_folds(values: Sequence[float]) -> FoldSpread:
    """Return mean and spread of the folds' scores, as a description.

    Raises:
        DataError: fewer than two values, which have no spread.
    """
    _, mean, deviation = _student(values, factor=1, what="folds")
    return FoldSpread(values=tuple(values), mean=mean, deviation=deviation)


def compare_folds(
    first: Sequence[float], second: Sequence[float], *, greater_is_better: bool, num_folds: int
) -> FoldTest:
    """Compare two recipes by their scores on the same folds, with the overlap of the training images allowed for.

    The corrected resampled t test (Nadeau and Bengio 2003, "Inference for the generalization error"): the variance of
    the mean of k differences is s^2 (1/k + held out / trained on), and a fold of K holds out 1 / (K - 1) of what it
    trains on. Student's t with k - 1 degrees of freedom. Where all differences are equal, within rounding, they tell
    nothing about chance: p is then that of k tosses of a coin, 2 / 2^k, and the interval is as wide as befits it.

    Args:
        first: a score per fold.
        second: the other recipe's, in the same order of folds.
        greater_is_better: direction of the metric.
        num_folds: K that the images were dealt into; more than the scores where only some folds were trained.

    Raises:
        DataError: the two have not as many scores, fewer than two, or more than there are folds.
    """
    from scipy.stats import t

    if len(first) != len(second) or len(first) > num_folds:
        raise DataError(
            f"Two recipes are compared fold by fold: {len(first)} and {len(second)} scores of {num_folds} folds were "
            "given, and as many of each were expected, at most one per fold. Train both on the same folds."
        )
    sign = 1 if greater_is_better else -1
    by_fold = tuple(sign * (b - a) for a, b in zip(first, second, strict=True))
    factor = 1 / max(1, len(by_fold)) + 1 / max(1, num_folds - 1)
    half, mean, deviation = _student(by_fold, factor=factor, what="folds")
    if deviation <= ROUNDING * max(1.0, abs(mean)):
        p_value = 1.0 if abs(mean) <= ROUNDING else 2.0 ** (1 - len(by_fold))
        half = wide_enough(half, mean=mean, p_value=p_value)
    else:
        p_value = float(2 * t.sf(abs(mean) / (deviation * math.sqrt(factor)), len(by_fold) - 1))
    return FoldTest(
        by_fold=by_fold,
        mean=mean,
        low=mean - half,
        high=mean + half,
        p_value=p_value,
        verdict=verdict_on(mean, p_value=p_value),
    )


def wide_enough(half: float, *, mean: float, p_value: float) -> float:
    """Return half the width of an interval that says no more than a p which was found in another way.

    Below 0.05 that of the normal difference with this p; else at least up to zero.

    Args:
        half: half the width that was found, which is never made less.
        mean: the middle of the interval.
        p_value: two-sided, of the mean.
    """
    from scipy.stats import norm

    share = 1.0 if p_value >= LEVEL else float(norm.isf(LEVEL / 2) / norm.isf(p_value / 2))
    return max(half, abs(mean) * share)


def _student(values: Sequence[float], *, factor: float, what: str) -> tuple[float, float, float]:
    """Return half the width of Student's interval of the mean, the mean, and the standard deviation (ddof 1).

    Args:
        values: at least two.
        factor: by which the values' variance is multiplied to be that of their mean.
        what: the values are of, for the message.
    """
    from scipy.stats import t

    if len(values) < 2:
        raise DataError(
            f"A spread over {what} needs at least two, and there are {len(values)}. Train with more {what}, or give "
            "the one score with its interval over images."
        )
    deviation = float(np.std(values, ddof=1))
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * deviation * math.sqrt(factor)
    return half, float(np.mean(values)), deviation


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return the p values of several comparisons, corrected for their number (Holm 1979), by statsmodels.

    The chance that any of them is below 0.05 although nothing differs stays at most 5 %.

    Args:
        p_values: by name of the comparison, each in [0, 1].
    """
    from statsmodels.stats.multitest import multipletests

    if not p_values:
        return {}
    corrected = multipletests(list(p_values.values()), alpha=LEVEL, method="holm")[1]
    return {name: float(p) for name, p in zip(p_values, corrected, strict=True)}
