"""All that the board shows of one competition, put together before anything is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from kit.board.baselines import Baselines
from kit.board.claims import Claim
from kit.board.compare import compare
from kit.board.facts import RunFacts, facts_of
from kit.board.gather import LeftOut
from kit.board.groups import GroupRow, ProtocolGroup, groups
from kit.board.markup import file_name
from kit.board.records import Result, RunRecord
from kit.board.terms import own_results
from kit.conditions import Conditions
from kit.judge.test_ledger import Chain


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep that came to its end."""

    name: str
    title: str  # what it came to, in a sentence
    page: str  # address relative to the competition's page


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """One competition on the board."""

    slug: str
    title: str
    baselines_id: str
    records: Sequence[RunRecord] = ()  # oldest first
    published: Baselines | None = None
    fault: str = ""  # why there are no published results although there is a file
    claims: Sequence[Claim] = ()  # what runs of the competition's protocols could say
    sweeps: Sequence[Sweep] = ()
    left_out: Sequence[LeftOut] = field(default=())
    chain: Chain  # the test-use ledger, with the looks at this competition alone

    @cached_property
    def groups(self) -> list[ProtocolGroup]:
        """Return the protocol groups, those with runs of ours first."""
        found = groups(self.published, own_results(self.records), chain=self.chain)
        return sorted(found, key=lambda group: not group.has_ours)

    @cached_property
    def facts(self) -> Mapping[str, RunFacts]:
        """Return what each run's record says of the run, by its id."""
        return {record.run_id: facts_of(record) for record in self.records}

    @cached_property
    def _beside(self) -> dict[tuple[Conditions, frozenset[str]], Baselines]:
        return {}

    def comparable(self, result: Result) -> Baselines | None:
        """Return the published results without those that differ from a result of ours: found once per conditions."""
        if self.published is None:
            return None
        key = (result.conditions, frozenset(result.scores))
        if key not in self._beside:
            kept = [row.published for row in compare(result, self.published) if row.agreement.comparable]
            self._beside[key] = replace(self.published, results=tuple(kept))
        return self._beside[key]

    @property
    def folder(self) -> str:
        """Return the name of the folder with the competition's runs and sweeps."""
        return file_name(self.slug)

    @property
    def page(self) -> str:
        """Return the name of the competition's page."""
        return f"{self.folder}.html"

    def run_page(self, run_id: str) -> str:
        """Return the address of a run's page, relative to the competition's."""
        return f"{self.folder}/{file_name(run_id)}.html"


def rank_key(group: ProtocolGroup, row: GroupRow) -> float:
    """Return a number that is smaller for a better row."""
    return -row.value if group.greater_is_better else row.value
