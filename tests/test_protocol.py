"""Who may be compared with whom: one field at a time."""

from dataclasses import fields, replace

import pytest

from kit.protocol import RULE_OF_FIELD, Conditions, agreement

OURS = Conditions(
    test_images="official-test",
    num_test=3669,
    metric="accuracy",
    training_pool="official-trainval",
    pretraining_group="imagenet-1k",
    adaptation="trained",
    extra_inputs="none",
    inference="single",
    selection="held-out",
)
OTHERS = {
    "test_images": "random-20-percent",
    "num_test": 1478,
    "metric": "mean_per_class_accuracy",
    "training_pool": "random-80-percent",
    "pretraining_group": "imagenet-21k",
    "adaptation": "linear-probe",
    "extra_inputs": "boxes",
    "inference": "ensemble",
    "selection": "test-images",
}
NAMES = [field.name for field in fields(Conditions)]


def test_equal_conditions_are_comparable_and_settled():
    same = agreement(OURS, replace(OURS))
    assert same.comparable and same.settled
    assert (same.differences, same.not_stated) == ((), ())


@pytest.mark.parametrize("name", NAMES)
def test_one_changed_field_is_the_one_difference(name):
    other = agreement(OURS, replace(OURS, **{name: OTHERS[name]}))
    (difference,) = other.differences
    assert (difference.field, difference.rule) == (name, RULE_OF_FIELD[name])
    assert str(difference) == f"{name}: ours {getattr(OURS, name)}, theirs {OTHERS[name]}"
    assert not other.comparable and not other.settled
    assert other.not_stated == ()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", ["ours", "theirs", "both"])
def test_a_field_that_a_side_leaves_open_is_neither_equal_nor_different(name, side):
    opened = replace(OURS, **{name: None})
    pair = {"ours": (opened, OURS), "theirs": (OURS, opened), "both": (opened, opened)}[side]
    found = agreement(*pair)
    assert found.not_stated == (name,)
    assert found.comparable and not found.settled


def test_every_field_has_a_rule():
    assert set(RULE_OF_FIELD) == set(NAMES) == set(OTHERS)


def test_choosing_out_of_fold_is_as_clean_as_choosing_on_a_held_out_part():
    out_of_fold = replace(OURS, selection="out-of-fold")
    assert agreement(OURS, out_of_fold).settled
    assert not agreement(out_of_fold, replace(OURS, selection="test-images")).comparable


def test_several_differences_are_all_named():
    found = agreement(OURS, Conditions(**OTHERS))
    assert [difference.field for difference in found.differences] == NAMES
