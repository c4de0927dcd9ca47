"""A hosted competition over HTTP: submissions, scores, limits, standings, accounts, and faults on demand."""

import io
import json
import re
import sqlite3
import threading
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from hosting import (
    FILES,
    NOON,
    TRUTH,
    Client,
    Clock,
    client_of,
    csv_of,
    guesses,
    hosting,
    make_hosted,
    refusal,
)

from kit.errors import CompetitionError, ConfigError
from kit.host import hosted as hosted_module
from kit.host.connections import Server
from kit.host.faults import Faults, Refusal
from kit.host.hosted import HostedCompetition
from kit.host.server import serve


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def host(tmp_path, clock) -> Iterator[Callable[..., Server]]:
    with hosting(tmp_path, clock) as make:
        yield make


def test_a_submission_waits_for_its_score_and_then_has_it(host):
    server = host(faults=Faults(scoring_seconds=0.5))
    ann = client_of(server)
    ref = ann.submit(guesses(0.8), message="the first one")
    waiting = ann.submissions()[0]
    assert (waiting["ref"], waiting["status"], waiting["publicScore"]) == (ref, "PENDING", "")
    server.hosted.wait_until_scored()
    done = ann.submissions()[0]
    assert (done["status"], done["publicScore"], done["privateScore"]) == ("COMPLETE", "0.22314", "")
    assert (done["description"], done["fileName"], done["date"]) == (
        "the first one", "submission.csv", "2026-11-21T12:00:00.000Z",
    )  # fmt: skip
    assert ann.call("GetSubmission", ref=ref) == done


def test_a_file_that_cannot_be_scored_says_why(host):
    server = host()
    ann = client_of(server)
    ann.submit(b"id,red\nimg000,red\n")
    server.hosted.wait_until_scored()
    faulty = ann.submissions()[0]
    assert faulty["status"] == "ERROR" and faulty["publicScore"] == ""
    assert faulty["errorDescription"] == "Row 2 has 'red' where a number was expected."


@pytest.mark.parametrize("method", ["next_pending", "content", "set_scores"])
def test_a_fault_of_the_database_interrupts_scoring_and_does_not_end_it(host, monkeypatch, method):
    monkeypatch.setattr(hosted_module, "AGAIN_AFTER", 0.01)
    lines: list[str] = []
    server = host(say=lines.append)
    works, left = getattr(server.hosted.store, method), [1, 1]

    def locked(*arguments, **options):
        if left and threading.current_thread().name == "scoring":
            left.pop()
            raise sqlite3.OperationalError("database is locked")
        return works(*arguments, **options)

    monkeypatch.setattr(server.hosted.store, method, locked)
    ann = client_of(server)
    ann.submit(guesses(0.8))
    server.hosted.wait_until_scored()
    assert not left and ann.submissions()[0]["publicScore"] == "0.22314"
    told = [line for line in lines if line.startswith("scoring is interrupted")]
    assert len(told) == 2 and "OperationalError: database is locked" in told[0]


def test_the_limit_of_a_day_holds_and_begins_anew_at_midnight_utc(host, clock):
    server = host(daily_limit=2)
    ann, bob = client_of(server), client_of(server, "bob")
    early = ann.upload(guesses(0.7))
    for _ in range(2):
        ann.submit(guesses(0.8))
    used = refusal(lambda: ann.submit(guesses(0.8)))
    assert used.status == 400
    assert (
        used.message == "All 2 submissions of today are used. The next ones are taken from 0:00 UTC on, in 12 h 0 min."
    )
    assert refusal(lambda: ann.call("CreateSubmission", blobFileTokens=early)).message == used.message
    assert ann.call("GetSubmissionLimits") == {
        "numToday": 2, "numTotal": 2, "numAllowedNow": 0, "limitedByTotal": False,
    }  # fmt: skip
    bob.submit(guesses(0.8))
    clock.now = NOON + timedelta(hours=12)
    assert ann.call("GetSubmissionLimits")["numAllowedNow"] == 2
    ann.submit(guesses(0.8))
    assert len(ann.submissions()) == 3


def test_the_same_upload_is_handed_in_once_however_often_it_is_said(host):
    ann = client_of(host())
    token = ann.upload(guesses(0.8))
    refs = {ann.call("CreateSubmission", blobFileTokens=token)["ref"] for _ in range(3)}
    assert len(refs) == 1 and len(ann.submissions()) == 1


