"""The final comparison: the same images, folds and seeds for both recipes, fresh ones, and no claim beyond them."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from kit.board.records import read_record
from kit.competition import load_competition
from kit.config import recipe_from_dict
from kit.data.folds import read_folds
from kit.errors import ConfigError, TrainingError
from kit.home import family
from kit.judge.paired import compare_pairs
from kit.judge.predict import Predictions
from kit.plan import plan_run
from kit.train.models import find_model
from kit.tune.final_run import FinalTask, final_plan, run_final, run_final_alone
from kit.tune.finals import compare_recipes, final_comparison, verdict_of
from kit.tune.recipe_file import recipe_toml
from kit.tune.study import Settings, StudyPlace

PLACE = StudyPlace(name="one")
CLASSES = ("blue", "red")
NUM_IMAGES = 400


def quiet(line):
    pass


def settings_of(slug, *, folds_used=1, protocol="official"):
    untuned = load_competition(slug).recipe()
    space = {"schedule.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
    return Settings(
        slug=slug, protocol=protocol, source="local", recipe=untuned.as_dict(), space=space, folds_used=folds_used
    )


def tuned(settings, lr=1e-2):
    return replace(settings.untuned, schedule=replace(settings.untuned.schedule, lr=lr))


def task(slug, recipe, tmp_path, **changes):
    path = tmp_path / "a-recipe.toml"
    path.write_text(recipe_toml(recipe), encoding="utf-8")
    given = {"protocol": "official", "source": "local", "seed": 5, "fold_seed": 9, "num_folds_used": 1}
    return FinalTask(slug=slug, recipe=str(path), **{**given, **changes})


def answers(accuracy, *, seed):
    """Predictions of NUM_IMAGES images that are right with this probability."""
    truth = np.arange(NUM_IMAGES) % 2
    answer = np.where(np.random.default_rng(seed).random(NUM_IMAGES) < accuracy, truth, 1 - truth)
    return Predictions(
        kind="out-of-fold",
        image_ids=tuple(f"{k:04d}" for k in range(NUM_IMAGES)),
        classes=CLASSES,
        probabilities=np.eye(2, dtype=np.float32)[answer],
        labels=tuple(CLASSES[k] for k in truth),
        folds=np.zeros(NUM_IMAGES, dtype=np.int64),
    )


def test_both_recipes_are_trained_with_each_seed_on_the_same_folds_pair_after_pair():
    asked = []

    def run_one(recipe, *, seed, fold_seed):
        asked.append((recipe.name, seed, fold_seed))
        return answers(0.9 if recipe.name == "tuned" else 0.6, seed=len(asked))

    recipes = [recipe_from_dict({"name": name}) for name in ("untuned", "tuned")]
    found = compare_recipes(*recipes, run_one=run_one, metric="accuracy", seeds=(4, 5), fold_seed=7)
    assert asked == [("untuned", 4, 7), ("tuned", 4, 7), ("untuned", 5, 7), ("tuned", 5, 7)]
    assert found.mean > 0.2
    assert len(found.by_seed) == len(found.p_by_seed) == 2


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ((0.6, 0.9), r"^Tuning helped by \d+\.\d\d points, 95 % interval \[\+\d+\.\d\d, \+\d+\.\d\d\] "),
        ((0.9, 0.6), r"^Tuning harmed: -\d+\.\d\d points for the tuned recipe, 95 % interval \[-\d+\.\d\d, -"),
        ((0.8, 0.8), r"^No difference could be shown: .* 95 % interval \[-\d+\.\d\d, \+\d+\.\d\d\] "),
    ],
)
def test_the_verdict_claims_what_the_interval_bears_out_and_no_more(accuracies, said):
    ways = [[answers(accuracy, seed=10 * seed + way) for seed in range(3)] for way, accuracy in enumerate(accuracies)]
    found = compare_pairs(*ways, metric="accuracy")
    assert (verdict := verdict_of(found)).endswith("(accuracy, 3 seeds each, 400 images, on fresh folds).")
    assert re.search(said, verdict), verdict


def test_a_run_trains_on_the_sweeps_images_dealt_anew_and_leaves_the_test_images_shut(toy_competition, tmp_path):
    slug = toy_competition()
    one = task(slug, load_competition(slug).recipe(), tmp_path)
    found = run_final(one, say=quiet)
    plan = final_plan(one, say=quiet)
    sweep = plan_run(slug, say=quiet)
    held_out = set(plan.train.loc[plan.train["fold"] == 0, "image_id"])
    assert set(found.image_ids) == held_out
    assert held_out != set(sweep.train.loc[sweep.train["fold"] == 0, "image_id"])
    assert set(plan.train["image_id"]) == set(sweep.train["image_id"])
    assert (plan.recipe.seed, sweep.recipe.seed) == (5, 1)
    assert [path.name for path in (plan.folder / "models").iterdir()] == ["fold-0"]
    assert [path.name for path in (plan.folder / "predictions").iterdir()] == ["out-of-fold.csv"]
    assert not (plan.folder / "record.json").exists()  # one fold of two is no row of a leaderboard


def test_a_random_split_holds_the_same_images_back_whatever_the_seed_of_the_training(toy_competition, tmp_path):
    slug = toy_competition()
    recipe = load_competition(slug).recipe()
    plans = [final_plan(task(slug, recipe, tmp_path, protocol="random", seed=seed), say=quiet) for seed in (5, 6)]
    sweep = plan_run(slug, protocol="random", say=quiet)
    assert set(plans[0].samples.test["image_id"]) == set(sweep.samples.test["image_id"])
    assert set(plans[1].samples.test["image_id"]) == set(sweep.samples.test["image_id"])
    assert plans[0].run_id != plans[1].run_id


def test_a_run_of_all_folds_gets_a_record_for_the_leaderboard(toy_competition, tmp_path):
    slug = toy_competition()
    one = task(slug, load_competition(slug).recipe(), tmp_path, num_folds_used=2)
    found = run_final(one, say=quiet)
    plan = final_plan(one, say=quiet)
    record = read_record(plan.folder / "record.json")
    assert [result.kind for result in record.results] == ["out-of-fold"]
    assert record.recipe["seed"] == 5
    assert len(found.image_ids) == len(plan.train) == 18
    assert read_folds(plan.folder / "folds.csv")["fold"].nunique() == 2


def test_a_comparison_that_was_ended_goes_on_and_trains_nothing_twice(toy_competition):
    settings = settings_of(toy_competition())
    trained = []

    def until_the_third(one, *, say):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(one)
        return run_final(one, say=say)

    with pytest.raises(KeyboardInterrupt):
        final_comparison(PLACE, settings, tuned(settings), metric="accuracy", run=until_the_third, say=quiet)
    weights = {path: path.stat().st_mtime_ns for path in family("runs").rglob("last.safetensors")}
    assert len(weights) == 2
    found = final_comparison(PLACE, settings, tuned(settings), metric="accuracy", run=run_final, say=quiet)
    after = {path: path.stat().st_mtime_ns for path in family("runs").rglob("last.safetensors")}
    assert len(after) == 6
    assert all(after[path] == when for path, when in weights.items())
    assert (found.seeds, found.fold_seed, found.num_folds_used) == ((2, 3, 4), 2, 1)
    assert found.difference is not None and found.difference.num_images == 9
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_run_in_a_process_of_its_own_gives_the_same_numbers(toy_competition, tmp_path, monkeypatch):
    slug = toy_competition()
    one = task(slug, load_competition(slug).recipe(), tmp_path)
    here = run_final(one, say=quiet)
    monkeypatch.setenv("KIT_HOME", str(tmp_path / "another"))
    lines = []
    alone = run_final_alone(one, say=lines.append)
    assert np.array_equal(here.probabilities, alone.probabilities)
    assert any("epoch 1/1" in line for line in lines)
    assert find_model(final_plan(one, say=quiet).folder / "models", "fold-0")


def test_a_winner_that_is_the_untuned_recipe_is_not_compared_with_itself(toy_competition):
    settings = settings_of(toy_competition())
    found = final_comparison(PLACE, settings, replace(settings.untuned, name="tuned"), metric="accuracy", say=quiet)
    assert found.difference is None
    assert found.verdict.startswith("The untuned recipe itself was the best")
    assert not family("runs").exists()


def test_a_run_that_fails_leaves_it_open_whether_tuning_helped(toy_competition):
    settings = settings_of(toy_competition())

    def failing(one, *, say):
        raise TrainingError("Loss is not a number.")

    found = final_comparison(PLACE, settings, tuned(settings), metric="accuracy", run=failing, say=quiet)
    assert found.difference is None
    assert found.verdict == (
        "Whether tuning helped is not known, since a run of the comparison failed: Loss is not a number."
    )


def test_folds_by_time_cannot_be_fresh_and_that_is_said():
    ways = [[answers(0.6, seed=1)], [answers(0.9, seed=2)]]
    found = verdict_of(compare_pairs(*ways, metric="accuracy"), fresh_folds=False)
    assert found.endswith(
        "(accuracy, 1 seed each, 400 images, on the sweep's own folds, since the data leave no others)."
    )


def test_more_folds_than_there_are_cannot_be_used(toy_competition):
    settings = settings_of(toy_competition())
    with pytest.raises(ConfigError, match="from 1 to 2 folds, got 3 and 5"):
        final_comparison(PLACE, settings, tuned(settings), metric="accuracy", num_folds_used=5, say=quiet)
