"""Download: one file, whole and checked, from a real server on this machine that breaks, lies and changes its mind."""

import contextlib
import fcntl
import hashlib
import io
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from local_server import Server, running

from kit.errors import FetchError, StorageError
from kit.files import download as module
from kit.files.download import download

CONTENT = bytes(range(256)) * 40  # 10,240 bytes
OTHER = CONTENT[::-1]  # another version, of the same size
SHA256 = hashlib.sha256(CONTENT).hexdigest()
counter = itertools.count()


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(module, "MOST_PAUSE_SECONDS", 0.0)


@pytest.fixture
def server():
    with running() as one:
        one.files["a.bin"] = CONTENT
        yield one


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "downloads" / "a.bin"


def leave_part(server: Server, target: Path, content: bytes, *, of: bytes = CONTENT) -> None:
    """Leave what an earlier, killed download of the version `of` has received."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_name("a.bin.part").write_bytes(content)
    assert server.version is not None
    note = {"url": f"{server.url}/a.bin", "version": server.version(of)}
    target.with_name("a.bin.part.json").write_text(json.dumps(note))


def is_whole_and_alone(target: Path) -> bool:
    return target.read_bytes() == CONTENT and [p.name for p in target.parent.iterdir()] == ["a.bin"]


def test_a_file_arrives_whole_and_only_it(server, target):
    download(f"{server.url}/a.bin", target, num_bytes=len(CONTENT), sha256=SHA256)
    assert is_whole_and_alone(target)
    assert server.requests[0]["Accept-Encoding"] == "identity"


def test_a_name_with_a_space_and_a_letter_beyond_ascii_is_asked_for_as_it_must_be(server, target):
    server.files["B%C3%A4r%20a.bin"] = CONTENT
    download(f"{server.url}/Bär a.bin", target)
    assert is_whole_and_alone(target)


def test_an_empty_file_is_a_file(server, target):
    server.files["a.bin"] = b""
    download(f"{server.url}/a.bin", target)
    assert target.read_bytes() == b""


cuts = st.lists(st.integers(0, len(CONTENT)), max_size=5)


@given(cuts=cuts, checked=st.booleans(), ignores_ranges=st.booleans(), versioned=st.booleans(), chunked=st.booleans())
@example(cuts=[0] * 5, checked=False, ignores_ranges=False, versioned=False, chunked=False)
@example(cuts=[len(CONTENT) - 1] * 5, checked=False, ignores_ranges=True, versioned=True, chunked=True)
def test_a_download_cut_at_any_byte_ends_whole(tmp_path, cuts, checked, ignores_ranges, versioned, chunked):
    target = tmp_path / str(next(counter)) / "a.bin"
    with running() as server:
        server.files["a.bin"], server.cuts = CONTENT, list(cuts)
        server.ignores_ranges, server.chunked = ignores_ranges, chunked
        server.version = server.version if versioned else None
        download(f"{server.url}/a.bin", target, sha256=SHA256 if checked else "")
    assert is_whole_and_alone(target)


def test_a_cut_download_goes_on_where_it_broke_and_only_with_the_same_version(server, target):
    server.cuts = [1000, 2000]
    download(f"{server.url}/a.bin", target)
    assert is_whole_and_alone(target)
    assert server.ranges == [None, "bytes=1000-", "bytes=3000-"]
    assert [headers["If-Range"] for headers in server.requests] == [None, *[server.version(CONTENT)] * 2]


def test_a_hundred_breaks_are_no_failure_as_long_as_each_brings_a_byte(server, target):
    server.cuts = [100] * 100
    download(f"{server.url}/a.bin", target)
    assert is_whole_and_alone(target)
    assert len(server.requests) == 101


@pytest.mark.parametrize("versioned", [True, False])
def test_breaks_without_progress_are_a_failure_and_what_came_is_kept_for_the_next_time(server, target, versioned):
    server.version = server.version if versioned else None
    server.cuts = [100] + [0] * module.ATTEMPTS
    with pytest.raises(FetchError, match=r"failed 6 times without progress, .*100 bytes are kept") as caught:
        download(f"{server.url}/a.bin", target, num_bytes=len(CONTENT), sha256="" if versioned else SHA256)
    assert "a.bin" in str(caught.value) and not target.exists()
    download(f"{server.url}/a.bin", target, sha256="" if versioned else SHA256)
    assert is_whole_and_alone(target)
    assert server.ranges[-1] == "bytes=100-"


def test_a_part_that_nothing_proves_to_be_of_this_version_is_not_gone_on_with(server, target):
    server.version, server.cuts = None, [100]
    download(f"{server.url}/a.bin", target)
    assert is_whole_and_alone(target)
    assert server.ranges == [None, None]


@pytest.mark.parametrize("heeds_condition", [True, False])
def test_a_file_that_changes_midway_is_not_spliced_together(server, target, heeds_condition):
    server.files["a.bin"], server.cuts = OTHER, [1000]

    def change(number: int) -> None:
        if number == 1:
            server.files["a.bin"] = CONTENT
            if not heeds_condition:  # the server sends a range of the new version whatever was asked
                server.version = lambda content: Always(content)

    class Always(str):
        def __new__(cls, content: bytes):
            return super().__new__(cls, f'"{hashlib.md5(content).hexdigest()}"')

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = str.__hash__

    server.on_request = change
    download(f"{server.url}/a.bin", target)
    assert is_whole_and_alone(target)


@given(break_at=st.integers(1, len(CONTENT) - 1), change_at=st.integers(1, 3))
def test_whenever_the_file_changes_what_arrives_is_one_version(tmp_path, break_at, change_at):
    target = tmp_path / str(next(counter)) / "a.bin"
    with running() as server:
        server.files["a.bin"], server.cuts = OTHER, [break_at] * 3

        def change(number: int) -> None:
            server.files["a.bin"] = OTHER if number < change_at else CONTENT

        server.on_request = change
        download(f"{server.url}/a.bin", target)
    assert target.read_bytes() in (CONTENT, OTHER)


def test_a_wrong_file_put_together_from_parts_is_fetched_once_more_from_the_start(server, target):
    server.version = lambda content: '"the same for all"'
    leave_part(server, target, b"x" * 1000)
    lines: list[str] = []
    download(f"{server.url}/a.bin", target, sha256=SHA256, say=lines.append)
    assert is_whole_and_alone(target)
    assert server.ranges == ["bytes=1000-", None]
    assert "fetching it again from the start" in lines[0]


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"sha256": "0" * 64}, r"its sha256 is [0-9a-f]{64}, expected 0000"),
        ({"md5": "0" * 32}, r"its md5 is [0-9a-f]{32}, expected 0000"),
        ({"num_bytes": 20_000}, r"it has 10,240 bytes, expected 20,000"),
        ({"num_bytes": 5_000}, r"it has more bytes than the expected 5,000"),
    ],
)
def test_other_bytes_than_expected_are_refused_after_one_request_and_removed(server, target, wrong, fault):
    with pytest.raises(FetchError, match=fault):
        download(f"{server.url}/a.bin", target, **wrong)
    assert list(target.parent.iterdir()) == []
    assert len(server.requests) == 1


@pytest.mark.parametrize("names_its_end", [True, False])
@pytest.mark.parametrize("kept", [CONTENT, CONTENT + b"extra", b"x" * len(CONTENT)], ids=["whole", "too long", "wrong"])
@pytest.mark.parametrize("num_bytes", [0, len(CONTENT)])
def test_a_part_that_is_whole_or_too_long_or_wrong_does_no_harm(server, target, kept, num_bytes, names_its_end):
    server.names_its_end = names_its_end
    leave_part(server, target, kept)
    download(f"{server.url}/a.bin", target, num_bytes=num_bytes, sha256=SHA256)
    assert is_whole_and_alone(target)


@pytest.mark.parametrize(
    "content_range", ["bytes 0-10239/10240", "bytes 1001-10239/10240", "bytes */10240", "nonsense", None]
)
def test_a_part_that_is_not_the_one_asked_for_is_thrown_away(server, target, content_range):
    server.cuts = [1000]

    def lie(number: int) -> None:
        server.extra = {"Content-Range": content_range} if number == 1 else {}

    server.on_request = lie
    download(f"{server.url}/a.bin", target)
    assert is_whole_and_alone(target)
    assert server.ranges == [None, "bytes=1000-", None]


def test_a_server_without_content_length_is_read_to_its_end(server, target):
    server.extra = {"Content-Length": None}
    download(f"{server.url}/a.bin", target)
    assert is_whole_and_alone(target)


@pytest.mark.parametrize("ignores_ranges", [False, True])
@pytest.mark.parametrize(
    "known", [{"num_bytes": len(CONTENT)}, {"num_bytes": len(CONTENT), "sha256": SHA256}], ids=["size", "checksum"]
)
def test_a_content_length_too_long_is_found_out_by_what_is_known_of_the_file(server, target, known, ignores_ranges):
    server.extra, server.ignores_ranges = {"Content-Length": "20000"}, ignores_ranges and "sha256" in known
    download(f"{server.url}/a.bin", target, **known)
    assert is_whole_and_alone(target)


def test_a_content_length_too_short_is_found_out_by_what_is_known_of_the_file(server, target):
    server.extra = {"Content-Length": "5000"}
    with pytest.raises(FetchError, match="it has 5,000 bytes, expected 10,240"):
        download(f"{server.url}/a.bin", target, num_bytes=len(CONTENT))
    assert not target.exists()


def test_an_answer_packed_unasked_is_refused_where_no_checksum_speaks_for_it(server, target):
    server.extra = {"Content-Encoding": "gzip"}
    with pytest.raises(FetchError, match="packed it with 'gzip', unasked"):
        download(f"{server.url}/a.bin", target)
    download(f"{server.url}/a.bin", target, sha256=SHA256)
    assert is_whole_and_alone(target)


def test_a_tgz_that_its_server_calls_packed_is_taken_as_it_is(server, target):
    server.files["a.tgz"], server.extra = CONTENT, {"Content-Encoding": "x-gzip"}
    download(f"{server.url}/a.tgz", target.with_name("a.tgz"))
    assert target.with_name("a.tgz").read_bytes() == CONTENT


def test_redirects_are_followed_with_the_range(server, target):
    server.redirects["old"], server.cuts = f"{server.url}/a.bin", [1000]
    download(f"{server.url}/old", target)
    assert is_whole_and_alone(target)
    assert server.ranges == [None, None, "bytes=1000-", "bytes=1000-"]


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/a.bin", "data:,x", "/again"])
def test_a_redirect_away_from_http_or_in_circles_is_refused(server, target, place):
    server.redirects["again"] = place
    with pytest.raises(FetchError, match=r"/again leads to an address that is not followed") as caught:
        download(f"{server.url}/again", target)
    assert place in str(caught.value) or place == "/again"
    assert list(target.parent.iterdir()) == []


def test_a_redirect_from_https_to_http_is_followed_only_where_a_checksum_will_tell():
    step = (Request("https://example.org/a"), io.BytesIO(), 302, "Found", Message(), "http://example.org/a")
    with pytest.raises(HTTPError, match=r"a redirect from https to http://example\.org/a"):
        module._Redirects(has_checksum=False).redirect_request(*step)
    assert module._Redirects(has_checksum=True).redirect_request(*step).full_url == "http://example.org/a"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a.bin", "data:,x", "a.bin"])
def test_only_http_addresses_are_fetched(target, url):
    with pytest.raises(FetchError, match="only addresses that begin with http"):
        download(url, target)
    assert not target.exists()


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_servers_no_is_final_and_is_handed_on(server, target, status):
    server.refusals = [(status, {})]
    with pytest.raises(FetchError, match=rf"a\.bin was refused: HTTP {status}"):
        download(f"{server.url}/a.bin", target)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_servers_passing_trouble_is_waited_for(server, target, status):
    server.refusals, server.cuts = [(status, {"Retry-After": "3600"})] * 2, [1000]
    download(f"{server.url}/a.bin", target)
    assert is_whole_and_alone(target)


def test_the_pause_that_a_server_asks_for_is_kept_within_bounds(server, target, monkeypatch):
    monkeypatch.setattr(module, "MOST_PAUSE_SECONDS", 0.02)
    server.refusals = [(429, {"Retry-After": "3600"}), (503, {"Retry-After": "Sat, 21 Nov 2026 00:00:00 GMT"})]
    lines: list[str] = []
    download(f"{server.url}/a.bin", target, say=lines.append)
    assert lines[0] == "a.bin: HTTP 429 Too Many Requests; trying again in 0.02 s"
    assert lines[1].startswith("a.bin: HTTP 503 Service Unavailable")


def test_a_server_that_stalls_is_given_up_and_asked_again(server, target, monkeypatch):
    monkeypatch.setattr(module, "STALL_SECONDS", 0.05)
    server.cuts, server.extra = [1000], {"Connection": "keep-alive"}
    monkeypatch.setattr(server.RequestHandlerClass, "finish", hold_first(server.RequestHandlerClass.finish))
    lines: list[str] = []
    download(f"{server.url}/a.bin", target, say=lines.append)
    assert is_whole_and_alone(target)
    assert server.ranges == [None, "bytes=1000-"]


def hold_first(finish):
    """Let the first answer's connection stay open, silent, until the server is asked again."""
    held = []

    def later(self) -> None:
        self.wfile.flush()
        if not held:
            held.append(self)
            self.connection.settimeout(2)
            with contextlib.suppress(OSError):
                self.connection.recv(1)  # ends when the client hangs up
        finish(self)

    return later


