"""Submitting: everything that can be known beforehand is checked, then the file is sent once and its score awaited."""

import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kit.board.records import RunRecord, run_folder
from kit.competition import Competition
from kit.errors import SubmissionError
from kit.files.fetch import fetch, is_here
from kit.home import explained, make_folder, sha256_of_file
from kit.judge.predict import Predictions, read_predictions
from kit.kaggle.account import Entry, Quota, check_entry, check_quota, name_on_server, next_day_words
from kit.kaggle.client import connect
from kit.kaggle.lint import lint
from kit.kaggle.lint_codes import Finding
from kit.kaggle.send import send, settle_earlier, wait_for_score
from kit.kaggle.submissions import COMPLETE, FAILED, PENDING, UNKNOWN, Ledger, Submission, now
from kit.progress import Say

MOST_SHOWN = 5  # findings in a message


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """What came of a call of `submit`."""

    submission: Submission
    entry: Entry | None  # None: the server's list of competitions does not show it
    quota: Quota  # before it
    findings: Sequence[Finding]  # of the linter, none of them an error
    sent: bool  # False: it was a dry run, or was sent before


def submit(
    competition: Competition,
    *,
    record: RunRecord | None = None,
    file: Path | None = None,
    message: str = "",
    wait: bool = False,
    dry_run: bool = False,
    again: bool = False,
    say: Say = print,
) -> Submitted:
    """Check a submission file and send it, once.

    Args:
        competition: the question.
        record: of the run whose submission.csv is sent, with its stored predictions to check it against.
        file: a file instead, or beside a record: one that was made of it.
        message: shown beside the submission on the server; default: the run's id, or the file's name.
        wait: return when there is a score.
        dry_run: check everything, send nothing.
        again: send a file that was sent before.
        say: takes lines of progress.

    Raises:
        SubmissionError: there is no such file, the linter refuses it, or it was sent before.
        KaggleError: not entered, closed, nothing left of today; refused; could not be scored.
        TryLaterError: the server is out of reach or in trouble.
    """
    path = _file_of(record, file)
    fingerprint = sha256_of_file(path)
    findings = _checked(competition, path, record, say=say)
    ledger = Ledger(slug=competition.slug)
    name = name_on_server(competition)
    kaggle = connect(name, f"the submissions of {name!r}", say=say)
    with ledger.alone(say):
        settle_earlier(kaggle, ledger)
        before = _sent_before(ledger, fingerprint)
        entry = check_entry(kaggle)
        if before is not None and not again:
            if wait and before.status == PENDING:
                say(f"this file was sent already, as {before.ref}; waiting for its score")
                one = wait_for_score(kaggle, ledger, before.ref)
                return Submitted(submission=one, entry=entry, quota=_none_used(), findings=findings, sent=False)
            raise SubmissionError(_sent_already(before, path))
        quota = check_quota(kaggle)
        _say_what_is_known(entry, quota, name=name, say=say)
        one = _described(competition, path, record, fingerprint=fingerprint, message=message)
        if dry_run:
            return Submitted(submission=one, entry=entry, quota=quota, findings=findings, sent=False)
        kept = _kept(ledger, path, one)
        one = replace(one, ref=send(kaggle, ledger, one, kept), status=PENDING)
    say(f"submitted as {one.ref}")
    if wait:
        say("waiting for the score; Ctrl-C ends the waiting, not the submission")
        one = wait_for_score(kaggle, ledger, one.ref)
    return Submitted(submission=one, entry=entry, quota=quota, findings=findings, sent=True)


def _none_used() -> Quota:
    return Quota(today=0, ever=0, left=0, by_total=False)


def _file_of(record: RunRecord | None, file: Path | None) -> Path:
    if file is not None:
        if not file.is_file():
            raise SubmissionError(f"There is no file {file}. Give the CSV that is to be submitted.")
        return file
    assert record is not None
    path = run_folder(record.run_id) / "submission.csv"
    if not path.is_file():
        raise SubmissionError(
            f"{record.run_id} has no submission.csv: its protocol has no test images to hand in, or the file was "
            f"removed. `kit submission {record.competition}` with the run's settings writes it."
        )
    return path


