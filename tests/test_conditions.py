"""Who may be compared with whom: one field at a time."""

from dataclasses import fields, replace

import pytest
from toys import protocol

from kit.conditions import (
    LABELS,
    OVERLAP,
    RULE_OF_FIELD,
    Conditions,
    agreement,
    applies,
    images_and_pool,
    is_own_draw,
)

# Of a metric about speed, so that every field says something.
OURS = Conditions(
    test_images="official-test",
    num_test=3669,
    metric="seconds_to_accuracy",
    training_pool="official-trainval",
    pretraining_group="imagenet-1k",
    adaptation="trained",
    extra_inputs="none",
    inference="single",
    selection="held-out",
    threshold=0.94,
    timing_rule="first-epoch",
    accelerator="v100",
    accounting="validation-not-counted",
)
OTHERS = {
    "test_images": "random-20-percent",
    "num_test": 1478,
    "metric": "usd_to_accuracy",
    "training_pool": "random-80-percent",
    "pretraining_group": "imagenet-21k",
    "adaptation": "linear-probe",
    "extra_inputs": "boxes",
    "inference": "ensemble",
    "selection": "test-images",
    "metric_definition": "top-5",
    "overlap": OVERLAP,
    "threshold": 0.93,
    "timing_rule": "mean-over-runs",
    "accelerator": "a100",
    "accounting": "all-counted",
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


@pytest.mark.parametrize("name", [name for name in NAMES if name != "metric"])
@pytest.mark.parametrize("side", ["ours", "theirs", "both"])
def test_a_field_that_a_side_leaves_open_is_neither_equal_nor_different(name, side):
    opened = replace(OURS, **{name: None})
    pair = {"ours": (opened, OURS), "theirs": (OURS, opened), "both": (opened, opened)}[side]
    found = agreement(*pair)
    assert found.not_stated == (name,)
    assert found.comparable and not found.settled


def test_a_metric_that_a_side_leaves_open_is_not_stated():
    # Apart from the others: with it, it is open on both sides whether the fields of speed say anything.
    assert agreement(OURS, replace(OURS, metric=None)).not_stated == ("metric",)


def test_every_field_says_its_rule_and_what_people_call_it():
    assert set(RULE_OF_FIELD) == set(LABELS) == set(NAMES) == set(OTHERS)
    assert set(RULE_OF_FIELD.values()) == {1, 2, 3, 4, 5, 6, 7, 8, 10}  # rule 9 is a test
    assert len(set(LABELS.values())) == len(LABELS)


def test_fields_of_speed_say_nothing_of_an_accuracy():
    mine = replace(OURS, metric="accuracy", threshold=None, timing_rule=None, accelerator=None, accounting=None)
    assert agreement(mine, replace(mine, accelerator="a100", threshold=0.93)).settled
    assert not applies("threshold", mine) and applies("threshold", OURS)
    assert "generation of hardware" not in dict(mine.in_words())
    assert dict(OURS.in_words())["generation of hardware"] == "v100"


def test_what_is_open_is_said_to_be_not_stated():
    assert dict(replace(OURS, selection=None).in_words())["choice of the recipe"] == "not stated"


def test_choosing_out_of_fold_is_as_clean_as_choosing_on_a_held_out_part():
    out_of_fold = replace(OURS, selection="out-of-fold")
    assert agreement(OURS, out_of_fold).settled
    assert not agreement(out_of_fold, replace(OURS, selection="test-images")).comparable


def test_several_differences_are_all_named():
    found = agreement(OURS, Conditions(**OTHERS))
    assert [difference.field for difference in found.differences] == NAMES


@pytest.mark.parametrize("name", ["random-quarter", "differs-by-paper"])
def test_two_results_of_own_draws_were_scored_on_two_sets_of_images(name):
    drawn = replace(OURS, test_images=name)
    assert is_own_draw(drawn) and not is_own_draw(OURS)
    (difference,) = agreement(drawn, drawn).differences
    assert (difference.field, difference.rule) == ("test_images", 1)


OFFICIAL = protocol(training_pool="pool", test_images="exam", num_test=10)
FIVE_FOLD = protocol(training_pool="four-fifths", test_images="out-of-fold", split="none", num_folds=5)


@pytest.mark.parametrize(
    ("followed", "settings", "expected"),
    [
        (OFFICIAL, {"out_of_fold": False, "num_folds": 5}, ("exam", "pool")),
        (OFFICIAL, {"out_of_fold": False, "num_folds": 5, "num_fixed": 2}, ("exam", "pool (2 images fixed)")),
        (
            OFFICIAL,
            {"out_of_fold": False, "num_folds": 5, "lacking": "part"},
            ("exam (part: 6 of 10)", "pool (part: 20 images)"),
        ),
        (OFFICIAL, {"out_of_fold": True, "num_folds": 3}, ("pool, out of fold", "2 of 3 folds of pool")),
        (OFFICIAL, {"out_of_fold": True, "num_folds": None}, ("pool, out of fold", None)),
        (FIVE_FOLD, {"out_of_fold": True, "num_folds": 5}, ("out-of-fold", "four-fifths")),
        (FIVE_FOLD, {"out_of_fold": True, "num_folds": 3}, ("out-of-fold", "2 of 3 folds of all labelled images")),
    ],
)
def test_the_images_and_the_pool_are_named_by_protocol_folds_and_what_is_missing(followed, settings, expected):
    assert images_and_pool(followed, num_images=6, num_train=20, **settings) == expected
