"""Stopping: signals, a full disk and numbers that run away end a training, or not, and the last good state is kept."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from forked_trainings import CLASSES
from safetensors.torch import load_file
from test_resume import forker, left_in, plain_recipe  # noqa: F401 (a fixture)
from toys import make_toy_competition

from kit.config import recipe_from_dict
from kit.errors import TrainingError
from kit.train.loop import fit
from kit.train.model import make_network
from kit.train.state import BEFORE, NEWEST, read_state
from kit.train.stopping import StopRequests, remember_interrupts

CPU = torch.device("cpu")
RECIPE = """\
num_folds = 0

[model]
name = "test_efficientnet"
weights = "none"
drop_rate = 0.3

[input]
image_size = 32
store_size = 32
test_crop = 1.0

[augment]
mixup_alpha = 0.4

[schedule]
frozen_epochs = 0
epochs = 10
batch_size = 4
average_decay = 0.9
"""


# Signals.


def test_an_interrupt_that_was_lost_before_training_ends_it_and_only_it():
    before = signal.getsignal(signal.SIGINT)
    try:
        remember_interrupts()
        with contextlib.suppress(KeyboardInterrupt):  # as a library's import may do it
            signal.raise_signal(signal.SIGINT)
        assert StopRequests().number == signal.SIGINT
        assert StopRequests().number is None
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_step_finish_and_the_same_call_goes_on(forker, tmp_path, number):  # noqa: F811
    order = {"recipe": plain_recipe(), "env": {"KIT_SAVE_SECONDS": "3600"}}
    assert forker.start(**order, folder=str(tmp_path / "undisturbed")).end() == 0
    stopped = forker.start(**order, folder=str(tmp_path / "stopped"))
    stopped.until_step(5)
    stopped.send(number)
    assert stopped.end() == 128 + number
    assert f"stopped after step {stopped.step} of 12, whose state is kept in {tmp_path / 'stopped'}" in stopped.said[-1]
    resumed = forker.start(**order, folder=str(tmp_path / "stopped"))
    assert resumed.end() == 0
    assert f"goes on after step {stopped.step} of 12" in resumed.said
    (expected, _), (found, resumed_at) = left_in(tmp_path / "undisturbed"), left_in(tmp_path / "stopped")
    assert resumed_at == stopped.step
    assert found == expected


def kit_home(root, name):
    """Return the environment of a `kit` command on the toy, and the place of its models."""
    places = {"KIT_COMPETITIONS": root / "competitions", "KIT_MIRROR": root / "mirror", "KIT_HOME": root / name}
    settings = {"KIT_SAVE_SECONDS": "0", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return {key: str(value) for key, value in places.items()} | settings


def wait_for_state(home):
    """Wait until a training has kept a state."""
    for _ in range(6000):
        if found := list(Path(home).glob(f"runs/*/models/*/{BEFORE}")):
            return found[0]
        time.sleep(0.01)
    raise AssertionError("no training began")


def result_of(home):
    """Return what a run left that is not time or place: its record's results, and every prediction."""
    (folder,) = Path(home).glob("runs/*")
    record = json.loads((folder / "record.json").read_text())
    predictions = {path.name: path.read_bytes() for path in (folder / "predictions").iterdir()}
    losses = {path.parent.name: path.read_bytes() for path in folder.glob("models/*/steps.csv")}
    return folder.name, record["results"], predictions, losses


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_kit_run_is_stopped_by_a_signal_and_goes_on_to_the_same_record(forker, tmp_path, number):  # noqa: F811
    make_toy_competition(tmp_path, recipe=RECIPE)
    command = {"kit": ["run", "toy", "--no-track"]}
    undisturbed = forker.start(**command, folder=str(tmp_path), env=kit_home(tmp_path, "undisturbed"))
    assert undisturbed.end() == 0, (tmp_path / "stderr").read_text()
    stopped = forker.start(**command, folder=str(tmp_path), env=kit_home(tmp_path, "stopped"))
    state = wait_for_state(tmp_path / "stopped")
    stopped.send(number)
    assert stopped.end() == 128 + number
    said = (tmp_path / "stderr").read_text().splitlines()[-1]
    assert said.startswith("kit: stopped after step ")
    assert said.endswith(f"whose state is kept in {state.parent}. The same command goes on from there.")
    assert forker.start(**command, folder=str(tmp_path), env=kit_home(tmp_path, "stopped")).end() == 0
    assert "goes on after step" in (tmp_path / "stderr").read_text()
    assert result_of(tmp_path / "stopped") == result_of(tmp_path / "undisturbed")
    assert not list(tmp_path.rglob(NEWEST)) and not list(tmp_path.rglob(BEFORE))


