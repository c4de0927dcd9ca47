"""Folds: a promise about who is held out when, the same on every machine."""

from typing import get_args, get_type_hints

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.data.fold_report import fold_report
from kit.data.folds import (
    apply_frozen,
    assign_folds,
    compare_tables,
    fold_fingerprint,
    held_out_rows,
    read_folds,
    training_rows,
    write_folds,
)
from kit.errors import DataError
from kit.rules import FoldRule


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
    folds = assign_folds(table(12), num_folds=3, seed=1)
    assert folds["fold"].tolist() == [0, 2, 0, 0, 2, 1, 2, 2, 1, 1, 1, 0]
    grouped = assign_folds(table(12, images_per_group=2), num_folds=3, seed=1)
    assert grouped["fold"].tolist() == [0, 0, 1, 1, 1, 1, 0, 0, 2, 2, 2, 2]
    assert fold_fingerprint(folds)[:16] == "ce76697e700111d0"


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


RULES = get_args(get_type_hints(FoldRule)["by"])
CELLS = st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 5), st.sampled_from(["f1", "f2", "f10"]))


@given(cells=st.lists(CELLS, min_size=3, max_size=30), data=st.data())
@pytest.mark.parametrize("by", RULES)
def test_by_every_rule_folds_do_not_depend_on_row_order_and_give_each_image_one_fold(by, cells, data):
    samples = pd.DataFrame(
        [(f"i{k:02d}", label, f"g{group}", str(time), given) for k, (label, group, time, given) in enumerate(cells)],
        columns=["image_id", "label", "group", "time", "given_fold"],
    )
    rule = FoldRule(by=by)
    shuffled = samples.sample(frac=1, random_state=data.draw(SEEDS))
    try:
        folds = assign_folds(samples, num_folds=3, seed=1, rule=rule)
    except DataError:
        with pytest.raises(DataError):
            assign_folds(shuffled, num_folds=3, seed=1, rule=rule)
        return
    assert fold_of(assign_folds(shuffled, num_folds=3, seed=1, rule=rule)) == fold_of(folds)
    assert folds["image_id"].tolist() == samples["image_id"].tolist()
    assert set(folds["fold"]) - {-1} == {0, 1, 2}
    if by not in ("stratified", "column"):
        assert folds.groupby("group")["fold"].nunique().max() == 1


@given(seed=SEEDS, num_folds=st.integers(2, 5))
def test_pairs_among_single_images_leave_sizes_and_classes_as_even_as_without(seed, num_folds):
    samples = table(60, num_classes=3)
    samples.loc[samples.index[:20], "group"] = [f"pair {k // 2}" for k in range(20)]
    folds = assign_folds(samples, num_folds=num_folds, seed=seed)
    report = fold_report(folds)
    assert max(report.sizes.values()) - min(report.sizes.values()) <= 1
    per_class = folds.groupby(["label", "fold"]).size().unstack(fill_value=0)
    assert (per_class.max(axis=1) - per_class.min(axis=1)).max() <= 1
    assert report.parted_groups == 0


def test_four_patients_make_two_equal_halves():
    sizes = {"anna": 5, "bert": 4, "cora": 3, "dave": 2}  # 5 + 2 against 4 + 3
    samples = pd.DataFrame([(f"{who}{k}", "ill", who) for who, n in sizes.items() for k in range(n)])
    samples.columns = ["image_id", "label", "group"]
    folds = assign_folds(samples, num_folds=2, seed=1, rule=FoldRule(by="grouped"))
    of_group = folds.groupby("group")["fold"].first()
    assert of_group["anna"] == of_group["dave"] != of_group["bert"] == of_group["cora"]


def test_stratified_looks_at_no_group_and_grouped_at_no_label():
    samples = table(12, images_per_group=6)
    assert fold_report(assign_folds(samples, num_folds=3, seed=1, rule=FoldRule(by="stratified"))).parted_groups == 2
    rare = table(12, images_per_group=2, num_classes=6)  # each class is one group
    sizes = fold_report(assign_folds(rare, num_folds=3, seed=1, rule=FoldRule(by="grouped"))).sizes
    assert sizes == {0: 4, 1: 4, 2: 4}
    with pytest.raises(DataError, match="the largest class has 1 groups"):
        assign_folds(rare, num_folds=3, seed=1)


