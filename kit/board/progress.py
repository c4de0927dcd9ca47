"""The charts of a competition's page: published progress over the years with our runs in it, and cost against score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kit.board.charts import NARROW, NUM_COLOURS, Axis, Chart, Mark, chart, key_mark, letter
from kit.board.facts import RunFacts
from kit.board.groups import GroupRow, ProtocolGroup
from kit.board.markup import Cell, Column, details, name, number, short, table, text
from kit.board.run_parts import tag
from kit.board.shelf import Shelf, rank_key
from kit.metrics import METRICS

MOST_OWN = 40  # of our runs in one group, of which more would cover each other: the best of each network, then these


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A row of a group, with the group's number on the page."""

    number: int
    group: ProtocolGroup
    row: GroupRow


def progress(shelf: Shelf) -> str:
    """Return the charts of all results over the years, one for each kind of scale, with a table of their numbers."""
    kinds: dict[str, list[Placed]] = {}
    drawn: set[str] = set()  # a published row may stand beside several groups of ours, and is drawn once
    for place, group in enumerate(shelf.groups):
        rows = [row for row in _shown(group, shelf.facts) if row.ours or row.id not in drawn]
        drawn.update(row.id for row in rows if not row.ours)
        kinds.setdefault(_scale(group), []).extend(Placed(number=place, group=group, row=row) for row in rows)
    if not kinds:
        return ""
    parts = ['<h2 id="progress">Progress over the years</h2>']
    parts.append(
        '<p class="soft">A letter is a protocol group of this page; heights of different letters must not be '
        "compared. A diamond is a run of ours, a hollow mark is a value that nobody has verified, a line joins the "
        "best verified results of a group so far.</p>"
    )
    for place, (kind, placed) in enumerate(kinds.items()):
        parts.append(_over_years(kind, placed, shelf.facts, key=f"years{place}"))
    return "".join(parts)


def _scale(group: ProtocolGroup) -> str:
    """Return what a vertical axis is to be: all shares that are better when greater have the same one."""
    metric = METRICS.get(group.metric)
    if metric is not None and metric.greater_is_better and all(0 <= row.value <= 1 for row in group.rows):
        return "share"
    return group.metric


def _shown(group: ProtocolGroup, facts: Mapping[str, RunFacts]) -> list[GroupRow]:
    """Return a group's rows; of many runs of ours the best of each network and result, and the best of the others."""
    own = sorted((row for row in group.rows if row.ours), key=lambda row: rank_key(group, row))
    if len(own) > MOST_OWN:
        seen: set[tuple[str | None, str]] = set()
        first: list[GroupRow] = []
        others: list[GroupRow] = []
        for row in own:
            made_by = (facts[row.id].network, row.kind)
            (others if made_by in seen else first).append(row)
            seen.add(made_by)
        own = [*first, *others][:MOST_OWN]
    return [*own, *(row for row in group.rows if not row.ours)]


def _year(row: GroupRow, facts: Mapping[str, RunFacts]) -> float:
    exact = facts[row.id].year if row.ours else None
    return row.year if exact is None else exact


def _over_years(kind: str, placed: Sequence[Placed], facts: Mapping[str, RunFacts], *, key: str) -> str:
    marks = [
        Mark(
            x=_year(one.row, facts),
            y=one.row.value,
            low=one.row.low if one.row.ours else None,
            high=one.row.high if one.row.ours else None,
            label=f"{letter(one.number)}: {one.row.name} ({one.row.year}), {one.group.metric} {number(one.row.value)}"
            + ("" if one.row.status in ("ours", "verified") else f", {one.row.status}"),
            group=one.number,
            ours=one.row.ours,
            verified=one.row.status in ("ours", "verified"),
        )
        for one in placed
    ]
    groups = {one.number: one.group for one in placed}
    unit = "share of images or classes, 1 is best" if kind == "share" else kind.replace("_", " ")
    years = [one.row.year for one in placed]
    span = " to ".join(map(str, sorted({min(years), max(years)})))
    results = "1 result" if len(marks) == 1 else f"{len(marks)} results"
    protocols = "1 protocol group" if len(groups) == 1 else f"{len(groups)} protocol groups"
    drawn = Chart(
        title=f"Results over the years, {kind.replace('_', ' ')}",
        description=f"{results} in {protocols}, {span}; the table below has the numbers.",
        x=Axis(title="year", whole=True),
        y=Axis(title=unit, log=kind not in METRICS and kind != "share" and min(mark.y for mark in marks) > 0),
        marks=marks,
        steps=[(n, corners) for n, group in groups.items() if (corners := _best_so_far(group, facts))],
    )
    rows: list[tuple[str, Sequence[Cell | str | float | None]]] = [
        (
            "ours" if one.row.ours else "theirs",
            [
                Cell(html=f"{name(one.row.name)}{tag(one.row.status)}"),
                letter(one.number),
                Cell(html=str(one.row.year)),
                one.group.metric,
                one.row.value,
                Cell(html=text(_interval(one.row))),
            ],
        )
        for one in sorted(placed, key=lambda one: (one.row.year, one.row.name))
    ]
    columns = [
        Column(title="Result"),
        Column(title="Group"),
        Column(title="Year", number=True),
        Column(title="Metric"),
        Column(title="Value", number=True),
        Column(title="95 % interval", number=True, sortable=False),
    ]
    numbers = details("The numbers of this chart", table(f"{drawn.title}: the numbers", columns, rows))
    return f"{chart(drawn, key=key)}{_legend(groups, ours=False)}{numbers}"


