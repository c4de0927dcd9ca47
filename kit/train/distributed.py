"""Several processes as one: `torchrun --nproc_per_node=N -m kit train ...` trains one network on N devices.

torchrun starts the command N times and tells each process its place by the environment. Numbers that are on a GPU
are exchanged by NCCL, those on the CPU by Gloo. The first process fetches, prepares and packs while the others
wait; it alone writes and speaks. What fails in one process ends them all, and the first that fails says why.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import ConfigError, KitError, TrainingError
from kit.home import make_folder
from kit.train.world import SOLO, World

if TYPE_CHECKING:  # torch takes seconds, which a command that trains nothing need not spend
    import torch
    from torch import Tensor, nn

LONGEST_WAIT = timedelta(days=7)  # for the first process to prepare; one that dies is noticed at once
FAILED = "kit-failed"  # counts the processes that ended with an error


def is_joint() -> bool:
    """Tell whether torchrun, or somebody who sets the same variables, has started this process among others."""
    return os.environ.get("WORLD_SIZE", "1") != "1" and "RANK" in os.environ


@contextlib.contextmanager
def joined() -> Iterator[World]:
    """Join the processes that torchrun has started, and leave them in the end; alone, give `SOLO`.

    All but the first are silent meanwhile. An error leaves the first process in which it happens; the others, who
    fail for want of it, end without a word.

    Raises:
        ConfigError: the environment does not say which process this is.
        TrainingError: another process ended without saying why.
    """
    if not is_joint():
        yield SOLO
        return
    import torch
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    try:
        world = World(
            rank=int(os.environ["RANK"]),
            size=int(os.environ["WORLD_SIZE"]),
            local_rank=int(os.environ.get("LOCAL_RANK", os.environ["RANK"])),
        )
        store, _, _ = next(rendezvous("env://", timeout=LONGEST_WAIT))
    except (ValueError, KeyError) as error:
        raise ConfigError(
            f"RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT do not describe a process among others "
            f"({error}). Start the command by `torchrun --nproc_per_node=N -m kit ...`, which sets them; alone, it "
            "needs none of them."
        ) from error
    nccl = torch.cuda.is_available() and torch.distributed.is_nccl_available()
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if nccl else "gloo",
        store=PrefixStore("kit", store),
        rank=world.rank,
        world_size=world.size,
        timeout=LONGEST_WAIT,
    )
    try:
        with _silent(not world.is_first):
            yield world
            world.wait()
    except BaseException as error:
        if not _is_first_to_fail(store):
            raise SystemExit(1) from None
        if not isinstance(error, KitError) and _is_loss_of_another(error):
            raise TrainingError(
                f"One of the {world.size} processes that train together ended without a word: it was killed, which "
                "is often the system's answer to too little memory, or lost its machine. The same command goes on "
                "from the last state that was kept."
            ) from error
        raise
    torch.distributed.destroy_process_group()


@contextlib.contextmanager
def _silent(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def _is_first_to_fail(store: Any) -> bool:
    try:
        return bool(store.add(FAILED, 1) == 1)
    except RuntimeError:  # the store was in a process that is gone, and that had its reason
        return False


def _is_loss_of_another(error: BaseException) -> bool:
    """Tell whether an exchange failed; Gloo has no exception of its own."""
    import torch

    told = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in told or "connection closed" in told)
    )


def device_among(world: World, name: str) -> "torch.device":
    """Return the device of this process for what a recipe calls `name`; processes of one machine take a GPU each.

    Raises:
        ConfigError: there are fewer GPUs than processes, or a device that they cannot exchange numbers on.
    """
    import torch

    from kit.train.model import choose_device

    device = choose_device(name)
    if world.size == 1:
        return device
    if device.type == "mps" and name == "auto":
        return torch.device("cpu")
    if device.type not in ("cpu", "cuda") or (device.index is not None and device.type == "cuda"):
        raise ConfigError(
            f"device = {name!r} is one device, and {world.size} processes train together. Use auto, cuda (each "
            "process takes a GPU of its own) or cpu."
        )
    if device.type == "cpu":
        return device
    if world.local_rank >= torch.cuda.device_count():
        raise ConfigError(
            f"Process {world.local_rank + 1} of this machine has no GPU: there are {torch.cuda.device_count()}. Start "
            "no more processes than GPUs (torchrun --nproc_per_node=N), or train on the CPU (--set device=cpu)."
        )
    device = torch.device("cuda", world.local_rank)
    torch.cuda.set_device(device)
    return device


def check_alike(world: World, run_id: str, *, folder: Path) -> None:
    """Refuse processes that would not do the same: other settings or data, or folders that they do not share.

    Args:
        world: the processes.
        run_id: of this process's plan.
        folder: where the runs are.

    Raises:
        ConfigError: they differ.
    """
    if world.size == 1:
        return
    mark = make_folder(folder) / f".{secrets.token_hex(8)}"
    if world.is_first:
        mark.touch()
    try:
        found = world.gather((run_id, mark.name))
        others = sorted({one for one, _ in found} - {found[0][0]})
        if others:
            raise ConfigError(
                f"The processes would not train the same run: {found[0][0]} in the first, {others[0]} in another. "
                "Start all with the same options, code and data."
            )
        if not all(world.gather((folder / found[0][1]).is_file())):
            raise ConfigError(
                f"What the first process writes to {folder} is not there for the others: on several machines, "
                "KIT_HOME must be one folder that all of them see."
            )
    finally:
        mark.unlink(missing_ok=True)


def describe_sharing(world: World, *, batch_size: int, batch_statistics: bool) -> list[str]:
    """Return lines for the log: what the processes share, and what differs from one process alone.

    Args:
        world: the processes.
        batch_size: images per optimizer step, of all.
        batch_statistics: BatchNorm layers use the statistics of a batch.
    """
    if world.size == 1:
        return []
    own = batch_size // world.size
    lines = [
        f"{world.size} processes: a step's {batch_size} images (schedule.batch_size) are dealt out to them, {own} "
        "each; learning rates are those of the recipe, not multiplied"
    ]
    if batch_statistics:
        lines.append(
            f"BatchNorm normalises by the statistics of each process's own {own} images, where one process would take "
            f"those of {batch_size}: results are not those of one process"
        )
    return lines


def has_idle_parameters(module: "nn.Module", images: "Tensor") -> bool:
    """Tell whether some parameters that are to be trained have no part in the output, as in some networks of timm.

    DistributedDataParallel has to be told, as it waits for the gradient of each. Nothing is changed: the module is
    in evaluation mode meanwhile, so that no statistics move and nothing is drawn at random.

    Args:
        module: maps images to logits.
        images: (B, 3, S, S) float32, any.
    """
    import torch

    modes = {layer: layer.training for layer in module.modules()}
    module.eval()
    wanted = [parameter for parameter in module.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(module(images).sum(), wanted, allow_unused=True)
    for layer, mode in modes.items():
        layer.training = mode
    return any(gradient is None for gradient in found)
