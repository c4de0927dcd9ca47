"""A learner's network as an exported folder, which stands alone."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kit.errors import ConfigError
from kit.export.write import refuse_taken, shared_of, write_description, write_model
from kit.home import filling
from kit.train.checkpoint import Checkpoint
from kit.train.own import is_own

if TYPE_CHECKING:
    from kit.learner.answering import Answering


def export_learner(learn: "Answering", folder: Path, *, onnx: bool) -> Path:
    """Write the present weights to `folder`, whole or not at all, and return it; see `Learner.export`."""
    refuse_taken(folder)
    recipe, network, competition = learn.recipe, learn.network, learn.data.competition
    if is_own(recipe.model.name) and not onnx:
        raise ConfigError(
            f"{recipe.model.name} is code of your own, which an exported folder does not carry. Give onnx=True: the "
            "network is then written as ONNX alone."
        )
    checkpoint = Checkpoint(
        network=replace(network, module=copy.deepcopy(network.module)),  # whose memory format writing changes
        config=recipe.model,
        classes=learn.data.classes,
        image_size=recipe.input.image_size,
        activation=learn.activation,
    )
    with filling(folder) as part:
        model = write_model(
            part / "model-1",
            checkpoint,
            recipe=recipe,
            run=f"learner-{competition.slug}",
            model=f"after-{len(learn.cycles)}-cycles",
            onnx=onnx,
        )
        shared = shared_of(checkpoint, recipe=recipe, title=competition.title, competition=competition.slug)
        write_description(part, [model], shared)
    return folder
