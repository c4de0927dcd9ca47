"""Decoding: one way from any file to RGB, and one way to make an image smaller."""

import contextlib
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from toys import HEIGHT, WIDTH, coloured_png, write_files

from kit.errors import DataError
from kit.store.decode import central_square, decode_image, image_size, read_image, reduced
from kit.store.headers import jpeg_header, kind_of, png_header


def test_an_image_is_read_as_rgb(tmp_path):
    write_files(tmp_path, {"a.png": coloured_png("red", 1)})
    image = read_image(tmp_path / "a.png")
    assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
    assert image.mean(axis=(0, 1)) == pytest.approx([220, 40, 40], abs=5)


def test_an_error_names_the_path_or_the_name_that_is_asked_for(tmp_path):
    write_files(tmp_path, {"a.png": b""})
    with pytest.raises(DataError, match=f"^{tmp_path}/a.png is empty"):
        read_image(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"^train/a\.png is empty"):
        read_image(tmp_path / "a.png", name="train/a.png")


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    grey=st.booleans(),
    kind=st.sampled_from(["JPEG", "PNG"]),
    seed=st.integers(0, 2**32 - 1),
    options=st.fixed_dictionaries(
        {"quality": st.integers(1, 100), "subsampling": st.integers(0, 2), "progressive": st.booleans()}
    ),
)
def test_opencv_and_pillow_give_the_same_pixels(height, width, grey, kind, seed, options):
    shape = (height, width) if grey else (height, width, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    data = encoded(pixels, kind, **(options if kind == "JPEG" else {}))
    header = (jpeg_header if kind == "JPEG" else png_header)(data, name="a")
    assert (header.height, header.width, header.plain) == (height, width, True)
    with Image.open(io.BytesIO(data)) as reference:
        assert (decode_image(data, name="a") == np.asarray(reference.convert("RGB"))).all()


def refusal(data: bytes) -> str | None:
    try:
        image = decode_image(data, name="a")
    except DataError as error:
        return str(error)
    assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
    return None


@given(share=st.floats(0, 0.99), kind=st.sampled_from(["JPEG", "PNG"]))
def test_a_file_that_is_cut_anywhere_is_refused(share, kind):
    data = encoded(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8), kind)
    with pytest.raises(DataError, match=r"^a (is empty|is truncated|is not an image)"):
        decode_image(data[: int(share * len(data))], name="a")


@given(
    start=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0"]), rest=st.binary()
)
def test_no_bytes_whatever_end_in_anything_but_pixels_or_one_paragraph(start, rest):
    message = refusal(start + rest)
    assert message is None or (message.startswith("a ") and "\n" not in message)


@given(
    at=st.integers(0, 10**6), value=st.integers(0, 255), kind=st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF"])
)
def test_a_file_with_one_wrong_byte_decodes_or_is_refused_in_one_paragraph(at, value, kind):
    data = bytearray(encoded(np.full((9, 9, 3), 50, dtype=np.uint8), kind))
    data[at % len(data)] = value
    message = refusal(bytes(data))
    assert message is None or "\n" not in message


def test_the_size_is_had_from_the_header_alone(tmp_path):
    data = encoded(np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8), "JPEG")
    write_files(tmp_path, {"cut.jpg": data[:-200], "page.jpg": b"<html>"})
    assert image_size(tmp_path / "cut.jpg") == (30, 50)
    assert image_size(tmp_path / "page.jpg") is None
    assert image_size(tmp_path / "none.jpg") is None


@pytest.mark.parametrize(("data", "kind"), [(b"\xff\xd8", "JPEG"), (b"RIFF\0\0\0\0WEBP", "WebP"), (b"text", "")])
def test_the_format_is_told_by_the_first_bytes(data, kind):
    assert kind_of(data) == kind


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((40, 80), (20, 40)), ((80, 40), (40, 20)), ((20, 30), (20, 30)), ((10, 90), (10, 90)), ((41, 1000), (20, 488))],
)
def test_the_shorter_side_is_reduced_and_nothing_is_enlarged(shape, expected):
    assert reduced(np.zeros((*shape, 3), dtype=np.uint8), 20).shape == (*expected, 3)


def test_a_fine_pattern_becomes_its_mean_when_it_is_reduced():
    chequers = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    smaller = reduced(np.repeat(chequers[..., None], 3, axis=2), 16)
    assert set(smaller.ravel().tolist()) <= {127, 128}  # picking every fourth pixel would give 0 or 255


@pytest.mark.parametrize("shape", [(20, 60), (60, 20), (20, 20), (5, 15), (400, 1000)])
def test_a_central_square_is_the_middle(shape):
    height, width = shape
    image = np.zeros((height, width, 3), dtype=np.uint8)
    edge = (max(shape) - min(shape)) // 2
    middle = image[:, edge : edge + height] if width > height else image[edge : edge + width]
    middle[:] = 200
    square = central_square(image, 20)
    assert square.shape == (20, 20, 3)
    assert (square[2:-2, 2:-2] >= 190).all()  # the border may mix with what is beside it


