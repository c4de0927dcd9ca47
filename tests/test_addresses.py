"""Addresses and lists: what may be fetched, and what is read out of the files a user gives."""

import base64
import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import write_files

from kit.errors import ConfigError, DataError
from kit.scrape.addresses import RefusedError, is_public, normalised, place_of, read_allowed_hosts, redirected
from kit.scrape.saved_pages import addresses_in_har, addresses_in_page
from kit.scrape.url_lists import LONGEST_CLASS, checked_class, read_url_lists

NOT_PUBLIC = """
    127.0.0.1 127.9.9.9 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 240.0.0.1
    255.255.255.255 192.0.2.1 198.18.0.1 192.0.0.8 ::1 :: fe80::1 fe80::1%eth0 fc00::1 fec0::1 ff02::1 2001:db8::1
    ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 2002:7f00:1:: 2002:a00:1:: 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe
    64:ff9b:1::808:808 2001:0:1::1 192.88.99.1 3fff::1 5f00::1
"""


@pytest.mark.parametrize("address", NOT_PUBLIC.split())
def test_an_address_of_this_machine_or_its_neighbours_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1", "::ffff:8.8.8.8", "2002:808:808::", "64:ff9b::808:808"]
)
def test_an_address_of_the_internet_is_public_in_each_of_its_forms(address):
    assert is_public(address)


@given(number=st.integers(min_value=0, max_value=2**32 - 1))
def test_an_ipv4_address_is_public_or_not_whichever_way_ipv6_carries_it(number):
    from ipaddress import IPv4Address, IPv6Address

    plain = is_public(str(IPv4Address(number)))
    mapped = IPv6Address((0xFFFF << 32) | number)
    six_to_four = IPv6Address((0x2002 << 112) | (number << 80))
    nat64 = IPv6Address((0x64FF9B << 96) | number)
    assert [is_public(str(address)) for address in (mapped, six_to_four, nat64)] == [plain] * 3


@pytest.mark.parametrize(
    ("given_url", "expected"),
    [
        ("HTTP://Example.ORG:80", "http://example.org/"),
        ("https://example.org:443/a b.jpg#top", "https://example.org/a%20b.jpg"),
        ("http://example.org:8080/?q=ü", "http://example.org:8080/?q=%C3%BC"),
        ("http://bücher.example/bär.jpg", "http://xn--bcher-kva.example/b%C3%A4r.jpg"),
        ("http://example.org./a%2Fb", "http://example.org/a%2Fb"),
        ("http://[2606:4700::1]:8080/a", "http://[2606:4700::1]:8080/a"),
    ],
)
def test_one_address_has_one_spelling(given_url, expected):
    assert normalised(given_url) == expected
    assert normalised(expected) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.org/a.jpg", "not an http address"),
        ("file:///etc/passwd", "not an http address"),
        ("data:image/png;base64,AAAA", "not an http address"),
        ("bear.jpg", "not an http address"),
        ("http://", "not an address"),
        ("http://a..b/", "not an address"),
        ("http://exa mple.org/", "not an address"),
        ("http://[::1", "not an address"),
        ("http://example.org:0/", "not an address"),
        ("http://example.org:99999/", "not an address"),
        ("http://example.org/\ud800", "not an address"),
        ("http://user@example.org/", "user name or password in the address"),
        ("http://example.org\\@evil.example/", "user name or password in the address"),
        ("http://example.org/\r\nHost: x", "control characters in the address"),
        ("http://example.org:25/", "port not asked (port 25)"),
        ("http://example.org/" + "a" * 9000, "address too long (over 8,192 characters)"),
    ],
)
def test_an_address_that_is_none_or_must_not_be_asked_is_refused(url, reason):
    with pytest.raises(RefusedError) as refused:
        normalised(url)
    assert refused.value.reason == reason


@given(text=st.text(max_size=60), start=st.sampled_from(["", "http://", "https://a.example/", "http://a.example?"]))
def test_whatever_is_given_is_refused_or_comes_out_in_a_spelling_that_stays(text, start):
    with contextlib.suppress(RefusedError):
        url = normalised(start + text)
        assert normalised(url) == url
        assert url.isascii() and url.isprintable() and " " not in url
        assert place_of(url)[0] in ("http", "https")


