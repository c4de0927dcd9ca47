"""The models of a run: one per fold, and one on the whole training list where there is a test list."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from kit.config import Recipe
from kit.data.folds import held_out_rows, training_rows
from kit.data.pseudo_labels import with_extra
from kit.fit.limits import Limit
from kit.home import sha256_of_file, write_json, writing
from kit.progress import Counter, Say, silent, within
from kit.rules import FoldRule
from kit.store.pack import Pack
from kit.train.world import SOLO, World

if TYPE_CHECKING:
    from kit.train.history import EpochLog, Trained

FULL = "full"


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """A trained model on disk."""

    name: str  # "fold-0", ... or "full"
    folder: Path
    history: Mapping[str, Any]  # what `Trained` held, with the network's facts

    @property
    def checkpoint(self) -> Path:
        """The weights that scores are taken from."""
        return self.folder / "last.safetensors"


def model_names(*, num_folds: int, has_test: bool) -> list[str]:
    """Return the models that a run needs, in the order in which they are trained."""
    return [f"fold-{k}" for k in range(num_folds)] + ([FULL] if has_test else [])


def find_model(folder: Path, name: str) -> ModelFolder | None:
    """Return the finished model `name` below `folder`, or None: history.json is written last, with the checksum."""
    about = folder / name / "history.json"
    try:
        history = json.loads(about.read_text(encoding="utf-8"))
        found = ModelFolder(name=name, folder=folder / name, history=history)
        whole = sha256_of_file(found.checkpoint) == history["sha256"]
    except (OSError, ValueError, KeyError):
        return None
    return found if whole else None


def train_model(
    name: str,
    train: pd.DataFrame,
    pack: Pack,
    *,
    recipe: Recipe,
    classes: tuple[str, ...],
    several: bool,
    rule: FoldRule,
    folder: Path,
    say: Say,
    world: World = SOLO,
    memory: Limit | None = None,
    extra: Mapping[str, pd.DataFrame] | None = None,
    watch: Callable[["EpochLog"], None] | None = None,
) -> ModelFolder:
    """Return the model `name`, trained now unless it was before; an interrupted training is gone on with.

    Args:
        name: "fold-K" trains on the other folds and looks at fold K after each epoch; "full" on every row.
        train: rows with `image_id`, `label` and, for folds, `fold`.
        pack: their images.
        recipe: how.
        classes: in order.
        several: an image may have any number of labels.
        rule: how the folds were made; folds by time train on the past only.
        folder: `folder`/name gets the checkpoints.
        say: takes a line per epoch.
        world: the processes that train together; the first one writes.
        memory: what this process may take, see `kit.train.loop.fit`.
        extra: model -> rows that this one alone learns from besides, see `kit.data.pseudo_labels`.
        watch: takes each epoch's log.
    """
    if (found := find_model(folder, name)) is not None:
        return found
    from kit.train.distributed import device_among
    from kit.train.loop import fit  # torch and timm: seconds that a run without training need not spend
    from kit.train.model import make_network
    from kit.train.state import clear_states

    device = device_among(world, recipe.device)
    number = 0 if name == FULL else 1 + int(name.removeprefix("fold-"))
    network = make_network(recipe.model, num_classes=len(classes), seed=recipe.seed * 1009 + number)
    if network.weights_origin == "none":
        say(f"{name}: {recipe.model.name} starts from RANDOM weights: nothing pretrained is used")
        if recipe.schedule.frozen_epochs:
            say(f"{name}: schedule.frozen_epochs trains a head on random features; set it to 0 to train from scratch")
    if name == FULL:
        parts = train, train.iloc[:0]
    else:
        parts = training_rows(train, number - 1, rule=rule), held_out_rows(train, number - 1)
    learned = with_extra(parts[0], (extra or {}).get(name))
    num_epochs = recipe.schedule.frozen_epochs + recipe.schedule.epochs

    def report(log: "EpochLog") -> None:
        say(
            f"{name}  epoch {log.epoch}/{num_epochs} ({log.stage})  train loss {log.train_loss:.4f}"
            + (
                ""
                if log.valid_loss is None
                else f"  held-out loss {log.valid_loss:.4f}  accuracy {log.valid_accuracy:.4f}"
            )
            + f"  {log.images_per_second:,.0f} images/s"
        )
        if watch is not None:
            watch(log)

    with Counter(name, unit="steps", say=say if world.is_first else silent) as steps:
        trained = fit(
            network,
            pack,
            learned,
            parts[1] if len(parts[1]) else None,
            recipe=recipe,
            classes=classes,
            several=several,
            folder=folder / name,
            device=device,
            seed=recipe.seed * 1009 + number,
            tick=lambda step, total, loss: steps.reach(step, total),
            say=within(say, name),
            world=world,
            memory=memory,
            report=report,
        )
    if world.is_first:
        _write_steps(folder / name / "steps.csv", trained)
    history = {
        "sha256": sha256_of_file(folder / name / "last.safetensors"),
        "history": [asdict(log) for log in trained.history],
        "minutes": trained.minutes,
        "num_steps": trained.num_steps,
        "best_epoch": trained.best_epoch,
        "num_train": len(learned),
        "num_processes": world.size,
        "resumed_at": trained.resumed_at,
        "notes": list(trained.notes),
        "micro_batch": trained.micro_batch,
        "too_many": trained.too_many,
        "store": f"{pack.layout}, {pack.storage}",
        "num_parameters": network.num_parameters,
        "weights_origin": network.weights_origin,
        "pretraining_group": network.pretraining_group,
        "device": device_name(str(device)),
        "num_threads": _num_threads(),
        "peak_memory_gib": _peak_memory_gib(str(device)),
    }
    if world.is_first:
        write_json(folder / name / "history.json", history)
        clear_states(folder / name)
    world.wait()
    return ModelFolder(name=name, folder=folder / name, history=history)


def _write_steps(path: Path, trained: "Trained") -> None:
    """Write loss and learning rate of every step, for plots."""
    table = pd.DataFrame({"lr": trained.lrs, "loss": trained.losses}, index=pd.RangeIndex(1, trained.num_steps + 1))
    with writing(path) as file:
        table.to_csv(file, index_label="step", lineterminator="\n", float_format="%.6g")


def device_name(device: str) -> str:
    """Return the hardware's name, e.g. "NVIDIA H200" or the processor's model."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    import platform

    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        if models:
            return models[0]
    return platform.processor() or platform.machine()


def _num_threads() -> int:
    import torch

    return torch.get_num_threads()


def _peak_memory_gib(device: str) -> float:
    if device.startswith("cuda"):
        import torch

        from kit.train.inference import peak_bytes

        return peak_bytes(torch.device(device)) / 2**30
    try:
        import resource
    except ImportError:  # Windows has no such module
        return 0.0
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
