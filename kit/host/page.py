"""The page of standings: plain HTML that needs no script; every name and title on it is escaped."""

from datetime import datetime
from html import escape
from pathlib import Path

from kit.host.hosted import HostedCompetition
from kit.host.standings import Place
from kit.metrics import METRICS


def standings_page(hosted: HostedCompetition) -> str:
    """Return the page: the rules in short, and the standings by public score or, after the deadline, by private."""
    title = escape(hosted.competition.title)
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}: standings</title><style>{style}</style></head>\n"
        f"<body><main><h1>{title}</h1>\n{_rules(hosted)}\n{_table(hosted)}\n</main></body></html>\n"
    )


def _rules(hosted: HostedCompetition) -> str:
    settings, solution = hosted.settings, hosted.solution
    metric = METRICS[solution.form.metric]
    deadline = settings.deadline_time()
    share = 100 * float(solution.public.mean())
    rules = {
        "Name": hosted.name,
        "Metric": f"{metric.name} ({'higher' if metric.greater_is_better else 'lower'} is better): {metric.definition}",
        "Test images": f"{len(solution.ids):,}; {share:.0f} % make the public score",
        "Submissions": f"{settings.daily_limit} a day and team (UTC)",
        "Deadline": f"{_minute(deadline)} UTC{', passed' if hosted.over else ''}" if deadline else "none",
    }
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rules.items())
    return f"<dl>{items}</dl>"


def _table(hosted: HostedCompetition) -> str:
    private = hosted.over
    places = hosted.places(private=private)
    if not places:
        return "<p>No submission has a score yet.</p>"
    heading = "Final standings, by private score" if private else "Standings, by public score"
    ladder = hosted.settings.ladder and not private
    note = "<p>A public score moves only when a submission is better by more than noise.</p>" if ladder else ""
    head = "".join(
        f'<th scope="col"{kind}>{name}</th>'
        for name, kind in (
            ("Rank", ' class="n"'),
            ("Team", ""),
            ("Score", ' class="n"'),
            ("Submissions", ' class="n"'),
            ("Date (UTC)", ""),
        )
    )
    rows = "\n".join(_row(place) for place in places)
    return (
        f'<h2 id="standings">{heading}</h2>\n{note}<div class="wide" tabindex="0" role="region" '
        f'aria-labelledby="standings"><table aria-labelledby="standings">'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _row(place: Place) -> str:
    return (
        f'<tr><td class="n">{place.rank}</td><th scope="row">{escape(place.name)}</th>'
        f'<td class="n">{place.score}</td><td class="n">{place.num_submissions}</td>'
        f'<td class="date">{_minute(place.date)}</td></tr>'
    )


def _minute(when: datetime) -> str:
    return when.isoformat(sep=" ", timespec="minutes")