def test_without_a_network_the_first_failure_is_the_last(target):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.bin"
    lines: list[str] = []
    with pytest.raises(FetchError, match=r"a\.bin could not be reached: .*refused"):
        download(url, target, say=lines.append)
    assert lines == []


def test_progress_is_said_now_and_then(server, target, monkeypatch):
    monkeypatch.setattr("kit.progress.QUIET_SECONDS", 0.0)
    monkeypatch.setattr("kit.progress.LINE_SECONDS", 0.0)
    monkeypatch.setattr(module, "CHUNK_BYTES", 6000)
    lines: list[str] = []
    download(f"{server.url}/a.bin", target, say=lines.append)
    assert lines[0].startswith("a.bin: 0 of 0 MB, ")
    assert lines[-1] == "a.bin: 0 MB in 0 s"


def test_a_file_larger_than_the_disk_is_refused_before_it_comes(server, target):
    server.extra = {"Content-Length": str(10 * shutil.disk_usage(target.parents[1]).total)}
    with pytest.raises(StorageError, match=r"a\.bin needs .* GB more, and the disk has"):
        download(f"{server.url}/a.bin", target)
    assert not target.exists()


def test_two_processes_that_want_the_same_file_do_not_mix_their_bytes(server, target):
    server.cuts = [100] * 20
    program = (
        "import sys; from pathlib import Path; from kit.files.download import download; "
        "download(sys.argv[1], Path(sys.argv[2]), sha256=sys.argv[3])"
    )
    command = [sys.executable, "-c", program, f"{server.url}/a.bin", str(target), SHA256]
    others = [subprocess.Popen(command, cwd=Path(__file__).parent.parent) for _ in range(2)]
    assert [one.wait() for one in others] == [0, 0]
    assert is_whole_and_alone(target)
    assert server.ranges.count("bytes=100-") == 1


def test_a_download_waits_for_another_one_and_takes_its_file(server, target):
    target.parent.mkdir()
    handle = os.open(target.parent, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)

    def other_ends(line: str) -> None:
        assert line == f"waiting for another download into {target.parent}"
        target.write_bytes(CONTENT)
        fcntl.flock(handle, fcntl.LOCK_UN)

    download(f"{server.url}/a.bin", target, sha256=SHA256, say=other_ends)
    os.close(handle)
    assert is_whole_and_alone(target) and server.requests == []
