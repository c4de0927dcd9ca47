"""Folds: which training image is held out when. They depend on ids, labels, groups and seed, not on row order."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.data.dealing import Held, deal, name_hashes, units_of
from kit.data.schema import TARGET
from kit.data.time_blocks import time_blocks
from kit.errors import DataError
from kit.home import writing
from kit.rules import FoldRule

FOLD_COLUMNS = ["image_id", "label", "group", "sha256", "fold"]
AUTO = FoldRule()
_BEFORE = -1  # the fold of images that come before all folds in time: trained on, never held out


def assign_folds(samples: pd.DataFrame, *, num_folds: int, seed: int, rule: FoldRule = AUTO) -> pd.DataFrame:
    """Return `samples` plus an int64 column `fold` in [0, num_folds).

    | `rule.by` | folds |
    | --- | --- |
    | stratified | of equal size, with equal shares of each class; groups are not looked at |
    | grouped | of equal size; no group is parted |
    | stratified-grouped | of equal size, with equal shares of each class; no group is parted |
    | auto | stratified-grouped where images share a group, else stratified |
    | time | blocks in the order of `time`; the block before them, which is only trained on, has fold -1 |
    | column | those of `given_fold`, numbered in natural order: fold2 comes before fold10 |

    With columns `target_<class>`, each target of 0.5 and more is a label of the image, and all labels are balanced.
    Sizes and shares are as equal as the groups allow: `fold_report` tells how equal that is.

    Args:
        samples: rows with `image_id`, `label`, `group`, each id once.
        num_folds: at least 2.
        seed: other seeds give other folds; not used by `time` and `column`.
        rule: how to part them.

    Raises:
        DataError: fewer images, groups or moments than folds; all classes smaller than that; an unreadable time; a
            missing column; another number of given folds.
    """
    if num_folds < 2:
        raise DataError(f"{num_folds} folds are too few: at least 2 are needed, one to hold out and one to train on.")
    if rule.by == "column":
        return samples.assign(fold=_given(samples, num_folds=num_folds))
    if rule.by == "time":
        _column(samples, "time", rule)
        block = time_blocks(samples["time"], samples["group"], num_blocks=num_folds + 1)
        return samples.assign(fold=block + _BEFORE)
    alone = rule.by == "stratified" or (rule.by == "auto" and samples["group"].is_unique)
    rank, row_unit = _ranked(samples["image_id" if alone else "group"], seed=seed)
    groups = len(rank)
    if groups < num_folds:
        raise DataError(
            f"{len(samples)} training images in {groups} groups cannot be parted into {num_folds} folds. "
            + (
                f"Give at most {groups} folds: --folds N."
                if groups > 1
                else "All images have one group: check labels.group_column or labels.group_pattern in competition.toml."
            )
        )
    row, feature, num_features = _labels(samples, stratify=rule.by != "grouped")
    units = units_of(rank, row_unit=row_unit, row=row, feature=feature, num_features=num_features)
    fullest = int(np.bincount(units.feature).max(initial=0))
    if rule.by != "grouped" and fullest < num_folds and not _targets(samples):
        what = "images" if groups == len(samples) else "groups"
        raise DataError(
            f"The training images cannot be parted into {num_folds} folds: the largest class has {fullest} {what}, "
            "so no class could be in every fold. Use fewer: --folds N."
        )
    return samples.assign(fold=deal(units, num_folds=num_folds)[row_unit])


def training_rows(folded: pd.DataFrame, fold: int, *, rule: FoldRule = AUTO) -> pd.DataFrame:
    """Return the rows that the model of `fold` learns from: all other folds; by time, only what came before."""
    return folded[folded["fold"] < fold] if rule.by == "time" else folded[folded["fold"] != fold]


def held_out_rows(folded: pd.DataFrame, fold: int) -> pd.DataFrame:
    """Return the rows that the model of `fold` is scored on."""
    return folded[folded["fold"] == fold]


def fold_fingerprint(folds: pd.DataFrame) -> str:
    """Return a SHA-256 over (image_id, fold), whatever the row order. Ten million rows take some 20 seconds."""
    names = name_hashes(folds["image_id"], key="fold fingerprint", words=2)  # 128 bits: no two ids share them
    fold = folds["fold"].to_numpy(dtype=np.int64)
    rows = np.column_stack((names, fold.view(np.uint64)))[np.lexsort((fold, names[:, 1], names[:, 0]))]
    return hashlib.sha256(np.ascontiguousarray(rows, dtype="<u8").data).hexdigest()


def _targets(samples: pd.DataFrame) -> list[str]:
    return sorted(column for column in samples.columns if str(column).startswith(TARGET))


def _column(samples: pd.DataFrame, name: str, rule: FoldRule) -> pd.Series:
    if name not in samples:
        raise DataError(
            f"Folds by {rule.by} need the column `{name}`, and the training table has none. "
            "Name its source in competition.toml: labels.time_column or labels.fold_column."
        )
    return samples[name]


def _given(samples: pd.DataFrame, *, num_folds: int) -> NDArray[np.int64]:
    names = _column(samples, "given_fold", FoldRule(by="column")).astype("str").str.strip()
    empty = samples.loc[(names == "") | names.isin(["nan", "None", "<NA>"]), "image_id"].tolist()
    if empty:
        raise DataError(
            f"{len(empty)} of {len(samples)} training images have no given fold, first {empty[:5]}. Fill the column "
            "that labels.fold_column names, or leave folds.by at auto."
        )
    found = sorted(names.unique(), key=_natural)
    if len(found) != num_folds:
        raise DataError(
            f"The given folds are {len(found)}, {', '.join(found[:10])}{', ...' if len(found) > 10 else ''}, "
            f"but the recipe asks for {num_folds}. Give --folds {len(found)}."
        )
    number = {name: k for k, name in enumerate(found)}
    return names.map(number).to_numpy(dtype=np.int64)


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Order "fold2" before "fold10", and "02" and "2" always in one way."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.findall(r"\d+|\D+", name)], name


def _ranked(names: pd.Series, *, seed: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the hashes of the different names, ascending, and int64 (N,): which of them each row has."""
    codes, different = pd.factorize(names)
    rank = name_hashes(pd.Series(different), key=f"folds {seed}")[:, 0]
    order = np.argsort(rank, kind="stable")
    if (rank[order][1:] == rank[order][:-1]).any():  # among ten million names, once in some hundred thousand tables
        order = np.lexsort((np.asarray(different, dtype="str"), rank))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return rank[order], place[codes]


