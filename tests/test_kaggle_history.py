"""What submissions tell together: noise, the two finals, the plot, the standing; and what a hostile board cannot do."""

import json
import math
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hosting import CONNECTIONS_LEFT_OPEN, FILES, TRUTH
from kaggle_account import answers, finished_run, hosting, set_clock
from typer import Typer
from typer.testing import CliRunner

from kit.cli import kaggle as kaggle_command
from kit.cli import submit as submit_commands
from kit.errors import ConfigError, FetchError
from kit.host.faults import Refusal
from kit.judge.statistics import Score
from kit.kaggle.downloads import download_competition, download_file, files_of
from kit.kaggle.finals import difference_of, recommend
from kit.kaggle.history import history
from kit.kaggle.noise import error_of, gain_of_best
from kit.kaggle.standing import read_leaderboard, standing
from kit.kaggle.submissions import Ledger, Submission
from kit.kaggle.submit import submit

pytestmark = CONNECTIONS_LEFT_OPEN


@pytest.fixture
def hosted(tmp_path, monkeypatch):
    set_clock(monkeypatch)
    with hosting(tmp_path / "host", monkeypatch) as hosted:
        yield hosted


def quiet(line: str) -> None:
    pass


def submit_run(hosted, run_id, red):
    record = finished_run(hosted.competition, run_id, red)
    return submit(hosted.competition, record=record, wait=True, say=quiet).submission


def accuracy(value, *, low, high, num_images=400):
    return Score(metric="accuracy", value=value, low=low, high=high, num_images=num_images, interval="Wilson")


def scored(ref, public, *, value=0.9, run="", **changes):
    facts = {"ref": ref, "public": public, "status": "complete", "run": run, "metric": "accuracy", "num_rows": 1000}
    facts |= {"when": f"2026-01-0{ref}T00:00:00+00:00", "file_name": "s.csv", "sha256": f"{ref:064d}"}
    own = accuracy(value, low=value - 0.0294, high=value + 0.0294)
    return Submission(**{**facts, "out_of_fold": own, **changes})


def test_four_times_fewer_images_double_the_standard_error():
    score = accuracy(0.9, low=0.8706, high=0.9294)  # +- 1.96 x 0.015 on 400 images
    assert error_of(score, num_images=400) == pytest.approx(0.015, abs=1e-5)
    assert error_of(score, num_images=100) == pytest.approx(0.03, abs=1e-5)


def test_without_predictions_two_scores_are_taken_as_if_on_different_images():
    gain = gain_of_best(
        [scored(1, "0.900"), scored(2, "0.930")], public_share=0.4, out_of_fold=lambda run: None
    )  # 400 public images: each 0.015
    assert (gain.better.ref, gain.than.ref) == (2, 1)
    assert gain.gain == pytest.approx(0.03) and gain.error == pytest.approx(0.015 * math.sqrt(2), abs=1e-5)
    assert gain.chance == pytest.approx(0.157, abs=1e-3)  # z = 1.414, two-sided
    assert not gain.paired and "in 16 % of cases: noise explains it well" in gain.words


def test_a_public_gain_of_two_like_models_is_told_from_that_of_two_unlike_ones(hosted):
    """Pairs see that two models fail on the same images: their difference is surer than each score."""
    base = answers(0.7, noise=0.2)
    for name, red in (("toy-base", base), ("toy-like", np.clip(base + 0.01 * (2 * TRUTH - 1), 0.01, 0.99))):
        submit_run(hosted, name, red)
    found = history(hosted.competition, public_share=0.5, say=quiet)
    assert found.gain.paired and found.gain.better.run == "toy-like"
    assert found.gain.error < error_of(found.gain.better.out_of_fold, num_images=100) / 3
    assert found.gain.chance < 0.01 and "more than noise" in found.gain.words


def test_the_finals_are_the_best_out_of_fold_and_the_most_different_one_within_noise_of_it(tmp_path):
    files = {1: "0.1 0.9 0.8 0.2", 2: "0.1 0.9 0.8 0.3", 3: "0.9 0.2 0.3 0.7", 4: "0.9 0.8 0.1 0.1"}
    for ref, values in files.items():
        lines = "".join(f"{k},{value}\n" for k, value in enumerate(values.split()))
        (tmp_path / f"{ref}.csv").write_text("id,p\n" + lines)
    submissions = [
        scored(1, "0.80", value=0.92),
        scored(2, "0.99", value=0.91),  # the best public score is not asked
        scored(3, "0.80", value=0.90),
        scored(4, "0.80", value=0.70),  # differs more, and is worse by more than noise
    ]
    found = recommend(submissions, out_of_fold=lambda run: None, file_of=lambda one: tmp_path / f"{one.ref}.csv")
    assert (found.first.ref, found.second.ref) == (1, 3)
    assert "best out of fold" in found.words[0] and "of 2 such the one that answers most differently" in found.words[1]


def test_a_file_that_was_sent_twice_is_one_final():
    twice = [scored(1, "0.8"), replace(scored(2, "0.8"), sha256=f"{1:064d}")]
    found = recommend(twice, out_of_fold=lambda run: None, file_of=lambda one: Path())
    assert found.second is None


