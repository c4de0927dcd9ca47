"""Submitting: checked before, sent once, and no fault on the way sends it twice or loses it."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hosting import CONNECTIONS_LEFT_OPEN, csv_of, guesses
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from kaggle_account import answers, finished_run, hosting, set_clock
from kagglesdk import kaggle_env

from kit.errors import SubmissionError
from kit.host.faults import Refusal
from kit.judge.test_ledger import read_chain
from kit.kaggle import login, send
from kit.kaggle import submit as submit_module
from kit.kaggle.account import check_login, next_day_words
from kit.kaggle.client import KaggleError, TryLaterError
from kit.kaggle.submissions import Ledger, intent_facts
from kit.kaggle.submit import submit

pytestmark = CONNECTIONS_LEFT_OPEN

START, CREATE, LIST = "StartSubmissionUpload", "CreateSubmission", "ListSubmissions"


@pytest.fixture
def clock(monkeypatch):
    return set_clock(monkeypatch)


@pytest.fixture
def hosted(tmp_path, monkeypatch, clock):
    with hosting(tmp_path / "host", monkeypatch, now=clock.naive) as hosted:
        yield hosted


@pytest.fixture
def record(hosted):
    return finished_run(hosted.competition, "toy-a", answers(0.8))


def quietly(hosted, record=None, **options):
    return submit(hosted.competition, record=record, **{"say": lambda line: None, **options})


def sent_to(hosted):
    """Return what the host has of ann's submissions, newest first."""
    return hosted.store.submissions(hosted.store.users()[0])


def test_a_run_is_submitted_and_its_score_kept(hosted, record):
    lines = []
    done = quietly(hosted, record, wait=True, say=lines.append)
    one = done.submission
    assert done.sent and one.status == "complete"
    assert float(one.public) == pytest.approx(0.22314, abs=1e-5)  # -ln 0.8
    assert one.run == "toy-a" and one.out_of_fold.value == pytest.approx(0.22314, abs=1e-5)
    assert Ledger(slug="toy").submissions() == [one]
    (there,) = sent_to(hosted)
    assert there.ref == one.ref and there.description == f"[{one.token}] toy-a"
    assert lines[0] == f"0 submitted today, 5 left; {next_day_words()}"
    assert lines[1:] == [
        f"submitted as {one.ref}",
        "waiting for the score; Ctrl-C ends the waiting, not the submission",
    ]


def test_a_score_that_was_seen_is_a_look_in_the_test_use_ledger(hosted, record):
    quietly(hosted, record, wait=True)
    (seen,) = read_chain().looks
    assert (seen.run, seen.opened, seen.metric) == ("toy-a", "public score", "log_loss")
    assert seen.value == pytest.approx(0.22314, abs=1e-5)


def test_a_dry_run_asks_everything_and_sends_nothing(hosted, record):
    done = quietly(hosted, record, dry_run=True)
    assert not done.sent and done.quota.left == 5 and done.entry.entered
    assert sent_to(hosted) == [] and Ledger(slug="toy").submissions() == []


def test_the_very_same_file_is_not_sent_again_unless_asked(hosted, record):
    first = quietly(hosted, record, wait=True).submission
    with pytest.raises(SubmissionError, match=rf"same file as submission {first.ref} .*score is 0\.22.*--again"):
        quietly(hosted, record)
    assert len(sent_to(hosted)) == 1
    second = quietly(hosted, record, again=True)
    assert second.sent and len(sent_to(hosted)) == 2


def test_waiting_for_a_file_that_was_sent_waits_for_its_score(hosted, record):
    hosted.faults.scoring_seconds = 0.2
    first = quietly(hosted, record).submission
    assert first.status == "pending"
    again = quietly(hosted, record, wait=True)
    assert again.submission.ref == first.ref and again.submission.scored and not again.sent
    assert len(sent_to(hosted)) == 1


def test_ctrl_c_while_waiting_loses_nothing(hosted, record, clock):
    hosted.faults.scoring_seconds = 0.3

    def interrupt(seconds):
        raise KeyboardInterrupt

    clock.on_pause = interrupt
    with pytest.raises(KeyboardInterrupt):
        quietly(hosted, record, wait=True)
    clock.on_pause = lambda seconds: None
    (kept,) = Ledger(slug="toy").submissions()
    assert kept.ref == sent_to(hosted)[0].ref and kept.status == "pending"
    assert quietly(hosted, record, wait=True).submission.scored


