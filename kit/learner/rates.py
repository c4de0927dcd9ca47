"""Learning rates as people write them in a notebook, and the recipe of one cycle that they make."""

from dataclasses import replace
from numbers import Real
from typing import Any, TypeAlias

from kit.config import Recipe
from kit.errors import ConfigError

MaxLr: TypeAlias = "float | slice[Any, Any, Any] | None"  # one rate, slice(hi), slice(lo, hi), or the recipe's

WAYS = (
    "one rate (1e-3), slice(lo, hi) from the first layers to the head, or slice(hi), where the body learns at hi / 10"
)


def cycle_recipe(recipe: Recipe, num_epochs: int, *, frozen: bool, max_lr: MaxLr, wd: float | None) -> Recipe:
    """Return `recipe` with a schedule of one stage and one cycle.

    The forms of `max_lr` are fast.ai's: one number is the peak of every layer; `slice(lo, hi)` spreads the peaks
    geometrically over the depth, `lo` for the stem and `hi` for the head; `slice(hi)` is `hi` for the head and a tenth
    of it for the body.

    Args:
        recipe: gives everything else, and the rates where there is no `max_lr`.
        num_epochs: of the cycle, at least 1.
        frozen: only the head learns, at the highest of the rates.
        max_lr: peak learning rates.
        wd: weight decay; None: the recipe's.

    Raises:
        ConfigError: a number of epochs, a rate or a weight decay that means nothing.
    """
    schedule = replace(
        recipe.schedule,
        frozen_epochs=_whole(num_epochs, "epochs") if frozen else 0,
        epochs=0 if frozen else _whole(num_epochs, "epochs"),
        weight_decay=recipe.schedule.weight_decay if wd is None else _weight_decay(wd),
    )
    if max_lr is None:
        return replace(recipe, schedule=schedule)
    highest, spread, between = _rates(max_lr)
    if frozen:
        return replace(recipe, schedule=replace(schedule, frozen_lr=highest))
    return replace(recipe, schedule=replace(schedule, lr=highest, lr_spread=spread, lr_between=between))


def _whole(number: Any, what: str) -> int:
    if isinstance(number, bool) or not isinstance(number, Real) or float(number) % 1:
        raise ConfigError(f"A number of {what} was expected, such as 4, got {number!r}.")
    whole = int(float(number))
    if not 1 <= whole <= 10_000:
        raise ConfigError(
            f"{whole} {what}: a cycle has from 1 to 10,000 of them, and nothing was trained. A usual beginning "
            "is fit_one_cycle(4)."
        )
    return whole


def _rates(max_lr: Any) -> tuple[float, float, Any]:
    """Return the head's peak, its ratio to the stem's, and how the layers between are spaced."""
    if not isinstance(max_lr, slice):
        return one_rate(max_lr, "max_lr"), 1.0, "geometric"
    if max_lr.step is not None or max_lr.stop is None:
        raise ConfigError(f"max_lr={max_lr!r} has no highest rate, or a step. Expected: {WAYS}.")
    highest = one_rate(max_lr.stop, "max_lr", f" in {max_lr!r}")
    if max_lr.start is None:
        return highest, 10.0, "equal"
    lowest = one_rate(max_lr.start, "max_lr", f" in {max_lr!r}")
    if lowest > highest:
        raise ConfigError(
            f"max_lr=slice({max_lr.start!r}, {max_lr.stop!r}) is reversed: the first rate is that of the first "
            f"layers, which hold the most general features, and must not be above the head's. Did you mean "
            f"slice({max_lr.stop!r}, {max_lr.start!r})?"
        )
    return highest, highest / lowest, "geometric"


def one_rate(rate: Any, name: str, place: str = "") -> float:
    """Return a learning rate that was given as the argument `name`; `place` says where in it.

    Raises:
        ConfigError: not a number from 1e-9 to 100.
    """
    if isinstance(rate, bool) or not isinstance(rate, Real) or not 1e-9 <= float(rate) <= 100:
        ways = WAYS if name == "max_lr" else "one rate, such as 2e-3"
        raise ConfigError(
            f"{name}: {rate!r}{place} is not a learning rate, a number from 1e-9 to 100. Expected: {ways}. "
            "learn.lr_find() suggests one."
        )
    return float(rate)


def _weight_decay(wd: Any) -> float:
    if isinstance(wd, bool) or not isinstance(wd, Real) or not 0 <= float(wd) <= 10:
        raise ConfigError(f"wd={wd!r} is not a weight decay, a number from 0 to 10. The recipes' is 0.05.")
    return float(wd)


def written(num_epochs: int, max_lr: MaxLr, wd: float | None) -> str:
    """Return the arguments of a cycle as people write them: "4, max_lr=slice(1e-06, 0.0001)"."""
    if isinstance(max_lr, slice):
        ends = [max_lr.stop] if max_lr.start is None else [max_lr.start, max_lr.stop]
        rates = f", max_lr=slice({', '.join(map(repr, ends))})"
    else:
        rates = "" if max_lr is None else f", max_lr={max_lr!r}"
    return f"{num_epochs!r}{rates}{'' if wd is None else f', wd={wd!r}'}"
