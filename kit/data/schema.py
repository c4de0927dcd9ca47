"""The sample table: one row per image, the same columns for every competition. This is its definition, version 2.

| column | dtype | meaning |
| --- | --- | --- |
| `image_id` | str | names the row, each once; by default the path without its suffix |
| `path` | str | file below the data folder, forward slashes; empty for a row without an image |
| `label` | str | the class; with soft labels the most probable one; with several labels all of them, joined by " + " |
| `group` | str | images of one group are never parted by folds or random splits; by default the image alone |
| `split` | str | train, test or unused |
| `sha256` | str | of the file; empty without one |
| `target_<class>` | float | multi-label: 0 or 1; soft label: in [0, 1], a row sums to 1; NaN where nothing is known |
| `weight` | float | optional: how much the image counts in training, > 0; 1 where the column is missing |
| `time` | str | optional: a number or an ISO 8601 date, for folds by time |
| `given_fold` | str | optional: a fold that somebody else has dealt out |

A single-label table has no `target_` columns. A row without label and targets is unlabelled: it can be
predicted, not scored.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.competition import JOINED as JOINED  # between the labels of one image, in the column `label`
from kit.errors import DataError
from kit.home import fingerprint

SCHEMA_VERSION = 2
COLUMNS = ["image_id", "path", "label", "group", "split", "sha256"]
OPTIONAL_COLUMNS = ["weight", "time", "given_fold"]
TARGET = "target_"
SPLITS = ("train", "test", "unused")


def target_columns(classes: Sequence[str]) -> list[str]:
    """Return the names of the target columns, in class order."""
    return [TARGET + name for name in classes]


def has_targets(table: pd.DataFrame) -> bool:
    """Tell whether a table has several or soft labels."""
    return any(str(column).startswith(TARGET) for column in table.columns)


def labelled(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return bool (N,): the truth of the row is known."""
    columns = [column for column in table.columns if str(column).startswith(TARGET)]
    if columns:
        return table[columns].notna().all(axis=1).to_numpy(dtype=bool)
    return (table["label"] != "").to_numpy(dtype=bool)