def test_nobody_can_hand_in_or_see_what_another_one_uploaded(host):
    server = host()
    ann, bob = client_of(server), client_of(server, "bob")
    token = ann.upload(guesses(0.8))
    assert "No file was uploaded" in refusal(lambda: bob.call("CreateSubmission", blobFileTokens=token)).message
    ref = ann.call("CreateSubmission", blobFileTokens=token)["ref"]
    assert refusal(lambda: bob.call("GetSubmission", ref=ref)).status == 404
    assert bob.submissions() == []


def test_after_the_deadline_submissions_are_scored_and_not_ranked_and_private_scores_are_shown(host, clock):
    server = host(deadline="2026-11-21T13:00+00:00")
    ann, bob = client_of(server), client_of(server, "bob")
    ann.submit(guesses(0.8))
    bob.submit(guesses(0.7))
    clock.now = NOON + timedelta(hours=2)
    bob.submit(guesses(0.9))
    server.hosted.wait_until_scored()
    late, first = bob.submissions()
    assert (late["publicScore"], late["privateScore"], first["privateScore"]) == ("0.10536", "0.10536", "0.35667")
    places = ann.call("GetLeaderboard")["submissions"]
    assert [(one["teamName"], one["score"]) for one in places] == [("ann", "0.22314"), ("bob", "0.35667")]
    assert "deadline has passed" in refusal(lambda: bob.call("ChooseFinals", refs=[first["ref"]])).message


def test_a_team_is_ranked_in_the_end_by_the_submissions_it_chose(host, clock):
    server = host(deadline="2026-11-21T13:00")
    ann = client_of(server)
    refs = [ann.submit(guesses(right)) for right in (0.9, 0.8, 0.7)]
    server.hosted.wait_until_scored()
    assert "up to 2 may be" in refusal(lambda: ann.call("ChooseFinals", refs=refs)).message
    assert "Submission 99 cannot be chosen" in refusal(lambda: ann.call("ChooseFinals", refs=[99])).message
    ann.call("ChooseFinals", refs=[refs[2]])
    clock.now = NOON + timedelta(hours=2)
    assert ann.call("GetLeaderboard")["submissions"][0]["score"] == "0.35667"
    server.hosted.choose_finals("ann", [])  # the host may mend it: none chosen, the best two count
    assert ann.call("GetLeaderboard")["submissions"][0]["score"] == "0.10536"


def test_under_the_ladder_a_team_is_told_no_more_than_that_it_did_not_improve(host):
    server = host(ladder=True)
    ann = client_of(server)
    for right in (0.8, 0.8000001, 0.7, 0.95):
        ann.submit(guesses(right))
    server.hosted.wait_until_scored()
    # -ln 0.8 = 0.223 is rounded to 13/60: there are 60 public images; a like or worse file moves nothing.
    assert [one["publicScore"] for one in ann.submissions()][::-1] == ["0.21667", "0.21667", "0.21667", "0.05000"]


def test_the_leaderboard_comes_as_a_zip_with_a_table_too(host):
    server = host()
    client_of(server, "bob").submit(guesses(0.6))
    ann = client_of(server)
    ann.submit(guesses(0.8))
    server.hosted.wait_until_scored()
    with zipfile.ZipFile(io.BytesIO(ann.call("DownloadLeaderboard")["archive"])) as bundle:
        assert bundle.read("colours-publicleaderboard.csv").decode().splitlines() == [
            "Rank,TeamId,TeamName,LastSubmissionDate,Score,SubmissionCount,TeamMemberUserNames",
            "1,2,ann,2026-11-21 12:00:00,0.22314,1,ann",
            "2,1,bob,2026-11-21 12:00:00,0.51083,1,bob",
        ]


def test_keys_are_good_as_password_and_as_token_until_they_are_renewed_or_closed(host):
    server = host()
    key = server.hosted.add_user("ann")
    assert re.fullmatch("[0-9a-f]{32}", key)
    ann = Client(server.url, "ann", key)

    def introspect(token: str) -> dict[str, object]:
        body = json.dumps({"token": token}).encode()
        return json.loads(ann.request("POST", "/v1/security.OAuthService/IntrospectToken", body)[2])

    assert introspect(key) == {"active": True, "username": "ann"}
    ann.authorization = f"Bearer {key}"
    assert ann.call("ListCompetitions")["competitions"][0]["ref"].endswith("/colours")
    for wrong in ("Bearer ", f"Bearer {key}0", "Basic !", "Basic YW5u", "Digest x", ""):
        ann.authorization = wrong
        assert refusal(lambda: ann.call("ListCompetitions")).status == 401
    new = server.hosted.store.renew_key("ann")
    assert introspect(key) == {"active": False} and introspect(new)["active"] is True
    server.hosted.store.close_user("ann")
    assert introspect(new) == {"active": False}


