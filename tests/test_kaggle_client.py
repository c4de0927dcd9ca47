"""Kaggle: its real client talks to a server on this machine that answers as Kaggle does, for good and ill."""

import io
import json
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosting import CONNECTIONS_LEFT_OPEN
from local_server import Handler, Server, running
from toys import competition, write_files

from kit.errors import FetchError
from kit.files.fetch import fetch
from kit.home import family
from kit.kaggle.credentials import credentials_place, without_secrets
from kit.kaggle.downloads import download_competition
from kit.rules import SourceFile, SourceSet

pytestmark = CONNECTIONS_LEFT_OPEN

LIST, DOWNLOAD = "ListDataFiles", "DownloadDataFiles"
LOGIN = "IntrospectToken"
FILES = {"train.csv": b"id\n1\n", "train.zip": b"zipped before", "images/a.jpg": bytes(range(256)) * 40}


def zip_bytes(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)
    return buffer.getvalue()


class Kaggle(Handler):
    """The calls of Kaggle's that the kit makes: one page of the list holds two files."""

    server: "Server"

    def do_POST(self) -> None:  # noqa: N802
        self.close_connection = True
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        operation = self.path.rsplit("/", 1)[-1]
        server = self.server
        server.calls.append((operation, asked, self.headers["Authorization"]))  # type: ignore[attr-defined]
        refusals = server.refused.get(operation, [])  # type: ignore[attr-defined]
        if refusals:
            status, message, headers = refusals.pop(0) if len(refusals) > 1 else refusals[0]
            body = message if isinstance(message, bytes) else json.dumps({"code": status, "message": message}).encode()
            kind = "text/html" if isinstance(message, bytes) else "application/json"
            return self.refuse(status, {"Content-Type": kind, **headers}, body)
        if operation == LIST:
            start = int(asked.get("pageToken") or 0)
            files = list(server.listed.items())  # type: ignore[attr-defined]
            page = [{"name": name, "totalBytes": size} for name, size in files[start : start + 2]]
            more = str(start + 2) if start + 2 < len(files) else ""
            return self.answer({"files": page, "nextPageToken": more})
        if operation == LOGIN:
            return self.answer({"active": True, "username": "somebody"})
        assert operation == DOWNLOAD
        return self.refuse(302, {"Location": f"{server.url}/bundle/archive.zip?X-Signature=s3cr3t-s1gn"})

    def answer(self, value: object) -> None:
        self.refuse(200, {"Content-Type": "application/json"}, json.dumps(value).encode())


@pytest.fixture
def kaggle(monkeypatch) -> Iterator[Server]:
    """Give a stand-in for Kaggle that holds FILES, and a key for it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", "k-5ecret")
    with running(Kaggle) as server:
        server.files["bundle/archive.zip"] = zip_bytes(FILES)
        server.extra = {"Last-Modified": "Sat, 21 Nov 2020 00:00:00 GMT", "Content-Type": "application/zip"}
        server.calls = []  # type: ignore[attr-defined]
        server.refused = {}  # type: ignore[attr-defined]
        server.listed = {name: len(content) for name, content in FILES.items()}  # type: ignore[attr-defined]
        point_client_at(server.url, monkeypatch)
        yield server


@pytest.fixture(autouse=True)
def pauses(monkeypatch) -> list[float]:
    """Let the client's pauses pass at once, and give their seconds."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "downloads"


def point_client_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from kagglesdk import kaggle_env

    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, url)


def download_quietly(folder: Path) -> Path:
    return download_competition("leaf", folder, say=lambda line: None)


