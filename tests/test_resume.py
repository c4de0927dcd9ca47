"""Exact resume: whatever ends a training, the same call goes on, and ends with the same bits."""

import hashlib
import io
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from forked_trainings import CLASSES, Forker
from safetensors.torch import load_file

from kit.config import recipe_from_dict
from kit.errors import ConfigError
from kit.train.loop import fit
from kit.train.model import make_network
from kit.train.state import BEFORE, MAGIC, NEWEST, SaveClock, clear_states, read_state, save_interval, write_state

CPU = torch.device("cpu")
SMALL = {"name": "test_efficientnet", "weights": "none", "drop_rate": 0.3}  # 100,000 parameters, with BatchNorm


def plain_recipe(*, frozen_epochs=1, epochs=3, **schedule):
    """Return a recipe in which everything is on that a resume could lose: three steps an epoch."""
    return {
        "num_folds": 0,
        "model": SMALL,
        "input": {"image_size": 32, "store_size": 32, "test_crop": 1.0, "start_size": 16},
        "augment": {"mixup_alpha": 0.4, "cutmix_alpha": 1.0, "mix_off_epochs": 1, "warp": 0.1},
        "loss": {"balance": "sampling"},
        "schedule": {
            "frozen_epochs": frozen_epochs,
            "epochs": epochs,
            "batch_size": 6,
            "micro_batch": 3,
            "clip_norm": 1.0,
            "average_decay": 0.9,
            "frozen_norms": "trained",
            **schedule,
        },
    }


@pytest.fixture(scope="session")
def forker(tmp_path_factory):
    """Give the process that forks trainings."""
    forker = Forker(tmp_path_factory.mktemp("forker"))
    yield forker
    forker.close()


def left_in(folder: Path):
    """Return what a training left: its weights and its trace, without how it came there."""
    trace = dict(np.load(folder / "trace.npz"))
    resumed_at = int(trace.pop("resumed_at"))
    weights = {name: load_file(folder / f"{name}.safetensors") for name in ("last", "best")}
    bits = {f"{name}.{key}": value.numpy().tobytes() for name, found in weights.items() for key, value in found.items()}
    return bits | {key: value.tobytes() for key, value in trace.items()}, resumed_at


def test_thirty_kills_at_random_moments_change_no_bit_of_weights_losses_and_rates(forker, tmp_path):
    order = {"recipe": plain_recipe(frozen_epochs=6, epochs=24), "env": {"KIT_SAVE_SECONDS": "0"}}
    assert forker.start(recipe=order["recipe"], folder=str(tmp_path / "undisturbed")).end() == 0
    draw, reached = random.Random(4), []
    for _ in range(30):
        attempt = forker.start(**order, folder=str(tmp_path / "killed"))
        attempt.until_step(draw.randrange(4))  # 0: while it begins
        time.sleep(draw.uniform(0, 0.05))  # a step and the writing of its state take about as long
        attempt.send(signal.SIGKILL)
        assert attempt.end() == -signal.SIGKILL
        reached.append(attempt.step)
    assert len(set(reached)) > 15  # of 90 steps
    assert forker.start(**order, folder=str(tmp_path / "killed")).end() == 0
    expected, _ = left_in(tmp_path / "undisturbed")
    found, resumed_at = left_in(tmp_path / "killed")
    assert resumed_at >= max(reached) - 2
    assert [key for key in expected if found[key] != expected[key]] == []


# Damaged states.


@pytest.fixture
def fit_toy(toy, monkeypatch):
    """Return a function that trains on the toy, and gives (weights' bytes, what `fit` returned, what it said)."""
    monkeypatch.setenv("KIT_SAVE_SECONDS", "0")

    def call(folder, *, changes=None, until=None, **options):
        train, test, pack = toy
        plan = recipe_from_dict({**plain_recipe(), **(changes or {})})
        said = []

        def tick(step, total, loss):
            if step == until:  # the state after this step is not written yet
                raise KeyboardInterrupt

        found = fit(
            make_network(plan.model, num_classes=3, seed=1),
            pack,
            options.pop("train", train),
            test,
            recipe=plan,
            classes=CLASSES,
            several=False,
            folder=folder,
            device=CPU,
            seed=1,
            tick=tick,
            say=lambda line: None if line.startswith("loss") else said.append(line),  # notes on the recipe
            **options,
        )
        weights = load_file(folder / "last.safetensors")
        return {key: value.numpy().tobytes() for key, value in weights.items()}, found, said

    return call


@pytest.fixture(scope="module")
def undisturbed(toy, tmp_path_factory):
    train, test, pack = toy
    plan, folder = recipe_from_dict(plain_recipe()), tmp_path_factory.mktemp("undisturbed")
    options = {"recipe": plan, "classes": CLASSES, "several": False, "folder": folder, "device": CPU, "seed": 1}
    fit(make_network(plan.model, num_classes=3, seed=1), pack, train, test, **options)
    return {key: value.numpy().tobytes() for key, value in load_file(folder / "last.safetensors").items()}


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path):
    path.write_bytes(b"")


