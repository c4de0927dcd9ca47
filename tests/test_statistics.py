"""Intervals and confusions, on numbers that can be checked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.judge import statistics
from kit.judge.statistics import confusion_matrix, most_confused, score_with_interval, verdict_on, wilson_interval
from kit.metrics import METRICS

LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
PREDICTED = np.array([0, 0, 1, 1, 1, 1, 0, 0, 1, 2])
PROBABILITIES = np.full((10, 3), 0.1) + 0.7 * np.eye(3)[PREDICTED]
CLASSES = ("ant", "bee", "cat")


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(statistics, "NUM_DRAWS", 50)


def test_wilsons_interval_of_8_of_10_is_the_textbooks():
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)


@given(num_images=st.integers(1, 5000), share=st.floats(0, 1))
def test_wilsons_interval_holds_the_share_and_stays_in_range(num_images, share):
    num_right = round(share * num_images)
    low, high = wilson_interval(num_right, num_images)
    assert 0 <= low <= num_right / num_images + 1e-12
    assert num_right / num_images - 1e-12 <= high <= 1


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.usefixtures("few_draws")
def test_every_metrics_interval_holds_its_value(metric):
    found = score_with_interval(metric, labels=LABELS, probabilities=PROBABILITIES)
    assert found.low <= found.value <= found.high
    assert (found.metric, found.num_images) == (metric, 10)


def test_accuracy_and_error_rate_have_mirrored_wilson_intervals():
    right = score_with_interval("accuracy", labels=LABELS, probabilities=PROBABILITIES)
    wrong = score_with_interval("error_rate", labels=LABELS, probabilities=PROBABILITIES)
    assert (right.interval, wrong.interval) == ("Wilson", "Wilson")
    assert right.value == pytest.approx(0.6)
    assert (right.low, right.high) == pytest.approx(wilson_interval(6, 10))
    assert (wrong.low, wrong.high) == pytest.approx((1 - right.high, 1 - right.low))
    assert str(right) == f"accuracy 0.6000 [{right.low:.4f}, {right.high:.4f}], n = 10"


@pytest.mark.usefixtures("few_draws")
def test_a_bootstrap_says_how_it_was_made_and_repeats_with_its_seed():
    draws = [
        score_with_interval("log_loss", labels=LABELS, probabilities=PROBABILITIES, seed=seed) for seed in (0, 0, 1)
    ]
    assert draws[0].interval == "stratified bootstrap, 50 draws, BCa"
    assert draws[0] == draws[1]
    assert (draws[0].low, draws[0].high) != (draws[2].low, draws[2].high)


@pytest.mark.usefixtures("few_draws")
def test_perfect_answers_have_an_interval_although_every_draw_of_them_is_alike():
    found = score_with_interval("mean_per_class_accuracy", labels=LABELS, probabilities=np.eye(3)[LABELS])
    assert (found.low, found.value, found.high) == (pytest.approx(wilson_interval(10, 10)[0]), 1.0, 1.0)
    assert found.interval == "Wilson, since all draws of a bootstrap are alike"


@pytest.mark.usefixtures("few_draws")
def test_where_nothing_is_known_about_chance_the_interval_is_called_none():
    found = score_with_interval("roc_auc", labels=LABELS, probabilities=np.eye(3)[LABELS])
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)
    assert found.interval == "none: all draws of a bootstrap are alike"


@pytest.mark.parametrize("metric", ["top5_accuracy", "micro_f1", "exact_match"])
def test_other_shares_of_images_have_wilsons_interval_too(metric):
    found = score_with_interval(metric, labels=LABELS, probabilities=PROBABILITIES)
    assert found.interval == "Wilson"
    assert (found.low, found.high) == wilson_interval(round(10 * found.value), 10)


def test_a_difference_is_called_by_its_sign_where_chance_does_not_explain_it():
    words = [verdict_on(0.01, p_value=0.049), verdict_on(-0.01, p_value=0.049), verdict_on(0.01, p_value=0.05)]
    assert words == ["better", "worse", "not distinguishable"]


def test_the_bootstrap_of_a_mean_has_about_its_normal_width():
    random = np.random.default_rng(3)
    of_truth = random.uniform(0.2, 0.9, size=400)
    probabilities = np.stack([of_truth, 1 - of_truth], axis=1)
    found = score_with_interval("log_loss", labels=np.zeros(400, dtype=np.int64), probabilities=probabilities)
    standard_error = np.log(of_truth).std() / 20
    assert found.high - found.low == pytest.approx(2 * 1.96 * standard_error, rel=0.1)


def test_rows_of_the_matrix_are_true_classes_and_columns_are_predicted_ones():
    assert confusion_matrix(LABELS, PROBABILITIES).tolist() == [[2, 1, 0], [0, 3, 0], [2, 1, 1]]


def test_the_most_confused_pair_comes_first_and_equal_ones_in_alphabetical_order():
    matrix = confusion_matrix(LABELS, PROBABILITIES)
    assert most_confused(matrix, CLASSES) == [("cat", "ant", 2), ("ant", "bee", 1), ("cat", "bee", 1)]
    assert most_confused(matrix, CLASSES, min_count=2) == [("cat", "ant", 2)]
    assert matrix[0, 0] == 2  # the input stays as it was


def test_the_interval_of_soft_labels_has_a_width_although_every_row_is_unlike():
    random = np.random.default_rng(1)
    truth, answers = random.dirichlet([1, 1, 1], size=80), random.dirichlet([1, 1, 1], size=80)
    found = score_with_interval("log_loss", labels=truth, probabilities=answers)
    assert found.low < found.value < found.high
    assert found.high - found.low > 0.1
    assert found.interval == "bootstrap, 1,000 draws, BCa"
