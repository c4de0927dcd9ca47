"""Models of a run trained side by side: the bits of one after the other, stopped and failing as a user sees it."""

import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from kit.errors import ConfigError, TrainingError
from kit.plan import RunPlan, pack_for, plan_run
from kit.run import train_models
from kit.train.models import find_model
from kit.train.parallel import environments, train_in_parallel
from kit.train.stopping import StoppedError

OWN_NETWORK = """\
import sys

from torch import nn

print("a network that prints")


def own(num_classes):
    print("a warning of its own", file=sys.stderr)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Dropout(0.2), nn.Linear(8, num_classes),
    )
"""


@pytest.fixture
def plan(toy_competition, tmp_path) -> RunPlan:
    """Plan two folds and the full model of a small network, six epochs each."""
    (tmp_path / "own.py").write_text(OWN_NETWORK)
    slug = toy_competition()
    overrides = [f"model.name={tmp_path}/own.py:own", "schedule.epochs=6", "device=cpu"]
    return plan_run(slug, overrides=overrides, say=lambda line: None)


def weights_of(plan):
    found = {}
    for name in plan.models:
        model = find_model(plan.folder / "models", name)
        assert model is not None, name
        found |= {f"{name}/{key}": value for key, value in load_file(model.checkpoint).items()}
    return found


def test_models_side_by_side_are_those_of_one_after_the_other_through_a_failure_and_a_stop(plan, tmp_path, monkeypatch):
    train_models(plan, say=lambda line: None)
    expected = weights_of(plan)
    monkeypatch.setenv("KIT_HOME", str(tmp_path / "another-home"))
    models, lines = plan.folder / "models", []

    models.mkdir(parents=True)
    (models / "fold-1").write_text("a file where the model's folder is to be")
    with pytest.raises(TrainingError) as failed:
        train_models(plan, say=lines.append, parallel=2)
    assert str(failed.value).startswith("fold-1: ")
    assert "a file stands where a folder is needed" in str(failed.value)
    assert "Finished and kept: fold-0; the same command trains fold-1, full." in str(failed.value)
    begun = [name for name in plan.models if f"{name}: begins in a process of its own, OMP_NUM_THREADS=1" in lines]
    assert begun == ["fold-0", "fold-1"]
    assert all(line.startswith(("fold-0", "fold-1", "decoding")) for line in lines), lines
    assert "fold-0: a warning of its own" in lines
    assert "fold-0: a network that prints" in lines

    (models / "fold-1").unlink()

    def say_and_stop(line):
        if "epoch 2/6" in line:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError, match=r"^fold-1: stopped after step .*, whose state is kept") as stopped:
        train_in_parallel(
            ["fold-1", "full"],
            plan.train,
            pack_for(plan, say=lines.append),
            num_children=1,
            recipe=plan.recipe,
            classes=plan.samples.classes,
            several=False,
            rule=plan.competition.folds,
            folder=models,
            say=say_and_stop,
        )
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert [path.parent.name for path in models.rglob("state.pt")] == ["fold-1"]

    found = train_models(plan, say=lambda line: None)
    assert [model.history["resumed_at"] > 0 for model in found] == [False, True, False]
    for key, value in weights_of(plan).items():
        assert torch.equal(value, expected[key]), key


def test_each_child_has_a_gpu_in_turn_or_its_part_of_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(16), raising=False)
    three = environments(3, device="cpu", num_images=100_000)
    assert [(one.variables["OMP_NUM_THREADS"], one.variables["KIT_WORKERS"]) for one in three] == [("5", "5")] * 3
    assert all("CUDA_VISIBLE_DEVICES" not in one.variables for one in three)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    gpus = [one.variables["CUDA_VISIBLE_DEVICES"] for one in environments(3, device="auto", num_images=1)]
    assert gpus == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, 7")
    gpus = [one.variables["CUDA_VISIBLE_DEVICES"] for one in environments(3, device="cuda", num_images=1)]
    assert gpus == ["5", "7", "5"]
    # A recipe that names one GPU means that one.
    named = environments(2, device="cuda:1", num_images=1)
    assert [one.variables["CUDA_VISIBLE_DEVICES"] for one in named] == ["5, 7"] * 2


def test_less_than_one_at_once_is_refused(plan):
    with pytest.raises(ConfigError, match="--parallel must be at least 1, got 0"):
        train_models(plan, say=lambda line: None, parallel=0)
