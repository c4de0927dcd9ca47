"""Pseudo-labels as rows: who is taken, with which label; and why each fold needs a teacher of its own."""

import numpy as np
import pandas as pd
import pytest

from kit.data.folds import held_out_rows, training_rows
from kit.data.pseudo_labels import pseudo_rows, with_extra
from kit.errors import ConfigError
from kit.judge.paired import compare_pairs
from kit.judge.predict import Predictions

CLASSES = ("cat", "dog")


def table(ids, **columns):
    plain = {"path": [f"{one}.png" for one in ids], "label": "", "group": ids, "split": "test", "sha256": ""}
    return pd.DataFrame({"image_id": ids, **plain, **columns})


def rows_of(test, probabilities, *, classes=CLASSES, several=False, threshold=0.9, weight=1.0):
    return pseudo_rows(
        test,
        np.asarray(probabilities, dtype=np.float32),
        classes=classes,
        several=several,
        threshold=threshold,
        weight=weight,
    )


def test_an_image_is_labelled_where_the_teacher_is_sure_enough():
    found = rows_of(table(["a", "b", "c", "d"]), [[0.95, 0.05], [0.6, 0.4], [0.1, 0.9], [0.25, 0.75]], threshold=0.75)
    assert found["image_id"].tolist() == ["a", "c", "d"]
    assert found["label"].tolist() == ["cat", "dog", "dog"]
    assert found["probability"].tolist() == pytest.approx([0.95, 0.9, 0.75])


def test_what_is_known_of_the_truth_is_not_looked_at():
    test = table(["a", "b"], label=["dog", "dog"])
    assert rows_of(test, [[0.99, 0.01], [0.5, 0.5]])["label"].tolist() == ["cat"]


def test_with_several_labels_every_class_must_be_decided():
    test = table(["a", "b", "c"], target_cat=np.nan, target_dog=np.nan)
    found = rows_of(test, [[0.95, 0.97], [0.95, 0.5], [0.02, 0.01]], several=True)
    assert found["image_id"].tolist() == ["a", "c"]
    assert found[["target_cat", "target_dog"]].to_numpy().tolist() == [[1, 1], [0, 0]]
    assert found["label"].tolist() == ["cat + dog", ""]


def test_soft_labels_stay_soft():
    test = table(["a"], target_cat=np.nan, target_dog=np.nan)
    assert rows_of(test, [[0.95, 0.05]])[["target_cat", "target_dog"]].to_numpy() == pytest.approx(
        np.array([[0.95, 0.05]]), abs=1e-6
    )


@pytest.mark.parametrize(("threshold", "several"), [(0.0, False), (1.01, False), (0.5, True), (float("nan"), False)])
def test_a_threshold_that_means_nothing_is_refused(threshold, several):
    with pytest.raises(ConfigError, match="--threshold must be above"):
        rows_of(table(["a"]), [[0.5, 0.5]], threshold=threshold, several=several)


@pytest.mark.parametrize("weight", [0.0, -1.0, 1000.0, float("nan")])
def test_a_weight_that_means_nothing_is_refused(weight):
    with pytest.raises(ConfigError, match="--weight must be above"):
        rows_of(table(["a"]), [[1.0, 0.0]], weight=weight)


def test_pseudo_labelled_rows_come_behind_the_others_and_a_row_without_a_weight_counts_one():
    train = table(["x", "y"], label=["cat", "dog"], fold=[0, 1])
    extra = rows_of(table(["a"]), [[1.0, 0.0]], weight=0.25)
    both = with_extra(train, extra)
    assert both["image_id"].tolist() == ["x", "y", "a"]
    assert both["weight"].tolist() == [1, 1, 0.25]
    assert set(both.columns) == {*train.columns, "weight"}
    weighted = with_extra(train.assign(weight=[2.0, 3.0]), rows_of(table(["a"]), [[1.0, 0.0]]))
    assert weighted["weight"].tolist() == [2, 3, 1]


def test_without_pseudo_labels_the_rows_are_the_same():
    train = table(["x"], label=["cat"])
    assert with_extra(train, None) is train
    assert with_extra(train, rows_of(table(["a"]), [[0.5, 0.5]])) is train


# A competition in which nothing can be learned: random labels, and each test image nearly a copy of a training image.


def nearest(points, labels, asked):
    """Probabilities (N, 2) of a network that knows its training images by heart."""
    of = np.abs(asked[:, None] - points[None]).argmin(axis=1)
    return np.eye(2)[labels[of]] * 0.98 + 0.01


def student_gain(*, seed, fold_safe):
    """By how much a student is better out of fold, taught by fold, or by a teacher that saw all labels."""
    random = np.random.default_rng(seed)
    names = [f"{k:03d}" for k in range(200)]
    train = table(names, label=[CLASSES[k] for k in random.integers(2, size=200)], fold=np.arange(200) % 4)
    test = table([f"t{name}" for name in names])
    place = dict(zip(names, random.random(200), strict=True))
    place |= {f"t{name}": place[name] + 1e-9 for name in names}

    def answers(rows, asked):
        labels = np.array([CLASSES.index(label) for label in rows["label"]])
        where = np.array([place[name] for name in rows["image_id"]])
        return nearest(where, labels, np.array([place[name] for name in asked["image_id"]]))

    by_heart = {"teacher": [], "student": []}
    held = []
    for fold in range(4):
        learned = training_rows(train, fold)
        teaching = learned if fold_safe else train
        extra = rows_of(test, answers(teaching, test))
        held.append(held_out_rows(train, fold))
        by_heart["teacher"].append(answers(learned, held[-1]))
        by_heart["student"].append(answers(with_extra(learned, extra), held[-1]))
    rows = pd.concat(held)

    def predictions(parts):
        return Predictions(
            kind="out-of-fold",
            image_ids=tuple(rows["image_id"]),
            classes=CLASSES,
            probabilities=np.concatenate(parts).astype(np.float32),
            labels=tuple(rows["label"]),
            folds=rows["fold"].to_numpy(),
        )

    return compare_pairs(
        [predictions(by_heart["teacher"])], [predictions(by_heart["student"])], metric="accuracy", num_draws=200
    )


def test_random_labels_give_no_gain_where_each_fold_has_its_own_teacher():
    found = [student_gain(seed=seed, fold_safe=True) for seed in range(10)]
    assert not any(one.low > 0 for one in found)
    assert np.mean([one.second[0] for one in found]) == pytest.approx(0.5, abs=0.05)


def test_a_teacher_that_saw_the_held_out_labels_would_fool_everybody():
    found = [student_gain(seed=seed, fold_safe=False) for seed in range(3)]
    assert all(one.low > 0 for one in found)
    assert all(one.second[0] > 0.95 for one in found)
