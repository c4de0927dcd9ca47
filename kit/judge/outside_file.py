"""Predictions made elsewhere: a CSV of anybody's becomes `Predictions` with the truth that we know, or is refused.

The file is hostile until checked. Its columns say what it is: ours (image_id and probability_<class>), the
competition's submission format, or the id and one column with the answered class. Each fault is one paragraph.
"""

import csv
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.competition import JOINED, Competition
from kit.data.schema import has_targets, labelled, target_columns
from kit.errors import DataError, did_you_mean
from kit.judge.predict import PREFIX, Predictions

LARGEST = 2 * 2**30  # bytes; a million images of a thousand classes are more, and are judged in parts
SUM_TOLERANCE = 0.01  # of a row of probabilities from 1: rounding, not another quantity
_BESIDE = ("fold", "label")  # columns that may stand beside probabilities


@dataclass(frozen=True, kw_only=True)
class OutsideAnswers:
    """What a file from elsewhere answers."""

    predictions: Predictions
    takes: str  # "probabilities", or "classes" where the file names classes alone: other metrics cannot score it
    num_folds: int | None  # of answers out of fold; None: not stated, or not out of fold
    digest: str  # SHA-256 of the file


def read_outside(
    path: Path, *, competition: Competition, table: pd.DataFrame, out_of_fold: bool = False
) -> OutsideAnswers:
    """Read and check predictions made elsewhere, and join the truth to them.

    Args:
        path: the CSV file.
        competition: its classes, task and submission columns.
        table: the sample table (`kit.data.schema`): image_id, path, label, split and targets.
        out_of_fold: somebody declares that each training image was predicted by a network that never saw it; without
            it, predictions of training images need a column `fold` that says so.

    Returns:
        Predictions of the kind "test" or "out-of-fold", in the order of `table`.

    Raises:
        DataError: unreadable; columns, ids, numbers or classes that do not fit; images left out; labels not known.
    """
    text, digest = _read_text(path)
    ids = _id_column(path, text, competition)
    rows = _sides(path, text[ids], table)
    side = table.iloc[rows]
    kind = "test" if (side["split"] == "test").all() else "out-of-fold"
    probabilities, takes = _answers(path, text, competition, id_column=ids)
    num_folds, folds = _folds(path, text, kind=kind, declared=out_of_fold)
    order = np.argsort(rows, kind="stable")
    side = side.iloc[order]
    _refuse_unlabelled(path, side, kind)
    predictions = Predictions(
        kind=kind,
        image_ids=tuple(side["image_id"]),
        classes=competition.classes,
        probabilities=probabilities[order].astype(np.float32),
        labels=tuple(side["label"]),
        folds=folds[order],
        targets=side[target_columns(competition.classes)].to_numpy(np.float64) if has_targets(side) else None,
    )
    if takes == "probabilities" and "label" in text.columns:
        _refuse_other_truth(path, text["label"].iloc[order].tolist(), predictions)
    return OutsideAnswers(predictions=predictions, takes=takes, num_folds=num_folds, digest=digest)


def _refuse(path: Path, what: str) -> NoReturn:
    raise DataError(f"The predictions {path}: {what}")


def _read_text(path: Path) -> tuple[pd.DataFrame, str]:
    """Return the file as text cells, and its SHA-256."""
    try:
        size = path.stat().st_size
        if not path.is_file() or size > LARGEST:
            _refuse(path, f"a CSV file of at most {LARGEST / 2**30:.0f} GiB is expected, this has {size:,} bytes.")
        content = path.read_bytes()
        first = content[:65536].split(b"\n", 1)[0].decode("utf-8-sig")
        if b"\0" in content:
            _refuse(path, "it has NUL bytes, so it is no CSV text. Write it as UTF-8 with commas.")
        names = next(csv.reader([first.rstrip("\r")]), [])
        if doubled := [name for name, count in Counter(names).items() if count > 1]:
            _refuse(path, f"its header has the column {doubled[0]!r} more than once.")
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path, dtype="str", keep_default_na=False, index_col=False, encoding="utf-8-sig", skip_blank_lines=True
            )
    except (OSError, UnicodeDecodeError, ValueError, csv.Error, pd.errors.ParserWarning) as error:
        _refuse(path, f"it cannot be read as CSV in UTF-8: {' '.join(str(error).split())[:300]}.")
    if table.empty:
        _refuse(path, "it has no rows. A header and a row per image are expected.")
    return table, sha256(content).hexdigest()


def _id_column(path: Path, text: pd.DataFrame, competition: Competition) -> str:
    for name in ("image_id", competition.submission.id_column):
        if name in text.columns:
            return name
    wanted = dict.fromkeys(("image_id", competition.submission.id_column))
    _refuse(
        path,
        f"no column names the image; expected {' or '.join(map(repr, wanted))}, found {_some(list(text.columns))}.",
    )


def _some(names: Sequence[object]) -> str:
    shown = ", ".join(repr(str(name)[:80]) for name in list(names)[:5])
    return f"{shown} and {len(names) - 5:,} more" if len(names) > 5 else shown


