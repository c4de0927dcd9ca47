"""What people look at: the table in the terminal, MLflow's runs of a study, and the servers that `kit ui` starts."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
from optuna.trial import TrialState
from rich.console import Console
from test_tune_study import PLACE, SETTINGS, begin

from kit.errors import ConfigError, KitError
from kit.tracking import store_uri
from kit.tune.servers import Server, free_port, serve, servers
from kit.tune.study import open_study
from kit.tune.tracked import track_study
from kit.tune.watch import progress_table, title_of

SERVE = """\
import http.server, sys
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""


@pytest.fixture
def study():
    """Return a study with a trial that is done, one that was too large, one that failed, and one under way."""
    study = open_study(PLACE, SETTINGS)
    done, large, failed = (begin(study) for _ in range(3))
    for step in (500, 1000):
        done.report(0.3 if step == 500 else 0.1, step)
    for key, value in {"error": 0.1, "minutes": 2.5, "peak_bytes": 2**29, "epochs": 8}.items():
        done.set_user_attr(key, value)
    done.set_constraint("memory", -0.5)
    study.tell(done, 0.1)
    large.set_constraint("memory", 0.6)
    large.set_user_attr("infeasible", "would take 1.60 x the limit")
    study.tell(large, state=TrialState.PRUNED)
    failed.set_user_attr("reason", "no such network")
    study.tell(failed, state=TrialState.FAIL)
    begin(study).report(0.4, 250)
    return study


def test_the_table_shows_the_best_trial_first_and_how_far_the_others_are(study):
    trials = study.trials
    keys = ["schedule.lr", "schedule.epochs"]
    title = title_of("one", trials, num_trials=9, deadline=time.time() + 90 * 60 + 5)
    assert title == "one: 2 of 9 trials, best error 0.1000 (trial 0), 90 min of the budget left"
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    console.print(progress_table(trials, keys, title=title))
    console.file.close()
    rows = [line.split("│")[1:-1] for line in console.export_text().splitlines() if line.startswith("│")]
    told = [[cell.strip() for cell in row] for row in rows]
    assert told[0] == ["0 *", "done", "0.1", "2.5", "0.5", "0.001", "4"]
    assert [row[:2] for row in told[1:]] == [["1", "too much memory"], ["2", "failed"], ["3", "running, 25 %"]]


def test_a_program_gets_how_far_the_study_is_and_nothing_is_begun(study, kit):
    code, out, err = kit("tune", "pets", "--name", PLACE.name, "--watch", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert set(found) == {"study", "storage", "finished", "minutes", "best", "trials"}
    assert (found["study"], found["finished"], found["best"]) == (PLACE.name, 2, 0)
    states = [(one["number"], one["state"], one["error"], one["peak_gib"]) for one in found["trials"]]
    assert states == [
        (0, "done", 0.1, 0.5),
        (1, "too much memory", None, None),
        (2, "failed", None, None),
        (3, "running, 25 %", 0.4, None),
    ]
    assert found["trials"][0]["drawn"] == {"schedule.lr": 0.001, "schedule.epochs": 4}
    code, out, err = kit("tune", "pets", "--name", f"{PLACE.name}x", "--watch", "--json")
    assert (code, out) == (2, "")
    assert f"There is no study {PLACE.name}x" in err
    assert f"Did you mean '{PLACE.name}'?" in err


# Alembic and SQLAlchemy, below MLflow, warn about their own coming changes.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_mlflow_has_the_study_as_a_run_and_each_ended_trial_once_as_its_child(study):
    from mlflow import MlflowClient

    assert track_study(study)
    assert track_study(study)
    client = MlflowClient(tracking_uri=store_uri())
    experiment = client.get_experiment_by_name("toy").experiment_id
    (parent,) = client.search_runs([experiment], filter_string="tags.`kit.kind` = 'study'")
    trials = client.search_runs([experiment], filter_string=f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
    found = {run.data.tags["kit.trial"]: run for run in trials}
    assert sorted(found) == ["0", "1", "2"]  # trial 3 still runs
    assert parent.data.metrics["error"] == 0.1
    assert parent.data.tags["kit.best_trial"] == "0"
    assert parent.data.params["space.schedule.epochs"] == "2 to 8"
    assert found["0"].data.metrics["error"] == 0.1
    assert found["0"].data.params["schedule.lr"] == "0.001"
    assert [(one.step, one.value) for one in client.get_metric_history(found["0"].info.run_id, "value")] == [
        (500, 0.3),
        (1000, 0.1),
    ]
    assert found["1"].data.metrics["constraint_memory"] == 0.6
    assert {run.data.tags["kit.ended"] for run in trials} >= {"would take 1.60 x the limit", "no such network"}


def test_what_goes_wrong_with_mlflow_is_said_and_stops_nothing(study, monkeypatch):
    monkeypatch.setenv("KIT_TRACKING_URI", "no-such-scheme://x")
    lines = []
    assert not track_study(study, say=lines.append)
    assert lines[0].startswith("MLflow does not have the study (")


def test_without_a_sweep_only_mlflow_is_started_and_a_name_that_is_no_study_is_refused():
    lines = []
    assert [one.title.split(":")[0] for one in servers(None, say=lines.append)] == ["MLflow"]
    assert "no sweep was made yet" in lines[0]
    with pytest.raises(ConfigError, match=r"There is no study 'other' with a journal on this machine. There are: none"):
        servers("other", say=lines.append)


def test_servers_answer_where_it_is_said_and_end_together(tmp_path):
    ports = [free_port(0), free_port(0)]
    wanted = [Server(title=f"page {p}", command=(sys.executable, "-c", SERVE, str(p)), port=p) for p in ports]
    lines = []

    def look(line):
        lines.append(line)
        if line.startswith("Ctrl-C"):
            for port in ports:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
                    assert answer.status == 200
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    serve(wanted, say=look, log=tmp_path / "pages.log")
    assert sorted(lines[:2]) == sorted(f"http://127.0.0.1:{port}  page {port}" for port in ports)
    for port in ports:
        with socket.socket() as one:
            assert one.connect_ex(("127.0.0.1", port)) != 0


def test_a_server_that_ends_on_its_own_ends_the_other_and_says_where_its_reason_is(tmp_path):
    lasting = (sys.executable, "-c", SERVE, str(free_port(0)))
    failing = (sys.executable, "-c", "import sys; sys.exit('no such store')")
    wanted = [Server(title="one", command=lasting, port=1), Server(title="other", command=failing, port=2)]
    with pytest.raises(KitError, match=r"other ended with exit code 1; .*pages.log has what it said"):
        serve(wanted, say=print, log=tmp_path / "pages.log")
    assert "no such store" in (tmp_path / "pages.log").read_text()


def test_a_port_that_is_taken_is_left_to_who_has_it():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        taken = one.getsockname()[1]
        assert free_port(taken) != taken


def test_the_dashboard_shows_the_study_of_the_journal(study):
    pytest.importorskip("optuna_dashboard")
    mlflow, dashboard = servers(None, say=print)
    assert (mlflow.port, mlflow.command[-2:]) == (mlflow.port, ("--workers", "1"))
    process = subprocess.Popen(
        dashboard.command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        process.stdin.write(dashboard.stdin.encode() + b"\n")
        process.stdin.flush()
        for _ in range(300):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", dashboard.port)) == 0:
                    break
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        with urllib.request.urlopen(f"{dashboard.address}/api/studies") as answer:
            found = json.load(answer)
        assert [one["study_name"] for one in found["study_summaries"]] == ["one"]
    finally:
        process.kill()
        process.communicate()
