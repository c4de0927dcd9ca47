"""Memory that runs out in a training: the step is undone and taken again in smaller portions; nothing else changes."""

import json
import os
import random
import traceback
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from forked_trainings import CLASSES
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from kit.config import recipe_from_dict
from kit.errors import TrainingError
from kit.fit.limits import Limit, resident_bytes
from kit.plan import plan_run
from kit.run import train_models
from kit.store.pack import Pack
from kit.train.course import Course
from kit.train.engine import Engine
from kit.train.feed import Feed, pieces_of
from kit.train.inference import predict_probabilities
from kit.train.loop import fit
from kit.train.loss import Objective, epoch_order
from kit.train.memory import (
    OverLimitError,
    fewer_images,
    give_freed_memory_back,
    is_out_of_memory,
    keep_freed_memory,
)
from kit.train.model import make_network
from kit.train.state import generators

CPU = torch.device("cpu")
FIRST, NUM_STEPS = 3, 6  # of the steps that are taken, those of the second stage begin at FIRST
PLACES = ("forward", "backward", "the optimizer's state", "clipping", "optimizer", "average")


def recipe(*, name="test_efficientnet", drop_rate=0.0, augment=None, **schedule):
    """Return a recipe in which a step changes everything that one can: two epochs of three steps with 6 images."""
    return recipe_from_dict(
        {
            "num_folds": 0,
            "model": {"name": name, "weights": "none", "drop_rate": drop_rate},
            "input": {"image_size": 32, "store_size": 32, "test_crop": 1.0},
            "augment": {"mixup_alpha": 0.4, "cutmix_alpha": 1.0} if augment is None else augment,
            "schedule": {
                "frozen_epochs": 1,
                "epochs": 1,
                "batch_size": 6,
                "clip_norm": 1.0,
                "average_decay": 0.9,
                "frozen_norms": "trained",
                **schedule,
            },
        }
    )


DROPPING = recipe(drop_rate=0.3)


# A step that is undone.