def _sides(path: Path, ids: pd.Series, table: pd.DataFrame) -> NDArray[np.int64]:
    """Return (N,) the row of `table` of each id; all test images or all training images, each once."""
    row_of, ambiguous = _spellings(table)
    unknown = [name for name in ids if name not in row_of]
    if unknown:
        several = f" ({unknown[0]!r} could be several images: give image_id)" if unknown[0] in ambiguous else ""
        hint = "" if several else did_you_mean(unknown[0][:200], list(row_of)[:20000])
        _refuse(
            path,
            f"{len(unknown):,} of {len(ids):,} ids name no image of this competition, first {_some(unknown)}{several}."
            f"{hint} Ids are paths below the data folder without suffix, or as in the submission.",
        )
    rows = np.array([row_of[name] for name in ids], dtype=np.int64)
    twice, counts = np.unique(rows, return_counts=True)
    if (counts > 1).any():
        names = table["image_id"].iloc[twice[counts > 1]].tolist()
        _refuse(path, f"{len(names):,} images stand there more than once, first {_some(names)}. One row per image.")
    sides = table["split"].iloc[rows]
    present = set(sides)
    if present not in ({"test"}, {"train"}):
        counted = ", ".join(f"{count:,} {side}" for side, count in sides.value_counts().items())
        _refuse(
            path, f"its images are of several sides under this protocol ({counted}). Judge test and training apart."
        )
    wanted = table.index[table["split"] == sides.iloc[0]]
    if len(rows) < len(wanted):
        left = sorted(
            set(range(len(table))) & set(np.flatnonzero(table["split"] == sides.iloc[0])) - set(rows.tolist())
        )
        names = table["image_id"].iloc[left[:5]].tolist()
        _refuse(
            path,
            f"{len(left):,} of {len(wanted):,} {sides.iloc[0]} images are left out, first {_some(names)}. A score of "
            "the images one likes is of another protocol: predict all of them.",
        )
    return rows


def _spellings(table: pd.DataFrame) -> tuple[dict[str, int], set[str]]:
    """Return spelling of an id -> row of `table`, and the spellings that several images share."""
    row_of: dict[str, int] = {}
    ambiguous: set[str] = set()
    for spell in (_as_stem, _as_name):
        for row, (image_id, where) in enumerate(zip(table["image_id"], table["path"], strict=True)):
            spelled = spell(image_id, where)
            if row_of.setdefault(spelled, row) != row:
                ambiguous.add(spelled)
    for spelled in ambiguous:
        del row_of[spelled]
    exact = {image_id: row for row, image_id in enumerate(table["image_id"])}
    return row_of | exact, ambiguous - exact.keys()


def _as_stem(image_id: str, _: str) -> str:
    return image_id.rsplit("/", 1)[-1]


def _as_name(_: str, where: str) -> str:
    return PurePosixPath(where).name


def _answers(
    path: Path, text: pd.DataFrame, competition: Competition, *, id_column: str
) -> tuple[NDArray[np.float64], str]:
    """Return (N, C) probabilities and what they are: "probabilities", or "classes" where each row names its answer."""
    rule, classes = competition.submission, competition.classes
    ours = [PREFIX + name for name in classes]
    columns = [str(name) for name in text.columns if name != id_column]
    several = competition.task == "multi-label"
    if any(name.startswith(PREFIX) for name in columns):
        _refuse_columns(path, columns, ours, also=(*_BESIDE, *target_columns(classes)))
        return _numbers(path, text, ours, id_column, several=several), "probabilities"
    if set(columns) & set(classes):
        _refuse_columns(path, columns, classes, also=_BESIDE)
        return _numbers(path, text, classes, id_column, several=several), "probabilities"
    answer = next((name for name in (rule.label_column, "label") if name in columns), None)
    if answer is None:
        _refuse(
            path,
            f"no column holds an answer: expected {ours[0]!r} and so on for {len(classes)} classes, the names of the "
            f"classes, or {rule.label_column!r}; found {_some(columns)}.",
        )
    _refuse_columns(path, columns, (answer,), also=_BESIDE)
    if answer == rule.label_column and rule.values == "probability_of":
        given = _numbers(path, text, (answer,), id_column, several=True)[:, 0]
        own = classes.index(rule.of_class)
        return np.stack([given if k == own else 1 - given for k in range(len(classes))], axis=1), "probabilities"
    separator = (rule.separator if rule.values == "labels" else JOINED) if several else None
    return _named(path, text, answer, id_column, classes=classes, separator=separator), "classes"


def _refuse_columns(path: Path, found: Sequence[str], wanted: Sequence[str], *, also: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in found]
    further = [name for name in found if name not in wanted and name not in also]
    if missing:
        _refuse(path, f"{len(missing)} of {len(wanted)} columns with answers are missing, first {_some(missing)}.")
    if further:
        hint = did_you_mean(further[0][:200], list(wanted))
        _refuse(path, f"{len(further)} columns belong to no class of this competition, first {_some(further)}.{hint}")


