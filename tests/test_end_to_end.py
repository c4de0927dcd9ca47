"""24 generated images from disk to a leaderboard row, and what a second, a broken and a killed run do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from toys import TOY_RECIPE, coloured_png, make_toy_competition, tar_bytes, write_files

from kit.board.records import read_record
from kit.board.site import write_site
from kit.errors import DataError
from kit.plan import plan_run
from kit.run import predict, run

QUIET = {"say": lambda line: None}
TRAIN_IDS = {f"train/{colour}/{k:03d}" for colour in ("red", "green", "blue") for k in (0, 1, 2, 4, 5, 6)}
TEST_IDS = {f"test/{colour}/{k:03d}" for colour in ("red", "green", "blue") for k in (3, 7)}


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"image_id": "str", "label": "str"})


@pytest.fixture
def no_training(monkeypatch):
    def fail(*args, **options):
        raise AssertionError("a model was trained again")

    monkeypatch.setattr("kit.train.loop.fit", fail)


@pytest.fixture
def trained_names(monkeypatch):
    """The folders of the models that are trained from here on."""
    from kit.train import loop

    names = []
    fit = loop.fit

    def spied(*args, folder, **options):
        names.append(folder.name)
        return fit(*args, folder=folder, **options)

    monkeypatch.setattr(loop, "fit", spied)
    return names


def test_the_record_on_disk_is_whole_and_the_same_as_the_one_returned(finished_toy):
    plan, record = run(finished_toy, **QUIET)
    assert read_record(plan.folder / "record.json") == record
    assert record.complete
    assert (record.data["num_train"], record.data["num_test"]) == (18, 6)
    assert [result.kind for result in record.results] == ["test", "out-of-fold", "fold-ensemble"]
    assert [result.scores["accuracy"].num_images for result in record.results] == [6, 18, 6]
    assert record.network["weights_origin"] == "none"
    assert record.network["pretraining_group"] == "none"


def test_every_training_image_is_predicted_once_by_the_model_that_never_saw_it(finished_toy):
    plan = plan_run(finished_toy, **QUIET)
    out_of_fold = read(plan.folder / "predictions" / "out-of-fold.csv")
    assert len(out_of_fold) == 18
    assert set(out_of_fold["image_id"]) == TRAIN_IDS
    folds = read(plan.folder / "folds.csv").set_index("image_id")["fold"]
    assert out_of_fold.set_index("image_id")["fold"].to_dict() == folds.to_dict()


def test_the_submission_names_every_test_image_once(finished_toy):
    plan = plan_run(finished_toy, **QUIET)
    submission = pd.read_csv(plan.folder / "submission.csv")
    assert list(submission.columns) == ["image_id", "colour"]
    assert len(submission) == 6
    assert set(submission["image_id"]) == TEST_IDS
    assert set(submission["colour"]) <= {"red", "green", "blue"}


def test_the_mean_of_the_fold_models_is_a_result_of_its_own_called_an_ensemble(finished_toy):
    plan, record = run(finished_toy, **QUIET)
    single, ensemble = (next(r for r in record.results if r.kind == kind) for kind in ("test", "fold-ensemble"))
    assert single.conditions.inference == "single"
    assert ensemble.conditions.inference == "ensemble"
    assert set(read(plan.folder / "predictions" / "fold-ensemble.csv")["image_id"]) == TEST_IDS


def test_an_out_of_fold_result_is_no_result_of_the_test_list(finished_toy):
    _, record = run(finished_toy, **QUIET)
    conditions = next(r for r in record.results if r.kind == "out-of-fold").conditions
    assert conditions.test_images == "official-train, out of fold"
    assert conditions.training_pool == "1 of 2 folds of official-train"
    assert conditions.selection == "out-of-fold"


def test_the_board_shows_the_run(finished_toy):
    _, record = run(finished_toy, **QUIET)
    site = write_site()
    page, index = site.pages[finished_toy], site.index
    assert page.name == "toy.html"
    assert record.run_id in page.read_text(encoding="utf-8")
    assert 'href="toy.html"' in index.read_text(encoding="utf-8")


@pytest.mark.usefixtures("no_training")
def test_a_second_run_trains_nothing_and_gives_the_same_record(finished_toy):
    folder = plan_run(finished_toy, **QUIET).folder
    before = (folder / "record.json").read_bytes()
    said = []
    _, record = run(finished_toy, say=said.append)
    assert said == [f"{record.run_id} is done already: every stage is re-used"]
    assert (folder / "record.json").read_bytes() == before


@pytest.mark.usefixtures("no_training")
def test_a_lost_submission_is_made_again_without_training(finished_toy):
    plan = plan_run(finished_toy, **QUIET)
    submission, record = plan.folder / "submission.csv", (plan.folder / "record.json").read_bytes()
    before = submission.read_bytes()
    submission.unlink()
    run(finished_toy, **QUIET)
    assert submission.read_bytes() == before
    assert (plan.folder / "record.json").read_bytes() == record


@pytest.mark.usefixtures("no_training")
def test_lost_predictions_are_made_again_from_the_checkpoints_digit_by_digit(finished_toy):
    plan = plan_run(finished_toy, **QUIET)
    files = sorted((plan.folder / "predictions").iterdir())
    before = [path.read_bytes() for path in files]
    for path in (*files, plan.folder / "submission.csv"):
        path.unlink()
    run(finished_toy, **QUIET)
    assert [path.read_bytes() for path in files] == before


def test_a_damaged_checkpoint_is_noticed_and_that_model_alone_trained_again(finished_toy, trained_names):
    plan, record = run(finished_toy, **QUIET)
    checkpoint = plan.folder / "models" / "fold-1" / "last.safetensors"
    good = checkpoint.read_bytes()
    before = load_file(checkpoint)
    checkpoint.unlink()  # not written into: the file is linked
    checkpoint.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    _, again = run(finished_toy, **QUIET)
    assert trained_names == ["fold-1"]
    after = load_file(checkpoint)
    assert all(torch.equal(after[key], before[key]) for key in before)  # the same seed, the same bits
    assert again == record


def test_another_seed_gives_another_run_with_other_numbers(finished_toy):
    plan, _ = run(finished_toy, **QUIET)
    other, record = run(finished_toy, overrides=["seed=2", "num_folds=0"], **QUIET)
    assert other.run_id != plan.run_id
    assert "-s2-" in record.run_id
    mine, theirs = (read(p.folder / "predictions" / "test.csv") for p in (plan, other))
    assert (mine["image_id"] == theirs["image_id"]).all()
    assert not mine.filter(like="probability_").equals(theirs.filter(like="probability_"))


def test_the_name_of_a_recipe_does_not_change_what_is_trained(finished_toy, tmp_path):
    copy = tmp_path / "renamed.toml"
    copy.write_text(TOY_RECIPE, encoding="utf-8")
    renamed, plan = plan_run(finished_toy, recipe=str(copy), **QUIET), plan_run(finished_toy, **QUIET)
    assert renamed.run_id.rsplit("-", 1)[1] == plan.run_id.rsplit("-", 1)[1]
    assert "-renamed-" in renamed.run_id


def test_without_folds_one_model_is_trained_and_only_the_test_list_is_judged(toy_competition, trained_names):
    slug = toy_competition()
    plan, record = run(slug, overrides=["num_folds=0"], **QUIET)
    assert trained_names == ["full"]
    assert [result.kind for result in record.results] == ["test"]
    assert not (plan.folder / "folds.csv").exists()
    assert record.folds == {"num_folds": 0, "fingerprint": ""}


def test_without_folds_and_without_test_images_there_is_nothing_to_predict(toy_competition):
    with pytest.raises(DataError, match=r"folds of toy has no test images.* Give --folds 5"):
        plan_run(toy_competition(), protocol="folds", overrides=["num_folds=0"], **QUIET)


def test_without_a_test_list_the_folds_alone_are_judged_and_nothing_is_submitted(toy_competition, trained_names):
    plan, record = run(toy_competition(), protocol="folds", **QUIET)
    assert trained_names == ["fold-0", "fold-1"]
    (result,) = record.results
    assert (result.kind, result.conditions.test_images) == ("out-of-fold", "out-of-fold")
    assert result.conditions.training_pool == "1 of 2 folds of all labelled images"  # the protocol means five
    assert not (plan.folder / "submission.csv").exists()


def test_a_partial_source_is_announced_and_makes_another_protocol(toy_competition):
    slug = toy_competition(
        replace=[
            ("[sources.local]\n", "[sources.local]\ncomplete = false\n"),
            ("num_test = 6\n", "num_test = 3669\n"),
        ]
    )
    said = []
    _, record = run(slug, overrides=["num_folds=0"], say=said.append)
    assert any(line.startswith("PARTIAL DATA: toy") for line in said)
    assert not record.complete
    assert record.protocol == record.results[0].protocol == "official@local"
    assert record.results[0].conditions.test_images == "official-test (local: 6 of 3,669)"
    assert record.results[0].conditions.training_pool == "official-train (local: 18 images)"


def test_a_partial_source_of_a_protocol_that_states_no_number_is_no_obstacle(toy_competition):
    slug = toy_competition(
        replace=[("[sources.local]\n", "[sources.local]\ncomplete = false\n"), ("num_test = 6\n", "")]
    )
    _, record = run(slug, overrides=["num_folds=0"], **QUIET)
    assert record.results[0].conditions.test_images == "official-test (local: 6 of an unknown number)"


def test_predicting_before_training_says_which_model_is_missing(toy_competition):
    with pytest.raises(DataError, match=r"The model fold-0 of toy-official-.* is not trained. Run `kit train toy`"):
        predict(plan_run(toy_competition(), **QUIET), **QUIET)


# Kaggle's layout: a CSV of training labels, test images without labels, a sample submission.


def make_kaggle_like(root: Path) -> None:
    colours = ("red", "green", "blue")
    images = {f"train/{k:02d}.png": coloured_png(colours[k % 3], k) for k in range(12)}
    images |= {f"test/{k:02d}.png": coloured_png(colours[k % 3], k) for k in range(12, 16)}
    rows = "".join(f"{k:02d},{colours[k % 3]}\n" for k in range(12))
    texts = {
        "train.csv": f"id,colour\n{rows}".encode(),
        "sample_submission.csv": b"id,blue,red,green\n15,0,0,1\n13,0,0,1\n12,0,0,1\n14,0,0,1\n",
    }
    make_toy_competition(root)
    archive = tar_bytes({**images, **texts})
    write_files(root / "mirror", {"toy/toy.tar": archive})
    (root / "competitions" / "toy" / "competition.toml").write_text(
        """\
