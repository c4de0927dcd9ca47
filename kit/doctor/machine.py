"""The machine: versions, device, memory, cores, disk, and how long a training step takes."""

import os
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kit.doctor.findings import Finding, Problem
from kit.errors import KitError
from kit.fit.limits import memory_limit, printed
from kit.home import family_sizes, kit_home
from kit.provenance import commit, versions

LEAST_FREE = 2 * 2**30  # bytes of a disk: a pack and some checkpoints
LEAST_MEMORY = 2 * 2**30  # bytes: PyTorch alone takes half a GiB
BUSY = 1.5  # load by core from which timings of this machine say little
NETWORK, PIXELS, IMAGES, STEP_SECONDS = "resnet18", 64, 32, 1.0


def look_at_versions() -> Finding:
    """Return the versions of what a run is made with, and the kit's commit."""
    found = versions()
    for name in ("mlflow", "optuna", "scikit-learn", "kaggle"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    missing = [name for name, number in found.items() if number == "not installed"]
    problem = Problem(
        what=f"{', '.join(missing)} cannot be found among the installed packages.",
        remedy="Install the kit anew with its dependencies: pip install competition-kit, or `make venv` in a checkout.",
        stops=True,
    )
    own = commit()
    words = ", ".join(f"{name} {number}" for name, number in found.items() if name != "platform")
    return Finding(
        topic="versions",
        words=f"{words}; commit {own[:12] if own else 'not known'}",
        facts={**found, "commit": own},
        problems=(problem,) if missing else (),
    )


def look_at_device() -> Finding:
    """Return where networks are trained by default, and which accelerators there are."""
    import torch

    from kit.train.model import choose_device
    from kit.train.models import device_name

    device = str(choose_device("auto"))
    cards = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    problems = []
    if not cards and (shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").is_file()):
        problems.append(
            Problem(
                what="This machine seems to have an NVIDIA card, and PyTorch cannot use it.",
                remedy="Install PyTorch with CUDA (https://pytorch.org/get-started), or mend the driver; "
                "`nvidia-smi` says what the driver sees.",
            )
        )
    name = device_name(device)
    return Finding(
        topic="device",
        words=f"{device}: {name}" + (f", {len(cards)} of them" if len(cards) > 1 else ""),
        facts={"device": device, "name": name, "cards": cards},
        problems=tuple(problems),
    )


def look_at_memory() -> Finding:
    """Return what a training may take of memory, as the trainer itself sees it."""
    import torch

    from kit.train.model import choose_device

    try:
        limit = memory_limit(choose_device("auto"))
    except KitError as error:
        problem = Problem(what=str(error), remedy="Correct KIT_MEMORY, or unset it.", stops=True)
        return Finding(topic="memory", words="not known", facts={"num_bytes": None}, problems=(problem,))
    few = Problem(
        what=f"There are {printed(limit.num_bytes)} of memory for a training.",
        remedy="End what else takes memory; `kit fit MODEL` says which batch fits.",
    )
    total = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None
    return Finding(
        topic="memory",
        words=f"{printed(limit.num_bytes)} for a training ({limit.source})",
        facts={"num_bytes": limit.num_bytes, "source": limit.source, "card_bytes": total},
        problems=(few,) if limit.num_bytes < LEAST_MEMORY else (),
    )


def look_at_cores() -> Finding:
    """Return the cores that this process may use, the threads it will, and how busy they are."""
    import torch

    cores, threads = len(os.sched_getaffinity(0)), torch.get_num_threads()
    load = os.getloadavg()[0]
    problems = []
    if threads > cores:
        problems.append(
            Problem(
                what=f"PyTorch would use {threads} threads on {cores} cores: they wait for each other.",
                remedy=f"Set OMP_NUM_THREADS={cores}, or unset it.",
            )
        )
    if load > BUSY * cores:
        problems.append(
            Problem(
                what=f"The cores are oversubscribed: {load:.1f} processes want {cores} cores.",
                remedy="End what else computes, or wait; until then times and rates say little.",
            )
        )
    noun = "core" if cores == 1 else "cores"
    return Finding(
        topic="cores",
        words=f"{cores} {noun}, {_threads(threads)} of PyTorch, load {load:.2f}",
        facts={"cores": cores, "threads": threads, "load": load},
        problems=tuple(problems),
    )


def look_at_disk() -> Finding:
    """Return where KIT_HOME is, whether it can be written, how much it holds and how much more it could."""
    home = kit_home()
    there = next(place for place in (home, *home.parents) if place.exists())
    problems = []
    try:
        with tempfile.TemporaryFile(dir=there):
            writable = True
    except OSError as error:
        writable = False
        problems.append(
            Problem(
                what=f"Nothing can be written below {there}: {error.strerror or error}.",
                remedy="Set KIT_HOME to a folder of yours on a disk with room.",
                stops=True,
            )
        )
    free = shutil.disk_usage(there if there.is_dir() else there.parent).free
    if free < LEAST_FREE:
        problems.append(
            Problem(
                what=f"The disk of {home} has {printed(free)} left.",
                remedy="`kit cache` shows what the kit keeps and clears it; KIT_HOME moves it to another disk.",
            )
        )
    taken = sum(num_bytes for num_bytes, _ in family_sizes().values()) if home.is_dir() else 0
    return Finding(
        topic="disk",
        words=f"{home}{'' if home.exists() else ' (not there yet)'}: {printed(taken)} taken, {printed(free)} free, "
        f"{'writable' if writable else 'NOT writable'}",
        facts={"home": str(home), "there": home.exists(), "writable": writable, "taken": taken, "free": free},
        problems=tuple(problems),
    )


def time_a_step(device: str = "auto") -> Finding:
    """Return how long a small real step takes: forward, backward and AdamW of a ResNet-18 at 64 pixels."""
    import torch

    from kit.bench import bare_rate
    from kit.config import recipe_from_dict
    from kit.train.model import choose_device, make_network

    schedule = {"batch_size": IMAGES, "frozen_epochs": 0, "epochs": 1}
    recipe = recipe_from_dict(
        {"model": {"name": NETWORK, "weights": "none"}, "input": {"image_size": PIXELS}, "schedule": schedule}
    )
    try:
        rate = bare_rate(
            make_network(recipe.model, num_classes=10, seed=1),
            recipe=recipe,
            stage="all",
            num_classes=10,
            device=choose_device(device),
            seconds=STEP_SECONDS,
        )
    except (KitError, RuntimeError) as error:
        problem = Problem(
            what=f"A training step fails: {next(iter(str(error).splitlines()), type(error).__name__)}.",
            remedy="Training fails here, too. Try another device with --set device=cpu.",
            stops=True,
        )
        return Finding(topic="step", words="failed", facts={"milliseconds": None}, problems=(problem,))
    facts = {
        "network": NETWORK,
        "image_size": PIXELS,
        "batch_size": IMAGES,
        "milliseconds": 1000 * IMAGES / rate,
        "images_per_second": rate,
        "threads": torch.get_num_threads(),
    }
    return Finding(
        topic="step",
        words=f"{facts['milliseconds']:.1f} ms for {IMAGES} images of {PIXELS} px, {rate:,.0f} images/s "
        f"({NETWORK}, {_threads(torch.get_num_threads())})",
        facts=facts,
    )


def _threads(number: int) -> str:
    return "1 thread" if number == 1 else f"{number} threads"