def _numbers(
    path: Path, text: pd.DataFrame, columns: Sequence[str], id_column: str, *, several: bool
) -> NDArray[np.float64]:
    """Return (N, len(columns)) probabilities in [0, 1]; rows sum to 1 unless an image may have several labels.

    What rounding left a row above 1 or below is divided out: the log loss would pay for it.
    """

    def place(row: int, column: int) -> str:
        return f"line {row + 2}, image {text[id_column].iloc[row][:200]!r}, column {str(columns[column])[:80]!r}"

    numbers = np.stack([pd.to_numeric(text[name], errors="coerce").to_numpy(np.float64) for name in columns], axis=1)
    bad = ~np.isfinite(numbers)
    if bad.any():
        row, column = (int(k) for k in np.argwhere(bad)[0])
        cell = text[columns[column]].iloc[row][:40]
        _refuse(path, f"{int(bad.sum()):,} cells are no finite numbers, first {cell!r} in {place(row, column)}.")
    far = (numbers < 0) | (numbers > 1)
    if far.any():
        row, column = (int(k) for k in np.argwhere(far)[0])
        _refuse(
            path,
            f"{int(far.sum()):,} cells lie outside [0, 1], first {numbers[row, column]:g} in {place(row, column)}. "
            "Probabilities are expected, not logits or percent.",
        )
    if not several:
        total = numbers.sum(axis=1, keepdims=True)
        off = np.abs(total[:, 0] - 1)
        if (off > SUM_TOLERANCE).any():
            row = int(off.argmax())
            _refuse(
                path,
                f"the probabilities of {int((off > SUM_TOLERANCE).sum()):,} rows do not sum to 1; furthest off is "
                f"{numbers[row].sum():.4g} in line {row + 2}, image {text[id_column].iloc[row][:200]!r}. Divide each "
                "row by its sum, if that is what is meant.",
            )
        numbers = numbers / total
    return numbers


def _named(
    path: Path, text: pd.DataFrame, column: str, id_column: str, *, classes: Sequence[str], separator: str | None
) -> NDArray[np.float64]:
    """Return (N, C) of 0 and 1: the classes that each row names, exactly one where there is no separator."""
    index = {name: k for k, name in enumerate(classes)}
    answers = np.zeros((len(text), len(classes)))
    for row, cell in enumerate(text[column]):
        for name in [cell] if separator is None else filter(None, cell.split(separator)):
            if name not in index:
                _refuse(
                    path,
                    f"line {row + 2}, image {text[id_column].iloc[row][:200]!r}: {name[:80]!r} is no class of this "
                    f"competition.{did_you_mean(name[:80], list(classes))} Its classes: {_some(classes)}.",
                )
            answers[row, index[name]] = 1
    return answers


def _folds(path: Path, text: pd.DataFrame, *, kind: str, declared: bool) -> tuple[int | None, NDArray[np.int64]]:
    """Return the number of folds and (N,) each row's fold; -1 for test images, and where it is only declared."""
    nothing = np.full(len(text), -1, dtype=np.int64)
    if kind == "test":
        return None, nothing
    if "fold" not in text.columns:
        if declared:
            return None, nothing
        _refuse(
            path,
            f"these are the {len(text):,} training images, and a network knows what it was trained on. Give a column "
            "`fold` with the fold that held the image out, or declare with --out-of-fold that no image was predicted "
            "by a network that had seen it.",
        )
    numbers = pd.to_numeric(text["fold"], errors="coerce").to_numpy(np.float64)
    whole = np.isfinite(numbers) & (numbers >= 0) & (numbers == np.floor(numbers)) & (numbers < 10_000)
    if not whole.all():
        row = int((~whole).argmax())
        _refuse(
            path,
            f"line {row + 2}: the fold of a training image is {text['fold'].iloc[row][:40]!r}, expected a whole number "
            "from 0: the fold in which the image was held out.",
        )
    if (num_folds := len(np.unique(numbers))) < 2:
        _refuse(path, "all training images are in one fold, so nobody held them out. At least 2 folds are expected.")
    return num_folds, numbers.astype(np.int64)


def _refuse_unlabelled(path: Path, side: pd.DataFrame, kind: str) -> None:
    unknown = int((~labelled(side)).sum())
    if unknown:
        _refuse(
            path,
            f"the labels of {unknown:,} of these {len(side):,} {kind} images are not known here, so there is nothing "
            "to judge by. Judge predictions of the training images out of fold, or hand the file in.",
        )


def _refuse_other_truth(path: Path, labels: Sequence[str], predictions: Predictions) -> None:
    """Refuse a file whose own column of true labels says otherwise than we do: then something else is judged."""
    other = [k for k, label in enumerate(labels) if label not in ("", predictions.labels[k])]
    if other:
        k = other[0]
        _refuse(
            path,
            f"its column `label` differs from the true label of {len(other):,} images, first "
            f"{predictions.image_ids[k][:200]!r}: {labels[k][:80]!r} there, {predictions.labels[k]!r} here. Leave the "
            "column out, or find out which of the two is right (`kit check` lists doubtful labels).",
        )
