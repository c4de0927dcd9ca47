"""The rules: ways to make one answer of several, and how each is fitted to images whose truth is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.blend.stack import Stack, arithmetic, geometric, mean_rank, shifted
from kit.judge.calibration import fitted_temperature, with_temperature
from kit.metrics import METRICS, Probabilities, Truth, score, targets_of

UNFITTED = ("mean", "geometric", "rank")  # nothing is chosen by the truth
FITTED = ("best", "weights", "greedy")
RULES = (*UNFITTED, *FITTED)
RANKING = ("roc_auc", "mean_columnwise_roc_auc")  # metrics that only ask for the order of the images
GREEDY_STEPS = 30
LOWEST_SHARE = 1e-3  # smaller weights are rounding errors of the optimiser
GRID = tuple(round(0.025 * k, 3) for k in range(1, 40))  # thresholds that are tried


@dataclass(frozen=True, kw_only=True)
class Way:
    """What may be chosen between: a rule and what is done with its answer."""

    rule: str  # one of RULES
    finish: str = ""  # temperature, threshold, thresholds (one per class), or nothing

    def __str__(self) -> str:
        """Return e.g. "greedy, temperature"."""
        return f"{self.rule}, {self.finish}" if self.finish else self.rule


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """A way with its numbers: makes one answer of a stack of any images."""

    way: Way
    weights: tuple[float, ...]  # (R,), sum 1
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()  # see `kit.blend.stack.shifted`

    def answer(self, stack: Stack) -> Probabilities:
        """Return (N, C); rows sum to 1 unless an image may have several labels."""
        mixed = _mixed(self.way.rule, stack, np.asarray(self.weights))
        if self.way.finish == "temperature":
            mixed = with_temperature(mixed, self.temperature)
        return shifted(mixed, self.thresholds, several=stack.several)


def ways_for(metric: str, *, rules: Sequence[str], num_classes: int, several: bool) -> list[Way]:
    """Return what there is to choose between for a metric, the plainer first.

    Mean ranks are offered to metrics that only ask for an order, a temperature to log loss, thresholds to metrics that
    ask for labels, or for one class of two.

    Args:
        metric: a key of METRICS.
        rules: out of RULES.
        num_classes: C.
        several: an image may have any number of labels.
    """
    takes = METRICS[metric].takes
    finishes = [""]
    if metric == "log_loss":
        finishes.append("temperature")
    elif takes == "labels":
        finishes += ["threshold", "thresholds"]
    elif takes == "classes" and num_classes == 2 and not several:
        finishes.append("threshold")
    fitting = [rule for rule in rules if rule != "rank" or metric in RANKING]
    return [Way(rule=rule, finish=finish) for finish in finishes for rule in fitting]


def fit_mixture(way: Way, stack: Stack, truth: Truth, *, metric: str) -> Mixture:
    """Return `way` with the numbers that are best for these images.

    Args:
        way: what to fit.
        stack: of N images.
        truth: class indices (N,) or targets (N, C).
        metric: a key of METRICS.
    """
    num_runs = len(stack.probabilities)
    if way.rule == "best":
        weights = _one_hot(_best(list(stack.probabilities), truth, metric=metric, several=stack.several), num_runs)
    elif way.rule == "weights":
        weights = simplex_weights(stack, truth)
    elif way.rule == "greedy":
        weights = greedy_weights(stack, truth, metric=metric)
    else:
        weights = np.full(num_runs, 1 / num_runs)
    mixed = _mixed(way.rule, stack, weights)
    temperature, thresholds = 1.0, tuple[float, ...]()
    if way.finish == "temperature":
        temperature = fitted_temperature(truth, mixed)
    elif way.finish:
        thresholds = best_thresholds(
            mixed, truth, metric=metric, several=stack.several, by_class=way.finish == "thresholds"
        )
    return Mixture(way=way, weights=tuple(map(float, weights)), temperature=temperature, thresholds=thresholds)


def simplex_weights(stack: Stack, truth: Truth) -> NDArray[np.float64]:
    """Return (R,) weights >= 0 of sum 1 with the least log loss of the weighted mean, by scipy's SLSQP.

    The log loss is the smooth stand-in for every metric, binary per class where there are several labels. It is convex
    in the weights, so that the place where the search begins (equal weights) does not matter.

    Args:
        stack: of N images.
        truth: class indices (N,) or targets (N, C).
    """
    from scipy.optimize import LinearConstraint, minimize

    num_runs, num_images, num_classes = stack.probabilities.shape
    targets = targets_of(truth, num_classes)
    kept = np.clip(stack.probabilities, 1e-12, 1 - 1e-12)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        mixed = np.clip(arithmetic(kept, weights), 1e-12, 1 - 1e-12)
        value = -(targets * np.log(mixed)).sum()
        slope = -targets / mixed
        if stack.several:
            value -= ((1 - targets) * np.log(1 - mixed)).sum()
            slope += (1 - targets) / (1 - mixed)
        return float(value / num_images), np.einsum("rnc,nc->r", kept, slope) / num_images

    found = minimize(
        loss,
        np.full(num_runs, 1 / num_runs),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * num_runs,
        constraints=LinearConstraint(np.ones((1, num_runs)), 1.0, 1.0),
        options={"maxiter": 500, "ftol": 1e-10},
    )
    weights = np.where(found.x < LOWEST_SHARE, 0.0, found.x)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def greedy_weights(stack: Stack, truth: Truth, *, metric: str, num_steps: int = GREEDY_STEPS) -> NDArray[np.float64]:
    """Return (R,) weights by greedy selection with replacement (Caruana et al. 2004).

    Each step adds the network with which the mean of all that were added scores best, and may add one again; of the
    means on the way the best one counts, the earliest of equals. Where several score the same, the log loss decides.

    Args:
        stack: of N images.
        truth: class indices (N,) or targets (N, C).
        metric: a key of METRICS.
        num_steps: networks to add, at least 1.
    """
    num_runs = len(stack.probabilities)
    counts, total = np.zeros(num_runs), np.zeros(stack.probabilities.shape[1:])
    best: tuple[float, NDArray[np.float64]] | None = None
    for step in range(1, num_steps + 1):
        tried = [(total + one) / step for one in stack.probabilities]
        chosen = _best(tried, truth, metric=metric, several=stack.several)
        counts[chosen] += 1
        total += stack.probabilities[chosen]
        value = _value(tried[chosen], truth, metric=metric)
        if best is None or value > best[0] + 1e-12:
            best = value, counts / step
    assert best is not None
    return best[1]


def best_thresholds(
    probabilities: Probabilities, truth: Truth, *, metric: str, several: bool, by_class: bool
) -> tuple[float, ...]:
    """Return the thresholds out of GRID that score best, of equals the nearest to 1/2.

    Args:
        probabilities: (N, C).
        truth: class indices (N,) or targets (N, C).
        metric: a key of METRICS.
        several: an image may have any number of labels; else there are two classes, and one threshold.
        by_class: then go on from the common one, class by class, once.
    """
    num = probabilities.shape[1] if several else 1
    by_nearness = sorted(GRID, key=lambda border: (abs(border - 0.5), border))

    def value(thresholds: Sequence[float]) -> float:
        return _value(shifted(probabilities, tuple(thresholds), several=several), truth, metric=metric)

    common = max(by_nearness, key=lambda border: value([border] * num))
    chosen = [common] * num
    for column in range(num) if by_class else ():
        options = [[*chosen[:column], border, *chosen[column + 1 :]] for border in (chosen[column], *by_nearness)]
        chosen = max(options, key=value)
    return tuple(chosen)


def _mixed(rule: str, stack: Stack, weights: NDArray[np.float64]) -> Probabilities:
    if rule == "geometric":
        return geometric(stack.probabilities, weights, several=stack.several)
    if rule == "rank":
        return mean_rank(stack.ranks, weights, several=stack.several)
    return arithmetic(stack.probabilities, weights)


def _one_hot(place: int, num: int) -> NDArray[np.float64]:
    weights = np.zeros(num)
    weights[place] = 1.0
    return weights


def _best(answers: Sequence[Probabilities], truth: Truth, *, metric: str, several: bool) -> int:
    """Return the place of the answer that scores best; among equals the log loss decides, then the first."""
    values = np.array([_value(one, truth, metric=metric) for one in answers])
    equal = np.flatnonzero(values >= values.max() - 1e-12)
    if len(equal) <= 1:
        return int(values.argmax())
    losses = np.array([_log_loss(answers[int(place)], truth, several=several) for place in equal])
    return int(equal[np.flatnonzero(losses <= losses.min() + 1e-12)[0]])


def _value(answer: Probabilities, truth: Truth, *, metric: str) -> float:
    """Return the score, greater being better; minus infinity where the metric is not defined."""
    found = score(metric, labels=truth, probabilities=answer)
    if np.isnan(found):
        return float("-inf")
    return found if METRICS[metric].greater_is_better else -found


def _log_loss(answer: Probabilities, truth: Truth, *, several: bool) -> float:
    targets: Any = targets_of(truth, answer.shape[1])
    kept = np.clip(answer, 1e-15, 1 - 1e-15)
    loss = -(targets * np.log(kept)).sum(axis=1)
    if several:
        loss = loss - ((1 - targets) * np.log(1 - kept)).sum(axis=1)
    return float(loss.mean())
