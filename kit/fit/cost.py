"""The cost: bytes of memory that a recipe takes for a batch, and the batches that fit a limit."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from kit.config import Recipe
from kit.errors import ConfigError
from kit.fit.limits import CUDA_CONTEXT, printed
from kit.fit.workload import OptimizerName, Precision, Stage, Workload, workloads_of

if TYPE_CHECKING:
    from kit.fit.trace import Trace

STATES = {"adamw": 2, "adam": 2, "sgd": 1}  # tensors that an optimizer keeps per weight; sgd: with momentum
BYTES_PER_COUNT = 64  # the smallest block that an allocator hands out: an optimizer counts the steps of each tensor
BATCHES_IN_HAND = 3  # of uint8 images: the loader has two ready and one in the making
CHECKPOINT_COPIES = 2  # of the weights, while a checkpoint is written
LARGEST = 4096  # images at once, that anybody would want


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What is taken around the tensors of a step, on a kind of device."""

    standing: int  # bytes that the process has before there is a network
    context: int  # bytes that code, kernels and their scratch memory add when it is run
    fragmentation: float  # share of the live bytes that the allocator takes more: borders of blocks, small blocks
    gaps: float  # how often the gaps of a heap are there, see `kit.fit.heap`
    margin: float  # share that the prediction may be wrong by