def test_an_allowed_host_is_allowed_on_its_port_only_where_one_is_named():
    allowed = read_allowed_hosts(["nas.local", "127.0.0.1:99", "[::1]:8080"])
    assert ("nas.local", 1) in allowed and ("127.0.0.1", 99) in allowed and ("::1", 8080) in allowed
    assert ("127.0.0.1", 98) not in allowed and ("local", 1) not in allowed
    assert normalised("http://127.0.0.1:99/", allowed=allowed) == "http://127.0.0.1:99/"


@pytest.mark.parametrize("text", ["", "http://nas.local", "nas.local/a", "a@b", "a:b", "a:99999"])
def test_an_allowed_host_is_a_host_and_a_port(text):
    with pytest.raises(ConfigError, match="HOST:PORT"):
        read_allowed_hosts([text])


def test_a_redirect_never_leads_from_https_to_http():
    assert redirected("https://a.example/b/c", "../d") == "https://a.example/d"
    assert redirected("http://a.example/", "//b.example/x") == "http://b.example/x"
    with pytest.raises(RefusedError, match="from https to http"):
        redirected("https://a.example/", "http://a.example/")


def test_a_text_list_is_of_the_class_that_its_file_is_named_after(tmp_path):
    text = "\ufeff# bears\nhttps://a.example/1.jpg\n\n  https://a.example/2.jpg#x # two\nhttps://a.example/3.jpg\t# c\n"
    write_files(tmp_path, {"black_bear.txt": text.encode(), "teddy.txt": b"https://a.example/4.jpg", "note.md": b"no"})
    rows = [(row.label, row.url) for row in read_url_lists([tmp_path])]
    assert rows == [
        ("black_bear", "https://a.example/1.jpg"),
        ("black_bear", "https://a.example/2.jpg#x"),
        ("black_bear", "https://a.example/3.jpg"),
        ("teddy", "https://a.example/4.jpg"),
    ]
    assert {row.label for row in read_url_lists([tmp_path / "teddy.txt"], label="toy")} == {"toy"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_is_read_whichever_delimiter_it_has(tmp_path, delimiter):
    lines = [
        ["id", "Label", "URL"],
        ["1", "black bear", '"https://a.example/1,2;3.jpg"'],
        ["2", "teddy", "https://b.example/"],
    ]
    write_files(tmp_path, {"list.csv": "\r\n".join(delimiter.join(cells) for cells in lines).encode()})
    rows = [(row.label, row.url) for row in read_url_lists([tmp_path / "list.csv"])]
    assert rows == [("black bear", "https://a.example/1,2;3.jpg"), ("teddy", "https://b.example/")]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.csv": b"address,class\nx,y\n"}, "columns url and label"),
        ({"a.csv": b"url,label\nhttp://a.example/\n"}, "line 2: has 1 cells"),
        ({"a.csv": b"url,label\nhttp://a.example/,../up\n"}, "line 2: '../up' cannot name a class"),
        ({"a.txt": b"http://a.example/\xff"}, "not UTF-8"),
        ({"a.har": b"{}"}, "not a HAR file"),
        ({"bear.txt": b"http://a.example/", "Bear.csv": b"url,label\nhttp://b.example/,Bear\n"}, "differ only by case"),
    ],
)
def test_a_list_that_cannot_be_trusted_says_why(tmp_path, files, message):
    write_files(tmp_path, files)
    with pytest.raises(DataError, match=message):
        read_url_lists([tmp_path])


def test_no_list_and_an_empty_list_are_the_users_mistake(tmp_path):
    write_files(tmp_path, {"a.txt": b"# nothing\n", "b/c.md": b"", "d.json": b"[]"})
    for path, message in (("a.txt", "no address"), ("b", "no list"), ("d.json", "not read"), ("e.txt", "no such file")):
        with pytest.raises(ConfigError, match=message):
            read_url_lists([tmp_path / path])


UNSAFE = ["", " ", ".", "..", "a/b", "a\\b", ".hidden", "a.", "a\nb", "a\0b", "a\u202eb", "a:b", "a*", "\ud800"]
UNSAFE += ["con", "NUL.txt", "COM1", "x" * (LONGEST_CLASS + 1), "熊" * 80]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_class_that_is_no_safe_folder_name_is_refused(name):
    with pytest.raises(DataError, match="cannot name a class"):
        checked_class(name, where="list.csv")


