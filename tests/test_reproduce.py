"""`kit reproduce` makes a run again from its record: bit for bit, or it says what is otherwise; never on other data."""

from dataclasses import replace

import pandas as pd
import pytest
import typer
from test_records import make_record
from typer.testing import CliRunner

from kit.board.records import all_records, run_folder, write_record
from kit.cli import reproduce as command
from kit.data.changes import changed_files
from kit.errors import ConfigError, DataError, TrainingError
from kit.home import family
from kit.judge.statistics import Score
from kit.judge.test_ledger import check_chain
from kit.reproduce import (
    EQUAL,
    OUTSIDE,
    WITHIN,
    Figure,
    Reproduction,
    differences,
    plan_again,
    record_to_reproduce,
    refuse_other_figures,
)
from kit.run import run

app = typer.Typer()
app.command("reproduce")(command.reproduce)


def kit_reproduce(*arguments):
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def quiet(line):
    pass


def test_a_run_of_digits_is_made_again_bit_for_bit():
    settings = ["num_folds=0", "schedule.epochs=1", "input.image_size=16", "input.store_size=16"]
    _, record = run("digits", protocol="sklearn-half", overrides=settings, say=quiet)
    looks = check_chain().looks
    found = kit_reproduce(record.run_id[:-3])
    assert found.exit_code == 0
    scores = record.results[0].scores
    assert f"all {len(scores)} figures are {EQUAL}" in found.stdout
    assert "commit, versions and hardware are those of then" in found.stdout or "with changes of then" in found.stdout
    again = run_folder(f"{record.run_id}-again")
    for name in ("predictions/test.csv", "images.csv", "recipe.json"):
        assert (again / name).read_bytes() == (run_folder(record.run_id) / name).read_bytes()
    assert (again / "models" / "full").is_dir()
    assert [one.run_id for one in all_records()] == [record.run_id]  # no second run on the leaderboard
    assert check_chain().looks == looks  # and no new look at the test
    (again / "reproduction.json").unlink()  # as if it had been killed at the very end: nothing is trained a second time
    (checkpoint,) = (again / "models" / "full").glob("*.safetensors")
    written = checkpoint.stat().st_mtime_ns
    assert f"all {len(scores)} figures are {EQUAL}" in kit_reproduce(record.run_id).stdout
    assert checkpoint.stat().st_mtime_ns == written


def changed_image(slug, text):
    """Replace one image below the data folder by other bytes, and return its path there."""
    (path,) = (family("data") / slug).rglob("train/red/000.png")
    other = path.with_name("001.png").read_bytes()
    path.unlink()  # a hard link to what other tests use
    path.write_bytes(other + text)
    return path


@pytest.mark.parametrize("known_by", ["the run's folder", "the tables", "nothing"])
def test_a_changed_image_is_refused_and_named(finished_toy, known_by):
    (record,) = all_records()
    changed_image(finished_toy, b"")
    if known_by != "the run's folder":
        (run_folder(record.run_id) / "images.csv").unlink()
    if known_by == "nothing":
        for about in (family("tables") / finished_toy).glob("*/about.json"):
            about.unlink()
    with pytest.raises(DataError) as refused:
        plan_again(record, say=quiet)
    message = str(refused.value)
    assert message.startswith(f"The data of toy are not those that {record.run_id} was made of: ")
    assert "\n" not in message
    if known_by == "nothing":
        assert "Which files differ cannot be told" in message
    else:
        assert "1 with other contents: train/red/000.png" in message


def test_an_image_that_is_gone_and_one_that_came_are_named():
    rows = [("a", "x/a.png", "red", "1"), ("b", "x/b.png", "red", "2"), ("c", "x/c.png", "blue", "3")]
    before = pd.DataFrame(rows, columns=["image_id", "path", "label", "sha256"])
    now = before.assign(image_id=["a", "b", "d"], path=["x/a.png", "x/b.png", "x/d.png"], label=["red", "blue", "blue"])
    assert changed_files(before, now) == ["1 gone: x/c.png", "1 new: x/d.png", "1 with another label: x/b.png"]
    many = pd.concat([before.assign(image_id=f"n{k}", path=f"n{k}.png") for k in range(3)], ignore_index=True)
    many = many.assign(image_id=[f"m{k}" for k in range(9)], path=[f"m{k}.png" for k in range(9)])
    assert changed_files(before, many)[1] == "9 new: m0.png, m1.png, m2.png, m3.png, m4.png and 4 more"


def test_what_is_otherwise_is_said_before_anything_starts(finished_toy):
    (record,) = all_records()
    plan = plan_again(record, say=quiet)
    assert plan.run_id == record.run_id
    cost = {**record.cost, "device": "another processor", "num_threads": 64, "num_processes": 2}
    recipe = {**record.recipe, "input": {k: v for k, v in record.recipe["input"].items() if k != "test_views"}}
    old = replace(
        record, commit="0" * 40, versions={**record.versions, "torch": "1.0", "gone": "2"}, cost=cost, recipe=recipe
    )
    found = differences(old, plan_again(old, say=quiet))
    kinds = [one.partition(":")[0] for one in found]
    assert kinds[:6] == ["commit", "gone", "torch", "device", "threads", "processes"]
    assert found[0].startswith(f"commit: {'0' * 40} then, ")
    assert found[1] == "gone: 2 then, not stated now"
    assert "torch: 1.0 then" in found[2]
    assert found[6].startswith("the record does not state input.test_views: ")


