"""The command that collects images of one's own: scrape."""

from pathlib import Path
from typing import Annotated

import typer

from kit.cli.terminal import say


def scrape(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The competition that the images are for, new or not.")],
    urls: Annotated[
        list[Path],
        typer.Option(
            "--urls",
            metavar="FILE",
            help="Addresses: .txt, .csv (url,label), saved .html, .har; or a folder; repeatable.",
        ),
    ],
    label: Annotated[
        str | None, typer.Option("--label", metavar="CLASS", help="Class of the lists; default: the file's name.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Ask failed addresses once more.")] = False,
    per_host: Annotated[int, typer.Option("--per-host", metavar="N", help="Requests at once to one host.")] = 2,
    pause: Annotated[float, typer.Option("--pause", metavar="SECONDS", help="Between two requests to one host.")] = 0.2,
    max_mib: Annotated[float, typer.Option("--max-mib", metavar="MIB", help="Largest image that is kept.")] = 20,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="HOST[:PORT]", help="May have a private address; repeatable."),
    ] = None,
) -> None:
    """Collect images from lists of addresses, with a manifest, as a competition that `kit run NAME` takes."""
    from kit.scrape.collector import Limits
    from kit.scrape.scrape import collect, competition_of, refuse_empty, write_near_duplicates

    limits = Limits(per_host=per_host, pause_seconds=pause, max_bytes=int(max_mib * 2**20))
    hosts = allow_host or []
    found = collect(name, urls, label=label, limits=limits, allow_hosts=hosts, retry_failed=retry_failed, say=say)
    print(f"{'status':10} {'rows':>7}  reason")
    for status, reason, count in found.counts():
        print(f"{status:10} {count:7,}  {reason}")
    print()
    print(f"{'class':30} {'images':>7}")
    for class_name, count in {**found.counts_by_class(), **dict.fromkeys(found.empty_classes, 0)}.items():
        print(f"{class_name:30} {count:7,}")
    print()
    print(f"images           {found.folder}")
    print(f"manifest         {found.manifest}")
    refuse_empty(found)
    if found.empty_classes:
        say(f"NO IMAGE was kept of {', '.join(found.empty_classes)}: see the reasons in the manifest")
    for row in found.conflicts:
        say(f"CONFLICT: {row.url} is listed as {row.label}, but the same image is kept as {row.file}")
    if found.paths:
        print(f"near duplicates  {write_near_duplicates(found, say=say)}")
    if (folder := competition_of(name, found, say=say)) is not None:
        print(f"competition      {folder}")


COMMANDS = (scrape,)
