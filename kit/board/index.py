"""The board's first page: every competition with its runs, its best result, and what was left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kit.board.competition_page import left_out_list
from kit.board.facts import facts_of
from kit.board.gather import LeftOut
from kit.board.markup import Cell, Column, name, number, site_page, table, text
from kit.board.run_parts import verdict_markup
from kit.board.shelf import Shelf

FILTER_FROM = 8  # competitions


@dataclass(frozen=True, kw_only=True)
class IndexRow:
    """One competition in short, as plain values for JSON."""

    slug: str
    title: str
    page: str
    num_runs: int
    num_published: int
    years: str  # of the published results
    best: Mapping[str, str | float | None] | None = None  # of ours: metric, value, low, high, group
    beside: Mapping[str, str | float | None] | None = None  # best verified one in that group: name, value, verdict
    latest: str = ""  # day of the last run
    left_out: tuple[tuple[str, str], ...] = ()  # (path, why)


def index_row(shelf: Shelf) -> IndexRow:
    """Return a competition's line: our best result in the first group that has one, and the best one beside it."""
    theirs = {row.id: row for group in shelf.groups for row in group.rows if not row.ours}
    years = [row.year for row in theirs.values()]
    first = next((group for group in shelf.groups if group.has_ours), None)
    best: dict[str, str | float | None] | None = None
    beside: dict[str, str | float | None] | None = None
    if first is not None:
        own = next(row for row in first.rows if row.ours)
        best = {"metric": first.metric, "value": own.value, "low": own.low, "high": own.high, "group": first.title}
        if published := next((row for row in first.rows if row.status == "verified"), None):
            beside = {"name": f"{published.name} ({published.year})", "value": published.value}
            beside["verdict"] = published.verdict
    return IndexRow(
        slug=shelf.slug,
        title=shelf.title or shelf.slug,
        page=shelf.page,
        num_runs=len(shelf.records),
        num_published=len(theirs),
        years="–".join(map(str, sorted({min(years), max(years)}))) if years else "",
        best=best,
        beside=beside,
        latest=facts_of(shelf.records[-1]).day if shelf.records else "",
        left_out=tuple((one.path, one.why) for one in shelf.left_out),
    )


def index_page(rows: Sequence[IndexRow], left_out: Sequence[LeftOut], *, ledger_fault: str = "") -> str:
    """Return the HTML of the index.

    Args:
        rows: of the competitions.
        left_out: files that belong to no competition that is known; those of a competition stand in its row.
        ledger_fault: what is wrong with the test-use ledger; "" where it is as it was written.
    """
    runs, published = sum(row.num_runs for row in rows), sum(row.num_published for row in rows)
    lead = (
        f'<p class="lead">{len(rows):,} competitions, {runs:,} run{"" if runs == 1 else "s"} of ours, '
        f"{published:,} published results. A score is set beside another one only where both were obtained under the "
        "same protocol.</p>"
    )
    none = "" if runs else "<p>No run yet. <code>kit run SLUG</code> makes one.</p>"
    columns = [
        Column(title="Competition"),
        Column(title="Our best", number=True),
        Column(title="Best published beside it"),
        Column(title="Runs", number=True),
        Column(title="Published", number=True),
        Column(title="Last run"),
    ]
    ordered = sorted(rows, key=lambda row: (row.num_runs == 0, row.title.lower(), row.slug))
    shown = table(
        "Competitions",
        columns,
        [("with-runs" if row.num_runs else "", _cells(row)) for row in ordered],
        filters=(("with-runs", "with runs of ours"),) if len(rows) >= FILTER_FROM else (),
    )
    missing = [*left_out, *(LeftOut(path=path, why=why) for row in ordered for path, why in row.left_out)]
    fault = f'<p class="warn"><strong>Test use.</strong> {text(ledger_fault)}</p>' if ledger_fault else ""
    body = ["<h1>Leaderboards</h1>", lead, fault, none, shown if rows else "", left_out_list(missing)]
    return site_page("Leaderboards", "\n".join(part for part in body if part))


def _cells(row: IndexRow) -> list[Cell | str | float | None]:
    title = f'<a href="{text(row.page)}">{name(row.title)}</a><small>{name(row.slug)}</small>'
    cells: list[Cell | str | float | None] = [Cell(html=title, sort=row.title.lower())]
    if row.best is None:
        cells.append(None)
    else:
        value, low, high = (_float(row.best.get(key)) for key in ("value", "low", "high"))
        interval = "" if low is None or high is None else f"<small>[{low:.4f}, {high:.4f}]</small>"
        metric = str(row.best.get("metric")).replace("_", " ")
        cells.append(Cell(html=f"<strong>{number(value)}</strong><small>{text(metric)}</small>{interval}", sort=value))
    if row.beside is None:
        cells.append(Cell(html="none" if row.best else "–"))
    else:
        value, verdict = _float(row.beside.get("value")), str(row.beside.get("verdict") or "")
        told = f"<small>{name(row.beside.get('name'))}</small><small>Ours: {verdict_markup(verdict)}</small>"
        cells.append(Cell(html=f"{number(value)}{told}", sort=value))
    cells.append(row.num_runs)
    cells.append(Cell(html=f"{row.num_published:,}<small>{text(row.years)}</small>", sort=row.num_published))
    cells.append(row.latest or None)
    return cells


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
