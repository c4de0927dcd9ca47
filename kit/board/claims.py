"""Claims: what a run of a competition's protocols could say about the published results, and what it could not.

For a run that is not there yet the conditions are those of a plain one: one network trained end to end, the recipe
chosen without the test images, one view of each image. Only what it was pretrained on is left open.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from kit.board.baselines import Baselines
from kit.board.terms import OwnResult, in_short, overlap_of, own_conditions, published_conditions
from kit.competition import Competition
from kit.conditions import LABELS, NOT_STATED, OVERLAP, Conditions, agreement, is_own_draw
from kit.judge.judgement import ALWAYS, ALWAYS_SEVERAL
from kit.judge.published import smallest_difference

SHARES = ("accuracy", "error_rate", "mean_per_class_accuracy")  # of which a smallest difference can be told


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a run under some conditions could say."""

    protocol: str
    conditions: Conditions
    settled: tuple[str, ...]  # ids of rows against which a test may decide: better, worse or not distinguishable
    beside: tuple[str, ...]  # ids of rows that may stand in one table with it, without a verdict
    why_none: tuple[str, ...]  # why those get no verdict, the most frequent reason first
    could: str
    could_not: str


def run_conditions(
    competition: Competition, protocol_id: str, *, pretraining_group: str, baselines: Baselines | None
) -> Conditions:
    """Return the conditions that a plain run of a protocol would have on complete data."""
    protocol = competition.protocol(protocol_id)
    out_of_fold = protocol.test_images == "out-of-fold"
    return Conditions(
        test_images=protocol.test_images,
        num_test=protocol.num_test,
        metric=protocol.metric,
        training_pool=protocol.training_pool,
        pretraining_group=pretraining_group,
        adaptation="trained",
        extra_inputs=protocol.extra_inputs,
        inference="single",
        selection="out-of-fold" if out_of_fold else "held-out",
        overlap=overlap_of(baselines, pretraining_group=pretraining_group, training_pool=protocol.training_pool),
    )


def usual_conditions(competition: Competition, baselines: Baselines) -> Conditions:
    """Return the conditions of a plain run of the default protocol, pretrained as most of its published partners are.

    With ImageNet-1k where any verified row of that kind stands beside it, else without pre-training.
    """
    for group in ("imagenet-1k", "none"):
        conditions = run_conditions(
            competition, competition.default_protocol, pretraining_group=group, baselines=baselines
        )
        rows = (row for row in baselines.results if row.value is not None and row.status == "verified")
        if any(agreement(conditions, published_conditions(baselines, row)).comparable for row in rows):
            break
    return conditions


def claims_of(competition: Competition, baselines: Baselines) -> list[Claim]:
    """Return what plain runs of the competition's protocols could claim, one per protocol and pre-training group.

    Groups of pre-training are "none" and those under which any published row stands beside such a run. Of protocols
    that differ in the metric alone the first is taken: a run is scored by the metrics of both.
    """
    found: dict[Conditions, Claim] = {}
    always = ALWAYS_SEVERAL if competition.task == "multi-label" else ALWAYS
    for name, protocol in competition.protocols.items():
        for group in ("none", "imagenet-1k", "imagenet-21k", "web-or-private"):
            conditions = run_conditions(competition, name, pretraining_group=group, baselines=baselines)
            claim = claim_under(conditions, baselines, protocol=name, metrics={protocol.metric, *always})
            if claim.settled or claim.beside or group == "none":
                found.setdefault(replace(conditions, metric=None), claim)
    return list(found.values())


def claims_of_runs(results: Iterable[OwnResult], baselines: Baselines) -> list[Claim]:
    """Return what our results can claim: one for each set of conditions that they were obtained under."""
    found: dict[Conditions, Claim] = {}
    for own in results:
        conditions = own_conditions(own.result, baselines)
        name = f"{own.result.protocol}, {own.result.kind}"
        found.setdefault(
            conditions, claim_under(conditions, baselines, protocol=name, metrics=own.result.scores.keys())
        )
    return list(found.values())


