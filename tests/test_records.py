"""A record is one JSON file, read back as it was written, never edited."""

import json
from pathlib import Path

import pytest

from kit.board.records import (
    Result,
    RunRecord,
    all_records,
    find_record,
    publish,
    read_record,
    run_folder,
    write_record,
)
from kit.conditions import Conditions
from kit.errors import DataError
from kit.judge.statistics import Score


def make_record(run_id="toy-official-baseline-s1-00000000", **changes):
    score = Score(metric="accuracy", value=0.5, low=0.25, high=0.75, num_images=6, interval="Wilson")
    conditions = Conditions(
        test_images="official-test",
        num_test=6,
        metric="accuracy",
        training_pool="official-train",
        pretraining_group=None,
        adaptation="trained",
        extra_inputs="none",
        inference="single",
        selection="held-out",
    )
    result = Result(
        kind="test",
        protocol="official",
        conditions=conditions,
        scores={"accuracy": score},
        confused=[("red", "blue", 2)],
    )
    return RunRecord(
        **{
            "schema_version": 1,
            "run_id": run_id,
            "created_at": "2026-01-01T00:00:00+00:00",
            "competition": "toy",
            "title": "Plain colours",
            "baselines": "toy",
            "protocol": "official",
            "source": "local",
            "complete": True,
            "data": {"fingerprint": "f", "num_train": 18, "num_test": 6, "num_missing": 0},
            "folds": {"num_folds": 0, "fingerprint": ""},
            "recipe": {"name": "baseline", "input": {"image_size": 32}},
            "network": {"name": "resnet10t", "num_parameters": 5, "weights_origin": "none"},
            "results": [result],
            "cost": {"train_minutes": 0.1, "device": "CPU", "num_threads": 1},
            "versions": {"python": "3.11"},
            "commit": None,
            **changes,
        }
    )


def test_a_record_is_read_back_as_it_was_written():
    record = make_record()
    path = write_record(record)
    assert path == run_folder(record.run_id) / "record.json"
    assert read_record(path) == record


def test_the_file_is_plain_json_that_ends_with_a_line_end():
    text = write_record(make_record()).read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert json.loads(text)["results"][0]["confused"] == [["red", "blue", 2]]


def test_a_score_that_is_no_number_is_never_written():
    record = make_record(cost={"train_minutes": float("nan")})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_record(record)
    assert not (run_folder(record.run_id) / "record.json").exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '"text"', "{", "null"])
def test_a_file_that_is_no_record_is_refused_by_name(tmp_path, content):
    path = tmp_path / "record.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"record\.json is not a run record"):
        read_record(path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"none\.json is not a run record"):
        read_record(tmp_path / "none.json")


def test_a_record_of_a_newer_kit_asks_for_an_update(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({**make_record().as_dict(), "schema_version": 2}), encoding="utf-8")
    with pytest.raises(DataError, match=r"schema 2; this kit reads 1. Update the kit."):
        read_record(path)


def test_a_record_without_a_field_names_it(tmp_path):
    content = make_record().as_dict()
    del content["protocol"]
    path = tmp_path / "record.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match="the key 'protocol' is missing"):
        read_record(path)


def test_records_are_found_in_runs_and_in_published_files_oldest_first_each_once(tmp_path):
    newer = make_record("b", created_at="2026-02-01T00:00:00+00:00")
    older = make_record("a", created_at="2026-01-01T00:00:00+00:00")
    for record in (newer, older):
        write_record(record)
    assert all_records() == [older, newer]
    publish("a", tmp_path)
    assert all_records(run_folder("a").parent, tmp_path / "runs") == [older, newer]
    assert all_records(tmp_path / "nothing-here") == []


def test_a_run_is_found_by_the_start_of_its_id_where_that_is_unique():
    for run_id in ("toy-1", "toy-12", "toy-2"):
        write_record(make_record(run_id))
    assert find_record("toy-2").run_id == "toy-2"
    assert find_record("toy-1").run_id == "toy-1"  # whole ids go first
    assert find_record("toy-12").run_id == "toy-12"
    with pytest.raises(DataError, match="'toy' could be toy-1, toy-12, toy-2"):
        find_record("toy")
    with pytest.raises(DataError, match=r"There is no run 'other'. Runs here: toy-1, toy-12, toy-2"):
        find_record("other")


def test_without_any_run_the_message_says_how_to_make_one():
    with pytest.raises(DataError, match="No run has finished here yet: `kit run SLUG` makes one"):
        find_record("toy")


def test_a_published_record_is_the_same_bytes_and_is_never_changed(tmp_path):
    source = write_record(make_record("toy-1"))
    published = publish("toy-1", tmp_path)
    assert published == tmp_path / "runs" / "toy-1.json"
    assert published.read_bytes() == source.read_bytes()
    assert publish("toy-1", tmp_path) == published
    published.write_bytes(b"{}")
    with pytest.raises(DataError, match="is there already with other contents"):
        publish("toy-1", tmp_path)
    assert published.read_bytes() == b"{}"


def test_the_published_records_of_this_repository_load():
    folder = Path(__file__).parent.parent / "leaderboard" / "runs"
    for record in all_records(folder):
        assert (folder / f"{record.run_id}.json").is_file()


@pytest.mark.parametrize("run_id", ["", ".", "..", "../evil", "/tmp/evil", "a/b", "a\\b", "a/", "a\0b"])
def test_a_run_id_that_is_no_name_of_a_folder_is_refused_wherever_the_record_lies(tmp_path, run_id):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({**make_record().as_dict(), "run_id": run_id}), encoding="utf-8")
    with pytest.raises(DataError, match=r"record\.json is not a run record: its run_id .* is not the name of a folder"):
        read_record(path)


def test_a_record_in_the_folder_of_another_run_is_refused(tmp_path):
    path = write_record(make_record("mine"))
    content = path.read_text(encoding="utf-8").replace('"mine"', '"yours"')
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="it calls itself 'yours', and stands in the folder of another run"):
        find_record("mine")
    published = tmp_path / "any-name.json"
    published.write_text(content, encoding="utf-8")
    assert read_record(published).run_id == "yours"


def test_a_record_of_before_the_last_fields_is_read_with_them_empty(tmp_path):
    content = make_record().as_dict()
    for key in ("described", "test_use", "calibration"):
        del content[key]
    for key in ("metric_definition", "overlap", "threshold", "timing_rule", "accelerator", "accounting"):
        del content["results"][0]["conditions"][key]
    path = tmp_path / "record.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_record(path) == make_record()
    assert (read_record(path).described, read_record(path).test_use, read_record(path).calibration) == ({}, {}, {})
