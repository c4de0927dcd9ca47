"""The real, unmodified `kaggle` client takes a hosted competition for Kaggle: command and library."""

import io
import time
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hosting import CONNECTIONS_LEFT_OPEN, FILES, guesses, kaggle, kaggle_settings, make_hosted, write_hosting

from kit.host.connections import Server
from kit.host.faults import Faults, Refusal
from kit.host.server import serve

pytestmark = CONNECTIONS_LEFT_OPEN


BIG = {"big.bin": bytes(range(251)) * 12_000}  # 3 MB: the client writes what it got in pieces of 1 MiB
ALL = FILES | BIG


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    write_hosting(tmp_path, BIG)
    with serve(make_hosted(tmp_path, ladder=False)) as server:
        yield server


@pytest.fixture
def api(server, monkeypatch) -> Any:
    """Give the client's library, logged in as ann."""
    from kagglesdk import kaggle_env

    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, server.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("KAGGLE_USERNAME", "ann")
    monkeypatch.setenv("KAGGLE_KEY", server.hosted.add_user("ann"))
    with redirect_stdout(io.StringIO()):
        from kaggle.api.kaggle_api_extended import KaggleApi
    api = KaggleApi()
    api.authenticate()
    return api


@pytest.fixture
def sent(tmp_path) -> str:
    (tmp_path / "sub.csv").write_bytes(guesses(0.8))
    return str(tmp_path / "sub.csv")


def submit(api: Any, file: str) -> Any:
    return api.competition_submit(file, "by the library", "colours", quiet=True)


