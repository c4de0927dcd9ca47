"""Faults on demand: what a stand-in is to do wrong, so that a client's ways out can be tested.

Set from Python alone. Each fault says what the client then meets.
"""

import threading
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One answer that refuses a call."""

    status: int
    message: str = "The stand-in was told to refuse this call."
    retry_after: int | None = None  # seconds, in the header Retry-After


@dataclass(kw_only=True)
class Faults:
    """What goes wrong. A number or a list is used up, an item by each answer that it spoils; a bool stays."""

    rules_not_accepted: bool = False  # 403 for files and submissions, until it is taken back
    expired_keys: bool = False  # 401 for every call, and a token is no longer active
    refusals: dict[str, list[Refusal]] = field(default_factory=dict)  # operation, e.g. "ListSubmissions" -> its answers
    broken_uploads: int = 0  # this many uploads end in 500, and nothing of them is kept
    lost_answers: dict[str, int] = field(default_factory=dict)  # operation -> done, but the connection ends unanswered
    cut_downloads: list[int] = field(default_factory=list)  # bytes of the body, after which the connection ends
    scoring_seconds: float = 0.0  # a submission stays PENDING at least so long

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def refusal_of(self, operation: str) -> Refusal | None:
        """Return the next refusal of an operation, used up; None where it is to be answered."""
        with self._lock:
            waiting = self.refusals.get(operation, [])
            return waiting.pop(0) if waiting else None

    def breaks_upload(self) -> bool:
        """Tell whether this upload is to break."""
        with self._lock:
            self.broken_uploads -= (broken := self.broken_uploads > 0)
            return broken

    def loses_answer(self, operation: str) -> bool:
        """Tell whether the answer to this call, which was done, is to be lost."""
        with self._lock:
            left = self.lost_answers.get(operation, 0)
            self.lost_answers[operation] = max(0, left - 1)
            return left > 0

    def cut_of(self, num_bytes: int) -> int:
        """Return after how many bytes of a body of `num_bytes` the connection is to end; `num_bytes`: it is whole."""
        with self._lock:
            return min(num_bytes, self.cut_downloads.pop(0)) if self.cut_downloads else num_bytes
