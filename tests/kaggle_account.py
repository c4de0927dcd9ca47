"""An account on a hosted competition, a clock that tests turn, and finished runs to submit."""

import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from hosting import IDS, TRUTH, make_hosted
from test_records import make_record

from kit.board.records import RunRecord, run_folder, write_record
from kit.host.server import serve
from kit.judge.predict import Predictions, write_predictions
from kit.judge.statistics import score_with_interval
from kit.kaggle import account, send, submissions, submit
from kit.kaggle.submission import submission_table, write_submission


class Clock:
    """The kit's clock: a pause passes at once, and is counted."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.on_pause = lambda seconds: None
        self._begun, self._sleep = datetime.now(UTC), time.sleep

    def now(self) -> datetime:
        return self._begun + timedelta(seconds=sum(self.pauses))

    def naive(self) -> datetime:
        """The time as the host takes it: in UTC, without a zone."""
        return self.now().replace(tzinfo=None)

    def sleep(self, seconds: float) -> None:
        self._sleep(0.01)  # the host scores meanwhile
        self.pauses.append(seconds)
        self.on_pause(seconds)


def set_clock(monkeypatch) -> Clock:
    """Give the modules that wait a clock of their own."""
    clock = Clock()
    monkeypatch.setattr(time, "sleep", clock.sleep)
    for module in (account, send, submissions, submit):
        monkeypatch.setattr(module, "now", clock.now)
    return clock


@contextmanager
def hosting(root: Path, monkeypatch, **options: Any):
    """Host the colours, and give the kit an account there."""
    settings = {"ladder": False, "public_share": 0.5, **options}
    hosted = make_hosted(root, **settings)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("KAGGLE_USERNAME", "ann")
    monkeypatch.setenv("KAGGLE_KEY", hosted.add_user("ann"))
    with serve(hosted) as server:
        monkeypatch.setenv("KIT_KAGGLE_URL", server.url)
        yield hosted


def answers(right: float, *, seed: int = 0, noise: float = 0.0) -> np.ndarray:
    """Return a probability of red for each of IDS: `right` for the true class, with noise."""
    drawn = np.random.default_rng(seed).normal(0, noise, len(TRUTH)) if noise else 0.0
    return np.clip(np.where(TRUTH == 1, right, 1 - right) + drawn, 0.01, 0.99)


def finished_run(question, run_id: str, red: np.ndarray, *, metric: str = "log_loss") -> RunRecord:
    """Write a run that answers the test images, and as many of its own folds, with these probabilities of red."""
    both = np.stack([1 - red, red], axis=1).astype(np.float32)
    names = [question.classes[k] for k in TRUTH]
    test = Predictions(
        kind="test",
        image_ids=IDS,
        classes=question.classes,
        probabilities=both,
        labels=("",) * len(IDS),
        folds=np.full(len(IDS), -1),
    )
    held_out = replace(test, kind="out-of-fold", labels=tuple(names), folds=np.arange(len(IDS)) % 2)
    folder = run_folder(run_id)
    for one in (test, held_out):
        write_predictions(folder / "predictions" / f"{one.kind}.csv", one)
    write_submission(folder / "submission.csv", submission_table(question, test, data=Path()))
    score = score_with_interval(metric, labels=held_out.truth, probabilities=both.astype(np.float64))
    made = make_record(run_id=run_id)
    result = replace(made.results[0], kind="out-of-fold", scores={metric: score})
    record = make_record(run_id=run_id, competition=question.slug, results=[result], source="local")
    write_record(record)
    return record
