"""The feed: for each optimizer step its images, normalised, on the device, in as many portions as fit at once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kit.config import Recipe
from kit.data.augment import training_view
from kit.data.loader import load_batches
from kit.errors import ConfigError
from kit.fit.limits import total_memory
from kit.store.pack import Pack
from kit.train.device_images import DeviceImages, room_for
from kit.train.model import InputSpec, normalise
from kit.train.world import SOLO, World


@dataclass(frozen=True, kw_only=True)
class Portion:
    """The images that are on the device at once."""

    images: Tensor  # (B, 3, S, S) float32, normalised, channels last
    rows: Tensor  # (B,) int64: where they stand in the training table
    num_counted: int  # the first of them; one after those is there because a process needs two


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one optimizer step learns from."""

    portions: Sequence[Portion]  # of this process
    rows: Tensor  # (G,) int64: of all processes, G <= batch_size


def pieces_of(num_images: int, *, size: int, fewest: int) -> Iterator[tuple[slice | list[int], int]]:
    """Yield the parts of a portion that is too large to be taken at once: an index into it, and how many count.

    Args:
        num_images: of the portion, at least `fewest`.
        size: images of a part, at least `fewest`; the last part may have fewer.
        fewest: a last part of one image gets, where this is 2, the one before it again, which counts nothing.
    """
    for start in range(0, num_images, size):
        num = min(size, num_images - start)
        yield (slice(start, start + num) if num >= fewest else [start, start - 1]), num


