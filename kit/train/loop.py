"""The training loop: two stages, one cycle each, as in fast.ai's first lesson; it can be stopped and gone on with."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from kit.config import Recipe
from kit.errors import StorageError, TrainingError
from kit.fit.limits import Limit, enforce
from kit.home import fingerprint
from kit.progress import Say
from kit.store.pack import Pack
from kit.train.checkpoint import save_checkpoint
from kit.train.course import Course, Stage
from kit.train.engine import Engine
from kit.train.feed import Feed, images_for
from kit.train.history import EpochLog, Report, Tick, Trained
from kit.train.loss import Objective, epoch_order
from kit.train.memory import explained
from kit.train.model import Network, refuse_other_sizes
from kit.train.state import NEWEST, SaveClock, read_state, write_state
from kit.train.stopping import StoppedError, StopRequests
from kit.train.trainable import batch_norms
from kit.train.validation import Look, Measure, loss_and_accuracy
from kit.train.world import SOLO, World

CHECK_EVERY = 50  # steps between looks at the losses: each look waits for the device


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
    say: Say = lambda line: None,
    world: World = SOLO,
    memory: Limit | None = None,
    measures: Mapping[str, Measure] | None = None,
) -> Trained:
    """Train `network` in place and write `last.safetensors` (and `best.safetensors`) to `folder`.

    Every half minute, and when Ctrl-C or SIGTERM ask for the end, the state is written to `folder`; the same call goes
    on from there, and ends with the weights it would have had (on a CPU, bit for bit).

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
        folder: for the checkpoints and the state.
        device: where to train.
        seed: of order, dropout and augmentation; differs between folds.
        tick: called after each step.
        report: called after each epoch.
        say: takes a line on what is not as usual.
        world: the processes that train together; its first one writes.
        memory: what this process may take; one that was asked for is enforced.
        measures: by name; what else each epoch's log is to say of the held-out fold.

    Raises:
        ConfigError: pretrained statistics are to be kept where there are none; batches that cannot be dealt out; images
            of a size that the network does not take.
        TrainingError: the loss is not a number any more, and names the step; batches of one image; too little memory.
        StoppedError: a signal asked for it.
    """
    if memory is not None:
        enforce(memory, device)
    with StopRequests() as requests, explained(device):
        place = folder, device, seed, world, memory
        training = _Training(network, pack, train, valid, recipe, classes, several, *place, measures or {})
        return training.run(requests, tick=tick, report=report if world.is_first else lambda log: None, say=say)


class _Training:
    """One call of `fit`: what was done, and what comes next."""

    def __init__(
        self,
        network: Network,
        pack: Pack,
        train: pd.DataFrame,
        valid: pd.DataFrame | None,
        recipe: Recipe,
        classes: tuple[str, ...],
        several: bool,
        folder: Path,
        device: torch.device,
        seed: int,
        world: World,
        memory: Limit | None,
        measures: Mapping[str, Measure],
    ) -> None:
        refuse_other_sizes(network, recipe.input, name=recipe.model.name)
        self.objective = Objective.of(recipe.loss, several=several, train=train, classes=classes, device=device)
        self.engine = Engine(
            network,
            self.objective,
            recipe=recipe,
            num_classes=len(classes),
            device=device,
            seed=seed,
            world=world,
            memory=memory,
        )
        tables = [table["image_id"].tolist() for table in (train, valid) if table is not None]
        on_device, self.where = images_for(pack, tables, recipe=recipe, device=device)
        self.looked_at = on_device[-1] if valid is not None else None
        self.feed = Feed(
            pack,
            train["image_id"].tolist(),
            recipe=recipe,
            spec=network.input,
            device=device,
            seed=seed,
            world=world,
            on_device=on_device[0],
        )
        self.network, self.pack, self.valid, self.recipe, self.world = network, pack, valid, recipe, world
        self.classes, self.several, self.folder, self.device, self.seed = classes, several, folder, device, seed
        self.num_train, self.measures = len(train), measures
        if (
            recipe.schedule.epochs
            and not self.engine.keeps_statistics
            and min(self.feed.micro_batch, len(train)) == 1
            and batch_norms(network.module)
        ):
            raise TrainingError(
                f"{len(train)} training images in batches of {self.feed.micro_batch}: BatchNorm has no variance of one "
                "image. Train on at least two images, in batches of at least two (--set schedule.batch_size=...)."
            )
        self.per_epoch = self.feed.steps_per_epoch
        self.course = Course(recipe=recipe, steps_per_epoch=self.per_epoch)
        self.losses = torch.zeros(self.course.num_steps, device=device)
        self.history: list[EpochLog] = []
        self.best: tuple[float, int] | None = None
        self.done = self.resumed_at = 0
        self.seconds, self.epoch_seconds = 0.0, 0.0  # of training and looking; of this epoch's steps
        self._clock = SaveClock()
        self._about = fingerprint(
            json.dumps({**recipe.as_dict(), "name": ""}, sort_keys=True),
            repr((seed, classes, several)),
            self.objective.targets.cpu().numpy().tobytes(),
            *train["image_id"],
        )

    # The run.

    def run(self, requests: StopRequests, *, tick: Tick, report: Report, say: Say) -> Trained:
        notes = (*filter(None, [self.where]), *self.objective.notes, *self.engine.describe())
        for note in notes:
            say(note)
        self._go_on(say)
        for epoch in range(len(self.history), self.course.num_epochs):
            if (stage := self.course.stage_of(epoch)) != self.engine.stage:
                self._begin(stage)
            self._train_epoch(epoch, requests, tick=tick, say=say)
            self.engine.agree()
            started = time.perf_counter()
            seen = self._look_at_fold()
            looked = time.perf_counter() - started
            first = epoch * self.per_epoch
            log = EpochLog(
                epoch=epoch + 1,
                stage=stage,
                lr=self.course.head_lr_of(self.done - 1),
                image_size=self.course.image_size_of(epoch),
                train_loss=float(self.world.sum(self.losses[first : self.done]).mean()),
                valid_loss=seen.loss,
                valid_accuracy=seen.accuracy,
                seconds=self.epoch_seconds + looked,
                images_per_second=self.feed.num_images / self.epoch_seconds,
                measures=seen.measures,
            )
            self.history.append(log)
            self.seconds += log.seconds
            self.epoch_seconds = 0.0
            report(log)
            if seen.loss is not None and (self.best is None or seen.loss < self.best[0]):
                self.best = (seen.loss, epoch + 1)
                self._keep("best.safetensors")
            self._stop_or_save(requests, say)  # a signal may have come while the fold was looked at
        self._keep("last.safetensors")
        return Trained(
            history=tuple(self.history),
            losses=self.world.sum(self.losses).cpu().numpy(),
            lrs=np.array([self.course.head_lr_of(step) for step in range(self.course.num_steps)]),
            minutes=self.seconds / 60,
            best_epoch=self.best[1] if self.best else None,
            resumed_at=self.resumed_at,
            notes=(*notes, *self.engine.room.notes),
            micro_batch=self.engine.room.micro_batch or self.feed.micro_batch,
            too_many=self.engine.room.too_many,
        )

    def _begin(self, stage: Stage) -> None:
        self.engine.begin(stage, self.course.peak_lrs_of(stage, num_groups=self.engine.num_groups))

    def _train_epoch(self, epoch: int, requests: StopRequests, *, tick: Tick, say: Say) -> None:
        first, mixes, image_size = epoch * self.per_epoch, self.course.mixes(epoch), self.course.image_size_of(epoch)
        order = epoch_order(self.objective, num_rows=self.num_train, seed=self.seed, epoch=epoch + 1)
        self.engine.train_mode()
        started, before = time.perf_counter(), self.epoch_seconds
        for step in self.feed.steps(order, epoch=epoch + 1, image_size=image_size, skip=self.done - first):
            num_notes = len(self.engine.room.notes)
            point = self.course.point_of(self.done)
            self.losses[self.done] = self.engine.step(step, point, number=self.done, mixes=mixes)
            for note in self.engine.room.notes[num_notes:]:
                say(note)
            self.done += 1
            self.epoch_seconds = before + time.perf_counter() - started
            if self.device.type == "cpu" or self.done % CHECK_EVERY == 0 or self.done == first + self.per_epoch:
                self._check_finite(first)
                tick(self.done, self.course.num_steps, float(self.losses[self.done - 1]))
                self._stop_or_save(requests, say)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.epoch_seconds = before + time.perf_counter() - started

    # The state.

    def _stop_or_save(self, requests: StopRequests, say: Say) -> None:
        """Do what is due: all processes at the same step, so the first one's clock and any one's signal count."""
        told = self.world.gather((self._clock.is_due(), requests.number))
        numbers = [number for _, number in told if number is not None]
        if numbers:
            self._stop(numbers[0], say)
        if told[0][0]:
            self._save(say)

    def _go_on(self, say: Say) -> None:
        """Take up the state of an earlier process, if there is one of the same training."""
        state = read_state(self.folder, say=say)
        if state is None:
            return
        if state.get("about") != self._about:
            say(f"{self.folder / NEWEST} belongs to another training (other recipe, images or seed): it is not used")
            return
        self._begin(state["engine"]["stage"])
        self.engine.restore(state["engine"])
        self.history = [EpochLog(**log) for log in state["history"]]
        self.best = tuple(state["best"]) if state["best"] else None
        self.done = self.resumed_at = state["done"]
        self.seconds, self.epoch_seconds = state["seconds"], state["epoch_seconds"]
        if self.world.is_first:
            self.losses[: self.done] = state["losses"].to(self.device)
        say(f"goes on after step {self.done:,} of {self.course.num_steps:,}")

    def _save(self, say: Say) -> bool:
        """Write the state; a full disk keeps the one before, is said, and stops nothing."""
        self._clock.begin()
        saved = True
        losses = self.world.sum(self.losses[: self.done])
        engine = self.engine.capture()
        # An overflow may come with a step whose loss, of before, was a number.
        good = all(bool(torch.isfinite(one).all()) for one in (losses, *engine["module"].values()))
        if self.world.is_first and good:
            try:
                write_state(
                    self.folder,
                    {
                        "about": self._about,
                        "engine": engine,
                        "history": [asdict(log) for log in self.history],
                        "best": list(self.best) if self.best else None,
                        "done": self.done,
                        "seconds": self.seconds,
                        "epoch_seconds": self.epoch_seconds,
                        "losses": losses.cpu(),
                    },
                )
            except StorageError as error:
                saved = False
                say(f"the state after step {self.done:,} is not kept, the one before is: {error}")
        self._clock.end(saved=saved)
        return bool(self.world.gather(saved)[0])

    def _stop(self, number: int, say: Say) -> None:
        kept = self._save(say)
        raise StoppedError(
            f"stopped after step {self.done:,} of {self.course.num_steps:,}, "
            + ("whose state is kept" if kept else "which could NOT be kept; an earlier state may be")
            + f" in {self.folder}. The same command goes on from there.",
            number,
        )

    def _keep(self, name: str) -> None:
        """Write the weights that count."""
        if self.world.is_first:
            save_checkpoint(
                self.folder / name,
                self.network,
                config=self.recipe.model,
                classes=self.classes,
                image_size=self.recipe.input.image_size,
                activation=self.objective.activation,
                state=self.engine.kept_module.state_dict(),
            )
        self.world.wait()

    def _check_finite(self, first: int) -> None:
        losses = self.world.sum(self.losses[first : self.done])
        if math.isfinite(float(losses.sum())):
            return
        bad = int(torch.nonzero(~torch.isfinite(losses))[0])
        state = self.folder / NEWEST
        kept = f" The last state before it is kept: {state}." if state.is_file() else ""
        raise TrainingError(
            f"The loss stopped being a number in epoch {first // self.per_epoch + 1}, step {bad + 1}. The learning "
            "rate is the usual reason: try a third of it (--set schedule.lr=..., schedule.frozen_lr=...), or "
            f"--set schedule.clip_norm=1. Nothing in {self.folder} was written over.{kept}"
        )

    def _look_at_fold(self) -> Look:
        if self.valid is None:
            return Look()
        return loss_and_accuracy(
            replace(self.network, module=self.engine.kept_module),
            self.pack,
            self.valid,
            recipe=self.recipe,
            classes=self.classes,
            activation=self.objective.activation,
            several=self.several,
            device=self.device,
            world=self.world,
            on_device=self.looked_at,
            measures=self.measures,
        )
