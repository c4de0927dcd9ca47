"""Commands about submissions: submit, submissions, standing."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kit.cli import complete
from kit.cli.stages import Slug
from kit.cli.terminal import print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kit.kaggle.submissions import Submission

Share = Annotated[
    float | None,
    typer.Option("--public-share", metavar="S", help="Share of the test images behind the public score, e.g. 0.3."),
]


def submit(
    slug: Slug,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN", help="Id of a run, or the start of it.", autocompletion=complete.runs),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="A CSV instead of the run's submission.csv.")
    ] = None,
    message: Annotated[str, typer.Option("--message", "-m", metavar="TEXT", help="Shown beside it on Kaggle.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the score.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, send nothing.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Send a file that was sent before.")] = False,
) -> None:
    """Check a submission file and send it to Kaggle, once; exit code 75 means: the same command may work later."""
    from kit.board.records import find_record
    from kit.competition import load_competition
    from kit.errors import ConfigError
    from kit.kaggle.submit import submit as submit_file

    competition = load_competition(slug)
    if run is None and file is None:
        raise ConfigError(f"Give what is to be submitted to {slug}: --run RUN, or --file FILE.")
    done = submit_file(
        competition,
        record=find_record(run) if run else None,
        file=file,
        message=message,
        wait=wait,
        dry_run=dry_run,
        again=again,
        say=say,
    )
    for finding in done.findings:
        say(f"{finding.code} {finding.severity}: {finding.message}")
    if not done.sent and dry_run:
        print(f"would be sent  {done.submission.file_name}, {done.submission.num_rows:,} rows")
        return
    _show([done.submission])


def submissions(
    slug: Slug,
    public_share: Share = None,
    offline: Annotated[bool, typer.Option("--offline", help="Show what is known here; ask nobody.")] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object: submissions, broken_lines, gain, finals, medal, plot."),
    ] = False,
) -> None:
    """List all submissions: out of fold, public, private; how much is noise; which two to choose in the end."""
    from kit.competition import load_competition
    from kit.kaggle.history import history

    found = history(load_competition(slug), public_share=public_share, online=not offline, say=say)
    if found.broken_lines:
        say(f"{found.broken_lines} lines of the ledger were cut by a crash and are left out")
    if as_json:
        print_json(found)
        return
    if not found.submissions:
        print(f"Nothing was submitted to {slug} yet: `kit submit {slug} --run RUN`.")
        return
    _show(found.submissions)
    if found.gain:
        print(f"\nnoise   {found.gain.words}")
    elif public_share is None and len(found.submissions) > 1:
        print("\nnoise   --public-share S says how much of a public gain is noise")
    if found.finals:
        print("\nfinals  " + "\n        ".join(found.finals.words))
    if found.medal:
        print(f"\nmedal   {found.medal}")
    if found.plot:
        print(f"\nplot    {found.plot}")


def standing(
    slug: Slug,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print one JSON object: board, teams, best_score, medals, own_teams, best, placing."
        ),
    ] = False,
) -> None:
    """Download the leaderboard as it is now, and show where the best submission stands on it."""
    from kit.competition import load_competition
    from kit.kaggle.standing import standing as find_standing
    from kit.store.decode import printable

    found = find_standing(load_competition(slug), say=say)
    board = found.board
    if as_json:
        print_json(
            {
                "board": {"slug": board.slug, "kind": board.kind},
                "teams": board.teams,
                "best_score": board.score_at(1),
                "medals": board.medals,
                "own_teams": [{"rank": rank, "team": line.team, "score": line.score} for rank, line in found.own_lines],
                "best": found.best,
                "placing": found.placing,
            }
        )
        return
    print(f"{board.slug}, {board.kind} leaderboard: {board.teams:,} teams, best {board.score_at(1)}")
    if medals := board.medals:
        lines = [(name, getattr(medals, name)) for name in ("gold", "silver", "bronze")]
        shown = [f"{name} to rank {rank:,} ({board.score_at(rank)})" for name, rank in lines if rank]
        print(f"medals  by Kaggle's rule: {', '.join(shown) or 'none for so few teams'}")
    for rank, line in found.own_lines:
        print(f"team    rank {rank:,}: {printable(line.team)}, {line.score}")
    if found.best is None:
        print(f"ours    no submission of yours has a score yet: `kit submit {slug} --run RUN`")
    elif found.placing is None:
        print(f"ours    {found.best.ref} has no {board.kind} score")
    else:
        placing = found.placing
        words = placing.words
        if found.own_lines:  # the ties that the words count are with ourselves
            words = f"rank {placing.rank:,} of {placing.teams:,} teams (top {placing.percentile:.3g} %)"
            words += f": {placing.medal or 'no medal'}{', as if' if placing.medal and placing.as_if else ''}."
        print(f"ours    {found.best.ref} ({found.best.run or printable(found.best.file_name)}): {words}")


def _show(found: "Sequence[Submission]") -> None:
    """Print submissions as a table."""
    from kit.store.decode import printable

    print(f"{'ref':>9}  {'sent (UTC)':16}  {'out of fold':28}  {'public':>10}  {'private':>10}  status    of")
    for one in found:
        score = one.out_of_fold
        own = f"{score.value:.5f} [{score.low:.5f}, {score.high:.5f}]" if score else "-"
        of = one.run or printable(one.file_name)
        message = f"  {printable(one.message)}" if one.message and one.message != of else ""
        print(
            f"{one.ref or '-':>9}  {one.when[:16].replace('T', ' '):16}  {own:28}  {printable(one.public) or '-':>10}  "
            f"{printable(one.private) or '-':>10}  {one.status:8}  {of}{message}"
        )
        if one.error:
            print(f"{'':11}{printable(one.error)}")


COMMANDS = (submit, submissions, standing)