def files_of(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as bundle:
        return {name: bundle.read(name) for name in bundle.namelist()}


def test_the_archive_arrives_whole_and_alone_and_only_once(kaggle, folder, capsys):
    archive = download_competition("leaf", folder)
    assert archive == folder / "leaf.zip" and files_of(archive) == FILES
    assert list(folder.iterdir()) == [archive]
    assert capsys.readouterr().out == "fetching leaf from Kaggle\n"
    assert [call[0] for call in kaggle.calls] == [LIST, LIST, DOWNLOAD]  # the list has two pages
    assert kaggle.calls[0][1]["competitionName"] == "leaf"
    download_quietly(folder)
    assert len(kaggle.calls) == 3


def test_a_token_is_good_for_it_too(kaggle, folder, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "t-5ecret")
    assert files_of(download_quietly(folder)) == FILES
    assert kaggle.calls[-1][2] == "Bearer t-5ecret"


def test_a_competition_is_fetched_from_kaggle_into_its_data_folder(kaggle, tmp_path):
    inner = zip_bytes({"train/a.jpg": b"a"})
    files = {"train.zip": inner, "train.csv": b"id\n"}
    kaggle.files["bundle/archive.zip"] = zip_bytes(files)
    kaggle.listed = {name: len(content) for name, content in files.items()}
    source = SourceSet(kaggle="leaf", files=(SourceFile(path="train.zip", unpack=True),))
    folder = fetch(competition(tmp_path, sources={"kaggle": source}), say=lambda line: None)
    assert sorted(path.name for path in folder.iterdir()) == [".fetched.json", "train", "train.csv"]
    assert (folder / "train/a.jpg").read_bytes() == b"a"


RULES = "https://www.kaggle.com/competitions/leaf/rules"
REFUSALS = [
    (401, "Unauthenticated", ["HTTP 401: Unauthenticated", "does not know these credentials", "new token"]),
    (403, "You must accept this competition's rules before", ["HTTP 403", "Accept the competition's rules", RULES]),
    (403, "Permission 'competitions.get' was denied", ["HTTP 403", "no permission", "private or over", RULES]),
    (404, "Not found", ["HTTP 404", "no competition of that name"]),
    (429, "Too many requests", ["HTTP 429", "goes on asking for a pause", "some minutes"]),
    (500, "Internal", ["HTTP 500", "Kaggle's own trouble", "Try again later"]),
    (503, b"<html>down</html>", ["HTTP 503", "Kaggle's own trouble", "Try again later"]),
]


@pytest.mark.parametrize("operation", [LIST, DOWNLOAD])
@pytest.mark.parametrize(("status", "message", "fragments"), REFUSALS)
def test_each_refusal_has_its_remedy_and_leaves_no_archive(kaggle, folder, operation, status, message, fragments):
    kaggle.refused[operation] = [(status, message, {})]
    with pytest.raises(FetchError) as caught:
        download_quietly(folder)
    for fragment in ("'leaf'", *fragments):
        assert fragment in str(caught.value)
    assert not list(folder.rglob("*.zip"))


def test_no_two_refusals_are_told_alike(kaggle, folder):
    told = set()
    for status, message, _ in REFUSALS[:-1]:
        kaggle.refused[LIST] = [(status, message, {})]
        with pytest.raises(FetchError) as caught:
            download_quietly(folder)
        told.add(str(caught.value).partition("). ")[2])
    assert len(told) == len(REFUSALS) - 1


def test_a_pause_that_kaggle_asks_for_is_made_and_said(kaggle, folder, pauses):
    kaggle.refused[LIST] = [(429, "Too many requests", {"Retry-After": "17"})] * 2
    kaggle.refused[LIST].append((200, b"", {}))
    lines: list[str] = []
    with pytest.raises(FetchError):  # the third answer is no list
        download_competition("leaf", folder, say=lines.append)
    assert pauses == [17.0, 17.0]
    assert lines[1] == "Kaggle: Request failed: Too many requests. Will retry in 17.0 seconds"


def test_a_refusal_of_the_storage_behind_kaggle_shows_no_signature(kaggle, folder):
    kaggle.files.clear()
    with pytest.raises(FetchError, match="HTTP 404") as caught:
        download_quietly(folder)
    assert "/bundle/archive.zip" in str(caught.value) and "s1gn" not in str(caught.value)


@pytest.mark.parametrize("place", ["KAGGLE_KEY", "KAGGLE_API_TOKEN", "token file", "kaggle.json"])
def test_a_message_that_repeats_a_secret_is_shown_without_it(kaggle, tmp_path, folder, monkeypatch, place, capsys):
    monkeypatch.delenv("KAGGLE_KEY")
    if place == "kaggle.json":
        content = {"username": "somebody", "key": "t-5ecret"}
        write_files(Path(os.environ["KAGGLE_CONFIG_DIR"]), {"kaggle.json": json.dumps(content).encode()})
        monkeypatch.setenv("KAGGLE_KEY", "another")
    elif place == "token file":
        monkeypatch.setenv("KAGGLE_API_TOKEN", str(write_files(tmp_path / "home", {"token": b"t-5ecret\n"}) / "token"))
    else:
        monkeypatch.setenv(place, "t-5ecret")
    kaggle.refused[LIST] = [(429, "no: t-5ecret", {"Retry-After": "1"}), (401, "no: t-5ecret", {})]
    with pytest.raises(FetchError, match=r"HTTP 401: no: \*\*\*"):
        download_competition("leaf", folder)
    shown = capsys.readouterr()
    assert "no: ***. Will retry" in shown.out and "5ecret" not in shown.out + shown.err


def test_a_token_that_kaggle_does_not_know_is_named_by_its_place(kaggle, folder, monkeypatch):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "t-5ecret")
    kaggle.refused[LOGIN] = [(404, "no such token", {})]
    with pytest.raises(FetchError, match="cannot use the credentials in KAGGLE_API_TOKEN"):
        download_quietly(folder)
    kaggle.refused[LOGIN] = [(401, "no such token", {})]
    with pytest.raises(FetchError, match=r"HTTP 401: no such token.*new token"):
        download_quietly(folder)


