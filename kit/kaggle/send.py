"""Sending a file once, whatever happens on the way: an answer that was lost is looked for, and never asked for anew."""

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from kit.errors import KitError
from kit.kaggle.account import list_submissions
from kit.kaggle.client import ATTEMPTS, Kaggle, KaggleError, TryLaterError
from kit.kaggle.submissions import ERROR, FAILED, Ledger, ServerRow, Submission, intent_facts, now

SETTLED_AFTER = timedelta(seconds=60)  # what is then not in the server's list did not arrive
LONGEST_PAUSE = 900  # seconds that the server may ask for
MESSAGE_LENGTH = 300  # characters of a message that go into the description
Outcome = Literal["not begun", "refused", "pause", "unknown"]


def description_of(one: Submission) -> str:
    """Return what is sent as the description; the token comes first, where nothing cuts it off."""
    return f"[{one.token}] {one.message}"[:MESSAGE_LENGTH]


def send(kaggle: Kaggle, ledger: Ledger, one: Submission, file: Path) -> int:
    """Submit `file` and return the server's number of the submission.

    Its intent is in the ledger before anything is sent. A call that the server refused for now, or did not begin, is
    made again; one whose answer is lost only after the server's list was seen without it for a minute.

    Raises:
        KaggleError: refused, or the upload failed; nothing was submitted.
        TryLaterError: the server is in trouble; nothing was submitted, or, where the message says so, it is not known.
    """
    ledger.add("intent", **intent_facts(one))
    for attempt in range(1, ATTEMPTS + 1):
        try:
            answer = kaggle.ask_once(
                lambda api: api.competition_submit(str(file), description_of(one), kaggle.slug, quiet=True)
            )
        except Exception as error:
            outcome = _outcome(error)
            explained = kaggle.error_of(error)
            if outcome == "unknown" and (ref := settled(kaggle, one)) is not None:
                return _sent(ledger, one, ref)
            pause = _pause(error, attempt)
            if outcome == "refused" or attempt == ATTEMPTS or pause > LONGEST_PAUSE:
                ledger.add("failed", token=one.token, why=str(explained))
                raise type(explained)(f"{explained} Nothing was submitted.") from None
            time.sleep(pause)
        else:
            if answer.ref:
                return _sent(ledger, one, answer.ref)
            return _without_number(kaggle, ledger, one, message=answer.message or "")
    raise AssertionError("the last attempt returns or raises")


def _sent(ledger: Ledger, one: Submission, ref: int) -> int:
    ledger.add("sent", token=one.token, ref=ref)
    return ref


def _without_number(kaggle: Kaggle, ledger: Ledger, one: Submission, *, message: str) -> int:
    """Deal with an answer that has no number: the upload failed, or the server says something else."""
    from kaggle.api.kaggle_api_extended import KaggleApi

    upload_failed = message == KaggleApi.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE
    if not upload_failed and (ref := settled(kaggle, one)) is not None:
        return _sent(ledger, one, ref)
    said = f" ({kaggle.said})" if kaggle.said else ""
    why = (
        f"The upload of {one.file_name} to {kaggle.slug} broke off{said}"
        if upload_failed
        else f"The server did not take {one.file_name} for {kaggle.slug}: {message[:300] or 'it does not say why'}"
    )
    ledger.add("failed", token=one.token, why=why)
    raise KaggleError(f"{why}. Nothing was submitted, and none of today's submissions is used. Run the command again.")


def settled(kaggle: Kaggle, one: Submission) -> int | None:
    """Look for a submission in the server's list until it is there, or a minute has gone by without it.

    The minute begins with this call and not with the sending: an upload may take longer, and its row comes after it.

    Returns:
        The server's number; None: it did not arrive.

    Raises:
        TryLaterError: the list could not be had, so that nothing is known.
    """
    since, pause = now(), 1.0
    while True:
        last_look = now() - since >= SETTLED_AFTER
        try:
            rows = list_submissions(kaggle, pages=1)
        except TryLaterError as error:
            if last_look:
                raise TryLaterError(
                    f"Whether {one.file_name} reached {kaggle.slug} is not known: {error} It was not sent again. Run "
                    "the same command later: it looks for it first, by the token in its description."
                ) from None
        else:
            if (ref := _ref_in(rows, one)) is not None or last_look:
                return ref
        time.sleep(min(pause, max(0.0, (since + SETTLED_AFTER - now()).total_seconds())))
        pause *= 2


def _ref_in(rows: list[ServerRow], one: Submission) -> int | None:
    for row in rows:
        if one.token in row.description:
            return row.ref
    earliest = (datetime.fromisoformat(one.when) - SETTLED_AFTER).isoformat(timespec="seconds")
    for row in rows:  # a server that keeps no descriptions
        same = row.file_name == one.file_name and row.num_bytes == one.num_bytes and row.when >= earliest
        if same and not row.description:
            return row.ref
    return None


def settle_earlier(kaggle: Kaggle, ledger: Ledger) -> None:
    """Find out about submissions that were interrupted, and write what became of them.

    Raises:
        TryLaterError: the server's list could not be had.
    """
    for one in ledger.submissions():
        if one.status == "unknown":
            ref = settled(kaggle, one)
            if ref is not None:
                ledger.add("sent", token=one.token, ref=ref)
            else:
                ledger.add("failed", token=one.token, why="It was interrupted, and the server does not have it.")


def _outcome(error: Exception) -> Outcome:
    """Tell what is known of a submission that ended in an exception of the client's.

    It makes three calls: StartSubmissionUpload, the upload, CreateSubmission. Only the last one submits.
    """
    response, request = getattr(error, "response", None), getattr(error, "request", None)
    if response is not None:
        if response.status_code == 429:
            return "pause"
        if 400 <= response.status_code < 500:
            return "refused"
    called = str(getattr(request, "url", "") or "").rsplit("/", 1)[-1]
    return "not begun" if called == "StartSubmissionUpload" else "unknown"


def _pause(error: Exception, attempt: int) -> float:
    """Return the seconds to wait before the next attempt: what the server asks for, else 2, 4, 8."""
    from kaggle.api.kaggle_api_extended import KaggleApi

    response = getattr(error, "response", None)
    asked = KaggleApi._get_retry_after_delay(response) if response is not None else None
    return float(asked) if asked is not None else 2.0**attempt


def wait_for_score(kaggle: Kaggle, ledger: Ledger, ref: int, *, minutes: float = 60) -> Submission:
    """Ask for a submission's score with growing pauses until it is there, and write it into the ledger.

    Raises:
        KaggleError: the server could not score the file; it says why.
        TryLaterError: there is no score after so many minutes, or the server is out of reach.
    """
    begun, pause = now(), 2.0
    later = f"It is not lost: `kit submissions {ledger.slug}` shows the score when it is there."
    while True:
        trouble: KitError | None = None
        try:
            ledger.note_scores(list_submissions(kaggle, pages=1))
        except TryLaterError as error:
            trouble = error  # the next look may go well
        one = next(found for found in ledger.submissions() if found.ref == ref)
        if one.scored:
            return one
        if one.status in (ERROR, FAILED):
            raise KaggleError(
                f"{kaggle.slug} could not score submission {ref} ({one.file_name}): "
                f"{one.error or 'it does not say why'}. Correct the file (`kit lint FILE {ledger.slug}`) and submit it "
                "again."
            )
        if now() - begun > timedelta(minutes=minutes):
            why = str(trouble) if trouble else f"Submission {ref} has no score after {minutes:g} minutes."
            raise TryLaterError(f"{why} {later}")
        time.sleep(pause)
        pause = min(60.0, pause * 1.5)
