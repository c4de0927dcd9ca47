"""One run of the final comparison, in a process of its own: a recipe on fresh folds, with a seed of its own.

The images to train on are those of the sweep, test images stay unseen; the folds are dealt by another seed. A run
stands among the others, in KIT_HOME's runs, and the same task goes on where it was ended. Where all folds are used it
gets its record, as any run.
"""

import contextlib
import json
import queue
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.board.records import write_record
from kit.data.folds import assign_folds, fold_fingerprint, held_out_rows, write_folds
from kit.errors import TrainingError
from kit.home import fingerprint, write_json
from kit.judge.judgement import judge
from kit.judge.predict import Predictions, join_folds, predictions_of, read_predictions, write_predictions
from kit.plan import RunPlan, pack_for, plan_run
from kit.progress import Say
from kit.quality.findings import summary
from kit.record import record_of
from kit.train.models import ModelFolder, train_model
from kit.train.stopping import StoppedError, StopRequests
from kit.tune.child import Child, Tell, be_a_child, close_pipes, start_child, told_by
from kit.tune.study import alone

if TYPE_CHECKING:
    from kit.store.pack import Pack

LOOK_SECONDS = 0.2  # between looks at whether somebody asked for the end


@dataclass(frozen=True, kw_only=True)
class FinalTask:
    """What one run of the final comparison is to do."""

    slug: str
    recipe: str  # path of a TOML file, whose seed is the sweep's
    protocol: str
    source: str
    seed: int  # of the training
    fold_seed: int
    num_folds_used: int  # the first ones
    mirror: str | None = None
    labels: str | None = None
    memory: int | None = None  # bytes that it may take
    despite_findings: bool = False


def final_plan(task: FinalTask, *, say: Say) -> RunPlan:
    """Return the plan of a task: the sweep's training images, dealt and trained by the task's own seeds.

    The recipe's own seed is used first: it decides which images a random split holds back as test images.
    """
    plan = plan_run(
        task.slug,
        recipe=task.recipe,
        protocol=task.protocol,
        source=task.source,
        mirror=task.mirror,
        labels=task.labels,
        despite_findings=task.despite_findings,
        memory=task.memory,
        say=say,
    )
    dealt = assign_folds(
        plan.samples.train, num_folds=plan.recipe.num_folds, seed=task.fold_seed, rule=plan.competition.folds
    )
    recipe = replace(plan.recipe, seed=task.seed)
    key = fingerprint(plan.run_id, str(task.seed), fold_fingerprint(dealt), str(task.num_folds_used))
    return replace(
        plan,
        recipe=recipe,
        train=dealt,
        run_id=f"{task.slug}-{task.protocol}-{recipe.name}-s{task.seed}-{key[:8]}",
    )


def predictions_path(plan: RunPlan) -> Path:
    """Return the file with a run's out-of-fold predictions, which is written last."""
    return plan.folder / "predictions" / "out-of-fold.csv"


def run_final(task: FinalTask, *, say: Say) -> Predictions:
    """Return the out-of-fold predictions of a task, trained here and now as far as they are not there.

    It waits while another process of this machine does the same.

    Raises:
        KitError: it cannot be done, or somebody asked for the end.
    """
    plan = final_plan(task, say=say)
    path = predictions_path(plan)
    with alone(plan.folder / "lock"):  # a process whose parent was killed may still be writing its state
        if not path.is_file():
            _train_and_predict(plan, path, num_folds_used=task.num_folds_used, say=say)
    return read_predictions(path, kind="out-of-fold", classes=plan.samples.classes)


def _train_and_predict(plan: RunPlan, path: Path, *, num_folds_used: int, say: Say) -> None:
    write_json(plan.folder / "quality.json", summary(plan.findings, override=plan.despite_findings))
    write_json(plan.folder / "recipe.json", plan.recipe.as_dict())
    write_folds(plan.folder / "folds.csv", plan.train)
    pack = pack_for(plan, say=say)
    models = [
        train_model(
            f"fold-{fold}",
            plan.train,
            pack,
            recipe=plan.recipe,
            classes=plan.samples.classes,
            several=plan.several_labels,
            rule=plan.competition.folds,
            folder=plan.folder / "models",
            say=say,
            memory=plan.memory,
        )
        for fold in range(num_folds_used)
    ]
    found = join_folds([held_out(plan, pack, model, fold) for fold, model in enumerate(models)])
    if num_folds_used == plan.recipe.num_folds:
        judgement = judge(found, metric=plan.protocol.metric, several=plan.several_labels)
        write_record(record_of(plan, models, {"out-of-fold": judgement}))
    write_predictions(path, found)


def held_out(plan: RunPlan, pack: "Pack", model: ModelFolder, fold: int) -> Predictions:
    """Return the predictions of a fold's images by the model that never saw them."""
    from kit.train.checkpoint import load_checkpoint
    from kit.train.inference import answers
    from kit.train.model import choose_device

    checkpoint = load_checkpoint(model.checkpoint, config=plan.recipe.model)
    rows, classes = held_out_rows(plan.train, fold), plan.samples.classes
    probabilities = answers(checkpoint, pack, rows, recipe=plan.recipe, device=choose_device(plan.recipe.device))
    return predictions_of(rows, probabilities, kind="out-of-fold", classes=classes, fold=fold)


def run_final_alone(task: FinalTask, *, say: Say) -> Predictions:
    """Do the same as `run_final` in a process of its own, so that memory that runs out ends that one alone.

    Ctrl-C and SIGTERM are passed on; the run then keeps its state.

    Raises:
        TrainingError: it failed; says why.
        StoppedError: a signal asked for the end.
    """
    plan = final_plan(task, say=say)
    path = predictions_path(plan)
    if not path.is_file():
        _wait_for_child(task, plan.run_id, say=say)
    return read_predictions(path, kind="out-of-fold", classes=plan.samples.classes)


def _wait_for_child(task: FinalTask, name: str, *, say: Say) -> None:
    process = start_child("kit.tune.final_run", memory=task.memory)
    events: queue.Queue[dict[str, str] | None] = queue.Queue()
    listener = threading.Thread(target=_listen, args=(process, task, events), daemon=True)
    failed, told = "", False
    with StopRequests() as requests:
        try:
            listener.start()
            while True:
                with contextlib.suppress(queue.Empty):
                    event = events.get(timeout=LOOK_SECONDS)
                    if event is None:
                        break
                    failed = event.get("failed", failed)
                    if "line" in event:
                        say(event["line"])
                if requests.number is not None and not told:
                    told = True
                    process.send_signal(requests.number)
        finally:
            process.kill()
            exit_code = process.wait()
            listener.join()
    if requests.number is not None and exit_code:
        raise StoppedError(failed or f"stopped: {name} is kept as it is; the same command goes on.", requests.number)
    if exit_code:
        killed = exit_code == -signal.SIGKILL
        why = "it was killed, which is often the system's answer to too little memory" if killed else f"{exit_code}"
        raise TrainingError(failed or f"{name}: the process of this run ended early ({why}); it goes on where it was.")


def _listen(process: Child, task: FinalTask, events: "queue.Queue[dict[str, str] | None]") -> None:
    """Hand the task over, pass on what the child tells, and in the end None."""
    for line in told_by(process, task):
        events.put(json.loads(line))
    close_pipes(process)
    events.put(None)


def _work(given: Mapping[str, Any], tell: Tell) -> None:
    run_final(FinalTask(**given), say=lambda line: tell(line=line))


if __name__ == "__main__":
    sys.exit(be_a_child(_work))
