"""The final comparison: does the tuned recipe beat the untuned one on networks that no trial has trained?

The best of many trials looks better than it is: it was chosen for a score that chance has a part in. So winner and
untuned recipe are trained again, with fresh seeds and on folds dealt by another seed, and their out-of-fold predictions
of the same images are compared pairwise (`kit.judge.paired`).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from kit.competition import load_competition
from kit.config import Recipe
from kit.errors import ConfigError, TrainingError
from kit.home import write_text
from kit.judge.paired import Difference, compare_pairs, interval_text, measured
from kit.judge.predict import Predictions
from kit.progress import Say
from kit.train.stopping import StoppedError
from kit.tune.final_run import FinalTask, run_final_alone
from kit.tune.recipe_file import recipe_toml
from kit.tune.study import Settings, StudyPlace

NUM_SEEDS = 3
WAYS = ("untuned", "tuned")


class RunOne(Protocol):
    """Trains a recipe and returns its out-of-fold predictions; what is there already is used again."""

    def __call__(self, recipe: Recipe, *, seed: int, fold_seed: int) -> Predictions:
        """Do it: `seed` is that of the training, `fold_seed` deals the folds."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Whether tuning helped."""

    verdict: str  # one sentence
    difference: Difference | None  # tuned better by so much; None where nothing was compared
    seeds: tuple[int, ...]
    fold_seed: int
    num_folds_used: int
    num_folds: int
    fresh_folds: bool  # other ones than the sweep's; folds by time or by a column are what they are

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return asdict(self)


def compare_recipes(
    untuned: Recipe, tuned: Recipe, *, run_one: RunOne, metric: str, seeds: Sequence[int], fold_seed: int
) -> Difference:
    """Return by how much `tuned` is better, by the same images, folds and seeds.

    Args:
        untuned: the recipe that the sweep began with.
        tuned: the winner.
        run_one: trains one of them.
        metric: a key of METRICS.
        seeds: of the trainings; each recipe is trained once with each.
        fold_seed: deals the folds.
    """
    found: dict[str, list[Predictions]] = {way: [] for way in WAYS}
    for seed in seeds:  # seed by seed, so that what is there after an interruption is already a pair
        for way, recipe in zip(WAYS, (untuned, tuned), strict=True):
            found[way].append(run_one(recipe, seed=seed, fold_seed=fold_seed))
    return compare_pairs(found["untuned"], found["tuned"], metric=metric)


def final_comparison(
    place: StudyPlace,
    settings: Settings,
    tuned: Recipe,
    *,
    metric: str,
    num_folds_used: int | None = None,
    num_seeds: int = NUM_SEEDS,
    mirror: str | None = None,
    despite_findings: bool = False,
    run: Callable[..., Predictions] = run_final_alone,
    say: Say = print,
) -> Comparison:
    """Train winner and untuned recipe again and compare them; the same call goes on where it was ended.

    Args:
        place: of the study, whose folder gets both recipes as `finals/untuned.toml` and `finals/tuned.toml`.
        settings: of the study.
        tuned: the winner's recipe.
        metric: a key of METRICS; the protocol's.
        num_folds_used: how many of the recipe's folds are trained, the first ones; default: as many as in a trial.
        num_seeds: trainings of each recipe.
        mirror: folder or URL that serves the files.
        despite_findings: train in spite of what the quality check found.
        run: does a `FinalTask`: in a process of its own, or `run_final` here.
        say: takes lines of progress.

    Raises:
        ConfigError: more folds than there are, or no seed.
        StoppedError: a signal asked for the end; what is done is kept.
    """
    untuned = settings.untuned
    num_folds_used = settings.folds_used if num_folds_used is None else num_folds_used
    if not (1 <= num_folds_used <= untuned.num_folds and num_seeds >= 1):
        raise ConfigError(
            f"The final comparison needs at least one seed and from 1 to {untuned.num_folds} folds, got {num_seeds} "
            f"and {num_folds_used}."
        )
    fold_seed = (untuned.seed + 1) % 2**31
    seeds = tuple((untuned.seed + 1 + number) % 2**31 for number in range(num_seeds))
    about = {
        "seeds": seeds,
        "fold_seed": fold_seed,
        "num_folds_used": num_folds_used,
        "num_folds": untuned.num_folds,
    }
    recipes = {"untuned": replace(untuned, name="untuned"), "tuned": replace(tuned, name="tuned", seed=untuned.seed)}
    if replace(recipes["tuned"], name="untuned") == recipes["untuned"]:
        verdict = "The untuned recipe itself was the best of the trials, so that there is nothing to compare."
        return Comparison(verdict=verdict, difference=None, fresh_folds=True, **about)  # type: ignore[arg-type]
    for way, recipe in recipes.items():
        write_text(place.folder / "finals" / f"{way}.toml", recipe_toml(recipe))

    def task(recipe: Recipe, *, seed: int, fold_seed: int) -> FinalTask:
        return FinalTask(
            slug=settings.slug,
            recipe=str(place.folder / "finals" / f"{recipe.name}.toml"),
            protocol=settings.protocol,
            source=settings.source,
            mirror=mirror,
            labels=settings.labels,
            seed=seed,
            fold_seed=fold_seed,
            num_folds_used=num_folds_used,
            memory=settings.memory,
            despite_findings=despite_findings,
        )

    def run_one(recipe: Recipe, *, seed: int, fold_seed: int) -> Predictions:
        say(f"final    {recipe.name} recipe, seed {seed}")
        return run(task(recipe, seed=seed, fold_seed=fold_seed), say=say)

    fresh = load_competition(settings.slug).folds.by not in ("time", "column")  # which no seed changes
    try:
        difference = compare_recipes(
            recipes["untuned"], recipes["tuned"], run_one=run_one, metric=metric, seeds=seeds, fold_seed=fold_seed
        )
    except StoppedError:
        raise
    except TrainingError as error:
        verdict = f"Whether tuning helped is not known, since a run of the comparison failed: {error}"
        return Comparison(verdict=verdict, difference=None, fresh_folds=fresh, **about)  # type: ignore[arg-type]
    return Comparison(
        verdict=verdict_of(difference, fresh_folds=fresh),
        difference=difference,
        fresh_folds=fresh,
        **about,  # type: ignore[arg-type]
    )


def verdict_of(difference: Difference, *, fresh_folds: bool = True) -> str:
    """Return the sentence on what a comparison has shown: nothing is claimed where the interval has zero in it."""
    by = measured(difference.mean, difference.metric)
    where = interval_text(difference.low, difference.high, metric=difference.metric)
    if not difference.shown:
        told = f"No difference could be shown: {by} for the tuned recipe, 95 % interval {where}"
    elif difference.mean > 0:
        told = f"Tuning helped by {by.removeprefix('+')}, 95 % interval {where}"
    else:
        told = f"Tuning harmed: {by} for the tuned recipe, 95 % interval {where}"
    seeds = f"{len(difference.by_seed)} seed{'s' if len(difference.by_seed) > 1 else ''} each"
    folds = "on fresh folds" if fresh_folds else "on the sweep's own folds, since the data leave no others"
    return f"{told} ({difference.metric}, {seeds}, {difference.num_images:,} images, {folds})."
