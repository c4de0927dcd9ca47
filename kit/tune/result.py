"""The result of a sweep: every trial, the winner, what mattered, and whether tuning helped.

The winner is the trial with the lowest out-of-fold error within the limits. Test images have no part in it: no trial
predicts them.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kit.config import Recipe
from kit.errors import TrainingError
from kit.provenance import commit, versions
from kit.tune.finals import Comparison
from kit.tune.space import STRENGTH, recipe_with, value_at
from kit.tune.study import Settings, StudyPlace
from kit.tune.trials import best_of, feasible, finished, spent_seconds

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

SCHEMA_VERSION = 1
FEWEST_FOR_IMPORTANCE = 6  # trials that came to their end
UNITS = {"error": "error", "minutes": "minutes", "memory": "GiB"}  # of the objectives


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One trial, as the page shows it."""

    number: int
    ended: str  # "done", "ended early", "too much memory", "diverged", "not started" or "failed"
    why: str  # in words, where it is not done
    error: float | None  # out of fold; None unless it is done
    score: Mapping[str, Any] | None  # in the protocol's metric, with its interval
    minutes: float | None
    peak_gib: float | None
    drawn: Mapping[str, Any]
    is_untuned: bool  # the recipe's own values
    on_front: bool  # no other trial is better in one objective and as good in all


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """What a sweep came to."""

    schema_version: int
    name: str
    created_at: str  # UTC, ISO 8601
    slug: str
    protocol: str
    source: str
    labels: str | None  # name of another label rule
    metric: str
    objectives: tuple[str, ...]
    num_folds_used: int  # by which trials were judged
    num_folds: int
    memory_gib: float | None  # limit of each trial
    minutes: float  # in which trials ran
    winner: int  # number of the trial
    recipe: Recipe  # the winner's, named "tuned"
    changed: Mapping[str, tuple[Any, Any]]  # key -> (untuned, drawn)
    importance: Mapping[str, float]  # of each key for the error, adding up to 1; empty where too little is known
    trials: list[TrialRow]
    comparison: Comparison | None  # None: it was not made
    test_opened: int  # times that test images were predicted
    versions: Mapping[str, str]
    commit: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return asdict(self)


def winner_recipe(settings: Settings, trials: "Sequence[FrozenTrial]") -> Recipe:
    """Return the recipe of the best trial, named "tuned".

    Raises:
        TrainingError: no trial came to its end within the limits.
    """
    return replace(recipe_with(settings.untuned, _winner(trials).params), name="tuned")


def _winner(trials: "Sequence[FrozenTrial]") -> "FrozenTrial":
    best = best_of(trials)
    if best is None:
        raise TrainingError(
            f"None of {len(finished(trials))} trials came to its end within the limits, so there is no winner. Give "
            "more --trials, a longer --budget or more --memory; the same command goes on."
        )
    return best


def study_result(
    place: StudyPlace, settings: Settings, study: "Study", *, metric: str, comparison: Comparison | None
) -> StudyResult:
    """Gather what a study came to.

    Args:
        place: of the study.
        settings: what it was begun with.
        study: with its trials.
        metric: the protocol's.
        comparison: of winner and untuned recipe; None where it was not made.

    Raises:
        TrainingError: no trial came to its end within the limits.
    """
    trials = study.get_trials(deepcopy=False)
    best = _winner(trials)
    front = {trial.number for trial in front_of(trials)}
    now = datetime.now(UTC)
    untuned = settings.untuned
    own = {axis.key: 1.0 if axis.key == STRENGTH else value_at(untuned, axis.key) for axis in settings.drawn_from.axes}
    return StudyResult(
        schema_version=SCHEMA_VERSION,
        name=place.name,
        created_at=now.isoformat(timespec="seconds"),
        slug=settings.slug,
        protocol=settings.protocol,
        source=settings.source,
        labels=settings.labels,
        metric=metric,
        objectives=settings.objectives,
        num_folds_used=settings.folds_used,
        num_folds=untuned.num_folds,
        memory_gib=None if settings.memory is None else settings.memory / 2**30,
        minutes=spent_seconds(trials, now=now.timestamp()) / 60,
        winner=best.number,
        recipe=winner_recipe(settings, trials),
        changed={key: (own[key], value) for key, value in best.params.items()},
        importance=importance_of(study),
        trials=[_row(trial, on_front=trial.number in front) for trial in trials if _ended(trial)],
        comparison=comparison,
        test_opened=0,
        versions=versions(),
        commit=commit(),
    )


def front_of(trials: "Sequence[FrozenTrial]") -> "list[FrozenTrial]":
    """Return the Pareto front: trials within the limits that no other betters in one objective and equals in all."""
    from optuna.trial import TrialState

    done = [trial for trial in trials if trial.state == TrialState.COMPLETE and feasible(trial)]
    return [one for one in done if not any(_dominates(other.values, one.values) for other in done)]


def _dominates(first: Sequence[float], second: Sequence[float]) -> bool:
    pairs = list(zip(first, second, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def importance_of(study: "Study") -> dict[str, float]:
    """Return how much of what tells good trials from the others each key explains, the largest first.

    By PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023), as optuna does it; empty where fewer than six trials came to
    their end.
    """
    from optuna.importance import get_param_importances
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < FEWEST_FOR_IMPORTANCE or len({trial.values[0] for trial in done}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a low target counts as good, which it is
        found = get_param_importances(study, target=lambda trial: float(trial.values[0]))
    return {key: float(value) for key, value in found.items()}


def _ended(trial: "FrozenTrial") -> bool:
    """Whether a trial is to be shown: one that was lost is queued again and shown under its new number."""
    return bool(finished([trial])) or "reason" in trial.user_attrs


def _row(trial: "FrozenTrial", *, on_front: bool) -> TrialRow:
    said = trial.user_attrs
    why = next((str(said[key]) for key in ("infeasible", "diverged", "reason") if said.get(key)), "")
    done = trial.state.name == "COMPLETE"
    if "infeasible" in said or not feasible(trial):
        excess = max(trial.constraints.values(), default=0.0)
        ended, why = "too much memory", why or f"took {1 + excess:.2f} x the limit"
    elif done:
        ended = "done"
    elif "diverged" in said:
        ended = "diverged"
    elif "not_started" in said:
        ended = "not started"
    else:
        ended = "ended early" if trial.state.name == "PRUNED" else "failed"
    peak = said.get("peak_bytes")
    return TrialRow(
        number=trial.number,
        ended=ended,
        why=why,
        error=float(trial.values[0]) if done else None,
        score=said.get("score"),
        minutes=said.get("minutes"),
        peak_gib=None if peak is None else peak / 2**30,
        drawn=dict(trial.params),
        is_untuned=bool(said.get("untuned")),
        on_front=on_front,
    )