title = "Colours without test labels"
homepage = "https://example.org/colours"
licence = "CC0"
citation = "Generated for tests."
metric = "log_loss"
default_protocol = "kaggle"
classes = ["red", "green", "blue"]
test_files = "test/*.png"

[sources.local]
[[sources.local.files]]
path = "toy/toy.tar"
unpack = true

[labels]
rule = "csv"
file = "train.csv"
label_column = "colour"
folder = "train/"
suffix = ".png"

[protocols.kaggle]
description = "The labels of the test images are Kaggle's"
training_pool = "kaggle-train"
train = "12 images"
test_images = "kaggle-test"
test = "4 images"
num_test = 4
metric = "log_loss"

[submission]
values = "probabilities"
sample = "sample_submission.csv"
""",
        encoding="utf-8",
    )


def test_unlabelled_test_images_are_submitted_in_the_samples_order_but_not_judged(tmp_path, monkeypatch):
    make_kaggle_like(tmp_path)
    monkeypatch.setenv("KIT_COMPETITIONS", str(tmp_path / "competitions"))
    monkeypatch.setenv("KIT_MIRROR", str(tmp_path / "mirror"))
    plan, record = run("toy", **QUIET)
    submission = pd.read_csv(plan.folder / "submission.csv", dtype={"id": "str"})
    assert list(submission.columns) == ["id", "blue", "red", "green"]  # as the sample has them
    assert submission["id"].tolist() == ["15", "13", "12", "14"]
    predictions = read(plan.folder / "predictions" / "test.csv").set_index("image_id")
    for image, blue in zip(submission["id"], submission["blue"], strict=True):
        assert blue == pytest.approx(predictions.loc[f"test/{image}", "probability_blue"])
    (result,) = record.results
    assert result.kind == "out-of-fold"
    assert list(result.scores) == ["log_loss", "accuracy", "mean_per_class_accuracy"]


# Killed and interrupted, in processes of their own.


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kit", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )


def wait_for(process: subprocess.Popen[str], pattern: str, *, seconds: float = 90) -> None:
    """Wait until a file in KIT_HOME matches `pattern`."""
    until = time.monotonic() + seconds
    while not list(Path(os.environ["KIT_HOME"]).glob(pattern)):
        assert process.poll() is None, f"ended before {pattern} was there: {process.communicate()[1]}"
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_killed_run_goes_on_from_the_last_whole_model(toy_competition, tmp_path, trained_names):
    slug = toy_competition()
    process = start(tmp_path, "run", slug, "--no-track", "--set", "schedule.epochs=3")
    try:
        wait_for(process, "runs/*/models/fold-0/history.json")
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    plan = plan_run(slug, overrides=["schedule.epochs=3"], **QUIET)
    assert not (plan.folder / "record.json").exists()
    half_written = plan.folder / "models" / "full" / "last.safetensors.part"
    write_files(half_written.parent, {half_written.name: b"half a checkpoint"})
    _, record = run(slug, overrides=["schedule.epochs=3"], **QUIET)
    assert "fold-0" not in trained_names
    assert trained_names[-1] == "full"
    assert record.cost["num_models"] == 3
    assert not half_written.exists()


def test_ctrl_c_ends_with_one_line_and_130(toy_competition, tmp_path):
    slug = toy_competition()
    process = start(tmp_path, "run", slug, "--no-track", "--set", "schedule.epochs=10000", "--folds", "0")
    try:
        wait_for(process, "packs/*/index.npz")
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert [line for line in stderr.splitlines() if line.startswith("kit:")] == [
        "kit: interrupted. Finished stages are kept; the same command goes on from there."
    ]
    assert not list(Path(os.environ["KIT_HOME"]).rglob("*.part"))
