"""One trial, watched: its process is started, its epochs are reported, and the study is told how it ended."""

import json
import queue
import shutil
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kit.errors import NoMemoryError, TrainingError
from kit.home import make_folder
from kit.progress import Say
from kit.train.stopping import StopRequests
from kit.tune.child import close_pipes, start_child, told_by
from kit.tune.trial import Task
from kit.tune.trials import ALIVE_SECONDS

if TYPE_CHECKING:
    from optuna import Study, Trial

Ending = Literal["done", "pruned", "infeasible", "failed", "stopped"]

LOOK_SECONDS = 0.2  # between looks at the clock, at requests, and at what the process tells
STOP_SECONDS = 60.0  # that a process has for writing its state, before it is killed
KILLED_EXCESS = 0.01  # share of the limit that a trial which was killed is said to have passed it by, at least


@dataclass(kw_only=True)
class _Told:
    """What a trial's process has told so far."""

    predicted: int | None = None  # bytes
    limit: int | None = None
    seconds: list[float] = field(default_factory=list)  # of each epoch
    images_per_second: list[float] = field(default_factory=list)
    curve: list[tuple[int, float]] = field(default_factory=list)  # step, value
    fold_errors: list[float] = field(default_factory=list)
    result: dict[str, Any] | None = None
    failed: str | None = None  # a paragraph
    kind: str = ""  # of that failure


def attempt(study: "Study", trial: "Trial", task: Task, *, requests: StopRequests, deadline: float, say: Say) -> Ending:
    """Run a trial in a process of its own and tell the study how it ended.

    Args:
        study: of the trial.
        trial: drawn, with its values.
        task: what its process is to do.
        requests: of the worker; one that comes is passed on, and the trial is queued again by the next worker.
        deadline: seconds since the epoch, when the trial is ended if it still runs.
        say: takes a line at the end.
    """
    from optuna.exceptions import UpdateFinishedTrialError

    process = _Process(task, folder=Path(task.folder))
    told, ended_by = _Told(), ""
    alive = time.time()
    try:
        while (event := process.next_event()) is not _ENDED:
            if event is not None:
                _take(event, told, study, trial)
            if ended_by:
                continue
            now = time.time()
            if now - alive > ALIVE_SECONDS:
                alive = now
                trial.set_user_attr("alive", now)
            if requests.number is not None:
                ended_by = "asked"
            elif now >= deadline:
                ended_by = "budget"
            elif event and "share" in event and len(study.directions) == 1 and trial.should_prune():
                ended_by = "pruned"
            if ended_by:
                process.stop()
        process.end()
        return _close(study, trial, told, ended_by=ended_by, exit_code=process.exit_code, task=task, say=say)
    except UpdateFinishedTrialError:  # on another machine, somebody took us for gone
        say(f"trial {trial.number}: another worker has taken it over")
        return "stopped"
    finally:
        process.end()


def _take(event: Mapping[str, Any], told: _Told, study: "Study", trial: "Trial") -> None:
    """Keep what the process tells, and report its epochs."""
    from kit.tune.pruning import report_step

    if "predicted" in event:
        told.predicted, told.limit = event["predicted"], event["limit"]
        trial.set_user_attr("epochs", event["epochs"])
        trial.set_user_attr("predicted_bytes", told.predicted)
    elif "share" in event:
        step, value = report_step(event["share"], fold_position=event["fold"]), float(event["value"])
        told.seconds.append(event["seconds"])
        told.images_per_second.append(event["images_per_second"])
        told.curve.append((step, value))
        if len(study.directions) == 1:
            trial.report(value, step)
        else:
            trial.set_user_attr("curve", told.curve)  # optuna takes no reports where there are several objectives
    elif "fold_error" in event:
        told.fold_errors.append(event["fold_error"])
        trial.set_user_attr("fold_errors", told.fold_errors)
    elif "result" in event:
        told.result = event["result"]
    elif "failed" in event:
        told.failed, told.kind = event["failed"], event["kind"]


