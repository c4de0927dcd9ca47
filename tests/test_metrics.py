"""Metrics: one contract for all of them, one example each that can be checked by hand, and scikit-learn's word."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.metrics import METRICS, score

LABELS = np.array([0, 1, 2, 3, 4, 5, 6, 0, 1])  # more classes than the five best answers
PERFECT = np.eye(7)[LABELS]  # (9, 7)
UNIFORM = np.full((9, 7), 1 / 7)
BEST = {
    "accuracy": 1.0,
    "error_rate": 0.0,
    "mean_per_class_accuracy": 1.0,
    "log_loss": 0.0,
    "roc_auc": 1.0,
    "mean_f1": 1.0,
    "exact_match": 1.0,
    "macro_f1": 1.0,
    "micro_f1": 1.0,
    "quadratic_weighted_kappa": 1.0,
    "top5_accuracy": 1.0,
    "map5": 1.0,
}


@st.composite
def answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (N,), every class present, and probabilities (N, C), all positive."""
    num_classes = draw(st.integers(2, 7))
    num_images = draw(st.integers(2 * num_classes, 30))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = random.permutation(np.arange(num_images) % num_classes)
    # Few levels, so that equal probabilities happen.
    raw = random.integers(1, 6, size=(num_images, num_classes)).astype(np.float64)
    return labels, raw / raw.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_is_listed_under_its_name_with_a_definition(metric):
    entry = METRICS[metric]
    assert entry.name == metric
    assert entry.definition
    assert entry.takes in ("classes", "labels", "probabilities")
    assert [entry.per_image, entry.of_tally, entry.of_all].count(None) == 2


@pytest.mark.parametrize("metric", METRICS)
def test_perfect_answers_get_the_best_value(metric):
    assert score(metric, labels=LABELS, probabilities=PERFECT) == BEST[metric]


@pytest.mark.parametrize("metric", METRICS)
def test_the_declared_direction_is_the_true_one(metric):
    perfect = score(metric, labels=LABELS, probabilities=PERFECT)
    uniform = score(metric, labels=LABELS, probabilities=UNIFORM)
    assert (perfect > uniform) is METRICS[metric].greater_is_better
    assert perfect != uniform


@pytest.mark.parametrize("metric", METRICS)
@given(data=answers(), seed=st.integers(0, 1000))
def test_row_order_does_not_matter(metric, data, seed):
    labels, probabilities = data
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = score(metric, labels=labels[order], probabilities=probabilities[order])
    assert shuffled == pytest.approx(score(metric, labels=labels, probabilities=probabilities))


@pytest.mark.parametrize("metric", [m for m in METRICS if METRICS[m].takes == "classes"])
@given(data=answers())
def test_a_metric_that_takes_classes_sees_the_most_probable_class_only(metric, data):
    labels, probabilities = data
    decided = np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)]
    assert score(metric, labels=labels, probabilities=decided) == score(
        metric, labels=labels, probabilities=probabilities
    )


TWO_OF_THREE = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]])  # of labels 0, 0, 1: the second is wrong


def test_two_of_three_right_is_an_accuracy_of_two_thirds():
    assert score("accuracy", labels=np.array([0, 0, 1]), probabilities=TWO_OF_THREE) == pytest.approx(2 / 3)


def test_one_of_three_wrong_is_an_error_rate_of_a_third():
    assert score("error_rate", labels=np.array([0, 0, 1]), probabilities=TWO_OF_THREE) == pytest.approx(1 / 3)


def test_a_class_half_right_and_a_class_all_right_is_three_quarters_per_class():
    labels = np.array([0, 0, 1])
    assert score("mean_per_class_accuracy", labels=labels, probabilities=TWO_OF_THREE) == pytest.approx(0.75)


def test_a_class_without_images_does_not_count_in_the_mean_per_class():
    probabilities = np.array([[1.0, 0, 0], [1.0, 0, 0]])
    assert score("mean_per_class_accuracy", labels=np.array([0, 0]), probabilities=probabilities) == 1.0


def test_log_loss_is_the_mean_of_minus_the_logarithm_of_the_true_class():
    found = score("log_loss", labels=np.array([0, 0, 1]), probabilities=TWO_OF_THREE)
    assert found == pytest.approx(-(log(0.9) + log(0.4) + log(0.7)) / 3)


