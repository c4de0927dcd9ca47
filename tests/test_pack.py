"""The pack: what was decoded once is had again bit by bit, nothing is decoded twice, and no damaged pack is used."""

import errno
import os
import signal
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from toys import HEIGHT, WIDTH, coloured_png, competition, protocol, write_files

from kit.data.samples import Samples, build_samples
from kit.errors import DataError, StorageError
from kit.home import family
from kit.store import arena as arena_module
from kit.store import unfinished
from kit.store.arena import Arena
from kit.store.decode import central_square, read_image, reduced
from kit.store.pack import pack_files, pack_images
from kit.store.store import StoreSettings, checksum, open_pack
from kit.store.unfinished import owned

NAMES = ["red/1", "red/2", "blue/3", "blue/4"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_files(tmp_path / "data", {f"{n}.png": coloured_png(n.split("/")[0], int(n[-1])) for n in NAMES})


def samples_of(data: Path):
    return build_samples(competition(data.parent), data, protocol=protocol(split="none"))


def pack(data: Path, *, store_size: int = 32, lines: list[str] | None = None, **options):
    return pack_images(samples_of(data), store_size=store_size, say=([] if lines is None else lines).append, **options)


# What is in a pack.


def test_a_pack_gives_back_every_image_by_its_id(data):
    made = pack(data)
    assert len(made) == 4
    for image_id, row in made.row_of.items():
        assert (made.image(row) == read_image(data / f"{image_id}.png")).all()
    samples = samples_of(data)
    assert [made.row_of[image_id] for image_id in samples.table["image_id"]] == [0, 1, 2, 3]
    assert not made.image(0).flags.writeable


def test_a_row_that_is_unused_or_has_no_image_is_not_packed(data):
    table = samples_of(data).table.assign(split=["train", "unused", "train", "train"])
    table.loc[3, ["path", "sha256"]] = ""
    samples = Samples(table=table, folder=data, classes=("blue", "red"))
    assert set(pack_images(samples, store_size=32, say=[].append).row_of) == {"blue/3", "red/1"}


def test_no_images_at_all_are_an_empty_pack(tmp_path):
    made = pack_files(tmp_path, image_ids=[], paths=[], content_keys=[], store_size=32, say=[].append)
    assert len(made) == 0 and dict(made.row_of) == {}


def test_images_of_different_sizes_share_a_pack(data):
    cv2.imwrite(str(data / "red" / "9.png"), np.full((64, 48, 3), 7, dtype=np.uint8))
    made = pack(data, store_size=24)
    assert made.image(made.row_of["red/9"]).shape == (32, 24, 3)
    assert made.image(made.row_of["red/1"]).shape == (HEIGHT, WIDTH, 3)


def test_a_square_pack_is_one_array_of_central_squares(data):
    cv2.imwrite(str(data / "red" / "9.png"), np.full((64, 48, 3), 7, dtype=np.uint8))
    made = pack(data, store_size=16, layout="square")
    array = np.load(made.folder / "pixels.npy", mmap_mode="r")
    assert array.shape == (5, 16, 16, 3) and made.layout == "square"
    for image_id, row in made.row_of.items():
        expected = central_square(read_image(data / f"{image_id}.png"), 16)
        assert (array[row] == expected).all() and (made.image(row) == expected).all()


@pytest.mark.parametrize("layout", ["ragged", "square"])
def test_a_jpeg_pack_looks_the_same_and_is_much_smaller(tmp_path, layout):
    photo = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8), (400, 300))
    cv2.imwrite(str(tmp_path / "a.png"), photo)
    one = {"image_ids": ["a"], "paths": ["a.png"], "content_keys": ["a"], "store_size": 200, "layout": layout}
    raw, jpeg = (pack_files(tmp_path, **one, storage=kind, say=[].append) for kind in ("raw", "jpeg"))
    assert raw.image(0).shape == jpeg.image(0).shape and (raw.storage, jpeg.storage) == ("raw", "jpeg")
    assert np.abs(raw.image(0).astype(int) - jpeg.image(0)).mean() < 1
    assert jpeg.pixels.size < raw.pixels.size / 5
    assert not jpeg.image(0).flags.writeable


def test_an_image_too_long_for_a_jpeg_is_in_a_jpeg_pack_all_the_same(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((1, 70_000, 3), 9, dtype=np.uint8))
    one = {"image_ids": ["a"], "paths": ["a.png"], "content_keys": ["a"], "store_size": 200}
    made = pack_files(tmp_path, **one, storage="jpeg", say=[].append)
    assert (made.image(0) == 9).all() and made.image(0).shape == (1, 70_000, 3)


