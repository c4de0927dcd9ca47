"""Clipping: the one that is best on images that the networks never saw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.judge.clip import best_clip, clipped
from kit.judge.predict import Predictions


def out_of_fold(of_truth: list[float]) -> Predictions:
    """Return predictions of images of class "cat" with these probabilities for it."""
    cat = np.array(of_truth)
    return Predictions(
        kind="out-of-fold",
        image_ids=tuple(f"{k}" for k in range(len(cat))),
        classes=("cat", "dog"),
        probabilities=np.stack([cat, 1 - cat], axis=1).astype(np.float32),
        labels=("cat",) * len(cat),
        folds=np.zeros(len(cat), dtype=np.int64),
    )


def test_one_sure_mistake_in_a_hundred_is_best_clipped_at_one_in_a_hundred():
    # With clip c the loss is -(99 ln(1 - c) + ln c) / 100, least at c = 1/100.
    assert best_clip(out_of_fold([1.0] * 99 + [0.0]), metric="log_loss") == pytest.approx(0.01, rel=0.15)


def test_nothing_is_clipped_where_all_are_right_or_only_the_order_counts():
    assert best_clip(out_of_fold([1.0] * 100), metric="log_loss") == 0.0
    assert best_clip(out_of_fold([1.0] * 99 + [0.0]), metric="accuracy") == 0.0


def test_a_clip_is_the_least_probability_that_is_left():
    found = clipped(np.array([[1.0, 0.0], [0.25, 0.75]]), 0.1)
    assert found.tolist() == [[pytest.approx(0.9), pytest.approx(0.1)], [pytest.approx(0.25), pytest.approx(0.75)]]


def test_rows_of_more_classes_are_scaled_to_sum_to_one_again():
    found = clipped(np.array([[1.0, 0.0, 0.0]]), 0.1)  # 0.9, 0.1, 0.1 sum to 1.1
    assert found.tolist() == [[pytest.approx(0.9 / 1.1), pytest.approx(0.1 / 1.1), pytest.approx(0.1 / 1.1)]]


@given(clip=st.floats(0, 0.3), seed=st.integers(0, 100))
def test_clipped_rows_still_sum_to_one_and_keep_their_order(clip, seed):
    raw = np.random.default_rng(seed).dirichlet([0.1, 0.1, 0.1], size=5)
    found = clipped(raw, clip)
    assert found.sum(axis=1) == pytest.approx(1)
    assert found.min() >= clip / (1 + 3 * clip) - 1e-12
    assert (found.argmax(axis=1) == raw.argmax(axis=1)).all()


def test_the_chosen_clip_is_no_worse_than_none():
    random = np.random.default_rng(1).beta(4, 1, size=200)
    found = best_clip(out_of_fold(random.tolist()), metric="log_loss")
    kept = clipped(np.stack([random, 1 - random], axis=1), found)[:, 0]
    assert -np.log(kept).mean() <= -np.log(random).mean() + 1e-9


def test_with_several_labels_the_clip_does_not_depend_on_the_number_of_classes():
    for num_classes in (2, 3, 50):
        sure = np.zeros((1, num_classes))
        sure[0, :2] = 1.0, 0.5
        found = clipped(sure, 0.1, several=True)[0]
        assert found.tolist() == pytest.approx([0.9, 0.5, *[0.1] * (num_classes - 2)])
