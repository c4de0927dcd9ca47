"""The cost: what a recipe takes in all, and the batches that fit a limit."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.config import Recipe, recipe_from_dict
from kit.errors import ConfigError
from kit.fit.check import measure
from kit.fit.cost import Cost, cost_of
from kit.fit.limits import parse_memory

MIB, GIB = 2**20, 2**30


def recipe_of(name: str = "resnet10t", *, image_size: int = 64, **schedule: Any) -> Recipe:
    """Return a recipe from random weights that trains every layer, unless `schedule` says otherwise."""
    return recipe_from_dict(
        {
            "model": {"name": name, "weights": "none"},
            "input": {"image_size": image_size},
            "schedule": {"frozen_epochs": 0, "epochs": 1, **schedule},
        }
    )


def test_batch_64_does_not_fit_the_lessons_card_and_32_does() -> None:
    # ResNet-50 at 320 px in float32 with Adam, on a card of 11 GiB.
    cost = cost_of(recipe_of("resnet50", image_size=320), 37, device="cuda", precision="fp32", optimizer="adam")
    card = parse_memory("11GiB")
    assert not cost.fits(64, card) and cost.total(64) > card
    assert cost.fits(32, card)
    assert 32 <= cost.largest_batch(card) < 64
    assert cost.split(64, card) == (32, 2)


@pytest.mark.parametrize(("name", "precision"), [("resnet18", "fp32"), ("resnet34", "bf16")])
def test_the_total_is_within_fifteen_percent_of_what_three_real_steps_add(name: str, precision: Any) -> None:
    recipe = recipe_of(name, image_size=128)
    found = measure(recipe, 37, stage="all", batch=16, device="cpu", precision=precision)
    steps = cost_of(recipe, 37, precision=precision).only("all")
    assert steps.stages[0].trace.kept.at(16) == pytest.approx(found.kept, rel=0.05)
    assert steps.growth(16) == pytest.approx(found.growth, rel=0.15)


@pytest.mark.gpu
@pytest.mark.parametrize("stage", ["head", "all"])
def test_the_total_is_within_seven_percent_of_what_a_gpu_reserves(stage: Any) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device is at hand")
    recipe = recipe_of("resnet50", image_size=224, frozen_epochs=int(stage == "head"), epochs=int(stage == "all"))
    cost = cost_of(recipe, 37, device="cuda").only(stage)
    precision = cost.stages[0].workload.precision
    found = measure(recipe, 37, stage=stage, batch=32, device="cuda", precision=precision)
    assert cost.growth(32) == pytest.approx(found.growth, rel=0.07)


def test_the_first_update_counts_the_state_that_it_makes() -> None:
    # Images of 8 pixels have next to no activations: weights, gradients and AdamW's two states are all.
    stage = cost_of(recipe_of(image_size=8), 37).only("all").stages[0]
    assert stage.optimizer == 2 * stage.gradients + 64 * stage.trace.num_learning
    assert stage.needed(2) == pytest.approx(4 * stage.weights, rel=0.02)


def test_each_setting_takes_what_it_stands_for() -> None:
    plain = cost_of(recipe_of(), 37).of_training()
    averaged = cost_of(recipe_of(average_decay=0.99), 37).of_training()
    momentum = cost_of(recipe_of(), 37, optimizer="sgd").of_training()
    frozen = cost_of(recipe_of(frozen_epochs=1, epochs=0), 37).of_training()
    assert averaged.stages[0].needed(32) - plain.stages[0].needed(32) == plain.weights
    assert plain.stages[0].optimizer > 1.9 * momentum.stages[0].optimizer
    assert frozen.stages[0].needed(32) < 0.5 * plain.stages[0].needed(32)


def test_a_recipe_takes_what_the_most_expensive_of_its_stages_takes() -> None:
    both = cost_of(recipe_of(frozen_epochs=1), 37)
    assert [stage.workload.stage for stage in both.stages] == ["head", "all", "evaluation"]
    assert both.growth(64) == max(both.only(stage).growth(64) for stage in ("head", "all", "evaluation"))
    assert both.of_training().highest(64).workload.stage == "all"
    assert both.highest(2).workload.stage == "evaluation"  # of 512 images at once, whatever the batch


def test_a_frozen_stage_sees_images_of_the_size_with_which_the_second_one_starts() -> None:
    recipe = recipe_of(frozen_epochs=1)
    recipe = replace(recipe, input=replace(recipe.input, image_size=64, start_size=32))
    assert [stage.workload.image_size for stage in cost_of(recipe, 37).stages] == [32, 64, 64]


def test_evaluation_takes_batches_of_its_own_whatever_the_recipes_are() -> None:
    looks = cost_of(recipe_of("resnet18", image_size=224), 37).only("evaluation")
    assert looks.growth(1) == looks.growth(500)
    assert looks.stages[0].num_images == 41


def test_portions_that_are_made_ahead_lie_beside_the_one_that_is_learnt_from() -> None:
    stage = cost_of(recipe_of(), 37).only("all").stages[0]
    alone, four = (stage.needed(64, num_portions=n) for n in (1, 4))
    assert four - alone == pytest.approx(3 * 64 * 64**2 * 12 + stage.gradients, rel=0.01)


def test_a_last_short_batch_takes_less() -> None:
    cost = cost_of(recipe_of(), 37)
    totals = [cost.total(batch) for batch in range(1, 70)]
    assert totals == sorted(totals)


@given(st.integers(1, 256), st.integers(600 * MIB, 4 * GIB))
def test_the_portions_of_a_batch_are_the_largest_divisor_that_fits(batch_size: int, limit: int) -> None:
    cost = cost_of(recipe_of(), 37)
    try:
        images, num_portions = cost.split(batch_size, limit)
    except ConfigError:
        least = next(k for k in range(1, batch_size + 1) if batch_size % k == 0 and (k > 1 or batch_size == 1))
        assert not cost.fits(least, limit, num_portions=batch_size // least)
        return
    assert images * num_portions == batch_size and (images > 1 or batch_size == 1)
    assert cost.fits(images, limit, num_portions=num_portions)
    larger = [k for k in range(images + 1, batch_size + 1) if batch_size % k == 0]
    assert not any(cost.fits(k, limit, num_portions=batch_size // k) for k in larger)


@given(st.integers(500 * MIB, 64 * GIB))
def test_the_largest_batch_fits_and_one_more_does_not(limit: int) -> None:
    cost = cost_of(recipe_of(), 37)
    most = cost.largest_batch(limit)
    assert most == 0 or cost.fits(most, limit)
    assert most == 4096 or not cost.fits(most + 1, limit)


def test_the_margin_stays_free() -> None:
    cost: Cost = cost_of(recipe_of(), 37)
    standing, needed = cost.surroundings.standing, cost.total(32) - cost.surroundings.standing
    assert cost.fits(32, standing + int(needed * (1 + cost.margin)) + 1)
    assert not cost.fits(32, standing + int(needed * (1 + cost.margin)) - 1)


def test_a_limit_below_the_bare_weights_is_refused_with_the_ways_out() -> None:
    with pytest.raises(ConfigError, match="bare weights of resnet10t alone take") as caught:
        cost_of(recipe_of(), 37).split(32, 100 * MIB)
    assert "--memory" in str(caught.value) and "\n" not in str(caught.value)


def test_a_limit_below_the_smallest_portions_says_what_they_take() -> None:
    cost = cost_of(recipe_of(), 37).of_training()
    with pytest.raises(ConfigError, match="2 images at once take"):
        cost.split(32, cost.surroundings.standing + cost.weights + MIB)