def test_ids_may_be_any_text(data):
    ids = ["猫", "a\nb", "a", "x" * 1000, os.fsdecode(b"caf\xe9")]
    paths = ["red/1.png", "red/2.png", "blue/3.png", "blue/4.png", "red/1.png"]
    made = pack_files(data, image_ids=ids, paths=paths, content_keys=paths, store_size=32, say=[].append)
    assert dict(made.row_of) == {image_id: row for row, image_id in enumerate(ids)}


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
    assert arena.room(1).base.size == 1


@pytest.mark.parametrize("layout", ["ragged", "square"])
@pytest.mark.parametrize("storage", ["raw", "jpeg"])
def test_files_of_all_kinds_and_sizes_do_not_mix_in_a_pack(tmp_path, layout, storage):
    rng = np.random.default_rng(0)
    names = [f"{k:02d}.{('jpg', 'png', 'webp')[k % 3]}" for k in range(40)]
    for k, name in enumerate(names):
        small = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / name), cv2.resize(small, (20 + 7 * (k % 11), 20 + 13 * (k % 7))))
    (tmp_path / names[0]).unlink()
    cv2.imwrite(str(tmp_path / names[0]), rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))  # as it is, square or not
    options = {"image_ids": names, "paths": names, "content_keys": names, "store_size": 24, "layout": layout}
    made = pack_files(tmp_path, **options, storage=storage, say=[].append)
    for row, name in enumerate(names):
        image = read_image(tmp_path / name, shorter_side=24)
        expected = central_square(image, 24) if layout == "square" else reduced(image, 24)
        assert np.abs(made.image(row).astype(int) - expected).max() <= (0 if storage == "raw" else 40)


# One pack for the same images and settings, another for others.


def test_a_second_pack_of_the_same_images_is_the_first_one(data):
    lines: list[str] = []
    assert pack(data, lines=lines).folder == pack(data, lines=lines).folder
    assert lines == ["decoding 4 images to 32 px"]


def test_another_size_layout_storage_or_a_changed_image_is_another_pack(data):
    folders = [pack(data).folder, pack(data, store_size=16).folder, pack(data, layout="square").folder]
    folders.append(pack(data, storage="jpeg").folder)
    write_files(data, {"red/1.png": coloured_png("red", 99)})
    folders.append(pack(data).folder)
    assert len(set(folders)) == 5


# A damaged pack is made again.


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def swap_ids(folder: Path) -> None:
    with np.load(folder / "index.npz") as index:
        arrays = dict(index)
    arrays["ids"] = np.frombuffer(arrays["ids"].tobytes().replace(b"red/1", b"red/7"), dtype=np.uint8)
    np.savez(folder / "index.npz", **arrays)


DAMAGES = {
    "an index of other images": swap_ids,
    "cut index": lambda folder: cut(folder / "index.npz"),
    "empty index": lambda folder: (folder / "index.npz").write_bytes(b""),
    "index of text": lambda folder: (folder / "index.npz").write_bytes(b"text"),
    "index of other things": lambda folder: np.savez(folder / "index.npz", other=np.zeros(1)),
    "one wrong bit in the index": lambda folder: flip(folder / "index.npz", 200),
    "cut settings": lambda folder: (folder / "pack.json").write_bytes(b'{"store_size"'),
    "settings of text": lambda folder: (folder / "pack.json").write_bytes(b'"text"'),
    "no settings": lambda folder: (folder / "pack.json").unlink(),
    "cut pixels": lambda folder: (folder / "pixels.u8").write_bytes(b"123"),
    "one wrong bit in the pixels": lambda folder: flip(folder / "pixels.u8", 1000),
    "no pixels": lambda folder: (folder / "pixels.u8").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_pack_is_made_again(data, damage):
    folder = pack(data).folder
    damage(folder)
    lines: list[str] = []
    made = pack(data, lines=lines)
    assert lines == [f"the pack {folder} is damaged: decoding again", "decoding 4 images to 32 px"]
    assert (made.image(0) == read_image(data / "blue" / "3.png")).all()


def test_the_header_of_a_square_pack_is_checked(data):
    made = pack(data, layout="square")
    settings = StoreSettings(store_size=32, layout="square", storage="raw")
    flip(made.folder / "pixels.npy", 3)
    assert open_pack(made.folder, settings) is None


def test_a_few_chunks_are_checked_when_a_pack_is_opened_and_all_of_them_on_demand(many, monkeypatch):
    monkeypatch.setattr(unfinished, "CHUNK_ROWS", 5)
    folder = pack_many(many).folder
    settings = StoreSettings(store_size=32, layout="ragged", storage="raw")
    flip(folder / "pixels.u8", 0)  # in the first of 20 chunks
    opened = [open_pack(folder, settings) is not None for _ in range(60)]
    assert 0 < sum(opened) < 60  # one in five openings meets it: all missing or all meeting it is as good as impossible
    assert open_pack(folder, settings, verify=True) is None


@pytest.mark.parametrize("length", [0, 1, 4095, 4096, 4097, 20_000])
def test_a_checksum_sees_each_byte(length):
    stored = np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8)
    before = checksum(stored)
    for at in range(0, length, 371):
        changed = stored.copy()
        changed[at] ^= 1
        assert checksum(changed) != before
    assert checksum(stored[:4095]) == (zlib.crc32(stored[:4095]))


