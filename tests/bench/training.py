"""One training of the kit on rows that a bench chose: which test images it got right, and what it cost."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kit.config import Recipe
from kit.data.schema import truth_of
from kit.store.pack import Pack
from kit.train.inference import predict_probabilities
from kit.train.loop import EpochLog, fit
from kit.train.loss import activation_of
from kit.train.model import Network, choose_device
from tests.bench.parts import say


def train_on(
    network: Network, pack: Pack, train: pd.DataFrame, *, recipe: Recipe, classes: tuple[str, ...], seed: int
) -> dict[str, float]:
    """Train in place, with a line of progress per epoch, and return minutes and the last epoch's rate."""

    def report(log: EpochLog) -> None:
        say(f"    epoch {log.epoch} ({log.stage}): loss {log.train_loss:.3f}, {log.images_per_second:.0f} images/s")

    with tempfile.TemporaryDirectory() as folder:
        trained = fit(
            network,
            pack,
            train,
            None,
            recipe=recipe,
            classes=classes,
            several=False,
            folder=Path(folder),
            device=choose_device(recipe.device),
            seed=seed,
            report=report,
        )
    return {"minutes": trained.minutes, "images_per_second": trained.history[-1].images_per_second}


def right_on(
    network: Network, pack: Pack, table: pd.DataFrame, *, recipe: Recipe, classes: tuple[str, ...]
) -> list[int]:
    """Return, for each row of `table`, 1 where the network's first guess is right, else 0."""
    probabilities = predict_probabilities(
        network,
        pack,
        table,
        image_size=recipe.input.image_size,
        test_crop=recipe.input.test_crop,
        activation=activation_of(recipe.loss, several=False),
        device=choose_device(recipe.device),
    )
    return [int(right) for right in probabilities.argmax(axis=1) == truth_of(table, classes)]


def spread_over(table: pd.DataFrame, limit: int | None) -> pd.DataFrame:
    """Return at most `limit` rows, drawn alike for every class order: the same ones each time."""
    if limit is None or limit >= len(table):
        return table
    rows = np.sort(np.random.default_rng(0).permutation(len(table))[:limit])
    return table.iloc[rows].reset_index(drop=True)


def matrix(found: list[dict[str, Any]], key: str) -> np.ndarray:
    """Return (seeds, N) bool of lists of 0 and 1 under `key`."""
    return np.array([one[key] for one in found], dtype=bool)
