"""Received: what is kept of what servers send, and why the rest is refused."""

import contextlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scrape_site import http
from toys import coloured_png

from kit.scrape.addresses import RefusedError
from kit.scrape.received import facts_of, licence_in, refuse_opt_out


def test_what_is_no_image_is_refused_each_with_its_own_reason(collect, site):
    bomb = Image.new("1", (11_000, 11_000))
    compressed = BytesIO()
    bomb.save(compressed, "PNG")
    whole = coloured_png("red", 1)
    bodies = {
        "/svg": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'></svg>",
        "/html": b"  <!DOCTYPE html><html>Sorry</html>",
        "/text": b"Not found, sorry.",
        "/empty": b"",
        "/zip": b"PK\x03\x04" + bytes(40),
        "/bytes": bytes(range(1, 200)),
        "/cut": whole[: len(whole) // 2],
        "/damaged": whole[:60] + b"?" + whole[61:],
        "/bomb": compressed.getvalue(),
        "/icon": b"\0\0\1\0" + bytes(40),
    }
    site.answers |= {path: http(body, content_type="image/png") for path, body in bodies.items()}
    collection = collect({"a": list(bodies)})
    assert {row.status for row in collection.rows} == {"refused"}
    assert [row.reason for row in collection.rows] == [
        "not an image: an SVG drawing",
        "not an image: an HTML page",
        "not an image: text",
        "empty answer",
        "not an image: a zip archive",
        "not an image: of no known format",
        "cut off",
        "damaged image",
        "too many pixels (11,000 x 11,000)",
        "format not collected (ICO)",
    ]
    assert not list(collection.folder.rglob("*.*"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_every_collected_format_has_a_suffix_that_labels_find(kind):
    from kit.data.labels import IMAGE_SUFFIXES

    stored = BytesIO()
    Image.new("RGB", (30, 20), "red").save(stored, kind)
    facts = facts_of(stored.getvalue(), max_pixels=600)
    assert (facts.format, facts.width, facts.height) == (kind.lower(), 30, 20)
    assert facts.suffix in IMAGE_SUFFIXES
    with pytest.raises(RefusedError, match="too many pixels"):
        facts_of(stored.getvalue(), max_pixels=599)


@given(data=st.binary(max_size=300), start=st.sampled_from([b"\xff\xd8\xff", b"GIF89a", b"BM", b"II*\0", b"RIFF", b""]))
def test_no_bytes_whatever_do_more_than_be_refused(data, start):
    with contextlib.suppress(RefusedError):
        facts_of(start + data, max_pixels=10**6)


def headers(**given: str):
    from email.message import Message

    message = Message()
    for name, value in given.items():
        message[name.replace("_", "-")] = value
    return message


@pytest.mark.parametrize(
    "rule", ["noindex", "noai, nofollow", "NoImageAI", "competition-kit: noimageindex", "none", "*: noai"]
)
def test_an_opt_out_is_obeyed(rule):
    with pytest.raises(RefusedError) as refused:
        refuse_opt_out(headers(X_Robots_Tag=rule))
    assert refused.value.opt_out


@pytest.mark.parametrize(
    "rule", ["all", "nofollow", "otherbot: noindex", "unavailable_after: 25 Jun 2010 15:00:00 PST"]
)
def test_other_rules_are_no_opt_out(rule):
    refuse_opt_out(headers(X_Robots_Tag=rule, TDM_Reservation="0"))


def test_an_opt_out_is_written_into_the_manifest(collect, site):
    site.answers |= {
        "/tag": http(coloured_png("red", 1), x_robots_tag="noai"),
        "/tdm": http(coloured_png("red", 2), tdm_reservation="1"),
    }
    rows = collect({"a": ["/tag", "/tdm"]}).rows
    assert [(row.status, row.opt_out) for row in rows] == [("refused", "noai"), ("refused", "tdm-reservation")]


def test_a_licence_is_taken_from_the_header_or_the_image(collect, site):
    exif = Image.Exif()
    exif[0x8298] = "=(c) A. Photographer\nall rights"
    jpeg = BytesIO()
    Image.new("RGB", (64, 64), "red").save(jpeg, "JPEG", exif=exif)
    xmp = b'<x:xmpmeta><rdf:Description xmpRights:WebStatement="https://example.org/licence"/></x:xmpmeta>'
    png = BytesIO()
    Image.new("RGB", (64, 64), "blue").save(png, "TIFF", tiffinfo={700: xmp})
    site.answers |= {
        "/link": http(coloured_png("red", 1), link='<https://cc.example/by/4.0/>; rel="license"'),
        "/exif": http(jpeg.getvalue()),
        "/xmp": http(png.getvalue()),
        "/none": http(coloured_png("red", 2)),
    }
    collection = collect({"a": ["/link", "/exif", "/xmp", "/none"]})
    assert [row.licence for row in collection.rows] == [
        "https://cc.example/by/4.0/",
        "(c) A. Photographer all rights",
        "https://example.org/licence",
        "",
    ]
    assert (
        licence_in(headers(Link="<https://a.example>; rel=next, <https://b.example>; rel=license"))
        == "https://b.example"
    )