# Images that cannot be read.


def test_unreadable_images_are_counted_and_the_first_five_named_with_reasons(data):
    write_files(data, {f"red/{k}.png": b"no image" for k in range(10, 16)} | {"red/16.png": b""})
    paths = sorted(path.relative_to(data).as_posix() for path in data.rglob("*.png"))
    with pytest.raises(DataError) as caught:
        pack_files(data, image_ids=paths, paths=paths, content_keys=paths, store_size=32, say=[].append)
    for fragment in ("7 of 11 images", "The first five: red/10.png is not an image", "red/14.png is", "fixes.csv"):
        assert fragment in str(caught.value)
    assert "red/15.png" not in str(caught.value)


def test_what_was_decoded_beside_a_bad_file_is_not_decoded_again_when_that_is_replaced(data):
    files = {f"{name}.png": name for name in NAMES} | {"bad.png": "bad"}
    write_files(data, {"bad.png": b""})
    lines: list[str] = []

    def attempt(keys: dict[str, str]):
        options = {"image_ids": list(keys), "paths": list(keys), "content_keys": list(keys.values())}
        return pack_files(data, **options, store_size=32, say=lines.append)

    with pytest.raises(DataError, match=r"1 of 5 images .* They are: bad\.png is empty"):
        attempt(files)
    with pytest.raises(DataError):
        attempt(files)
    write_files(data, {"bad.png": coloured_png("grey", 5)})
    made = attempt(files | {"bad.png": "good now"})
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
    others = sorted(family("packs").glob("*.unfinished"))
    lines: list[str] = []
    pack_many(many, lines)
    assert lines == ["decoding 100 images to 32 px"]
    assert sorted(family("packs").glob("*.unfinished")) == others and len(others) == 2


def test_a_file_that_can_be_read_at_last_completes_the_pack(data):
    files = [f"{name}.png" for name in NAMES]
    options = {"image_ids": files, "paths": files, "content_keys": files, "store_size": 32, "say": [].append}
    whole = pack_files(data, **options).folder
    expected = contents(whole)
    whole.rename(whole.with_name("aside"))
    (data / "red" / "1.png").rename(data / "gone.png")
    with pytest.raises(DataError, match=r"red/1\.png cannot be opened"):
        pack_files(data, **options)
    (data / "gone.png").rename(data / "red" / "1.png")
    assert contents(pack_files(data, **options).folder) == expected
    assert not list(family("packs").glob("*.unfinished"))


# Killed, and run again.


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return write_files(tmp_path / "many", {f"{k:03d}.png": coloured_png("blue", k) for k in range(100)})