def _close(
    study: "Study", trial: "Trial", told: _Told, *, ended_by: str, exit_code: int, task: Task, say: Say
) -> Ending:
    """Tell the study how a trial ended, say it, and remove what nobody needs any more."""
    from optuna.trial import TrialState

    folder = Path(task.folder)
    notes: dict[str, Any] = {"num_epochs_done": len(told.seconds)}
    if told.seconds:
        notes["epoch_seconds"] = sum(told.seconds) / len(told.seconds)
        notes["images_per_second"] = sorted(told.images_per_second)[len(told.images_per_second) // 2]
    values: list[float] | None = None
    state, line = TrialState.FAIL, ""
    ending: Ending = "failed"
    excess = 0.0 if told.limit is None or told.predicted is None else (told.predicted - told.limit) / told.limit
    short = exit_code == -signal.SIGKILL or told.kind == NoMemoryError.__name__
    if told.result is not None:
        result = told.result
        peak = result["peak_bytes"]
        if told.limit is not None:
            trial.set_constraint("memory", (peak - told.limit) / told.limit)
        notes |= {key: result[key] for key in ("error", "score", "metric", "minutes", "peak_bytes", "device", "notes")}
        by_name = {"error": result["error"], "minutes": result["minutes"], "memory": peak / 2**30}
        values = [by_name[name] for name in study.user_attrs["settings"]["objectives"]]
        state, ending = TrialState.COMPLETE, "done"
        line = f"error {result['error']:.4f}, {result['minutes']:.1f} min, {peak / 2**30:.2f} GiB"
    elif ended_by == "pruned":
        state, ending, line = TrialState.PRUNED, "pruned", f"ended after {len(told.seconds)} epochs: it cannot win"
    elif ended_by == "budget":
        notes["stopped"], ending = True, "stopped"
        line = f"the budget ended after {len(told.seconds)} epochs; with more of it, it will be gone on with"
    elif ended_by == "asked" or exit_code in (-signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGTERM):
        notes["stopped"], ending, line = True, "stopped", "stopped; it will be gone on with"
    elif excess > 0 or short:
        excess = max(excess, KILLED_EXCESS)
        trial.set_constraint("memory", excess)
        what = f"would take {1 + excess:.2f} x the limit"
        if short:
            what = told.failed or "was killed, as is usual where memory is short"
        notes["infeasible"] = what
        state, ending, line = TrialState.PRUNED, "infeasible", what
    elif told.kind == TrainingError.__name__ and told.failed:
        notes["diverged"] = told.failed
        state, ending, line = TrialState.PRUNED, "pruned", told.failed
    else:
        notes["reason"] = told.failed or f"exit code {exit_code}, see {folder / 'log.txt'}"
        line = notes["reason"]
    for key, value in {**notes, "ended": time.time()}.items():
        trial.set_user_attr(key, value)
    study.tell(trial, values, state=state)
    if ending != "stopped":
        shutil.rmtree(folder / "models", ignore_errors=True)  # a sweep would fill the disk with weights
    say(f"trial {trial.number}: {line}")
    return ending


_ENDED: dict[str, Any] = {}  # told by nobody: what comes after the last event


class _Process:
    """The process of a trial, and the thread that listens to it; the log in the trial's folder has all it says."""

    def __init__(self, task: Task, *, folder: Path) -> None:
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._stopping_since: float | None = None
        with (make_folder(folder) / "log.txt").open("ab") as log:
            self._process = start_child("kit.tune.trial", memory=task.memory, log=log)
        self._log = folder / "log.txt"
        self._thread = threading.Thread(target=self._listen, args=(task,), daemon=True)
        self._thread.start()

    def _listen(self, task: Task) -> None:
        with self._log.open("a", encoding="utf-8") as log:
            for text in told_by(self._process, task):
                event = json.loads(text)
                log.write(event.get("line", text.decode().rstrip()) + "\n")
                log.flush()
                self._events.put(event)
        self._events.put(_ENDED)

    def next_event(self) -> dict[str, Any] | None:
        """Return what the process tells next, None if nothing for a while, or `_ENDED` when it is gone."""
        if self._stopping_since is not None and time.monotonic() - self._stopping_since > STOP_SECONDS:
            self._process.kill()
        try:
            return self._events.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            return None

    def stop(self) -> None:
        """Ask the process to write its state and end."""
        self._stopping_since = time.monotonic()
        self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Make sure that it is gone."""
        self._process.kill()
        self._thread.join()
        close_pipes(self._process)

    @property
    def exit_code(self) -> int:
        """Of the process, negative where a signal ended it."""
        return self._process.wait()
