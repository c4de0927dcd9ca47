"""The whole line as functions: a plan says what is to be done; each stage does it, unless it is done already."""

import json
from pathlib import Path

import pandas as pd

from kit.batches import learn_from
from kit.board.records import RunRecord, read_record, run_folder, write_record
from kit.data.folds import write_folds
from kit.data.schema import write_table
from kit.errors import ConfigError, DataError
from kit.home import write_json, write_text
from kit.judge.clip import CANDIDATES, best_clip
from kit.judge.judgement import Judgement, judge
from kit.judge.predict import (
    Predictions,
    join_folds,
    mean_of,
    predictions_of,
    read_predictions,
    write_predictions,
)
from kit.judge.test_ledger import TEST_KINDS, look
from kit.kaggle.submission import submission_table, write_submission
from kit.plan import RunPlan, pack_for, plan_run, refuse_rows_without_images
from kit.progress import Say, silent, within
from kit.quality.findings import gate, summary
from kit.record import record_of
from kit.train.distributed import check_alike, device_among
from kit.train.models import FULL, ModelFolder, find_model, train_model
from kit.train.parallel import train_in_parallel
from kit.train.world import SOLO, World


def train_models(plan: RunPlan, *, say: Say = print, parallel: int = 1, world: World = SOLO) -> list[ModelFolder]:
    """Return all models of a plan, training those that are not there yet.

    Args:
        plan: what to train.
        say: takes lines of progress and warnings.
        parallel: models at once, each in a process of its own, see `kit.train.parallel`.
        world: the processes that train each model together, see `kit.train.distributed`; the first one writes.

    Raises:
        ConfigError: fewer than one; both at once; or the processes have not the same in view.
    """
    if parallel < 1:
        raise ConfigError(f"--parallel must be at least 1, got {parallel}.")
    if world.size > 1 and parallel > 1:
        raise ConfigError(
            f"--parallel {parallel} trains models side by side, torchrun's {world.size} processes train each model "
            "together: one of the two."
        )
    check_alike(world, plan.run_id, folder=plan.folder.parent)
    folder = plan.folder / "models"
    found = [find_model(folder, name) for name in plan.models]
    if all(found):
        return [model for model in found if model is not None]
    refuse_rows_without_images(plan)
    if world.is_first:
        gate(plan.findings, slug=plan.competition.slug, override=plan.despite_findings)
        write_json(plan.folder / "quality.json", summary(plan.findings, override=plan.despite_findings))
        write_json(plan.folder / "recipe.json", plan.recipe.as_dict())
        write_text(plan.folder / "images.csv", write_table(plan.samples.table))  # which file changed, if one does
        if plan.recipe.num_folds:
            write_folds(plan.folder / "folds.csv", plan.train)
    pack = world.first_alone(lambda: pack_for(plan, say=say))
    if parallel > 1:
        train_in_parallel(
            [name for name, model in zip(plan.models, found, strict=True) if model is None],
            plan.train,
            pack,
            num_children=min(parallel, len(plan.models)),
            recipe=plan.recipe,
            classes=plan.samples.classes,
            several=plan.several_labels,
            rule=plan.competition.folds,
            folder=folder,
            say=say,
            memory=plan.memory,
            extra=plan.pseudo.rows if plan.pseudo else None,
        )
    models = [
        train_model(
            name,
            plan.train,
            pack,
            recipe=plan.recipe,
            classes=plan.samples.classes,
            several=plan.several_labels,
            rule=plan.competition.folds,
            folder=folder,
            say=say,
            world=world,
            memory=plan.memory,
            extra=plan.pseudo.rows if plan.pseudo else None,
        )
        for name in plan.models
    ]
    if world.is_first:
        learn_from(models, plan.recipe, classes=plan.samples.classes, several=plan.several_labels, limit=plan.memory)
    return models


