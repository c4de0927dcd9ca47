"""A worker: what it starts and what not, and what it tells the study of each way in which a trial can end.

A program that plays a trial stands in for Python with PyTorch, so that each takes milliseconds; the real one is
swept in tests/test_tune_sweep.py.
"""

import json
import os
import signal
import stat
import sys
import threading
import time

import pytest
from optuna.trial import TrialState

from kit.config import Recipe
from kit.errors import TrainingError
from kit.train.stopping import StoppedError
from kit.tune.study import Settings, StudyPlace, open_study
from kit.tune.trials import best_of, finished
from kit.tune.tune_table import read_space
from kit.tune.worker import Session, work

PYTHON = sys.executable
SPACE = read_space({"schedule.epochs": [2, 5], "schedule.lr": {"low": 1e-4, "high": 1e-2, "log": True}}, Recipe())
SETTINGS = Settings(
    slug="toy", protocol="official", source="local", recipe=Recipe().as_dict(), space=SPACE.as_dict(), memory=1000
)
PLAYER = """\
#!{python} -SE
import json, os, signal, sys, time, tomllib
task = json.loads(sys.stdin.readline())
recipe = tomllib.load(open(task["recipe"], "rb"))
epochs = recipe["schedule"]["frozen_epochs"] + recipe["schedule"]["epochs"]
def tell(**event):
    print(json.dumps(event), flush=True)
def train(error, seconds=0.01):
    for epoch in range(1, epochs + 1):
        tell(fold=0, epoch=epoch, share=epoch / epochs, value=error, loss=error, seconds=seconds, minutes=0.1,
             images_per_second=100.0)
def end(error, peak=900):
    tell(fold_error=error, fold=0)
    tell(result=dict(error=error, score=dict(value=1 - error), metric="accuracy", minutes=0.5, peak_bytes=peak,
                     device="a test", notes=[]))
tell(line="a line for the log")
tell(predicted=800, limit=task["memory"], epochs=epochs)
os.makedirs(task["folder"] + "/models", exist_ok=True)
"""


@pytest.fixture
def plays(tmp_path, monkeypatch):
    """Return a function that decides what each trial's process does: lines of Python behind PLAYER's."""

    def decide(lines: str) -> None:
        program = tmp_path / "player"
        program.write_text(PLAYER.format(python=PYTHON) + lines, encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(program))

    return decide


def work_on(name="one", *, settings=SETTINGS, num_trials=3, seconds=600.0, say=None, slot=0, session=1):
    """Let one worker work, and return the trials and what it said."""
    place, lines = StudyPlace(name=name), []
    open_study(place, settings)
    order = Session(
        name=name,
        url="",
        slot=slot,
        session=session,
        num_trials=num_trials,
        deadline=time.time() + seconds,
        seed=1,
    )
    try:
        work(order, say=say or lines.append)
    finally:
        trials = place.load().trials
    return trials, lines


def test_trials_are_told_with_what_they_took_and_their_weights_are_removed(plays):
    plays("train(0.4); end(recipe['schedule']['lr'])")
    trials, lines = work_on()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3
    assert trials[0].params["schedule.lr"] == Recipe().schedule.lr  # the untuned recipe first
    assert best_of(trials).value == min(trial.params["schedule.lr"] for trial in trials)
    one = trials[0]
    assert one.constraints == {"memory": pytest.approx(-0.1)}
    assert one.user_attrs["epochs"] == Recipe().schedule.frozen_epochs + Recipe().schedule.epochs
    assert one.intermediate_values == {125 * k: 0.4 for k in range(1, 9)}
    assert (one.user_attrs["peak_bytes"], one.user_attrs["predicted_bytes"]) == (900, 800)
    folder = StudyPlace(name="one").folder / "trials"
    assert sorted(path.name for path in folder.iterdir()) == ["0000", "0001", "0002"]
    assert sorted(path.name for path in (folder / "0000").iterdir()) == ["log.txt", "recipe.toml"]
    assert "a line for the log" in (folder / "0000" / "log.txt").read_text()
    assert lines[0].startswith("trial 0: error 0.0010")


def test_with_several_objectives_each_trial_has_a_value_of_each_and_its_curve_beside(plays):
    plays("train(0.4); end(0.25, peak=2**30)")
    several = Settings(**{**vars(SETTINGS), "objectives": ("error", "minutes", "memory"), "memory": None})
    trials, _ = work_on(settings=several, num_trials=2)
    assert trials[0].values == [0.25, 0.5, 1.0]
    assert trials[0].user_attrs["curve"][-1] == [1000, 0.4]


def test_a_trial_that_would_not_fit_is_not_trained_and_teaches_the_sampler(plays):
    plays("")
    tight = Settings(**{**vars(SETTINGS), "memory": 500})
    trials, lines = work_on(settings=tight, num_trials=2)
    assert [trial.state for trial in trials] == [TrialState.PRUNED] * 2
    assert trials[0].constraints == {"memory": pytest.approx(0.6)}
    assert lines[0] == "trial 0: would take 1.60 x the limit"
    assert best_of(trials) is None