def test_other_rules_of_the_competition_are_said(finished_toy):
    (record,) = all_records()
    plan = plan_again(record, say=quiet)
    same = replace(record, commit=None)
    found = differences(same, replace(plan, run_id="toy-official-baseline-s1-00000000"))
    assert [one for one in found if not one.startswith("commit")] in (
        [],
        ["the competition's rules, or the kit's version of training, are not those of then"],
    )


def test_folds_of_then_come_from_the_runs_own_file(finished_toy):
    (record,) = all_records()
    kept = run_folder(record.run_id) / "folds.csv"
    moved = pd.read_csv(kept, dtype="str", keep_default_na=False)
    moved["fold"] = ["1" if fold == "0" else "0" for fold in moved["fold"]]
    kept.unlink()
    moved.to_csv(kept, index=False, lineterminator="\n")
    from kit.data.folds import fold_fingerprint, read_folds

    other = replace(record, folds={**record.folds, "fingerprint": fold_fingerprint(read_folds(kept))})
    plan = plan_again(other, say=quiet)
    assert fold_fingerprint(plan.train) == other.folds["fingerprint"] != record.folds["fingerprint"]
    kept.unlink()
    with pytest.raises(DataError, match="cannot be dealt again"):
        plan_again(other, say=quiet)


def test_other_weights_are_refused(finished_toy):
    (record,) = all_records()
    other = replace(record, network={**record.network, "weights_fingerprint": "f" * 64})
    with pytest.raises(DataError, match="pretrained weights of resnet10t are not those"):
        plan_again(other, say=quiet)


def test_a_recipe_of_another_version_names_the_commit_to_check_out(finished_toy):
    (record,) = all_records()
    old = replace(record, commit="c0ffee", recipe={**record.recipe, "schedule": {"label_smoothing": 0.1}})
    with pytest.raises(ConfigError, match="check out the commit c0ffee and reproduce it there"):
        plan_again(old, say=quiet)


def test_a_run_on_another_runs_labels_is_refused(finished_toy):
    (record,) = all_records()
    with pytest.raises(DataError, match="must be reproduced first"):
        plan_again(replace(record, data={**record.data, "pseudo_labels": {"teacher": "x"}}), say=quiet)
    with pytest.raises(DataError, match="reproduce the runs that it was made of"):
        plan_again(replace(record, recipe={}), say=quiet)


def figure(value):
    score = Score(metric="accuracy", value=0.9, low=0.8, high=0.95, num_images=50, interval="Wilson")
    return Figure(kind="test", stored=score, value=value)


def test_a_figure_is_equal_or_within_or_outside_of_the_stored_interval():
    assert [figure(value).verdict for value in (0.9, 0.90000001, 0.8, 0.95, 0.7999, 0.96)] == [
        *(EQUAL, WITHIN, WITHIN, WITHIN, OUTSIDE, OUTSIDE)
    ]
    assert figure(0.85).difference == pytest.approx(-0.05)


def test_a_figure_outside_ends_in_a_paragraph_that_repeats_what_was_otherwise(tmp_path):
    given = {"record": make_record(), "folder": tmp_path, "differences": ("torch: 1 then, 2 now",)}
    refuse_other_figures(Reproduction(**given, figures=(figure(0.85),)))
    done = Reproduction(**given, figures=(figure(0.9), figure(0.85), figure(0.7)))
    assert done.words == "of 3 figures 1 equal bit for bit, 1 within the interval, 1 outside the interval"
    with pytest.raises(TrainingError, match=r"accuracy is 0\.7 now and was 0\.9.*otherwise than then: torch: 1 then"):
        refuse_other_figures(done)
    with pytest.raises(TrainingError, match="none of its scores"):
        refuse_other_figures(Reproduction(**given, figures=()))


def test_a_run_is_found_by_its_start_here_or_among_the_published_ones():
    write_record(make_record())
    assert record_to_reproduce(make_record().run_id).run_id == make_record().run_id
    published = "digits-five-fold-baseline-s1-e9c5c22c"
    assert record_to_reproduce(published[:-4]).run_id == published
    with pytest.raises(DataError, match="could be digits"):
        record_to_reproduce("digits")
    with pytest.raises(DataError, match="There is no run 'nothing'"):
        record_to_reproduce("nothing")


def test_check_alone_trains_nothing(finished_toy):
    (record,) = all_records()
    found = kit_reproduce(record.run_id, "--check")
    assert "data, folds and weights are those of then" in found.stdout
    assert not run_folder(f"{record.run_id}-again").exists()
    assert [path.name for path in family("runs").iterdir()] == [record.run_id]
