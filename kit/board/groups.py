"""Groups: all results of a data set, parted so that no two of one group differ in a field that both state.

Within a group results may be ranked; across groups the field that differs is named. Runs of ours come first: each set
of their conditions makes a group, in which every published row stands that may be compared with them. The other
published rows make groups of their own, each row in one.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from kit.board.baselines import Baselines, PublishedResult
from kit.board.compare import ComparedRow, beside, greater_is_better, together
from kit.board.terms import (
    OwnResult,
    draw_of,
    in_short,
    own_conditions,
    own_description,
    published_conditions,
    published_description,
)
from kit.board.test_use import chosen_of
from kit.conditions import OVERLAP, Conditions, Description, Difference, agreement, applies, is_own_draw
from kit.home import fingerprint
from kit.judge.statistics import wilson_interval
from kit.judge.test_ledger import Chain

SHARES = ("accuracy", "error_rate", "top5_accuracy", "exact_match")  # of images: value and number give the interval
UNKNOWN_ERROR = "not known: it does not follow from the value and the number of images"


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """One line of a group: a result of ours, or a published one."""

    ours: bool
    id: str  # run id, or the id of the row in the baseline file
    kind: str  # of ours: test, fold-ensemble, out-of-fold; else "published"
    name: str  # run id, or the method
    year: int
    value: float
    low: float | None  # 95 % interval; None where it is not known
    high: float | None
    interval: str  # how it was made, or why there is none
    num_images: int | None
    rank: int | None  # among ours and the verified rows of the group; equal values share one; None: not ranked
    status: str  # ours, verified, unverified, unresolved (an open question hangs on it)
    not_stated: tuple[str, ...]  # identifying fields that this row leaves open
    verdict: str  # of the group's leading run against this row; "" for ours, and where the group has no run
    words: str  # the verdict with its difference and interval, for a reader
    source: str  # authors, title, venue; of ours: the network and its weights
    url: str | None
    note: str
    conditions: Conditions
    description: Description


@dataclass(frozen=True, kw_only=True)
class ProtocolGroup:
    """Results of which no two differ in an identifying field that both state: they may be ranked together."""

    key: str  # letters and digits: the same as long as the conditions are, for links
    title: str  # the conditions in short
    conditions: Conditions  # what any row of the group states
    metric: str
    greater_is_better: bool
    ranked: bool  # False: each result has test images of its own (a random draw), so that the order means nothing
    rows: tuple[GroupRow, ...]  # best first
    differences: tuple[Difference, ...]  # in which it differs from the protocol that it is seen from
    not_stated: tuple[str, ...]  # fields that the group, or that protocol, leaves open
    notes: tuple[str, ...]  # what a reader has to know of the whole group

    @property
    def has_ours(self) -> bool:
        """A run of ours stands in it."""
        return any(row.ours for row in self.rows)


@dataclass(frozen=True, kw_only=True)
class _Published:
    row: PublishedResult
    conditions: Conditions


def groups(
    baselines: Baselines | None,
    results: Iterable[OwnResult],
    *,
    seen_from: Conditions | None = None,
    scored_by: Collection[str] = (),
    chain: Chain | None = None,
) -> list[ProtocolGroup]:
    """Part all results of one data set into groups that may be ranked.

    Args:
        baselines: the published results; None where there are none.
        results: ours (`kit.board.terms.own_results`), all of this data set.
        seen_from: the conditions from which differences are named; default: those of the latest result of ours.
        scored_by: metrics in which a result under `seen_from` has a score besides its own: these are no difference.
        chain: the test-use ledger, which counts results that are no longer here; None: those that are given count.

    Returns:
        Groups with results of ours first, in their order; then the published ones, those with the fewest differences
        first. Rows without a value are left out.
    """
    rows = () if baselines is None else [(baselines, row) for row in baselines.results if row.value is not None]
    published = [_Published(row=row, conditions=published_conditions(of, row)) for of, row in rows]
    results = list(results)
    own = _own_buckets(baselines, results, metrics={one.row.metric for one in published})
    found: list[tuple[Conditions, list[_Published], list[OwnResult]]] = []
    placed: set[str] = set()
    for (conditions, _), members in own.items():
        beside_us = [one for one in published if agreement(conditions, one.conditions).comparable]
        if not beside_us and conditions.metric != members[0].result.conditions.metric:
            continue  # a metric that nobody asked for, and in which nobody published
        placed.update(one.row.id for one in beside_us)
        found.append((conditions, beside_us, members))
    rest = [one for one in published if one.row.id not in placed]
    found += [(conditions, rows, []) for conditions, rows in _published_buckets(rest)]
    if seen_from is None and results:
        latest = max(results, key=lambda one: one.record.created_at).result
        seen_from, scored_by = own_conditions(latest, baselines), latest.scores.keys()
    made = [_group(baselines, *one, seen_from=seen_from, scored_by=scored_by, chain=chain) for one in found]
    return sorted(made, key=lambda group: (not group.has_ours, len(group.differences), -len(group.rows)))


def _own_buckets(
    baselines: Baselines | None, results: Sequence[OwnResult], *, metrics: set[str]
) -> dict[tuple[Conditions, str], list[OwnResult]]:
    """Return (conditions, random draw) -> our results, in the competition's metric and in those of published rows."""
    buckets: dict[tuple[Conditions, str], list[OwnResult]] = {}
    for own in results:
        for metric in dict.fromkeys((own.result.conditions.metric, *sorted(metrics & own.result.scores.keys()))):
            conditions = own_conditions(own.result, baselines, metric=metric)
            draw = draw_of(own) if is_own_draw(conditions) else ""
            buckets.setdefault((conditions, draw), []).append(own)
    return buckets