def test_by_time_the_first_block_is_only_trained_on_and_each_fold_learns_from_what_came_before():
    years = ["2001", "2002", "2003", "2003", "2004", "2005"]
    samples = table(6).assign(time=[f"{year}-01-01" for year in years])
    rule = FoldRule(by="time")
    folds = assign_folds(samples, num_folds=2, seed=1, rule=rule)
    assert folds["fold"].tolist() == [-1, -1, 0, 0, 1, 1]
    assert training_rows(folds, 0, rule=rule)["image_id"].tolist() == ["i00", "i01"]
    assert training_rows(folds, 1, rule=rule)["image_id"].tolist() == ["i00", "i01", "i02", "i03"]
    assert held_out_rows(folds, 1)["image_id"].tolist() == ["i04", "i05"]
    assert training_rows(folds, 1)["image_id"].tolist() == ["i00", "i01", "i02", "i03"]  # all other folds


def test_times_are_numbers_or_dates_and_a_group_that_lasts_keeps_its_time_together():
    rule = FoldRule(by="time")
    numbers = table(6).assign(time=["10", "9", "8", "30", "2e1", "25"])  # by number, not by letters
    assert assign_folds(numbers, num_folds=2, seed=1, rule=rule)["fold"].tolist() == [0, -1, -1, 1, 0, 1]
    lasting = table(6).assign(time=list("123456"), group=["a", "b", "c", "b", "e", "f"])
    assert assign_folds(lasting, num_folds=2, seed=1, rule=rule)["fold"].tolist() == [-1, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (["1", "2", "", "4"], "1 of 4 training images have a time that cannot be read, first ['']"),
        (["2001-01-01", "soon", "2001-02-01", "2001-03-01"], "first ['soon']"),
        (["7", "7", "7", "8"], "have only 2: equal times and groups are not parted"),
    ],
)
def test_times_that_are_unreadable_or_too_few_are_refused(times, said):
    with pytest.raises(DataError) as caught:
        assign_folds(table(4).assign(time=times), num_folds=2, seed=1, rule=FoldRule(by="time"))
    assert said in str(caught.value)


def test_given_folds_are_numbered_in_natural_order():
    samples = table(6).assign(given_fold=["fold 10", "fold 2", "fold 1", "fold 1", "fold 2", "fold 10"])
    rule = FoldRule(by="column")
    assert assign_folds(samples, num_folds=3, seed=1, rule=rule)["fold"].tolist() == [2, 1, 0, 0, 1, 2]
    with pytest.raises(DataError, match=r"The given folds are 3, fold 1, fold 2, fold 10.*Give --folds 3"):
        assign_folds(samples, num_folds=5, seed=1, rule=rule)
    with pytest.raises(DataError, match=r"1 of 6 training images have no given fold, first \['i00'\]"):
        assign_folds(samples.assign(given_fold=["", *"aabbc"]), num_folds=3, seed=1, rule=rule)
    with pytest.raises(DataError, match="need the column `given_fold`"):
        assign_folds(table(6), num_folds=3, seed=1, rule=rule)


@given(seed=SEEDS)
def test_each_of_several_labels_is_balanced_rare_ones_too(seed):
    # 40 images: 20 cats, 8 of them with a dog, 4 of these with a bird too.
    samples = table(40, num_classes=1).assign(target_cat=0.0, target_dog=0.0, target_bird=0.0)
    for name, number in (("cat", 20), ("dog", 8), ("bird", 4)):
        samples.loc[: number - 1, f"target_{name}"] = 1.0
    folds = assign_folds(samples, num_folds=4, seed=seed)
    counts = folds.groupby("fold")[["target_cat", "target_dog", "target_bird"]].sum()
    assert counts.to_numpy().tolist() == [[5, 2, 1]] * 4
    assert fold_report(folds).sizes == {0: 10, 1: 10, 2: 10, 3: 10}


def test_uneven_label_sets_are_balanced_label_by_label():
    generator = np.random.default_rng(3)
    targets = (generator.random((400, 6)) < [0.5, 0.4, 0.3, 0.2, 0.1, 0.05]).astype(float)
    samples = table(400, num_classes=1).assign(**{f"target_{k}": targets[:, k] for k in range(6)})
    folds = assign_folds(samples, num_folds=5, seed=1)
    counts = folds.groupby("fold")[[f"target_{k}" for k in range(6)]].sum()
    assert (counts.max() - counts.min()).max() <= 3
    assert fold_report(folds).size_deviation <= 0.03


