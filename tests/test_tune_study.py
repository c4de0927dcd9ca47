"""A study's storage: opened once, refused where it would mix two sweeps, and whole after any process was killed."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

from kit.config import Recipe
from kit.errors import ConfigError, StorageError
from kit.home import family
from kit.tune.space import suggest
from kit.tune.study import Settings, StudyPlace, checked_storage, open_study, settings_of, without_password
from kit.tune.trials import ATTEMPTS, STALE_SECONDS, best_of, owner, queue_again, spent_seconds
from kit.tune.tune_table import read_space

SPACE = read_space({"schedule.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "schedule.epochs": [2, 8]}, Recipe())
SETTINGS = Settings(
    slug="toy", protocol="official", source="local", recipe=Recipe().as_dict(), space=SPACE.as_dict(), memory=2**30
)
PLACE = StudyPlace(name="one")


@pytest.fixture
def study():
    return open_study(PLACE, SETTINGS)


def begin(study, **attributes):
    """Draw a trial as a worker does."""
    trial = study.ask()
    for key, value in {"owner": owner(), "began": time.time(), **attributes}.items():
        trial.set_user_attr(key, value)
    suggest(trial, SPACE)
    return trial


def test_a_study_keeps_what_it_was_begun_with_and_tries_the_untuned_recipe_first(study):
    again = open_study(PLACE, SETTINGS)
    assert settings_of(again).untuned == Recipe()
    assert settings_of(again).drawn_from == SPACE
    first = begin(again)
    assert first.params == {"schedule.lr": Recipe().schedule.lr, "schedule.epochs": Recipe().schedule.epochs}
    assert first.user_attrs["untuned"]
    assert len(again.trials) == 1  # not queued twice
    assert json.loads((PLACE.folder / "study.json").read_text())["memory"] == 2**30


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"space": {"schedule.lr": {"low": 1e-4, "high": 1e-3}}},
            r"its search space \(schedule.epochs \{'low': 2.*-> nothing; schedule.lr high 0.01 -> 0.001; log True",
        ),
        ({"recipe": replace(Recipe(), seed=5).as_dict()}, r"its recipe \(seed 1 -> 5\)"),
        ({"memory": 2**31}, "memory: 1073741824 -> 2147483648"),
        ({"objectives": ("error", "minutes")}, "objectives"),
        ({"data": "other images"}, "data: "),
    ],
)
def test_a_study_whose_settings_changed_is_refused_with_what_changed_and_the_way_out(study, changes, said):
    with pytest.raises(ConfigError, match=said) as refused:
        open_study(PLACE, replace(SETTINGS, **changes))
    assert "--name one-2" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert open_study(PLACE, SETTINGS).study_name == "one"


def test_names_that_are_no_file_names_are_refused():
    for name in ("../up", "", "a/b", ".hidden", "x" * 101):
        with pytest.raises(ConfigError, match="cannot name a study"):
            StudyPlace(name=name)


# Trials whose process is gone.


def killed_worker():
    """Return who runs a trial, and is gone."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    began = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
    found = {**owner(), "pid": process.pid, "began": float(began)}
    process.kill()
    process.wait()
    return found


def test_a_trial_of_a_killed_process_is_queued_again_with_the_same_values_and_the_same_folder(study):
    first, running = begin(study, owner=killed_worker()), begin(study)
    assert queue_again(study, PLACE) == [first.number]
    assert queue_again(study, PLACE) == []  # once
    again = begin(study)
    assert again.params == first.params
    assert again.user_attrs["origin"] == first.number
    assert again.user_attrs["untuned"]
    assert again.user_attrs["attempt"] == 2
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.FAIL, TrialState.RUNNING, TrialState.RUNNING]
    assert running.number == 1


def test_a_process_that_has_the_number_of_a_dead_one_is_not_taken_for_it(study):
    begin(study, owner={**owner(), "began": owner()["began"] - 1})
    assert queue_again(study, PLACE) == [0]


def test_a_trial_is_given_up_after_some_attempts(study):
    lost = []
    for _ in range(5):
        trial = begin(study, owner=killed_worker())
        lost.append(trial.user_attrs.get("origin", trial.number))
        queue_again(study, PLACE)
    assert lost[:ATTEMPTS] == [0, 0, 0]
    assert lost[ATTEMPTS] == ATTEMPTS  # a new one


def test_a_trial_that_was_stopped_goes_on_any_number_of_times_and_one_that_failed_for_a_reason_does_not(study):
    for _ in range(ATTEMPTS + 2):
        trial = begin(study, stopped=True)
        study.tell(trial, state=TrialState.FAIL)
        assert queue_again(study, PLACE) == [trial.number]
    failed = begin(study, reason="no such network")
    study.tell(failed, state=TrialState.FAIL)
    assert queue_again(study, PLACE) == []


def test_a_trial_of_another_machine_is_left_alone_until_it_gives_no_sign_of_life(study):
    elsewhere = {"place": "another-host", "pid": 1, "began": 1.0}
    begin(study, owner=elsewhere, alive=time.time())
    silent = begin(study, owner=elsewhere, alive=time.time() - STALE_SECONDS - 1)
    assert queue_again(study, PLACE) == [silent.number]