def _published_buckets(rows: Sequence[_Published]) -> list[tuple[Conditions, list[_Published]]]:
    """Part rows into sets that may be ranked: those that state the same, then those that state less into the one set
    that they fit; a row that fits several says too little to stand in any of them.
    """  # fmt: skip
    exact: dict[Conditions, list[_Published]] = {}
    for one in rows:
        # Draws of one kind are listed together, with as many images as most of them have.
        key = replace(one.conditions, num_test=None) if is_own_draw(one.conditions) else one.conditions
        exact.setdefault(key, []).append(one)
    merged: list[tuple[Conditions, list[_Published]]] = []
    for conditions, members in sorted(exact.items(), key=lambda item: (_num_open(item[0]), -len(item[1]))):
        if is_own_draw(conditions):
            usual = Counter(one.conditions.num_test for one in members).most_common(1)[0][0]
            merged.append((replace(conditions, num_test=usual), list(members)))
            continue
        fitting = [k for k, (other, _) in enumerate(merged) if agreement(conditions, other).comparable]
        if len(fitting) == 1:
            other, there = merged[fitting[0]]
            merged[fitting[0]] = (_filled(other, conditions), [*there, *members])
        else:
            merged.append((conditions, list(members)))
    return merged


def _num_open(conditions: Conditions) -> int:
    return sum(getattr(conditions, one.name) is None for one in fields(conditions) if applies(one.name, conditions))


def _filled(first: Conditions, second: Conditions) -> Conditions:
    """Return the first conditions, and what only the second ones state."""
    values = {one.name: getattr(first, one.name) for one in fields(first)}
    return Conditions(**{name: getattr(second, name) if value is None else value for name, value in values.items()})


def _group(
    baselines: Baselines | None,
    conditions: Conditions,
    published: Sequence[_Published],
    own: Sequence[OwnResult],
    *,
    seen_from: Conditions | None,
    scored_by: Collection[str],
    chain: Chain | None,
) -> ProtocolGroup:
    metric = conditions.metric or ""
    num_own = _num_chosen_from(own, chain)
    better = greater_is_better(metric)
    scores = [one.result.scores[metric] for one in own]
    compared: Mapping[str, ComparedRow] = {}
    if baselines and own:
        leading = (max if better else min)(scores, key=lambda score: score.value)
        rows = [beside(leading, conditions, baselines, one.row, theirs=one.conditions) for one in published]
        compared = {row.published.id: row for row in together(rows, chosen_of=num_own)}
    lines = [_own_row(one, conditions) for one in own]
    lines += [_published_row(baselines, one, compared.get(one.row.id)) for one in published]
    lines.sort(key=lambda line: (-line.value if better else line.value, not line.ours, line.year, line.id))
    ranked = not is_own_draw(conditions) or bool(own)
    if seen_from is not None and metric in scored_by:
        seen_from = replace(seen_from, metric=metric)
    seen = agreement(seen_from, conditions) if seen_from else None
    return ProtocolGroup(
        key="g" + fingerprint(repr(conditions), *(draw_of(one) for one in own[:1] if is_own_draw(conditions)))[:10],
        title=in_short(conditions),
        conditions=conditions,
        metric=metric,
        greater_is_better=better,
        ranked=ranked,
        rows=tuple(_with_ranks(lines)) if ranked else tuple(lines),
        differences=() if own or seen is None else seen.differences,
        not_stated=() if seen is None else seen.not_stated,
        notes=tuple(_notes(baselines, conditions, lines, chosen_of=num_own if published else 1, ranked=ranked)),
    )


