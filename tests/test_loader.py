"""The loader: the asked images in the asked order, a little ahead, and no thread left behind."""

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.data.loader import load_batches
from kit.data.pack import Pack

IDS = [f"image-{k}" for k in range(7)]


@pytest.fixture(scope="module")
def pack() -> Pack:
    """Return a pack in memory: image k is 8 x 8 pixels of value k, and lies in row 6 - k."""
    return Pack(
        pixels=np.concatenate([np.full(192, 6 - row, dtype=np.uint8) for row in range(7)]),
        offsets=np.arange(8) * 192,
        shapes=np.full((7, 2), 8),
        row_of={image_id: 6 - k for k, image_id in enumerate(IDS)},
        folder=Path(),
    )


def same(image, image_id, epoch):
    return image


@given(order=st.permutations(range(7)), num_images=st.integers(1, 7), batch_size=st.integers(1, 8))
def test_images_come_in_the_asked_order_and_the_last_batch_may_be_smaller(pack, order, num_images, batch_size):
    positions = np.array(order[:num_images])
    batches = list(load_batches(pack, image_ids=IDS, positions=positions, batch_size=batch_size, view=same))
    assert [len(batch.positions) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert 1 <= len(batches[-1].positions) <= batch_size
    assert np.concatenate([batch.positions for batch in batches]).tolist() == positions.tolist()
    for batch in batches:
        assert batch.images.shape == (len(batch.positions), 8, 8, 3) and batch.images.dtype == np.uint8
        assert batch.images[:, 0, 0, 0].tolist() == batch.positions.tolist()


def test_no_positions_are_no_batches(pack):
    empty = np.array([], dtype=np.int64)
    assert list(load_batches(pack, image_ids=IDS, positions=empty, batch_size=2, view=same)) == []


def test_the_view_is_told_id_and_epoch(pack):
    seen = []

    def note(image, image_id, epoch):
        seen.append((image_id, epoch))
        return image

    list(load_batches(pack, image_ids=IDS, positions=np.array([3, 1]), batch_size=2, view=note, epoch=5))
    assert seen == [("image-3", 5), ("image-1", 5)]


def test_a_fault_in_a_view_reaches_the_caller(pack):
    def fail(image, image_id, epoch):
        raise ValueError(image_id)

    with pytest.raises(ValueError, match="image-0"):
        list(load_batches(pack, image_ids=IDS, positions=np.arange(7), batch_size=1, view=fail))


def test_a_caller_that_stops_early_leaves_no_thread_and_no_work_behind(pack):
    made = []

    def note(image, image_id, epoch):
        made.append(image_id)
        return image

    before = threading.active_count()
    batches = load_batches(pack, image_ids=IDS, positions=np.arange(7), batch_size=1, view=note)
    next(batches)
    batches.close()
    assert threading.active_count() == before
    assert len(made) <= 3  # the one that was taken, and two ahead
