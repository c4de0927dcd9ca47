"""The check: a prediction against three real steps in a process of its own, and what is learnt from it.

    python -m kit.fit.check < question.json

is that process. Corrections are kept under KIT_HOME, for each network, size, precision, device and version.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from kit.config import Recipe, recipe_from_dict
from kit.errors import TrainingError
from kit.fit.cost import BATCHES_IN_HAND, Cost, cost_of
from kit.fit.limits import Limit, enforce, forget_peak, printed
from kit.fit.workload import Precision, Stage
from kit.home import family, fingerprint, write_json
from kit.progress import Say
from kit.train.models import device_name

if TYPE_CHECKING:
    import torch

STEPS = 3
MOST = 4.0  # a correction beyond it is no correction: something else took the memory
NOT_CORRECTED = ("mixes", "loss")  # fields of a workload that make no difference between prediction and truth


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What real steps took."""

    growth: int  # bytes by which they raised the peak of the process, or of the card; see `Cost.growth`
    kept: int  # bytes that autograd kept for the backward pass, weights apart
    seconds: float  # of the last step
    device_name: str


def measure(
    recipe: Recipe,
    num_classes: int,
    *,
    stage: Stage,
    batch: int,
    device: str,
    precision: Precision,
    several: bool = False,
    limit: Limit | None = None,
) -> Measured:
    """Take STEPS steps of a stage on random images in a process of its own, and return what they took.

    Args:
        recipe: how to train; the weights are random ones.
        num_classes: C.
        stage: "head" or "all".
        batch: images at once.
        device: where, such as "cuda:0".
        precision: of forward and backward.
        several: an image may have any number of labels.
        limit: that is enforced on a GPU, where it was asked for.

    Raises:
        TrainingError: the steps do not fit, or failed; says what the process said.
    """
    question = {
        "recipe": recipe.as_dict(),
        "num_classes": num_classes,
        "stage": stage,
        "batch": batch,
        "device": device,
        "precision": precision,
        "several": several,
        "limit": None if limit is None else asdict(limit),
    }
    # Random images are small numbers of bytes, and the answer is one line: nobody waits for anybody.
    child = subprocess.run(
        [sys.executable, "-m", "kit.fit.check"], input=json.dumps(question), capture_output=True, text=True, check=False
    )
    if child.returncode == 0:
        return Measured(**json.loads(child.stdout.splitlines()[-1]))
    last = (child.stderr.strip().splitlines() or ["it said nothing"])[-1]
    why = "it was ended by the system, which had no memory left" if child.returncode == -signal.SIGKILL else last
    raise TrainingError(
        f"Three steps of {recipe.model.name} at {recipe.input.image_size} px with {batch} images at once could not be "
        f"taken on {device}: {why}. Try fewer images (--batch-size) or another device (--device)."
    )


def correction_of(cost: Cost, *, device_name: str) -> float:
    """Return what was measured or learnt on a device, divided by the prediction; 1.0 where nothing was."""
    try:
        kept = json.loads(_place(cost, device_name).read_text(encoding="utf-8"))
        return min(MOST, max(1 / MOST, float(kept["correction"])))
    except (OSError, ValueError, KeyError, TypeError):
        return 1.0


def check(cost: Cost, recipe: Recipe, num_classes: int, *, batch: int, device: str, say: Say) -> tuple[float, float]:
    """Measure the most expensive stage of a recipe, keep the correction, and return it with the seconds of a step.

    Args:
        cost: of the recipe.
        recipe: how to train.
        num_classes: C.
        batch: images at once.
        device: where.
        say: takes lines of progress.

    Raises:
        TrainingError: see `measure`.
    """
    alone = cost.corrected(1.0).of_training()
    stage = alone.highest(batch).workload
    say(f"three steps of {batch} images on {device} ...")
    found = measure(
        recipe,
        num_classes,
        stage=stage.stage,
        batch=batch,
        device=device,
        precision=stage.precision,
        several=stage.several,
    )
    predicted = alone.only(stage.stage).growth(batch)
    say(f"predicted {printed(predicted)}, measured {printed(found.growth)}")
    why = f"{STEPS} steps of {batch} images, measured"
    return _keep(cost, found.growth / predicted, device_name=found.device_name, why=why), found.seconds


def known_cost(recipe: Recipe, *, num_classes: int, device: "torch.device", several: bool = False) -> Cost:
    """Return the cost of a recipe with what was measured or learnt on a device of this machine.

    Args:
        recipe: how to train.
        num_classes: C.
        device: where.
        several: an image may have any number of labels.
    """
    cost = cost_of(recipe, num_classes, several=several, device=device.type)
    return cost.corrected(correction_of(cost, device_name=device_name(str(device))))