def predict(plan: RunPlan, *, say: Say = print, world: World = SOLO) -> dict[str, Predictions]:
    """Return a plan's predictions by kind: out of fold, of the test images, and the mean of the fold models there.

    The images are dealt out to the processes of `world`, of which the first one writes.
    """
    has_test = not plan.samples.test.empty
    kinds = ["test"] if has_test else []
    if plan.recipe.num_folds:
        kinds += ["out-of-fold"] + (["fold-ensemble"] if has_test else [])
    files = {kind: plan.folder / "predictions" / f"{kind}.csv" for kind in kinds}
    if not all(path.is_file() for path in files.values()):
        for kind, predictions in _predict_now(plan, say=say, world=world).items():
            if world.is_first:
                write_predictions(files[kind], predictions)
        world.wait()
    # Read back even when just written: a second run must start from the very same numbers.
    return {kind: read_predictions(path, kind=kind, classes=plan.samples.classes) for kind, path in files.items()}


def _predict_now(plan: RunPlan, *, say: Say, world: World) -> dict[str, Predictions]:
    from kit.train.checkpoint import load_checkpoint
    from kit.train.inference import answers

    pack = pack_for(plan, say=say)
    device = device_among(world, plan.recipe.device)
    test, train, classes = plan.samples.test, plan.train, plan.samples.classes
    held_out, on_test = [], []
    found: dict[str, Predictions] = {}
    for name in plan.models:
        model = find_model(plan.folder / "models", name)
        if model is None:
            raise DataError(
                f"The model {name} of {plan.run_id} is not trained. Run `kit train {plan.competition.slug}`."
            )
        checkpoint = load_checkpoint(model.checkpoint, config=plan.recipe.model)

        def answer(table: pd.DataFrame, *, kind: str, fold: int) -> Predictions:
            part = answers(
                checkpoint,  # noqa: B023 (called in this very turn of the loop)
                pack,
                table,
                recipe=plan.recipe,
                device=device,
                shard=(world.rank, world.size),
                say=within(say, name) if world.is_first else silent,  # noqa: B023
            )
            probabilities = world.whole(part, num=len(table))
            return predictions_of(table, probabilities, kind=kind, classes=classes, fold=fold)

        if name == FULL:
            found["test"] = answer(test, kind="test", fold=-1)
        else:
            fold = int(name.removeprefix("fold-"))
            rows = train[train["fold"] == fold].reset_index(drop=True)
            held_out.append(answer(rows, kind="out-of-fold", fold=fold))
            if not test.empty:
                on_test.append(answer(test, kind="test", fold=fold))
    if held_out:
        found["out-of-fold"] = join_folds(held_out)
    if on_test:
        found["fold-ensemble"] = mean_of(on_test, kind="fold-ensemble")
    return found


def judge_all(plan: RunPlan, predictions: dict[str, Predictions], *, say: Say = print) -> dict[str, Judgement]:
    """Judge every set of predictions whose truth is known; looks at test labels go into the test-use ledger first."""
    metric = plan.protocol.metric
    judgements = {
        kind: judge(found, metric=metric, several=plan.several_labels, say=say)
        for kind, found in predictions.items()
        if found.labelled
    }
    for kind, judgement in judgements.items():
        if kind in TEST_KINDS:
            look(
                competition=plan.competition.slug,
                protocol=plan.shown_protocol,
                data=plan.samples.fingerprint,
                run=plan.run_id,
                opened="test labels",
                kind=kind,
                metric=metric,
                value=judgement.scores[metric].value,
                say=say,
            )
    return judgements


def write_submission_of(plan: RunPlan, predictions: dict[str, Predictions], *, say: Say = print) -> Path | None:
    """Write the submission for the test images, if there are any, and return its path."""
    if not plan.submits:
        return None
    path, test = plan.folder / "submission.csv", plan.samples.test
    clip = _clip_of(plan, predictions, say=say)
    table = submission_table(
        plan.competition,
        predictions["test"],
        data=plan.samples.folder,
        paths=dict(zip(test["image_id"], test["path"], strict=True)),
        sample=plan.protocol.sample,
        clip=clip,
    )
    about = {"rows": len(table), "clip": clip, "adapter": plan.competition.adapter_fingerprint}
    write_json(plan.folder / "submission.json", about)
    return write_submission(path, table)


