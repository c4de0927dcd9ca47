"""What the account may do in a competition: entered or not, open or late, how many submissions are left today."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from kit.competition import Competition
from kit.kaggle.client import Kaggle, KaggleError, connect, rules_page
from kit.kaggle.credentials import credentials_place, own_server, readable_by_others, server_name
from kit.kaggle.submissions import COMPLETE, ERROR, PENDING, ServerRow, now
from kit.progress import Say

if TYPE_CHECKING:
    from kagglesdk.competitions.types.competition_api_service import ApiCompetition

ROWS_A_PAGE, MOST_PAGES = 200, 10  # of the list of submissions
SEARCHES = 100  # competitions a page


@dataclass(frozen=True, kw_only=True)
class Entry:
    """How a competition stands to the account."""

    title: str
    entered: bool
    deadline: datetime | None  # UTC
    closed: bool  # takes no submissions at all
    by_notebook: bool  # takes notebooks, and no files
    max_daily: int  # 0: not said

    @property
    def late(self) -> bool:
        """The deadline has passed: what is sent gets scores, and no rank."""
        return self.deadline is not None and now() >= self.deadline


@dataclass(frozen=True, kw_only=True)
class Quota:
    """How many submissions were made, and how many more are taken now."""

    today: int
    ever: int
    left: int
    by_total: bool  # it is the number in all that is used up


def name_on_server(competition: Competition) -> str:
    """Return the competition's name on Kaggle, or on a server of one's own.

    Raises:
        KaggleError: competition.toml names none.
    """
    if own_server():
        return competition.kaggle or competition.slug
    name = competition.kaggle or next((one.kaggle for one in competition.sources.values() if one.kaggle), "")
    if not name:
        raise KaggleError(
            f"{competition.slug} is not one of Kaggle's competitions, as far as {competition.folder}/competition.toml "
            'says. If it is, add `kaggle = "its-name"`, the last part of its page\'s address. For a competition that '
            "you host yourself (`kit host`), set KIT_KAGGLE_URL to its server."
        )
    return name


def entry_of(kaggle: Kaggle) -> Entry | None:
    """Return how the competition stands to the account, or None where the server's list does not show it."""
    for group in ("entered", None):
        # The search is by words of the title, and on Kaggle the name is made of those.
        for search in (kaggle.slug, kaggle.slug.replace("-", " ")):
            page = kaggle.ask(
                lambda api, group=group, search=search: api.competitions_list(  # type: ignore[misc]
                    group=group, search=search, page_size=SEARCHES
                )
            )
            for found in (page.competitions if page else None) or ():
                if found and found.ref.rstrip("/").rsplit("/", 1)[-1] == kaggle.slug:
                    return _entry(found)
    return None


def _entry(found: "ApiCompetition") -> Entry:
    return Entry(
        title=found.title or "",
        entered=found.user_has_entered,
        deadline=found.deadline.replace(tzinfo=UTC) if found.deadline else None,
        closed=found.submissions_disabled,
        by_notebook=found.is_kernels_submissions_only,
        max_daily=found.max_daily_submissions,
    )


def quota_of(kaggle: Kaggle) -> Quota:
    """Return what is left of today's submissions."""
    found = kaggle.ask(lambda api: api.competition_get_submission_limits(kaggle.slug))
    return Quota(
        today=found.num_today, ever=found.num_total, left=found.num_allowed_now, by_total=found.limited_by_total
    )


def check_entry(kaggle: Kaggle) -> Entry | None:
    """Return the competition's `Entry`; None where the server's list does not show it.

    Raises:
        KaggleError: not entered, closed, or it takes notebooks only.
    """
    entry = entry_of(kaggle)
    if entry is None:
        return None
    if entry.by_notebook:
        raise KaggleError(
            f"{kaggle.slug} takes notebooks, and no files: its test images are seen by code that runs on Kaggle. "
            f"`kit export-kernel` writes the notebook's folder, and `kaggle kernels push` sends it."
        )
    if entry.closed:
        raise KaggleError(f"{kaggle.slug} takes no submissions any more. Nothing was sent.")
    if not entry.entered:
        raise KaggleError(
            f"{kaggle.username or 'This account'} has not entered {kaggle.slug}, or has not accepted its rules. "
            f"Accept them first, logged in with this account: {rules_page(kaggle.slug)}. Nothing was sent."
        )
    return entry


def check_quota(kaggle: Kaggle) -> Quota:
    """Return what is left of today's submissions.

    Raises:
        KaggleError: nothing.
    """
    quota = quota_of(kaggle)
    if quota.left < 1:
        when = "all that there are" if quota.by_total else f"{quota.today} of today, and {next_day_words()}"
        team = "" if quota.ever else f" If you never submitted, accept the rules first: {rules_page(kaggle.slug)}."
        raise KaggleError(
            f"No submission to {kaggle.slug} is left: {server_name()} counts {when}. Nothing was sent.{team}"
        )
    return quota


def next_day_words() -> str:
    """Say when the next day of submissions begins: at midnight, UTC."""
    moment = now()
    rest = timedelta(days=1) - timedelta(hours=moment.hour, minutes=moment.minute)
    hours, minutes = divmod(int(rest.total_seconds()) // 60, 60)
    return f"the next day begins at 00:00 UTC, in {hours} h {minutes:02d} min"


def list_submissions(kaggle: Kaggle, *, pages: int = MOST_PAGES) -> list[ServerRow]:
    """Return the server's list of the account's submissions, newest first, each once; at most `pages` of it."""
    found: dict[int, ServerRow] = {}
    for number in range(1, pages + 1):
        rows = kaggle.ask(
            lambda api, number=number: api.competition_submissions(  # type: ignore[misc]
                kaggle.slug, page_number=number, page_size=ROWS_A_PAGE
            )
        )
        new = [row for row in _rows(rows or ()) if row.ref not in found]
        found |= {row.ref: row for row in new}
        if not new:  # a server may give fewer a page than were asked for
            break
    return list(found.values())


def _rows(rows: Sequence[Any]) -> list[ServerRow]:
    return [
        ServerRow(
            ref=row.ref,
            file_name=row.file_name or "",
            when=row.date.replace(tzinfo=UTC).isoformat(timespec="seconds") if row.date else "",
            description=row.description or "",
            status={"COMPLETE": COMPLETE, "ERROR": ERROR}.get(row.status.name, PENDING),
            public=row.public_score or "",
            private=row.private_score or "",
            error=row.error_description or "",
            num_bytes=row.total_bytes,
        )
        for row in rows
        if row
    ]


@dataclass(frozen=True, kw_only=True)
class Login:
    """Who is logged in, where, and by which credentials."""

    username: str
    server: str
    place: str  # of the credentials
    readable_by_others: bool  # users of this machine


def check_login(*, say: Say) -> Login:
    """Log in, and ask for something that needs an account.

    Raises:
        KaggleError: no credentials, or none that are accepted.
        TryLaterError: the server is out of reach or in trouble.
    """
    kaggle = connect("", "the account", say=say)
    kaggle.ask(lambda api: api.competitions_list(group="entered", page_size=1))
    place = credentials_place()
    assert place is not None
    return Login(
        username=kaggle.username,
        server=own_server() or "kaggle.com",
        place=place,
        readable_by_others=readable_by_others(place),
    )
