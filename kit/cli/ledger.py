"""The command that shows and checks the test-use ledger: ledger."""

from typing import Annotated

import typer

from kit.cli import complete
from kit.cli.terminal import print_json, say


def ledger(
    slug: Annotated[
        str | None,
        typer.Argument(metavar="[SLUG]", help="Only the lines of this competition.", autocompletion=complete.slugs),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: path, head, num_lines, torn, fault, looks.")
    ] = False,
) -> None:
    """Show every look at test labels and leaderboard scores, and check that no line was changed or cut off."""
    from kit.board.test_use import uses_of_records
    from kit.competition import load_competition
    from kit.errors import StorageError
    from kit.judge.test_ledger import check_chain

    if slug is not None:
        load_competition(slug)
    chain = check_chain(uses_of_records())
    shown = [one for one in chain.looks if slug in (None, one.competition)]
    if as_json:
        print_json(
            {
                "path": chain.path,
                "head": chain.head,
                "num_lines": len(chain.looks),
                "torn": chain.torn,
                "fault": chain.fault or None,
                "looks": shown,
            }
        )
        if chain.fault:
            raise StorageError(chain.fault)
        return
    for one in shown:
        print(f"{one.n:5}  {one.when}  {one.opened:13}  {one.metric} {one.value:.6g}  {one.run} ({one.kind})")
    about = f" of {slug}" if slug else ""
    print(f"{len(shown):,} looks{about}; {chain.path} has {len(chain.looks):,} sound lines, head {chain.head[:12]}")
    if chain.torn:
        say(
            f"The last line was torn, {chain.torn} bytes: what wrote it was killed before it showed a value. The next "
            "look keeps it apart and goes on."
        )
    if chain.fault:
        raise StorageError(chain.fault)
    say("Every line is as it was written, and every record of this machine is of this chain.")


COMMANDS = (ledger,)
