"""The folder of a Kaggle notebook made of a run, for competitions that show their test images to notebooks only.

| file | holds |
| --- | --- |
| `kernel-metadata.json` `notebook.ipynb` | what `kaggle kernels push -p FOLDER` takes: private, offline, two T4 |
| `weights.json` | each file of weights with size and SHA-256: the run's models, or what training begins with |
| `wheels.txt` | the packages that the notebook needs; what the session's image lacks is downloaded beforehand |
| `dataset/` | what `kaggle datasets create -p FOLDER/dataset --dir-mode zip` takes: code, weights, wheels |

The notebook holds no code but calls of `kit.export.in_kernel` and `kit.export.train_in_kernel`.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any, Literal

from kit.board.records import RunRecord, run_folder
from kit.competition import Competition
from kit.config import Recipe, recipe_from_dict
from kit.errors import ConfigError, DataError
from kit.export.in_kernel import DESCRIPTION
from kit.export.write import export_runs
from kit.home import filling, make_folder, sha256_of_file, write_json, write_text
from kit.progress import Say
from kit.train.own import is_own
from kit.train.weights import find_weights
from kit.tune.recipe_file import recipe_toml

Mode = Literal["predict", "train"]
MODES: tuple[Mode, ...] = ("predict", "train")
MACHINE = "NvidiaTeslaT4"  # what Kaggle calls its sessions with two T4 of 16 GB each
HOURS = 9.0  # of a session with GPUs
LONGEST_TITLE = 50  # characters that Kaggle takes
# What the notebook never imports: talk with Kaggle, tracking, sweeps, the command line, pictures.
NOT_NEEDED = ("kaggle", "six", "mlflow", "optuna", "typer", "rich", "matplotlib")
FROM_THE_IMAGE = ("torch", "torchvision")  # built for the session's GPUs: no wheel takes their place
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{1,48}")


@dataclass(frozen=True, kw_only=True)
class ExportedKernel:
    """A notebook's folder that was written."""

    folder: Path
    kernel: str  # owner/name of the notebook
    dataset: str  # owner/name of its data set
    mode: Mode
    weights: tuple[Mapping[str, Any], ...]  # file, num_bytes, sha256
    wheels: tuple[str, ...]  # requirements


