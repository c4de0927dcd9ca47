"""A hosted competition over HTTP: files, hostile and slow requests, sizes, the page of standings and the log."""

import io
import json
import socket
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hosting import (
    FILES,
    Client,
    Clock,
    client_of,
    guesses,
    hosted_question,
    hosting,
    make_hosted,
    refusal,
    write_hosting,
)

from kit.errors import CompetitionError, ConfigError
from kit.host import connections, handler
from kit.host.connections import Server
from kit.host.hosted import HostedCompetition
from kit.host.server import serve


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def host(tmp_path, clock) -> Iterator[Callable[..., Server]]:
    with hosting(tmp_path, clock) as make:
        yield make


def test_files_are_listed_in_pages_and_given_whole_or_in_part(host):
    ann = client_of(host())
    first = ann.call("ListDataFiles", pageSize=2)
    second = ann.call("ListDataFiles", pageSize=2, pageToken=first["nextPageToken"])
    assert [one["name"] for one in first["files"] + second["files"]] == sorted(FILES)
    assert second["nextPageToken"] == ""
    path = urlsplit(ann.call("DownloadDataFile", fileName="images/a.jpg")["location"]).path
    status, headers, body = ann.request("GET", path)
    assert status == 200 and body == FILES["images/a.jpg"] and headers["Accept-Ranges"] == "bytes"
    status, part, body = ann.request("GET", path, Range="bytes=10000-", If_Range=headers["ETag"])
    assert status == 206 and body == FILES["images/a.jpg"][10000:]
    assert part["Content-Range"] == "bytes 10000-10239/10240"
    assert ann.request("GET", path, Range="bytes=0-3")[2] == FILES["images/a.jpg"][:4]
    assert ann.request("GET", path, Range="bytes=99-", If_Range='"another"')[0] == 200
    assert ann.request("GET", path, Range="bytes=10240-")[0] == 416
    assert ann.request("HEAD", path)[1]["Content-Length"] == "10240"


def test_the_archive_has_every_file(host):
    ann = client_of(host())
    path = urlsplit(ann.call("DownloadDataFiles")["location"]).path
    assert path.endswith("/colours.zip")
    with zipfile.ZipFile(io.BytesIO(ann.request("GET", path)[2])) as bundle:
        assert {name: bundle.read(name) for name in bundle.namelist()} == FILES


def test_no_path_leads_out_of_the_files_that_are_listed(host, tmp_path):
    hosting = write_hosting(tmp_path)
    (hosting["data"] / "link.csv").symlink_to(hosting["solution"])
    (hosting["data"] / "linked").symlink_to(tmp_path)
    (hosting["data"] / ".secret").write_text("hidden")
    server = host()
    ann = client_of(server)
    for name in ("../solution.csv", "link.csv", "linked/solution.csv", ".secret", "/etc/passwd", "images/../train.csv"):
        assert refusal(lambda name=name: ann.call("DownloadDataFile", fileName=name)).status == 404
    good = urlsplit(ann.call("DownloadDataFile", fileName="train.csv")["location"]).path
    for path in (good.replace("train.csv", "../solution.csv"), good.replace("train.csv", "images/a.jpg"), "/files/x/y"):
        assert ann.request("GET", path)[0] in (403, 404)
    assert ann.request("GET", "/../../etc/passwd")[0] == 404


def test_the_address_of_a_file_is_good_for_a_day(host, monkeypatch):
    ann = client_of(host())
    path = urlsplit(ann.call("DownloadDataFile", fileName="train.csv")["location"]).path
    later = handler.time.time() + handler.LINK_SECONDS + 1
    monkeypatch.setattr(handler.time, "time", lambda: later)
    status, _, body = ann.request("GET", path)
    assert status == 403 and "has expired" in json.loads(body)["message"]