def _legend(groups: Mapping[int, ProtocolGroup], *, ours: bool) -> str:
    """Return what the letters mean: the groups that have a colour of their own, then the others on a press."""
    items = [
        f"<li>{key_mark(place, ours=ours or group.has_ours)}{letter(place)}: "
        f'<a href="#{text(group.key)}">{name(group.title)}</a></li>'
        for place, group in sorted(groups.items())
    ]
    first, others = items[:NUM_COLOURS], items[NUM_COLOURS:]
    shown = f'<ul class="legend">{"".join(first)}</ul>'
    if not others:
        return shown
    rest = "The other protocol group" if len(others) == 1 else f"The other {len(others)} protocol groups"
    return shown + details(rest, f'<ul class="legend">{"".join(others)}</ul>')


def _interval(row: GroupRow) -> str:
    return "–" if row.low is None or row.high is None else f"[{row.low:.4f}, {row.high:.4f}]"


def _best_so_far(group: ProtocolGroup, facts: Mapping[str, RunFacts]) -> list[tuple[float, float]]:
    """Return the corners of the best verified value over time; nothing where there is no order or one year only."""
    rows = sorted(
        (row for row in group.rows if row.status in ("ours", "verified")),
        key=lambda row: (_year(row, facts), rank_key(group, row)),
    )
    corners: list[tuple[float, float]] = []
    best = float("inf")
    for row in rows:
        if (value := rank_key(group, row)) < best:
            if corners:
                corners.append((_year(row, facts), corners[-1][1]))
            corners.append((_year(row, facts), row.value))
            best = value
    if not group.ranked or len({row.year for row in rows}) < 2:
        return []
    return [*corners, (_year(rows[-1], facts), corners[-1][1])]


def cost(shelf: Shelf) -> str:
    """Return charts of minutes, memory and parameters against the score of our runs, and a table of their numbers."""
    placed = _own(shelf)
    if not placed:
        return ""
    parts = ['<h2 id="cost">Cost against score</h2>']
    parts.append(
        '<p class="soft">Our runs. Minutes are those of training all of a run’s models on the device that is named; '
        "times of different devices must not be compared. Parameters are those of one model.</p>"
    )
    axes: list[tuple[str, Callable[[RunFacts], float | None]]] = [
        ("minutes of training", lambda facts: facts.minutes),
        ("peak memory, GiB", lambda facts: facts.gib),
        ("parameters", lambda facts: facts.num_parameters),
    ]
    for kind in dict.fromkeys(_scale(one.group) for one in placed):
        of_kind = [one for one in placed if _scale(one.group) == kind]
        drawn = [_against(title, value, of_kind, shelf.facts, kind=kind) for title, value in axes]
        parts.append(f'<div class="charts">{"".join(drawn)}</div>')
    parts.append(_legend({one.number: one.group for one in placed}, ours=True))
    parts.append(details("The numbers of these charts", _cost_table(placed, shelf)))
    return "".join(parts)


def _own(shelf: Shelf) -> list[Placed]:
    """Return each run of ours once, with the result that stands first on the page."""
    found: dict[str, Placed] = {}
    for place, group in enumerate(shelf.groups):
        for row in group.rows:
            if row.ours:
                found.setdefault(row.id, Placed(number=place, group=group, row=row))
    return list(found.values())


def _against(
    title: str,
    value: Callable[[RunFacts], float | None],
    placed: Sequence[Placed],
    facts: Mapping[str, RunFacts],
    *,
    kind: str,
) -> str:
    marks = [
        Mark(
            x=amount,
            y=one.row.value,
            label=f"{letter(one.number)}: {one.row.name}, {number(one.row.value)}, {short(amount)} {title}",
            group=one.number,
            ours=True,
        )
        for one in placed
        if (amount := value(facts[one.row.id])) is not None and amount > 0
    ]
    if not marks:
        return f'<p class="soft">No record states its {text(title)}.</p>'
    unit = "score" if kind == "share" else kind.replace("_", " ")
    drawn = Chart(
        title=f"Score against {title}",
        description=f"{len(marks)} of our runs; the table below has the numbers.",
        x=Axis(title=title, log=max(mark.x for mark in marks) > 8 * min(mark.x for mark in marks)),
        y=Axis(title=unit),
        marks=marks,
    )
    key = "".join(letter_ for letter_ in f"{kind}-{title}" if letter_.isalnum() or letter_ == "-")
    return chart(drawn, key=key, letters=len(marks) <= MOST_OWN, size=NARROW)


def _cost_table(placed: Sequence[Placed], shelf: Shelf) -> str:
    rows: list[tuple[str, Sequence[Cell | str | float | None]]] = []
    for one in placed:
        facts = shelf.facts[one.row.id]
        rows.append(
            (
                "",
                [
                    Cell(html=f'<a href="{text(shelf.run_page(one.row.id))}">{name(one.row.id)}</a>'),
                    letter(one.number),
                    one.row.value,
                    Cell(html=short(facts.minutes), sort=facts.minutes),
                    Cell(html=short(facts.gib), sort=facts.gib),
                    Cell(html=short(facts.num_parameters), sort=facts.num_parameters),
                    facts.network,
                    facts.image_size,
                    facts.device,
                ],
            )
        )
    columns = [
        Column(title="Run"),
        Column(title="Group"),
        Column(title="Value", number=True),
        Column(title="Minutes", number=True),
        Column(title="GiB", number=True),
        Column(title="Parameters", number=True),
        Column(title="Network"),
        Column(title="Pixels", number=True),
        Column(title="Device"),
    ]
    return table("Cost of our runs", columns, rows)