def export_kernel(
    competition: Competition,
    record: RunRecord,
    folder: Path,
    *,
    owner: str,
    mode: Mode = "predict",
    hours: float = HOURS,
    say: Say = print,
) -> ExportedKernel:
    """Write the folder of a notebook that answers, or trains, on Kaggle as a run did here; whole or not at all.

    Args:
        competition: that the run is of.
        record: the finished run.
        folder: empty, or not there yet.
        owner: name of the account on Kaggle.
        mode: "predict" with the run's models, or "train" with its recipe there.
        hours: of a session; the notebook stops in time before them.
        say: takes lines of progress.

    Raises:
        ConfigError: the folder is not empty, an option is out of range, or the network is code of the user's own.
        DataError: another competition's run, or a model of it is gone.
        WeightsError: the weights that training begins with are not on this machine.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already. Give a folder that is empty, or not there yet.")
    if not _NAME.fullmatch(owner):
        raise ConfigError(
            f"--owner {owner[:50]!r} is no account's name on Kaggle. It is the last part of your page there."
        )
    if not 0 < hours <= 24:
        raise ConfigError(f"--hours must be above 0 and at most 24, got {hours:g}. Sessions with GPUs last 9.")
    if record.competition != competition.slug:
        raise DataError(f"{record.run_id} is a run of {record.competition}, not of {competition.slug}. Give one of it.")
    recipe = recipe_from_dict(record.recipe, where=f"the recipe of {record.run_id}")
    if is_own(recipe.model.name):
        raise ConfigError(
            f"{record.run_id} trained {recipe.model.name}, code of your own, which the data set of a notebook does not "
            "carry. Export a run of one of timm's networks."
        )
    name = _slug(f"{competition.slug} {mode} {record.run_id.rsplit('-', 1)[-1]}")
    on_kaggle = competition.kaggle or competition.source(record.source).kaggle or competition.slug
    with filling(folder) as part:
        dataset = make_folder(part / "dataset")
        _write_code(dataset / "code", competition)
        if mode == "predict":
            export_runs([record], dataset / "model", say=say)
        else:
            _write_recipe(dataset, recipe, say=say)
        wheels = requirements()
        for path in (part / "wheels.txt", dataset / "wheels" / "wheels.txt"):
            write_text(path, "".join(f"{line}\n" for line in wheels))
        weights = _weights_of(dataset)
        write_json(part / "weights.json", weights)
        about = {
            "competition": competition.slug,
            "kaggle": on_kaggle,
            "protocol": record.protocol.partition("@")[0],  # what follows: that the source is not whole
            "run": record.run_id,
            "mode": mode,
            "clip": float(record.submission.get("clip", 0.0)) or _clip_of(record),
        }
        write_json(dataset / DESCRIPTION, about)
        made = ExportedKernel(
            folder=folder,
            kernel=f"{owner}/{name}",
            dataset=f"{owner}/{name}-files",
            mode=mode,
            weights=tuple(weights),
            wheels=tuple(wheels),
        )
        title = name.replace("-", " ")
        write_json(
            dataset / "dataset-metadata.json",
            {"id": made.dataset, "title": f"{title} files", "licenses": [{"name": "other"}]},
        )
        write_json(part / "kernel-metadata.json", _metadata(made, title=title, on_kaggle=on_kaggle))
        write_json(part / "notebook.ipynb", _notebook(made, record, title=title, hours=hours))
    return made


def _slug(text: str) -> str:
    """Return a name as Kaggle makes it of a title: small letters, digits and hyphens."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return plain[: LONGEST_TITLE - len("-files")].strip("-")


def _clip_of(record: RunRecord) -> float:
    """Return the clip of the run's submission where its record is older than the submission."""
    path = run_folder(record.run_id) / "submission.json"
    return float(json.loads(path.read_text(encoding="utf-8"))["clip"]) if path.is_file() else 0.0


def _write_code(folder: Path, competition: Competition) -> None:
    """Copy the kit and the competition: nothing else of either is needed there, nor has to be installed."""
    package = Path(__file__).resolve().parent.parent
    leave = shutil.ignore_patterns("__pycache__", "*.pyc", "_competitions", "_leaderboard")
    shutil.copytree(package, folder / "kit", ignore=leave)
    shutil.copytree(competition.folder, folder / "competitions" / competition.slug, ignore=leave)


def _write_recipe(dataset: Path, recipe: Recipe, *, say: Say) -> None:
    """Write the recipe and the weights that it begins with, which KIT_WEIGHTS names there."""
    found = find_weights(recipe.model.name, recipe.model.weights, pretraining_group=recipe.model.pretraining_group)
    weights = make_folder(dataset / "weights")
    if found is not None:
        if found.file is None or found.packaged:
            raise ConfigError(
                f"The weights of {recipe.model.name} come from {found.origin}, which a session without internet does "
                f"not reach. Save them as {recipe.model.name}.safetensors in a folder, name it in KIT_WEIGHTS, and "
                "export again."
            )
        target = _place_of(found.file, weights, model=recipe.model.name)
        shutil.copyfile(found.file, target)
        beside = found.file.with_name("config.json")
        if target.name == "model.safetensors" and beside.is_file():
            shutil.copyfile(beside, target.with_name("config.json"))
        model = replace(recipe.model, weights="auto", pretraining_group=found.pretraining_group or "")
        recipe = replace(recipe, model=model)
        say(f"weights: {found.origin}, {target.stat().st_size:,} bytes")
    write_text(dataset / "recipe.toml", recipe_toml(recipe))