def test_accounts_have_plain_names_and_each_name_one_account(host):
    hosted = host().hosted
    hosted.add_user("ann")
    with pytest.raises(ConfigError, match="There is an account 'ANN' already"):
        hosted.add_user("ANN")
    for name in ("", "<b>", "=1+1", "a b", "x" * 65):
        with pytest.raises(ConfigError, match="cannot name an account"):
            hosted.add_user(name)
    with pytest.raises(ConfigError, match="There is no account 'bob'"):
        hosted.store.close_user("bob")


FAULTS = [
    (Faults(rules_not_accepted=True), "DownloadDataFiles", 403, "You must accept this competition's rules", None),
    (Faults(expired_keys=True), "ListSubmissions", 401, "Unauthenticated", None),
    (
        Faults(refusals={"ListSubmissions": [Refusal(status=429, message="Slowly", retry_after=7)]}),
        "ListSubmissions", 429, "Slowly", "7",
    ),
    (Faults(refusals={"GetLeaderboard": [Refusal(status=500)]}), "GetLeaderboard", 500, "told to refuse", None),
]  # fmt: skip


@pytest.mark.parametrize(("faults", "operation", "status", "message", "pause"), FAULTS)
def test_faults_on_demand_refuse_as_kaggle_does(host, faults, operation, status, message, pause):
    ann = client_of(host(faults=faults))
    refused = refusal(lambda: ann.call(operation))
    assert (refused.status, refused.retry_after) == (status, pause) and message in refused.message
    if faults.refusals:
        ann.call(operation)  # used up


def test_a_broken_upload_leaves_nothing_and_may_be_repeated(host):
    server = host(faults=Faults(broken_uploads=1))
    ann = client_of(server)
    assert refusal(lambda: ann.upload(guesses(0.8))).status == 500
    assert list(server.hosted.store.uploads.iterdir()) == []
    assert ann.submit(guesses(0.8)) == 1


def test_a_lost_answer_leaves_the_submission_done(host):
    ann = client_of(host(faults=Faults(lost_answers={"CreateSubmission": 1})))
    token = ann.upload(guesses(0.8))
    with pytest.raises(OSError, match=r"closed connection|reset"):
        ann.call("CreateSubmission", blobFileTokens=token)
    assert [one["ref"] for one in ann.submissions()] == [1]
    assert ann.call("CreateSubmission", blobFileTokens=token)["ref"] == 1


def test_what_is_hosted_goes_on_after_a_restart_with_its_settings(tmp_path):
    hosted = make_hosted(tmp_path, daily_limit=3, deadline="2030-01-01T00:00", ladder=False)
    with serve(hosted) as server:
        ann = client_of(server)
        ann.submit(guesses(0.8))
        hosted.wait_until_scored()
        link = urlsplit(ann.call("DownloadDataFile", fileName="train.csv")["location"]).path
    again = HostedCompetition.open(hosted.folder, hosted.competition, say=lambda line: None, daily_limit=4)
    assert (again.settings.daily_limit, again.settings.deadline) == (4, "2030-01-01T00:00")
    assert (again.solution.public == hosted.solution.public).all()
    with serve(again) as server:
        ann.address = urlsplit(server.url).netloc
        assert ann.submissions()[0]["publicScore"] == "0.22314"
        assert ann.request("GET", link)[2] == FILES["train.csv"]  # a download can be gone on with


def test_the_same_standings_are_never_given_to_another_solution(tmp_path):
    hosted = make_hosted(tmp_path)
    with pytest.raises(CompetitionError, match="hosts a competition already"):
        make_hosted(tmp_path)
    with pytest.raises(CompetitionError, match=r"public share of toy is 0\.3 .* and stays so"):
        HostedCompetition.open(hosted.folder, hosted.competition, public_share=0.5)
    with pytest.raises(CompetitionError, match="is not hosted yet"):
        HostedCompetition.open(tmp_path / "elsewhere", hosted.competition)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"public_share": 1.0}, "The public share is 1"),
        ({"daily_limit": 0}, "The daily limit is 0"),
        ({"deadline": "tomorrow"}, "The deadline 'tomorrow' is no time"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        make_hosted(tmp_path, **options)
    assert not (tmp_path / "hosted").exists()


def test_the_true_answers_are_the_best_ones(host):
    server = host(metric="roc_auc")
    ann = client_of(server)
    ann.submit(csv_of(TRUTH))
    server.hosted.wait_until_scored()
    assert ann.submissions()[0]["publicScore"] == "1.00000"
