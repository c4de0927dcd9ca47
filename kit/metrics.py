"""The metrics: each is one function with a declared direction and definition. `METRICS` is their only list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # the names of the metrics are asked for by `kit list`, which must not pay for numpy
    import numpy as np
    from numpy.typing import NDArray

Labels: TypeAlias = "NDArray[np.int64]"  # (N,), class indices
Probabilities: TypeAlias = "NDArray[np.float64]"  # (N, C), rows sum to 1


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One way to turn answers into a number."""

    name: str
    greater_is_better: bool
    takes: str  # "classes" (arg max of a row) or "probabilities"
    definition: str
    function: Callable[[Labels, Probabilities], float]


def accuracy(labels: Labels, probabilities: Probabilities) -> float:
    """Return the share of images whose most probable class is the true one, in [0, 1]."""
    import numpy as np

    return float(np.mean(probabilities.argmax(axis=1) == labels))


def error_rate(labels: Labels, probabilities: Probabilities) -> float:
    """Return 1 - accuracy: fast.ai's `error_rate`."""
    return 1.0 - accuracy(labels, probabilities)


def mean_per_class_accuracy(labels: Labels, probabilities: Probabilities) -> float:
    """Return the mean over the classes present of each class's accuracy (also: balanced accuracy)."""
    import numpy as np

    num_classes = probabilities.shape[1]
    right = probabilities.argmax(axis=1) == labels
    of_class = np.bincount(labels, minlength=num_classes)
    right_of_class = np.bincount(labels[right], minlength=num_classes)
    present = of_class > 0
    return float(np.mean(right_of_class[present] / of_class[present]))


def log_loss(labels: Labels, probabilities: Probabilities) -> float:
    """Return the mean of -ln(probability of the true class), in nats; probabilities are kept off 0 by 1e-15."""
    import numpy as np

    of_truth = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(of_truth, 1e-15, 1.0)).mean())


def roc_auc(labels: Labels, probabilities: Probabilities) -> float:
    """Return the area under the ROC curve of the second class; with more classes, the mean one-against-rest area.

    The Mann-Whitney form: the chance that a random member of the class is ranked above a random other
    image, ties counting half. NaN where only one class is present.
    """
    import numpy as np
    from scipy.stats import rankdata

    columns = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    areas = []
    for column in columns:
        member = labels == column
        pairs = int(member.sum()) * int((~member).sum())
        if pairs == 0:
            return float("nan")
        ranks = rankdata(probabilities[:, column])
        areas.append((ranks[member].sum() - member.sum() * (member.sum() + 1) / 2) / pairs)
    return float(np.mean(areas))


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="accuracy",
            greater_is_better=True,
            takes="classes",
            definition="correct / all images (top-1)",
            function=accuracy,
        ),
        Metric(
            name="error_rate",
            greater_is_better=False,
            takes="classes",
            definition="1 - accuracy",
            function=error_rate,
        ),
        Metric(
            name="mean_per_class_accuracy",
            greater_is_better=True,
            takes="classes",
            definition="mean over classes of correct / images of the class",
            function=mean_per_class_accuracy,
        ),
        Metric(
            name="log_loss",
            greater_is_better=False,
            takes="probabilities",
            definition="mean of -ln(probability given to the true class), nats",
            function=log_loss,
        ),
        Metric(
            name="roc_auc",
            greater_is_better=True,
            takes="probabilities",
            definition="area under the ROC curve; mean over classes one against the rest where there are more than two",
            function=roc_auc,
        ),
    )
}


def score(metric: str, *, labels: Labels, probabilities: Probabilities) -> float:
    """Return `metric` of `probabilities` (N, C), rows summing to 1, against true class indices `labels` (N,)."""
    import numpy as np

    return METRICS[metric].function(np.asarray(labels), np.asarray(probabilities, dtype=np.float64))
