"""A sweep as a user has it: through kills it ends with the trials asked for, and mistakes are one paragraph."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState
from toys import TOY_RECIPE

from kit.errors import ConfigError, KitError
from kit.tune.minutes import parse_duration
from kit.tune.study import StudyPlace, settings_of
from kit.tune.trial import Task, run_trial
from kit.tune.trials import best_of
from kit.tune.tune import Order, sweep

OWN_NETWORK = """\
from torch import nn


def own(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, num_classes),
    )
"""
TUNE = """
[tune]
schedule.lr = {low = 1e-3, high = 1e-2, log = true}
"""
SWEEP = """\
import sys
from kit.tune.tune import Order, sweep
sweep(Order(slug="toy", num_trials=1, overrides=tuple(sys.argv[1:])), say=print)
"""


@pytest.fixture
def toy(toy_competition, tmp_path):
    """Return the slug of a toy with a small network of its own and a search space."""
    (tmp_path / "own.py").write_text(OWN_NETWORK)
    recipe = TOY_RECIPE.replace('"resnet10t"', f'"{tmp_path}/own.py:own"') + TUNE
    return toy_competition(recipe=recipe)


def quiet(line):
    pass


def wait_until(done, *, of):
    """Wait for something that a process is to do."""
    for _ in range(6000):
        if done():
            return
        assert of.poll() is None, "the process ended before"
        time.sleep(0.02)
    raise AssertionError("waited for two minutes")


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_sweep_ends_with_its_trials_though_a_worker_and_then_everything_is_killed(toy, own_home):
    order = Order(slug=toy, num_trials=1, overrides=("schedule.epochs=30",))
    log = own_home / "studies" / toy / "trials" / "0000" / "log.txt"
    parent = subprocess.Popen(
        [sys.executable, "-c", SWEEP, *order.overrides],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "KIT_SAVE_SECONDS": "0"},
    )

    def said(text):
        return log.is_file() and text in log.read_text()

    def running():
        return [trial for trial in place.load().trials if trial.state == TrialState.RUNNING]

    try:
        wait_until(lambda: said("epoch 3/30"), of=parent)
        place = StudyPlace(name=toy)
        (first,) = running()
        os.kill(first.user_attrs["owner"]["pid"], signal.SIGKILL)
        wait_until(lambda: said("goes on after step"), of=parent)
        (again,) = running()
        assert (again.number, again.user_attrs["origin"]) == (first.number + 1, first.number)
        assert again.params == first.params
    finally:
        parent.kill()
        parent.wait()
    worker = again.user_attrs["owner"]["pid"]
    until = time.monotonic() + 60
    while is_running(worker):
        assert time.monotonic() < until, "a worker outlives the command that started it"
        time.sleep(0.05)

    lines = []
    swept = sweep(order, say=lines.append)
    trials = swept.study.trials
    assert [trial.state for trial in trials] == [TrialState.FAIL] * 2 + [TrialState.COMPLETE]
    assert [trial.user_attrs.get("origin") for trial in trials] == [None, 0, 0]
    assert trials[2].params == first.params
    assert trials[2].user_attrs["untuned"]
    assert best_of(trials) is not None
    assert log.read_text().count("goes on after step") == 2  # each time, from where it was
    assert sorted(path.name for path in log.parent.iterdir()) == ["lock", "log.txt", "recipe.toml"]

    assert sweep(order, say=lines.append).study.trials == trials  # all of it is done: nothing is started
    assert "1 of 1 trials are done" in lines[-1]


def test_a_trial_whose_cost_is_above_its_limit_says_so_and_trains_nothing(toy, own_home, tmp_path):
    recipe = own_home / "one.toml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text((tmp_path / "competitions" / toy / "recipes" / "baseline.toml").read_text())
    told = []
    task = Task(
        slug=toy,
        recipe=str(recipe),
        protocol="official",
        source="local",
        mirror=None,
        labels=None,
        num_folds_used=1,
        folder=str(own_home / "trial"),
        memory=100 * 2**20,
    )
    run_trial(task, lambda **event: told.append(event))
    (last,) = [event for event in told if "line" not in event]
    assert last["predicted"] > last["limit"] == task.memory
    assert not (own_home / "trial").exists()


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"num_trials": 0}, "--trials must be at least 1, got 0"),
        ({"num_workers": 0}, "--workers must be at least 1, got 0"),
        ({"folds_used": 3}, r"on 3 of the recipe's folds \(--folds-used\), and it has 2. Give --set num_folds=5"),
        ({"overrides": ("num_folds=0",)}, "judged out of fold"),
        ({"objectives": ("minutes",)}, "expected error first"),
        ({"objectives": ("error", "beauty")}, "expected error first"),
        ({"memory": 10 * 2**20}, "the bare weights of .* alone take .* may take 10 MiB: nothing could be trained"),
        ({"budget_seconds": 0.001}, "The budget of 0 s ended before a single trial did: none had done an epoch"),
        ({"storage": "sqlite:///x.db"}, "is not the address of a PostgreSQL database"),
        ({"recipe": "no-such"}, "has no recipe 'no-such'"),
    ],
)
def test_an_order_that_cannot_be_done_is_refused_by_one_paragraph(toy, wanted, said):
    with pytest.raises(KitError, match=said) as refused:
        sweep(Order(**{"slug": toy, "num_trials": 1, **wanted}), say=quiet)
    assert "\n" not in str(refused.value)


def test_an_empty_table_tune_is_refused_and_none_is_the_default_space(toy, tmp_path):
    path = tmp_path / "competitions" / toy / "recipes" / "baseline.toml"
    text = path.read_text()
    path.write_text(text.replace(TUNE, "\n[tune]\n"))
    nothing = Order(slug=toy, num_trials=1, budget_seconds=0.001)
    with pytest.raises(ConfigError, match=r"\[tune\] of the recipe baseline: the search space is empty"):
        sweep(nothing, say=quiet)
    path.write_text(text.replace(TUNE, ""))
    with pytest.raises(ConfigError, match="budget"):
        sweep(nothing, say=quiet)
    found = {axis.key: axis for axis in settings_of(StudyPlace(name=toy).load()).drawn_from.axes}
    assert "schedule.lr" in found
    assert "schedule.batch_size" not in found  # of 9 training images, 4 batches of 8 cannot be made


def test_a_study_that_the_recipe_no_longer_fits_is_refused_with_the_way_out(toy):
    short = Order(slug=toy, num_trials=1, budget_seconds=0.001)
    with pytest.raises(ConfigError, match="budget"):
        sweep(short, say=quiet)
    with pytest.raises(ConfigError, match=r"The study toy was begun with something else.*--name toy-2"):
        sweep(Order(**{**vars(short), "overrides": ("schedule.epochs=3",)}), say=quiet)
    with pytest.raises(ConfigError, match="budget"):  # another name is another study
        sweep(Order(**{**vars(short), "overrides": ("schedule.epochs=3",), "name": "toy-2"}), say=quiet)


def test_a_budget_that_one_trial_outlasts_says_how_far_it_came(toy):
    short = Order(slug=toy, num_trials=1, budget_seconds=0.001)
    with pytest.raises(ConfigError, match="none had done an epoch"):
        sweep(short, say=quiet)
    study = StudyPlace(name=toy).load()
    trial = study.ask()
    for key, value in {"stopped": True, "num_epochs_done": 3, "epochs": 9, "epoch_seconds": 2.5}.items():
        trial.set_user_attr(key, value)
    study.tell(trial, state=TrialState.FAIL)
    with pytest.raises(ConfigError, match=r"trial 0 came furthest, with 3 epochs of 2\.5 s each"):
        sweep(short, say=quiet)


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("1.5h", 5400)]
)
def test_a_budget_is_written_as_people_write_it(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 hours", "-1h", "0s", "1h x"])
def test_what_is_no_length_of_time_is_refused(text):
    with pytest.raises(ConfigError, match="is not a length of time"):
        parse_duration(text)
