"""Predictions: the answer. They carry their image ids and the order of their classes wherever they go."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.data.schema import TARGET, class_indices, has_targets, target_columns
from kit.errors import DataError
from kit.home import writing

KINDS = ("out-of-fold", "test", "fold-ensemble", "seed-ensemble", "train")  # train: learned from, so no score
PREFIX = "probability_"
FIRST = ["image_id", "fold", "label"]


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Class probabilities of some images."""

    kind: str  # one of KINDS
    image_ids: tuple[str, ...]  # (N,), each once
    classes: tuple[str, ...]  # column k of `probabilities` is class k
    probabilities: NDArray[np.float32]  # (N, C), rows sum to 1 unless an image may have several labels
    labels: tuple[str, ...]  # (N,), "" where the truth is not known
    folds: NDArray[np.int64]  # (N,), the model that made the row; -1: the one trained on everything, or all
    targets: NDArray[np.float64] | None = None  # (N, C) truth where it is several or soft labels; NaN: not known

    def __post_init__(self) -> None:
        """Refuse what could only be a bug of ours."""
        assert self.kind in KINDS
        assert self.probabilities.shape == (len(self.image_ids), len(self.classes))
        assert len(set(self.image_ids)) == len(self.image_ids) == len(self.labels) == len(self.folds)

    @property
    def label_indices(self) -> NDArray[np.int64]:
        """(N,) index of each true label, -1 where it is not known."""
        return class_indices(self.labels, self.classes)

    @property
    def labelled(self) -> bool:
        """Every image's truth is known."""
        return self.num_unlabelled == 0

    @property
    def num_unlabelled(self) -> int:
        """How many images' truth is not known."""
        if self.targets is not None:
            return int(np.isnan(self.targets).any(axis=1).sum())
        return sum(not label for label in self.labels)

    @property
    def truth(self) -> NDArray[np.int64] | NDArray[np.float64]:
        """The truth as metrics take it: class indices (N,), or targets (N, C)."""
        return self.label_indices if self.targets is None else self.targets


def predictions_of(
    table: pd.DataFrame, probabilities: NDArray[np.float32], *, kind: str, classes: tuple[str, ...], fold: int
) -> Predictions:
    """Return the answers to the rows of a sample table, with the truth that stands there.

    Args:
        table: rows with `image_id`, and `label` or targets.
        probabilities: (N, C), in the table's order.
        kind: one of KINDS.
        classes: C names.
        fold: of the model that answered; -1: the one trained on everything.
    """
    return Predictions(
        kind=kind,
        image_ids=tuple(table["image_id"]),
        classes=classes,
        probabilities=probabilities,
        labels=tuple(table["label"]),
        folds=np.full(len(table), fold, dtype=np.int64),
        targets=table[target_columns(classes)].to_numpy() if has_targets(table) else None,
    )


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions as CSV: image_id, fold, label, probability_<class>...; nine digits restore a float32."""
    table = pd.DataFrame(
        {"image_id": predictions.image_ids, "fold": predictions.folds, "label": predictions.labels}
    ).join(pd.DataFrame(predictions.probabilities, columns=[PREFIX + name for name in predictions.classes]))
    if predictions.targets is not None:
        table = table.join(pd.DataFrame(predictions.targets, columns=[TARGET + name for name in predictions.classes]))
    with writing(path) as file:
        table.to_csv(file, index=False, lineterminator="\n", float_format="%.9g")


def read_predictions(path: Path, *, kind: str, classes: Sequence[str]) -> Predictions:
    """Read what `write_predictions` wrote; a file with other classes, doubled ids or bad numbers is refused."""
    columns = [PREFIX + name for name in classes]
    try:
        table = pd.read_csv(path, dtype={"image_id": "str", "label": "str"}, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"The predictions {path} cannot be read: {error}.") from error
    truth = [TARGET + name for name in classes]
    if list(table.columns) not in ([*FIRST, *columns], [*FIRST, *columns, *truth]):
        raise DataError(
            f"{path} has the columns {list(table.columns)[:5]}..., expected image_id, fold, label, {columns[:2]}..."
        )
    if table["image_id"].duplicated().any():
        raise DataError(
            f"{path} has image ids more than once, first {table['image_id'][table['image_id'].duplicated()].iloc[0]!r}."
        )
    return Predictions(
        kind=kind,
        image_ids=tuple(table["image_id"]),
        classes=tuple(classes),
        probabilities=table[columns].to_numpy(dtype=np.float32),
        labels=tuple(table["label"]),
        folds=table["fold"].to_numpy(dtype=np.int64),
        targets=_targets(table, truth) if truth[0] in table.columns else None,
    )


def _targets(table: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = table[list(columns)].replace("", np.nan).to_numpy(dtype=np.float64)
    return numbers


def join_folds(parts: Sequence[Predictions]) -> Predictions:
    """Join the folds' held-out predictions: every image has exactly one row."""
    return Predictions(
        kind="out-of-fold",
        image_ids=tuple(image_id for part in parts for image_id in part.image_ids),
        classes=parts[0].classes,
        probabilities=np.concatenate([part.probabilities for part in parts]),
        labels=tuple(label for part in parts for label in part.labels),
        folds=np.concatenate([part.folds for part in parts]),
        targets=None if (known := [p.targets for p in parts if p.targets is not None]) == [] else np.concatenate(known),
    )


def mean_of(parts: Sequence[Predictions], *, kind: str) -> Predictions:
    """Return the mean of several models' probabilities of the same images, matched by id: an ensemble.

    Args:
        parts: of the models of one run's folds, or of runs with different seeds. Their rows may be in any order; the
            answer is in that of the first.
        kind: one of KINDS.

    Returns:
        `folds` has a row's fold where all parts name the same one, else -1.

    Raises:
        DataError: the parts are not of the same images, classes or truth.
    """
    first = parts[0]
    total = np.zeros(first.probabilities.shape, dtype=np.float64)
    folds = first.folds.copy()
    for number, part in enumerate(parts, 1):
        row_of = {image_id: row for row, image_id in enumerate(part.image_ids)}
        if other := sorted(row_of.keys() ^ set(first.image_ids)):
            raise DataError(
                f"The mean of {len(parts)} predictions needs the same images in each: {len(other)} are in number 1 or "
                f"number {number} only, first {other[:3]}. Take runs of one competition, protocol and source."
            )
        rows = np.array([row_of[image_id] for image_id in first.image_ids], dtype=np.int64)
        what = "classes" if part.classes != first.classes else "" if _same_truth(part, first, rows) else "labels"
        if what:
            raise DataError(
                f"The mean of {len(parts)} predictions needs the same {what} in each, and those of number 1 and number "
                f"{number} differ. Take runs of one competition, with the same label rule and fixes."
            )
        total += part.probabilities[rows]
        folds[part.folds[rows] != folds] = -1
    return Predictions(
        kind=kind,
        image_ids=first.image_ids,
        classes=first.classes,
        probabilities=(total / len(parts)).astype(np.float32),
        labels=first.labels,
        folds=folds,
        targets=first.targets,
    )


def _same_truth(part: Predictions, first: Predictions, rows: NDArray[np.int64]) -> bool:
    if part.targets is None or first.targets is None:
        same_kind = part.targets is first.targets
        return same_kind and tuple(part.labels[row] for row in rows) == first.labels
    return np.array_equal(part.targets[rows], first.targets, equal_nan=True)
