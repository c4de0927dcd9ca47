"""The loader: the asked images in the asked order, the same by any number of workers, and nothing left behind."""

import mmap
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.config import AugmentConfig
from kit.data.augment import training_view
from kit.data.loader import default_workers, load_batches
from kit.errors import ConfigError, DataError
from kit.store.pack import Pack

IDS = [f"image-{k}" for k in range(7)]
ANY_WORKERS = pytest.mark.parametrize("num_workers", [0, 1, 3])


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


def same(images, image_ids, epoch):
    return images


def each(make):
    """Return the view that makes `make(image, image_id, epoch)` of each image."""
    return lambda images, image_ids, epoch: [
        make(image, image_id, epoch) for image, image_id in zip(images, image_ids, strict=True)
    ]


@ANY_WORKERS
@given(order=st.permutations(range(7)), num_images=st.integers(1, 7), batch_size=st.integers(1, 8))
def test_images_come_in_the_asked_order_and_the_last_batch_may_be_smaller(
    pack, num_workers, order, num_images, batch_size
):
    positions = np.array(order[:num_images])
    batches = list(
        load_batches(
            pack, image_ids=IDS, positions=positions, batch_size=batch_size, view=same, num_workers=num_workers
        )
    )
    assert [len(batch.positions) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert 1 <= len(batches[-1].positions) <= batch_size
    assert np.concatenate([batch.positions for batch in batches]).tolist() == positions.tolist()
    for batch in batches:
        assert batch.images.shape == (len(batch.positions), 8, 8, 3) and batch.images.dtype == np.uint8
        assert batch.images[:, 0, 0, 0].tolist() == batch.positions.tolist()


def test_every_number_of_workers_makes_the_same_random_views():
    pixels = np.random.default_rng(0).integers(0, 256, size=50 * 20 * 24 * 3, dtype=np.uint8)
    ids = [f"image-{k}" for k in range(50)]
    pack = Pack(
        pixels=pixels,
        offsets=np.arange(51) * 20 * 24 * 3,
        shapes=np.tile([20, 24], (50, 1)),
        row_of={image_id: k for k, image_id in enumerate(ids)},
        folder=Path(),
    )

    def epoch_of(epoch, *, num_workers, batch_size):
        view = training_view(AugmentConfig(transforms=({"name": "GaussNoise", "p": 0.5},)), image_size=16, seed=1)
        batches = load_batches(
            pack,
            image_ids=ids,
            positions=np.arange(50),
            batch_size=batch_size,
            view=view,
            epoch=epoch,
            num_workers=num_workers,
        )
        return np.concatenate([batch.images for batch in batches])

    expected = epoch_of(1, num_workers=0, batch_size=7)
    for num_workers, batch_size in ((1, 7), (2, 50), (5, 3)):
        assert np.array_equal(epoch_of(1, num_workers=num_workers, batch_size=batch_size), expected)
    other = epoch_of(2, num_workers=2, batch_size=7)
    assert not any(np.array_equal(other[k], expected[k]) for k in range(50))


@ANY_WORKERS
def test_no_positions_are_no_batches(pack, num_workers):
    empty = np.array([], dtype=np.int64)
    options = {"image_ids": IDS, "batch_size": 2, "view": same, "num_workers": num_workers}
    assert list(load_batches(pack, positions=empty, **options)) == []


@ANY_WORKERS
def test_the_view_is_told_id_and_epoch(pack, num_workers):
    def told(image, image_id, epoch):
        return np.full_like(image, int(image_id.removeprefix("image-")) * 10 + epoch)

    (batch,) = load_batches(
        pack, image_ids=IDS, positions=np.array([3, 1]), batch_size=2, view=each(told), epoch=5, num_workers=num_workers
    )
    assert batch.images[:, 0, 0, 0].tolist() == [35, 15]


@ANY_WORKERS
@pytest.mark.parametrize("kind", [ValueError, ConfigError])
def test_a_fault_in_a_view_reaches_the_caller_as_it_was_with_the_id_of_the_image(pack, num_workers, kind):
    def fail(image, image_id, epoch):
        if image_id == "image-4":
            raise kind("too dark")
        return image

    with pytest.raises(kind) as caught:
        list(
            load_batches(
                pack, image_ids=IDS, positions=np.arange(7), batch_size=2, view=each(fail), num_workers=num_workers
            )
        )
    said = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert "too dark" in said and "image-4" in said
    assert multiprocessing.active_children() == []


def test_a_fault_that_cannot_be_sent_between_processes_is_told_in_words(pack):
    class LocalError(Exception):
        pass

    def fail(image, image_id, epoch):
        if image_id == "image-4":
            raise LocalError("too dark")
        return image

    with pytest.raises(RuntimeError, match=r"too dark[\s\S]*image-4"):
        list(load_batches(pack, image_ids=IDS, positions=np.arange(7), batch_size=2, view=each(fail), num_workers=2))


@ANY_WORKERS
def test_a_view_of_another_size_is_refused_and_not_stretched(pack, num_workers):
    def shrinking(image, image_id, epoch):
        return image[:1, :1] if image_id == "image-4" else image

    with pytest.raises(DataError, match=r"image-4.*\(1, 1, 3\).*\(8, 8, 3\)"):
        list(
            load_batches(
                pack, image_ids=IDS, positions=np.arange(7), batch_size=7, view=each(shrinking), num_workers=num_workers
            )
        )


def test_a_worker_that_dies_is_an_error_and_no_endless_wait(pack):
    here = os.getpid()

    def die(image, image_id, epoch):
        if image_id == "image-4" and os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return image

    with pytest.raises(DataError, match=r"has died.*-9.*KIT_WORKERS"):
        list(load_batches(pack, image_ids=IDS, positions=np.arange(7), batch_size=2, view=each(die), num_workers=2))
    assert multiprocessing.active_children() == []


@ANY_WORKERS
def test_a_caller_that_stops_early_leaves_no_thread_process_file_or_work_behind(pack, num_workers):
    made = mmap.mmap(-1, 2000)  # seen by workers, too

    def note(image, image_id, epoch):
        made[int(image_id)] = 1
        return image

    ids = [str(k) for k in range(2000)]
    many = Pack(
        pixels=pack.pixels,
        offsets=np.zeros(2001, dtype=np.int64) + np.arange(2001) % 2 * 192,
        shapes=pack.shapes[np.zeros(2000, dtype=int)],
        row_of=dict.fromkeys(ids, 0),
        folder=Path(),
    )
    before = threading.active_count(), names(Path("/proc/self/fd"))
    batches = load_batches(
        many, image_ids=ids, positions=np.arange(2000), batch_size=20, view=each(note), num_workers=num_workers
    )
    next(batches)
    next(batches)
    time.sleep(0.1)  # for those who would run ahead of a slow caller
    batches.close()
    assert multiprocessing.active_children() == []
    assert (threading.active_count(), names(Path("/proc/self/fd"))) == before
    # Two batches were taken; what is made ahead is two batches or two chunks of 16 for each worker, whatever N.
    assert 40 <= sum(made[:]) <= 40 + max(2, -(-2 * num_workers * 16 // 20)) * 20
    made.close()


PROGRAM = """
import os, time
from pathlib import Path
import numpy as np
from kit.data.loader import load_batches
from kit.store.pack import Pack

def note(images, image_ids, epoch):
    Path(os.environ["PIDS"], str(os.getpid())).touch()
    return images

pack = Pack(pixels=np.zeros(192, np.uint8), offsets=np.array([0, 192]), shapes=np.full((1, 2), 8), row_of={"a": 0},
            folder=Path())
batches = load_batches(pack, image_ids=["a"] * 900, positions=np.arange(900), batch_size=32, view=note, num_workers=3)
next(batches)
time.sleep(60)
"""


def test_workers_end_when_their_caller_is_killed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", PROGRAM], env={**os.environ, "PIDS": str(tmp_path)}) as program:
        wait_until(lambda: len(names(tmp_path)) == 4)  # three workers; the caller makes the first view
        program.kill()
    pids = [int(name) for name in names(tmp_path)]
    wait_until(lambda: not any(is_running(pid) for pid in pids))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def wait_until(true, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_workers_follow_cores_and_images_unless_the_environment_says_how_many(monkeypatch):
    monkeypatch.delenv("KIT_WORKERS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    assert [default_workers(n) for n in (0, 499, 1200, 1_000_000)] == [0, 0, 2, 15]
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert default_workers(1_000_000) == 0
    monkeypatch.setenv("KIT_WORKERS", "3")
    assert default_workers(1) == 3
    for wrong in ("-1", "many", "1.5", "5000"):
        monkeypatch.setenv("KIT_WORKERS", wrong)
        with pytest.raises(ConfigError, match="KIT_WORKERS"):
            default_workers(1)
