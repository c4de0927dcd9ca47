"""The loader: batches of `uint8` images, made while the network works on the batch before.

One thread makes them where that is enough. A third of its time is Python, which the interpreter does not do twice at
once, and of albumentations' transforms it is more. So more hands are processes, forked: nothing is imported or sent to
them anew, and batches come back in anonymous shared memory, which has no name that could outlive us. Whatever the
number of workers, images, order and values are the same. Normalisation is the device's work (`train.model`).
"""

import gc
import math
import mmap
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from kit.data.augment import View
from kit.errors import ConfigError, DataError, KitError
from kit.store.decode import Image
from kit.store.pack import Pack

BATCHES_AHEAD = 2
CHUNK = 16  # images that a worker is handed at once, at least: the handing over takes as long as half an image
VIEWS_AT_ONCE = 64  # at most, that lie beside the batch before they are copied into it
IMAGES_PER_WORKER = 500  # a fork takes about 10 ms, in which one worker makes 40 images
FEW_CORES = 3  # here the network needs them all, and one thread makes images faster than it learns from them


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some images and where they stand in the caller's table."""

    images: NDArray[np.uint8]  # (B, S, S, 3), RGB; the caller's own
    positions: NDArray[np.int64]  # (B,)


def load_batches(
    pack: Pack,
    *,
    image_ids: Sequence[str],
    positions: NDArray[np.int64],
    batch_size: int | Sequence[int],
    view: View,
    epoch: int = 0,
    num_workers: int | None = None,
) -> Iterator[Batch]:
    """Yield the images at `positions`, in that order, as batches.

    An error in a worker comes up here, with the id of its image. Closing the iterator ends all workers.

    Args:
        pack: where the decoded images are.
        image_ids: ids of the caller's table; positions index it.
        positions: (N,) which images, in which order.
        batch_size: images per batch, the last may have fewer; or of each batch, N in all.
        view: makes (S, S, 3) out of each of some stored images.
        epoch: handed to `view`.
        num_workers: processes that make images; 0: a thread of this one. Default: `default_workers`. Where
            processes cannot be forked safely (outside Linux, in a daemon) it is the thread.
    """
    if num_workers is None:
        num_workers = default_workers(len(positions))
    sizes = range(batch_size, len(positions), batch_size) if isinstance(batch_size, int) else np.cumsum(batch_size)[:-1]
    groups = np.split(positions, sizes) if len(positions) else []
    can_fork = sys.platform == "linux" and not multiprocessing.current_process().daemon
    if num_workers and can_fork and groups:
        yield from _by_processes(pack, image_ids, groups, view, epoch, num_workers)
    else:
        yield from _by_thread(pack, image_ids, groups, view, epoch)


def default_workers(num_images: int) -> int:
    """Return how many processes should make `num_images` images: `KIT_WORKERS`, or what cores and images suggest.

    Raises:
        ConfigError: KIT_WORKERS is not a number from 0 to 1024.
    """
    chosen = os.environ.get("KIT_WORKERS", "").strip()
    if chosen:
        if not chosen.isdecimal() or int(chosen) > 1024:
            raise ConfigError(
                f"KIT_WORKERS must be a number of processes from 0 (one thread) to 1024, got {chosen!r}. "
                "Unset, it follows the number of cores."
            )
        return int(chosen)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores - 1, num_images // IMAGES_PER_WORKER) if cores > FEW_CORES else 0


def _wanted(pack: Pack, image_ids: Sequence[str], group: NDArray[np.int64]) -> list[tuple[int, str]]:
    """Return row and id of the images at the positions `group`."""
    return [(pack.row_of[image_ids[position]], image_ids[position]) for position in group]


def _put_views(
    places: NDArray[np.uint8] | None, pack: Pack, wanted: Sequence[tuple[int, str]], view: View, epoch: int
) -> NDArray[np.uint8]:
    """Write the views of images to `places` (B, S, S, 3), which is made if it is None, and return it."""
    for start in range(0, len(wanted), VIEWS_AT_ONCE):
        some = wanted[start : start + VIEWS_AT_ONCE]
        for k, ((_, image_id), seen) in enumerate(zip(some, _seen(pack, some, view, epoch), strict=True), start):
            if places is None:
                places = np.empty((len(wanted), *seen.shape), dtype=np.uint8)
            if seen.shape != places.shape[1:]:  # NumPy would stretch some of these without a word
                raise DataError(
                    f"Image {image_id}: its view is {seen.shape}, that of the first image {places.shape[1:]}."
                )
            places[k] = seen
    assert places is not None  # nobody wants no images
    return places


def _seen(pack: Pack, wanted: Sequence[tuple[int, str]], view: View, epoch: int) -> list[Image]:
    """Return the views of some images; an error gets the id of its image."""
    try:
        return view([pack.image(row) for row, _ in wanted], [image_id for _, image_id in wanted], epoch)
    except Exception as error:
        if len(wanted) > 1:
            for one in wanted:  # a view is a function of its image: the one at fault fails again, alone
                _seen(pack, [one], view, epoch)
            raise
        ((_, image_id),) = wanted
        if isinstance(error, KitError):
            raise type(error)(f"Image {image_id}: {error}") from error
        error.add_note(f"while the view of image {image_id} was made, epoch {epoch}")
        raise


