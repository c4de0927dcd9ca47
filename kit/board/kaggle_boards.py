"""Kaggle's boards as they were: a score → its rank, its percentile, and the medal the rule gives for it.

`leaderboard/kaggle/` holds the scores and says where they are from. Scores are decimal numbers as Kaggle prints them,
and are compared as such: a binary fraction would part 0.1 from 0.10.
"""

import csv
import math
import re
import tomllib
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import cache, cached_property
from itertools import accumulate, groupby
from typing import ClassVar, Literal, TypeAlias

from kit.board.medals import Medal, MedalRanks, medal_ranks
from kit.competition import competition_folders, load_competition, package_folder
from kit.config import checked
from kit.errors import BaselineError, CompetitionError, ConfigError, did_you_mean

Kind = Literal["private", "public"]
ScoreLike: TypeAlias = "str | float | Decimal"

_NUMBER = re.compile(r"[+-]?[0-9]{1,12}(\.[0-9]{0,30})?([eE][+-]?[0-9]{1,2})?")
# What a metric can give: a score outside is a slip, such as per cent for a fraction.
_FRACTIONS = ("accuracy", "error_rate", "roc_auc", "mean_f1", "micro_f1", "map5", "localisation_error")
_RANGES = {"log_loss": (0, math.inf), "quadratic_weighted_kappa": (-1, 1)} | dict.fromkeys(_FRACTIONS, (0, 1))
_LARGEST = Decimal(10) ** 12


