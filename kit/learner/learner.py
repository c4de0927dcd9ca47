"""The learner: a network on some data, with the verbs of fast.ai's first lesson."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kit.errors import ConfigError
from kit.interpret.notebook import show_figures
from kit.learner import kept
from kit.learner.concluding import Concluding
from kit.learner.cycle import Cycle
from kit.learner.cycles import seed_of, stopped_here, train_cycle, weights_fingerprint
from kit.learner.data import Data
from kit.learner.live import live_for, screen
from kit.learner.measures import OwnMetric, measures_of
from kit.learner.rates import MaxLr, cycle_recipe, one_rate, written
from kit.learner.settings import advised_in_python, recipe_of
from kit.progress import Counter
from kit.train.model import choose_device, make_network, refuse_other_sizes
from kit.train.stopping import StoppedError
from kit.train.trainable import set_trainable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kit.learner.summary import Summary
    from kit.train.lr_finder import LrFind


class Learner(Concluding):
    """A network that learns from `Data`: first its new head on a frozen body, then all of it.

    ```python
    data = kit.load("pets", size=224)
    learn = kit.Learner(data, "resnet34", metrics=["error_rate"])
    learn.fit_one_cycle(4)
    learn.unfreeze()
    learn.fit_one_cycle(2, max_lr=slice(1e-6, 1e-4))
    ```

    Attributes:
        data: the images; `learn.data.plan` is the plan of a run with this recipe.
        network: the network with its present weights.
        recipe: how to train; the cycles take their length and rates from the calls.
        frozen: only the head learns. True at first where the body's weights are pretrained.
        cycles: what was trained, in order.
        device: where.
        seed: that all randomness comes from. On a CPU the same script gives the same weights, bit for bit.
    """

    def __init__(
        self,
        data: Data,
        arch: str | None = None,
        *,
        metrics: str | OwnMetric | Sequence[str | OwnMetric] | None = None,
        weights: str | Path | None = "auto",
        head: Literal["timm", "linear", "concat-pool"] | None = None,
        wd: float | None = None,
        drop: float | None = None,
        seed: int | None = None,
        device: str | None = None,
        overrides: Sequence[str] = (),
    ) -> None:
        """Make the network, with a new head for the classes of `data`.

        Args:
            data: from `kit.load` or `kit.from_folder` and its kin.
            arch: timm's name of a network, such as "resnet34", or "FILE.py:function" for one of your own; default:
                that of the data's recipe, with its weights.
            metrics: what is told of the held-out images after each epoch: names as in `kit.metrics.METRICS`, or
                functions of probabilities (N, C) and truth that return a number; default: accuracy, or exact_match
                where an image may have several labels.
            weights: "auto" (the folder KIT_WEIGHTS, an installed package, the model hub), a file or folder, or None to
                start from random ones.
            head: "timm" (the network's own), "linear", or "concat-pool", which is fast.ai's; default: the recipe's.
            wd: weight decay; default: the recipe's.
            drop: dropout before the classifier, in [0, 1); default: the recipe's.
            seed: of the head's weights, of order, augmentation and dropout; default: the recipe's.
            device: "cpu", "cuda", "cuda:1", "mps" or "auto"; default: the recipe's.
            overrides: more of the recipe, as "key=value", e.g. "loss.label_smoothing=0".

        Raises:
            ConfigError: no such network, metric or setting.
            WeightsError: the pretrained weights cannot be found.
        """
        if not isinstance(data, Data):
            raise ConfigError(
                f"Learner(data, ...): data must be what kit.load or kit.from_folder return, got {type(data).__name__}."
            )
        chosen = recipe_of(
            data.recipe,
            arch,
            weights=weights,
            head=head,
            wd=wd,
            drop=drop,
            seed=seed,
            device=device,
            overrides=overrides,
        )
        with warnings.catch_warnings():  # a progress bar of timm's hub would like ipywidgets, and says so in a notebook
            warnings.filterwarnings("ignore", "IProgress not found")
            import timm  # noqa: F401
        self._measures = measures_of(metrics, several=data.several, num_classes=data.c, say=data.say)
        self.device = choose_device(chosen.device)
        with advised_in_python():
            self.data = data.with_recipe(chosen)
            self.recipe = self.data.recipe
            self.seed, folds = self.recipe.seed, self.data.valid_folds
            self._model = 1 + folds[0] if folds else 0
            start = seed_of(self.recipe, model=self._model, cycle=1)
            self.network = make_network(self.recipe.model, num_classes=data.c, seed=start)
            refuse_other_sizes(self.network, self.recipe.input, name=self.recipe.model.name)
        self.cycles: list[Cycle] = []
        self.first_weights = weights_fingerprint(self.network.module)
        self.frozen = self.network.weights_origin != "none"
        set_trainable(self.network.module, head_only=self.frozen)
        self._tuned: tuple[Any, ...] | None = None  # a `fine_tune` whose first cycle is done and whose second is not
        show_figures()

    # Training.

    def fit_one_cycle(self, num_epochs: int, max_lr: MaxLr = None, *, wd: float | None = None) -> Cycle:
        """Train for one cycle: the learning rate rises, then falls (Smith & Topin 2018); what is frozen stays so.

        In a notebook a table and a plot of the losses redraw meanwhile; elsewhere each epoch is a line on stderr.
        Ctrl-C, or the notebook's stop, keeps the state: the same call goes on from there, with the same result on a
        CPU. Any other call begins from the weights of before.

        Args:
            num_epochs: at least 1.
            max_lr: peak of the learning rate: one number for every layer; `slice(lo, hi)`, from the first layers to
                the head, geometric in between; `slice(hi)`, where the body learns at hi / 10; None: the recipe's.
                Where the body is frozen, the head learns at the highest of them.
            wd: weight decay; None: the recipe's.

        Returns:
            The cycle, with its `history` (an entry per epoch), `losses` and `lrs` (per step) and `table()`.

        Raises:
            ConfigError: numbers that mean nothing.
            DataError: the images have faults that would make scores wrong.
            TrainingError: the loss is not a number any more, or there is too little memory; the weights are as before.
            StoppedError: Ctrl-C.
        """
        recipe = cycle_recipe(self.recipe, num_epochs, frozen=self.frozen, max_lr=max_lr, wd=wd)
        num_epochs = recipe.schedule.frozen_epochs + recipe.schedule.epochs
        live = live_for(list(self._measures), num_epochs=num_epochs, images_per_epoch=len(self.data.train))
        try:
            with advised_in_python():
                self.data.check()
                cycle = train_cycle(
                    self.network,
                    self.data,
                    recipe=recipe,
                    cycle=len(self.cycles) + 1,
                    model=self._model,
                    device=self.device,
                    measures=self._measures,
                    live=live,
                )
        except StoppedError as error:
            raise stopped_here(error, f"learn.fit_one_cycle({written(num_epochs, max_lr, wd)})") from None
        finally:
            live.close()
        self.cycles.append(cycle)
        return cycle

    def fine_tune(self, num_epochs: int, base_lr: float = 2e-3, *, freeze_epochs: int = 1) -> Cycle:
        """Train the head on a frozen body, then every layer, at fast.ai's rates; return the second cycle.

        The head's cycle peaks at `base_lr`; the second one at half of it for the head, and a hundredth of that for the
        first layers (`fine_tune` in fastai/callback/schedule.py, 2020). The network is unfrozen afterwards.

        Args:
            num_epochs: of the second cycle, at least 1.
            base_lr: peak of the head's learning rate.
            freeze_epochs: of the first cycle; 0: there is none.

        Raises:
            The errors of `fit_one_cycle`; after Ctrl-C the same call goes on.
        """
        base_lr = one_rate(base_lr, "base_lr")
        cycle_recipe(self.recipe, num_epochs, frozen=False, max_lr=None, wd=None)  # refuses before anything is trained
        call, frozen = (num_epochs, base_lr, freeze_epochs, len(self.cycles)), self.frozen
        try:
            if freeze_epochs and call != self._tuned:
                self.freeze()
                self.fit_one_cycle(freeze_epochs, base_lr)
                self._tuned = (num_epochs, base_lr, freeze_epochs, len(self.cycles))
            self.unfreeze()
            cycle = self.fit_one_cycle(num_epochs, slice(base_lr / 200, base_lr / 2))
        except StoppedError as error:
            if not (self._tuned and self._tuned[-1] == len(self.cycles)):
                self._set_frozen(frozen)
            same = f"learn.fine_tune({num_epochs!r}, {base_lr!r}, freeze_epochs={freeze_epochs!r})"
            raise stopped_here(error, same) from None
        self._tuned = None
        return cycle

    def freeze(self) -> None:
        """Let only the head learn from now on."""
        if self.network.weights_origin == "none" and not self.cycles:
            self.data.say("the body is frozen with its RANDOM weights: a head on random features learns little")
        self._set_frozen(True)

    def unfreeze(self) -> None:
        """Let every layer learn from now on. The weights stay; the optimizer begins anew with each cycle."""
        self._set_frozen(False)

    def _set_frozen(self, frozen: bool) -> None:
        self.frozen = frozen
        set_trainable(self.network.module, head_only=frozen)

    def lr_find(self) -> "LrFind":
        """Sweep the learning rate over a copy of the network as it is now, frozen or not; nothing is changed.

        Returns:
            The sweep: `.plot()`, `.suggested`, `.valley`, `.steepest`; in a notebook it shows itself.

        Raises:
            TrainingError: the loss fell at no rate.
        """
        from kit.train.lr_finder import find_lr_for

        recipe = cycle_recipe(self.recipe, 1, frozen=self.frozen, max_lr=None, wd=None)
        with advised_in_python(), Counter("learning rates", say=screen(), unit="steps") as counter:
            self.data.check()
            return find_lr_for(
                self.network,
                self.data.pack,
                self.data.train,
                recipe=recipe,
                classes=self.data.classes,
                several=self.data.several,
                device=self.device,
                seed=seed_of(recipe, model=self._model, cycle=len(self.cycles) + 1),
                stage="head" if self.frozen else "all",
                tick=lambda step, total, loss: counter.reach(step, total),
            )

    # Weights on disk.

    def save(self, name: str) -> Path:
        """Write the weights under a name, below KIT_HOME, and return the file; one of the same name is replaced.

        Only weights are kept: not whether the body is frozen, nor the cycles. So `load` leaves these as they are, as
        fast.ai's does.

        Raises:
            ConfigError: a name with a folder in it, or one that no system can write.
            StorageError: the disk is full.
        """
        return kept.save(self, name)

    def load(self, name: str) -> "Learner":
        """Take the weights that were saved under a name, and return the learner; what is frozen stays so.

        Raises:
            WeightsError: nothing has that name (what is there is named), it was damaged, or it is of another network or
                of other classes.
        """
        network = kept.load(self, name)
        self.network.module.load_state_dict(network.module.state_dict())
        self.network = replace(network, module=self.network.module)
        self._tuned = None
        return self

    # A look at it.

    def plot_losses(self, *, figsize: tuple[float, float] = (8, 4)) -> "Figure":
        """Return a figure of the losses of all cycles over their steps."""
        from kit.learner.plots import losses_of

        return losses_of(self.cycles, figsize=figsize)

    def plot_lr(self, *, figsize: tuple[float, float] = (8, 4)) -> "Figure":
        """Return a figure of the learning rates of all cycles over their steps."""
        from kit.learner.plots import rates_of

        return rates_of(self.cycles, figsize=figsize)

    def summary(self) -> "Summary":
        """Return a table of the network's depth groups, and which of them learn."""
        from kit.learner.summary import summary_of

        return summary_of(
            self.network,
            name=self.recipe.model.name,
            frozen=self.frozen,
            image_size=self.recipe.input.image_size,
            num_classes=self.data.c,
        )

    def __repr__(self) -> str:
        """Return a line on what it is and what was done."""
        state = "frozen body" if self.frozen else "all layers learn"
        done = f"{len(self.cycles)} cycle{'s' * (len(self.cycles) != 1)}"
        return (
            f"<Learner {self.recipe.model.name} on {self.data.competition.slug}: {self.data.c} classes, "
            f"{self.recipe.input.image_size} pixels, {len(self.data.train):,} training images, {state}, {done}>"
        )

    def _repr_html_(self) -> str:
        from kit.learner.summary import learner_table

        return learner_table(self)
