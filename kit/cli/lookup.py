"""Commands that read what is there: list, compare, board, publish, cache."""

from pathlib import Path
from typing import Annotated

import typer

from kit.cli.stages import Slug


def list_() -> None:
    """List the competitions: metric, classes, protocols, and whether the data is here."""
    from kit.competition import competition_folders, read_competition
    from kit.errors import KitError
    from kit.files.fetch import is_here

    faults = []
    print(f"{'competition':20} {'metric':12} {'classes':>7}  {'data here':12} protocols (* = default)")
    for slug, folder in competition_folders().items():
        try:
            found = read_competition(folder)
        except KitError as error:
            faults.append(str(error))
            continue
        here = [name for name in found.sources if is_here(found, name)]
        protocols = ", ".join(f"{name}*" if name == found.default_protocol else name for name in found.protocols)
        print(f"{slug:20} {found.metric:12} {len(found.classes):7}  {', '.join(here) or 'no':12} {protocols}")
    if faults:
        raise KitError(" ".join(faults))


def compare(
    slug: Slug,
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="Id of one run, or its start; default: all.")
    ] = None,
) -> None:
    """Set this competition's runs beside the published results; say of each other one which field differs."""
    from kit.board.compare import load_published
    from kit.board.records import all_records, find_record
    from kit.cli.show import show_comparison, show_run
    from kit.competition import load_competition

    competition = load_competition(slug)
    published = load_published(competition.baselines_id)
    records = [find_record(run)] if run else [record for record in all_records() if record.competition == slug]
    if not records and published is not None:
        print(f"No run of {slug} has finished here yet. Published results, by protocol (`kit run {slug}` adds one):")
        for name, protocol in published.protocols.items():
            rows = [row for row in published.results if row.protocol == name and row.value is not None]
            print(f"\n{name}: {protocol.description}\n  trained on {protocol.train}; tested on {protocol.test}")
            for row in sorted(rows, key=lambda row: row.year):
                mark = "" if row.status == "verified" else ", unverified"
                print(f"  {row.metric} {row.value:.4f}  {row.method} ({row.year}{mark})")
    for record in records:
        show_run(record)
        show_comparison(record, published)
    if published is not None and published.comparability:
        print("\nBefore you quote a comparison:")
        for sentence in published.comparability:
            print(f"  - {sentence}")


def board(
    slug: Annotated[str | None, typer.Argument(metavar="[SLUG]", help="Print this competition's page only.")] = None,
) -> None:
    """Write the leaderboard pages from the records of all runs, here and published."""
    from kit.board.page import write_board
    from kit.board.records import board_records
    from kit.competition import load_competition

    if slug is not None:
        load_competition(slug)
    pages = write_board(board_records())
    for page in pages if slug is None else [page for page in pages if page.stem == slug]:
        print(page)


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
    from kit.cli.stages import say
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
