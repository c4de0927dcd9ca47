"""The training loop, in plain sight: two stages, one cycle each, as in fast.ai's first lesson."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from kit.config import Recipe
from kit.data.augment import training_view
from kit.data.loader import load_batches
from kit.data.schema import truth_of
from kit.errors import ConfigError, TrainingError
from kit.metrics import score
from kit.store.pack import Pack
from kit.train.checkpoint import save_checkpoint
from kit.train.inference import mixed_precision, predict_probabilities
from kit.train.loss import training_loss, truth_tensor, weight_tensor
from kit.train.model import Network, depth_groups, head_names, normalise, optimizer_groups
from kit.train.schedule import one_cycle, spread_lr

CHECK_EVERY = 50  # steps between looks at the losses: each look waits for the device


@dataclass(frozen=True, kw_only=True)
class EpochLog:
    """One line of the training table."""

    epoch: int  # over both stages, from 1
    stage: str  # "head" (frozen body) or "all"
    lr: float  # of the head, at the epoch's last step
    train_loss: float  # mean over the epoch's steps, nats
    valid_loss: float | None  # on the held-out fold, nats; None without one
    valid_accuracy: float | None  # of several labels: all of them and no other
    seconds: float
    images_per_second: float  # of training alone


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What training left behind."""

    history: tuple[EpochLog, ...]
    minutes: float
    num_steps: int
    best_epoch: int | None  # lowest validation loss; its weights are `best.safetensors`, for a look, not for scores


Tick = Callable[[int, int, float], None]  # step, steps in all, loss
Report = Callable[[EpochLog], None]


def fit(
    network: Network,
    pack: Pack,
    train: pd.DataFrame,
    valid: pd.DataFrame | None,
    *,
    recipe: Recipe,
    classes: tuple[str, ...],
    several: bool,
    folder: Path,
    device: torch.device,
    seed: int,
    tick: Tick = lambda step, total, loss: None,
    report: Report = lambda log: None,
) -> Trained:
    """Train `network` in place and write `last.safetensors` (and `best.safetensors`) to `folder`.

    Scores are taken from the last checkpoint: choosing the best epoch by a fold's images and then scoring on
    them would flatter the result.

    Args:
        network: from `make_network`.
        pack: holds the images of both tables.
        train: rows with `image_id` and the truth, as kit.data.schema says.
        valid: the held-out fold, looked at after each epoch, or None.
        recipe: schedule, augmentation, sizes.
        classes: in order; column k of the logits is class k.
        several: an image may have any number of labels.
        folder: for the checkpoints.
        device: where to train.
        seed: of order, dropout and augmentation; differs between folds.
        tick: called after each step.
        report: called after each epoch.

    Raises:
        ConfigError: pretrained statistics are to be kept where there are none.
        TrainingError: the loss is not a number any more, and names the step; or batches of one image.
    """
    plan = recipe.schedule
    pretrained = network.weights_origin != "none"
    if plan.norm_statistics == "kept" and not pretrained:
        raise ConfigError(
            "schedule.norm_statistics = 'kept' keeps the statistics that came with pretrained weights, and "
            f"{recipe.model.name} starts from random ones. Use 'batch' or 'auto'."
        )
    keep_statistics = pretrained and plan.norm_statistics != "batch"
    if (
        plan.epochs
        and not keep_statistics
        and min(plan.batch_size, len(train)) == 1
        and _has_batch_norm(network.module)
    ):
        raise TrainingError(
            f"{len(train)} training images in batches of {plan.batch_size}: BatchNorm has no variance of one image. "
            "Train on at least two images, in batches of at least two (--set schedule.batch_size=...)."
        )
    torch.manual_seed(seed)
    if device.type == "cuda" and recipe.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    module = network.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    truth, weights = truth_tensor(train, classes, device), weight_tensor(train, device)
    image_ids = train["image_id"].tolist()
    view = training_view(recipe.augment, image_size=recipe.input.image_size, seed=seed)
    precision, scaler = mixed_precision(device)
    num_used = _images_per_epoch(len(train), plan.batch_size)
    steps_per_epoch = math.ceil(num_used / plan.batch_size)
    total_steps = steps_per_epoch * (plan.frozen_epochs + plan.epochs)
    history: list[EpochLog] = []
    best: tuple[float, int] | None = None
    done, begun = 0, time.perf_counter()

    for stage, num_epochs, peak_lr in (("head", plan.frozen_epochs, plan.frozen_lr), ("all", plan.epochs, plan.lr)):
        if not num_epochs:
            continue
        set_trainable(module, head_only=stage == "head")
        num_groups = len(depth_groups(module))
        peaks = (
            spread_lr(peak_lr, spread=plan.lr_spread, num_groups=num_groups)
            if stage == "all"
            else [peak_lr] * num_groups
        )
        optimizer = torch.optim.AdamW(
            optimizer_groups(module, peak_lrs=peaks, weight_decay=plan.weight_decay), fused=device.type == "cuda"
        )
        stage_steps, stage_total = 0, steps_per_epoch * num_epochs
        for _ in range(num_epochs):
            epoch = len(history) + 1
            started = time.perf_counter()
            set_mode(module, head_only=stage == "head", keep_statistics=keep_statistics)
            order = np.random.default_rng((seed, epoch)).permutation(len(train))[:num_used]
            losses = torch.zeros(steps_per_epoch, device=device)
            batches = load_batches(
                pack, image_ids=image_ids, positions=order, batch_size=plan.batch_size, view=view, epoch=epoch
            )
            for k, batch in enumerate(batches):
                point = one_cycle(stage_steps, stage_total, peak_lr=1.0, warmup_share=plan.warmup_share)
                for group in optimizer.param_groups:
                    group["lr"] = group["peak_lr"] * point.lr
                    group["betas"] = (point.momentum, 0.99)
                images = normalise(torch.from_numpy(batch.images).to(device, non_blocking=True), network.input)
                rows = torch.from_numpy(batch.positions).to(device)
                with precision():
                    logits = _forward(module, images, head_only=stage == "head")  # (B, C)
                    loss = training_loss(
                        logits,
                        truth[rows],
                        weights=None if weights is None else weights[rows],
                        label_smoothing=plan.label_smoothing,
                        several=several,
                    )
                optimizer.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                scaler.step(optimizer)
                scaler.update()
                losses[k] = loss.detach()
                stage_steps, done = stage_steps + 1, done + 1
                if device.type == "cpu" or done % CHECK_EVERY == 0 or k == steps_per_epoch - 1:
                    _check_finite(losses, k, epoch=epoch, folder=folder)
                    tick(done, total_steps, float(losses[k]))
            train_seconds = time.perf_counter() - started
            valid_loss, valid_accuracy = (None, None)
            if valid is not None:
                valid_loss, valid_accuracy = _validate(
                    network, pack, valid, recipe=recipe, classes=classes, several=several, device=device
                )
            log = EpochLog(
                epoch=epoch,
                stage=stage,
                lr=float(optimizer.param_groups[-1]["lr"]),
                train_loss=float(losses.mean()),
                valid_loss=valid_loss,
                valid_accuracy=valid_accuracy,
                seconds=time.perf_counter() - started,
                images_per_second=len(order) / train_seconds,
            )
            history.append(log)
            report(log)
            if valid_loss is not None and (best is None or valid_loss < best[0]):
                best = (valid_loss, epoch)
                _save(network, folder / "best.safetensors", recipe=recipe, classes=classes)
    _save(network, folder / "last.safetensors", recipe=recipe, classes=classes)
    return Trained(
        history=tuple(history),
        minutes=(time.perf_counter() - begun) / 60,
        num_steps=done,
        best_epoch=best[1] if best else None,
    )


