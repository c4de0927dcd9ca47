"""The command that makes a run again from its record: reproduce."""

import sys
from typing import Annotated

import typer

from kit.cli.stages import Mirror, say


def reproduce(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Id of a run, here or published on the leaderboard, or its start.")
    ],
    mirror: Mirror = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say what is otherwise than then; train nothing.")
    ] = False,
) -> None:
    """Make a run again from its record, in a folder of its own, and hold its figures against the stored ones."""
    from kit.reproduce import differences, plan_again, record_to_reproduce, refuse_other_figures
    from kit.reproduce import reproduce as reproduce_run

    record = record_to_reproduce(run)
    plan = plan_again(record, mirror=mirror, say=say)
    print(f"{record.run_id}, of {record.created_at}: data, folds and weights are those of then")
    otherwise = differences(record, plan)
    for what in otherwise:
        print(f"  otherwise  {what}")
    if not otherwise:
        print("  commit, versions and hardware are those of then")
    if check:
        return
    done = reproduce_run(record, plan, say=say, progress=sys.stderr.isatty())
    for one in done.figures:
        change = "" if not one.difference else f" ({one.difference:+.3g})"
        print(
            f"  {one.kind:13} {one.stored.metric:24} {one.stored.value:.6f} then, {one.value:.6f} now{change}: "
            f"{one.verdict}"
        )
    print(f"{done.words}; {done.folder / 'reproduction.json'}")
    refuse_other_figures(done)


COMMANDS = (reproduce,)
