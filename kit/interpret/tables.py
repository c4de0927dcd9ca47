"""Tables: how well each class, and each group of images that belong together, was answered."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.interpret.cases import Answers, answers_of
from kit.judge.predict import Predictions
from kit.judge.statistics import wilson_interval

COLUMNS = ["num_images", "num_right", "accuracy", "low", "high", "mean_loss", "mean_probability"]


def class_table(predictions: Predictions) -> pd.DataFrame:
    """Return a row per class that has images, the least accurate first.

    Returns:
        `class`; `num_images`; `num_right`; `accuracy` with `low` and `high`, its 95 % Wilson interval; `mean_loss` in
        nats; `mean_probability` of the actual class.

    Raises:
        DataError: see `kit.interpret.cases.answers_of`.
    """
    answers = answers_of(predictions)
    return _table("class", [answers.classes[k] for k in answers.actual], answers)


def group_table(predictions: Predictions, groups: Mapping[str, str], *, min_images: int = 2) -> pd.DataFrame:
    """Return a row per group of images, the least accurate first; columns as `class_table` has them.

    The interval takes a group's images as independent. Where they are not, as frames of one film, it is too narrow.

    Args:
        predictions: with one actual class per image.
        groups: image id -> group, the sample table's column `group`; images without one are passed over.
        min_images: the fewest of a group that is shown; an image that is a group of its own tells nothing.

    Raises:
        DataError: see `kit.interpret.cases.answers_of`.
    """
    answers = answers_of(predictions)
    table = _table("group", [groups.get(image_id, "") for image_id in answers.image_ids], answers)
    return table[(table["group"] != "") & (table["num_images"] >= min_images)].reset_index(drop=True)


def _table(what: str, keys: list[str], answers: Answers) -> pd.DataFrame:
    found, of_row = np.unique(np.array(keys, dtype=object), return_inverse=True)
    num_images = np.bincount(of_row, minlength=len(found))

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(of_row, weights=values, minlength=len(found)) / num_images

    num_right = np.bincount(of_row, weights=answers.right, minlength=len(found)).astype(np.int64)
    intervals = [wilson_interval(int(k), int(n)) for k, n in zip(num_right, num_images, strict=True)]
    table = pd.DataFrame(
        {
            what: found.astype(str),
            "num_images": num_images,
            "num_right": num_right,
            "accuracy": num_right / num_images,
            "low": [low for low, _ in intervals],
            "high": [high for _, high in intervals],
            "mean_loss": mean(answers.losses),
            "mean_probability": mean(answers.of_actual),
        }
    )
    return table.sort_values(["accuracy", "mean_probability", what], ignore_index=True)[[what, *COLUMNS]]
