"""Compare: our results beside published ones, where the ten rules of `leaderboard/baselines` allow it.

`compare` sets one result beside every published row; `kit.board.groups` parts all results of a data set into groups
that may be ranked. A verdict stands only where every identifying field is stated and equal, the published value is
verified and no open question hangs on it; what it says is decided by a test, and by Holm's procedure over its table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kit.board.baselines import Baselines, PublishedResult, baseline_files, load_baselines
from kit.board.records import Result
from kit.board.terms import own_conditions, published_conditions
from kit.competition import package_folder
from kit.conditions import OVERLAP, Agreement, Conditions, agreement
from kit.judge.published import PublishedTest, against_published
from kit.judge.repeats import holm
from kit.judge.statistics import Score
from kit.metrics import METRICS

LEVEL = 0.05  # of a table's verdicts together
NO_ERROR = "the published score comes without its own error"
NO_INTERVAL = "our score has no interval"


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """One published result as seen from one of ours."""

    published: PublishedResult
    theirs: Conditions
    ours: Score | None  # our score in the metric of the published row, where we have it
    agreement: Agreement
    verdict: str  # better, worse, not distinguishable, not comparable; or "no verdict: " and why
    test: PublishedTest | None = None  # where one could be made
    words: str = ""  # the verdict in a sentence or two


def load_published(dataset_id: str) -> Baselines | None:
    """Return the published results of a data set, or None where the leaderboard has none."""
    for path in baseline_files(package_folder("leaderboard") / "baselines"):
        if path.stem == dataset_id:
            return load_baselines(path)
    return None


def compare(result: Result, baselines: Baselines, *, chosen_of: int = 1) -> list[ComparedRow]:
    """Set each published row that has a value beside `result`, or say in which fields it differs.

    Rows in a metric that we also computed are compared in that metric. Comparable rows come first, best first.

    Args:
        result: ours.
        baselines: the published results of its data set.
        chosen_of: results that were looked at, of which `result` may have been chosen by its score; each p counts as
            often (Bonferroni).
    """
    rows = [_compared(result, baselines, row) for row in baselines.results if row.value is not None]
    rows = together(rows, chosen_of=chosen_of)
    return sorted(rows, key=lambda row: (not row.agreement.comparable, len(row.agreement.differences), _rank(row)))


def _rank(row: ComparedRow) -> float:
    assert row.published.value is not None
    return -row.published.value if greater_is_better(row.published.metric) else row.published.value


def greater_is_better(metric: str) -> bool:
    """Return the direction of a metric: one of ours, or time and its price."""
    return METRICS[metric].greater_is_better if metric in METRICS else not metric.endswith("_to_accuracy")


def _compared(result: Result, baselines: Baselines, row: PublishedResult) -> ComparedRow:
    theirs = published_conditions(baselines, row)
    ours = result.scores.get(row.metric)
    mine = own_conditions(result, baselines, metric=row.metric if ours else None)
    return beside(ours, mine, baselines, row, theirs=theirs)


def beside(
    ours: Score | None, mine: Conditions, baselines: Baselines, row: PublishedResult, *, theirs: Conditions
) -> ComparedRow:
    """Set one published row beside one score, of which `mine` are the conditions, before any other row is looked at."""
    found = agreement(mine, theirs)
    why, test = _why_none(baselines, row, mine, found), None
    if why is None:
        assert ours is not None and row.value is not None
        test = against_published(ours, value=row.value, num_images=theirs.num_test)
        no_test = NO_ERROR if ours.low < ours.high else NO_INTERVAL
        why = f"no verdict: {no_test}" if test.p_value is None else test.verdict
    return ComparedRow(
        published=row,
        theirs=theirs,
        ours=ours,
        agreement=found,
        verdict=why,
        test=test if test and test.p_value is not None else None,
        words=test.words if test else f"{why[0].upper()}{why[1:]}.",
    )


def _why_none(baselines: Baselines, row: PublishedResult, mine: Conditions, found: Agreement) -> str | None:
    """Return why no test may be made, or None. The order is that of weight: the first reason is the one to mend."""
    if not found.comparable:
        return "not comparable"
    if mine.overlap == OVERLAP:
        return "no verdict: the test images are part of what both networks learned from (rule 8)"
    if baselines.question_of(row):
        return "no verdict: unresolved, see the open question about this row"
    if found.not_stated:
        return f"no verdict: {', '.join(found.not_stated)} not stated"
    return "no verdict: the published value is unverified" if row.status == "unverified" else None


def together(rows: Sequence[ComparedRow], *, chosen_of: int = 1) -> list[ComparedRow]:
    """Return the rows of one table with verdicts that hold for all of them at once: Holm over those that were tested.

    With several tests some fall below 5 % by chance; Holm's procedure keeps the chance of any wrong "better" or
    "worse" in the table at 5 %.
    """
    p_values = {row.published.id: row.test.p_value for row in rows if row.test and row.test.p_value is not None}
    if len(p_values) * chosen_of <= 1:
        return list(rows)
    adjusted = holm({row_id: min(1.0, p * chosen_of) for row_id, p in p_values.items()})
    return [_adjusted(row, adjusted.get(row.published.id), len(p_values), chosen_of) for row in rows]


def _adjusted(row: ComparedRow, p_value: float | None, num_tests: int, chosen_of: int) -> ComparedRow:
    if p_value is None or row.test is None:
        return row
    many = f"Holm over {num_tests} comparisons" if num_tests > 1 else ""
    best = f"one of {chosen_of} results that were looked at, of which any could be chosen" if chosen_of > 1 else ""
    said = f" Together ({'; '.join(filter(None, (many, best)))}): p = {p_value:.2g}"
    verdict = row.verdict if p_value < LEVEL else "not distinguishable"
    said += "." if verdict == row.verdict else ", hence not distinguishable."
    return replace(row, verdict=verdict, words=row.words + said)


def reasons(rows: Sequence[ComparedRow]) -> list[tuple[str, list[ComparedRow]]]:
    """Group the refused rows by what differs: (differences in words, rows), the nearest first."""
    groups: dict[str, list[ComparedRow]] = {}
    for row in rows:
        if not row.agreement.comparable:
            groups.setdefault("; ".join(map(str, row.agreement.differences)), []).append(row)
    return sorted(groups.items(), key=lambda item: (len(item[1][0].agreement.differences), -len(item[1])))
