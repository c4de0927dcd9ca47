"""Ctrl-C at several moments of every long command: exit code 130, one line; and the same command goes on."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from toys import make_toy_competition

# A site that stops the command at a given moment: it prints a mark when a module is imported or a function called.
STOPPER = """\
import os, signal, sys
kind, _, place = os.environ.get("STOP_AT", "").partition(" ")

def stop():
    if os.environ.pop("STOP_AT", ""):
        os.kill(os.getpid(), signal.SIGINT)

if kind == "import":
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == place:
                stop()
    sys.meta_path.insert(0, Finder())
elif kind == "call":
    module, _, function = place.rpartition(".")

    class Finder:  # wraps the function when its module has been executed, before anybody has it
        def find_spec(self, name, path=None, target=None):
            if name != module:
                return None
            found = (one.find_spec(name, path, target) for one in sys.meta_path if one is not self)
            spec = next(one for one in found if one is not None)
            execute = spec.loader.exec_module

            def executed(made):
                execute(made)
                kinds = [one for one in vars(made).values() if isinstance(one, type) and one.__module__ == name]
                (owner,) = [one for one in (made, *kinds) if function in vars(one)]
                original = vars(owner)[function]

                def stopped(*arguments, **named):
                    stop()
                    return original(*arguments, **named)

                setattr(owner, function, stopped)

            spec.loader.exec_module = executed
            return spec

    sys.meta_path.insert(0, Finder())
from kit.__main__ import main
sys.argv[0] = "kit"
main()
"""

MOMENTS = {  # in the order in which they come: what an earlier command has finished is not done again
    "run": [
        "import typer.main",
        "import pandas",
        "call kit.files.fetch.fetch",
        "call kit.quality.inspect.inspect_files",
        "call kit.quality.duplicates.find_duplicates",
        "call kit.store.pack._append_all",
        "import torch",
        "call kit.train.loop._train_epoch",
        "call kit.train.inference.average_over_views",
        "call kit.judge.bootstrap.draws_of",
        "call kit.board.site.write_site",
    ],
    "list": ["import kit.cli.main", "call kit.competition.competition_folders"],
    "doctor": ["import torch", "call kit.doctor.surroundings.look_at_weights", "call kit.bench.bare_rate"],
    "check": ["call kit.board.check_page.write_check_page"],
    "fit": ["import torch"],
}
ARGUMENTS = {
    "run": ("run", "toy", "--no-track", "--folds", "2"),
    "list": ("list",),
    "doctor": ("doctor",),
    "check": ("check", "toy"),
    "fit": ("fit", "resnet10t", "--memory", "8GiB"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the toy, its mirror, and one KIT_HOME for all interrupted commands: each goes on from the last."""
    root = tmp_path_factory.mktemp("interrupted")
    make_toy_competition(root)
    (root / "stopper.py").write_text(STOPPER, encoding="utf-8")
    return root


def command(place, words, **more):
    """Return the arguments of `subprocess.run` or `Popen` for a command in `place`."""
    settings = {
        "KIT_HOME": str(place / "home"),
        "KIT_COMPETITIONS": str(place / "competitions"),
        "KIT_MIRROR": str(place / "mirror"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    return {
        "args": [sys.executable, str(place / "stopper.py"), *words],
        "env": {**os.environ, **settings, **more},
        "text": True,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }


@pytest.mark.parametrize(("name", "moment"), [(name, one) for name, moments in MOMENTS.items() for one in moments])
def test_an_interrupt_ends_in_one_line_with_130(place, name, moment):
    done = subprocess.run(**command(place, ARGUMENTS[name], STOP_AT=moment), check=False, timeout=120)
    assert done.returncode == 130, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    last = done.stderr.rstrip().splitlines()[-1]
    assert "goes on from there" in last, done.stderr


@pytest.mark.parametrize("name", ["run", "check"])
def test_the_same_command_afterwards_finishes(place, name):
    done = subprocess.run(**command(place, ARGUMENTS[name]), check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert not list((place / "home").rglob("*.part"))


def test_a_server_ends_by_an_interrupt(place):
    words = ("host", "toy", "--holdout", "0.3", "--port", "0")
    server = subprocess.Popen(**command(place, words))
    told = threading.Event()

    def listen():
        if "http://127.0.0.1" in server.stdout.readline():
            told.set()

    threading.Thread(target=listen, daemon=True).start()
    try:
        assert told.wait(90)
        time.sleep(0.2)
        server.send_signal(signal.SIGINT)
        _, err = server.communicate(timeout=30)
    finally:
        server.kill()
    assert server.returncode in (0, 130)
    assert "Traceback" not in err