def test_the_command_downloads_submits_and_reads_the_standings(server, tmp_path):
    key = server.hosted.add_user("ann")
    settings = kaggle_settings(server.url, tmp_path / "user", user="ann", key=key)
    (tmp_path / "sub.csv").write_bytes(guesses(0.8))

    def said(words: str) -> str:
        done = kaggle(f"competitions {words}", settings, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said("download colours -p whole -q")
    with zipfile.ZipFile(tmp_path / "whole" / "colours.zip") as bundle:
        assert {name: bundle.read(name) for name in bundle.namelist()} == ALL
    assert "Successfully submitted to Colours" in said("submit colours -f sub.csv -m first -q")
    server.hosted.wait_until_scored()
    assert "sub.csv" in (listed := said("submissions colours --csv")) and "0.22314" in listed
    assert "1,ann" in said("leaderboard colours --show --csv")


def test_a_token_logs_in_too_and_an_unknown_one_does_not(server, api, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", server.hosted.add_user("bob"))
    monkeypatch.delenv("KAGGLE_KEY")
    again = type(api)()
    again.authenticate()
    assert again.config_values["username"] == "bob"
    assert again.competitions_list().competitions[0].ref.endswith("/competitions/colours")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "f" * 32)
    with redirect_stdout(io.StringIO()), pytest.raises(SystemExit):
        type(api)().authenticate()


def test_the_library_sees_status_scores_limits_pages_and_standings(server, api, sent, tmp_path):
    assert submit(api, sent).ref == 1
    server.hosted.wait_until_scored()
    one = api.competition_submissions("colours")[0]
    assert (one.status.name, one.public_score, one.private_score, one.total_bytes) == (
        "COMPLETE", "0.22314", "", len(guesses(0.8)),
    )  # fmt: skip
    assert api.competition_get_submission_limits("colours").num_allowed_now == 4
    page = api.competition_list_files("colours", page_size=2)
    rest = api.competition_list_files("colours", page_token=page.next_page_token, page_size=2)
    assert [file.name for file in page.files + rest.files] == sorted(ALL)
    found = api.competitions_list(search="colours").competitions[0]
    assert (found.max_daily_submissions, found.evaluation_metric, found.user_has_entered) == (5, "log_loss", True)
    assert api.competition_leaderboard_view("colours")[0].score == "0.22314"
    api.competition_leaderboard_download("colours", str(tmp_path / "board"))
    with zipfile.ZipFile(tmp_path / "board" / "colours.zip") as bundle:
        assert "1,1,ann," in bundle.read("colours-publicleaderboard.csv").decode()


def test_a_single_file_comes_under_its_own_name(api, tmp_path):
    api.competition_download_file("colours", "images/a.jpg", path=str(tmp_path / "one"), quiet=True)
    assert (tmp_path / "one" / "a.jpg").read_bytes() == FILES["images/a.jpg"]


def test_a_download_that_breaks_off_is_gone_on_with(server, api, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    server.hosted.faults.cut_downloads += [1_500_000, 1_200_000]
    lines: list[str] = []
    monkeypatch.setattr(server.hosted, "say", lines.append)
    api.competition_download_file("colours", "big.bin", path=str(tmp_path / "dl"), quiet=True)
    assert (tmp_path / "dl" / "big.bin").read_bytes() == BIG["big.bin"]
    assert [line[-3:] for line in lines if "GET" in line][:3] == ["200", "206", "206"]


def test_a_download_that_a_killed_client_left_is_gone_on_with(server, api, tmp_path):
    folder, content = tmp_path / "dl", BIG["big.bin"]
    server.hosted.faults.cut_downloads += [1_500_000] + [0] * 9
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", lambda seconds: None)
        with pytest.raises(Exception, match=r"broken|closed|Incomplete|aborted|reset"):
            api.competition_download_file("colours", "big.bin", path=str(folder), quiet=True)
    server.hosted.faults.cut_downloads.clear()
    assert 0 < (folder / "big.bin").stat().st_size < len(content)
    api.competition_download_file("colours", "big.bin", path=str(folder), quiet=True)
    assert (folder / "big.bin").read_bytes() == content
    assert [path.name for path in folder.iterdir()] == ["big.bin"]


REFUSED = [
    (Faults(rules_not_accepted=True), 403, "You must accept this competition's rules"),
    (Faults(expired_keys=True), 401, "Unauthenticated"),
    (Faults(refusals={"StartSubmissionUpload": [Refusal(status=500, message="Boom")]}), 500, "Boom"),
    (Faults(refusals={"CreateSubmission": [Refusal(status=429, retry_after=9)]}), 429, "told to refuse"),
]


@pytest.mark.parametrize(("faults", "status", "message"), REFUSED)
def test_a_refused_submission_raises_its_message_and_leaves_nothing(server, api, sent, faults, status, message):
    import requests

    server.hosted.faults = faults
    with pytest.raises(requests.exceptions.HTTPError, match=message) as caught:
        submit(api, sent)
    assert caught.value.response.status_code == status
    if status == 429:
        assert caught.value.response.headers["Retry-After"] == "9"
    assert server.hosted.store.submissions() == []


def test_a_broken_upload_is_told_by_a_ref_of_zero_as_kaggles_own(server, api, sent):
    server.hosted.faults.broken_uploads = 1
    assert submit(api, sent).ref == 0
    assert server.hosted.store.submissions() == []
    assert submit(api, sent).ref == 1


def test_the_limit_is_told_before_anything_is_uploaded(server, api, sent):
    import requests

    for _ in range(5):
        submit(api, sent)
    with pytest.raises(requests.exceptions.HTTPError, match="All 5 submissions of today are used"):
        submit(api, sent)
    assert len(list(Path(server.hosted.store.uploads).iterdir())) == 5


def test_a_faulty_file_ends_in_an_error_with_its_description(server, api, tmp_path):
    (tmp_path / "bad.csv").write_text("id,red\nimg000,2\n")
    submit(api, str(tmp_path / "bad.csv"))
    server.hosted.wait_until_scored()
    one = api.competition_submissions("colours")[0]
    assert one.status.name == "ERROR" and "a probability is between 0 and 1" in one.error_description