def test_the_limit_of_a_day_is_seen_before_anything_is_sent(tmp_path, monkeypatch, clock):
    with hosting(tmp_path / "host", monkeypatch, daily_limit=1) as hosted:
        quietly(hosted, finished_run(hosted.competition, "toy-a", answers(0.8)))
        with pytest.raises(
            KaggleError, match=r"No submission to colours is left: .* counts 1 of today.*00:00 UTC, in \d+ h"
        ):
            quietly(hosted, finished_run(hosted.competition, "toy-b", answers(0.7)))
        assert len(sent_to(hosted)) == 1 and len(Ledger(slug="toy").submissions()) == 1


def test_rules_that_were_not_accepted_are_said_before_anything_is_sent(hosted, record):
    hosted.faults.rules_not_accepted = True
    with pytest.raises(KaggleError, match=r"ann has not entered colours, or has not accepted its rules\. Accept them"):
        quietly(hosted, record)
    assert Ledger(slug="toy").submissions() == []


def test_a_late_submission_is_said_to_be_late(tmp_path, monkeypatch, clock):
    with hosting(tmp_path / "host", monkeypatch, deadline="2026-01-01T00:00") as hosted:
        lines = []
        done = quietly(hosted, finished_run(hosted.competition, "toy-a", answers(0.8)), wait=True, say=lines.append)
    assert "colours is over since 2026-01-01: a late submission gets scores, and no rank" in lines
    assert done.entry.late and done.submission.private  # private scores are open then


def test_a_broken_upload_is_an_error_and_submits_nothing(hosted, record):
    hosted.faults.broken_uploads = 1
    with pytest.raises(
        KaggleError, match=r"upload of submission\.csv to colours broke off.*none of today's submissions"
    ):
        quietly(hosted, record)
    assert sent_to(hosted) == []
    assert [one.status for one in Ledger(slug="toy").submissions()] == ["failed"]
    assert quietly(hosted, record).sent  # the same command again
    assert len(sent_to(hosted)) == 1


def test_a_pause_that_the_server_asks_for_is_made(hosted, record, clock):
    hosted.faults.refusals[CREATE] = [Refusal(status=429, message="slow down", retry_after=17)]
    hosted.faults.refusals[START] = [Refusal(status=429, message="slow down", retry_after=11)]
    assert quietly(hosted, record).sent
    assert clock.pauses == [11.0, 17.0] and len(sent_to(hosted)) == 1


@pytest.mark.parametrize("operation", [START, CREATE])
def test_a_lost_answer_never_submits_twice(hosted, record, operation):
    hosted.faults.lost_answers[operation] = 1
    done = quietly(hosted, record, wait=True)
    assert [one.ref for one in sent_to(hosted)] == [done.submission.ref]
    assert done.submission.scored


def test_an_answer_that_does_not_come_in_time_never_submits_twice(hosted, record, monkeypatch):
    monkeypatch.setattr(login, "ANSWER_SECONDS", 0.3)
    accept, awake = hosted.submit, threading.Event()

    def accept_slowly(*arguments, **options):
        accepted = accept(*arguments, **options)
        awake.wait(1.0)
        return accepted

    monkeypatch.setattr(hosted, "submit", accept_slowly)
    done = quietly(hosted, record)
    awake.set()
    assert [one.ref for one in sent_to(hosted)] == [done.submission.ref]


def test_kaggle_itself_is_asked_where_no_other_server_is_set(hosted, record, monkeypatch):
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, os.environ["KIT_KAGGLE_URL"])
    monkeypatch.delenv("KIT_KAGGLE_URL")
    done = quietly(hosted, record, wait=True)
    assert done.submission.scored and Ledger(slug="toy", server="").submissions() == [done.submission]
    assert check_login(say=print).server == "kaggle.com"


def test_a_competition_that_is_not_kaggles_is_told_from_one_that_is(hosted, record, monkeypatch):
    monkeypatch.delenv("KIT_KAGGLE_URL")
    with pytest.raises(KaggleError, match=r"toy is not one of Kaggle's competitions.*KIT_KAGGLE_URL"):
        submit(replace(hosted.competition, kaggle=""), record=record, say=lambda line: None)


