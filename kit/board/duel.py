"""Two runs of ours on the same images: by how much one is better, of what that is evidence, and what could be seen."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from kit.board.records import Result, RunRecord, run_folder
from kit.board.terms import results_of
from kit.conditions import LABELS, agreement
from kit.errors import DataError
from kit.judge.paired import Difference, compare_pairs
from kit.judge.predict import Predictions, read_predictions
from kit.judge.published import smallest_paired_difference
from kit.judge.repeats import FoldSpread, FoldTest, compare_folds, holm, over_folds
from kit.judge.statistics import verdict_on
from kit.metrics import METRICS, score, undefined_classes
from kit.progress import Say, silent, within


@dataclass(frozen=True, kw_only=True)
class FoldDuel:
    """Two runs on the same folds: their scores by fold, in the order of the folds of the run that is asked about."""

    run: FoldSpread
    against: FoldSpread
    test: FoldTest
    p_together: float  # its p, corrected for all such tests of the comparison
    verdict: str  # as of a `MetricDuel`


@dataclass(frozen=True, kw_only=True)
class MetricDuel:
    """Two runs in one metric."""

    metric: str
    run: float  # score of the run that is asked about
    against: float
    difference: Difference  # positive where the run is better, whatever the metric's direction
    p_together: float  # its p, corrected for all metrics and kinds of the comparison by Holm's rule
    verdict: str  # "better", "worse", "not distinguishable", or why there is none
    folds: FoldDuel | None  # None where the folds are others, or a fold has no score


@dataclass(frozen=True, kw_only=True)
class KindDuel:
    """Two runs in the predictions of one kind."""

    kind: str
    num_images: int
    metrics: tuple[MetricDuel, ...]  # the competition's own first
    one_right: int | None  # images that just one of the two answers rightly; None where no metric counts right answers
    smallest: float | None  # difference of the shares of right answers that these images could show; None: none at all


@dataclass(frozen=True, kw_only=True)
class Duel:
    """What two runs say against each other."""

    run: str
    against: str
    kinds: tuple[KindDuel, ...]
    left_out: Mapping[str, str]  # kind of predictions -> why it is not compared

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as plain values for JSON."""
        return asdict(self)


def duel(run: RunRecord, against: RunRecord, *, classes: Sequence[str], say: Say = silent) -> Duel:
    """Compare two finished runs by their predictions of the same images.

    Per kind of predictions that both have, and per metric in which both were scored: the paired difference
    (`compare_pairs`), with p corrected for the number of these comparisons (Holm); where both were dealt the same folds
    also the corrected resampled test over folds, corrected for the number of such tests. Fields in which the two
    results' conditions differ, or that are not stated, leave the numbers and take the verdict away.

    Args:
        run: that is asked about.
        against: the other.
        classes: of the competition, in order.
        say: takes lines of progress.

    Raises:
        DataError: no kind of predictions is there of both, with known labels, of the same images and classes.
    """
    if run.run_id == against.run_id:
        raise DataError(f"--run and --against both name {run.run_id}: name two runs.")
    theirs = {result.kind: result for result in results_of(against)}
    shared = [(result, theirs[result.kind]) for result in results_of(run) if result.kind in theirs]
    kinds, left_out = [], {}
    for ours, other in shared:
        try:
            kinds.append(_duel_of_kind(run, ours, against, other, classes=classes, say=say))
        except DataError as error:
            left_out[ours.kind] = str(error)
    if not kinds:
        why = " ".join(f"{kind}: {said}" for kind, said in left_out.items())
        raise DataError(
            f"{run.run_id} and {against.run_id} cannot be compared image by image. "
            + (why or "They have no kind of scored predictions in common: train both with folds, or both without.")
        )
    return Duel(run=run.run_id, against=against.run_id, kinds=_corrected(kinds), left_out=left_out)


def _duel_of_kind(
    run: RunRecord, ours: Result, against: RunRecord, theirs: Result, *, classes: Sequence[str], say: Say
) -> KindDuel:
    first, second = (_predictions(record, ours.kind, classes) for record in (against, run))
    names = [name for name in ours.scores if name in theirs.scores and name in METRICS]
    pairs = {name: compare_pairs([first], [second], metric=name, say=within(say, name)) for name in names}
    second = _in_order(second, first.image_ids)
    why = _no_verdict(ours, theirs)
    right = next((name for name in ("accuracy", "exact_match") if name in pairs), None)
    count = None if right is None else _one_right(right, first, second)
    num_images = len(first.image_ids)
    smallest = math.nan if count is None else smallest_paired_difference(count / num_images, num_images=num_images)
    return KindDuel(
        kind=ours.kind,
        num_images=num_images,
        metrics=tuple(
            MetricDuel(
                metric=name,
                run=pair.second[0],
                against=pair.first[0],
                difference=pair,
                p_together=pair.p_value,
                verdict=why,
                folds=_fold_duel(name, first, second, num_folds=int(against.folds.get("num_folds") or 0)),
            )
            for name, pair in pairs.items()
        ),
        one_right=count,
        smallest=None if math.isnan(smallest) else smallest,
    )