def _is_submitted(plan: RunPlan) -> bool:
    """The submission is there, as the adapter of now makes it."""
    about = plan.folder / "submission.json"
    if not about.is_file() or not (plan.folder / "submission.csv").is_file():
        return False
    return bool(json.loads(about.read_text(encoding="utf-8")).get("adapter") == plan.competition.adapter_fingerprint)


def _clip_of(plan: RunPlan, predictions: dict[str, Predictions], *, say: Say) -> float:
    """Return how far the submission's probabilities are kept off 0 and 1."""
    if plan.competition.submission.clip == "none":
        return 0.0
    if "out-of-fold" not in predictions:
        say("the submission is not clipped: that is chosen out of fold, and there are no folds (--folds 5)")
        return 0.0
    clip = best_clip(predictions["out-of-fold"], metric=plan.protocol.metric, several=plan.several_labels)
    largest = " and the largest that is tried" if clip >= CANDIDATES[-1] else ""
    say(f"the submission's probabilities are clipped at {clip:.2g}, which is best out of fold{largest}")
    return clip


def run(slug: str, *, say: Say = print, parallel: int = 1, **settings: object) -> tuple[RunPlan, RunRecord]:
    """Do the whole line for one competition and return plan and record; what is done and unchanged is re-used.

    Args:
        slug: the competition.
        say: takes lines of progress and warnings.
        parallel: models to train at once.
        settings: those of `plan_run`.
    """
    plan = plan_run(slug, say=say, **settings)  # type: ignore[arg-type]
    return plan, finish(plan, say=say, parallel=parallel)


def finish(plan: RunPlan, *, say: Say = print, parallel: int = 1, world: World = SOLO) -> RunRecord:
    """Train, predict, judge, write submission and record of a plan, as far as that is not done.

    The arguments are those of `train_models`.
    """
    path = plan.folder / "record.json"
    submitted = not plan.submits or _is_submitted(plan)
    if path.is_file() and submitted and all(find_model(plan.folder / "models", name) for name in plan.models):
        say(f"{plan.run_id} is done already: every stage is re-used")
        return read_record(path)
    models = train_models(plan, say=say, parallel=parallel, world=world)
    predictions = predict(plan, say=say, world=world)
    if world.is_first:
        say("judging ...")
        judgements = judge_all(plan, predictions, say=say)
        write_submission_of(plan, predictions, say=say)
        if not path.is_file():  # a record is never edited; what was lost beside it has been made again
            write_record(record_of(plan, models, judgements))
    world.wait()
    return read_record(path)


def track_run(record: RunRecord, *, say: Say = print) -> bool:
    """Show a finished run to MLflow and return whether it has it. What goes wrong there is said, and stops nothing."""
    from kit.board.compare import load_published
    from kit.tracking import histories_of, published_fingerprint, report_fingerprint, store_uri, track

    folder = run_folder(record.run_id)
    marker, published = folder / "tracked.json", load_published(record.baselines)
    shown = {
        "store": store_uri(),
        "report": report_fingerprint(folder),
        "published": published_fingerprint(published),
    }
    if marker.is_file() and shown.items() <= json.loads(marker.read_text(encoding="utf-8")).items():
        return True
    try:
        mlflow_id = track(record, histories_of(record.run_id), published)
        write_json(marker, {**shown, "mlflow_run_id": mlflow_id})
    except Exception as error:
        say(
            f"MLflow did not take the run ({type(error).__name__}: {str(error).partition(chr(10))[0]}). "
            f"The run's own files are whole: {run_folder(record.run_id)}. `kit track {record.run_id}` tries again."
        )
        return False
    return True
