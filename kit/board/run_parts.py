"""The parts that a run's page on the site and its report have in common: each is a function of the record alone."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kit.board.baselines import Baselines
from kit.board.charts import bar
from kit.board.compare import ComparedRow, compare, reasons
from kit.board.facts import RunFacts, missing_images, num_folds
from kit.board.markup import Cell, Column, details, name, number, pairs, short, table, text
from kit.board.records import Result, RunRecord
from kit.board.terms import own_conditions, results_of
from kit.board.test_use import chosen_of, selection_words
from kit.conditions import NOT_STATED
from kit.judge.statistics import Score
from kit.judge.test_ledger import Chain
from kit.metrics import METRICS

KINDS = {
    "test": "one model, test images",
    "fold-ensemble": "mean of the fold models (ensemble), test images",
    "seed-ensemble": "mean of several seeds (ensemble), test images",
}
UNVERIFIED = '<span class="tag">unverified</span>'
_VERDICT_CLASSES = {"better": "better", "worse": "worse"}


def kind_in_words(record: RunRecord, kind: str) -> str:
    """Return how the images of a result were predicted."""
    if "blend" in record.recipe and kind != "out-of-fold":
        return f"blend of {len(record.recipe['blend']['weights'])} runs (ensemble), test images"
    folds = num_folds(record)
    return KINDS.get(kind, f"out of fold, {folds} folds" if folds else kind)


def partial(record: RunRecord) -> str:
    """Return the warning on a run that had not all images, or nothing."""
    if record.complete:
        return ""
    return (
        f'<p class="warn"><strong>Partial data.</strong> The source <code>{text(record.source)}</code> lacks '
        f"{text(missing_images(record))}. Numbers are not comparable with published ones.</p>"
    )


def lead(record: RunRecord, facts: RunFacts) -> str:
    """Return the best-known facts of a run: its first result, what made it, what it cost."""
    first = results_of(record)[0] if record.results else None
    score = main_score(first) if first else None
    shown: list[tuple[str, str, str]] = []
    if first and score:
        shown.append(
            (
                score.metric.replace("_", " "),
                f"{score.value:.4f}",
                f"95 % {interval(score)}, {score.num_images:,} images; {kind_in_words(record, first.kind)}",
            )
        )
    network = f"{short(facts.num_parameters)} parameters, weights {facts.weights or NOT_STATED}"
    shown.append(("network", facts.network or NOT_STATED, network))
    minutes = NOT_STATED if facts.minutes is None else f"{facts.minutes:.1f} min"
    shown.append(("training", minutes, f"on {facts.device or 'a device that is not stated'}"))
    if facts.gib is not None:
        shown.append(("peak memory", f"{facts.gib:.2f} GiB", "of the largest model"))
    boxes = "".join(
        f"<div><dt>{text(what)}</dt><dd>{name(value)}<small>{name(more)}</small></dd></div>"
        for what, value, more in shown
    )
    return f'{partial(record)}<dl class="facts">{boxes}</dl>'


def main_score(result: Result) -> Score:
    """Return a result's score in its competition's own metric."""
    return result.scores.get(result.conditions.metric or "") or next(iter(result.scores.values()))


def interval(score: Score) -> str:
    """Return an interval in brackets."""
    return f"[{score.low:.4f}, {score.high:.4f}]"


def test_use(record: RunRecord, chain: Chain) -> str:
    """Return on what the run was selected, and how often its test was opened."""
    words = selection_words(record, chain)
    return f"<p>{text(words[:1].upper() + words[1:])}.</p>"


def scores(record: RunRecord) -> str:
    """Return the scores of all results with their intervals, and the conditions of each."""
    parts = ['<h2 id="scores">Scores</h2>']
    for result in results_of(record):
        rows: list[tuple[str, Sequence[Cell | str | float | None]]] = [
            (
                "",
                [
                    score.metric,
                    Cell(html=number(score.value), sort=score.value),
                    Cell(html=text(interval(score))),
                    Cell(html=bar(score.value, score.low, score.high, span=_span(score), ours=True)),
                    score.num_images,
                    score.interval,
                    METRICS[score.metric].definition if score.metric in METRICS else NOT_STATED,
                ],
            )
            for score in result.scores.values()
        ]
        columns = [
            Column(title="Metric"),
            Column(title="Value", number=True),
            Column(title="95 % interval", number=True),
            Column(title="Drawn"),
            Column(title="Images", number=True),
            Column(title="Interval by"),
            Column(title="Definition"),
        ]
        heading = f"{result.protocol}: {kind_in_words(record, result.kind)}"
        parts.append(f"<h3>{name(heading)}</h3>{table(f'Scores, {heading}', columns, rows, sorts=False)}")
        parts.append(details("Conditions of this result", pairs(result.conditions.in_words())))
        if result.confused:
            items = "".join(
                f"<li>{name(true)} taken for {name(predicted)}: {count:,}</li>"
                for true, predicted, count in result.confused
            )
            parts.append(details("Most confused pairs", f"<ol>{items}</ol>"))
    return "".join(parts)


def _span(score: Score) -> tuple[float, float]:
    """Return the range of a score's drawing: nought to one where the value is a share, else twice the value."""
    return (0.0, 1.0) if score.low >= 0 and score.high <= 1 else (min(0.0, score.low), max(score.high, 0.0) * 1.25)


