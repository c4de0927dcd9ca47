"""Confusion: which class is taken for which, with classes that are taken for one another side by side."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kit.errors import ConfigError
from kit.interpret.cases import answers_of
from kit.interpret.notebook import html_table
from kit.judge import statistics
from kit.judge.predict import Predictions

Normalise = Literal["none", "actual", "predicted", "all"]
Order = Literal["classes", "similarity"]
MOST_SHOWN = 15  # classes of a matrix, or pairs, in a notebook's table
NORMALISATIONS = ("none", "actual", "predicted", "all")


@dataclass(frozen=True, kw_only=True, eq=False)
class Confusion:
    """A confusion matrix with the names of its rows."""

    classes: tuple[str, ...]  # (C,), in the order of rows and columns
    counts: NDArray[np.int64]  # (C, C): row = actual, column = predicted
    values: NDArray[np.float64]  # (C, C): counts, or shares as `normalise` says; 0 where there is nothing to share
    normalise: Normalise

    def __repr__(self) -> str:
        """Return a line: how many classes, how many right."""
        right, everything = int(np.trace(self.counts)), int(self.counts.sum())
        return f"<confusion matrix of {len(self.classes)} classes: {right:,} of {everything:,} right>"

    def _repr_html_(self) -> str:
        caption = "Confusion matrix: a row is an actual class, a column a predicted one"
        if len(self.classes) > MOST_SHOWN:
            pairs = statistics.most_confused(self.counts, self.classes)[:MOST_SHOWN]
            note = "The most frequent confusions; plot_confusion_matrix() draws all of it."
            return html_table(("actual", "predicted", "images"), pairs, caption=repr(self)[1:-1], note=note)
        shown = self.counts if self.normalise == "none" else np.round(self.values, 2)
        rows = [(name, *line) for name, line in zip(self.classes, shown.tolist(), strict=True)]
        return html_table(("", *self.classes), rows, caption=caption)


def confusion(predictions: Predictions, *, normalise: Normalise = "none", order: Order = "classes") -> Confusion:
    """Return the confusion matrix of predictions.

    Args:
        predictions: with one actual class per image.
        normalise: shares of the row ("actual"), of the column ("predicted"), of everything ("all"), or counts ("none").
        order: the classes' own, or "similarity", see `order_by_similarity`.

    Raises:
        DataError: see `kit.interpret.cases.answers_of`.
        ConfigError: no such normalisation or order.
    """
    if normalise not in NORMALISATIONS or order not in ("classes", "similarity"):
        raise ConfigError(
            f"A confusion matrix is normalised by one of {', '.join(NORMALISATIONS)} and ordered by classes or "
            f"similarity, got {normalise!r} and {order!r}."
        )
    answers = answers_of(predictions)
    counts = statistics.confusion_matrix(answers.actual, answers.probabilities)
    places = np.arange(len(answers.classes))
    if order == "similarity":
        # Counts of a good network are mostly 0, and leave most classes equally far from each other. What it gave to
        # the classes that it did not answer is in its probabilities: the counts one would expect of drawn answers.
        expected = np.zeros(counts.shape)
        np.add.at(expected, answers.actual, answers.probabilities)
        places = order_by_similarity(expected)
    counts = counts[np.ix_(places, places)]
    return Confusion(
        classes=tuple(answers.classes[k] for k in places),
        counts=counts,
        values=_shares(counts, normalise),
        normalise=normalise,
    )


def _shares(counts: NDArray[np.int64], normalise: Normalise) -> NDArray[np.float64]:
    values = counts.astype(np.float64)
    if normalise == "none":
        return values
    whole: NDArray[np.float64] = values.sum(axis={"actual": 1, "predicted": 0, "all": None}[normalise], keepdims=True)
    return np.divide(values, whole, out=np.zeros_like(values), where=whole > 0)


def order_by_similarity(matrix: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return an order of classes in which those that are taken for one another are neighbours.

    Average linkage on 1 - similarity, leaves in the optimal order of Bar-Joseph, Gifford and Jaakkola (2001), as scipy
    has both. The similarity of two classes is the mean of the shares in which each is taken for the other.

    Args:
        matrix: (C, C) counts, whole or expected: row = actual, column = predicted.

    Returns:
        (C,) int64: the places, each once.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(matrix) < 3:  # nothing to choose
        return np.arange(len(matrix), dtype=np.int64)
    sums = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, sums, out=np.zeros(matrix.shape), where=sums > 0)
    distances = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), method="average", optimal_ordering=True)
    return leaves_list(tree).astype(np.int64)


def most_confused(predictions: Predictions, min_val: int = 1) -> list[tuple[str, str, int]]:
    """Return (actual class, predicted class, count) of wrong answers, most frequent first.

    Args:
        predictions: with one actual class per image.
        min_val: the fewest times that a pair must have been confused; fast.ai's name for it.

    Raises:
        DataError: see `kit.interpret.cases.answers_of`. ConfigError: `min_val` below 1.
    """
    if min_val < 1:
        raise ConfigError(f"min_val is the fewest times that two classes were confused, at least 1, got {min_val}.")
    found = confusion(predictions)
    return statistics.most_confused(found.counts, found.classes, min_count=min_val)
