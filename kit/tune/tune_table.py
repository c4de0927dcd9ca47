"""The table `[tune]` of a recipe's file: how a sweep's space is written, and how it is read.

Its keys are those of the recipe:

    [tune]
    schedule.lr = {low = 1e-4, high = 1e-2, log = true}
    schedule.epochs = [2, 12]               # two numbers: from, to
    schedule.batch_size = [16, 32, 64]      # anything else in a list: one of these
    input.image_size = {low = 96, high = 224, step = 32}
    augment.strength = [0.0, 2.0]           # 1 is the recipe's own augmentation, 0 none

A recipe without the table gets a space around its own values.
"""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from kit.competition import Competition
from kit.config import AugmentConfig, Recipe, read_toml
from kit.errors import ConfigError, did_you_mean
from kit.tune.space import STRENGTH, Axis, Space, checked_space

# What must not differ between the trials of a study: the best seed would be the luckiest one, and scores out of other
# folds are no comparison.
FIXED = ("name", "seed", "num_folds", "device", "deterministic", "images_on", "compile", "augment.transforms")


def tune_table(competition: Competition, recipe: str | None) -> dict[str, Any] | None:
    """Return the table `[tune]` of a recipe's file, None where it has none.

    Args:
        competition: whose recipe.
        recipe: its name, or the path of a .toml file; None: the competition's default.

    Raises:
        ConfigError: the file cannot be read, or `tune` is no table.
    """
    name = recipe or competition.default_recipe
    path = Path(name) if name.endswith(".toml") else competition.folder / "recipes" / f"{name}.toml"
    table = read_toml(path).get("tune")
    if table is not None and not isinstance(table, dict):
        raise ConfigError(f"{path}: tune must be a table of the recipe's keys, got {table!r}.")
    return table


def read_space(table: Mapping[str, Any], recipe: Recipe, *, where: str = "[tune]") -> Space:
    """Return the space that the table `[tune]` describes.

    Args:
        table: keys of the recipe, nested or dotted; a value is `[low, high]`, a list of choices, or a table of low,
            high, and if wanted step and log, or of choices.
        recipe: what the keys are laid over; both ends of a range and every choice must make a recipe of it.
        where: names the table in messages.

    Raises:
        ConfigError: an unknown key, one that a sweep cannot draw, a range upside down or of one value, a value that
            the recipe refuses, or nothing to draw.
    """
    axes = [_axis(key, given, recipe, where=where) for key, given in _flat(table)]
    return checked_space(Space(axes=tuple(sorted(axes, key=lambda axis: axis.key))), recipe, where=where)


_PARTS = {"low", "high", "step", "log", "choices"}


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return (dotted key, what was given for it) of a table with dotted or nested keys."""
    found: list[tuple[str, Any]] = []
    for name, value in table.items():
        key = f"{prefix}{name}"
        is_given = not isinstance(value, Mapping) or (value and set(value) <= _PARTS)
        found += [(key, value)] if is_given else _flat(value, f"{key}.")
    return found


def _axis(key: str, given: Any, recipe: Recipe, *, where: str) -> Axis:
    own = _own_value(key, recipe, where=where)
    low, high, step, log, choices = _ends_of(key, given, where=where)
    if choices is not None:
        if len(choices) < 2 or any(isinstance(one, list | dict) for one in choices):
            raise ConfigError(
                f"{where}: {key} needs at least two choices, each a plain value, got {given!r}. To fix a key, write it "
                "in the recipe itself."
            )
        return Axis(key=key, choices=tuple(dict.fromkeys(choices)))
    is_number = isinstance(own, int | float) and not isinstance(own, bool)
    if not is_number:
        raise ConfigError(
            f"{where}: {key} is {own!r} in the recipe, which has no range: list the values to choose from."
        )
    whole = isinstance(own, int)
    if whole and any(value != int(value) for value in (low, high, step)):
        raise ConfigError(f"{where}: {key} is a whole number, and its range {given!r} is not made of such.")
    if not low < high:
        raise ConfigError(
            f"{where}: the range of {key} begins at {low:g} and ends at {high:g}. The lower end comes first, and the "
            "two differ; to fix a key, write it in the recipe itself."
        )
    if log and low <= 0:
        raise ConfigError(f"{where}: {key} has log = true and begins at {low:g}; a logarithm needs a low above 0.")
    if step < 0 or (step and log):
        raise ConfigError(f"{where}: {key} has step = {step:g}; it must be above 0, and goes with log = false only.")
    if step:
        high = low + math.floor((high - low) / step + 1e-9) * step  # what can be drawn ends there
    return Axis(key=key, low=low, high=high, step=step, log=log, whole=whole)


def _ends_of(key: str, given: Any, *, where: str) -> tuple[float, float, float, bool, list[Any] | None]:
    """Return (low, high, step, log, choices), the last None for a range."""
    numbers = [*given] if isinstance(given, list) else []
    if isinstance(given, list) and not (len(numbers) == 2 and all(_is_number(one) for one in numbers)):
        return 0.0, 0.0, 0.0, False, numbers
    if isinstance(given, list):
        return numbers[0], numbers[1], 0.0, False, None
    if isinstance(given, Mapping) and set(given) == {"choices"} and isinstance(given["choices"], list):
        return 0.0, 0.0, 0.0, False, given["choices"]
    if isinstance(given, Mapping) and {"low", "high"} <= set(given) <= _PARTS - {"choices"}:
        low, high, step, log = given["low"], given["high"], given.get("step", 0.0), given.get("log", False)
        if all(_is_number(one) for one in (low, high, step)) and isinstance(log, bool):
            return low, high, step, log, None
    raise ConfigError(
        f"{where}: {key} = {given!r} is not understood. Write [low, high], a list of choices, "
        "{low = 1e-4, high = 1e-2, log = true}, or {choices = [16, 32]}."
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _own_value(key: str, recipe: Recipe, *, where: str) -> Any:
    """Return the recipe's own value of a key that may be drawn."""
    if key == STRENGTH:
        return 1.0
    if key in FIXED:
        raise ConfigError(
            f"{where}: {key} cannot be drawn: trials are compared on the same folds, seed and device. Set it in the "
            "recipe, or with --set."
        )
    value: Any = recipe
    for name in key.split("."):
        names = [field.name for field in fields(value)] if is_dataclass(value) else []
        if name not in names:
            known = [*names, "strength"] if isinstance(value, AugmentConfig) else names
            raise ConfigError(
                f"{where}: a recipe has no key {key!r}.{did_you_mean(name, known)} "
                f"Known here: {', '.join(known) or 'nothing below it'}."
            )
        value = getattr(value, name)
    if is_dataclass(value):
        raise ConfigError(f"{where}: {key!r} is a table; name one of its keys, such as {key}.{fields(value)[0].name}.")
    return value
