"""Writing the exported folder: which models of which runs, in timm's own layout where it can have it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from kit.board.records import RunRecord, run_folder
from kit.config import Recipe, recipe_from_dict
from kit.errors import ConfigError, DataError, did_you_mean
from kit.export.folder import DESCRIPTION, FORMAT, ONNX, TENSORS, Export, ExportedModel
from kit.home import filling, sha256_of_file, write_json
from kit.progress import Say
from kit.train.checkpoint import Checkpoint, load_checkpoint, write_tensors
from kit.train.models import FULL, ModelFolder, find_model
from kit.train.own import is_own


def export_runs(
    records: Sequence[RunRecord], folder: Path, *, model: str | None = None, onnx: bool = False, say: Say = print
) -> Export:
    """Write the models of finished runs to `folder`, whole or not at all; the mean of them all is its answer.

    Args:
        records: of runs on the same classes and sizes, e.g. with different seeds.
        folder: empty, or not there yet.
        model: name of the one to take from each run; default: the one trained on everything, else all fold models.
        onnx: write each as ONNX too; needs the extra competition-kit[onnx].
        say: takes a line per model.

    Raises:
        ConfigError: the folder is not empty, or the runs differ in something that decides the answer.
        DataError: a run lacks the model, or one of its files is damaged.
        WeightsError: a network cannot be written as ONNX, or answers differently as such.
    """
    refuse_taken(folder)
    with filling(folder) as part:
        found: list[ExportedModel] = []
        first: dict[str, Any] | None = None
        for record in records:
            if "blend" in record.recipe:
                members = " ".join(record.recipe["blend"]["weights"])
                raise DataError(
                    f"{record.run_id} is a blend, which has no network of its own. Export the runs that it was made "
                    f"of: `kit export {members} FOLDER` averages them."
                )
            if "own" in record.recipe:
                raise DataError(
                    f"{record.run_id} was answered by a model of somebody's own, {record.network['name']}, which the "
                    "kit keeps no copy of: it is code and not weights. Fit it again where it is needed."
                )
            recipe = recipe_from_dict(record.recipe, where=f"the recipe of {record.run_id}")
            for one in _models_of(record, recipe, model):
                checkpoint = load_checkpoint(one.checkpoint, config=recipe.model)
                shared = shared_of(checkpoint, recipe=recipe, title=record.title, competition=record.competition)
                first = first or shared
                _refuse_differing(first, shared, record.run_id)
                if is_own(checkpoint.config.name) and not onnx:
                    raise ConfigError(
                        f"{record.run_id} trained {checkpoint.config.name}, code of your own, which an exported folder "
                        "does not carry. Give --onnx: the network is then written as ONNX alone."
                    )
                name = f"model-{len(found) + 1}"
                found.append(
                    write_model(part / name, checkpoint, recipe=recipe, run=record.run_id, model=one.name, onnx=onnx)
                )
                say(f"{name}: {one.name} of {record.run_id}")
            if recipe.augment.transforms and recipe.input.test_views == "lesson":
                say("the random views of 'lesson' are exported without augment.transforms: a folder names none")
        assert first is not None
        return write_description(part, found, first)


def refuse_taken(folder: Path) -> None:
    """Refuse a folder with files in it.

    Raises:
        ConfigError: it has some, or is a file.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already. Give a folder that is empty, or not there yet.")


def write_description(folder: Path, models: Sequence[ExportedModel], shared: Mapping[str, Any]) -> Export:
    """Write what a folder says of itself, and return it; `shared` is from `shared_of`."""
    export = Export(format=FORMAT, models=tuple(models), **shared)
    write_json(folder / DESCRIPTION, asdict(export))
    return export


