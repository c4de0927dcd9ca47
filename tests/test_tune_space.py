"""The space of a sweep: how it is written in a recipe, what is refused, and the recipe that a draw makes."""

import math
from dataclasses import replace

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.config import Recipe, read_recipe, recipe_from_dict
from kit.errors import ConfigError
from kit.tune.recipe_file import recipe_toml
from kit.tune.space import STRENGTH, Axis, default_space, recipe_with, suggest, untuned
from kit.tune.tune_table import read_space

RECIPE = recipe_from_dict(
    {
        "augment": {"rotate_degrees": 10.0, "mixup_alpha": 0.2},
        "input": {"image_size": 128, "start_size": 64},
        "schedule": {"batch_size": 32, "lr": 1e-3, "micro_batch": 8},
    }
)
TABLE = {
    "schedule": {"lr": {"low": 1e-4, "high": 1e-2, "log": True}, "epochs": [2, 12], "batch_size": [16, 32, 64]},
    "input.image_size": {"low": 96, "high": 200, "step": 32},
    "augment": {"strength": [0, 2], "mirror": [True, False]},
    "model.name": {"choices": ["resnet18", "resnet34"]},
}


def test_two_numbers_are_a_range_and_any_other_list_is_choices():
    found = {axis.key: axis for axis in read_space(TABLE, RECIPE).axes}
    assert found["schedule.lr"] == Axis(key="schedule.lr", low=1e-4, high=1e-2, log=True)
    assert found["schedule.epochs"] == Axis(key="schedule.epochs", low=2, high=12, whole=True)
    assert found["schedule.batch_size"] == Axis(key="schedule.batch_size", choices=(16, 32, 64))
    assert found["input.image_size"].ends == (96, 192)  # the last step that is not above 200
    assert found["augment.mirror"].choices == (True, False)
    assert str(found["schedule.lr"]) == "schedule.lr 0.0001 to 0.01 (log)"
    assert str(found["model.name"]) == "model.name resnet18, resnet34"


def test_what_is_kept_of_a_space_reads_back_as_the_same_space_and_the_order_of_keys_does_not_count():
    space = read_space(TABLE, RECIPE)
    assert read_space(space.as_dict(), RECIPE) == space
    turned = read_space(dict(reversed(TABLE.items())), RECIPE)
    assert turned.fingerprint == space.fingerprint
    narrower = read_space({**TABLE, "input.image_size": [96, 128]}, RECIPE)
    assert narrower.fingerprint != space.fingerprint


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "the search space is empty"),
        ({"schedule": {"lrr": [1e-4, 1e-3]}}, r"no key 'schedule.lrr'. Did you mean 'lr'\?"),
        ({"schedule": [1, 2]}, "'schedule' is a table; name one of its keys, such as schedule.frozen_epochs"),
        ({"schedule.lr": [1e-2, 1e-4]}, r"begins at 0.01 and ends at 0.0001"),
        ({"schedule.lr": [1e-3, 1e-3]}, "The lower end comes first, and the two differ"),
        ({"schedule.lr": {"low": 0, "high": 1, "log": True}}, "a logarithm needs a low above 0"),
        ({"schedule.lr": {"low": 1, "hight": 2}}, "a recipe has no key 'schedule.lr.low'"),
        ({"schedule.lr": "0.1"}, "is not understood"),
        ({"schedule.epochs": [1.5, 3]}, "is a whole number"),
        ({"schedule.epochs": {"low": 1, "high": 5, "step": -1}}, "it must be above 0"),
        ({"schedule.lr": [1, 1000]}, "may become 1000, which no recipe takes. schedule.lr must be between"),
        ({"schedule.batch_size": [16]}, "needs at least two choices"),
        ({"model.name": [["resnet18"], ["resnet34"]]}, "each a plain value"),
        ({"loss.kind": {"low": 1, "high": 2}}, "has no range: list the values"),
        ({"loss.kind": ["binary", "cross"]}, "may become 'cross', which no recipe takes"),
        ({"seed": [1, 5]}, "seed cannot be drawn: trials are compared on the same folds"),
        ({"augment.strength": [0, 20]}, "augment.strength must be between 0 and 10"),
    ],
)
def test_a_table_that_means_nothing_is_refused_by_one_paragraph(table, said):
    with pytest.raises(ConfigError, match=said) as refused:
        read_space(table, RECIPE, where="[tune] of baseline")
    assert str(refused.value).startswith("[tune] of baseline: ")
    assert "\n" not in str(refused.value)


