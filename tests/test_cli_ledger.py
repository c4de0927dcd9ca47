"""`kit ledger` shows and checks the test-use ledger, and `kit place` looks a score up."""

import pytest
import typer
from typer.testing import CliRunner

from kit.cli import ledger, place
from kit.errors import ConfigError, StorageError
from kit.judge.test_ledger import ledger_path

app = typer.Typer()
app.command("ledger")(ledger.ledger)
app.command("place")(place.place)


def kit(*arguments):
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_the_ledger_lists_the_looks_and_says_that_all_is_well(finished_toy):
    found = kit("ledger", "toy")
    assert found.exit_code == 0
    first, second, summary = found.stdout.splitlines()
    assert "test labels" in first
    assert "(fold-ensemble)" in second
    assert summary.startswith(f"2 looks of toy; {ledger_path()} has 2 sound lines")
    assert found.stderr.strip() == "Every line is as it was written, and every record of this machine is of this chain."


def test_a_ledger_that_was_cut_off_ends_the_command_with_a_paragraph(finished_toy):
    first = ledger_path().read_bytes().splitlines(keepends=True)[0]
    ledger_path().unlink()
    ledger_path().write_bytes(first)
    with pytest.raises(StorageError, match="names line 2"):
        kit("ledger")


def test_an_empty_ledger_is_shown():
    assert kit("ledger").stdout.startswith("0 looks; ")


def test_place_prints_rank_and_medal_and_that_a_score_of_other_images_is_an_estimate():
    found = kit("place", "dogs_vs_cats_redux", "0.06127").stdout
    assert "0.06127 is rank 131 of 1,314 teams (top 9.97 %): bronze, as if" in found
    assert "this is an estimate" in found


def test_place_takes_a_name_on_kaggle_and_the_public_board():
    found = kit("place", "cassava-leaf-disease-classification", "0.9", "--public").stdout
    assert "public board: 0.9000 is rank" in found


def test_a_score_in_per_cent_is_refused():
    with pytest.raises(ConfigError, match="Per cent"):
        kit("place", "cassava-leaf-disease-classification", "90.1")
