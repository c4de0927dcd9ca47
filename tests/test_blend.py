"""Blends of finished runs: predictions matched by id, folds that agree or not, and a result that is like a run's."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from kit.blend.blend import blend
from kit.blend.members import gather
from kit.board.records import all_records, find_record, read_record, run_folder, write_record
from kit.cli.blend import COMMANDS
from kit.competition import load_competition
from kit.data.folds import fold_fingerprint, read_folds, write_folds
from kit.errors import ConfigError, DataError
from kit.home import write_json
from kit.judge.predict import read_predictions, write_predictions

CLASSES = ("red", "green", "blue")
KINDS = ("out-of-fold", "test", "fold-ensemble")
QUIET = {"say": lambda line: None}


@pytest.fixture
def first(finished_toy):
    """The toy's one run, trained once for all tests."""
    return all_records()[0]


def predictions_of(run_id, kind):
    path = run_folder(run_id) / "predictions" / f"{kind}.csv"
    return read_predictions(path, kind=kind, classes=CLASSES)


def another(first, name, *, change=lambda one: one, folds=None, **fields):
    """A run beside `first`, with its images and other answers: `change` takes and gives predictions."""
    record = replace(first, run_id=name, **fields)
    for kind in KINDS:
        found = change(predictions_of(first.run_id, kind))
        if folds is not None and kind == "out-of-fold":
            found = replace(found, folds=np.array([folds[image_id] for image_id in found.image_ids]))
        write_predictions(run_folder(name) / "predictions" / f"{kind}.csv", found)
    table = read_folds(run_folder(first.run_id) / "folds.csv")
    if folds is not None:
        table = table.assign(fold=[folds[image_id] for image_id in table["image_id"]])
        record = replace(record, folds={**record.folds, "fingerprint": fold_fingerprint(table)})
    write_folds(run_folder(name) / "folds.csv", table)
    write_record(record)
    return record


def knowing(share, *, seed=0):
    """Answers that are right for a share of the images, and the same truth, ids and folds."""

    def change(found):
        random = np.random.default_rng(seed)
        right = random.random(len(found.image_ids)) < share
        answer = np.where(right, found.label_indices, (found.label_indices + 1) % 3)
        return replace(found, probabilities=(np.eye(3)[answer] * 0.7 + 0.1).astype(np.float32))

    return change


def turned(found):
    """The same rows in the opposite order."""
    return replace(
        found,
        image_ids=found.image_ids[::-1],
        probabilities=found.probabilities[::-1].copy(),
        labels=found.labels[::-1],
        folds=found.folds[::-1].copy(),
    )


def test_a_blend_is_a_run_like_result_with_record_predictions_and_submission(first):
    second = another(first, "toy-second", change=knowing(0.8))
    report = blend("toy", [first.run_id, second.run_id], **QUIET)
    folder = run_folder(report.record.run_id)
    assert read_record(folder / "record.json") == report.record
    assert [result.kind for result in report.record.results] == list(KINDS)
    assert {result.conditions.inference for result in report.record.results} == {"ensemble"}
    assert {result.conditions.selection for result in report.record.results} == {"out-of-fold"}
    assert report.record.results[0].scores["accuracy"] == report.nested
    submission = pd.read_csv(folder / "submission.csv")
    test = predictions_of(report.record.run_id, "test")
    said = dict(zip(test.image_ids, (CLASSES[k] for k in test.probabilities.argmax(axis=1)), strict=True))
    assert dict(zip(submission["image_id"], submission["colour"], strict=True)) == said
    assert find_record(report.record.run_id) in all_records()


def test_the_mean_of_two_runs_is_computed_image_by_image_whatever_their_order(first):
    second = another(first, "toy-second", change=lambda found: turned(knowing(0.8)(found)))
    report = blend("toy", [first.run_id, second.run_id], rule="mean", **QUIET)
    for kind in KINDS:
        parts = [predictions_of(run, kind) for run in (first.run_id, second.run_id, report.record.run_id)]
        one, two, both = (dict(zip(part.image_ids, part.probabilities, strict=True)) for part in parts)
        assert all(both[name] == pytest.approx((one[name] + two[name]) / 2, abs=1e-6) for name in both)
    assert (report.optimism, report.by_fold) == (0, {})
    assert report.naive == pytest.approx(report.nested.value)


