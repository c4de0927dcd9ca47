"""Collector: fetches addresses with many threads, tries again what may succeed, and settles each one in the journal."""

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from pathlib import Path

from kit.errors import ConfigError
from kit.home import sha256_of_file, writing
from kit.progress import Counter as Progress
from kit.progress import Say
from kit.scrape.addresses import AllowedHosts, RefusedError, normalised, place_of, redirected
from kit.scrape.host_queue import HostQueue
from kit.scrape.manifest import Journal, ManifestRow
from kit.scrape.received import Facts, facts_of, licence_in, refuse_opt_out
from kit.scrape.robots import Robots
from kit.scrape.web import Answer, FailedError, Web

FAILURES_TO_GIVE_UP = 5  # connections in a row that a host did not take
LOOK_SECONDS = 0.5  # between looks at how far it is


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How politely, how long and how much."""

    per_host: int = 2  # requests at once to one host
    pause_seconds: float = 0.2  # between the beginnings of two requests to one host
    threads: int = 32
    attempts: int = 4  # per address
    backoff_seconds: float = 1.0  # before the second attempt; doubled with each, times a random factor from 0.5 to 1.5
    longest_wait_seconds: float = 120.0  # a host that asks for a longer pause is given up for this run
    connect_seconds: float = 10.0
    read_seconds: float = 20.0  # the longest silence
    total_seconds: float = 60.0  # per address, in all attempts and redirects, without waiting in between
    max_bytes: int = 20 << 20
    max_pixels: int = 100_000_000
    max_redirects: int = 5

    def __post_init__(self) -> None:
        """Refuse limits that let nothing through."""
        for name in ("per_host", "threads", "attempts", "max_bytes", "max_pixels"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("pause_seconds", "backoff_seconds", "max_redirects"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}.")


@dataclass(kw_only=True)
class _Job:
    key: str  # the normalised address
    label: str
    at: str  # the address of the next request: that of the last redirect
    redirects: int = 0
    attempts: int = 0
    spent_seconds: float = 0.0


@dataclass(kw_only=True)
class Collector:
    """The threads of one run."""

    folder: Path
    journal: Journal
    limits: Limits
    allowed: AllowedHosts
    say: Say
    fetched: dict[str, ManifestRow] = field(default_factory=dict)
    fault: BaseException | None = None  # of the disk: it ends the run

    def __post_init__(self) -> None:
        limits = self.limits
        self.web = Web(allowed=self.allowed, connect_seconds=limits.connect_seconds, read_seconds=limits.read_seconds)
        self.robots = Robots(self.web)
        self.queue: HostQueue[_Job] = HostQueue(per_host=limits.per_host, pause_seconds=limits.pause_seconds)
        self.unreachable: Counter[str] = Counter()
        self.random = random.Random()
        self.storing = [threading.Lock() for _ in range(64)]

    def collect(self, wanted: Sequence[tuple[str, str]]) -> dict[str, ManifestRow]:
        """Settle each (key, label) and return what became of it by key."""
        for key, label in wanted:
            try:
                normalised(key, allowed=self.allowed)
            except RefusedError as error:
                self._settle(
                    _Job(key=key, label=label, at=key),
                    ManifestRow(url=key, label=label, status="refused", reason=error.reason),
                )
                continue
            self.queue.put(_Job(key=key, label=label, at=key), place_of(key)[1])
        threads = [
            threading.Thread(target=self._work, name=f"scrape-{number}", daemon=True)
            for number in range(min(self.limits.threads, len(wanted)))
        ]
        for thread in threads:
            thread.start()
        try:
            with Progress("fetching", total=len(wanted), say=self.say) as counter:
                for thread in threads:
                    while thread.is_alive():
                        thread.join(LOOK_SECONDS)
                        states = Counter(row.status for row in list(self.fetched.values()))
                        named = ", ".join(f"{count:,} {status}" for status, count in sorted(states.items()))
                        counter.unit = f"addresses ({named})" if named else "addresses"
                        counter.reach(len(self.fetched))
        except BaseException:
            self.queue.stop()
            ending = time.monotonic() + 2  # what arrives by then is kept; the threads end with the process
            for thread in threads:
                thread.join(max(0.0, ending - time.monotonic()))
            raise
        finally:
            self.web.close()
        if self.fault is not None:
            raise self.fault
        return self.fetched

    def _work(self) -> None:
        while (taken := self.queue.take()) is not None:
            job, host = taken
            try:
                self._attempt(job, host)
            except BaseException as error:
                self.fault = error
                self.queue.stop()
            finally:
                self.queue.finish(host)

    def _attempt(self, job: _Job, host: str) -> None:
        """Ask once, and settle the job or put it back."""
        try:
            answer = self._ask(job, host)
            if self._follow(job, answer):
                return
            facts = facts_of(answer.body, max_pixels=self.limits.max_pixels)
        except RefusedError as error:
            self._settle(job, self._row(job, "refused", error.reason, opt_out=error.opt_out))
        except FailedError as error:
            self._fail(job, host, error)
        except Exception as error:
            # A fault of ours on somebody's odd bytes must not cost the other addresses, again and again.
            self._settle(job, self._row(job, "failed", f"unexpected fault ({type(error).__name__}: {error})"))
        else:
            self._keep(job, answer, facts)

    def _follow(self, job: _Job, answer: Answer) -> bool:
        """Put the job back where the answer is a redirect; anything else but status 200 is a failure."""
        location = answer.headers.get("Location")
        if answer.status in (301, 302, 303, 307, 308) and location is not None:
            if job.redirects == self.limits.max_redirects:
                raise RefusedError(f"more than {self.limits.max_redirects} redirects")
            job.at = redirected(job.at, location, allowed=self.allowed)
            job.redirects += 1
            self.queue.put(job, place_of(job.at)[1])
            return True
        if answer.status != 200:
            transient = answer.status in (408, 425, 429) or (answer.status >= 500 and answer.status not in (501, 505))
            wait = _retry_after(answer.headers.get("Retry-After", "")) if transient else 0.0
            raise FailedError(f"HTTP {answer.status}", transient=transient, wait_seconds=wait)
        return False

    def _keep(self, job: _Job, answer: Answer, facts: Facts) -> None:
        """Store an image, and then settle its address: what the journal names is there."""
        digest = sha256(answer.body).hexdigest()
        row = self._row(
            job,
            "ok",
            sha256=digest,
            num_bytes=len(answer.body),
            width=facts.width,
            height=facts.height,
            format=facts.format,
            file=self._store(answer.body, digest, facts.suffix, job.label),
            licence=licence_in(answer.headers) or facts.licence,
        )
        self._settle(job, row)

    def _ask(self, job: _Job, host: str) -> Answer:
        """Return the answer to the job's next request, if the host may and can still be asked."""
        if reason := self.queue.given_up(host):
            raise FailedError(reason, transient=False)
        if not self.robots.allows(job.at):
            raise RefusedError("disallowed by robots.txt")
        job.attempts += not job.redirects
        begun = time.monotonic()
        try:
            answer = self.web.get(
                job.at,
                max_bytes=self.limits.max_bytes,
                seconds=max(self.limits.total_seconds - job.spent_seconds, 0.001),
                judge=refuse_opt_out,
            )
            self.unreachable.pop(host, None)
            return answer
        except FailedError as error:
            if error.no_connection:
                self.unreachable[host] += 1
                if self.unreachable[host] >= FAILURES_TO_GIVE_UP:
                    self.queue.give_up(host, f"host given up after {FAILURES_TO_GIVE_UP} failures ({error.reason})")
            raise
        finally:
            job.spent_seconds += time.monotonic() - begun

    def _fail(self, job: _Job, host: str, error: FailedError) -> None:
        """Put a job back for its next attempt, or settle it as failed."""
        if error.wait_seconds > self.limits.longest_wait_seconds:
            reason = f"host asks for a long pause ({error.reason}, {error.wait_seconds:,.0f} s)"
            self.queue.give_up(host, reason)
            self._settle(job, self._row(job, "failed", reason))
            return
        spent = job.spent_seconds >= self.limits.total_seconds
        if not error.transient or spent or job.attempts >= self.limits.attempts or self.queue.given_up(host):
            self._settle(job, self._row(job, "failed", error.reason))
            return
        if error.wait_seconds:
            self.queue.hold(host, until=time.monotonic() + error.wait_seconds)
        pause = self.limits.backoff_seconds * 2 ** (job.attempts - 1) * self.random.uniform(0.5, 1.5)
        job.at, job.redirects = job.key, 0
        self.queue.put(job, place_of(job.at)[1], not_before=time.monotonic() + max(pause, error.wait_seconds))

    def _store(self, data: bytes, digest: str, suffix: str, label: str) -> str:
        """Write an image under the first 16 digits of its checksum, and return its path below the folder."""
        name = f"{digest[:16]}{suffix}"
        with self.storing[int(digest[:4], 16) % len(self.storing)]:  # the same image may come from two addresses
            path = self.folder / label / name
            if path.is_file():
                there = sha256_of_file(path)
                if there == digest:
                    return f"{label}/{name}"
                if there.startswith(digest[:16]):  # 64 bits can be made to collide on purpose
                    name = f"{digest}{suffix}"
                    path = self.folder / label / name
            with writing(path, "wb") as file:
                file.write(data)
        return f"{label}/{name}"

    def _settle(self, job: _Job, row: ManifestRow) -> None:
        self.journal.add(job.key, row)
        self.fetched[job.key] = row

    def _row(self, job: _Job, status: str, reason: str = "", **facts: object) -> ManifestRow:
        values: dict[str, object] = {
            "url": job.key,
            "label": job.label,
            "status": status,
            "reason": reason,
            "attempts": job.attempts,
            "final_url": job.at,
            "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **facts,
        }
        return ManifestRow(**values)  # type: ignore[arg-type]


def _retry_after(text: str) -> float:
    """Return the seconds that a Retry-After header asks for, given as a number or as a date."""
    if text.strip().isdecimal():
        return float(text.strip()[:9])
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
