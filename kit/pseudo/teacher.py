"""The teacher: each model of a finished run labels the test images for the student's model of the same fold."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kit.board.records import RunRecord, run_folder
from kit.config import recipe_from_dict
from kit.data.pseudo_labels import PseudoLabels, marked, pseudo_rows
from kit.data.schema import TARGET, read_samples_table
from kit.errors import DataError
from kit.home import fingerprint, sha256_of_file, write_json, writing
from kit.plan import RunPlan, pack_for
from kit.progress import Say
from kit.train.models import ModelFolder, find_model

LABELLING_VERSION = 1  # goes up when the same teacher would label otherwise
KEPT = ["image_id", "label", "probability"]  # columns of a file of pseudo-labels, and the targets where there are any


def pseudo_labels(
    plan: RunPlan, teacher: RunRecord, *, threshold: float, weight: float = 1.0, say: Say = print
) -> PseudoLabels:
    """Return the test images labelled by a run, for each of its models apart; what is there already is read back.

    The files stand in the teacher's folder, `pseudo-labels/<version>/fold-K.csv`, with `about.json`. The version is
    that of the teacher's checkpoints, the threshold and the weight.

    Args:
        plan: of the teacher's images, network and sizes: its own plan.
        teacher: the run's record.
        threshold: see `kit.data.pseudo_labels.pseudo_rows`, as for the weight.
        weight: of each row.
        say: takes lines of progress.

    Raises:
        ConfigError: threshold or weight out of range.
        DataError: no test images, no model, or no image that any model is sure enough of.
    """
    models = _models(plan, teacher)
    key = fingerprint(
        str(LABELLING_VERSION),
        teacher.run_id,
        repr((threshold, weight)),
        plan.samples.fingerprint,
        *(model.history["sha256"] for model in models),
    )
    folder = run_folder(teacher.run_id) / "pseudo-labels" / key[:12]
    found = _read(folder, plan, models, threshold=threshold, weight=weight)
    if found is not None:
        say(f"the pseudo-labels of {teacher.run_id} at {threshold:g} are there already: {folder}")
        return found
    rows = _label_now(plan, teacher, models, threshold=threshold, weight=weight, say=say)
    if all(part.empty for part in rows.values()):
        raise DataError(
            f"No model of {teacher.run_id} is sure enough of any of the {len(plan.samples.test):,} test images: none "
            f"has a probability of {threshold:g}. Give a lower --threshold, or train a better teacher."
        )
    for name, part in rows.items():
        targets = [column for column in part.columns if str(column).startswith(TARGET)]
        with writing(folder / f"{name}.csv") as file:
            part[[*KEPT, *targets]].to_csv(file, index=False, lineterminator="\n")
    about = {
        "version": key[:12],
        "teacher": teacher.run_id,
        "threshold": threshold,
        "weight": weight,
        "num_test": len(plan.samples.test),
        "num_labelled": {name: len(part) for name, part in rows.items()},
        "models": {model.name: model.history["sha256"] for model in models},
        "files": {name: sha256_of_file(folder / f"{name}.csv") for name in rows},
    }
    write_json(folder / "about.json", about)
    # Read back even when just written: a second run must start from the very same numbers.
    found = _read(folder, plan, models, threshold=threshold, weight=weight)
    assert found is not None
    return found


def _models(plan: RunPlan, teacher: RunRecord) -> list[ModelFolder]:
    if plan.samples.test.empty:
        raise DataError(
            f"The protocol {plan.protocol_id} of {plan.competition.slug} has no test images that could be labelled. "
            f"Its protocols: {', '.join(plan.competition.protocols)}."
        )
    if not plan.recipe.num_folds:
        raise DataError(
            f"{teacher.run_id} has no folds, and whether pseudo-labels help is told out of fold. Run it with --folds 5."
        )
    found = [(name, find_model(run_folder(teacher.run_id) / "models", name)) for name in plan.models]
    if missing := [name for name, model in found if model is None]:
        raise DataError(
            f"{teacher.run_id} has no whole model {', '.join(missing)}, so it cannot teach. A teacher is a run that "
            f"was trained on this machine (a blend has no models): `kit run {plan.competition.slug}` makes one."
        )
    return [model for _, model in found if model is not None]


def _label_now(
    plan: RunPlan,
    teacher: RunRecord,
    models: list[ModelFolder],
    *,
    threshold: float,
    weight: float,
    say: Say,
) -> dict[str, pd.DataFrame]:
    from kit.train.checkpoint import load_checkpoint
    from kit.train.inference import answers
    from kit.train.model import choose_device

    recipe = recipe_from_dict(teacher.recipe, where=f"the recipe of {teacher.run_id}")
    pack, test = pack_for(plan, say=say), plan.samples.test
    rows = {}
    for model in models:
        checkpoint = load_checkpoint(model.checkpoint, config=recipe.model)
        probabilities = answers(checkpoint, pack, test, recipe=recipe, device=choose_device(recipe.device))
        rows[model.name] = pseudo_rows(
            test,
            probabilities,
            classes=plan.samples.classes,
            several=plan.several_labels,
            threshold=threshold,
            weight=weight,
        )
        say(f"{model.name}: {len(rows[model.name]):,} of {len(test):,} test images are labelled at {threshold:g}")
    return rows


def _read(
    folder: Path, plan: RunPlan, models: list[ModelFolder], *, threshold: float, weight: float
) -> PseudoLabels | None:
    """Return what `folder` holds, or None where it is not whole: about.json is written last, with the checksums."""
    try:
        about: Mapping[str, Any] = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        whole = all(sha256_of_file(folder / f"{one.name}.csv") == about["files"][one.name] for one in models)
    except (OSError, ValueError, KeyError):
        return None
    if not whole:
        return None
    rows = {one.name: _rows_of(folder / f"{one.name}.csv", plan, weight=weight) for one in models}
    return PseudoLabels(rows=rows, about=about, fingerprint=fingerprint(json.dumps(about, sort_keys=True)))


def _rows_of(path: Path, plan: RunPlan, *, weight: float) -> pd.DataFrame:
    """Return a file's rows as `pseudo_rows` made them."""
    kept = read_samples_table(path)
    rows = plan.samples.test.set_index("image_id").loc[kept["image_id"]].reset_index()
    for column in kept.columns:
        if column == "label" or column.startswith(TARGET):
            rows[column] = kept[column]
    return marked(rows, probability=kept["probability"].to_numpy(dtype=np.float64), weight=weight)
