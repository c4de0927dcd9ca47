"""Host queue: which job is next, so that no host is asked by too many at once or too often."""

import heapq
import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Job = TypeVar("Job")


@dataclass
class _Host(Generic[Job]):
    waiting: list[tuple[float, int, Job]] = field(default_factory=list)  # a heap: not before, number, job
    active: int = 0
    next_at: float = 0.0  # no request before this time
    given_up: str = ""  # why nothing more is asked of it


class HostQueue(Generic[Job]):
    """Jobs by host, handed to many threads: at most `per_host` at a time, `pause_seconds` between two beginnings.

    Times are of `time.monotonic`. A job that must wait takes no thread.
    """

    def __init__(self, *, per_host: int, pause_seconds: float) -> None:
        self._per_host, self._pause_seconds = per_host, pause_seconds
        self._hosts: dict[str, _Host[Job]] = {}
        self._ready: list[tuple[float, int, str]] = []  # a heap of hosts; entries that are out of date are skipped
        self._numbers = itertools.count()
        self._unfinished = 0
        self._stopped = False
        self._changed = threading.Condition()

    def put(self, job: Job, host: str, *, not_before: float = 0.0) -> None:
        """Add a job, or a job's next attempt (before `finish` of the last one)."""
        with self._changed:
            of_host = self._hosts.setdefault(host, _Host())
            heapq.heappush(of_host.waiting, (not_before, next(self._numbers), job))
            self._unfinished += 1
            self._offer(host)

    def take(self) -> tuple[Job, str] | None:
        """Wait for a job and return it with its host; None when none is left, or after `stop`."""
        with self._changed:
            while self._unfinished and not self._stopped:
                now = time.monotonic()
                if not self._ready or self._ready[0][0] > now:
                    self._changed.wait(self._ready[0][0] - now if self._ready else None)
                    continue
                host = heapq.heappop(self._ready)[2]
                of_host = self._hosts[host]
                if not of_host.waiting or self._is_busy(of_host):
                    continue
                if self._time_of(of_host) > now:
                    self._offer(host)
                    continue
                job = heapq.heappop(of_host.waiting)[2]
                of_host.active += 1
                of_host.next_at = max(of_host.next_at, now + self._pause_seconds)
                self._offer(host)
                return job, host
            self._changed.notify_all()
            return None

    def finish(self, host: str) -> None:
        """Say that a job taken for `host` is done, or has been put back."""
        with self._changed:
            self._hosts[host].active -= 1
            self._unfinished -= 1
            self._offer(host)
            if not self._unfinished:
                self._changed.notify_all()

    def hold(self, host: str, *, until: float) -> None:
        """Ask nothing of `host` before `until`."""
        with self._changed:
            self._hosts[host].next_at = max(self._hosts[host].next_at, until)

    def give_up(self, host: str, reason: str) -> None:
        """Hand out the remaining jobs of `host` at once: nothing more will be asked of it."""
        with self._changed:
            self._hosts[host].given_up = reason
            self._offer(host)

    def given_up(self, host: str) -> str:
        """Return why a host was given up, or an empty string."""
        with self._changed:
            return self._hosts[host].given_up

    def stop(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _is_busy(self, of_host: _Host[Job]) -> bool:
        return of_host.active >= self._per_host and not of_host.given_up

    def _time_of(self, of_host: _Host[Job]) -> float:
        return 0.0 if of_host.given_up else max(of_host.next_at, of_host.waiting[0][0])

    def _offer(self, host: str) -> None:
        of_host = self._hosts[host]
        if of_host.waiting and not self._is_busy(of_host):
            heapq.heappush(self._ready, (self._time_of(of_host), next(self._numbers), host))
            self._changed.notify()
