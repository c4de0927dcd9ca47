"""The page of a competition: what its results can claim, in protocol groups, over the years, and at what cost."""

from collections.abc import Sequence

from kit.board.charts import bar, key_mark, letter
from kit.board.facts import missing_images
from kit.board.gather import LeftOut
from kit.board.groups import GroupRow, ProtocolGroup
from kit.board.markup import Cell, Column, details, name, number, pairs, site_page, table, text
from kit.board.progress import cost, progress
from kit.board.run_parts import kind_in_words, tag, verdict_markup
from kit.board.shelf import Shelf
from kit.conditions import NOT_STATED

FILTER_FROM = 8  # rows; shorter tables are seen whole
OPEN_GROUPS = 4  # so many groups are all shown open
OPEN_ROWS = 60  # of a group with runs of ours: a longer one opens on a press, but for the first


def competition_page(shelf: Shelf) -> str:
    """Return the HTML page of one competition."""
    body = [
        f"<h1>{name(shelf.title or shelf.slug)}</h1>",
        _lead(shelf),
        _contents(shelf),
        _warnings(shelf),
        progress(shelf),
        _ranked(shelf),
        _claims(shelf),
        cost(shelf),
        _sweeps(shelf),
        _before_quoting(shelf),
        left_out_list(shelf.left_out),
    ]
    return site_page(
        shelf.title or shelf.slug, "\n".join(part for part in body if part), trail=[("index.html", "Leaderboards")]
    )


def _lead(shelf: Shelf) -> str:
    own = sum(row.ours for group in shelf.groups for row in group.rows)
    theirs = [row for group in shelf.groups for row in group.rows if not row.ours]
    doubtful = sum(row.status != "verified" for row in theirs)
    first = next((group for group in shelf.groups if group.has_ours), None)
    facts: list[tuple[str, str, str]] = []
    if first is not None:
        best = next(row for row in first.rows if row.ours)
        facts.append(
            (f"best of ours, {first.metric.replace('_', ' ')}", number(best.value), f"{_interval(best)}; {first.title}")
        )
    results = "result" if own == 1 else "results"
    groups = "1 protocol group" if len(shelf.groups) == 1 else f"{len(shelf.groups)} protocol groups"
    facts.append(("our runs", f"{len(shelf.records):,}", f"{own:,} {results} in {groups}"))
    years = [row.year for row in theirs]
    span = " to ".join(map(str, sorted({min(years), max(years)}))) if years else "none known"
    facts.append(("published results", f"{len(theirs):,}", f"{span}; {doubtful:,} not verified" if years else span))
    boxes = "".join(
        f"<div><dt>{text(what)}</dt><dd>{text(value)}<small>{name(more)}</small></dd></div>"
        for what, value, more in facts
    )
    call = "" if shelf.records else f"<p>No run yet. <code>kit run {text(shelf.slug)}</code> makes one.</p>"
    return (
        '<p class="lead">Each table holds results of one protocol only: no two rows differ in a condition that both '
        "state. What a source does not state is shown as not stated, and no verdict is given across it.</p>"
        f'<dl class="facts">{boxes}</dl>{call}'
    )


def _contents(shelf: Shelf) -> str:
    parts = [("progress", "Over the years")] if shelf.groups else []
    parts += [("groups", "Ranked tables")] if shelf.groups else []
    parts += [("claims", "What a run could claim")] if shelf.claims else []
    parts += [("cost", "Cost against score")] if shelf.records else []
    parts += [("sweeps", "Sweeps")] if shelf.sweeps else []
    parts += [("quote", "Before you quote a comparison")] if shelf.published and shelf.published.comparability else []
    if not parts:
        return ""
    items = "".join(f'<li><a href="#{key}">{text(title)}</a></li>' for key, title in parts)
    return f'<nav class="contents" aria-label="On this page"><ul>{items}</ul></nav>'


def _warnings(shelf: Shelf) -> str:
    parts = []
    for source in dict.fromkeys(record.source for record in shelf.records if not record.complete):
        record = next(record for record in shelf.records if record.source == source and not record.complete)
        parts.append(
            f'<p class="warn"><strong>Partial data.</strong> Runs with the source <code>{text(source)}</code> lack '
            f"{text(missing_images(record))}. Their numbers are not comparable with published ones.</p>"
        )
    if shelf.fault:
        parts.append(f'<p class="warn">Published results are not shown: {text(shelf.fault)}</p>')
    elif shelf.published is None:
        parts.append(f"<p>No published results are known for <code>{text(shelf.baselines_id)}</code>.</p>")
    return "".join(parts)


def _ranked(shelf: Shelf) -> str:
    if not shelf.groups:
        return ""
    parts = ['<h2 id="groups">Ranked, in protocol groups</h2>']
    parts += [_group(shelf, place, group) for place, group in enumerate(shelf.groups)]
    return "\n".join(parts)


