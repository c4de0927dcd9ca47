"""Hostile images: whatever a file holds, it becomes the pixels that it shows, or an error that says what is wrong."""

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hostile_images import HostileImage, hostile_images
from toys import coloured_png

from kit.errors import DataError
from kit.store.decode import decode_image, read_image
from kit.store.pack import pack_files

IMAGES = hostile_images()
SOUND = [image for image in IMAGES if not image.refused]
BROKEN = [image for image in IMAGES if image.refused]


def test_there_are_enough_of_them_and_no_two_share_a_name():
    assert len({image.name for image in IMAGES}) == len(IMAGES)
    assert len(SOUND) >= 60 and len(BROKEN) >= 60


@pytest.mark.parametrize("image", SOUND, ids=[image.name for image in SOUND])
def test_an_odd_image_becomes_the_pixels_that_it_shows(image: HostileImage):
    decoded = decode_image(image.data, name=image.name)
    assert decoded.dtype == np.uint8 and decoded.ndim == 3 and decoded.shape[2] == 3
    if image.pixels is not None:
        assert decoded.shape == image.pixels.shape
        assert np.abs(decoded.astype(int) - image.pixels).max() <= image.tolerance


@pytest.mark.parametrize("image", BROKEN, ids=[image.name for image in BROKEN])
def test_a_broken_image_is_refused_in_its_own_words(image: HostileImage, capfd):
    with pytest.raises(DataError) as caught:
        decode_image(image.data, name=image.name)
    message = str(caught.value)
    assert message.startswith(image.name) and image.refused in message
    assert message.count("\n") == 0
    printed = capfd.readouterr()
    assert image.noisy or (printed.out, printed.err) == ("", "")  # no library gives its own view of it


def folder(path: Path) -> None:
    path.mkdir()


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


def locked(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path.write_bytes(coloured_png("red", 1))
    path.chmod(0)


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (folder, "is a folder, not an image file"),
    "a pipe": (os.mkfifo, "is a device or a pipe"),
    "a link to itself": (loop, "cannot be opened: Too many levels of symbolic links"),
    "a link to nothing": (nowhere, "cannot be opened: No such file or directory"),
    "nothing": (lambda path: None, "cannot be opened: No such file or directory"),
    "no permission": (locked, "cannot be opened: Permission denied"),
}


@pytest.mark.parametrize(("make", "words"), NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_is_refused_in_its_own_words(tmp_path, make, words):
    make(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=words):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "a\0b.jpg"], ids=["too long", "a zero byte"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="cannot be opened: "):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"new\nline.png", b"\x1b[31mred.png", "猫 \U0001f408.png".encode()])
def test_a_file_of_any_name_is_read_and_an_error_can_be_printed(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(coloured_png("red", 1))
    assert read_image(path).shape[2] == 3
    path.write_bytes(b"")
    with pytest.raises(DataError, match="is empty") as caught:
        read_image(path)
    assert str(caught.value).encode().isascii() == (b"\xe7" not in name)
    assert str(caught.value).isprintable()


def test_a_file_of_more_than_two_gib_is_not_even_read(tmp_path):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(3 * 2**30)  # of which the disk holds nothing
    with pytest.raises(DataError, match=r"has 3\.0 GiB; an image file has at most 2"):
        read_image(tmp_path / "a.jpg")


def test_a_pack_of_good_and_bad_files_names_all_the_bad_ones_at_once_and_then_decodes_only_what_is_new(tmp_path):
    chosen = SOUND[:29] + BROKEN[:29]
    for image in chosen:
        (tmp_path / image.name).write_bytes(image.data)
    names = sorted(image.name for image in chosen)
    lines: list[str] = []

    def pack(files: list[str]):
        return pack_files(tmp_path, image_ids=files, paths=files, content_keys=files, store_size=16, say=lines.append)

    with pytest.raises(DataError) as caught:
        pack(names)
    message = str(caught.value)
    assert message.startswith("29 of 58 images in ")
    bad = sorted(image.name for image in BROKEN[:29])
    assert all(f"{name} " in message for name in bad[:5]) and f"{bad[5]} " not in message
    assert "`kit check`" in message and "fixes.csv" in message
    good = sorted(image.name for image in SOUND[:29])
    made = pack(good)
    assert lines[-1] == "decoding 29 images to 16 px, of which 29 are there from an earlier run"
    assert len(made) == 29
    assert not list(made.folder.parent.glob("*.unfinished"))


@pytest.mark.real
@pytest.mark.parametrize(("name", "kind"), [("Abyssinian_34.jpg", b"GIF8"), ("Abyssinian_5.jpg", b"\x89PNG")])
def test_the_odd_files_of_the_pets_are_read(test_data, name, kind):
    data = odd_file(test_data / "data" / "oxford-pets" / "raw-odd-files.tar", name)
    assert data.startswith(kind)
    decoded = decode_image(data, name=name)
    assert min(decoded.shape[:2]) > 100 and decoded.std() > 20


@pytest.mark.real
def test_the_cut_jpeg_of_the_dogs_and_cats_is_named_as_truncated(test_data):
    data = odd_file(test_data / "data" / "dogs-vs-cats" / "raw-odd-files.tar", "490.jpg")
    with pytest.raises(DataError, match=rf"490\.jpg is truncated: this JPEG of {len(data):,} bytes"):
        decode_image(data, name="490.jpg")


def odd_file(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as tar:
        member = next(one for one in tar.getmembers() if one.name.endswith(name))
        file = tar.extractfile(member)
        assert file is not None
        return file.read()