def learn(cost: Cost, *, device_name: str, batch: int, limit: Limit) -> float:
    """Believe no longer that so many images fit, and return the new correction.

    Args:
        cost: of the recipe, with the correction until now.
        device_name: as `kit.train.models.device_name` gives it.
        batch: images at once, with which memory ran out, or passed the limit.
        limit: that was passed, or what the device had free.
    """
    standing = cost.surroundings.standing
    believed = cost.corrected(1.0).total(batch) - standing
    least = max(0, limit.num_bytes - standing) / ((1 + cost.margin) * believed)
    why = f"{batch} images at once passed {printed(limit.num_bytes)} ({limit.source})"
    return _keep(cost, max(cost.correction, 1.001 * least), device_name=device_name, why=why)


def _keep(cost: Cost, correction: float, *, device_name: str, why: str) -> float:
    correction = min(MOST, max(1 / MOST, correction))
    write_json(_place(cost, device_name), {"correction": correction, "why": why, "about": _about(cost, device_name)})
    return correction


def _place(cost: Cost, device_name: str) -> Any:
    key = fingerprint(json.dumps(_about(cost, device_name), sort_keys=True))
    return family("fit") / "corrections" / f"{key[:16]}.json"


def _about(cost: Cost, device_name: str) -> dict[str, Any]:
    """Return what a correction holds for: all that memory depends on, apart from the batch."""
    import torch

    return {
        "stages": [
            {key: value for key, value in asdict(stage.workload).items() if key not in NOT_CORRECTED}
            for stage in cost.stages
        ],
        "device": device_name,
        "torch": torch.__version__,
    }


def _answer(question: dict[str, Any]) -> Measured:
    """Take the steps, in this process."""
    import torch

    from kit.train.engine import Engine
    from kit.train.feed import Portion, Step
    from kit.train.loss import Objective
    from kit.train.memory import give_freed_memory_back
    from kit.train.model import make_network, normalise
    from kit.train.schedule import CyclePoint

    recipe: Recipe = recipe_from_dict(question["recipe"])
    batch, device, precision = question["batch"], torch.device(question["device"]), question["precision"]
    if question["limit"] is not None:
        enforce(Limit(**question["limit"]), device)
    side, on_cpu = recipe.input.image_size, device.type == "cpu"
    if on_cpu:
        import timm

        timm.create_model("resnet10t")  # imports what every network needs
        give_freed_memory_back(device)
    before = _resident() if on_cpu else 0
    forget_peak()
    network = make_network(recipe.model, num_classes=question["num_classes"], seed=0)
    if on_cpu and precision != "fp32":  # the trainer does so on a GPU only
        lower = torch.autocast("cpu", dtype=torch.bfloat16 if precision == "bf16" else torch.float16)
        for name in ("forward", "forward_features", "forward_head"):
            if hasattr(network.module, name):
                setattr(network.module, name, lower(getattr(network.module, name)))
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(question["num_classes"], (batch,), generator=generator)
    if question["several"]:
        targets = torch.nn.functional.one_hot(targets, question["num_classes"]).float()
    objective = Objective(
        config=recipe.loss, several=question["several"], targets=targets.to(device), weights=None, shares=None, notes=()
    )
    engine = Engine(network, objective, recipe=recipe, num_classes=question["num_classes"], device=device, seed=0)
    engine.begin(question["stage"], [1e-3] * engine.num_groups)
    engine.train_mode()

    def take_step(number: int) -> None:
        rows = torch.arange(batch, device=device)
        images = normalise(in_hand[number % len(in_hand)].to(device), network.input)
        step = Step(portions=[Portion(images=images, rows=rows, num_counted=batch)], rows=rows)
        engine.step(step, CyclePoint(lr=1.0, momentum=0.9), number=number, mixes=_mixes(recipe))

    shape = (batch, side, side, 3)
    in_hand = [torch.randint(256, shape, dtype=torch.uint8, generator=generator) for _ in range(BATCHES_IN_HAND)]
    seconds = 0.0
    for number in range(STEPS):
        started = time.perf_counter()
        take_step(number)
        if not on_cpu:
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - started
    if engine.room.notes:  # then fewer images were taken at once than were asked about
        sys.exit(engine.room.notes[0])
    growth = _peak() - before if on_cpu else torch.cuda.max_memory_reserved(device)
    standing = {one.untyped_storage().data_ptr() for one in (*network.module.parameters(), *network.module.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in standing:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        take_step(STEPS)
    return Measured(growth=growth, kept=sum(kept.values()), seconds=seconds, device_name=device_name(str(device)))


def _mixes(recipe: Recipe) -> bool:
    return recipe.augment.mixup_alpha > 0 or recipe.augment.cutmix_alpha > 0


def _resident() -> int:
    """Return all bytes of this process that are in memory, pages of files with them."""
    return _amount("VmRSS")


def _peak() -> int:
    return _amount("VmHWM")


def _amount(key: str) -> int:
    from pathlib import Path

    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}")


if __name__ == "__main__":
    print(json.dumps(asdict(_answer(json.load(sys.stdin)))))
    sys.stdout.flush()
    os._exit(0)  # nothing is left to tidy, and libraries' ends take a second