class _Strict:
    __pydantic_config__: ClassVar[Mapping[str, object]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class ReportedRank(_Strict):
    """A rank that somebody reported for a score, of a competition without a board here."""

    rank: int
    score: str  # as reported


@dataclass(frozen=True, kw_only=True)
class KaggleFacts(_Strict):
    """What is known of a competition on Kaggle: a table of boards.toml."""

    metric: str  # as METRICS calls it, where it has it
    greater_is_better: bool
    boards: tuple[Kind, ...]  # those there is a file of
    awards: Literal["yes", "no", "unverified"]  # medals
    source: str
    one_board: bool = False  # the public board was the final one
    rolling: bool = False  # no end and no final board; it gives no medals
    teams: int | None = None
    teams_listed: int | None = None  # by Kaggle's listing of 2019-06-04, where that number is another
    deadline: date | None = None
    deadline_source: str = ""
    reported: tuple[ReportedRank, ...] = ()


@dataclass(frozen=True, kw_only=True)
class KaggleBoard:
    """A leaderboard: how many teams had which score."""

    slug: str  # on Kaggle
    kind: Kind
    facts: KaggleFacts
    decimals: int  # of its scores
    scores: tuple[tuple[Decimal, int], ...]  # (score, teams), each score once, best first

    @property
    def teams(self) -> int:
        """How many teams stand on it."""
        return self._last_ranks[-1]

    @cached_property
    def _last_ranks(self) -> list[int]:
        return list(accumulate(count for _, count in self.scores))

    @cached_property
    def _badness(self) -> list[Decimal]:
        return [-score if self.facts.greater_is_better else score for score, _ in self.scores]

    @property
    def medals(self) -> MedalRanks | None:
        """Return the last ranks of the medals; None for a rolling board, which gives none."""
        return None if self.facts.rolling else medal_ranks(self.teams)

    def score_at(self, rank: int) -> Decimal:
        """Return the score of the team at a rank, 1 to `teams`."""
        assert 1 <= rank <= self.teams
        return self.scores[bisect_left(self._last_ranks, rank)][0]

    def rounded(self, score: Decimal) -> Decimal:
        """Return a score with the board's number of decimals, a half rounded away from zero."""
        return score.quantize(Decimal(1).scaleb(-self.decimals), rounding=ROUND_HALF_UP) + 0  # no -0.00

    def num_better(self, score: Decimal) -> int:
        """Return how many teams' scores are strictly better."""
        better = bisect_left(self._badness, -score if self.facts.greater_is_better else score)
        return self._last_ranks[better - 1] if better else 0


@dataclass(frozen=True, kw_only=True)
class Placing:
    """Where a score would have stood."""

    rank: int  # 1 + teams that were strictly better; teams + 1 for one worse than all
    last_rank: int  # behind all teams with the very same score: Kaggle puts who was first first
    teams: int
    percentile: float  # 100 x rank / teams, at most 100: "the top so many per cent"
    medal: Medal | None  # of `rank`
    as_if: bool  # the rule is applied though the competition gave no medals, or nothing says that it did
    ties: int  # teams with the very same score
    words: str


@cache
def kaggle_facts() -> Mapping[str, KaggleFacts]:
    """Return slug on Kaggle -> what is known of it.

    Raises:
        BaselineError: boards.toml breaks its schema.
    """
    path = package_folder("leaderboard") / "kaggle" / "boards.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaselineError(f"{path} cannot be read: {error}.") from error
    return {
        slug: checked(KaggleFacts, table, where=f"{path} [{slug}]", error_kind=BaselineError)
        for slug, table in tables.items()
    }


def kaggle_slug(slug: str) -> str:
    """Return a competition's name on Kaggle: that of one of ours, or the name itself where boards.toml has it.

    Raises:
        CompetitionError: neither knows it, or it is not one of Kaggle's.
    """
    if slug in competition_folders():
        if found := load_competition(slug).kaggle:
            return found
        raise CompetitionError(
            f"{slug} is not a competition of Kaggle's: its competition.toml names none (key `kaggle`), so there is no "
            f"leaderboard. `kit compare {slug}` shows the published results."
        )
    known = kaggle_facts()
    if slug in known:
        return slug
    raise CompetitionError(
        f"There is no competition {slug!r}, neither here nor among the boards."
        f"{did_you_mean(slug, [*competition_folders(), *known])} `kit list` shows those here; there are "
        f"boards of {', '.join(name for name, facts in known.items() if facts.boards)}."
    )


def find_board(slug: str, *, public: bool = False) -> KaggleBoard | None:
    """Return the final board of a competition, or None where there is no file of it.

    Args:
        slug: its name on Kaggle, see `kaggle_slug`.
        public: the public board instead; of a rolling competition there is no other.

    Raises:
        BaselineError: the file breaks its schema.
    """
    facts = kaggle_facts().get(slug)
    if facts is None:
        return None
    kind: Kind = "public" if (public and not facts.one_board) or facts.rolling else "private"
    return _read_board(slug, kind) if kind in facts.boards else None


@cache
def _read_board(slug: str, kind: Kind) -> KaggleBoard:
    path = package_folder("leaderboard") / "kaggle" / kind / f"{slug}.csv"
    facts = kaggle_facts()[slug]
    with path.open(encoding="ascii", newline="") as file:
        rows = list(csv.reader(file))
    try:
        scores = [score for text, count in rows[1:] for score in [parsed_score(text)] * int(count)]
    except (ValueError, ConfigError) as error:
        raise BaselineError(f"{path}: each line is a score and a number of teams: {error}") from error
    board = board_of(slug, scores, facts=facts, kind=kind)
    if rows[0] != ["score", "teams"] or board.teams != facts.teams or len(board.scores) != len(rows) - 1:
        raise BaselineError(
            f"{path}: expected the header score,teams, then each score once, best first, of {facts.teams} teams in "
            f"all; found {rows[0]} and {len(scores)} teams."
        )
    if [score for score, _ in board.scores] != [parsed_score(text) for text, _ in rows[1:]]:
        raise BaselineError(f"{path}: the scores do not stand best first.")
    return board


def board_of(slug: str, scores: Iterable[ScoreLike], *, facts: KaggleFacts, kind: Kind) -> KaggleBoard:
    """Return a board of any scores, one a team, in any order: for one that was downloaded.

    Args:
        slug: the competition's name on Kaggle.
        scores: at least one, as Kaggle prints them.
        facts: of `kaggle_facts`, or made for a competition that it lacks.
        kind: which board it is.

    Raises:
        ConfigError: no score at all, or one that is no number.
    """
    found = sorted((parsed_score(score) for score in scores), reverse=facts.greater_is_better)
    if not found:
        raise ConfigError(f"The {kind} board of {slug} has no scores: there is nothing to be placed on.")
    decimals = max(_decimals(score) for score in found)
    return KaggleBoard(
        slug=slug,
        kind=kind,
        facts=facts,
        decimals=decimals,
        scores=tuple((score, len(list(same))) for score, same in groupby(found)),
    )


def parsed_score(score: ScoreLike) -> Decimal:
    """Return a score as the decimal number that it was written as; of a float, the shortest that means it.

    Raises:
        ConfigError: not a finite number.
    """
    text = (repr(float(score)) if isinstance(score, float) else str(score)).strip()
    if not _NUMBER.fullmatch(text):
        raise ConfigError(f"A score is a number such as 0.03302, got {text[:40]!r}.")
    if abs(found := Decimal(text)) >= _LARGEST:
        raise ConfigError(f"A score is a number such as 0.03302, and no metric gives {text}.")
    return found


def _decimals(score: Decimal) -> int:
    exponent = score.as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def place(board: KaggleBoard, score: ScoreLike) -> Placing:
    """Return where a score would have stood on a board, compared with as many decimals as the board has.

    Raises:
        ConfigError: no number, or none that the metric can give.
    """
    exact = possible_score(parsed_score(score), board.facts.metric)
    rounded = board.rounded(exact)
    rank = board.num_better(rounded) + 1
    ties = next((count for known, count in board.scores if known == rounded), 0)
    medals = board.medals
    medal = medals.medal(rank) if medals else None
    percentile = min(100.0, 100 * rank / board.teams)
    as_if = board.facts.awards != "yes" or board.kind == "public"
    said = [
        f"{rounded} is worse than all {board.teams:,} teams"
        if rank > board.teams
        else f"{rounded} is rank {rank:,} of {board.teams:,} teams (top {percentile:.3g} %)"
    ]
    if board.facts.rolling:
        said[0] += " of a board that has no end and gives no medals"
    else:
        said[0] += f": {medal}{as_if_words(board.facts, board.kind)}" if medal else ": no medal"
    if ties:
        have = "1 team has" if ties == 1 else f"{ties:,} teams have"
        said.append(
            f"{have} this very score; Kaggle puts the earlier first, and behind them it is rank {rank + ties:,}"
        )
        if medals and medal and medals.medal(rank + ties) != medal:
            said[-1] += f" ({medals.medal(rank + ties) or 'no medal'})"
    if (other := _listed_medal(board, rank)) is not None:
        said.append(other)
    if exact != rounded:
        said.append(f"the board has {board.decimals} decimals, and {exact} was rounded to them")
    return Placing(
        rank=rank,
        last_rank=rank + ties,
        teams=board.teams,
        percentile=percentile,
        medal=medal,
        as_if=as_if,
        ties=ties,
        words="; ".join(said) + ".",
    )


def as_if_words(facts: KaggleFacts, kind: Kind = "private") -> str:
    """Say that a medal is not one that was given, where it is not."""
    if kind == "public":
        return ", as if: the final board decides, and this is the public one"
    return {
        "yes": "",
        "no": ", as if: this competition gave no medals",
        "unverified": ", as if: whether this competition gave medals is not verified",
    }[facts.awards]


def _listed_medal(board: KaggleBoard, rank: int) -> str | None:
    """Say what the rule gives if Kaggle counted all teams it listed, where those are many more than were ranked."""
    listed = board.facts.teams_listed
    if board.medals is None or board.kind == "public" or listed is None or listed < 1.1 * board.teams:
        return None
    return (
        f"Kaggle listed {listed:,} teams, and which number its rule took is not known: of that it would be "
        f"{medal_ranks(listed).medal(rank) or 'no medal'}"
    )


def possible_score(score: Decimal, metric: str) -> Decimal:
    """Return a score that a metric can give.

    Raises:
        ConfigError: it cannot.
    """
    least, most = _RANGES.get(metric, (-math.inf, math.inf))
    if not least <= score <= most:
        percent = " Per cent are to be given as a fraction." if most == 1 and 1 < score <= 100 else ""
        raise ConfigError(
            f"A score of {score} is none that {metric} can give: it goes from {least} to {most}.{percent}"
        )
    return score