def test_a_uniform_guess_over_four_classes_scores_log_four():
    assert score("log_loss", labels=np.array([0, 1, 3]), probabilities=np.full((3, 4), 0.25)) == pytest.approx(log(4))


def test_a_certain_mistake_costs_a_finite_log_loss():
    found = score("log_loss", labels=np.array([1]), probabilities=np.array([[1.0, 0.0]]))
    assert found == pytest.approx(15 * log(10))


def test_roc_auc_is_the_share_of_pairs_in_the_right_order_and_a_tie_is_half():
    second = np.array([0.1, 0.4, 0.4, 0.8])  # labels 0, 0, 1, 1: of four pairs three are right and one is a tie
    probabilities = np.stack([1 - second, second], axis=1)
    assert score("roc_auc", labels=np.array([0, 0, 1, 1]), probabilities=probabilities) == pytest.approx(3.5 / 4)


def test_roc_auc_of_one_class_only_is_not_a_number():
    assert np.isnan(score("roc_auc", labels=np.array([1, 1]), probabilities=np.array([[0.1, 0.9], [0.2, 0.8]])))


@pytest.mark.parametrize("metric", METRICS)
@given(data=answers())
def test_targets_of_one_class_each_score_as_the_class_indices_do(metric, data):
    labels, probabilities = data
    targets = np.eye(probabilities.shape[1])[labels]
    assert score(metric, labels=targets, probabilities=probabilities) == pytest.approx(
        score(metric, labels=labels, probabilities=probabilities)
    )


def test_the_log_loss_of_a_soft_label_weighs_each_class_by_its_target():
    found = score("log_loss", labels=np.array([[0.25, 0.75]]), probabilities=np.array([[0.5, 0.5]]))
    assert found == pytest.approx(log(2))
    found = score("log_loss", labels=np.array([[0.25, 0.75]]), probabilities=np.array([[0.2, 0.8]]))
    assert found == pytest.approx(-(0.25 * log(0.2) + 0.75 * log(0.8)))


def test_a_soft_label_counts_as_its_most_probable_class():
    truth = np.array([[2 / 3, 1 / 3], [1 / 3, 2 / 3]])
    assert score("accuracy", labels=truth, probabilities=np.array([[0.9, 0.1], [0.8, 0.2]])) == 0.5


SEVERAL = np.array([[1.0, 1, 0], [0, 0, 1], [0, 0, 0]])  # two labels, one, none
ANSWERS = np.array([[0.9, 0.2, 0.1], [0.1, 0.1, 0.9], [0.1, 0.2, 0.3]])  # one of the two; right; right


def test_one_of_two_labels_found_is_an_f1_of_two_thirds_and_no_label_rightly_seen_is_one():
    assert score("mean_f1", labels=SEVERAL, probabilities=ANSWERS) == pytest.approx((2 / 3 + 1 + 1) / 3)


def test_an_exact_match_needs_every_label_and_no_other():
    assert score("exact_match", labels=SEVERAL, probabilities=ANSWERS) == pytest.approx(2 / 3)


def test_roc_auc_of_several_labels_is_the_mean_over_the_columns():
    # Columns: 0.9 against 0.1, 0.1: 1. 0.2 against 0.1 and 0.2: (1 + 1/2) / 2. 0.9 against 0.1, 0.3: 1.
    assert score("roc_auc", labels=SEVERAL, probabilities=ANSWERS) == pytest.approx((1 + 0.75 + 1) / 3)


def ranked(labels, probabilities):
    """What is expected of the metrics of the five best answers, by going through each row's answers in order."""
    places = []
    for label, row in zip(labels.tolist(), probabilities.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda k: (-row[k], k))
        places.append(order.index(label) + 1)
    return {
        "top5_accuracy": np.mean([place <= 5 for place in places]),
        "map5": np.mean([1 / place if place <= 5 else 0 for place in places]),
    }


# Grades 0, 0, 1, 2 answered 0, 1, 1, 0. Distances squared: 0, 1, 0, 4, in all 5. Every truth with every answer:
# 0 with 0, 1, 1, 0 is 2, twice; 1 with them is 2; 2 with them is 4 + 1 + 1 + 4 = 10; in all 16 over 4 images: 4.
GRADES = np.array([0, 0, 1, 2])
GRADED = np.eye(3)[[0, 1, 1, 0]]


