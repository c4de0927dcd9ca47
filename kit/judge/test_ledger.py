"""The test-use ledger: every look at test labels or at a leaderboard's score is a line that is only ever appended.

Who looks at a test set k times and keeps the best has chosen on it. So each look is written down before its value is
shown: `KIT_HOME/ledger/test-use.jsonl`, a JSON object a line. Each line carries the hash of the line before it, so that
one that is edited, missing or moved breaks the chain; a run's record carries the chain's last hash, so that lines cut
off at the end are missed as well.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

from kit.errors import StorageError
from kit.home import explained, family, make_folder
from kit.progress import Say

Opened = Literal["test labels", "public score", "private score"]

START = "0" * 64  # stands where the first line would have the hash of the one before
TEST_KINDS = ("test", "fold-ensemble", "seed-ensemble")  # of `Predictions`: scored against test labels


@dataclass(frozen=True, kw_only=True)
class Look:
    """One value seen: a line of the ledger."""

    n: int  # 1 for the first line
    previous: str  # `hash` of the line before
    when: str  # UTC, ISO 8601
    competition: str  # slug
    protocol: str  # id, as results carry it
    data: str  # fingerprint of the sample table, "" where it is not known
    run: str  # id of a run, or what else was scored
    opened: Opened
    kind: str  # of the predictions: test, fold-ensemble, ...
    metric: str
    value: float
    hash: str  # SHA-256 of this line without this field

    @property
    def line(self) -> str:
        """The line as the file has it, without its end."""
        return _json(asdict(self))


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The ledger as it was read."""

    path: Path
    looks: tuple[Look, ...]  # up to the first fault
    num_lines: int  # that are whole, with those behind a fault
    head: str  # hash of the last look, START without any
    torn: int  # bytes of a last line whose writing was cut short
    fault: str  # "", or one paragraph on the first line that is not what was written

    @property
    def sound(self) -> bool:
        """Every line is what was written."""
        return not self.fault

    def of(self, competition: str, protocol: str | None = None, data: str | None = None) -> list[Look]:
        """Return the looks at a competition, of one protocol and of one state of its data where these are given."""
        return [
            one
            for one in self._by_competition.get(competition, ())
            if protocol in (None, one.protocol) and data in (None, one.data)
        ]

    @cached_property
    def _by_competition(self) -> Mapping[str, Sequence[Look]]:
        found: dict[str, list[Look]] = {}
        for one in self.looks:
            found.setdefault(one.competition, []).append(one)
        return found

    @cached_property
    def runs(self) -> frozenset[str]:
        """Runs, and whatever else was scored, that the ledger has a look of."""
        return frozenset(one.run for one in self.looks)

    @cached_property
    def tested(self) -> Mapping[tuple[str, str, str, str], set[str]]:
        """(competition, protocol, data, kind of the predictions) -> runs whose test labels were looked at."""
        found: dict[tuple[str, str, str, str], set[str]] = {}
        for one in self.looks:
            if one.opened == "test labels" and one.kind in TEST_KINDS:
                found.setdefault((one.competition, one.protocol, one.data, one.kind), set()).add(one.run)
        return found


def ledger_path() -> Path:
    """Return the ledger's file, which may not be there yet."""
    return family("ledger") / "test-use.jsonl"


