"""The metrics: each has a declared direction and definition. `METRICS` is their only list."""

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
NUM_BEST = 5  # answers per image that top-5 accuracy and MAP@5 look at


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts by class that several metrics are functions of; leading axes are draws, each with counts of its own."""

    true: NDArray[np.float64]  # (..., C): images of the class
    answered: NDArray[np.float64]  # (..., C): images answered with the class
    hits: NDArray[np.float64]  # (..., C): images of the class answered with it
    apart: NDArray[np.float64]  # (...): sum over the images of (true class - answered class)^2


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One way to turn answers into a number: a mean over images, a function of a tally by class, or another."""

    name: str
    greater_is_better: bool
    takes: str  # "classes" (arg max of a row), "labels" (all above the threshold) or "probabilities"
    definition: str
    of_several: bool = False  # it can score images that have any number of labels
    # Exactly one of the three. The first two also say how the metric is computed where images have weights.
    per_image: Callable[[Truth, Probabilities], NDArray[np.float64]] | None = None  # (N,), of which it is the mean
    of_tally: Callable[[Tally], NDArray[np.float64]] | None = None
    of_all: Callable[[Truth, Probabilities], float] | None = None

    def value(self, truth: Truth, probabilities: Probabilities) -> float:
        """Return the metric of `probabilities` (N, C) against the truth: class indices (N,) or targets (N, C)."""
        if self.per_image is not None:
            return float(self.per_image(truth, probabilities).mean())
        if self.of_tally is not None:
            return float(self.of_tally(tally(truth, probabilities)))
        assert self.of_all is not None
        return self.of_all(truth, probabilities)


def class_of(truth: Truth) -> NDArray[np.int64]:
    """Return int64 (N,): the true class, with soft labels the most probable one."""
    import numpy as np

    return np.asarray(truth, dtype=np.int64) if truth.ndim == 1 else truth.argmax(axis=1).astype(np.int64)


def targets_of(truth: Truth, num_classes: int) -> NDArray[np.float64]:
    """Return float64 (N, C): the truth as a number per class."""
    import numpy as np

    return np.eye(num_classes)[truth] if truth.ndim == 1 else np.asarray(truth, dtype=np.float64)


def tally(truth: Truth, probabilities: Probabilities) -> Tally:
    """Return the counts by class, the most probable one being the answer, of all images once."""
    import numpy as np

    labels, answers, num_classes = class_of(truth), probabilities.argmax(axis=1), probabilities.shape[1]
    counts = [np.bincount(of, minlength=num_classes) for of in (labels, answers, labels[labels == answers])]
    true, answered, hits = (one.astype(np.float64) for one in counts)
    return Tally(true=true, answered=answered, hits=hits, apart=np.sum((labels - answers) ** 2.0))


def right(truth: Truth, probabilities: Probabilities) -> NDArray[np.float64]:
    """Return (N,): 1 where the most probable class is the true one, else 0."""
    import numpy as np

    return np.asarray(probabilities.argmax(axis=1) == class_of(truth), dtype=np.float64)


def wrong(truth: Truth, probabilities: Probabilities) -> NDArray[np.float64]:
    """Return (N,): 1 where the most probable class is not the true one, else 0. Its mean is fast.ai's `error_rate`."""
    return 1.0 - right(truth, probabilities)


