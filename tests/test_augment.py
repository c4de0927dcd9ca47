"""Views: a random one that depends on (seed, epoch, image id) alone, and a fixed one for evaluation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.config import AugmentConfig
from kit.data.augment import central_view, training_view

IMAGE = np.random.default_rng(0).integers(0, 256, size=(40, 60, 3), dtype=np.uint8)
STILL = AugmentConfig(smallest_crop=1, widest_aspect=1, mirror=False, rotate_degrees=0, brightness=0, contrast=0)
WILD = AugmentConfig(rotate_degrees=20)


def test_a_random_view_is_a_square_of_the_images_kind():
    view = training_view(WILD, image_size=32, seed=1)(IMAGE, "a", 0)
    assert view.shape == (32, 32, 3) and view.dtype == np.uint8


def test_seed_epoch_and_id_decide_the_view_and_nothing_else():
    one, two = (training_view(WILD, image_size=32, seed=1) for _ in range(2))
    expected = one(IMAGE, "a", 0)
    for image_id, epoch in (("b", 0), ("a", 1), ("c", 7)):  # whatever was drawn in between
        assert not np.array_equal(one(IMAGE, image_id, epoch), expected)
    assert np.array_equal(one(IMAGE, "a", 0), expected)
    assert np.array_equal(two(IMAGE, "a", 0), expected)
    assert not np.array_equal(training_view(WILD, image_size=32, seed=2)(IMAGE, "a", 0), expected)


def test_the_stored_image_stays_as_it_was():
    before = IMAGE.copy()
    training_view(WILD, image_size=32, seed=1)(IMAGE, "a", 0)
    assert np.array_equal(IMAGE, before)


def test_a_read_only_image_is_taken():
    frozen = IMAGE.copy()
    frozen.flags.writeable = False
    assert training_view(WILD, image_size=32, seed=1)(frozen, "a", 0).shape == (32, 32, 3)


def test_mirror_flips_about_half_of_the_images_and_is_off_where_it_must_be():
    square = np.ascontiguousarray(IMAGE[:32, :32])
    flipping = AugmentConfig(smallest_crop=1, widest_aspect=1, mirror=True, brightness=0, contrast=0)
    for config, lowest, highest in ((flipping, 30, 70), (STILL, 0, 0)):
        view = training_view(config, image_size=32, seed=1)
        views = [view(square, str(k), 0) for k in range(100)]
        flipped = sum(np.array_equal(seen, square[:, ::-1]) for seen in views)
        assert lowest <= flipped <= highest
        assert flipped + sum(np.array_equal(seen, square) for seen in views) == 100


def test_brightness_changes_the_mean_by_no_more_than_its_share():
    grey = np.full((32, 32, 3), 100, dtype=np.uint8)
    view = training_view(
        AugmentConfig(smallest_crop=1, widest_aspect=1, mirror=False, brightness=0.2, contrast=0), image_size=32, seed=1
    )
    means = [float(view(grey, str(k), 0).mean()) for k in range(50)]
    assert min(means) < 100 < max(means)
    assert all(100 - 0.2 * 255 - 1 <= mean <= 100 + 0.2 * 255 + 1 for mean in means)


@pytest.mark.parametrize(("shape", "crop", "size"), [((40, 60), 1.0, 40), ((60, 40), 1.0, 40), ((40, 60), 0.5, 20)])
def test_the_central_view_of_a_size_that_fits_is_the_centre_itself(shape, crop, size):
    image = np.random.default_rng(1).integers(0, 256, size=(*shape, 3), dtype=np.uint8)
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    view = central_view(image_size=size, crop_share=crop)(image, "a", 0)
    assert np.array_equal(view, image[top : top + size, left : left + size])


def test_a_shrunk_central_view_averages_areas():
    blocks = np.kron(np.array([[0, 100], [200, 40]]), np.ones((10, 10)))[..., None].repeat(3, axis=2).astype(np.uint8)
    view = central_view(image_size=2, crop_share=1.0)(blocks, "a", 0)
    assert view[..., 0].tolist() == [[0, 100], [200, 40]]


@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    crop=st.floats(0.01, 1),
    size=st.integers(8, 40),
    value=st.integers(0, 255),
)
def test_any_image_has_a_central_view_and_a_plain_one_stays_plain(height, width, crop, size, value):
    image = np.full((height, width, 3), value, dtype=np.uint8)
    view = central_view(image_size=size, crop_share=crop)(image, "a", 0)
    assert view.shape == (size, size, 3) and view.dtype == np.uint8
    assert (view == value).all()


@given(height=st.integers(1, 50), width=st.integers(1, 50), size=st.integers(8, 40))
def test_any_image_has_a_random_view(height, width, size):
    image = np.zeros((height, width, 3), dtype=np.uint8)
    assert training_view(WILD, image_size=size, seed=1)(image, "a", 0).shape == (size, size, 3)
