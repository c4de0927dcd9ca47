"""The space of a sweep: which keys of a recipe are drawn, from where, and the recipe that a draw makes."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kit.config import AUTO_MICRO_BATCH, AugmentConfig, Recipe, recipe_from_dict
from kit.errors import ConfigError
from kit.home import fingerprint

if TYPE_CHECKING:
    from optuna import Trial

STRENGTH = "augment.strength"
BATCH, LR, EPOCHS, SIZE = "schedule.batch_size", "schedule.lr", "schedule.epochs", "input.image_size"
BATCHES = (8, 16, 32, 64, 128, 256)
SMALLEST_CROP = 0.08  # share of the area, of Inception's crops (Szegedy 2015): none is smaller, however strong


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One key of the recipe and where its values come from: a range, or choices."""

    key: str
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0  # 0: none
    log: bool = False  # drawn evenly by its logarithm
    whole: bool = False  # integers
    choices: tuple[Any, ...] = ()  # then nothing else counts

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that stand for all: the choices, or both ends."""
        if self.choices:
            return self.choices
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Whether `value` may be drawn."""
        if self.choices:
            return value in self.choices
        steps = (value - self.low) / self.step if self.step else 0.0
        return self.low <= value <= self.high and math.isclose(steps, round(steps), abs_tol=1e-9)

    def __str__(self) -> str:
        """Return it for people, e.g. "schedule.lr 0.0001 to 0.01 (log)"."""
        if self.choices:
            return f"{self.key} {', '.join(str(value) for value in self.choices)}"
        notes = [f"by {self.step:g}"] if self.step else []
        notes += ["log"] if self.log else []
        return f"{self.key} {self.low:g} to {self.high:g}" + (f" ({', '.join(notes)})" if notes else "")


