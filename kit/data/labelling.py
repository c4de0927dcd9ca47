"""Labelling: a competition's label rule, applied to its files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.competition import Competition
from kit.data.labels import (
    COLUMNS,
    columns_in,
    csv_paths,
    find_images,
    from_folder,
    from_name_func,
    from_name_patterns,
    from_name_re,
    image_id_of,
    labels_in,
    read_table,
    refuse_empty,
    refuse_odd_names,
)
from kit.data.schema import JOINED, TARGET, has_targets, target_columns, with_targets
from kit.errors import DataError
from kit.rules import LabelRule


def label_images(competition: Competition, data: Path, rule: LabelRule) -> pd.DataFrame:
    """Return the labelled images of a competition by one of its label rules.

    The columns are `image_id, path, label`, with `target_<class>` where the task is not single-label, and with
    those of `group`, `weight`, `time`, `given_fold` that the rule or the adapter gives. An image without a group is
    its own.

    Raises:
        DataError: labels are missing, unknown or doubled, or a file or an adapter gives something else than a table.
    """
    if rule.rule == "adapter":
        table = _from_adapter(competition, data)
    elif rule.rule == "csv":
        table = _from_csv_rule(competition, data, rule)
    else:
        paths = find_images(data, rule.images)
        if rule.rule == "folder":
            table = from_folder(paths)
        elif rule.rule == "regex":
            table = from_name_patterns(paths, rule.patterns) if rule.patterns else from_name_re(paths, rule.pattern)
        else:
            label_of = competition.adapter_function("label_of")
            if label_of is None:
                raise DataError(
                    f"{competition.folder / 'adapter.py'} lacks label_of(path), which the label rule names."
                )
            table = from_name_func(paths, label_of, rule="label_of in adapter.py")
    several = competition.task == "multi-label"
    table = _one_row_each(_renamed(table, rule.rename, several=several)).sort_values("image_id", ignore_index=True)
    refuse_odd_names([*table["path"], *table["image_id"]], where=f"The table of labels of {competition.slug}")
    if "group" in table:
        table["group"] = table["group"].where(table["group"] != "", table["image_id"])
    table = table[[*COLUMNS, *(column for column in table.columns if column not in COLUMNS)]]
    if competition.task == "single-label" or has_targets(table):
        return table
    return with_targets(table, _targets_of_labels(table, competition), classes=competition.classes)


def _from_adapter(competition: Competition, data: Path) -> pd.DataFrame:
    function = competition.adapter_function("train_samples")
    if function is None:
        raise DataError(
            f"{competition.folder / 'adapter.py'} lacks train_samples(data_dir), which the label rule names."
        )
    whose = f"train_samples in {competition.folder / 'adapter.py'}"
    found = function(data)
    try:
        rows = pd.DataFrame(found).reset_index(drop=True)
    except (ValueError, TypeError) as error:
        raise DataError(f"{whose} gave a {type(found).__name__}, expected a table with a row per image.") from error
    targets = target_columns(competition.classes) if competition.task != "single-label" else []
    all_targets = bool(targets) and set(targets) <= set(rows.columns)
    if "path" not in rows or not ("label" in rows or all_targets):
        raise DataError(
            f"{whose} gave a table with the columns {', '.join(map(str, rows.columns)) or '(none)'}. Expected: `path` "
            f"and `label`{', or `path` and a target_<class> for every class' if targets else ''}."
        )
    for column in [c for c in rows.columns if c != "weight" and not str(c).startswith(TARGET)]:
        rows[column] = pd.Series([_text(value) for value in rows[column]], dtype="str")
    given = rows["image_id"] if "image_id" in rows else [""] * len(rows)
    rows["image_id"] = [
        name or (image_id_of(path) if path else "") for name, path in zip(given, rows["path"], strict=True)
    ]
    if (nameless := (rows["image_id"] == "").to_numpy()).any():
        raise DataError(
            f"{whose} gave {int(nameless.sum())} of {len(rows)} rows neither a path nor an image_id, first row "
            f"{int(nameless.argmax()) + 1}. Each row names one image."
        )
    if not all_targets:
        return rows
    numbers = rows[targets].apply(pd.to_numeric, errors="coerce")
    if (bad := (numbers.isna() & rows[targets].notna()).to_numpy()).any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"{whose}, row {row + 1}: {targets[column]} is {rows[targets[column]].iloc[row]!r}, expected a number."
        )
    return with_targets(rows, numbers.to_numpy(dtype=np.float64), classes=competition.classes)


def _text(value: Any) -> str:
    """Return a cell as text; None, NaN and their like are empty."""
    return "" if pd.api.types.is_scalar(value) and pd.isna(value) else str(value)


def _from_csv_rule(competition: Competition, data: Path, rule: LabelRule) -> pd.DataFrame:
    """Read labels, or a number per class, and what else the rule's columns say of an image."""
    file = data / rule.file
    extra = {
        "group": rule.group_column,
        "weight": rule.weight_column,
        "time": rule.time_column,
        "given_fold": rule.fold_column,
    }
    extra = {name: column for name, column in extra.items() if column}
    labels = list(rule.target_columns) or [rule.label_column]
    rows = read_table(
        file,
        columns=[rule.id_column, *labels, *extra.values(), *columns_in(rule.folder)],
        delimiter=rule.delimiter,
    )
    given = [column for name, column in extra.items() if name != "group"]  # without one an image is its own group
    for column in (*given, *rule.target_columns, *(() if rule.separator else labels)):
        refuse_empty(rows, column, id_column=rule.id_column, file=file)
    paths = csv_paths(rows, id_column=rule.id_column, folder=rule.folder, suffix=rule.suffix, file=file)
    table = pd.DataFrame({"image_id": [image_id_of(path) for path in paths], "path": paths})
    for name, column in extra.items():
        table[name] = _numbers(rows, [column], file)[:, 0] if name == "weight" else rows[column]
    if not rule.target_columns:
        return table.assign(label=[JOINED.join(labels_in(text, rule.separator)) for text in rows[rule.label_column]])
    targets = _numbers(rows, rule.target_columns, file)
    if competition.task != "single-label":
        return with_targets(table.assign(label=""), targets, classes=competition.classes)
    odd = ~(np.isin(targets, (0.0, 1.0)).all(axis=1) & (targets.sum(axis=1) == 1))
    if odd.any():
        raise DataError(
            f"{file}: {int(odd.sum())} of {len(rows)} rows do not have a single 1 among {list(rule.target_columns)}, "
            f"first {rows.loc[odd, rule.id_column].head(5).tolist()}. Each image needs one class; if several or "
            "uncertain ones are meant, set task = 'multi-label' or 'soft-label' in competition.toml."
        )
    return table.assign(label=[competition.classes[k] for k in targets.argmax(axis=1)])