def _group(shelf: Shelf, place: int, group: ProtocolGroup) -> str:
    """Return one group; those without a run of ours open on a press, or the page would be as long as a book."""
    key = text(group.key)
    heading = f'<h3 id="{key}">{key_mark(place)}Group {letter(place)}: {name(group.title)}</h3>'
    parts = []
    if group.differences:
        items = "".join(f"<li>{text(difference)} (rule {difference.rule})</li>" for difference in group.differences)
        parts.append(f'<p class="soft">Where it differs from our latest run:</p><ul class="soft">{items}</ul>')
    parts += [f'<p class="soft">{text(note)}</p>' for note in group.notes]
    parts.append(_table(shelf, place, group))
    parts.append(details("Conditions of this group", pairs(group.conditions.in_words())))
    body = "\n".join(parts)
    if place == 0 or len(shelf.groups) <= OPEN_GROUPS or (group.has_ours and len(group.rows) <= OPEN_ROWS):
        return f'<section aria-labelledby="{key}">{heading}\n{body}</section>'
    own = sum(row.ours for row in group.rows)
    told = f"{own} of ours, {len(group.rows) - own} published" if own else f"{len(group.rows)} published"
    if best := next((row for row in group.rows if row.rank == 1), None):
        told += f", best {'' if own else 'verified '}{number(best.value)}: {best.name} ({best.year})"
    return f'<details class="group"><summary>{heading}<span class="soft">{name(told)}</span></summary>{body}</details>'


def _table(shelf: Shelf, place: int, group: ProtocolGroup) -> str:
    edges = [edge for row in group.rows for edge in (row.low, row.high, row.value) if edge is not None]
    room = (max(edges) - min(edges)) * 0.05 or 0.01
    span = (min(edges) - room, max(edges) + room)
    records = {record.run_id: record for record in shelf.records}
    rows: list[tuple[str, Sequence[Cell | str | float | None]]] = []
    for row in group.rows:
        classes = f"{'ours' if row.ours else 'theirs'} {row.status}"
        if row.ours:
            detail = f"{kind_in_words(records[row.id], row.kind)}; {shelf.facts[row.id].in_short}"
            title = f'<a href="{text(shelf.run_page(row.id))}">{name(row.name)}</a><small>{name(detail)}</small>'
            words = '<span class="tag own">this kit</span>'
            words += f"<small>{text(row.note)}</small>" if row.note else ""
        else:
            where = f'<a href="{text(row.url)}" rel="noreferrer">source</a>' if _is_web(row.url) else ""
            title = f"{name(row.name)}{tag(row.status)}<small>{name(row.source)} {where}</small>"
            words = verdict_markup(row.verdict, row.words)
        if row.not_stated and not row.verdict:
            words += f"<small>{NOT_STATED}: {text(', '.join(row.not_stated))}</small>"
        rows.append(
            (
                classes,
                [
                    Cell(html="–" if row.rank is None else str(row.rank), sort=row.rank),
                    Cell(html=title),
                    row.value,
                    Cell(html=text(_interval(row)), sort=row.low),
                    Cell(html=bar(row.value, row.low, row.high, span=span, ours=row.ours)),
                    row.num_images,
                    Cell(html=str(row.year)),
                    Cell(html=words),
                ],
            )
        )
    columns = [
        Column(title="Rank", number=True),
        Column(title="Result"),
        Column(title="Value", number=True),
        Column(title="95 % interval", number=True),
        Column(title="Drawn", sortable=False),
        Column(title="Images", number=True),
        Column(title="Year", number=True),
        Column(title="Our leading run is" if group.has_ours else "Note"),
    ]
    direction = "higher is better" if group.greater_is_better else "lower is better"
    caption = f"Group {letter(place)}: {group.metric}, {direction}"
    filters = (("ours", "ours only"), ("theirs", "published only"), ("verified", "verified only"))
    has_both = group.has_ours and any(not row.ours for row in group.rows)
    shown = filters if has_both else filters[2:] if not group.has_ours else filters[:1]
    return table(caption, columns, rows, heading=1, filters=shown if len(rows) >= FILTER_FROM else ())


def _interval(row: GroupRow) -> str:
    return "–" if row.low is None or row.high is None else f"[{row.low:.4f}, {row.high:.4f}]"


def _is_web(url: str | None) -> bool:
    return url is not None and url.startswith(("https://", "http://"))


def _claims(shelf: Shelf) -> str:
    if not shelf.claims:
        return ""
    items = "".join(f"<li>{text(claim.could)} {text(claim.could_not)}</li>" for claim in shelf.claims)
    return f'<h2 id="claims">What a run could claim</h2>{details("By protocol and pre-training", f"<ul>{items}</ul>")}'


def _sweeps(shelf: Shelf) -> str:
    if not shelf.sweeps:
        return ""
    items = "".join(
        f'<li><a href="{text(sweep.page)}">{name(sweep.name)}</a>: {name(sweep.title)}</li>' for sweep in shelf.sweeps
    )
    return f'<h2 id="sweeps">Sweeps</h2><ul>{items}</ul>'


def _before_quoting(shelf: Shelf) -> str:
    if shelf.published is None:
        return ""
    open_questions = "".join(
        f"<li><strong>Unresolved.</strong> {text(one.question)} What would settle it: {text(one.settled_by)} "
        f"Rows: {text(', '.join(one.rows))}.</li>"
        for one in shelf.published.unresolved
    )
    rules = "".join(f"<li>{text(sentence)}</li>" for sentence in shelf.published.comparability)
    if not open_questions and not rules:
        return ""
    return f'<h2 id="quote">Before you quote a comparison</h2><ul>{open_questions}{rules}</ul>'


def left_out_list(left_out: Sequence[LeftOut]) -> str:
    """Return the files that are not shown, and why; nothing where there are none."""
    if not left_out:
        return ""
    items = "".join(f"<li><code>{text(one.path)}</code>: {text(one.why)}</li>" for one in left_out)
    return f'<h2 id="left-out">Left out</h2><p class="warn">These files are not shown.</p><ul>{items}</ul>'