def claim_under(conditions: Conditions, baselines: Baselines, *, protocol: str, metrics: Collection[str] = ()) -> Claim:
    """Return what a run under these conditions could claim against the published rows of its data set.

    Args:
        conditions: of the run.
        baselines: the published results.
        protocol: name that the claim goes by.
        metrics: those that the run is scored by besides that of its conditions.
    """
    settled: list[str] = []
    beside: list[str] = []
    refused = 0
    why: Counter[str] = Counter()
    fields: Counter[str] = Counter()
    for row in baselines.results:
        if row.value is None:
            continue
        scored_by = row.metric if row.metric in metrics else conditions.metric
        found = agreement(replace(conditions, metric=scored_by), published_conditions(baselines, row))
        if not found.comparable:
            refused += 1
            fields.update(difference.field for difference in found.differences)
            continue
        reasons = [f"{LABELS[name]} {NOT_STATED}" for name in found.not_stated]
        reasons += ["value unverified"] if row.status == "unverified" else []
        reasons += ["question unresolved"] if baselines.question_of(row) else []
        reasons += ["test images are part of the pre-training"] if conditions.overlap == OVERLAP else []
        (beside if reasons else settled).append(row.id)
        why.update(reasons)
    most = [f"{reason} ({count})" for reason, count in why.most_common()]
    return Claim(
        protocol=protocol,
        conditions=conditions,
        settled=tuple(settled),
        beside=tuple(beside),
        why_none=tuple(most),
        could=_could(conditions, settled=settled, beside=beside, why=most),
        could_not=_could_not(conditions, refused=refused, fields=fields),
    )


def _could(conditions: Conditions, *, settled: Sequence[str], beside: Sequence[str], why: Sequence[str]) -> str:
    words = f"A run ({in_short(conditions)}) "
    if is_own_draw(conditions):
        return words + "is scored on a draw of its own, which no other result shares: it can be set beside none."
    if not settled and not beside:
        return words + "meets no published result: nothing was published under these conditions."
    parts = []
    if settled:
        parts.append(f"could be called better, worse or not distinguishable from {_count(settled, 'row')}, by a test")
    if beside:
        parts.append(f"could stand beside {_count(beside, 'row')} without a verdict, because of {', '.join(why)}")
    none = "" if settled else " It could be called better or worse than none of them."
    return words + ", and ".join(parts) + f".{none}{_chance(conditions)}"


def _could_not(conditions: Conditions, *, refused: int, fields: Counter[str]) -> str:
    if not refused:
        return ""
    named = ", ".join(f"{LABELS[name]} ({count})" for name, count in fields.most_common())
    return f"It could claim nothing about the other {refused:,}, which differ in: {named}."


def _chance(conditions: Conditions) -> str:
    """Return the smallest difference that the test set could show at a usual score."""
    if conditions.metric not in SHARES or not conditions.num_test:
        return ""
    shown = smallest_difference(0.93, num_images=conditions.num_test)
    if shown != shown:  # so few images that no difference would do
        return f" {conditions.num_test:,} images can show no difference at all."
    return (
        f" At about 93 %, {conditions.num_test:,} images on either side show a difference of "
        f"{100 * shown:.1f} points or more (80 % power); less is likely to look like chance."
    )


def _count(ids: Sequence[str], noun: str) -> str:
    return f"{len(ids)} published {noun}{'s' if len(ids) > 1 else ''}"


def unresolved_words(baselines: Baselines) -> list[str]:
    """Return each open question with the rows that hang on it, their values, and what would answer it."""
    rows = {row.id: row for row in baselines.results}
    words = []
    for one in baselines.unresolved:
        named = "; ".join(
            f"{rows[name].metric} {rows[name].value} {rows[name].method} ({rows[name].year})" for name in one.rows
        )
        words.append(
            f"{' '.join(one.question.split())} Rows: {named}. Nothing may be claimed about them until this is settled: "
            f"{' '.join(one.settled_by.split()).removesuffix('.')}."
        )
    return words
