"""The sample table's schema: what it holds comes back the same, and what breaks it is named."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.data.schema import (
    COLUMNS,
    checked_table,
    class_indices,
    fingerprint_of,
    has_targets,
    labelled,
    read_samples_table,
    target_columns,
    truth_of,
    with_targets,
    write_table,
)
from kit.errors import DataError

CLASSES = ("cat", "dog")


def table(**changes) -> pd.DataFrame:
    rows = {
        "image_id": ["a", "b"],
        "path": ["a.png", "b.png"],
        "label": ["cat", "dog"],
        "group": ["a", "b"],
        "split": ["train", "test"],
        "sha256": ["0" * 64, "1" * 64],
    }
    return pd.DataFrame({**rows, **changes})


def check(found: pd.DataFrame, task: str = "single-label") -> pd.DataFrame:
    return checked_table(found, classes=CLASSES, task=task, whose="toy")


def soft(first: list[float], second: list[float]) -> pd.DataFrame:
    return with_targets(table(), np.array([first, second]), classes=CLASSES)


def test_a_right_table_comes_back_sorted_by_id_with_its_columns_in_order():
    turned = table().iloc[::-1][["path", *[c for c in COLUMNS if c != "path"]]]
    assert list(check(turned).columns) == COLUMNS
    assert check(turned)["image_id"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_id": ["a", "a"]}, "'a'"),
        ({"image_id": ["a", ""]}, "no image_id"),
        ({"split": ["train", "valid"]}, "'valid'"),
        ({"path": ["a.png", "../b.png"]}, "does not lie below"),
        ({"path": ["a.png", "/b.png"]}, "does not lie below"),
        ({"colour": ["red", "blue"]}, "unknown column 'colour'"),
        ({"weight": [1.0, 0.0]}, "not above 0"),
        ({"weight": [1.0, float("nan")]}, "not above 0"),
        ({"weight": [1.0, float("inf")]}, "not above 0"),
    ],
)
def test_what_breaks_the_schema_is_named(changes, words):
    with pytest.raises(DataError, match="breaks the schema") as caught:
        check(table(**changes))
    assert words in str(caught.value)
    assert "toy" in str(caught.value)


def test_a_missing_column_is_named():
    with pytest.raises(DataError, match="lacks the column 'group'"):
        check(table().drop(columns="group"))
    with pytest.raises(DataError, match="lacks the column 'target_cat'"):
        check(table(), task="soft-label")


@pytest.mark.parametrize(
    ("row", "task", "words"),
    [
        ([0.5, float("nan")], "soft-label", "some classes only"),
        ([0.5, 1.5], "soft-label", "outside"),
        ([0.5, 0.6], "soft-label", "sum to 1"),
        ([0.5, 0.5], "multi-label", "neither 0 nor 1"),
    ],
)
def test_targets_out_of_range_are_named(row, task, words):
    with pytest.raises(DataError, match="breaks the schema") as caught:
        check(soft([1, 0], row), task=task)
    assert words in str(caught.value)


def test_a_row_without_an_image_is_allowed():
    assert check(table(path=["", ""], sha256=["", ""]))["path"].tolist() == ["", ""]


def test_several_labels_are_spelt_in_class_order_and_none_is_empty():
    assert soft([1, 1], [0, 0])["label"].tolist() == ["cat + dog", ""]


def test_a_soft_label_is_spelt_as_its_most_probable_class_and_an_unknown_one_is_empty():
    nan = float("nan")
    found = soft([1 / 3, 2 / 3], [nan, nan])
    assert found["label"].tolist() == ["dog", ""]
    assert labelled(found).tolist() == [True, False]


def test_the_truth_is_class_indices_or_targets():
    assert truth_of(table(), CLASSES).tolist() == [0, 1]
    assert not has_targets(table())
    assert truth_of(soft([1, 1], [0, 0]), CLASSES).tolist() == [[1, 1], [0, 0]]
    assert class_indices(["dog", "", "cat"], CLASSES).tolist() == [1, -1, 0]


@given(
    share=st.floats(0, 1, allow_nan=False),
    weight=st.floats(1e-300, 1e300),
    group=st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=8),
)
def test_a_table_is_read_back_as_it_was_written(tmp_path_factory, share, weight, group):
    made = soft([share, 1 - share], [float("nan"), float("nan")])
    made = check(made.assign(weight=[weight, 1.0], group=[group, 'x,"y"']), task="soft-label")
    path = tmp_path_factory.mktemp("table") / "samples.csv"
    path.write_text(write_table(made), encoding="utf-8", newline="")
    pd.testing.assert_frame_equal(read_samples_table(path), made)
    assert fingerprint_of(read_samples_table(path)) == fingerprint_of(made)


@pytest.mark.parametrize(
    "column", ["image_id", "label", "group", "split", "sha256", "weight", *target_columns(CLASSES)]
)
def test_every_column_that_decides_numbers_is_in_the_fingerprint(column):
    before = soft([1, 0], [0, 1]).assign(weight=[1.0, 1.0])
    after = before.copy()
    after.loc[1, column] = 0.5 if column in ("weight", *target_columns(CLASSES)) else "changed"
    assert fingerprint_of(after) != fingerprint_of(before)
    assert fingerprint_of(before.iloc[::-1]) == fingerprint_of(before.assign(path=["moved.png", "b.png"]))
