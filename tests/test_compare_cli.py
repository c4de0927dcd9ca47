"""`kit compare` and `kit judge` on the command line: what they print, and what they refuse."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from test_compare import OURS, result, score
from test_records import make_record

from kit.board.records import all_records, find_record, write_record
from kit.judge.test_ledger import ledger_path, read_chain


def write_pets_run(run_id="pets-by-hand", **changes):
    conditions = replace(OURS, num_test=3669, training_pool="official-trainval", **changes)
    scores = (score(value=0.93, num_images=3669), score("mean_per_class_accuracy", 0.92, 3669))
    write_record(
        make_record(
            run_id,
            competition="pets",
            baselines="oxford-iiit-pet",
            network={"name": "resnet50", "num_parameters": 5, "weights_origin": "a file"},
            results=[replace(result(*scores, conditions=conditions), confused=[("pug", "boxer", 3)])],
        )
    )


def flat(text):
    return " ".join(text.split())


def test_compare_without_any_run_shows_2012_to_today_in_groups(kit):
    code, out, _ = kit("compare", "pets")
    assert code == 0
    assert "87 published results (2012 to 2025) and no runs of ours, in 25 groups." in out
    assert "   1   0.9590 [0.9522, 0.9651]   GPipe AmoebaNet-B (556M) fine-tuned (2019)" in out
    assert "0.5668                    shape + appearance, image+head+body, flat, AUTOMATIC segmentation (2012)" in out
    assert "differs in pre-training: none, not imagenet-1k (rule 4)" in out
    assert "Before you quote a comparison:" in out
    assert max(map(len, out.splitlines())) <= 140  # names of methods are not cut


def test_compare_of_the_pets_says_what_a_run_could_claim_and_what_is_unresolved(kit):
    out = flat(kit("compare", "pets")[1])
    assert "could stand beside 12 published rows without a verdict" in out
    assert "It could be called better or worse than none of them." in out
    assert "It could claim nothing about the other 75, which differ in: pre-training (56)" in out
    assert "Does the 59.21% of the 2012 paper use the ground-truth segmentation of the test image?" in out
    assert "0.5668 shape + appearance" in out and "0.5921 shape + appearance" in out


def test_compare_ranks_ours_among_the_published_rows_and_gives_no_verdict_across_what_is_open(kit):
    write_pets_run()
    code, out, _ = kit("compare", "pets", "--run", "pets-by")
    assert code == 0
    first = out.split("\n\n")[1]
    assert first.startswith("1. accuracy on official-test (3,669 images); trained end to end, imagenet-1k")
    assert "   7   0.9300 [0.9100, 0.9500]   pets-by-hand (ours, test)" in first
    assert "no verdict: inference, selection, metric_definition not stated" in first
    assert "UNVERIFIED" in first
    assert "What our runs can claim" in out
    assert "0.9200 [0.9000, 0.9400]   pets-by-hand (ours, test)" in out  # mean per class, in its own group


def test_compare_prints_one_json_object_for_programs(kit):
    write_pets_run()
    code, out, _ = kit("compare", "pets", "--json")
    assert code == 0
    content = json.loads(out)
    (ours,) = [row for row in content["groups"][0]["rows"] if row["ours"]]
    assert (ours["id"], ours["rank"], ours["value"]) == ("pets-by-hand", 7, 0.93)
    assert content["unresolved"][0]["rows"] == ["parkhi2012-sa-ihb-flat", "parkhi2012-sa-ihb-gt-flat"]
    assert content["claims"][0]["settled"] == []


def test_compare_of_an_unpublished_data_set_says_so(kit):
    write_record(make_record(competition="aerial_cactus", baselines="aerial_cactus"))
    code, out, _ = kit("compare", "aerial_cactus")
    assert code == 0
    assert "No published results are known for" in out
    assert "(ours, test)" in out


def test_compare_refuses_a_run_of_another_competition_or_of_none(kit):
    write_pets_run()
    code, _, err = kit("compare", "digits", "--run", "pets-by-hand")
    assert code == 2
    assert "is of pets, not of digits: results of two competitions are never comparable" in err
    code, _, err = kit("compare", "pets", "--run", "other")
    assert code == 2
    assert "There is no run 'other'. Runs here: pets-by-hand" in err


def test_compare_imports_no_torch_and_no_terminal_codes():
    program = (
        "import sys; sys.argv = ['kit', 'compare', 'pets']\n"
        "from kit.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'timm', 'cv2'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "\x1b" not in done.stdout


def test_names_from_outside_cannot_steer_the_terminal(kit):
    write_pets_run(run_id="pets-\x1b[2J")
    assert "\x1b" not in kit("compare", "pets")[1]


# kit judge


def test_judge_prints_a_finished_run_by_the_start_of_its_id(kit):
    write_pets_run()
    code, out, _ = kit("judge", "pets-by")
    assert code == 0
    assert "accuracy                 0.9300   95 % [0.9100, 0.9500]   n = 3,669" in out
    assert "most confused            pug taken for boxer (3)" in out
    assert "accuracy                 0.9590   GPipe" in out
    assert "0.9300   ours, 95 % [0.9100, 0.9500]: no verdict: " in out
    assert "`kit compare pets` says why, field by field." in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["petz"], "There is no competition 'petz'. Did you mean 'pets'?"),
        (["petz"], "And of runs: There is no run 'petz'. Runs here: pets-by-hand."),
        (["pets-by", "--seed", "3"], "pets-by-hand is a finished run, and has its settings already: leave out --seed"),
        (["pets", "--pretraining", "none"], "can be stated of predictions made elsewhere only"),
        (["pets", "--metric", "accuracy"], "can be stated of predictions made elsewhere only"),
        (["pets", "--predictions", "x.csv", "--folds", "3"], "--folds is about training"),
        (["pets", "--predictions", "x.csv", "--pretraining", "imagenet"], "Did you mean 'imagenet-1k'?"),
        (["pets", "--predictions", "x.csv", "--metric", "acuracy"], "Did you mean 'accuracy'?"),
    ],
)
def test_judge_refuses_what_makes_no_sense_in_one_paragraph(kit, arguments, message, tmp_path, monkeypatch):
    write_pets_run()
    (tmp_path / "x.csv").write_text("image_id,label\n")
    monkeypatch.chdir(tmp_path)
    code, _, err = kit("judge", *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


@pytest.fixture
def their_file(finished_toy):
    """Return the file of test predictions of the toy's run, as if somebody else had made it."""
    ledger = ledger_path()  # lines are appended in place: a hard link would carry them into other tests
    content = ledger.read_bytes()
    ledger.unlink()
    ledger.write_bytes(content)
    return next(Path(os.environ["KIT_HOME"]).glob("runs/*/predictions/test.csv"))