def look(
    *,
    competition: str,
    protocol: str,
    data: str,
    run: str,
    opened: Opened,
    kind: str,
    metric: str,
    value: float,
    say: Say = print,
) -> Look:
    """Write down one look, before its value is shown to anybody, and return its line.

    The very same value of the same thing, seen again, tells nothing new: its first line is returned, and none written.
    Several processes may look at once. A broken chain does not stop a look: it stays broken, and `check_chain` says so.

    Args:
        competition: slug.
        protocol: id, as results carry it.
        data: fingerprint of the sample table, "" where it is not known.
        run: id of the run, or a name of what else was scored, e.g. "file:" and its SHA-256.
        opened: what was seen.
        kind: of the predictions.
        metric: a key of METRICS, or the leaderboard's name for it.
        value: what was seen.
        say: takes a line if the last writer was killed in the middle of one.

    Raises:
        StorageError: the ledger cannot be written. The value is then not to be shown.
    """
    assert opened in get_args(Opened)
    seen: dict[str, Any] = {"competition": competition, "protocol": protocol, "data": data, "run": run}
    seen |= {"opened": opened, "kind": kind, "metric": metric, "value": float(value)}
    path = ledger_path()
    make_folder(path.parent)
    with explained(path), path.open("a+b") as file, _locked(file.fileno(), fcntl.LOCK_EX):
        file.seek(0)
        whole, torn = _whole_lines(file.read())
        if torn:
            _keep_apart(path, torn, say=say)
            file.truncate(sum(len(line) + 1 for line in whole))
        for known in _read(whole, path).looks:
            if all(getattr(known, name) == part for name, part in seen.items()):
                return known
        when = datetime.now(UTC).isoformat(timespec="seconds")
        new = _chained({"n": len(whole) + 1, "previous": _hash_of_last(whole), "when": when, **seen})
        file.write(new.line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
        return new


def read_chain() -> Chain:
    """Return the ledger with what is wrong in it; an empty one where nothing was ever looked at."""
    path = ledger_path()
    if not path.is_file():
        return _read([], path)
    with explained(path), path.open("rb") as file, _locked(file.fileno(), fcntl.LOCK_SH):
        whole, torn = _whole_lines(file.read())
    return _read(whole, path, torn=len(torn))


def check_chain(named: Mapping[str, Mapping[str, Any]] | None = None) -> Chain:
    """Return the ledger, whose `fault` also says when lines that records name are gone from its end.

    Args:
        named: run id -> `test_use` of its record; those of runs on this machine.
    """
    chain = read_chain()
    if chain.fault:
        return chain
    hashes = [START, *(one.hash for one in chain.looks)]
    for run, use in sorted((named or {}).items(), key=lambda item: _line_named(item[1]), reverse=True):
        number = _line_named(use)
        if "head" not in use or (0 <= number < len(hashes) and hashes[number] == use["head"]):
            continue
        there = f"has {len(chain.looks)}" if number >= len(hashes) else "has another one in its place"
        return replace(
            chain,
            fault=(
                f"The test-use ledger {chain.path} is not the one that the record of {run} was written with: that "
                f"names line {number} with the hash {str(use['head'])[:12]}, and the file {there}. Either lines were "
                "cut off or exchanged, and how often the test was opened is then not known; or the run's folder was "
                "copied from another machine. Put the ledger back from a copy."
            ),
        )
    return chain


def _line_named(use: Mapping[str, Any]) -> int:
    """Return the number of the line that a record's `test_use` names, -1 where that is no number."""
    number = use.get("num_lines", 0)
    return number if type(number) is int else -1


def looked_at(chain: Chain, *, competition: str, protocol: str, data: str, kind: str) -> int:
    """Return of how many runs, or files, the test labels were looked at: out of so many one may be chosen (>= 1).

    Args:
        chain: the ledger; it remembers runs whose folders are gone.
        competition: slug.
        protocol: id, as results carry it.
        data: fingerprint of the sample table.
        kind: of the predictions; those out of fold are no look at a test: 1.
    """
    return max(1, len(chain.tested.get((competition, protocol, data, kind), ())))


def test_use_of(competition: str, protocol: str, data: str) -> dict[str, Any]:
    """Return what a record keeps of the ledger: `test_use`.

    Returns:
        `opened`: values seen so far of the test of this protocol and this state of the data, this run's own among them;
        `runs`: how many runs, or files, they are of; `elsewhere`: values seen under other protocols of the competition,
        or of other states of its data, whose test images may be the same; `head` and `num_lines`: the chain's last
        hash and length; `sound`: no line was changed.
    """
    chain = read_chain()
    here = chain.of(competition, protocol, data)
    return {
        "opened": len(here),
        "runs": len({one.run for one in here}),
        "elsewhere": len(chain.of(competition)) - len(here),
        "head": chain.head,
        "num_lines": len(chain.looks),
        "sound": chain.sound,
    }


def _read(whole: Sequence[bytes], path: Path, *, torn: int = 0) -> Chain:
    """Return the chain of whole lines, up to the first that is not what was written."""
    looks: list[Look] = []
    fault = ""
    for number, line in enumerate(whole, 1):
        try:
            found = _parsed(line)
            wrong = _wrong(found, number=number, previous=looks[-1].hash if looks else START, line=line)
        except (ValueError, TypeError, RecursionError):
            wrong = "is no line of the ledger"
        if wrong:
            fault = (
                f"Line {number} of the test-use ledger {path} {wrong}: a line was edited, removed, added or moved "
                "after it was written, so how often the test was opened is not known. The lines before it hold. Put "
                "the file back from a copy; without one, results made from now on say that their ledger was "
                "changed."
            )
            break
        looks.append(found)
    head = looks[-1].hash if looks else START
    return Chain(path=path, looks=tuple(looks), num_lines=len(whole), head=head, torn=torn, fault=fault)


def _parsed(line: bytes) -> Look:
    table = json.loads(line.decode())
    if not isinstance(table, dict) or list(table) != [field.name for field in fields(Look)]:
        raise ValueError
    return Look(**table)


def _wrong(found: Look, *, number: int, previous: str, line: bytes) -> str:
    if found.n != number:
        return f"calls itself number {found.n}"
    if found.previous != previous:
        return "does not follow the line before it"
    if _chained({k: v for k, v in asdict(found).items() if k != "hash"}) != found or found.line.encode() != line:
        return "does not have the hash of what it says"
    return ""


def _chained(parts: dict[str, Any]) -> Look:
    return Look(**parts, hash=sha256(_json(parts).encode()).hexdigest())


def _json(parts: Mapping[str, Any]) -> str:
    return json.dumps(parts, ensure_ascii=True, separators=(", ", ": "), allow_nan=False)


def _hash_of_last(whole: Sequence[bytes]) -> str:
    """Return the hash that the last line has; of a line that is not ours, that of its bytes."""
    if not whole:
        return START
    try:
        return _parsed(whole[-1]).hash
    except (ValueError, TypeError, RecursionError):
        return sha256(whole[-1]).hexdigest()


def _whole_lines(content: bytes) -> tuple[list[bytes], bytes]:
    """Return the lines that have an end, and what stands behind the last of them: a write that was cut short."""
    *whole, rest = content.split(b"\n")
    return whole, rest


def _keep_apart(path: Path, torn: bytes, *, say: Say) -> None:
    """Put a torn line where nothing is lost, before the ledger goes on without it."""
    beside = path.with_suffix(".torn")
    with beside.open("ab") as file:
        file.write(torn + b"\n")
        file.flush()
        os.fsync(file.fileno())
    say(
        f"the last line of the test-use ledger was torn, {len(torn)} bytes: what wrote it was killed, and had shown no "
        f"value yet. It is kept in {beside}"
    )


@contextmanager
def _locked(descriptor: int, how: int) -> Iterator[None]:
    try:
        fcntl.flock(descriptor, how)
    except OSError as error:
        raise StorageError(
            f"The test-use ledger {ledger_path()} cannot be locked ({error}), so two runs could write into one line. "
            "Put KIT_HOME on a disk whose file system has locks."
        ) from error
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
