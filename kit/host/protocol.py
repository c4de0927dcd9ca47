"""The protocol of Kaggle's client, as far as a competition goes: an operation and its JSON -> an answer.

What the client sends and reads is in kagglesdk (`competition_api_service`); here is what stands behind it.
"""

import csv
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from kit.errors import SubmissionError
from kit.host.hosted import HostedCompetition
from kit.host.reading import MAX_BYTES
from kit.host.standings import Place, shown_score
from kit.host.tables import LimitError, Submission, User, limit_words, stamped

COMPETITIONS, SECURITY = "competitions.CompetitionApiService", "security.OAuthService"
OWN = "kit.HostService"  # what Kaggle has on its pages alone
MAX_PAGE, MAX_TEXT = 1000, 500  # lines of a page of a list; characters of a description or a file's name
NEED_RULES = {"DownloadDataFile", "DownloadDataFiles", "StartSubmissionUpload", "CreateSubmission"}
DEFAULT_PAGE = 20

T = TypeVar("T")


class RefusedError(Exception):
    """A call that is answered with an error's status and message."""

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a call is answered with: JSON, an address to go to, or a file's bytes."""

    value: Mapping[str, Any] = field(default_factory=dict)
    location: str = ""
    archive: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a client."""

    hosted: HostedCompetition
    asked: Mapping[str, Any]  # the JSON of its body
    user: User
    base: str  # address of this server as the client called it
    link: Callable[[str], str]  # name of a file, or "" for the archive of all -> address that gives it for a while

    def text(self, name: str) -> str:
        """Return a text of the call; empty where it is not given."""
        value = self.asked.get(name) or ""
        if not isinstance(value, str):
            raise RefusedError(400, f"{name} should be a text.")
        return value

    def number(self, name: str, default: int) -> int:
        """Return a whole number of the call."""
        value = self.asked.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int):
            raise RefusedError(400, f"{name} should be a whole number.")
        return value


def answer(operation: str, call: Call) -> Answer:
    """Answer one operation of an account that is known.

    Raises:
        RefusedError: by what the call asks for, the account may do, or the faults say.
    """
    hosted = call.hosted
    if refusal := hosted.faults.refusal_of(operation):
        raise RefusedError(refusal.status, refusal.message, retry_after=refusal.retry_after)
    if operation not in OPERATIONS:
        raise RefusedError(404, f"{operation[:80]} is not among what this host offers.")
    asked_for = call.text("competitionName")
    if operation not in ("ListCompetitions", "GetSubmission") and asked_for not in (
        hosted.name,
        hosted.competition.slug,
    ):
        raise RefusedError(404, f"There is no competition {asked_for[:80]!r} here; {hosted.name!r} is hosted.")
    if hosted.faults.rules_not_accepted and operation in NEED_RULES:
        raise RefusedError(403, "You must accept this competition's rules before you can continue.")
    try:
        return OPERATIONS[operation](call)
    except SubmissionError as error:
        raise RefusedError(400, str(error)) from None


def _list_competitions(call: Call) -> Answer:
    wanted = call.text("search").lower()
    about = _about(call)
    found = not wanted or any(wanted in str(about[key]).lower() for key in ("ref", "title"))
    first = call.number("page", 1) in (-1, 0, 1) and not call.text("pageToken")
    return Answer(value={"competitions": [about] if found and first else [], "nextPageToken": ""})


def _about(call: Call) -> dict[str, Any]:
    hosted = call.hosted
    deadline = hosted.settings.deadline_time()
    return {
        "id": 1,
        "ref": f"{call.base}/competitions/{hosted.name}",
        "url": f"{call.base}/competitions/{hosted.name}",
        "title": hosted.competition.title,
        "category": "Hosted",
        "evaluationMetric": hosted.solution.form.metric,
        "maxDailySubmissions": hosted.settings.daily_limit,
        "maxTeamSize": 1,
        "teamCount": len(hosted.places(private=hosted.over)),
        "userHasEntered": not hosted.faults.rules_not_accepted,
        **({"deadline": _date(deadline)} if deadline else {}),
    }


def _list_files(call: Call) -> Answer:
    files, token = _page(call, list(call.hosted.files.items()))
    listed = [
        {"name": name, "totalBytes": file.num_bytes, "creationDate": _date(file.modified)} for name, file in files
    ]
    return Answer(value={"files": listed, "nextPageToken": token})


def _download_file(call: Call) -> Answer:
    name = call.text("fileName")
    if name not in call.hosted.files:  # names come from the list alone: no path can be made up
        raise RefusedError(404, f"There is no file {name[:200]!r} in this competition.")
    return Answer(location=call.link(name))


def _start_upload(call: Call) -> Answer:
    hosted, num_bytes = call.hosted, call.number("contentLength", 0)
    if not 0 < num_bytes <= MAX_BYTES:
        raise RefusedError(400, f"The file has {num_bytes:,} bytes; from 1 to {MAX_BYTES:,} are taken.")
    now = hosted.now()
    if hosted.store.counts(call.user, now)[0] >= hosted.settings.daily_limit:
        raise RefusedError(400, limit_words(hosted.settings.daily_limit, now))
    name = call.text("fileName").replace("\\", "/").rsplit("/", 1)[-1]
    try:
        token = hosted.store.start_upload(
            call.user, file_name=_plain(name) or "submission.csv", num_bytes=num_bytes, now=now
        )
    except LimitError as error:
        raise RefusedError(429, str(error), retry_after=60) from None
    return Answer(value={"token": token, "createUrl": f"{call.base}/upload/{token}"})


def _create_submission(call: Call) -> Answer:
    accepted = call.hosted.submit(
        call.user, call.text("blobFileTokens"), description=_plain(call.text("submissionDescription"))
    )
    return Answer(value={"message": f"Successfully submitted to {call.hosted.competition.title}", "ref": accepted.ref})


def _list_submissions(call: Call) -> Answer:
    page = max(1, call.number("page", 1)) if not call.text("pageToken") else 1
    found, token = _page(call, call.hosted.store.submissions(call.user), page=page)
    return Answer(value={"submissions": [_submission(call, one) for one in found], "nextPageToken": token})


def _get_submission(call: Call) -> Answer:
    ref = call.number("ref", 0)
    own = {one.ref: one for one in call.hosted.store.submissions(call.user)}
    if ref not in own:
        raise RefusedError(404, f"You have no submission {ref}.")
    return Answer(value=_submission(call, own[ref]))


def _submission(call: Call, one: Submission) -> dict[str, Any]:
    return {
        "ref": one.ref,
        "fileName": one.file_name,
        "date": _date(one.date),
        "description": one.description,
        "status": one.status,
        "publicScore": shown_score(one.released),
        "privateScore": shown_score(one.private) if call.hosted.over else "",
        "errorDescription": one.error,
        "totalBytes": one.num_bytes,
        "submittedBy": call.user.name,
        "teamName": call.user.name,
    }


def _limits(call: Call) -> Answer:
    today, ever = call.hosted.store.counts(call.user, call.hosted.now())
    left = max(0, call.hosted.settings.daily_limit - today)
    return Answer(value={"numToday": today, "numTotal": ever, "numAllowedNow": left, "limitedByTotal": False})


def _leaderboard(call: Call) -> Answer:
    private = call.hosted.over and not call.asked.get("overridePublic")
    places, token = _page(call, call.hosted.places(private=private))
    lines = [
        {"teamId": one.team, "teamName": one.name, "submissionDate": _date(one.date), "score": one.score}
        for one in places
    ]
    return Answer(value={"submissions": lines, "nextPageToken": token})


def _download_leaderboard(call: Call) -> Answer:
    private = call.hosted.over
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as bundle:
        name = f"{call.hosted.name}-{'private' if private else 'public'}leaderboard.csv"
        bundle.writestr(name, leaderboard_csv(call.hosted.places(private=private)))
    return Answer(archive=content.getvalue())


def leaderboard_csv(places: Sequence[Place]) -> str:
    """Return standings as the CSV that Kaggle gives; names that a spreadsheet would run are made plain text."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(
        ["Rank", "TeamId", "TeamName", "LastSubmissionDate", "Score", "SubmissionCount", "TeamMemberUserNames"]
    )
    for one in places:
        name = f"'{one.name}" if one.name.startswith(("=", "+", "-", "@", "\t", "\r")) else one.name
        lines.writerow([one.rank, one.team, name, stamped(one.date)[:19], one.score, one.num_submissions, name])
    return text.getvalue()