def _checked(competition: Competition, path: Path, record: RunRecord | None, *, say: Say) -> Sequence[Finding]:
    """Return what the linter finds, none of it an error."""
    if record is not None and record.competition != competition.slug:
        raise SubmissionError(
            f"{record.run_id} is a run of {record.competition}, not of {competition.slug}. Give a run of "
            f"{competition.slug}, or submit to {record.competition}."
        )
    source = record.source if record else competition.source_name()
    protocol = competition.protocols.get(record.protocol.partition("@")[0]) if record else competition.protocol()
    findings = lint(
        path,
        competition,
        data=fetch(competition, source=source, say=say) if is_here(competition, source) else None,
        sample=protocol.sample if protocol else "",
        predictions=stored_predictions(competition, record, "test"),
        out_of_fold=stored_predictions(competition, record, "out-of-fold"),
    )
    errors = [one for one in findings if one.severity == "error"]
    if errors:
        shown = " ".join(f"{one.code}: {one.message} {one.remedy}" for one in errors[:MOST_SHOWN])
        more = f" And {len(errors) - MOST_SHOWN} more." if len(errors) > MOST_SHOWN else ""
        raise SubmissionError(
            f"{path} would be refused, or scored as something that it is not; it was not sent, and none of today's "
            f"submissions is used. {shown}{more} `kit lint {path} {competition.slug}` shows all."
        )
    return findings


def stored_predictions(competition: Competition, record: RunRecord | None, kind: str) -> Predictions | None:
    """Return a run's predictions as they were stored, or None where there are none."""
    path = run_folder(record.run_id) / "predictions" / f"{kind}.csv" if record else None
    return read_predictions(path, kind=kind, classes=competition.classes) if path and path.is_file() else None


def _sent_before(ledger: Ledger, sha256: str) -> Submission | None:
    """Return the latest submission of the very same file that was taken."""
    same = [one for one in ledger.submissions() if one.sha256 == sha256 and one.status not in (FAILED, "error")]
    return same[-1] if same else None


def _sent_already(one: Submission, path: Path) -> str:
    score = f" Its public score is {one.public}." if one.status == COMPLETE and one.public else ""
    return (
        f"{path} is the very same file as submission {one.ref} of {one.when[:16].replace('T', ' ')} UTC "
        f"({one.run or one.file_name}): it would get the same score, and use up one of today's submissions.{score} "
        "Give --again to send it all the same."
    )


def _say_what_is_known(entry: Entry | None, quota: Quota, *, name: str, say: Say) -> None:
    if entry is None:
        say(f"{name} is not in the server's list of competitions: whether it is open is not known")
    elif entry.late:
        assert entry.deadline is not None
        say(f"{name} is over since {entry.deadline:%Y-%m-%d}: a late submission gets scores, and no rank")
    elif entry.deadline is not None:
        say(f"{name} is open until {entry.deadline:%Y-%m-%d %H:%M} UTC")
    say(f"{quota.today} submitted today, {quota.left} left; {next_day_words()}")


def _described(
    competition: Competition, path: Path, record: RunRecord | None, *, fingerprint: str, message: str
) -> Submission:
    metric = competition.metric
    score = None
    if record is not None and record.results:
        metric = next(iter(record.results[0].scores))
        score = next((one.scores[metric] for one in record.results if one.kind == "out-of-fold"), None)
    with path.open("rb") as file:
        num_rows = sum(1 for line in file if line.strip()) - 1
    return Submission(
        token=secrets.token_hex(5),
        when=now().isoformat(timespec="seconds"),
        status=UNKNOWN,
        run=record.run_id if record else "",
        protocol=record.protocol if record else "",
        data=str(record.data.get("fingerprint", "")) if record else "",
        metric=metric,
        file_name=path.name,
        sha256=fingerprint,
        num_bytes=path.stat().st_size,
        num_rows=num_rows,
        message=message or (record.run_id if record else path.name),
        out_of_fold=score,
    )


def _kept(ledger: Ledger, path: Path, one: Submission) -> Path:
    """Copy the file to where it is sent from and kept: what is sent is what was checked, whatever happens to it."""
    kept = ledger.kept_file(sha256=one.sha256, name=one.file_name)
    if not kept.is_file() or sha256_of_file(kept) != one.sha256:
        part = make_folder(kept.parent) / f".{kept.name}.part"
        with explained(kept):
            shutil.copyfile(path, part)
            part.replace(kept)
    if sha256_of_file(kept) != one.sha256:
        raise SubmissionError(f"{path} was changed while it was checked. Nothing was sent; run the command again.")
    return kept
