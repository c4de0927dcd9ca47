"""Two hundred submissions at once, and a host that is killed among them: none lost, none doubled, the limit holds."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from http.client import HTTPException
from pathlib import Path

from hosting import Client, RefusedError, guesses, make_hosted

USERS, EACH, LIMIT = 10, 20, 12  # 200 submissions, of which the limit lets 120 in
CONTENT = guesses(0.8)


class Host:
    """The competition in a process, at one port."""

    def __init__(self, root: Path) -> None:
        self.root, self.port = root, 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("host_process.py")), str(self.root), str(self.port)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Participant(threading.Thread):
    """Hands one file in, and tries again, with the same upload, where no answer came."""

    def __init__(self, host: Host, user: str, key: str, accepted: list[tuple[str, int]]) -> None:
        super().__init__()
        self.client, self.user, self.accepted = Client(f"http://127.0.0.1:{host.port}", user, key), user, accepted
        self.refused = ""
        self.token = ""

    def run(self) -> None:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            try:
                if not self.token:
                    self.token = self.client.upload(CONTENT)
                answer = self.client.call(
                    "CreateSubmission", blobFileTokens=self.token, submissionDescription=self.name
                )
                self.accepted.append((self.name, answer["ref"]))
                return
            except (OSError, HTTPException):  # the host is away
                time.sleep(0.05)
            except RefusedError as refused:
                self.refused = refused.message
                return


def test_two_hundred_at_once_and_a_kill_among_them_lose_none_and_double_none(tmp_path):
    hosted = make_hosted(tmp_path, daily_limit=LIMIT)
    keys = {f"team{k}": hosted.add_user(f"team{k}") for k in range(USERS)}
    host = Host(tmp_path)
    accepted: list[tuple[str, int]] = []
    people = [Participant(host, user, key, accepted) for user, key in keys.items() for _ in range(EACH)]
    for one in people:
        one.start()
    while len(accepted) < 40 and any(one.is_alive() for one in people):
        time.sleep(0.001)
    before = len(accepted)
    host.kill()
    told = list(accepted)  # to whom "accepted" was said before the kill
    host.start()
    for one in people:
        one.join()
    host.kill()

    kept = hosted.store.submissions()
    assert 0 < before < USERS * LIMIT, "the kill came among them"
    assert {(one.description, one.ref) for one in kept} >= set(told), "an accepted one is lost"
    assert sorted(accepted) == sorted((one.description, one.ref) for one in kept), (
        "one was kept that nobody was told of"
    )
    assert max(Counter(one.description for one in kept).values()) == 1, "one is there twice"
    names = hosted.store.names()
    assert Counter(names[one.user] for one in kept) == dict.fromkeys(keys, LIMIT), "the limit does not hold"
    refused = [one for one in people if one.refused]
    assert len(refused) == USERS * (EACH - LIMIT)
    assert all(one.refused.startswith(f"All {LIMIT} submissions of today are used") for one in refused)
    assert all(hosted.store.content(one) == CONTENT for one in kept), "a file is not whole"

    hosted.start()  # what waited for its score when the host was killed has it now
    hosted.wait_until_scored(seconds=600)
    hosted.stop()
    assert {(one.status, one.public is None) for one in hosted.store.submissions()} == {("COMPLETE", False)}
