"""What is told of the held-out images after each epoch: metrics by name, and functions of the user's own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kit.errors import ConfigError, did_you_mean
from kit.metrics import METRICS, Probabilities, Truth
from kit.progress import Say
from kit.train.validation import Measure

# probabilities (N, C) float64, truth (N,) int64 or targets (N, C) float64 -> a number
OwnMetric: TypeAlias = Callable[[NDArray[np.float64], Any], Any]


def measures_of(
    metrics: str | OwnMetric | Sequence[str | OwnMetric] | None, *, several: bool, num_classes: int, say: Say
) -> Mapping[str, Measure]:
    """Return the functions that measure held-out answers, by the name that heads their column.

    Args:
        metrics: names of `kit.metrics.METRICS`, or functions of probabilities (N, C) and truth that return a number;
            None: accuracy, or exact_match where an image may have several labels.
        several: an image may have any number of labels.
        num_classes: C.
        say: takes a line when a function of the user's own fails after an epoch; its column then has no number.

    Raises:
        ConfigError: no such metric, one that cannot score such labels, or a function that fails on uniform answers.
    """
    if metrics is None:
        metrics = ["exact_match" if several else "accuracy"]
    listed = [metrics] if isinstance(metrics, str) or callable(metrics) else list(metrics)
    found: dict[str, Measure] = {}
    for one in listed:
        if isinstance(one, str):
            found[one] = _named(one, several=several)
            continue
        if not callable(one):
            raise ConfigError(
                f"metrics: {one!r} is neither the name of a metric nor a function. Known are {', '.join(METRICS)}; a "
                "function takes probabilities (N, C) and the truth, and returns a number."
            )
        name = str(getattr(one, "__name__", type(one).__name__))
        column, number = name, 1
        while column in found:
            number += 1
            column = f"{name} {number}"
        _try(one, name, several=several, num_classes=num_classes)
        found[column] = _own(one, name, say=say)
    return found


def _named(name: str, *, several: bool) -> Measure:
    if name not in METRICS:
        raise ConfigError(
            f"metrics: there is no metric {name!r}.{did_you_mean(name, list(METRICS))} Known are {', '.join(METRICS)}; "
            "a function of your own takes probabilities (N, C) and the truth, and returns a number."
        )
    if several and not METRICS[name].of_several:
        fitting = [metric.name for metric in METRICS.values() if metric.of_several]
        raise ConfigError(
            f"metrics: {name} is of one label per image, and here an image may have several. Use one of "
            f"{', '.join(fitting)}."
        )
    return METRICS[name].value


def _own(function: OwnMetric, name: str, *, say: Say) -> Measure:
    def measure(truth: Truth, probabilities: Probabilities) -> float:
        try:
            return float(function(probabilities, truth))
        except Exception as error:  # a stranger's code; hours of training must not end with it
            say(f"the metric {name} failed, and training goes on: {type(error).__name__}: {error}")
            return float("nan")

    return measure


def _try(function: OwnMetric, name: str, *, several: bool, num_classes: int) -> None:
    """Call the user's function once before anything is trained: on uniform answers to two images of each class."""
    truth: Any = np.repeat(np.arange(num_classes), 2)
    if several:
        truth = np.eye(num_classes)[truth]
    try:
        float(function(np.full((len(truth), num_classes), 1 / num_classes), truth))
    except Exception as error:
        raise ConfigError(
            f"metrics: the function {name} fails on uniform probabilities ({len(truth)}, {num_classes}) with the truth "
            f"{truth.shape}: {type(error).__name__}: {error}. It must take the two as NumPy arrays, in this order, and "
            "return a number."
        ) from error
