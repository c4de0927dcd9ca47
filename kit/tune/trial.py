"""One trial of a sweep, in a process of its own: train the folds that are used, and score them out of fold.

The task comes as a line of JSON by the standard input, which stays open: when who started us is gone, we stop as on
SIGTERM, and the state is kept. What happens is told by lines of JSON on the standard output:

    {"line": TEXT}                                     to be said
    {"predicted": BYTES, "limit": BYTES, ...}          before training, or null twice; if more, nothing else comes
    {"share": ..., "fold": ..., "value": ..., ...}     after each epoch
    {"fold_error": ..., "fold": ...}                   after each fold
    {"result": {"error": ..., "minutes": ..., ...}}    at the end
    {"failed": PARAGRAPH, "kind": NAME}                instead
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.fit.limits import CUDA_CONTEXT, peak_resident_bytes
from kit.judge.judgement import judge
from kit.judge.predict import Predictions, join_folds
from kit.metrics import METRICS
from kit.plan import RunPlan, pack_for, plan_run
from kit.train.models import ModelFolder, train_model
from kit.tune.child import Tell, be_a_child
from kit.tune.final_run import held_out
from kit.tune.study import alone

if TYPE_CHECKING:
    from kit.fit.cost import Cost
    from kit.store.pack import Pack
    from kit.train.history import EpochLog


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a trial is to do."""

    slug: str
    recipe: str  # path of the trial's own recipe
    protocol: str
    source: str
    mirror: str | None
    labels: str | None
    num_folds_used: int  # the first ones
    folder: str  # for its models
    memory: int | None  # bytes that it may take


def error_of(metric: str, score: float) -> float:
    """Return what a sweep minimises: the score itself, or 1 - score where greater is better."""
    return 1.0 - score if METRICS[metric].greater_is_better else score


def value_of(metric: str, log: "EpochLog") -> float:
    """Return what an epoch is compared by: the held-out share of wrong answers, or the loss for a metric of chances."""
    if METRICS[metric].takes == "probabilities" or log.valid_accuracy is None:
        return float("nan") if log.valid_loss is None else log.valid_loss
    return 1.0 - log.valid_accuracy


def run_trial(task: Task, tell: Tell) -> None:
    """Do a task and tell what happens.

    Raises:
        KitError: it cannot be done, or somebody asked for the end.
    """
    plan = plan_run(
        task.slug,
        recipe=task.recipe,
        protocol=task.protocol,
        source=task.source,
        mirror=task.mirror,
        labels=task.labels,
        memory=task.memory,
        say=lambda line: tell(line=line),
    )
    predicted = None if task.memory is None else predicted_bytes(plan)
    schedule = plan.recipe.schedule
    tell(predicted=predicted, limit=task.memory, epochs=schedule.frozen_epochs + schedule.epochs)
    if task.memory is not None and predicted is not None and predicted > task.memory:
        return
    pack = pack_for(plan, say=lambda line: tell(line=line))
    began = time.monotonic()
    parts, models = [], []
    for fold in range(task.num_folds_used):
        model = _train(plan, pack, fold, folder=Path(task.folder) / "models", began=began, tell=tell)
        models.append(model)
        parts.append(held_out(plan, pack, model, fold))
        tell(fold_error=_error(plan, parts[-1:])[0], fold=fold)
    error, score = _error(plan, parts)
    result = {
        "error": error,
        "score": asdict(score),
        "metric": plan.protocol.metric,
        "minutes": sum(model.history["minutes"] for model in models),
        "peak_bytes": _peak_bytes(plan),
        "device": models[0].history["device"],
        "notes": list(dict.fromkeys(note for model in models for note in model.history["notes"])),
    }
    tell(result=result)


def _train(plan: RunPlan, pack: "Pack", fold: int, *, folder: Path, began: float, tell: Tell) -> ModelFolder:
    """Return the model of one fold, trained; each epoch is told."""
    schedule = plan.recipe.schedule
    num_epochs = schedule.frozen_epochs + schedule.epochs

    def watch(log: "EpochLog") -> None:
        tell(
            fold=fold,
            epoch=log.epoch,
            share=log.epoch / num_epochs,
            value=value_of(plan.protocol.metric, log),
            loss=log.valid_loss,
            seconds=log.seconds,
            minutes=(time.monotonic() - began) / 60,
            images_per_second=log.images_per_second,
        )

    return train_model(
        f"fold-{fold}",
        plan.train,
        pack,
        recipe=plan.recipe,
        classes=plan.samples.classes,
        several=plan.several_labels,
        rule=plan.competition.folds,
        folder=folder,
        say=lambda line: tell(line=line),
        memory=plan.memory,
        watch=watch,
    )


def _error(plan: RunPlan, parts: list[Predictions]) -> tuple[float, Any]:
    """Return the error of some folds' images, and the score with its interval."""
    metric = plan.protocol.metric
    score = judge(join_folds(parts), metric=metric, several=plan.several_labels).scores[metric]
    return error_of(metric, score.value), score


def predicted_bytes(plan: RunPlan) -> int:
    """Return what the cost model says that training takes, all in all, of the memory that the limit is for."""
    schedule = plan.recipe.schedule
    at_once = schedule.micro_batch or schedule.batch_size
    return cost_of_plan(plan).total(at_once, num_portions=schedule.batch_size // at_once)


def cost_of_plan(plan: RunPlan) -> "Cost":
    """Return what the cost model says of a plan, on the device that it would be trained on."""
    from kit.fit.check import known_cost
    from kit.train.model import choose_device

    return known_cost(
        plan.recipe,
        num_classes=len(plan.samples.classes),
        device=choose_device(plan.recipe.device),
        several=plan.several_labels,
    )


def _peak_bytes(plan: RunPlan) -> int:
    """Return the most memory that was held at once: on a GPU there, else by this process, without pages of files."""
    from kit.train.model import choose_device

    device = choose_device(plan.recipe.device)
    if device.type == "cuda":
        import torch

        return CUDA_CONTEXT + int(torch.cuda.max_memory_reserved(device))
    return peak_resident_bytes()


def _work(given: Mapping[str, Any], tell: Tell) -> None:
    task = Task(**given)
    # A trial whose worker was killed may still be writing its state.
    with alone(Path(task.folder) / "lock"):
        run_trial(task, tell)


if __name__ == "__main__":
    sys.exit(be_a_child(_work))
