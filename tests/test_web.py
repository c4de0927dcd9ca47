"""The web: whatever servers do, it ends in time; and nothing is asked that must not be asked."""

import gzip
import socket
import ssl
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from scrape_site import QUICK, Site, hang_up, http, states
from toys import coloured_png

from kit.scrape.addresses import RefusedError, read_allowed_hosts
from kit.scrape.host_queue import HostQueue
from kit.scrape.web import FailedError, Web


@pytest.mark.parametrize(
    ("status", "attempts"), [(500, 3), (503, 3), (429, 3), (408, 3), (522, 3), (404, 1), (403, 1), (410, 1), (501, 1)]
)
def test_a_status_that_may_pass_is_tried_again(collect, site, status, attempts):
    site.answers["/a"] = http(status=status)
    (row,) = collect({"a": ["/a"]}).rows
    assert (row.status, row.reason, row.attempts) == ("failed", f"HTTP {status}", attempts)
    assert len(site.paths()) == attempts


def test_a_server_that_recovers_costs_no_image(collect, site):
    # The first reset ends a connection that was kept, which costs no attempt: a server may close what is idle.
    answers = iter([hang_up, hang_up, http(status=503), http(coloured_png("red", 1))])

    def next_one(connected):
        answer = next(answers)
        return answer if isinstance(answer, bytes) else answer(connected)

    site.answers["/a"] = next_one
    (row,) = collect({"a": ["/a"]}).rows
    assert (row.status, row.attempts) == ("ok", 3)


def test_retry_after_is_honoured_for_the_whole_host(collect, site):
    asked: dict[str, list[float]] = {"/busy": [], "/other": []}

    def busy(_connected):
        asked["/busy"].append(time.monotonic())
        first = len(asked["/busy"]) == 1
        return http(status=429, retry_after="1") if first else http(coloured_png("red", 1))

    def other(_connected):
        asked["/other"].append(time.monotonic())
        return http(coloured_png("red", 2))

    site.answers |= {"/busy": busy, "/other": other}
    limits = replace(QUICK, per_host=1)
    assert states(collect({"a": ["/busy", "/other"]}, limits=limits)) == [("ok", ""), ("ok", "")]
    assert asked["/busy"][1] - asked["/busy"][0] >= 1
    assert asked["/other"][0] - asked["/busy"][0] >= 1


