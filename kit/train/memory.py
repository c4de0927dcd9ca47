"""Memory: what a CPU's activations leave is kept between steps; what it is to have none left, and how it is freed."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from kit.errors import NoMemoryError
from kit.fit.limits import Limit, printed

# mallopt's parameters, from glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_MMAP_MAX = -4
LARGEST = 2**31 - 1  # bytes at the top of the heap that are not handed back; an int
LARGE = 2**17  # bytes from which on a block is taken apart from the heap, in first steps: glibc's own beginning
MAPS = 2**16  # blocks apart from the heap, at most: glibc's own

# Libraries say by the words of a RuntimeError that there was no memory: PyTorch's allocators of a CPU and of MPS, the
# standard library's, cuDNN's, cuBLAS's, and CUDA's where it was not PyTorch's allocator that asked.
SAID = ("allocate memory", "not enough memory", "out of memory", "bad_alloc", "_status_alloc_failed")


class OverLimitError(MemoryError):
    """This process has more memory resident than it was allowed."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that there was no memory, on whatever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in SAID)


WAYS_OUT = (
    "smaller images (--set input.image_size=...), a smaller network (--set model.name=...), or another device (--set "
    "device=cpu); end what else uses this one. `kit fit` tells beforehand what a network takes."
)


@contextmanager
def explained(device: torch.device) -> Iterator[None]:
    """Turn an error that says that there is no memory, where nothing smaller can be tried, into a `NoMemoryError`."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise NoMemoryError(
            f"{device} has no memory for this training, even without the activations of a step ({_first_line(error)}). "
            f"The ways out: {WAYS_OUT}"
        ) from error


def fewer_images(now: int, *, fewest: int, num_processes: int, device: torch.device, limit: Limit | None) -> int:
    """Return how many images to take at once where `now` were too many: half of them.

    Args:
        now: images.
        fewest: that may be taken at once.
        num_processes: that train together.
        device: which ran out of memory.
        limit: that was passed, if it was one that was asked for.

    Raises:
        NoMemoryError: `now` are the fewest; or several processes would have to agree.
    """
    where = f"{device} has no memory" if limit is None else f"{printed(limit.num_bytes)} ({limit.source}) is no memory"
    if num_processes > 1:
        raise NoMemoryError(
            f"{where} for {now} images at once in each of {num_processes} processes, which cannot take fewer in the "
            f"middle of a training: set schedule.micro_batch to {max(fewest, now // 2)} or less, a divisor of each "
            "process's part of schedule.batch_size."
        )
    if now <= fewest:
        why = ", the fewest of which BatchNorm has a variance" if fewest > 1 else ""
        more = "" if limit is None else "more memory (--memory), "
        raise NoMemoryError(f"{where} for a step with {now} images at once{why}. The ways out: {more}{WAYS_OUT}")
    return max(fewest, now // 2)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def take_large_blocks_apart() -> None:
    """Let the C library take large blocks from the system, each by itself, until `keep_freed_memory` is called.

    That is for the first step of a stage: what kernels make in it and keep for good, small blocks, would else come to
    lie between activations, where it splits the heap in gaps that fit the next step's activations or do not, by chance.
    A frozen ConvNeXt-Tiny (320 px, batches of 8) took 463 to 632 MiB in some processes, and 393 to 431 since. Other C
    libraries and systems are left alone.
    """
    mallopt = _of_c_library("mallopt")
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
        mallopt(M_MMAP_MAX, MAPS)


def keep_freed_memory() -> None:
    """Let the C library keep what is freed from now on.

    glibc asks the system for each block of more than 32 MiB, and gives it back when it is freed. A network frees its
    activations in every step, and gets them anew as pages that the system has to clear first: 40 % of the time of a
    frozen EfficientNet-Lite0 (128 px, batches of 64, two cores) and 20 % of the unfrozen one went into that. Other C
    libraries and systems are left alone. The process does not grow by it beyond its own peak, but for gaps.
    """
    mallopt = _of_c_library("mallopt")
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, LARGEST)


def give_freed_memory_back(device: torch.device) -> None:
    """Give what is free back to the system, or to the other users of a GPU."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "cpu" and (trim := _of_c_library("malloc_trim")) is not None:
        trim(0)


def _of_c_library(name: str) -> Any:
    """Return a function of glibc, or None where there is another library."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
