"""The learning-rate finder: it leaves everything as it was, stops when the loss runs away, suggests by two rules."""

import random

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from kit.cli.lr_find import lr_find
from kit.config import Recipe, recipe_from_dict
from kit.errors import TrainingError
from kit.train.course import Course
from kit.train.engine import Engine
from kit.train.feed import Feed
from kit.train.loss import Objective
from kit.train.lr_finder import LrFind, find_lr, find_lr_for, plot_lr_find, suggestions
from kit.train.model import make_network
from kit.train.state import generators, set_generators

CPU = torch.device("cpu")
CLASSES = ("red", "green", "blue")


def recipe(*, augment=None, **schedule) -> Recipe:
    plan = {"frozen_epochs": 1, "epochs": 2, "lr": 3e-3, "batch_size": 6, "average_decay": 0.9, **schedule}
    return recipe_from_dict(
        {
            "num_folds": 0,
            "model": {"name": "test_efficientnet", "weights": "none", "drop_rate": 0.3},
            "input": {"image_size": 32, "store_size": 32, "test_crop": 1.0},
            "augment": {"mixup_alpha": 0.4, **(augment or {})},
            "schedule": plan,
        }
    )


@pytest.fixture
def begun(toy):
    """Return a maker of (engine, feed, course) on the toy, in the middle of the second stage."""

    def make(plan, *, num_steps=3):
        train, _, pack = toy
        network = make_network(plan.model, num_classes=3, seed=1)
        objective = Objective.of(plan.loss, several=False, train=train, classes=CLASSES, device=CPU)
        engine = Engine(network, objective, recipe=plan, num_classes=3, device=CPU, seed=1)
        feed = Feed(pack, train["image_id"].tolist(), recipe=plan, spec=network.input, device=CPU, seed=1)
        course = Course(recipe=plan, steps_per_epoch=feed.steps_per_epoch)
        engine.begin("all", course.peak_lrs_of("all", num_groups=engine.num_groups))
        learn(engine, feed, course, first=0, num_steps=num_steps)
        return engine, feed, course

    return make


def learn(engine, feed, course, *, first, num_steps):
    """Take some steps of the epoch that follows the frozen one and return their losses."""
    engine.train_mode()
    steps = feed.steps(np.arange(18), epoch=2, image_size=32, skip=first)
    begin = course.steps_per_epoch + first
    return [
        float(engine.step(next(steps), course.point_of(begin + k), number=begin + k, mixes=True))
        for k in range(num_steps)
    ]


@pytest.fixture
def emulated_amp(monkeypatch):
    """Compute in bfloat16 with a scaled loss, as a GPU does."""
    monkeypatch.setattr(
        "kit.train.engine.mixed_precision",
        lambda device: (
            lambda: torch.autocast("cpu", dtype=torch.bfloat16),
            torch.amp.GradScaler("cpu", enabled=True, init_scale=2.0**10, growth_interval=2),
        ),
    )


def all_of(engine):
    """Return everything that a step or a stage changes, as bytes and plain values that nothing shares."""
    tensors = {
        f"{owner}.{name}": tensor.numpy().tobytes()
        for owner, module in (("module", engine.module), ("average", engine.average.module))
        for name, tensor in module.state_dict().items()
    }
    layers = [(layer.training, [p.requires_grad for p in layer.parameters()]) for layer in engine.module.modules()]
    gradients = [None if p.grad is None else p.grad.numpy().tobytes() for p in engine.module.parameters()]
    settings = [
        {key: value for key, value in group.items() if key != "params"} for group in engine.optimizer.param_groups
    ]
    moments = [
        {key: value.numpy().tobytes() for key, value in engine.optimizer.state[p].items()}
        for p in engine.module.parameters()
    ]
    scaler = (engine.scaler.state_dict(), engine.scaler.get_scale())
    drawn = repr({key: value for key, value in generators().items() if key != "numpy"})
    return tensors, layers, gradients, settings, moments, scaler, drawn, generators()["torch"].numpy().tobytes()


def draws():
    """Return the next number of every generator."""
    return float(torch.rand(())), float(np.random.rand()), random.random()


@pytest.mark.parametrize("stage", ["head", "all"])
def test_nothing_is_changed_with_amp_a_moving_average_and_mixup_on(begun, emulated_amp, stage):
    engine, feed, course = begun(recipe())
    before, kept, expected = all_of(engine), generators(), draws()
    set_generators(kept)
    held = engine.optimizer, engine.scaler, engine.average, engine.module, engine.stage
    found = find_lr(engine, feed, course=course, num_train=18, stage=stage, num_steps=30)
    assert len(found.lrs) > 15
    assert all_of(engine) == before
    assert (engine.optimizer, engine.scaler, engine.average, engine.module, engine.stage) == held
    assert draws() == expected


def _into(ticks):
    return lambda step, total, loss: ticks.append((step, total))