def test_neither_key_nor_token_is_kept_or_logged(host, tmp_path):
    lines: list[str] = []
    server = host(say=lines.append)
    key = server.hosted.add_user("ann")
    ann = Client(server.url, "ann", key)
    token = ann.upload(guesses(0.8))
    path = urlsplit(ann.call("DownloadDataFile", fileName="train.csv")["location"]).path
    ann.request("GET", path)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "hosted").rglob("*") if path.is_file())
    signature = path.split("/")[2]
    for secret in (key, token, signature):
        assert secret.encode() not in kept and not any(secret in line for line in lines)
    while len(lines) < 5:  # the last line may come after its answer
        time.sleep(0.01)
    assert sorted(lines[1:]) == [
        '2026-11-21 12:00:00 127.0.0.1 GET "train.csv" 200',
        "2026-11-21 12:00:00 127.0.0.1 POST DownloadDataFile (ann) 302",
        "2026-11-21 12:00:00 127.0.0.1 POST StartSubmissionUpload (ann) 200",
        "2026-11-21 12:00:00 127.0.0.1 PUT upload 200",
    ]


HOSTILE = [
    (b"POST /v1/competitions.CompetitionApiService/ListDataFiles HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
    (b"POST /v1/competitions.CompetitionApiService/ListDataFiles HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 411),
    (b"POST /v1/competitions.CompetitionApiService/ListDataFiles HTTP/1.1\r\nContent-Length: 1\r\n\r\n{", 400),
    (b"POST /v1/competitions.CompetitionApiService/ListDataFiles HTTP/1.1\r\nContent-Length: 2\r\n\r\n[]", 400),
    (b"POST /v1/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 404),
    (b"PUT /upload/nothing HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde", 404),
    (b"GET /nothing HTTP/1.1\r\n\r\n", 404),
    (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 200 + b"\r\n", 431),
    (b"DELETE / HTTP/1.1\r\n\r\n", 501),
    (b"\x16\x03\x01 no HTTP at all\r\n\r\n", 400),
]


@pytest.mark.parametrize(("request_", "status"), HOSTILE)
def test_a_request_that_is_none_is_refused_in_json_without_a_traceback(host, request_, status):
    server = host()
    with socket.create_connection(server.server_address[:2], timeout=30) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    head, body = (head, body) if body else (b"", head)  # what is no HTTP gets no head either
    assert (not head or head.startswith(b"HTTP/1.1 %d " % status)) and b"Python" not in head
    assert json.loads(body)["code"] == status and b"Traceback" not in body
    assert client_of(server).call("ListDataFiles")["files"]  # it goes on


def test_deep_json_and_values_of_other_kinds_are_refused(host):
    ann = client_of(host())
    path = "/v1/competitions.CompetitionApiService/ListDataFiles"
    assert ann.request("POST", path, b'{"a":' + b"[" * 30_000, Authorization=ann.authorization)[0] == 400
    for asked in ({"competitionName": 5}, {"pageSize": "x"}, {"pageToken": "-1"}, {"pageSize": True}):
        assert refusal(lambda asked=asked: ann.call("ListDataFiles", **asked)).status == 400
    assert refusal(lambda: ann.call("ChooseFinals", refs="1")).status == 400
    assert refusal(lambda: ann.call("ListDataFiles", competitionName="other")).status == 404
    assert refusal(lambda: ann.call("LaunchCompetition")).status == 404


def test_an_upload_has_the_size_it_was_announced_with(host):
    ann = client_of(host())
    assert refusal(lambda: ann.call("StartSubmissionUpload", contentLength=2**40)).status == 400
    assert refusal(lambda: ann.call("StartSubmissionUpload", contentLength=0)).status == 400
    started = ann.call("StartSubmissionUpload", contentLength=10, fileName="../../x\n.csv")
    path = urlsplit(started["createUrl"]).path
    assert ann.request("PUT", path, b"x" * 11)[0] == 413
    assert ann.request("PUT", path, b"x" * 9)[0] == 400
    assert (
        "No file was uploaded" in refusal(lambda: ann.call("CreateSubmission", blobFileTokens=started["token"])).message
    )
    assert ann.request("PUT", path, b"x" * 10)[0] == 200
    ann.call("CreateSubmission", blobFileTokens=started["token"])
    assert ann.submissions()[0]["fileName"] == "x .csv"
    assert ann.request("PUT", path, b"y" * 10)[0] == 404  # handed in: nobody changes it any more


def test_what_was_handed_in_is_not_replaced_by_an_upload_that_was_on_its_way(host):
    server = host()
    ann = client_of(server)
    content = guesses(0.8)
    started = ann.call("StartSubmissionUpload", contentLength=len(content), fileName="submission.csv")
    path = urlsplit(started["createUrl"]).path
    with socket.create_connection(server.server_address[:2], timeout=30) as slow:
        slow.sendall(f"PUT {path} HTTP/1.1\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content[:10])
        while not list(server.hosted.store.uploads.glob("*.part")):
            time.sleep(0.01)
        assert ann.request("PUT", path, content)[0] == 200
        ann.call("CreateSubmission", blobFileTokens=started["token"])
        slow.sendall(b"x" * (len(content) - 10))
        slow.shutdown(socket.SHUT_WR)
        answer = slow.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 404 ") and b"it has been handed in" in answer
    (kept,) = server.hosted.store.submissions()
    assert server.hosted.store.content(kept) == content
    assert [path.name for path in server.hosted.store.uploads.iterdir()] == [kept.token_hash]


def test_a_slow_client_is_not_waited_for_for_ever(host, monkeypatch):
    monkeypatch.setattr(connections, "PATIENCE", 0.2)
    monkeypatch.setattr(handler, "PATIENCE", 0.2)
    with socket.create_connection(host().server_address[:2], timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        assert connection.recv(100) == b""


def test_more_connections_than_there_is_room_for_are_ended_and_the_others_go_on(host, monkeypatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    server = host()
    ann = client_of(server)
    taken = [socket.create_connection(server.server_address[:2], timeout=30) for _ in range(3)]
    assert taken[2].recv(100) == b""
    for connection in taken:
        connection.close()
    while True:  # until the threads have seen it
        try:
            assert ann.call("ListDataFiles")["files"]
            break
        except OSError:
            continue


def test_a_connection_that_is_kept_open_ends_with_the_server(tmp_path):
    with serve(make_hosted(tmp_path)) as server:
        kept = socket.create_connection(server.server_address[:2], timeout=30)
        kept.sendall(b"HEAD / HTTP/1.1\r\n\r\n")
        answer = kept.makefile("rb")
        while answer.readline() != b"\r\n":
            pass
    with kept, answer:
        assert answer.read() == b""  # its end, for which a kept connection would wait


def test_a_fault_of_ours_is_told_without_its_traceback(host, monkeypatch):
    lines: list[str] = []
    server = host(say=lines.append)
    ann = client_of(server)
    monkeypatch.setattr(server.hosted, "places", None)
    refused = refusal(lambda: ann.call("GetLeaderboard"))
    assert (refused.status, refused.message) == (500, "The host has made a mistake. Please tell the host.")
    assert any("Traceback" in line for line in lines)


def test_the_page_shows_names_as_text_and_needs_no_script(tmp_path, monkeypatch):
    question = hosted_question(tmp_path, title="<script>alert(1)</script> & more")
    hosting = write_hosting(tmp_path)
    hosted = HostedCompetition.create(tmp_path / "hosted", question, say=lambda line: None, **hosting)
    with serve(hosted) as server:
        client_of(server).submit(guesses(0.8))
        hosted.wait_until_scored()
        status, headers, body = Client(server.url, "", "").request("GET", "/")
    page = body.decode()
    assert status == 200 and "default-src 'none'" in headers["Content-Security-Policy"]
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    assert '<th scope="row">ann</th>' in page and "0.21667" in page


def test_a_port_that_is_taken_is_named(tmp_path):
    hosted = make_hosted(tmp_path)
    with (
        serve(hosted) as server,
        pytest.raises(ConfigError, match=f"port {server.server_port}: Address already in use"),
    ):
        serve(hosted, port=server.server_port).__enter__()


def test_files_that_cannot_be_given_are_refused_at_the_start(tmp_path):
    hosting = write_hosting(tmp_path)
    (tmp_path / "empty").mkdir()
    for folder, message in ((tmp_path / "none", "There is no folder"), (tmp_path / "empty", "has no files")):
        target = tmp_path / f"hosted-{folder.name}"
        with pytest.raises(CompetitionError, match=message):
            HostedCompetition.create(target, hosted_question(tmp_path), **{**hosting, "data": folder})
        assert not Path(target, "hosting.json").exists()
