"""Folds: a promise about who is held out when, the same on every machine."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.data.folds import assign_folds, fold_fingerprint
from kit.errors import DataError


def table(num_images: int, *, num_classes: int = 2, images_per_group: int = 1) -> pd.DataFrame:
    """Return images i00, i01, ... with labels in turn by group, and groups of neighbours."""
    group = [k // images_per_group for k in range(num_images)]
    return pd.DataFrame(
        {
            "image_id": [f"i{k:02d}" for k in range(num_images)],
            "label": [f"c{g % num_classes}" for g in group],
            "group": [f"g{g:02d}" for g in group],
        }
    )


def fold_of(folds: pd.DataFrame) -> dict[str, int]:
    return dict(zip(folds["image_id"], folds["fold"], strict=True))


SHAPES = {"num_images": st.integers(12, 60), "num_classes": st.integers(2, 4), "num_folds": st.integers(2, 5)}
SEEDS = st.integers(0, 2**31 - 1)


@given(**SHAPES, seed=SEEDS)
def test_every_image_is_held_out_once_and_balanced_folds_differ_by_one_image(num_images, num_classes, num_folds, seed):
    samples = table(num_images, num_classes=num_classes)
    folds = assign_folds(samples, num_folds=num_folds, seed=seed)
    sizes = folds["fold"].value_counts()
    assert folds["image_id"].tolist() == samples["image_id"].tolist()
    assert sorted(sizes.index) == list(range(num_folds))
    assert sizes.max() - sizes.min() <= 1
    of_class = folds.groupby(["label", "fold"]).size().unstack(fill_value=0)
    assert (of_class.max(axis=1) - of_class.min(axis=1)).max() <= 1


@given(num_groups=st.integers(6, 20), images_per_group=st.integers(2, 4), num_folds=st.integers(2, 3), seed=SEEDS)
def test_no_group_is_ever_parted(num_groups, images_per_group, num_folds, seed):
    samples = table(num_groups * images_per_group, images_per_group=images_per_group)
    folds = assign_folds(samples, num_folds=num_folds, seed=seed)
    assert folds.groupby("group")["fold"].nunique().max() == 1
    assert set(folds["fold"]) == set(range(num_folds))


@given(
    labels=st.lists(st.sampled_from("abc"), min_size=4, max_size=24),
    group_of=st.lists(st.integers(0, 7), min_size=24, max_size=24),
    num_folds=st.integers(2, 4),
    seed=SEEDS,
)
def test_folds_of_any_labels_and_groups_are_all_in_use_or_refused(labels, group_of, num_folds, seed):
    samples = pd.DataFrame(
        {
            "image_id": [f"i{k}" for k in range(len(labels))],
            "label": labels,
            "group": [str(g) for g in group_of[: len(labels)]],
        }
    )
    try:
        folds = assign_folds(samples, num_folds=num_folds, seed=seed)
    except DataError:
        return
    assert folds.groupby("group")["fold"].nunique().max() == 1
    assert set(folds["fold"]) == set(range(num_folds))


@given(order=st.permutations(range(24)), grouped=st.booleans())
def test_row_order_does_not_matter(order, grouped):
    samples = table(24, images_per_group=2 if grouped else 1)
    folds = assign_folds(samples, num_folds=3, seed=1)
    shuffled = assign_folds(samples.iloc[order].reset_index(drop=True), num_folds=3, seed=1)
    assert fold_of(shuffled) == fold_of(folds)
    assert fold_fingerprint(shuffled) == fold_fingerprint(folds)


def test_another_seed_gives_other_folds():
    folds = [fold_fingerprint(assign_folds(table(24), num_folds=3, seed=seed)) for seed in range(5)]
    assert len(set(folds)) == 5


def test_the_input_stays_as_it_was():
    samples = table(12)
    assign_folds(samples, num_folds=2, seed=1)
    assert "fold" not in samples


# Published folds must stay what they are: these numbers are the promise, on every machine and in every release.
def test_the_folds_of_twelve_images_are_known():
    assert assign_folds(table(12), num_folds=3, seed=1)["fold"].tolist() == [0, 1, 1, 1, 1, 2, 0, 0, 2, 0, 2, 2]
    grouped = assign_folds(table(12, images_per_group=2), num_folds=3, seed=1)
    assert grouped["fold"].tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 2, 2, 2, 2]


@pytest.mark.parametrize(("images_per_group", "groups", "most"), [(1, 4, 4), (2, 2, 2)])
def test_more_folds_than_images_or_groups_are_refused_with_the_most_that_is_possible(images_per_group, groups, most):
    with pytest.raises(DataError) as caught:
        assign_folds(table(4, images_per_group=images_per_group), num_folds=5, seed=1)
    for fragment in (f"4 training images in {groups} groups", "into 5 folds", f"at most {most} folds", "--folds N"):
        assert fragment in str(caught.value)


def test_classes_that_are_all_smaller_than_the_number_of_folds_are_refused():
    with pytest.raises(DataError, match=r"cannot be parted into 4 folds: .* Use fewer: --folds N"):
        assign_folds(table(6, num_classes=3), num_folds=4, seed=1)


def test_one_rare_class_is_allowed():
    samples = table(12).assign(label=["rare"] + ["common"] * 11)
    assert np.bincount(assign_folds(samples, num_folds=3, seed=1)["fold"]).tolist() == [4, 4, 4]