def test_a_server_error_at_the_last_call_is_followed_by_a_look_for_a_minute_before_it_is_sent_again(
    hosted, record, clock
):
    hosted.faults.refusals[CREATE] = [Refusal(status=500, message="oops")]
    assert quietly(hosted, record).sent
    assert sum(clock.pauses) >= 60 and len(sent_to(hosted)) == 1


def test_where_nothing_can_be_known_nothing_is_sent_again_and_the_next_call_looks_first(hosted, record):
    hosted.faults.lost_answers[CREATE] = 1
    hosted.faults.refusals[LIST] = [Refusal(status=500, message="oops")] * 1000
    # The first look, for earlier submissions, is not made: there are none.
    with pytest.raises(
        TryLaterError, match=r"Whether submission\.csv reached colours is not known.*looks for it first"
    ):
        quietly(hosted, record)
    hosted.faults.refusals.clear()
    with pytest.raises(SubmissionError, match="very same file as submission"):
        quietly(hosted, record)
    assert len(sent_to(hosted)) == 1


def test_a_kill_between_sending_and_noting_is_found_out_by_the_token(hosted, record, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(send, "_sent", killed)
        with pytest.raises(KeyboardInterrupt):
            quietly(hosted, record)
    ledger = Ledger(slug="toy")
    assert [one.status for one in ledger.submissions()] == ["unknown"]
    with pytest.raises(SubmissionError, match="very same file as submission 1"):
        quietly(hosted, record)
    assert [one.ref for one in ledger.submissions()] == [one.ref for one in sent_to(hosted)] == [1]


def test_an_interruption_before_sending_is_settled_by_the_next_call(hosted, record):
    ledger = Ledger(slug="toy")
    one = quietly(hosted, record, dry_run=True).submission
    ledger.add("intent", **intent_facts(one))
    assert quietly(hosted, record).sent
    assert [one.status for one in ledger.submissions()] == ["failed", "pending"]
    assert len(sent_to(hosted)) == 1


REFUSALS = [
    (401, "bad key", KaggleError, "does not know these credentials (KAGGLE_USERNAME and KAGGLE_KEY)", 2),
    (403, "You must accept this competition's rules", KaggleError, "Accept the competition's rules first", 2),
    (404, "unknown", KaggleError, "no competition of that name", 2),
    (400, "The limit of today is reached", KaggleError, "HTTP 400: The limit of today is reached", 2),
    (429, "slow down", TryLaterError, "goes on asking for a pause", 75),
    (500, "oops", TryLaterError, "That is the server's own trouble", 75),
]


@pytest.mark.parametrize("operation", ["GetSubmissionLimits", START, CREATE])
@pytest.mark.parametrize(("status", "words", "kind", "said", "exit_code"), REFUSALS)
def test_each_refusal_has_its_words_and_exit_code(hosted, record, operation, status, words, kind, said, exit_code):
    hosted.faults.refusals[operation] = [Refusal(status=status, message=words)] * 100
    with pytest.raises(KaggleError) as caught:
        quietly(hosted, record)
    assert type(caught.value) is kind and caught.value.exit_code == exit_code
    assert said in str(caught.value) and words in str(caught.value)
    assert sent_to(hosted) == []
    assert {one.status for one in Ledger(slug="toy").submissions()} <= {"failed"}


OPERATIONS = ("ListCompetitions", "GetSubmissionLimits", LIST, START, CREATE)
FAULTS = st.one_of(
    st.tuples(st.just("refuse"), st.sampled_from(OPERATIONS), st.sampled_from([429, 500, 503])),
    st.tuples(st.just("lose"), st.sampled_from(OPERATIONS), st.integers(1, 6)),
    st.tuples(st.just("break"), st.just("upload"), st.integers(1, 2)),
)


@settings(max_examples=12, phases=[Phase.explicit, Phase.generate])  # each one talks with a server
@given(faults=st.lists(FAULTS, max_size=12))
def test_whatever_goes_wrong_in_whatever_order_a_file_is_submitted_once(hosted, tmp_path, faults):
    hosted.settings = replace(hosted.settings, daily_limit=1000)
    before = len(sent_to(hosted))
    path = tmp_path / "mine.csv"
    path.write_bytes(csv_of(answers(0.6 + before / 1000)))
    for what, operation, number in faults:
        if what == "refuse":
            hosted.faults.refusals.setdefault(operation, []).append(Refusal(status=number, message="no"))
        elif what == "lose":
            hosted.faults.lost_answers[operation] = number
        else:
            hosted.faults.broken_uploads = number
    for _ in range(50):  # the user runs the same command until it is done
        try:
            quietly(hosted, file=path)
        except SubmissionError:
            break  # it is there already
        except KaggleError:
            continue
        break
    assert len(sent_to(hosted)) == before + 1
    assert [one.ref for one in Ledger(slug="toy").submissions() if one.ref] == list(range(1, before + 2))


def test_a_file_that_the_server_cannot_score_says_why(hosted, tmp_path, monkeypatch):
    monkeypatch.setattr(submit_module, "lint", lambda *_, **__: [])  # somebody's own rules may be stricter than ours
    bad = tmp_path / "bad.csv"
    bad.write_bytes(b"id,red\nimg000,0.5\n")
    with pytest.raises(KaggleError, match=r"could not score submission 1 \(bad\.csv\): .+`kit lint FILE toy`"):
        quietly(hosted, file=bad, wait=True)


def test_a_malformed_file_is_refused_before_anything_is_sent(hosted, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_bytes(guesses(0.8).replace(b"img000", b"img001"))
    with pytest.raises(SubmissionError, match=r"bad\.csv would be refused.*none of today's submissions is used"):
        quietly(hosted, file=bad)
    assert sent_to(hosted) == []


def test_a_run_on_part_of_the_files_is_linted_with_its_protocols_sample(hosted, record, monkeypatch):
    protocols = {"official": replace(hosted.competition.protocol(), sample="sample.csv")}
    monkeypatch.setattr(hosted, "competition", replace(hosted.competition, protocols=protocols))
    seen = []
    monkeypatch.setattr(submit_module, "lint", lambda *_, **known: seen.append(known["sample"]) or [])
    quietly(hosted, replace(record, protocol="official@local"), dry_run=True)
    assert seen == ["sample.csv"]


def test_no_score_after_an_hour_is_no_loss(hosted, record):
    hosted.faults.scoring_seconds = 30
    with pytest.raises(TryLaterError, match=r"has no score after 60 minutes.*not lost: `kit submissions toy`"):
        quietly(hosted, record, wait=True)


def test_no_secret_stands_anywhere(hosted, record, capsys, caplog, own_home):
    key = os.environ["KAGGLE_KEY"]
    hosted.faults.refusals[CREATE] = [Refusal(status=400, message=f"no: {key}")]
    with pytest.raises(KaggleError) as caught:
        quietly(hosted, record, say=print)
    shown = capsys.readouterr()
    written = "".join(path.read_text(errors="replace") for path in own_home.rglob("*") if path.is_file())
    assert key not in f"{caught.value}{caught.value.__cause__}{shown.out}{shown.err}{caplog.text}{written}"
    assert "no: ***" in str(caught.value)


def test_two_at_once_take_the_last_submission_of_the_day_once(tmp_path, monkeypatch, clock):
    with hosting(tmp_path / "host", monkeypatch, daily_limit=1) as hosted:
        records = [finished_run(hosted.competition, f"toy-{k}", answers(0.6 + k / 10)) for k in range(3)]
        with ThreadPoolExecutor(3) as pool:
            errors = list(pool.map(lambda record: _error(hosted, record), records))
        assert sum(error is None for error in errors) == 1 and len(sent_to(hosted)) == 1
        assert all("No submission to colours is left" in str(error) for error in errors if error)


def _error(hosted, record):
    try:
        quietly(hosted, record)
    except KaggleError as error:
        return error
    return None


def test_a_last_line_that_a_crash_broke_off_costs_that_line_alone(hosted, record):
    ledger = Ledger(slug="toy")
    quietly(hosted, record, wait=True)
    with ledger.path.open("ab") as file:
        file.write(b'{"what": "sco')
    quietly(hosted, finished_run(hosted.competition, "toy-b", answers(0.7)))
    assert [one.run for one in ledger.submissions()] == ["toy-a", "toy-b"]
    assert ledger.events()[1] == 1


def test_the_file_is_kept_as_it_was_sent(hosted, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_bytes(csv_of(answers(0.8)))
    one = quietly(hosted, file=path).submission
    path.unlink()
    assert Ledger(slug="toy").kept_file(sha256=one.sha256, name="mine.csv").read_bytes() == csv_of(answers(0.8))
