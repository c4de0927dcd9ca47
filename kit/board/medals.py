"""Kaggle's medals: how many teams there were → which ranks got gold, silver and bronze."""

from dataclasses import dataclass
from typing import Literal

Medal = Literal["gold", "silver", "bronze"]


@dataclass(frozen=True, kw_only=True)
class MedalRanks:
    """The last rank of each medal; 0 where there is none."""

    gold: int
    silver: int
    bronze: int

    def medal(self, rank: int) -> Medal | None:
        """Return the medal of a rank."""
        if rank <= self.gold:
            return "gold"
        if rank <= self.silver:
            return "silver"
        return "bronze" if rank <= self.bronze else None


def medal_ranks(teams: int) -> MedalRanks:
    """Return the last ranks that get medals among so many teams, by the rule of Kaggle's progression page.

    Under 100 teams 10, 20 and 40 %; up to 249 rank 10, 20 and 40 %; up to 999 rank 10 + 0.2 %, 50 and 100; from 1,000
    rank 10 + 0.2 %, 5 and 10 %. Ranks are rounded down.
    """
    if teams < 100:
        return MedalRanks(gold=teams // 10, silver=teams // 5, bronze=teams * 2 // 5)
    if teams < 250:
        return MedalRanks(gold=10, silver=teams // 5, bronze=teams * 2 // 5)
    if teams < 1000:
        return MedalRanks(gold=10 + teams // 500, silver=50, bronze=100)
    return MedalRanks(gold=10 + teams // 500, silver=teams // 20, bronze=teams // 10)
