"""The pages to look at sweeps and runs: MLflow's and optuna-dashboard's, on loopback, started and ended together."""

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.errors import ConfigError, KitError, did_you_mean
from kit.home import family, kit_home, make_folder
from kit.progress import Say
from kit.tracking import store_uri
from kit.train.stopping import StopRequests
from kit.tune.study import StudyPlace, checked_storage

HOST = "127.0.0.1"
MLFLOW_PORT, DASHBOARD_PORT = 5000, 8080
LOOK_SECONDS = 0.2
END_SECONDS = 10.0  # that a server has for ending on its own


@dataclass(frozen=True, kw_only=True)
class Server:
    """A page's server."""

    title: str
    command: tuple[str, ...]
    port: int
    stdin: str = ""
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://{HOST}:{self.port}"


def newest_study() -> str | None:
    """Return the name of the study on this machine that was touched last."""
    found = sorted(family("studies").glob("*/study.json"), key=lambda path: path.stat().st_mtime)
    return found[-1].parent.name if found else None


def servers(study: str | None, *, storage: str = "", say: Say) -> list[Server]:
    """Return the servers to start: MLflow's, and the dashboard of a study where there is one, and it is installed.

    Args:
        study: its name; None: the newest here.
        storage: address of the database that it is in; "": the study's journal.
        say: takes what is left out, and why.

    Raises:
        ConfigError: there is no such study.
    """
    make_folder(kit_home())
    mlflow = Server(
        title="MLflow: runs, studies and published results",
        command=(
            *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store_uri()),
            *("--host", HOST, "--port", str(port := free_port(MLFLOW_PORT)), "--workers", "1"),
        ),
        port=port,
        # Its jobs are for other things than ours, and their seven processes take a minute to start.
        variables=(("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false"), ("MLFLOW_DISABLE_TELEMETRY", "true")),
    )
    name = study or newest_study()
    if name is None:
        say("no sweep was made yet (`kit tune`): there is nothing to show on a dashboard")
        return [mlflow]
    place = StudyPlace(name=name, url=checked_storage(storage))
    if not place.url and not (place.folder / "journal.log").is_file():
        there = sorted(path.parent.name for path in family("studies").glob("*/journal.log"))
        raise ConfigError(
            f"There is no study {name!r} with a journal on this machine.{did_you_mean(name, there)} "
            f"There are: {', '.join(there) or 'none'}. One in a database needs its --storage."
        )
    if importlib.util.find_spec("optuna_dashboard") is None:
        say("optuna-dashboard is not installed (pip install 'competition-kit[dashboard]'): MLflow alone is started")
        return [mlflow]
    port = free_port(DASHBOARD_PORT)
    dashboard = Server(
        title=f"optuna-dashboard: the study {name}",
        command=(sys.executable, "-m", "kit.tune.dashboard"),
        port=port,
        stdin=json.dumps({"name": name, "url": place.url, "port": port}),
    )
    return [mlflow, dashboard]


def free_port(wanted: int) -> int:
    """Return the port `wanted` on loopback, or another one where that is taken."""
    for port in (wanted, 0):
        with socket.socket() as one, contextlib.suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((HOST, port))
            return int(one.getsockname()[1])
    raise ConfigError(f"No port of {HOST} is free.")


def serve(wanted: Sequence[Server], *, say: Say, log: Path) -> None:
    """Start servers, say where each is as soon as it answers, and end all of them on Ctrl-C or SIGTERM.

    Args:
        wanted: what to start.
        say: takes a line for each.
        log: file that gets what they print.

    Raises:
        KitError: one ended on its own.
    """
    running: list[tuple[Server, subprocess.Popen[bytes]]] = []
    make_folder(log.parent)
    with StopRequests() as requests, log.open("wb") as output:
        try:
            for one in wanted:
                running.append((one, _start(one, output.fileno())))
            waiting = list(wanted)
            while requests.number is None:
                for one, process in running:
                    if process.poll() is not None:
                        raise KitError(
                            f"{one.title} ended with exit code {process.returncode}; {log} has what it said."
                        )
                for one in [one for one in waiting if _answers(one.port)]:
                    waiting.remove(one)
                    say(f"{one.address}  {one.title}")
                    if not waiting:
                        say("Ctrl-C ends them.")
                time.sleep(LOOK_SECONDS)
        finally:
            for _, process in running:
                _signal_group(process, signal.SIGTERM)
            until = time.monotonic() + END_SECONDS
            for _, process in running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=max(0.0, until - time.monotonic()))
                _signal_group(process, signal.SIGKILL)
                process.wait()


def _start(one: Server, output: int) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        one.command,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        env={**os.environ, **dict(one.variables)},
        start_new_session=True,  # it and what it starts end together, by us
    )
    assert process.stdin is not None
    with contextlib.suppress(OSError), process.stdin:
        process.stdin.write((one.stdin + "\n").encode())
    return process


def _signal_group(process: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _answers(port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(LOOK_SECONDS)
        return one.connect_ex((HOST, port)) == 0
