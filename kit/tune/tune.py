"""A sweep from its order to its result: the study is opened, workers are started and watched, the winner is tried."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kit.competition import load_competition
from kit.config import Recipe
from kit.data.folds import fold_fingerprint
from kit.errors import ConfigError, TrainingError
from kit.home import fingerprint
from kit.plan import RunPlan, pack_for, plan_run
from kit.progress import Counter as Progress
from kit.progress import Say
from kit.quality.findings import gate
from kit.train.parallel import Surroundings, environments
from kit.tune.crew import Crew
from kit.tune.space import Space, default_space
from kit.tune.study import OBJECTIVES, Settings, StudyPlace, checked_storage, open_study, reaching, turn
from kit.tune.trial import cost_of_plan
from kit.tune.trials import best_of, finished, spent_seconds
from kit.tune.tune_table import read_space, tune_table
from kit.tune.worker import Session

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

FEWEST_STEPS = 4  # of an epoch: larger batches are not tried by default


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is wanted of a sweep."""

    slug: str
    num_trials: int
    budget_seconds: float | None = None  # of the trials, all in all; None: no end
    memory: int | None = None  # bytes on each device, for all the workers that share it
    num_workers: int = 1
    storage: str = ""  # address of a PostgreSQL database
    name: str = ""  # of the study; default: competition, protocol and recipe
    recipe: str | None = None
    protocol: str | None = None
    source: str | None = None
    mirror: str | None = None
    labels: str | None = None
    overrides: tuple[str, ...] = ()
    folds_used: int = 1  # of the recipe's folds, by which trials are judged
    objectives: tuple[str, ...] = ("error",)
    seed: int = 1  # of the draws
    despite_findings: bool = False

    def __post_init__(self) -> None:
        """Refuse what no sweep can be made of."""
        for key, value in (
            ("--trials", self.num_trials),
            ("--workers", self.num_workers),
            ("--folds-used", self.folds_used),
        ):
            if value < 1:
                raise ConfigError(f"{key} must be at least 1, got {value}.")
        if self.budget_seconds is not None and self.budget_seconds <= 0:
            raise ConfigError(f"--budget must be longer than nothing, got {self.budget_seconds:g} s.")
        unknown = [one for one in self.objectives if one not in OBJECTIVES]
        if unknown or self.objectives[:1] != ("error",) or len(set(self.objectives)) != len(self.objectives):
            raise ConfigError(
                f"--objectives {','.join(self.objectives)}: expected error first, and on request minutes and memory, "
                "each once, such as error,minutes."
            )


@dataclass(frozen=True, kw_only=True)
class Swept:
    """A study whose trials are done."""

    place: StudyPlace
    plan: RunPlan  # of the untuned recipe
    study: "Study"


def sweep(order: Order, *, say: Say, show: "Callable[[Study, int, float], None] | None" = None) -> Swept:
    """Run the trials of an order as far as they are not done; the same order goes on where it was ended.

    Args:
        order: what is wanted.
        say: takes lines of progress.
        show: called about once a second with the study, the number of trials wanted and the deadline.

    Raises:
        KitError: the order or the data are wrong, the study is another one, the budget is too short for one trial, or
            none of the trials came to its end.
        StoppedError: a signal asked for the end; what is done is kept.
    """
    began = time.time()
    place = place_of(order)
    plan = plan_run(
        order.slug,
        recipe=order.recipe,
        protocol=order.protocol,
        source=order.source,
        mirror=order.mirror,
        labels=order.labels,
        overrides=order.overrides,
        despite_findings=order.despite_findings,
        memory=order.memory,
        say=say,
    )
    _refuse_folds(order, plan)
    gate(plan.findings, slug=order.slug, override=order.despite_findings)
    surroundings = environments(order.num_workers, device=plan.recipe.device, num_images=len(plan.train))
    memory = _memory_of_a_trial(order, surroundings)
    settings = _settings(order, plan, memory=memory)
    pack_for(plan, say=say)
    study = open_study(place, settings)
    for axis in settings.drawn_from.axes:
        say(f"draws    {axis}")
    with reaching(place):
        with turn(place):
            session = int(study.user_attrs.get("sessions", 0)) + 1
            study.set_user_attr("sessions", session)
        trials = study.get_trials(deepcopy=False)
    deadline = float("inf")
    if order.budget_seconds is not None:
        deadline = began + order.budget_seconds - spent_seconds(trials, now=began)
    say(f"study    {place.name} in {place.shown}: {len(finished(trials))} of {order.num_trials} trials are done")
    todo = Session(
        name=place.name,
        url=place.url,
        slot=0,
        session=session,
        num_trials=order.num_trials,
        deadline=min(deadline, began + 10**9),
        seed=order.seed,
        mirror=order.mirror,
    )
    if len(finished(trials)) < order.num_trials and time.time() < deadline:
        with Progress(
            "sweeping", total=order.num_trials, done=len(finished(trials)), unit="trials", say=say
        ) as counter:

            def told() -> None:
                if show is not None:
                    show(study, order.num_trials, deadline)
                else:
                    counter.reach(len(finished(study.get_trials(deepcopy=False))))

            Crew(todo, surroundings, say=say).run(told)
    trials = study.get_trials(deepcopy=False)
    if best_of(trials) is None:
        _refuse_nothing(order, trials)
    return Swept(place=place, plan=plan, study=study)