def test_kappa_is_one_minus_the_squared_distances_over_those_of_chance():
    assert score("quadratic_weighted_kappa", labels=GRADES, probabilities=GRADED) == pytest.approx(1 - 5 / 4)


def test_kappa_of_a_constant_answer_is_zero_and_of_one_and_the_same_class_everywhere_one():
    constant = np.eye(3)[[1, 1, 1, 1]]
    assert score("quadratic_weighted_kappa", labels=GRADES, probabilities=constant) == 0
    assert score("quadratic_weighted_kappa", labels=np.array([1, 1, 1, 1]), probabilities=constant) == 1


def test_macro_f1_is_the_mean_over_the_classes_and_micro_f1_the_accuracy():
    # Class 0: 1 hit of 2 true and 2 answered, F1 1/2. Class 1: 1 hit of 1 and 2, 2/3. Class 2: no hit, 0.
    assert score("macro_f1", labels=GRADES, probabilities=GRADED) == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert score("micro_f1", labels=GRADES, probabilities=GRADED) == 0.5


def test_a_class_that_is_neither_true_nor_answered_does_not_count_in_macro_f1():
    assert score("macro_f1", labels=np.array([0, 1]), probabilities=np.eye(5)[[0, 1]]) == 1


# The true class of each row is first, third, fifth and sixth of the seven.
PLACED = np.array([[7, 6, 5, 4, 3, 2, 1]] * 4) / 28
PLACES = np.array([0, 2, 4, 5])


def test_top5_accuracy_counts_the_first_five_places_alike():
    assert score("top5_accuracy", labels=PLACES, probabilities=PLACED) == 3 / 4


def test_map5_gives_a_right_answer_one_over_its_place_and_nothing_behind_the_fifth():
    assert score("map5", labels=PLACES, probabilities=PLACED) == pytest.approx((1 + 1 / 3 + 1 / 5 + 0) / 4)


def test_of_equal_probabilities_the_earlier_class_comes_first():
    alike = np.full((2, 7), 1 / 7)  # so class 4 is fifth, and class 5 sixth
    assert score("top5_accuracy", labels=np.array([4, 5]), probabilities=alike) == 0.5
    assert score("map5", labels=np.array([1, 6]), probabilities=alike) == pytest.approx((1 / 2 + 0) / 2)


def test_the_mean_column_wise_auc_of_two_complementary_columns_is_the_auc():
    second = np.array([0.1, 0.4, 0.4, 0.8])
    found = score("roc_auc", labels=np.array([0, 0, 1, 1]), probabilities=np.stack([1 - second, second], axis=1))
    several = score(
        "roc_auc",
        labels=np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]]),
        probabilities=np.stack([1 - second, second], axis=1),
    )
    assert found == several == pytest.approx(3.5 / 4)


def test_only_metrics_that_know_several_labels_say_so():
    assert [name for name, metric in METRICS.items() if metric.of_several] == ["roc_auc", "mean_f1", "exact_match"]


@given(data=answers())
def test_all_metrics_agree_with_scikit_learn(data):
    from sklearn import metrics as sk

    labels, probabilities = data
    classes = probabilities.argmax(axis=1)
    binary = probabilities.shape[1] == 2
    several, answered = np.eye(probabilities.shape[1])[labels], probabilities >= 0.5
    expected = {
        "accuracy": sk.accuracy_score(labels, classes),
        "error_rate": sk.zero_one_loss(labels, classes),
        "mean_per_class_accuracy": sk.balanced_accuracy_score(labels, classes),
        "log_loss": sk.log_loss(labels, probabilities),
        "mean_f1": sk.f1_score(several, answered, average="samples", zero_division=1),
        "exact_match": sk.accuracy_score(several, answered),
        "roc_auc": sk.roc_auc_score(labels, probabilities[:, 1] if binary else probabilities, multi_class="ovr"),
        "macro_f1": sk.f1_score(labels, classes, average="macro"),
        "micro_f1": sk.f1_score(labels, classes, average="micro"),
        "quadratic_weighted_kappa": sk.cohen_kappa_score(labels, classes, weights="quadratic"),
        **ranked(labels, probabilities),
    }
    assert {m: score(m, labels=labels, probabilities=probabilities) for m in METRICS} == pytest.approx(expected)
