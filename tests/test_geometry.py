"""Geometry: boxes as torchvision draws them, corners where they belong, and draws that say nothing of each other."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from kit.config import AugmentConfig
from kit.data.draws import keys_of
from kit.data.geometry import Drawn, draw, matrices

STILL = AugmentConfig(smallest_crop=1, widest_aspect=1, mirror=False, brightness=0, contrast=0)
EVERYTHING = AugmentConfig(rotate_degrees=30, warp=0.2)


def drawn_of(config, shape, num=1, *, epoch=0):
    """Return the draws of `num` images of one shape, and their shapes."""
    shapes = np.tile(np.array(shape), (num, 1))
    return draw(config, keys=keys_of([str(k) for k in range(num)]), shapes=shapes, seed=1, epoch=epoch), shapes


def placed(drawn, shapes, points, *, image_size):
    """Return (N, P, 2): where points (P, 2) of the views lie in the stored images."""
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    found = np.einsum("nij,pj->npi", matrices(drawn, shapes, image_size=image_size), homogeneous)
    return found[..., :2] / found[..., 2:]


CORNERS = np.array([[0, 0], [8, 0], [8, 8], [0, 8]])  # x, y of a view of 8 pixels


@pytest.mark.parametrize("shape", [(256, 340), (60, 40), (32, 200), (300, 20)])
@pytest.mark.parametrize("config", [AugmentConfig(), AugmentConfig(smallest_crop=0.08, widest_aspect=2)])
def test_boxes_are_distributed_as_torchvisions(shape, config):
    from torchvision.transforms import RandomResizedCrop

    image = torch.zeros(3, *shape)
    widest = config.widest_aspect
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = np.array(
            [
                RandomResizedCrop.get_params(image, [config.smallest_crop, 1.0], [1 / widest, widest])
                for _ in range(2000)
            ]
        )
    ours = drawn_of(config, shape, 10_000)[0].boxes
    for of in (
        lambda top, left, height, width: height * width,
        lambda top, left, height, width: width / height,
        lambda top, left, height, width: top,
        lambda top, left, height, width: left,
        lambda top, left, height, width: (top + 0.5) / (shape[0] - height + 1),
        lambda top, left, height, width: (left + 0.5) / (shape[1] - width + 1),
    ):
        assert ks_2samp(of(*ours.T), of(*theirs.T)).pvalue > 1e-3


@given(height=st.integers(1, 400), width=st.integers(1, 400), smallest=st.floats(0.01, 1), widest=st.floats(1, 4))
def test_a_box_lies_within_its_image(height, width, smallest, widest):
    config = AugmentConfig(smallest_crop=smallest, widest_aspect=widest)
    tops, lefts, heights, widths = drawn_of(config, (height, width), 50)[0].boxes.T
    assert tops.min() >= 0 and lefts.min() >= 0 and heights.min() >= 1 and widths.min() >= 1
    assert (tops + heights).max() <= height and (lefts + widths).max() <= width


def test_where_no_box_fits_it_is_the_largest_central_one():
    drawn, _ = drawn_of(AugmentConfig(smallest_crop=1, widest_aspect=1.5), (20, 100))
    assert drawn.boxes.tolist() == [[0, 35, 20, 30]]
    drawn, _ = drawn_of(STILL, (100, 21))
    assert drawn.boxes.tolist() == [[39, 0, 21, 21]]


def test_the_corners_of_a_view_lie_where_its_parameters_say():
    box = np.array([[10, 20, 30, 40]])  # top, left, height, width, of an image of 60 x 100
    shapes = np.array([[60, 100]])
    plain = Drawn(boxes=box, mirrored=np.array([False]), degrees=None, moves=None, gains=np.ones(1), biases=np.zeros(1))
    upright = [[20, 10], [60, 10], [60, 40], [20, 40]]  # x, y, clockwise from the top left
    # A quarter turn about (50, 30): right becomes down.
    quarter = [[70, 0], [70, 40], [40, 40], [40, 0]]
    moves = np.zeros((1, 4, 2))
    moves[0, 2] = [0.1, -0.2]  # the bottom right corner by a tenth of the width and a fifth of the height
    for drawn, expected in (
        (plain, upright),
        (replace(plain, mirrored=np.array([True])), [upright[k] for k in (1, 0, 3, 2)]),
        (replace(plain, degrees=np.array([90.0])), quarter),
        (replace(plain, moves=moves), [*upright[:2], [64, 34], upright[3]]),
        (replace(plain, moves=moves, mirrored=np.array([True])), [upright[1], upright[0], upright[3], [64, 34]]),
    ):
        assert placed(drawn, shapes, CORNERS, image_size=8)[0] == pytest.approx(np.array(expected))
    middle = placed(plain, shapes, np.array([[4, 4], [2, 6]]), image_size=8)[0]
    assert middle == pytest.approx(np.array([[40, 25], [30, 32.5]]))


def test_straight_lines_stay_straight_in_a_warped_view():
    drawn, shapes = drawn_of(AugmentConfig(warp=0.3), (50, 70), 200)
    line = placed(drawn, shapes, np.array([[0, 1], [3, 3], [6, 5]]), image_size=8)  # (N, 3, 2)
    one, other = line[:, 1] - line[:, 0], line[:, 2] - line[:, 0]
    assert np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]).max() < 1e-8


def test_no_warped_view_folds_or_is_stretched_without_bounds():
    for warp in (0.1, 0.2, 0.4):
        drawn, shapes = drawn_of(AugmentConfig(warp=warp), (50, 50), 5000)
        assert drawn.moves is not None and np.abs(drawn.moves).max() <= warp
        depths = np.einsum("nj,pj->np", matrices(drawn, shapes, image_size=8)[:, 2], np.c_[CORNERS, np.ones(4)])
        assert depths.min() > 0.05 and depths.max() < 20
    halved = np.abs(drawn.moves).max(axis=(1, 2)) < 0.2
    assert 0.001 < halved.mean() < 0.5


def test_degrees_light_and_mirror_fill_their_ranges():
    drawn, _ = drawn_of(AugmentConfig(rotate_degrees=10, brightness=0.2, contrast=0.3, warp=0.1), (50, 70), 5000)
    for values, limit in (
        (drawn.degrees, 10),
        (drawn.biases, 0.2 * 255),
        (drawn.gains - 1, 0.3),
        (drawn.moves[:, 2, 1], 0.1),
    ):
        quantiles = np.quantile(values / limit, [0, 0.25, 0.5, 0.75, 1])
        assert quantiles == pytest.approx([-1, -0.5, 0, 0.5, 1], abs=0.05) and np.abs(values).max() <= limit
    assert 0.47 < drawn.mirrored.mean() < 0.53


def test_what_is_off_changes_nothing_and_leaves_the_others_their_draws():
    still, _ = drawn_of(STILL, (50, 50), 20)
    assert still.upright and still.boxes.tolist() == [[0, 0, 50, 50]] * 20
    assert not still.mirrored.any() and set(still.gains) == {1.0} and set(still.biases) == {0.0}
    every, _ = drawn_of(EVERYTHING, (50, 70), 20)
    less, _ = drawn_of(replace(EVERYTHING, warp=0.0, mirror=False, contrast=0.0), (50, 70), 20)
    assert np.array_equal(every.boxes, less.boxes) and np.array_equal(every.degrees, less.degrees)
    assert np.array_equal(every.biases, less.biases)


def test_no_parameter_says_anything_of_another():
    drawn, _ = drawn_of(EVERYTHING, (256, 340), 8000)
    tops, lefts, heights, widths = drawn.boxes.T
    parameters = [
        heights * widths,
        np.log(widths / heights),
        (tops + 0.5) / (256 - heights + 1),
        (lefts + 0.5) / (340 - widths + 1),
        drawn.mirrored,
        drawn.degrees,
        drawn.gains,
        drawn.biases,
        *drawn.moves.reshape(-1, 8).T,
    ]
    correlations = np.corrcoef(np.array(parameters, dtype=float))
    # The largest boxes must have the image's aspect: area and aspect are related by it alone, here as in torchvision.
    correlations[0, 1] = correlations[1, 0] = 0
    assert np.abs(correlations - np.eye(16)).max() < 0.045  # 4 standard errors
