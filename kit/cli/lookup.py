"""Commands that read what is there, and show it: compare, board, publish, track, cache."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kit.cli import complete
from kit.cli.stages import Slug
from kit.cli.terminal import print_json, say

if TYPE_CHECKING:
    from kit.board.records import RunRecord
    from kit.competition import Competition

RunName = Annotated[
    str,
    typer.Argument(metavar="RUN", help="Id of a run, or the start of it.", autocompletion=complete.runs),
]


def compare(
    slug: Slug,
    run: Annotated[
        str | None,
        typer.Option(
            "--run", metavar="RUN", help="Id of one run, or its start; default: all.", autocompletion=complete.runs
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="RUN",
            help="Compare --run with this run of ours, image by image.",
            autocompletion=complete.runs,
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object: groups, claims, unresolved, comparability; "
            "of two runs: run, against, kinds, left_out.",
        ),
    ] = False,
) -> None:
    """Rank results that may be ranked, ours and published ones; name the fields in which the others differ.

    With --against: two runs of ours on the same images, and whether one of them is better.
    """
    from kit.board.claims import claims_of, claims_of_runs, usual_conditions
    from kit.board.compare import load_published
    from kit.board.groups import groups
    from kit.board.records import all_records, find_record
    from kit.board.seed_notes import with_seed_notes
    from kit.board.terms import own_results
    from kit.cli.comparison import as_json_object, show_claims, show_groups
    from kit.competition import load_competition
    from kit.judge.judgement import ALWAYS
    from kit.judge.test_ledger import read_chain

    competition = load_competition(slug)
    if against is not None:
        _compare_two(competition, run, against, as_json=as_json)
        return
    published = load_published(competition.baselines_id)
    records = [find_record(run)] if run else [record for record in all_records() if record.competition == slug]
    _refuse_other_competition(records, slug)
    results = own_results(records)
    seen_from = None if records or published is None else usual_conditions(competition, published)
    parted = groups(published, results, seen_from=seen_from, scored_by=ALWAYS, chain=read_chain())
    found = with_seed_notes(parted, records)
    own = claims_of_runs(results, published) if published else []
    seen = [one.conditions for one in own]
    could = [one for one in claims_of(competition, published) if one.conditions not in seen] if published else []
    if as_json:
        print_json(as_json_object(found, [*own, *could], published))
        return
    show_groups(competition.title, found, num_runs=len(records))
    if published is None:
        print(f"\nNo published results are known for {competition.baselines_id}.")
        return
    show_claims(own, could, published)


def _compare_two(competition: "Competition", run: str | None, against: str, *, as_json: bool) -> None:
    """Print what two runs of ours on the same images say against each other."""
    from kit.board.duel import duel
    from kit.board.records import find_record
    from kit.cli.comparison import show_duel
    from kit.errors import ConfigError

    if run is None:
        raise ConfigError(
            f"--against names the second of two runs. Name the first too: `kit compare {competition.slug} --run RUN "
            f"--against {against}`."
        )
    records = [find_record(run), find_record(against)]
    _refuse_other_competition(records, competition.slug)
    found = duel(*records, classes=competition.classes, say=say)
    if as_json:
        print_json(found.as_dict())
    else:
        show_duel(competition.title, found)


def _refuse_other_competition(records: "list[RunRecord]", slug: str) -> None:
    from kit.errors import DataError

    for record in records:
        if record.competition != slug:
            raise DataError(
                f"The run {record.run_id} is of {record.competition}, not of {slug}: results of two competitions are "
                f"never comparable. Try `kit compare {record.competition} --run {record.run_id}`."
            )


def board(
    slug: Annotated[
        str | None,
        typer.Argument(metavar="[SLUG]", help="Print this competition's page only.", autocompletion=complete.slugs),
    ] = None,
) -> None:
    """Write the leaderboard pages of all competitions, with the runs of this machine and the published ones."""
    from kit.board.site import write_site
    from kit.competition import load_competition

    if slug is not None:
        load_competition(slug)
    site = write_site(say=say)
    print(site.index if slug is None else site.pages[slug])
    for one in site.left_out:
        say(f"left out: {one.path}: {one.why}")


def publish(
    run: RunName,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The leaderboard folder.")] = Path("leaderboard"),
) -> None:
    """Copy a run's record into leaderboard/runs, to be committed."""
    from kit.board.records import publish as publish_record

    print(publish_record(run, to))


def track(run: RunName) -> None:
    """Show a finished run, and the published results of its data set, to MLflow."""
    from kit.board.records import find_record
    from kit.run import track_run
    from kit.tracking import look_command

    if track_run(find_record(run), say=say):
        print(f"look on  {look_command()}")


def cache(
    clear: Annotated[
        str | None,
        typer.Option(
            "--clear", metavar="FAMILY", help="Remove one family of files, or `all`.", autocompletion=complete.families
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: home, families, freed.")] = False,
) -> None:
    """Show what the kit keeps on this disk, and where; or remove some of it."""
    from kit.home import clear_family, family_sizes, kit_home

    freed = None if clear is None else clear_family(clear)
    if as_json:
        sizes = family_sizes().items()
        families = {name: {"num_bytes": num_bytes, "what": what} for name, (num_bytes, what) in sizes}
        print_json({"home": kit_home(), "families": families, "freed": freed})
        return
    if freed is not None:
        print(f"{freed / 2**20:,.1f} MiB freed")
        return
    print(kit_home())
    for name, (num_bytes, what) in family_sizes().items():
        print(f"  {name:10} {num_bytes / 2**20:10,.1f} MiB  {what}")


COMMANDS = (compare, board, publish, track, cache)
