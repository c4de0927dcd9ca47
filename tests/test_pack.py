"""The pack: what was decoded once is had again bit by bit, nothing is decoded twice, and no damaged pack is used."""

import os
import random
import zlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from packs import flip, four_images, hundred_images, pack_all
from toys import HEIGHT, WIDTH, coloured_png, competition, protocol, write_files

from kit.data.samples import Samples, build_samples
from kit.errors import DataError
from kit.store import unfinished
from kit.store.decode import central_square, read_image, reduced
from kit.store.pack import pack_files, pack_images
from kit.store.store import StoreSettings, checksum, open_pack


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return four_images(tmp_path / "data")


def samples_of(data: Path):
    return build_samples(competition(data.parent), data, protocol=protocol(split="none"))


def pack(data: Path, *, store_size: int = 32, lines: list[str] | None = None, **options):
    return pack_images(samples_of(data), store_size=store_size, say=([] if lines is None else lines).append, **options)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return hundred_images(tmp_path / "many")


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
    folder = pack_all(many).folder
    settings = StoreSettings(store_size=32, layout="ragged", storage="raw")
    flip(folder / "pixels.u8", 0)  # in the first of 20 chunks
    opened = [open_pack(folder, settings) is not None for _ in range(60)]
    assert 0 < sum(opened) < 60  # one in five openings meets it: all missing or all meeting it is as good as impossible
    assert open_pack(folder, settings, chunks_checked=None) is None


def test_a_pack_that_was_found_damaged_is_not_handed_back_by_a_second_look_at_fewer_chunks(many, monkeypatch):
    monkeypatch.setattr(unfinished, "CHUNK_ROWS", 1)
    folder = pack_all(many).folder
    flip(folder / "pixels.u8", 0)  # in the first of 100 chunks
    lines: list[str] = []
    made = pack_all(many, lines, verify=True)
    assert lines == [f"the pack {folder} is damaged: decoding again", "decoding 100 images to 32 px"]
    assert (made.image(0) == read_image(many / "000.png")).all()


def test_opening_a_pack_draws_nothing_from_pythons_own_generator(many, monkeypatch):
    monkeypatch.setattr(unfinished, "CHUNK_ROWS", 5)
    pack_all(many)
    before = random.getstate()
    pack_all(many)
    assert random.getstate() == before


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