class Steps:
    """An engine and the steps of both its stages, taken one by one."""

    def __init__(self, toy, plan, *, memory=None):
        train, _, pack = toy
        network = make_network(plan.model, num_classes=3, seed=1)
        train = train.assign(weight=np.linspace(0.5, 2, len(train)))
        objective = Objective.of(plan.loss, several=False, train=train, classes=CLASSES, device=CPU)
        self.engine = Engine(network, objective, recipe=plan, num_classes=3, device=CPU, seed=1, memory=memory)
        feed = Feed(pack, train["image_id"].tolist(), recipe=plan, spec=network.input, device=CPU, seed=1)
        self.course = Course(recipe=plan, steps_per_epoch=feed.steps_per_epoch)
        orders = [epoch_order(objective, num_rows=len(train), seed=1, epoch=epoch) for epoch in (1, 2)]
        self.steps = [one for k in (0, 1) for one in feed.steps(orders[k], epoch=k + 1, image_size=32)]
        assert len(self.steps) == NUM_STEPS

    def reach(self, number):
        """Begin the stage that begins with a step."""
        if number in (0, FIRST):
            stage = self.course.stage_of(number // FIRST)
            self.engine.begin(stage, self.course.peak_lrs_of(stage, num_groups=self.engine.num_groups))
            self.engine.train_mode()

    def take(self, number):
        """Take a step and return its loss and rates."""
        loss = self.engine.step(self.steps[number], self.course.point_of(number), number=number, mixes=True)
        return float(loss), [group["lr"] for group in self.engine.optimizer.param_groups]


def bits(engine):
    """Return all that a step changes."""
    state = engine.capture()
    moments = [value for one in state["optimizer"]["state"].values() for value in one.values()]
    tensors = [*state["module"].values(), *state["average"].values(), *moments]
    return [tensor.numpy().tobytes() for tensor in tensors], repr(generators())


@contextmanager
def runs_out(engine, place, *, at=0):
    """Let memory run out once, at the `at`-th time (from 0) that a step comes by a place; list where it did."""
    fired, times, hooks = [], [0], []

    def trap(*_):
        times[0] += 1
        if times[0] > at and not fired:
            fired.append(place)
            raise torch.OutOfMemoryError("injected")

    def after_trap(function):
        def called(*args, **options):
            trap()
            return function(*args, **options)

        return called

    with pytest.MonkeyPatch.context() as patch:
        if place == "forward":
            hooks = [layer.register_forward_hook(trap) for layer in engine.module.modules()]
        elif place == "backward":
            learning = [weight for weight in engine.module.parameters() if weight.requires_grad]
            hooks = [weight.register_post_accumulate_grad_hook(trap) for weight in learning]
        else:
            owner, name = {
                "clipping": (nn.utils, "clip_grad_norm_"),
                "the optimizer's state": (torch, "zeros_like"),
                "optimizer": (engine.optimizer, "step"),
                "average": (engine.average, "update"),
            }[place]
            patch.setattr(owner, name, after_trap(getattr(owner, name)))
        yield fired
    for hook in hooks:
        hook.remove()


@settings(max_examples=10)
@given(number=st.integers(0, NUM_STEPS - 1), place=st.sampled_from(PLACES), at=st.integers(0, 60))
@example(number=2, place="average", at=0)
@example(number=4, place="optimizer", at=0)
def test_a_step_in_which_memory_ran_out_anywhere_is_bit_by_bit_the_step_in_two_portions(toy, number, place, at):
    # With dropout, BatchNorm on batch statistics, mixed images, clipping, a moving average, images that count more.
    at = at if place in ("forward", "backward", "the optimizer's state") else 0
    disturbed, found = Steps(toy, DROPPING), []
    for k in range(NUM_STEPS):
        disturbed.reach(k)
        if k == number:
            with runs_out(disturbed.engine, place, at=at) as fired:
                found.append(disturbed.take(k))
        else:
            found.append(disturbed.take(k))
    left = bits(disturbed.engine)
    # The average comes last: the update stands by then, and only the average is made again.
    fewer = bool(fired) and place != "average"
    assert (disturbed.engine.room.micro_batch, len(disturbed.engine.room.notes)) == ((3, 1) if fewer else (None, 0))

    calm = Steps(toy, DROPPING)
    for k in range(NUM_STEPS):
        calm.reach(k)
        calm.engine.room.micro_batch = 3 if fewer and k >= number else None
        assert calm.take(k) == found[k]
    assert bits(calm.engine) == left


@pytest.mark.parametrize(("place", "number"), [(place, k) for place in PLACES[:4] for k in (0, FIRST)])
def test_memory_runs_out_at_the_first_step_of_a_stage_at_all_of_these_places(toy, place, number):
    steps = Steps(toy, DROPPING)
    for k in range(number + 1):
        steps.reach(k)
        if k < number:
            steps.take(k)
    with runs_out(steps.engine, place, at=5 if place != "clipping" else 0) as fired:
        steps.take(number)
    assert fired == [place]


def test_an_error_of_another_kind_is_left_alone(toy):
    steps = Steps(toy, DROPPING)
    steps.reach(0)
    steps.engine.module.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        steps.take(0)


class Forgetful(nn.Module):
    """What puts a new tensor into the place of its buffer, and draws from all generators."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(3))
        self.head = nn.Linear(3, 3)

    def forward(self, images):
        means = images.mean((2, 3))
        self.seen = self.seen + means.mean(0) + torch.rand(3) + np.random.rand() + random.random()
        return self.head(means + self.seen)

    def get_classifier(self):
        return self.head


def test_buffers_that_a_module_replaces_and_generators_of_all_libraries_are_put_back(toy):
    found = []
    for place in (None, "backward"):
        steps = Steps(toy, DROPPING)
        steps.engine.module = Forgetful()
        steps.engine.average = None
        torch.manual_seed(1), np.random.seed(1), random.seed(1)
        steps.engine.begin("all", [1e-3])
        steps.take(3)
        if place:
            with runs_out(steps.engine, place, at=1) as fired:
                steps.take(4)
            assert fired
        else:
            steps.engine.room.micro_batch = 3
            steps.take(4)
        found.append((steps.engine.module.seen.tolist(), repr(generators())))
    assert found[0] == found[1]


def test_an_optimizer_that_fails_while_it_changes_weights_ends_the_training_with_a_way_to_go_on(toy, monkeypatch):
    steps = Steps(toy, DROPPING)
    steps.reach(0)
    steps.take(0)
    groups, update = [], torch._fused_adamw_

    def fails_in_the_second_group(*args, **options):
        groups.append(1)
        if len(groups) == 2:
            raise torch.OutOfMemoryError("injected")
        return update(*args, **options)

    monkeypatch.setattr(torch, "_fused_adamw_", fails_in_the_second_group)
    with pytest.raises(TrainingError, match=r"while the optimizer was changing the weights.* goes on from the last"):
        steps.take(1)


# A training that goes on.

NARROW = """\
import torch
from torch import nn


class Narrow(nn.Sequential):
    def forward(self, images):
        if self.training and torch.is_grad_enabled() and len(images) > {most}:
            raise torch.OutOfMemoryError("Tried to allocate 20.00 MiB")
        return super().forward(images)


def narrow(num_classes):
    return Narrow(
        nn.Conv2d(3, 8, 3, stride=2), {norm}(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, num_classes),
    )
"""


def narrow(tmp_path, *, most, norm="nn.Identity"):
    """Return the name of a network that has memory for some images at once."""
    (tmp_path / f"narrow{most}.py").write_text(NARROW.format(most=most, norm=norm))
    return f"{tmp_path}/narrow{most}.py:narrow"


@pytest.fixture
def fit_toy(toy, tmp_path, monkeypatch):
    """Return a function that trains on the toy, and gives (weights, what `fit` returned, what it said)."""
    monkeypatch.setenv("KIT_SAVE_SECONDS", "0")

    def call(plan, *, folder="model", until=None, **options):
        train, test, pack = toy
        said = []

        def tick(step, total, loss):
            if step == until:
                raise KeyboardInterrupt

        options = {"classes": CLASSES, "several": False, "device": CPU, "seed": 1, "tick": tick} | options
        network = make_network(plan.model, num_classes=3, seed=1)
        found = fit(network, pack, train, test, recipe=plan, folder=tmp_path / folder, say=said.append, **options)
        return load_file(tmp_path / folder / "last.safetensors"), found, said

    return call


@pytest.mark.parametrize(("most", "micro_batch"), [(5, 3), (2, 1), (1, 1)])
def test_fewer_images_at_once_change_neither_rates_nor_what_is_learned(fit_toy, tmp_path, most, micro_batch):
    plain = {"augment": {}, "frozen_epochs": 0, "epochs": 4}
    expected, undisturbed, _ = fit_toy(recipe(name=narrow(tmp_path, most=6), **plain), folder="undisturbed")
    weights, found, said = fit_toy(recipe(name=narrow(tmp_path, most=most), **plain))
    assert found.micro_batch == micro_batch
    assert undisturbed.micro_batch == 6
    np.testing.assert_array_equal(found.lrs, undisturbed.lrs)
    np.testing.assert_allclose(found.losses, undisturbed.losses, rtol=1e-5)
    for key, value in expected.items():
        torch.testing.assert_close(weights[key], value, atol=1e-6, rtol=1e-4)
    assert said == list(found.notes)
    assert said[0] == (
        "step 1: cpu ran out of memory with 6 images at once, so the step was taken again, and training goes on, "
        "with 3: batches and learning rates stay as they are"
    )
    assert len(said) == (1 if micro_batch == 3 else 2)


def test_a_recipe_that_asked_for_those_portions_learns_the_same_bits(fit_toy, tmp_path):
    plain = {"frozen_epochs": 0, "epochs": 2, "augment": {}}
    asked, _, _ = fit_toy(
        recipe(name=narrow(tmp_path, most=6, norm="nn.BatchNorm2d"), micro_batch=3, **plain), folder="a"
    )
    given, found, said = fit_toy(recipe(name=narrow(tmp_path, most=3, norm="nn.BatchNorm2d"), **plain))
    assert said[0].endswith(", but BatchNorm now sees 3 images instead of 6")
    assert found.micro_batch == 3
    assert all(torch.equal(asked[key], value) for key, value in given.items())


def test_the_smaller_portions_and_the_note_survive_a_resume(fit_toy, tmp_path):
    plan = recipe(name=narrow(tmp_path, most=5), frozen_epochs=0, epochs=3)
    expected, _, _ = fit_toy(plan, folder="undisturbed")
    with pytest.raises(KeyboardInterrupt):
        fit_toy(plan, until=5)
    weights, found, said = fit_toy(plan)
    assert said == ["goes on after step 4 of 9"]
    assert (found.resumed_at, found.micro_batch) == (4, 3)
    assert found.notes[-1].startswith("step 1: cpu ran out of memory")
    assert all(torch.equal(expected[key], value) for key, value in weights.items())


def test_a_network_without_memory_for_one_image_is_one_paragraph_with_the_ways_out(fit_toy, tmp_path):
    with pytest.raises(TrainingError) as caught:
        fit_toy(recipe(name=narrow(tmp_path, most=0), frozen_epochs=0))
    message = str(caught.value)
    assert message.startswith(
        "cpu has no memory for a step with 1 images at once. The ways out: smaller images (--set "
    )
    assert "\n" not in message


def test_batch_norm_on_batch_statistics_never_gets_a_single_image(fit_toy, tmp_path):
    with pytest.raises(
        TrainingError, match="a step with 2 images at once, the fewest of which BatchNorm has a variance"
    ):
        fit_toy(recipe(name=narrow(tmp_path, most=1, norm="nn.BatchNorm2d"), frozen_epochs=0))


@given(num_images=st.integers(2, 40), size=st.integers(1, 40), fewest=st.integers(1, 2))
def test_pieces_count_every_image_once_and_none_is_too_small(num_images, size, fewest):
    size = max(size, fewest)
    pieces = list(pieces_of(num_images, size=size, fewest=fewest))
    taken = [np.arange(num_images)[index] for index, _ in pieces]
    assert np.concatenate([part[:num] for part, (_, num) in zip(taken, pieces, strict=True)]).tolist() == list(
        range(num_images)
    )
    assert all(fewest <= len(set(part)) == len(part) <= size for part in taken)


# Models and runs.


def test_the_record_of_a_model_says_how_many_images_there_was_memory_for(toy_competition, tmp_path, own_home):
    overrides = [f"model.name={narrow(tmp_path, most=4)}", "num_folds=0", "device=cpu"]
    plan = plan_run(toy_competition(), overrides=overrides, say=lambda line: None)
    said = []
    (model,) = train_models(plan, say=said.append)
    history = json.loads((model.folder / "history.json").read_text())
    assert (history["micro_batch"], history["too_many"]) == (3, 6)  # an epoch is dealt into steps of six
    assert history["notes"][-1] in "".join(said)
    assert plan.recipe.schedule.batch_size == 8
    # And the next prediction knows better.
    (learnt,) = (own_home / "fit" / "corrections").iterdir()
    assert json.loads(learnt.read_text())["why"].startswith("6 images at once passed ")


@pytest.mark.parametrize("limit", [8, 3])
def test_prediction_takes_fewer_images_at_once_too(toy, limit):
    _, test, pack = toy

    class Little(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 3)

        def forward(self, images):
            if len(images) > limit:
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")
            return self.head(images.mean((2, 3)))

    torch.manual_seed(1)
    network = replace(make_network(recipe().model, num_classes=3, seed=1), module=Little())
    found = predict_probabilities(
        network, pack, test, image_size=32, test_crop=1.0, activation="softmax", device=CPU, batch_size=6
    )
    assert found.shape == (6, 3)


# Limits, and memory that there really is not.


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (MemoryError(), True),
        (OverLimitError(), True),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: ..."
            ),
            True,
        ),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.88 GB)"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_says_that_there_is_no_memory(error, expected):
    assert is_out_of_memory(error) is expected


WIDE = """\
from torch import nn


def wide(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(64, num_classes),
    )
"""


def wide(tmp_path, toy, *, image_size=64, **options):
    """Train a network that keeps 2 MiB of each image of 64 pixels, 8 of one of 128; what `fit` gave and said."""
    (tmp_path / "wide.py").write_text(WIDE)
    plan = recipe(name=f"{tmp_path}/wide.py:wide", augment={}, frozen_epochs=0, batch_size=16, average_decay=0.0)
    plan = replace(plan, input=replace(plan.input, image_size=image_size))
    train, _, pack = toy
    said = []
    network = make_network(plan.model, num_classes=3, seed=1)
    options = {"classes": CLASSES, "several": False, "device": CPU, "seed": 1, "say": said.append} | options
    return fit(network, pack, train.head(16), None, recipe=plan, folder=tmp_path / "model", **options), said


def in_a_child(work):
    """Run `work` in a forked process and return what it returned: plain values."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        code = 1
        try:
            os.write(writing, json.dumps(work()).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return json.loads(text)


def test_an_allocator_that_fails_is_answered_with_smaller_portions(toy, tmp_path):
    import resource

    def work():
        virtual = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (virtual + 100 * 2**20, -1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Pack, "read_ahead", lambda self, *, memory: None)  # a thread takes 72 MiB of addresses
            found, said = wide(tmp_path, toy, image_size=128)
        return [found.micro_batch, said, found.losses.tolist()]

    micro_batch, said, losses = in_a_child(work)
    expected, _ = wide(tmp_path, toy, image_size=128)
    assert micro_batch in (2, 4, 8)
    assert "cpu ran out of memory with 16 images at once" in said[0]
    np.testing.assert_allclose(losses, expected.losses, rtol=1e-5)


def test_resident_memory_stays_below_a_limit_by_smaller_portions(toy, tmp_path):
    def work():
        wide(tmp_path / "warm", toy)  # what is loaded at the first step is no part of what a portion takes
        give_freed_memory_back(CPU)
        limit = Limit(num_bytes=resident_bytes() + 20 * 2**20, source="asked for", asked=True)
        found, said = wide(tmp_path, toy, memory=limit)
        return [found.micro_batch, said, resident_bytes() - limit.num_bytes]

    (tmp_path / "warm").mkdir()
    micro_batch, said, over = in_a_child(work)
    assert micro_batch in (2, 4, 8)
    assert "memory passed " in said[0]
    assert over < 0


def test_memory_that_was_freed_long_ago_makes_no_portion_smaller(toy):
    def work():
        limit = Limit(num_bytes=resident_bytes() + 150 * 2**20, source="asked for", asked=True)
        steps = Steps(toy, DROPPING, memory=limit)
        steps.reach(0)
        keep_freed_memory()
        blocks = [torch.ones(2**20) for _ in range(200)]  # 800 MiB
        blocks.clear()
        kept = resident_bytes() > limit.num_bytes
        steps.take(0)
        return [kept, steps.engine.room.micro_batch, resident_bytes() < limit.num_bytes]

    assert in_a_child(work) == [True, None, True]


def test_a_limit_below_what_is_there_already_is_one_paragraph(toy, tmp_path):
    limit = Limit(num_bytes=2**20, source="asked for", asked=True)
    with pytest.raises(TrainingError) as caught:
        wide(tmp_path, toy, memory=limit)
    assert str(caught.value).startswith(
        "1.0 MiB (asked for) is no memory for a step with 1 images at once. The ways out"
    )
    assert "more memory (--memory)" in str(caught.value)
    free = replace(limit, asked=False)  # of the machine: nobody asked, so nothing is enforced
    assert wide(tmp_path, toy, memory=free)[0].micro_batch == 16


def test_several_processes_are_told_which_setting_to_change():
    with pytest.raises(
        TrainingError, match=r"16 images at once in each of 4 processes.*schedule\.micro_batch to 8 or less"
    ):
        fewer_images(16, fewest=2, num_processes=4, device=CPU, limit=None)


HUGE = """\
from torch import nn


class Huge(nn.Sequential):
    def _apply(self, *_, **__):
        raise MemoryError


def huge(num_classes):
    return Huge(nn.Linear(3, num_classes))
"""


def test_a_device_that_has_no_memory_for_the_weights_is_one_paragraph(toy, tmp_path, fit_toy):
    (tmp_path / "huge.py").write_text(HUGE)
    with pytest.raises(TrainingError, match="cpu has no memory for this training, even without the activations"):
        fit_toy(recipe(name=f"{tmp_path}/huge.py:huge", frozen_epochs=0))
