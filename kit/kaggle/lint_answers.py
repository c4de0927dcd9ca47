"""Linting of a submission's answers beside what the networks said of the same images, matched by id.

A file whose form is right may still hold the answers of other images, classes or runs: nothing but the predictions
that were stored when it was made shows that.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kit.judge.clip import clipped
from kit.judge.predict import Predictions
from kit.kaggle.lint_codes import Finding, finding, shown
from kit.kaggle.lint_expected import Expected, by_id
from kit.kaggle.lint_values import Answers
from kit.metrics import THRESHOLD

ROUNDING = 0.0051  # a number with two decimals is that near to what it was
SAME = 0.999  # share of the rows that agree in a file of the run's own answers
EXPLAINED = 0.95  # share of the rows that agree once a fault is undone
FEW_CHANGED = 0.1  # share of the rows: changed by hand, rather than another run's
FARTHEST_SHIFT = 50  # rows
MOST_APART = 0.1  # of the shares of predicted classes: half the sum of their differences
UNLIKELY = 1e-4  # p-value


def lint_against_run(answers: Answers, ids: Sequence[str], own: Answers, expected: Expected) -> list[Finding]:
    """Return what is wrong with answers beside the run's own: at most one finding.

    Args:
        answers: (N, K) of the file.
        ids: (N,) of its rows.
        own: (M, K) the answers of the run's submission, in the order of `expected.own`.
        expected: with `own`, the run's submission.
    """
    assert expected.own is not None
    row_of = by_id(expected.own, id_column=expected.id_column)
    known = np.array([row for row, name in enumerate(ids) if name in row_of], dtype=np.int64)
    if len(known) < 2:
        return [finding("L506", "No row's id is among the images that the run predicted.")]
    given = answers[known]
    told = own[[row_of[ids[row]] for row in known]]
    tolerance = ROUNDING if expected.numbers else 0.5
    agree = max(_share(given, one, tolerance) for one in _versions(given, told, expected))
    if agree == 1:
        return []
    if fault := _explained(given, told, expected, agree=agree, tolerance=tolerance):
        return [fault]
    num = len(given)
    different = num - round(agree * num)
    if agree >= SAME or 1 - agree <= FEW_CHANGED:
        return [
            finding(
                "L507", f"{different:,} of {num:,} answers differ from those of the run: changed, or another run's."
            )
        ]
    if expected.numbers and _same_order(given, told):
        return [
            finding("L507", f"{different:,} of {num:,} answers have other values than the run's, in the same order.")
        ]
    return [finding("L505", f"{different:,} of {num:,} answers differ from those that the run gave for the same ids.")]


def _share(given: Answers, told: Answers, tolerance: float) -> float:
    """Return the share of rows that agree in all columns."""
    return float((np.abs(given - told) <= tolerance).all(axis=1).mean())


def _versions(given: Answers, told: Answers, expected: Expected) -> Iterator[Answers]:
    """Yield the run's answers as they are, and rounded or clipped as far as the file may be."""
    yield told
    if expected.numbers and np.isin(given, (0, 1)).all():  # which is a finding of its own
        yield np.round(told)
    lowest = float(given.min())
    if not expected.numbers or not 0 < lowest < 0.5:
        return
    if expected.values == "probabilities" and not expected.several:
        num_classes = given.shape[1]
        clip = lowest / (1 - (num_classes - 2) * lowest)  # before the row was scaled to 1 again
        if 0 < clip * num_classes < 1:
            yield clipped(told, clip)
    else:
        yield np.clip(told, lowest, 1 - lowest)


def _explained(given: Answers, told: Answers, expected: Expected, *, agree: float, tolerance: float) -> Finding | None:
    """Return the one fault that, undone, makes the file the run's own, or None."""

    def better(share: float) -> bool:
        return share >= EXPLAINED and (1 - share) * 4 <= 1 - agree

    found: list[tuple[float, Finding]] = []
    for share, one in _other_columns(given, told, expected, tolerance):
        if better(share):
            found.append((share, one))
    for by, share in _shifts(given, told, tolerance):
        if better(share):
            rows = "row" if abs(by) == 1 else "rows"
            message = (
                f"{share:.0%} of the answers are those of the image {abs(by)} {rows} {'below' if by > 0 else 'above'}"
            )
            found.append((share, finding("L503", f"{message}; {agree:.0%} are those of their own.")))
    if found:
        return max(found, key=lambda pair: pair[0])[1]
    if agree < EXPLAINED and _same_rows(given, told):
        message = f"The answers are the run's, but {1 - agree:.0%} of them stand beside the id of another image."
        return finding("L504", message)
    return None


