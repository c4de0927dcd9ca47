"""The standings on disk: accounts, uploads and submissions in SQLite.

What a method has returned is on the disk: the database is in WAL mode with synchronous=FULL, and an upload's bytes are
synced before its row says that they are there. Keys and tokens are kept as SHA-256 alone; they are 128 random bits and
more, so that no slow hash is needed to protect them.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from kit.errors import ConfigError, SubmissionError
from kit.home import make_folder
from kit.host.tables import (
    COMPLETE,
    ERROR,
    NUM_FINALS,
    PENDING,
    TABLES,
    LimitError,
    Submission,
    User,
    hashed,
    limit_words,
    stamped,
    submission_of,
)

OPEN_UPLOADS = 50  # of one account: started, and not handed in; each may fill the disk
UPLOAD_HOURS = 1  # an upload that is not handed in is then forgotten


class Store:
    """The standings in one folder. Its methods may be called from many threads, and from several processes."""

    def __init__(self, folder: Path) -> None:
        self._file, self.uploads = make_folder(folder) / "standings.db", make_folder(folder / "uploads")
        self._writers = threading.Lock()  # SQLite's own waiting is not fair: with many writers, some wait too long
        with contextlib.closing(self._connect()) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(TABLES)
        self._file.chmod(0o600)

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._file, timeout=60, isolation_level=None)
        database.execute("PRAGMA synchronous = FULL")
        database.row_factory = sqlite3.Row
        return database

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Give a transaction that is on the disk when the block is left, or undone where it raises."""
        with self._writers, contextlib.closing(self._connect()) as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        with contextlib.closing(self._connect()) as database:
            return database.execute(query, values).fetchall()

    def add_user(self, name: str) -> str:
        """Make an account and return its key, which is kept nowhere.

        Raises:
            ConfigError: there is one of that name, in small or capital letters.
        """
        key = secrets.token_hex(16)
        try:
            with self._writing() as database:
                database.execute("INSERT INTO users (name, key_hash) VALUES (?, ?)", (name, hashed(key)))
        except sqlite3.IntegrityError:
            raise ConfigError(
                f"There is an account {name!r} already. Its key was shown when it was made, and cannot be shown again; "
                "`renew` gives it another one."
            ) from None
        return key

    def renew_key(self, name: str) -> str:
        """Give an account another key, and return it; the old one is good for nothing any more.

        Raises:
            ConfigError: there is no such account.
        """
        key = secrets.token_hex(16)
        self._change_user(name, "key_hash = ?, active = 1", hashed(key))
        return key

    def close_user(self, name: str) -> None:
        """Close an account: its key is good for nothing, its submissions stay.

        Raises:
            ConfigError: there is no such account.
        """
        self._change_user(name, "active = 0")

    def _change_user(self, name: str, what: str, *values: object) -> None:
        with self._writing() as database:
            if not database.execute(f"UPDATE users SET {what} WHERE name = ?", (*values, name)).rowcount:
                raise ConfigError(f"There is no account {name!r}. Make one with `user add`.")

    def users(self) -> list[User]:
        """Return the accounts that are not closed, oldest first."""
        return [
            User(id=row["id"], name=row["name"])
            for row in self._rows("SELECT id, name FROM users WHERE active ORDER BY id")
        ]

    def names(self) -> dict[int, str]:
        """Return the name of every account, also of closed ones."""
        return {row["id"]: row["name"] for row in self._rows("SELECT id, name FROM users")}

    def user_of(self, key: str, *, name: str | None = None) -> User | None:
        """Return whose key this is, or None; with a name it has to be that account's."""
        wanted = hashed(key)
        if name is None:
            rows = self._rows("SELECT id, name, key_hash FROM users WHERE active AND key_hash = ?", wanted)
        else:
            rows = self._rows("SELECT id, name, key_hash FROM users WHERE active AND name = ?", name)
        if rows and hmac.compare_digest(rows[0]["key_hash"], wanted):
            return User(id=rows[0]["id"], name=rows[0]["name"])
        return None

    def start_upload(self, user: User, *, file_name: str, num_bytes: int, now: datetime) -> str:
        """Return the token of a new upload.

        Raises:
            LimitError: the account has too many uploads that were not handed in.
        """
        token = secrets.token_urlsafe(32)
        oldest = stamped(now - timedelta(hours=UPLOAD_HOURS))
        unused = "NOT EXISTS (SELECT 1 FROM submissions s WHERE s.token_hash = u.token_hash)"
        with self._writing() as database:
            old = f"SELECT token_hash FROM uploads u WHERE started < ? AND {unused}"
            for row in database.execute(old, (oldest,)).fetchall():
                (self.uploads / row["token_hash"]).unlink(missing_ok=True)
                database.execute("DELETE FROM uploads WHERE token_hash = ?", (row["token_hash"],))
            count = f"SELECT count(*) FROM uploads u WHERE user = ? AND {unused}"
            if database.execute(count, (user.id,)).fetchone()[0] >= OPEN_UPLOADS:
                raise LimitError(
                    f"{OPEN_UPLOADS} uploads were started and not handed in. They are forgotten after "
                    f"{UPLOAD_HOURS} hour; try again then."
                )
            database.execute(
                "INSERT INTO uploads (token_hash, user, file_name, num_bytes, started) VALUES (?, ?, ?, ?, ?)",
                (hashed(token), user.id, file_name, num_bytes, stamped(now)),
            )
        return token

    def expected_bytes(self, token: str) -> int | None:
        """Return how many bytes an upload was announced with; None where it was not, or was handed in already."""
        rows = self._rows(
            "SELECT num_bytes FROM uploads u WHERE token_hash = ? "
            "AND NOT EXISTS (SELECT 1 FROM submissions s WHERE s.token_hash = u.token_hash)",
            hashed(token),
        )
        return rows[0]["num_bytes"] if rows else None

    def keep_upload(self, token: str, part: Path) -> bool:
        """Take a received file, which moves to its place, and write down that it came.

        Returns:
            Whether it was taken; not where the upload was handed in, or forgotten, while this file was on its way.
        """
        name = hashed(token)
        with part.open("rb") as file:
            os.fsync(file.fileno())
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        still_open = "NOT EXISTS (SELECT 1 FROM submissions s WHERE s.token_hash = uploads.token_hash)"
        with self._writing() as database:  # which keeps `submit` out until the file is there
            taken = f"UPDATE uploads SET sha256 = ? WHERE token_hash = ? AND {still_open}"
            if not database.execute(taken, (sha256, name)).rowcount:
                return False
            part.replace(self.uploads / name)
            folder = os.open(self.uploads, os.O_RDONLY)
            try:
                os.fsync(folder)  # or the name might be lost with the power
            finally:
                os.close(folder)
        return True

    def submit(
        self, user: User, token: str, *, description: str, now: datetime, late: bool, daily_limit: int
    ) -> Submission:
        """Hand an upload in, once: a second call with the same token returns the same submission.

        Raises:
            LimitError: the account has handed in as many today (UTC) as it may.
            SubmissionError: the upload is not the account's, or its file did not come.
        """
        name = hashed(token)
        with self._writing() as database:
            known = database.execute("SELECT * FROM submissions WHERE token_hash = ? AND user = ?", (name, user.id))
            if row := known.fetchone():
                return submission_of(row)
            upload = database.execute("SELECT * FROM uploads WHERE token_hash = ? AND user = ?", (name, user.id))
            if (found := upload.fetchone()) is None or not found["sha256"]:
                raise SubmissionError("No file was uploaded for this submission. Upload it again.")
            if self._count_today(database, user, now) >= daily_limit:
                raise LimitError(limit_words(daily_limit, now))
            inserted = database.execute(
                "INSERT INTO submissions (user, token_hash, file_name, description, num_bytes, sha256, date, late) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
                (
                    user.id,
                    name,
                    found["file_name"],
                    description,
                    found["num_bytes"],
                    found["sha256"],
                    stamped(now),
                    late,
                ),
            ).fetchone()
        return submission_of(inserted)

    @staticmethod
    def _count_today(database: sqlite3.Connection, user: User, now: datetime) -> int:
        midnight = stamped(now.replace(hour=0, minute=0, second=0, microsecond=0))
        query = "SELECT count(*) FROM submissions WHERE user = ? AND date >= ?"
        count: int = database.execute(query, (user.id, midnight)).fetchone()[0]
        return count

    def counts(self, user: User, now: datetime) -> tuple[int, int]:
        """Return how many submissions the account has made today (UTC), and ever; faulty ones count."""
        with contextlib.closing(self._connect()) as database:
            ever = database.execute("SELECT count(*) FROM submissions WHERE user = ?", (user.id,)).fetchone()[0]
            return self._count_today(database, user, now), ever

    def submissions(self, user: User | None = None) -> list[Submission]:
        """Return the submissions of one account or of all, newest first."""
        where, values = ("WHERE user = ?", (user.id,)) if user else ("", ())
        return [
            submission_of(row) for row in self._rows(f"SELECT * FROM submissions {where} ORDER BY ref DESC", *values)
        ]

    def next_pending(self) -> Submission | None:
        """Return the oldest submission that waits for its score."""
        rows = self._rows("SELECT * FROM submissions WHERE status = ? ORDER BY ref LIMIT 1", PENDING)
        return submission_of(rows[0]) if rows else None

    def leading(self, submission: Submission) -> Submission | None:
        """Return the submission that set its team's released score before this one."""
        rows = self._rows(
            "SELECT * FROM submissions WHERE user = ? AND moved AND NOT late AND ref < ? ORDER BY ref DESC LIMIT 1",
            submission.user,
            submission.ref,
        )
        return submission_of(rows[0]) if rows else None

    def content(self, submission: Submission) -> bytes:
        """Return the bytes that were uploaded."""
        return (self.uploads / submission.token_hash).read_bytes()

    def set_scores(
        self, submission: Submission, *, public: float, private: float, released: float, moved: bool
    ) -> None:
        """Write down a submission's scores."""
        self._finish(
            submission, "status = ?, public = ?, private = ?, released = ?, moved = ?",
            COMPLETE, public, private, released, moved,
        )  # fmt: skip

    def set_error(self, submission: Submission, error: str) -> None:
        """Write down why a submission has no score."""
        self._finish(submission, "status = ?, error = ?", ERROR, error)

    def _finish(self, submission: Submission, what: str, *values: object) -> None:
        with self._writing() as database:
            database.execute(f"UPDATE submissions SET {what} WHERE ref = ?", (*values, submission.ref))

    def choose_finals(self, user: User, refs: list[int]) -> None:
        """Set the submissions that an account wants to be ranked by in the end; none: the best ones by public score.

        Raises:
            SubmissionError: too many, or one that is not the account's, has no score or came late.
        """
        if len(set(refs)) > NUM_FINALS:
            raise SubmissionError(f"{len(set(refs))} submissions were chosen; up to {NUM_FINALS} may be.")
        with self._writing() as database:
            database.execute("UPDATE submissions SET final = 0 WHERE user = ?", (user.id,))
            for ref in set(refs):
                where = "ref = ? AND user = ? AND status = ? AND NOT late"
                done = database.execute(
                    f"UPDATE submissions SET final = 1 WHERE {where}", (ref, user.id, COMPLETE)
                ).rowcount
                if not done:
                    raise SubmissionError(
                        f"Submission {ref} cannot be chosen: it is not yours, has no score, or came after the deadline."
                    )
