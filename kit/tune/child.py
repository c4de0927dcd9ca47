"""A process that does one task for another: the task comes as a line of JSON, what happens is told by lines of JSON.

The standard input stays open. When who started the process is gone, it ends as on SIGTERM, and its state is kept.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any

from kit.errors import KitError
from kit.train.stopping import stop_when_alone

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Tell = Callable[..., None]
Child = subprocess.Popen[bytes]


def start_child(module: str, *, memory: int | None, log: IO[bytes] | None = None) -> Child:
    """Start `python -m MODULE` in a session of its own: Ctrl-C in a terminal reaches it through us, once.

    Args:
        module: that ends with `be_a_child`.
        memory: bytes that it may take.
        log: takes its standard error; default: ours.
    """
    variables = dict(os.environ)
    if memory is not None:
        variables["KIT_MEMORY"] = str(memory)
    return subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=variables,
        start_new_session=True,
    )


def told_by(child: Child, task: "DataclassInstance") -> Iterator[bytes]:
    """Hand the task over and yield each line that the child tells; after the last one it is gone."""
    stdin, stdout = child.stdin, child.stdout
    assert stdin is not None and stdout is not None
    with contextlib.suppress(OSError):  # it has ended already
        stdin.write((json.dumps(asdict(task)) + "\n").encode())
        stdin.flush()
    yield from stdout
    child.wait()


def close_pipes(child: Child) -> None:
    """Close our ends of a child that is gone."""
    for pipe in (child.stdin, child.stdout):
        assert pipe is not None
        with contextlib.suppress(OSError):
            pipe.close()


def be_a_child(work: Callable[[Mapping[str, Any], Tell], None]) -> int:
    """Do the task that comes by the standard input, tell by the standard output, and return the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until training takes it: nothing is lost, and no traceback is due
    told, sys.stdout = sys.stdout, sys.stderr  # a user's network may print

    def tell(**event: Any) -> None:
        told.write(json.dumps(event) + "\n")
        told.flush()

    given: Mapping[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=stop_when_alone, daemon=True).start()
    try:
        work(given, tell)
    except KitError as error:
        tell(failed=str(error), kind=type(error).__name__)
        return error.exit_code
    return 0
