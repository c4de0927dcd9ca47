"""The workers of one command: started, listened to, replaced where one is killed, and ended together."""

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from kit.errors import TrainingError
from kit.progress import Say
from kit.train.parallel import Surroundings
from kit.train.stopping import StoppedError, StopRequests
from kit.tune.worker import Session

LOOK_SECONDS = 0.2  # between looks at whether somebody asked for the end
SHOW_SECONDS = 1.0  # between pictures of the progress
RESTARTS = 3  # of a worker that something killed


@dataclass(frozen=True, kw_only=True)
class _Event:
    """What a worker has told."""

    slot: int
    line: str | None = None  # to be said
    error: str | None = None  # the paragraph of its KitError
    exit_code: int | None = None  # it has ended


class Crew:
    """The workers of one command."""

    def __init__(self, session: Session, surroundings: Sequence[Surroundings], *, say: Say) -> None:
        self._session, self._surroundings, self._say = session, surroundings, say
        self._events: queue.Queue[_Event] = queue.Queue()
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._starts: Counter[int] = Counter()

    def run(self, show: Callable[[], None]) -> None:
        """Start them, pass on what they tell, and return when all have ended.

        Raises:
            TrainingError: workers failed.
            StoppedError: a signal asked for the end.
        """
        errors: dict[int, str] = {}
        told, shown = False, 0.0
        with StopRequests() as requests:
            try:
                for slot, place in enumerate(self._surroundings):
                    self._say(f"worker {slot} begins{place.where}")
                    self._start(slot)
                while self._workers:
                    with contextlib.suppress(queue.Empty):
                        self._hear(self._events.get(timeout=LOOK_SECONDS), errors, restart=requests.number is None)
                    if requests.number is not None and not told:
                        told = True
                        for worker in self._workers.values():
                            worker.send_signal(requests.number)
                    if time.monotonic() - shown > SHOW_SECONDS:
                        shown = time.monotonic()
                        show()
            finally:
                for worker in self._workers.values():
                    worker.kill()
                    worker.wait()
        if requests.number is not None:
            raise StoppedError(
                f"stopped: the trials of {self._session.name} that are done are kept; the same command goes on.",
                requests.number,
            )
        if errors:
            raise TrainingError(" ".join(dict.fromkeys(errors.values())))

    def _hear(self, event: _Event, errors: dict[int, str], *, restart: bool) -> None:
        if event.line is not None:
            self._say(event.line)
        if event.error is not None:
            errors[event.slot] = event.error
        if event.exit_code is None:
            return
        del self._workers[event.slot]
        if event.exit_code < 0 and restart and self._starts[event.slot] <= RESTARTS:
            self._say(f"worker {event.slot} was ended by a signal ({-event.exit_code}); another one takes its place")
            self._start(event.slot)
        elif event.exit_code and restart:
            errors.setdefault(event.slot, f"Worker {event.slot} ended with exit code {event.exit_code}; see above.")

    def _start(self, slot: int) -> None:
        self._starts[slot] += 1
        worker = subprocess.Popen(
            [sys.executable, "-m", "kit.tune.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(self._surroundings[slot].variables),
            start_new_session=True,  # Ctrl-C in a terminal reaches it through us, once
        )
        self._workers[slot] = worker
        # By the standard input, as the address of a database may hold a password, and command lines are public.
        task = {**asdict(self._session), "slot": slot}
        threading.Thread(target=self._attend, args=(slot, worker, task), daemon=True).start()

    def _attend(self, slot: int, worker: "subprocess.Popen[bytes]", task: Mapping[str, object]) -> None:
        assert worker.stdin is not None and worker.stdout is not None
        with contextlib.suppress(OSError):  # it has ended already
            worker.stdin.write((json.dumps(task) + "\n").encode())
            worker.stdin.flush()
        for text in worker.stdout:
            self._events.put(_Event(slot=slot, **json.loads(text)))
        exit_code = worker.wait()
        with contextlib.suppress(OSError):
            worker.stdin.close()
        worker.stdout.close()
        self._events.put(_Event(slot=slot, exit_code=exit_code))