def place_of(order: Order) -> StudyPlace:
    """Return where the study of an order is, or will be."""
    recipe = (order.recipe or "").removesuffix(".toml").rpartition("/")[2]
    name = order.name or "-".join(part for part in (order.slug, order.protocol, recipe) if part)
    return StudyPlace(name=name, url=checked_storage(order.storage))


def _refuse_folds(order: Order, plan: RunPlan) -> None:
    if plan.recipe.num_folds < 2 or order.folds_used > plan.recipe.num_folds:
        raise ConfigError(
            f"Trials are judged out of fold, on {order.folds_used} of the recipe's folds (--folds-used), and it has "
            f"{plan.recipe.num_folds or 'none'}. Give --set num_folds={max(5, order.folds_used)}."
        )


def _memory_of_a_trial(order: Order, surroundings: list[Surroundings]) -> int | None:
    """Return the bytes that each trial may take: workers on one device share what is there for it."""
    if order.memory is None:
        return None
    sharing = Counter(one.variables.get("CUDA_VISIBLE_DEVICES", "") for one in surroundings)
    return order.memory // max(sharing.values())


def _settings(order: Order, plan: RunPlan, *, memory: int | None) -> Settings:
    untuned = load_competition(order.slug).recipe(order.recipe, overrides=order.overrides)
    return Settings(
        slug=order.slug,
        protocol=plan.protocol_id,
        source=plan.source,
        labels=order.labels,
        recipe=untuned.as_dict(),
        space=_space(order, plan, untuned, memory=memory).as_dict(),
        objectives=order.objectives,
        folds_used=order.folds_used,
        memory=memory,
        data=fingerprint(plan.samples.fingerprint, fold_fingerprint(plan.train), plan.weights_fingerprint)[:16],
    )


def _space(order: Order, plan: RunPlan, untuned: Recipe, *, memory: int | None) -> Space:
    """Return the recipe's own space, or one around its values: of batches that fit the memory and the training set."""
    table = tune_table(plan.competition, order.recipe)
    where = f"[tune] of the recipe {order.recipe or plan.competition.default_recipe}"
    if table is not None:
        if memory is not None:
            _largest_batch(plan, memory, least=0)  # which says so if nothing fits
        return read_space(table, untuned, where=where)
    largest = _largest_batch(plan, memory, least=2)
    num_train = len(plan.train) * (plan.recipe.num_folds - 1) // plan.recipe.num_folds
    fixed = tuple(override.partition("=")[0].strip() for override in order.overrides)
    return default_space(untuned, largest_batch=min(largest, num_train // FEWEST_STEPS), fixed=fixed)


def _largest_batch(plan: RunPlan, memory: int | None, *, least: int) -> int:
    """Return the largest batch that the cost model says fits, of the untuned recipe.

    Raises:
        ConfigError: not even the weights do, or less than `least` images.
    """
    from kit.fit.limits import memory_limit, printed
    from kit.train.model import choose_device

    cost = cost_of_plan(plan)
    limit = memory_limit(choose_device(plan.recipe.device)).num_bytes if memory is None else memory
    bare = cost.surroundings.standing + cost.weights
    if bare > limit:
        raise ConfigError(
            f"The process and the bare weights of {plan.recipe.model.name} alone take {printed(bare)}, and each trial "
            f"may take {printed(limit)}: nothing could be trained. Give more --memory, fewer --workers on one device "
            "(they share it), or a smaller network (--set model.name=...)."
        )
    largest = cost.largest_batch(limit)
    if largest < least:
        cost.split(least, limit)  # says what takes how much
    return largest


def _refuse_nothing(order: Order, trials: "list[FrozenTrial]") -> None:
    """Say why no trial came to its end within the limits.

    Raises:
        ConfigError: the budget or the memory are too small.
        TrainingError: all of them failed.
    """
    stopped = [trial for trial in trials if trial.user_attrs.get("stopped")]
    infeasible = [trial for trial in finished(trials) if any(value > 0 for value in trial.constraints.values())]
    if infeasible:
        least = min(infeasible, key=lambda trial: max(trial.constraints.values()))
        excess = max(least.constraints.values())
        raise ConfigError(
            f"None of {len(finished(trials))} trials kept the limit of memory; trial {least.number} came nearest, with "
            f"{1 + excess:.2f} times as much. Give --memory {1.1 * (1 + excess):.2g} times as large, fewer --workers "
            "on one device, or a space of smaller images, batches or networks."
        )
    reasons = [str(trial.user_attrs.get("reason") or trial.user_attrs.get("diverged") or "") for trial in trials]
    said = next((reason for reason in reversed(reasons) if reason), "")
    if order.budget_seconds is not None and (stopped or not said):
        raise ConfigError(
            f"The budget of {order.budget_seconds:.0f} s ended before a single trial did: {_furthest(stopped)}. Give a "
            "longer --budget (the same command then goes on), or a recipe of fewer epochs or smaller images."
        )
    raise TrainingError(
        f"None of {len(trials)} trials came to its end; the last one that says why: {said.rstrip('.') or 'none does'}. "
        "Mend it, or the search space, and start again with another --name."
    )


def _furthest(stopped: "list[FrozenTrial]") -> str:
    """Return how far the trials came that were stopped."""
    begun = [trial for trial in stopped if trial.user_attrs.get("num_epochs_done")]
    if not begun:
        return "none had done an epoch"
    furthest = max(begun, key=lambda trial: trial.user_attrs["num_epochs_done"])
    done, seconds = furthest.user_attrs["num_epochs_done"], furthest.user_attrs["epoch_seconds"]
    return f"trial {furthest.number} came furthest, with {done} epochs of {seconds:.2g} s each"
