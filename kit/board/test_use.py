"""Test use on pages: what records and the test-use ledger say together of how a run was chosen."""

from collections.abc import Sequence
from typing import Any, get_args

from kit.board.gather import gather
from kit.board.records import Result, RunRecord
from kit.home import family
from kit.judge.test_ledger import Chain, Look, Opened, looked_at
from kit.metrics import METRICS


def uses_of_records() -> dict[str, dict[str, Any]]:
    """Return run id -> `test_use` of the record, of the runs on this machine: for `check_chain`.

    A file that is no record names no line; the board says that it is left out.
    """
    found = gather([family("runs")])
    return {file.run_id: dict(file.test_use) for files in found.files.values() for file in files}


def chosen_of(record: RunRecord, result: Result, chain: Chain) -> int:
    """Return out of how many runs' results a result may have been chosen by its score on the test."""
    return looked_at(
        chain,
        competition=record.competition,
        protocol=result.protocol,
        data=str(record.data.get("fingerprint")),
        kind=result.kind,
    )


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
    return f"{words}; {_as_recorded(record)}{_doubt(chain)}"


def _as_recorded(record: RunRecord) -> str:
    """Say how often the test was opened by the record alone."""
    if all(result.kind == "out-of-fold" for result in record.results):
        return "test not opened by this run"
    if "opened" not in record.test_use:
        return "how often the test was opened is not recorded"
    opened = int(record.test_use["opened"])
    return f"test opened {'once' if opened == 1 else f'{opened:,} times'} when this run was recorded"


def use_words(
    chain: Chain, *, competition: str, protocol: str, data: str, run: str, out_of_fold: bool, elsewhere: bool = True
) -> str:
    """Say on what a run was selected and how often its test was opened, and when its value is the best of several.

    Args:
        chain: the ledger as it is now.
        competition: the run's.
        protocol: the run's, as results carry it.
        data: fingerprint of its sample table.
        run: its id.
        out_of_fold: it has scores out of fold, to select on.
        elsewhere: count looks under other protocols and other states of the data too.
    """
    looks = chain.of(competition, protocol, data)
    words = "selected on out-of-fold" if out_of_fold else "nothing out of fold to select on"
    others = len(chain.of(competition)) - len(looks) if elsewhere else 0
    num_runs = len({one.run for one in looks})
    words += f"; test {_times(len(looks))}" + (f" by {num_runs} runs" if num_runs > 1 else "")
    if others:
        words += f" (and {_times(others)} under other protocols or with other data)"
    for opened in get_args(Opened):
        if (count := _best_of(looks, run=run, opened=opened)) > 1:
            what = "values seen of the test labels" if opened == "test labels" else f"{opened}s seen"
            words += f"; best of {count} {what}: kept after looking, such a value is too good on average"
    return words + _doubt(chain)


def _doubt(chain: Chain) -> str:
    """Return what is to be said behind any words on test use where the ledger is not as it was written, else ""."""
    return "" if chain.sound else "; the ledger was changed, so that there may have been more, and better ones"


def _best_of(looks: Sequence[Look], *, run: str, opened: Opened) -> int:
    """Return of how many runs' values the best one is this run's, in one metric; 0 where it is not."""
    alike = [one for one in looks if one.opened == opened]
    for metric in dict.fromkeys(one.metric for one in alike if one.run == run):
        if metric not in METRICS:
            continue
        values = [one for one in alike if one.metric == metric]
        best = (max if METRICS[metric].greater_is_better else min)(one.value for one in values)
        if len({one.run for one in values}) > 1 and any(one.value == best and one.run == run for one in values):
            return len(values)
    return 0


def _times(count: int) -> str:
    return {0: "never opened", 1: "opened once"}.get(count, f"opened {count:,} times")
