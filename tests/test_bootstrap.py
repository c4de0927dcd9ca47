"""Draws as counts: what each metric is on them, how far they vary, and the interval made of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.judge import bootstrap
from kit.judge.bootstrap import bca_interval, drawn_counts, draws_of, no_spread, strata_of, weighted
from kit.metrics import METRICS, score


@st.composite
def answered(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels (N,), every class at least twice, probabilities (N, C) with ties, and counts (N,) from 1 to 3."""
    num_classes = draw(st.integers(2, 7))
    num_images = draw(st.integers(2 * num_classes, 30))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = random.permutation(np.arange(num_images) % num_classes)
    raw = random.integers(1, 6, size=(num_images, num_classes)).astype(np.float64)
    return labels, raw / raw.sum(axis=1, keepdims=True), random.integers(1, 4, size=num_images)


@pytest.mark.parametrize("metric", METRICS)
@given(data=answered(), of_targets=st.booleans())
def test_a_count_is_that_many_copies_of_the_image(metric, data, of_targets):
    labels, probabilities, counts = data
    truth = np.eye(probabilities.shape[1])[labels] if of_targets else labels
    copied = np.repeat(np.arange(len(labels)), counts)
    found = weighted(metric, truth, probabilities)(np.stack([np.ones(len(labels)), counts], axis=1))
    assert found == pytest.approx(
        [
            score(metric, labels=truth, probabilities=probabilities),
            score(metric, labels=truth[copied], probabilities=probabilities[copied]),
        ]
    )


def test_a_draw_without_a_member_of_a_class_has_no_area():
    area = weighted("roc_auc", np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]]))
    assert np.isnan(area(np.array([[0.0], [2.0], [1.0]]))).all()


def test_every_draw_has_as_many_images_of_each_class_as_there_are():
    strata = np.array([0, 2, 2, 0, 2, 1, 1])
    counts = next(drawn_counts(strata, num_draws=50, seed=1))
    assert counts.shape == (7, 50)
    for stratum, size in ((0, 2), (1, 2), (2, 3)):
        assert counts[strata == stratum].sum(axis=0) == pytest.approx(size)
    # Of two images one is drawn and counts twice, of three two are drawn and count 3/2 each.
    assert set(np.unique(counts[strata == 0])) == {0.0, 2.0}
    assert set(np.unique(counts[strata == 2])) == {0.0, 1.5, 3.0}


def test_the_draws_of_a_mean_vary_as_the_textbook_says_in_the_smallest_classes_too():
    # 40 classes of two images, with values 0 and 1: a class's mean has the variance s^2 / 2 = (1/2) / 2.
    strata, values = np.repeat(np.arange(40), 2), np.tile([0.0, 1.0], 40)
    draws = draws_of(lambda counts: values @ counts / 80, strata, num_draws=4000, seed=0)
    assert draws.mean() == pytest.approx(0.5, abs=0.005)
    assert draws.var() == pytest.approx(1 / 4 / 40, rel=0.1)


def test_images_alone_in_their_class_are_drawn_together_and_targets_have_no_classes():
    assert strata_of(np.array([3, 0, 0, 5, 0])).tolist() == [-1, 0, 0, -1, 0]
    assert strata_of(np.array([[0.2, 0.8], [1.0, 0.0]])).tolist() == [0, 0]


def test_draws_are_the_same_in_however_many_chunks(monkeypatch):
    strata = np.arange(30) % 4
    whole = np.concatenate(list(drawn_counts(strata, num_draws=23, seed=7)), axis=1)
    monkeypatch.setattr(bootstrap, "CHUNK_BYTES", 8 * 30 * 5)
    parts = list(drawn_counts(strata, num_draws=23, seed=7))
    assert [part.shape for part in parts] == [(30, 5)] * 4 + [(30, 3)]
    assert np.array_equal(np.concatenate(parts, axis=1), whole)
    assert not np.array_equal(next(drawn_counts(strata, num_draws=5, seed=8)), whole[:, :5])


def test_the_interval_of_draws_without_skew_or_bias_is_the_percentiles():
    draws = np.random.default_rng(0).permutation(np.linspace(-1, 1, 100_001))
    assert bca_interval(draws, 0.0, confidence=0.95) == pytest.approx((-0.95, 0.95), abs=1e-4)


def test_the_interval_is_that_of_scipy():
    from scipy.stats import bootstrap as scipys

    losses = np.random.default_rng(4).exponential(size=60)  # skewed, as losses are
    expected = scipys((losses,), np.mean, n_resamples=20_000, method="BCa", rng=0).confidence_interval
    # As many images as scipy draws: without the correction for n - 1, the weights of each draw are whole numbers.
    counts = np.random.default_rng(1).multinomial(60, np.full(60, 1 / 60), size=20_000)
    found = bca_interval(counts @ losses / 60, float(losses.mean()), confidence=0.95)
    assert found == pytest.approx((expected.low, expected.high), rel=0.02)
    assert found[1] - losses.mean() > losses.mean() - found[0]  # it reaches further where the losses do


def test_draws_that_are_all_alike_tell_nothing():
    alike = np.array([0.5, 0.5, np.nan, 0.5 + 1e-16])
    assert no_spread(alike) and not no_spread(np.array([0.5, 0.6]))
    assert bca_interval(alike, 0.5, confidence=0.95) == (0.5, 0.5)


@given(draws=st.lists(st.floats(-1, 1, width=16), min_size=2, max_size=30), value=st.floats(-1, 1))
def test_the_interval_holds_the_value_whatever_the_draws(draws, value):
    low, high = bca_interval(np.array(draws), value, confidence=0.95)
    assert low <= value <= high
