"""The trials of a study: who runs each, which are lost and queued again, which count, and which is the best."""

import contextlib
import os
import socket
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.tune.study import StudyPlace, turn

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

STALE_SECONDS = 900  # without a sign of life, after which a trial on another machine counts as gone
ALIVE_SECONDS = 60  # between signs of life
ATTEMPTS = 3  # of one trial whose process was lost


@cache
def here() -> str:
    """Return what names this machine as far as numbers of processes go: host, boot, and namespace."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8])
        parts.append(str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]"))
    return "/".join(parts)


def owner() -> dict[str, Any]:
    """Return what tells whether this process still runs, for others to see."""
    return {"place": here(), "pid": os.getpid(), "began": _began(os.getpid())}


def is_gone(trial: "FrozenTrial", *, now: float) -> bool:
    """Whether the process that runs a trial is gone: looked up here; elsewhere, by its last sign of life."""
    found = trial.user_attrs.get("owner")
    if found is not None and found["place"] == here():
        return bool(_began(found["pid"]) != found["began"])
    started = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
    waits = STALE_SECONDS if found else ALIVE_SECONDS  # a trial is given its owner right after it is made
    return now - float(trial.user_attrs.get("alive", started)) > waits


def _began(pid: int) -> float:
    """Return when a process began, in ticks since the machine did (proc(5)); 0 where there is none, or none to see."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    fields_behind_name = status.rpartition(")")[2].split()
    return 0.0 if fields_behind_name[0] in "ZX" else float(fields_behind_name[19])


def queue_again(study: "Study", place: StudyPlace) -> list[int]:
    """Give up the trials whose process is gone, queue them again with the same values, and return their numbers.

    A trial that was stopped on request is queued again too. One that has failed for a `reason` is not, nor one that
    lost its process ATTEMPTS times.
    """
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    queued = []
    with turn(place):
        now = time.time()
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if is_gone(trial, now=now):
                with contextlib.suppress(ValueError, UpdateFinishedTrialError):  # somebody was faster, or it has ended
                    study.tell(trial.number, state=TrialState.FAIL)
        trials = study.get_trials(deepcopy=False)
        followed = {trial.user_attrs.get("again") for trial in trials}
        for trial in trials:
            lost = trial.state == TrialState.FAIL and "reason" not in trial.user_attrs
            attempt = int(trial.user_attrs.get("attempt", 1))
            if not lost or trial.number in followed or attempt >= ATTEMPTS:
                continue
            kept = {key: trial.user_attrs[key] for key in ("untuned",) if key in trial.user_attrs}
            stopped = bool(trial.user_attrs.get("stopped"))
            study.enqueue_trial(
                trial.params or trial.system_attrs.get("fixed_params", {}),
                user_attrs={
                    **kept,
                    "again": trial.number,
                    "origin": origin_of(trial),
                    "attempt": attempt if stopped else attempt + 1,
                },
            )
            queued.append(trial.number)
    return queued


def origin_of(trial: "FrozenTrial | Trial") -> int:
    """Return the number of the first trial of those that were queued again; its folder is theirs."""
    return int(trial.user_attrs.get("origin", trial.number))


def finished(trials: Sequence["FrozenTrial"]) -> list["FrozenTrial"]:
    """Return the trials that count: trained, pruned, or found not to fit."""
    from optuna.trial import TrialState

    return [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]


def feasible(trial: "FrozenTrial") -> bool:
    """Whether a trial kept its limits."""
    return all(value <= 0 for value in trial.constraints.values())


def best_of(trials: Sequence["FrozenTrial"]) -> "FrozenTrial | None":
    """Return the trial with the lowest error among those that came to their end within the limits, or None."""
    from optuna.trial import TrialState

    done = [trial for trial in trials if trial.state == TrialState.COMPLETE and feasible(trial)]
    return min(done, key=lambda trial: (trial.values[0], trial.number), default=None)


def spent_seconds(trials: Sequence["FrozenTrial"], *, now: float) -> float:
    """Return for how long at least one of the trials ran, in seconds."""
    spans = []
    for trial in trials:
        began = trial.user_attrs.get("began")
        if began is not None:
            ended = trial.user_attrs.get("ended") or trial.user_attrs.get("alive", began)
            spans.append((float(began), min(now, float(ended))))
    total, until = 0.0, 0.0
    for began, ended in sorted(spans):
        total += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return total
