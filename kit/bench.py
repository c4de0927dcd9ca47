"""How fast a recipe is on this machine: its input, its steps beside the bare network's, its evaluation, the whole.

The bare network's rate is the device's own ceiling: the same module takes the same kind of step, in the same process,
on one batch of made-up images that lies on the device already. What a whole step has beyond it (images to make, to
move and to normalise, losses to look at) is what its share of the ceiling tells.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from kit.config import Recipe
from kit.data.augment import training_view
from kit.data.folds import held_out_rows, training_rows
from kit.data.loader import load_batches
from kit.errors import ConfigError
from kit.plan import RunPlan, pack_for
from kit.progress import Say
from kit.provenance import versions
from kit.store.pack import Pack
from kit.train.course import Stage
from kit.train.inference import mixed_precision, predict_probabilities
from kit.train.loop import fit
from kit.train.loss import activation_of
from kit.train.model import Network, choose_device, make_network
from kit.train.models import FULL, device_name
from kit.train.trainable import set_mode, set_trainable

WARM_STEPS = 4  # whole steps before anything is timed: memory is had, kernels are chosen and compiled
ROUNDS = 3  # of whole steps and the bare network, by turns: what else the machine does meets both
STAGE_NAMES = {"head": "head on a frozen body", "all": "every layer"}
VIEWS = {"single": 1, "mirror": 2, "lesson": 5, "dihedral": 8}  # forward passes of an image that is predicted


@dataclass(frozen=True, kw_only=True)
class StageRate:
    """How fast one stage of a recipe is."""

    stage: Stage
    images_per_second: float  # whole steps, as `kit train` takes them
    ceiling: float  # images per second of the bare network

    @property
    def share(self) -> float:
        """The part of the ceiling that whole steps reach; noise may lift it above 1."""
        return self.images_per_second / self.ceiling


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """What a recipe's rates are on this machine."""

    competition: str
    recipe: str
    network: str
    image_size: int  # pixels
    batch_size: int  # images per step
    device: str
    num_threads: int
    input_rate: float  # images per second that the loader makes when nothing waits for it
    stages: tuple[StageRate, ...]  # those that the recipe has
    evaluation_rate: float  # images per second, one view each
    training_minutes: float  # predicted, of all models of the run
    prediction_minutes: float  # predicted, likewise
    num_models: int

    def as_dict(self) -> dict[str, Any]:
        """Return the report as nested plain values, with the shares and the versions of what was measured."""
        found = asdict(self)
        for stage, rate in zip(found["stages"], self.stages, strict=True):
            stage["share"] = rate.share
        return {**found, "versions": versions()}


def measure(plan: RunPlan, *, seconds: float = 5.0, say: Say = print) -> BenchReport:
    """Measure the recipe of a plan on this machine; nothing is kept.

    Args:
        plan: the run whose images, network and schedule are measured.
        seconds: of each of the measurements, about; there are two, and three more per stage.
        say: takes a line before each.

    Raises:
        ConfigError: no time to measure in.
    """
    if not seconds > 0:
        raise ConfigError(f"--seconds must be a number above 0, got {seconds}. 5 is usual.")
    recipe, device = plan.recipe, choose_device(plan.recipe.device)
    pack = pack_for(plan, say=say)
    say("input: the loader alone")
    input_rate = _input_rate(pack, plan.train, recipe=recipe, seconds=seconds)
    stages = stage_rates(
        pack,
        plan.train,
        recipe=recipe,
        classes=plan.samples.classes,
        several=plan.several_labels,
        device=device,
        seconds=seconds,
        say=say,
    )
    say("evaluation")
    table = plan.train if plan.samples.test.empty else plan.samples.test
    evaluation_rate = _evaluation_rate(plan, pack, table, device=device, seconds=seconds)
    training, prediction = predicted_minutes(
        plan, stages={rate.stage: rate.images_per_second for rate in stages}, evaluation_rate=evaluation_rate
    )
    return BenchReport(
        competition=plan.competition.slug,
        recipe=recipe.name,
        network=recipe.model.name,
        image_size=recipe.input.image_size,
        batch_size=recipe.schedule.batch_size,
        device=device_name(str(device)),
        num_threads=torch.get_num_threads(),
        input_rate=input_rate,
        stages=stages,
        evaluation_rate=evaluation_rate,
        training_minutes=training,
        prediction_minutes=prediction,
        num_models=len(plan.models),
    )


