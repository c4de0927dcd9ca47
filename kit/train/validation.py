"""Looking at the held-out fold after an epoch: loss and accuracy, each image looked at by one process."""

import numpy as np
import pandas as pd
import torch

from kit.config import Recipe
from kit.data.schema import truth_of
from kit.metrics import score
from kit.store.pack import Pack
from kit.train.device_images import DeviceImages
from kit.train.inference import predict_probabilities
from kit.train.loss import Activation
from kit.train.model import Network
from kit.train.world import World


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
) -> tuple[float, float]:
    """Return the mean loss in nats and the accuracy of the rows of `table`, the same in every process.

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
    if several:
        kept = np.clip(probabilities, 1e-15, 1 - 1e-7)
        loss = -(truth * np.log(kept) + (1 - truth) * np.log(1 - kept)).mean()
        return float(loss), score("exact_match", labels=truth, probabilities=probabilities)
    return (
        score("log_loss", labels=truth, probabilities=probabilities),
        score("accuracy", labels=truth, probabilities=probabilities),
    )
