"""How results look on a terminal: plain lines, the same in a file."""

from typing import Any

from kit.board.baselines import Baselines
from kit.board.compare import ComparedRow, compare
from kit.board.records import Result, RunRecord
from kit.board.terms import results_of
from kit.board.test_use import chosen_of
from kit.judge.test_ledger import read_chain

KINDS = {
    "test": "one model, test images",
    "fold-ensemble": "mean of the fold models, test images",
}


def _heading(record: RunRecord, result: Result) -> str:
    """Return the protocol and how its images were predicted: the protocol's name may say another number of folds."""
    if "blend" in record.recipe and result.kind != "out-of-fold":
        return f"{result.protocol} (blend of {len(record.recipe['blend']['weights'])} runs, test images)"
    out_of_fold = f"out of fold, {record.folds['num_folds']} folds"
    return f"{result.protocol} ({KINDS.get(result.kind, out_of_fold)})"


def show_run(record: RunRecord) -> None:
    """Print a run's scores with their intervals."""
    print(f"\n{record.run_id}")
    print(
        f"{record.title}; {record.network['name']} ({record.network['num_parameters']:,} parameters, weights: "
        f"{record.network['weights_origin']}), {record.cost['train_minutes']:.1f} min of training on "
        f"{record.cost['device']}, {record.cost['num_threads']} threads"
    )
    for result in results_of(record):
        print(f"\n  {_heading(record, result)}")
        show_scores(result)


def show_scores(result: Result) -> None:
    """Print the scores of one result with their intervals, and the most confused pairs."""
    for score in result.scores.values():
        interval = f"95 % [{score.low:.4f}, {score.high:.4f}]"
        print(f"    {score.metric:24} {score.value:.4f}   {interval}   n = {score.num_images:,}")
    if result.confused:
        pairs = ", ".join(f"{true} taken for {predicted} ({count})" for true, predicted, count in result.confused[:3])
        print(f"    most confused            {pairs}")


def compared_rows(record: RunRecord, result: Result, published: Baselines | None) -> list[dict[str, Any]]:
    """Return how each published result stands to one of a run's, for programs."""
    if published is None:
        return []
    rows = compare(result, published, chosen_of=chosen_of(record, result, read_chain()))
    return [compared_object(row, result.kind) for row in rows]


def compared_object(row: ComparedRow, kind: str) -> dict[str, Any]:
    """Return one published result beside ours, for programs: whose, the values, whether comparable, the verdict."""
    return {
        "kind": kind,
        "method": row.published.method,
        "year": row.published.year,
        "metric": row.published.metric,
        "value": row.published.value,
        "status": row.published.status,
        "url": row.published.source.url or None,
        "ours": row.ours,
        "comparable": row.agreement.comparable,
        "differences": row.agreement.differences,
        "not_stated": row.agreement.not_stated,
        "verdict": row.verdict,
        "words": row.words,
    }


def show_comparison(record: RunRecord, published: Baselines | None) -> None:
    """Print which published results stand beside a run's."""
    if published is None:
        print(f"\nNo published results are known for {record.baselines}.")
        return
    chain = read_chain()
    for result in results_of(record):
        rows = compare(result, published, chosen_of=chosen_of(record, result, chain))
        beside = [row for row in rows if row.agreement.comparable]
        print(f"\nPublished results beside {_heading(record, result)}: {len(beside)} of {len(rows)}")
        for row in beside:
            show_beside(row)
        if len(beside) < len(rows):
            print(
                f"  {len(rows) - len(beside)} are not comparable; "
                f"`kit compare {record.competition}` says why, field by field."
            )


def show_beside(row: ComparedRow, *, whose: str = "ours") -> None:
    """Print one published result beside a result of ours, or of somebody's, with the verdict."""
    assert row.ours is not None and row.published.value is not None
    mark = "" if row.published.status == "verified" else "  UNVERIFIED"
    print(
        f"  {row.published.metric:24} {row.published.value:.4f}   {row.published.method} ({row.published.year}){mark}"
    )
    print(f"  {'':24} {row.ours.value:.4f}   {whose}, 95 % [{row.ours.low:.4f}, {row.ours.high:.4f}]: {row.verdict}")
    if row.test is not None:
        print(f"  {'':33}{row.words}")
    if row.published.source.url:
        print(f"  {'':33}{row.published.source.url}")
