"""Interpretation: fast.ai's verbs over predictions, images and networks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.board.records import find_record
from kit.errors import ConfigError, DataError
from kit.home import fingerprint
from kit.interpret import cases, tables
from kit.interpret.attention import grad_cam
from kit.interpret.cases import HEADING, Case, answers_of
from kit.interpret.confusion import Confusion, Normalise, Order, confusion, most_confused
from kit.interpret.embedding import EmbeddingMap, embedding_map, penultimate_features
from kit.interpret.filters import FirstLayer, Stage, first_layer_filters, is_first_layer, strongest_patches
from kit.interpret.finished import finished_run
from kit.interpret.images import ReadImage
from kit.interpret.networks import Networks
from kit.interpret.notebook import html_table, show_figures
from kit.interpret.plots import plot_cases
from kit.interpret.plots_confusion import plot_confusion, plot_table
from kit.interpret.plots_network import Attention, plot_attention, plot_embedding, plot_filters, plot_patches
from kit.judge.predict import Predictions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_PATCH_IMAGES = 300
NUM_MAP_IMAGES = 1000
NUM_UNITS = 8  # of one layer that is looked at alone
FIRST_LAYER = 0
NUM_PAIRS = 8  # of confused classes, in a notebook's table
GO_ON = "Go on with plot_top_losses(9), plot_confusion_matrix(), most_confused(min_val=2), show_filters(1)."


class Interpretation:
    """What networks answered, and why: every method returns data, or with `plot_` and `show_` a matplotlib figure.

    Methods that choose images or count need predictions alone; those that show images read them when they are called;
    those that look inside a network load it then. Each raises a KitError that says what is missing.
    """

    def __init__(
        self,
        predictions: Predictions,
        images: ReadImage | None = None,
        *,
        networks: Networks | None = None,
        groups: Mapping[str, str] | None = None,
    ) -> None:
        """Keep what is given; nothing is read.

        Args:
            predictions: of images whose truth is known, out of fold or of test images.
            images: gives the image of an id, see `kit.interpret.images`.
            networks: that made the predictions.
            groups: image id -> group.
        """
        self.predictions = predictions
        self.groups: Mapping[str, str] = groups or {}
        self._images, self._networks = images, networks
        show_figures()

    def __repr__(self) -> str:
        """Return a line: what was interpreted, and how much of it was right."""
        return f"<Interpretation of {self._in_words()}>"

    def _repr_html_(self) -> str:
        caption = f"Interpretation of {self._in_words()}"
        try:
            pairs = self.most_confused()[:NUM_PAIRS]
        except DataError:  # several labels to an image
            return html_table((), (), caption=caption)
        note = f"The most frequent of the wrong answers. {GO_ON}" if pairs else f"Nothing is wrong. {GO_ON}"
        return html_table(("actual", "predicted", "images"), pairs, caption=caption, note=note)

    def _in_words(self) -> str:
        whose = {"out-of-fold": "held-out images", "test": "test images"}.get(self.predictions.kind, "images")
        words = f"{len(self.predictions.image_ids):,} {whose}, {len(self.predictions.classes)} classes"
        try:
            right = answers_of(self.predictions).right
        except DataError:
            return words
        return f"{words}: {int(right.sum()):,} right ({right.mean():.2%})"

    @property
    def images(self) -> ReadImage:
        """The reader of images.

        Raises:
            DataError: none was given.
        """
        if self._images is None:
            raise DataError(
                "These predictions came without images, so none can be shown. Give Interpretation a reader of them: "
                "kit.interpret.images.images_of_pack(pack)."
            )
        return self._images

    @property
    def networks(self) -> Networks:
        """The networks.

        Raises:
            DataError: none were given.
        """
        if self._networks is None:
            raise DataError(
                "These predictions came without the networks that made them, so what those look at cannot be shown. "
                "Give Interpretation networks=, or use kit.interpret.interpretation.interpret(run)."
            )
        return self._networks

    def top_losses(self, k: int = 9) -> tuple[Case, ...]:
        """Return the `k` images with the highest loss, the highest first."""
        return cases.top_losses(self.predictions, k)

    def most_correct(self, k: int = 9, class_name: str | None = None) -> tuple[Case, ...]:
        """Return the `k` right answers with the highest probability, of all or of one actual class."""
        return cases.most_correct(self.predictions, k, class_name)

    def most_incorrect(self, k: int = 9, class_name: str | None = None) -> tuple[Case, ...]:
        """Return the `k` wrong answers with the highest probability, of all or of one actual class."""
        return cases.most_incorrect(self.predictions, k, class_name)

    def most_uncertain(self, k: int = 9, class_name: str | None = None) -> tuple[Case, ...]:
        """Return the `k` images whose two highest probabilities are closest, of all or of one actual class."""
        return cases.most_uncertain(self.predictions, k, class_name)

    def confusion_matrix(self, *, normalise: Normalise = "none", order: Order = "classes") -> Confusion:
        """Return the confusion matrix: rows are actual, columns predicted classes."""
        return confusion(self.predictions, normalise=normalise, order=order)

    def most_confused(self, min_val: int = 1) -> list[tuple[str, str, int]]:
        """Return (actual, predicted, count) of pairs confused at least `min_val` times, most frequent first."""
        return most_confused(self.predictions, min_val)

    def class_table(self) -> pd.DataFrame:
        """Return a row per class, the least accurate first, see `kit.interpret.tables`."""
        return tables.class_table(self.predictions)

    def group_table(self, *, min_images: int = 2) -> pd.DataFrame:
        """Return a row per group of at least `min_images` images, the least accurate first."""
        return tables.group_table(self.predictions, self.groups, min_images=min_images)

    def plot_cases(
        self, chosen: Sequence[Case], *, title: str = HEADING, figsize: tuple[float, float] | None = None
    ) -> "Figure":
        """Return a sheet of the images of some cases, three in a row."""
        return plot_cases(chosen, self.images, title=title, figsize=figsize)

    def plot_top_losses(self, k: int = 9, *, figsize: tuple[float, float] | None = None) -> "Figure":
        """Return a sheet of the `k` images with the highest loss, each under prediction/actual/loss/probability."""
        return self.plot_cases(self.top_losses(k), figsize=figsize)

    def plot_most_correct(
        self, k: int = 9, class_name: str | None = None, *, figsize: tuple[float, float] | None = None
    ) -> "Figure":
        """Return a sheet of the `k` right answers with the highest probability, of all or of one actual class."""
        chosen = self.most_correct(k, class_name)
        return self.plot_cases(chosen, title=f"Most correct: {HEADING}", figsize=figsize)

    def plot_most_incorrect(
        self, k: int = 9, class_name: str | None = None, *, figsize: tuple[float, float] | None = None
    ) -> "Figure":
        """Return a sheet of the `k` wrong answers with the highest probability, of all or of one actual class."""
        chosen = self.most_incorrect(k, class_name)
        return self.plot_cases(chosen, title=f"Most incorrect: {HEADING}", figsize=figsize)

    def plot_most_uncertain(
        self, k: int = 9, class_name: str | None = None, *, figsize: tuple[float, float] | None = None
    ) -> "Figure":
        """Return a sheet of the `k` images whose two highest probabilities are closest, of all or of one class."""
        chosen = self.most_uncertain(k, class_name)
        return self.plot_cases(chosen, title=f"Most uncertain: {HEADING}", figsize=figsize)

    def plot_confusion_matrix(
        self,
        *,
        normalise: Normalise = "none",
        order: Order = "classes",
        figsize: tuple[float, float] | None = None,
        dpi: float | None = None,
    ) -> "Figure":
        """Return a figure of the confusion matrix; order="similarity" puts classes that are confused side by side."""
        return plot_confusion(self.confusion_matrix(normalise=normalise, order=order), figsize=figsize, dpi=dpi)

    def plot_class_table(self, *, figsize: tuple[float, float] | None = None) -> "Figure":
        """Return a figure of each class's accuracy with its interval, the lowest on top."""
        return plot_table(self.class_table(), figsize=figsize)

    def attention(self, chosen: Sequence[Case]) -> tuple[Attention, ...]:
        """Return Grad-CAM maps of some cases, for the predicted and the actual class, by the network that answered."""
        read, found = self.images, dict[int, Attention]()
        for fold in sorted({case.fold for case in chosen}):
            rows = [k for k, case in enumerate(chosen) if case.fold == fold]
            network = self.networks.of_fold(fold)
            views = self.networks.views(network, read, [chosen[k].image_id for k in rows])
            of_predicted, of_actual = (
                grad_cam(network, views, self._indices(names), device=self.networks.device)
                for names in ([chosen[k].predicted for k in rows], [chosen[k].actual for k in rows])
            )
            for place, k in enumerate(rows):
                found[k] = Attention(
                    case=chosen[k], view=views[place], of_predicted=of_predicted[place], of_actual=of_actual[place]
                )
        return tuple(found[k] for k in range(len(chosen)))

    def plot_attention(
        self,
        chosen: Sequence[Case],
        *,
        title: str = "Where the network looked",
        figsize: tuple[float, float] | None = None,
    ) -> "Figure":
        """Return a Grad-CAM sheet of some cases."""
        return plot_attention(self.attention(chosen), title=title, figsize=figsize)

    def first_layer_filters(self, *, fold: int | None = None) -> FirstLayer:
        """Return the filters of the first layer of one network: a fold's, by default the first one's."""
        return first_layer_filters(self.networks.of_fold(self._fold(fold)))

    def show_filters(
        self,
        layer: str | int = FIRST_LAYER,
        *,
        fold: int | None = None,
        num_units: int = NUM_UNITS,
        figsize: tuple[float, float] | None = None,
    ) -> "Figure":
        """Return a figure of what a layer looks for.

        Args:
            layer: 0 or its name: the filters of the first layer, drawn. 1, 2, ...: a stage behind it; or the name of
                any module that gives maps: the patches of images that excite its units most.
            fold: of the network; default: the first.
            num_units: of a layer behind the first: those with the strongest patches.
            figsize: width and height in inches.

        Raises:
            ConfigError: no such layer. DataError: the network has no such filters, or no maps.
        """
        if layer == FIRST_LAYER or is_first_layer(self.networks.of_fold(self._fold(fold)), layer):
            return plot_filters(self.first_layer_filters(fold=fold), figsize=figsize)
        stages, views, image_ids = self.strongest_patches(fold=fold, num_units=num_units, layer=layer)
        return plot_patches(stages, views, image_ids, figsize=figsize)

    def strongest_patches(
        self,
        *,
        fold: int | None = None,
        num_units: int = 4,
        num_patches: int = 9,
        num_images: int = NUM_PATCH_IMAGES,
        layer: str | int | None = None,
    ) -> tuple[tuple[Stage, ...], NDArray[np.uint8], tuple[str, ...]]:
        """Return the stages of one network with the patches that excite their units most, the views, and their ids.

        Only images that this network had not learned from are looked at, `num_images` of them at most.
        """
        fold = self._fold(fold)
        rows = self._some_rows(fold, num_images)
        image_ids = tuple(self.predictions.image_ids[row] for row in rows)
        network = self.networks.of_fold(fold)
        views = self.networks.views(network, self.images, image_ids)
        stages = strongest_patches(
            network,
            views,
            image_ids,
            num_units=num_units,
            num_patches=num_patches,
            layer=layer,
            device=self.networks.device,
        )
        return stages, views, image_ids

    def plot_strongest_patches(
        self, *, fold: int | None = None, num_units: int = 4, num_images: int = NUM_PATCH_IMAGES
    ) -> "Figure":
        """Return a figure of the patches that excite single units most, stage by stage."""
        return plot_patches(*self.strongest_patches(fold=fold, num_units=num_units, num_images=num_images))

    def embedding_map(
        self, *, fold: int | None = None, num_images: int = NUM_MAP_IMAGES, seed: int = 0
    ) -> EmbeddingMap:
        """Return the images of one network as points, `num_images` of them at most.

        Networks of several folds have no features in common, so a map is of one network.
        """
        fold = self._fold(fold)
        answers = answers_of(self.predictions)
        row_of = {image_id: row for row, image_id in enumerate(answers.image_ids)}
        rows = [
            row_of[image_id]
            for image_id in (self.predictions.image_ids[row] for row in self._some_rows(fold, num_images))
            if image_id in row_of
        ]
        image_ids = [answers.image_ids[row] for row in rows]
        network = self.networks.of_fold(fold)
        features = penultimate_features(
            network, self.networks.views(network, self.images, image_ids), device=self.networks.device
        )
        return embedding_map(
            features,
            image_ids=image_ids,
            actual=[answers.classes[answers.actual[row]] for row in rows],
            predicted=[answers.classes[answers.predicted[row]] for row in rows],
            seed=seed,
        )

    def plot_embedding(self, *, fold: int | None = None, num_images: int = NUM_MAP_IMAGES, seed: int = 0) -> "Figure":
        """Return a figure of the embedding map."""
        return plot_embedding(self.embedding_map(fold=fold, num_images=num_images, seed=seed))

    def _indices(self, names: Sequence[str]) -> NDArray[np.int64]:
        place = {name: k for k, name in enumerate(self.predictions.classes)}
        return np.array([place[name] for name in names], dtype=np.int64)

    def _fold(self, fold: int | None) -> int:
        known = sorted({int(one) for one in self.predictions.folds})
        if fold is None:
            return known[0]
        if fold not in known:
            raise ConfigError(
                f"These predictions are of the folds {', '.join(map(str, known))}, and of no fold {fold}."
            )
        return fold

    def _some_rows(self, fold: int, num_images: int) -> list[int]:
        """Return the rows of a fold, at most `num_images`, chosen by a hash of the ids: the same ones each time."""
        rows = [int(row) for row in np.flatnonzero(self.predictions.folds == fold)]
        return sorted(rows, key=lambda row: fingerprint(self.predictions.image_ids[row]))[:num_images]


def interpret(run: str, *, kind: str | None = None) -> Interpretation:
    """Return the interpretation of a finished run on this machine.

    Args:
        run: its id, or the start of it where that is unique.
        kind: which predictions; default: see `kit.interpret.finished.finished_run`.

    Raises:
        DataError: no such run, or nothing with known labels is left of it.
    """
    left = finished_run(find_record(run), kind=kind)
    return Interpretation(left.predictions, left.read, networks=left.networks, groups=left.groups)
