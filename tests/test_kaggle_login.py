"""Credentials and servers: who is logged in where, and what is never sent to whom."""

import json
import os
from pathlib import Path

import pytest
from hosting import CONNECTIONS_LEFT_OPEN
from kaggle_account import hosting, set_clock

from kit.errors import ConfigError
from kit.kaggle.account import check_login
from kit.kaggle.client import KaggleError
from kit.kaggle.credentials import own_server, readable_by_others

pytestmark = CONNECTIONS_LEFT_OPEN


@pytest.fixture
def hosted(tmp_path, monkeypatch):
    clock = set_clock(monkeypatch)
    with hosting(tmp_path / "host", monkeypatch, now=clock.naive) as hosted:
        yield hosted


def test_login_check_names_the_place_and_the_server(hosted):
    found = check_login(say=print)
    assert (found.username, found.place) == ("ann", "KAGGLE_USERNAME and KAGGLE_KEY")
    assert found.server == os.environ["KIT_KAGGLE_URL"]


@pytest.mark.parametrize("place", ["variable", "file"])
def test_a_token_is_good_for_a_server_of_ones_own_too(hosted, monkeypatch, tmp_path, place):
    token = os.environ["KAGGLE_KEY"]
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "token").write_text(token + "\n")
    monkeypatch.setenv("KAGGLE_API_TOKEN", token if place == "variable" else str(tmp_path / "token"))
    assert check_login(say=print).username == "ann"


def test_login_check_with_an_expired_key(hosted):
    hosted.faults.expired_keys = True
    with pytest.raises(KaggleError, match="does not know these credentials"):
        check_login(say=print)


def test_what_lies_in_the_users_folder_is_never_sent_to_another_server(hosted, monkeypatch):
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR"):
        monkeypatch.delenv(name)
    home = Path(os.environ["HOME"]) / ".kaggle"
    home.mkdir(parents=True)
    (home / "access_token").write_text("t-5ecret")
    (home / "kaggle.json").write_text(json.dumps({"username": "somebody", "key": "k-5ecret"}))
    with pytest.raises(KaggleError, match="no credentials were found for it"):
        check_login(say=print)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(home))  # named by the user
    with pytest.raises(KaggleError, match="does not know these credentials"):
        check_login(say=print)


def test_a_token_in_the_users_folder_does_not_take_the_place_of_a_key_for_another_server(hosted):
    home = Path(os.environ["HOME"]) / ".kaggle"
    home.mkdir(parents=True)
    (home / "access_token").write_text("t-5ecret")
    assert check_login(say=print).username == "ann"


@pytest.mark.parametrize("address", ["ftp://x", "http://", "http://ann:key@x", "http://x/?key=1", "x", "http://x:y"])
def test_an_address_that_is_none_is_refused(monkeypatch, address):
    monkeypatch.setenv("KIT_KAGGLE_URL", address)
    with pytest.raises(ConfigError, match="KIT_KAGGLE_URL should be the address"):
        own_server()


def test_a_file_of_credentials_that_others_can_read_is_noticed(tmp_path):
    path = tmp_path / "kaggle.json"
    path.write_text("{}")
    path.chmod(0o600)
    assert not readable_by_others(str(path))
    path.chmod(0o644)
    assert readable_by_others(str(path)) and not readable_by_others("KAGGLE_API_TOKEN")
