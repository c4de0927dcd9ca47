"""What the standings are made of: the tables of the database, and a row of each."""

import hashlib
import sqlite3
from dataclasses import dataclass
from datetime import datetime

from kit.errors import SubmissionError

PENDING, COMPLETE, ERROR = "PENDING", "COMPLETE", "ERROR"
NUM_FINALS = 2  # submissions that a team may choose to be ranked by in the end

TABLES = """
CREATE TABLE IF NOT EXISTS users (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, key_hash TEXT NOT NULL UNIQUE,
    active INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE IF NOT EXISTS uploads (
    token_hash TEXT PRIMARY KEY, user INTEGER NOT NULL REFERENCES users (id), file_name TEXT NOT NULL,
    num_bytes INTEGER NOT NULL, started TEXT NOT NULL, sha256 TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS submissions (
    ref INTEGER PRIMARY KEY AUTOINCREMENT, user INTEGER NOT NULL REFERENCES users (id),
    token_hash TEXT NOT NULL UNIQUE, file_name TEXT NOT NULL, description TEXT NOT NULL, num_bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL, date TEXT NOT NULL, late INTEGER NOT NULL, status TEXT NOT NULL DEFAULT 'PENDING',
    error TEXT NOT NULL DEFAULT '', released REAL, moved INTEGER NOT NULL DEFAULT 0, public REAL, private REAL,
    final INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS of_user ON submissions (user, date);
CREATE INDEX IF NOT EXISTS waiting ON submissions (status) WHERE status = 'PENDING';
"""


class LimitError(SubmissionError):
    """The submissions of today are used up."""


@dataclass(frozen=True, kw_only=True)
class User:
    """An account, which is also a team."""

    id: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One accepted submission."""

    ref: int
    user: int
    token_hash: str  # names its file
    file_name: str
    description: str
    num_bytes: int
    sha256: str
    date: datetime  # UTC
    late: bool  # after the deadline: scored, not ranked
    status: str  # PENDING, COMPLETE or ERROR
    error: str
    released: float | None  # public score as its team is told it
    moved: bool  # the released score is this submission's own; false: the Ladder kept that of an earlier one
    public: float | None
    private: float | None
    final: bool  # chosen to be ranked by


def hashed(secret: str) -> str:
    """Return the SHA-256 of a key or token, 64 hexadecimal digits."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def stamped(when: datetime) -> str:
    """Return a time (UTC, without a zone) as text of one length, which sorts as time does."""
    return when.isoformat(sep=" ", timespec="microseconds")


def limit_words(daily_limit: int, now: datetime) -> str:
    """Return what is said to somebody whose submissions of today are used up."""
    minutes = 24 * 60 - 60 * now.hour - now.minute
    return (
        f"All {daily_limit} submissions of today are used. The next ones are taken from 0:00 UTC on, in "
        f"{minutes // 60} h {minutes % 60} min."
    )


def submission_of(row: sqlite3.Row) -> Submission:
    """Return a row of `submissions`."""
    values = dict(row)
    values |= {name: bool(values[name]) for name in ("late", "moved", "final")}
    return Submission(**{**values, "date": datetime.fromisoformat(values["date"])})
