"""Pruning that is fair to one-cycle schedules: trials are compared at the same share of their schedule.

Under one-cycle (Smith 2018) a network's error stays high while the learning rate is high and falls at the end. At the
same epoch a short training therefore looks better than a long one, and a gentle one better than a bold one, and pruners
that compare there end the trial that would have won. Here a trial is held against trials of about its length, at the
same share of the schedule; and it is ended only if it is not among the best there and, as its finished peers went on
from that share, will hardly become the best of the study. A trial that trains several folds is afterwards compared fold
by fold with the best one, by the signed-rank test (Wilcoxon 1945).

Imports optuna, which takes half a second: import this module inside functions.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from optuna import Study

STEPS = 1000  # of a fold's schedule, as they are reported

# Chosen on made-up curves and on real trainings; `python -m tests.bench.pruning` shows what they do.
MIN_SHARE = 0.25  # of the schedule, before which nothing is said: the learning rate still rises
BRACKET = 2.0  # a peer is at most so many times longer or shorter
MIN_PEERS = 4  # that came to their end
SAFE_SHARE = 0.3  # the best of the peers there, among which a trial goes on whatever is predicted
CONFIDENCE = 0.975  # that a trial will not be the best, before it is ended
P_THRESHOLD = 0.1  # of the signed-rank test: four folds of four
_PRIOR_SPREAD = 1.0  # of the logarithm of the remaining gain at the start of a schedule, known before any peer
_PRIOR_PEERS = 2.0  # that this knowledge counts for
_PRIOR_SLOPE = 4.0  # sum of squares that the slope 1 counts for
_TINY = 1e-4  # distances below it are all the same: a perfect score has no logarithm


def report_step(share: float, *, fold_position: int = 0) -> int:
    """Return the step under which a trial reports its score: round(1000 x share), in the first fold that it trains.

    Args:
        share: of this fold's schedule that is done, in (0, 1].
        fold_position: 0 for the first fold that the trial trains, 1 for the next, ...
    """
    return STEPS * fold_position + min(STEPS, max(1, round(STEPS * share)))


@dataclass(frozen=True, kw_only=True)
class Curve:
    """How far a trial is from the ideal score, over the schedules of its folds."""

    epochs: float  # length of a schedule
    folds: tuple[Mapping[float, float], ...]  # of each fold: share of the schedule -> distance from the ideal
    complete: bool  # the trial came to its end
    feasible: bool  # and kept its limits

    @property
    def finals(self) -> tuple[float, ...]:
        """Distances at the ends of the folds, as far as they are trained."""
        return tuple(fold[1.0] for fold in self.folds if 1.0 in fold)

    @property
    def share(self) -> float:
        """How much of the first fold's schedule is done."""
        return max(self.folds[0])

    @property
    def diverged(self) -> bool:
        """The last score is no number."""
        last = self.folds[-1]
        return not math.isfinite(last[max(last)])

    def best_until(self, share: float) -> float:
        """Return the smallest distance in the first fold up to `share`; between reports the curve is straight.

        The best so far and not the last: in the middle of a cycle scores jump. NaN where the curve begins later or
        ends before.
        """
        first = self.folds[0]
        shares = sorted(first)
        if not shares[0] <= share <= shares[-1]:
            return math.nan
        there = float(np.interp(share, shares, [first[one] for one in shares]))
        return min([there, *(first[one] for one in shares if one <= share)])


def curve_of(trial: FrozenTrial, *, ideal: float) -> Curve | None:
    """Return a trial's curve, or None where it has none, or was lost.

    Args:
        trial: with the user attribute `epochs`, and scores reported at the steps of `report_step`; in a study with
            several objectives, to which optuna allows no reports, the user attribute `curve` has them as pairs
            (step, score).
        ideal: the best value that a score can have.
    """
    kept = trial.user_attrs.get("curve", ())
    reported = trial.intermediate_values or {int(step): float(value) for step, value in kept}
    epochs = trial.user_attrs.get("epochs")
    if not reported or epochs is None or trial.state == TrialState.FAIL:
        return None
    folds: dict[int, dict[float, float]] = {}
    for step, value in sorted(reported.items()):
        fold, within = divmod(step - 1, STEPS)
        folds.setdefault(fold, {})[(within + 1) / STEPS] = abs(value - ideal)
    return Curve(
        epochs=float(epochs),
        folds=tuple(folds.values()),
        complete=trial.state == TrialState.COMPLETE,
        feasible=all(value <= 0 for value in trial.constraints.values()),
    )


