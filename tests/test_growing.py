"""The growing file: whichever way its pieces go to the disk, its bytes are the pieces one behind the other."""

import errno
import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packs import can_go_straight, noted_writes, small_disk

from kit.store import growing
from kit.store.arena import Arena
from kit.store.growing import PAGE, RESERVED_BYTES, STRAIGHT_BYTES, GrowingFile, reserve


def piece(num_bytes: int, *, seed: int = 0) -> np.ndarray:
    """Return random bytes that begin on a page."""
    return Arena().keep(np.random.default_rng(seed).integers(0, 256, num_bytes, dtype=np.uint8))


def test_whole_pages_go_straight_and_all_else_by_way_of_the_page_cache(tmp_path, monkeypatch):
    if not can_go_straight(tmp_path):
        pytest.skip("the file system of temporary folders has no O_DIRECT")
    pieces = [
        piece(STRAIGHT_BYTES),
        piece(STRAIGHT_BYTES - PAGE),  # small
        piece(STRAIGHT_BYTES + 1),  # not whole pages
        piece(STRAIGHT_BYTES),  # not at the begin of a page
        piece(PAGE - 1),
        piece(STRAIGHT_BYTES + 1)[1:],  # not from the begin of a page of memory
        piece(2 * STRAIGHT_BYTES),
    ]
    writes = noted_writes(monkeypatch)
    with GrowingFile(tmp_path / "file") as file:
        for one in pieces:
            file.append(one)
    assert [way for way, _, _ in writes] == ["straight", "cached", "cached", "cached", "cached", "cached", "straight"]
    assert (tmp_path / "file").read_bytes() == b"".join(one.tobytes() for one in pieces)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0, 0, 0, 1, 4095]), st.sampled_from([0, 0, 1])), max_size=8),
    st.data(),
)
def test_a_file_is_what_was_appended_up_to_where_it_was_cut(tmp_path_factory, pieces, data):
    path = tmp_path_factory.mktemp("growing") / "file"
    expected = b""
    with pytest.MonkeyPatch.context() as patch, GrowingFile(path) as file:
        patch.setattr(growing, "STRAIGHT_BYTES", 1)
        patch.setattr(growing, "RESERVED_BYTES", 3 * PAGE)
        for seed, (num_pages, more, skipped) in enumerate(pieces):
            one = piece(num_pages * PAGE + more + skipped, seed=seed)[skipped:]
            file.append(one)
            expected += one.tobytes()
            assert file.size == len(expected)
            if data.draw(st.booleans()):
                at = data.draw(st.integers(0, len(expected)))
                file.cut(at)
                expected = expected[:at]
            at = data.draw(st.integers(0, len(expected)))
            assert file.read(99, at)[: len(expected) - at] == expected[at : at + 99]
        file.sync()
    assert path.read_bytes() == expected


def test_a_file_that_is_there_goes_on_at_its_end(tmp_path):
    (tmp_path / "file").write_bytes(b"before ")
    with GrowingFile(tmp_path / "file") as file:
        file.append(np.frombuffer(b"and after", dtype=np.uint8))
    assert (tmp_path / "file").read_bytes() == b"before and after"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_only_pretends_to_go_straight_gets_all_by_way_of_the_page_cache(
    tmp_path, monkeypatch, number
):
    write, refused = os.pwrite, []

    def refuse(file: int, data: memoryview, at: int) -> int:
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT:
            refused.append(at)
            raise OSError(number, "blocks of 64 KiB")
        return write(file, data, at)

    if not can_go_straight(tmp_path):
        pytest.skip("the file system of temporary folders has no O_DIRECT")
    monkeypatch.setattr(os, "pwrite", refuse)
    with GrowingFile(tmp_path / "file") as file:
        for _ in range(3):
            file.append(piece(STRAIGHT_BYTES))
    assert refused == [0]  # it is asked once
    assert (tmp_path / "file").read_bytes() == piece(STRAIGHT_BYTES).tobytes() * 3


def test_a_piece_that_the_disk_takes_in_parts_is_written_whole(tmp_path, monkeypatch):
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: write(file, data[:PAGE], at))
    with GrowingFile(tmp_path / "file") as file:
        file.append(piece(STRAIGHT_BYTES))
    assert (tmp_path / "file").read_bytes() == piece(STRAIGHT_BYTES).tobytes()


def test_a_disk_that_fails_is_not_hidden_by_the_page_cache(tmp_path, monkeypatch):
    if not can_go_straight(tmp_path):
        pytest.skip("the file system of temporary folders has no O_DIRECT")
    write = os.pwrite

    def fail(file: int, data: memoryview, at: int) -> int:
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EIO, "a bad block")
        return write(file, data, at)

    monkeypatch.setattr(os, "pwrite", fail)
    with GrowingFile(tmp_path / "file") as file, pytest.raises(OSError, match="a bad block"):
        file.append(piece(STRAIGHT_BYTES))


def test_a_closed_file_leaves_no_descriptor_open(tmp_path):
    with GrowingFile(tmp_path / "file") as file:
        file.append(piece(STRAIGHT_BYTES))
        opened = open_here(tmp_path / "file")
    assert opened and not open_here(tmp_path / "file")


def open_here(path: Path) -> list[Path]:
    found = []
    for one in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(one.readlink())
    return [name for name in found if name == path]


def test_room_is_asked_for_ahead_and_given_back_in_the_end(tmp_path):
    path = tmp_path / "file"
    with GrowingFile(path) as file:
        file.append(piece(10))
        if path.stat().st_size == 10:
            pytest.skip("the file system of temporary folders reserves nothing")
        assert path.stat().st_size == 10 + RESERVED_BYTES
    assert path.stat().st_size == 10 and path.stat().st_blocks * 512 < RESERVED_BYTES


def test_a_disk_without_room_to_reserve_is_filled_to_its_last_byte(tmp_path, monkeypatch):
    asked = []

    def in_part(file: int, at: int, num_bytes: int) -> None:  # as ext4 does
        asked.append(at)
        if free := shutil.disk_usage(disk).free:
            reserve(file, at, free)
        raise OSError(errno.ENOSPC, "no room for all of it")

    monkeypatch.setattr(growing, "reserve", in_part)
    disk, room = tmp_path / "disk", RESERVED_BYTES // 2
    with small_disk(disk, num_bytes=room), GrowingFile(disk / "file") as file:
        for _ in range(room // STRAIGHT_BYTES - 1):
            file.append(piece(STRAIGHT_BYTES))
        (disk / "journal").write_bytes(bytes(STRAIGHT_BYTES))  # the room is everybody's
        with pytest.raises(OSError, match="No space left"):
            file.append(piece(STRAIGHT_BYTES))
        assert file.size == room - STRAIGHT_BYTES
    assert asked == [0]  # once
