"""A finished run, as far as it is still there: its predictions, and where its images and networks can be had.

Images and networks may be gone, of a record that came from another machine for one. Then asking for them raises the
error that says what is missing, and everything that needs none of them still works.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from kit.board.records import RunRecord, run_folder
from kit.competition import load_competition
from kit.config import Recipe, recipe_from_dict
from kit.data.schema import read_samples_table
from kit.errors import CompetitionError, DataError, WeightsError
from kit.files.fetch import data_folder
from kit.home import family
from kit.interpret.images import ReadImage, images_of_folder, images_of_pack
from kit.interpret.networks import Networks
from kit.judge.predict import PREFIX, Predictions, read_predictions
from kit.store.decode import Image, printable
from kit.store.pack import Pack
from kit.train.checkpoint import load_checkpoint
from kit.train.model import Network, choose_device
from kit.train.models import FULL, find_model

KINDS = ("out-of-fold", "test")  # whose rows one network each has answered; the first that is there is looked at


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedRun:
    """What is left of a run."""

    record: RunRecord
    recipe: Recipe
    predictions: Predictions
    read: ReadImage  # raises a KitError where the images are gone
    networks: Networks  # `of_fold` raises a KitError where the checkpoint is gone
    groups: Mapping[str, str]  # image id -> group; empty where the sample table is gone


def finished_run(
    record: RunRecord, *, kind: str | None = None, pack: Pack | None = None, device: str = "auto"
) -> FinishedRun:
    """Return what is left of a run on this machine.

    Args:
        record: of the run.
        kind: which predictions; default: out of fold where there are some, because whoever looks at single test images
            and then changes something has chosen on the test; else those of the test images.
        pack: the run's images, if they are open; else files are read from the data folder, each when it is asked for.
        device: where networks compute.

    Raises:
        DataError: no predictions with known labels are left, or none of this kind.
    """
    folder = run_folder(record.run_id)
    recipe = _recipe_of(record)
    predictions = _predictions(folder, record.run_id, kinds=KINDS if kind is None else (kind,))
    table, data = _table_of(record), _data_of(record)
    if pack is not None:
        read = images_of_pack(pack)
    elif table is not None and data.is_dir():
        read = images_of_folder(data, table, store=recipe.input)
    else:
        read = _no_images(record, what=f"the data folder {data}" if table is not None else "their sample table")

    @lru_cache(maxsize=1)  # the fold before is not needed again
    def of_fold(fold: int) -> Network:
        if "own" in record.recipe:
            raise WeightsError(
                f"{record.run_id} was answered by a model of somebody's own, {record.network['name']}: there is no "
                "network to look into."
            )
        name = FULL if fold < 0 else f"fold-{fold}"
        model = find_model(folder / "models", name)
        if model is None:
            raise WeightsError(
                f"The network {name} of {record.run_id} is not on this machine, or its file is damaged, so what it "
                f"looks at cannot be shown. `kit train {record.competition}` with the run's settings trains it again."
            )
        return load_checkpoint(model.checkpoint, config=recipe.model).network

    return FinishedRun(
        record=record,
        recipe=recipe,
        predictions=predictions,
        read=read,
        networks=Networks(
            of_fold=of_fold,
            image_size=recipe.input.image_size,
            test_crop=recipe.input.test_crop,
            device=choose_device(device),
        ),
        groups={} if table is None else dict(zip(table["image_id"], table["group"], strict=True)),
    )


def _recipe_of(record: RunRecord) -> Recipe:
    """Return a run's recipe; of a model of somebody's own, which has none, how its images were stored."""
    if "own" not in record.recipe:
        return recipe_from_dict(record.recipe, where=f"the recipe of {record.run_id}")
    sizes = {key: value for key, value in record.recipe["input"].items() if value is not None}
    return recipe_from_dict({"input": sizes}, where=f"the recipe of {record.run_id}")


def _data_of(record: RunRecord) -> Path:
    """Return where a run's images lie; of a competition that is not there any more, where fetched files would."""
    try:
        return data_folder(load_competition(record.competition), record.source)
    except CompetitionError:
        return family("data") / record.competition / record.source


def _predictions(folder: Path, run_id: str, *, kinds: tuple[str, ...]) -> Predictions:
    reasons = []
    for kind in kinds:
        path = folder / "predictions" / f"{kind}.csv"
        if not path.is_file():
            reasons.append(f"its {kind} predictions are not on this machine")
            continue
        found = read_predictions(path, kind=kind, classes=_classes_of(path))
        if found.num_unlabelled < len(found.image_ids):
            return found
        reasons.append(f"the images of its {kind} predictions have no known labels")
    raise DataError(
        f"There is nothing to interpret of {run_id}: {'; '.join(reasons)}. It takes a run that was made on this "
        "machine, with folds (--folds 5) or with a labelled test list."
    )


def _classes_of(path: Path) -> tuple[str, ...]:
    """Return the classes that a file of predictions has columns for: those of the run, whatever a TOML says today."""
    try:
        columns = pd.read_csv(path, nrows=0).columns
    except (OSError, ValueError) as error:
        raise DataError(f"The predictions {path} cannot be read: {error}.") from error
    return tuple(str(name).removeprefix(PREFIX) for name in columns if str(name).startswith(PREFIX))


def _table_of(record: RunRecord) -> pd.DataFrame | None:
    """Return the sample table that the run was made with, found by its fingerprint, or None."""
    for about in sorted((family("tables") / record.competition).glob("*/about.json")):
        try:
            if json.loads(about.read_text(encoding="utf-8"))["fingerprint"] == record.data["fingerprint"]:
                return read_samples_table(about.with_name("samples.csv"))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a table that cannot be read is as good as none: `prepare` makes it again
    return None


def _no_images(record: RunRecord, *, what: str) -> ReadImage:
    def read(image_id: str) -> Image:
        raise DataError(
            f"The image {printable(image_id)} cannot be shown: {what} is not there, or not any more. "
            f"`kit prepare {record.competition} --source {record.source}` with the run's settings brings the images."
        )

    return read
