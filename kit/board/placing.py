"""A score in words: its place on a board, or, without one, what the ranks say that others reported for theirs."""

from dataclasses import dataclass

from kit.board.kaggle_boards import (
    KaggleBoard,
    ScoreLike,
    as_if_words,
    kaggle_facts,
    parsed_score,
    place,
    possible_score,
)
from kit.board.medals import medal_ranks


@dataclass(frozen=True, kw_only=True)
class RankRange:
    """Between which ranks a score lies, by the ranks that others reported for theirs."""

    lowest: int
    highest: int | None  # None: nothing says
    teams: int | None
    words: str


def rank_range(slug: str, score: ScoreLike) -> RankRange | None:
    """Return between which ranks a score lies by `reported` ranks, or None where they say nothing of it.

    A reported rank may be of a late submission, which the board does not have: of two unequal scores the better one's
    rank is at most the other's, and no more is taken from it.
    """
    facts = kaggle_facts().get(slug)
    if facts is None or not facts.reported:
        return None
    own = possible_score(parsed_score(score), facts.metric)
    sign = -1 if facts.greater_is_better else 1
    own_badness = sign * own
    points = [(sign * parsed_score(point.score), point.rank) for point in facts.reported]
    lowest = max((rank for badness, rank in points if badness <= own_badness), default=1)
    highest = min((rank for badness, rank in points if badness >= own_badness), default=None)
    if lowest == 1 and highest is None:
        return None
    among = f" of {facts.teams:,}" if facts.teams else ""
    between = (
        f"rank {lowest:,}"
        if highest == lowest
        else f"a rank from {lowest:,} to {highest:,}"
        if highest
        else f"rank {lowest:,} or worse"
    )
    words = f"There is no board of {slug}. By the ranks that others reported, {own} is {between}{among}"
    if facts.teams:
        ranks = medal_ranks(facts.teams)
        best, worst = ranks.medal(lowest), ranks.medal(highest) if highest else None
        medal = f"{best or 'no medal'}" if best == worst else f"between {best} and {worst or 'no medal'}"
        words += f": {medal}{as_if_words(facts) if best else ''}"
    return RankRange(lowest=lowest, highest=highest, teams=facts.teams, words=words + ".")


def placed_words(slug: str, score: ScoreLike, *, board: KaggleBoard | None) -> str:
    """Say where a score would have stood: on the board, else by reported ranks, else why nothing can be said.

    Args:
        slug: the competition's name on Kaggle.
        score: as Kaggle prints it.
        board: from `find_board`.
    """
    if board is not None:
        return f"{slug}, {_BOARD_NAMES[board.kind, board.facts.rolling]}: {place(board, score).words}"
    if (reported := rank_range(slug, score)) is not None:
        return reported.words
    facts = kaggle_facts().get(slug)
    listed = facts and (facts.teams or facts.teams_listed)
    known = [f"{listed:,} teams"] if listed else []
    known += [f"a reported rank {point.rank} with {point.score}" for point in (facts.reported if facts else ())]
    had = f" It had {', '.join(known)}." if known else ""
    return f"There is no board of {slug} here, so a score cannot be placed.{had}"


_BOARD_NAMES = {
    ("private", False): "final board",
    ("public", False): "public board",
    ("public", True): "rolling public board",
}