def test_without_folds_nothing_is_recommended():
    assert (
        recommend([scored(1, "0.8", out_of_fold=None)], out_of_fold=lambda run: None, file_of=lambda one: Path())
        is None
    )


DIFFERENCES = [
    ("1,0.1 2,0.2 3,0.3", "3,0.9 1,0.2 2,0.5", 0.0),  # the same order of the images, whatever the values and rows
    ("1,0.1 2,0.2 3,0.3", "1,0.3 2,0.2 3,0.1", 1.0),
    ("1,cat 2,dog 3,dog 4,cat", "1,cat 2,dog 3,cat 4,cat", 0.25),
    ("1,0 2,1 3,9 4,3", "1,0 2,1 3,8 4,2", 0.5),  # numbers that name classes
    ("1,0.5 2,0.5", "1,0.1 2,0.2", 0.0),  # constant: nothing to correlate
    ("1,0.5 2,0.5", "1,0.1 9,0.2", 1.0),  # other images
]


@pytest.mark.parametrize(("first", "second", "expected"), DIFFERENCES)
def test_how_differently_two_files_answer(tmp_path, first, second, expected):
    for name, rows in (("a", first), ("b", second)):
        (tmp_path / name).write_text("id,p\n" + rows.replace(" ", "\n") + "\n")
    assert difference_of(tmp_path / "a", tmp_path / "b") == pytest.approx(expected)


def test_submissions_made_elsewhere_are_shown_with_our_own(hosted, monkeypatch):
    submit_run(hosted, "toy-a", answers(0.8))
    Ledger(slug="toy").path.rename(Ledger(slug="toy").path.with_name("away"))
    submit_run(hosted, "toy-b", answers(0.7))
    found = history(hosted.competition, say=quiet)
    assert [(one.ref, one.run) for one in found.submissions] == [(1, ""), (2, "toy-b")]
    assert found.submissions[0].message.endswith("toy-a")


def test_the_private_scores_come_when_the_competition_is_over(hosted):
    submit_run(hosted, "toy-a", answers(0.8))
    assert not history(hosted.competition, say=quiet).submissions[0].private
    hosted.settings = replace(hosted.settings, deadline="2026-01-01T00:00")
    (one,) = history(hosted.competition, say=quiet).submissions
    assert float(one.private) == pytest.approx(0.22314, abs=1e-5)
    (kept,) = history(hosted.competition, online=False, say=quiet).submissions
    assert kept.private == one.private


def test_the_plot_is_drawn_from_two_submissions_on(hosted):
    submit_run(hosted, "toy-a", answers(0.8))
    assert history(hosted.competition, say=quiet).plot is None
    submit_run(hosted, "toy-b", answers(0.7, noise=0.1))
    plot = history(hosted.competition, public_share=0.5, say=quiet).plot
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_a_public_share_that_is_none_is_refused(hosted, share):
    with pytest.raises(ConfigError, match="--public-share"):
        history(hosted.competition, public_share=share, online=False, say=quiet)


def test_the_standing_is_where_our_best_score_stands_among_all(hosted, monkeypatch):
    submit_run(hosted, "toy-a", answers(0.8))
    key = hosted.add_user("bob")
    with monkeypatch.context() as patch:
        patch.setenv("KAGGLE_USERNAME", "bob")
        patch.setenv("KAGGLE_KEY", key)
        submit_run(hosted, "toy-b", answers(0.95))
    Ledger(slug="toy").path.write_text(
        "".join(line + "\n" for line in Ledger(slug="toy").path.read_text().splitlines()[:3])
    )
    found = standing(hosted.competition, say=quiet)
    assert (found.board.kind, found.board.teams) == ("public", 2)
    assert found.best.run == "toy-a" and found.placing.rank == 2
    assert [(rank, line.team) for rank, line in found.own_lines] == [(2, "ann")]


def leaderboard(tmp_path, **files):
    path = tmp_path / "leaderboard.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in files.items():
            bundle.writestr(name.replace("__", "."), content)
    return path


def test_a_leaderboard_is_read_whatever_its_other_columns(tmp_path):
    path = leaderboard(tmp_path, public__csv='\ufeffTeamId,TeamName,Score\n1,=cmd(),0.5\n2,"a\nb",\n')
    title, lines = read_leaderboard(path)
    assert title == "public.csv" and [(line.team, line.score) for line in lines] == [("=cmd()", "0.5"), ("a\nb", "")]


