"""Completion in the shell: names of commands, competitions and what they have, runs, networks, keys; nothing heavy."""

import json
import shutil
import subprocess
import sys

import pytest

# Speaks the protocol of bash's completion with the command, several times in one process: (words) -> what is offered.
ASKS = """\
import contextlib, io, json, os, sys
from kit.cli.main import main
offered = []
for words in json.loads(sys.argv[1]):
    os.environ.update(_KIT_COMPLETE="complete_bash", COMP_WORDS=" ".join(words), COMP_CWORD=str(len(words) - 1))
    printed = io.StringIO()
    sys.argv = ["kit"]
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main()
    offered.append(printed.getvalue().split())
heavy = {"torch", "timm", "pandas", "numpy", "sklearn", "scipy", "cv2", "mlflow", "optuna"} & sys.modules.keys()
print(json.dumps([offered, sorted(heavy)]))
"""


def asked(questions: list[list[str]]) -> tuple[list[list[str]], list[str]]:
    """Return what is offered for each list of words, of which the last is to be completed; and what was imported."""
    done = subprocess.run(
        [sys.executable, "-c", ASKS, json.dumps(questions)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    offered, heavy = json.loads(done.stdout)
    return offered, heavy


def test_names_are_completed_and_nothing_heavy_is_imported(finished_toy):
    table = {
        ("kit", "li"): {"lint", "list"},
        ("kit", "kaggle", "f"): {"files"},
        ("kit", "run", "--para"): {"--parallel"},
        ("kit", "run", "to"): {"toy"},
        ("kit", "run", "toy", "--recipe", ""): {"baseline"},
        ("kit", "run", "toy", "--protocol", "off"): {"official"},
        ("kit", "run", "toy", "--source", ""): {"local"},
        ("kit", "run", "toy", "--set", "schedule.epo"): {"schedule.epochs="},
        # bash takes the sign for a word of its own
        ("kit", "run", "toy", "--set", "compile", "=", "de"): {"default"},
        ("kit", "run", "toy", "--set", "augment.mirror", "=", ""): {"true", "false"},
        ("kit", "run", "toy", "--set", "model.name", "=", "resnet10t"): {"resnet10t"},
        ("kit", "fit", "resnet10t"): {"resnet10t"},
        ("kit", "fit", "resnet10t."): {"resnet10t.c3_in1k"},
        ("kit", "fit", "nothing-of-that-name"): set(),
        ("kit", "judge", "toy-off"): {"toy-official"},  # the run
        ("kit", "cache", "--clear", "pa"): {"packs"},
        ("kit", "judge", "toy", "--predictions", "p.csv", "--metric", "accuracy_t"): set(),
        ("kit", "tune", "toy", "--name", ""): set(),
    }
    offered, heavy = asked([list(words) for words in table])
    found = {words: set(one) for words, one in zip(table, offered, strict=True)}
    assert all(name.startswith("toy-official") for name in found["kit", "judge", "toy-off"])
    assert len(found.pop(("kit", "judge", "toy-off"))) == 1
    del table["kit", "judge", "toy-off"]
    assert found == table
    assert heavy == []


def test_what_cannot_be_read_offers_nothing_and_says_nothing(toy_competition, tmp_path, monkeypatch):
    toy_competition()
    (tmp_path / "competitions" / "toy" / "competition.toml").write_text("= no TOML", encoding="utf-8")
    monkeypatch.setenv("KIT_HOME", "/dev/null/nowhere")
    offered, _ = asked([["kit", "run", "toy", "--protocol", ""], ["kit", "judge", "toy-"], ["kit", "publish", "zz"]])
    assert offered == [[], [], []]


@pytest.mark.parametrize(
    ("shell", "part"), [("bash", "complete -o"), ("zsh", "#compdef kit"), ("fish", "complete --command kit")]
)
def test_the_script_of_each_shell_is_printed(monkeypatch, shell, part):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")  # the tests have no shell above them
    done = subprocess.run(
        [sys.executable, "-m", "kit", "--show-completion", shell], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert part in done.stdout
    assert "_KIT_COMPLETE" in done.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_itself_completes_the_value_behind_the_sign(tmp_path):
    command = tmp_path / "kit"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m kit "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    words = "COMP_WORDS=(kit run pets --set loss.kind = f) COMP_CWORD=6"
    script = (
        f'eval "$(_KIT_COMPLETE=source_bash {command})"; {words}; _kit_completion {command}; echo "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["focal"], done.stderr
