"""A user's mistake, whatever the option: exit code 2, one paragraph, no stack trace; and the nearest name."""

import re
import subprocess
import sys

import pytest
from test_cli_json import COMMANDS
from toys import make_toy_competition, write_files

from kit.errors import EXIT_CODES, did_you_mean

NONSENSE = "no-such-thing"
NEEDED = {  # values for what a command cannot do without; capitals of an argument's name in the help
    "SLUG": "toy",
    "TARGET": "toy",
    "RUN": NONSENSE,
    "RUN...": NONSENSE,
    "MODEL": "resnet10t",
    "FILE": "missing.csv",
    "FOLDER": "missing",
    "PATHS...": "missing.png",
    "NAME": "toy",
    "SCORE": "0.5",
}
# What takes any text (a message, a host), names what is to be written, or is for people who are not asked here.
FREE = {"--message", "--out", "--to", "--owner", "--name", "--pause", "--track", "--help", "--label", "--urls"}
SERVING = {"host", "ui"}  # which would begin to serve; their mistakes are in their own tests
ASKING = {"standing", "submit", "submissions", "kaggle login-check", "kaggle files", "kaggle get"}  # need an account


def wrong_command_lines():
    """Yield, for each option of each command that takes a value, a command line with a value that means nothing."""
    for name, command in COMMANDS.items():
        if name in SERVING or name in ASKING:
            continue
        needed = [
            NEEDED.get(one.metavar or one.name.upper(), NONSENSE)
            for one in command.params
            if not one.opts[0].startswith("-") and one.required
        ]
        required = [
            part
            for one in command.params
            if one.required and one.opts[0].startswith("--")
            for part in (one.opts[0], NONSENSE)
        ]
        for option in command.params:
            if not option.opts[0].startswith("-") or getattr(option, "is_flag", False) or option.opts[0] in FREE:
                continue
            others = [part for part in required if part != option.opts[0]] if option.required else required
            yield [*name.split(), *needed, *(others if not option.required else []), option.opts[0], NONSENSE]
        if required or needed:
            yield name.split()  # without what it needs
        yield [*name.split(), "--" + NONSENSE]


LINES = list(wrong_command_lines())


@pytest.fixture(scope="module")
def toy_place(tmp_path_factory):
    """Return a folder with the toy and its mirror, which no wrong command line changes."""
    place = tmp_path_factory.mktemp("toy")
    make_toy_competition(place)
    return place


def test_there_are_many_wrong_command_lines():
    assert len(LINES) > 60


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_a_value_that_means_nothing_ends_in_one_paragraph(line, toy_place, kit, tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_COMPETITIONS", str(toy_place / "competitions"))
    monkeypatch.setenv("KIT_MIRROR", str(toy_place / "mirror"))
    monkeypatch.chdir(tmp_path)
    code, out, err = kit(*line)
    assert code == 2, (out, err)
    assert "Traceback" not in out + err
    message = err[err.rindex("kit: ") :]
    assert message.count("\n") == 1, message
    assert message.rstrip().endswith((".", "?")), message


# Names that are nearly right.


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["lst"], "Did you mean 'list'?"),
        (["kaggle", "fils"], "Did you mean 'files'?"),
        (["run", "toy", "--protocl", "x"], "Did you mean '--protocol'?"),
        (["run", "toy", "--pa", "3"], "Did you mean '--parallel'?"),
        (["fit", "resnet18", "--amp", "bf17"], "Did you mean 'bf16'?"),
        (["fit", "resnet10"], "Did you mean 'resnet10t'?"),
        (["run", "tyo"], "Did you mean 'toy'?"),
        (["run", "TOY"], "Did you mean 'toy'?"),
        (["list", "tyo"], "Did you mean 'toy'?"),
        (["ledger", "tyo"], "Did you mean 'toy'?"),
        (["run", "toy", "--recipe", "baselin"], "Did you mean 'baseline'?"),
        (["run", "toy", "--protocol", "oficial"], "Did you mean 'official'?"),
        (["run", "toy", "--source", "locale"], "Did you mean 'local'?"),
        (["run", "toy", "--labels", "csw"], "Did you mean 'csv'?"),
        (["run", "toy", "--set", "schedule.epoch=3"], "Did you mean 'schedule.epochs'?"),
        (["run", "toy", "--epochs", "3"], "Recipe keys are set by `--set schedule.epochs=3`."),
        (["train", "toy", "--lr=0.1"], "Recipe keys are set by `--set schedule.lr=1e-3`."),
        (["run", "toy", "--model", "resnet18"], "Recipe keys are set by `--set model.name=resnet18`."),
        (["run", "toy", "--set", "model.name=resnet10"], "Did you mean 'resnet10t'?"),
        (["publish", "toy-oficial"], "Did you mean 'toy-official"),
        (["judge", "toy-oficial"], "Did you mean 'toy-official"),
        (["reproduce", "toy-oficial"], "Did you mean 'toy-official"),
        (["judge", "toy", "--predictions", "p.csv", "--metric", "acuracy"], "Did you mean 'accuracy'?"),
        (["blend", "toy", "toy", "--rule", "gredy"], "Did you mean 'greedy'?"),
        (["cache", "--clear", "pack"], "Did you mean 'packs'?"),
        (["export-kernel", "toy", "--run", "toy", "--owner", "me", "--mode", "trian"], "Did you mean 'train'?"),
        (["predict", "x", "y", "--test-views", "miror"], "Did you mean 'mirror'?"),
        (["export", "toy", "x", "--model", "ful"], "Did you mean 'full'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_nearest_name_is_said(line, expected, kit, finished_toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "competitions" / "toy" / "competition.toml"
    text = path.read_text(encoding="utf-8")
    path.unlink()  # it is a hard link
    more = '\n[more_labels.csv]\nrule = "csv"\nfile = "labels.csv"\nlabel_column = "colour"\n'
    write_files(
        tmp_path, {"competitions/toy/competition.toml": (text + more).encode(), "p.csv": b"image_id,label\na,b\n"}
    )
    code, out, err = kit(*line)
    assert code == 2, (out, err)
    assert expected in err, err


def test_a_name_that_is_like_nothing_gets_no_guess_and_capitals_do_not_matter():
    assert did_you_mean("xyz", ["pets", "mnist"]) == ""
    assert did_you_mean("", ["pets"]) == ""
    assert did_you_mean("Pets", ["pets", "mnist"]) == " Did you mean 'pets'?"
    assert did_you_mean("accuracy", ["ACCURACY_5"]) == " Did you mean 'ACCURACY_5'?"
    assert did_you_mean("epoch", ["epochs"], before="schedule.") == " Did you mean 'schedule.epochs'?"
    assert did_you_mean("resnet5", ["resnet50d", "resnet50"]) == " Did you mean 'resnet50'?"


def test_the_exit_codes_stand_in_the_help_as_in_the_code(kit):
    _, out, _ = kit("--help")
    shown = dict(re.findall(r"^ +(\d+)  (.*)$", out[out.index("Exit codes:") :], re.MULTILINE))
    assert shown == {str(code): meaning for code, meaning in EXIT_CODES.items()}


def test_a_reader_that_has_seen_enough_is_no_fault():
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m kit list pets | head -1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