HOSTILE = {
    "no zip": b"<html>Please log in</html>",
    "two tables": {"a__csv": "Score\n1\n", "b__csv": "Score\n1\n"},
    "no table": {"a__txt": "Score\n1\n"},
    "no scores": {"a__csv": "TeamName\nx\n"},
    "empty": {"a__csv": ""},
    "NUL and a huge field": {"a__csv": "Score\n" + "1" * 200_000 + "\0\n"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_leaderboard_is_refused_in_one_paragraph(tmp_path, name):
    content = HOSTILE[name]
    path = tmp_path / "leaderboard.zip"
    path.write_bytes(content) if isinstance(content, bytes) else leaderboard(tmp_path, **content)
    with pytest.raises(FetchError, match="is no leaderboard: ") as refused:
        read_leaderboard(path)
    assert str(refused.value).count("is no leaderboard") == 1  # one paragraph, not one inside another


def test_a_zip_bomb_is_left_packed(tmp_path, monkeypatch):
    monkeypatch.setattr("kit.kaggle.standing.LARGEST_TABLE", 100_000)
    path = leaderboard(tmp_path, a__csv="Score\n" + "0\n" * 1_000_000)
    with pytest.raises(FetchError, match="more than 100,000 bytes"):
        read_leaderboard(path)


def test_a_damaged_archive_is_refused(tmp_path):
    path = leaderboard(tmp_path, a__csv="Score\n" + "".join(f"{k / 7}\n" for k in range(1000)))
    content = bytearray(path.read_bytes())
    content[200:230] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(FetchError, match="is no leaderboard: "):
        read_leaderboard(path)


def test_the_files_come_whole_or_one_by_one_from_a_server_of_ones_own(hosted, tmp_path):
    assert files_of("colours", say=quiet) == {name: len(content) for name, content in FILES.items()}
    archive = download_competition("colours", tmp_path / "all", say=quiet)
    with zipfile.ZipFile(archive) as bundle:
        assert {name: bundle.read(name) for name in bundle.namelist()} == FILES
    path = download_file("colours", "images/a.jpg", tmp_path / "one", say=quiet)
    assert path == tmp_path / "one/a.jpg" and path.read_bytes() == FILES["images/a.jpg"]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("cut", [0, 1, 4000])
def test_a_file_that_breaks_off_is_gone_on_with(hosted, tmp_path, cut):
    hosted.faults.cut_downloads = [cut]
    path = download_file("colours", "images/a.jpg", tmp_path, say=quiet)
    assert path.read_bytes() == FILES["images/a.jpg"]


def test_a_file_that_breaks_off_for_good_leaves_nothing_that_looks_whole_and_the_next_call_goes_on(hosted, tmp_path):
    hosted.faults.cut_downloads = [4000, *[0] * 100]
    with pytest.raises(FetchError, match="broke off"):
        download_file("colours", "images/a.jpg", tmp_path, say=quiet)
    assert not (tmp_path / "a.jpg").exists()
    hosted.faults.cut_downloads = []
    assert download_file("colours", "images/a.jpg", tmp_path, say=quiet).read_bytes() == FILES["images/a.jpg"]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.jpg"]


def test_a_file_that_the_competition_does_not_have_is_said_with_those_it_has(hosted, tmp_path):
    with pytest.raises(
        FetchError, match=r"no file '\.\./solution\.csv'.*It has: images/a\.jpg, images/b\.jpg, train\.csv"
    ):
        download_file("colours", "../solution.csv", tmp_path, say=quiet)


@pytest.fixture
def command(hosted, monkeypatch):
    """Return a function that runs a command line and returns what it printed to stdout."""
    app = Typer()
    for one in submit_commands.COMMANDS:
        app.command(one.__name__)(one)
    app.add_typer(kaggle_command.app)
    monkeypatch.setattr("kit.competition.load_competition", lambda slug: hosted.competition)

    def run(words):
        result = CliRunner().invoke(app, words.split(), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_the_commands_show_the_way_from_login_to_standing(hosted, command):
    for name, red in (("toy-a", answers(0.8)), ("toy-b", answers(0.75, noise=0.1))):
        finished_run(hosted.competition, name, red)
    assert command("kaggle login-check").splitlines()[0] == "logged in as  ann"
    assert os.environ["KAGGLE_KEY"] not in command("kaggle login-check")
    assert "images/a.jpg" in command("kaggle files toy")
    assert command("submit toy --run toy-a --dry-run") == "would be sent  submission.csv, 200 rows\n"
    assert "0.22314" in command("submit toy --run toy-a --wait -m first")
    command("submit toy --run toy-b --wait")
    shown = command("submissions toy --public-share 0.5")
    for words in ("toy-a  first", "noise   public 0.22", "finals  1 (toy-a): best out of fold", "plot    "):
        assert words in shown
    assert "ours    1 (toy-a): rank 1 of 1 teams (top 100 %): no medal." in command("standing toy")
    hosted.faults.refusals["ListSubmissions"] = [Refusal(status=500)] * 100
    assert "toy-a" in command("submissions toy --offline")


def test_nothing_submitted_yet_is_said(command):
    assert command("submissions toy").startswith("Nothing was submitted to toy yet")


def test_every_line_of_the_ledger_is_one_json_object(hosted):
    submit_run(hosted, "toy-a", answers(0.8))
    lines = [json.loads(line) for line in Ledger(slug="toy").path.read_text().splitlines()]
    assert [line["what"] for line in lines] == ["intent", "sent", "score"]
    assert all(line["server"] == os.environ["KIT_KAGGLE_URL"] for line in lines)
