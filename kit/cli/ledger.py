"""The command that shows and checks the test-use ledger: ledger."""

from typing import Annotated

import typer


def ledger(
    slug: Annotated[str | None, typer.Argument(metavar="[SLUG]", help="Only the lines of this competition.")] = None,
) -> None:
    """Show every look at test labels and leaderboard scores, and check that no line was changed or cut off."""
    from kit.board.test_use import uses_of_records
    from kit.cli.stages import say
    from kit.competition import load_competition
    from kit.errors import StorageError
    from kit.judge.test_ledger import check_chain

    if slug is not None:
        load_competition(slug)
    chain = check_chain(uses_of_records())
    shown = [one for one in chain.looks if slug in (None, one.competition)]
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
