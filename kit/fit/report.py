"""The answer of `kit fit`: what a network takes of memory, the batch that fits, and how long an epoch is."""

import os
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from kit.config import Recipe, recipe_from_dict
from kit.errors import ConfigError
from kit.fit.check import check, correction_of
from kit.fit.cost import cost_of, usual_precision
from kit.fit.limits import Limit, memory_limit, printed
from kit.fit.workload import OptimizerName, Precision
from kit.progress import Say

Amp = Literal["auto", "none", "bf16", "fp16"]
PRECISIONS: dict[str, Precision] = {"none": "fp32", "bf16": "bf16", "fp16": "fp16"}
MEANING = {
    "weights": "parameters and buffers",
    "gradients": "of the weights that learn",
    "optimizer": "its state, made in the first step",
    "average": "moving average of the weights",
    "activations": "kept for the backward pass",
    "workspace": "results in passing, and gradients made by then",
    "images": "that the loader has ready",
    "allocator": "gaps between blocks",
    "kernels": "code and scratch memory",
    "process": "before there is a network",
}
MEASURED_BATCH = 16  # images at once, at most: enough to tell, and done in a minute


@dataclass(frozen=True, kw_only=True)
class FitReport:
    """What a network takes, in bytes, and what fits."""

    model: str
    image_size: int  # pixels
    frozen: bool
    precision: Precision
    optimizer: OptimizerName
    device: str
    limit: Limit
    parts: dict[str, tuple[float, float]]  # name -> (bytes for any batch, bytes per image)
    process: int  # bytes of the process before there is a network; on a GPU CUDA's context
    margin: float  # share that is kept free besides
    correction: float  # measured divided by predicted, 1.0 where nothing was
    largest_batch: int  # images at once
    batch_size: int  # of an optimizer step
    micro_batch: int  # images at once
    num_portions: int
    total: int  # bytes, with the micro-batch
    whole: int  # bytes, with the whole batch at once
    epoch_seconds: float | None  # where a rate is known

    def as_dict(self) -> dict[str, Any]:
        """Return nested plain values, for JSON."""
        return asdict(self)

    @property
    def sentence(self) -> str:
        """The answer, in one sentence."""
        what = f"{self.model} at {self.image_size} px ({'frozen body, ' if self.frozen else ''}{self.precision})"
        room = f"{printed(self.limit.num_bytes)} ({self.limit.source}), of which {self.margin:.0%} stay free"
        most = f"the most at once are {self.largest_batch}"
        if self.num_portions == 1:
            return f"{what}: a batch of {self.batch_size} takes {printed(self.total)} and fits into {room}; {most}."
        return (
            f"{what}: a batch of {self.batch_size} at once would take {printed(self.whole)} and does not fit into "
            f"{room}; {self.num_portions} portions of {self.micro_batch} take {printed(self.total)} (--set "
            f"schedule.batch_size={self.batch_size} --set schedule.micro_batch={self.micro_batch}); {most}."
        )


def report_of(
    model: str,
    *,
    image_size: int = 224,
    memory: int | None = None,
    device: str = "auto",
    amp: Amp = "auto",
    frozen: bool = False,
    optimizer: OptimizerName = "adamw",
    batch_size: int = 64,
    num_classes: int = 1000,
    average: bool = False,
    checkpointing: bool = False,
    num_images: int | None = None,
    rate: float | None = None,
    measured: bool = False,
    say: Say = lambda line: None,
) -> FitReport:
    """Return what a network takes; nothing is trained unless it is to be measured.

    Args:
        model: timm's name, or "FILE.py:function".
        image_size: side, pixels.
        memory: bytes of the limit; None: KIT_MEMORY, or what the device has free.
        device: "auto", or a device's name; a GPU need not be here.
        amp: autocast; "auto": as the trainer does it on the device.
        frozen: only the head learns.
        optimizer: the trainer's is AdamW.
        batch_size: of an optimizer step.
        num_classes: C.
        average: a moving average of the weights is kept.
        checkpointing: activations of blocks are made anew in the backward pass.
        num_images: of an epoch.
        rate: images a second, measured elsewhere.
        measured: take three real steps on the device, and keep what they tell.
        say: takes lines of progress.

    Raises:
        ConfigError: no such network, size, device or amount; or not even single images fit.
        TrainingError: the steps that were to be measured failed.
    """
    from kit.train.model import choose_device
    from kit.train.models import device_name

    there = _is_there(device)
    if there:
        device = str(choose_device(device))
    kind = device.partition(":")[0]
    if not there and (measured or (memory is None and not os.environ.get("KIT_MEMORY"))):
        raise ConfigError(
            f"There is no {device} here to {'measure on' if measured else 'ask how much memory it has'}: "
            f"{'leave --measure out' if measured else 'say it with --memory, such as --memory 11GiB'}."
        )
    recipe = _recipe(model, image_size=image_size, frozen=frozen, average=average, batch_size=batch_size)
    precision = usual_precision(kind) if amp == "auto" else PRECISIONS[amp]
    cost = cost_of(
        recipe, num_classes, device=kind, precision=precision, optimizer=optimizer, checkpointing=checkpointing
    )
    limit = memory_limit(choose_device(device) if there else torch.device(kind), memory)
    if there:
        name = device_name(device)
        if measured:
            if checkpointing or optimizer != "adamw" or (kind == "cuda" and precision != usual_precision(kind)):
                raise ConfigError(
                    "--measure takes steps as the trainer takes them, which has no gradient checkpointing, AdamW, and "
                    f"{usual_precision(kind)} here. Leave --amp, --optimizer and --checkpointing out, or --measure."
                )
            batch = max(2, min(MEASURED_BATCH, batch_size, cost.largest_batch(limit.num_bytes)))
            _, seconds = check(cost, recipe, num_classes, batch=batch, device=device, say=say)
            rate = rate or batch / seconds
        cost = cost.corrected(correction_of(cost, device_name=name))
    micro_batch, num_portions = cost.split(batch_size, limit.num_bytes)
    return FitReport(
        model=model,
        image_size=image_size,
        frozen=frozen,
        precision=precision,
        optimizer=optimizer,
        device=device,
        limit=limit,
        parts=cost.parts(micro_batch),
        process=cost.surroundings.standing,
        margin=cost.margin,
        correction=cost.correction,
        largest_batch=cost.largest_batch(limit.num_bytes),
        batch_size=batch_size,
        micro_batch=micro_batch,
        num_portions=num_portions,
        total=cost.total(micro_batch, num_portions=num_portions),
        whole=cost.total(batch_size),
        epoch_seconds=num_images / rate if num_images and rate else None,
    )


def _is_there(device: str) -> bool:
    """Tell whether a device is in this machine; a GPU may be asked for that is elsewhere."""
    from kit.train.model import choose_device

    try:
        choose_device(device)
    except ConfigError:
        if device.partition(":")[0] != "cuda":
            raise
        return False
    return True


def _recipe(model: str, *, image_size: int, frozen: bool, average: bool, batch_size: int) -> Recipe:
    """Return a recipe of one stage; the weights' origin plays no part, and random ones need not be found."""
    return recipe_from_dict(
        {
            "model": {"name": model, "weights": "none"},
            "input": {"image_size": image_size},
            "schedule": {
                "frozen_epochs": int(frozen),
                "epochs": int(not frozen),
                "average_decay": 0.999 if average else 0.0,
                "batch_size": batch_size,
            },
        },
        where="kit fit",
    )