def swap_head(path):
    data = path.read_bytes()
    path.write_bytes(b"other-kit\n" + data[len(MAGIC) :])


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, empty, swap_head])
def test_a_damaged_newest_state_is_said_and_the_one_before_it_taken(fit_toy, undisturbed, tmp_path, damage):
    with pytest.raises(KeyboardInterrupt):
        fit_toy(tmp_path, until=6)
    damage(tmp_path / NEWEST)
    weights, found, said = fit_toy(tmp_path)
    assert said[0].startswith(f"{tmp_path / NEWEST} is damaged")
    assert said[0].endswith("the one before it is taken")
    assert said[1] == "goes on after step 4 of 12"
    assert found.resumed_at == 4
    assert weights == undisturbed


def test_two_damaged_states_are_said_and_training_begins_anew(fit_toy, undisturbed, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit_toy(tmp_path, until=6)
    empty(tmp_path / NEWEST)
    flip_a_bit(tmp_path / BEFORE)
    weights, found, said = fit_toy(tmp_path)
    assert len(said) == 2
    assert said[1].startswith(f"{tmp_path / BEFORE} is damaged")
    assert said[1].endswith("training begins anew")
    assert found.resumed_at == 0
    assert weights == undisturbed


def test_a_death_between_the_two_renames_leaves_the_state_before(fit_toy, undisturbed, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit_toy(tmp_path, until=6)
    (tmp_path / NEWEST).replace(tmp_path / BEFORE)  # and the new one is still state.pt.part
    (tmp_path / f"{NEWEST}.part").write_bytes(b"half")
    weights, found, _ = fit_toy(tmp_path)
    assert found.resumed_at == 5
    assert weights == undisturbed


class Evil:
    """What unpickles to a call."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("content", [Evil(), [1, 2], {"about": 1}, b"no pickle at all"])
def test_a_strangers_state_runs_no_code_and_is_not_used(fit_toy, undisturbed, tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    payload = content if isinstance(content, bytes) else buffer.getvalue()
    (tmp_path / NEWEST).write_bytes(MAGIC + hashlib.sha256(payload).digest() + payload)
    weights, found, said = fit_toy(tmp_path)
    assert not (tmp_path / "ran").exists()
    assert found.resumed_at == 0
    assert len(said) == 1
    assert str(tmp_path / NEWEST) in said[0]
    assert weights == undisturbed


@pytest.mark.parametrize(
    "change",
    [
        {"schedule": {**plain_recipe()["schedule"], "lr": 1e-4}},
        {"model": {**SMALL, "drop_rate": 0.1}},
        {"seed": 7},
    ],
)
def test_the_state_of_another_recipe_is_not_used_and_that_is_said(fit_toy, tmp_path, change):
    with pytest.raises(KeyboardInterrupt):
        fit_toy(tmp_path, until=6)
    _, found, said = fit_toy(tmp_path, changes=change)
    assert found.resumed_at == 0
    assert "belongs to another training" in said[0]


def test_the_state_of_other_images_is_not_used(fit_toy, toy, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit_toy(tmp_path, until=6)
    _, found, said = fit_toy(tmp_path, train=toy[0].iloc[::-1].reset_index(drop=True))
    assert found.resumed_at == 0
    assert "belongs to another training" in said[0]


# The file.


def test_a_state_is_read_back_as_it_was_and_the_one_before_is_kept(tmp_path):
    states = [{"numbers": torch.arange(3) + k, "nested": {"list": [k, None, "text"]}} for k in range(3)]
    for state in states:
        write_state(tmp_path, state)
    said = []
    found = read_state(tmp_path, say=said.append)
    assert found["nested"] == states[2]["nested"]
    assert found["numbers"].tolist() == [2, 3, 4]
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEFORE, NEWEST]
    (tmp_path / NEWEST).unlink()
    assert read_state(tmp_path, say=said.append)["nested"] == states[1]["nested"]
    clear_states(tmp_path)
    assert read_state(tmp_path, say=said.append) is None
    assert (list(tmp_path.iterdir()), said) == ([], [])


@pytest.mark.parametrize("text", ["soon", "-1", "nan"])
def test_the_time_between_states_is_a_number_of_seconds(monkeypatch, text):
    monkeypatch.setenv("KIT_SAVE_SECONDS", text)
    with pytest.raises(ConfigError, match="KIT_SAVE_SECONDS must be a number of seconds"):
        save_interval()
    monkeypatch.delenv("KIT_SAVE_SECONDS")
    assert save_interval() == 30


@pytest.mark.parametrize(("asked", "saved", "expected"), [("30", True, 200), ("30", False, 30), ("0", True, 0)])
def test_a_state_that_takes_two_seconds_to_write_is_written_every_200_seconds(monkeypatch, asked, saved, expected):
    now = [0.0]
    monkeypatch.setattr("kit.train.state.time.monotonic", lambda: now[0])
    monkeypatch.setenv("KIT_SAVE_SECONDS", asked)
    clock = SaveClock()
    assert clock.is_due() == (asked == "0")
    now[0] = 30
    assert clock.is_due()
    clock.begin()
    now[0] = 32
    clock.end(saved=saved)
    due = []
    for seconds in (0, 29, 30, 199, 200):
        now[0] = 32 + seconds
        due += [seconds] if clock.is_due() else []
    assert due[0] == expected
