"""Judge: predictions with known labels become scores, a confusion matrix and the most confused pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.errors import DataError
from kit.judge.predict import Predictions
from kit.judge.statistics import Score, confusion_matrix, most_confused, score_with_interval
from kit.metrics import Truth, class_of, undefined_classes
from kit.progress import Say, silent

ALWAYS = ("accuracy", "mean_per_class_accuracy")
ALWAYS_SEVERAL = ("mean_f1", "exact_match")  # where an image may have several labels


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What predictions are worth."""

    kind: str  # of the predictions
    scores: dict[str, Score]  # the competition's metric first
    matrix: NDArray[np.int64] | None  # (C, C): row = true class, column = predicted class; None with several labels
    confused: list[tuple[str, str, int]]  # true, predicted, count; most frequent first


def refuse_undefined(metric: str, truth: Truth, classes: Sequence[str]) -> None:
    """Refuse to score by a metric that is not defined for this truth.

    Raises:
        DataError: a class has no member among the scored images, or nothing else is there.
    """
    if undefined := undefined_classes(metric, truth, len(classes)):
        names = [classes[k] for k in undefined[:5]]
        raise DataError(
            f"{metric} is not defined on these {len(truth):,} images: {len(undefined)} classes have no member among "
            f"them, or all of them, first {names}. Score more images, or by another metric (a protocol's `metric`)."
        )


def judge(
    predictions: Predictions, *, metric: str, several: bool = False, seed: int = 0, say: Say = silent
) -> Judgement:
    """Score predictions by the competition's metric and by two that are always given.

    These are accuracy and mean per-class accuracy; where an image may have `several` labels, mean F1 and exact match.

    Raises:
        DataError: some images have no label, so there is nothing to score against.
    """
    if not predictions.labelled:
        raise DataError(
            f"{predictions.num_unlabelled} of {len(predictions.labels)} predicted images have no "
            "known label: they can be submitted, but not judged here."
        )
    truth, probabilities = predictions.truth, predictions.probabilities.astype(np.float64)
    refuse_undefined(metric, truth, predictions.classes)
    names = dict.fromkeys((metric, *(ALWAYS_SEVERAL if several else ALWAYS)))
    matrix = None if several else confusion_matrix(class_of(truth), probabilities)
    return Judgement(
        kind=predictions.kind,
        scores={
            name: score_with_interval(name, labels=truth, probabilities=probabilities, seed=seed, say=say)
            for name in names
        },
        matrix=matrix,
        confused=[] if matrix is None else most_confused(matrix, predictions.classes),
    )
