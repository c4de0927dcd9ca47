"""A learner's network as an exported folder, which stands alone."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kit.errors import ConfigError
from kit.export.folder import DESCRIPTION, FORMAT, ONNX, TENSORS, Export, ExportedModel
from kit.home import filling, sha256_of_file, write_json
from kit.train.checkpoint import write_tensors
from kit.train.own import is_own

if TYPE_CHECKING:
    from kit.learner.answering import Answering


def export_learner(learn: "Answering", folder: Path, *, onnx: bool) -> Path:
    """Write the present weights to `folder`, whole or not at all, and return it; see `Learner.export`."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already. Give a folder that is empty, or not there yet.")
    recipe, network, config = learn.recipe, learn.network, learn.recipe.model
    own = is_own(config.name)
    if own and not onnx:
        raise ConfigError(
            f"{config.name} is code of your own, which an exported folder does not carry. Give onnx=True: the network "
            "is then written as ONNX alone."
        )
    with filling(folder) as part:
        place = part / "model-1"
        if not own:
            write_tensors(place / TENSORS, network.module.state_dict(), metadata={"format": "pt"})
        if onnx:
            from kit.export.onnx import write_onnx

            place.mkdir(exist_ok=True)
            write_onnx(place / ONNX, network, activation=learn.activation, image_size=recipe.input.image_size)
        model = ExportedModel(
            folder=place.name,
            run=f"learner-{learn.data.competition.slug}",
            model=f"after-{len(learn.cycles)}-cycles",
            architecture="" if own else config.name,
            head=config.head,
            mean=network.input.mean,  # type: ignore[arg-type]  # three channels
            std=network.input.std,  # type: ignore[arg-type]
            crop_share=recipe.input.test_crop or network.input.crop_pct,
            sha256="" if own else sha256_of_file(place / TENSORS),
            onnx_sha256=sha256_of_file(place / ONNX) if onnx else "",
        )
        export = Export(
            format=FORMAT,
            title=learn.data.competition.title,
            competition=learn.data.competition.slug,
            classes=learn.data.classes,
            activation=learn.activation,
            image_size=recipe.input.image_size,
            store_size=recipe.input.store_size,
            store_layout=recipe.input.store_layout,
            test_views=recipe.input.test_views,
            augment=replace(recipe.augment, transforms=()),
            seed=recipe.seed,
            models=(model,),
        )
        write_json(part / DESCRIPTION, asdict(export))
    return folder
