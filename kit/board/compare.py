"""Compare: our results beside published ones, where the ten rules of `leaderboard/baselines` allow it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

from kit.board.baselines import Baselines, PublishedResult, baseline_files, effective, load_baselines
from kit.board.records import Result, RunRecord
from kit.competition import package_folder
from kit.judge.statistics import Score
from kit.metrics import METRICS
from kit.protocol import Agreement, Conditions, Difference, agreement


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """One published result as seen from one of ours."""

    published: PublishedResult
    theirs: Conditions
    ours: Score | None  # our score in the metric of the published row, where we have it
    agreement: Agreement
    verdict: str  # better, worse, not distinguishable; or why there is none


def load_published(dataset_id: str) -> Baselines | None:
    """Return the published results of a data set, or None where the leaderboard has none."""
    for path in baseline_files(package_folder("leaderboard") / "baselines"):
        if path.stem == dataset_id:
            return load_baselines(path)
    return None


def published_conditions(baselines: Baselines, row: PublishedResult) -> Conditions:
    """Return the conditions of a published row: its own where it states them, else its protocol's."""
    protocol = baselines.protocols[row.protocol]
    return Conditions(
        test_images=effective(protocol, row, "test_images"),
        num_test=row.num_test if row.num_test is not None else protocol.num_test,
        metric=row.metric,
        training_pool=effective(protocol, row, "training_pool"),
        pretraining_group=row.pretraining_group,
        adaptation=effective(protocol, row, "adaptation"),
        extra_inputs=effective(protocol, row, "extra_inputs"),
        inference=effective(protocol, row, "inference"),
        selection=effective(protocol, row, "selection"),
    )


def compare(result: Result, baselines: Baselines) -> list[ComparedRow]:
    """Set each published row that has a value beside `result`, or say in which fields it differs.

    Rows in a metric that we also computed are compared in that metric. Comparable rows come first, best first.
    """
    rows = [_compared(result, baselines, row) for row in baselines.results if row.value is not None]
    return sorted(rows, key=lambda row: (not row.agreement.comparable, len(row.agreement.differences), _rank(row)))


def _rank(row: ComparedRow) -> float:
    metric = METRICS.get(row.published.metric)
    assert row.published.value is not None
    return -row.published.value if metric is None or metric.greater_is_better else row.published.value


def _compared(result: Result, baselines: Baselines, row: PublishedResult) -> ComparedRow:
    theirs = published_conditions(baselines, row)
    ours = result.scores.get(row.metric)
    mine = replace(result.conditions, metric=row.metric) if ours else result.conditions
    found = agreement(mine, theirs)
    if mine.test_images == theirs.test_images and (mine.test_images or "").startswith("random-"):
        # Two random draws of the same kind are two sets of images (rule 1).
        draw = Difference(field="test_images", ours="a random draw", theirs="another random draw", rule=1)
        found = Agreement(differences=(draw, *found.differences), not_stated=found.not_stated)
    return ComparedRow(
        published=row, theirs=theirs, ours=ours, agreement=found, verdict=_verdict(ours, row, theirs, found)
    )


def _verdict(ours: Score | None, row: PublishedResult, theirs: Conditions, found: Agreement) -> str:
    if not found.comparable:
        return "not comparable"
    if found.not_stated:
        return f"no verdict: {', '.join(found.not_stated)} not stated"
    if row.status == "unverified":
        return "no verdict: the published value is unverified"
    assert ours is not None and row.value is not None and theirs.num_test is not None
    if row.metric not in ("accuracy", "error_rate", "mean_per_class_accuracy"):
        return "no verdict: the published score comes without its own error"
    # Both have a sampling error; taken as independent although the images are the same, which is conservative.
    variance = sum(p * (1 - p) / n for p, n in ((ours.value, ours.num_images), (row.value, theirs.num_test)))
    difference = (ours.value - row.value) * (1 if METRICS[row.metric].greater_is_better else -1)
    if abs(difference) <= 1.96 * sqrt(variance):
        return "not distinguishable"
    return "better" if difference > 0 else "worse"


def reasons(rows: Sequence[ComparedRow]) -> list[tuple[str, list[ComparedRow]]]:
    """Group the refused rows by what differs: (differences in words, rows), the nearest first."""
    groups: dict[str, list[ComparedRow]] = {}
    for row in rows:
        if not row.agreement.comparable:
            groups.setdefault("; ".join(map(str, row.agreement.differences)), []).append(row)
    return sorted(groups.items(), key=lambda item: (len(item[1][0].agreement.differences), -len(item[1])))


def results_of(record: RunRecord) -> list[Result]:
    """Return the results of a record, a test list's before those out of fold."""
    order = {"test": 0, "fold-ensemble": 1, "out-of-fold": 2}
    return sorted(record.results, key=lambda result: order[result.kind])
