"""Looking at the held-out fold after an epoch: loss and accuracy, each image looked at by one process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import pandas as pd
import torch

from kit.config import Recipe
from kit.data.schema import truth_of
from kit.metrics import Probabilities, Truth, score
from kit.store.pack import Pack
from kit.train.device_images import DeviceImages
from kit.train.inference import predict_probabilities
from kit.train.loss import Activation
from kit.train.model import Network
from kit.train.world import World

Measure: TypeAlias = Callable[[Truth, Probabilities], float]  # as `kit.metrics.Metric.value` takes them


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a look at held-out images says; nothing, where none are held out."""

    loss: float | None = None  # nats
    accuracy: float | None = None  # of several labels: all of them and no other
    measures: Mapping[str, float] = field(default_factory=dict)  # those that were asked for


def loss_and_accuracy(
    network: Network,
    pack: Pack,
    table: pd.DataFrame,
    *,
    recipe: Recipe,
    classes: tuple[str, ...],
    activation: Activation,
    several: bool,
    device: torch.device,
    world: World,
    on_device: DeviceImages | None = None,
    measures: Mapping[str, Measure],
) -> Look:
    """Return the mean loss, the accuracy and more of the rows of `table`, the same in every process.

    Where an image may have several labels, the loss is the mean over classes of the binary cross-entropy, and an
    image is right if all its labels are and no other.

    Args:
        network: in any mode; it is in evaluation mode afterwards.
        pack: holds the images.
        table: rows with `image_id` and the truth.
        recipe: sizes.
        classes: in order.
        activation: how logits become probabilities.
        several: an image may have any number of labels.
        device: where to compute.
        world: the images are dealt out to its processes, none twice, and the order is kept.
        on_device: the images of `table`, row by row, where they live on the device; else `pack` is read.
        measures: what else to tell, by name.
    """
    part = predict_probabilities(
        network,
        pack,
        table,
        image_size=recipe.input.image_size,
        test_crop=recipe.input.test_crop,
        activation=activation,
        device=device,
        shard=(world.rank, world.size),
        on_device=on_device,
    )
    probabilities = world.whole(part, num=len(table)).astype(np.float64)
    truth = truth_of(table, classes)
    loss, accuracy = scores_of(truth, probabilities, several=several)
    return Look(
        loss=loss,
        accuracy=accuracy,
        measures={name: float(measure(truth, probabilities)) for name, measure in measures.items()},
    )


def scores_of(truth: Truth, probabilities: Probabilities, *, several: bool) -> tuple[float, float]:
    """Return loss and accuracy of probabilities (N, C) against class indices (N,) or targets (N, C); see above."""
    if several:
        kept = np.clip(probabilities, 1e-15, 1 - 1e-7)
        loss = -(truth * np.log(kept) + (1 - truth) * np.log(1 - kept)).mean()
        return float(loss), score("exact_match", labels=truth, probabilities=probabilities)
    return (
        score("log_loss", labels=truth, probabilities=probabilities),
        score("accuracy", labels=truth, probabilities=probabilities),
    )
