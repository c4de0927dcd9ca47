"""Records as files: which there are, to which competition each belongs, and which cannot be shown and why.

A board stands on thousands of files, written by other machines and by older and newer kits. Each is read once to
learn where it belongs; only those of a competition whose page is made anew are checked and taken in whole. A file
that cannot be shown is left out and named, with the reason; the others are shown.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from kit.board.records import SCHEMA_VERSION, RunRecord, name_fault, read_record
from kit.competition import package_folder
from kit.errors import KitError
from kit.home import family
from kit.metrics import METRICS

if TYPE_CHECKING:
    from pydantic import TypeAdapter

LARGEST = 8 * 2**20  # bytes of a record; a real one has a few thousand
LARGEST_SCORE = 1e12  # a chart of larger numbers has no round ones beside it


@dataclass(frozen=True, kw_only=True)
class RecordFile:
    """One record on disk."""

    path: Path
    run_id: str
    competition: str
    created_at: str
    digest: str  # SHA-256 of its bytes
    test_use: Mapping[str, Any]  # head and num_lines of the ledger's chain then; empty where it names none


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A file that is not shown."""

    path: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """The records of a board, oldest first, and the files that are none."""

    files: Mapping[str, tuple[RecordFile, ...]]  # competition -> its records
    left_out: tuple[LeftOut, ...]


def board_folders() -> tuple[Path, ...]:
    """Return where a board's records are: the runs of this machine, then the published ones."""
    return family("runs"), package_folder("leaderboard") / "runs"


def gather(folders: Sequence[Path]) -> Gathered:
    """Find the records below `folders`, as `kit.board.records.all_records` does: of one run the first counts."""
    found: dict[str, RecordFile] = {}
    left_out = []
    for folder in folders:
        for path in sorted([*folder.glob("*/record.json"), *folder.glob("*.json")]):
            try:
                one = _record_file(path)
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                left_out.append(LeftOut(path=str(path), why=f"not a run record ({_told(error)})"))
                continue
            found.setdefault(one.run_id, one)
    of_competition: dict[str, list[RecordFile]] = {}
    for one in sorted(found.values(), key=lambda one: (one.created_at, one.run_id)):
        of_competition.setdefault(one.competition, []).append(one)
    return Gathered(files={slug: tuple(files) for slug, files in of_competition.items()}, left_out=tuple(left_out))


def _record_file(path: Path) -> RecordFile:
    if path.stat().st_size > LARGEST:
        raise ValueError(f"larger than {LARGEST:,} bytes")
    content = path.read_bytes()
    data = json.loads(content)
    names = {key: data[key] for key in ("run_id", "competition", "created_at")}
    if not all(isinstance(value, str) and value for value in names.values()):
        raise ValueError("run_id, competition and created_at must be text")
    if fault := name_fault(names["run_id"], path):  # before it could stand in for the run that it names
        raise ValueError(fault)
    use = data.get("test_use")
    names_chain = isinstance(use, dict) and isinstance(use.get("head"), str) and type(use.get("num_lines")) is int
    return RecordFile(
        path=path, digest=hashlib.sha256(content).hexdigest(), test_use=use if names_chain else {}, **names
    )


def _told(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"the key {error} is missing"
    return " ".join(str(error).split())[:200] or type(error).__name__


def read_records(files: Iterable[RecordFile]) -> tuple[list[RunRecord], list[LeftOut]]:
    """Return the records that can be shown, and the files that hold another kind of thing."""
    records, left_out = [], []
    for file in files:
        try:
            record = _record(file)
        except (KitError, RecursionError) as error:
            left_out.append(LeftOut(path=str(file.path), why=str(error)))
            continue
        if fault := unshowable(record):
            left_out.append(LeftOut(path=str(file.path), why=fault))
        else:
            records.append(record)
    return records, left_out


@cache
def _adapter() -> "TypeAdapter[RunRecord]":
    """Return what checks a record's types: made once, which takes longer than checking a hundred records."""
    from pydantic import TypeAdapter

    return TypeAdapter(RunRecord)


def _record(file: RecordFile) -> RunRecord:
    try:
        record = _adapter().validate_python(json.loads(file.path.read_bytes()))
    except (OSError, ValueError):
        record = None
    if record is None or record.schema_version != SCHEMA_VERSION:
        return read_record(file.path)  # which says what is wrong
    return record


def _tables(record: RunRecord) -> Iterator[tuple[str, object, type | tuple[type, ...]]]:
    """Yield (name, value, kind) of what others read from a record's inner tables without asking."""
    yield "recipe.input", record.recipe.get("input", {}), Mapping
    if "blend" in record.recipe:
        blend = record.recipe["blend"]
        yield "recipe.blend.weights", blend.get("weights") if isinstance(blend, Mapping) else None, (list, tuple)
    yield "cost.train_minutes", record.cost.get("train_minutes"), (int, float, NoneType)
    yield "described.seeds", record.described.get("seeds", []), (list, tuple)
    yield "data.fingerprint", record.data.get("fingerprint"), str
    yield "test_use.opened", record.test_use.get("opened", 0), int
    yield "test_use.num_lines", record.test_use.get("num_lines", 0), int


def unshowable(record: RunRecord) -> str | None:
    """Return why a record that has all its fields cannot be shown, or None."""
    try:
        datetime.fromisoformat(record.created_at)
    except ValueError:
        return f"its created_at is no date: {record.created_at[:40]!r}"
    if wrong := [key for key, table, kind in _tables(record) if not isinstance(table, kind)]:
        return f"its {wrong[0]} is of another kind than a record's"
    for result in record.results:
        main = result.conditions.metric
        if main not in result.scores:
            return f"its result of {result.protocol} has no score in its own metric {main!r}"
        for key, score in result.scores.items():
            if key not in METRICS:
                return f"this kit knows no metric {key!r}: update the kit"
            if score.metric != key:
                return f"its score in {key} calls itself one in {score.metric[:40]!r}"
            if not -LARGEST_SCORE <= score.low <= score.value <= score.high <= LARGEST_SCORE:  # nor is NaN
                return f"its {key} is no number inside its interval, or one beyond {LARGEST_SCORE:g}"
    return None