def _place_of(file: Path, weights: Path, *, model: str) -> Path:
    """Return where `find_weights` looks for a file of weights below the folder that KIT_WEIGHTS names."""
    if file.name == "model.safetensors":  # a folder of timm's, with a config.json
        return make_folder(weights / model) / file.name
    bare = model.split(".")[0]
    return weights / (file.name if file.name.startswith(f"{bare}.") else f"{bare}{file.suffix}")


def requirements() -> list[str]:
    """Return the requirements of the kit that the notebook needs, one a line, without those that the image must have.

    Raises:
        ConfigError: the kit is not installed as a package, so that its requirements are not known.
    """
    try:
        lines = requires("competition-kit") or []
    except PackageNotFoundError as error:
        raise ConfigError(
            "The kit's requirements are not known: it runs from a folder, and is not installed. Install it with "
            "`pip install -e .` and run the command again."
        ) from error
    plain = [line for line in lines if "extra ==" not in line]
    left_out = (*NOT_NEEDED, *FROM_THE_IMAGE)
    return [line for line in plain if re.split(r"[^A-Za-z0-9_-]", line, maxsplit=1)[0].lower() not in left_out]


def _weights_of(dataset: Path) -> list[dict[str, Any]]:
    files = [path for path in sorted(dataset.rglob("*")) if path.suffix in (".safetensors", ".pth", ".bin", ".onnx")]
    return [
        {"file": str(path.relative_to(dataset)), "num_bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
        for path in files
    ]


def _metadata(made: ExportedKernel, *, title: str, on_kaggle: str) -> dict[str, Any]:
    return {
        "id": made.kernel,
        "title": title,
        "code_file": "notebook.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "enable_tpu": False,
        "enable_internet": False,
        "machine_shape": MACHINE,
        "dataset_sources": [made.dataset],
        "competition_sources": [on_kaggle],
        "kernel_sources": [],
        "model_sources": [],
    }


def _notebook(made: ExportedKernel, record: RunRecord, *, title: str, hours: float) -> dict[str, Any]:
    """Return the notebook as nbformat 4.5 has it."""
    verb = "answers with the models of" if made.mode == "predict" else "trains by the recipe of"
    cells: Sequence[tuple[str, str]] = (
        (
            "markdown",
            f"# {title}\n\nThis notebook {verb} the run `{record.run_id}`, offline, on every GPU of the session, and "
            "writes `submission.csv`. It stops in time before the session's end. To go on after that, add its own "
            "output as an input and run it again.",
        ),
        ("code", _BEGIN.format(hours=f"{hours:g}")),
        ("code", "print(install_missing(bundle) or 'the image has all packages that are needed')"),
        ("code", _PREDICT if made.mode == "predict" else _TRAIN),
    )
    return {
        "cells": [
            {
                "cell_type": kind,
                "id": f"cell-{number}",
                "metadata": {},
                "source": source,
                **({"execution_count": None, "outputs": []} if kind == "code" else {}),
            }
            for number, (kind, source) in enumerate(cells, 1)
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


_BEGIN = """\
import os
import sys
from pathlib import Path

root = Path(os.environ.get("KIT_KERNEL_INPUT", "/kaggle/input"))
working = Path(os.environ.get("KIT_KERNEL_WORKING", "/kaggle/working"))
temporary = Path(os.environ.get("KIT_KERNEL_TEMPORARY", "/tmp/kit"))
limit_seconds = 3600 * float(os.environ.get("KIT_KERNEL_HOURS", "{hours}"))
# The data set is where its description lies, some folders below the input folder.
found = [path for depth in range(1, 5) for path in sorted(root.glob("*/" * depth + "kernel.json"))]
assert found, f"the notebook's data set is not attached: no kernel.json below {{root}}"
bundle = found[0].parent
sys.path.insert(0, str(bundle / "code"))

from kit.export.in_kernel import Session, install_missing

session = Session(bundle=bundle, root=root, working=working, temporary=temporary, limit_seconds=limit_seconds)
"""
_PREDICT = """\
from kit.export.in_kernel import predict_there

submission = predict_there(session)
"""
_TRAIN = """\
from kit.export.train_in_kernel import train_there

submission = train_there(session)
"""
