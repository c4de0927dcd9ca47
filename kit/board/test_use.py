"""Test use on pages: what records and the test-use ledger say together of how a run was chosen."""

from typing import Any

from kit.board.records import RunRecord, all_records
from kit.home import family
from kit.judge.test_ledger import Chain, use_words


def uses_of_records() -> dict[str, dict[str, Any]]:
    """Return run id -> `test_use` of the record, of the runs on this machine: for `check_chain`."""
    return {record.run_id: dict(record.test_use) for record in all_records(family("runs"))}


def selection_words(record: RunRecord, chain: Chain) -> str:
    """Say on what a run was selected, how often its test was opened, and if its value is the best of several.

    A run that this ledger has no line of was made elsewhere, or before there was one: its record alone is asked.

    Args:
        record: the run's.
        chain: the ledger of this machine, from `check_chain`.
    """
    out_of_fold = any(result.kind == "out-of-fold" for result in record.results)
    if record.run_id in chain.runs:
        return use_words(
            chain,
            competition=record.competition,
            protocol=record.protocol,
            data=record.data["fingerprint"],
            run=record.run_id,
            out_of_fold=out_of_fold,
        )
    words = "selected on out-of-fold" if out_of_fold else "nothing out of fold to select on"
    if all(result.kind == "out-of-fold" for result in record.results):
        return f"{words}; test not opened by this run"
    if "opened" not in record.test_use:
        return f"{words}; how often the test was opened is not recorded"
    opened = int(record.test_use["opened"])
    return f"{words}; test opened {'once' if opened == 1 else f'{opened:,} times'} when this run was recorded"
