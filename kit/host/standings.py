"""Standings: which place each team has, by public score until the deadline and by private score after it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from kit.host.tables import COMPLETE, NUM_FINALS, Submission

DIGITS = 5  # behind the point, of a score as it is shown and ranked, as on Kaggle


@dataclass(frozen=True, kw_only=True)
class Place:
    """One team's line."""

    rank: int  # 1 + number of teams that are strictly better
    team: int
    name: str
    score: str
    date: datetime  # of the submission that brought it, UTC
    num_submissions: int  # in time


def shown_score(value: float | None) -> str:
    """Return a score as it is shown; empty where there is none."""
    return "" if value is None else f"{value:.{DIGITS}f}"


def standings(
    submissions: Sequence[Submission], names: Mapping[int, str], *, greater_is_better: bool, private: bool
) -> list[Place]:
    """Return the places, best first; equal scores share a rank, the earlier one stands first.

    Args:
        submissions: of all teams; late ones and those without a score are passed over.
        names: team -> name.
        greater_is_better: of the metric.
        private: rank by the private score of each team's final submissions, else by the released public score.
    """
    sign = -1 if greater_is_better else 1
    best: list[tuple[float, datetime, int]] = []
    counts: dict[int, int] = {}
    for team in {one.user for one in submissions}:
        own = [one for one in submissions if one.user == team and not one.late]
        counts[team] = len(own)
        scored = [one for one in own if one.status == COMPLETE]
        if private:
            scored = finals_of(scored, greater_is_better=greater_is_better)
        keys = [(sign * float(shown_score(_score(one, private=private))), one.date, team) for one in scored]
        best += [min(keys)] if keys else []
    best.sort()
    scores = [key for key, _, _ in best]
    return [
        Place(
            rank=1 + scores.index(key),
            team=team,
            name=names[team],
            score=shown_score(sign * key),
            date=date,
            num_submissions=counts[team],
        )
        for key, date, team in best
    ]


def finals_of(scored: Sequence[Submission], *, greater_is_better: bool) -> list[Submission]:
    """Return a team's final submissions: the chosen ones, else the best by public score, the earlier first."""
    if chosen := [one for one in scored if one.final]:
        return chosen
    sign = -1 if greater_is_better else 1
    # Those that the Ladder did not let move the score show that of an earlier one, and stand behind it.
    return sorted(scored, key=lambda one: (sign * _score(one, private=False), not one.moved, one.ref))[:NUM_FINALS]


def _score(submission: Submission, *, private: bool) -> float:
    value = submission.private if private else submission.released
    assert value is not None
    return value
