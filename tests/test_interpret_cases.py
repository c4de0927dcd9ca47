"""Cases, confusion and tables: counted from predictions alone, so that each example can be checked by hand."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import ConfigError, DataError
from kit.interpret.cases import answers_of, most_correct, most_incorrect, most_uncertain, top_losses
from kit.interpret.confusion import confusion, most_confused, order_by_similarity
from kit.interpret.tables import class_table, group_table
from kit.judge.predict import Predictions
from kit.judge.statistics import wilson_interval

CLASSES = ("cat", "dog", "fox")
# image, actual, probabilities
ROWS = (
    ("a", "cat", (0.90, 0.05, 0.05)),  # right, sure
    ("b", "cat", (0.50, 0.45, 0.05)),  # right, uncertain
    ("c", "dog", (0.70, 0.20, 0.10)),  # wrong
    ("d", "dog", (0.80, 0.10, 0.10)),  # wrong, the most sure of it
    ("e", "fox", (0.05, 0.90, 0.05)),  # wrong, and the highest loss
    ("f", "fox", (0.01, 0.01, 0.98)),  # right, the most sure
)


def predictions(rows=ROWS, *, classes=CLASSES, targets=None, folds=None):
    return Predictions(
        kind="out-of-fold",
        image_ids=tuple(row[0] for row in rows),
        classes=classes,
        probabilities=np.array([row[2] for row in rows], dtype=np.float32),
        labels=tuple(row[1] for row in rows),
        folds=np.zeros(len(rows), dtype=np.int64) if folds is None else np.array(folds),
        targets=targets,
    )


def ids(cases):
    return "".join(case.image_id for case in cases)


def test_top_losses_begin_with_the_lowest_probability_of_the_actual_class():
    found = top_losses(predictions(folds=[0, 0, 1, 1, 2, 2]), 3)
    assert ids(found) == "edc"
    assert (found[0].actual, found[0].predicted, found[0].fold) == ("fox", "dog", 2)
    assert found[0].probability == pytest.approx(0.90)
    assert found[0].probability_of_actual == pytest.approx(0.05)
    assert found[0].loss == pytest.approx(-log(0.05), rel=1e-6)


def test_most_incorrect_are_the_wrong_answers_given_with_the_highest_probability():
    assert ids(most_incorrect(predictions())) == "edc"
    assert ids(most_incorrect(predictions(), 9, "dog")) == "dc"
    assert most_incorrect(predictions(), 9, "cat") == ()


def test_most_correct_are_the_right_answers_given_with_the_highest_probability():
    assert ids(most_correct(predictions())) == "fab"
    assert ids(most_correct(predictions(), 1, "cat")) == "a"


def test_most_uncertain_are_those_whose_two_highest_probabilities_are_closest():
    assert ids(most_uncertain(predictions(), 2)) == "bc"
    assert ids(most_uncertain(predictions(), 1, "fox")) == "e"


def test_two_close_classes_are_more_uncertain_than_one_low_probability():
    rows = [("low", "cat", (0.40, 0.30, 0.30)), ("close", "cat", (0.46, 0.45, 0.09))]
    assert [case.image_id for case in most_uncertain(predictions(rows))] == ["close", "low"]


def test_of_two_classes_the_most_uncertain_is_the_closest_to_one_half():
    rows = [("a", "no", (0.9, 0.1)), ("b", "no", (0.48, 0.52)), ("c", "yes", (0.3, 0.7))]
    assert ids(most_uncertain(predictions(rows, classes=("no", "yes")))) == "bca"


def test_a_certain_right_answer_has_the_loss_0_and_not_minus_0():
    (case,) = top_losses(predictions([("a", "cat", (1.0, 0.0, 0.0))]))
    assert str(case.loss) == "0.0"


def test_a_misspelt_class_is_named_with_the_one_that_was_meant():
    with pytest.raises(ConfigError, match=r"no class 'foxx' among the 3.*Did you mean 'fox'"):
        most_correct(predictions(), 9, "foxx")
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        top_losses(predictions(), 0)


def test_images_without_a_label_are_passed_over_and_nothing_but_them_is_refused():
    rows = [("a", "", (0.9, 0.05, 0.05)), *ROWS[1:]]
    assert "a" not in ids(top_losses(predictions(rows), 99))
    assert len(top_losses(predictions(rows), 99)) == 5
    with pytest.raises(DataError, match="None of the 1 predicted images has a known label"):
        top_losses(predictions(rows[:1]))


def test_a_label_of_no_class_is_refused_with_its_image():
    with pytest.raises(DataError, match="'wolf' of image b is none of the 3 classes"):
        top_losses(predictions([ROWS[0], ("b", "wolf", (0.5, 0.4, 0.1))]))


def test_soft_labels_count_as_their_most_probable_class_and_their_loss_is_the_cross_entropy():
    targets = np.array([[0.75, 0.25, 0.0], [np.nan, np.nan, np.nan]])
    rows = [("a", "cat", (0.5, 0.25, 0.25)), ("b", "", (0.2, 0.3, 0.5))]
    (case,) = top_losses(predictions(rows, targets=targets))
    assert case.actual == "cat"
    assert case.loss == pytest.approx(0.75 * log(2) + 0.25 * log(4))


def test_several_labels_are_refused_in_one_paragraph():
    targets = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    with pytest.raises(DataError, match="2 of 3 images have several labels, or none") as caught:
        confusion(predictions(ROWS[:3], targets=targets))
    assert "\n" not in str(caught.value)


@given(st.permutations(range(len(ROWS))))
def test_the_order_of_rows_changes_nothing(order):
    shuffled = predictions([ROWS[k] for k in order])
    assert top_losses(shuffled) == top_losses(predictions())
    assert most_uncertain(shuffled) == most_uncertain(predictions())
    assert most_confused(shuffled) == most_confused(predictions())
    assert class_table(shuffled).equals(class_table(predictions()))


def test_equal_losses_stand_in_the_order_of_their_ids():
    rows = [(name, "cat", (0.5, 0.3, 0.2)) for name in ("c", "a", "b")]
    assert ids(top_losses(predictions(rows))) == "abc"


def test_rows_of_the_confusion_matrix_are_actual_and_columns_predicted_classes():
    found = confusion(predictions())
    assert found.counts.tolist() == [[2, 0, 0], [2, 0, 0], [0, 1, 1]]
    assert found.classes == CLASSES


def test_normalised_by_the_actual_class_rows_sum_to_one_and_an_empty_row_stays_0():
    found = confusion(predictions(ROWS[:4]), normalise="actual")
    assert found.values.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert confusion(predictions(), normalise="predicted").values[:, 0].tolist() == [0.5, 0.5, 0]
    assert confusion(predictions(), normalise="all").values.sum() == pytest.approx(1)
    with pytest.raises(ConfigError, match="'rows'"):
        confusion(predictions(), normalise="rows")


def test_most_confused_leaves_out_what_happened_less_often_than_min_val():
    assert most_confused(predictions()) == [("dog", "cat", 2), ("fox", "dog", 1)]
    assert most_confused(predictions(), min_val=2) == [("dog", "cat", 2)]
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        most_confused(predictions(), min_val=0)


def test_classes_that_are_taken_for_one_another_become_neighbours():
    matrix = np.diag([10.0] * 6)
    for one, other in ((0, 3), (1, 5), (2, 4)):  # far from each other in the classes' own order
        matrix[one, other] = matrix[other, one] = 5
    order = order_by_similarity(matrix).tolist()
    pairs = {frozenset(order[k : k + 2]) for k in (0, 2, 4)}
    assert pairs == {frozenset((0, 3)), frozenset((1, 5)), frozenset((2, 4))}


@given(st.integers(1, 12), st.integers(0, 5))
def test_an_order_by_similarity_names_each_class_once(num_classes, seed):
    matrix = np.random.default_rng(seed).integers(0, 4, size=(num_classes, num_classes)).astype(float)
    assert sorted(order_by_similarity(matrix)) == list(range(num_classes))


def test_ordered_by_similarity_the_matrix_has_the_same_counts_of_the_same_pairs():
    plain, ordered = confusion(predictions()), confusion(predictions(), order="similarity")
    place = [ordered.classes.index(name) for name in plain.classes]
    assert ordered.counts[np.ix_(place, place)].tolist() == plain.counts.tolist()


def test_the_class_table_begins_with_the_least_accurate_class_and_has_its_interval():
    table = class_table(predictions())
    assert table["class"].tolist() == ["dog", "fox", "cat"]
    assert table["accuracy"].tolist() == [0, 0.5, 1]
    assert (table["low"][1], table["high"][1]) == wilson_interval(1, 2)
    assert table["mean_probability"][2] == pytest.approx(0.70)
    assert table["mean_loss"][2] == pytest.approx(-(log(0.9) + log(0.5)) / 2, rel=1e-6)


def test_the_least_accurate_class_comes_first_even_if_its_answers_were_nearly_right():
    rows = [("a", "cat", (0.49, 0.51, 0.0)), ("b", "dog", (0.0, 0.3, 0.7)), ("c", "dog", (0.31, 0.35, 0.34))]
    assert class_table(predictions(rows))["class"].tolist() == ["cat", "dog"]


def test_the_group_table_leaves_out_images_that_are_a_group_of_their_own():
    groups = {"a": "kennel", "b": "kennel", "c": "kennel", "d": "street", "f": "zoo"}
    table = group_table(predictions(), groups)
    assert table[["group", "num_images", "num_right"]].to_numpy().tolist() == [["kennel", 3, 2]]
    assert set(group_table(predictions(), groups, min_images=1)["group"]) == {"kennel", "street", "zoo"}


def test_answers_keep_rows_ids_and_truth_together():
    answers = answers_of(predictions([ROWS[0], ("x", "", (1, 0, 0)), ROWS[4]]))
    assert answers.image_ids == ("a", "e")
    assert answers.right.tolist() == [True, False]
    assert answers.of_actual == pytest.approx([0.9, 0.05])