def test_a_host_that_asks_for_an_hour_is_given_up_without_asking_the_rest(collect, site):
    in_an_hour = (datetime.now(UTC) + timedelta(hours=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    site.answers |= {f"/{k}": http(status=503, retry_after=in_an_hour) for k in range(50)}
    collection = collect({"a": [f"/{k}" for k in range(50)]}, limits=replace(QUICK, per_host=1))
    assert states(collection) == [("failed", "host asks for a long pause")] * 50
    assert len(site.paths()) == 1


def test_a_host_that_takes_no_connection_is_given_up_after_five(collect):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    urls = [f"http://127.0.0.1:{port}/{k}" for k in range(30)]
    limits = replace(QUICK, per_host=1, attempts=1)
    collection = collect({"a": urls}, allow_hosts=["127.0.0.1"], limits=limits)
    reasons = Counter(row.kind_of_reason for row in collection.rows)
    assert reasons == {"no connection": 5, "host given up after 5 failures": 25}


@pytest.mark.parametrize("start", [b"HTTP/1.1 ", http(bytes(200))[:-200]], ids=["in its headers", "in its body"])
def test_a_server_that_drips_byte_by_byte_ends_at_the_total_time(collect, site, start):
    def slow(connected):
        connected.sendall(start)
        for _ in range(200):
            connected.sendall(b"x")
            time.sleep(0.05)

    site.answers["/slow"] = slow
    (row,) = collect({"a": ["/slow"]}, limits=replace(QUICK, total_seconds=0.5)).rows
    assert (row.status, row.reason, row.attempts) == ("failed", "timeout", 1)


def test_a_silent_server_is_waited_for_no_longer_than_the_total_time(collect, site):
    site.answers["/late"] = lambda _: time.sleep(1) or http(coloured_png("red", 1))
    limits = replace(QUICK, total_seconds=0.3, read_seconds=30)
    assert states(collect({"a": ["/late"]}, limits=limits)) == [("failed", "timeout")]


def test_a_body_is_measured_while_it_is_read_not_by_what_its_header_says(collect, site):
    def endless(connected):
        connected.sendall(b"HTTP/1.1 200 .\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1000):
            connected.sendall(b"400\r\n" + bytes(1024) + b"\r\n")

    site.answers |= {
        "/hint": http(bytes(1), Content_Length="999999999")[:-1],
        "/endless": endless,
        "/bomb": http(gzip.compress(bytes(10**7)), content_encoding="gzip"),
        "/half": http(coloured_png("red", 1))[:-10],
        "/zipped": http(gzip.compress(coloured_png("red", 2)), content_encoding="gzip"),
        "/brotli": http(b"xx", content_encoding="br"),
    }
    site.answers["/hint"] = b"HTTP/1.1 200 .\r\nContent-Length: 999999999\r\n\r\n"
    half = site.answers["/half"]
    site.answers["/half"] = lambda connected: connected.sendall(half)
    paths = ["/hint", "/endless", "/bomb", "/half", "/zipped", "/brotli"]
    collection = collect({"a": paths}, limits=replace(QUICK, max_bytes=100_000))
    assert [row.reason for row in collection.rows] == [
        "too large (over 0.0953674 MiB)",
        "too large (over 0.0953674 MiB)",
        "too large (over 0.0953674 MiB)",
        "connection broke off",
        "",
        "content encoding not read (br)",
    ]


def test_robots_txt_is_asked_once_and_obeyed(collect, site):
    site.answers["/robots.txt"] = http(b"User-agent: *\nDisallow: /private/\n")
    site.answers |= {path: http(coloured_png("red", k)) for k, path in enumerate(["/private/a", "/b", "/c"])}
    collection = collect({"a": ["/private/a", "/b", "/c"]})
    assert states(collection) == [("refused", "disallowed by robots.txt"), ("ok", ""), ("ok", "")]
    assert Counter(path for path, _ in site.asked) == {"/robots.txt": 1, "/b": 1, "/c": 1}


def test_a_robots_txt_that_cannot_be_read_forbids_nothing(collect, site):
    site.answers |= {"/robots.txt": http("User-agent: *\nCrawl-delay: ²".encode()), "/a": http(coloured_png("red", 1))}
    assert states(collect({"a": ["/a"]})) == [("ok", "")]


def test_redirects_are_followed_five_times_and_each_is_checked(collect, site):
    image = http(coloured_png("red", 1))
    site.answers |= {f"/{k}": http(status=302, location=f"/{k - 1}") for k in range(1, 8)}
    site.answers |= {
        "/0": image,
        "/loop": http(status=301, location="/loop"),
        "/metadata": http(status=302, location="http://169.254.169.254/latest/meta-data/"),
        "/file": http(status=302, location="file:///etc/passwd"),
        "/user": http(status=302, location="http://a:b@example.org/"),
        "/nowhere": http(status=302),
    }
    paths = ["/5", "/6", "/loop", "/metadata", "/file", "/user", "/nowhere"]
    collection = collect({"a": paths})
    assert [(row.status, row.reason) for row in collection.rows] == [
        ("ok", ""),
        ("refused", "more than 5 redirects"),
        ("refused", "more than 5 redirects"),
        ("refused", "host is not public (169.254.169.254)"),
        ("refused", "redirect: not an http address"),
        ("refused", "redirect: user name or password in the address"),
        ("failed", "HTTP 302"),
    ]
    assert collection.rows[0].final_url == site.url("/0")


def test_a_loopback_server_is_not_asked_unless_it_is_allowed(collect, site):
    site.answers["/a"] = http(coloured_png("red", 1))
    number = int.from_bytes(bytes([127, 0, 0, 1]), "big")
    hosts = ["127.0.0.1", "localhost", str(number), "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]", "0.0.0.0"]
    collection = collect({"a": [f"http://{host}:{site.port}/a" for host in hosts]}, allow_hosts=[])
    assert states(collection) == [("refused", "host is not public")] * len(hosts)
    assert site.connections == 0
    assert states(collect({"b": ["/a"]}, allow_hosts=["127.0.0.1:1"]))[-1][0] == "refused"


def test_the_connection_goes_to_the_address_that_was_checked_even_if_the_name_changes(site):
    site.answers["/a"] = http(b"hello")
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])  # nothing listens there
    web = Web(allowed=read_allowed_hosts(["images.example"]), resolve=lambda host, port: next(answers))
    got = web.get(f"http://images.example:{site.port}/a", max_bytes=100, seconds=5)
    web.close()
    assert got.body == b"hello"
    assert site.asked[0][1]["Host"] == f"images.example:{site.port}"


def test_a_name_with_a_private_address_among_public_ones_is_refused(site):
    web = Web(resolve=lambda host, port: ["93.184.216.34", "127.0.0.1"])
    with pytest.raises(RefusedError, match=r"not public \(127.0.0.1\)"):
        web.get(f"http://images.example:{site.port}/a", max_bytes=100, seconds=5)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A self-signed certificate of images.example, with its key."""
    x509 = pytest.importorskip("cryptography.x509", reason="makes the test's certificate")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "images.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("images.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "images.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_tls_asks_for_the_name_and_trusts_no_other(certificate):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    named = []
    server.sni_callback = lambda connection, name, context: named.append(name)
    site = Site(server)
    site.answers["/a"] = http(b"hello")
    web = Web(
        allowed=read_allowed_hosts(["images.example", "other.example"]),
        resolve=lambda host, port: ["127.0.0.1"],
        tls=ssl.create_default_context(cafile=certificate),
    )
    assert web.get(f"https://images.example:{site.port}/a", max_bytes=100, seconds=5).body == b"hello"
    assert named == ["images.example"]
    with pytest.raises(FailedError, match="certificate not trusted"):
        web.get(f"https://other.example:{site.port}/a", max_bytes=100, seconds=5)
    web.close()
    site.close()


def test_connections_are_used_again(collect, site):
    site.answers |= {f"/{k}": http(coloured_png("red", k)) for k in range(20)}
    collect({"a": [f"/{k}" for k in range(20)]}, limits=replace(QUICK, per_host=1))
    assert site.connections == 1


def test_at_most_so_many_requests_at_once_and_so_often_go_to_a_host(collect, site):
    active, most, begun = [0], [0], []

    def answer(_connected):
        active[0] += 1
        most[0] = max(most[0], active[0])
        begun.append(time.monotonic())
        time.sleep(0.05)
        active[0] -= 1
        return http(status=404)

    site.answers |= {f"/{k}": answer for k in range(12)}
    collect({"a": [f"/{k}" for k in range(12)]}, limits=replace(QUICK, per_host=2, pause_seconds=0.03))
    assert most[0] <= 2
    assert max(begun) - min(begun) >= 0.03 * 11 * 0.8  # the server sees each a little later or sooner


def test_a_slow_host_does_not_hold_up_the_others():
    queue = HostQueue(per_host=1, pause_seconds=60)
    for k in range(3):
        queue.put(f"slow {k}", "slow")
    queue.put("other", "other")
    assert queue.take() == ("slow 0", "slow")
    assert queue.take() == ("other", "other")
    queue.finish("slow")
    queue.give_up("slow", "enough")
    assert queue.take() == ("slow 1", "slow")
    assert queue.take() == ("slow 2", "slow")
    for host in ("slow", "slow", "other"):
        queue.finish(host)
    assert queue.take() is None
