"""Two more ways to label images of one's own, from labels that are written down: a CSV file, or lists."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Formatter
from typing import Any

from kit.config import Recipe
from kit.data import labels as rules
from kit.errors import ConfigError, DataError
from kit.learner.data import Data
from kit.learner.labelling import (
    VALID_PCT,
    Group,
    Place,
    checked_place,
    data_of,
    labelled,
    own_folder,
    refuse_joined,
    with_groups,
)
from kit.progress import Say
from kit.store.decode import printable


def from_csv(
    path: Place,
    csv: Place = "labels.csv",
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    delimiter: str = ",",
    folder: str = "",
    suffix: str = "",
    separator: str = "",
    size: int = 224,
    bs: int | None = None,
    valid_pct: float = VALID_PCT,
    folds: int | None = None,
    group: Group = None,
    seed: int = 1,
    name: str | None = None,
    recipe: Place | Recipe | None = None,
    overrides: str | Sequence[str] = (),
    despite_findings: bool = False,
    say: Say = print,
) -> Data:
    """Return images that a CSV file labels, a row each.

    Args:
        path: folder of the images.
        csv: the file, below `path` or anywhere; with a header.
        image_column: names the image; default: the first column.
        label_column: its label; default: the second column.
        delimiter: between the columns.
        folder: goes before the name, e.g. "train"; `{column}` stands for the row's own value of that column.
        suffix: goes behind the name, e.g. ".jpg".
        separator: between the labels of one image that has several, e.g. " "; "" where each has one.
        size: see `from_folder`, as all that follows.
        bs: images per batch.
        valid_pct: share that is held out.
        folds: how many folds, the first of which is held out.
        group: images that stay in one fold: a column's name, or as in `from_folder`.
        seed: of folds, order and augmentation.
        name: of the collection.
        recipe: path or `Recipe`.
        overrides: laid over the recipe.
        despite_findings: train in spite of faults.
        say: takes lines.

    Raises:
        DataError: the file cannot be read or lacks a column, a row has no image or no label; or as `from_folder`.
        ConfigError: as `from_folder`.
    """
    root, given = own_folder(path), checked_place(csv, "csv")
    _check_spelling(delimiter, folder)
    file = root / given if (root / given).is_file() else given.expanduser()
    if not file.is_file():
        raise DataError(f"There is no file {printable(str(given))} below {root}, nor in {Path.cwd()}.")
    header = list(rules.read_table(file, columns=[], delimiter=delimiter).columns)
    if len(header) < 2 and not (image_column and label_column):
        raise DataError(
            f"{file} has the one column {printable(str(header[0]))!r}: one that names images and one with labels were "
            "expected. If its columns are parted by another sign than a comma, give it, e.g. delimiter=';'."
        )
    image_column, label_column = image_column or header[0], label_column or header[1]
    by_column = isinstance(group, str) and "(?P<" not in group
    rows = rules.read_table(
        file,
        columns=[image_column, label_column, *([str(group)] if by_column else []), *rules.columns_in(folder)],
        delimiter=delimiter,
    )
    if not separator:
        rules.refuse_empty(rows, label_column, id_column=image_column, file=file)
    paths = rules.csv_paths(rows, id_column=image_column, folder=folder, suffix=suffix, file=file)
    labels = [rules.labels_in(text, separator) for text in rows[label_column]]
    if separator:
        refuse_joined(paths, labels)
    table = rules.from_lists(paths, labels)
    if by_column:
        group_of = dict(zip(paths, rows[str(group)], strict=True))
        table["group"] = [group_of[one] for one in table["path"]]
    else:
        table = with_groups(table, root, group)
    return data_of(
        table,
        folder=root,
        several=bool(separator),
        size=size,
        bs=bs,
        valid_pct=valid_pct,
        folds=folds,
        seed=seed,
        name=name,
        recipe=recipe,
        overrides=overrides,
        despite_findings=despite_findings,
        say=say,
    )


def _check_spelling(delimiter: str, folder: str) -> None:
    """Refuse a delimiter that is no single sign, and a folder whose braces hold no column."""
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
        raise ConfigError(f"delimiter must be one sign, such as ',' or ';' or '\\t', got {delimiter!r}.")
    try:
        parts = list(Formatter().parse(folder))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"folder = {folder!r} cannot be read: {error}. Give a folder's name, where {{column}} stands for the row's "
            "own value of that column; a brace itself is doubled."
        ) from error
    if any(name == "" for _, name, _, _ in parts):
        raise ConfigError(f"folder = {folder!r} has empty braces: write the name of a column in them.")


def from_lists(
    paths: Iterable[Place],
    labels: Iterable[Any],
    *,
    path: Place | None = None,
    size: int = 224,
    bs: int | None = None,
    valid_pct: float = VALID_PCT,
    folds: int | None = None,
    group: Group = None,
    seed: int = 1,
    name: str | None = None,
    recipe: Place | Recipe | None = None,
    overrides: str | Sequence[str] = (),
    despite_findings: bool = False,
    say: Say = print,
) -> Data:
    """Return images from parallel lists of paths and labels.

    Args:
        paths: of the images; relative ones are below `path`, or the current folder.
        labels: of each image one, or a list of them where images have several.
        path: folder that holds all the images; default: the one that they have in common.
        size: see `from_folder`, as all that follows.
        bs: images per batch.
        valid_pct: share that is held out.
        folds: how many folds, the first of which is held out.
        group: images that stay in one fold.
        seed: of folds, order and augmentation.
        name: of the collection.
        recipe: path or `Recipe`.
        overrides: laid over the recipe.
        despite_findings: train in spite of faults.
        say: takes lines.

    Raises:
        DataError: the lists differ in length, or the images have no folder in common; or as `from_folder`.
        ConfigError: as `from_folder`.
    """
    start = own_folder(path) if path is not None else Path.cwd()
    for what, value in (("paths", paths), ("labels", labels)):
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise ConfigError(f"{what} must be a list, an entry for each image; got {printable(repr(value))[:80]}.")
    places = [checked_place(one, "each of paths").expanduser() for one in paths]
    whole = [Path(os.path.abspath(start / one)) for one in places]  # noqa: PTH100 (links stay)
    found = list(labels)
    if len(whole) != len(found):
        raise DataError(f"There are {len(whole)} paths but {len(found)} labels. Each image needs one label.")
    if not whole:
        raise DataError("The lists are empty: the paths of images and a label for each were expected.")
    folder = start if path is not None else Path(os.path.commonpath([one.parent for one in whole]))
    if folder == folder.parent:
        raise DataError(
            f"The images have no folder in common, from {whole[0]} to {whole[-1]}. Put them below one folder, or links "
            "to them."
        )
    relative = [os.path.relpath(one, folder).replace(os.sep, "/") for one in whole]
    table, several = labelled(relative, found, rule="The list of labels")
    return data_of(
        with_groups(table, folder, group),
        folder=folder,
        several=several,
        size=size,
        bs=bs,
        valid_pct=valid_pct,
        folds=folds,
        seed=seed,
        name=name,
        recipe=recipe,
        overrides=overrides,
        despite_findings=despite_findings,
        say=say,
    )
