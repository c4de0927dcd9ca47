"""The board: one self-contained HTML page per competition, made from records and published results alone.

Class names, file names and published texts are other people's words: every value is escaped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from kit.board.baselines import Baselines
from kit.board.compare import ComparedRow, compare, load_published, reasons
from kit.board.records import Result, RunRecord
from kit.home import family, write_text
from kit.judge.statistics import wilson_interval
from kit.metrics import METRICS
from kit.protocol import NOT_STATED, Conditions


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a ranked table: ours or a published one."""

    ours: bool
    name: str
    detail: str
    value: float
    low: float | None
    high: float | None
    note: str


def write_board(records: Sequence[RunRecord], *, folder: Path | None = None) -> list[Path]:
    """Write a page per competition and an index; return the pages, the index last."""
    folder = folder or family("board")
    slugs = sorted({record.competition for record in records})
    pages = []
    for slug in slugs:
        mine = [record for record in records if record.competition == slug]
        page = folder / f"{slug}.html"
        write_text(page, competition_page(mine, load_published(mine[-1].baselines)))
        pages.append(page)
    items = "".join(
        f'<li><a href="{escape(page.name, quote=True)}">{escape(slug)}</a></li>'
        for slug, page in zip(slugs, pages, strict=True)
    )
    index = folder / "index.html"
    write_text(index, _html("Leaderboards", f"<h1>Leaderboards</h1><ul>{items or '<li>No run yet.</li>'}</ul>"))
    return [*pages, index]


def competition_page(records: Sequence[RunRecord], published: Baselines | None) -> str:
    """Return the HTML page of one competition.

    Results obtained under the same conditions share a ranked table with the published results that may be
    compared with them; every other published result is listed with the fields in which it differs.
    """
    groups: dict[Conditions, list[tuple[RunRecord, Result]]] = {}
    for record in records:
        for result in record.results:
            groups.setdefault(result.conditions, []).append((record, result))
    title = records[-1].title
    body = [f"<h1>{escape(title)}</h1>"]
    body.append(
        '<p class="soft">Each table holds results of one protocol only. A bar is the 95 % interval of the score. '
        "A published result stands in a table only where no stated condition differs from ours; "
        "what its source does not state is shown as not stated, and no verdict is given across it.</p>"
    )
    body += [_group(conditions, rows, published) for conditions, rows in groups.items()]
    if published is None:
        body.append(f"<p>No published results are known for <code>{escape(records[-1].baselines)}</code>.</p>")
    return _html(title, "\n".join(body))


def _group(conditions: Conditions, rows: Sequence[tuple[RunRecord, Result]], published: Baselines | None) -> str:
    result = rows[0][1]
    metric = conditions.metric or "accuracy"
    compared = compare(result, published) if published else []
    lines = [_our_line(record, result, metric) for record, result in rows]
    lines += [_published_line(row) for row in compared if row.agreement.comparable and row.published.metric == metric]
    better = METRICS[metric].greater_is_better
    lines.sort(key=lambda line: -line.value if better else line.value)
    record = rows[0][0]
    parts = [f"<h2>{escape(_heading(result, [record for record, _ in rows]))}</h2>"]
    if not record.complete:
        num_missing = record.data["num_missing"]
        what = f"{num_missing:,} of the listed images" if num_missing else "images (how many is not known)"
        parts.append(
            f'<p class="warn"><strong>Partial data.</strong> These runs used the source '
            f"<code>{escape(record.source)}</code>, which lacks {what}. "
            "Their numbers are not comparable with published ones.</p>"
        )
    parts.append(_conditions_list(conditions))
    parts.append(_table(lines, metric))
    other = [row for row in compared if row.agreement.comparable and row.published.metric != metric]
    if other:
        parts.append("<p>In another metric, on the same terms:</p><ul>")
        parts += [
            f"<li>{escape(row.published.metric)}: ours {escape(f'{row.ours.value:.4f}' if row.ours else NOT_STATED)}, "
            f"{escape(row.published.method)} ({row.published.year}) "
            f"{row.published.value:.4f}; {escape(row.verdict)}</li>"
            for row in other
        ]
        parts.append("</ul>")
    parts.append(_refused(compared))
    parts.append(_confused(result))
    return "\n".join(parts)


def _heading(result: Result, records: Sequence[RunRecord]) -> str:
    kind = {"test": "one model, test images", "fold-ensemble": "mean of the fold models (ensemble), test images"}
    numbers = sorted({record.folds["num_folds"] for record in records})  # the protocol's name may say another
    out_of_fold = f"out of fold, {' or '.join(map(str, numbers))} folds"
    return f"{result.protocol}: {kind.get(result.kind, out_of_fold)}"


