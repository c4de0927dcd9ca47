"""Unfinished packs: what an attempt that failed has decoded is decoded once, for it and for other lists of images."""

import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from packs import NAMES, contents, four_images, hundred_images, pack_all
from toys import coloured_png, write_files

from kit.errors import DataError, StorageError
from kit.home import family
from kit.store import growing, pack, unfinished
from kit.store.decode import read_image
from kit.store.pack import pack_files


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return four_images(tmp_path / "data")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return hundred_images(tmp_path / "many")


def attempt(folder: Path, *names: str, keys: dict[str, str] | None = None, lines: list[str] | None = None):
    """Return the pack of these files, whose content keys are their names, or those of `keys`."""
    files = [f"{name}.png" for name in names]
    return pack_files(
        folder,
        image_ids=files,
        paths=files,
        content_keys=[(keys or {}).get(name, name) for name in names],
        store_size=32,
        say=([] if lines is None else lines).append,
    )


def left_over() -> list[str]:
    return sorted(path.name for path in family("packs").glob("*.unfinished"))


def fails(folder: Path, *names: str, why: str) -> list[str]:
    """Return what is said by an attempt that fails."""
    lines: list[str] = []
    with pytest.raises(DataError, match=why):
        attempt(folder, *names, lines=lines)
    return lines


def test_what_was_decoded_beside_a_bad_file_is_not_decoded_again_when_that_is_replaced(data):
    write_files(data, {"bad.png": b""})
    lines = fails(data, *NAMES, "bad", why=r"1 of 5 images .* They are: bad\.png is empty")
    lines += fails(data, *NAMES, "bad", why="is empty")
    write_files(data, {"bad.png": coloured_png("grey", 5)})
    made = attempt(data, *NAMES, "bad", keys={"bad": "good now"}, lines=lines)
    assert lines == [
        "decoding 5 images to 32 px",
        "decoding 5 images to 32 px, of which 5 are there from an earlier run",
        "decoding 5 images to 32 px, of which 4 are there from an earlier run",
    ]
    assert (made.image(made.row_of["bad.png"]) == read_image(data / "bad.png")).all()
    assert (made.image(made.row_of["red/1.png"]) == read_image(data / "red" / "1.png")).all()
    assert [path.name for path in family("packs").iterdir()] == [made.folder.name]


def test_unfinished_work_on_other_images_or_settings_is_left_alone(data, many):
    write_files(data, {"bad.png": b""})
    files = {"image_ids": ["bad.png", "red/1.png"], "paths": ["bad.png", "red/1.png"], "content_keys": ["bad", "red"]}
    for size in (16, 32):
        with pytest.raises(DataError):
            pack_files(data, **files, store_size=size, say=[].append)
    others = left_over()
    lines: list[str] = []
    pack_all(many, lines)
    assert lines == ["decoding 100 images to 32 px"]
    assert left_over() == others and len(others) == 2


def test_a_file_that_can_be_read_at_last_completes_the_pack(data):
    whole = attempt(data, *NAMES).folder
    expected = contents(whole)
    whole.rename(whole.with_name("aside"))
    (data / "red" / "1.png").rename(data / "gone.png")
    fails(data, *NAMES, why=r"red/1\.png cannot be opened")
    (data / "gone.png").rename(data / "red" / "1.png")
    assert contents(attempt(data, *NAMES).folder) == expected
    assert left_over() == []


def test_an_image_that_failed_before_may_be_had_from_another_unfinished_pack(data):
    (data / "red" / "1.png").rename(data / "gone.png")
    fails(data, "red/1", "red/2", why=r"red/1\.png cannot be opened")
    (data / "gone.png").rename(data / "red" / "1.png")
    fails(data, "red/1", "missing", why=r"missing\.png cannot be opened")
    (data / "red" / "1.png").rename(data / "gone.png")  # away once more
    made = attempt(data, "red/1", "red/2")
    assert (made.image(0) == read_image(data / "gone.png")).all()


