"""A finished run becomes its record: what was scored under which conditions, what it cost, and all that made it."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from kit.board.records import SCHEMA_VERSION, Result, RunRecord
from kit.conditions import Conditions, images_and_pool
from kit.data.folds import fold_fingerprint
from kit.data.pseudo_labels import POOL_SUFFIX
from kit.judge.judgement import Judgement
from kit.judge.test_ledger import test_use_of
from kit.plan import RunPlan
from kit.provenance import commit, versions
from kit.train.models import ModelFolder


def conditions_of(plan: RunPlan, kind: str, *, num_images: int, pretraining_group: str | None) -> Conditions:
    """Return the typed conditions of one kind of a plan's predictions."""
    fixes = plan.samples.fixes
    tested, trained = images_and_pool(
        plan.protocol,
        out_of_fold=kind == "out-of-fold",
        num_images=num_images,
        num_train=len(plan.samples.train),
        num_folds=plan.recipe.num_folds,
        lacking="" if plan.complete else plan.source,
        num_fixed=len(fixes.dropped) + len(fixes.relabelled) if fixes.fingerprint else 0,
    )
    inference = "single" if plan.recipe.input.test_views == "single" else "augmented"
    return Conditions(
        test_images=tested,
        num_test=num_images,
        metric=plan.protocol.metric,
        training_pool=f"{trained}{POOL_SUFFIX if plan.pseudo else ''}",
        pretraining_group=pretraining_group,
        adaptation="trained" if plan.recipe.schedule.epochs else "linear-probe",
        extra_inputs=plan.protocol.extra_inputs,
        inference="ensemble" if kind == "fold-ensemble" else inference,
        selection="out-of-fold" if kind == "out-of-fold" else "held-out",
    )


def described_of(plan: RunPlan, *, device: str) -> dict[str, Any]:
    """Return what is worth knowing of a run and decides no comparison, as `kit.conditions.Description` shows it."""
    return {
        "image_size": plan.recipe.input.image_size,
        "seeds": [plan.recipe.seed],
        "test_views": plan.recipe.input.test_views,
        "ensemble_size": max(1, plan.recipe.num_folds),
        "hardware": device,
        "split_hash": split_hash(plan.samples.train, plan.samples.test),
    }


def split_hash(train: pd.DataFrame, test: pd.DataFrame) -> str:
    """Return a SHA-256 over which images are trained on and which are tested on, whatever the row order.

    Args:
        train: the training images; column image_id.
        test: the test images; column image_id; may be empty.
    """
    sides = pd.concat([train[["image_id"]].assign(fold=0), test[["image_id"]].assign(fold=1)], ignore_index=True)
    return fold_fingerprint(sides)


def record_of(plan: RunPlan, models: Sequence[ModelFolder], judgements: dict[str, Judgement]) -> RunRecord:
    """Gather a finished run into its record."""
    first, handed_in = models[0].history, plan.folder / "submission.json"
    results = [
        Result(
            kind=kind,
            protocol=plan.shown_protocol,
            conditions=conditions_of(
                plan,
                kind,
                num_images=next(iter(found.scores.values())).num_images,
                pretraining_group=first["pretraining_group"],
            ),
            scores=found.scores,
            confused=found.confused[:20],
        )
        for kind, found in judgements.items()
    ]
    steps = sum(model.history["num_steps"] for model in models)
    rates = [log["images_per_second"] for model in models for log in model.history["history"]]
    return RunRecord(
        schema_version=SCHEMA_VERSION,
        run_id=plan.run_id,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        competition=plan.competition.slug,
        title=plan.competition.title,
        baselines=plan.competition.baselines_id,
        protocol=plan.shown_protocol,
        source=plan.source,
        complete=plan.complete,
        data={
            "fingerprint": plan.samples.fingerprint,
            "num_train": len(plan.samples.train),
            "num_test": len(plan.samples.test),
            "num_missing": plan.samples.missing,
            "store": first["store"],
            "num_fixes": len(plan.samples.fixes.rows),
            **({"pseudo_labels": dict(plan.pseudo.about)} if plan.pseudo else {}),
        },
        folds={
            "num_folds": plan.recipe.num_folds,
            "fingerprint": plan.fold_fingerprint,
        },
        recipe=plan.recipe.as_dict(),
        network={
            "name": plan.recipe.model.name,
            "num_parameters": first["num_parameters"],
            "weights_origin": first["weights_origin"],
            "weights_fingerprint": plan.weights_fingerprint,
            "pretraining_group": first["pretraining_group"],
        },
        results=results,
        cost={
            "train_minutes": sum(model.history["minutes"] for model in models),
            "num_models": len(models),
            "steps": steps,
            "images_per_second": float(np.median(rates)),
            "peak_memory_gib": max(model.history["peak_memory_gib"] for model in models),
            "device": first["device"],
            "num_processes": max(model.history["num_processes"] for model in models),
            "num_threads": first["num_threads"],
        },
        versions=versions(),
        commit=commit(),
        submission=json.loads(handed_in.read_text(encoding="utf-8")) if handed_in.is_file() else {},
        quality=json.loads((plan.folder / "quality.json").read_text(encoding="utf-8")),
        described=described_of(plan, device=first["device"]),
        test_use=test_use_of(plan.competition.slug, plan.shown_protocol, plan.samples.fingerprint),
    )