def test_without_a_network_kaggle_is_said_to_be_out_of_reach(kaggle, folder, monkeypatch, pauses):
    with running() as gone:
        point_client_at(gone.url, monkeypatch)
    with pytest.raises(
        FetchError, match=r"could not be reached for the files of 'leaf'.*leaf\.zip by hand.*--mirror DIR"
    ):
        download_quietly(folder)
    assert len(pauses) == 3


def test_without_credentials_nothing_is_asked(kaggle, folder, monkeypatch):
    monkeypatch.delenv("KAGGLE_KEY")
    with pytest.raises(FetchError) as caught:
        download_quietly(folder)
    for fragment in ("'leaf'", "KAGGLE_API_TOKEN", "leaf.zip", "--mirror DIR"):
        assert fragment in str(caught.value)
    assert kaggle.calls == []


@pytest.mark.parametrize("cut", [0, 1, 1000, 5000])
def test_a_download_that_breaks_is_gone_on_with(kaggle, folder, cut):
    kaggle.cuts = [cut]
    assert files_of(download_quietly(folder)) == FILES


def test_a_download_that_breaks_for_good_is_never_taken_for_whole_and_the_next_one_goes_on(kaggle, folder):
    kaggle.cuts = [1000, *[0] * 50]
    with pytest.raises(FetchError, match=r"of 'leaf', or broke off: .*goes on from there") as caught:
        download_quietly(folder)
    assert "s1gn" not in str(caught.value)
    assert not (folder / "leaf.zip").exists()
    kaggle.cuts = []
    assert files_of(download_quietly(folder)) == FILES
    assert list(folder.iterdir()) == [folder / "leaf.zip"]


def test_an_archive_that_was_cut_before_is_fetched_anew(kaggle, folder):
    write_files(folder, {"leaf.zip": zip_bytes(FILES)[:5000]})
    assert files_of(download_quietly(folder)) == FILES


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        (zip_bytes(FILES)[:5000], "leaf.zip is not a whole zip archive"),
        (b"<html>Please log in</html>", "leaf.zip is not a whole zip archive"),
        (zip_bytes({k: v for k, v in FILES.items() if k != "train.zip"}), "the file 'train.zip' is missing in it"),
        (zip_bytes({**FILES, "train.csv": b"id"}), "the file 'train.csv' has 2 bytes in it, expected 5"),
    ],
    ids=["cut", "web page", "a file missing", "a file cut"],
)
def test_what_is_not_all_of_the_listed_files_is_refused_and_removed(kaggle, folder, sent, fault):
    kaggle.files["bundle/archive.zip"] = sent
    with pytest.raises(FetchError) as caught:
        download_quietly(folder)
    assert fault in str(caught.value)
    assert list(folder.iterdir()) == []
    assert not family("data").exists()


def test_credentials_are_found_in_the_clients_own_order(monkeypatch):
    assert credentials_place() is None
    home, config = Path(os.environ["HOME"]) / ".kaggle", Path(os.environ["KAGGLE_CONFIG_DIR"])
    write_files(home, {"credentials.json": b"{}"})
    assert credentials_place() == str(home / "credentials.json")
    write_files(config, {"kaggle.json": b"{}"})
    assert credentials_place() == str(config / "kaggle.json")
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", "k-5ecret")
    assert credentials_place() == "KAGGLE_USERNAME and KAGGLE_KEY"
    write_files(home, {"access_token": b"t-5ecret"})
    assert credentials_place() == str(home / "access_token")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "t-5ecret")
    assert credentials_place() == "KAGGLE_API_TOKEN"


def test_kaggle_json_is_looked_for_where_the_platform_keeps_settings(monkeypatch, tmp_path):
    monkeypatch.delenv("KAGGLE_CONFIG_DIR")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    write_files(tmp_path / "xdg/kaggle", {"kaggle.json": b"{}"})
    assert credentials_place() == str(tmp_path / "xdg/kaggle/kaggle.json")


def test_an_address_is_shown_without_what_signs_it():
    assert without_secrets("at https://x.org/a.zip?sig=1&b=2 (here)") == "at https://x.org/a.zip (here)"
    bare = "exceeded with url: /bucket/upload?upload_id=S&X-Goog-Signature=0a (Caused by ...)"  # as urllib3 says it
    assert without_secrets(bare) == "exceeded with url: /bucket/upload (Caused by ...)"
    token = "Zm9vYmFyLV9mb29iYXItX2Zvb2Jhci1fZm9vYmFyLQo"
    assert without_secrets(f"http://127.0.0.1:8000/upload/{token}") == "http://127.0.0.1:8000/upload/***"
    assert without_secrets("/uploads or downloads? Both.") == "/uploads or downloads? Both."
