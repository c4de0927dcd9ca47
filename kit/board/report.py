"""The report of a run: one self-contained HTML file with all that is known of it, its pictures inside."""

import base64
from collections.abc import Sequence
from pathlib import Path

from kit.board.baselines import Baselines
from kit.board.calibration import calibration_section
from kit.board.compare import load_published
from kit.board.facts import facts_of
from kit.board.markup import Cell, Column, file_name, name, single_page, table, text
from kit.board.records import RunRecord, run_folder
from kit.board.run_parts import cost, lead, making, scores, test_use, verdicts
from kit.board.test_use import uses_of_records
from kit.home import write_text
from kit.interpret.section import Section, SectionFigure, SectionTable
from kit.judge.test_ledger import Chain, check_chain

SORTED_FROM = 8  # rows of a table
PNG = b"\x89PNG\r\n\x1a\n"


def write_report(record: RunRecord, *, sections: Sequence[Section] = ()) -> Path:
    """Write `report.html` into the run's folder and return its path.

    Args:
        record: of a run of this machine.
        sections: what else is told, of what the networks got wrong and why: `kit.interpret.report.report_sections`.
    """
    published = load_published(record.baselines)
    folder = run_folder(record.run_id)
    told = [calibration_section(folder / "predictions" / "out-of-fold.csv"), *sections]
    path = folder / "report.html"
    chain = check_chain(uses_of_records())
    write_text(path, report_page(record, sections=told, published=published, chain=chain))
    return path


def report_page(record: RunRecord, *, sections: Sequence[Section], published: Baselines | None, chain: Chain) -> str:
    """Return the report's HTML.

    Args:
        record: of the run.
        sections: between the published results and the cost.
        published: the published results of its data set, or None where there are none.
        chain: the test-use ledger of this machine.
    """
    contents = [("scores", "Scores"), ("published", "Beside published results")]
    contents += [(_anchor(section), section.title) for section in sections]
    contents += [("cost", "Cost"), ("making", "How it was made")]
    items = "".join(f'<li><a href="#{text(key)}">{name(title)}</a></li>' for key, title in contents)
    body = [
        f"<h1>Report: {name(record.run_id)}</h1>",
        f'<p class="lead">{name(record.title)}</p>',
        lead(record, facts_of(record)),
        f'<div class="verdict">{test_use(record, chain)}</div>',
        f'<nav class="contents" aria-label="On this page"><ul>{items}</ul></nav>',
        scores(record),
        verdicts(record, lambda _: published, chain=chain),
        *(_section(section) for section in sections),
        cost(record),
        making(record),
    ]
    return single_page(f"Report: {record.run_id}", "\n".join(body))


def _anchor(section: Section) -> str:
    """Return a key for links that no other part of the page has."""
    return f"section-{file_name(section.key)}"


def _section(section: Section) -> str:
    parts = [f'<h2 id="{text(_anchor(section))}">{name(section.title)}</h2>']
    parts += [f"<p>{name(paragraph)}</p>" for paragraph in section.intro.split("\n\n") if paragraph.strip()]
    parts += [_table(one) for one in section.tables]
    parts += [_figure(one) for one in section.figures]
    return "\n".join(parts)


def _table(shown: SectionTable) -> str:
    columns = [
        Column(title=title, number=bool(shown.rows) and all(_is_number(row[place]) for row in shown.rows))
        for place, title in enumerate(shown.columns)
    ]
    rows: list[tuple[str, Sequence[Cell | str | float | None]]] = [("", row) for row in shown.rows]
    return table(shown.caption, columns, rows, sorts=len(rows) >= SORTED_FROM)


def _is_number(cell: str | float) -> bool:
    """Return if a cell is a number, or the text of one that was rounded by who made it."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _figure(figure: SectionFigure) -> str:
    assert figure.png.startswith(PNG)
    content = base64.b64encode(figure.png).decode()
    return (
        f'<figure><img src="data:image/png;base64,{content}" alt="{text(figure.alt)}">'
        f"<figcaption>{name(figure.caption)}</figcaption></figure>"
    )
