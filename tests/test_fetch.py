"""Fetch: whole, checked files or an explanation. The server is a real one on this machine, with faults on demand."""

import hashlib
import io
import itertools
import os
import random
import socket
import sys
import tarfile
import threading
import time
import types
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from toys import competition, make_toy_competition, tar_bytes, write_files

from kit.competition import SourceFile, SourceSet, load_competition
from kit.data.fetch import fetch
from kit.errors import FetchError, StorageError
from kit.home import family
from kit.kaggle.client import credentials_place, download_competition

CONTENT = bytes(range(256)) * 40  # 10,240 bytes
ARCHIVE = tar_bytes({"images/a.png": b"one", "images/b.png": b"two"})


class Server(ThreadingHTTPServer):
    """Serves `files`; each entry of `cuts` ends one answer's body after that many bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.ignores_ranges = False
        self.chunked = False
        self.ranges: list[str | None] = []  # the Range header of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        self.close_connection = True
        content = self.server.files.get(self.path.lstrip("/"))
        if content is None:
            return self.send_error(404)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and not self.server.ignores_ranges else 0
        if start >= len(content) > 0:
            return self.send_error(416)
        self.send_response(206 if start else 200)
        body = content[start:]
        cut = self.server.cuts.pop(0) if self.server.cuts else len(body)
        self.send_header("Connection", "close")
        if self.server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s" % (len(body), body[:cut]))
            if cut >= len(body):
                self.wfile.write(b"\r\n0\r\n\r\n")
            return None
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        return None


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def question(folder: Path, *files: SourceFile, **changes):
    return competition(folder, sources={"local": SourceSet(files=files)}, **changes)


def fetch_quietly(asked, **options) -> Path:
    return fetch(asked, say=lambda line: None, **options)


def nothing_is_left(data: Path) -> bool:
    return not data.exists() or list(data.iterdir()) == []


def test_a_file_is_downloaded_once_and_the_second_fetch_does_nothing(server, tmp_path):
    server.files["a.bin"] = CONTENT
    asked = question(tmp_path, SourceFile(url=f"{server.url}/a.bin", sha256=hashlib.sha256(CONTENT).hexdigest()))
    lines: list[str] = []
    folder = fetch(asked, say=lines.append)
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert lines == [f"fetching {server.url}/a.bin"]
    assert fetch(asked, say=lines.append) == folder
    assert len(lines) == len(server.ranges) == 1


def test_a_changed_source_is_fetched_anew_out_of_the_same_download(server, tmp_path):
    server.files["a.bin"] = CONTENT
    file = {"url": f"{server.url}/a.bin", "md5": hashlib.md5(CONTENT).hexdigest()}
    first = fetch_quietly(question(tmp_path, SourceFile(**file)))
    second = fetch_quietly(question(tmp_path, SourceFile(**file, save_as="deep/b.bin")))
    assert first == second
    assert [p.relative_to(second).as_posix() for p in second.rglob("*.bin")] == ["deep/b.bin"]
    assert len(server.ranges) == 1


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_cut_download_goes_on_where_it_broke(server, tmp_path, chunked):
    server.files["a.bin"], server.cuts, server.chunked = CONTENT, [1000, 2000], chunked
    folder = fetch_quietly(question(tmp_path, SourceFile(url=f"{server.url}/a.bin", num_bytes=len(CONTENT))))
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert server.ranges[0] is None
    if not chunked:  # what the client hands over of a broken chunk is its own affair
        assert server.ranges == [None, "bytes=1000-", "bytes=3000-"]


def test_a_server_that_ignores_ranges_is_asked_for_the_whole_file_again(server, tmp_path):
    server.files["a.bin"], server.cuts, server.ignores_ranges = CONTENT, [1000], True
    folder = fetch_quietly(question(tmp_path, SourceFile(url=f"{server.url}/a.bin")))
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-"]


def test_a_connection_that_always_breaks_is_an_error_and_the_next_fetch_goes_on(server, tmp_path):
    server.files["a.bin"], server.cuts = CONTENT, [100, 100, 100]
    asked = question(tmp_path, SourceFile(url=f"{server.url}/a.bin"))
    with pytest.raises(FetchError, match=r"a\.bin \(the connection broke 3 times, last at byte 300\)"):
        fetch_quietly(asked)
    assert nothing_is_left(family("data") / "toy")
    folder = fetch_quietly(asked)
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=300-"


counter = itertools.count()


@given(cuts=st.lists(st.integers(0, len(CONTENT)), max_size=2), ignores_ranges=st.booleans())
def test_a_download_cut_at_any_byte_ends_whole(server, tmp_path, monkeypatch, cuts, ignores_ranges):
    monkeypatch.setenv("KIT_HOME", str(tmp_path / f"home-{next(counter)}"))
    server.files["a.bin"], server.cuts, server.ignores_ranges = CONTENT, list(cuts), ignores_ranges
    folder = fetch_quietly(question(tmp_path, SourceFile(url=f"{server.url}/a.bin")))
    assert (folder / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("kept", [len(CONTENT), len(CONTENT) + 5])
@pytest.mark.parametrize("num_bytes", [0, len(CONTENT)])
def test_a_part_that_is_already_whole_or_too_long_does_no_harm(server, tmp_path, kept, num_bytes):
    server.files["a.bin"] = CONTENT
    part = family("downloads") / "toy" / "local" / "a.bin.part"
    write_files(part.parent, {part.name: (CONTENT + b"extra")[:kept]})
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    asked = question(tmp_path, SourceFile(url=f"{server.url}/a.bin", num_bytes=num_bytes, sha256=sha256))
    if kept > len(CONTENT) and not num_bytes:  # the checksum tells that it is another file; then it is gone
        with pytest.raises(FetchError, match="sha256"):
            fetch_quietly(asked)
    assert (fetch_quietly(asked) / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"sha256": "0" * 64}, r"its sha256 is [0-9a-f]{64}, expected 0000"),
        ({"md5": "0" * 32}, r"its md5 is [0-9a-f]{32}, expected 0000"),
        ({"num_bytes": 20_000}, r"it has 10,240 bytes, expected 20,000"),
    ],
)
def test_a_download_of_other_bytes_is_refused_and_removed(server, tmp_path, wrong, fault):
    server.files["a.bin"] = CONTENT
    with pytest.raises(FetchError, match=rf"a\.bin is not the file that toy names: {fault}.* has been removed"):
        fetch_quietly(question(tmp_path, SourceFile(url=f"{server.url}/a.bin", **wrong)))
    assert nothing_is_left(family("downloads") / "toy" / "local")
    assert nothing_is_left(family("data") / "toy")


def test_a_missing_page_names_the_address_and_the_way_out(server, tmp_path):
    with pytest.raises(FetchError) as caught:
        fetch_quietly(question(tmp_path, SourceFile(url=f"{server.url}/a.bin")))
    for fragment in ("toy needs the file a.bin", f"{server.url}/a.bin (Not Found)", "--mirror DIR", "toy/a.bin"):
        assert fragment in str(caught.value)


def test_a_full_disk_during_a_download_is_named(server, tmp_path, monkeypatch):
    server.files["a.bin"] = CONTENT
    real_open = Path.open

    def full(path, mode="r", *args, **options):
        if path.suffix == ".part" and mode == "wb":
            raise OSError(28, "No space left on device")
        return real_open(path, mode, *args, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageError, match=r"The disk is full: .*a\.bin\.part"):
        fetch_quietly(question(tmp_path, SourceFile(url=f"{server.url}/a.bin")))


def test_without_a_network_the_error_comes_soon_and_names_the_mirror(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.bin"
    start = time.monotonic()
    with pytest.raises(FetchError) as caught:
        fetch_quietly(question(tmp_path, SourceFile(url=url)))
    assert time.monotonic() - start < 5
    for fragment in (url, "refused", "--mirror DIR", "KIT_MIRROR"):
        assert fragment in str(caught.value)


@pytest.mark.parametrize("place", ["far/a.bin", "toy/a.bin", "a.bin"])
def test_a_mirror_folder_serves_a_file_from_any_of_its_places_without_a_copy_in_downloads(tmp_path, place):
    mirror = write_files(tmp_path / "mirror", {place: CONTENT})
    asked = question(tmp_path, SourceFile(path="far/a.bin", num_bytes=len(CONTENT)))
    assert (fetch_quietly(asked, mirror=str(mirror)) / "a.bin").read_bytes() == CONTENT
    assert not family("downloads").exists()


def test_kit_mirror_is_the_mirror_that_no_option_names(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_MIRROR", str(write_files(tmp_path / "mirror", {"a.bin": CONTENT})))
    assert (fetch_quietly(question(tmp_path, SourceFile(path="a.bin"))) / "a.bin").read_bytes() == CONTENT


def test_a_mirror_url_is_asked_before_the_public_address(server, tmp_path):
    server.files["far/a.bin"] = CONTENT
    asked = question(tmp_path, SourceFile(path="far/a.bin", url=f"{server.url}/never.bin"))
    assert (fetch_quietly(asked, mirror=f"{server.url}/") / "a.bin").read_bytes() == CONTENT
    assert len(server.ranges) == 1


def test_a_mirror_url_that_lacks_the_file_gives_way_to_the_public_address(server, tmp_path):
    server.files["a.bin"] = CONTENT
    asked = question(tmp_path, SourceFile(path="far/a.bin", url=f"{server.url}/a.bin"))
    assert (fetch_quietly(asked, mirror=server.url) / "a.bin").read_bytes() == CONTENT
    assert len(server.ranges) == 2


def test_a_mirrors_wrong_file_is_refused_and_stays_where_it_is(tmp_path):
    mirror = write_files(tmp_path / "mirror", {"a.bin": CONTENT})
    with pytest.raises(FetchError, match=r"a\.bin is not the file .* Put the right file into the mirror"):
        fetch_quietly(question(tmp_path, SourceFile(path="a.bin", sha256="0" * 64)), mirror=str(mirror))
    assert (mirror / "a.bin").read_bytes() == CONTENT


def test_a_mirror_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(FetchError, match=r"nowhere is not a folder. Give a folder, or a URL"):
        fetch_quietly(question(tmp_path, SourceFile(path="a.bin")), mirror=str(tmp_path / "nowhere"))


@pytest.mark.parametrize("with_mirror", [False, True])
def test_a_file_without_an_address_says_where_a_mirror_keeps_it(tmp_path, with_mirror):
    mirror = write_files(tmp_path / "mirror", {"other.bin": b""}) if with_mirror else None
    with pytest.raises(FetchError) as caught:
        fetch_quietly(question(tmp_path, SourceFile(path="far/a.bin")), mirror=mirror and str(mirror))
    for fragment in ("toy needs the file a.bin", "no public address", "as far/a.bin", "--mirror DIR", "KIT_MIRROR"):
        assert fragment in str(caught.value)
    assert (f"not in the mirror {mirror}" in str(caught.value)) is with_mirror


def zip_bytes(files: dict[str, bytes], *, link: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)
        if link:
            member = zipfile.ZipInfo(link)
            member.external_attr = 0o120777 << 16
            bundle.writestr(member, "/etc")
    return buffer.getvalue()


def tar_with(member: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        fine = tarfile.TarInfo("fine.txt")
        tar.addfile(fine)
        tar.addfile(member)
    return buffer.getvalue()


def tar_link(kind: bytes, target: str) -> bytes:
    member = tarfile.TarInfo("sly")
    member.type, member.linkname = kind, target
    return tar_with(member)


@pytest.mark.parametrize(
    "archive",
    [ARCHIVE, tar_bytes({"images/a.png": b"one"}, mode="w:gz"), zip_bytes({"images/a.png": b"one"})],
    ids=["tar", "tgz", "zip"],
)
def test_archives_are_unpacked_into_the_data_folder(tmp_path, archive):
    mirror = write_files(tmp_path / "mirror", {"all.bin": archive})
    folder = fetch_quietly(question(tmp_path, SourceFile(path="all.bin", unpack=True)), mirror=str(mirror))
    assert (folder / "images" / "a.png").read_bytes() == b"one"


SLY = {
    "tar above": (tar_with(tarfile.TarInfo("../escaped.txt")), "escaped.txt"),
    "tar link out": (tar_link(tarfile.SYMTYPE, "../../outside"), "sly"),
    "tar link to root": (tar_link(tarfile.SYMTYPE, "/etc/passwd"), "sly"),
    "tar hard link out": (tar_link(tarfile.LNKTYPE, "../../outside"), "sly"),
    "tar device": (tar_link(tarfile.CHRTYPE, ""), "sly"),
    "zip above": (zip_bytes({"fine.txt": b"", "../escaped.txt": b"x"}), "../escaped.txt"),
    "zip absolute": (zip_bytes({"fine.txt": b"", "/tmp-escaped/x.txt": b"x"}), "/tmp-escaped/x.txt"),
    "zip link": (zip_bytes({"fine.txt": b""}, link="sly"), "sly"),
}


@pytest.mark.parametrize(("archive", "member"), SLY.values(), ids=SLY)
def test_an_archive_that_reaches_outside_is_refused_by_member_and_leaves_nothing(tmp_path, archive, member):
    mirror = write_files(tmp_path / "mirror", {"all.bin": archive})
    with pytest.raises(FetchError) as caught:
        fetch_quietly(question(tmp_path, SourceFile(path="all.bin", unpack=True)), mirror=str(mirror))
    assert "all.bin" in str(caught.value) and member in str(caught.value)
    assert nothing_is_left(family("data") / "toy")
    assert not list(tmp_path.rglob("escaped.txt")) and not Path("/tmp-escaped").exists()


def test_an_absolute_name_in_a_tar_is_taken_as_relative(tmp_path):
    mirror = write_files(tmp_path / "mirror", {"all.bin": tar_bytes({"/tmp-escaped/x.txt": b"x"})})
    folder = fetch_quietly(question(tmp_path, SourceFile(path="all.bin", unpack=True)), mirror=str(mirror))
    assert (folder / "tmp-escaped" / "x.txt").read_bytes() == b"x"
    assert not Path("/tmp-escaped").exists()


NOISE = random.Random(1).randbytes(50_000)
TXZ = tar_bytes({"a.bin": NOISE}, mode="w:xz")
BROKEN = {
    "error page": b"<html>Please log in</html>",
    "empty": b"",
    "cut tar": tar_bytes({"a.bin": CONTENT})[:4000],
    "cut tgz": tar_bytes({"a.bin": NOISE}, mode="w:gz")[:30_000],
    "cut txz": TXZ[:30_000],
    "cut zip": zip_bytes({"a.bin": CONTENT})[:4000],
    "txz with a wrong byte": TXZ[:20_000] + bytes([TXZ[20_000] ^ 1]) + TXZ[20_001:],
    "zip with a wrong byte": zip_bytes({"a.bin": CONTENT}).replace(CONTENT[:512], CONTENT[1:513], 1),
}


@pytest.mark.parametrize("archive", BROKEN.values(), ids=BROKEN)
def test_what_is_no_whole_archive_is_refused_and_leaves_nothing(tmp_path, archive):
    mirror = write_files(tmp_path / "mirror", {"all.bin": archive})
    with pytest.raises(FetchError, match=r"all\.bin (is neither a tar nor a zip archive|cannot be unpacked)"):
        fetch_quietly(question(tmp_path, SourceFile(path="all.bin", unpack=True)), mirror=str(mirror))
    assert nothing_is_left(family("data") / "toy")


def test_the_toy_competition_is_fetched_from_its_mirror(toy_competition):
    folder = fetch_quietly(load_competition(toy_competition()))
    assert len(list(folder.glob("train/*/*.png"))) == 18
    assert len(list(folder.glob("test/*/*.png"))) == 6


def test_an_adapter_writes_pixels_that_are_not_yet_files_and_a_changed_adapter_writes_them_again(tmp_path):
    folder = make_toy_competition(tmp_path)
    adapter = "def materialise(data_dir):\n    (data_dir / 'made.txt').write_text('{}')\n"
    asked = competition(folder, sources={"local": SourceSet()})
    for text in ("first", "second"):
        (folder / "adapter.py").write_text(adapter.format(text))
        assert (fetch_quietly(asked) / "made.txt").read_text() == text


# Kaggle: nothing here asks the network; the client is replaced where one would be needed.


def kaggle_question(folder: Path):
    return competition(folder, sources={"kaggle": SourceSet(kaggle="leaf-classification")})


def test_without_credentials_kaggle_is_not_asked(tmp_path):
    with pytest.raises(FetchError) as caught:
        fetch_quietly(kaggle_question(tmp_path))
    for fragment in ("'leaf-classification'", "KAGGLE_API_TOKEN", "leaf-classification.zip", "--mirror DIR"):
        assert fragment in str(caught.value)
    assert nothing_is_left(family("data") / "toy")


@pytest.mark.parametrize("place", ["leaf-classification.zip", "toy/leaf-classification.zip"])
def test_a_mirror_folder_stands_in_for_kaggle(tmp_path, place):
    mirror = write_files(tmp_path / "mirror", {place: zip_bytes({"train.csv": b"id\n"})})
    assert (fetch_quietly(kaggle_question(tmp_path), mirror=str(mirror)) / "train.csv").read_bytes() == b"id\n"


def test_credentials_are_found_in_the_clients_own_order(monkeypatch):
    assert credentials_place() is None
    config = Path(os.environ["KAGGLE_CONFIG_DIR"])
    write_files(config, {"kaggle.json": b"{}"})
    assert credentials_place() == str(config / "kaggle.json")
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", "k-5ecret")
    assert credentials_place() == "KAGGLE_USERNAME and KAGGLE_KEY"
    monkeypatch.setenv("KAGGLE_API_TOKEN", "t-5ecret")
    assert credentials_place() == "KAGGLE_API_TOKEN"


@pytest.fixture
def kaggle(monkeypatch):
    """Put a stand-in for Kaggle's client where it is imported from; `outcome` is raised, or files to write."""
    stand_in = types.ModuleType("kaggle.api.kaggle_api_extended")
    stand_in.outcome = {}  # type: ignore[attr-defined]

    class KaggleApi:
        def authenticate(self) -> None:
            if stand_in.outcome == "exit":
                sys.exit(1)

        def competition_download_files(self, slug: str, path: str, quiet: bool) -> None:
            if isinstance(stand_in.outcome, Exception):
                raise stand_in.outcome
            write_files(Path(path), stand_in.outcome)

    stand_in.KaggleApi = KaggleApi  # type: ignore[attr-defined]
    for name in ("kaggle", "kaggle.api"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    monkeypatch.setenv("KAGGLE_API_TOKEN", "t-5ecret")
    return stand_in


def test_kaggles_archive_is_unpacked_and_its_single_files_are_copied(kaggle, tmp_path):
    kaggle.outcome = {"leaf-classification.zip": zip_bytes({"train.csv": b"id\n"}), "extra.csv": b"x\n"}
    folder = fetch_quietly(kaggle_question(tmp_path))
    assert (folder / "train.csv").read_bytes() == b"id\n"
    assert (folder / "extra.csv").read_bytes() == b"x\n"


def refused(status: int) -> requests.HTTPError:
    answer = requests.Response()
    answer.status_code = status
    return requests.HTTPError(f"status {status}", response=answer)


@pytest.mark.parametrize(
    ("outcome", "fragments"),
    [
        (refused(401), ["HTTP 401", "new token"]),
        (refused(403), ["HTTP 403", "https://www.kaggle.com/competitions/leaf/rules"]),
        (refused(404), ["HTTP 404", "no competition of that name"]),
        (refused(429), ["HTTP 429", "pause"]),
        (refused(500), ["HTTP 500", "Try again later"]),
        (requests.HTTPError("no answer"), ["HTTP 0"]),
        (requests.ConnectionError("no route"), ["could not be reached", "no route", "leaf.zip", "--mirror DIR"]),
        ("exit", ["cannot use the credentials in KAGGLE_API_TOKEN", "new token"]),
    ],
)
def test_each_refusal_of_kaggle_has_its_remedy_and_shows_no_secret(kaggle, tmp_path, outcome, fragments):
    kaggle.outcome = outcome
    with pytest.raises(FetchError) as caught:
        download_competition("leaf", tmp_path)
    for fragment in ("'leaf'" if outcome != "exit" else "Kaggle", *fragments):
        assert fragment in str(caught.value)
    assert "5ecret" not in str(caught.value)
