"""The progress of a sweep: in a terminal a table that is drawn anew every second, for programs what it shows now."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kit.tune.study import StudyPlace, settings_of
from kit.tune.trials import best_of, feasible, finished, spent_seconds

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial
    from rich.table import Table

ROWS = 15  # the latest trials, and the best
MORE_COLUMNS = ("error", "minutes", "GiB")


def progress_table(trials: Sequence["FrozenTrial"], keys: Sequence[str], *, title: str) -> "Table":
    """Return a table of the latest trials, the best one first.

    Args:
        trials: of the study.
        keys: what is drawn, a column each.
        title: above it.
    """
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in ("trial", "state", *MORE_COLUMNS, *(key.rpartition(".")[2] for key in keys)):
        table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    best = best_of(trials)
    shown = [trial for trial in trials if trial.state.name != "WAITING"][-ROWS:]
    if best is not None:
        shown = [best, *(trial for trial in shown if trial.number != best.number)]
    for trial in shown:
        mark = " *" if best is not None and trial.number == best.number else ""
        table.add_row(
            f"{trial.number}{mark}",
            _state(trial),
            *map(_short, _measured(trial).values()),
            *(_short(trial.params.get(key)) for key in keys),
        )
    return table


def title_of(name: str, trials: Sequence["FrozenTrial"], *, num_trials: int, deadline: float) -> str:
    """Return one line: how many trials are done, what the best error is, and how much of the budget is left."""
    best, left = best_of(trials), deadline - time.time()
    parts = [f"{name}: {len(finished(trials))} of {num_trials} trials"]
    parts += [f"best error {best.values[0]:.4f} (trial {best.number})"] if best is not None else []
    parts += [f"{max(0.0, left) / 60:.0f} min of the budget left"] if left < 10**8 else []
    return ", ".join(parts)


class Watch:
    """Draws the progress on stderr while it is entered; gives the function that `kit.tune.tune.sweep` calls."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)

    def __enter__(self) -> Callable[["Study", int, float], None]:
        """Begin to draw."""
        self._live.start()
        return self._draw

    def __exit__(self, *_: object) -> None:
        """Take the picture away."""
        self._live.stop()

    def say(self, line: str) -> None:
        """Print a line above the picture."""
        self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _draw(self, study: "Study", num_trials: int, deadline: float) -> None:
        trials = study.get_trials(deepcopy=False)
        title = title_of(study.study_name, trials, num_trials=num_trials, deadline=deadline)
        keys = [axis.key for axis in settings_of(study).drawn_from.axes]
        self._live.update(progress_table(trials, keys, title=title), refresh=True)


def snapshot(place: StudyPlace) -> dict[str, Any]:
    """Return how far a study is, as plain values; it is only read.

    Raises:
        StorageError: there is no such study, or its storage cannot be reached.
    """
    study = place.load()
    trials = study.get_trials(deepcopy=False)
    best = best_of(trials)
    return {
        "study": place.name,
        "storage": place.shown,
        "finished": len(finished(trials)),
        "minutes": spent_seconds(trials, now=time.time()) / 60,
        "best": None if best is None else best.number,
        "trials": [
            {"number": trial.number, "state": _state(trial), **_measured(trial), "drawn": dict(trial.params)}
            for trial in trials
            if trial.state.name != "WAITING"
        ],
    }


def _state(trial: "FrozenTrial") -> str:
    if trial.state.name == "RUNNING":
        done = max(trial.intermediate_values, default=0)
        return f"running, {done / 10:.0f} %" if done else "begins"
    if "infeasible" in trial.user_attrs or not feasible(trial):
        return "too much memory"
    if trial.state.name == "FAIL":
        if "not_started" in trial.user_attrs:
            return "not started"
        return "failed" if "reason" in trial.user_attrs else "lost, queued again"
    return {"COMPLETE": "done", "PRUNED": "ended early"}.get(trial.state.name, trial.state.name.lower())


def _measured(trial: "FrozenTrial") -> dict[str, float | None]:
    """Return the error, so far where a trial is not done, the minutes that it took, and its peak of memory in GiB."""
    found, latest = trial.user_attrs, trial.intermediate_values
    peak = found.get("peak_bytes")
    return {
        "error": found.get("error", latest[max(latest)] if latest else None),
        "minutes": found.get("minutes"),
        "peak_gib": None if peak is None else peak / 2**30,
    }


def _short(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