def test_an_unfinished_pack_stays_until_another_one_has_all_that_it_has(data):
    (data / "red" / "1.png").rename(data / "gone.png")
    fails(data, *NAMES, why=r"red/1\.png cannot be opened")  # has three images
    (full,) = left_over()
    attempt(data, "red/2")
    assert left_over() == [full]  # it has two more
    (data / "gone.png").rename(data / "red" / "1.png")
    lines: list[str] = []
    attempt(data, *NAMES, keys={"red/1": "back"}, lines=lines)
    assert lines == ["decoding 4 images to 32 px, of which 3 are there from an earlier run"]
    assert left_over() == []


def test_a_look_at_an_image_that_failed_costs_nobody_what_was_decoded(data):
    (data / "red" / "1.png").rename(data / "gone.png")
    fails(data, "red/1", "red/2", why=r"red/1\.png cannot be opened")
    (data / "gone.png").rename(data / "red" / "1.png")
    fails(data, "red/1", "blue/3", "blue/4", "missing", why=r"missing\.png cannot be opened")
    (data / "red" / "1.png").rename(data / "gone.png")
    attempt(data, "red/1", "red/2")
    (data / "gone.png").rename(data / "red" / "1.png")
    lines: list[str] = []
    attempt(data, "red/1", "blue/3", "blue/4", lines=lines)
    assert lines == ["decoding 3 images to 32 px, of which 3 are there from an earlier run"]


def test_images_of_another_unfinished_pack_come_without_what_lies_between_groups(data, monkeypatch):
    monkeypatch.setattr(unfinished, "CHUNK_ROWS", 1)  # so that zeros follow each image
    write_files(data, {"bad.png": b""})
    fails(data, *NAMES, "bad", why="is empty")
    found = contents(attempt(data, *NAMES).folder)
    assert left_over() == []
    shutil.rmtree(family("packs"))
    assert found == contents(attempt(data, *NAMES).folder)


def test_an_unfinished_pack_that_cannot_be_opened_gives_nothing(data):
    write_files(data, {"bad.png": b""})
    fails(data, *NAMES, "bad", why="is empty")
    (name,) = left_over()
    pixels = family("packs") / name / "pixels.u8"
    pixels.unlink()
    pixels.mkdir()
    lines: list[str] = []
    assert len(attempt(data, *NAMES, lines=lines)) == 4
    assert lines == ["decoding 4 images to 32 px"]


def test_the_room_that_was_reserved_is_given_back_by_an_attempt_that_fails(data):
    write_files(data, {"bad.png": b""})
    fails(data, *NAMES, "bad", why="is empty")
    (name,) = left_over()
    assert (family("packs") / name / "pixels.u8").stat().st_size < 2**20


def test_who_stops_does_not_wait_for_the_images_of_a_group(many, monkeypatch):
    read, decoded = pack.read_image, []
    next_is_begun, is_full = threading.Event(), threading.Event()

    def in_turns(path: str, **options):
        decoded.append(path)
        if Path(path).name < "010.png":  # of the first group, which ends when the next has begun
            assert next_is_begun.wait(60)
        else:
            next_is_begun.set()
            assert is_full.wait(60)
            time.sleep(0.2)
        return read(path, **options)

    def fill_up(self: growing.GrowingFile, data) -> None:
        if len(data):
            is_full.set()
            raise OSError(28, os.strerror(28))

    monkeypatch.setattr(pack, "read_image", in_turns)
    monkeypatch.setattr(unfinished, "GROUP_ROWS", 10)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    monkeypatch.setattr(growing.GrowingFile, "append", fill_up)
    with pytest.raises(StorageError, match="The disk is full"):
        pack_all(many)
    assert 10 < len(decoded) < 20  # not all of the second group


def test_a_pack_is_in_its_place_when_the_disk_has_every_byte(many, monkeypatch):
    sync, synced = growing.GrowingFile.sync, []

    def noted(self: growing.GrowingFile) -> None:
        sync(self)
        synced.append([path.name for path in family("packs").iterdir()])

    monkeypatch.setattr(growing.GrowingFile, "sync", noted)
    made = pack_all(many)
    assert synced == [[f"{made.folder.name}.unfinished"]]
