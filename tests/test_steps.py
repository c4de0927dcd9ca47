"""One optimizer step: accumulation that changes nothing, clipping, the moving average, and images that grow."""

import copy

import numpy as np
import pytest
import torch
from forked_trainings import CLASSES
from safetensors.torch import load_file
from torch import nn

from kit.config import recipe_from_dict
from kit.train.course import Course
from kit.train.engine import Engine
from kit.train.feed import Feed
from kit.train.loop import fit
from kit.train.loss import Objective
from kit.train.model import make_network

CPU = torch.device("cpu")


def recipe(*, name="test_efficientnet_gn", image_size=32, start_size=0, **schedule):
    return recipe_from_dict(
        {
            "num_folds": 0,
            "model": {"name": name, "weights": "none"},
            "input": {"image_size": image_size, "store_size": 32, "test_crop": 1.0, "start_size": start_size},
            "schedule": {"frozen_epochs": 0, "epochs": 2, "batch_size": 8, "lr": 1e-3, **schedule},
        }
    )


@pytest.fixture
def fit_toy(toy, tmp_path):
    """Return a function that trains on 18 images, some counting more than others."""

    def call(plan, *, folder="model", origin="none", **options):
        train, _, pack = toy
        network = make_network(plan.model, num_classes=3, seed=1)
        object.__setattr__(network, "weights_origin", origin)
        train = train.assign(weight=np.linspace(0.5, 2, len(train)))
        options |= {"recipe": plan, "classes": CLASSES, "several": False, "device": CPU, "seed": 1}
        return network.module, fit(network, pack, train, None, folder=tmp_path / folder, **options)

    return call


@pytest.fixture
def engine_of(toy):
    """Return a function that gives an engine in its second stage and a step of 8 images."""

    def make(plan):
        train, _, pack = toy
        network = make_network(plan.model, num_classes=3, seed=1)
        objective = Objective.of(plan.loss, several=False, train=train, classes=CLASSES, device=CPU)
        engine = Engine(network, objective, recipe=plan, num_classes=3, device=CPU, seed=1)
        feed = Feed(pack, train["image_id"].tolist(), recipe=plan, spec=network.input, device=CPU, seed=1)
        course = Course(recipe=plan, steps_per_epoch=feed.steps_per_epoch)
        engine.begin("all", course.peak_lrs_of("all", num_groups=engine.num_groups))
        engine.train_mode()
        return engine, course, next(feed.steps(np.arange(18), epoch=1, image_size=32))

    return make