def _corrected(kinds: Sequence[KindDuel]) -> tuple[KindDuel, ...]:
    """Return the comparisons with p corrected for their number, and with their verdicts."""
    named = [(f"{of.kind} {one.metric}", one) for of in kinds for one in of.metrics]
    over_images = holm({name: one.difference.p_value for name, one in named})
    over_trainings = holm({name: one.folds.test.p_value for name, one in named if one.folds})

    def corrected(one: MetricDuel, name: str) -> MetricDuel:
        p_value, folds, why = over_images[name], one.folds, one.verdict
        if folds is not None:
            of_folds = over_trainings[name]
            said = why or verdict_on(folds.test.mean, p_value=of_folds)
            folds = replace(folds, p_together=of_folds, verdict=said)
        verdict = why or verdict_on(one.difference.mean, p_value=p_value)
        return replace(one, p_together=p_value, verdict=verdict, folds=folds)

    return tuple(
        replace(of, metrics=tuple(corrected(one, f"{of.kind} {one.metric}") for one in of.metrics)) for of in kinds
    )


def _no_verdict(ours: Result, theirs: Result) -> str:
    """Return why no verdict may be given on two results of the same images, or an empty string."""
    found = agreement(ours.conditions, theirs.conditions)
    # Two draws are two sets of images by their name; these were seen to be the same images.
    apart = [one for one in found.differences if one.field not in ("test_images", "num_test")]
    if apart:
        return f"not comparable: {'; '.join(f'{LABELS[one.field]}: {one.ours}, not {one.theirs}' for one in apart)}"
    if found.not_stated:
        return f"no verdict: {', '.join(LABELS[name] for name in found.not_stated)} not stated"
    return ""


def _predictions(record: RunRecord, kind: str, classes: Sequence[str]) -> Predictions:
    path = run_folder(record.run_id) / "predictions" / f"{kind}.csv"
    if not path.is_file():
        raise DataError(
            f"The {kind} predictions of {record.run_id} are not on this machine. Compare runs that were made here."
        )
    found = read_predictions(path, kind=kind, classes=classes)
    if not np.isfinite(found.probabilities).all():
        raise DataError(f"{path} has cells that are no numbers. Remove it and `kit judge` the run again.")
    return found


def _in_order(found: Predictions, image_ids: Sequence[str]) -> Predictions:
    row_of = {image_id: row for row, image_id in enumerate(found.image_ids)}
    rows = np.array([row_of[image_id] for image_id in image_ids], dtype=np.int64)
    return replace(
        found,
        image_ids=tuple(image_ids),
        probabilities=found.probabilities[rows],
        labels=tuple(found.labels[row] for row in rows),
        folds=found.folds[rows],
        targets=None if found.targets is None else found.targets[rows],
    )


def _one_right(metric: str, first: Predictions, second: Predictions) -> int:
    """Return how many images just one of the two answers rightly, as the share `metric` counts right answers."""
    per_image = METRICS[metric].per_image
    assert per_image is not None
    answers = (per_image(one.truth, one.probabilities.astype(np.float64)) for one in (first, second))
    return int((next(answers) != next(answers)).sum())


def _fold_duel(metric: str, first: Predictions, second: Predictions, *, num_folds: int) -> FoldDuel | None:
    """Return the comparison over folds, where both have the same ones; fold k of one may be called j in the other.

    Args:
        metric: a key of METRICS.
        first: predictions of the run that is compared against.
        second: of the run that is asked about, in the same order of images.
        num_folds: that the images were dealt into.
    """
    pairs = sorted({(int(b), int(a)) for a, b in zip(first.folds, second.folds, strict=True)})
    ours, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    same = len(pairs) == len(set(ours)) == len(set(theirs))
    if not same or len(pairs) < 2 or min(ours + theirs) < 0:
        return None
    scores: list[list[float]] = []
    for one in (first, second):
        by_fold = [_score_of_fold(metric, one, second.folds == fold) for fold in ours]
        if any(math.isnan(value) for value in by_fold):
            return None
        scores.append(by_fold)
    test = compare_folds(
        *scores, greater_is_better=METRICS[metric].greater_is_better, num_folds=max(num_folds, len(pairs))
    )
    return FoldDuel(
        run=over_folds(scores[1]), against=over_folds(scores[0]), test=test, p_together=test.p_value, verdict=""
    )


def _score_of_fold(metric: str, one: Predictions, rows: Any) -> float:
    truth, probabilities = one.truth[rows], one.probabilities[rows]
    if undefined_classes(metric, truth, len(one.classes)):
        return math.nan
    return score(metric, labels=truth, probabilities=probabilities.astype(np.float64))