def _other_columns(
    given: Answers, told: Answers, expected: Expected, tolerance: float
) -> Iterator[tuple[float, Finding]]:
    from scipy.optimize import linear_sum_assignment

    classes = expected.competition.classes
    if given.shape[1] == 1:
        share = _share(given, 1 - told, tolerance)
        yield share, finding("L502", f"{share:.0%} of the values are 1 - p, where the run says p.")
        return
    columns = linear_sum_assignment(_correlation(given, told), maximize=True)[1]
    if (columns == np.arange(len(columns))).all():
        return
    share = _share(given, told[:, columns], tolerance)
    if len(classes) == 2 and not expected.several:
        yield share, finding("L502", f"{share:.0%} of the answers say the other class of the two than the run.")
        return
    names = expected.value_columns if len(expected.value_columns) == len(columns) else classes
    moved = [k for k in range(len(columns)) if columns[k] != k]
    message = (
        f"{len(moved)} of {len(columns)} classes are permuted: what is given for {shown(names[moved[0]])} is what the "
        f"run says of {shown(names[columns[moved[0]]])}."
    )
    yield share, finding("L501", message)


def _correlation(given: Answers, told: Answers) -> NDArray[np.float64]:
    """Return (K, K): the correlation of each given column with each of the run's; 0 where one is constant."""
    first, second = given - given.mean(axis=0), told - told.mean(axis=0)
    lengths = np.outer(np.linalg.norm(first, axis=0), np.linalg.norm(second, axis=0))
    product = first.T @ second
    return np.asarray(np.divide(product, lengths, out=np.zeros_like(product), where=lengths > 0))


def _shifts(given: Answers, told: Answers, tolerance: float) -> Iterator[tuple[int, float]]:
    """Yield (rows, share): how many answers agree with the image so many rows below, or above where negative."""
    for by in range(1, min(FARTHEST_SHIFT, len(given) // 2) + 1):
        for shift in (by, -by):
            # Over the ends as well: an answer that fell out at one end may have come in at the other.
            share = _share(given[: len(given) - by], told[by:], tolerance) if shift > 0 else 0.0
            if shift < 0:
                share = _share(given[by:], told[: len(told) - by], tolerance)
            yield shift, share


def _same_rows(given: Answers, told: Answers) -> bool:
    """The same answers, whatever images they are of."""
    first, second = (Counter(map(tuple, np.round(one, 4).tolist())) for one in (given, told))
    return sum((first & second).values()) >= SAME * len(given)


def _same_order(given: Answers, told: Answers) -> bool:
    """The values are a growing function of the run's: over the images for one column, else within each row."""
    if given.shape[1] == 1:
        from scipy.stats import spearmanr

        return bool(spearmanr(given[:, 0], told[:, 0]).statistic >= SAME)
    return bool((given.argsort(axis=1) == told.argsort(axis=1)).all(axis=1).mean() >= SAME)


def lint_against_folds(answers: Answers, out_of_fold: Predictions, expected: Expected) -> list[Finding]:
    """Return a warning where the answered classes are distributed otherwise than those out of fold.

    Args:
        answers: (N, K) of the file; probabilities in [0, 1], or 0 and 1.
        out_of_fold: of the training images.
        expected: the competition's form.
    """
    given = _num_answered(answers, expected)
    before = _num_answered(_as_values(out_of_fold, expected), expected)
    num_given, num_before = len(answers), len(out_of_fold.image_ids)
    difference = given / num_given - before / num_before
    apart = float(np.abs(difference).max() if expected.several else np.abs(difference).sum() / 2)
    if apart <= MOST_APART or not _unlikely(given, before, num_given, num_before, several=expected.several):
        return []
    k = int(np.abs(difference).argmax())
    name = expected.competition.classes[k]
    message = (
        f"Of the test images {given[k] / num_given:.1%} are answered with {shown(name)}, and of the {num_before:,} "
        f"training images {before[k] / num_before:.1%} were, by networks that had not seen them."
    )
    return [finding("L508", message)]


def _as_values(predictions: Predictions, expected: Expected) -> Answers:
    """Return predictions in the columns of the file: (N, C), or (N, 1) of the one class."""
    probabilities = predictions.probabilities.astype(np.float64)
    if expected.values == "probability_of":
        k = predictions.classes.index(expected.competition.submission.of_class)
        return probabilities[:, k : k + 1]
    return probabilities


def _num_answered(values: Answers, expected: Expected) -> NDArray[np.float64]:
    """Return (C,) how many images are answered with each class."""
    classes = expected.competition.classes
    if expected.values == "probability_of":
        k = classes.index(expected.competition.submission.of_class)
        counts = np.zeros(len(classes))
        counts[k] = float((values[:, 0] >= THRESHOLD).sum())
        if not expected.several and len(classes) == 2:
            counts[1 - k] = len(values) - counts[k]
        return counts
    if expected.several:
        return np.asarray((values >= THRESHOLD).sum(axis=0), dtype=np.float64)
    return np.bincount(values.argmax(axis=1), minlength=len(classes)).astype(np.float64)


def _unlikely(
    given: NDArray[np.float64], before: NDArray[np.float64], num_given: int, num_before: int, *, several: bool
) -> bool:
    """By chance so different counts are unlikely: a chi-squared test, of the furthest class where there are several."""
    from scipy.stats import chi2_contingency

    if several:
        k = int(np.abs(given / num_given - before / num_before).argmax())
        counts = np.array([[given[k], num_given - given[k]], [before[k], num_before - before[k]]])
    else:
        counts = np.stack([given, before])
    counts = counts[:, counts.sum(axis=0) > 0]
    return counts.shape[1] > 1 and bool(chi2_contingency(counts).pvalue < UNLIKELY)
