"""An upload that took longer than a minute: its answer is still looked for, and it is still submitted once."""

import pytest
from hosting import CONNECTIONS_LEFT_OPEN
from kaggle_account import answers, finished_run, hosting, set_clock

from kit.errors import SubmissionError
from kit.host.protocol import RefusedError
from kit.kaggle import send
from kit.kaggle.client import KaggleError
from kit.kaggle.submissions import Ledger
from kit.kaggle.submit import submit

pytestmark = CONNECTIONS_LEFT_OPEN


@pytest.fixture
def clock(monkeypatch):
    return set_clock(monkeypatch)


@pytest.fixture
def hosted(tmp_path, monkeypatch, clock):
    with hosting(tmp_path / "host", monkeypatch, now=clock.naive) as hosted:
        yield hosted


@pytest.fixture
def slow_call(hosted, clock, monkeypatch):
    """Let the first submission take 70 s without an answer, and be in the list only after the next pause."""
    accept, at_work = hosted.submit, []

    def submit_slowly(*arguments, **options):
        monkeypatch.setattr(hosted, "submit", accept)
        clock.pauses.append(70.0)
        at_work.append((arguments, options))
        raise RefusedError(502, "the gateway has waited long enough")

    def end_it(seconds):
        while at_work:
            arguments, options = at_work.pop()
            accept(*arguments, **options)

    monkeypatch.setattr(hosted, "submit", submit_slowly)
    clock.on_pause = end_it


def quietly(hosted):
    record = finished_run(hosted.competition, "toy-a", answers(0.8))
    return submit(hosted.competition, record=record, say=lambda line: None)


def refs_at(hosted):
    return [one.ref for one in hosted.store.submissions()]


@pytest.mark.usefixtures("slow_call")
def test_the_minute_of_looking_begins_when_the_answer_is_lost_and_not_when_sending_begins(hosted):
    done = quietly(hosted)
    assert refs_at(hosted) == [done.submission.ref]


@pytest.mark.usefixtures("slow_call")
def test_after_ctrl_c_the_next_call_looks_for_a_minute_of_its_own(hosted, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(send, "settled", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quietly(hosted)
    with pytest.raises(SubmissionError, match="very same file as submission 1"):
        quietly(hosted)
    assert refs_at(hosted) == [1]


def test_an_answer_without_a_number_is_looked_after_for_a_minute_too(hosted, clock, monkeypatch):
    from kaggle.api.kaggle_api_extended import KaggleApi

    submit_there, at_work = KaggleApi.competition_submit, []

    def without_number(api, *arguments, **options):
        monkeypatch.setattr(KaggleApi, "competition_submit", submit_there)
        at_work.append((api, arguments, options))
        clock.pauses.append(70.0)
        return type("Answer", (), {"ref": 0, "message": "we are at it"})()

    def end_it(seconds):
        while at_work:
            api, arguments, options = at_work.pop()
            submit_there(api, *arguments, **options)

    monkeypatch.setattr(KaggleApi, "competition_submit", without_number)
    clock.on_pause = end_it
    assert [quietly(hosted).submission.ref] == refs_at(hosted)


def test_no_address_of_an_upload_is_told_or_kept(hosted, monkeypatch, own_home, capsys):
    start, tokens = hosted.store.start_upload, []

    def start_and_tell(*arguments, **options):
        tokens.append(start(*arguments, **options))
        return tokens[-1]

    def broken():
        raise ConnectionError

    monkeypatch.setattr(hosted.store, "start_upload", start_and_tell)
    monkeypatch.setattr(hosted.faults, "breaks_upload", broken)
    with pytest.raises(KaggleError, match="upload of submission") as caught:
        quietly(hosted)
    (token,) = tokens
    said = f"{caught.value}{capsys.readouterr()}{Ledger(slug='toy').path.read_text()}"
    assert token not in said and "/upload/***" in said
