"""One cycle of a learner: trained in a folder of its own, so that a stopped one is gone on with by the same call."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kit.config import Recipe
from kit.home import family, fingerprint
from kit.learner.cycle import Cycle
from kit.learner.live import Live
from kit.plan import TRAINING_VERSION
from kit.train.course import Course, Stage
from kit.train.loop import fit
from kit.train.model import Network
from kit.train.own import code_fingerprint
from kit.train.stopping import StoppedError
from kit.train.validation import Measure

if TYPE_CHECKING:
    from kit.learner.data import Data

SEEDS_APART = 1_000_003  # between the seeds of two cycles; prime, so that a run's folds do not meet another cycle's


def learners_folder(slug: str) -> Path:
    """Return the folder of what learners on a competition keep; it may not exist yet."""
    return family("learners") / slug


def seed_of(recipe: Recipe, *, model: int, cycle: int) -> int:
    """Return the seed of order, augmentation and dropout in a cycle.

    Args:
        recipe: holds the seed that all come from.
        model: 0 where nothing is held out, else 1 + the fold, as a run numbers its models.
        cycle: from 1; the first has the seed that a run's model has, so that it does the same.
    """
    return (recipe.seed * 1009 + model + (cycle - 1) * SEEDS_APART) % 2**31


def train_cycle(
    network: Network,
    data: "Data",
    *,
    recipe: Recipe,
    cycle: int,
    model: int,
    device: torch.device,
    measures: Mapping[str, Measure],
    live: Live,
) -> Cycle:
    """Train `network` in place for one cycle. However it ends early, the weights are then those of before.

    Args:
        network: the present weights.
        data: training and held-out images.
        recipe: of one stage, from `cycle_recipe`.
        cycle: its number, from 1.
        model: see `seed_of`.
        device: where.
        measures: what to tell of the held-out images.
        live: shows how it goes.

    Raises:
        StoppedError: Ctrl-C; the state is kept, and the same call from the same weights goes on from there.
    """
    seed = seed_of(recipe, model=model, cycle=cycle)
    plan = data.plan
    before = weights_fingerprint(network.module)
    start = fingerprint(
        str(TRAINING_VERSION),
        before,
        plan.samples.fingerprint,
        code_fingerprint(recipe.model),
        repr((seed, str(device), network.weights_origin, data.classes)),
        *data.train["image_id"],
    )
    call = fingerprint(json.dumps({**recipe.as_dict(), "name": ""}, sort_keys=True))
    folder = learners_folder(plan.competition.slug) / "unfinished" / start[:16] / call[:16]
    with weights_kept(network.module), looks_counted(network.module, live.look):
        trained = fit(
            network,
            data.pack,
            data.train,
            data.valid,
            recipe=recipe,
            classes=data.classes,
            several=data.several,
            folder=folder,
            device=device,
            seed=seed,
            tick=live.tick,
            report=live.report,
            say=live.say,
            memory=plan.memory,
            measures=measures,
        )
        if recipe.schedule.average_decay:  # what is kept and scored is the average
            from safetensors.torch import load_file

            network.module.load_state_dict(load_file(folder / "last.safetensors"))
    shutil.rmtree(folder, ignore_errors=True)
    stage: Stage = "head" if recipe.schedule.frozen_epochs else "all"
    return Cycle(
        number=cycle,
        stage=stage,
        recipe=recipe,
        peak_lrs=tuple(peaks_of(recipe, network.module, stage)),
        seed=seed,
        trained=trained,
        before=before,
        after=weights_fingerprint(network.module),
        images=fingerprint(*sorted(data.train["image_id"])),
    )


def peaks_of(recipe: Recipe, module: nn.Module, stage: Stage) -> list[float]:
    """Return the peak learning rate of each depth group of `module`, stem first."""
    from kit.train.depth import depth_groups

    return Course(recipe=recipe, steps_per_epoch=1).peak_lrs_of(stage, num_groups=len(depth_groups(module)))


@contextmanager
def looks_counted(module: nn.Module, add: Callable[[int], object]) -> Iterator[None]:
    """Tell `add` of the images of each batch that `module` sees in evaluation mode."""

    def count(module: nn.Module, images: tuple[Any, ...], logits: Tensor) -> None:
        if not module.training:
            add(len(logits))

    hook = module.register_forward_hook(count)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def weights_kept(module: nn.Module) -> Iterator[None]:
    """Put the weights back to those of now if what is done meanwhile fails or is stopped."""
    before = {name: value.detach().clone() for name, value in module.state_dict().items()}
    try:
        yield
    except BaseException:
        module.load_state_dict(before)
        raise


def weights_fingerprint(module: nn.Module) -> str:
    """Return a SHA-256 of names and values of all tensors of a module's state."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(_bytes_of(value))
    return digest.hexdigest()


def _bytes_of(value: Tensor) -> memoryview:
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def stopped_here(error: StoppedError, call: str) -> StoppedError:
    """Return a stop as a notebook tells it: which call goes on."""
    step = str(error).partition(" in ")[0].partition(". The weights")[0]  # "stopped after step 7 of 40, whose ..."
    step = step.removesuffix("; an earlier state may be")
    return StoppedError(
        f"{step[0].upper()}{step[1:]}. The weights are again those of before the cycle. The same call, {call}, goes on "
        "from where it was stopped; any other begins from these weights.",
        error.exit_code - 128,
    )