def set_trainable(module: nn.Module, *, head_only: bool) -> None:
    """Let gradients reach the classifier only, or every layer."""
    head = set(head_names(module))
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in head or not head_only)


def set_mode(module: nn.Module, *, head_only: bool, keep_statistics: bool = False) -> None:
    """Put the module into training mode; with a frozen body only its classifier and the dropout before it.

    With `keep_statistics`, BatchNorm layers go on normalising by their running statistics.
    """
    module.train(not head_only)
    if keep_statistics:
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()
    if head_only:
        module.training = True  # timm's networks ask this flag, not a layer, whether to drop before the classifier
        module.get_classifier().train()  # type: ignore[operator]
        for name, layer in module.named_modules():
            if isinstance(layer, nn.Dropout) and "head" in name:
                layer.train()


def _forward(module: nn.Module, images: Tensor, *, head_only: bool) -> Tensor:
    """Return logits; a frozen body is run without a graph, which saves its memory and a third of the time."""
    if head_only:
        with torch.no_grad():
            features = module.forward_features(images)  # type: ignore[operator]
        logits: Tensor = module.forward_head(features)  # type: ignore[operator]
    else:
        logits = module(images)
    return logits


def _has_batch_norm(module: nn.Module) -> bool:
    return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in module.modules())


def _images_per_epoch(num_images: int, batch_size: int) -> int:
    """Return how many images an epoch uses: a last batch of one is left out, BatchNorm has no variance of one."""
    last_alone = num_images > batch_size and num_images % batch_size == 1
    return num_images - last_alone


def _check_finite(losses: Tensor, k: int, *, epoch: int, folder: Path) -> None:
    if math.isfinite(float(losses[: k + 1].sum())):
        return
    step = int(torch.nonzero(~torch.isfinite(losses[: k + 1]))[0])
    raise TrainingError(
        f"The loss stopped being a number in epoch {epoch}, step {step + 1}. The learning rate is the usual reason: "
        f"try a third of it (--set schedule.lr=..., schedule.frozen_lr=...). Nothing in {folder} was written over."
    )


def _validate(
    network: Network,
    pack: Pack,
    valid: pd.DataFrame,
    *,
    recipe: Recipe,
    classes: tuple[str, ...],
    several: bool,
    device: torch.device,
) -> tuple[float, float]:
    probabilities = predict_probabilities(
        network,
        pack,
        valid,
        image_size=recipe.input.image_size,
        test_crop=recipe.input.test_crop,
        several=several,
        device=device,
    ).astype(np.float64)
    truth = truth_of(valid, classes)
    if several:
        kept = np.clip(probabilities, 1e-15, 1 - 1e-7)
        loss = -(truth * np.log(kept) + (1 - truth) * np.log(1 - kept)).mean()
        return float(loss), score("exact_match", labels=truth, probabilities=probabilities)
    return (
        score("log_loss", labels=truth, probabilities=probabilities),
        score("accuracy", labels=truth, probabilities=probabilities),
    )


def _save(network: Network, path: Path, *, recipe: Recipe, classes: tuple[str, ...]) -> None:
    save_checkpoint(path, network, config=recipe.model, classes=classes, image_size=recipe.input.image_size)