def test_a_kit_that_was_started_by_a_shell_ends_with_143(tmp_path):
    make_toy_competition(tmp_path, recipe=RECIPE.replace("epochs = 10", "epochs = 5000"))
    kit = subprocess.Popen(
        [sys.executable, "-m", "kit", "train", "toy"],
        env=os.environ | kit_home(tmp_path, "home"),
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_state(tmp_path / "home")
    kit.terminate()
    _, said = kit.communicate(timeout=60)
    assert kit.returncode == 143
    assert said.splitlines()[-1].startswith("kit: stopped after step ")


SLEEPER = """\
import time
from pathlib import Path

from torch import nn


class Sleeper(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Linear(3, num_classes)

    def forward(self, images):
        Path(__file__).with_name("asleep").touch()
        time.sleep(600)
        return self.head(images.mean((2, 3)))


def sleeper(num_classes):
    return Sleeper(num_classes)
"""


def test_a_second_ctrl_c_ends_at_once_in_the_middle_of_a_step(forker, tmp_path):  # noqa: F811
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    recipe = plain_recipe(frozen_epochs=0) | {"model": {"name": f"{tmp_path}/sleeper.py:sleeper", "weights": "none"}}
    attempt = forker.start(recipe=recipe, folder=str(tmp_path / "model"), env={"KIT_SAVE_SECONDS": "0"})
    while not (tmp_path / "asleep").exists():
        time.sleep(0.01)
    attempt.send(signal.SIGINT)
    time.sleep(0.3)
    os.kill(attempt.pid, 0)  # still there: the first one lets the step finish
    attempt.send(signal.SIGINT)
    assert attempt.end() == 130
    assert attempt.step == 0


def test_a_signal_while_the_last_fold_is_looked_at_is_not_lost(fit_toy, tmp_path, monkeypatch):
    from kit.train import loop

    look = loop.loss_and_accuracy

    def interrupted(*args, **options):
        signal.raise_signal(signal.SIGTERM)
        return look(*args, **options)

    monkeypatch.setattr(loop, "loss_and_accuracy", interrupted)
    with pytest.raises(loop.StoppedError, match="stopped after step 3 of 3"):
        fit_toy(tmp_path, recipe_from_dict(plain_recipe(frozen_epochs=0, epochs=1)))
    monkeypatch.undo()
    _, found, _ = fit_toy(tmp_path, recipe_from_dict(plain_recipe(frozen_epochs=0, epochs=1)))
    assert (found.resumed_at, len(found.history)) == (3, 1)


def test_the_signals_go_where_they_went_before_once_training_is_done(fit_toy, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    fit_toy(tmp_path, recipe_from_dict(plain_recipe(frozen_epochs=0, epochs=1)))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# A full disk.


def test_a_full_disk_keeps_the_last_good_state_is_said_and_stops_nothing(forker, tmp_path):  # noqa: F811
    order = {"recipe": plain_recipe(), "env": {"KIT_SAVE_SECONDS": "0"}}
    assert forker.start(**order, folder=str(tmp_path / "undisturbed")).end() == 0
    squeezed = forker.start(**order, folder=str(tmp_path / "squeezed"), full=[5, 9])
    assert squeezed.end() == 0
    kept = [line for line in squeezed.said if "is not kept, the one before is" in line]
    assert kept[0].startswith(
        "the state after step 5 is not kept, the one before is: The disk takes no more of yours: "
    )
    assert str(tmp_path / "squeezed" / NEWEST) in kept[0]
    assert left_in(tmp_path / "squeezed")[0] == left_in(tmp_path / "undisturbed")[0]


def test_what_was_kept_before_the_disk_was_full_is_gone_on_with(forker, tmp_path):  # noqa: F811
    order = {"recipe": plain_recipe(), "env": {"KIT_SAVE_SECONDS": "0"}}
    assert forker.start(**order, folder=str(tmp_path / "undisturbed")).end() == 0
    squeezed = forker.start(**order, folder=str(tmp_path / "squeezed"), full=[5])
    assert squeezed.end() == 2  # the weights cannot be written at the end: one paragraph
    assert "last.safetensors could not be written" in squeezed.said[-1]
    assert not (tmp_path / "squeezed" / "last.safetensors").exists()
    state = read_state(tmp_path / "squeezed", say=print)
    assert state["done"] == 4
    assert {path.name for path in (tmp_path / "squeezed").iterdir()} == {NEWEST, BEFORE, "best.safetensors"}
    resumed = forker.start(**order, folder=str(tmp_path / "squeezed"))
    assert resumed.end() == 0
    assert "goes on after step 4 of 12" in resumed.said
    assert left_in(tmp_path / "squeezed")[0] == left_in(tmp_path / "undisturbed")[0]


# Numbers that run away.


@pytest.fixture
def fit_toy(toy, monkeypatch):
    """Return a function that trains on the toy and gives (network, what `fit` returned, what it said)."""
    monkeypatch.setenv("KIT_SAVE_SECONDS", "0")

    def call(folder, recipe, *, change=lambda module: None, **options):
        train, test, pack = toy
        network, said = make_network(recipe.model, num_classes=3, seed=1), []
        change(network.module)
        found = fit(
            network,
            pack,
            train,
            test,
            recipe=recipe,
            classes=CLASSES,
            several=False,
            folder=folder,
            device=CPU,
            seed=1,
            say=said.append,
            **options,
        )
        return network, found, said

    return call


STEEP = """\
from torch import nn


class Steep(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Linear(3, num_classes)

    def forward(self, images):
        return self.head(images.mean((2, 3))).exp()


def steep(num_classes):
    return Steep(num_classes)
"""


def test_a_learning_rate_far_too_high_stops_with_the_step_and_keeps_the_last_state_of_numbers(fit_toy, tmp_path):
    (tmp_path / "steep.py").write_text(STEEP)
    plain = plain_recipe(frozen_epochs=0, lr=100.0, clip_norm=0.0)
    recipe = recipe_from_dict(plain | {"model": {"name": f"{tmp_path}/steep.py:steep", "weights": "none"}})
    losses = []
    with pytest.raises(TrainingError, match="stopped being a number in epoch") as caught:
        fit_toy(tmp_path / "model", recipe, tick=lambda step, total, loss: losses.append(loss))
    assert f"epoch {len(losses) // 3 + 1}, step {len(losses) % 3 + 1}." in str(caught.value)
    assert "try a third of it" in str(caught.value)
    assert 0 < len(losses) < 12
    assert all(math.isfinite(loss) for loss in losses)
    assert read_state(tmp_path / "model", say=print)["done"] == len(losses)
    assert not (tmp_path / "model" / "last.safetensors").exists()


def test_a_gradient_that_is_no_number_is_in_no_state_that_is_kept(fit_toy, tmp_path):
    seen = []

    def poison(module):
        def spoil(gradient):
            seen.append(1)
            return gradient * math.nan if len(seen) == 7 else gradient

        next(module.parameters()).register_hook(spoil)

    # Whole batches: one gradient a step. The loss of step 7 is a number, the weights after it are not.
    recipe = recipe_from_dict(plain_recipe(frozen_epochs=0, micro_batch=0, clip_norm=0.0))
    with pytest.raises(TrainingError, match="stopped being a number in epoch 3, step 2") as caught:
        fit_toy(tmp_path, recipe, change=poison)
    assert f"The last state before it is kept: {tmp_path / NEWEST}" in str(caught.value)
    state = read_state(tmp_path, say=print)
    assert state["done"] == 6
    assert all(torch.isfinite(value).all() for value in state["engine"]["module"].values())
    _, found, _ = fit_toy(tmp_path, recipe)
    assert found.resumed_at == 6
    assert all(torch.isfinite(value).all() for value in load_file(tmp_path / "last.safetensors").values())
