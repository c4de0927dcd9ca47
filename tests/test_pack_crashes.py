"""What kills, a second process and the disk do to a pack that is being made: it is the same in the end."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from packs import WAYS, contents, flip, hundred_images, pack_all, small_disk
from toys import HEIGHT, WIDTH

from kit.errors import DataError, StorageError
from kit.home import family
from kit.store import growing, unfinished
from kit.store.decode import read_image
from kit.store.growing import PAGE
from kit.store.pack import pack_files
from kit.store.unfinished import owned


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return hundred_images(tmp_path / "many")


# Killed, and run again.


KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from kit.store import growing, pack, unfinished
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # one thread, few images in flight
unfinished.CHUNK_ROWS, growing.STRAIGHT_BYTES = 7, int(sys.argv[5])
read, calls = pack.read_image, itertools.count(1)
def read_or_die(path, **options):
    if next(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return read(path, **options)
pack.read_image = read_or_die
names = sorted(path.name for path in Path(sys.argv[1]).iterdir())
pack.pack_files(Path(sys.argv[1]), image_ids=names, paths=names, content_keys=names, store_size=32,
                layout=sys.argv[3], storage=sys.argv[4])
"""


@pytest.mark.parametrize("straight", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    ("layout", "storage", "deaths", "chunk"),  # the deaths: at which image of the run
    [
        ("ragged", "raw", (60, 20), 7),
        ("square", "raw", (60,), 8),  # rows: four images of 32 x 32 end on a page
        ("ragged", "jpeg", (60,), 7),
    ],
)
def test_a_pack_that_was_killed_goes_on_where_it_stopped_and_is_the_same_byte_by_byte(
    many, monkeypatch, own_home, layout, storage, deaths, chunk, straight
):
    monkeypatch.setattr(unfinished, "CHUNK_ROWS", 7)
    monkeypatch.setattr(growing, "STRAIGHT_BYTES", straight)
    for at in deaths:
        command = [sys.executable, "-c", KILLED, str(many), str(at), layout, storage, str(straight)]
        process = subprocess.run(command, check=False)
        assert process.returncode == -signal.SIGKILL
    lines: list[str] = []
    made = pack_all(many, lines, layout=layout, storage=storage)
    kept = int(lines[0].partition("of which ")[2].split()[0])
    assert kept % chunk == 0 and 32 <= kept < 100
    found = contents(made.folder)
    monkeypatch.setenv("KIT_HOME", str(own_home.with_name("undisturbed")))
    assert found == contents(pack_all(many, layout=layout, storage=storage).folder)


def tear_journal(work: Path) -> None:
    os.truncate(work / "journal", (work / "journal").stat().st_size - 5)


