"""The HTML that all pages of the board share: the frame, tables, and the one way in which a value becomes markup.

Class names, file names, methods, run ids: all of it is other people's words. `text` is the only door between a value
and a page. A page loads nothing from a network and says so in its Content-Security-Policy: what stands in a page of
the site comes from the folder it lies in, a report carries everything inside itself.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from html import escape
from pathlib import Path

STYLES = ("board.css", "site.css")
SCRIPT = "site.js"
# Control characters (NUL ends a page in some readers), halves of a character pair (no UTF-8 can be written of them)
# and the marks that turn the direction of all text behind them.
_UNSHOWN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]"
)
_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,119}")
_TAKEN = ("index", "assets")  # by the site itself
_TAKEN_STARTS = ("report-", "sweep-")  # of the pages beside a run's
_LONGEST_STEM = 60  # characters of a name that is made


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table."""

    title: str  # raw text
    number: bool = False  # set to the right, in figures of equal width
    sortable: bool = True


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell whose markup is made already."""

    html: str
    sort: float | str | None = None  # what a column is sorted by, where it is not the cell's text; None: goes last


def text(value: object) -> str:
    """Return any value as text of a page: escaped, for element content and for quoted attributes alike."""
    return _escaped(str(value))


@lru_cache(maxsize=2**16)  # a site says the same words on thousands of pages
def _escaped(shown: str) -> str:
    return escape(shown if shown.isprintable() else _UNSHOWN.sub("\ufffd", shown), quote=True)


def name(value: object) -> str:
    """Return a name from outside as text whose writing direction does not reach beyond it."""
    return f"<bdi>{text(value)}</bdi>"


def file_name(value: str) -> str:
    """Return a file name (without suffix) for a name from outside: itself where it is plain, else one with a hash.

    No two names give the same file, on file systems that ignore case as well, none leaves its folder, and none is that
    of another page of the site.
    """
    plain = _PLAIN_NAME.fullmatch(value) and ".." not in value
    if plain and value not in _TAKEN and not value.startswith(_TAKEN_STARTS):
        return value
    stem = re.sub(r"[^a-z0-9_-]+", "-", value.lower()).strip("-_")[:_LONGEST_STEM] or "name"
    made = f"{stem}-{hashlib.sha256(value.encode(errors='surrogatepass')).hexdigest()[:12]}"
    return f"name-{made}" if made.startswith(_TAKEN_STARTS) else made


def number(value: float | None, *, digits: int = 4) -> str:
    """Return a score with `digits` decimals, or a dash for none."""
    return "–" if value is None else f"{value:.{digits}f}"


def short(value: float | None) -> str:
    """Return an amount in about three figures: 0.071, 4.77, 152, 23,600,000 as 23.6 M; a dash for none."""
    if value is None:
        return "–"
    for size, unit in ((1e9, " G"), (1e6, " M")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def scrolling(label: str, body: str) -> str:
    """Return a part that may be wider than a telephone: it scrolls by itself, by keyboard as well."""
    return f'<div class="wide" role="region" tabindex="0" aria-label="{text(label)}">{body}</div>'


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Iterable[tuple[str, Sequence[Cell | str | float | None]]],
    *,
    heading: int = 0,
    filters: Sequence[tuple[str, str]] = (),
    sorts: bool = True,
) -> str:
    """Return a table in a part that scrolls.

    Args:
        caption: raw text above the table, which also names it for screen readers.
        columns: of the table.
        rows: (classes of the row, cells). A string is raw text, a number is shown in four figures.
        heading: number of the column whose cells head their rows.
        filters: (class of rows, raw label): a box that leaves only those rows; and a field for words. None: no filter.
        sorts: a press on a heading sorts; by the script, so that the table is whole without it.
    """
    marks = "".join(f"{key}={label};" for key, label in filters)
    attributes = (' data-sort=""' if sorts else "") + (f' data-filter="{text(marks)}"' if filters else "")
    heads = "".join(
        f'<th scope="col"{" class=n" if column.number else ""}'
        f"{'' if column.sortable and sorts else ' data-fixed'}>{text(column.title)}</th>"
        for column in columns
    )
    numbers = [column.number for column in columns]
    body = "".join(_row(classes, cells, numbers, heading) for classes, cells in rows)
    return scrolling(
        caption,
        f"<table{attributes}><caption>{text(caption)}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{body}</tbody></table>",
    )


def _row(classes: str, cells: Sequence[Cell | str | float | None], numbers: Sequence[bool], heading: int) -> str:
    parts = [f'<tr class="{text(classes)}">' if classes else "<tr>"]
    for place, (cell, is_number) in enumerate(zip(cells, numbers, strict=True)):
        tag = 'th scope="row"' if place == heading else "td"
        kind = ' class="n"' if is_number else ""
        if isinstance(cell, Cell):
            key = "" if cell.sort is None else f' data-v="{text(cell.sort)}"'
            parts.append(f"<{tag}{kind}{key}>{cell.html}</{tag[:2]}>")
        else:
            parts.append(f"<{tag}{kind}>{_plain(cell)}</{tag[:2]}>")
    return "".join([*parts, "</tr>"])


def _plain(cell: str | float | None) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return number(cell)
    return text(f"{cell:,}") if isinstance(cell, int) else name(cell)


def pairs(items: Iterable[tuple[str, object]]) -> str:
    """Return a list of (raw name, raw value); a `Cell` is taken as it is."""
    entries = "".join(
        f"<dt>{text(key)}</dt><dd>{value.html if isinstance(value, Cell) else name(value)}</dd>" for key, value in items
    )
    return f"<dl>{entries}</dl>"


def details(summary: str, body: str, *, opened: bool = False) -> str:
    """Return a part that opens on a press; `summary` is raw text, `body` markup."""
    return f"<details{' open' if opened else ''}><summary>{text(summary)}</summary>{body}</details>"


def site_page(title: str, body: str, *, depth: int = 0, trail: Sequence[tuple[str, str]] = ()) -> str:
    """Return a page of the site.

    Args:
        title: raw text.
        body: markup.
        depth: folders between the site's root and the page.
        trail: (address relative to the page, raw text) of the pages above it.
    """
    up = "../" * depth
    policy = "default-src 'none'; style-src 'self' file:; script-src 'self' file:; img-src 'self' file: data:"
    head = f'<link rel="stylesheet" href="{up}assets/site.css"><script src="{up}assets/{SCRIPT}" defer></script>'
    return _document(title, body, policy=policy, head=head, trail=trail)


def single_page(title: str, body: str) -> str:
    """Return a page that is one file, with style and script inside; nothing else can run in it or be loaded."""
    style, script = style_text(), script_text()
    policy = f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    # At the end of the body, where a page of the site defers it to: the script finds the tables.
    return _document(title, body, policy=policy, head=f"<style>{style}</style>", tail=f"<script>{script}</script>")


def _document(
    title: str, body: str, *, policy: str, head: str, trail: Sequence[tuple[str, str]] = (), tail: str = ""
) -> str:
    above = "".join(f'<li><a href="{text(address)}">{name(title)}</a></li>' for address, title in trail)
    nav = f'<nav aria-label="Pages above this one"><ol>{above}</ol></nav>' if above else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{text(policy)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'
        f"<title>{text(title)}</title>{head}</head><body>"
        f'<a class="skip" href="#content">To the content</a><header class="top">{nav}</header>'
        f'<main id="content" tabindex="-1">\n{body}\n</main>'
        '<footer class="foot">Made by competition-kit from the runs’ records. Rows are ranked within one protocol '
        "only.</footer>"
        f"{tail}</body></html>\n"
    )


@cache
def style_text() -> str:
    """Return the style of the board's pages: colours and type of all the kit's pages, then the site's own."""
    here = Path(__file__).parent
    return "".join((here / part).read_text(encoding="utf-8") for part in STYLES)


@cache
def script_text() -> str:
    """Return the script that sorts and filters tables."""
    return (Path(__file__).parent / SCRIPT).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
