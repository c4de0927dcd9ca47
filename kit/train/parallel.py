"""Models of a run trained side by side: each in a process of its own, on one GPU or on a part of the cores.

Folds are independent of each other, so that this is faster than many devices on one model, and gives the numbers that
training one after the other gives (on a CPU with the same number of threads). A child gets its task by its standard
input, which stays open: when we are gone, however that was, it ends, and the child stops as on SIGTERM.
"""

import contextlib
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pandas as pd

from kit.config import Recipe
from kit.data.loader import default_workers
from kit.errors import DataError, KitError, TrainingError
from kit.fit.limits import Limit
from kit.progress import Say
from kit.rules import FoldRule
from kit.store.pack import Pack
from kit.store.store import StoreSettings, open_pack
from kit.train.models import train_model
from kit.train.stopping import StoppedError, StopRequests, stop_when_alone

LOOK_SECONDS = 0.1  # between looks at whether somebody asked for the end


@dataclass(frozen=True, kw_only=True)
class _Event:
    """What a child has told."""

    name: str  # of its model
    line: str | None = None  # to be said
    error: str | None = None  # the paragraph of its KitError
    exit_code: int | None = None  # it has ended


def train_in_parallel(
    names: Sequence[str],
    train: pd.DataFrame,
    pack: Pack,
    *,
    num_children: int,
    recipe: Recipe,
    classes: tuple[str, ...],
    several: bool,
    rule: FoldRule,
    folder: Path,
    say: Say,
    memory: Limit | None = None,
    extra: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """Train the models `names`, `num_children` at once; `find_model` finds them afterwards.

    Each child sees one GPU, in turn, where there are any and the recipe does not name another device; else it has
    OMP_NUM_THREADS = cores / num_children, unless that is set. Ctrl-C and SIGTERM are passed on, and each child keeps
    its state. After a failure no other model is begun; those that are under way are finished.

    Args:
        names: see `kit.train.models.train_model`, as for all that is not said here.
        train: rows with `image_id`, the truth and, for folds, `fold`.
        pack: their images; each child opens it.
        num_children: processes at once, at least 1.
        recipe: how.
        classes: in order.
        several: an image may have any number of labels.
        rule: how the folds were made.
        folder: for the models.
        say: takes the children's lines, which begin with the model's name.
        memory: what each child may take.
        extra: model -> rows that this one alone learns from besides.

    Raises:
        TrainingError: models failed; names them, their reasons, and what is finished.
        StoppedError: a signal asked for the end.
    """
    assert num_children >= 1
    task = {
        "train": train,
        "pack_folder": pack.folder,
        "settings": StoreSettings(store_size=recipe.input.store_size, layout=pack.layout, storage=pack.storage),
        "recipe": recipe,
        "classes": classes,
        "several": several,
        "rule": rule,
        "folder": folder,
        "memory": memory,
        "extra": extra,
    }
    surroundings = environments(num_children, device=recipe.device, num_images=len(train))
    waiting, slots = deque(names), deque(range(num_children))
    children: dict[str, _Child] = {}
    errors: dict[str, str] = {}
    finished: list[str] = []
    events: queue.Queue[_Event] = queue.Queue()
    told = False
    with StopRequests() as requests:
        try:
            while True:
                while waiting and slots and not errors and requests.number is None:
                    name, slot = waiting.popleft(), slots.popleft()
                    say(f"{name}: begins in a process of its own{surroundings[slot].where}")
                    children[name] = _Child(name, task, slot, surroundings[slot].variables, events)
                if not children:
                    break
                with contextlib.suppress(queue.Empty):
                    event = events.get(timeout=LOOK_SECONDS)
                    if event.line is not None:
                        say(event.line if event.line.startswith(event.name) else f"{event.name}: {event.line}")
                    if event.error is not None:
                        errors[event.name] = event.error
                    if event.exit_code is not None:
                        slots.append(children.pop(event.name).slot)
                        if event.exit_code == 0:
                            finished.append(event.name)
                        else:
                            errors.setdefault(event.name, _ending(event.exit_code))
                if requests.number is not None and not told:
                    told = True
                    for child in children.values():
                        child.process.send_signal(requests.number)
        finally:
            for child in children.values():
                child.process.kill()
            for child in children.values():
                child.process.wait()
    reasons = " ".join(f"{name}: {error}" for name, error in sorted(errors.items()))
    if requests.number is not None:
        raise StoppedError(reasons or "stopped: every model that was begun is finished.", requests.number)
    if errors:
        left = [name for name in names if name not in finished]
        raise TrainingError(
            f"{reasons} Finished and kept: {', '.join(finished) or 'none'}; the same command trains {', '.join(left)}."
        )


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where the children of one slot run."""

    variables: Mapping[str, str]  # of their environment
    where: str  # for people


def environments(num_children: int, *, device: str, num_images: int) -> list[Surroundings]:
    """Return the surroundings of each slot: devices in turn, and its part of the cores.

    Args:
        num_children: processes at once.
        device: the recipe's.
        num_images: that each loads, roughly: few need no processes of their own for it.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    num_threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores // num_children))
    num_workers = os.environ.get("KIT_WORKERS") or str(default_workers(num_images) // num_children)
    shared = {**os.environ, "OMP_NUM_THREADS": num_threads, "KIT_WORKERS": num_workers}
    gpus = _gpus() if device in ("auto", "cuda") else []
    if not gpus:
        return [Surroundings(variables=shared, where=f", OMP_NUM_THREADS={num_threads}")] * num_children
    return [
        Surroundings(variables={**shared, "CUDA_VISIBLE_DEVICES": gpu}, where=f" on GPU {gpu}")
        for gpu in (gpus[slot % len(gpus)] for slot in range(num_children))
    ]


def _gpus() -> list[str]:
    """Return the names of the GPUs that we may use, as CUDA_VISIBLE_DEVICES has them."""
    import torch

    number = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [gpu.strip() for gpu in named.split(",")][:number] if named else [str(gpu) for gpu in range(number)]


def _ending(exit_code: int) -> str:
    """Return a sentence on a child that ended without saying why."""
    if exit_code < 0:
        killed = exit_code == -signal.SIGKILL
        hint = ", which is often the system's answer to too little memory: fewer at once may fit" if killed else ""
        return f"ended by {signal.Signals(-exit_code).name}{hint}."
    return f"failed with exit code {exit_code}; what it said stands above."


class _Child:
    """A process that trains one model, and the threads that listen to it."""

    def __init__(
        self, name: str, task: Mapping[str, Any], slot: int, variables: Mapping[str, str], events: queue.Queue[_Event]
    ) -> None:
        self.slot = slot
        self._name, self._events = name, events
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kit.train.parallel"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(variables),
            start_new_session=True,  # Ctrl-C in a terminal reaches it through us, once
        )
        threading.Thread(target=self._attend, args=({**task, "name": name},), daemon=True).start()

    def _attend(self, task: Mapping[str, Any]) -> None:
        """Hand the task over, pass on what the child tells, and in the end how it ended."""
        stdin, stdout, stderr = self.process.stdin, self.process.stdout, self.process.stderr
        assert stdin is not None and stdout is not None and stderr is not None
        beside = threading.Thread(target=self._pass_on, args=(stderr,), daemon=True)
        beside.start()
        with contextlib.suppress(OSError):  # it has ended already
            pickle.dump(task, stdin)
            stdin.flush()
        for line in stdout:
            self._events.put(_Event(name=self._name, **json.loads(line)))
        beside.join()
        exit_code = self.process.wait()
        with contextlib.suppress(OSError):
            stdin.close()
        stdout.close()
        stderr.close()
        self._events.put(_Event(name=self._name, exit_code=exit_code))

    def _pass_on(self, stderr: IO[bytes]) -> None:
        for line in stderr:
            if text := line.decode(errors="replace").rstrip():
                self._events.put(_Event(name=self._name, line=text))


def _be_a_child() -> int:
    """Train the model that comes by the standard input, tell by the standard output, and return the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until training takes it: nothing is lost, and no traceback is due
    told, sys.stdout = sys.stdout, sys.stderr  # a user's network may print

    def tell(**event: str) -> None:
        told.write(json.dumps(event) + "\n")
        told.flush()

    task = pickle.load(sys.stdin.buffer)
    threading.Thread(target=stop_when_alone, daemon=True).start()
    pack_folder = task.pop("pack_folder")
    try:
        pack = open_pack(pack_folder, task.pop("settings"))
        if pack is None:
            raise DataError(f"The pack {pack_folder} is damaged. The same command makes it again.")
        train_model(pack=pack, say=lambda line: tell(line=line), **task)
    except KitError as error:
        tell(error=str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_be_a_child())
