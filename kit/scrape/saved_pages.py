"""Saved pages: the addresses of images in a results page (HTML) or in a browser's network log (HAR).

Search services change their pages often and shut their interfaces every few years. What stays is that the browser has
the addresses; so the user saves what the browser shows, and here every place is read where pages keep addresses of
images: image tags, links, attributes that hold JSON, and strings inside scripts, escaped in the usual ways.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable
from html import unescape
from html.parser import HTMLParser
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

from kit.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")
_SOURCES = {"src", "data-src", "data-original", "data-lazy-src", "data-iurl", "poster"}
_SOURCE_SETS = {"srcset", "data-srcset"}
_IMAGE_TAGS = {"img", "source", "amp-img", "image"}
# A results page's own pictures, not results: small copies, logos, icons.
_THUMBNAIL_HOSTS = re.compile(r"(^|\.)(gstatic\.com|mm\.bing\.net|google\.[a-z.]{2,6}|(th|www|r)\.bing\.com)$")
_WRAPPERS = ("imgurl", "mediaurl", "murl")  # /imgres?imgurl=... is the address of the image itself
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(/))")
# Google Images: ["https://example.org/bear.jpg",1200,1600] is an original with its height and width.
_WITH_SIZE = re.compile(r'\[\s*"(https?://[^"\s\\<>]{4,4000})"\s*,\s*\d{1,5}\s*,\s*\d{1,5}\s*\]')
_QUOTED = re.compile(r"""["'](https?://[^"'\s\\<>]{4,4000})["']""")
_SAVED_FROM = re.compile(r"<!--\s*saved from url=\(\d+\)(https?://[^\s>]{4,2000})")


def addresses_in_page(text: str) -> list[str]:
    """Return the addresses of images in an HTML page, each once, in their order."""
    saved_from = _SAVED_FROM.search(text[:4096])
    reader = _PageReader(base=saved_from[1] if saved_from else "")
    reader.feed(text)
    reader.close()
    return _each_once(reader.found)


def addresses_in_har(text: str, *, where: str) -> list[str]:
    """Return the addresses of images in a HAR file (JSON), each once: image answers, and those that bodies name.

    Raises:
        DataError: not a HAR file; `where` names it.
    """
    try:
        entries = json.loads(text)["log"]["entries"]
        if not isinstance(entries, list):
            raise TypeError("log.entries is not a list")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{where} is not a HAR file: {type(error).__name__} ({error}). In the browser: developer tools, Network, "
            "then `Save all as HAR with content`."
        ) from error
    found: list[str] = []
    for entry in entries:
        url, kind = _text(entry, "request", "url"), _text(entry, "response", "content", "mimeType").lower()
        if kind.startswith("image/"):
            if not kind.startswith("image/svg"):
                found.append(url)
            continue
        body = _text(entry, "response", "content", "text")
        if _text(entry, "response", "content", "encoding") == "base64":
            try:
                body = base64.b64decode(body).decode("utf-8", errors="replace")
            except (binascii.Error, ValueError):
                continue
        if "html" in kind:
            found += addresses_in_page(body)
        elif "json" in kind or "javascript" in kind or kind.startswith("text/plain"):
            found += _in_script(body)
    return _each_once(found)


class _PageReader(HTMLParser):
    def __init__(self, *, base: str) -> None:
        super().__init__(convert_charrefs=True)
        self.base = base
        self.found: list[str] = []
        self._inside_script = False
        self._script: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value.strip() for name, value in attrs if value}
        if tag == "base" and "href" in given:
            self.base = given["href"]
        elif tag == "meta" and given.get("property", given.get("name", "")) in ("og:image", "twitter:image"):
            self._take(given.get("content", ""))
        elif tag == "a" and "href" in given:
            address = given["href"]
            query = parse_qs(urlsplit_or_none(address).query if urlsplit_or_none(address) else "")
            wrapped = [query[name][0] for name in _WRAPPERS if name in query]
            if wrapped:
                self._take(wrapped[0])
            elif has_image_suffix(address):
                self._take(address)
        elif tag in _IMAGE_TAGS:
            for name, value in given.items():
                if name in _SOURCES:
                    self._take(value)
                elif name in _SOURCE_SETS and (largest := _largest_of(value)):
                    self._take(largest)
        self._inside_script = self._inside_script or tag == "script"
        for value in given.values():
            if value.startswith(("{", "[")) and "http" in value:
                self.found += _in_script(value)

    def handle_data(self, data: str) -> None:
        if self._inside_script:
            self._script.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._finish_script()

    def close(self) -> None:
        super().close()
        self._finish_script()

    def _finish_script(self) -> None:
        self.found += _in_script("".join(self._script))
        self._script, self._inside_script = [], False

    def _take(self, address: str) -> None:
        if self.base and not address.startswith(("data:", "blob:", "./")):  # ./NAME_files/ is the browser's own copy
            try:
                address = urljoin(self.base, address)
            except ValueError:
                return
        self.found.append(address)


def _in_script(text: str) -> list[str]:
    """Return the addresses of images among the strings of a script or of JSON."""
    plain = unescape(_unescaped(_unescaped(text)))  # JSON inside a string of a script is escaped twice
    found = [(match.start(1), match[1]) for match in _WITH_SIZE.finditer(plain)]
    found += [(match.start(1), match[1]) for match in _QUOTED.finditer(plain) if has_image_suffix(match[1])]
    return [url for _, url in sorted(found)]


def _unescaped(text: str) -> str:
    r"""Undo \u003d, \x3d and \/, and \\u003d to \u003d."""
    plain = _ESCAPE.sub(lambda match: match[3] or chr(int(match[1] or match[2], 16)), text.replace("\\\\", "\\"))
    return plain.replace('\\"', '"')


def _largest_of(source_set: str) -> str:
    """Return the address with the largest width or density of a `srcset`."""
    best, best_size = "", -1.0
    # An address may hold commas: candidates are parted by a comma and white space.
    for candidate in re.split(r",\s+", source_set):
        address, _, size = candidate.strip().rstrip(",").partition(" ")
        number = re.match(r"\s*(\d+(?:\.\d+)?)[wx]", size)
        value = float(number[1]) if number else 1.0
        if address and value > best_size:
            best, best_size = address, value
    return best


def has_image_suffix(url: str) -> bool:
    """Say whether the path of an address ends as image files do."""
    parts = urlsplit_or_none(url)
    return parts is not None and PurePosixPath(parts.path.lower()).suffix in IMAGE_SUFFIXES


def urlsplit_or_none(url: str) -> Any:
    """Return the parts of an address, or None where it is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _each_once(urls: Iterable[str]) -> list[str]:
    """Return addresses of the web, each once; data: URIs and the pages' own small copies are left out."""
    kept = []
    for url in dict.fromkeys(url.strip() for url in urls):
        address = f"https:{url}" if url.startswith("//") else url
        parts = urlsplit_or_none(address)
        if parts is None or parts.scheme.lower() not in ("http", "https"):
            continue
        if parts.path.lower().endswith(".svg") or _THUMBNAIL_HOSTS.search(parts.netloc.lower().partition(":")[0]):
            continue
        kept.append(address)
    return list(dict.fromkeys(kept))


def _text(value: Any, *keys: str) -> str:
    """Return the string at `keys` inside nested dictionaries, or an empty one."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""
