"""A run as a Kaggle notebook: the folder that the client takes, and code cells that make the run's own submission."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from kit.board.records import all_records, run_folder
from kit.cli.export_kernel import export_kernel as command
from kit.competition import load_competition
from kit.config import read_recipe
from kit.errors import ConfigError, DataError
from kit.export import in_kernel
from kit.export.in_kernel import Session, folders_below, install_missing, predict_there
from kit.export.kernel import NOT_NEEDED, export_kernel, requirements
from kit.export.train_in_kernel import train
from kit.home import family, sha256_of_file
from kit.run import run
from kit.train.weights import Weights, find_weights

HUB = Weights(file=None, origin="hub (timm/resnet10t)", pretraining_group="imagenet-1k")

# Runs a notebook's code cells as a session without internet would: no socket, and none of what it should not need.
RUNNER = """
import builtins, json, socket, sys
def refuse(*args, **kwargs):
    raise OSError("there is no network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {refused}:
            raise ImportError(name + " is not in the image")
sys.meta_path.insert(0, Refuse())
names = {{"__name__": "__main__"}}
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] == "code":
        exec(compile(cell["source"], cell["id"], "exec"), names)
"""


def quiet(line: str) -> None:
    """Take a line of progress."""


@pytest.fixture
def record(finished_toy):
    (found,) = all_records()
    return found


def exported(record, folder: Path, **options) -> Path:
    export_kernel(load_competition("toy"), record, folder, owner="somebody", say=quiet, **options)
    return folder


def mounted(folder: Path, record, root: Path) -> Path:
    """Lay out an input folder as Kaggle does: the competition's files, and the notebook's data set."""
    root.mkdir(parents=True)
    (root / "datasets").mkdir()
    (root / "datasets" / "the-files").symlink_to(folder / "dataset")
    (root / "toy").symlink_to(family("data") / "toy" / record.source)
    return root


def run_notebook(folder: Path, root: Path, working: Path, *, hours: float = 1.0) -> subprocess.CompletedProcess:
    """Run a notebook's code cells in an environment that has nothing of ours, and no network."""
    working.mkdir(exist_ok=True)
    runner = working.parent / "runner.py"
    runner.write_text(RUNNER.format(refused=set(NOT_NEEDED) - {"six"}))
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(working.parent / "nobody"),
        "OMP_NUM_THREADS": "1",
        "KIT_KERNEL_INPUT": str(root),
        "KIT_KERNEL_WORKING": str(working),
        "KIT_KERNEL_TEMPORARY": str(working.parent / "temporary"),
        "KIT_KERNEL_HOURS": str(hours),
    }
    command = [sys.executable, str(runner), str(folder / "notebook.ipynb")]
    return subprocess.run(command, env=env, cwd=working, capture_output=True, text=True, timeout=300)


def test_the_folder_is_what_the_client_takes(record, tmp_path):
    from kaggle.api.kaggle_api_extended import KaggleApi

    folder = exported(record, tmp_path / "kernel")
    notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    about = json.loads((folder / "kernel-metadata.json").read_text())
    assert (about["enable_internet"], about["enable_gpu"], about["is_private"]) == (False, True, True)
    assert about["machine_shape"] == "NvidiaTeslaT4"
    assert about["competition_sources"] == ["toy"]
    assert about["id"].split("/")[1] == about["title"].replace(" ", "-")  # as Kaggle makes a name of a title
    assert about["kernel_type"] in KaggleApi.valid_push_kernel_types
    assert about["language"] in KaggleApi.valid_push_language_types
    own = json.loads((folder / "dataset" / "dataset-metadata.json").read_text())
    assert about["dataset_sources"] == [own["id"]]
    assert 6 <= len(own["title"]) <= 50


