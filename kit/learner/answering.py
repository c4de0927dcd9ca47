"""What a learner can be asked: the answers of its present weights, to images of its data and to any others."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from kit.config import Recipe
from kit.data.schema import JOINED, truth_of
from kit.errors import ConfigError, DataError
from kit.judge.predict import Predictions, predictions_of
from kit.learner.cycle import Cycle
from kit.learner.data import Data
from kit.learner.live import screen
from kit.learner.single import ONE, Picture, pack_of_one
from kit.store.pack import Pack
from kit.train.inference import TestViews, predict_probabilities
from kit.train.loss import Activation, activation_of
from kit.train.model import Network
from kit.train.validation import Measure, scores_of

Which = Literal["valid", "train", "test"]


class Answering:
    """A network on some data, and what it answers; `Learner` is one that learns."""

    data: Data
    network: Network
    recipe: Recipe
    device: torch.device
    frozen: bool  # only the head learns
    cycles: list[Cycle]  # what was trained, in order
    first_weights: str  # SHA-256 of the weights that it began with
    _measures: Mapping[str, Measure]

    @property
    def activation(self) -> Activation:
        """What makes probabilities of the logits."""
        return activation_of(self.recipe.loss, several=self.data.several)

    def answers(self, which: Which = "valid", *, views: TestViews | None = None) -> Predictions:
        """Return what the present weights answer to the held-out images ("valid"), the test list, or the training ones.

        Args:
            which: whose images.
            views: of each image, whose probabilities are averaged: "single", "mirror", "dihedral", or "lesson" (the
                centre and four random ones); None: the recipe's.

        Returns:
            image_ids (N,), probabilities (N, C) float32, and the truth; that of test images is left out, because it is
            looked at by `compare` alone, which writes each look into the ledger.

        Raises:
            DataError: there are no such images.
        """
        found = self.answers_with_truth(which, views=views)
        if which != "test":
            return found
        targets = None if found.targets is None else np.full_like(found.targets, np.nan)
        return replace(found, labels=("",) * len(found.labels), targets=targets)

    def answers_with_truth(self, which: Which, *, views: TestViews | None = None) -> Predictions:
        """Return `answers` with the truth of test images too; who looks at it writes that into the ledger."""
        table = self._table(which)
        found = predictions_of(
            table,
            self._probabilities(self.data.pack, table, views=views),
            kind={"valid": "out-of-fold"}.get(which, which),
            classes=self.data.classes,
            fold=self.data.valid_folds[0] if len(self.data.valid_folds) == 1 else -1,
        )
        return found if which == "test" else replace(found, folds=table["fold"].to_numpy(dtype=np.int64))

    def get_preds(
        self, which: Which = "valid", *, views: TestViews | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64] | NDArray[np.float64]]:
        """Return probabilities (N, C) and the truth: class indices (N,), -1 where unknown, or targets (N, C).

        The arguments are those of `answers`; "train" are the images that were learned from. The truth of test images is
        left out, as there: -1, or NaN.
        """
        table = self._table(which)
        truth = truth_of(table, self.data.classes)
        if which == "test":
            truth = np.full_like(truth, -1 if truth.ndim == 1 else np.nan)
        return self._probabilities(self.data.pack, table, views=views), truth

    def tta(
        self, which: Which = "valid", *, views: TestViews = "lesson"
    ) -> tuple[NDArray[np.float32], NDArray[np.int64] | NDArray[np.float64]]:
        """Return `get_preds` over several views of each image (test-time augmentation).

        "lesson", as fast.ai has it: four random training views count 0.75 together, the centre 0.25.
        """
        return self.get_preds(which, views=views)

    def validate(self, which: Which = "valid", *, views: TestViews | None = None) -> dict[str, float]:
        """Return loss (nats) and metrics of the present weights on held-out images, by name.

        Raises:
            DataError: nothing is held out, or the truth of an image is not known.
        """
        if which == "test":
            raise DataError(
                "learn.validate looks at held-out images. Test labels, where there are any, are looked at by "
                "learn.compare(), which writes each look into the ledger."
            )
        probabilities, truth = self.get_preds(which, views=views)
        wide = probabilities.astype(np.float64)
        loss, _ = scores_of(truth, wide, several=self.data.several)
        return {"loss": loss, **{name: float(measure(truth, wide)) for name, measure in self._measures.items()}}

    def predict(self, picture: Picture) -> tuple[str, int, NDArray[np.float32]]:
        """Return class, its index, and all probabilities (C,) float32 of one image.

        Where an image may have several labels, the class is all of those above 1/2, joined by " + ", and the index is
        that of the most probable one.

        Args:
            picture: a path, the bytes of a file, a Pillow image, or a uint8 array (H, W, 3) or (H, W).

        Raises:
            DataError: it is no image.
        """
        probabilities = self._probabilities(pack_of_one(picture, self.recipe.input), ONE, views=None)[0]
        index = int(probabilities.argmax())
        if not self.data.several:
            return self.data.classes[index], index, probabilities
        above = [name for name, p in zip(self.data.classes, probabilities, strict=True) if p > 0.5]
        return JOINED.join(above), index, probabilities

    def _table(self, which: Which) -> pd.DataFrame:
        tables = {"valid": self.data.valid, "train": self.data.train, "test": self.data.test}
        if which not in tables:
            raise ConfigError(f"There are no images called {which!r}. There are valid, train and test.")
        table = tables[which]
        if table is None or table.empty:
            raise DataError(
                "No image is held out, so there is none to look at. Give folds=5 when you load the data."
                if which == "valid"
                else f"{self.data.competition.slug} has no {which} images."
            )
        return table

    def _probabilities(self, pack: Pack, table: pd.DataFrame, *, views: TestViews | None) -> NDArray[np.float32]:
        """Return (N, C) float32 probabilities of the rows of `table`, whose images are in `pack`."""
        chosen = views or self.recipe.input.test_views
        if chosen not in get_args(TestViews):
            raise ConfigError(f"There are no views {views!r}. There are {', '.join(get_args(TestViews))}.")
        sizes = self.recipe.input
        return predict_probabilities(
            self.network,
            pack,
            table,
            image_size=sizes.image_size,
            test_crop=sizes.test_crop,
            activation=self.activation,
            test_views=chosen,
            augment=self.recipe.augment,
            seed=self.recipe.seed,
            device=self.device,
            say=screen(),
        )
