"""The course of a training: what each epoch and each step are to be, as pure functions of the recipe and the count."""

from dataclasses import dataclass
from typing import Literal

from kit.config import Recipe
from kit.train.schedule import CyclePoint, one_cycle, side_of_epoch, spread_lr

Stage = Literal["head", "all"]


@dataclass(frozen=True, kw_only=True)
class Course:
    """The two stages of a recipe over a number of steps."""

    recipe: Recipe
    steps_per_epoch: int

    @property
    def num_epochs(self) -> int:
        """Epochs of both stages."""
        return self.recipe.schedule.frozen_epochs + self.recipe.schedule.epochs

    @property
    def num_steps(self) -> int:
        """Optimizer steps of both stages."""
        return self.num_epochs * self.steps_per_epoch

    def stage_of(self, epoch: int) -> Stage:
        """Return the stage of an epoch (from 0): "head" trains the classifier on a frozen body, "all" every layer."""
        return "head" if epoch < self.recipe.schedule.frozen_epochs else "all"

    def image_size_of(self, epoch: int) -> int:
        """Return the side of the images of an epoch (from 0), pixels; a frozen body sees the first that follows."""
        size, plan = self.recipe.input, self.recipe.schedule
        return side_of_epoch(
            max(0, epoch - plan.frozen_epochs),
            num_epochs=max(1, plan.epochs),
            start=size.start_size if plan.epochs else 0,
            final=size.image_size,
        )

    def mixes(self, epoch: int) -> bool:
        """Return whether images are mixed in an epoch (from 0)."""
        augment = self.recipe.augment
        wanted = augment.mixup_alpha > 0 or augment.cutmix_alpha > 0
        return wanted and epoch < self.num_epochs - augment.mix_off_epochs

    def point_of(self, step: int) -> CyclePoint:
        """Return the place of a step (from 0, over both stages) in its stage's cycle; `lr` is a share of the peak."""
        plan = self.recipe.schedule
        first = plan.frozen_epochs * self.steps_per_epoch
        begin, total = (0, first) if step < first else (first, plan.epochs * self.steps_per_epoch)
        return one_cycle(step - begin, total, peak_lr=1.0, warmup_share=plan.warmup_share)

    def head_lr_of(self, step: int) -> float:
        """Return the learning rate of the head at a step (from 0, over both stages)."""
        plan = self.recipe.schedule
        peak = plan.frozen_lr if step < plan.frozen_epochs * self.steps_per_epoch else plan.lr
        return peak * self.point_of(step).lr

    def peak_lrs_of(self, stage: Stage, *, num_groups: int) -> list[float]:
        """Return the peak rate of each depth group in a stage, stem first."""
        plan = self.recipe.schedule
        if stage == "head":
            return [plan.frozen_lr] * num_groups
        return spread_lr(plan.lr, spread=plan.lr_spread, num_groups=num_groups, between=plan.lr_between)