def test_a_trial_that_took_more_than_predicted_is_not_the_best(plays):
    plays(
        "end(0.1 if os.path.dirname(task['recipe']).endswith('0000') else 0.2, "
        "peak=1100 if os.path.dirname(task['recipe']).endswith('0000') else 900)"
    )
    trials, _ = work_on(num_trials=2)
    assert trials[0].constraints == {"memory": pytest.approx(0.1)}
    assert best_of(trials).number == 1


def test_a_trial_that_is_killed_has_taken_too_much_memory_and_the_study_goes_on(plays):
    plays("os.kill(os.getpid(), signal.SIGKILL)")
    trials, lines = work_on(num_trials=2)
    assert [trial.state for trial in trials] == [TrialState.PRUNED] * 2
    assert trials[0].constraints["memory"] > 0
    assert lines[0] == "trial 0: was killed, as is usual where memory is short"


def test_a_trial_for_which_no_part_is_small_enough_has_taken_too_much_memory(plays):
    plays("tell(failed='There is no memory for 2 images.', kind='NoMemoryError'); sys.exit(2)")
    trials, lines = work_on(num_trials=1)
    assert trials[0].constraints["memory"] > 0
    assert lines[0] == "trial 0: There is no memory for 2 images."


def test_numbers_that_run_away_end_one_trial_and_not_the_study(plays):
    plays("tell(failed='The loss is not a number.', kind='TrainingError'); sys.exit(2)")
    trials, _ = work_on(num_trials=5)
    assert [trial.state for trial in trials] == [TrialState.PRUNED] * 5
    assert trials[0].user_attrs["diverged"] == "The loss is not a number."


def test_a_fault_that_all_trials_share_ends_the_worker_with_its_reason(plays):
    plays("tell(failed='There is no such weight file.', kind='WeightsError'); sys.exit(2)")
    with pytest.raises(
        TrainingError, match=r"3 trials of one failed one after the other.*no such weight file"
    ) as ended:
        work_on(num_trials=5)
    assert "\n" not in str(ended.value)
    trials = StudyPlace(name="one").load().trials
    assert [trial.state for trial in trials] == [TrialState.FAIL] * 3
    assert not finished(trials)


def test_a_trial_that_cannot_end_within_the_budget_is_not_started(plays):
    plays("train(0.4, seconds=5.0); end(0.3)")  # it says so; really it is quick
    trials, lines = work_on(num_trials=3, seconds=20)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] + [TrialState.FAIL] * 5
    assert all(trial.user_attrs["not_started"] for trial in trials[1:])
    assert all("it would take" in trial.user_attrs["reason"] for trial in trials[1:])
    assert "too little for another trial" in lines[-1]


def test_a_trial_that_still_runs_when_the_budget_is_used_up_is_ended_and_gone_on_with_when_there_is_more(plays):
    plays("train(0.4); time.sleep(60)")
    began = time.monotonic()
    trials, lines = work_on(num_trials=1, seconds=1.0)
    assert time.monotonic() - began < 10
    assert trials[0].state == TrialState.FAIL
    assert "with more of it, it will be gone on with" in lines[0]
    assert (StudyPlace(name="one").folder / "trials" / "0000" / "models").is_dir()
    plays("train(0.4); end(0.3)")
    trials, _ = work_on(num_trials=1)
    assert trials[1].state == TrialState.COMPLETE
    assert trials[1].params == trials[0].params
    assert trials[1].user_attrs["origin"] == 0


def test_a_hopeless_trial_is_ended_early(plays):
    good = "train(0.1); end(0.1)"
    plays(good)
    fixed = {**vars(SETTINGS), "space": {"schedule.lr": {"low": 1e-4, "high": 1e-2, "log": True}}}
    work_on(settings=Settings(**fixed), num_trials=6)
    plays("train(0.9)\ntime.sleep(60)")
    trials, lines = work_on(settings=Settings(**fixed), num_trials=7)
    assert trials[-1].state == TrialState.PRUNED
    assert "it cannot win" in lines[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_trial_and_the_worker_and_the_next_one_goes_on(plays, number):
    plays("train(0.4); time.sleep(60)")
    timer = threading.Timer(1.0, os.kill, (os.getpid(), number))
    timer.start()
    with pytest.raises(StoppedError) as stopped:
        work_on(num_trials=1)
    timer.join()
    assert stopped.value.exit_code == 128 + number
    plays("end(0.3)")
    trials, _ = work_on(num_trials=1)
    assert [trial.state for trial in trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert trials[1].user_attrs["attempt"] == 1
    assert json.loads(json.dumps(trials[0].user_attrs))["stopped"]


def test_the_draws_of_one_worker_depend_on_the_seed_alone_and_those_of_two_differ(plays):
    plays("end(0.3)")
    first, _ = work_on("first", num_trials=3)
    again, _ = work_on("again", num_trials=3)
    other, _ = work_on("other", num_trials=3, slot=1)
    assert [trial.params for trial in first] == [trial.params for trial in again]
    assert [trial.params for trial in first[1:]] != [trial.params for trial in other[1:]]