@dataclass(frozen=True, kw_only=True)
class Space:
    """Everything that is drawn."""

    axes: tuple[Axis, ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256; the order of the keys does not count."""
        return fingerprint(json.dumps(self.as_dict(), sort_keys=True))

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Return key -> what was given for it, in the form that `kit.tune.tune_table.read_space` takes."""
        return {
            axis.key: {"choices": list(axis.choices)}
            if axis.choices
            else {"low": axis.ends[0], "high": axis.ends[1], "step": axis.step, "log": axis.log}
            for axis in self.axes
        }


def checked_space(space: Space, recipe: Recipe, *, where: str) -> Space:
    """Return `space` if there is something to draw and the recipe takes it; see `read_space`."""
    if not space.axes:
        raise ConfigError(
            f"{where}: the search space is empty, so every trial would be the recipe itself. Name at least one key "
            "there, such as schedule.lr = {low = 1e-4, high = 1e-2, log = true}, or leave the table out: then epochs, "
            "batch size, learning rate, weight decay, image size and augmentation are drawn around the recipe's own."
        )
    for axis in space.axes:
        for value in axis.ends:
            try:
                recipe_with(recipe, {axis.key: value})
            except ConfigError as error:
                reason = str(error).removeprefix("the recipe: ")
                raise ConfigError(
                    f"{where}: {axis.key} may become {value!r}, which no recipe takes. {reason}"
                ) from error
    return space


def default_space(recipe: Recipe, *, largest_batch: int, fixed: Sequence[str] = ()) -> Space:
    """Return the space around a recipe's own values.

    Epochs from half to twice; powers of two as batch sizes; a decade of learning rate and of weight decay to both
    sides; the image size from 3/4 to 5/4; and the strength of the augmentation, where there is any, from 0 to 2.

    Args:
        recipe: the untuned one.
        largest_batch: images at once, by memory and by the size of the training set.
        fixed: keys that are left as they are, since somebody has set them.

    Raises:
        ConfigError: everything is fixed.
    """
    schedule, size = recipe.schedule, recipe.input.image_size
    grid = 32 if size >= 96 else 8  # most networks halve the size five times; small images are not that patient
    own_batch = (schedule.batch_size,) if schedule.batch_size else ()
    batches = tuple(sorted({*BATCHES[:4], *own_batch}))
    axes = [
        Axis(key=BATCH, choices=tuple(batch for batch in batches if batch <= largest_batch)),
        Axis(key=LR, low=schedule.lr / 10, high=schedule.lr * 10, log=True),
        Axis(
            key="schedule.weight_decay",
            low=max(1e-4, schedule.weight_decay / 10),
            high=min(1.0, max(1e-3, schedule.weight_decay * 10)),
            log=True,
        ),
        Axis(
            key=SIZE,
            low=max(8, round(0.75 * size / grid) * grid),
            high=min(2048, round(1.25 * size / grid) * grid),
            step=grid,
            whole=True,
        ),
    ]
    if schedule.epochs:
        low, high = max(1, schedule.epochs // 2), 2 * schedule.epochs
        axes.append(Axis(key=EPOCHS, low=low, high=high, whole=True))
    if _augments(recipe.augment):
        axes.append(Axis(key=STRENGTH, low=0.0, high=2.0))
    axes = [axis for axis in axes if axis.key not in fixed and len(set(axis.ends)) > 1]
    return checked_space(
        Space(axes=tuple(sorted(axes, key=lambda axis: axis.key))), recipe, where="the default search space"
    )


def suggest(trial: "Trial", space: Space) -> dict[str, Any]:
    """Return key -> value, drawn for a trial."""
    drawn: dict[str, Any] = {}
    for axis in space.axes:
        if axis.choices:
            drawn[axis.key] = trial.suggest_categorical(axis.key, list(axis.choices))
        elif axis.whole:
            step = int(axis.step) or 1
            drawn[axis.key] = trial.suggest_int(axis.key, int(axis.low), int(axis.high), step=step, log=axis.log)
        else:
            drawn[axis.key] = trial.suggest_float(axis.key, axis.low, axis.high, step=axis.step or None, log=axis.log)
    return drawn


def untuned(space: Space, recipe: Recipe) -> dict[str, Any] | None:
    """Return the recipe's own values as a draw, or None where one lies outside the space."""
    own = {axis.key: 1.0 if axis.key == STRENGTH else value_at(recipe, axis.key) for axis in space.axes}
    return own if all(axis.holds(own[axis.key]) for axis in space.axes) else None


def recipe_with(recipe: Recipe, drawn: Mapping[str, Any]) -> Recipe:
    """Return the recipe that a draw makes; checked as if it had been read from a file.

    Where a batch size is drawn, the learning rates are meant for the recipe's own batch size (32 where that is
    automatic) and are multiplied by the square root of the batches' ratio: the rule for Adam and its kin (Malladi et
    al. 2022, "On the SDEs and scaling rules for adaptive gradient algorithms"), under which more images per step
    change the noise least. `start_size` keeps its ratio to a drawn image size, and a drawn batch is taken whole
    unless the recipe divides it by itself.

    Raises:
        ConfigError: the values are refused.
    """
    data = recipe.as_dict()
    for key, value in drawn.items():
        if key == STRENGTH:
            continue
        table, _, name = key.rpartition(".")
        (data[table] if table else data)[name] = value
    schedule, sizes = data["schedule"], data["input"]
    if BATCH in drawn:
        factor = math.sqrt(drawn[BATCH] / (recipe.schedule.batch_size or 32))
        schedule["lr"] *= factor
        schedule["frozen_lr"] *= factor
        schedule["micro_batch"] = "auto" if recipe.schedule.micro_batch == AUTO_MICRO_BATCH else 0
    if SIZE in drawn and sizes["start_size"]:
        shrunk = round(recipe.input.start_size * sizes["image_size"] / recipe.input.image_size / 8) * 8
        sizes["start_size"] = max(8, min(sizes["image_size"], shrunk))
    found = recipe_from_dict(data)
    if STRENGTH in drawn:
        found = replace(found, augment=_scaled(found.augment, float(drawn[STRENGTH])))
    return found


def value_at(recipe: Recipe, key: str) -> Any:
    """Return the value of a recipe at a dotted key."""
    value: Any = recipe
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _augments(augment: AugmentConfig) -> bool:
    return _scaled(augment, 0.0) != augment


def _scaled(augment: AugmentConfig, strength: float) -> AugmentConfig:
    """Return an augmentation `strength` times as strong: what is cut off, turned, warped, tinted and mixed."""
    if not 0 <= strength <= 10:
        raise ConfigError(f"{STRENGTH} must be between 0 and 10, got {strength!r}; 1 is the recipe's own augmentation.")
    cut_off = strength * (1 - augment.smallest_crop)
    lowest = min(SMALLEST_CROP, augment.smallest_crop)
    return replace(
        augment,
        smallest_crop=max(lowest, 1 - cut_off),
        widest_aspect=min(4.0, augment.widest_aspect**strength),
        rotate_degrees=min(180.0, strength * augment.rotate_degrees),
        brightness=min(1.0, strength * augment.brightness),
        contrast=min(1.0, strength * augment.contrast),
        warp=min(0.4, strength * augment.warp),
        mixup_alpha=min(100.0, strength * augment.mixup_alpha),
        cutmix_alpha=min(100.0, strength * augment.cutmix_alpha),
    )
