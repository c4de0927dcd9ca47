"""Suspicious labels: images whose label the networks that never saw them contradict, the most doubtful first.

Confident learning (Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels",
JAIR 70), as the library cleanlab does it: a class is claimed where its probability exceeds what is usual for it.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.errors import DataError, KitError
from kit.judge.predict import Predictions
from kit.judge.statistics import wilson_interval
from kit.quality.fixes import Fix

COLUMNS = ["image_id", "label", "suggested", "probability_of_label", "score", "rank"]


def suspicious_labels(predictions: Predictions) -> pd.DataFrame:
    """Return the images whose label is probably wrong, the most doubtful first.

    Args:
        predictions: out of fold, one label per image; images without a label are passed over.

    Returns:
        A row per suspicious image: `label`; `suggested`, the most probable other class; `probability_of_label`;
        `score` in [0, 1], 0 the most doubtful (normalised margin between label and suggestion); `rank` from 1.

    Raises:
        DataError: predictions of another kind, several or soft labels, fewer than two classes among the labels, or
            networks that are not better than the answer that is always the most frequent class.
        KitError: cleanlab is not installed.
    """
    if predictions.kind != "out-of-fold":
        raise DataError(
            f"Suspicious labels are found in out-of-fold predictions, and these are of the kind {predictions.kind!r}: "
            "a network agrees with labels that it was trained on. Run with folds: --folds 5."
        )
    if predictions.targets is not None:
        raise DataError("Suspicious labels are found where an image has one class; these predictions have several.")
    labels = predictions.label_indices
    known = np.flatnonzero(labels >= 0)
    if len(np.unique(labels[known])) < 2:
        raise DataError(f"{len(known)} labelled images of fewer than two classes: labels cannot be compared.")
    given = labels[known]
    _refuse_chance(given, predictions.probabilities[known].argmax(axis=1), predictions.classes)
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError as error:
        raise KitError(
            "Looking for suspicious labels needs the package cleanlab, which is not installed. "
            "Install it: pip install 'competition-kit[quality]'."
        ) from error
    # cleanlab checks that rows sum to 1 more closely than float32 can.
    probabilities = predictions.probabilities[known].astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    # One process: on a set of this kit's size the search takes less time than starting others.
    doubtful = find_label_issues(given, probabilities, n_jobs=1)
    scores = get_label_quality_scores(given, probabilities, method="normalized_margin")
    others = probabilities.copy()
    others[np.arange(len(given)), given] = -1
    suggested = others.argmax(axis=1)
    found = pd.DataFrame(
        {
            "image_id": [predictions.image_ids[row] for row in known],
            "label": [predictions.labels[row] for row in known],
            "suggested": [predictions.classes[k] for k in suggested],
            "probability_of_label": probabilities[np.arange(len(given)), given],
            "score": scores,
        }
    )
    ordered = found[np.asarray(doubtful, dtype=bool)].sort_values(["score", "image_id"], ignore_index=True)
    ordered["rank"] = np.arange(1, len(ordered) + 1)
    return ordered[COLUMNS]


def _refuse_chance(given: NDArray[np.int64], answers: NDArray[np.int64], classes: Sequence[str]) -> None:
    """Raise a `DataError` unless the accuracy's 95 % interval lies above the share of the most frequent class."""
    counts = np.bincount(given, minlength=len(classes))
    share = counts.max() / len(given)
    right = int((answers == given).sum())
    low, high = wilson_interval(right, len(given))
    if low <= share:
        raise DataError(
            f"These networks cannot call a label suspicious: out of fold they are right on {right:,} of {len(given):,} "
            f"images, an accuracy of {right / len(given):.3f} (95 % interval [{low:.3f}, {high:.3f}]), and the answer "
            f"{classes[int(counts.argmax())]!r} for every image would be right on {share:.3f}. The lower end of the "
            "interval must lie above that. Train longer or with pretrained weights (`kit run` with another recipe, or "
            "--set schedule.epochs=N), or name a better run with --run."
        )


def proposed_for(suspicious: pd.DataFrame) -> tuple[Fix, ...]:
    """Return a row for fixes.csv per suspicious label; the action is left to a person who has looked at the image."""
    return tuple(
        Fix(
            image_id=row["image_id"],
            action="",
            label=row["suggested"],
            why=f"labelled {row['label']}, to which networks that never saw it give {row['probability_of_label']:.2f}",
        )
        for row in suspicious.to_dict("records")
    )