# Measured by tests/bench/memory.py. A CPU's: Python with PyTorch, timm and the kit; a GPU's is CUDA's context, with the
# workspaces of cuDNN and cuBLAS beside it.
SURROUNDINGS = {
    "cpu": Surroundings(standing=480 * 2**20, context=30 * 2**20, fragmentation=0.04, gaps=1.0, margin=0.10),
    "cuda": Surroundings(standing=CUDA_CONTEXT, context=96 * 2**20, fragmentation=0.05, gaps=0.0, margin=0.07),
}


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """Bytes that one stage of a recipe takes, without what surrounds it."""

    workload: Workload
    trace: "Trace"
    optimizer: int  # its state, made in the first step
    average: int  # moving average of the weights
    num_images: int = 0  # at once, where it is not the recipe's batch: evaluation

    @property
    def weights(self) -> int:
        """Parameters and buffers."""
        return self.trace.weights

    @property
    def gradients(self) -> int:
        """Of the weights that learn."""
        return self.trace.learning

    @property
    def per_image(self) -> float:
        """What autograd keeps of an image until the backward pass has used it, the image itself with it."""
        return self.trace.kept.per_image

    @property
    def loader_per_image(self) -> int:
        """Pixels of the batches that the loader has ready, uint8."""
        return BATCHES_IN_HAND * 3 * self.workload.image_size**2 if self.workload.device != "cuda" else 0

    def needed(self, batch: int, *, num_portions: int = 1) -> float:
        """Return the most bytes that live at once in steps of `num_portions` portions of `batch` images each."""
        batch = self.num_images or batch
        image = 4 * 3 * self.workload.image_size**2  # float32
        standing = self.weights + self.average + self.loader_per_image * batch
        within = max(line.at(batch) for line in self.trace.moments)
        if self.workload.stage == "evaluation":
            return standing + self.optimizer + within
        standing += image * batch * (num_portions - 1)  # all portions of a step are made before it
        if num_portions > 1:
            within += self.gradients  # of the portions before
        # The first update, in which the optimizer's state is made, when no activation is left.
        update = self.gradients + self.optimizer + image * batch
        return standing + max(self.optimizer + within, update)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Bytes that a recipe takes on a kind of device: the most that any of its stages does."""

    stages: tuple[StageCost, ...]
    surroundings: Surroundings
    correction: float = 1.0  # what was measured on this device, divided by the prediction

    @property
    def weights(self) -> int:
        """Parameters and buffers."""
        return self.stages[0].weights

    @property
    def margin(self) -> float:
        """Share of the prediction that is kept free besides."""
        return self.surroundings.margin

    def corrected(self, correction: float) -> "Cost":
        """Return the same with another correction."""
        return replace(self, correction=correction)

    def only(self, stage: Stage) -> "Cost":
        """Return what one of the stages takes."""
        return replace(self, stages=tuple(one for one in self.stages if one.workload.stage == stage))

    def of_training(self) -> "Cost":
        """Return what the stages take that train."""
        return replace(self, stages=tuple(one for one in self.stages if one.workload.stage != "evaluation"))

    def parts(self, batch: int) -> dict[str, tuple[float, float]]:
        """Return what the most expensive stage takes, each as bytes for any batch and bytes per image.

        Not all of it is there at once: gradients are made while activations are freed.
        """
        stage, around = self.of_training().highest(batch), self.surroundings
        kept, gaps = stage.trace.kept, stage.trace.gaps
        passing = max(stage.trace.moments, key=lambda line: line.at(batch))
        return {
            "weights": (stage.weights, 0),
            "gradients": (stage.gradients, 0),
            "optimizer": (stage.optimizer, 0),
            "average": (stage.average, 0),
            "activations": (kept.fixed, kept.per_image),
            "workspace": (max(0.0, passing.fixed - kept.fixed), max(0.0, passing.per_image - kept.per_image)),
            "images": (0, stage.loader_per_image),
            "allocator": (
                around.gaps * max(0.0, gaps.fixed) + around.fragmentation * passing.fixed,
                around.gaps * gaps.per_image + around.fragmentation * passing.per_image,
            ),
            "kernels": (around.context, 0),
            "process": (around.standing, 0),
        }

    def highest(self, batch: int, *, num_portions: int = 1) -> StageCost:
        """Return the stage that takes the most with this batch."""
        return max(self.stages, key=lambda stage: self._taken(stage, batch, num_portions))

    def growth(self, batch: int, *, num_portions: int = 1) -> int:
        """Return the bytes that steps, and the looks at held-out images, add to a process that has all its libraries.

        Args:
            batch: images at once; the last batch of an epoch may have fewer, and takes less.
            num_portions: in which an optimizer step takes its images.
        """
        most = max(self._taken(stage, batch, num_portions) for stage in self.stages)
        return int(self.correction * (self.surroundings.context + most))

    def total(self, batch: int, *, num_portions: int = 1) -> int:
        """Return the bytes that a training takes in all, libraries and the writing of checkpoints with it."""
        most = max(stage.weights * (1 + CHECKPOINT_COPIES) + stage.optimizer + stage.average for stage in self.stages)
        return self.surroundings.standing + max(self.growth(batch, num_portions=num_portions), most)

    def _taken(self, stage: StageCost, batch: int, num_portions: int) -> float:
        """Return the bytes of a stage with what its allocator adds."""
        gaps = max(0.0, stage.trace.gaps.at(stage.num_images or batch))
        live = stage.needed(batch, num_portions=num_portions)
        return (1 + self.surroundings.fragmentation) * live + self.surroundings.gaps * gaps

    def fits(self, batch: int, limit: int, *, num_portions: int = 1) -> bool:
        """Tell whether a batch stays below `limit` bytes, were the prediction too low by the margin."""
        standing = self.surroundings.standing
        return standing + (1 + self.margin) * (self.total(batch, num_portions=num_portions) - standing) <= limit

    def largest_batch(self, limit: int) -> int:
        """Return the most images that fit into `limit` bytes at once, up to LARGEST; 0 where not one does."""
        low, high = 0, LARGEST
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.fits(middle, limit) else (low, middle - 1)
        return low

    def split(self, batch_size: int, limit: int) -> tuple[int, int]:
        """Return the most images at once, a divisor of `batch_size`, that fit, and in how many portions that is.

        Portions of one image are no choice where others are: BatchNorm has no variance of one.

        Raises:
            ConfigError: not even the smallest portions fit.
        """
        divisors = [k for k in range(batch_size, 0, -1) if batch_size % k == 0 and (k > 1 or batch_size == 1)]
        for images in divisors:
            if self.fits(images, limit, num_portions=batch_size // images):
                return images, batch_size // images
        least, stage = divisors[-1], self.highest(divisors[-1])
        bare, taken = self.surroundings.standing + self.weights, self.total(least, num_portions=batch_size // least)
        who = f"{least} images at once"
        if stage.workload.stage == "evaluation":
            who = f"looks at held-out images, {stage.num_images} at once,"
        reason = (
            f"the process and the bare weights of {stage.workload.model.name} alone take {printed(bare)}"
            if bare > limit
            else f"{who} take {printed(taken)}, and {self.margin:.0%} of it stay free"
        )
        raise ConfigError(
            f"{stage.workload.model.name} at {stage.workload.image_size} px does not fit into {printed(limit)}: "
            f"{reason}. Allow more memory (--memory), or take a smaller network (model.name) or smaller images "
            "(input.image_size); `kit fit` shows what takes how much."
        )


def cost_of(
    recipe: Recipe,
    num_classes: int,
    *,
    several: bool = False,
    device: str = "cpu",
    precision: Precision | None = None,
    optimizer: OptimizerName = "adamw",
    checkpointing: bool = False,
) -> Cost:
    """Return what a recipe takes; nothing is run but shapes, and no GPU is needed.

    Args:
        recipe: how to train; its `schedule.batch_size` plays no part.
        num_classes: C.
        several: an image may have any number of labels.
        device: type of the device, such as "cuda", be there one or not.
        precision: of forward and backward; None: the one that the trainer takes there.
        optimizer: the trainer's is AdamW.
        checkpointing: activations of blocks are made anew in the backward pass.

    Raises:
        ConfigError: there is no such network, or not for images of this size.
    """
    plan = recipe.schedule
    return _cost_of(
        # What plays no part is made equal, so that a sweep asks once for each network and size.
        replace(recipe, name="", seed=0, schedule=replace(plan, batch_size=32, micro_batch=0, lr=1.0, frozen_lr=1.0)),
        num_classes,
        several,
        device,
        precision or usual_precision(device),
        optimizer,
        checkpointing,
    )


@lru_cache(maxsize=256)
def _cost_of(
    recipe: Recipe,
    num_classes: int,
    several: bool,
    device: str,
    precision: Precision,
    optimizer: OptimizerName,
    checkpointing: bool,
) -> Cost:
    from kit.fit.trace import trace
    from kit.train.inference import CPU_PIXELS, LARGEST_BATCH

    averages = bool(recipe.schedule.average_decay)
    found: list[StageCost] = []
    for workload in workloads_of(
        recipe,
        num_classes=num_classes,
        several=several,
        device=device,
        precision=precision,
        checkpointing=checkpointing,
    ):
        traced = trace(workload)
        if workload.stage == "evaluation":
            # A GPU's evaluation takes as many images as there is room for; a CPU's a number that depends on the size.
            at_once = 1 if device == "cuda" else max(1, min(LARGEST_BATCH, CPU_PIXELS // workload.image_size**2))
            state = max(stage.optimizer for stage in found)
        else:
            at_once, state = 0, STATES[optimizer] * traced.learning + BYTES_PER_COUNT * traced.num_learning
        found.append(
            StageCost(
                workload=workload,
                trace=traced,
                optimizer=state,
                average=traced.weights if averages else 0,
                num_images=at_once,
            )
        )
    return Cost(stages=tuple(found), surroundings=SURROUNDINGS["cuda" if device == "cuda" else "cpu"])


def usual_precision(device: str) -> Precision:
    """Return the precision of forward and backward that the trainer takes on a type of device.

    Of a GPU that is not here it is taken that it has bf16.
    """
    if device != "cuda":
        return "fp32"
    import torch

    there = torch.cuda.is_available()
    return "bf16" if not there or torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
