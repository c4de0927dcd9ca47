"""The two submissions that count: the best out of fold, and the one within noise of it that differs most from it.

The public score is not asked: who picks by it picks the luckiest on a part of the images. The second one is there for
the case that the first fails on the hidden images: the less the two answer alike, the less they fail together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kit.errors import DataError
from kit.judge.paired import compare_pairs
from kit.kaggle.noise import OutOfFold
from kit.kaggle.submissions import Submission
from kit.metrics import METRICS

FileOf = Callable[[Submission], Path]  # the file as it was sent


@dataclass(frozen=True, kw_only=True)
class Finals:
    """Two submissions, or one where there is no second."""

    first: Submission
    second: Submission | None
    difference: float  # between the two, in [0, 1]: see `difference_of`
    words: tuple[str, ...]  # why these


def recommend(submissions: list[Submission], *, out_of_fold: OutOfFold, file_of: FileOf) -> Finals | None:
    """Recommend two finals among the submissions that have a score; None where none of them is of a run with folds."""
    known = {one.sha256: one for one in submissions if one.scored and one.out_of_fold and one.metric in METRICS}
    candidates = list(known.values())  # a file that was sent twice counts once
    if not candidates:
        return None
    sign = 1 if METRICS[candidates[0].metric].greater_is_better else -1
    first, *others = sorted(candidates, key=lambda one: -sign * _value(one))
    said = [f"{first.ref} ({first.run}): best out of fold, {first.out_of_fold}."]
    if not others:
        return Finals(first=first, second=None, difference=0.0, words=(*said, "There is no other one with folds."))
    within = [one for one in others if _within_noise(first, one, out_of_fold=out_of_fold)]
    differences = {one.sha256: difference_of(file_of(first), file_of(one)) for one in within or others[:1]}
    second = max(within or others[:1], key=lambda one: (differences[one.sha256], sign * _value(one)))
    difference = differences[second.sha256]
    said.append(
        f"{second.ref} ({second.run}): {second.out_of_fold}, not distinguishable from the best out of fold, and of "
        f"{len(within)} such the one that answers most differently ({100 * difference:.2g} %)."
        if within
        else f"{second.ref} ({second.run}): {second.out_of_fold}; all others are worse than the best by more than "
        f"noise, and this is the next ({100 * difference:.2g} % of its answers differ)."
    )
    return Finals(first=first, second=second, difference=difference, words=tuple(said))


def _value(one: Submission) -> float:
    assert one.out_of_fold is not None
    return one.out_of_fold.value


def _within_noise(best: Submission, other: Submission, *, out_of_fold: OutOfFold) -> bool:
    """Tell whether the out-of-fold scores of two submissions may be equal: by pairs, or by the best one's interval."""
    one, two = out_of_fold(best.run), out_of_fold(other.run)
    if one is not None and two is not None:
        try:
            return not compare_pairs([one], [two], metric=best.metric).shown
        except DataError:  # not of the same images
            pass
    assert best.out_of_fold is not None
    return best.out_of_fold.low <= _value(other) <= best.out_of_fold.high


def difference_of(first: Path, second: Path) -> float:
    """Return how much two submission files answer differently: 0 for the same answers, 1 for unrelated ones.

    Rows are matched by the first column. Where all other columns are numbers: 1 - the mean over them of Spearman's rank
    correlation, at least 0; constant columns are left out. Otherwise the share of rows that differ.
    """
    one, two = (pd.read_csv(path, dtype="str", keep_default_na=False) for path in (first, second))
    key = one.columns[0]
    if list(one.columns) != list(two.columns) or set(one[key]) != set(two[key]) or one[key].duplicated().any():
        return 1.0
    one, two = one.set_index(key), two.set_index(key).loc[one[key]]
    try:
        numbers, others = one.astype("float64"), two.astype("float64")
    except ValueError:
        return float((one != two).any(axis=1).mean())
    whole = all((table % 1 == 0).all(axis=None) for table in (numbers, others))
    if whole:  # class numbers
        return float((numbers != others).any(axis=1).mean())
    ranks, other_ranks = numbers.rank().to_numpy(), others.rank().to_numpy()
    moving = (np.ptp(ranks, axis=0) > 0) & (np.ptp(other_ranks, axis=0) > 0)
    if not moving.any():
        return 0.0
    columns = [np.corrcoef(ranks[:, k], other_ranks[:, k])[0, 1] for k in np.flatnonzero(moving)]
    return float(np.clip(1 - np.mean(columns), 0, 1))