def _labels(samples: pd.DataFrame, *, stratify: bool) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return (rows, their classes, number of classes); a row with several labels stands there as often."""
    rows = np.arange(len(samples))
    if not stratify:
        return rows, np.zeros(len(samples), dtype=np.int64), 1
    if targets := _targets(samples):
        row, feature = np.nonzero(samples[targets].to_numpy(dtype=np.float64) >= 0.5)
        return row, feature, len(targets)
    codes, names = pd.factorize(samples["label"])
    place = np.argsort(np.argsort(np.asarray(names, dtype=object)))
    return rows, place[codes], len(names)


def write_folds(path: Path, folded: pd.DataFrame) -> None:
    """Write who is held out when, as a CSV that goes with the results: FOLD_COLUMNS, sorted by id."""
    kept = folded.assign(sha256="") if "sha256" not in folded else folded
    with writing(path) as file:
        kept[FOLD_COLUMNS].sort_values("image_id").to_csv(file, index=False, lineterminator="\n")


def read_folds(path: Path) -> pd.DataFrame:
    """Read a file that `write_folds` wrote.

    Raises:
        DataError: no such file, other columns, a doubled id, a fold that is no number or never there.
    """
    try:
        table = pd.read_csv(path, dtype="str", keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"The folds {path} cannot be read: {error}. Give a folds.csv that a run wrote.") from error
    if missing := [column for column in FOLD_COLUMNS if column not in table]:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; folds have {', '.join(FOLD_COLUMNS)}.")
    doubled = table.loc[table["image_id"].duplicated(), "image_id"].tolist()
    wrong = table.loc[~table["fold"].str.fullmatch(r"-1|\d{1,6}"), "fold"].tolist()
    if table.empty or doubled or wrong:
        said = f"images twice, first {doubled[:5]}" if doubled else f"folds that are no numbers, first {wrong[:5]}"
        raise DataError(f"{path} has {said if doubled or wrong else 'no rows'}. It was changed after it was made.")
    return table[FOLD_COLUMNS].astype({"fold": "int64"})


@dataclass(frozen=True, kw_only=True)
class TableChanges:
    """What is otherwise in a table than in an earlier one. It is false where nothing is."""

    came: tuple[str, ...] = ()  # image ids, sorted
    went: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()  # another label, group or file

    def __bool__(self) -> bool:
        return bool(self.came or self.went or self.changed)

    def __str__(self) -> str:
        told = [
            f"{len(ids)} images {what}, e.g. {', '.join(ids[:5])}"
            for ids, what in (
                (self.came, "came"),
                (self.went, "went"),
                (self.changed, "have another label, group or file"),
            )
            if ids
        ]
        return f"{'; '.join(told)}." if told else "The images are the same."


def compare_tables(frozen: pd.DataFrame, samples: pd.DataFrame) -> TableChanges:
    """Return which images came, went or changed since `frozen`; a checksum that either lacks is not compared."""
    before, now = frozen.set_index("image_id"), samples.set_index("image_id")
    both = before.index.intersection(now.index)
    differs = pd.Series(False, index=both)
    for column in ("label", "group", "sha256"):
        if column in before and column in now:
            old, new = before.loc[both, column], now.loc[both, column]
            known = (old != "") & (new != "") if column == "sha256" else True
            differs |= (old != new) & known
    return TableChanges(
        came=tuple(sorted(now.index.difference(before.index))),
        went=tuple(sorted(before.index.difference(now.index))),
        changed=tuple(sorted(both[differs])),
    )


def apply_frozen(samples: pd.DataFrame, frozen: pd.DataFrame, *, allow_changes: bool = False) -> pd.DataFrame:
    """Return `samples` with the folds of an earlier table.

    Args:
        samples: rows with `image_id`, `label`, `group`.
        frozen: as `read_folds` gives it.
        allow_changes: deal images that came into the folds, and let each other one stay where it is. One whose
            group is there joins it; a group that is newly made of images of several folds stays parted.

    Raises:
        DataError: images came, went or changed, and that is not allowed; or came, and the folds are by time.
    """
    changes = compare_tables(frozen, samples)
    if changes and not allow_changes:
        raise DataError(
            f"The frozen folds are of other images: {changes} Scores on them would not be comparable. "
            "Use the images that the folds were made of, or deal folds anew."
        )
    known = frozen.set_index("image_id")["fold"]
    fold = samples["image_id"].map(known)
    came = fold.isna().to_numpy()
    if not came.any():
        return samples.assign(fold=fold.to_numpy(dtype=np.int64))
    if (known == _BEFORE).any():
        raise DataError(
            f"The frozen folds are by time, so images that came cannot join them: {changes} Deal them anew."
        )
    home = fold[~came].groupby(samples.loc[~came, "group"]).min()
    fold = fold.fillna(samples["group"].map(home))
    new = fold.isna().to_numpy()
    chosen = fold.fillna(0).to_numpy(dtype=np.int64)
    num_folds = int(known.max()) + 1
    row, feature, num_features = _labels(samples, stratify=True)
    old = ~new[row]
    cells = np.bincount(chosen[row[old]] * num_features + feature[old], minlength=num_folds * num_features)
    held = Held(np.bincount(chosen[~new], minlength=num_folds), cells.reshape(num_folds, num_features))
    rank, row_unit = _ranked(samples.loc[new, "group"], seed=0)
    units = units_of(
        rank,
        row_unit=row_unit,
        row=(np.cumsum(new) - 1)[row[~old]],
        feature=feature[~old],
        num_features=num_features,
    )
    chosen[new] = deal(units, num_folds=num_folds, held=held)[row_unit]
    return samples.assign(fold=chosen)
