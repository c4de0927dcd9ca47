"""Commands that read what is there: list, compare, board, publish, cache."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kit.cli.stages import Slug, say

if TYPE_CHECKING:
    from kit.board.records import RunRecord
    from kit.competition import Competition

CLASSES_SHOWN = 10  # by `kit list SLUG`


def list_(
    slug: Annotated[str | None, typer.Argument(metavar="[SLUG]", help="Show all of this competition.")] = None,
) -> None:
    """List the competitions: metric, classes, protocols, and the data: here, or how to have it; or show one whole."""
    from kit.competition import competition_folders, load_competition, read_competition
    from kit.errors import KitError
    from kit.files.fetch import is_here, way_to

    if slug is not None:
        _show_competition(load_competition(slug))
        return
    faults = []
    print(f"{'competition':20} {'metric':12} {'classes':>7}  {'data':15} protocols (* = default)")
    for name, folder in competition_folders().items():
        try:
            found = read_competition(folder)
        except KitError as error:
            faults.append(str(error))
            continue
        here = [source for source in found.sources if is_here(found, source)]
        data = f"here: {', '.join(here)}" if here else way_to(found.source())
        protocols = ", ".join(f"{each}*" if each == found.default_protocol else each for each in found.protocols)
        print(f"{name:20} {found.metric:12} {len(found.classes):7}  {data:15} {protocols}")
    say("`kit list SLUG` shows one of them whole.")
    if faults:
        raise KitError(" ".join(faults))


def _show_competition(found: "Competition") -> None:
    """Print all that one needs to run a competition."""
    from kit.files.fetch import is_here, way_to

    recipes = sorted(path.stem for path in (found.folder / "recipes").glob("*.toml"))
    shown = ", ".join(found.classes[:CLASSES_SHOWN])
    more = len(found.classes) - CLASSES_SHOWN
    print(found.title)
    print(f"homepage    {found.homepage}")
    print(f"licence     {found.licence}")
    print(f"task        {found.task}")
    print(f"metric      {found.metric}")
    print(f"classes     {len(found.classes)}: {shown}{f', and {more} more' if more > 0 else ''}")
    print(f"recipes     {', '.join(_starred(recipes, found.default_recipe))}")
    if found.more_labels:
        print(f"labels      {found.labels.rule}*; --labels takes {', '.join(found.more_labels)}")
    print(f"submission  {_submission_columns(found)}")
    print(f"folder      {found.folder}")
    print("\nsources (--source)")
    for name, starred in zip(found.sources, _starred(found.sources, found.source_name()), strict=True):
        source = found.sources[name]
        facts = ["here" if is_here(found, name) else way_to(source)]
        facts += [] if source.complete else ["not all images"]
        facts += [f"{source.kaggle} on Kaggle"] if source.kaggle else []
        facts += [source.note] if source.note else []
        print(f"  {starred:22} {'; '.join(facts)}")
    print("\nprotocols (--protocol)")
    for name, starred in zip(found.protocols, _starred(found.protocols, found.default_protocol), strict=True):
        print(f"  {starred:22} {found.protocols[name].description}")
    print("\n* = default")


def _starred(names: Iterable[str], default: str) -> list[str]:
    return [f"{name}*" if name == default else name for name in names]


def _submission_columns(found: "Competition") -> str:
    rule = found.submission
    if rule.values == "probabilities":
        return f"{rule.id_column}, and a probability per class"
    values = {
        "label": "the class",
        "labels": "the classes of the image",
        "probability_of": f"the probability of {rule.of_class}",
    }
    return f"{rule.id_column}, {rule.label_column} ({values[rule.values]})"


def compare(
    slug: Slug,
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="Id of one run, or its start; default: all.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="RUN", help="Compare --run with this run of ours, image by image."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")] = False,
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
    from kit.cli.comparison import print_json, show_claims, show_groups
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
        print_json(found, [*own, *could], published)
        return
    show_groups(competition.title, found, num_runs=len(records))
    if published is None:
        print(f"\nNo published results are known for {competition.baselines_id}.")
        return
    show_claims(own, could, published)


def _compare_two(competition: "Competition", run: str | None, against: str, *, as_json: bool) -> None:
    """Print what two runs of ours on the same images say against each other."""
    import json

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
    found = duel(*records, classes=competition.classes)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2, ensure_ascii=False, allow_nan=False))
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
    slug: Annotated[str | None, typer.Argument(metavar="[SLUG]", help="Print this competition's page only.")] = None,
) -> None:
    """Write the leaderboard pages of all competitions, with the runs of this machine and the published ones."""
    from kit.board.site import write_site
    from kit.competition import load_competition

    if slug is not None:
        load_competition(slug)
    site = write_site()
    print(site.index if slug is None else site.pages[slug])
    for one in site.left_out:
        say(f"left out: {one.path}: {one.why}")


def publish(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, or the start of it.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The leaderboard folder.")] = Path("leaderboard"),
) -> None:
    """Copy a run's record into leaderboard/runs, to be committed."""
    from kit.board.records import publish as publish_record

    print(publish_record(run, to))


def track(run: Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, or the start of it.")]) -> None:
    """Show a finished run, and the published results of its data set, to MLflow."""
    from kit.board.records import find_record
    from kit.run import track_run
    from kit.tracking import look_command

    if track_run(find_record(run), say=say):
        print(f"look on  {look_command()}")


def cache(
    clear: Annotated[
        str | None, typer.Option("--clear", metavar="FAMILY", help="Remove one family of files, or `all`.")
    ] = None,
) -> None:
    """Show what the kit keeps on this disk, and where; or remove some of it."""
    from kit.home import clear_family, family_sizes, kit_home

    if clear is not None:
        print(f"{clear_family(clear) / 2**20:,.1f} MiB freed")
        return
    print(kit_home())
    for name, (num_bytes, what) in family_sizes().items():
        print(f"  {name:10} {num_bytes / 2**20:10,.1f} MiB  {what}")


COMMANDS = (list_, compare, board, publish, track, cache)
