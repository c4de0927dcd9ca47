"""All answers of a model of one's own: one fitted per fold, one for the test list, each asked what it never saw."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from kit.data.folds import held_out_rows, training_rows
from kit.data.schema import truth_of
from kit.errors import DataError
from kit.home import write_json
from kit.judge.predict import Predictions, join_folds, predictions_of, read_predictions, write_predictions
from kit.learner.own_features import Features
from kit.learner.own_fit import answered, fitted, num_fitted
from kit.learner.own_record import Fitted, read_fitted
from kit.metrics import class_of
from kit.plan import RunPlan
from kit.train.models import FULL


def all_answers(
    plan: RunPlan, make: Callable[[], Any], features: Features, *, seed: int, say: Callable[[str], None]
) -> dict[str, Predictions]:
    """Return the answers by kind: out of fold, and to the test list; each model's are kept as soon as they are there.

    Args:
        plan: of the run, see `kit.learner.own_record.own_plan`.
        make: gives an unfitted model.
        features: of all rows.
        seed: of the model.
        say: takes a line per model.

    Raises:
        TrainingError: the model failed, or what it answered are no probabilities.
    """
    held_out: list[Predictions] = []
    found: dict[str, Predictions] = {}
    begun, num_done = time.monotonic(), 0
    for number, name in enumerate(plan.models, 1):
        kind = "test" if name == FULL else "out-of-fold"
        answers = _kept(plan, name, kind=kind)
        if answers is None:
            answers = _fit_and_ask(plan, name, make, features, kind=kind, seed=seed)
            num_done += 1
            left = (time.monotonic() - begun) / num_done * (len(plan.models) - number)
            fit = read_fitted(plan.folder / "own" / f"{name}.json")
            assert fit is not None
            say(
                f"{name}: learned from {fit.num_rows:,} rows in {fit.seconds:.1f} s, answered {len(answers.labels):,}"
                + (f"; about {left:.0f} s left" if left >= 2 else "")
            )
        if name == FULL:
            found[kind] = answers
        else:
            held_out.append(answers)
    return {**({"out-of-fold": join_folds(held_out)} if held_out else {}), **found}


def _kept(plan: RunPlan, name: str, *, kind: str) -> Predictions | None:
    """Return a model's answers from an earlier call, or None; what was written last says that they are whole."""
    if read_fitted(plan.folder / "own" / f"{name}.json") is None:
        return None
    try:
        return read_predictions(plan.folder / "own" / f"{name}.csv", kind=kind, classes=plan.samples.classes)
    except DataError:
        return None


def _fit_and_ask(
    plan: RunPlan, name: str, make: Callable[[], Any], features: Features, *, kind: str, seed: int
) -> Predictions:
    fold = -1 if name == FULL else int(name.removeprefix("fold-"))
    train, asked = plan.train, plan.samples.test
    if name != FULL:
        train = training_rows(plan.train, fold, rule=plan.competition.folds)
        asked = held_out_rows(plan.train, fold).reset_index(drop=True)
    classes, several = plan.samples.classes, plan.several_labels
    begun = time.perf_counter()
    model = fitted(
        make,
        features.of(train["image_id"]),
        _truth(train, classes, several=several),
        weights=_weights(train),
        seed=seed,
        whose=name,
    )
    seconds = time.perf_counter() - begun
    probabilities = answered(
        model, features.of(asked["image_id"]), classes=classes, several=several, seed=seed, whose=name
    )
    answers = predictions_of(asked, probabilities, kind=kind, classes=classes, fold=fold)
    write_predictions(plan.folder / "own" / f"{name}.csv", answers)
    about = Fitted(seconds=seconds, num_rows=len(train), num_numbers=num_fitted(model))
    write_json(plan.folder / "own" / f"{name}.json", about.as_dict())
    return answers


def costs_of(plan: RunPlan) -> list[Fitted]:
    """Return what each model of a finished run cost, the one on all rows last."""
    found = [read_fitted(plan.folder / "own" / f"{name}.json") for name in plan.models]
    return [one for one in found if one is not None]


def _truth(table: pd.DataFrame, classes: tuple[str, ...], *, several: bool) -> Any:
    """Return y: class numbers (N,) int64, of soft labels the most probable; (N, C) int64 of 0 and 1 where several."""
    truth = truth_of(table, classes)
    return truth.astype(np.int64) if several else class_of(truth)


def _weights(table: pd.DataFrame) -> Any:
    """Return (N,) float64 how much each row counts, or None where all count alike."""
    if "weight" not in table or (table["weight"] == 1).all():
        return None
    return table["weight"].to_numpy(dtype=np.float64)