def test_the_sweep_with_amp_does_learn_and_scale_its_copy(begun, emulated_amp, monkeypatch):
    scales = []
    step = Engine.step

    def spied(self, *args, **options):
        loss = step(self, *args, **options)
        scales.append(self.scaler.get_scale())
        return loss

    engine, feed, course = begun(recipe())
    monkeypatch.setattr(Engine, "step", spied)
    find_lr(engine, feed, course=course, num_train=18, stage="all", num_steps=30, highest=1e-2)
    assert len(set(scales)) > 1


@pytest.mark.parametrize("amp", [False, True])
def test_a_training_goes_on_after_the_sweep_as_it_would_have_without(begun, request, amp):
    if amp:
        request.getfixturevalue("emulated_amp")
    plan = recipe(batch_size=3)
    found = []
    for sweeps in (False, True):
        engine, feed, course = begun(plan)
        if sweeps:
            find_lr(engine, feed, course=course, num_train=18, stage="all", num_steps=20)
        losses = learn(engine, feed, course, first=3, num_steps=3)
        found.append((losses, all_of(engine)))
    assert found[0] == found[1]


def test_an_error_or_ctrl_c_in_the_sweep_leaves_nothing_changed_either(begun):
    engine, feed, course = begun(recipe())
    before, kept, expected = all_of(engine), generators(), draws()
    set_generators(kept)

    def interrupt(step, total, loss):
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_lr(engine, feed, course=course, num_train=18, stage="head", tick=interrupt)
    assert all_of(engine) == before
    assert draws() == expected


def test_the_users_network_and_generators_stay_as_they_were(toy):
    train, _, pack = toy
    plan = recipe()
    network = make_network(plan.model, num_classes=3, seed=1)
    weights = {key: value.clone() for key, value in network.module.state_dict().items()}
    modes = [layer.training for layer in network.module.modules()]
    kept, expected = generators(), draws()
    set_generators(kept)
    options = {"classes": CLASSES, "several": False, "device": CPU, "seed": 1}
    for stage in ("head", "all"):
        ticks = []
        find_lr_for(network, pack, train, recipe=plan, stage=stage, tick=_into(ticks), **options)
        # The stage "all" begins with a head that was trained for the one frozen epoch of three steps.
        assert ticks[:3] == [(k, 3 if stage == "all" else 100) for k in (1, 2, 3)]
    assert draws() == expected
    assert all(torch.equal(weights[key], value) for key, value in network.module.state_dict().items())
    assert modes == [layer.training for layer in network.module.modules()]
    assert all(p.requires_grad and p.grad is None for p in network.module.parameters())


def test_rates_grow_geometrically_and_the_groups_keep_their_ratio(begun, monkeypatch):
    seen = []
    step = torch.optim.AdamW.step

    def spied(self, *args, **options):
        seen.append([group["lr"] for group in self.param_groups])
        return step(self, *args, **options)

    engine, feed, course = begun(recipe(lr_spread=100.0))
    monkeypatch.setattr(torch.optim.AdamW, "step", spied)
    found = find_lr(engine, feed, course=course, num_train=18, stage="all", lowest=1e-6, highest=1e-3, num_steps=31)
    assert found.lrs == pytest.approx([10 ** (-6 + k / 10) for k in range(31)])
    assert [lrs[-1] for lrs in seen] == pytest.approx(found.lrs)
    assert all(lrs[-1] / lrs[0] == pytest.approx(100) for lrs in seen)


def falling_then_rising(lr):
    """Return 2 nats below 1e-4, 1 nat from 1e-2 to 1e-1, in straight lines of log lr, and then 1,000 nats."""
    log = np.log10(lr)
    return float(np.interp(log, [-4, -2, -1, -0.9], [2.0, 1.0, 1.0, 1000.0]))


def test_a_loss_that_runs_away_ends_the_sweep_before_its_highest_rate(begun, monkeypatch):
    engine, feed, course = begun(recipe())
    monkeypatch.setattr(
        Engine, "step", lambda self, step, point, **options: torch.tensor(falling_then_rising(point.lr))
    )
    found = find_lr(engine, feed, course=course, num_train=18, stage="all")
    assert found.lrs[-1] < 10
    assert found.smoothed[-1] > 4 * found.smoothed.min() >= found.smoothed[-2]


def test_a_loss_that_is_no_number_ends_the_sweep_and_is_left_out(begun, monkeypatch):
    engine, feed, course = begun(recipe())
    monkeypatch.setattr(
        Engine,
        "step",
        lambda self, step, point, **options: torch.tensor(2 - point.lr if point.lr < 1 else float("nan")),
    )
    found = find_lr(engine, feed, course=course, num_train=18, stage="all")
    assert 0.5 < found.lrs[-1] < 1
    assert len(found.lrs) == len(found.losses) == len(found.smoothed)
    assert np.isfinite(found.losses).all()


def test_a_network_that_is_driven_too_fast_ends_its_sweep(begun):
    engine, feed, course = begun(recipe(augment={"mixup_alpha": 0.0}))
    found = find_lr(engine, feed, course=course, num_train=18, stage="all", lowest=1e-6, highest=1e6)
    assert len(found.lrs) < 100


