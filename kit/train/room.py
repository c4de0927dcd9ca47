"""Room for images: how many a step takes at once where memory runs out, and what the first step of a stage leaves."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from kit.fit.limits import Limit, printed, resident_bytes
from kit.train.feed import Portion, Step, pieces_of
from kit.train.memory import (
    OverLimitError,
    fewer_images,
    give_freed_memory_back,
    keep_freed_memory,
    take_large_blocks_apart,
)
from kit.train.trainable import batch_norms


class Room:
    """The memory that the steps of an engine have, and the images that fit into it."""

    def __init__(self, *, device: torch.device, num_processes: int, memory: Limit | None) -> None:
        """Take whole portions at once; `begin` comes next.

        Args:
            device: where.
            num_processes: that train together.
            memory: what this process may take; on a CPU one that was asked for is looked at after each portion.
        """
        self.micro_batch: int | None = None  # images at once, once memory has run out; until then whole portions
        self.too_many: int | None = None  # images at once for which there was no memory
        self.notes: tuple[str, ...] = ()  # lines for the log: when that was
        self.limit = memory if memory is not None and memory.asked and device.type == "cpu" else None
        self._device, self._num_processes = device, num_processes
        self._module: nn.Module
        self._is_first: bool  # the next step is the first of a stage, on a CPU

    def begin(self, module: nn.Module) -> None:
        """Begin a stage, in which the layers of `module` are trained."""
        self._module = module
        self._is_first = self._device.type == "cpu"
        if self._is_first:
            take_large_blocks_apart()
            give_freed_memory_back(self._device)  # gaps that the making of the network has left

    def end_step(self) -> None:
        """Keep from now on what steps free, once the first of a stage is taken."""
        if self._is_first:
            self._is_first = False
            keep_freed_memory()
            give_freed_memory_back(self._device)

    def tidy(self) -> None:
        """Give back what an evaluation has freed: under a limit it is no part of the next step."""
        if self.limit is not None:
            give_freed_memory_back(self._device)

    def look_at_limit(self) -> None:
        """Raise an `OverLimitError` if more is resident than was allowed."""
        if self.limit is not None and resident_bytes() > self.limit.num_bytes:
            raise OverLimitError

    def pieces(self, portion: Portion) -> Iterator[tuple[Any, int]]:
        """Yield what of a portion is taken at once: an index into its images, and how many of them count."""
        num_images = len(portion.rows)
        if self.micro_batch is None or num_images <= self.micro_batch:
            yield slice(None), portion.num_counted
        else:
            yield from pieces_of(num_images, size=max(self.micro_batch, self._fewest), fewest=self._fewest)

    @property
    def _fewest(self) -> int:
        """The fewest images that may be taken at once: BatchNorm that learns has no variance of one."""
        return 2 if any(layer.training for layer in batch_norms(self._module)) else 1

    def take_fewer(self, step: Step, *, number: int, passed: Limit | None) -> None:
        """Take fewer images at once from now on, and note it; `passed` is the limit if it was that."""
        fewest, most = self._fewest, max(len(portion.rows) for portion in step.portions)
        now = most if self.micro_batch is None else min(most, max(self.micro_batch, fewest))
        self.micro_batch = fewer_images(
            now, fewest=fewest, num_processes=self._num_processes, device=self._device, limit=passed
        )
        self.too_many = now
        where = f"{self._device} ran out of memory" if passed is None else f"memory passed {printed(passed.num_bytes)}"
        self.notes += (
            f"step {number + 1}: {where} with {now} images at once, so the step was taken again, and training goes on, "
            f"with {self.micro_batch}: batches and learning rates stay as they are"
            + (f", but BatchNorm now sees {self.micro_batch} images instead of {now}" if fewest > 1 else ""),
        )

    def capture(self) -> dict[str, Any]:
        """Return the images at once, and what was said of them, as plain values."""
        return {"micro_batch": self.micro_batch, "too_many": self.too_many, "notes": list(self.notes)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `capture` returned; several processes have smaller parts, and would have to agree."""
        if self._num_processes == 1:
            self.micro_batch, self.too_many = state["micro_batch"], state["too_many"]
            self.notes = tuple(state["notes"])