def test_the_default_space_lies_around_the_recipe_and_holds_it():
    found = {axis.key: axis for axis in default_space(RECIPE, largest_batch=50).axes}
    assert found["schedule.batch_size"].choices == (8, 16, 32)  # 64 does not fit
    assert found["schedule.epochs"].ends == (2, 8)
    assert found["schedule.lr"].ends == pytest.approx((1e-4, 1e-2))
    assert found["input.image_size"].ends == (96, 160)
    assert found[STRENGTH].ends == (0, 2)
    assert untuned(default_space(RECIPE, largest_batch=50), RECIPE) == {
        "augment.strength": 1.0,
        "input.image_size": 128,
        "schedule.batch_size": 32,
        "schedule.epochs": 4,
        "schedule.lr": 1e-3,
        "schedule.weight_decay": 0.05,
    }
    assert untuned(default_space(RECIPE, largest_batch=20), RECIPE) is None  # the recipe's own batch lies outside
    fixed = default_space(RECIPE, largest_batch=50, fixed=("schedule.lr", "model.name"))
    assert "schedule.lr" not in [axis.key for axis in fixed.axes]
    plain = replace(RECIPE, augment=read_recipe_augment_off())
    assert STRENGTH not in [axis.key for axis in default_space(plain, largest_batch=50).axes]


def read_recipe_augment_off():
    return recipe_from_dict(
        {"augment": {"smallest_crop": 1, "widest_aspect": 1, "brightness": 0, "contrast": 0}}
    ).augment


def test_learning_rates_follow_the_square_root_of_a_drawn_batch():
    drawn = recipe_with(RECIPE, {"schedule.batch_size": 128, "schedule.lr": 2e-3})
    assert drawn.schedule.lr == pytest.approx(4e-3)  # drawn for batches of 32, and these are 4 times as large
    assert drawn.schedule.frozen_lr == pytest.approx(2 * RECIPE.schedule.frozen_lr)
    assert drawn.schedule.micro_batch == 0
    assert recipe_with(RECIPE, {"schedule.lr": 2e-3}).schedule.lr == 2e-3


def test_a_drawn_size_takes_the_first_one_of_a_growing_schedule_along():
    assert recipe_with(RECIPE, {"input.image_size": 64}).input.start_size == 32
    assert recipe_with(RECIPE, {"input.image_size": 8}).input.start_size == 8


def test_strength_scales_all_of_the_augmentation_from_none_to_more():
    augment = RECIPE.augment
    assert recipe_with(RECIPE, {STRENGTH: 1.0}).augment == augment
    none = recipe_with(RECIPE, {STRENGTH: 0.0}).augment
    assert (none.smallest_crop, none.widest_aspect, none.rotate_degrees, none.brightness) == (1, 1, 0, 0)
    more = recipe_with(RECIPE, {STRENGTH: 1.2}).augment
    assert more.smallest_crop == pytest.approx(1 - 1.2 * (1 - augment.smallest_crop))
    assert (more.rotate_degrees, more.mixup_alpha) == pytest.approx((12, 0.24))
    assert recipe_with(RECIPE, {STRENGTH: 9.0}).augment.smallest_crop == 0.08


@given(number=st.integers(0, 2**31 - 1))
def test_every_draw_makes_a_recipe_whose_file_reads_back_the_same(number, tmp_path):
    space = read_space(TABLE, RECIPE)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=number))
    drawn = suggest(study.ask(), space)
    assert all(axis.holds(drawn[axis.key]) for axis in space.axes)
    recipe = recipe_with(RECIPE, drawn)
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_toml(recipe), encoding="utf-8")
    assert read_recipe(path) == recipe


def test_any_recipe_survives_its_file(tmp_path):
    strange = {
        "name": "CoarseDropout",
        "num_holes_range": [1, 3],
        "fill": 'a "b" \\ \x7f ü',
        "p": 0.5,
        "inner": {"x": [1]},
    }
    recipe = recipe_from_dict(
        {
            "name": "ein Name",
            "augment": {"transforms": [strange]},
            "schedule": {"batch_size": "auto", "lr": 1e-9},
        }
    )
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_toml(recipe), encoding="utf-8")
    assert read_recipe(path) == recipe
    assert math.isclose(read_recipe(path).schedule.lr, 1e-9)


def test_a_recipe_without_values_of_its_own_is_the_default_one(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_toml(Recipe()), encoding="utf-8")
    assert read_recipe(path) == Recipe()