TORN = {
    "a torn line in the journal": tear_journal,
    "a wrong bit in the journal": lambda work: flip(work / "journal", 30),
    "an empty journal": lambda work: (work / "journal").write_bytes(b""),
    "no journal": lambda work: (work / "journal").unlink(),
    "a wrong bit in the pixels": lambda work: flip(work / "pixels.u8", 20_000),
    "pixels that were never written": lambda work: os.truncate(work / "pixels.u8", 20_000),
    "more pixels than the journal knows of": lambda work: (work / "pixels.u8").open("ab").write(bytes(999)),
    "a cut list of keys": lambda work: os.truncate(work / "keys.npy", 200),
    "no list of keys": lambda work: (work / "keys.npy").unlink(),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("straight", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("tear", TORN.values(), ids=TORN)
def test_whatever_a_crash_left_behind_the_pack_is_the_same_in_the_end(many, monkeypatch, tear, straight):
    monkeypatch.setattr(unfinished, "CHUNK_ROWS", 7)
    monkeypatch.setattr(growing, "STRAIGHT_BYTES", straight)
    whole = pack_all(many).folder
    expected = contents(whole)
    whole.rename(whole.with_name("aside"))
    (many / "050.png").rename(many / "gone")
    names = [f"{k:03d}.png" for k in range(100)]
    options = {"image_ids": names, "paths": names, "content_keys": names, "store_size": 32, "say": [].append}
    with pytest.raises(DataError):
        pack_files(many, **options)
    (many / "gone").rename(many / "050.png")
    (work,) = family("packs").glob("*.unfinished")
    tear(work)
    assert contents(pack_files(many, **options).folder) == expected


# Two at once.


PACK = KILLED.replace("== int(sys.argv[2])", "== -1")


def test_two_processes_that_pack_the_same_images_at_once_make_one_pack(many):
    command = [sys.executable, "-c", PACK, str(many), "0", "ragged", "raw", "1"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(text.count("decoding 100 images") for text in printed) == 1
    (folder,) = family("packs").iterdir()
    lines: list[str] = []
    assert pack_all(many, lines).folder == folder and lines == []


def test_who_comes_second_waits_and_says_so(many):
    folder = pack_all(many).folder
    aside = folder.rename(folder.with_name("aside"))
    lines: list[str] = []
    work = folder.with_name(f"{folder.name}.unfinished")
    with owned(work, say=[].append):
        second = threading.Thread(target=pack_all, args=(many, lines))
        second.start()
        while not lines and second.is_alive():
            second.join(0.01)
        aside.rename(folder)  # the first one is done
    second.join()
    assert lines == [f"another process is decoding into {work}: waiting for it"]
    assert [path.name for path in family("packs").iterdir()] == [folder.name]


# The disk.


def disk_with(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.store.room.shutil.disk_usage", lambda path: SimpleNamespace(free=free))


RAW_BYTES = 100 * HEIGHT * WIDTH * 3


def test_where_the_pixels_do_not_fit_the_disk_jpegs_are_stored_and_the_reason_is_said(many, monkeypatch):
    disk_with(RAW_BYTES, monkeypatch)  # a tenth of which must stay free
    lines: list[str] = []
    assert pack_all(many, lines).storage == "jpeg"
    assert lines[0].startswith("storing JPEG of quality 95 in place of pixels: those would take about 0.0 GiB")
    disk_with(10**12, monkeypatch)
    assert pack_all(many, lines).storage == "jpeg"  # it is there: nothing is decoded again
    assert len(lines) == 2


@pytest.mark.parametrize("reserves", [True, False])
def test_no_room_that_was_reserved_stays_in_a_pack(many, monkeypatch, reserves):
    def refuse(*arguments: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "this disk cannot")

    if not reserves:
        monkeypatch.setattr(growing, "reserve", refuse)
    made = pack_all(many)
    assert (made.folder / "pixels.u8").stat().st_size == -(-RAW_BYTES // PAGE) * PAGE
    assert (made.image(7) == read_image(many / "007.png")).all()


def test_where_the_pixels_fit_the_disk_they_are_stored(many, monkeypatch):
    disk_with(RAW_BYTES * 9 // 8, monkeypatch)
    assert pack_all(many).storage == "raw"


@pytest.mark.parametrize(("storage", "free"), [("raw", RAW_BYTES), ("auto", RAW_BYTES // 10), ("jpeg", 1000)])
def test_a_pack_that_fits_in_no_form_is_refused_before_anything_is_decoded(many, monkeypatch, storage, free):
    disk_with(free, monkeypatch)
    with pytest.raises(StorageError, match=r"100 images at 32 px do not fit the disk .* input\.store_size"):
        pack_all(many, storage=storage)
    assert not family("packs").exists()


def test_a_disk_that_fills_all_the_same_is_explained_and_the_work_is_kept(many, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    monkeypatch.setenv("KIT_HOME", str(disk))
    monkeypatch.setattr(unfinished, "CHUNK_ROWS", 7)
    disk_with(10**12, monkeypatch)
    with small_disk(disk, num_bytes=128 * 2**10):
        with pytest.raises(StorageError, match=r"The disk is full: .*What was decoded is kept there"):
            pack_all(many)
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        lines: list[str] = []
        made = pack_all(many, lines)
    assert ", of which " in lines[0] and len(made) == 100


def test_a_place_that_cannot_be_written_is_explained(many, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KIT_HOME", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="Set KIT_HOME to a folder of yours"):
        pack_all(many)
