"""Calibration: is a network right as often as it says, and the one number, a temperature, that mends most of it.

Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks". A temperature changes how sure the
answers are and never which class is the answer.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kit.errors import DataError
from kit.interpret.drawing import BLUE, VERMILION
from kit.judge.predict import Predictions
from kit.metrics import Probabilities, Truth, right, score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_BINS = 15  # as in Guo et al.
LEAST = 1e-15  # probability that is kept off 0, as in the log loss
RANGE = (0.05, 20.0)  # of temperatures that are looked at


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How often answers of about the same confidence are right; only bins with images are listed."""

    low: NDArray[np.float64]  # (B,) the bins' least and greatest confidence
    high: NDArray[np.float64]  # (B,)
    num_images: NDArray[np.int64]  # (B,)
    confidence: NDArray[np.float64]  # (B,) mean probability of the answer
    accuracy: NDArray[np.float64]  # (B,) share of right answers

    @property
    def error(self) -> float:
        """Expected calibration error (ECE): mean over the images of |accuracy - confidence| of their bin."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float((gaps * self.num_images).sum() / self.num_images.sum())


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a temperature does to out-of-fold predictions; each fold's is fitted on the other folds."""

    temperature: float  # fitted on all folds: for predictions of other images
    by_fold: dict[int, float]  # fold -> temperature fitted on the others
    before: Reliability
    after: Reliability
    log_loss_before: float
    log_loss_after: float

    def __str__(self) -> str:
        """Return e.g. "temperature 1.21; ECE 0.0312 -> 0.0105, log loss 0.2010 -> 0.1904, each fold by the others"."""
        return (
            f"temperature {self.temperature:.2f}; ECE {self.before.error:.4f} -> {self.after.error:.4f}, log loss "
            f"{self.log_loss_before:.4f} -> {self.log_loss_after:.4f}, each fold by the others"
        )


def reliability(
    truth: Truth, probabilities: Probabilities, *, num_bins: int = NUM_BINS, adaptive: bool = False
) -> Reliability:
    """Return confidence and accuracy by bins of the confidence, the probability of the answer.

    Args:
        truth: class indices (N,); of soft labels (N, C) the most probable class.
        probabilities: (N, C), rows sum to 1.
        num_bins: of equal width over (0, 1], the definition of Guo et al.
        adaptive: bins of equally many images instead (Nguyen and O'Connor 2015).
    """
    confidence, hits = probabilities.max(axis=1).astype(np.float64), right(truth, probabilities)
    if adaptive:
        order = np.argsort(confidence, kind="stable")
        parts = [rows for rows in np.array_split(order, num_bins) if len(rows)]
        ends = [(confidence[rows[0]], confidence[rows[-1]]) for rows in parts]
    else:
        # A bin holds its upper end and not its lower one, so that a confidence of 1 has a bin.
        bins = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
        present = np.unique(bins)
        parts = [np.flatnonzero(bins == k) for k in present]
        ends = [(k / num_bins, (k + 1) / num_bins) for k in present]
    return Reliability(
        low=np.array([low for low, _ in ends]),
        high=np.array([high for _, high in ends]),
        num_images=np.array([len(rows) for rows in parts]),
        confidence=np.array([confidence[rows].mean() for rows in parts]),
        accuracy=np.array([hits[rows].mean() for rows in parts]),
    )


def with_temperature(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Return float64 (N, C): softmax(ln p / temperature). Above 1 answers are less sure, below 1 surer."""
    scaled = np.log(np.clip(probabilities, LEAST, 1.0)) / temperature
    raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def fitted_temperature(truth: Truth, probabilities: Probabilities) -> float:
    """Return the temperature in [0.05, 20] with the least log loss, by scipy's bounded search over its logarithm.

    Args:
        truth: class indices (N,), or soft labels (N, C).
        probabilities: (N, C) of networks that never saw these images.
    """
    from scipy.optimize import minimize_scalar

    def loss(logarithm: float) -> float:
        return score("log_loss", labels=truth, probabilities=with_temperature(probabilities, float(np.exp(logarithm))))

    found = minimize_scalar(loss, bounds=tuple(np.log(RANGE)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def calibrate(out_of_fold: Predictions, *, num_bins: int = NUM_BINS, adaptive: bool = False) -> Calibration:
    """Fit a temperature on out-of-fold predictions, and tell what it does on folds that it was not fitted on.

    Args:
        out_of_fold: labelled predictions of at least two folds, one class per image or soft labels.
        num_bins: see `reliability`.
        adaptive: see `reliability`.

    Raises:
        DataError: predictions of another kind or of one fold only, without labels, or of several labels per image.
    """
    _refuse(out_of_fold)
    truth, probabilities = out_of_fold.truth, out_of_fold.probabilities.astype(np.float64)
    after, by_fold = np.empty_like(probabilities), {}
    for fold in np.unique(out_of_fold.folds):
        held = out_of_fold.folds == fold
        by_fold[int(fold)] = fitted_temperature(truth[~held], probabilities[~held])
        after[held] = with_temperature(probabilities[held], by_fold[int(fold)])
    return Calibration(
        temperature=fitted_temperature(truth, probabilities),
        by_fold=by_fold,
        before=reliability(truth, probabilities, num_bins=num_bins, adaptive=adaptive),
        after=reliability(truth, after, num_bins=num_bins, adaptive=adaptive),
        log_loss_before=score("log_loss", labels=truth, probabilities=probabilities),
        log_loss_after=score("log_loss", labels=truth, probabilities=after),
    )


def _refuse(predictions: Predictions) -> None:
    if predictions.kind != "out-of-fold" or len(np.unique(predictions.folds)) < 2:
        raise DataError(
            f"A temperature is fitted on out-of-fold predictions of at least two folds; these are of the kind "
            f"{predictions.kind!r}, of {len(np.unique(predictions.folds))} fold(s). Fitted on the images that it is "
            "judged on, it would always look like a gain. Run with folds: --folds 5."
        )
    if not predictions.labelled:
        raise DataError(
            f"{predictions.num_unlabelled} of {len(predictions.labels)} predicted images have no known label: a "
            "temperature cannot be fitted on them. Take the predictions of a run's own folds."
        )
    if predictions.targets is not None and not np.allclose(predictions.targets.sum(axis=1), 1, atol=1e-3):
        raise DataError(
            "A temperature is fitted where the classes of an image exclude each other; an image of these predictions "
            "may have any number of labels, and each class would need one of its own."
        )


def plot_reliability(before: Reliability, after: Reliability | None = None, *, title: str = "") -> "Figure":
    """Draw accuracy over confidence, with the diagonal where both agree, and below how many images have which.

    Args:
        before: of the predictions as they are.
        after: of the same with a temperature.
        title: over the picture.

    Returns:
        A Figure of 5 x 5.5 inches, bound to no window.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="as sure as right")
    for found, name, colour, marker in ((before, "before", VERMILION, "o"), (after, "after", BLUE, "s")):
        if found is None:
            continue
        label = f"{name if after is not None else 'measured'}: ECE {found.error:.4f}"
        upper.plot(found.confidence, found.accuracy, color=colour, marker=marker, markersize=4, label=label)
        lower.bar(found.low, found.num_images, found.high - found.low, align="edge", fill=False, edgecolor=colour)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of right answers", title=title)
    upper.legend(loc="upper left", frameon=False)
    lower.set(xlabel="confidence (probability of the answer)", ylabel="images")
    return figure