def _choose_finals(call: Call) -> Answer:
    refs = call.asked.get("refs")
    if not isinstance(refs, list) or not all(isinstance(ref, int) for ref in refs):
        raise RefusedError(400, "refs should be a list of numbers of your submissions.")
    if call.hosted.over:
        raise RefusedError(400, "The deadline has passed: the choice stands.")
    call.hosted.store.choose_finals(call.user, refs)
    return Answer(value={"message": "Chosen.", "refs": refs})


OPERATIONS: Mapping[str, Callable[[Call], Answer]] = {
    "ListCompetitions": _list_competitions,
    "GetCompetition": lambda call: Answer(value=_about(call)),
    "ListDataFiles": _list_files,
    "DownloadDataFile": _download_file,
    "DownloadDataFiles": lambda call: Answer(location=call.link("")),
    "StartSubmissionUpload": _start_upload,
    "CreateSubmission": _create_submission,
    "ListSubmissions": _list_submissions,
    "GetSubmission": _get_submission,
    "GetSubmissionLimits": _limits,
    "GetLeaderboard": _leaderboard,
    "DownloadLeaderboard": _download_leaderboard,
    "ChooseFinals": _choose_finals,
}


def _page(call: Call, items: Sequence[T], *, page: int = 1) -> tuple[Sequence[T], str]:
    """Return the page of a list that is asked for, and the token of the next one; empty after the last."""
    size = min(MAX_PAGE, max(1, call.number("pageSize", DEFAULT_PAGE) or DEFAULT_PAGE))
    token = call.text("pageToken")
    if token and not (token.isascii() and token.isdigit() and len(token) < 12):
        raise RefusedError(400, "pageToken should be one that the page before gave.")
    start = int(token) if token else (page - 1) * size
    return items[start : start + size], str(start + size) if start + size < len(items) else ""


def _plain(text: str) -> str:
    """Return a text of a participant's as it is kept: short, without control characters."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:MAX_TEXT]


def _date(when: datetime) -> str:
    return f"{when.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