def _conditions_list(conditions: Conditions) -> str:
    items = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(NOT_STATED if value is None else str(value))}</dd>"
        for name, value in vars(conditions).items()
    )
    return f"<details><summary>Conditions of this table</summary><dl>{items}</dl></details>"


def _our_line(record: RunRecord, result: Result, metric: str) -> Line:
    score = result.scores[metric]
    detail = (
        f"{record.network['name']}, {record.recipe['input']['image_size']} px, "
        f"weights {record.network['weights_origin']}, "
        f"{record.cost['train_minutes']:.1f} min on {record.cost['device']}"
    )
    return Line(
        ours=True,
        name=record.run_id,
        detail=detail,
        value=score.value,
        low=score.low,
        high=score.high,
        note=f"this kit, n = {score.num_images:,}",
    )


def _published_line(row: ComparedRow) -> Line:
    published = row.published
    assert published.value is not None
    mark = "" if published.status == "verified" else "UNVERIFIED. "
    low = high = None
    if published.metric == "accuracy" and row.theirs.num_test:
        # The publication's own sampling error, from its value and the number of images.
        low, high = wilson_interval(round(published.value * row.theirs.num_test), row.theirs.num_test)
    return Line(
        ours=False,
        name=f"{published.method} ({published.year})",
        detail=f"{published.source.authors or NOT_STATED}: {published.source.title}, {published.source.venue}",
        value=published.value,
        low=low,
        high=high,
        note=f"{mark}{row.verdict}",
    )


def _table(lines: Sequence[Line], metric: str) -> str:
    edges = [edge for line in lines for edge in (line.low, line.high, line.value) if edge is not None]
    lowest, highest = min(edges), max(edges)
    room = (highest - lowest) * 0.08 or 0.01
    rows = []
    for rank, line in enumerate(lines, 1):
        interval = f"[{line.low:.4f}, {line.high:.4f}]" if line.low is not None else NOT_STATED
        rows.append(
            f'<tr class="{"ours" if line.ours else "theirs"}"><td class="n">{rank}</td>'
            f'<th scope="row">{escape(line.name)}<br><small>{escape(line.detail)}</small></th>'
            f'<td class="n">{line.value:.4f}</td><td class="n">{interval}</td>'
            f"<td>{_bar(line, lowest - room, highest + room)}</td><td>{escape(line.note)}</td></tr>"
        )
    direction = "higher is better" if METRICS[metric].greater_is_better else "lower is better"
    return (
        f'<div class="wide"><table><caption class="soft">{escape(metric)}, {direction}</caption><thead><tr>'
        '<th scope="col">Rank</th><th scope="col">Result</th><th scope="col">Value</th>'
        '<th scope="col">95 % interval</th>'
        f'<th scope="col">Drawn</th><th scope="col">Note</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _bar(line: Line, lowest: float, highest: float) -> str:
    def x(value: float) -> float:
        return round(240 * (value - lowest) / (highest - lowest), 1)

    colour = "var(--ours)" if line.ours else "var(--theirs)"
    label, interval = f"{line.value:.4f}", ""
    if line.low is not None and line.high is not None:
        label += f", interval {line.low:.4f} to {line.high:.4f}"
        width = max(1.0, x(line.high) - x(line.low))
        interval = f'<rect x="{x(line.low)}" y="8" width="{width}" height="6" rx="3" fill="{colour}" opacity=".4"/>'
    axis = '<line x1="0" x2="240" y1="11" y2="11" stroke="var(--line)"/>'
    dot = f'<circle cx="{x(line.value)}" cy="11" r="4.5" fill="{colour}"/>'
    return f'<svg viewBox="0 0 240 22" role="img" aria-label="{label}">{axis}{interval}{dot}</svg>'


def _refused(compared: Iterable[ComparedRow]) -> str:
    groups = reasons(list(compared))
    if not groups:
        return ""
    count = sum(len(rows) for _, rows in groups)
    blocks = []
    for why, rows in groups:
        names = "".join(
            f"<li>{escape(row.published.method)} ({row.published.year}): {escape(row.published.metric)} "
            f"{row.published.value:.4f}{'' if row.published.status == 'verified' else ', unverified'}</li>"
            for row in rows
        )
        blocks.append(f"<li><strong>{escape(why)}</strong><ul>{names}</ul></li>")
    return (
        f"<details><summary>Not comparable: {count} published, with the fields that differ</summary>"
        f"<ul>{''.join(blocks)}</ul></details>"
    )


def _confused(result: Result) -> str:
    if not result.confused:
        return ""
    items = "".join(
        f"<li>{escape(true)} taken for {escape(predicted)}: {count}</li>"
        for true, predicted, count in result.confused[:10]
    )
    return f"<details><summary>Most confused pairs of the first run</summary><ul>{items}</ul></details>"


def _html(title: str, body: str) -> str:
    style = (Path(__file__).parent / "board.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>\n{body}\n</main></body></html>\n"
    )
