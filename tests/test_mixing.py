"""Mixup and CutMix: shares by hand, any batch size, the same for the same seed and step."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kit.config import AugmentConfig
from kit.train.mixing import mix, one_hot

MIXUP, CUTMIX = AugmentConfig(mixup_alpha=0.8), AugmentConfig(cutmix_alpha=1.0)
BOTH = AugmentConfig(mixup_alpha=0.8, cutmix_alpha=1.0)


def batch(size, side=16):
    """Image k is k everywhere and of class k, so that a mixed pixel tells its parts."""
    images = torch.arange(size, dtype=torch.float32)[:, None, None, None].expand(size, 3, side, side)
    return images.contiguous(memory_format=torch.channels_last), torch.eye(size)


@given(size=st.integers(2, 9), step=st.integers(0, 1000))
def test_mixup_adds_pairs_of_images_and_their_targets_in_one_share(size, step):
    images, targets = batch(size)
    mixed, mixed_targets = mix(images, targets, config=MIXUP, seed=1, step=step)
    # The value of image k is its class: the mean of the classes under the mixed targets is the mixed pixel.
    torch.testing.assert_close(mixed[:, 0, 0, 0], mixed_targets @ torch.arange(size, dtype=torch.float32))
    torch.testing.assert_close(mixed, mixed[:, :1, :1, :1].expand_as(mixed))
    torch.testing.assert_close(mixed_targets.sum(dim=1), torch.ones(size))
    shares = mixed_targets.diagonal()
    torch.testing.assert_close(shares, shares[:1].expand(size))  # one share for the batch, and no image with itself


@given(size=st.integers(2, 9), step=st.integers(0, 1000), side=st.sampled_from([8, 15, 32]))
def test_cutmix_pastes_a_box_and_the_share_is_its_area(size, step, side):
    images, targets = batch(size, side)
    mixed, mixed_targets = mix(images, targets, config=CUTMIX, seed=1, step=step)
    for k in range(size):
        kept = mixed[k, 0] == k
        assert float(mixed_targets[k, k]) == pytest.approx(float(kept.float().mean()), abs=1e-6)
        rows, columns = (~kept).any(dim=1).sum(), (~kept).any(dim=0).sum()
        assert rows * columns == (~kept).sum()  # a box
        assert torch.equal(mixed[k, 0], mixed[k, 2])
    torch.testing.assert_close(mixed_targets.sum(dim=1), torch.ones(size))


def test_each_image_meets_every_other_one_over_the_steps_and_never_itself():
    images, targets = batch(5)
    partners = set()
    for step in range(100):
        _, mixed = mix(images, targets, config=MIXUP, seed=1, step=step)
        assert mixed[0, 0] < 1
        partners |= {int(mixed[0, 1:].argmax()) + 1}
    assert partners == {1, 2, 3, 4}


@pytest.mark.parametrize("config", [MIXUP, CUTMIX, BOTH])
def test_seed_and_step_decide_alone_and_nothing_is_changed_in_place(config):
    images, targets = batch(7)
    before = images.clone(), targets.clone()
    torch.manual_seed(1)
    first = mix(images, targets, config=config, seed=1, step=4)
    torch.manual_seed(2)
    again = mix(images, targets, config=config, seed=1, step=4)
    others = [mix(images, targets, config=config, seed=seed, step=step) for seed, step in ((1, 5), (2, 4))]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(not torch.equal(first[1], other[1]) for other in others)
    assert torch.equal(images, before[0])
    assert torch.equal(targets, before[1])


def test_the_generators_of_torch_and_numpy_are_left_alone():
    before = torch.get_rng_state()
    mix(*batch(4), config=BOTH, seed=1, step=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_with_both_each_batch_has_one_of_them_about_equally_often():
    images, targets = batch(3)
    num_cutmix = 0
    for step in range(200):
        mixed, _ = mix(images, targets, config=BOTH, seed=1, step=step)
        num_cutmix += bool((mixed == mixed.round()).all())
    assert 70 < num_cutmix < 130


def test_shares_follow_the_beta_distribution():
    images, targets = batch(2, side=8)
    shares = [float(mix(images, targets, config=MIXUP, seed=1, step=k)[1][0, 0]) for k in range(600)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.04)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.8 + 1)), abs=0.01)  # of Beta(a, a)


def test_nothing_is_mixed_without_alphas_or_with_one_image():
    for size, config in ((4, AugmentConfig()), (1, BOTH)):
        images, targets = batch(size)
        mixed, mixed_targets = mix(images, targets, config=config, seed=1, step=1)
        assert mixed is images
        assert mixed_targets is targets


@pytest.mark.parametrize("config", [MIXUP, CUTMIX])
def test_images_stay_channels_last(config):
    mixed, _ = mix(*batch(5), config=config, seed=1, step=1)
    assert mixed.is_contiguous(memory_format=torch.channels_last)


def test_class_indices_become_rows_with_a_single_one():
    found = one_hot(torch.tensor([2, 0]), 3)
    assert found.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert found.dtype == torch.float32
