"""Groups of a pack: decoded into memory that is used again, written past the page cache, and read ahead of use."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from packs import await_reading_ahead, can_go_straight, hundred_images, noted_writes, pack_all

from kit.store import arena as arena_module
from kit.store import growing, unfinished
from kit.store.arena import Arena
from kit.store.growing import PAGE
from kit.store.store import StoreSettings
from kit.store.unfinished import group_rows


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return hundred_images(tmp_path / "many")


# The memory that rows are made in.


def test_an_arena_puts_rows_behind_each_other_and_keeps_them_when_it_grows():
    arena = Arena()
    first = arena.image_room(2, 3)
    first[:] = 1
    assert np.shares_memory(arena.keep(first), first)  # it lies where it belongs: nothing is copied
    arena.keep(np.full((5, 3), 2, dtype=np.uint8)[::2])
    assert arena.keep(np.full(1000, 3, dtype=np.uint8)).shape == (1000,)
    assert arena.filled.tolist() == [1] * 18 + [2] * 9 + [3] * 1000
    arena.clear()
    assert arena.filled.size == 0 and arena.keep(np.zeros(4, dtype=np.uint8)).tolist() == [0] * 4


def test_an_arena_gives_back_what_a_huge_image_took():
    arena = Arena()
    arena.keep(arena.room(arena_module.KEPT_BYTES + 1))
    arena.clear()
    assert arena.room(1).base.size < arena_module.KEPT_BYTES


def test_an_arena_begins_on_a_page_and_ends_on_one_when_asked():
    arena = Arena()
    for num_bytes, num_zeros in ((1, PAGE - 1), (PAGE, 0), (3 * 2**20, 0), (PAGE + 1, PAGE - 1)):
        arena.keep(np.full(num_bytes, 7, dtype=np.uint8))
        assert arena.fill_page() == num_zeros
        assert arena.filled.ctypes.data % PAGE == 0 and len(arena.filled) % PAGE == 0
        assert not arena.filled[len(arena.filled) - num_zeros :].any()
    assert arena.fill_page() == 0


# Groups: what is decoded and written at once.


@pytest.mark.parametrize(
    ("layout", "store_size", "rows"),
    [
        ("ragged", 256, 16),  # 4 MiB of images of 256 x 341
        ("ragged", 4000, 1),
        ("ragged", 64, 64),  # no more: few images are to keep many cores busy
        ("square", 256, 21),  # 192 KiB each: whole pages
        ("square", 224, 24),  # 36.75 pages: four of them end on a page
        ("square", 225, 27),  # odd: 4,096 of them would
        ("square", 40, 64),
        ("square", 36, 64),  # 256 of them would
    ],
)
def test_a_group_is_about_four_mebibytes_and_ends_on_a_page_where_it_can(layout, store_size, rows):
    assert group_rows(StoreSettings(store_size=store_size, layout=layout, storage="raw")) == rows


@pytest.mark.parametrize(
    ("layout", "name", "begin", "num_groups"),
    [("ragged", "pixels.u8", 0, 15), ("square", "pixels.npy", PAGE, 25)],  # of 7 and 4 images
)
def test_every_group_of_a_pack_goes_straight_to_the_disk(many, tmp_path, monkeypatch, layout, name, begin, num_groups):
    monkeypatch.setattr(unfinished, "CHUNK_ROWS", 7)
    monkeypatch.setattr(growing, "STRAIGHT_BYTES", 1)
    if not can_go_straight(tmp_path):
        pytest.skip("the file system of temporary folders has no O_DIRECT")
    writes = noted_writes(monkeypatch)
    made = pack_all(many, layout=layout)
    groups = [(at, num_bytes) for way, at, num_bytes in writes if way == "straight" and at >= begin]
    assert len(groups) == num_groups and groups[0][0] == begin
    assert [at for at, _ in groups[1:]] == [sum(group) for group in groups[:-1]]  # nothing lies between
    assert (made.folder / name).stat().st_size == sum(groups[-1])


# Read ahead.


def test_a_pack_is_brought_to_memory_ahead_unless_it_is_large(many, monkeypatch):
    made = pack_all(many)
    size = (made.folder / "pixels.u8").stat().st_size
    sent: dict[threading.Thread, int] = {}
    send = os.sendfile

    def noted(*arguments: int) -> int:
        num_bytes = send(*arguments)
        sent[threading.current_thread()] = sent.get(threading.current_thread(), 0) + num_bytes
        return num_bytes

    def read_ahead(memory: int) -> int:
        before = set(sent)
        made.read_ahead(memory=memory)
        await_reading_ahead()
        return sum(num_bytes for thread, num_bytes in sent.items() if thread not in before)

    monkeypatch.setattr(os, "sendfile", noted)
    assert read_ahead(2 * size) == size
    assert read_ahead(2 * size - 1) == 0
    (made.folder / "pixels.u8").unlink()
    assert read_ahead(2 * size) == 0  # what is wrong is said where an image is asked for


def test_where_no_further_thread_can_be_had_the_pack_is_read_when_asked_for(many, monkeypatch):
    made = pack_all(many)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    made.read_ahead(memory=2**40)
    assert made.image(0).any()
