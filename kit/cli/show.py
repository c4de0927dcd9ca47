"""How results look on a terminal: plain lines, the same in a file."""

from kit.board.baselines import Baselines
from kit.board.compare import ComparedRow, compare, reasons, results_of
from kit.board.records import Result, RunRecord

KINDS = {
    "test": "one model, test images",
    "fold-ensemble": "mean of the fold models, test images",
}


def _heading(record: RunRecord, result: Result) -> str:
    """Return the protocol and how its images were predicted: the protocol's name may say another number of folds."""
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
        for score in result.scores.values():
            interval = f"95 % [{score.low:.4f}, {score.high:.4f}]"
            print(f"    {score.metric:24} {score.value:.4f}   {interval}   n = {score.num_images:,}")
        if result.confused:
            pairs = ", ".join(
                f"{true} taken for {predicted} ({count})" for true, predicted, count in result.confused[:3]
            )
            print(f"    most confused            {pairs}")


def show_comparison(record: RunRecord, published: Baselines | None, *, brief: bool = False) -> None:
    """Print which published results stand beside a run's, and why the others may not."""
    if published is None:
        print(f"\nNo published results are known for {record.baselines}.")
        return
    for result in results_of(record):
        rows = compare(result, published)
        beside = [row for row in rows if row.agreement.comparable]
        print(f"\nPublished results beside {_heading(record, result)}: {len(beside)} of {len(rows)}")
        for row in beside:
            _show_beside(row)
        if brief:
            if len(beside) < len(rows):
                print(
                    f"  {len(rows) - len(beside)} are not comparable; "
                    f"`kit compare {record.competition}` says why, field by field."
                )
            continue
        _show_refused(_heading(record, result), rows)


def _show_beside(row: ComparedRow) -> None:
    assert row.ours is not None and row.published.value is not None
    mark = "" if row.published.status == "verified" else "  UNVERIFIED"
    print(
        f"  {row.published.metric:24} {row.published.value:.4f}   {row.published.method} ({row.published.year}){mark}"
    )
    print(f"  {'':24} {row.ours.value:.4f}   ours, 95 % [{row.ours.low:.4f}, {row.ours.high:.4f}]: {row.verdict}")
    if row.published.source.url:
        print(f"  {'':33}{row.published.source.url}")


def _show_refused(heading: str, rows: list[ComparedRow]) -> None:
    for _, group in reasons(rows):
        print(f"\n  NOT COMPARABLE with {heading}, because")
        for difference in group[0].agreement.differences:
            print(
                f"    {difference.field:18} ours: {difference.ours}; "
                f"theirs: {difference.theirs}  (rule {difference.rule})"
            )
        if open_fields := sorted({field for row in group for field in row.agreement.not_stated}):
            print(f"    {'not stated':18} {', '.join(open_fields)} (by some or all of these)")
        for row in group:
            mark = "" if row.published.status == "verified" else ", unverified"
            print(
                f"      {row.published.metric} {row.published.value:.4f}  "
                f"{row.published.method} ({row.published.year}{mark})"
            )