@pytest.mark.parametrize(("batch_size", "micro_batch"), [(8, 0), (8, 4), (8, 2), (6, 3), (5, 0), (2, 0), (17, 0)])
@pytest.mark.parametrize("num_images", [1, 2, 3, 9, 17, 18])
def test_an_epoch_is_dealt_into_equal_steps_in_which_no_portion_has_a_single_image(
    toy,
    batch_size,
    micro_batch,
    num_images,
):
    train, _, pack = toy
    plan = recipe(batch_size=batch_size, micro_batch=micro_batch)
    spec = make_network(plan.model, num_classes=3, seed=1).input
    ids = train["image_id"].tolist()[:num_images]
    feed = Feed(pack, ids, recipe=plan, spec=spec, device=CPU, seed=1)
    steps = list(feed.steps(np.arange(num_images)[::-1].copy(), epoch=1, image_size=8))
    assert len(steps) == feed.steps_per_epoch == -(-num_images // batch_size)
    sizes = [len(step.rows) for step in steps]
    assert max(sizes) - min(sizes) <= 1
    counted = [
        row for step in steps for portion in step.portions for row in portion.rows[: portion.num_counted].tolist()
    ]
    assert counted == list(range(num_images))[::-1] == [row for step in steps for row in step.rows.tolist()]
    for step in steps:
        for portion in step.portions:
            assert len(portion.images) == len(portion.rows)
            assert 2 <= len(portion.rows) <= (micro_batch or batch_size)


@pytest.mark.parametrize(
    ("name", "origin"), [("test_efficientnet_gn", "none"), ("test_efficientnet", "statistics that are kept")]
)
def test_portions_of_a_batch_learn_what_the_whole_batch_learns(fit_toy, name, origin):
    whole, as_whole = fit_toy(recipe(name=name), origin=origin, folder="whole")
    for micro_batch in (4, 2):
        parts, in_parts = fit_toy(recipe(name=name, micro_batch=micro_batch), origin=origin, folder=f"{micro_batch}")
        np.testing.assert_allclose(in_parts.losses, as_whole.losses, atol=1e-6)
        for key, value in whole.state_dict().items():
            torch.testing.assert_close(parts.state_dict()[key], value, atol=2e-5, rtol=1e-4)


def test_portions_with_batch_norm_see_other_statistics(fit_toy):
    _, as_whole = fit_toy(recipe(name="test_efficientnet"), folder="whole")
    _, in_parts = fit_toy(recipe(name="test_efficientnet", micro_batch=4), folder="parts")
    assert abs(in_parts.losses - as_whole.losses).max() > 1e-4


def test_gradients_are_scaled_down_to_the_norm_and_smaller_ones_left(engine_of):
    norms = {}
    for clip_norm in (0.0, 1e-3, 1e6):
        engine, course, step = engine_of(recipe(clip_norm=clip_norm))
        engine.step(step, course.point_of(0), number=0)
        norms[clip_norm] = float(torch.cat([p.grad.flatten() for p in engine.module.parameters()]).norm())
    assert norms[0.0] > 0.01
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-3)
    assert norms[1e6] == pytest.approx(norms[0.0])


def test_the_moving_average_of_the_weights_is_kept_and_the_network_itself_goes_its_own_way(engine_of):
    engine, course, step = engine_of(recipe(average_decay=0.5))
    expected = None
    for number in range(5):
        engine.step(step, course.point_of(number), number=number)
        now = copy.deepcopy(engine.module.state_dict())
        # The first two are taken as they are, then the decay rises from 1 - 2 ** (-2 / 3) = 0.37 to the recipe's.
        decay = [0, 0, 1 - 2 ** (-2 / 3), 0.5, 0.5][number]
        expected = now if expected is None else {key: decay * expected[key] + (1 - decay) * now[key] for key in now}
    for key, value in engine.kept_module.state_dict().items():
        torch.testing.assert_close(value, expected[key])
    assert not torch.equal(engine.kept_module.state_dict()["conv_stem.weight"], now["conv_stem.weight"])


def test_the_checkpoint_holds_the_average(fit_toy, tmp_path):
    module, _ = fit_toy(recipe(average_decay=0.9))
    kept, own = load_file(tmp_path / "model" / "last.safetensors"), module.state_dict()
    assert not torch.equal(kept["conv_stem.weight"], own["conv_stem.weight"])
    plain, _ = fit_toy(recipe(), folder="plain")
    assert all(torch.equal(own[key], value) for key, value in plain.state_dict().items())


def test_images_grow_in_the_second_stage_and_the_network_sees_those_sizes(fit_toy, monkeypatch):
    seen = []
    forward = nn.Conv2d.forward

    def spied(self, images):
        if images.shape[1] == 3:
            seen.append(images.shape[-1])
        return forward(self, images)

    monkeypatch.setattr(nn.Conv2d, "forward", spied)
    plan = recipe(frozen_epochs=1, epochs=4, image_size=64, start_size=16)
    _, found = fit_toy(plan)
    # 16 grows to 64 over the first three of four epochs: 16, 32, 48, then 64; the frozen body sees the first.
    assert [log.image_size for log in found.history] == [16, 16, 32, 48, 64]
    per_epoch = [seen[3 * epoch : 3 * epoch + 3] for epoch in range(5)]
    assert [set(sizes) for sizes in per_epoch] == [{16}, {16}, {32}, {48}, {64}]
