"""Suspicious labels: planted wrong ones come first, what cannot be judged is refused; and `kit check` shows them."""

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from kit.cli.check import check
from kit.errors import DataError, KitError
from kit.judge.predict import Predictions, read_predictions, write_predictions
from kit.judge.suspicious import COLUMNS, proposed_for, suspicious_labels
from kit.quality.fixes import Fix, add_fixes

needs_cleanlab = pytest.mark.skipif(find_spec("cleanlab") is None, reason="cleanlab (the extra `quality`) is missing")


def predictions(probabilities: list[list[float]], labels: list[str], **changes: object) -> Predictions:
    usual = Predictions(
        kind="out-of-fold",
        image_ids=tuple(f"image {k}" for k in range(len(labels))),
        classes=("cat", "dog"),
        probabilities=np.array(probabilities, dtype=np.float32),
        labels=tuple(labels),
        folds=np.zeros(len(labels), dtype=np.int64),
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


SURE = [[0.95, 0.05]] * 10 + [[0.04, 0.96]] * 10
LABELS = ["cat"] * 10 + ["dog"] * 10


@needs_cleanlab
def test_a_label_that_the_network_contradicts_is_listed_with_what_it_would_say():
    found = suspicious_labels(predictions([*SURE, [0.02, 0.98]], [*LABELS, "cat"]))
    assert list(found.columns) == COLUMNS
    assert found[["image_id", "label", "suggested", "rank"]].to_numpy().tolist() == [["image 20", "cat", "dog", 1]]
    assert found["probability_of_label"].iloc[0] == pytest.approx(0.02, abs=1e-6)


@needs_cleanlab
def test_consistent_labels_and_unlabelled_images_are_not_suspicious():
    assert suspicious_labels(predictions([*SURE, [0.02, 0.98]], [*LABELS, ""])).empty


@needs_cleanlab
def test_most_of_the_planted_wrong_digits_are_in_the_top_ranks():
    """1,797 digits, 5 % of the labels changed at random, logistic regression out of fold."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    images, truth = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    flipped = rng.choice(len(truth), round(0.05 * len(truth)), replace=False)
    given = truth.copy()
    given[flipped] = (truth[flipped] + rng.integers(1, 10, len(flipped))) % 10
    classes = tuple(str(digit) for digit in range(10))
    probabilities = cross_val_predict(
        LogisticRegression(C=0.01, max_iter=300),
        images / 16,
        given,
        cv=StratifiedKFold(5, shuffle=True, random_state=0),
        method="predict_proba",
    )
    found = suspicious_labels(
        Predictions(
            kind="out-of-fold",
            image_ids=tuple(map(str, range(len(given)))),
            classes=classes,
            probabilities=probabilities.astype(np.float32),
            labels=tuple(classes[label] for label in given),
            folds=np.zeros(len(given), dtype=np.int64),
        )
    )
    top = {int(image_id) for image_id in found["image_id"].head(len(flipped))}
    planted = set(flipped.tolist())
    assert len(top & planted) >= 0.8 * len(planted)
    right = found[found["image_id"].astype(int).isin(planted)]
    suggested_truth = right["suggested"].astype(int).to_numpy() == truth[right["image_id"].astype(int)]
    assert suggested_truth.mean() > 0.85


@needs_cleanlab
def test_the_proposal_leaves_the_decision_to_a_person():
    (fix,) = proposed_for(suspicious_labels(predictions([*SURE, [0.02, 0.98]], [*LABELS, "cat"])))
    assert (fix.image_id, fix.action, fix.label) == ("image 20", "", "dog")
    assert fix.why == "labelled cat, to which networks that never saw it give 0.02"


def test_predictions_of_networks_that_saw_the_labels_are_refused():
    with pytest.raises(DataError, match="are of the kind 'test'"):
        suspicious_labels(predictions(SURE, LABELS, kind="test"))


def test_several_labels_per_image_are_refused():
    with pytest.raises(DataError, match="one class"):
        suspicious_labels(predictions(SURE, LABELS, targets=np.ones((20, 2))))


def test_one_class_only_is_refused():
    with pytest.raises(DataError, match="fewer than two classes"):
        suspicious_labels(predictions(SURE[:5], LABELS[:5]))


@pytest.mark.parametrize(
    ("right", "of_dogs"),
    [
        (13, 11),  # 13 of 20: Wilson's lower bound is 0.433, and dog for every image would be right on 0.55
        (18, 18),  # 18 of 20: 0.699, and dog for every image would be right on 0.9
    ],
)
def test_networks_at_chance_may_not_call_a_label_suspicious(right, of_dogs):
    labels = ["dog"] * of_dogs + ["cat"] * (20 - of_dogs)
    indices = np.array([label == "dog" for label in labels], dtype=int)
    indices[right:] = 1 - indices[right:]  # what the networks answer
    with pytest.raises(DataError) as caught:
        suspicious_labels(predictions((0.1 + 0.8 * np.eye(2)[indices]).tolist(), labels))
    for words in (f"right on {right} of 20 images", "'dog' for every image", f"right on {of_dogs / 20:.3f}", "--run"):
        assert words in str(caught.value)


def test_without_cleanlab_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "cleanlab"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(KitError, match=r"pip install 'competition-kit\[quality\]'"):
        suspicious_labels(predictions(SURE, LABELS))


@pytest.fixture
def kit_check(monkeypatch: pytest.MonkeyPatch):
    """Return a function: arguments of `kit check` -> exit code (2 for a mistake of the user's) and what it printed."""
    app = typer.Typer()
    app.command("check")(check)
    app.callback()(lambda: None)

    def call(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["check", *arguments])
        if result.exception is not None and not isinstance(result.exception, (KitError, SystemExit)):
            raise result.exception
        said = str(result.exception) if isinstance(result.exception, KitError) else ""
        return (2 if said else result.exit_code), result.stdout + said

    return call


def test_kit_check_prints_the_findings_and_writes_page_and_proposal(toy_competition, kit_check, own_home: Path):
    toy_competition()
    code, printed = kit_check("toy")
    assert code == 0, printed
    assert str(own_home / "board" / "toy-check.html") in printed
    assert (own_home / "board" / "toy-fixes-proposed.csv").read_text(encoding="utf-8").startswith("image_id,action,")


def test_kit_check_of_a_run_that_is_not_there_says_how_to_make_it(toy_competition, kit_check):
    toy_competition()
    code, printed = kit_check("toy", "--suspicious")
    assert code == 2 and "`kit run toy --folds 5` first" in printed


@needs_cleanlab
def test_kit_check_lists_a_suspicious_label_of_a_finished_run_until_somebody_keeps_it(
    finished_toy: str, kit_check, own_home: Path
):
    (path,) = (own_home / "runs").glob("*/predictions/out-of-fold.csv")
    classes = ("red", "green", "blue")
    there = read_predictions(path, kind="out-of-fold", classes=classes)
    # Networks that are right everywhere, but for one image, which they are sure of.
    answers = there.label_indices.copy()
    answers[3] = (answers[3] + 1) % 3
    write_predictions(path, replace(there, probabilities=(0.01 + 0.97 * np.eye(3)[answers]).astype(np.float32)))
    planted, suggested = there.image_ids[3], classes[answers[3]]
    code, printed = kit_check(finished_toy, "--suspicious")
    assert code == 0 and "1 suspicious label," in printed and f"{planted}  labelled" in printed
    proposal = (own_home / "board" / f"{finished_toy}-fixes-proposed.csv").read_text(encoding="utf-8")
    assert f"{planted},,{suggested},,," in proposal
    add_fixes(own_home / "fixes" / "toy.csv", [Fix(image_id=planted, action="keep", why="looked at")], classes=classes)
    code, printed = kit_check(finished_toy, "--suspicious")
    assert code == 0 and "0 suspicious labels" in printed