@pytest.mark.real
def test_every_pet_decodes_to_what_pillow_makes_of_it(test_data, tmp_path):
    import tarfile

    with tarfile.open(test_data / "data" / "oxford-pets" / "pets-unlisted.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    files = sorted(Path(tmp_path).rglob("*.jpg"))
    assert len(files) == 7
    for file in files:
        with Image.open(file) as reference:
            assert (read_image(file) == np.asarray(reference.convert("RGB"))).all()


def test_opencv_threads_are_left_as_they_are():
    before = cv2.getNumThreads()
    decode_image(coloured_png("red", 1), name="a")
    assert cv2.getNumThreads() == before


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("orientation", range(10))
def test_a_jpeg_stands_upright_whatever_its_exif_says(orientation, big_endian):
    exif = Image.Exif()
    exif.endian = ">" if big_endian else "<"
    exif[0x0112] = orientation
    exif[0x010F] = "a camera's maker"
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    data = encoded(pixels, "JPEG", exif=exif)
    with Image.open(io.BytesIO(data)) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    assert (decode_image(data, name="a") == expected).all()
    assert jpeg_header(data, name="a").upright == (orientation == 1)


def test_an_orientation_that_is_found_by_chance_means_no_more_than_another_decoder():
    data = encoded(np.zeros((20, 30, 3), dtype=np.uint8), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0--\x12\x01--")
    assert not jpeg_header(data, name="a").upright
    assert decode_image(data, name="a").shape == (20, 30, 3)


class Rooms:
    """Gives memory, and remembers which."""

    def __init__(self) -> None:
        self.given: list[np.ndarray] = []

    def __call__(self, height: int, width: int) -> np.ndarray:
        self.given.append(np.full((height, width, 3), 77, dtype=np.uint8))
        return self.given[-1]


@pytest.mark.parametrize(("shorter_side", "size"), [(0, (80, 120)), (45, (80, 120)), (40, (40, 60)), (12, (20, 30))])
def test_a_jpeg_is_decoded_into_the_room_that_is_offered_and_is_the_one_of_opencv(shorter_side, size):
    pixels = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    for grey in (False, True):
        data = encoded(pixels[..., 0] if grey else pixels, "JPEG")
        room = Rooms()
        image = decode_image(data, name="a", shorter_side=shorter_side, room=room)
        assert [given.shape[:2] for given in room.given] == [size] and np.shares_memory(image, room.given[0])
        name = {80: "COLOR", 40: "REDUCED_COLOR_2", 20: "REDUCED_COLOR_4"}[size[0]]
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), getattr(cv2, f"IMREAD_{name}"))
        assert (image == bgr[..., ::-1]).all()


@pytest.mark.parametrize("side", range(1, 24))
def test_a_small_jpeg_is_decoded_smaller_as_opencv_does(side):
    data = encoded(np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8), "JPEG")
    for shorter_side, factor in ((side // 2, 2), (side // 4, 4), (side // 8, 8)):
        if shorter_side and side // shorter_side == factor:
            bgr = cv2.imdecode(np.frombuffer(data, np.uint8), getattr(cv2, f"IMREAD_REDUCED_COLOR_{factor}"))
            assert (decode_image(data, name="a", shorter_side=shorter_side) == bgr[..., ::-1]).all()


def test_a_jpeg_that_tells_two_sizes_shows_nothing_of_the_memory_it_was_offered():
    data = encoded(np.full((20, 30, 3), 200, dtype=np.uint8), "JPEG")
    frame = data.index(b"\xff\xc0")
    length = 2 + int.from_bytes(data[frame + 2 : frame + 4], "big")
    second = bytearray(data[frame : frame + length])
    second[5:9] = (40).to_bytes(2, "big") + (60).to_bytes(2, "big")
    image: np.ndarray | None = None
    with contextlib.suppress(DataError):
        image = decode_image(data[:frame] + bytes(second) + data[frame:], name="a", room=Rooms())
    assert image is None or not (image == 77).all(axis=2).any()


def test_a_reduced_image_is_put_into_the_room_that_is_offered():
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    room = Rooms()
    smaller = reduced(image, 20, room=room)
    assert np.shares_memory(smaller, room.given[0]) and (smaller == reduced(image, 20)).all()
    assert reduced(image, 50, room=room) is image and len(room.given) == 1


@pytest.mark.parametrize("factor", [2, 3, 4, 8, 9])
def test_a_large_jpeg_may_be_decoded_smaller_and_is_nearly_the_reduced_whole_one(factor):
    smooth = np.random.default_rng(factor).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    whole = cv2.resize(smooth, (32 * factor + 16, 24 * factor), interpolation=cv2.INTER_CUBIC)
    data = encoded(whole, "JPEG", quality=95, subsampling=0)
    small = decode_image(data, name="a.jpg", shorter_side=24)
    assert 24 <= min(small.shape[:2]) < 2 * 24
    wanted = reduced(decode_image(data, name="a.jpg"), 24).astype(int)
    assert np.abs(reduced(small, 24) - wanted).mean() < 2


def test_a_jpeg_that_is_decoded_smaller_keeps_its_colours_and_stands_upright():
    whole = np.zeros((100, 200, 3), dtype=np.uint8)
    whole[:, :100] = (220, 40, 40)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: the left side is on top
    small = decode_image(encoded(whole, "JPEG", exif=exif), name="a.jpg", shorter_side=50)
    assert small.shape == (100, 50, 3)
    assert small[:45].mean(axis=(0, 1)) == pytest.approx([220, 40, 40], abs=6)
    assert small[55:].mean(axis=(0, 1)) == pytest.approx([0, 0, 0], abs=6)


@pytest.mark.parametrize("size", [110, 150, 201, 333, 700])
def test_every_pixel_counts_when_an_image_shrinks(size):
    stripes = np.zeros((size, size, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    inner = reduced(stripes, 100)[:, 1:-1]
    blocks = inner[:, :96].reshape(100, 24, 4, 3).mean(axis=2)  # four pixels together see the mean of the stripes
    assert np.abs(blocks - 127.5).max() < 45
