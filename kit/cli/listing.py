"""The command that shows which competitions there are, or one whole: list."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kit.cli import complete
from kit.cli.terminal import has_colours, print_json, say, styled, width

if TYPE_CHECKING:
    from kit.competition import Competition

CLASSES_SHOWN = 10  # by `kit list SLUG`
GAP = 2  # columns between two columns


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One line of `kit list`."""

    slug: str
    title: str
    metric: str
    num_classes: int
    here: tuple[str, ...]  # source sets that are on this machine
    way: str  # how the data are had where they are not here
    protocols: tuple[str, ...]
    default_protocol: str

    @property
    def data(self) -> str:
        """Where the data are, or how they are had."""
        return f"here: {', '.join(self.here)}" if self.here else self.way


def list_(
    slug: Annotated[
        str | None,
        typer.Argument(metavar="[SLUG]", help="Show all of this competition.", autocompletion=complete.slugs),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: competitions, faults; or all of the one of SLUG.")
    ] = False,
) -> None:
    """List the competitions: metric, classes, protocols, and the data: here, or how to have it; or show one whole."""
    from kit.competition import competition_folders, load_competition, read_competition
    from kit.errors import KitError

    if slug is not None:
        found = load_competition(slug)
        print_json(_whole(found)) if as_json else _show_competition(found)
        return
    rows, faults = [], []
    for folder in competition_folders().values():
        try:
            rows.append(_listed(read_competition(folder)))
        except KitError as error:
            faults.append(str(error))
    if as_json:
        print_json({"competitions": rows, "faults": faults})
    else:
        _show_table(rows)
        say("`kit list SLUG` shows one of them whole.")
    if faults:
        raise KitError(" ".join(faults))


def _listed(found: "Competition") -> Listed:
    from kit.files.fetch import is_here, way_to

    return Listed(
        slug=found.slug,
        title=found.title,
        metric=found.metric,
        num_classes=len(found.classes),
        here=tuple(source for source in found.sources if is_here(found, source)),
        way=way_to(found.source()),
        protocols=tuple(found.protocols),
        default_protocol=found.default_protocol,
    )


def _show_table(rows: Sequence[Listed]) -> None:
    """Print a table: in a file or pipe a line each; on a terminal as wide as that is, with fewer columns if narrow."""
    import sys

    if not sys.stdout.isatty():
        print(f"{'competition':20} {'metric':12} {'classes':>7}  {'data':15} protocols (* = default)")
        for row in rows:
            protocols = ", ".join(_starred(row.protocols, row.default_protocol))
            print(f"{row.slug:20} {row.metric:12} {row.num_classes:7}  {row.data:15} {protocols}")
        return
    columns = {
        "competition": [row.slug for row in rows],
        "metric": [row.metric for row in rows],
        "classes": [str(row.num_classes) for row in rows],
        "data": [row.data for row in rows],
        "protocols (* = default)": ["\n".join(_starred(row.protocols, row.default_protocol)) for row in rows],
    }
    _print_table(_fitting(columns), rows)


def _fitting(columns: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return those columns that stand beside each other without breaking a word: metric and classes go first."""
    shown = dict(columns)
    for last in ("classes", "metric", list(columns)[-1], "data"):
        widths = [
            max(len(line) for text in (name, *texts) for line in text.split("\n")) for name, texts in shown.items()
        ]
        if sum(widths) + GAP * (len(widths) - 1) <= width():
            break
        del shown[last]
    return shown


def _print_table(columns: dict[str, list[str]], rows: Sequence[Listed]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    for name in columns:
        table.add_column(name, justify="right" if name == "classes" else "left", no_wrap=True)
    styles = {"competition": "bold", "metric": "cyan"}
    for number, row in enumerate(rows):
        here = {"data": "green" if row.here else "dim"}
        table.add_row(*(Text(texts[number], style={**styles, **here}.get(name, "")) for name, texts in columns.items()))
    colours: Literal["auto"] | None = "auto" if has_colours() else None  # None: not bold or dim, either
    Console(width=width(), color_system=colours, highlight=False).print(table)


def _starred(names: Iterable[str], default: str) -> list[str]:
    return [f"{name}*" if name == default else name for name in names]


def _recipes(found: "Competition") -> list[str]:
    return sorted(path.stem for path in (found.folder / "recipes").glob("*.toml"))


def _whole(found: "Competition") -> dict[str, Any]:
    """Return all that one needs to run a competition, for programs."""
    from kit.files.fetch import is_here, way_to

    return {
        "slug": found.slug,
        "title": found.title,
        "homepage": found.homepage,
        "licence": found.licence,
        "task": found.task,
        "metric": found.metric,
        "classes": found.classes,
        "recipes": _recipes(found),
        "default_recipe": found.default_recipe,
        "labels": [found.labels.rule, *found.more_labels],
        "submission": _submission_columns(found),
        "folder": found.folder,
        "sources": {
            name: {
                "here": is_here(found, name),
                "way": way_to(source),
                "complete": source.complete,
                "kaggle": source.kaggle or None,
                "note": source.note or None,
            }
            for name, source in found.sources.items()
        },
        "default_source": found.source_name(),
        "protocols": {name: protocol.description for name, protocol in found.protocols.items()},
        "default_protocol": found.default_protocol,
    }


def _show_competition(found: "Competition") -> None:
    """Print all that one needs to run a competition."""
    from kit.files.fetch import is_here, way_to

    shown = ", ".join(found.classes[:CLASSES_SHOWN])
    more = len(found.classes) - CLASSES_SHOWN
    print(styled(found.title, bold=True))
    print(f"homepage    {found.homepage}")
    print(f"licence     {found.licence}")
    print(f"task        {found.task}")
    print(f"metric      {found.metric}")
    print(f"classes     {len(found.classes)}: {shown}{f', and {more} more' if more > 0 else ''}")
    print(f"recipes     {', '.join(_starred(_recipes(found), found.default_recipe))}")
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


COMMANDS = (list_,)
