"""`kit doctor`: what this machine has and lacks, for people and programs; what stops runs is said, secrets never."""

import json
import os
import sys

import pytest

from kit.doctor.examine import LOOKS

TOPICS = (
    *("versions", "device", "memory", "cores", "disk", "weights", "competitions", "mirror", "kaggle", "tracking"),
    "step",
)
SECRET = "c0ffee" * 6


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Time a small step for a moment only."""
    monkeypatch.setattr("kit.doctor.machine.STEP_SECONDS", 0.01)
    monkeypatch.setattr("kit.doctor.machine.IMAGES", 2)


def topics_of(out: str) -> list[str]:
    """Return the first words of the lines before the problems."""
    return [line.split()[0] for line in out.partition("\n\n")[0].splitlines() if line[:1].strip()]


def test_each_topic_has_its_line_and_its_facts(kit, toy_competition, own_home):
    toy_competition()
    code, out, err = kit("doctor")
    assert (code, topics_of(out)) == (0, list(TOPICS)), err
    assert f"{own_home} (not there yet)" in " ".join(out.split())
    code, told, err = kit("doctor", "--json")
    assert code == 0, err
    found = json.loads(told)
    assert set(found) == {"well", "findings", "problems"}
    assert tuple(found["findings"]) == TOPICS
    facts = found["findings"]
    assert found["well"] is True
    assert facts["cores"]["cores"] == len(os.sched_getaffinity(0))
    disk = {key: value for key, value in facts["disk"].items() if key != "free"}
    assert disk == {"home": str(own_home), "there": False, "writable": True, "taken": 0}
    assert "toy" in facts["competitions"]["known"]
    assert facts["competitions"]["here"] == []
    assert facts["step"]["milliseconds"] * facts["step"]["images_per_second"] == pytest.approx(2000)
    assert facts["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert len(LOOKS) == len(TOPICS)


def test_a_home_that_cannot_be_written_stops_runs_and_the_way_out_is_said(kit, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("KIT_HOME", str(tmp_path / "file" / "home"))  # nobody, not even root, can write below a file
    code, out, _ = kit("doctor")
    plain = " ".join(out.split())
    assert code == 2
    assert "NOT writable" in plain
    assert "STOPS RUNS disk: Nothing can be written below" in plain
    assert "Set KIT_HOME to a folder of yours on a disk with room." in plain
    assert plain.endswith("Runs will fail.")
    code, out, _ = kit("doctor", "--json")
    assert code == 2
    found = json.loads(out)
    assert found["well"] is False
    assert [(one["topic"], one["stops"]) for one in found["problems"] if one["stops"]] == [("disk", True)]


def test_credentials_are_found_and_never_printed(kit, tmp_path, monkeypatch):
    folder = tmp_path / "user" / "kaggle"
    folder.mkdir(parents=True)
    (folder / "kaggle.json").write_text(json.dumps({"username": "somebody", "key": SECRET}), encoding="utf-8")
    (folder / "kaggle.json").chmod(0o644)
    monkeypatch.setenv("KIT_TRACKING_URI", f"postgresql://me:{SECRET}@127.0.0.1:1/runs")
    monkeypatch.setenv("KIT_MIRROR", f"http://me:{SECRET}@127.0.0.1:1/files")
    code, out, err = kit("doctor")
    assert code == 2  # a mirror that does not answer stops runs
    assert SECRET not in out + err
    plain = " ".join(out.split())
    assert f"credentials for Kaggle in {folder / 'kaggle.json'}" in plain
    assert f"Other users of this machine can read {folder / 'kaggle.json'}." in plain
    assert "STOPS RUNS mirror:" in plain
    assert "note tracking: The MLflow store" in plain
    code, out, err = kit("doctor", "--json")
    assert SECRET not in out + err
    assert json.loads(out)["findings"]["kaggle"]["readable_by_others"] is True


def test_each_trouble_is_told_with_what_to_do(kit, toy_competition, tmp_path, monkeypatch):
    toy_competition()
    (tmp_path / "competitions" / "toy" / "competition.toml").write_text("= no TOML", encoding="utf-8")
    (tmp_path / "bad.db").write_text("no database at all, but a text " * 50, encoding="utf-8")
    monkeypatch.setenv("KIT_TRACKING_URI", f"sqlite:///{tmp_path / 'bad.db'}")
    monkeypatch.setenv("KIT_WEIGHTS", str(tmp_path / "nowhere"))
    monkeypatch.setenv("KIT_MEMORY", "a lot")
    monkeypatch.setattr("os.getloadavg", lambda: (99.0, 99.0, 99.0))
    monkeypatch.setattr("kit.doctor.machine.LEAST_FREE", 2**62)
    code, out, _ = kit("doctor", "--json")
    assert code == 2
    problems = {one["topic"]: one for one in json.loads(out)["problems"]}
    assert {topic for topic, one in problems.items() if one["stops"]} == {"memory"}
    assert problems.keys() == {"memory", "cores", "disk", "weights", "competitions", "tracking"}
    assert all(one["remedy"].endswith((".", "?")) for one in problems.values())
    assert "a lot" in problems["memory"]["what"]