def test_a_copy_of_a_run_changes_nothing(first):
    second = another(first, "toy-second", change=knowing(0.8))
    copy = another(first, "toy-copy", change=turned)
    two = blend("toy", [first.run_id, second.run_id], **QUIET)
    three = blend("toy", [first.run_id, copy.run_id, second.run_id, first.run_id], **QUIET)
    assert three.copies == {copy.run_id: first.run_id}
    assert three.members == two.members
    assert (three.mixture, three.naive, three.nested) == (two.mixture, two.naive, two.nested)
    assert three.record.run_id == two.record.run_id


def test_the_same_runs_blended_again_give_the_same_record(first):
    second = another(first, "toy-second", change=knowing(0.6))
    report = blend("toy", [first.run_id, second.run_id], **QUIET)
    before = (run_folder(report.record.run_id) / "record.json").read_bytes()
    assert blend("toy", [first.run_id, second.run_id], **QUIET).record == report.record
    assert (run_folder(report.record.run_id) / "record.json").read_bytes() == before


def test_what_knows_more_gets_the_weight_and_the_gain_is_over_the_best_member(first):
    poor = another(first, "toy-poor", change=knowing(0.3, seed=1))
    good = another(first, "toy-good", change=knowing(1.0))
    report = blend("toy", [poor.run_id, good.run_id], **QUIET)
    assert report.best_member == 1
    assert report.nested.value == 1
    assert report.gain.mean == 0
    assert not report.gain.shown


def other_folds(first):
    table = read_folds(run_folder(first.run_id) / "folds.csv")
    return {image_id: int(k % 2) for k, image_id in enumerate(sorted(table["image_id"]))}


def test_folds_that_disagree_are_named_and_what_may_still_be_done(first):
    second = another(first, "toy-second", change=knowing(0.8))
    third = another(first, "toy-third", change=knowing(0.7), folds=other_folds(first))
    names = [first.run_id, second.run_id, third.run_id]
    with pytest.raises(DataError) as raised:
        blend("toy", names, **QUIET)
    text = str(raised.value)
    assert "toy-third" in text
    assert "toy-second" not in text
    assert third.folds["fingerprint"][:8] in text
    assert "--folds-from" in text
    assert "--rule mean" in text
    report = blend("toy", names, rule="mean", **QUIET)
    assert any("toy-third" in note for note in report.notes)
    assert set(predictions_of(report.record.run_id, "out-of-fold").folds) == {-1}
    assert report.record.folds["fingerprint"] == ""


def in_groups(record, group_of_fold):
    """Give the images of a run as many groups in each of its folds."""
    path = run_folder(record.run_id) / "folds.csv"
    table = read_folds(path)
    turn = table.groupby("fold").cumcount()
    group = [f"fold {fold} group {k % group_of_fold[fold]}" for fold, k in zip(table["fold"], turn, strict=True)]
    write_folds(path, table.assign(group=group))


def test_two_folds_of_two_groups_each_are_enough_to_choose_on(first):
    second = another(first, "toy-second", change=knowing(0.8))
    in_groups(second, {0: 2, 1: 2})
    assert set(blend("toy", [second.run_id, first.run_id], **QUIET).by_fold) == {0, 1}


def test_a_fold_of_one_group_of_two_folds_is_named_and_what_may_still_be_done(first):
    second = another(first, "toy-second", change=knowing(0.8))
    in_groups(second, {0: 3, 1: 1})
    with pytest.raises(DataError) as raised:
        blend("toy", [second.run_id, first.run_id], **QUIET)
    for words in ("all images of fold 1 are of one group, 'fold 1 group 0'", "--folds 3", "--rule mean"):
        assert words in str(raised.value)
    report = blend("toy", [second.run_id, first.run_id], rule="mean", **QUIET)
    assert any("fold 1 group 0" in note for note in report.notes)
    assert set(predictions_of(report.record.run_id, "out-of-fold").folds) == {0, 1}


def test_folds_that_are_only_numbered_otherwise_agree(first):
    table = read_folds(run_folder(first.run_id) / "folds.csv")
    renamed = dict(zip(table["image_id"], 1 - table["fold"], strict=True))
    second = another(first, "toy-second", change=knowing(0.8), folds=renamed)
    assert gather([first, second], load_competition("toy")).disagreement == ""


def test_runs_of_another_protocol_are_refused(first):
    second = another(first, "toy-second", protocol="random")
    with pytest.raises(DataError, match=r"differ in their protocol: random and official"):
        blend("toy", [first.run_id, second.run_id], **QUIET)


