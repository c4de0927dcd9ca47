"""The metrics: each is one function with a declared direction and definition. `METRICS` is their only list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # the names of the metrics are asked for by `kit list`, which must not pay for numpy
    import numpy as np
    from numpy.typing import NDArray

Truth: TypeAlias = "NDArray[np.int64] | NDArray[np.float64]"  # class indices (N,), or targets (N, C) in [0, 1]
Probabilities: TypeAlias = "NDArray[np.float64]"  # (N, C); rows sum to 1 unless an image may have several labels

THRESHOLD = 0.5  # a class with at least this probability is answered, where an image may have several


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One way to turn answers into a number."""

    name: str
    greater_is_better: bool
    takes: str  # "classes" (arg max of a row), "labels" (all above the threshold) or "probabilities"
    definition: str
    function: Callable[[Truth, Probabilities], float]


def class_of(truth: Truth) -> NDArray[np.int64]:
    """Return int64 (N,): the true class, with soft labels the most probable one."""
    import numpy as np

    return np.asarray(truth, dtype=np.int64) if truth.ndim == 1 else truth.argmax(axis=1).astype(np.int64)


def targets_of(truth: Truth, num_classes: int) -> NDArray[np.float64]:
    """Return float64 (N, C): the truth as a number per class."""
    import numpy as np

    return np.eye(num_classes)[truth] if truth.ndim == 1 else np.asarray(truth, dtype=np.float64)


def accuracy(truth: Truth, probabilities: Probabilities) -> float:
    """Return the share of images whose most probable class is the true one, in [0, 1]."""
    import numpy as np

    return float(np.mean(probabilities.argmax(axis=1) == class_of(truth)))


def error_rate(truth: Truth, probabilities: Probabilities) -> float:
    """Return 1 - accuracy: fast.ai's `error_rate`."""
    return 1.0 - accuracy(truth, probabilities)


def mean_per_class_accuracy(truth: Truth, probabilities: Probabilities) -> float:
    """Return the mean over the classes present of each class's accuracy (also: balanced accuracy)."""
    import numpy as np

    labels, num_classes = class_of(truth), probabilities.shape[1]
    right = probabilities.argmax(axis=1) == labels
    of_class = np.bincount(labels, minlength=num_classes)
    right_of_class = np.bincount(labels[right], minlength=num_classes)
    present = of_class > 0
    return float(np.mean(right_of_class[present] / of_class[present]))


def log_loss(truth: Truth, probabilities: Probabilities) -> float:
    """Return the mean of -ln(probability of the true class), in nats; probabilities are kept off 0 by 1e-15.

    With soft labels: the mean cross-entropy, each class weighing as much as its target.
    """
    import numpy as np

    kept = np.clip(probabilities, 1e-15, 1.0)
    if truth.ndim == 1:
        return float(-np.log(kept[np.arange(len(truth)), truth]).mean())
    return float(-(truth * np.log(kept)).sum(axis=1).mean())


def roc_auc(truth: Truth, probabilities: Probabilities) -> float:
    """Return the area under the ROC curve of the second class; else the mean over the classes, one against the rest.

    The mean over the columns is also "mean column-wise ROC AUC". The Mann-Whitney form: the chance that a random
    member of the class is ranked above a random other image, ties counting half. A target above 1/2 makes a member.
    NaN where a class has no member, or nothing else.
    """
    import numpy as np
    from scipy.stats import rankdata

    num_classes = probabilities.shape[1]
    one_column = num_classes == 2 and (truth.ndim == 1 or bool(np.allclose(truth.sum(axis=1), 1)))
    areas = []
    for column in [1] if one_column else range(num_classes):
        member = truth == column if truth.ndim == 1 else truth[:, column] > 0.5
        pairs = int(member.sum()) * int((~member).sum())
        if pairs == 0:
            return float("nan")
        ranks = rankdata(probabilities[:, column])
        areas.append((ranks[member].sum() - member.sum() * (member.sum() + 1) / 2) / pairs)
    return float(np.mean(areas))


def undefined_classes(metric: str, truth: Truth, num_classes: int) -> list[int]:
    """Return the classes without a member, or with members only, where `metric` is then not defined: roc_auc."""
    if metric != "roc_auc":
        return []
    members = (targets_of(truth, num_classes) > 0.5).sum(axis=0)
    return [column for column in range(num_classes) if members[column] in (0, len(truth))]


def mean_f1(truth: Truth, probabilities: Probabilities) -> float:
    """Return the mean over the images of F1 between the true labels and those with a probability of at least 1/2.

    Also "samples F1": 2 |true and answered| / (|true| + |answered|), 1 where both are empty.
    """
    import numpy as np

    true = targets_of(truth, probabilities.shape[1]) > 0.5
    answered = probabilities >= THRESHOLD
    both, either = (true & answered).sum(axis=1), true.sum(axis=1) + answered.sum(axis=1)
    return float(np.mean(np.where(either == 0, 1.0, 2 * both / np.maximum(either, 1))))


def exact_match(truth: Truth, probabilities: Probabilities) -> float:
    """Return the share of images of which all labels, and no other, have a probability of at least 1/2."""
    import numpy as np

    true = targets_of(truth, probabilities.shape[1]) > 0.5
    return float(np.mean(((probabilities >= THRESHOLD) == true).all(axis=1)))


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
        Metric(
            name="mean_f1",
            greater_is_better=True,
            takes="labels",
            definition="mean over images of F1 of the labels with a probability of at least 1/2",
            function=mean_f1,
        ),
        Metric(
            name="exact_match",
            greater_is_better=True,
            takes="labels",
            definition="images of which all labels and no other have a probability of at least 1/2 / all images",
            function=exact_match,
        ),
    )
}


def score(metric: str, *, labels: Truth, probabilities: Probabilities) -> float:
    """Return `metric` of `probabilities` (N, C) against the truth: class indices (N,) or targets (N, C)."""
    import numpy as np

    truth: Any = np.asarray(labels)
    return METRICS[metric].function(truth, np.asarray(probabilities, dtype=np.float64))