def test_the_real_client_takes_the_folder_as_it_is(record, tmp_path, monkeypatch, capsys):
    from kaggle.api.kaggle_api_extended import KaggleApi

    folder = exported(record, tmp_path / "kernel", mode="train")
    sent = []

    class Server:  # stands where the client would talk with Kaggle
        kernels = property(lambda self: self)
        kernels_api_client = property(lambda self: self)

        def save_kernel(self, request):
            sent.append(request)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

    api = KaggleApi()
    monkeypatch.setattr(api, "build_kaggle_client", Server)
    capsys.readouterr()  # what the client says of credentials when it is imported
    api.kernels_push(str(folder))
    assert capsys.readouterr().out == ""  # no warning that title and name do not fit
    (request,) = sent
    assert (request.enable_internet, request.enable_gpu, request.machine_shape) == (False, True, "NvidiaTeslaT4")
    assert request.dataset_data_sources == [f"{request.slug}-files"]
    assert "train_there(session)" in request.text


def test_the_lists_name_every_file_of_weights_and_no_package_that_is_not_needed(record, tmp_path):
    folder = exported(record, tmp_path / "kernel")
    (weights,) = json.loads((folder / "weights.json").read_text())
    assert weights["sha256"] == sha256_of_file(folder / "dataset" / weights["file"])
    wheels = (folder / "wheels.txt").read_text().splitlines()
    assert wheels == requirements()
    names = {line.split(">")[0].split("<")[0] for line in wheels}
    assert {"timm", "safetensors", "pandas"} <= names
    assert not names & {*NOT_NEEDED, "torch"}
    assert install_missing(folder / "dataset") == []


def test_a_package_that_is_neither_in_the_image_nor_among_the_wheels_is_named(record, tmp_path):
    folder = exported(record, tmp_path / "kernel")
    (folder / "dataset" / "wheels" / "wheels.txt").write_text("no-such-package-of-ours>=3\n")
    with pytest.raises(ConfigError, match="lacks no-such-package-of-ours>=3"):
        install_missing(folder / "dataset")


def test_the_notebook_makes_the_runs_own_submission_without_a_network(record, tmp_path):
    folder = exported(record, tmp_path / "kernel")
    done = run_notebook(folder, mounted(folder, record, tmp_path / "input"), tmp_path / "working")
    assert done.returncode == 0, done.stdout + done.stderr
    own = run_folder(record.run_id) / "submission.csv"
    assert (tmp_path / "working" / "submission.csv").read_bytes() == own.read_bytes()


def test_training_there_makes_the_runs_own_submission(record, tmp_path):
    folder = exported(record, tmp_path / "kernel", mode="train")
    done = run_notebook(folder, mounted(folder, record, tmp_path / "input"), tmp_path / "working")
    assert done.returncode == 0, done.stdout + done.stderr
    own = run_folder(record.run_id) / "submission.csv"
    assert (tmp_path / "working" / "submission.csv").read_bytes() == own.read_bytes()
    assert list((tmp_path / "working" / "runs").glob("*/record.json"))  # what the next session would go on from


def test_training_that_is_cut_hands_in_what_is_done_and_the_next_session_ends_it(
    finished_toy, tmp_path, monkeypatch, capsys
):
    _, record = run(finished_toy, overrides=["schedule.epochs=2"], say=quiet)
    folder = exported(record, tmp_path / "kernel", mode="train")
    root = mounted(folder, record, tmp_path / "input")
    for name in ("KIT_WEIGHTS", "HF_HUB_OFFLINE"):  # set by the training, taken back here
        monkeypatch.setenv(name, "1")
    lines = []

    def stop_in_the_second_fold(line: str) -> None:
        lines.append(line)
        if line.startswith("fold-1  epoch 1/2"):
            os.kill(os.getpid(), signal.SIGTERM)  # as the guard does when the time is nearly over

    own = run_folder(record.run_id) / "submission.csv"
    own_bytes = own.read_bytes()
    train(session(folder, root, tmp_path / "working"), say=stop_in_the_second_fold)
    assert lines[-1].endswith("Models that are done: fold-0")
    submission = tmp_path / "working" / "submission.csv"
    assert len(submission.read_text().splitlines()) == 1 + 6
    lines.clear()
    train(session(folder, root, tmp_path / "working"), say=lines.append)
    assert any("goes on after step" in line for line in lines)
    assert not any(line.startswith("fold-0  epoch") for line in lines)
    assert submission.read_bytes() == own_bytes


