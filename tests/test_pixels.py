"""Pixels that are published as numbers: CSV rows and IDX files become images; what is not such a file is refused."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniatures import idx_bytes, table

from kit.data import pixels
from kit.data.pixels import read_idx, read_pixel_csv, write_images
from kit.errors import DataError
from kit.store.decode import read_image


def saved(tmp_path, content, name="file"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_a_grey_image_comes_back_as_it_was(tmp_path):
    image = np.array([[0, 1, 2], [253, 254, 255]], dtype=np.uint8)
    write_images(tmp_path, image[np.newaxis], ["train/1.png"])
    assert read_image(tmp_path / "train" / "1.png").tolist() == np.stack([image] * 3, axis=-1).tolist()


def test_a_colour_image_keeps_red_red(tmp_path):
    image = np.array([[[255, 0, 0], [0, 0, 255]]], dtype=np.uint8)
    write_images(tmp_path, image[np.newaxis], ["a/b/red-blue.png"])
    assert read_image(tmp_path / "a" / "b" / "red-blue.png").tolist() == image.tolist()


@pytest.mark.parametrize("name", ["../out.png", "/tmp/out.png", "a\\b.png", "no-suffix", "photo.jpg", "a\0.png", ""])
def test_a_name_that_leads_elsewhere_or_is_no_png_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="cannot be an image's name"):
        write_images(tmp_path / "data", np.zeros((1, 2, 2), dtype=np.uint8), [name])
    assert not list(tmp_path.iterdir())


def test_two_images_of_one_name_are_refused(tmp_path):
    with pytest.raises(DataError, match="1 of 2 image names stand there twice"):
        write_images(tmp_path, np.zeros((2, 2, 2), dtype=np.uint8), ["1.png", "1.png"])


def test_rows_of_a_csv_become_images_with_labels(tmp_path):
    path = saved(tmp_path, b"label,p0,p1,p2,p3\n7,0,1,2,3\n3,252,253,254,255\n")
    images, labels = read_pixel_csv(path, label_column="label", shape=(2, 2))
    assert images.tolist() == [[[0, 1], [2, 3]], [[252, 253], [254, 255]]]
    assert images.dtype == np.uint8
    assert labels == ["7", "3"]


def test_a_csv_without_labels_gives_none(tmp_path):
    images, labels = read_pixel_csv(saved(tmp_path, b"p0,p1\r\n0,9\r\n"), label_column=None, shape=(1, 2))
    assert images.tolist() == [[[0, 9]]]
    assert labels == []


def test_the_label_may_stand_in_any_column(tmp_path):
    images, labels = read_pixel_csv(saved(tmp_path, b"p0,p1,kind\n1,2,a b\n"), label_column="kind", shape=(1, 2))
    assert images.tolist() == [[[1, 2]]]
    assert labels == ["a b"]


@pytest.mark.parametrize("row", ["7,0,1,2", "7,0,1,2,3,4", ""])
def test_a_row_of_another_length_is_named_by_its_line(tmp_path, row):
    path = saved(tmp_path, f"label,p0,p1,p2,p3\n1,0,0,0,0\n{row}\n".encode())
    with pytest.raises(DataError, match=r"line 3: \d values under a header of 5 columns"):
        read_pixel_csv(path, label_column="label", shape=(2, 2))


@pytest.mark.parametrize("value", ["256", "-1", "1.5", "nan", "", "x", "1e2", "9" * 5000, "²"])
def test_a_pixel_that_is_no_whole_number_of_0_to_255_is_named(tmp_path, value):
    path = saved(tmp_path, f"p0,p1\n0,{value}\n".encode())
    with pytest.raises(DataError, match=r"line 2: a pixel is '.{0,40}', expected a whole number"):
        read_pixel_csv(path, label_column=None, shape=(1, 2))


def test_a_csv_of_another_kind_is_refused(tmp_path):
    path = saved(tmp_path, b"label,p0\n1,2\n")
    with pytest.raises(DataError, match="lacks the column 'digit'; it begins with label, p0"):
        read_pixel_csv(path, label_column="digit", shape=(1, 1))
    with pytest.raises(DataError, match="has 1 columns of pixels, expected 784"):
        read_pixel_csv(path, label_column="label", shape=(28, 28))
    with pytest.raises(DataError, match="has a header but no rows"):
        read_pixel_csv(saved(tmp_path, b"label,p0\n"), label_column="label", shape=(1, 1))
    with pytest.raises(DataError, match="cannot be read as CSV"):
        read_pixel_csv(saved(tmp_path, b"\xff\xfe\x00"), label_column="label", shape=(1, 1))
    with pytest.raises(DataError, match="cannot be read as CSV"):
        read_pixel_csv(tmp_path / "nowhere.csv", label_column="label", shape=(1, 1))


@given(num_images=st.integers(1, 5), height=st.integers(1, 6), width=st.integers(1, 6), seed=st.integers(0, 99))
def test_any_image_comes_back_from_csv_and_idx(tmp_path, num_images, height, width, seed):
    images = np.random.default_rng(seed).integers(0, 256, size=(num_images, height, width), dtype=np.uint8)
    rows = images.reshape(num_images, -1).tolist()
    path = saved(tmp_path, table([f"p{k}" for k in range(height * width)], *rows))
    assert np.array_equal(read_pixel_csv(path, label_column=None, shape=(height, width))[0], images)
    assert np.array_equal(read_idx(saved(tmp_path, idx_bytes(images))), images)


@pytest.mark.parametrize("zipped", [False, True])
def test_an_idx_file_of_labels_is_read_plain_or_gzipped(tmp_path, zipped):
    content = b"\0\0\x08\x01\0\0\0\x03" + b"\x05\x00\xff"
    found = read_idx(saved(tmp_path, gzip.compress(content) if zipped else content))
    assert found.tolist() == [5, 0, 255]
    assert found.dtype == np.uint8


def test_an_idx_file_of_images_is_read_row_by_row(tmp_path):
    content = b"\0\0\x08\x03" + b"\0\0\0\x01" + b"\0\0\0\x02" + b"\0\0\0\x03" + bytes(range(6))
    assert read_idx(saved(tmp_path, content)).tolist() == [[[0, 1, 2], [3, 4, 5]]]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it begins with nothing"),
        (b"<html>", "it begins with 3c 68 74 6d"),
        (b"\0\0\x0d\x01\0\0\0\x01....", "it begins with 00 00 0d 01"),  # floats
        (b"\0\0\x08\x02\0\0\0\x01\0\0\0\x01.", "it begins with 00 00 08 02"),
        (b"\0\0\x08\xff" + b"\xff" * 1020, "it begins with 00 00 08 ff"),
        (b"\0\0\x08\x03\0\0\0\x01\0\0", "it ends within its header"),
        (b"\0\0\x08\x01\0\0\0\x00", "its header promises 0 values"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "its header promises 4,294,967,295 x 4,294,967,295 x 4,294,967,295 values"),
        (b"\0\0\x08\x01\x7f\xff\xff\xff" + b"ab", "its header promises 2,147,483,647 values, and 2 follow"),
        (b"\0\0\x08\x01\0\0\0\x02abc", "its header promises 2 values, and more follow"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_hostile_header_is_refused(tmp_path, content, says, zipped):
    with pytest.raises(DataError, match=says):
        read_idx(saved(tmp_path, gzip.compress(content) if zipped else content))


def test_a_damaged_or_cut_off_gzip_is_refused(tmp_path):
    whole = bytearray(gzip.compress(b"\0\0\x08\x01\0\0\x10\x00" + np.random.default_rng(1).bytes(4096)))
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(saved(tmp_path, bytes(whole[:-2000])))
    whole[600] ^= 0xFF
    whole[-6] ^= 0xFF  # the checksum
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(saved(tmp_path, bytes(whole)))


def test_a_gzip_that_swells_is_read_no_further_than_its_header_says(tmp_path, monkeypatch):
    read = []
    plain = gzip.GzipFile.read

    def counted(self, size=-1):
        found = plain(self, size)
        read.append(len(found))
        return found

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    bomb = gzip.compress(b"\0\0\x08\x01\0\0\0\x0a" + bytes(50 * pixels.CHUNK_BYTES))
    with pytest.raises(DataError, match="and more follow"):
        read_idx(saved(tmp_path, bomb))
    assert sum(read) == 8 + 11