def _by_thread(
    pack: Pack, image_ids: Sequence[str], groups: Sequence[NDArray[np.int64]], view: View, epoch: int
) -> Iterator[Batch]:
    def make(group: NDArray[np.int64]) -> Batch:
        return Batch(images=_put_views(None, pack, _wanted(pack, image_ids, group), view, epoch), positions=group)

    left = iter(groups)
    with ThreadPoolExecutor(1) as pool:
        ahead: list[Future[Batch]] = [pool.submit(make, group) for group in islice(left, BATCHES_AHEAD)]
        try:
            while ahead:
                batch = ahead.pop(0).result()
                if (group := next(left, None)) is not None:
                    ahead.append(pool.submit(make, group))
                yield batch
        finally:
            for waiting in ahead:
                waiting.cancel()


def _by_processes(
    pack: Pack, image_ids: Sequence[str], groups: Sequence[NDArray[np.int64]], view: View, epoch: int, num_workers: int
) -> Iterator[Batch]:
    """Chunks go to the workers in turn, each over a pipe of its own, and come back in a ring of batches."""
    import cv2

    cv2.setNumThreads(0)  # its threads would be missing in a forked process, which waits for them forever
    batch_size = max(map(len, groups))
    chunk = max(CHUNK, math.ceil(batch_size / (2 * num_workers)))
    num_slots = max(BATCHES_AHEAD, math.ceil(2 * num_workers * chunk / batch_size))  # two chunks a worker
    # The first view tells the size, and imports what the workers would otherwise import each for themselves.
    shape = _seen(pack, _wanted(pack, image_ids, groups[0][:1]), view, epoch)[0].shape
    memory = mmap.mmap(-1, num_slots * batch_size * math.prod(shape))
    ring = np.frombuffer(memory, dtype=np.uint8).reshape(num_slots, batch_size, *shape)

    ends: list[Connection] = []
    workers: list[Any] = []
    num_handed = 0

    def hand_out(number: int) -> list[int]:
        """Send the chunks of a batch, and return the workers that answer."""
        nonlocal num_handed
        answering = []
        for start in range(0, len(groups[number]), chunk):
            wanted = _wanted(pack, image_ids, groups[number][start : start + chunk])
            worker = num_handed % num_workers
            num_handed += 1
            try:
                ends[worker].send((number % num_slots, start, wanted))
            except OSError:
                _died(workers[worker])
            answering.append(worker)
        return answering

    try:
        for _ in range(num_workers):
            own, theirs = multiprocessing.Pipe()
            ends.append(own)
            # A worker holds none of our ends of the pipes: when we are gone, however that was, its own pipe ends.
            worker = multiprocessing.get_context("fork").Process(
                target=_work, args=(ring, pack, view, epoch, theirs, list(ends)), daemon=True
            )
            with warnings.catch_warnings():  # Python 3.12 warns of any fork beside threads; ours take no lock of theirs
                warnings.simplefilter("ignore", DeprecationWarning)
                worker.start()
            workers.append(worker)
            theirs.close()
        awaited = [hand_out(number) for number in range(min(num_slots, len(groups)))]
        for number, group in enumerate(groups):
            for worker_number in awaited.pop(0):
                try:
                    error = ends[worker_number].recv()
                except (EOFError, OSError):
                    _died(workers[worker_number])
                if error is not None:
                    raise error
            images = ring[number % num_slots, : len(group)].copy()
            if number + num_slots < len(groups):
                awaited.append(hand_out(number + num_slots))
            yield Batch(images=images, positions=group)
    finally:
        for end in ends:
            end.close()
        for worker in workers:
            worker.kill()  # it holds nothing: no lock, no file, and memory that is ours
        for worker in workers:
            worker.join()
            worker.close()


def _died(worker: Any) -> NoReturn:
    worker.join(5)
    raise DataError(
        f"A process that makes images has died (exit code {worker.exitcode}; -9 is often the system's answer to too "
        "little memory). Set KIT_WORKERS to a smaller number; 0 makes the images in a thread."
    )


def _work(
    ring: NDArray[np.uint8], pack: Pack, view: View, epoch: int, pipe: Connection, not_ours: Sequence[Connection]
) -> None:
    """Fill places of the ring as told, until the pipe ends; answer each task with None or the error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.freeze()  # what we inherited is not ours to collect: some of it may live on a device
    for end in not_ours:
        end.close()
    while True:
        try:
            slot, start, wanted = pipe.recv()
        except (EOFError, OSError):
            return
        answer = None
        try:
            _put_views(ring[slot, start : start + len(wanted)], pack, wanted, view, epoch)
        except Exception as error:
            answer = _sendable(error)
        try:
            pipe.send(answer)
        except OSError:
            return


def _sendable(error: Exception) -> Exception:
    """Return the error with its traceback as a note, or a plain one that says the same where it cannot be sent."""
    if not isinstance(error, KitError):
        error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error
