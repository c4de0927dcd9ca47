"""The pack: what was decoded once is had again bit by bit, and a damaged pack is never used."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from toys import HEIGHT, WIDTH, coloured_png, competition, protocol, write_files

from kit.data.decode import read_image, reduced
from kit.data.pack import pack_images
from kit.data.samples import build_samples
from kit.errors import DataError
from kit.home import family

NAMES = ["red/1", "red/2", "blue/3", "blue/4"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_files(tmp_path / "data", {f"{n}.png": coloured_png(n.split("/")[0], int(n[-1])) for n in NAMES})


def samples_of(data: Path):
    return build_samples(competition(data.parent), data, protocol=protocol(split="none"))


def pack(data: Path, *, store_size: int = 32, lines: list[str] | None = None):
    return pack_images(samples_of(data), store_size=store_size, say=([] if lines is None else lines).append)


def test_an_image_is_read_as_rgb(tmp_path):
    write_files(tmp_path, {"a.png": coloured_png("red", 1)})
    image = read_image(tmp_path / "a.png")
    assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
    assert image.mean(axis=(0, 1)) == pytest.approx([220, 40, 40], abs=5)


@pytest.mark.parametrize("channels", [1, 4], ids=["grey", "with alpha"])
def test_grey_images_and_images_with_alpha_become_rgb(tmp_path, channels):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((5, 6, channels), 100, dtype=np.uint8))
    assert (read_image(tmp_path / "a.png") == 100).all()
    assert read_image(tmp_path / "a.png").shape == (5, 6, 3)


@pytest.mark.parametrize("content", [b"", b"GIF", b"<html>", coloured_png("red", 1)[:20]])
def test_what_is_no_image_is_named(tmp_path, content):
    write_files(tmp_path, {"a.png": content})
    with pytest.raises(DataError, match=rf"a\.png cannot be read as an image \({len(content)} bytes\)"):
        read_image(tmp_path / "a.png")


def test_an_image_that_opencv_refuses_to_decode_is_named(tmp_path, monkeypatch):
    def refuse(*args: object) -> None:
        raise cv2.error("more than 2^30 pixels")

    write_files(tmp_path, {"a.png": coloured_png("red", 1)})
    monkeypatch.setattr(cv2, "imdecode", refuse)
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((40, 80), (20, 40)), ((80, 40), (40, 20)), ((20, 30), (20, 30)), ((10, 90), (10, 90)), ((41, 1000), (20, 488))],
)
def test_the_shorter_side_is_reduced_and_nothing_is_enlarged(shape, expected):
    assert reduced(np.zeros((*shape, 3), dtype=np.uint8), 20).shape == (*expected, 3)


def test_a_pack_gives_back_every_image_by_its_id(data):
    made = pack(data)
    assert len(made) == 4
    for image_id, row in made.row_of.items():
        assert (made.image(row) == read_image(data / f"{image_id}.png")).all()
    samples = samples_of(data)
    assert [made.row_of[image_id] for image_id in samples.table["image_id"]] == [0, 1, 2, 3]
    assert not made.image(0).flags.writeable


def test_a_second_pack_of_the_same_images_is_the_first_one(data):
    lines: list[str] = []
    assert pack(data, lines=lines).folder == pack(data, lines=lines).folder
    assert lines == ["decoding 4 images to 32 px"]


def test_another_size_or_a_changed_image_is_another_pack(data):
    folders = [pack(data).folder, pack(data, store_size=16).folder]
    write_files(data, {"red/1.png": coloured_png("red", 99)})
    folders.append(pack(data).folder)
    assert len(set(folders)) == 3


def test_images_of_different_sizes_share_a_pack(data):
    cv2.imwrite(str(data / "red" / "9.png"), np.full((64, 48, 3), 7, dtype=np.uint8))
    made = pack(data, store_size=24)
    assert made.image(made.row_of["red/9"]).shape == (32, 24, 3)
    assert made.image(made.row_of["red/1"]).shape == (HEIGHT, WIDTH, 3)


def damage_index(folder: Path) -> None:
    index = folder / "index.npz"
    index.write_bytes(index.read_bytes()[:100])


DAMAGES = {
    "cut index": damage_index,
    "empty index": lambda folder: (folder / "index.npz").write_bytes(b""),
    "index of text": lambda folder: (folder / "index.npz").write_bytes(b"text"),
    "index of other things": lambda folder: np.savez(folder / "index.npz", other=np.zeros(1)),
    "cut pixels": lambda folder: (folder / "pixels.u8").write_bytes(b"123"),
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


def test_unreadable_images_are_counted_and_the_first_five_named_and_no_pack_is_left(data):
    write_files(data, {f"red/{k}.png": b"no image" for k in range(10, 17)})
    with pytest.raises(DataError) as caught:
        pack(data)
    for fragment in ("7 of 11 images", "['red/10.png'", "'red/14.png']", "labels.images"):
        assert fragment in str(caught.value)
    assert list(family("packs").iterdir()) == []