class Feed:
    """Steps of training images, in a given order, as one process of a world sees them."""

    def __init__(
        self,
        pack: Pack,
        image_ids: Sequence[str],
        *,
        recipe: Recipe,
        spec: InputSpec,
        device: torch.device,
        seed: int,
        world: World = SOLO,
        on_device: DeviceImages | None = None,
    ) -> None:
        """Take what stays the same over the epochs.

        Args:
            pack: holds the images.
            image_ids: (N,) of the training table.
            recipe: sizes, augmentation, batches.
            spec: mean and deviation that the network wants.
            device: where the images go.
            seed: of the random views.
            world: the batch is dealt out to its processes.
            on_device: the images of `image_ids`, one by one, where they live on the device; else `pack` is read.

        Raises:
            ConfigError: the batch cannot be dealt out in equal parts, or its size is still to be chosen.
        """
        plan = recipe.schedule
        if plan.is_automatic:
            raise ConfigError(
                'schedule.batch_size or micro_batch is "auto", and nothing has chosen a number: `kit.plan.plan_run` '
                "does it for a run, `kit.fit.choose.resolved` for a recipe alone."
            )
        if plan.batch_size % world.size:
            raise ConfigError(
                f"schedule.batch_size = {plan.batch_size} is the batch of all {world.size} processes together, and "
                f"must be a multiple of {world.size}."
            )
        own = plan.batch_size // world.size
        self.micro_batch = plan.micro_batch or own
        if own % self.micro_batch:
            raise ConfigError(
                f"schedule.micro_batch = {plan.micro_batch} must divide the batch of one process, which is {own}: "
                f"schedule.batch_size = {plan.batch_size} over {world.size}."
            )
        self.batch_size = plan.batch_size
        self._pack, self._image_ids, self._recipe, self._spec = pack, list(image_ids), recipe, spec
        self._device, self._seed, self._world, self._on_device = device, seed, world, on_device

    @property
    def num_images(self) -> int:
        """How many images an epoch has: all."""
        return len(self._image_ids)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return math.ceil(self.num_images / self.batch_size)

    def steps(self, order: NDArray[np.int64], *, epoch: int, image_size: int, skip: int = 0) -> Iterator[Step]:
        """Yield the steps of an epoch from number `skip` on, of equal sizes, but for one image.

        A last step with the few images that are left would be worth as much as a whole one to the running statistics
        of BatchNorm: two images of 898 at the end of a training, in batches of 32, cost 8 points of accuracy.

        Args:
            order: (N,) rows of the training table, as `epoch_order` gives them.
            epoch: of the random views.
            image_size: side of the square, pixels.
            skip: steps that were done before an interruption.
        """
        groups = np.array_split(order, self.steps_per_epoch)[skip:]
        if not groups:
            return
        own = [self._padded(self._world.share(group), group) for group in groups]
        parts = [np.array_split(part, math.ceil(len(part) / self.micro_batch)) for part in own]
        portions = self._portions([one for part in parts for one in part], epoch=epoch, image_size=image_size)
        for group, part in zip(groups, parts, strict=True):
            found = [next(portions) for _ in part]
            too_many = sum(map(len, part)) - len(self._world.share(group))
            if too_many:
                found[-1] = replace(found[-1], num_counted=found[-1].num_counted - too_many)
            alone = len(found) == 1 and self._world.size == 1 and not too_many
            rows = found[0].rows if alone else torch.from_numpy(group).to(self._device, non_blocking=True)
            yield Step(portions=found, rows=rows)

    def _padded(self, part: NDArray[np.int64], group: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a process's part of a step, with an image more, or two, where it would have a portion of one, or none.

        BatchNorm has no variance of one image, and every process must take the step. What is added counts nothing.
        """
        if not len(part):
            return np.resize(group, min(2, self.micro_batch))
        smallest = len(part) // math.ceil(len(part) / self.micro_batch)
        return np.append(part, part[-1]) if self.micro_batch > 1 and smallest == 1 else part

    def _portions(self, parts: Sequence[NDArray[np.int64]], *, epoch: int, image_size: int) -> Iterator[Portion]:
        positions, sizes = np.concatenate(parts), [len(part) for part in parts]
        if self._on_device is not None:
            views = self._on_device.views(self._recipe.augment, image_size=image_size, seed=self._seed, epoch=epoch)
            for rows in torch.split(torch.from_numpy(positions).to(self._device), sizes):
                images = normalise(self._on_device.batch(rows, views), self._spec)
                yield Portion(images=images, rows=rows, num_counted=len(rows))
            return
        view = training_view(self._recipe.augment, image_size=image_size, seed=self._seed)
        batches = load_batches(
            self._pack,
            image_ids=self._image_ids,
            positions=positions,
            batch_size=sizes,
            view=view,
            epoch=epoch,
        )
        for batch in batches:
            images = torch.from_numpy(batch.images).to(self._device, non_blocking=True)
            rows = torch.from_numpy(batch.positions).to(self._device, non_blocking=True)
            yield Portion(images=normalise(images, self._spec), rows=rows, num_counted=len(rows))


def images_for(
    pack: Pack, tables: Sequence[Sequence[str]], *, recipe: Recipe, device: torch.device
) -> tuple[list[DeviceImages | None], str]:
    """Return the images of each table on the device, or None for each where the pack is to be read, and why.

    On a CPU nothing is said unless the recipe asks: there the pack is the usual place. Either way the pack is read, and
    so it is read ahead.

    Args:
        pack: holds the images.
        tables: image ids of the training table, and of those that are looked at.
        recipe: `images_on` "device" or "host" decides; "auto" asks for room, and for transforms that only a host makes.
        device: where the network is.
    """
    pack.read_ahead(memory=total_memory())
    if recipe.images_on == "host":
        return [None] * len(tables), "images are read from the pack, as images_on = 'host' wants it"
    if recipe.images_on == "auto":
        if device.type == "cpu":
            return [None] * len(tables), ""
        if recipe.augment.transforms and device.type == "cuda":
            return [None] * len(tables), "images are read from the pack: augment.transforms are made on the host"
        fits, why = room_for(pack, [image_id for table in tables for image_id in table], device)
        if not fits:
            return [None] * len(tables), why
    else:
        why = f"images live on {device}, as images_on = 'device' wants it"
    return [DeviceImages.load(pack, list(table), device) for table in tables], why
