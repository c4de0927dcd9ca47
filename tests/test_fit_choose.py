"""The choice of a batch, and what is learnt when it was wrong."""

from typing import Any

import pytest
import torch

from kit.config import Recipe, recipe_from_dict
from kit.errors import ConfigError, TrainingError
from kit.fit.check import check, correction_of, known_cost, learn, measure
from kit.fit.choose import resolved
from kit.fit.cost import Cost, cost_of
from kit.fit.limits import Limit
from kit.train.models import device_name

CPU = torch.device("cpu")
CPU_NAME = device_name("cpu")


def recipe_of(name: str = "resnet26", *, image_size: int = 320, **schedule: Any) -> Recipe:
    """Return a recipe whose batch is automatic, unless `schedule` says otherwise; training takes the most of it."""
    return recipe_from_dict(
        {
            "device": "cpu",
            "model": {"name": name, "weights": "none"},
            "input": {"image_size": image_size},
            "schedule": {"frozen_epochs": 0, "epochs": 1, "batch_size": "auto", **schedule},
        }
    )


def limit_for(cost: Cost, batch: int) -> Limit:
    """Return a limit into which a batch just fits, whatever this process has taken by now."""
    from kit.fit.limits import resident_bytes

    standing = max(cost.surroundings.standing, resident_bytes())
    needed = (1 + cost.margin) * (cost.total(batch) - cost.surroundings.standing)
    return Limit(num_bytes=int(standing + needed) + 8 * 2**20, source="asked for", asked=True)


@pytest.fixture(scope="module")
def cost() -> Cost:
    """Return the cost, traced in a test: PyTorch forks no training after that, so not while tests are collected."""
    return cost_of(recipe_of(), 5)


@pytest.mark.parametrize(("room_for", "chosen"), [(200, 64), (64, 64), (40, 32), (17, 16), (9, 8)])
def test_an_automatic_batch_is_the_largest_power_of_two_up_to_64_that_fits(
    room_for: int, chosen: int, cost: Cost
) -> None:
    said: list[str] = []
    found = resolved(recipe_of(), num_classes=5, limit=limit_for(cost, room_for), say=said.append).schedule
    assert (found.batch_size, found.micro_batch) == (chosen, 0)
    assert len(said) == 1 and f"batches of {chosen} images" in said[0] and "asked for" in said[0]


def test_where_eight_do_not_fit_they_are_taken_in_portions_and_batch_norm_is_named() -> None:
    said: list[str] = []
    large = recipe_of("resnet50", image_size=384)
    found = resolved(large, num_classes=5, limit=limit_for(cost_of(large, 5), 5), say=said.append).schedule
    assert (found.batch_size, found.micro_batch) in ((8, 4), (8, 2))
    assert f"BatchNorm sees {found.micro_batch} images" in said[0]


def test_a_batch_that_the_recipe_states_is_kept_and_taken_in_portions_that_fit(cost: Cost) -> None:
    found = resolved(recipe_of(batch_size=96), num_classes=5, limit=limit_for(cost, 60), say=lambda line: None).schedule
    assert found.batch_size == 96
    assert found.micro_batch in (32, 48)


def test_numbers_that_the_recipe_states_stay(cost: Cost) -> None:
    stated = recipe_of(batch_size=64, micro_batch=16)
    assert resolved(stated, num_classes=5, limit=limit_for(cost, 2), say=lambda line: None) == stated


def test_a_limit_into_which_nothing_fits_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not fit"):
        resolved(recipe_of(), num_classes=5, limit=Limit(num_bytes=2**20, source="asked for", asked=True))


def test_a_batch_that_ran_out_of_memory_is_not_chosen_again(cost: Cost) -> None:
    limit = limit_for(cost, 64)
    quiet = {"num_classes": 5, "limit": limit, "say": lambda line: None}
    assert resolved(recipe_of(), **quiet).schedule.batch_size == 64
    learn(cost, device_name=CPU_NAME, batch=64, limit=limit)
    assert resolved(recipe_of(), **quiet).schedule.batch_size < 64
    assert learn(cost, device_name=CPU_NAME, batch=2, limit=limit) == 4.0  # more than that is not the network's doing


def test_what_was_learnt_holds_for_this_network_size_and_device_alone(cost: Cost) -> None:
    learn(cost, device_name=CPU_NAME, batch=8, limit=limit_for(cost, 64))
    assert known_cost(recipe_of(), num_classes=5, device=CPU).correction > 1
    assert known_cost(recipe_of(image_size=288), num_classes=5, device=CPU).correction == 1
    assert correction_of(cost, device_name=f"not {CPU_NAME}") == 1


def test_a_damaged_correction_is_as_good_as_none(own_home: Any, cost: Cost) -> None:
    learn(cost, device_name=CPU_NAME, batch=8, limit=limit_for(cost, 64))
    (path,) = (own_home / "fit" / "corrections").iterdir()
    path.write_text('{"correction": "much"}')
    assert correction_of(cost, device_name=CPU_NAME) == 1


def test_a_measurement_becomes_the_correction_of_what_was_measured() -> None:
    said: list[str] = []
    small = recipe_of("resnet10t", image_size=64)
    cost = cost_of(small, 5)
    correction, seconds = check(cost, small, 5, batch=4, device="cpu", say=said.append)
    assert correction_of(cost, device_name=CPU_NAME) == correction
    assert 0.5 < correction < 2 and seconds > 0
    assert said[-1].startswith("predicted ")


def test_steps_that_fail_say_why() -> None:
    with pytest.raises(TrainingError, match=r"could not be taken on cpu: .*timm knows no network 'resnet10x'"):
        measure(recipe_of("resnet10x"), 5, stage="all", batch=4, device="cpu", precision="fp32")


@pytest.mark.gpu
def test_no_batch_that_was_chosen_for_an_enforced_limit_runs_out_of_memory() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device is at hand")
    import numpy as np

    from kit.fit.limits import CUDA_CONTEXT

    random = np.random.default_rng(0)
    for _ in range(50):
        recipe = recipe_from_dict(
            {
                "device": "cuda",
                "model": {
                    "name": str(random.choice(["resnet18", "resnet50", "convnext_tiny", "tf_efficientnet_lite0"])),
                    "weights": "none",
                },
                "input": {"image_size": int(random.choice([96, 160, 224, 320]))},
                "schedule": {"frozen_epochs": 0, "epochs": 1, "batch_size": "auto"},
            }
        )
        limit = Limit(num_bytes=CUDA_CONTEXT + int(random.integers(2, 12)) * 2**30, source="asked for", asked=True)
        found = resolved(recipe, num_classes=37, limit=limit, say=lambda line: None)
        images = found.schedule.micro_batch or found.schedule.batch_size
        cost = cost_of(found, 37, device="cuda")
        taken = measure(
            found,
            37,
            stage="all",
            batch=images,
            device="cuda",
            precision=cost.stages[0].workload.precision,
            limit=limit,
        )
        assert taken.growth + CUDA_CONTEXT <= limit.num_bytes
