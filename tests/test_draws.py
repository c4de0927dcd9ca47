"""Draws: numbers that depend on seed, epoch and id alone, uniform, and independent of each other."""

import numpy as np
import pytest
from scipy.stats import kstest

from kit.data.draws import STEP, _mixed, keys_of, uniforms

KEYS = keys_of([f"images/{k:05d}.jpg" for k in range(4000)])


def test_the_streams_are_those_of_splitmix64():
    numbers = _mixed(np.uint64(1234567) + STEP * np.arange(1, 4, dtype=np.uint64))
    # https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64
    assert numbers.tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_an_image_draws_the_same_in_any_company_and_any_number():
    every = uniforms(KEYS, seed=3, epoch=5, num=9)
    some = [17, 4, 3999]
    assert np.array_equal(uniforms(KEYS[some], seed=3, epoch=5, num=4), every[some, :4])


def test_seed_epoch_and_id_each_change_every_number():
    ours = uniforms(KEYS, seed=3, epoch=5, num=9)
    for seed, epoch in ((4, 5), (3, 6), (5, 3), (0, 0)):
        assert not (uniforms(KEYS, seed=seed, epoch=epoch, num=9) == ours).any()
    assert len(np.unique(ours)) == ours.size


def test_ids_of_any_text_have_keys_of_their_own():
    ids = ["", "a", "b", "A", "a ", "猫", "\udcff.jpg"]  # the last as Python reads a file name that is no UTF-8
    assert len(set(keys_of(ids).tolist())) == len(ids)
    assert keys_of(["a"]).tolist() == [0x2F42665B399EF840]  # in every process, on every machine
    assert len(keys_of([])) == 0


@pytest.mark.parametrize("axis", ["images", "epochs", "seeds"])
def test_numbers_are_uniform_and_those_of_neighbours_are_unrelated(axis):
    if axis == "images":
        drawn = uniforms(KEYS, seed=1, epoch=1, num=5)
    else:
        drawn = np.concatenate(
            [uniforms(KEYS[:1], num=5, **{"seed": 1, "epoch": 1, axis[:-1]: k}) for k in range(4000)]
        )
    assert all(kstest(column, "uniform").pvalue > 1e-3 for column in drawn.T)
    both = np.concatenate([drawn[:-1], drawn[1:]], axis=1)  # five numbers, and five of the next image, epoch or seed
    assert np.abs(np.corrcoef(both.T) - np.eye(10)).max() < 0.06  # 3.8 standard errors
