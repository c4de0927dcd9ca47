"""The mean of predictions: over folds or seeds, row by row of the same image, whatever order the parts have."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import DataError
from kit.judge.predict import Predictions, mean_of


def predictions(ids=("a", "b"), values=((0.0, 1.0), (1.0, 0.0)), *, fold=0, labels=None) -> Predictions:
    return Predictions(
        kind="test",
        image_ids=tuple(ids),
        classes=("blue", "red"),
        probabilities=np.array(values, dtype=np.float32),
        labels=tuple(labels or ("red" for _ in ids)),
        folds=np.full(len(ids), fold),
    )


def test_the_mean_of_the_folds_matches_images_by_id():
    one = predictions(labels=("red", "blue"))
    two = predictions(("b", "a"), ((0.5, 0.5), (0.5, 0.5)), fold=1, labels=("blue", "red"))
    mean = mean_of([one, two], kind="fold-ensemble")
    assert (mean.kind, mean.image_ids, mean.labels) == ("fold-ensemble", ("a", "b"), ("red", "blue"))
    assert mean.probabilities.tolist() == [[0.25, 0.75], [0.75, 0.25]]
    assert mean.folds.tolist() == [-1, -1]


def test_the_mean_over_seeds_keeps_a_fold_that_all_agree_on():
    one = replace(predictions(), folds=np.array([0, 1]))
    two = replace(predictions(), folds=np.array([0, 2]))
    assert mean_of([one, two], kind="seed-ensemble").folds.tolist() == [0, -1]


@given(st.permutations(range(5)), st.integers(1, 4))
def test_the_order_of_the_rows_changes_nothing(order, num_parts):
    values = np.random.default_rng(num_parts).dirichlet((1, 1), size=(num_parts, 5))
    names = list("abcde")
    straight = [predictions(names, part) for part in values]
    shuffled = [predictions([names[k] for k in order], part[list(order)]) for part in values]
    expected, found = mean_of(straight, kind="test"), mean_of(straight[:1] + shuffled[1:], kind="test")
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    np.testing.assert_allclose(expected.probabilities, values.mean(axis=0), atol=1e-7)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (predictions(("a", "c")), r"same images in each: 2 are in number 1 or number 2 only, first \['b', 'c'\]"),
        (predictions(("a",), ((0.5, 0.5),)), r"1 are in number 1 or number 2 only, first \['b'\]"),
        (replace(predictions(), classes=("red", "blue")), "same classes in each"),
        (predictions(labels=("red", "blue")), "same labels in each"),
        (replace(predictions(), targets=np.eye(2)), "same labels in each"),
    ],
)
def test_predictions_of_other_images_classes_or_labels_have_no_mean(other, message):
    with pytest.raises(DataError, match=message):
        mean_of([predictions(), other], kind="seed-ensemble")


def test_targets_that_are_not_known_are_the_same_targets():
    parts = [replace(predictions(), targets=np.array([[0.0, 1.0], [np.nan, np.nan]])) for _ in range(2)]
    np.testing.assert_array_equal(mean_of(parts, kind="fold-ensemble").targets, parts[0].targets)
