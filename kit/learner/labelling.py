"""What the five ways of labelling share: paths and labels are checked, grouped, and become `Data`."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from kit.competition import JOINED
from kit.config import AugmentConfig, InputConfig, Recipe, read_recipe, recipe_from_dict
from kit.data.labels import from_lists
from kit.data.prepare import prepare
from kit.errors import ConfigError, DataError, KitError
from kit.learner.collection import collection_of, first_of, parts_of
from kit.learner.data import Data, checked_folds, plan_images
from kit.learner.loading import laid_over, listed_overrides
from kit.progress import Say
from kit.scaffold.survey import mirrors_alike
from kit.store.decode import printable

Place: TypeAlias = str | os.PathLike[str]
NameOf: TypeAlias = Callable[[Path], Any]  # takes the whole path of an image; gives a label, labels, or a group
Group: TypeAlias = str | NameOf | None

VALID_PCT = 0.2  # share that is held out where nothing is said


def checked_place(value: object, name: str) -> Path:
    """Return a path that somebody gave.

    Args:
        value: what was given.
        name: of the argument, for the error.

    Raises:
        ConfigError: it is no path.
    """
    if isinstance(value, str) or (isinstance(value, os.PathLike) and isinstance(os.fspath(value), str)):
        return Path(value)
    raise ConfigError(f"{name} must be a path, as a text or a pathlib.Path; got {printable(repr(value))[:80]}.")


def own_folder(path: Place) -> Path:
    """Return a folder of the user's as an absolute path, links followed.

    Raises:
        DataError: there is no such folder.
        ConfigError: it is no path.
    """
    folder = checked_place(path, "path").expanduser()
    if folder.is_dir():
        return folder.resolve()
    what = "is a file, not a folder of images" if folder.exists() else "is not there"
    if not folder.is_absolute():
        what += f" (seen from {Path.cwd()})"
    raise DataError(f"{printable(str(folder))} {what}. Give the folder that holds the images.")


def searching(pattern: str, *, group: str, what: str) -> Callable[[str], str | None]:
    """Return a function that gives a pattern's group in a path below the folder; None where nothing is found.

    A "/" in front of the path is tried too: patterns that were written for whole paths begin with one.

    Args:
        pattern: a regular expression.
        group: name of the group that is meant; the first one where none is called so.
        what: the argument's name, for errors.

    Raises:
        ConfigError: it is no regular expression, or has no group.
    """
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ConfigError(f"{what} = {pattern!r} is not a regular expression: {error}.") from error
    if not compiled.groups:
        raise ConfigError(f"{what} = {pattern!r} marks no {group}. Put a group around it: (?P<{group}>...).")
    number: str | int = group if group in compiled.groupindex else 1

    def search(path: str) -> str | None:
        found = compiled.search(path) or compiled.search(f"/{path}")
        return found[number] if found else None

    return search


def called(function: NameOf, path: Path, *, what: str) -> Any:
    """Return what the user's function gives for one image.

    Raises:
        DataError: it raises anything, which is told with the path.
    """
    try:
        return function(path)
    except KitError:
        raise
    except Exception as error:  # whatever the user's own code raises
        told = " ".join(str(error).split())
        raise DataError(
            f"{what} failed for {printable(str(path))} with {type(error).__name__}{f': {told}' if told else ''}. It is "
            "called with the pathlib.Path of each image in turn."
        ) from error


def labelled(paths: Sequence[str], labels: Sequence[Any], *, rule: str) -> tuple[pd.DataFrame, bool]:
    """Return the table `image_id, path, label`, and whether images have several labels.

    Args:
        paths: below the folder.
        labels: texts or numbers; or lists, tuples or sets of them, where images have several labels.
        rule: what gave them, for errors.

    Raises:
        DataError: an image has no label.
    """
    if several := any(_is_list(one) for one in labels):
        parts = [_parts(one) for one in labels]
        refuse_joined(paths, parts)
        return from_lists(paths, parts), several
    spelled = ["" if _is_nothing(one) else str(one) for one in labels]
    if unmatched := [path for path, label in zip(paths, spelled, strict=True) if not label]:
        raise DataError(
            f"{rule} gives no label for {len(unmatched)} of {len(paths)} images, first {first_of(unmatched)}. Each "
            "image needs one: mend the rule, or keep other images in another folder."
        )
    return from_lists(paths, spelled), several


def refuse_joined(paths: Sequence[str], labels: Sequence[Sequence[str]]) -> None:
    """Refuse a single label, of images with several, that holds what tables put between two of them.

    Raises:
        DataError: it would be read as two labels.
    """
    if odd := [(path, one) for path, parts in zip(paths, labels, strict=True) for one in parts if JOINED in one]:
        path, label = odd[0]
        raise DataError(
            f"{len(odd)} labels hold {JOINED!r}, first '{printable(label)[:80]}' of {printable(path)}: where images "
            "have several labels, tables put it between two of them, so this one would be read as two. Spell it "
            "differently, or give its parts as labels of their own."
        )


def _is_list(label: Any) -> bool:
    return isinstance(label, Iterable) and not isinstance(label, str | bytes)


def _is_nothing(label: Any) -> bool:
    return label is None or label != label  # NaN, of whatever library


def _parts(label: Any) -> list[str]:
    if not _is_list(label):
        return [] if _is_nothing(label) else [str(label)]
    return list(dict.fromkeys(sorted(map(str, label)) if isinstance(label, set | frozenset) else map(str, label)))


def with_groups(table: pd.DataFrame, folder: Path, group: Group) -> pd.DataFrame:
    """Return the table with a column `group`, if one is asked for.

    Args:
        table: with `path` below `folder`.
        folder: of the images.
        group: a regular expression or a function; see `kit.learner.sources.from_folder`.

    Raises:
        DataError: an image belongs to no group, or the function fails.
        ConfigError: the pattern is no regular expression, or has no group.
    """
    if group is None:
        return table
    paths = table["path"].tolist()
    if callable(group):
        found = [called(group, folder / path, what="The function that groups images") for path in paths]
    else:
        found = [*map(searching(group, group="group", what="group"), paths)]
    spelled = ["" if _is_nothing(one) else str(one) for one in found]
    if unmatched := [path for path, name in zip(paths, spelled, strict=True) if not name]:
        raise DataError(
            f"`group` gives nothing for {len(unmatched)} of {len(paths)} images, first {first_of(unmatched)}. Each "
            "image needs one; an image that belongs to no other may have its own name."
        )
    return table.assign(group=spelled)


def data_of(
    table: pd.DataFrame,
    *,
    folder: Path,
    several: bool,
    size: int,
    bs: int | None,
    valid_pct: float | None,
    folds: int | None,
    seed: int,
    name: str | None,
    recipe: Place | Recipe | None,
    overrides: str | Sequence[str],
    despite_findings: bool,
    say: Say,
) -> Data:
    """Return labelled images as `Data`.

    Args:
        table: `image_id`, `path`, `label`, and `group` or `given_fold` ("0" is held out, "1" trains).
        folder: of the images.
        several: an image may have any number of labels.
        size: see `kit.learner.sources.from_folder`, as all that follows.
        bs: images per batch.
        valid_pct: share that is held out; None: `VALID_PCT`.
        folds: how many folds.
        seed: of folds, order and augmentation.
        name: of the collection.
        recipe: path or `Recipe`.
        overrides: laid over the recipe.
        despite_findings: train in spite of faults.
        say: takes lines.

    Raises:
        DataError, ConfigError, CompetitionError: see `from_folder`.
    """
    if "given_fold" in table:
        num_held_out, num_folds = 1, 2
    elif folds is not None:
        num_held_out, num_folds = 1 if folds else 0, folds
    else:
        num_held_out, num_folds = parts_of(VALID_PCT if valid_pct is None else valid_pct)
    classes = sorted({name for label in table["label"] for name in (label.split(JOINED) if several else [label])})
    chosen = laid_over(_recipe(recipe, overrides, classes=classes), size=size, bs=bs, folds=num_folds, seed=seed)
    competition = collection_of(table, folder=folder, several=several, num_folds=chosen.num_folds, name=name)
    if chosen.num_folds:
        _refuse_too_many_folds(table, num_folds=num_folds, several=several)
    try:
        plan = plan_images(competition, chosen, despite_findings=despite_findings, say=say)
    except DataError:
        # Copies are found on the way, and are one group: then dealing refuses, in the command line's words.
        if chosen.num_folds:
            grouped = prepare(competition, seed=seed, say=lambda line: None).train
            _refuse_too_many_folds(grouped, num_folds=num_folds, several=several)
        raise
    return Data(plan=plan, valid_folds=checked_folds(plan, range(num_held_out)), recipe=chosen, say=say).told()


def _recipe(given: Place | Recipe | None, overrides: str | Sequence[str], *, classes: Sequence[str]) -> Recipe:
    changes = listed_overrides(overrides)
    if given is None:
        augment = AugmentConfig(mirror=mirrors_alike(classes))
        given = Recipe(name="own", input=InputConfig(), augment=augment)
    if isinstance(given, Recipe):
        return recipe_from_dict(given.as_dict(), overrides=changes) if changes else given
    return read_recipe(checked_place(given, "recipe").expanduser(), overrides=changes)


def _refuse_too_many_folds(table: pd.DataFrame, *, num_folds: int, several: bool) -> None:
    """Say in the words of these functions what dealing would refuse in the command line's."""
    if "given_fold" in table:
        return
    by = "group" if "group" in table else "image_id"
    what = "groups (copies of one picture are one)" if by == "group" else "images"
    if (count := table[by].nunique()) < num_folds:
        raise DataError(
            f"{count} {what} cannot be parted into {num_folds} folds. Give fewer, e.g. folds=2, or a larger valid_pct."
        )
    largest = int(table.groupby("label")[by].nunique().max())
    if not several and largest < num_folds:
        raise DataError(
            f"The images cannot be parted into {num_folds} folds: the largest class has {largest} {what}, so no class "
            "could be in every fold. Give fewer, e.g. folds=2, a larger valid_pct, or more images."
        )