def stage_rates(
    pack: Pack,
    train: pd.DataFrame,
    *,
    recipe: Recipe,
    classes: tuple[str, ...],
    several: bool,
    device: torch.device,
    seconds: float,
    say: Say,
) -> tuple[StageRate, ...]:
    """Measure whole steps and the bare network's, by turns, for each stage that the recipe has.

    Args:
        pack: holds the images.
        train: rows with `image_id` and the truth.
        recipe: how; images have their final size from the first epoch on.
        classes: in order.
        several: an image may have any number of labels.
        device: where.
        seconds: of each measurement, about.
        say: takes a line before each.
    """
    plan = recipe.schedule
    found = []
    for stage in _stages_of(recipe):
        network = make_network(recipe.model, num_classes=len(classes), seed=recipe.seed)

        def whole(*, num_images: int, num_epochs: int, stage: Stage = stage, network: Network = network) -> float:
            """Return images per second of the training loop itself, without its first epoch."""
            frozen, every = (num_epochs, 0) if stage == "head" else (0, num_epochs)
            short = replace(
                recipe,
                schedule=replace(plan, frozen_epochs=frozen, epochs=every),
                input=replace(recipe.input, start_size=0),
            )
            with tempfile.TemporaryDirectory() as folder:
                trained = fit(
                    network,
                    pack,
                    train.head(num_images),
                    None,
                    recipe=short,
                    classes=classes,
                    several=several,
                    folder=Path(folder),
                    device=device,
                    seed=recipe.seed,
                )
            return statistics.harmonic_mean([log.images_per_second for log in trained.history[1:]])

        say(f"{STAGE_NAMES[stage]}: whole steps, and the bare network's")
        most = len(train)
        rough = whole(num_images=min(most, WARM_STEPS * plan.batch_size), num_epochs=2)
        num_images = min(most, max(2, int(rough * seconds / ROUNDS) // plan.batch_size) * plan.batch_size)
        num_epochs = 1 + max(1, round(rough * seconds / ROUNDS / num_images))
        ceilings, rates = [], []
        options: dict[str, Any] = {"recipe": recipe, "stage": stage, "num_classes": len(classes), "device": device}
        for _ in range(ROUNDS):
            ceilings.append(bare_rate(network, seconds=seconds / ROUNDS, **options))
            rates.append(whole(num_images=num_images, num_epochs=num_epochs))
        median = statistics.median
        found.append(StageRate(stage=stage, images_per_second=median(rates), ceiling=median(ceilings)))
    return tuple(found)


def _stages_of(recipe: Recipe) -> list[Stage]:
    """Return the stages that a recipe has."""
    head: list[Stage] = ["head"] if recipe.schedule.frozen_epochs else []
    every: list[Stage] = ["all"] if recipe.schedule.epochs else []
    return head + every


def bare_rate(
    network: Network, *, recipe: Recipe, stage: Stage, num_classes: int, device: torch.device, seconds: float
) -> float:
    """Return images per second of the bare network: forward, backward and AdamW on one batch that is there already.

    Args:
        network: its weights are changed.
        recipe: batch, image size, compilation, what is frozen.
        stage: "head" or "all".
        num_classes: logits of the network.
        device: where.
        seconds: how long, about.
    """
    plan, size = recipe.schedule, recipe.input.image_size
    head_only = stage == "head"
    norms = head_only and plan.frozen_norms == "trained"
    keeps = network.weights_origin != "none" and plan.norm_statistics != "batch" and not norms
    module = network.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    set_trainable(module, head_only=head_only, norms=norms)
    set_mode(module, head_only=head_only, norms=norms, keep_statistics=keeps)
    num_images = plan.micro_batch or plan.batch_size
    images = torch.randn(num_images, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    targets = torch.arange(num_images, device=device) % num_classes
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-6, fused=True)
    precision, scaler = mixed_precision(device)
    forward = _forward_of(module, graph_in_body=not head_only or norms)
    if recipe.compile != "none":
        forward = torch.compile(forward, mode=recipe.compile)

    def step() -> None:
        with precision():
            loss = nn.functional.cross_entropy(forward(images), targets)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()

    for _ in range(WARM_STEPS):
        step()
    _wait_for(device)
    done, begun = 0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < seconds or not done:
        for _ in range(WARM_STEPS):
            step()
        _wait_for(device)
        done += WARM_STEPS * num_images
    return done / spent


def _forward_of(module: nn.Module, *, graph_in_body: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what makes logits; a frozen body that comes in parts is run without a graph."""
    if graph_in_body or not hasattr(module, "forward_features"):
        return module

    def forward(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            features = module.forward_features(images)  # type: ignore[operator]
        logits: torch.Tensor = module.forward_head(features)  # type: ignore[operator]
        return logits

    return forward


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _input_rate(pack: Pack, train: pd.DataFrame, *, recipe: Recipe, seconds: float) -> float:
    """Return images per second of the loader on the host, after a first batch that imports and forks."""
    view = training_view(recipe.augment, image_size=recipe.input.image_size, seed=recipe.seed)
    image_ids = train["image_id"].tolist()
    done, epoch, begun = 0, 0, 0.0
    while True:
        order = np.random.default_rng(epoch).permutation(len(train))
        batches = load_batches(
            pack,
            image_ids=image_ids,
            positions=order,
            batch_size=recipe.schedule.batch_size,
            view=view,
            epoch=epoch,
        )
        for batch in batches:
            if not begun:
                begun = time.perf_counter()
                continue
            done += len(batch.images)
            if (spent := time.perf_counter() - begun) >= seconds:
                batches.close()  # type: ignore[attr-defined]
                return done / spent
        epoch += 1


def _evaluation_rate(plan: RunPlan, pack: Pack, table: pd.DataFrame, *, device: torch.device, seconds: float) -> float:
    """Return images per second of prediction, one view each; the number of images grows until it takes a while."""
    recipe, classes = plan.recipe, plan.samples.classes
    network = make_network(recipe.model, num_classes=len(classes), seed=recipe.seed)
    num_images, last = min(len(table), 2 * recipe.schedule.batch_size), False
    while True:
        begun = time.perf_counter()
        predict_probabilities(
            network,
            pack,
            table.head(num_images),
            image_size=recipe.input.image_size,
            test_crop=recipe.input.test_crop,
            activation=activation_of(recipe.loss, several=plan.several_labels),
            device=device,
        )
        spent = time.perf_counter() - begun
        if last:
            return num_images / spent
        # Another number of images may be in other batches, for which kernels are chosen: the last number goes twice.
        last = spent >= seconds / 3 or num_images == len(table)
        num_images = num_images if last else min(len(table), 4 * num_images)


def predicted_minutes(plan: RunPlan, *, stages: dict[Stage, float], evaluation_rate: float) -> tuple[float, float]:
    """Return the minutes that training and prediction of a whole run would take at these rates.

    Args:
        plan: its models, their images and epochs.
        stages: images per second of the stages that the recipe has.
        evaluation_rate: images per second of one view.
    """
    schedule = plan.recipe.schedule
    epochs: dict[Stage, int] = {"head": schedule.frozen_epochs, "all": schedule.epochs}
    training = prediction = 0.0
    for name in plan.models:
        held_out = 0
        if name == FULL:
            num_train = len(plan.train)
        else:
            fold = int(name.removeprefix("fold-"))
            num_train = len(training_rows(plan.train, fold, rule=plan.competition.folds))
            held_out = len(held_out_rows(plan.train, fold))
        training += sum(num_train * epochs[stage] / rate for stage, rate in stages.items())
        training += held_out * sum(epochs.values()) / evaluation_rate
        prediction += (held_out + len(plan.samples.test)) * VIEWS[plan.recipe.input.test_views] / evaluation_rate
    return training / 60, prediction / 60
