"""A value chosen among several that were seen pays for the choice, wherever a verdict on it is shown.

The example: 0.90 of 1,000 images against a published 0.87 of as many is better by itself (p = 0.04), and not
distinguishable as one of two that were looked at, for then p counts twice.
"""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from test_compare import published, row
from test_page import record, shelf
from test_test_ledger import look
from typer.testing import CliRunner

import kit.outside
from kit.board.competition_page import competition_page
from kit.board.groups import groups
from kit.board.report import report_page
from kit.board.run_page import run_page
from kit.board.terms import own_results
from kit.cli.main import app
from kit.cli.show import show_comparison
from kit.judge.test_ledger import ledger_path, read_chain

THEIRS = published(row(value=0.87))


def seen(*runs):
    """Write a look at the test labels of each run into the ledger and return it."""
    for number, run in enumerate(runs):
        look(run, 0.90 - number / 100, data="f")
    return read_chain()


def told(html):
    """Return the verdicts on a page that has one published result."""
    return [word for word in ("better", "not distinguishable") if f">{word}<" in html]


def test_a_runs_page_its_report_and_the_terminal_give_the_verdict_that_the_ranked_table_gives(capsys):
    one = record("one", 0.90)
    for runs, verdict in ((["one"], "better"), (["one", "two"], "not distinguishable")):
        chain = seen(*runs)
        pages = [
            run_page(shelf([one], THEIRS, chain=chain), one),
            report_page(one, sections=[], published=THEIRS, chain=chain),
            competition_page(shelf([one], THEIRS, chain=chain)),  # the folder of run two is gone
        ]
        assert [told(html) for html in pages] == [[verdict]] * 3
        show_comparison(one, THEIRS)
        assert f"95 % [0.8800, 0.9200]: {verdict}\n" in capsys.readouterr().out


def test_looks_at_other_tests_and_out_of_fold_cost_nothing():
    look("two", protocol="random", data="f"), look("three", data="g"), look("four", kind="fold-ensemble", data="f")
    one = record("one", 0.90)
    assert told(run_page(shelf([one], THEIRS, chain=seen("one")), one)) == ["better"]


def test_a_ranked_table_counts_its_runs_and_those_that_only_the_ledger_knows():
    ours = own_results([record("one", 0.90), record("two", 0.80)])
    for runs, count in (([], 2), (["one", "two"], 2), (["one", "two", "gone", "lost"], 4)):
        (group,) = groups(THEIRS, ours, chain=seen(*runs))
        assert any(f"the best of {count} results of ours" in note for note in group.notes)
    (group,) = groups(THEIRS, [*ours, *own_results([record("b", 0.7, data={"fingerprint": "g"})])], chain=read_chain())
    assert any("the best of 5 results of ours" in note for note in group.notes)  # of other data one more


@pytest.mark.usefixtures("finished_toy")
def test_a_file_of_predictions_pays_for_all_that_were_judged_and_says_how_many(tmp_path, monkeypatch):
    theirs = published(row(value=1 / 6, pretraining_group="none"), num_test=6)
    monkeypatch.setattr(kit.outside, "load_published", lambda _: theirs)  # the toy has no published results
    test = pd.read_csv(next(Path(os.environ["KIT_HOME"]).glob("runs/*/predictions/test.csv")))
    path = tmp_path / "right.csv"
    path.write_text("".join(["image_id,colour\n", *(f"{name},{name.split('/')[1]}\n" for name in test["image_id"])]))
    stated = "--training-pool protocol --pretraining none --adaptation trained --extra-inputs none --inference single"
    arguments = ["judge", "toy", "--predictions", str(path), *stated.split(), "--selection", "held-out"]

    def judged():
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    assert ": better\n" in judged()  # 6 of 6 against 1 of 6
    last = json.loads(ledger_path().read_text().splitlines()[-1])
    assert last["run"].startswith("file:")
    place = {name: last[name] for name in ("competition", "protocol", "data")}
    for number in range(48):
        look(f"file:{number}", 0.5, **place)
    out = judged()
    assert ": not distinguishable\n" in out
    # The run of ours, this file, and 48 more; the run has two kinds of answers on the test.
    assert "Nothing out of fold to select on; test opened 51 times by 50 runs" in out
    assert "kept after looking, such a value is too good on average.\n" in out
