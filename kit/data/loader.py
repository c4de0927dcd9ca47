"""The loader: batches of `uint8` images, made by threads while the network works on the batch before.

Threads, not processes: OpenCV lets go of the interpreter while it works, a pack needs no decoding, and
nothing has to be imported or copied again. Normalisation is the device's work (`train.model`).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from kit.data.augment import View
from kit.data.pack import Pack

BATCHES_AHEAD = 2


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some images and where they stand in the caller's table."""

    images: NDArray[np.uint8]  # (B, S, S, 3), RGB
    positions: NDArray[np.int64]  # (B,)


def load_batches(
    pack: Pack, *, image_ids: Sequence[str], positions: NDArray[np.int64], batch_size: int, view: View, epoch: int = 0
) -> Iterator[Batch]:
    """Yield the images at `positions`, in that order, as batches of `batch_size` (the last one may be smaller).

    Args:
        pack: where the decoded images are.
        image_ids: ids of the caller's table; positions index it.
        positions: (N,) which images, in which order.
        batch_size: images per batch.
        view: makes (S, S, 3) out of a stored image.
        epoch: handed to `view`.
    """

    def make(batch: NDArray[np.int64]) -> Batch:
        views = []
        for position in batch:
            image_id = image_ids[position]
            views.append(view(pack.image(pack.row_of[image_id]), image_id, epoch))
        return Batch(images=np.stack(views), positions=batch)

    groups = (positions[start : start + batch_size] for start in range(0, len(positions), batch_size))
    # One thread: an albumentations pipeline carries its generator, and must not be shared by two.
    with ThreadPoolExecutor(1) as pool:
        ahead: list[Future[Batch]] = [pool.submit(make, group) for group in islice(groups, BATCHES_AHEAD)]
        try:
            while ahead:
                batch = ahead.pop(0).result()
                if (group := next(groups, None)) is not None:
                    ahead.append(pool.submit(make, group))
                yield batch
        finally:
            for waiting in ahead:
                waiting.cancel()