@pytest.mark.parametrize("name", ["mine.pth", "resnet10t.c3_in1k.safetensors", "resnet10t/model.safetensors"])
def test_the_weights_that_training_begins_with_travel_along_and_are_found_there(record, tmp_path, monkeypatch, name):
    file = tmp_path / "weights" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"tensors")
    begun = {**record.recipe, "model": {**record.recipe["model"], "weights": str(file)}}
    folder = exported(replace(record, recipe=begun), tmp_path / "kernel", mode="train")
    (listed,) = json.loads((folder / "weights.json").read_text())
    monkeypatch.setenv("KIT_WEIGHTS", str(folder / "dataset" / "weights"))
    recipe = read_recipe(folder / "dataset" / "recipe.toml")
    found = find_weights(recipe.model.name, recipe.model.weights)
    assert found.file == folder / "dataset" / listed["file"]
    assert found.file.read_bytes() == b"tensors"


def test_weights_that_are_only_on_the_hub_are_refused_with_the_way_out(record, tmp_path, monkeypatch):
    monkeypatch.setattr("kit.export.kernel.find_weights", lambda *args, **options: HUB)
    with pytest.raises(ConfigError, match=r"hub \(timm/resnet10t\).* Save them as resnet10t.safetensors"):
        exported(record, tmp_path / "kernel", mode="train")
    assert not (tmp_path / "kernel").exists()


def test_training_without_time_for_a_model_says_how_to_go_on(record, tmp_path):
    folder = exported(record, tmp_path / "kernel", mode="train")
    done = run_notebook(folder, mounted(folder, record, tmp_path / "input"), tmp_path / "working", hours=1e-9)
    assert done.returncode == 1
    assert "the time is over: training is asked to stop" in done.stdout
    assert "attach this session's output (kernel_sources) and run again" in done.stderr


def session(folder: Path, root: Path, working: Path, *, limit_seconds: float = 3600) -> Session:
    working.mkdir(exist_ok=True)
    return Session(
        bundle=folder / "dataset",
        root=root,
        working=working,
        temporary=working.parent / "temporary",
        limit_seconds=limit_seconds,
    )


