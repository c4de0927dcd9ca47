"""Records: the outcome of a run as one JSON file, never edited. Pages and tables are made from records alone."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kit.competition import package_folder
from kit.conditions import Conditions
from kit.config import checked
from kit.errors import DataError, did_you_mean
from kit.home import family, make_folder, write_json
from kit.judge.statistics import Score

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Result:
    """One set of predictions, scored: a row of the leaderboard."""

    kind: str  # out-of-fold, test, fold-ensemble
    protocol: str  # id; "@subset" behind it where images were missing
    conditions: Conditions  # `metric` is the competition's own; `scores` has more
    scores: Mapping[str, Score]  # the protocol's metric first
    confused: list[tuple[str, str, int]]  # true class, predicted class, count


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The outcome of a run."""

    schema_version: int
    run_id: str
    created_at: str  # UTC, ISO 8601
    competition: str
    title: str
    baselines: str  # data-set id
    protocol: str
    source: str
    complete: bool  # every image of the protocol was there
    data: Mapping[str, Any]  # fingerprint, num_train, num_test, num_missing
    folds: Mapping[str, Any]  # num_folds, fingerprint
    recipe: Mapping[str, Any]
    network: Mapping[str, Any]  # name, num_parameters, weights_origin, pretraining_group, weights_fingerprint
    results: list[Result]
    cost: Mapping[str, Any]  # train_minutes, num_models, steps, images_per_second, device, num_threads, num_processes
    versions: Mapping[str, str]
    commit: str | None  # of the checkout that ran, with "+changes" if it had any
    submission: Mapping[str, Any] = field(default_factory=dict)  # rows, clip; empty where nothing was handed in
    quality: Mapping[str, Any] = field(default_factory=dict)  # what the quality gate found, and if it was overridden
    described: Mapping[str, Any] = field(default_factory=dict)  # image_size, seeds, test_views, ensemble_size,
    # hardware, split_hash: what is worth knowing and decides no comparison; empty in old records, as are the next two
    test_use: Mapping[str, Any] = field(default_factory=dict)  # times the test was opened, head of the ledger's chain
    calibration: Mapping[str, Any] = field(default_factory=dict)  # of the out-of-fold probabilities

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain values for JSON."""
        return asdict(self)


def run_folder(run_id: str) -> Path:
    """Return the folder of a run."""
    return family("runs") / run_id


def write_record(record: RunRecord) -> Path:
    """Write `record.json` into the run's folder."""
    path = run_folder(record.run_id) / "record.json"
    write_json(path, record.as_dict())
    return path


def read_record(path: Path) -> RunRecord:
    """Read one record.

    Raises:
        DataError: not a record, or one of a newer schema.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version = data["schema_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not a run record: {error}. Remove it, or run the command that made it again."
        ) from error
    if version != SCHEMA_VERSION:
        raise DataError(f"{path} is a record of schema {version}; this kit reads {SCHEMA_VERSION}. Update the kit.")
    record: RunRecord = checked(RunRecord, data, where=str(path), error_kind=DataError)
    if fault := name_fault(record.run_id, path):
        raise DataError(f"{path} is not a run record: {fault}. Remove it, or run the command that made it again.")
    return record


def name_fault(run_id: str, path: Path) -> str:
    """Return why the run id in the record at `path` cannot be that run's, or "": files are written by its name.

    A record among the runs of this machine stands in the folder of its run; one that was published names no path.
    """
    if run_id in ("", ".", "..") or "\0" in run_id or "\\" in run_id or Path(run_id).name != run_id:
        return f"its run_id {run_id[:80]!r} is not the name of a folder"
    if path.name == "record.json" and path.parent.parent == family("runs") and path.parent.name != run_id:
        return f"it calls itself {run_id[:80]!r}, and stands in the folder of another run"
    return ""


def all_records(*folders: Path) -> list[RunRecord]:
    """Return the records below the given folders (default: KIT_HOME's runs), oldest first, each run once."""
    found: dict[str, RunRecord] = {}
    for folder in folders or (family("runs"),):
        for path in sorted([*folder.glob("*/record.json"), *folder.glob("*.json")]):
            record = read_record(path)
            found.setdefault(record.run_id, record)
    return sorted(found.values(), key=lambda record: (record.created_at, record.run_id))


def board_records() -> list[RunRecord]:
    """Return what a board shows: the runs of this machine and the published ones, each once."""
    return all_records(family("runs"), package_folder("leaderboard") / "runs")


def find_record(run: str) -> RunRecord:
    """Return the record of a run by its id, or by the start of it where that is unique."""
    ids = sorted(path.parent.name for path in family("runs").glob("*/record.json"))
    matching = [run] if run in ids else [run_id for run_id in ids if run_id.startswith(run)]
    if len(matching) != 1:
        known = f"Runs here: {', '.join(ids[-5:])}" if ids else "No run has finished here yet: `kit run SLUG` makes one"
        what = f"{run!r} could be {', '.join(matching[:5])}" if matching else f"There is no run {run!r}"
        hint = "" if matching else did_you_mean(run, ids)
        raise DataError(f"{what}.{hint} {known}.")
    return read_record(run_folder(matching[0]) / "record.json")


def publish(run: str, leaderboard: Path) -> Path:
    """Copy a run's record into `leaderboard`/runs and return the new file; an existing one is never changed."""
    record = find_record(run)
    target = make_folder(leaderboard / "runs") / f"{record.run_id}.json"
    source = run_folder(record.run_id) / "record.json"
    if target.exists() and target.read_bytes() != source.read_bytes():
        raise DataError(f"{target} is there already with other contents. A published record is never changed.")
    shutil.copyfile(source, target)
    return target
