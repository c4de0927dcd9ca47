"""Time: how a budget is written, and how long a trial will take, from what those of the same study took."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from kit.config import Recipe
from kit.errors import ConfigError
from kit.tune.space import recipe_with
from kit.tune.study import Settings

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

MARGIN = 1.1  # of a prediction: other programs run too


def parse_duration(text: str) -> float:
    """Return the seconds that a text such as "2h", "90m", "1h30m" or "45s" means.

    Raises:
        ConfigError: it means no length of time above 0.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text.strip())
    seconds = sum(float(number) * {"d": 86400, "h": 3600, "m": 60, "s": 1}[unit] for number, unit in parts)
    if not seconds or "".join(number + unit for number, unit in parts) != text.strip():
        raise ConfigError(f"{text!r} is not a length of time. Write numbers and units, such as 2h, 90m, 1h30m or 45s.")
    return seconds


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a trial took."""

    recipe: Recipe
    epoch_seconds: float  # of one epoch, held-out images included
    beside_seconds: float  # of everything else: starting, the last look at the fold, the end


def measured(trials: Sequence["FrozenTrial"], settings: Settings) -> list[Measured]:
    """Return what the trials took that trained at all."""
    untuned, found = settings.untuned, []
    for trial in trials:
        seconds, count = trial.user_attrs.get("epoch_seconds"), trial.user_attrs.get("num_epochs_done")
        began, ended = trial.user_attrs.get("began"), trial.user_attrs.get("ended")
        if seconds and count and began and ended:
            beside = max(0.0, ended - began - seconds * count)
            recipe = recipe_with(untuned, trial.params)
            found.append(Measured(recipe=recipe, epoch_seconds=seconds, beside_seconds=beside))
    return found


def predicted_seconds(recipe: Recipe, before: Sequence[Measured], *, folds_used: int) -> float | None:
    """Return how long a trial of `recipe` will take, with a margin; None where nothing was measured.

    An epoch of the trial that is most like it is taken: of the same network if there is one, then of the nearest image
    size, then of the nearest batch size. Other sizes cost as their pixels do.
    """
    if not before:
        return None
    size, batch = recipe.input.image_size, recipe.schedule.batch_size

    def unlike(one: Measured) -> tuple[bool, float, float]:
        other = one.recipe
        ratio = size / other.input.image_size
        return other.model.name != recipe.model.name, max(ratio, 1 / ratio), abs(batch - other.schedule.batch_size)

    nearest = min(unlike(one) for one in before)
    alike = [one for one in before if unlike(one) == nearest]
    epoch = median(one.epoch_seconds * (size / one.recipe.input.image_size) ** 2 for one in alike)
    num_epochs = (recipe.schedule.frozen_epochs + recipe.schedule.epochs) * folds_used
    return MARGIN * (num_epochs * epoch + median(one.beside_seconds for one in before))
