"""The page of one run on the site."""

from kit.board.facts import facts_of
from kit.board.markup import name, site_page, text
from kit.board.records import RunRecord
from kit.board.run_parts import cost, lead, making, scores, test_use, verdicts
from kit.board.shelf import Shelf


def run_page(shelf: Shelf, record: RunRecord, *, report: str = "") -> str:
    """Return the HTML page of a run.

    Args:
        shelf: of the run's competition.
        record: of the run.
        report: address of the run's report, relative to this page; "" where there is none.
    """
    link = f'<p><a href="{text(report)}">Report of this run</a>: with calibration, pictures and what it got wrong.</p>'
    body = [
        f"<h1>{name(record.run_id)}</h1>",
        f'<p class="soft">{name(record.title)}</p>',
        lead(record, facts_of(record)),
        test_use(record, shelf.chain),
        link if report else "",
        scores(record),
        verdicts(record, shelf.comparable, chain=shelf.chain),
        cost(record),
        making(record),
    ]
    trail = [("../index.html", "Leaderboards"), (f"../{shelf.page}", shelf.title or shelf.slug)]
    return site_page(record.run_id, "\n".join(part for part in body if part), depth=1, trail=trail)
