"""Teacher and student: real trainings of tiny networks, fold by fold, kept only where the student is better."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from kit.board.records import all_records, find_record, run_folder, write_record
from kit.cli.pseudo import COMMANDS
from kit.conditions import agreement
from kit.data.folds import read_folds
from kit.errors import ConfigError, DataError
from kit.home import write_json
from kit.judge.predict import read_predictions, write_predictions
from kit.plan import pack_for, plan_run
from kit.pseudo.student import compared, student_plan, teach
from kit.pseudo.teacher import pseudo_labels
from kit.run import finish
from kit.train.models import find_model
from kit.train.parallel import train_in_parallel

CLASSES = ("red", "green", "blue")
QUIET = {"say": lambda line: None}
LOW = 0.3  # of three classes one has more


@pytest.fixture
def teacher(finished_toy):
    """The toy's one run."""
    return all_records()[0]


@pytest.fixture(scope="session")
def taught_root(trained_root, tmp_path_factory):
    """A folder as `trained_root`, in whose home a student of the run is finished too: trained once."""
    root = tmp_path_factory.mktemp("taught") / "root"
    shutil.copytree(trained_root, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_HOME", str(root / "home"))
        patch.setenv("KIT_COMPETITIONS", str(root / "competitions"))
        patch.setenv("KIT_MIRROR", str(root / "mirror"))
        teach("toy", all_records()[0].run_id, threshold=LOW, **QUIET)
    return root


@pytest.fixture
def taught(taught_root, teacher, own_home):
    """The teacher, with its student beside it in the test's own KIT_HOME."""
    shutil.rmtree(own_home)
    shutil.copytree(taught_root / "home", own_home, copy_function=os.link)
    return teacher


@pytest.fixture
def learned_from(monkeypatch):
    """Model -> the table that it was trained on, of those that are trained from here on."""
    from kit.train import loop

    tables = {}
    fit = loop.fit

    def spied(network, pack, train, valid, *, folder, **options):
        tables[folder.name] = train.assign(valid=train["image_id"].isin(valid["image_id"] if valid is not None else []))
        return fit(network, pack, train, valid, folder=folder, **options)

    monkeypatch.setattr(loop, "fit", spied)
    return tables


def labelled_by(folder, name):
    return pd.read_csv(folder / f"{name}.csv").set_index("image_id")["label"].to_dict()


def labels_folder(teacher):
    [folder] = (run_folder(teacher.run_id) / "pseudo-labels").iterdir()
    return folder


def test_each_model_of_the_student_learns_the_answers_of_its_own_teacher(teacher, learned_from):
    lesson = teach("toy", teacher.run_id, threshold=LOW, **QUIET)
    folder, folds = labels_folder(teacher), read_folds(run_folder(teacher.run_id) / "folds.csv")
    assert set(learned_from) == {"fold-0", "fold-1", "full"}
    for name, table in learned_from.items():
        own = table[table["image_id"].str.startswith("train/")]
        fold = int(name.removeprefix("fold-")) if name != "full" else None
        assert set(own["image_id"]) == set(folds.loc[folds["fold"] != fold, "image_id"])
        assert not table["valid"].any()
        taught = table[table["image_id"].str.startswith("test/")].set_index("image_id")["label"].to_dict()
        assert taught == labelled_by(folder, name)
        assert len(taught) == 6
    assert lesson.labels.about["num_labelled"] == {"fold-0": 6, "fold-1": 6, "full": 6}
    # The teachers are not of one mind (after one epoch): that the labels are each one's own can be seen.
    assert len({tuple(sorted(labelled_by(folder, name).items())) for name in learned_from}) > 1


def test_the_labels_of_a_fold_are_those_of_the_model_that_never_saw_it(teacher):
    from kit.train.checkpoint import load_checkpoint
    from kit.train.inference import predict_probabilities
    from kit.train.model import choose_device

    plan = plan_run("toy", **QUIET)
    labels = pseudo_labels(plan, teacher, threshold=LOW, **QUIET)
    for name in plan.models:
        checkpoint = load_checkpoint(plan.folder / "models" / name / "last.safetensors", config=plan.recipe.model)
        probabilities = predict_probabilities(
            checkpoint.network,
            pack_for(plan, **QUIET),
            plan.samples.test,
            image_size=32,
            test_crop=1.0,
            activation=checkpoint.activation,
            test_views="single",
            augment=plan.recipe.augment,
            seed=1,
            device=choose_device("cpu"),
        )
        assert labels.rows[name]["label"].tolist() == [CLASSES[k] for k in probabilities.argmax(axis=1)]


def test_the_student_is_a_run_of_another_training_pool_and_its_version_is_in_the_record(taught, learned_from):
    lesson = teach("toy", taught.run_id, threshold=LOW, **QUIET)
    student = find_record(lesson.student.run_id)
    assert learned_from == {}  # what is done is used again
    assert student.run_id != taught.run_id
    assert "pseudo" in student.run_id
    pools = {result.kind: result.conditions.training_pool for result in student.results}
    assert pools["test"] == "official-train + pseudo-labelled test images"
    assert all(pool.endswith("+ pseudo-labelled test images") for pool in pools.values())
    about = student.data["pseudo_labels"]
    assert (about["teacher"], about["threshold"]) == (taught.run_id, LOW)
    assert set(about["files"]) == {"fold-0", "fold-1", "full"}
    told = json.loads((run_folder(student.run_id) / "pseudo.json").read_text())
    assert told["kept"] == lesson.kept == (lesson.gain.low > 0)
    assert taught.folds == student.folds


def test_no_published_result_of_the_plain_pool_stands_beside_a_student(taught):
    student = teach("toy", taught.run_id, threshold=LOW, **QUIET).student
    for before, after in zip(taught.results, student.results, strict=True):
        found = agreement(after.conditions, before.conditions)
        assert [difference.field for difference in found.differences] == ["training_pool"]


def test_another_threshold_or_weight_is_another_version_and_another_run(teacher):
    plan = plan_run("toy", **QUIET)
    several = [
        pseudo_labels(plan, teacher, threshold=threshold, weight=weight, **QUIET)
        for threshold, weight in ((LOW, 1.0), (LOW + 0.01, 1.0), (LOW, 0.5))
    ]
    assert len({one.about["version"] for one in several}) == 3
    assert len({student_plan(plan, one).run_id for one in several} | {plan.run_id}) == 4


def test_models_in_processes_of_their_own_get_their_rows_too(teacher):
    plan = plan_run("toy", **QUIET)
    labels = pseudo_labels(plan, teacher, threshold=LOW, **QUIET)
    train_in_parallel(
        ["fold-1"],
        plan.train,
        pack_for(plan, **QUIET),
        num_children=1,
        recipe=plan.recipe,
        classes=CLASSES,
        several=False,
        rule=plan.competition.folds,
        folder=run_folder("toy-beside") / "models",
        extra=labels.rows,
        **QUIET,
    )
    found = find_model(run_folder("toy-beside") / "models", "fold-1")
    assert found.history["num_train"] == 9 + 6


def test_a_damaged_file_of_labels_is_made_again(teacher):
    plan = plan_run("toy", **QUIET)
    before = pseudo_labels(plan, teacher, threshold=LOW, **QUIET)
    path = labels_folder(teacher) / "fold-0.csv"
    path.write_text(path.read_text().replace("red", "blue").replace("green", "blue"))
    after = pseudo_labels(plan, teacher, threshold=LOW, **QUIET)
    assert after.fingerprint == before.fingerprint
    assert after.rows["fold-0"].equals(before.rows["fold-0"])


def test_a_student_of_random_labels_is_not_kept(teacher):
    plan = plan_run("toy", **QUIET)
    labels = pseudo_labels(plan, teacher, threshold=LOW, **QUIET)
    random = np.random.default_rng(0)
    guessed = {name: rows.assign(label=random.choice(CLASSES, len(rows))) for name, rows in labels.rows.items()}
    student = student_plan(plan, replace(labels, rows=guessed, fingerprint="random"))
    lesson = compared(teacher, finish(student, **QUIET), labels, student)
    assert not lesson.kept
    assert lesson.chosen == teacher
    assert "not kept" in lesson.verdict


def student_that_is_right(teacher, share):
    """A run like the teacher's, whose out-of-fold answers are right for a share of the images."""
    record = replace(teacher, run_id="toy-student")
    file = run_folder(teacher.run_id) / "predictions" / "out-of-fold.csv"
    found = read_predictions(file, kind="out-of-fold", classes=CLASSES)
    right = np.arange(len(found.image_ids)) < share * len(found.image_ids)
    answer = np.where(right, found.label_indices, (found.label_indices + 1) % 3)
    write_predictions(
        run_folder(record.run_id) / "predictions" / "out-of-fold.csv",
        replace(found, probabilities=np.eye(3, dtype=np.float32)[answer]),
    )
    write_record(record)
    return record


@pytest.mark.parametrize(("share", "kept"), [(1.0, True), (0.0, False)])
def test_a_student_is_kept_where_the_interval_of_its_gain_is_above_zero(teacher, share, kept):
    plan = plan_run("toy", **QUIET)
    labels = pseudo_labels(plan, teacher, threshold=LOW, **QUIET)
    lesson = compared(teacher, student_that_is_right(teacher, share), labels, plan)
    assert lesson.kept == kept == (lesson.gain.low > 0)
    assert lesson.chosen.run_id == ("toy-student" if kept else teacher.run_id)


def test_where_no_image_is_sure_enough_it_says_so_and_trains_nothing(teacher, learned_from):
    with pytest.raises(DataError, match=r"sure enough.*lower --threshold"):
        teach("toy", teacher.run_id, threshold=1.0, **QUIET)
    assert learned_from == {}


def test_a_threshold_out_of_range_is_refused(teacher):
    with pytest.raises(ConfigError, match="--threshold"):
        teach("toy", teacher.run_id, threshold=1.5, **QUIET)


def test_a_teacher_of_another_competition_is_refused(teacher):
    write_record(replace(teacher, run_id="other-1", competition="other"))
    with pytest.raises(DataError, match="not of toy"):
        teach("toy", "other-1", **QUIET)


def test_a_teacher_whose_images_have_changed_is_refused(teacher):
    changed = replace(teacher, run_id="toy-changed", data={**teacher.data, "fingerprint": "0" * 64})
    write_record(changed)
    for name in ("folds.csv", "predictions/out-of-fold.csv"):
        path = run_folder(changed.run_id) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((run_folder(teacher.run_id) / name).read_bytes())
    with pytest.raises(DataError, match="have changed since toy-changed"):
        teach("toy", "toy-changed", **QUIET)


def test_a_teacher_that_lost_a_model_cannot_teach(teacher):
    (run_folder(teacher.run_id) / "models" / "fold-1" / "history.json").unlink()
    with pytest.raises(DataError, match=r"no whole model fold-1"):
        teach("toy", teacher.run_id, threshold=LOW, **QUIET)


def test_a_blend_cannot_teach_and_its_members_are_named(teacher):
    blended = replace(teacher, run_id="toy-blend", recipe={**teacher.recipe, "blend": {"weights": {"toy-a": 1.0}}})
    write_record(blended)
    path = run_folder(blended.run_id) / "predictions" / "out-of-fold.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes((run_folder(teacher.run_id) / "predictions" / "out-of-fold.csv").read_bytes())
    with pytest.raises(DataError, match=r"is a blend.*toy-a"):
        teach("toy", "toy-blend", **QUIET)


def test_a_run_without_folds_cannot_teach(teacher):
    write_json(
        run_folder("toy-whole") / "record.json",
        {**teacher.as_dict(), "run_id": "toy-whole", "folds": {"num_folds": 0, "fingerprint": ""}},
    )
    with pytest.raises(DataError, match="--folds 5"):
        teach("toy", "toy-whole", **QUIET)


def test_the_command_prints_the_version_the_gain_and_the_verdict(taught):
    app = typer.Typer()
    app.command()(COMMANDS[0])
    arguments = ["toy", "--run", taught.run_id, "--threshold", str(LOW)]
    printed = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    for word in ("pseudo-labels  version", "fold-1   learns from 6", "teacher ", "student ", "gain ", "submission "):
        assert word in printed
    assert "kept" in printed