def test_the_report_tells_how_even_folds_are():
    folded = table(8).assign(fold=[0, 0, 0, 0, 0, 1, 1, 1], label=["a"] * 4 + ["b"] * 3 + ["rare"], group="one")
    report = fold_report(folded)
    assert report.sizes == {0: 5, 1: 3}
    assert report.size_deviation == pytest.approx(0.25)  # 5 and 3 against 4
    assert report.share_deviation == pytest.approx(0.8)  # of class a: 4 of 5 against none of 3
    assert (report.parted_groups, report.absent) == (1, ("a", "rare"))
    assert "2 folds of 3 to 5 images, at most 25.0% off their mean" in str(report)


def test_frozen_folds_are_kept_as_they_are(tmp_path):
    folded = assign_folds(table(12), num_folds=3, seed=1).assign(sha256="0a")
    write_folds(tmp_path / "folds.csv", folded)
    frozen = read_folds(tmp_path / "folds.csv")
    samples = table(12).iloc[::-1].reset_index(drop=True)
    again = apply_frozen(samples, frozen)
    assert fold_of(again) == fold_of(folded)
    assert fold_fingerprint(again) == fold_fingerprint(frozen)
    assert not compare_tables(frozen, samples)
    assert str(compare_tables(frozen, samples)) == "The images are the same."


def test_images_that_came_went_or_changed_are_named_and_refused_unless_allowed():
    frozen = assign_folds(table(12), num_folds=3, seed=1).assign(sha256="0a")
    now = table(15).drop(index=[3]).assign(sha256="0a")
    now.loc[0, "label"] = "c1"
    now.loc[1, "sha256"] = "0b"
    changes = compare_tables(frozen, now)
    assert (changes.came, changes.went, changes.changed) == (("i12", "i13", "i14"), ("i03",), ("i00", "i01"))
    assert str(changes).startswith("3 images came, e.g. i12, i13, i14; 1 images went, e.g. i03; 2 images have another")
    with pytest.raises(DataError, match="The frozen folds are of other images: 3 images came"):
        apply_frozen(now, frozen)
    folds = apply_frozen(now, frozen, allow_changes=True)
    kept = fold_of(frozen)
    assert all(kept.get(image_id, fold) == fold for image_id, fold in fold_of(folds).items())
    sizes = fold_report(folds).sizes
    assert max(sizes.values()) - min(sizes.values()) <= 1  # 14 images; the new ones fill up


def test_a_new_image_joins_the_fold_of_its_group_and_none_joins_folds_by_time():
    frozen = assign_folds(table(12, images_per_group=2), num_folds=3, seed=1)
    now = pd.concat([table(12, images_per_group=2), pd.DataFrame([{"image_id": "x", "label": "c0", "group": "g03"}])])
    folds = apply_frozen(now, frozen, allow_changes=True)
    assert folds[folds["group"] == "g03"]["fold"].nunique() == 1
    with pytest.raises(DataError, match="by time"):
        apply_frozen(now, frozen.assign(fold=frozen["fold"] - 1), allow_changes=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image_id,fold\na,1\n", "lacks the columns label, group, sha256"),
        ("image_id,label,group,sha256,fold\na,c,a,,1\na,c,a,,2\n", "images twice, first ['a']"),
        ("image_id,label,group,sha256,fold\na,c,a,,1.5\n", "folds that are no numbers, first ['1.5']"),
        ("image_id,label,group,sha256,fold\n", "has no rows"),
        ("", "cannot be read"),
    ],
)
def test_a_damaged_file_of_folds_is_refused(tmp_path, text, said):
    (tmp_path / "folds.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        read_folds(tmp_path / "folds.csv")
    assert said in str(caught.value)


@pytest.mark.real
def test_no_driver_is_in_two_folds_and_26_uneven_drivers_are_parted_better_than_by_scikit_learn(test_data):
    from sklearn.model_selection import StratifiedGroupKFold

    rows = pd.read_csv(test_data / "data/kaggle-csv/state-farm-distracted-driver-detection/driver_imgs_list.csv")
    samples = pd.DataFrame({"image_id": rows["img"], "label": rows["classname"], "group": rows["subject"]})
    peer = samples.assign(fold=0)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=1)
    for fold, (_, held_out) in enumerate(splitter.split(samples, samples["label"], samples["group"])):
        peer.loc[held_out, "fold"] = fold
    own, other = fold_report(assign_folds(samples, num_folds=5, seed=1)), fold_report(peer)
    assert own.parted_groups == 0
    assert own.size_deviation <= min(0.02, other.size_deviation)
    assert own.share_deviation <= min(0.02, other.share_deviation)