def _numbers(rows: pd.DataFrame, columns: Sequence[str], file: Path) -> NDArray[np.float64]:
    """Return float64 (N, len(columns)); text that is no number is an error."""
    found: NDArray[np.float64] = rows[list(columns)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    if (bad := np.isnan(found)).any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"{file}, row {row + 2}: {columns[column]!r} is {rows[columns[column]].iloc[row]!r}, expected a number."
        )
    return found


def _targets_of_labels(table: pd.DataFrame, competition: Competition) -> NDArray[np.float64]:
    """Return float64 (N, C), 1 where the joined label names the class."""
    column = {name: k for k, name in enumerate(competition.classes)}
    targets = np.zeros((len(table), len(column)))
    unknown: dict[str, int] = {}
    for row, label in enumerate(table["label"]):
        for name in label.split(JOINED) if label else ():
            if name in column:
                targets[row, column[name]] = 1
            else:
                unknown[name] = unknown.get(name, 0) + 1
    if unknown:
        raise DataError(
            f"{sum(unknown.values())} labels are of classes that {competition.slug} does not know: "
            f"{sorted(unknown)[:5]}. Its classes are {', '.join(competition.classes[:10])}; add the class to "
            "competition.toml, or map it with labels.rename."
        )
    return targets


def _one_row_each(table: pd.DataFrame) -> pd.DataFrame:
    """Refuse an image that the rule gives two rows: with the same label it stands there twice, else it has two."""
    doubled = table[table["image_id"].duplicated(keep=False)]
    if doubled.empty:
        return table
    num_labels = doubled.groupby("image_id")["label"].nunique()
    if two := sorted(num_labels[num_labels > 1].index):
        raise DataError(
            f"{len(two)} images have two labels or more, first {two[:5]}. Each image has one row; for several labels "
            "of one image set task = 'multi-label' and labels.separator in competition.toml."
        )
    names = doubled["image_id"].unique().tolist()
    raise DataError(f"{len(names)} image ids stand there more than once, first {names[:5]}. Each image has one row.")


def _renamed(table: pd.DataFrame, rename: Mapping[str, str], *, several: bool) -> pd.DataFrame:
    """Return the table with the competition's class names; only where an image may have several is a label parted."""
    if not rename:
        return table
    parts = [label.split(JOINED) if several else [label] for label in table["label"]]
    return table.assign(label=[JOINED.join(rename.get(part, part) for part in row) for row in parts])
