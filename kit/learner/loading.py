"""Loading: `kit.load`, a competition's images as `Data`."""

import operator
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from kit.competition import load_competition
from kit.config import Recipe, recipe_from_dict
from kit.errors import ConfigError
from kit.learner.data import Data, checked_folds, plan_images
from kit.progress import Say
from kit.store.decode import printable

USUAL_FOLDS = 5  # where neither the call nor recipe nor protocol say a number


def load(
    slug: str,
    *,
    size: int | None = None,
    bs: int | None = None,
    folds: int | None = None,
    valid_fold: int = 0,
    protocol: str | None = None,
    source: str | None = None,
    mirror: str | Path | None = None,
    labels: str | None = None,
    recipe: str | Path | Recipe | None = None,
    seed: int | None = None,
    overrides: str | Sequence[str] = (),
    despite_findings: bool = False,
    say: Say = print,
) -> Data:
    """Return the images of a competition, fetched, labelled, checked and parted into folds.

    What was fetched and labelled is kept under KIT_HOME: the second call takes a moment.

    Args:
        slug: the competition; `kit list` shows them.
        size: side of the square that the network sees, in pixels; default: the recipe's.
        bs: images per batch; default: the recipe's.
        folds: into how many parts the training images are dealt; 0: nothing is held out, all of them train; default:
            the recipe's or the protocol's number, or 5.
        valid_fold: which of them is held out.
        protocol: id of one of its protocols.
        source: name of one of its source sets.
        mirror: folder or URL that serves the files.
        labels: name of another of its label rules.
        recipe: name of one of its recipes, path of a TOML file, or a `Recipe`.
        seed: of folds, order and augmentation.
        overrides: "key=value" or several, laid over the recipe, e.g. "augment.mirror=false".
        despite_findings: train in spite of faults that the quality check finds.
        say: takes lines of progress and warnings.

    Raises:
        CompetitionError: there is no such competition, protocol, source or recipe.
        ConfigError: a number is none, or out of range.
        FetchError: files cannot be had.
        DataError: labels or images are unusable.
    """
    if not isinstance(slug, str):
        raise ConfigError(
            f'kit.load takes the name of a competition, such as "pets", got {printable(repr(slug))[:80]}. Images in a '
            "folder of one's own are labelled by kit.from_folder and its like."
        )
    competition, changes = load_competition(slug), listed_overrides(overrides)
    if isinstance(recipe, Recipe):
        chosen = recipe_from_dict(recipe.as_dict(), overrides=changes) if changes else recipe
    else:
        chosen = competition.recipe(str(recipe) if recipe is not None else None, overrides=changes)
    if folds is None:
        folds = chosen.num_folds or competition.protocol(protocol).num_folds or USUAL_FOLDS
    chosen = laid_over(chosen, size=size, bs=bs, folds=folds, seed=seed)
    plan = plan_images(
        competition,
        chosen,
        protocol=protocol,
        source=source,
        mirror=str(mirror) if mirror is not None else None,
        labels=labels,
        despite_findings=despite_findings,
        say=say,
    )
    held_out = checked_folds(plan, [valid_fold]) if chosen.num_folds else ()
    return Data(plan=plan, valid_folds=held_out, recipe=chosen, say=say).told()


def listed_overrides(overrides: str | Sequence[str]) -> tuple[str, ...]:
    """Return what is laid over a recipe as texts; one text is one of them.

    Raises:
        ConfigError: it is something else.
    """
    given = (
        (overrides,) if isinstance(overrides, str) else tuple(overrides) if isinstance(overrides, Iterable) else (0,)
    )
    if all(isinstance(one, str) for one in given):
        return given
    raise ConfigError(
        f'overrides must be texts, got {printable(repr(overrides))[:80]}. Example: overrides=["augment.mirror=false"].'
    )


def laid_over(recipe: Recipe, *, size: int | None, bs: int | None, folds: int | None, seed: int | None) -> Recipe:
    """Return the recipe with these numbers; None keeps its own.

    Images are stored so much larger than the network sees them as before.

    Raises:
        ConfigError: one of them is no whole number, or out of range.
    """
    if size is not None:
        size, before = _whole("size", size), recipe.input
        ratio = max(before.store_size / before.image_size, 1.0)
        start = min(before.start_size, size)
        sizes = replace(before, image_size=size, store_size=min(round(size * ratio), 4096), start_size=start)
        recipe = replace(recipe, input=sizes)
    if bs is not None:
        bs, schedule = _whole("bs", bs), recipe.schedule
        if bs < 1:  # 0 would mean "auto", which is a word
            raise ConfigError(f"bs must be at least 1, got {bs}. Example: bs={_EXAMPLES['bs']}.")
        micro = 0 if schedule.micro_batch > bs else schedule.micro_batch
        recipe = replace(recipe, schedule=replace(schedule, batch_size=bs, micro_batch=micro))
    if folds is not None:
        recipe = replace(recipe, num_folds=_whole("folds", folds))
    return replace(recipe, seed=_whole("seed", seed)) if seed is not None else recipe


def _whole(name: str, value: object) -> int:
    try:
        if not isinstance(value, bool):
            return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise ConfigError(f"{name} must be a whole number, got {value!r}. Example: {name}={_EXAMPLES[name]}.")


_EXAMPLES = {"size": 224, "bs": 32, "folds": 5, "seed": 1}