class FairPruner(BasePruner):
    """Ends trials that are behind others of their length and will hardly win; see the module.

    With several objectives it looks at the first one, and only at what trials have as user attribute `curve`; optuna's
    `Trial.should_prune` refuses such studies, `prune` does not.
    """

    def __init__(self, *, ideal: float | None = None) -> None:
        """Make one.

        Args:
            ideal: the best value that a score can have; default: 1 where it is maximised, 0 where it is minimised.
        """
        self._ideal = ideal

    def prune(self, study: "Study", trial: FrozenTrial) -> bool:
        """Return whether to end `trial`, which runs: by its last score, and those of the study's other trials."""
        maximises = study.directions[0] == StudyDirection.MAXIMIZE
        ideal = self._ideal if self._ideal is not None else float(maximises)
        curve = curve_of(trial, ideal=ideal)
        if curve is None:
            return False
        if curve.diverged:
            return True
        others = [
            other
            for one in study.get_trials(deepcopy=False)
            if one.number != trial.number and (other := curve_of(one, ideal=ideal)) is not None and not other.diverged
        ]
        return will_hardly_win(curve, others) if curve.share < 1.0 else is_worse_fold_by_fold(curve, others)


def will_hardly_win(curve: Curve, others: Sequence[Curve]) -> bool:
    """Whether a trial in its first fold is not among the best of its peers, and will not catch up.

    From its finished peers a line is fitted that leads from the logarithm of the distance at this share to that at the
    end; a trial is ended if even the better end of the interval in which it will come out misses the best of the study.
    The line leans to slope 1 (all gain the same factor), and its spread to what annealing alone can give, until there
    are peers enough to know better (Student's t).

    Args:
        curve: of the trial.
        others: of all other trials.
    """
    share = curve.share
    if share < MIN_SHARE:
        return False
    peers = [one for one in others if 1 / BRACKET <= one.epochs / curve.epochs <= BRACKET]
    there = [(one, distance) for one in peers if math.isfinite(distance := one.best_until(share))]
    ended = [(distance, one.finals[0]) for one, distance in there if one.complete]
    bests = [one.finals[0] for one in others if one.complete and one.feasible]
    mine = curve.best_until(share)
    if len(ended) < MIN_PEERS or not bests or mine <= np.quantile([distance for _, distance in there], SAFE_SHARE):
        return False
    return _lowest_end(mine, ended, share=share) > math.log(max(min(bests), _TINY))


def _lowest_end(mine: float, ended: Sequence[tuple[float, float]], *, share: float) -> float:
    """Return the logarithm of the smallest distance at which a trial may end, with CONFIDENCE.

    Args:
        mine: its distance now.
        ended: distances of its peers at this share and at their end.
        share: of the schedule that is done.
    """
    from scipy.stats import t

    now, then = np.log(np.maximum(np.array(ended), _TINY)).T  # (N,) each
    away = now - now.mean()
    squares = away @ away + _PRIOR_SLOPE
    slope = 1 + away @ (then - then.mean() - away) / squares
    rest = then - then.mean() - slope * away
    degrees = len(ended) - 1 + _PRIOR_PEERS
    variance = (rest @ rest + _PRIOR_PEERS * (_PRIOR_SPREAD * (1 - share)) ** 2) / degrees
    off = math.log(max(mine, _TINY)) - now.mean()
    # Far from its peers the slope is not sure of anything; yet what is worse now is not expected to end better.
    offs = np.linspace(min(off, 0.0), off, 33)
    spread = np.sqrt(variance * (1 + 1 / len(ended) + offs**2 / squares))
    return float((then.mean() + slope * offs - t.ppf(CONFIDENCE, degrees) * spread).max())


def is_worse_fold_by_fold(curve: Curve, others: Sequence[Curve]) -> bool:
    """Whether a trial is worse than the study's best one on the folds that both have trained.

    One-sided signed-rank test on the differences; never for a trial that is as good in the mean, and not when the
    best one has no more folds, since then all is trained.

    Args:
        curve: of the trial.
        others: of all other trials.
    """
    from scipy.stats import wilcoxon

    mine = curve.finals
    rivals = [one.finals for one in others if one.complete and one.feasible and len(one.finals) > len(mine)]
    if not rivals:
        return False
    best = min(rivals, key=lambda finals: float(np.mean(finals)))
    worse_by = np.array(mine) - np.array(best[: len(mine)])
    if len(mine) < 2 or worse_by.mean() <= 0:
        return False
    # The exact distribution: there are few folds; equal scores count half to each side.
    return float(wilcoxon(worse_by, alternative="greater", zero_method="zsplit").pvalue) < P_THRESHOLD
