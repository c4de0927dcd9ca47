"""Diversity: how differently the members of a blend answer, pair by pair."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.blend.stack import Stack
from kit.metrics import THRESHOLD, Truth, class_of, targets_of


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two members, by their places, and how they differ (Kuncheva and Whitaker 2003)."""

    first: int
    second: int
    disagreement: float  # share of the answers that are not the same
    errors: float | None  # correlation of being wrong, in [-1, 1]; None where one of the two is always right, or wrong
    q: float | None  # Yule's Q of the same, in [-1, 1]; None where it is 0 / 0


def diversity(stack: Stack, truth: Truth) -> list[Pair]:
    """Return every pair of members.

    An answer is an image's most probable class, or with several labels each yes or no for a class.

    Args:
        stack: of N images.
        truth: class indices (N,) or targets (N, C).
    """
    answers = [one >= THRESHOLD if stack.several else one.argmax(axis=1) for one in stack.probabilities]
    right = targets_of(truth, stack.probabilities.shape[2]) > 0.5 if stack.several else class_of(truth)
    wrong = [np.ravel(answer != right) for answer in answers]
    return [
        Pair(
            first=i,
            second=j,
            disagreement=float(np.mean(answers[i] != answers[j])),
            errors=_correlation(wrong[i], wrong[j]),
            q=_yule(wrong[i], wrong[j]),
        )
        for i in range(len(answers))
        for j in range(i + 1, len(answers))
    ]


def _correlation(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float | None:
    if a.all() or b.all() or not a.any() or not b.any():
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _yule(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float | None:
    same = int((a & b).sum()) * int((~a & ~b).sum())
    other = int((a & ~b).sum()) * int((~a & b).sum())
    return (same - other) / (same + other) if same + other else None