@given(name=st.text(max_size=120))
def test_a_class_that_passes_is_one_folder_below_the_collection(name):
    with contextlib.suppress(DataError):
        found = checked_class(name, where="list.csv")
        assert (Path("/collected") / found).parent == Path("/collected")
        assert found not in (".", "..") and found.isprintable() and len(found.encode()) < 256


def test_a_google_results_page_gives_the_originals_and_not_the_thumbnails():
    page = r"""<!doctype html><base href="https://www.google.com/">
    <img src="data:image/gif;base64,R0lGOD"><img src="https://encrypted-tbn0.gstatic.com/images?q=tbn:1">
    <a href="/imgres?imgurl=https%3A%2F%2Fa.example%2Fbear%3Fid%3D1&amp;imgrefurl=https%3A%2F%2Fa.example%2F">x</a>
    <script>AF_initDataCallback({data:[null,["https://encrypted-tbn0.gstatic.com/images?q\u003dtbn:2",168,300],
    ["https://b.example/photo?w\u003d1200\u0026h\u003d800",800,1200],["https:\/\/c.example\/grizzly.JPG",1,2],
    "{\"u\":\"https:\\/\\/d.example\\/teddy.png\"}", "https://e.example/page.html", "https://g.example/\x62lack.webp"]});
    </script><p>https://text.example/no.jpg</p>"""
    assert addresses_in_page(page) == [
        "https://a.example/bear?id=1",
        "https://b.example/photo?w=1200&h=800",
        "https://c.example/grizzly.JPG",
        "https://d.example/teddy.png",
        "https://g.example/black.webp",
    ]


def test_a_page_gives_the_addresses_of_its_image_tags_links_and_attributes():
    page = """<!-- saved from url=(0030)https://gallery.example/bears/ -->
    <img src="one.jpg"><img src="./gallery_files/two.jpg" data-src="//cdn.example/two?id=2">
    <img srcset="https://a.example/s.jpg 320w, https://a.example/l,x.jpg 1280w"><a href="/full/three.png">3</a>
    <a href="/about.html">about</a><meta property="og:image" content="https://a.example/og.jpg">
    <a m='{&quot;murl&quot;:&quot;https://b.example/four.jpg&quot;,&quot;turl&quot;:&quot;https://th.bing.com/th?id=1&quot;}'>4</a>
    <img src="logo.svg"><img src="one.jpg">"""
    assert addresses_in_page(page) == [
        "https://gallery.example/bears/one.jpg",
        "https://cdn.example/two?id=2",
        "https://a.example/l,x.jpg",
        "https://gallery.example/full/three.png",
        "https://a.example/og.jpg",
        "https://b.example/four.jpg",
    ]


def test_a_network_log_gives_its_image_answers_and_what_its_bodies_name():
    def entry(url: str, kind: str, text: str = "", **content: str) -> dict:
        return {"request": {"url": url}, "response": {"content": {"mimeType": kind, "text": text, **content}}}

    page = base64.b64encode(b'<img src="https://b.example/2.jpg">').decode()
    entries = [
        entry("https://a.example/1?x", "image/webp"),
        entry("https://a.example/logo", "image/svg+xml"),
        entry("https://encrypted-tbn0.gstatic.com/images?q=1", "image/jpeg"),
        entry("https://s.example/", "text/html; charset=UTF-8", page, encoding="base64"),
        entry("https://s.example/more", "application/json", '{"u": "https:\\/\\/c.example\\/3.jpg"}'),
        entry("https://s.example/bad", "text/html", "!", encoding="base64"),
        entry("https://s.example/font.png", "font/woff2"),
        {"request": 3},
        None,
    ]
    log = json.dumps({"log": {"entries": entries}})
    assert addresses_in_har(log, where="bears.har") == [
        "https://a.example/1?x",
        "https://b.example/2.jpg",
        "https://c.example/3.jpg",
    ]


@given(text=st.text(alphabet="<>img src=\"'&\\/:ahtp.j{}[],\n-!script", max_size=200))
def test_no_page_whatever_breaks_the_reader(text):
    assert all(url.lower().startswith(("http://", "https://")) for url in addresses_in_page(text))


def test_pages_and_logs_are_of_the_class_that_is_given_or_their_name(tmp_path):
    page = b'<img src="https://a.example/1.jpg">'
    write_files(tmp_path, {"teddy.html": page})
    assert [row.label for row in read_url_lists([tmp_path])] == ["teddy"]
    assert [row.label for row in read_url_lists([tmp_path], label="toy bear")] == ["toy bear"]
