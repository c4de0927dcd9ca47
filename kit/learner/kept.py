"""Saving a learner's weights under a name, and loading them: safetensors, below KIT_HOME."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from kit.errors import ConfigError, WeightsError, did_you_mean
from kit.learner.cycles import learners_folder

if TYPE_CHECKING:
    from kit.learner.answering import Answering
    from kit.train.model import Network

SUFFIX = ".safetensors"
NAMES = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+ -]{0,99}")


def saved_path(slug: str, name: str) -> Path:
    """Return the file that a name stands for.

    Raises:
        ConfigError: a name that leads elsewhere, or that some system cannot write.
    """
    if not isinstance(name, str) or not NAMES.fullmatch(name) or name.endswith((".", " ")) or ".." in name:
        raise ConfigError(
            f"{name!r} is not a name to save under: letters, digits, '_', '-', '+', '.' and spaces, at most 100 of "
            "them, beginning with a letter or a digit and without a folder, such as 'stage-1'."
        )
    return learners_folder(slug) / "saved" / f"{name.removesuffix(SUFFIX)}{SUFFIX}"


def saved_names(slug: str) -> list[str]:
    """Return what was saved for a competition, sorted."""
    return sorted(path.name.removesuffix(SUFFIX) for path in (learners_folder(slug) / "saved").glob(f"*{SUFFIX}"))


def save(learner: "Answering", name: str) -> Path:
    """Write the present weights; see `Learner.save`."""
    from kit.train.checkpoint import save_checkpoint

    path = saved_path(learner.data.competition.slug, name)
    save_checkpoint(
        path,
        learner.network,
        config=learner.recipe.model,
        classes=learner.data.classes,
        image_size=learner.recipe.input.image_size,
        activation=learner.activation,
    )
    return path


def load(learner: "Answering", name: str) -> "Network":
    """Return the network that was saved under a name; see `Learner.load`."""
    from kit.train.checkpoint import load_checkpoint

    slug, config = learner.data.competition.slug, learner.recipe.model
    path = saved_path(slug, name)
    if not path.is_file():
        names = saved_names(slug)
        there = f"There are: {', '.join(names)}." if names else 'Nothing is saved yet: learn.save("stage-1") does.'
        raise WeightsError(
            f"Nothing is saved as {name!r} for {slug}, in {path.parent}.{did_you_mean(name, names)} {there}"
        )
    try:
        found = load_checkpoint(path, config=config)
    except WeightsError as error:
        text = str(error)
        if " and the recipe asks for " in text:
            text = text.partition(", and the recipe asks for ")[0]
            raise WeightsError(
                f"{text}, and this learner's network is {config.name} with the head {config.head}. Make a learner with "
                "that network, or load what was saved of this one."
            ) from error
        text = text.replace(" Remove it and train again.", " Save it again from a learner that has the weights.")
        raise WeightsError(text) from error
    if found.classes != learner.data.classes:
        raise WeightsError(
            f"{name!r} was saved of a network for {_named(found.classes)}, and this learner's data has "
            f"{_named(learner.data.classes)}: logit k would mean something else. Load it with the data it was trained "
            "on, or begin anew."
        )
    if found.activation != learner.activation:
        raise WeightsError(
            f"{name!r} was trained for the activation {found.activation}, and this learner's loss has "
            f"{learner.activation}. Make a learner with the same loss."
        )
    return found.network


def _named(classes: tuple[str, ...]) -> str:
    from kit.store.decode import printable

    few = ", ".join(printable(name) for name in classes[:3])
    return f"{len(classes)} class{'es' * (len(classes) != 1)} ({few}{', ...' * (len(classes) > 3)})"