def test_runs_of_another_competition_are_refused(first):
    second = another(first, "other-second", competition="other")
    with pytest.raises(DataError, match="not of toy"):
        blend("toy", [first.run_id, second.run_id], **QUIET)


def test_runs_with_other_images_are_refused(first):
    def without_one(found):
        kept = slice(1, None)
        return replace(
            found,
            image_ids=found.image_ids[kept],
            probabilities=found.probabilities[kept],
            labels=found.labels[kept],
            folds=found.folds[kept],
        )

    second = another(first, "toy-second", change=without_one)
    with pytest.raises(DataError, match="same images"):
        blend("toy", [first.run_id, second.run_id], **QUIET)


def test_a_run_without_folds_is_refused(first):
    second = another(first, "toy-second", folds=None)
    write_json(
        run_folder(second.run_id) / "record.json",
        {**json.loads((run_folder(second.run_id) / "record.json").read_text()), "folds": {"num_folds": 0}},
    )
    with pytest.raises(DataError, match=r"toy-second has no folds.*--folds 5"):
        blend("toy", [first.run_id, second.run_id], **QUIET)


@pytest.mark.parametrize("value", ["nan", "1.5", "-0.25"])
def test_predictions_that_are_no_probabilities_are_refused(first, value):
    second = another(first, "toy-second", change=knowing(0.8))
    path = run_folder(second.run_id) / "predictions" / "test.csv"
    path.unlink()
    table = pd.read_csv(run_folder(first.run_id) / "predictions" / "test.csv", dtype="str", keep_default_na=False)
    table.loc[0, "probability_red"] = value
    table.to_csv(path, index=False)
    with pytest.raises(DataError, match="no probabilities"):
        blend("toy", [first.run_id, second.run_id], **QUIET)


def test_an_unknown_rule_is_refused_with_the_nearest_one(first):
    with pytest.raises(ConfigError, match="Did you mean 'greedy'"):
        blend("toy", [first.run_id], rule="gredy", **QUIET)


def test_mean_ranks_are_refused_where_more_than_the_order_counts(first):
    with pytest.raises(ConfigError, match=r"'rank' is for metrics that only ask for an order"):
        blend("toy", [first.run_id], rule="rank", **QUIET)


def test_what_differs_between_the_members_is_said_in_the_record(first):
    network = {**first.network, "pretraining_group": "imagenet-1k", "name": "other"}
    results = [
        replace(
            one,
            conditions=replace(
                one.conditions, pretraining_group="imagenet-1k", training_pool="official-train + more images"
            ),
        )
        for one in first.results
    ]
    second = another(first, "toy-second", change=knowing(0.8), network=network, results=results)
    record = blend("toy", [first.run_id, second.run_id], rule="mean", **QUIET).record
    assert record.results[1].conditions.pretraining_group == "mixed"
    assert "more images" in record.results[1].conditions.training_pool
    assert record.network["name"] == "resnet10t + other"


def test_the_command_prints_optimism_and_diversity_and_json_has_all_of_it(first):
    import typer

    app = typer.Typer()
    app.command()(COMMANDS[0])
    second = another(first, "toy-second", change=knowing(0.8))
    printed = CliRunner().invoke(app, ["toy", first.run_id, second.run_id], catch_exceptions=False).stdout
    for word in ("diversity", "naive", "nested", "optimism", "gain", "submission.csv", "without fold 1"):
        assert word in printed
    board = Path(re.search(r"^board +(.*)$", printed, re.MULTILINE)[1])
    assert board.name == "toy.html"
    index = (board.parent / "index.html").read_text(encoding="utf-8")
    assert 'href="mnist.html"' in index  # a competition without a run of ours keeps its line
    told = json.loads(
        CliRunner().invoke(app, ["toy", first.run_id, second.run_id, "--json"], catch_exceptions=False).stdout
    )
    assert told["members"] == [first.run_id, second.run_id]
    assert set(told["diversity"][0]) == {"first", "second", "disagreement", "errors", "q"}
    assert told["optimism"] == pytest.approx(told["naive"] - told["nested"]["value"])
    assert set(told["by_fold"]) == {"0", "1"}


def test_looking_up_the_commands_imports_no_scipy():
    import subprocess

    code = "import sys, kit.cli.blend, kit.cli.pseudo; print(sorted({'scipy', 'torch', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
