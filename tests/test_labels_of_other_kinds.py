"""The whole line with several labels an image, with soft labels, with weights, and with folds by time."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toys import TOY_RECIPE, coloured_png, write_files

from kit.judge.predict import read_predictions
from kit.plan import plan_run
from kit.run import finish

TOML = """\
title = "Toy"
homepage = "https://example.org"
licence = "CC0"
citation = "Generated for tests."
metric = "{metric}"
task = "{task}"
default_protocol = "folds"
classes = ["red", "blue"]
test_files = "test/*.png"

[sources.own]
folder = "{folder}"

[labels]
rule = "csv"
file = "labels.csv"
id_column = "name"
folder = "train"
suffix = ".png"
{rule}

[folds]
by = "{by}"

[protocols.folds]
description = "All training images, out of fold"
training_pool = "all"
train = "all"
test_images = "own-test"
test = "two images"
metric = "{metric}"

[submission]
ids = "stem"
{submission}
"""


@pytest.fixture
def run_toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that writes a competition with the given table of labels, runs it, and gives its plan."""

    def call(table: pd.DataFrame, *, task: str, metric: str, rule: str, submission: str, by: str = "auto"):
        images = {f"train/{name}.png": coloured_png(("red", "blue")[k % 2], k) for k, name in enumerate(table["name"])}
        images |= {"test/10.png": coloured_png("red", 91), "test/9.png": coloured_png("blue", 92)}
        data = write_files(tmp_path / "images", images)
        table.to_csv(data / "labels.csv", index=False)
        text = TOML.format(task=task, metric=metric, folder=data, rule=rule, submission=submission, by=by)
        recipe = TOY_RECIPE.encode()
        write_files(
            tmp_path / "competitions" / "toy", {"competition.toml": text.encode(), "recipes/baseline.toml": recipe}
        )
        monkeypatch.setenv("KIT_COMPETITIONS", str(tmp_path / "competitions"))
        plan = plan_run("toy", say=lambda line: None)
        return plan, finish(plan, say=lambda line: None)

    return call


NAMES = [f"n{k:02d}" for k in range(16)]


def test_several_labels_are_trained_judged_and_handed_in(run_toy):
    table = pd.DataFrame({"name": NAMES, "tags": ["red", "blue", "red blue", ""] * 4})
    plan, record = run_toy(
        table,
        task="multi-label",
        metric="mean_f1",
        rule='label_column = "tags"\nseparator = " "',
        submission='values = "labels"\nlabel_column = "tags"',
    )
    assert plan.train["label"].value_counts().to_dict() == {"red": 4, "blue": 4, "red + blue": 4, "": 4}
    assert list(record.results[0].scores) == ["mean_f1", "exact_match"]
    assert record.results[0].confused == []
    found = read_predictions(
        plan.folder / "predictions" / "out-of-fold.csv", kind="out-of-fold", classes=("red", "blue")
    )
    assert found.labelled
    assert found.targets is not None
    assert found.targets.sum() == 16
    assert not np.allclose(found.probabilities.sum(axis=1), 1)
    handed_in = pd.read_csv(plan.folder / "submission.csv", keep_default_na=False)
    assert handed_in["id"].tolist() == [9, 10]
    assert set(handed_in["tags"]) <= {"", "red", "blue", "red blue"}


def test_soft_labels_and_weights_are_trained_and_judged(run_toy):
    share = np.tile([1.0, 0.0, 2 / 3, 1 / 3], 4)
    table = pd.DataFrame({"name": NAMES, "r": share, "b": 1 - share, "how": np.tile([1.0, 1, 0.5, 0.5], 4)})
    plan, record = run_toy(
        table,
        task="soft-label",
        metric="log_loss",
        rule='target_columns = ["r", "b"]\nweight_column = "how"',
        submission='values = "probabilities"\nclip = "out-of-fold"',
    )
    assert plan.train["label"].tolist() == ["red", "blue"] * 8
    assert plan.train["target_red"].tolist() == pytest.approx(share.tolist())
    assert plan.train["weight"].tolist() == [1, 1, 0.5, 0.5] * 4
    assert list(record.results[0].scores) == ["log_loss", "accuracy", "mean_per_class_accuracy"]
    assert record.submission["rows"] == 2
    assert 0 <= record.submission["clip"] <= 0.1
    handed_in = pd.read_csv(plan.folder / "submission.csv")
    assert list(handed_in.columns) == ["id", "red", "blue"]
    assert handed_in[["red", "blue"]].sum(axis=1).tolist() == pytest.approx([1, 1], abs=1e-5)


def test_folds_by_time_train_on_the_past_only(run_toy):
    table = pd.DataFrame(
        {"name": NAMES, "label": ["red", "blue"] * 8, "day": [f"2020-01-{k + 1:02d}" for k in range(16)]}
    )
    plan, record = run_toy(
        table, task="single-label", metric="accuracy", rule='time_column = "day"', submission="", by="time"
    )
    assert plan.train.sort_values("time")["fold"].is_monotonic_increasing
    assert set(plan.train["fold"]) == {-1, 0, 1}
    models = {path.parent.name: path for path in (plan.folder / "models").glob("*/history.json")}
    assert set(models) == {"fold-0", "fold-1", "full"}
    later = (plan.train["fold"] >= 0).sum()
    out_of_fold = next(result for result in record.results if result.kind == "out-of-fold")
    assert out_of_fold.scores["accuracy"].num_images == later < 16
