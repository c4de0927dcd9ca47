"""Calibration: the error by hand, the temperature that was hidden, and no image that fits its own."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import DataError
from kit.judge.calibration import calibrate, fitted_temperature, plot_reliability, reliability, with_temperature
from kit.judge.predict import Predictions
from kit.metrics import score

CLASSES = ("a", "b", "c")


def honest(num_images, *, seed=0):
    """Probabilities (N, 3), and truth drawn from them."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet([0.5, 0.5, 0.5], size=num_images)
    truth = (random.random((num_images, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    return truth, probabilities


def out_of_fold(truth, probabilities, folds=None):
    return Predictions(
        kind="out-of-fold",
        image_ids=tuple(f"{k:05d}" for k in range(len(truth))),
        classes=CLASSES,
        probabilities=probabilities.astype(np.float32),
        labels=tuple(CLASSES[k] for k in truth),
        folds=np.arange(len(truth)) % 3 if folds is None else folds,
    )


# Two answers of confidence 0.9, one right: gap 0.4. Two of 0.55, both right: gap 0.45. One of 1, right: none.
SURE = np.array([[0.9, 0.1], [0.9, 0.1], [0.55, 0.45], [0.45, 0.55], [1.0, 0.0]])
TRUTH = np.array([0, 1, 0, 1, 0])


def test_the_expected_calibration_error_is_the_mean_gap_of_the_bins():
    found = reliability(TRUTH, SURE)
    assert found.num_images.tolist() == [2, 2, 1]
    assert found.accuracy.tolist() == [1, 0.5, 1]
    assert found.confidence == pytest.approx([0.55, 0.9, 1])
    assert (found.low, found.high) == (pytest.approx([8 / 15, 13 / 15, 14 / 15]), pytest.approx([9 / 15, 14 / 15, 1]))
    assert found.error == pytest.approx((2 * 0.45 + 2 * 0.4 + 0) / 5)


def test_a_bin_holds_its_upper_end():
    found = reliability(np.array([0, 0]), np.array([[0.6, 0.4], [0.61, 0.39]]), num_bins=10)
    assert found.high.tolist() == [0.6, 0.7]


def test_adaptive_bins_have_equally_many_images():
    truth, probabilities = honest(1000)
    assert reliability(truth, probabilities, num_bins=8, adaptive=True).num_images.tolist() == [125] * 8


@pytest.mark.parametrize("adaptive", [False, True])
def test_honest_probabilities_have_a_small_error_and_boasting_ones_a_great_one(adaptive):
    truth, probabilities = honest(20_000)
    boasting = with_temperature(probabilities, 0.4)
    assert reliability(truth, probabilities, adaptive=adaptive).error < 0.015
    assert reliability(truth, boasting, adaptive=adaptive).error > 0.1


@given(temperature=st.floats(0.1, 10), seed=st.integers(0, 1000))
def test_a_temperature_keeps_every_order_and_sums_to_one(temperature, seed):
    _, probabilities = honest(20, seed=seed)
    found = with_temperature(probabilities, temperature)
    assert found.sum(axis=1) == pytest.approx(1)
    assert (found.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    assert with_temperature(probabilities, 1.0) == pytest.approx(probabilities)


def test_a_temperature_of_two_takes_the_square_root_of_the_odds():
    assert with_temperature(np.array([[0.8, 0.2]]), 2.0) == pytest.approx(np.array([[2 / 3, 1 / 3]]))


@pytest.mark.parametrize("hidden", [0.5, 2.5])
def test_the_temperature_that_was_hidden_is_found(hidden):
    truth, probabilities = honest(5000)
    own = fitted_temperature(truth, probabilities)
    assert own == pytest.approx(1, rel=0.1)
    found = fitted_temperature(truth, with_temperature(probabilities, 1 / hidden))
    assert found == pytest.approx(hidden * own, rel=2e-3)


def test_calibration_out_of_fold_mends_a_boasting_network():
    truth, probabilities = honest(6000)
    found = calibrate(out_of_fold(truth, with_temperature(probabilities, 0.4)))
    assert found.temperature == pytest.approx(2.5, rel=0.1)
    assert found.after.error < 0.03 < 0.1 < found.before.error
    assert found.log_loss_after < found.log_loss_before
    assert found.log_loss_after == pytest.approx(score("log_loss", labels=truth, probabilities=probabilities), rel=0.01)
    assert str(found).startswith("temperature 2.")


def test_a_folds_temperature_is_fitted_on_the_others_alone():
    truth, probabilities = honest(900)
    folds = np.arange(900) % 3
    plain = calibrate(out_of_fold(truth, probabilities, folds))
    spoilt = np.where((folds == 2)[:, None], with_temperature(probabilities, 0.2), probabilities)
    found = calibrate(out_of_fold(truth, spoilt, folds))
    assert found.by_fold[2] == pytest.approx(plain.by_fold[2], rel=1e-3)  # what happened to fold 2 is not seen by it
    assert found.by_fold[0] > 1.3 * plain.by_fold[0]
    assert set(found.by_fold) == {0, 1, 2}


def test_a_temperature_needs_folds_labels_and_classes_that_exclude_each_other():
    truth, probabilities = honest(30)
    one = out_of_fold(truth, probabilities)
    with pytest.raises(DataError, match="at least two folds; these are of the kind 'test'"):
        calibrate(replace(one, kind="test"))
    with pytest.raises(DataError, match="of 1 fold"):
        calibrate(replace(one, folds=np.zeros(30, dtype=np.int64)))
    with pytest.raises(DataError, match="1 of 30 predicted images have no known label"):
        calibrate(replace(one, labels=("", *one.labels[1:])))
    with pytest.raises(DataError, match="any number of labels"):
        calibrate(replace(one, targets=np.ones((30, 3))))


def test_the_picture_shows_both_curves_with_their_errors(tmp_path):
    truth, probabilities = honest(3000)
    found = calibrate(out_of_fold(truth, with_temperature(probabilities, 0.4)))
    figure = plot_reliability(found.before, found.after, title="three classes")
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == [
        "as sure as right",
        f"before: ECE {found.before.error:.4f}",
        f"after: ECE {found.after.error:.4f}",
    ]
    figure.savefig(tmp_path / "reliability.png")
    alone = plot_reliability(found.before)
    assert alone.axes[0].get_legend().get_texts()[1].get_text() == f"measured: ECE {found.before.error:.4f}"
