"""The command that looks at a data set before, or after, something is trained on it: check."""

from typing import TYPE_CHECKING, Annotated

import typer

from kit.cli import complete
from kit.cli.stages import on_a_plan
from kit.cli.terminal import print_json

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from kit.plan import RunPlan
    from kit.quality.fixes import Fixes


@on_a_plan
def check(
    plan: "RunPlan",
    suspicious: Annotated[
        bool, typer.Option("--suspicious", help="Also list labels that a finished run's networks contradict.")
    ] = False,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="With --suspicious: id of that run, or its start; default: this plan's.",
            autocompletion=complete.runs,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: findings, suspicious, page, proposed, fixes.")
    ] = False,
) -> None:
    """Look for bad files, duplicates, leaks and doubtful labels; write a page with pictures and proposed fixes."""
    from kit.board.check_page import write_check_page
    from kit.errors import KitError
    from kit.judge.suspicious import proposed_for
    from kit.quality.fixes import fixes_path, read_fixes

    path = fixes_path(plan.competition)
    several = plan.competition.task == "multi-label"
    fixes = read_fixes(path, classes=plan.samples.classes, several=several)
    doubtful = _suspicious(plan, run, fixes) if suspicious or run else None
    page, proposal = write_check_page(
        plan.competition.slug,
        plan.findings,
        plan.samples.table,
        data=plan.samples.folder,
        fixes=path,
        suspicious=doubtful,
        proposed=proposed_for(doubtful) if doubtful is not None else (),
    )
    if as_json:
        rows = None if doubtful is None else doubtful.to_dict("records")
        print_json({"findings": plan.findings, "suspicious": rows, "page": page, "proposed": proposal, "fixes": path})
    else:
        _show(plan, doubtful, page=page, proposal=proposal, fixes=path)
    if stops := [finding.kind for finding in plan.findings if finding.severity == "stop"]:
        raise KitError(
            f"{len(stops)} of {len(plan.findings)} findings must be mended before training: {', '.join(stops)}. "
            f"Copy rows that you agree with from {proposal} to {path}, or run with --despite-findings."
        )


def _show(plan: "RunPlan", doubtful: "pd.DataFrame | None", *, page: "Path", proposal: "Path", fixes: "Path") -> None:
    """Print what was found, and where it is written."""
    for finding in plan.findings:
        print(f"{finding.severity}  {finding.kind}\n      {finding.message}")
    if not plan.findings:
        print("Nothing was found.")
    if doubtful is not None:
        noun = "label" if len(doubtful) == 1 else "labels"
        print(f"\n{len(doubtful):,} suspicious {noun}{', the most doubtful first' if len(doubtful) else ''}")
        for row in doubtful.head(20).itertuples():
            print(
                f"  {row.rank:4}  {row.image_id}  labelled {row.label} ({row.probability_of_label:.2f}), "
                f"rather {row.suggested}"
            )
    print()
    print(f"page      {page}")
    print(f"proposed  {proposal}")
    print(f"fixes     {fixes}{'' if fixes.is_file() else ' (not there yet)'}")


def _suspicious(plan: "RunPlan", run: str | None, fixes: "Fixes") -> "pd.DataFrame":
    """Return the suspicious labels of one run, without those that a person has decided about."""
    from kit.board.records import find_record, run_folder
    from kit.errors import DataError
    from kit.judge.predict import read_predictions
    from kit.judge.suspicious import suspicious_labels

    slug = plan.competition.slug
    run_id = plan.run_id
    if run is not None:
        record = find_record(run)
        if record.competition != slug:
            raise DataError(f"The run {record.run_id} is of {record.competition}, not of {slug}.")
        run_id = record.run_id
    path = run_folder(run_id) / "predictions" / "out-of-fold.csv"
    if not path.is_file():
        raise DataError(
            f"The run {run_id} has no out-of-fold predictions: {path} is not there. Suspicious labels are found in "
            f"them; run `kit run {slug} --folds 5` first, or name a finished run with --run."
        )
    predictions = read_predictions(path, kind="out-of-fold", classes=plan.samples.classes)
    found = suspicious_labels(predictions)
    # Labels that were changed since, images that are gone, and those that were looked at are settled.
    now = dict(zip(plan.samples.table["image_id"], plan.samples.table["label"], strict=True))
    open_ones = [
        now.get(image_id) == label and image_id not in fixes.kept
        for image_id, label in zip(found["image_id"], found["label"], strict=True)
    ]
    found = found[open_ones].reset_index(drop=True)
    return found.assign(rank=range(1, len(found) + 1))


COMMANDS = (check,)
