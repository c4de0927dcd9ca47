"""Labels: which label an image has, by folder, regular expression, CSV or function. Names as in fast.ai's lesson.

Each function takes files and gives a table `image_id, path, label` (strings, one row per image, sorted by
id): `image_id` is the path without its suffix, `path` is relative to the data folder, with forward slashes.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from string import Formatter

import pandas as pd

from kit.data.schema import JOINED
from kit.errors import DataError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp"}
COLUMNS = ["image_id", "path", "label"]


def find_images(folder: Path, pattern: str = "**/*") -> list[str]:
    """Return the image files below `folder` that match the glob `pattern`, as sorted relative paths.

    Directory order differs between file systems. Sorted, row i is the same image on every machine.
    """
    found = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.glob(pattern)
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    if not found:
        raise DataError(
            f"No image file matches {pattern!r} in {folder}. Images end in {', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    return found


def from_folder(paths: Sequence[str]) -> pd.DataFrame:
    """Label each image with the name of the folder it lies in."""
    return from_name_func(paths, lambda path: path.parent.name)


def from_name_re(paths: Sequence[str], pattern: str) -> pd.DataFrame:
    """Label each image with the group `label` (or the first group) of `pattern`, searched in its path."""
    compiled = re.compile(pattern)
    if not compiled.groups:
        raise DataError(f"The pattern {pattern!r} marks no label. Put a group around it: (?P<label>...).")
    group: str | int = "label" if "label" in compiled.groupindex else 1

    def label_of(path: PurePosixPath) -> str:
        found = compiled.search(path.as_posix())
        return found[group] or "" if found else ""  # a group that took no part in the match is None

    return from_name_func(paths, label_of, rule=f"the pattern {pattern!r}")


def from_name_func(
    paths: Sequence[str], label_of: Callable[[PurePosixPath], str | None], *, rule: str = "the rule"
) -> pd.DataFrame:
    """Label each image with `label_of(path)`; an empty label, or None, means that no rule matches."""
    found = [label_of(PurePosixPath(path)) for path in paths]
    labels = ["" if label is None else str(label) for label in found]
    unmatched = [path for path, label in zip(paths, labels, strict=True) if not label]
    if unmatched:
        raise DataError(
            f"{len(unmatched)} of {len(paths)} images match no label: {rule} gives none for {unmatched[:5]}. "
            "Mend the rule in competition.toml, or narrow `images` so that it leaves these files out."
        )
    return from_lists(paths, labels)


def from_name_patterns(paths: Sequence[str], patterns: Mapping[str, str]) -> pd.DataFrame:
    """Label each image with the one class whose pattern is found in its path; none, or two, is an error."""
    compiled = {name: re.compile(pattern) for name, pattern in patterns.items()}
    found = [[name for name, pattern in compiled.items() if pattern.search(path)] for path in paths]
    several = [f"{path} ({', '.join(names)})" for path, names in zip(paths, found, strict=True) if len(names) > 1]
    if several:
        raise DataError(
            f"{len(several)} of {len(paths)} images match the patterns of two classes or more: {several[:5]}. "
            "Make the patterns in competition.toml exclude each other."
        )
    names_of = dict(zip(paths, found, strict=True))
    return from_name_func(paths, lambda path: "".join(names_of[str(path)]), rule="labels.patterns")


def from_lists(paths: Sequence[str], labels: Sequence[str] | Sequence[Sequence[str]]) -> pd.DataFrame:
    """Make the table from parallel lists of paths and labels; a list of labels belongs to an image with several."""
    if len(paths) != len(labels):
        raise DataError(f"There are {len(paths)} paths but {len(labels)} labels. Each image needs one label.")
    spelled = [
        label if isinstance(label, str) else JOINED.join(map(str, label)) if isinstance(label, Sequence) else str(label)
        for label in labels
    ]
    table = pd.DataFrame({"path": list(paths), "label": spelled}, dtype="str")
    table.insert(0, "image_id", [image_id_of(path) for path in paths])
    return table.sort_values("image_id", ignore_index=True)[COLUMNS]


def from_csv(
    file: Path,
    *,
    id_column: str,
    label_column: str,
    folder: str = "",
    suffix: str = "",
    delimiter: str = ",",
    separator: str = "",
) -> pd.DataFrame:
    """Read paths and labels from a CSV file.

    Args:
        file: with a header and a row per image.
        id_column: names the image.
        label_column: its label.
        folder: goes before the name; `{column}` stands for the row's own value of that column.
        suffix: goes behind the name.
        delimiter: between the columns.
        separator: between the labels of one image that has several; "" where each has one.
    """
    table = read_table(file, columns=[id_column, label_column, *columns_in(folder)], delimiter=delimiter)
    if not separator:
        refuse_empty(table, label_column, id_column=id_column, file=file)
    paths = csv_paths(table, id_column=id_column, folder=folder, suffix=suffix, file=file)
    labels = table[label_column].tolist()
    if separator:
        return from_lists(paths, [[one.strip() for one in text.split(separator) if one.strip()] for text in labels])
    return from_lists(paths, labels)


def refuse_empty(table: pd.DataFrame, column: str, *, id_column: str, file: Path) -> None:
    """Refuse a CSV in which `column` is empty for some rows."""
    empty = table[column] == ""
    if empty.any():
        raise DataError(
            f"{file}: {int(empty.sum())} of {len(table)} rows have no {column!r}, first "
            f"{table.loc[empty, id_column].head(5).tolist()}. Each training image needs one."
        )


def columns_in(folder: str) -> list[str]:
    """Return the columns that `folder` names in braces."""
    return [name for _, name, _, _ in Formatter().parse(folder) if name]


def csv_paths(table: pd.DataFrame, *, id_column: str, folder: str, suffix: str, file: Path) -> list[str]:
    """Return the path of each row: `folder` with the row\'s values, then its name, then `suffix`."""
    if nameless := int((table[id_column] == "").sum()):
        raise DataError(f"{file}: {nameless} of {len(table)} rows have no {id_column!r}. Each row names one image.")
    prefix = f"{folder.rstrip('/')}/" if folder else ""
    if not (columns := columns_in(folder)):
        return [f"{prefix}{name}{suffix}" for name in table[id_column]]
    values = zip(*(table[column] for column in columns), strict=True)
    return [
        f"{prefix.format(**dict(zip(columns, value, strict=True)))}{name}{suffix}"
        for name, value in zip(table[id_column], values, strict=True)
    ]


def read_table(file: Path, *, columns: Iterable[str], delimiter: str = ",") -> pd.DataFrame:
    """Read a CSV of strings and check that it has rows and `columns`."""
    try:
        table = pd.read_csv(file, dtype="str", keep_default_na=False, sep=delimiter, encoding="utf-8-sig")
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{file} is empty: a CSV with a header and a row per image was expected.") from error
    except (OSError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise DataError(f"{file} cannot be read as CSV: {error}.") from error
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DataError(f"{file} lacks the column {missing[0]!r}; it has {', '.join(map(str, table.columns))}.")
    if table.empty:
        raise DataError(f"{file} has a header but no rows: a row per image was expected.")
    return table


def image_id_of(path: str) -> str:
    """Return the id of an image: its path without the suffix, with forward slashes."""
    return str(PurePosixPath(path).with_suffix(""))
