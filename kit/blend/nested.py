"""Nested cross-validation: what a way of blending is worth, chosen without the images that it is scored on.

Weights and rules that are chosen on the out-of-fold predictions fit their chance too, and the score on the same images
then flatters. So for each fold the whole choice (which rule, which numbers) is made again on the other folds alone, and
the fold is answered by what was chosen there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.blend.rules import Mixture, Way, fit_mixture
from kit.blend.stack import Stack
from kit.home import fingerprint
from kit.metrics import METRICS, Probabilities, Truth, score


@dataclass(frozen=True, kw_only=True)
class Nested:
    """What nested cross-validation found."""

    answers: Probabilities  # (N, C): each row by what was chosen without its fold
    by_fold: Mapping[int, Mixture]  # fold -> what was chosen without it
    final: Mixture  # chosen with all folds
    scores: Mapping[str, float]  # way -> its score over all folds, each answered by the fit to the others
    naive: float  # of `final` on the very images that it was chosen on
    nested: float  # of `answers`
    metric: str

    @property
    def optimism(self) -> float:
        """By how much the naive score is too good, whatever the metric's direction; naive minus nested."""
        return (self.naive - self.nested) * (1 if METRICS[self.metric].greater_is_better else -1)


def nested_choice(
    stack: Stack,
    truth: Truth,
    *,
    folds: NDArray[np.int64],
    halves: NDArray[np.int64],
    ways: Sequence[Way],
    metric: str,
) -> Nested:
    """Choose a way of blending, and score the choosing.

    With all folds, and again without each fold: every way is fitted to the folds that are left but one and scored on
    that one, in turn; the way with the best score over them together is fitted to all that are left. Of equal ways the
    first one counts.

    Args:
        stack: of N images.
        truth: class indices (N,) or targets (N, C).
        folds: (N,), at least two different ones.
        halves: (N,) of 0 and 1, which part an image is in where only one fold is left to choose on; see `halves_of`.
        ways: what there is to choose between.
        metric: a key of METRICS.
    """
    choice = _Choice(stack, truth, folds, halves, tuple(ways), metric)
    numbers = [int(fold) for fold in np.unique(folds)]
    by_fold, answers = {}, np.empty(stack.probabilities.shape[1:])
    for fold in numbers:
        way, _ = choice.best([other for other in numbers if other != fold])
        by_fold[fold] = choice.fitted(way, folds != fold)
        answers[folds == fold] = by_fold[fold].answer(stack.rows(folds == fold))
    way, scores = choice.best(numbers)
    final = choice.fitted(way, np.full(len(folds), True))
    return Nested(
        answers=answers,
        by_fold=by_fold,
        final=final,
        scores={str(one): value for one, value in scores.items()},
        naive=score(metric, labels=truth, probabilities=final.answer(stack)),
        nested=score(metric, labels=truth, probabilities=answers),
        metric=metric,
    )


def halves_of(groups: Sequence[str], folds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 0 or 1 for each of N images, so that each fold with two groups and more has both, and no group is parted.

    The groups of a fold are put in the order of a hash of their names, and fall to the halves in turn.

    Args:
        groups: (N,) their names.
        folds: (N,).
    """
    halves = np.zeros(len(groups), dtype=np.int64)
    names = np.array(groups, dtype=object)
    for fold in np.unique(folds):
        inside = folds == fold
        order = sorted(set(names[inside]), key=lambda name: fingerprint("blend", name))
        rank = {name: k for k, name in enumerate(order)}
        halves[inside] = [rank[name] % 2 for name in names[inside]]
    return halves


class _Choice:
    """Fits, each done once: the one without the folds j and k serves the choice for either."""

    def __init__(
        self,
        stack: Stack,
        truth: Truth,
        folds: NDArray[np.int64],
        halves: NDArray[np.int64],
        ways: tuple[Way, ...],
        metric: str,
    ) -> None:
        self._stack, self._truth, self._folds, self._halves = stack, truth, folds, halves
        self._ways, self._metric = ways, metric
        self._fits: dict[tuple[Way, bytes], Mixture] = {}

    def fitted(self, way: Way, rows: NDArray[np.bool_]) -> Mixture:
        key = way, rows.tobytes()
        if key not in self._fits:
            self._fits[key] = fit_mixture(way, self._stack.rows(rows), self._truth[rows], metric=self._metric)
        return self._fits[key]

    def best(self, numbers: Sequence[int]) -> tuple[Way, dict[Way, float]]:
        """Return the way that scores best over these folds, and the scores of all."""
        inside = np.isin(self._folds, numbers)
        parts = self._folds if len(numbers) > 1 else self._halves
        sign = 1 if METRICS[self._metric].greater_is_better else -1
        scores: dict[Way, float] = {}
        for way in self._ways:
            answers = np.empty(self._stack.probabilities.shape[1:])
            for part in np.unique(parts[inside]):
                rows = inside & (parts == part)
                answers[rows] = self.fitted(way, inside & ~rows).answer(self._stack.rows(rows))
            scores[way] = score(self._metric, labels=self._truth[inside], probabilities=answers[inside])
        best = max(self._ways, key=lambda way: -np.inf if np.isnan(scores[way]) else sign * scores[way])
        return best, scores