def verdicts(record: RunRecord, published: Callable[[Result], Baselines | None], *, chain: Chain) -> str:
    """Return which published results stand beside the run's, with verdicts in words; and why the others may not.

    Args:
        record: of the run.
        published: gives the published results to set beside a result: all, or the comparable ones alone.
        chain: the test-use ledger: for each run whose test was looked at, a p counts once.
    """
    parts = ['<h2 id="published">Beside published results</h2>']
    for result in results_of(record):
        found = published(result)
        if found is None:
            return f"{parts[0]}<p>No published results are known for <code>{text(record.baselines)}</code>.</p>"
        rows = compare(result, found, chosen_of=chosen_of(record, result, chain))
        beside = [row for row in rows if row.agreement.comparable]
        heading = f"{result.protocol}: {kind_in_words(record, result.kind)}"
        parts.append(f"<h3>{name(heading)}</h3>")
        if beside:
            parts.append(_beside(heading, beside))
        else:
            parts.append("<p>No published result was obtained under the same conditions.</p>")
        parts.append(_refused(rows))
        parts.append(_open_fields(result, found))
    return "".join(parts)


def _open_fields(result: Result, published: Baselines) -> str:
    mine = own_conditions(result, published)
    missing = [label for label, value in mine.in_words() if value == NOT_STATED]
    if not missing:
        return ""
    return f'<p class="soft">Not stated of this run: {text(", ".join(missing))}. No verdict is given across it.</p>'


def _beside(heading: str, rows: Sequence[ComparedRow]) -> str:
    columns = [
        Column(title="Published"),
        Column(title="Metric"),
        Column(title="Theirs", number=True),
        Column(title="Ours", number=True),
        Column(title="Our 95 % interval", number=True),
        Column(title="Verdict: ours is"),
    ]
    return table(
        f"Published results that may stand beside {heading}",
        columns,
        [
            (
                "theirs",
                [
                    Cell(
                        html=f"{name(row.published.method)} ({row.published.year}){tag(row.published.status)}"
                        f"<small>{name(row.published.source.title)}, {name(row.published.source.venue)}</small>"
                    ),
                    row.published.metric,
                    row.published.value,
                    row.ours.value if row.ours else None,
                    Cell(html=text(interval(row.ours)) if row.ours else NOT_STATED),
                    Cell(html=verdict_markup(row.verdict, row.words)),
                ],
            )
            for row in rows
        ],
        filters=() if len(rows) < 8 else (("theirs", "published"),),
    )


def tag(status: str) -> str:
    """Return the mark of a row whose value nobody has checked, or whose meaning is an open question."""
    return "" if status in ("verified", "ours") else f' <span class="tag">{text(status)}</span>'


def verdict_markup(verdict: str, words: str = "") -> str:
    """Return a verdict, "better" and "worse" with an emphasis of their own; and its sentence where it says more."""
    kind = _VERDICT_CLASSES.get(verdict)
    shown = f'<span class="{kind}">{text(verdict)}</span>' if kind else text(verdict)
    says_more = words.rstrip(".").lower() != verdict.lower()
    return f"{shown}<small>{text(words)}</small>" if words and says_more else shown


def _refused(rows: Sequence[ComparedRow]) -> str:
    groups = reasons(list(rows))
    if not groups:
        return ""
    blocks = []
    for why, refused in groups:
        names = "".join(
            f"<li>{name(row.published.method)} ({row.published.year}): {text(row.published.metric)} "
            f"{number(row.published.value)}{tag(row.published.status)}</li>"
            for row in refused
        )
        blocks.append(f"<li><strong>{text(why)}</strong><ul>{names}</ul></li>")
    count = sum(len(refused) for _, refused in groups)
    return details(f"Not comparable: {count} published, with the fields that differ", f"<ul>{''.join(blocks)}</ul>")


def cost(record: RunRecord) -> str:
    """Return what the run took."""
    return (
        f'<h2 id="cost">Cost</h2>{pairs((key.replace("_", " "), _shown(value)) for key, value in record.cost.items())}'
    )


def making(record: RunRecord) -> str:
    """Return recipe, network, data and versions: what makes the run again."""
    tables = [
        ("Network", record.network),
        ("Data", record.data),
        ("Folds", record.folds),
        ("Described", record.described),
    ]
    parts = ['<h2 id="making">How it was made</h2>']
    parts.append(
        pairs(
            [
                ("made on", record.created_at),
                ("competition", record.competition),
                ("protocol", record.protocol),
                ("source", record.source),
                ("commit", record.commit or NOT_STATED),
            ]
        )
    )
    for title, content in tables:
        if content:
            parts.append(f"<h3>{title}</h3>{pairs((key.replace('_', ' '), _shown(v)) for key, v in content.items())}")
    parts.append("<h3>Recipe</h3>" + details("All settings of the recipe", f"<pre>{text(_json(record.recipe))}</pre>"))
    parts.append("<h3>Versions</h3>" + details("All versions", pairs(record.versions.items())))
    return "".join(parts)


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, default=str)


def _shown(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return NOT_STATED if value in (None, "") else value