def test_a_session_that_was_cut_is_gone_on_with(record, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("kit.export.answer.AT_ONCE", 2)  # 6 test images: 3 parts
    folder = exported(record, tmp_path / "kernel")
    root = mounted(folder, record, tmp_path / "input")
    first = predict_there(session(folder, root, tmp_path / "first"))
    kept = sorted((tmp_path / "first" / "answers").iterdir())
    assert [path.name for path in kept] == ["000000.npz", "000001.npz", "000002.npz"]
    kept[1].unlink()
    (root / "the-notebook").mkdir()  # as Kaggle attaches an earlier output
    (root / "the-notebook" / "answers").symlink_to(tmp_path / "first" / "answers")
    second = predict_there(session(folder, root, tmp_path / "second"))
    assert "6 test images, 4 answered before" in capsys.readouterr().out
    assert second.read_bytes() == first.read_bytes()


def test_damaged_or_foreign_answers_of_before_are_not_believed(record, tmp_path):
    folder = exported(record, tmp_path / "kernel")
    root = mounted(folder, record, tmp_path / "input")
    own = (run_folder(record.run_id) / "submission.csv").read_bytes()
    answers = tmp_path / "working" / "answers"
    answers.mkdir(parents=True)
    paths = [f"test/{name}/{k:03d}.png" for name in ("blue", "green", "red") for k in (3, 7)]
    wrong = np.tile(np.array([[0.0, 1.0, 0.0]], dtype=np.float32), (6, 1))
    np.savez(answers / "000000.npz", paths=np.array(paths), values=wrong, num=6, key="another export's")
    assert predict_there(session(folder, root, tmp_path / "working")).read_bytes() == own
    (answers / "000000.npz").write_bytes(b"PK\x03\x04 cut")
    assert predict_there(session(folder, root, tmp_path / "working")).read_bytes() == own


def test_when_the_time_is_over_it_hands_in_what_it_has(record, tmp_path, capsys):
    folder = exported(record, tmp_path / "kernel")
    root = mounted(folder, record, tmp_path / "input")
    path = predict_there(session(folder, root, tmp_path / "working", limit_seconds=1e-6))
    assert len(path.read_text().splitlines()) == 1 + 6  # every id, as the competition wants it
    assert "6 of 6 images have no answer of their own" in capsys.readouterr().out


def test_a_run_on_part_of_the_files_answers_by_its_protocol_and_the_input_is_listed_once(record, tmp_path, monkeypatch):
    monkeypatch.setattr("kit.export.answer.AT_ONCE", 1)  # 6 parts
    folder = exported(replace(record, protocol=f"{record.protocol}@{record.source}"), tmp_path / "kernel")
    asked = []
    monkeypatch.setattr(in_kernel, "folders_below", lambda root: asked.append(root) or folders_below(root))
    path = predict_there(session(folder, mounted(folder, record, tmp_path / "input"), tmp_path / "working"))
    assert path.read_bytes() == (run_folder(record.run_id) / "submission.csv").read_bytes()
    assert len(asked) == 2  # for the data, and for earlier answers


def test_two_devices_share_the_images(record, tmp_path, monkeypatch):
    monkeypatch.setattr("kit.export.answer.AT_ONCE", 1)
    monkeypatch.setattr("kit.export.in_kernel.devices", lambda: [torch.device("cpu")] * 2)
    folder = exported(record, tmp_path / "kernel")
    path = predict_there(session(folder, mounted(folder, record, tmp_path / "input"), tmp_path / "working"))
    assert path.read_bytes() == (run_folder(record.run_id) / "submission.csv").read_bytes()
    assert len(list((tmp_path / "working" / "answers").iterdir())) == 6


def test_archives_are_unpacked_beside_the_input_which_is_left_alone(record, tmp_path):
    import shutil

    folder = exported(record, tmp_path / "kernel")
    root = mounted(folder, record, tmp_path / "input")
    data = (root / "toy").resolve()
    (root / "toy").unlink()
    (root / "competitions" / "toy").mkdir(parents=True)
    shutil.make_archive(str(root / "competitions" / "toy" / "images"), "zip", data)
    before = sorted((root / "competitions" / "toy").iterdir())
    path = predict_there(session(folder, root, tmp_path / "working"))
    assert path.read_bytes() == (run_folder(record.run_id) / "submission.csv").read_bytes()
    assert sorted((root / "competitions" / "toy").iterdir()) == before


def test_a_competition_that_is_not_attached_is_named(record, tmp_path):
    folder = exported(record, tmp_path / "kernel")
    root = mounted(folder, record, tmp_path / "input")
    (root / "toy").unlink()
    with pytest.raises(DataError, match=r"No folder 'toy' is below .* competition_sources"):
        predict_there(session(folder, root, tmp_path / "working"))


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(record, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        exported(record, tmp_path / "full")
    with pytest.raises(ConfigError, match="no account's name"):
        export_kernel(load_competition("toy"), record, tmp_path / "new", owner="../me", say=quiet)
    with pytest.raises(ConfigError, match="--hours must be above 0"):
        exported(record, tmp_path / "new", hours=0.0)
    assert not (tmp_path / "new").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_the_command_says_what_to_do_next(record, tmp_path):
    app = typer.Typer()
    app.command("export-kernel")(command)
    app.command("none")(lambda: None)
    out = tmp_path / "kernel"
    arguments = ["export-kernel", "toy", "--run", record.run_id, "--out", str(out)]
    done = CliRunner().invoke(app, [*arguments, "--owner", "somebody"])
    assert done.exit_code == 0, done.output
    assert f"kaggle kernels push -p {out}" in done.stdout
    refused = CliRunner().invoke(app, arguments)
    assert isinstance(refused.exception, ConfigError)
    assert "--owner NAME" in str(refused.exception)
