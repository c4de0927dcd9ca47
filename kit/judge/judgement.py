"""Judge: predictions with known labels become scores, a confusion matrix and the most confused pairs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.errors import DataError
from kit.judge.predict import Predictions
from kit.judge.statistics import Score, confusion_matrix, most_confused, score_with_interval

ALWAYS = ("accuracy", "mean_per_class_accuracy")


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What predictions are worth."""

    kind: str  # of the predictions
    scores: dict[str, Score]  # the competition's metric first
    matrix: NDArray[np.int64]  # (C, C): row = true class, column = predicted class
    confused: list[tuple[str, str, int]]  # true, predicted, count; most frequent first


def judge(predictions: Predictions, *, metric: str, seed: int = 0) -> Judgement:
    """Score predictions by the competition's metric, by accuracy and by mean per-class accuracy.

    Raises:
        DataError: some images have no label, so there is nothing to score against.
    """
    if not predictions.labelled:
        raise DataError(
            f"{sum(not label for label in predictions.labels)} of {len(predictions.labels)} predicted images have no "
            "known label: they can be submitted, but not judged here."
        )
    labels, probabilities = predictions.label_indices, predictions.probabilities.astype(np.float64)
    names = dict.fromkeys((metric, *ALWAYS))
    matrix = confusion_matrix(labels, probabilities)
    return Judgement(
        kind=predictions.kind,
        scores={
            name: score_with_interval(name, labels=labels, probabilities=probabilities, seed=seed) for name in names
        },
        matrix=matrix,
        confused=most_confused(matrix, predictions.classes),
    )
