"""Cases: single images with their answer, chosen by how wrong, how right or how undecided the network was.

As fast.ai's lessons look at a network: top losses; most correct and most incorrect, over all or of one class; and the
most uncertain. Chosen from predictions alone; nobody reads an image here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.errors import ConfigError, DataError, did_you_mean
from kit.interpret.notebook import html_table
from kit.judge.predict import Predictions
from kit.metrics import class_of

HEADING = "prediction/actual/loss/probability of actual class"
SMALLEST = 1e-15  # probabilities are kept off 0 by this much in a logarithm, as the metric log_loss does


@dataclass(frozen=True, kw_only=True)
class Case:
    """One image and what was answered."""

    image_id: str
    fold: int  # whose model answered; -1: the one trained on everything, or several
    actual: str  # the true class; of soft labels the most probable one
    predicted: str  # the class with the highest probability
    probability: float  # of the predicted class, in [0, 1]
    probability_of_actual: float  # in [0, 1]
    loss: float  # -ln(probability of the actual class), in nats; of soft labels the cross-entropy

    @property
    def right(self) -> bool:
        """The actual class was predicted."""
        return self.actual == self.predicted

    def __repr__(self) -> str:
        """Return a line: what was answered, and how sure."""
        actual = "" if self.right else f", actually {self.actual!r} ({self.probability_of_actual:.3f})"
        return f"<{self.image_id}: {self.predicted!r} ({self.probability:.3f}){actual}, loss {self.loss:.2f}>"

    def _repr_html_(self) -> str:
        return html_table(("image", *HEADING.split("/")), [case_row(self)])


def case_row(case: Case) -> tuple[str, str, str, str, str]:
    """Return the cells of a table's row: image, prediction, actual class, loss, probability of the actual class."""
    return (case.image_id, case.predicted, case.actual, f"{case.loss:.2f}", f"{case.probability_of_actual:.3f}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """The rows of predictions whose truth is one class, as arrays; what all of this package counts with."""

    classes: tuple[str, ...]
    image_ids: tuple[str, ...]  # (N,)
    folds: NDArray[np.int64]  # (N,)
    actual: NDArray[np.int64]  # (N,) true class
    probabilities: NDArray[np.float64]  # (N, C)
    losses: NDArray[np.float64]  # (N,) nats

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) the class with the highest probability."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def right(self) -> NDArray[np.bool_]:
        """(N,) the actual class was predicted."""
        return np.asarray(self.predicted == self.actual, dtype=bool)

    @property
    def of_predicted(self) -> NDArray[np.float64]:
        """(N,) probability of the predicted class."""
        return np.asarray(self.probabilities.max(axis=1), dtype=np.float64)

    @property
    def of_actual(self) -> NDArray[np.float64]:
        """(N,) probability of the actual class."""
        found: NDArray[np.float64] = self.probabilities[np.arange(len(self.actual)), self.actual]
        return found

    @property
    def margins(self) -> NDArray[np.float64]:
        """(N,) difference between the two highest probabilities; with one class it is that class's."""
        two = np.sort(self.probabilities, axis=1)[:, -2:]
        return np.asarray(two[:, -1] - two[:, 0] if two.shape[1] > 1 else two[:, 0], dtype=np.float64)

    def cases(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[Case, ...]:
        """Return the cases in `rows`, in that order."""
        predicted, of_predicted, of_actual = self.predicted, self.of_predicted, self.of_actual
        return tuple(
            Case(
                image_id=self.image_ids[row],
                fold=int(self.folds[row]),
                actual=self.classes[self.actual[row]],
                predicted=self.classes[predicted[row]],
                probability=float(of_predicted[row]),
                probability_of_actual=float(of_actual[row]),
                loss=float(self.losses[row]),
            )
            for row in rows
        )


def answers_of(predictions: Predictions) -> Answers:
    """Return the rows whose truth is known; soft labels count as their most probable class.

    Raises:
        DataError: no image's truth is known, a label is of no class, or an image may have several labels.
    """
    targets, probabilities = predictions.targets, predictions.probabilities.astype(np.float64)
    known: NDArray[np.bool_]
    if targets is None:
        truth: NDArray[np.int64] | NDArray[np.float64] = predictions.label_indices
        known = np.array([bool(label) for label in predictions.labels], dtype=bool)
        if (odd := known & (predictions.label_indices < 0)).any():
            row = int(np.flatnonzero(odd)[0])
            raise DataError(
                f"The label {predictions.labels[row]!r} of image {predictions.image_ids[row]} is none of the "
                f"{len(predictions.classes)} classes of these predictions. Were they made with another list of classes?"
            )
    else:
        truth = targets
        known = np.asarray(~np.isnan(targets).any(axis=1), dtype=bool)
        if (several := known & (np.abs(np.nan_to_num(targets).sum(axis=1) - 1) > 1e-3)).any():
            raise DataError(
                f"{int(several.sum()):,} of {len(targets):,} images have several labels, or none: there is no single "
                "actual class that a predicted one could be held against, so top losses, confusion and the tables per "
                "class are not made for this task. `kit judge` scores it by mean F1 and exact match."
            )
    if not known.any():
        raise DataError(
            f"None of the {len(known):,} predicted images has a known label, so nothing can be called right or wrong. "
            "Interpret predictions of images with labels: out of fold (--folds 5), or of a labelled test list."
        )
    rows = np.flatnonzero(known)
    logs = -np.log(np.clip(probabilities[rows], SMALLEST, 1.0)) + 0.0  # not -0.0, which would be shown so
    chosen = truth[rows]
    actual = class_of(chosen)
    losses = logs[np.arange(len(rows)), actual] if chosen.ndim == 1 else (chosen * logs).sum(axis=1)
    return Answers(
        classes=predictions.classes,
        image_ids=tuple(predictions.image_ids[row] for row in rows),
        folds=predictions.folds[rows],
        actual=actual,
        probabilities=probabilities[rows],
        losses=losses,
    )


def top_losses(predictions: Predictions, k: int = 9) -> tuple[Case, ...]:
    """Return the `k` images with the highest loss, the highest first; fewer if there are not so many.

    Raises:
        DataError: see `answers_of`. ConfigError: `k` below 1.
    """
    answers = answers_of(predictions)
    return answers.cases(_first(answers, key=-answers.losses, among=np.ones(len(answers.actual), dtype=bool), k=k))


def most_correct(predictions: Predictions, k: int = 9, class_name: str | None = None) -> tuple[Case, ...]:
    """Return the `k` right answers with the highest probability; of one actual class if it is named.

    Raises:
        DataError: see `answers_of`. ConfigError: no such class, or `k` below 1.
    """
    answers = answers_of(predictions)
    return answers.cases(_first(answers, key=-answers.of_predicted, among=answers.right, k=k, class_name=class_name))


def most_incorrect(predictions: Predictions, k: int = 9, class_name: str | None = None) -> tuple[Case, ...]:
    """Return the `k` wrong answers with the highest probability; of one actual class if it is named.

    Raises:
        DataError: see `answers_of`. ConfigError: no such class, or `k` below 1.
    """
    answers = answers_of(predictions)
    return answers.cases(_first(answers, key=-answers.of_predicted, among=~answers.right, k=k, class_name=class_name))


def most_uncertain(predictions: Predictions, k: int = 9, class_name: str | None = None) -> tuple[Case, ...]:
    """Return the `k` images whose two highest probabilities are closest; of one actual class if it is named.

    With two classes these are the probabilities closest to 1/2.

    Raises:
        DataError: see `answers_of`. ConfigError: no such class, or `k` below 1.
    """
    answers = answers_of(predictions)
    everyone = np.ones(len(answers.actual), dtype=bool)
    return answers.cases(_first(answers, key=answers.margins, among=everyone, k=k, class_name=class_name))


def _first(
    answers: Answers, *, key: NDArray[np.float64], among: NDArray[np.bool_], k: int, class_name: str | None = None
) -> NDArray[np.int64]:
    """Return the rows with the smallest keys; of equal ones in the order of their ids, the same on each machine."""
    if k < 1:
        raise ConfigError(f"How many images to show must be at least 1, got {k}.")
    if class_name is not None:
        if class_name not in answers.classes:
            raise ConfigError(
                f"There is no class {class_name!r} among the {len(answers.classes)} of these predictions."
                f"{did_you_mean(class_name, list(answers.classes))}"
            )
        among = among & (answers.actual == answers.classes.index(class_name))
    order = np.lexsort((np.array(answers.image_ids), key))
    return np.asarray(order[among[order]][:k], dtype=np.int64)
