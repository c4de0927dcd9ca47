"""The command that makes a run again from its record: reproduce."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.cli import complete
from kit.cli.stages import Mirror
from kit.cli.terminal import print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kit.reproduce import Reproduction


def reproduce(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Id of a run, here or published on the leaderboard, or its start.",
            autocompletion=complete.published_runs,
        ),
    ],
    mirror: Mirror = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say what is otherwise than then; train nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: run, differences, figures, verdict, file.")
    ] = False,
) -> None:
    """Make a run again from its record, in a folder of its own, and hold its figures against the stored ones."""
    from kit.reproduce import differences, plan_again, record_to_reproduce, refuse_other_figures
    from kit.reproduce import reproduce as reproduce_run

    record = record_to_reproduce(run)
    plan = plan_again(record, mirror=mirror, say=say)
    if as_json:
        done = None if check else reproduce_run(record, plan, say=say)
        print_json(_as_object(record.run_id, differences(record, plan), done))
        if done is not None:
            refuse_other_figures(done)
        return
    print(f"{record.run_id}, of {record.created_at}: data, folds and weights are those of then")
    otherwise = differences(record, plan)
    for what in otherwise:
        print(f"  otherwise  {what}")
    if not otherwise:
        print("  commit, versions and hardware are those of then")
    if check:
        return
    done = reproduce_run(record, plan, say=say)
    for one in done.figures:
        change = "" if not one.difference else f" ({one.difference:+.3g})"
        print(
            f"  {one.kind:13} {one.stored.metric:24} {one.stored.value:.6f} then, {one.value:.6f} now{change}: "
            f"{one.verdict}"
        )
    print(f"{done.words}; {done.folder / 'reproduction.json'}")
    refuse_other_figures(done)


def _as_object(run: str, otherwise: "Sequence[str]", done: "Reproduction | None") -> dict[str, Any]:
    """Return what there is to say of a run made again, for programs."""
    return {
        "run": run,
        "differences": otherwise,
        "figures": [
            {"kind": one.kind, "stored": one.stored, "value": one.value, "verdict": one.verdict} for one in done.figures
        ]
        if done
        else [],
        "verdict": done.words if done else None,
        "file": done.folder / "reproduction.json" if done else None,
    }


COMMANDS = (reproduce,)