def test_the_best_trial_kept_its_limits(study):
    assert best_of(study.trials) is None
    for error, excess in ((0.3, -0.5), (0.1, 0.2), (0.2, 0.0)):
        trial = begin(study)
        trial.set_constraint("memory", excess)
        study.tell(trial, error)
    assert best_of(study.trials).value == 0.2


def test_time_is_counted_once_however_many_trials_ran_in_it(study):
    for began, ended in ((100.0, 110.0), (105.0, 120.0), (200.0, 201.0)):
        trial = begin(study, began=began, ended=ended)
        study.tell(trial, 0.5)
    begin(study, began=300.0, alive=305.0)  # killed, or under way
    assert spent_seconds(study.trials, now=1000.0) == 20 + 1 + 5


# The journal.


APPEND_FOREVER = """\
from kit.tune.study import StudyPlace
study = StudyPlace(name="one").load()
while True:
    study.ask().set_user_attr("filler", "x" * 3000)
"""


def test_a_journal_is_whole_and_free_after_writers_were_killed(study):
    path = PLACE.folder / "journal.log"
    for _ in range(3):
        writers = [subprocess.Popen([sys.executable, "-c", APPEND_FOREVER]) for _ in "ab"]
        before = path.stat().st_size
        while path.stat().st_size < before + 50_000:
            assert all(writer.poll() is None for writer in writers)
            time.sleep(0.005)
        for writer in writers:
            writer.kill()
            writer.wait()
        began = time.monotonic()
        PLACE.load().ask()
        assert time.monotonic() - began < 10  # a lock of optuna's own that a dead one left is waited for, for 30 s
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_line_that_a_full_disk_has_broken_off_is_cut_off(study):
    path = PLACE.folder / "journal.log"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":4,"worker')
    found = PLACE.load()
    begin(found)
    assert len(PLACE.load().trials) == 1
    assert path.read_bytes().startswith(whole + b'{"op_code"')


# A database.


def test_only_postgresql_is_taken_and_no_message_has_a_password():
    url = checked_storage("postgresql://me:secret@host/db")
    assert url == "postgresql+psycopg://me:secret@host/db"
    assert without_password(url) == "postgresql+psycopg://host/db"
    with pytest.raises(ConfigError, match="not the address of a PostgreSQL database") as refused:
        checked_storage("mysql://me:secret@host/db")
    assert "secret" not in str(refused.value)
    assert checked_storage("") == ""


def test_a_database_that_cannot_be_reached_is_one_paragraph_without_the_password():
    with socket.socket() as one:  # bound, and nobody listens
        one.bind(("127.0.0.1", 0))
        url = f"postgresql+psycopg://me:secret@127.0.0.1:{one.getsockname()[1]}/db"
        with pytest.raises(StorageError, match=r"cannot be used: .*refused") as refused:
            open_study(StudyPlace(name="one", url=url), SETTINGS)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)
    assert not list(family("studies").rglob("study.json"))


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Give the address of a PostgreSQL server of our own, with Debian's programs."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("no PostgreSQL server in /usr/lib/postgresql (Debian's package postgresql)")
    folder, data = programs[-1].parent, tmp_path_factory.mktemp("postgres")
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to be root
    if user:
        for path in (data, *list(data.parents)[:2]):
            path.chmod(0o755)
        shutil.chown(data, user)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    (data / "password").write_text("secret")
    run = {"user": user, "check": True, "capture_output": True, "cwd": data}
    at = ["-D", str(data / "cluster")]
    login = ["-U", "kit", "--pwfile", str(data / "password"), "--auth=scram-sha-256", "--no-sync"]
    subprocess.run([folder / "initdb", *at, *login], **run)
    options = f"-p {port} -k {data} -c listen_addresses=127.0.0.1 -c fsync=off"
    subprocess.run([folder / "pg_ctl", *at, "-w", "-l", str(data / "log"), "-o", options, "start"], **run)
    yield f"postgresql://kit:secret@127.0.0.1:{port}/postgres"
    subprocess.run([folder / "pg_ctl", *at, "-m", "immediate", "stop"], **run)


OPEN_AND_DRAW = """\
import sys
from kit.tune.study import StudyPlace, open_study
from test_tune_study import SETTINGS
print(open_study(StudyPlace(name="shared", url=sys.argv[1]), SETTINGS).ask().number)
"""


def test_two_that_begin_a_study_in_an_empty_database_at_once_share_it(database, tmp_path):
    url = checked_storage(database)
    both = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_DRAW, url],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
            env={**os.environ, "KIT_HOME": str(tmp_path / name)},
        )
        for name in "ab"
    ]
    assert sorted(one.communicate()[0].strip() for one in both) == ["0", "1"]
    study = StudyPlace(name="shared", url=url).load()
    assert [trial.user_attrs.get("untuned") for trial in study.trials] == [True, None]  # queued once
    with pytest.raises(ConfigError, match="The study shared was begun with something else"):
        open_study(StudyPlace(name="shared", url=url), replace(SETTINGS, memory=None))
    text = (tmp_path / "a" / "studies" / "shared" / "study.json").read_text()
    assert "secret" not in text and "127.0.0.1" in text


def test_a_lost_trial_in_a_database_is_queued_again_once_by_several(database):
    place = StudyPlace(name="lost", url=checked_storage(database))
    study = open_study(place, SETTINGS)
    begin(study, owner=killed_worker())
    assert [queue_again(place.load(), place) for _ in range(3)] == [[0], [], []]