def pack_many(folder: Path, lines: list[str] | None = None, **options):
    names = sorted(path.name for path in folder.iterdir())
    say = ([] if lines is None else lines).append
    return pack_files(folder, image_ids=names, paths=names, content_keys=names, store_size=32, say=say, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from kit.store import pack, unfinished
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # one thread, few images in flight
unfinished.CHUNK_ROWS = 7
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


@pytest.mark.parametrize(
    ("layout", "storage", "deaths"),
    [("ragged", "raw", (60, 20)), ("square", "raw", (60,)), ("ragged", "jpeg", (60,))],  # at which image of the run
)
def test_a_pack_that_was_killed_goes_on_where_it_stopped_and_is_the_same_byte_by_byte(
    many, monkeypatch, own_home, layout, storage, deaths
):
    monkeypatch.setattr(unfinished, "CHUNK_ROWS", 7)
    for at in deaths:
        process = subprocess.run([sys.executable, "-c", KILLED, str(many), str(at), layout, storage], check=False)
        assert process.returncode == -signal.SIGKILL
    lines: list[str] = []
    made = pack_many(many, lines, layout=layout, storage=storage)
    kept = int(lines[0].partition("of which ")[2].split()[0])
    assert kept % 7 == 0 and 35 <= kept < 100
    found = contents(made.folder)
    monkeypatch.setenv("KIT_HOME", str(own_home.with_name("undisturbed")))
    assert found == contents(pack_many(many, layout=layout, storage=storage).folder)


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
@pytest.mark.parametrize("tear", TORN.values(), ids=TORN)
def test_whatever_a_crash_left_behind_the_pack_is_the_same_in_the_end(many, monkeypatch, tear):
    monkeypatch.setattr(unfinished, "CHUNK_ROWS", 7)
    whole = pack_many(many).folder
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
    command = [sys.executable, "-c", PACK, str(many), "0", "ragged", "raw"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(text.count("decoding 100 images") for text in printed) == 1
    (folder,) = family("packs").iterdir()
    lines: list[str] = []
    assert pack_many(many, lines).folder == folder and lines == []


def test_who_comes_second_waits_and_says_so(many):
    folder = pack_many(many).folder
    aside = folder.rename(folder.with_name("aside"))
    lines: list[str] = []
    work = folder.with_name(f"{folder.name}.unfinished")
    with owned(work, say=[].append):
        second = threading.Thread(target=pack_many, args=(many, lines))
        second.start()
        while not lines:
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
    assert pack_many(many, lines).storage == "jpeg"
    assert lines[0].startswith("storing JPEG of quality 95 in place of pixels: those would take about 0.0 GiB")
    disk_with(10**12, monkeypatch)
    assert pack_many(many, lines).storage == "jpeg"  # it is there: nothing is decoded again
    assert len(lines) == 2


@pytest.mark.parametrize("reserves", [True, False])
def test_no_room_that_was_reserved_stays_in_a_pack(many, monkeypatch, reserves):
    def refuse(*arguments: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "this disk cannot")

    if not reserves:
        monkeypatch.setattr(os, "posix_fallocate", refuse)
    made = pack_many(many)
    assert (made.folder / "pixels.u8").stat().st_size == RAW_BYTES
    assert (made.image(7) == read_image(many / "007.png")).all()


def test_where_the_pixels_fit_the_disk_they_are_stored(many, monkeypatch):
    disk_with(RAW_BYTES * 9 // 8, monkeypatch)
    assert pack_many(many).storage == "raw"


@pytest.mark.parametrize(("storage", "free"), [("raw", RAW_BYTES), ("auto", RAW_BYTES // 10), ("jpeg", 1000)])
def test_a_pack_that_fits_in_no_form_is_refused_before_anything_is_decoded(many, monkeypatch, storage, free):
    disk_with(free, monkeypatch)
    with pytest.raises(StorageError, match=r"100 images at 32 px do not fit the disk .* input\.store_size"):
        pack_many(many, storage=storage)
    assert not family("packs").exists()


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_all_the_same_is_explained_and_the_work_is_kept(many, small_disk, monkeypatch):
    monkeypatch.setenv("KIT_HOME", str(small_disk))
    monkeypatch.setattr(unfinished, "CHUNK_ROWS", 7)
    disk_with(10**12, monkeypatch)
    with pytest.raises(StorageError, match=r"The disk is full: .*What was decoded is kept there"):
        pack_many(many)
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    lines: list[str] = []
    made = pack_many(many, lines)
    assert ", of which " in lines[0] and len(made) == 100


def test_a_place_that_cannot_be_written_is_explained(many, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KIT_HOME", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="Set KIT_HOME to a folder of yours"):
        pack_many(many)


def test_the_order_of_decoding_is_the_order_of_the_rows_whatever_each_takes(tmp_path):
    sizes = [(900, 900) if k % 3 == 0 else (4, 4) for k in range(30)]
    for k, (height, width) in enumerate(sizes):
        cv2.imwrite(str(tmp_path / f"{k:02d}.png"), np.full((height, width, 3), k, dtype=np.uint8))
    names = [f"{k:02d}.png" for k in range(30)]
    made = pack_files(tmp_path, image_ids=names, paths=names, content_keys=names, store_size=8, say=[].append)
    assert [int(made.image(k)[0, 0, 0]) for k in range(30)] == list(range(30))
    assert all((made.image(k) == reduced(read_image(tmp_path / names[k]), 8)).all() for k in range(30))


def test_the_table_stays_as_it_was(data):
    samples = samples_of(data)
    before = samples.table.copy()
    pack_images(samples, store_size=32, say=[].append)
    pd.testing.assert_frame_equal(samples.table, before)
