"""What a training step does, in so far as its memory depends on it."""

from dataclasses import dataclass, replace
from typing import Literal

from kit.config import LossConfig, ModelConfig, Recipe

Stage = Literal["head", "all", "evaluation"]
Precision = Literal["fp32", "bf16", "fp16"]
OptimizerName = Literal["adamw", "adam", "sgd"]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A step of one stage, for batches of any size."""

    model: ModelConfig
    num_classes: int
    image_size: int  # side, pixels
    stage: Stage = "all"  # "head": on a frozen body; "evaluation": probabilities only
    precision: Precision = "fp32"  # bf16 and fp16: autocast
    device: str = "cpu"  # its type
    norms_learn: bool = False  # BatchNorm layers of a frozen body learn
    keeps_statistics: bool = False  # BatchNorm layers of the body go on with running statistics
    loss: LossConfig = LossConfig()  # noqa: RUF009 (frozen)
    several: bool = False  # an image may have any number of labels
    mixes: bool = False  # images are mixed, which makes another batch of them
    checkpointing: bool = False  # activations of blocks are made anew in the backward pass


def workloads_of(
    recipe: Recipe, *, num_classes: int, several: bool, device: str, precision: Precision, checkpointing: bool
) -> list[Workload]:
    """Return the stages of a recipe: what it trains, and the look at held-out images at last.

    Args:
        recipe: how to train.
        num_classes: C.
        several: an image may have any number of labels.
        device: type of the device.
        precision: of forward and backward.
        checkpointing: of gradients.
    """
    plan, size = recipe.schedule, recipe.input
    whole = Workload(
        model=replace(recipe.model, weights="none", pretraining_group=""),  # weights of other origin are no larger
        num_classes=num_classes,
        image_size=size.image_size,
        precision=precision,
        device=device,
        keeps_statistics=recipe.model.weights != "none" and plan.norm_statistics != "batch",
        loss=recipe.loss,
        several=several,
        mixes=recipe.augment.mixup_alpha > 0 or recipe.augment.cutmix_alpha > 0,
        checkpointing=checkpointing,
    )
    found = []
    if plan.frozen_epochs:
        first_size = size.start_size if size.start_size and plan.epochs else size.image_size
        trained = plan.frozen_norms == "trained"
        found.append(replace(whole, stage="head", image_size=first_size, norms_learn=trained))
    if plan.epochs:
        found.append(whole)
    evaluation = Workload(
        model=whole.model,
        num_classes=num_classes,
        image_size=size.image_size,
        stage="evaluation",
        precision=precision,
        device=device,
    )
    return [*found, evaluation]
