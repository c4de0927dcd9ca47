"""The page of a sweep: one self-contained HTML file, made from its result alone.

Names of studies, networks and transforms are other people's words: every value is escaped.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from kit.judge.paired import Difference, interval_text, measured
from kit.tune.plots import Point, plot
from kit.tune.result import UNITS, StudyResult, TrialRow

ROWS = 10  # of the best trials
_SHOWN = {"error": "error", "minutes": "minutes", "memory": "peak_gib"}  # objective -> field of a row


def study_page(result: StudyResult, *, command: str) -> str:
    """Return the page's HTML.

    Args:
        result: what the sweep came to.
        command: what trains the winner as any run.
    """
    body = [f"<h1>Sweep: {escape(result.name)}</h1>", _lead(result), _verdict(result), _selection(result)]
    body += [_winner(result, command), _best(result), _history(result), _importance(result.importance)]
    if len(result.objectives) > 1:
        body.append(_front(result))
    if result.comparison is not None and result.comparison.difference is not None:
        body.append(_comparison(result.comparison.difference, result.comparison.seeds))
    body.append(_others(result))
    return _document(f"Sweep: {result.name}", "\n".join(part for part in body if part))


def _lead(result: StudyResult) -> str:
    counts = Counter(row.ended for row in result.trials)
    not_started = counts.pop("not started", 0)
    told = ", ".join(f"{count} {ended}" for ended, count in counts.items())
    told += f"; {not_started} more draws would not have ended in time" if not_started else ""
    limit = "" if result.memory_gib is None else f" within {result.memory_gib:.2f} GiB each"
    return (
        f'<p class="soft">{escape(result.slug)}, protocol {escape(result.protocol)}, source {escape(result.source)}. '
        f"{counts.total()} trials in {result.minutes:.1f} minutes{limit}: {escape(told)}.</p>"
    )


def _verdict(result: StudyResult) -> str:
    if result.comparison is None:
        return '<p class="warn">Winner and untuned recipe were not compared, so whether tuning helped is not known.</p>'
    return f'<p class="verdict">{escape(result.comparison.verdict)}</p>'


def _selection(result: StudyResult) -> str:
    used = f"{result.num_folds_used} of {result.num_folds} folds"
    opened = f"{result.test_opened} time{'' if result.test_opened == 1 else 's'}"
    text = (
        f"Trials are compared by their error out of fold, on {used}; test images were opened {opened}. The best of "
        "many trials looks better than it is, by the luck for which it was chosen."
    )
    if result.comparison is not None and result.comparison.difference is not None:
        text += (
            " The comparison therefore trains new networks, with other seeds"
            + (" and on folds dealt anew" if result.comparison.fresh_folds else "")
            + ". Its images are those of the sweep: on images of another kind the difference may be another one."
        )
    return f"<p>{escape(text)}</p>"


def _winner(result: StudyResult, command: str) -> str:
    rows = "".join(
        f'<tr><th scope="row"><code>{escape(key)}</code></th><td class="n">{escape(_short(before))}</td>'
        f'<td class="n">{escape(_short(drawn))}</td></tr>'
        for key, (before, drawn) in result.changed.items()
    )
    return (
        f"<h2>The winner: trial {result.winner}</h2>"
        f"{_table(['Key', 'Untuned', 'Winner'], rows)}"
        f"<p>Trained and scored as any run, which is when test images are opened:</p><pre>{escape(command)}</pre>"
    )


def _best(result: StudyResult) -> str:
    done = sorted((row for row in result.trials if row.ended == "done"), key=lambda row: (row.error, row.number))
    keys = list(result.changed)
    rows = "".join(
        f'<tr class="{"ours" if row.number == result.winner else "theirs"}"><th scope="row">{row.number}'
        f"{'<br><small>untuned</small>' if row.is_untuned else ''}</th>"
        f'<td class="n">{row.error:.4f}</td><td class="n">{_score(row.score)}</td>'
        f'<td class="n">{_short(row.minutes)}</td><td class="n">{_short(row.peak_gib)}</td>'
        f"{''.join(_cell(row.drawn.get(key)) for key in keys)}</tr>"
        for row in done[:ROWS]
    )
    heads = ["Trial", "Error", f"{result.metric}, 95 %", "Minutes", "GiB", *(key.rpartition(".")[2] for key in keys)]
    return f"<h2>The best trials</h2>{_table(heads, rows)}"


def _history(result: StudyResult) -> str:
    best = float("inf")
    line: list[tuple[float, float]] = []
    points = []
    for row in result.trials:
        inside = row.ended == "done" and row.error is not None
        kind = "best" if row.number == result.winner else "plain"
        points.append(Point(x=row.number, y=row.error if inside else None, label=_told(row), kind=kind))
        if inside and row.error is not None and row.error < best:
            line += [(float(row.number), best)] if line else []
            best = row.error
            line.append((float(row.number), best))
    line.append((float(result.trials[-1].number), best))
    drawn = plot(points, x="trial", y="error, out of fold", line=line, title="Error of each trial in turn")
    return (
        f'<h2>History</h2><div class="wide">{drawn}</div><p class="soft">A dot is a trial, the line the best so far. A '
        "cross above the plot is a trial that was not started, was ended early, did not fit or failed.</p>"
    )


def _told(row: TrialRow) -> str:
    values = ", ".join(f"{key} {_short(value)}" for key, value in row.drawn.items())
    return f"trial {row.number}: {row.ended}{'' if row.error is None else f', error {row.error:.4f}'}; {values}"


def _importance(importance: Mapping[str, float]) -> str:
    if not importance:
        return ""
    rows = "".join(
        f'<tr><th scope="row"><code>{escape(key)}</code></th><td class="n">{share:.0%}</td><td>{_bar(share)}</td></tr>'
        for key, share in importance.items()
    )
    return (
        f"<h2>What mattered</h2>{_table(['Key', 'Share', ''], rows)}"
        '<p class="soft">How much of what tells good trials from the others each key explains (PED-ANOVA). A key that '
        "hardly varied cannot have mattered here.</p>"
    )


def _front(result: StudyResult) -> str:
    front = sorted((row for row in result.trials if row.on_front), key=lambda row: (row.error, row.number))
    rows = "".join(
        f'<tr class="{"ours" if row.number == result.winner else "theirs"}"><th scope="row">{row.number}</th>'
        + "".join(_cell(getattr(row, _SHOWN[name])) for name in result.objectives)
        + "".join(_cell(row.drawn.get(key)) for key in result.changed)
        + "</tr>"
        for row in front
    )
    heads = ["Trial", *(UNITS[name] for name in result.objectives), *(key.rpartition(".")[2] for key in result.changed)]
    done = [row for row in result.trials if row.ended == "done"]
    plots = []
    for name in result.objectives[1:]:
        points = [
            Point(
                x=getattr(row, _SHOWN[name]),
                y=row.error,
                label=_told(row),
                kind="best" if row.number == result.winner else "front" if row.on_front else "plain",
            )
            for row in done
            if getattr(row, _SHOWN[name]) is not None
        ]
        if points:
            plots.append(plot(points, x=UNITS[name], y="error, out of fold", title=f"Error against {UNITS[name]}"))
    return (
        f'<h2>Error against cost</h2><div class="wide">{"".join(plots)}</div>{_table(heads, rows)}'
        '<p class="soft">The Pareto front (blue): no other trial within the limits is better in one of these and as '
        "good in all.</p>"
    )


def _comparison(found: Difference, seeds: Sequence[int]) -> str:
    columns = zip(seeds, found.first, found.second, found.by_seed, strict=True)
    p_values = list(found.p_by_seed)
    rows = "".join(
        f'<tr><th scope="row">{seed}</th><td class="n">{first:.4f}</td><td class="n">{second:.4f}</td>'
        f'<td class="n">{measured(by, found.metric)}</td>'
        + (f'<td class="n">{p_values[number]:.2g}</td>' if p_values else "")
        + "</tr>"
        for number, (seed, first, second, by) in enumerate(columns)
    )
    heads = ["Seed", "Untuned", "Tuned", "Better by", *(["McNemar&#8217;s p"] if p_values else [])]
    return (
        f"<h2>The final comparison</h2>{_table(heads, rows, escaped=True)}"
        f"<p>Better by {measured(found.mean, found.metric)} in the mean, 95 % interval "
        f"{interval_text(found.low, found.high, metric=found.metric)}; {escape(found.metric)} of "
        f"{found.num_images:,} images, each predicted by networks that never saw it; interval "
        f"{escape(found.interval)}.</p>"
    )


def _others(result: StudyResult) -> str:
    rows = [row for row in result.trials if row.why]
    if not rows:
        return ""
    items = "".join(f"<li>trial {row.number}: {escape(row.ended)}; {escape(row.why)}</li>" for row in rows)
    return f"<details><summary>Trials that did not come to their end: {len(rows)}</summary><ul>{items}</ul></details>"


def _table(heads: Sequence[str], rows: str, *, escaped: bool = False) -> str:
    texts = [head if escaped else escape(head) for head in heads]
    cells = "".join(f'<th scope="col"{" class=n" if number else ""}>{text}</th>' for number, text in enumerate(texts))
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table></div>'


def _cell(value: Any) -> str:
    return f'<td class="n">{escape(_short(value))}</td>'


def _score(score: Mapping[str, Any] | None) -> str:
    return "" if score is None else f"{score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}]"


def _short(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _bar(share: float) -> str:
    return (
        f'<svg viewBox="0 0 240 22" role="img" aria-label="{share:.0%}">'
        f'<rect x="0" y="6" width="{max(1.0, 240 * share):.1f}" height="10" rx="3" fill="var(--ours)"/></svg>'
    )


def _document(title: str, body: str) -> str:
    here = Path(__file__).parent
    styles = (here.parent / "board" / "board.css", here / "tune.css")
    style = "".join(path.read_text(encoding="utf-8") for path in styles)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>\n{body}\n</main></body></html>\n"
    )
