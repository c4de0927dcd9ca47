"""Hosted competitions for tests, and the real `kaggle` command that is pointed at one."""

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from toys import competition, protocol, write_files

from kit.competition import Competition
from kit.host.connections import Server
from kit.host.hosted import HostedCompetition
from kit.host.server import serve
from kit.rules import SubmissionRule

# Kaggle's client leaves the connections of its transfers to the garbage collector.
CONNECTIONS_LEFT_OPEN = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("no_open_connections"),
]

NOON = datetime(2026, 11, 21, 12)
NUM_IMAGES = 200
IDS = tuple(f"img{k:03d}" for k in range(NUM_IMAGES))
TRUTH = np.array([k % 2 for k in range(NUM_IMAGES)])  # 1: red
FILES = {"train.csv": b"id,label\na,red\n", "images/a.jpg": bytes(range(256)) * 40, "images/b.jpg": b"b" * 5000}
BINARY = SubmissionRule(id_column="id", values="probability_of", of_class="red", label_column="red")


def hosted_question(folder: Path, **changes: Any) -> Competition:
    """Return a competition on blue and red images that is called `colours` on Kaggle; log loss by default."""
    metric = changes.pop("metric", "log_loss")
    settings = {"title": "Colours", "submission": BINARY, "kaggle": "colours", **changes}
    return competition(folder, metric=metric, protocols={"official": protocol(metric=metric)}, **settings)


def csv_of(probabilities: Sequence[float] | np.ndarray) -> bytes:
    """Return a submission with a probability of red for each of IDS."""
    return ("id,red\n" + "".join(f"{i},{p:.6f}\n" for i, p in zip(IDS, probabilities, strict=True))).encode()


def guesses(right: float) -> bytes:
    """Return a submission that gives each true class this probability."""
    return csv_of(np.where(TRUTH == 1, right, 1 - right))


def write_hosting(root: Path, files: Mapping[str, bytes] = FILES) -> dict[str, Path]:
    """Write the solution and the public files below `root`; return what `HostedCompetition.create` asks for."""
    write_files(root, {"solution.csv": csv_of(TRUTH), **{f"public/{name}": content for name, content in files.items()}})
    return {"solution": root / "solution.csv", "data": root / "public"}


def make_hosted(root: Path, **options: Any) -> HostedCompetition:
    """Host the colours below `root`. Options of the competition: metric, submission, classes, task."""
    of_question = {key: options.pop(key) for key in ("metric", "submission", "classes", "task") if key in options}
    return HostedCompetition.create(
        root / "hosted",
        hosted_question(root, **of_question),
        **{"say": lambda line: None, **write_hosting(root), **options},
    )


def kaggle_settings(url: str, home: Path, *, user: str, key: str) -> dict[str, str]:
    """Return the environment in which the real client takes the server for Kaggle, and knows no other account."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(("KAGGLE", "HTTP"))}
    return {
        **kept,
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",  # its base is then http://localhost/api/v1
        "HTTP_PROXY": url,
        "http_proxy": url,
        "NO_PROXY": "",
        "no_proxy": "",
        "KAGGLE_USERNAME": user,
        "KAGGLE_KEY": key,
        "HOME": str(home),
        "KAGGLE_CONFIG_DIR": str(home / "kaggle"),
    }


def kaggle(words: str, settings: dict[str, str], *, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the real `kaggle` command in `folder`."""
    command = [str(Path(sys.executable).with_name("kaggle")), *words.split()]
    return subprocess.run(command, env=settings, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


class RefusedError(Exception):
    """An answer other than 200: `status`, `message` and the header Retry-After."""

    def __init__(self, status: int, message: str, retry_after: str | None = None) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.message, self.retry_after = status, message, retry_after


class Client:
    """Speaks the protocol without the real client's half second of imports, one connection for each request."""

    def __init__(self, url: str, user: str, key: str) -> None:
        self.address = urlsplit(url).netloc
        self.authorization = f"Basic {b64encode(f'{user}:{key}'.encode()).decode()}"

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, HTTPMessage, bytes]:
        connection = HTTPConnection(self.address, timeout=60)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, names)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def call(self, operation: str, **asked: Any) -> dict[str, Any]:
        path = f"/v1/competitions.CompetitionApiService/{operation}"
        if operation == "ChooseFinals":
            path = f"/v1/kit.HostService/{operation}"
        status, headers, body = self.request(
            "POST", path, json.dumps({"competitionName": "colours", **asked}).encode(), Authorization=self.authorization
        )
        if status == 302:
            return {"location": headers["Location"]}
        if status != 200:
            raise RefusedError(status, json.loads(body)["message"], headers["Retry-After"])
        return json.loads(body) if headers["Content-Type"] == "application/json" else {"archive": body}

    def upload(self, content: bytes, *, name: str = "submission.csv") -> str:
        started = self.call("StartSubmissionUpload", contentLength=len(content), fileName=name)
        status, _, body = self.request("PUT", urlsplit(started["createUrl"]).path, content)
        if status != 200:
            raise RefusedError(status, json.loads(body)["message"])
        return str(started["token"])

    def submit(self, content: bytes, *, message: str = "") -> int:
        token = self.upload(content)
        return int(self.call("CreateSubmission", blobFileTokens=token, submissionDescription=message)["ref"])

    def submissions(self) -> list[dict[str, Any]]:
        return list(self.call("ListSubmissions", pageSize=1000)["submissions"])


class Clock:
    """A clock that stands still at noon until it is set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@contextmanager
def hosting(root: Path, clock: Clock) -> Iterator[Callable[..., Server]]:
    """Give a function that hosts the colours below `root` and serves them, without the Ladder, until the block ends."""
    with ExitStack() as stack:

        def make(**options: Any) -> Server:
            return stack.enter_context(serve(make_hosted(root, **{"now": clock, "ladder": False, **options})))

        yield make


def client_of(server: Server, name: str = "ann") -> Client:
    """Return a client with a new account."""
    return Client(server.url, name, server.hosted.add_user(name))


def refusal(call: Callable[[], object]) -> RefusedError:
    """Return how a call is refused."""
    with pytest.raises(RefusedError) as caught:
        call()
    return caught.value
