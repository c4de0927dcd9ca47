"""Labels: which label an image has, by folder, regular expression, CSV or function. Names as in fast.ai's lesson.

Each function takes files and gives a table `image_id, path, label` (strings, one row per image, sorted by
id): `image_id` is the path without its suffix, `path` is relative to the data folder, with forward slashes.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from kit.competition import Competition, LabelRule
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


def from_lists(paths: Sequence[str], labels: Sequence[str]) -> pd.DataFrame:
    """Make the table from parallel lists of paths and labels."""
    if len(paths) != len(labels):
        raise DataError(f"There are {len(paths)} paths but {len(labels)} labels. Each image needs one label.")
    table = pd.DataFrame({"path": list(paths), "label": [str(label) for label in labels]}, dtype="str")
    table.insert(0, "image_id", [image_id_of(path) for path in paths])
    return table.sort_values("image_id", ignore_index=True)[COLUMNS]


def from_csv(
    file: Path, *, id_column: str, label_column: str, folder: str = "", suffix: str = "", delimiter: str = ","
) -> pd.DataFrame:
    """Read paths and labels from a CSV file; the path of a row is `folder` + name + `suffix`."""
    table = read_table(file, columns=[id_column, label_column], delimiter=delimiter)
    empty = table[label_column] == ""
    if empty.any():
        raise DataError(
            f"{file}: {int(empty.sum())} of {len(table)} rows have no {label_column!r}, first "
            f"{table.loc[empty, id_column].head(5).tolist()}. Each training image needs a label."
        )
    if nameless := int((table[id_column] == "").sum()):
        raise DataError(f"{file}: {nameless} of {len(table)} rows have no {id_column!r}. Each row names one image.")
    prefix = f"{folder.rstrip('/')}/" if folder else ""
    return from_lists([f"{prefix}{name}{suffix}" for name in table[id_column]], table[label_column].tolist())


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


def label_images(competition: Competition, data: Path, rule: LabelRule) -> pd.DataFrame:
    """Return `image_id, path, label` of all labelled images of a competition by one of its label rules."""
    if rule.rule == "adapter":
        function = competition.adapter_function("train_samples")
        if function is None:
            raise DataError(
                f"{competition.folder / 'adapter.py'} lacks train_samples(data_dir), which the label rule names."
            )
        rows = function(data)
        table = from_lists(list(rows["path"]), list(rows["label"]))
    elif rule.rule == "csv":
        table = from_csv(
            data / rule.file,
            id_column=rule.id_column,
            label_column=rule.label_column,
            folder=rule.folder,
            suffix=rule.suffix,
            delimiter=rule.delimiter,
        )
    else:
        paths = find_images(data, rule.images)
        if rule.rule == "folder":
            table = from_folder(paths)
        elif rule.rule == "regex":
            table = from_name_re(paths, rule.pattern)
        else:
            label_of = competition.adapter_function("label_of")
            if label_of is None:
                raise DataError(
                    f"{competition.folder / 'adapter.py'} lacks label_of(path), which the label rule names."
                )
            table = from_name_func(paths, label_of, rule="label_of in adapter.py")
    return _renamed(table, rule.rename)


def _renamed(table: pd.DataFrame, rename: Mapping[str, str]) -> pd.DataFrame:
    if not rename:
        return table
    return table.assign(label=table["label"].map(lambda label: rename.get(label, label)))