def test_our_own_predictions_judged_as_a_file_get_our_own_scores(kit, finished_toy, their_file):
    (record,) = all_records()
    ours = next(one for one in record.results if one.kind == "test").scores["accuracy"]
    code, out, _ = kit("judge", finished_toy, "--predictions", str(their_file))
    assert code == 0
    assert f"accuracy                 {ours.value:.4f}   95 % [{ours.low:.4f}, {ours.high:.4f}]" in out
    assert "pre-training: not stated" in out
    assert "trained on: not stated" in out


def test_the_conditions_are_those_that_somebody_states(kit, finished_toy, their_file):
    stated = ["--training-pool", "protocol", "--pretraining", "none", "--adaptation", "trained"]
    out = kit("judge", finished_toy, "--predictions", str(their_file), *stated, "--inference", "single")[1]
    assert "trained on: official-train" in out
    assert "pre-training: none" in out
    assert "choice of the recipe: not stated" in out


def test_out_of_fold_predictions_carry_their_folds(kit, finished_toy, their_file):
    folded = their_file.with_name("out-of-fold.csv")
    out = kit("judge", finished_toy, "--predictions", str(folded), "--training-pool", "protocol")[1]
    assert "official (training images, out of fold)" in out
    assert "test images: official-train, out of fold" in out
    assert "trained on: 1 of 2 folds of official-train" in out


def test_a_look_at_test_labels_is_written_down_once_and_a_look_at_training_labels_never(kit, finished_toy, their_file):
    before = len(read_chain().looks)
    for _ in range(2):
        kit("judge", finished_toy, "--predictions", str(their_file))
    kit("judge", finished_toy, "--predictions", str(their_file.with_name("out-of-fold.csv")))
    looks = read_chain().looks[before:]
    assert [(one.opened, one.kind, one.run[:5]) for one in looks] == [("test labels", "test", "file:")]


def test_a_metric_that_takes_probabilities_refuses_a_file_of_classes(kit, finished_toy, their_file, tmp_path):
    rows = their_file.read_text(encoding="utf-8").splitlines()[1:]
    path = tmp_path / "classes.csv"
    path.write_text("image_id,colour\n" + "".join(f"{row.split(',')[0]},red\n" for row in rows), encoding="utf-8")
    code, out, _ = kit("judge", finished_toy, "--predictions", str(path))
    assert code == 0
    assert "accuracy                 0.3333" in out  # a third of the test images are red
    code, _, err = kit("judge", finished_toy, "--predictions", str(path), "--metric", "log_loss")
    assert code == 2
    assert "log_loss takes probabilities" in err


def test_a_run_describes_itself_in_its_record(finished_toy):
    (record,) = all_records()
    described = find_record(record.run_id).described
    assert (described["image_size"], described["seeds"], described["test_views"]) == (32, [1], "single")
    assert (described["ensemble_size"], len(described["split_hash"])) == (2, 64)
    assert record.test_use["opened"] >= 1
