"""Labels: which label an image has, by folder, regular expression, CSV or function. Names as in fast.ai's lesson.

Each function takes files and gives a table `image_id, path, label` (strings, one row per image, sorted by
id): `image_id` is the path without its suffix, `path` is relative to the data folder, with forward slashes.
"""

import os
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import translate
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import Literal

import pandas as pd

from kit.data.schema import JOINED
from kit.errors import DataError
from kit.store.decode import printable

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp"}
COLUMNS = ["image_id", "path", "label"]


def find_images(folder: Path, pattern: str = "**/*") -> list[str]:
    """Return the image files below `folder` that match the glob `pattern`, as sorted relative paths.

    Directory order differs between file systems. Sorted, row i is the same image on every machine. Links to folders
    are followed. `*`, `?` and `[...]` match within one part of the path, `**` any number of folders; small and
    capital letters differ.

    Raises:
        DataError: no image matches, or a name cannot be written into tables safely (`refuse_odd_names`).
    """
    matches = _glob(pattern)
    found = [
        path
        for path, entry in files_below(folder)
        if not entry.name.startswith(".") and has_image_suffix(path) and matches(path)
    ]
    if not found:
        raise DataError(
            f"No image file matches {pattern!r} in {folder}. Images end in {', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    refuse_odd_names(found, where=f"{folder}")
    return found


def files_below(folder: Path) -> list[tuple[str, os.DirEntry[str]]]:
    """Return (relative path with forward slashes, directory entry) of every file below `folder`, sorted by path.

    Links to files and folders are followed, but not one that leads back to a folder above itself. The entry's
    `stat()` gives size and time; nothing is asked of a file before.
    """
    found: list[tuple[str, os.DirEntry[str]]] = []
    waiting = [("", os.path.realpath(folder), frozenset[str]())]  # (prefix, real path, real paths of those above)
    while waiting:
        prefix, real, above = waiting.pop()
        try:
            with os.scandir(folder / prefix) as listed:
                entries = list(listed)
        except OSError:  # gone, not a folder, or not ours to read: it holds no file that could be opened
            continue
        for entry in entries:
            try:
                if not entry.is_dir():
                    if entry.is_file():
                        found.append((prefix + entry.name, entry))
                    continue
            except OSError:  # a link to itself
                continue
            below = os.path.realpath(entry.path) if entry.is_symlink() else str(Path(real) / entry.name)
            if below != real and below not in above:
                waiting.append((f"{prefix}{entry.name}/", below, above | {real}))
    return sorted(found, key=lambda pair: pair[0])


def _glob(pattern: str) -> Callable[[str], bool]:
    """Return a test of relative paths that says what `Path.glob` would, which does not follow links below `**`."""
    *folders, last = (part for part in pattern.split("/") if part != ".")
    if last in ("", "**") or not all(folders):  # these name folders, or start at the root
        return lambda path: False
    wanted = [None if part == "**" else re.compile(translate(part)) for part in folders]
    name_matches = re.compile(translate(last)).match
    known: dict[str, bool] = {}

    def fits(parts: list[str], wanted: list[re.Pattern[str] | None]) -> bool:
        if not wanted:
            return not parts
        if wanted[0] is None:
            return fits(parts, wanted[1:]) or bool(parts and fits(parts[1:], wanted))
        return bool(parts and wanted[0].match(parts[0]) and fits(parts[1:], wanted[1:]))

    def matches(path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if folder not in known:
            known[folder] = fits(folder.split("/") if folder else [], wanted)
        return known[folder] and name_matches(name) is not None

    return matches


def refuse_odd_names(names: Iterable[str], *, where: str) -> None:
    """Refuse paths and ids that other programs misread: the rule for members of archives, kept here for all others.

    Args:
        names: paths or ids.
        where: what they stand in, for the error.

    Raises:
        DataError: a name has a control character, a line end, a backslash or bytes that are not UTF-8.
    """
    odd = [name for name in names if "\\" in name or not (name.isprintable() or _is_plain(name))]
    if odd:
        raise DataError(
            f"{where} has {len(odd)} image names with a control character, a line end, a backslash or bytes that are "
            f"not UTF-8, first {', '.join(map(printable, odd[:5]))}. Tables and other systems would misread them: "
            "rename these files."
        )


def _is_plain(name: str) -> bool:
    return not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name)


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
    refuse_odd_names(paths, where="The table of labels")
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
    return from_lists(paths, [labels_in(text, separator) for text in table[label_column]])


def labels_in(text: str, separator: str) -> list[str]:
    """Return the labels that a cell holds: one, or those that `separator` parts, if it is not empty."""
    return [one.strip() for one in text.split(separator) if one.strip()] if separator else [text]


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
    """Return the path of each row: `folder` with the row's values, then its name, then `suffix`."""
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
    """Read a CSV of strings and check that it has rows and `columns`.

    Rows may end in a delimiter that the header lacks.

    Raises:
        DataError: the file is missing, empty, not UTF-8 or ragged, or lacks a column.
    """

    def read(*, index_col: Literal[False] | None = None) -> pd.DataFrame:
        return pd.read_csv(
            file, dtype="str", keep_default_na=False, sep=delimiter, encoding="utf-8-sig", index_col=index_col
        )

    try:
        table = read()
        if not isinstance(table.index, pd.RangeIndex):  # rows are longer than the header: pandas shifts the columns
            surplus = table.iloc[:, -table.index.nlevels :]
            if (full := (surplus != "").any(axis=1).to_numpy()).any():
                raise DataError(
                    f"{file} cannot be read as CSV: row {int(full.argmax()) + 2} has more values than the header has "
                    "columns. Each row needs one value per column."
                )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", pd.errors.ParserWarning)  # what is lost was seen to be empty
                table = read(index_col=False)
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
    """Return the id of an image: its path without the suffix, with forward slashes; of "." it is "."."""
    plain = PurePosixPath(path)
    return str(plain.with_suffix("") if plain.name else plain)


def has_image_suffix(path: str) -> bool:
    """Tell whether a path ends as an image file does."""
    return PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES


def without_image_suffix(name: str) -> str:
    """Return `name` without `.jpg` and its like; `img_1.2` has no such end and stays."""
    return name[: -len(PurePosixPath(name).suffix)] if has_image_suffix(name) else name
