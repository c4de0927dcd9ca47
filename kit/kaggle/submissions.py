"""The ledger of submissions: what was sent, of which run, and every score that came back. Lines are only added.

One file for each competition, `KIT_HOME/submissions/<slug>/ledger.jsonl`. A line is an event: `intent` (about to be
sent), `sent`, `failed` (certain that nothing was submitted) or `score`. An intent without an end is a submission that
was interrupted; the token in its description tells whether it arrived. Beside it lies each file as it was sent.
"""

import contextlib
import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kit.home import explained, family, make_folder
from kit.judge.statistics import Score
from kit.judge.test_ledger import Opened, look
from kit.kaggle.credentials import own_server
from kit.progress import Say

PENDING, COMPLETE, ERROR, UNKNOWN, FAILED = "pending", "complete", "error", "unknown", "failed"


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One submission, as the ledger and the server tell it."""

    token: str = ""  # in its description; empty where it was not sent by this kit
    ref: int = 0  # the server's number; 0: it has none, or it is not known
    when: str  # UTC, ISO 8601
    status: str  # one of the above
    run: str = ""  # id; empty where the file is not a run's
    protocol: str = ""  # of the run
    data: str = ""  # fingerprint of the run's sample table
    metric: str = ""  # a key of METRICS
    file_name: str
    sha256: str = ""
    num_bytes: int = 0
    num_rows: int = 0
    message: str = ""
    out_of_fold: Score | None = None
    public: str = ""  # as the server writes it
    private: str = ""
    error: str = ""  # why it failed

    @property
    def scored(self) -> bool:
        """It has a score."""
        return self.status == COMPLETE and bool(self.public or self.private)


@dataclass(frozen=True, kw_only=True)
class ServerRow:
    """One line of the server's list of submissions."""

    ref: int
    file_name: str
    when: str  # UTC, ISO 8601
    description: str
    status: str
    public: str
    private: str
    error: str
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The ledger of one competition; what was sent to another server than the present one is not seen."""

    slug: str
    server: str = field(default_factory=own_server)

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return family("submissions") / self.slug

    @property
    def path(self) -> Path:
        """Its file."""
        return self.folder / "ledger.jsonl"

    def kept_file(self, *, sha256: str, name: str) -> Path:
        """Return where a file is kept as it was sent."""
        return self.folder / "files" / sha256[:16] / name

    @contextlib.contextmanager
    def alone(self, say: Say) -> Iterator[None]:
        """Let no other process submit to the competition meanwhile: both would take the last one of today."""
        with explained(self.folder), (make_folder(self.folder) / ".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"another process submits to {self.slug}; waiting for its end")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def add(self, what: str, **facts: Any) -> None:
        """Add a line; it is on the disk when this returns."""
        line = {"what": what, "when": now().isoformat(timespec="seconds"), "server": self.server, **facts}
        text = json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        with explained(make_folder(self.folder)), self.path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                # A crash broke the last line off: it stays as it is, alone on its line.
                text = text if file.read(1) == b"\n" else b"\n" + text
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def events(self) -> tuple[list[dict[str, Any]], int]:
        """Return the lines of the present server in order, and how many cannot be read."""
        if not self.path.is_file():
            return [], 0
        found, broken = [], 0
        for line in self.path.read_bytes().splitlines():
            try:
                event = json.loads(line)
                if event["server"] == self.server:
                    found.append(event)
            except (ValueError, KeyError, TypeError):
                broken += 1
        return found, broken

    def submissions(self) -> list[Submission]:
        """Return what was sent or tried, oldest first."""
        found: dict[str, Submission] = {}
        token_of: dict[int, str] = {}
        for event in self.events()[0]:
            what = event["what"]
            if what == "intent":
                found[event["token"]] = _intended(event)
            elif what == "sent" and event["token"] in found:
                found[event["token"]] = replace(found[event["token"]], ref=event["ref"], status=PENDING)
                token_of[event["ref"]] = event["token"]
            elif what == "failed" and event["token"] in found:
                found[event["token"]] = replace(found[event["token"]], status=FAILED, error=event["why"])
            elif what == "score" and event["ref"] in token_of:
                token = token_of[event["ref"]]
                facts = {key: event[key] for key in ("status", "public", "private", "error")}
                found[token] = replace(found[token], **facts)
        return list(found.values())

    def note_scores(self, rows: Sequence[ServerRow]) -> list[Submission]:
        """Write what the server's list says anew of our submissions, and return those that changed.

        Each score is also a look in the test-use ledger (`kit.judge.test_ledger`).
        """
        known = {one.ref: one for one in self.submissions() if one.ref}
        changed = []
        for row in rows:
            if (one := known.get(row.ref)) is None:
                continue
            facts = {"status": row.status, "public": row.public, "private": row.private, "error": row.error}
            after = replace(one, **facts)  # type: ignore[arg-type]  # all four are texts
            if after != one:
                self._look(one, after)
                self.add("score", ref=row.ref, **facts)
                changed.append(after)
        return changed

    def _look(self, before: Submission, after: Submission) -> None:
        opened: tuple[tuple[Opened, str, str], ...] = (
            ("public score", before.public, after.public),
            ("private score", before.private, after.private),
        )
        for what, old, new in opened:
            if new != old and (value := number_of(new)) is not None:
                look(
                    competition=self.slug,
                    protocol=after.protocol,
                    data=after.data,
                    run=after.run or f"file:{after.sha256}",
                    opened=what,
                    kind="test",
                    metric=after.metric,
                    value=value,
                )


def number_of(score: str) -> float | None:
    """Return a score as the server writes it as a number, or None where it is none."""
    try:
        value = float(score)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def intent_facts(one: Submission) -> dict[str, Any]:
    """Return what an `intent` line says of a submission."""
    return {
        "token": one.token,
        "run": one.run,
        "protocol": one.protocol,
        "data": one.data,
        "metric": one.metric,
        "file": one.file_name,
        "sha256": one.sha256,
        "num_bytes": one.num_bytes,
        "num_rows": one.num_rows,
        "message": one.message,
        "out_of_fold": asdict(one.out_of_fold) if one.out_of_fold else None,
    }


def _intended(event: Mapping[str, Any]) -> Submission:
    return Submission(
        token=event["token"],
        when=event["when"],
        status=UNKNOWN,
        run=event["run"],
        protocol=event["protocol"],
        data=event["data"],
        metric=event["metric"],
        file_name=event["file"],
        sha256=event["sha256"],
        num_bytes=event["num_bytes"],
        num_rows=event["num_rows"],
        message=event["message"],
        out_of_fold=Score(**event["out_of_fold"]) if event["out_of_fold"] else None,
    )


def merged(own: Sequence[Submission], rows: Sequence[ServerRow]) -> list[Submission]:
    """Return the ledger's submissions and those that only the server has, oldest first by the server's clock."""
    known = {one.ref for one in own if one.ref}
    sent_at = {row.ref: row.when for row in rows if row.when}
    timed = [replace(one, when=sent_at.get(one.ref, one.when)) for one in own]
    elsewhere = [
        Submission(
            ref=row.ref,
            when=row.when,
            status=row.status,
            file_name=row.file_name,
            num_bytes=row.num_bytes,
            message=row.description,
            public=row.public,
            private=row.private,
            error=row.error,
        )
        for row in rows
        if row.ref not in known
    ]
    return sorted([*timed, *elsewhere], key=lambda one: (one.when, one.ref))


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)