def class_indices(labels: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """Return int64 (N,): the index of each label in `classes`, -1 where the label is empty."""
    index = {name: k for k, name in enumerate(classes)}
    return np.array([index.get(label, -1) for label in labels], dtype=np.int64)


def truth_of(table: pd.DataFrame, classes: Sequence[str]) -> NDArray[np.int64] | NDArray[np.float64]:
    """Return the truth as metrics take it: class indices int64 (N,), or targets float64 (N, C)."""
    if has_targets(table):
        return table[target_columns(classes)].to_numpy(dtype=np.float64)
    return class_indices(table["label"].tolist(), classes)


def with_targets(table: pd.DataFrame, targets: NDArray[np.float64], *, classes: Sequence[str]) -> pd.DataFrame:
    """Return `table` with target columns (N, C) and the `label` that they spell.

    A row of 0 and 1 that does not sum to 1 spells all its classes; any other row its most probable one.
    """
    several = bool(np.isin(targets[~np.isnan(targets)], (0.0, 1.0)).all())
    labels = []
    for row in targets:
        if np.isnan(row).any():
            labels.append("")
        elif several:
            labels.append(JOINED.join(name for name, value in zip(classes, row, strict=True) if value == 1))
        else:
            labels.append(classes[int(row.argmax())])
    columns = pd.DataFrame(targets, columns=target_columns(classes), index=table.index, dtype=np.float64)
    return table.drop(columns=[c for c in table if str(c).startswith(TARGET)]).assign(label=labels).join(columns)


def checked_table(table: pd.DataFrame, *, classes: Sequence[str], task: str, whose: str) -> pd.DataFrame:
    """Return `table` with its columns in order and its dtypes right, or say in one paragraph what breaks the schema.

    Args:
        table: as the module's table says; other columns are refused.
        classes: in order.
        task: single-label, multi-label or soft-label.
        whose: stands in the error, e.g. the competition's slug.

    Raises:
        DataError: a column is missing, unknown or of the wrong kind; an id is empty or doubled; a split, a target or a
            weight is out of range.
    """

    def refuse(what: str, rows: pd.Series | NDArray[np.bool_] | None = None) -> None:
        first = "" if rows is None else f", first {table.loc[rows, 'image_id'].head(5).tolist()}"
        raise DataError(f"The table of {whose} breaks the schema: {what}{first}. kit/data/schema.py defines it.")

    wanted = target_columns(classes) if task != "single-label" else []
    if missing := [column for column in (*COLUMNS, *wanted) if column not in table.columns]:
        refuse(f"it lacks the column {missing[0]!r}")
    if extra := [column for column in table.columns if column not in (*COLUMNS, *wanted, *OPTIONAL_COLUMNS)]:
        refuse(f"it has the unknown column {extra[0]!r}")
    kept = [*COLUMNS, *wanted, *(column for column in OPTIONAL_COLUMNS if column in table.columns)]
    table = table[kept].copy()
    for column in table.columns:
        if column in (*wanted, "weight"):
            table[column] = table[column].astype("float64")
        else:
            table[column] = table[column].astype("str")
    if (empty := table["image_id"] == "").any():
        refuse(f"{int(empty.sum())} rows have no image_id")
    if (doubled := table["image_id"].duplicated()).any():
        refuse(f"{int(doubled.sum())} image ids stand there more than once", doubled)
    if (odd := ~table["split"].isin(SPLITS)).any():
        refuse(f"split is {table.loc[odd, 'split'].iloc[0]!r}, expected one of {', '.join(SPLITS)}", odd)
    for path in table["path"]:
        if path.startswith("/") or "\\" in path or ".." in PurePosixPath(path).parts:
            refuse(f"the path {path!r} does not lie below the data folder", table["path"] == path)
    if wanted:
        values = table[wanted].to_numpy()
        known = ~np.isnan(values).all(axis=1)
        if (some := np.isnan(values).any(axis=1) & known).any():
            refuse(f"{int(some.sum())} rows have a target for some classes only", some)
        if (far := known & ((values < 0) | (values > 1)).any(axis=1)).any():
            refuse(f"{int(far.sum())} rows have a target outside [0, 1]", far)
        if task == "multi-label" and (half := known & ~np.isin(values, (0.0, 1.0)).all(axis=1)).any():
            refuse(f"{int(half.sum())} rows have a target that is neither 0 nor 1, in a multi-label task", half)
        if task == "soft-label" and (off := known & (np.abs(values.sum(axis=1) - 1) > 1e-3)).any():
            refuse(f"{int(off.sum())} rows have targets that do not sum to 1, in a soft-label task", off)
    if "weight" in table and (light := ~(table["weight"] > 0) | np.isinf(table["weight"])).any():
        refuse(f"{int(light.sum())} weights are not above 0", light)
    return table.sort_values("image_id", ignore_index=True)


def fingerprint_of(table: pd.DataFrame) -> str:
    """Return a SHA-256 over all that decides numbers: every column but `path`; row order does not matter."""
    content = table.sort_values("image_id").drop(columns="path")
    return fingerprint(str(SCHEMA_VERSION), content.to_csv(index=False, lineterminator="\n"))


def write_table(table: pd.DataFrame) -> str:
    """Return a table as CSV text with Unix line ends; numbers are written so that they come back the same."""
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text


def read_samples_table(path: Path) -> pd.DataFrame:
    """Read a sample table that `write_table` wrote, with the schema's dtypes."""
    table = pd.read_csv(path, dtype="str", keep_default_na=False)
    for column in table.columns:
        if column == "weight" or str(column).startswith(TARGET):
            # Python's own float(): the quick parsers of pandas may be off in the last digit.
            table[column] = np.array([float(text) if text else np.nan for text in table[column]])
    return table
