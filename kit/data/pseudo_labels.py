"""Pseudo-labels: rows of test images that a teacher has labelled, for each model of a student's run its own.

The rows of model fold-k come from the teacher's model fold-k, which never saw the images of fold k. Labels by all of a
teacher's models would carry what those of the other folds had learned from fold k's labels, and the student's
out-of-fold score would know of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.data.schema import has_targets, target_columns, with_targets
from kit.errors import ConfigError

POOL_SUFFIX = " + pseudo-labelled test images"  # of the training pool: no result of the plain pool stands beside it


@dataclass(frozen=True, kw_only=True, eq=False)
class PseudoLabels:
    """Rows to learn from besides a training list, by model, and where they are from."""

    rows: Mapping[str, pd.DataFrame]  # "fold-0", ..., "full" -> rows as `pseudo_rows` gives them
    about: Mapping[str, Any]  # for the record: teacher, threshold, weight, files with checksums, counts
    fingerprint: str  # of all that decides them


def pseudo_rows(
    test: pd.DataFrame,
    probabilities: NDArray[np.float32],
    *,
    classes: tuple[str, ...],
    several: bool,
    threshold: float,
    weight: float = 1.0,
) -> pd.DataFrame:
    """Return the test images that a model is sure of, labelled by it; what is known of their truth is not looked at.

    Args:
        test: rows as kit.data.schema says.
        probabilities: (N, C), the model's.
        classes: in order.
        several: an image may have any number of labels; then it is taken if each class has a probability of at least
            `threshold` or at most 1 - `threshold`. Else its most probable class must have `threshold`.
        threshold: in (0, 1]; with several labels above 1/2.
        weight: how much each row counts in training, > 0; an image of the training list counts 1.

    Returns:
        Rows with a fresh index, `label`, targets where the table has them (those of soft labels are the probabilities
        themselves), `weight` where it is not 1, and `probability`: the least that was asked of the threshold.

    Raises:
        ConfigError: threshold or weight out of range.
    """
    lowest = 0.5 if several else 0.0
    if not lowest < threshold <= 1:
        raise ConfigError(f"--threshold must be above {lowest:g} and at most 1, got {threshold!r}. Usual: 0.95.")
    if not 0 < weight <= 100:
        raise ConfigError(f"--weight must be above 0 and at most 100, got {weight!r}. A training image counts 1.")
    values = probabilities.astype(np.float64)
    sure = np.maximum(values, 1 - values).min(axis=1) if several else values.max(axis=1)
    taken = sure >= threshold
    rows = test[taken].reset_index(drop=True)
    values = values[taken]
    if several:
        rows = with_targets(rows, (values >= 0.5).astype(np.float64), classes=classes)
    else:
        rows = rows.assign(label=[classes[k] for k in values.argmax(axis=1)])
        if has_targets(test):
            rows[target_columns(classes)] = values / values.sum(axis=1, keepdims=True)
    return marked(rows, probability=sure[taken], weight=weight)


def marked(rows: pd.DataFrame, *, probability: NDArray[np.float64], weight: float) -> pd.DataFrame:
    """Return labelled test images as rows of no fold (-2), with how sure the teacher was (N,) and their weight."""
    found = rows.assign(fold=-2, probability=probability)
    if weight != 1:
        found["weight"] = found["weight"] * weight if "weight" in found else weight
    return found


def with_extra(rows: pd.DataFrame, extra: pd.DataFrame | None) -> pd.DataFrame:
    """Return a model's training rows with those that it alone has besides; a row without a weight counts 1."""
    if extra is None or extra.empty:
        return rows
    columns = [column for column in rows.columns if column in extra.columns]
    both = pd.concat([rows, extra[columns]], ignore_index=True)
    if "weight" in rows.columns or "weight" in extra.columns:
        weights = [part["weight"] if "weight" in part else pd.Series(1.0, index=part.index) for part in (rows, extra)]
        both["weight"] = pd.concat(weights, ignore_index=True).fillna(1.0)
    return both
