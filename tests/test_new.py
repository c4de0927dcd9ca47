"""`kit new`: from a folder of images to a competition that the other commands take."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from toys import COLOURS, coloured_png, toy_images, write_files

from kit.cli.new import new
from kit.competition import ADAPTER_FUNCTIONS, Competition, load_competition, package_folder
from kit.errors import CompetitionError, DataError
from kit.rules import FoldRule, LabelRule, Protocol, SourceFile, SourceSet, SplitRule, SubmissionRule


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A working folder of one's own, in which `competitions/` is found."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_it_says_what_it_found_and_what_to_do_next(here, tmp_path, capsys):
    data = write_files(tmp_path / "data", toy_images(("red", "green"), 8))
    new("colours", from_=data)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "labels    by folder",
        "classes   2, 16 images",
        "                 8  green",
        "                 8  red",
        "test      4 images of test",
        "size      20 pixels, the median shorter side",
        "metric    accuracy",
        f"written   {Path('competitions/colours')}",
        "next      kit check colours",
        "then      kit look colours",
        "then      kit run colours",
    ]
    assert load_competition("colours").classes == ("green", "red")


def test_a_folder_elsewhere_is_named_in_the_next_commands(here, tmp_path, capsys):
    data = write_files(tmp_path / "data", toy_images(("red", "green"), 8))
    new("colours", from_=data, to=tmp_path / "mine")
    assert f"next      KIT_COMPETITIONS={tmp_path / 'mine'} kit check colours" in capsys.readouterr().out


def test_lists_of_addresses_are_to_be_scraped_next(here, tmp_path, capsys):
    lists = {f"{name}.txt": b"https://example.org/1.jpg\n" for name in ("bear", "teddy")}
    data = write_files(tmp_path / "lists", lists)
    new("bears", from_=data)
    out = capsys.readouterr().out
    assert "classes   2, 2 addresses" in out
    assert f"next      kit scrape bears --urls {data}\nthen      kit check bears\n" in out


def test_a_name_that_is_taken_is_refused_and_nothing_is_written(here, tmp_path):
    data = write_files(tmp_path / "data", toy_images(("red", "green"), 8))
    with pytest.raises(CompetitionError, match="There is a competition 'pets' already"):
        new("pets", from_=data)
    with pytest.raises(CompetitionError, match="cannot name a competition"):
        new("../out", from_=data)
    new("colours", from_=data)
    written = (here / "competitions" / "colours" / "competition.toml").read_bytes()
    with pytest.raises(CompetitionError, match="There is a competition 'colours' already"):
        new("colours", from_=data)
    assert (here / "competitions" / "colours" / "competition.toml").read_bytes() == written


def test_images_without_labels_write_nothing(here, tmp_path):
    data = write_files(tmp_path / "data", {"1.png": coloured_png("red", 1), "2.png": coloured_png("red", 2)})
    with pytest.raises(DataError, match="have no labels that could be found"):
        new("colours", from_=data)
    assert not (here / "competitions").exists()


def test_a_mistake_is_one_paragraph_and_exit_code_2(here):
    done = subprocess.run(
        [sys.executable, "-m", "kit", "new", "mine", "--from", "nowhere"],
        capture_output=True,
        text=True,
        env=os.environ.copy(),
    )
    assert done.returncode == 2
    assert done.stderr.startswith("kit: ") and done.stderr.count("\n") == 1
    assert "there is no such file or folder" in done.stderr


def test_what_it_wrote_can_be_planned_at_once_and_the_images_stay_where_they_are(here, tmp_path):
    from kit.plan import plan_run

    images = {f"{name}.{k}.png": coloured_png(name, 100 * c + k) for c, name in enumerate(COLOURS) for k in range(6)}
    data = write_files(tmp_path / "data", images)
    new("colours", from_=data)
    plan = plan_run("colours", say=lambda line: None)
    assert plan.samples.folder == data
    assert dict(zip(plan.train["path"], plan.train["label"], strict=True)) == {p: p.split(".")[0] for p in images}
    assert sorted(plan.train["fold"].value_counts()) == [4, 5, 5, 5, 5]
    assert plan.complete
    assert sorted(path.name for path in data.iterdir()) == sorted(images)  # nothing was added


def test_a_sample_submission_beside_the_images_orders_what_is_to_be_predicted(here, tmp_path):
    from kit.plan import plan_run

    rows = "".join(f"{k},{('red', 'blue')[k % 2]}\n" for k in range(12))
    files = {f"train/{k}.png": coloured_png(("red", "blue")[k % 2], k) for k in range(12)}
    files |= {f"test/{k}.png": coloured_png("red", k) for k in range(20, 23)}
    files |= {
        "train.csv": f"id,colour\n{rows}".encode(),
        "sample_submission.csv": b"id,red,blue\n22,0.5,0.5\n20,0.5,0.5\n21,0.5,0.5\n",
    }
    new("colours", from_=write_files(tmp_path / "data", files))
    plan = plan_run("colours", say=lambda line: None)
    assert plan.protocol_id == "official"
    assert plan.samples.test["path"].tolist() == ["test/20.png", "test/21.png", "test/22.png"]
    assert plan.competition.submission.sample == "sample_submission.csv"


def test_the_page_on_adding_a_competition_names_every_key_and_function():
    rules = (Competition, SourceFile, SourceSet, LabelRule, SplitRule, FoldRule, Protocol, SubmissionRule)
    page = (package_folder("competitions") / "README.md").read_text(encoding="utf-8")
    keys = {field.name for rule in rules for field in fields(rule)} - {"slug"}  # the slug is the folder's name
    tables = {"sources", "labels", "protocols", "submission", "official_split", "folds", "more_labels"}
    for key in keys - tables:
        assert f"`{key}`" in page, key
    for table in tables:
        assert f"[{table}" in page, table
    for function in ADAPTER_FUNCTIONS:
        assert f"`{function}(" in page, function
