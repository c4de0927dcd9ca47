"""`kit compare --against`: two runs of ours on the same images, and what over seeds is said of several."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from test_compare import OURS, result, score
from test_compare_cli import flat
from test_records import make_record

from kit.board.duel import duel
from kit.board.records import run_folder, write_record
from kit.errors import DataError
from kit.judge.paired import mcnemar
from kit.judge.predict import Predictions, write_predictions
from kit.judge.repeats import compare_folds, over_folds, over_seeds

CLASSES = ("blue", "red")


def answers(right, *, folds=None, names=None, labelled=True, kind="out-of-fold"):
    """Of images whose truth is blue, red, blue, red, ...; right is a list of true or false."""
    right = np.asarray(right, dtype=bool)
    truth = np.arange(len(right)) % 2
    answer = np.where(right, truth, 1 - truth)
    return Predictions(
        kind=kind,
        image_ids=tuple(names or [f"{k:04d}" for k in range(len(right))]),
        classes=CLASSES,
        probabilities=np.where(np.arange(2) == answer[:, None], 0.9, 0.1).astype(np.float32),
        labels=tuple(CLASSES[k] if labelled else "" for k in truth),
        folds=np.arange(len(right)) // 2 % 5 if folds is None else np.asarray(folds),
    )


def run(run_id, *predictions, conditions=OURS, metrics=("accuracy",), **changes):
    """Write a finished run with these predictions, and return its record."""
    scores = tuple(score(metric, 0.5) for metric in metrics)
    record = make_record(
        run_id,
        folds={"num_folds": 5, "fingerprint": "f"},
        results=[result(*scores, conditions=conditions, kind=one.kind) for one in predictions],
        **changes,
    )
    write_record(record)
    for one in predictions:
        write_predictions(run_folder(run_id) / "predictions" / f"{one.kind}.csv", one)
    return record


FIRST = [False] * 30 + [True] * 170
SECOND = [True] * 40 + [False] * 10 + [True] * 150  # gains 30, loses 10


def test_the_difference_of_two_runs_is_paired_by_image_and_has_mcnemars_p():
    found = duel(run("new", answers(SECOND)), run("old", answers(FIRST)), classes=CLASSES)
    (of,) = found.kinds
    (one,) = of.metrics
    assert (found.run, found.against, of.kind, of.num_images) == ("new", "old", "out-of-fold", 200)
    assert (one.run, one.against) == (0.95, 0.85) and one.difference.mean == pytest.approx(0.10)
    assert one.difference.p_by_seed == pytest.approx((mcnemar(30, 10),))
    assert of.one_right == 40 and one.verdict == "better"
    (other,) = duel(run("old", answers(FIRST)), run("new", answers(SECOND)), classes=CLASSES).kinds
    assert other.metrics[0].verdict == "worse"


def test_a_run_against_a_copy_of_itself_has_p_one_and_no_difference_it_could_show():
    found = duel(run("new", answers(FIRST)), run("old", answers(FIRST)), classes=CLASSES)
    (of,) = found.kinds
    assert (of.metrics[0].difference.p_value, of.metrics[0].verdict) == (1, "not distinguishable")
    assert (of.one_right, of.smallest) == (0, None)


def test_rows_in_another_order_and_folds_with_other_numbers_are_the_same_folds():
    random = np.random.default_rng(0)
    first, second = random.random(200) < 0.8, random.random(200) < 0.9
    mine, turned = answers(second), np.arange(200)[::-1]
    renumbered = Predictions(
        **{
            **vars(mine),
            "image_ids": tuple(mine.image_ids[k] for k in turned),
            "labels": tuple(mine.labels[k] for k in turned),
            "probabilities": mine.probabilities[turned],
            "folds": 4 - mine.folds[turned],
        }
    )
    found = duel(run("new", renumbered), run("old", answers(first)), classes=CLASSES).kinds[0].metrics[0]
    folds = 4 - np.arange(200) // 2 % 5
    ours, theirs = ([float(right[folds == k].mean()) for k in range(5)] for right in (second, first))
    assert found.folds.run == over_folds(ours) and found.folds.against == over_folds(theirs)
    assert found.folds.test == compare_folds(theirs, ours, greater_is_better=True, num_folds=5)


@pytest.mark.parametrize("folds", [[0] * 200, [-1] * 200, list(np.arange(200) % 5), list(np.arange(200) // 4 % 5)])
def test_other_folds_are_not_compared_fold_by_fold(folds):
    found = duel(run("new", answers(SECOND, folds=folds)), run("old", answers(FIRST)), classes=CLASSES)
    assert found.kinds[0].metrics[0].folds is None


def test_several_metrics_and_kinds_are_counted_together():
    # 14 won and 3 lost: McNemar's p is 0.013 by itself, and 0.051 as the smallest of four that are equal.
    old = [False] * 14 + [True] * 186
    new = [True] * 14 + [False] * 3 + [True] * 183
    kinds = [[answers(right), answers(right, kind="test")] for right in (new, old)]
    metrics = ("accuracy", "error_rate")
    alone = duel(run("a", answers(new)), run("b", answers(old)), classes=CLASSES).kinds[0].metrics[0]
    many = duel(run("c", *kinds[0], metrics=metrics), run("d", *kinds[1], metrics=metrics), classes=CLASSES)
    assert alone.verdict == "better" and alone.p_together == pytest.approx(mcnemar(14, 3))
    found = [one for of in many.kinds for one in of.metrics]
    assert [one.p_together for one in found] == pytest.approx([4 * mcnemar(14, 3)] * 4)
    assert {one.verdict for one in found} == {"not distinguishable"}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"pretraining_group": "imagenet-21k"}, "not comparable: pre-training: imagenet-21k, not imagenet-1k"),
        ({"adaptation": "linear-probe"}, "not comparable: adaptation: linear-probe, not trained"),
        ({"selection": "test-images"}, "not comparable: choice of the recipe: test-images, not held-out"),
        ({"pretraining_group": None}, "no verdict: pre-training not stated"),
        ({"test_images": "random-fifth"}, "better"),  # a draw by name; the images were seen to be the same
    ],
)
def test_no_verdict_is_given_across_a_field_that_differs(change, verdict):
    theirs = replace(OURS, test_images="random-fifth") if "test_images" in change else OURS
    new = run("new", answers(SECOND), conditions=replace(OURS, **change))
    one = duel(new, run("old", answers(FIRST), conditions=theirs), classes=CLASSES).kinds[0].metrics[0]
    assert one.verdict == verdict
    assert one.folds.verdict == verdict or verdict == "better"
    assert one.difference.mean == pytest.approx(0.10)


def test_other_images_and_unknown_labels_are_one_paragraph():
    here = run("new", answers(FIRST))
    elsewhere = run("old", answers(FIRST, names=[f"x{k}" for k in range(200)]))
    with pytest.raises(DataError, match=r"new and old cannot be compared image by image\. out-of-fold: .* 400 images"):
        duel(here, elsewhere, classes=CLASSES)
    with pytest.raises(DataError, match="200 of 200 predicted images have no known label"):
        duel(here, run("dark", answers(FIRST, labelled=False)), classes=CLASSES)
    with pytest.raises(DataError, match="no kind of scored predictions in common"):
        duel(here, run("tested", answers(FIRST, kind="test")), classes=CLASSES)
    with pytest.raises(DataError, match="both name new"):
        duel(here, here, classes=CLASSES)
    lost = run("lost", answers(FIRST))
    (run_folder("lost") / "predictions" / "out-of-fold.csv").unlink()
    with pytest.raises(DataError, match="predictions of lost are not on this machine"):
        duel(here, lost, classes=CLASSES)


def test_a_kind_that_cannot_be_compared_leaves_the_others():
    new = run("new", answers(SECOND), answers(FIRST, kind="test"))
    old = run("old", answers(FIRST), answers(FIRST[1:], kind="test"))
    found = duel(new, old, classes=CLASSES)
    assert [of.kind for of in found.kinds] == ["out-of-fold"]
    assert "1 images are in one only" in found.left_out["test"]


# On the command line.


def test_the_command_prints_scores_difference_folds_and_what_could_be_shown(kit, toy_competition):
    slug = toy_competition(classes=CLASSES)
    run("toy-new", answers(SECOND))
    run("toy-old", answers(FIRST))
    code, out, _ = kit("compare", slug, "--run", "toy-new", "--against", "toy-old")
    assert code == 0
    text = flat(out)
    assert "out-of-fold predictions of the same 200 images" in text
    assert "accuracy: 0.9500 against 0.8500, +10.00 points [" in text
    assert f"McNemar's exact p = {mcnemar(30, 10):.2g}; together p = " in text and ": better" in text
    assert "descriptive, folds are not independent" in text and "corrected resampled test: +10.00 points" in text
    assert "Just one of the two is right on 40 images. The smallest difference" in text
    assert max(map(len, out.splitlines())) <= 120
    content = json.loads(kit("compare", slug, "--run", "toy-new", "--against", "toy-old", "--json")[1])
    assert content["kinds"][0]["metrics"][0]["verdict"] == "better"


def test_long_draws_are_told_on_stderr_alone(kit, toy_competition, monkeypatch):
    slug = toy_competition(classes=CLASSES)
    run("toy-new", answers(SECOND), metrics=("accuracy", "roc_auc"))
    run("toy-old", answers(FIRST), metrics=("accuracy", "roc_auc"))
    arguments = ("compare", slug, "--run", "toy-new", "--against", "toy-old")
    quiet = [kit(*arguments), kit(*arguments, "--json")]
    assert [err for _, _, err in quiet] == ["", ""]
    monkeypatch.setattr("kit.progress.QUIET_SECONDS", 0.0)
    told = [kit(*arguments), kit(*arguments, "--json")]
    assert [out for _, out, _ in told] == [out for _, out, _ in quiet]
    for _, _, err in told:
        assert "roc_auc: interval: 1,000 of 1,000 draws" in err and "roc_auc: randomisation test: 1,000 of" in err


def test_the_command_imports_no_torch(toy_competition):
    slug = toy_competition(classes=CLASSES)
    run("toy-new", answers(SECOND))
    run("toy-old", answers(FIRST))
    program = (
        f"import sys; sys.argv = ['kit', 'compare', {slug!r}, '--run', 'toy-new', '--against', 'toy-old']\n"
        "from kit.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'timm', 'cv2'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "McNemar" in done.stdout and "\x1b" not in done.stdout


def test_the_command_refuses_one_run_and_a_run_of_another_competition(kit, toy_competition):
    slug = toy_competition()
    run("toy-new", answers(SECOND))
    run("other", answers(SECOND), competition="pets")
    code, _, err = kit("compare", slug, "--against", "toy-new")
    assert code == 2 and "Name the first too" in err
    code, _, err = kit("compare", slug, "--run", "toy-new", "--against", "other")
    assert code == 2 and "is of pets, not of toy" in err


# Over seeds.


def seeded(seed, value, run_id=None, **changes):
    one = replace(result(score(value=value)), conditions=OURS)
    recipe = {"name": "baseline", "seed": seed, **changes.pop("recipe", {})}
    write_record(make_record(run_id or f"toy-s{seed}", results=[one], recipe=recipe, **changes))


def notes(kit, slug):
    return [note for group in json.loads(kit("compare", slug, "--json")[1])["groups"] for note in group["notes"]]


def test_runs_that_differ_in_the_seed_alone_have_their_mean_over_seeds_as_a_note(kit, toy_competition):
    slug = toy_competition()
    for seed, value in ((1, 0.90), (2, 0.92), (3, 0.94)):
        seeded(seed, value)
    (note,) = [one for one in notes(kit, slug) if "over 3 seeds" in one]
    assert note.startswith(f"Ours, test, baseline, seeds 1, 2, 3: accuracy {over_seeds([0.90, 0.92, 0.94])}.")
    assert "accuracy 0.9200 [0.8703, 0.9697] over 3 seeds (s = 0.0200)" in flat(kit("compare", slug)[1])


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": {"epochs": 9}},
        {"network": {"name": "resnet18", "num_parameters": 5, "weights_origin": "none"}},
        {"data": {"fingerprint": "other", "num_train": 18, "num_test": 6, "num_missing": 0}},
        {"recipe": {"seed": 1}},  # the same seed again
    ],
)
def test_runs_that_differ_otherwise_have_none(kit, toy_competition, change):
    slug = toy_competition()
    seeded(1, 0.90)
    seeded(2, 0.92, **change)
    assert not [one for one in notes(kit, slug) if "seeds" in one]