def _num_chosen_from(own: Sequence[OwnResult], chain: Chain | None) -> int:
    """Return out of how many results the best of `own` was chosen: with those looked at whose runs are gone."""
    if chain is None:
        return len(own)
    alike: dict[tuple[str, str, str, str], list[OwnResult]] = {}
    for one in own:
        key = (one.record.competition, one.result.protocol, str(one.record.data.get("fingerprint")), one.result.kind)
        alike.setdefault(key, []).append(one)
    return sum(max(len(some), chosen_of(some[0].record, some[0].result, chain)) for some in alike.values())


def _own_row(own: OwnResult, conditions: Conditions) -> GroupRow:
    record, score = own.record, own.result.scores[conditions.metric or ""]
    return GroupRow(
        ours=True,
        id=record.run_id,
        kind=own.result.kind,
        name=record.run_id,
        year=int(record.created_at[:4]),
        value=score.value,
        low=score.low,
        high=score.high,
        interval=score.interval,
        num_images=score.num_images,
        rank=None,
        status="ours",
        not_stated=_open_fields(conditions),
        verdict="",
        words="",
        source=f"{record.network.get('name')}, weights {record.network.get('weights_origin')}",
        url=None,
        note="" if record.complete else f"partial data: source {record.source}",
        conditions=conditions,
        description=own_description(own),
    )


def _published_row(baselines: Baselines | None, one: _Published, compared: ComparedRow | None) -> GroupRow:
    row, num_images = one.row, one.conditions.num_test
    assert baselines is not None and row.value is not None
    low = high = None
    interval = UNKNOWN_ERROR if row.metric not in SHARES else "not known: the number of images is not stated"
    if row.metric in SHARES and num_images and 0 <= row.value <= 1:
        low, high = wilson_interval(round(row.value * num_images), num_images)
        interval = "Wilson, from the value and the number of images"
    return GroupRow(
        ours=False,
        id=row.id,
        kind="published",
        name=row.method,
        year=row.year,
        value=row.value,
        low=low,
        high=high,
        interval=interval,
        num_images=num_images,
        rank=None,
        status="unresolved" if baselines.question_of(row) else row.status,
        not_stated=_open_fields(one.conditions),
        verdict=compared.verdict if compared else "",
        words=compared.words if compared else "",
        source=", ".join(filter(None, (row.source.authors, row.source.title, row.source.venue))),
        url=row.source.url,
        note=row.note or "",
        conditions=one.conditions,
        description=published_description(row),
    )


def _open_fields(conditions: Conditions) -> tuple[str, ...]:
    return tuple(
        one.name
        for one in fields(conditions)
        if applies(one.name, conditions) and getattr(conditions, one.name) is None
    )


def _with_ranks(lines: Sequence[GroupRow]) -> list[GroupRow]:
    """Give each row that counts 1 + the number of those that are strictly better; lines come best first."""
    counted = [line.value for line in lines if line.status in ("ours", "verified")]
    return [
        replace(line, rank=1 + counted.index(line.value)) if line.status in ("ours", "verified") else line
        for line in lines
    ]


def _notes(
    baselines: Baselines | None, conditions: Conditions, lines: Sequence[GroupRow], *, chosen_of: int, ranked: bool
) -> list[str]:
    notes = []
    if not ranked:
        notes.append("Each result was scored on images of its own, so they are listed and not ranked (rule 1).")
    if conditions.selection == "test-images":
        notes.append("The recipe was chosen on the scored images: these are validation numbers (rule 7).")
    if conditions.overlap == OVERLAP:
        assert baselines is not None
        how = (
            baselines.overlap.get(conditions.pretraining_group or "")
            or baselines.overlap[conditions.training_pool or ""]
        )
        notes.append(f"{how} What is ranked here was partly seen before: no verdict is given (rule 8).")
    if chosen_of > 1:
        notes.append(
            f"Verdicts are about the best of {chosen_of} results of ours; for that choice a p counts {chosen_of} times."
        )
    ids = {line.id for line in lines}
    questions = [one.question for one in baselines.unresolved if ids & set(one.rows)] if baselines else []
    return [*notes, *(f"Unresolved: {' '.join(question.split())}" for question in questions)]
