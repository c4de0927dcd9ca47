"""Names that a shell completes: competitions and what they have, runs, studies, networks, keys of a recipe.

A person waits for these with a finger on the tab key: nothing heavy is imported, files are looked at and not checked.
What cannot be read has no names; why, the command itself will say.
"""

import contextlib
import io
import os
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import typer

MOST = 400  # names at once: no shell shows more


def slugs(incomplete: str) -> list[str]:
    """Return competitions."""
    return _starting(_folders(), incomplete)


def runs(incomplete: str) -> list[str]:
    """Return ids of finished runs, the newest first."""
    from kit.home import family

    found = sorted(family("runs").glob("*/record.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    return _starting((path.parent.name for path in found), incomplete)


def slugs_and_runs(incomplete: str) -> list[str]:
    """Return competitions, and ids of finished runs."""
    return [*slugs(incomplete), *runs(incomplete)]


def published_runs(incomplete: str) -> list[str]:
    """Return ids of runs, here and on the published leaderboard."""
    from kit.competition import package_folder

    published = (path.stem for path in sorted((package_folder("leaderboard") / "runs").glob("*.json")))
    return _starting([*runs(""), *published], incomplete)


def studies(incomplete: str) -> list[str]:
    """Return names of sweeps."""
    from kit.home import family

    return _starting((path.name for path in sorted(family("studies").glob("*")) if path.is_dir()), incomplete)


def recipes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return recipes of the competition that the command line names already."""
    folder = _folder(ctx)
    found = sorted(path.stem for path in (folder / "recipes").glob("*.toml")) if folder else []
    return _starting(found, incomplete)


def protocols(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return protocols of the competition that the command line names already."""
    return _starting(_table(ctx, "protocols"), incomplete)


def sources(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return source sets of the competition that the command line names already."""
    return _starting(_table(ctx, "sources"), incomplete)


def label_rules(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return further label rules of the competition that the command line names already."""
    return _starting(_table(ctx, "more_labels"), incomplete)


def metrics(incomplete: str) -> list[str]:
    """Return names of metrics."""
    from kit.metrics import METRICS

    return _starting(METRICS, incomplete)


def families(incomplete: str) -> list[str]:
    """Return families of files that `kit cache --clear` takes."""
    from kit.home import FAMILIES

    return _starting([*FAMILIES, "all"], incomplete)


def blend_rules(incomplete: str) -> list[str]:
    """Return ways of blending runs."""
    return _starting(("auto", "mean", "geometric", "rank", "best", "weights", "greedy"), incomplete)


def devices(incomplete: str) -> list[str]:
    """Return kinds of devices."""
    return _starting(("auto", "cpu", "cuda", "mps"), incomplete)


def networks(incomplete: str) -> list[str]:
    """Return timm's names of networks, with tags of their weights once a dot is there.

    They are read from the text of timm's files: importing timm takes seconds, as it imports torch.
    """
    tagged = "." in incomplete
    pattern = rb"""^\s+['"]([a-z0-9_]+\.[a-z0-9_]+)['"]\s*:\s*_""" if tagged else rb"^@register_model\s+def (\w+)\("
    found: set[str] = set()
    for path in _timm_files():
        found.update(name.decode() for name in re.findall(pattern, path.read_bytes(), re.MULTILINE))
    return _starting(sorted(found), incomplete)


def settings(incomplete: str) -> list[str]:
    """Return keys of a recipe for `--set KEY=VALUE`, and after the sign the values of those that have few."""
    from kit.config import Recipe

    key, equals, value = incomplete.partition("=")
    keys = _keys(Recipe)
    if not equals:
        return _starting((f"{one}=" for one in keys), incomplete)
    if key == "model.name":
        known: Iterable[str] = networks(value)
    elif keys.get(key) is bool:
        known = ("true", "false")
    else:
        known = (one for one in typing.get_args(keys.get(key)) if isinstance(one, str))
    return [f"{key}={one}" for one in _starting(known, value)]


@contextlib.contextmanager
def in_bash() -> Iterator[None]:
    """Mend what bash does to `--set KEY=VALUE` while it completes: for bash that is three words, of which it wants one.

    Standard output is held back, and loses what stands before the last sign.
    """
    written, at = os.environ.get("COMP_WORDS", ""), os.environ.get("COMP_CWORD", "")
    between = "\n" if "\n" in written else " "  # the first, where the script that Typer gives bash asks
    words = written.split(between)
    before = words[: int(at) + 1] if at.isdecimal() else []
    if os.environ.get("_KIT_COMPLETE") != "complete_bash" or "=" not in before[-2:]:
        yield
        return
    start = len(before) - before[::-1].index("=") - 2
    joined = "".join(before[start:])
    os.environ.update(COMP_WORDS=between.join([*before[:start], joined]), COMP_CWORD=str(start))
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        print("\n".join(line.partition("=")[2] for line in printed.getvalue().splitlines()))


def _keys(kind: type, prefix: str = "") -> dict[str, Any]:
    """Return the keys of a recipe with their types: "schedule.lr" -> float."""
    hints = typing.get_type_hints(kind)
    found: dict[str, Any] = {}
    for field in fields(kind):
        hint = hints[field.name]
        if isinstance(hint, type) and is_dataclass(hint):
            found.update(_keys(hint, f"{prefix}{field.name}."))
        else:
            found[prefix + field.name] = hint
    return found


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)][:MOST]


def _folders() -> dict[str, Path]:
    from kit.competition import competition_folders

    return competition_folders()


def _folder(ctx: typer.Context) -> Path | None:
    """Return the folder of the competition among the words before; after an option without its value they are loose."""
    folders = _folders()
    words = (ctx.params.get("slug"), *ctx.args)
    return next((folders[word] for word in words if isinstance(word, str) and word in folders), None)


def _table(ctx: typer.Context, name: str) -> list[str]:
    """Return the names in one table of the competition's file."""
    import tomllib

    folder = _folder(ctx)
    try:
        content = tomllib.loads((folder / "competition.toml").read_text(encoding="utf-8")) if folder else {}
    except (OSError, ValueError):
        return []
    found = content.get(name)
    return list(found) if isinstance(found, Mapping) else []


def _timm_files() -> list[Path]:
    from importlib.util import find_spec

    spec = find_spec("timm")
    places = list(spec.submodule_search_locations or ()) if spec else []
    return [path for place in places for path in sorted((Path(place) / "models").glob("*.py"))]