def test_the_smoothed_loss_is_a_moving_average_without_bias(begun, monkeypatch):
    losses = iter([5.0, 3.0, 4.0, *[2.0] * 97])
    engine, feed, course = begun(recipe())
    monkeypatch.setattr(Engine, "step", lambda self, step, point, **options: torch.tensor(next(losses)))
    found = find_lr(engine, feed, course=course, num_train=18, stage="all")
    assert found.smoothed[0] == pytest.approx(5)
    assert found.smoothed[1] == pytest.approx((0.98 * 5 + 3) / 1.98)
    assert found.smoothed[2] == pytest.approx((0.98**2 * 5 + 0.98 * 3 + 4) / (0.98**2 + 0.98 + 1))


# The rules.

RATES = np.geomspace(1e-6, 1e-1, 11)  # half a decade apart


def test_the_valley_is_the_middle_of_the_longest_fall():
    #                 1e-6                1e-4                1e-2      1e-1
    losses = np.array([2.0, 2.1, 2.2, 2.0, 1.8, 1.5, 1.2, 1.0, 1.4, 3.0, 9.0])
    # The longest fall: 2.2 (or 2.1) 2.0 1.8 1.5 1.2 1.0, six points which end at number 7. Six before it is number 1; a
    # third and half a third of six further is number 4: 1e-4.
    assert suggestions(RATES, losses)[0] == pytest.approx(1e-4)


def test_noise_in_the_fall_does_not_part_it():
    losses = np.array([2.0, 2.1, 2.2, 2.0, 1.8, 1.9, 1.2, 1.0, 1.4, 3.0, 9.0])
    # One point, 1.9, is left out: 2.2 2.0 1.8 1.2 1.0 are five, from number 2: 2 + 1 + 0.
    assert suggestions(RATES, losses)[0] == pytest.approx(RATES[3])


def test_a_loss_that_falls_from_the_first_point_on_is_no_trouble():
    assert suggestions(RATES, np.linspace(2, 1, 11))[0] == pytest.approx(RATES[3])


def test_the_steepest_rate_is_where_the_loss_falls_most():
    losses = np.array([2.0, 2.1, 2.2, 2.0, 1.8, 1.5, 0.9, 0.8, 1.4, 3.0, 9.0])
    assert suggestions(RATES, losses)[1] == pytest.approx(RATES[5])


def test_a_straight_fall_between_two_rates_is_suggested_in_its_middle(begun, monkeypatch):
    engine, feed, course = begun(recipe())
    monkeypatch.setattr(
        Engine, "step", lambda self, step, point, **options: torch.tensor(falling_then_rising(point.lr))
    )
    found = find_lr(engine, feed, course=course, num_train=18, stage="all")
    # Losses fall from 1e-4 to 1e-2; the smoothed ones, which remember 50 steps of 12 a decade, until 1e-1.
    assert 1e-3 < found.valley < 1e-2
    assert 1e-4 < found.steepest < 1e-2
    assert found.suggested == found.valley


@pytest.mark.parametrize(
    ("losses", "message"),
    [([2.0, 1.5, 1.0, 0.5], "ran away before"), ([1.0, 1.0, 1.1, 1.2, 1.3, 2.0], "fell at no learning rate")],
)
def test_where_nothing_can_be_suggested_the_message_says_why(losses, message):
    with pytest.raises(TrainingError, match=message):
        suggestions(RATES[: len(losses)], np.array(losses))


# The plot and the command.


def test_the_plot_shows_both_losses_and_both_suggestions_on_a_logarithmic_axis():
    lrs = np.geomspace(1e-7, 1, 80)
    losses = np.array([falling_then_rising(lr) for lr in lrs])
    figure = plot_lr_find(
        LrFind(stage="all", lrs=lrs, losses=losses, smoothed=losses, valley=1e-3, steepest=2e-3), title="Plain"
    )
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["each step", "smoothed", "valley: 0.001", "steepest: 0.002"]
    assert [line.get_xdata()[0] for line in axes.lines[2:]] == [1e-3, 2e-3]
    assert axes.get_ylim()[1] < 10  # the runaway end does not flatten the fall


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("options", "key"), [([], "lr"), (["--set", "schedule.frozen_epochs=1"], "frozen_lr")])
def test_the_command_prints_what_to_set_and_writes_the_plot(toy_competition, tmp_path, options, key):
    slug = toy_competition()
    app = typer.Typer()
    app.command("lr-find")(lr_find)
    path = tmp_path / "plot.png"
    options = [*options, "--set", "model.name=test_efficientnet", "--out", str(path)]
    found = CliRunner().invoke(app, [slug, *options])
    assert found.exit_code == 0, found.output
    steepest, valley, plot, following = found.stdout.splitlines()
    assert float(steepest.split()[1]) > 0
    assert plot.split()[1] == str(path)
    assert f"kit train toy --set schedule.{key}={valley.split()[1]}" in following
    assert path.read_bytes().startswith(b"\x89PNG")
