"""The command that makes a competition of one's own images: new."""

from pathlib import Path
from typing import Annotated

import typer

CLASSES_SHOWN = 12


def new(
    slug: Annotated[str, typer.Argument(metavar="SLUG", help="The new competition's name.")],
    from_: Annotated[
        Path,
        typer.Option("--from", metavar="PATH", help="Folder of images, a CSV beside images, or lists of addresses."),
    ],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Where its folder is written.")] = Path(
        "competitions"
    ),
) -> None:
    """Look at images of your own and write a competition that `kit run SLUG` takes."""
    from kit.competition import checked_slug, competition_folders
    from kit.errors import CompetitionError
    from kit.scaffold.draft import write_draft
    from kit.scaffold.survey import survey

    if (there := competition_folders().get(checked_slug(slug))) is not None:
        raise CompetitionError(f"There is a competition {slug!r} already, in {there}. Choose another name.")
    found = survey(from_)
    folder = write_draft(found, slug=slug, folder=to)
    kinds = {
        "folders": "by folder",
        "names": f"by file name: {found.rule.pattern}",
        "csv": f"by {found.rule.file}: {', '.join(found.rule.target_columns) or found.rule.label_column}",
        "urls": "by list of addresses",
    }
    print(f"labels    {kinds[found.kind]}")
    things = "addresses" if found.kind == "urls" else "images"
    several = "" if found.task == "single-label" else f" ({found.task})"
    print(f"classes   {len(found.classes)}{several}, {found.num_images:,} {things}")
    for name in found.classes[:CLASSES_SHOWN]:
        print(f"          {found.counts[name]:8,}  {name}")
    if len(found.classes) > CLASSES_SHOWN:
        print(f"          and {len(found.classes) - CLASSES_SHOWN} more")
    if found.num_test:
        side = f"of {found.split.test}" if found.split else f"without labels: {found.test_files}"
        print(f"test      {found.num_test:,} images {side}")
    if found.shorter_side:
        print(f"size      {found.shorter_side} pixels, the median shorter side")
    print(f"metric    {found.metric}{f': {found.metric_reason}' if found.metric_reason else ''}")
    for note in found.notes:
        print(f"noticed   {note}")
    print(f"written   {folder}")
    elsewhere = "" if slug in competition_folders() else f"KIT_COMPETITIONS={to.absolute()} "
    steps = [f"{elsewhere}kit {verb} {slug}" for verb in ("check", "look", "run")]
    if found.kind == "urls":
        steps.insert(0, f"kit scrape {slug} --urls {found.data}")
    for number, step in enumerate(steps):
        print(f"{'then' if number else 'next'}      {step}")


COMMANDS = (new,)
