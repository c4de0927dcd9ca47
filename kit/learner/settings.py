"""The recipe of a learner: that of its data, with what the call says of the network and the training."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from kit.config import ModelConfig, Recipe, recipe_from_dict
from kit.errors import ConfigError, KitError
from kit.train.own import is_own


def recipe_of(
    recipe: Recipe,
    arch: Any,
    *,
    weights: Any,
    head: str | None,
    wd: float | None,
    drop: float | None,
    seed: int | None,
    device: str | None,
    overrides: Sequence[str],
) -> Recipe:
    """Return `recipe` with what `Learner` was given; the arguments are its own.

    Raises:
        ConfigError: a value that means nothing; names the argument.
    """
    if arch is not None and not isinstance(arch, str):
        raise ConfigError(
            "Learner(data, arch): a network is chosen by timm's name, such as 'resnet34', or as 'FILE.py:function' "
            f"for one of your own, got {arch!r}."
        )
    if weights is not None and not isinstance(weights, str | Path):
        raise ConfigError(f"weights must be 'auto', a file or folder, or None for random ones, got {weights!r}.")
    before = recipe.model
    same = arch is None or arch == before.name
    # What belongs to one network's weights says nothing of another's; a network of one's own brings its head along.
    model = before if same else ModelConfig() if is_own(str(arch)) else replace(before, pretraining_group="")
    chosen: dict[str, Any] = {"name": before.name if arch is None else arch}
    if weights != "auto" or arch is not None:
        chosen["weights"] = "none" if weights is None else str(weights)
    if head is not None:
        chosen["head"] = head
    if drop is not None:
        chosen["drop_rate"] = drop
    plain = replace(recipe, model=model).as_dict()
    plain["model"] |= chosen
    plain["schedule"] |= {} if wd is None else {"weight_decay": wd}
    plain |= {} if seed is None else {"seed": seed}
    plain |= {} if device is None else {"device": device}
    if isinstance(overrides, str):
        overrides = [overrides]
    return recipe_from_dict(plain, overrides=overrides, where="Learner(...)")


# What the stages advise is written for the command line.
_ADVICE = (
    (r"--set model\.weights=none", "Learner(..., weights=None)"),
    (r"\(--set schedule\.lr=\.\.\., schedule\.frozen_lr=\.\.\.\)", "(max_lr=...)"),
    (r"--set device=(\w+)", r'device="\1"'),
    (r"--set ([\w.]+=[^\s,;)]*[^\s,;).]|[\w.]+=\.\.\.)", r'overrides=["\1"]'),
    (r"--despite-findings", "despite_findings=True, given where the data is loaded,"),
)


@contextmanager
def advised_in_python() -> Iterator[None]:
    """Let the errors that pass say what to write in Python where they say what to write on a command line."""
    try:
        yield
    except KitError as error:
        text = str(error)
        for pattern, words in _ADVICE:
            text = re.sub(pattern, words, text)
        error.args = (text, *error.args[1:])
        raise