def true_rank(truth: Truth, probabilities: Probabilities) -> NDArray[np.int64]:
    """Return int64 (N,): the place of the true class among the row's probabilities, 0 for the greatest.

    Of classes with equal probabilities the one with the lower index comes first, as in arg max.
    """
    import numpy as np

    labels = class_of(truth)
    of_true = probabilities[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(probabilities.shape[1]) < labels[:, None]
    ahead = (probabilities > of_true) | ((probabilities == of_true) & earlier)
    return np.asarray(ahead.sum(axis=1), dtype=np.int64)


def among_top5(truth: Truth, probabilities: Probabilities) -> NDArray[np.float64]:
    """Return (N,): 1 where the true class is among the five most probable ones, else 0; ties as in `true_rank`."""
    import numpy as np

    return (true_rank(truth, probabilities) < NUM_BEST).astype(np.float64)


def precision_at5(truth: Truth, probabilities: Probabilities) -> NDArray[np.float64]:
    """Return (N,): 1 / place of the true class (1, 1/2, ... 1/5), 0 behind the fifth; ties as in `true_rank`.

    With one right class per image that is the average precision of the first five answers, the terms of MAP@5.
    """
    import numpy as np

    rank = true_rank(truth, probabilities)
    return np.where(rank < NUM_BEST, 1.0 / (rank + 1), 0.0)


def surprise(truth: Truth, probabilities: Probabilities) -> NDArray[np.float64]:
    """Return (N,): -ln(probability of the true class), in nats; probabilities are kept off 0 by 1e-15.

    With soft labels: the cross-entropy, each class weighing as much as its target.
    """
    import numpy as np

    kept = np.clip(probabilities, 1e-15, 1.0)
    terms = np.log(kept[np.arange(len(truth)), truth]) if truth.ndim == 1 else (truth * np.log(kept)).sum(axis=1)
    return np.asarray(-terms, dtype=np.float64)


def labels_f1(truth: Truth, probabilities: Probabilities) -> NDArray[np.float64]:
    """Return (N,): F1 between an image's true labels and those with a probability of at least 1/2.

    2 |true and answered| / (|true| + |answered|), 1 where both are empty. Its mean is also called "samples F1".
    """
    import numpy as np

    true = targets_of(truth, probabilities.shape[1]) > 0.5
    answered = probabilities >= THRESHOLD
    both, either = (true & answered).sum(axis=1), true.sum(axis=1) + answered.sum(axis=1)
    return np.where(either == 0, 1.0, 2 * both / np.maximum(either, 1))


def all_labels_right(truth: Truth, probabilities: Probabilities) -> NDArray[np.float64]:
    """Return (N,): 1 where all labels of an image, and no other, have a probability of at least 1/2, else 0."""
    import numpy as np

    true = targets_of(truth, probabilities.shape[1]) > 0.5
    return np.asarray(((probabilities >= THRESHOLD) == true).all(axis=1), dtype=np.float64)


def mean_per_class(counts: Tally) -> NDArray[np.float64]:
    """Return (...): the mean over the classes present of each class's accuracy (also: balanced accuracy)."""
    import numpy as np

    present = counts.true > 0
    shares = np.divide(counts.hits, counts.true, out=np.zeros_like(counts.true), where=present)
    return np.asarray(shares.sum(axis=-1) / present.sum(axis=-1))


def class_f1(counts: Tally) -> NDArray[np.float64]:
    """Return (...): the mean of the classes' F1, 2 hits / (true + answered), over classes that are true or answered."""
    import numpy as np

    either = counts.true + counts.answered
    scores = np.divide(2 * counts.hits, either, out=np.zeros_like(either), where=either > 0)
    return np.asarray(scores.sum(axis=-1) / (either > 0).sum(axis=-1))


def quadratic_kappa(counts: Tally) -> NDArray[np.float64]:
    """Return (...): Cohen's kappa with quadratic weights (Cohen 1968) of grades that are the class indices.

    1 - disagreement / disagreement by chance: the mean of (true - answered)^2 over the images, over its mean were
    truth and answers paired at random. 1 where truth and answers are all of one and the same class.
    """
    import numpy as np

    grades = np.arange(counts.true.shape[-1], dtype=np.float64)
    num_images = counts.true.sum(axis=-1)
    squares = counts.true @ grades**2 + counts.answered @ grades**2
    # The sum over all pairs of (true - answered)^2, times N: what chance would give for `apart`.
    by_chance = num_images * squares - 2 * (counts.true @ grades) * (counts.answered @ grades)
    found = np.asarray(num_images * counts.apart)
    return np.asarray(1 - np.divide(found, by_chance, out=np.zeros_like(found), where=by_chance > 0))


def is_member(truth: Truth, num_classes: int) -> NDArray[np.bool_]:
    """Return (N, C): whether an image belongs to a class: a target above 1/2 makes a member."""
    return targets_of(truth, num_classes) > 0.5


def scored_columns(truth: Truth, num_classes: int) -> list[int]:
    """Return the columns whose areas ROC AUC takes the mean of: the second of two exclusive classes, else all."""
    import numpy as np

    exclusive = truth.ndim == 1 or bool(np.allclose(truth.sum(axis=1), 1))
    return [1] if num_classes == 2 and exclusive else list(range(num_classes))


def roc_auc(truth: Truth, probabilities: Probabilities) -> float:
    """Return the area under the ROC curve of the second class; else the mean over the classes, one against the rest.

    The mean over the columns is also "mean column-wise ROC AUC". The Mann-Whitney form: the chance that a random
    member of the class is ranked above a random other image, ties counting half.
    NaN where a class has no member, or nothing else.
    """
    import numpy as np
    from scipy.stats import rankdata

    members = is_member(truth, probabilities.shape[1])
    areas = []
    for column in scored_columns(truth, probabilities.shape[1]):
        member = members[:, column]
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
    members = is_member(truth, num_classes).sum(axis=0)
    return [column for column in range(num_classes) if members[column] in (0, len(truth))]


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="accuracy",
            greater_is_better=True,
            takes="classes",
            definition="correct / all images (top-1)",
            per_image=right,
        ),
        Metric(
            name="error_rate",
            greater_is_better=False,
            takes="classes",
            definition="1 - accuracy",
            per_image=wrong,
        ),
        Metric(
            name="mean_per_class_accuracy",
            greater_is_better=True,
            takes="classes",
            definition="mean over classes of correct / images of the class",
            of_tally=mean_per_class,
        ),
        Metric(
            name="log_loss",
            greater_is_better=False,
            takes="probabilities",
            definition="mean of -ln(probability given to the true class), nats",
            per_image=surprise,
        ),
        Metric(
            name="roc_auc",
            greater_is_better=True,
            takes="probabilities",
            of_several=True,
            definition="area under the ROC curve; mean over classes one against the rest where there are more than two",
            of_all=roc_auc,
        ),
        Metric(
            name="mean_f1",
            greater_is_better=True,
            takes="labels",
            of_several=True,
            definition="mean over images of F1 of the labels with a probability of at least 1/2",
            per_image=labels_f1,
        ),
        Metric(
            name="exact_match",
            greater_is_better=True,
            takes="labels",
            of_several=True,
            definition="images of which all labels and no other have a probability of at least 1/2 / all images",
            per_image=all_labels_right,
        ),
        Metric(
            name="macro_f1",
            greater_is_better=True,
            takes="classes",
            definition="mean over classes that are true or answered of 2 correct / (images of the class + answers)",
            of_tally=class_f1,
        ),
        Metric(
            name="micro_f1",
            greater_is_better=True,
            takes="classes",
            definition="F1 of all answers together; with one class per image that is accuracy",
            per_image=right,
        ),
        Metric(
            name="quadratic_weighted_kappa",
            greater_is_better=True,
            takes="classes",
            definition="1 - mean of (true - answered)^2 / the same by chance; a class's place in the list is its grade",
            of_tally=quadratic_kappa,
        ),
        Metric(
            name="top5_accuracy",
            greater_is_better=True,
            takes="probabilities",
            definition="true class among the five most probable / all images; of equals the earlier class comes first",
            per_image=among_top5,
        ),
        Metric(
            name="map5",
            greater_is_better=True,
            takes="probabilities",
            definition="MAP@5: mean of 1 / place of the true class among the five most probable, 0 behind them",
            per_image=precision_at5,
        ),
    )
}


def score(metric: str, *, labels: Truth, probabilities: Probabilities) -> float:
    """Return `metric` of `probabilities` (N, C) against the truth: class indices (N,) or targets (N, C)."""
    import numpy as np

    truth: Any = np.asarray(labels)
    return METRICS[metric].value(truth, np.asarray(probabilities, dtype=np.float64))