def _models_of(record: RunRecord, recipe: Recipe, wanted: str | None) -> list[ModelFolder]:
    folder = run_folder(record.run_id) / "models"
    there = sorted(path.parent.name for path in folder.glob("*/history.json"))
    names = [FULL] if FULL in there else [f"fold-{k}" for k in range(recipe.num_folds)]
    if wanted is not None:
        if wanted not in there:
            raise DataError(
                f"{record.run_id} has no model {wanted!r}.{did_you_mean(wanted, there)} "
                f"It has: {', '.join(there) or 'none any more'}."
            )
        names = [wanted]
    models = []
    for name in names:
        if (found := find_model(folder, name)) is None:
            raise DataError(
                f"The model {name} of {record.run_id} is not there, or was damaged. `kit train {record.competition}` "
                "with the run's settings trains it again."
            )
        models.append(found)
    return models


def shared_of(checkpoint: Checkpoint, *, recipe: Recipe, title: str, competition: str) -> dict[str, Any]:
    """Return what the models of a folder have in common: the fields of `Export`, but for the models."""
    return {
        "title": title,
        "competition": competition,
        "classes": checkpoint.classes,
        "activation": checkpoint.activation,
        "image_size": checkpoint.image_size,
        "store_size": recipe.input.store_size,
        "store_layout": recipe.input.store_layout,
        "test_views": recipe.input.test_views,
        "augment": replace(recipe.augment, transforms=()),
        "seed": recipe.seed,
    }


def _refuse_differing(first: dict[str, Any], shared: dict[str, Any], run_id: str) -> None:
    decisive = [key for key in first if key not in ("augment", "seed")]  # these make random views, of the first run
    different = [key for key in decisive if first[key] != shared[key]]
    if different:
        key = different[0]
        raise ConfigError(
            f"{run_id} cannot stand in one folder with the first run: {key} is {_short(shared[key])} here and "
            f"{_short(first[key])} there. Export runs of one competition with the same classes, sizes and views."
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def write_model(
    folder: Path, checkpoint: Checkpoint, *, recipe: Recipe, run: str, model: str, onnx: bool
) -> ExportedModel:
    """Write one network, code of one's own as ONNX alone; its memory format changes, its values do not.

    Args:
        folder: of the model, in the exported folder.
        checkpoint: the network, and how to feed it.
        recipe: that it was trained by.
        run: id of the run that it comes from.
        model: its name there.
        onnx: write it as ONNX too.

    Raises:
        WeightsError: it cannot be written as ONNX, or answers differently as such.
    """
    network, config = checkpoint.network, checkpoint.config
    own = is_own(config.name)
    crop_share = recipe.input.test_crop or network.input.crop_pct
    if config.head == "timm" and not own:
        _write_as_timm(folder, checkpoint, crop_share=crop_share)
    elif not own:
        write_tensors(folder / TENSORS, network.module.state_dict(), metadata={"format": "pt"})
    if onnx:
        from kit.export.onnx import write_onnx

        write_onnx(folder / ONNX, network, activation=checkpoint.activation, image_size=checkpoint.image_size)
    return ExportedModel(
        folder=folder.name,
        run=run,
        model=model,
        architecture="" if own else config.name,
        head=config.head,
        mean=network.input.mean,  # type: ignore[arg-type]  # three channels
        std=network.input.std,  # type: ignore[arg-type]
        crop_share=crop_share,
        sha256="" if own else sha256_of_file(folder / TENSORS),
        onnx_sha256=sha256_of_file(folder / ONNX) if onnx else "",
    )


def _write_as_timm(folder: Path, checkpoint: Checkpoint, *, crop_share: float) -> None:
    """Write config.json and tensors by timm's own function: `create_model("local-dir:FOLDER", pretrained=True)`."""
    import torch
    from timm.models import save_for_hf

    network, size = checkpoint.network, checkpoint.image_size
    seen = {
        "input_size": (3, size, size),
        "mean": network.input.mean,
        "std": network.input.std,
        "crop_pct": crop_share,
        # Facts of the weights that the training began with.
        **dict.fromkeys(("tag", "license", "origin_url", "paper_ids", "paper_name")),
        **dict.fromkeys(("test_input_size", "test_crop_pct")),
    }
    module = network.module.to(memory_format=torch.contiguous_format)
    about = {"label_names": list(checkpoint.classes), "pretrained_cfg": seen}
    save_for_hf(module, str(folder), model_config=about, safe_serialization=True)
