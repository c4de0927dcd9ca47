"""A model of one's own in a network's place: any scikit-learn estimator, or any object with fit and predict_proba.

Folds, judge, board, comparison and submission stay what they are: the run has a folder and a record like any other.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from kit.board.baselines import PretrainingGroup
from kit.board.records import RunRecord, read_record, run_folder, write_record
from kit.data.folds import write_folds
from kit.data.schema import write_table
from kit.errors import ConfigError, DataError, SubmissionError, did_you_mean
from kit.home import fingerprint, write_json, write_text
from kit.judge.predict import Predictions, read_predictions, write_predictions
from kit.learner.own_answers import all_answers, costs_of
from kit.learner.own_features import OfImage, features_of
from kit.learner.own_fit import maker_of
from kit.learner.own_identity import described, identity
from kit.learner.own_record import compared, own_plan, own_record
from kit.plan import RunPlan
from kit.quality.findings import summary
from kit.run import judge_all, write_submission_of

if TYPE_CHECKING:
    from kit.interpret.interpretation import Interpretation
    from kit.learner.comparison import LearnerComparison
    from kit.learner.data import Data

OWN_VERSION = 1  # goes up when the same model on the same rows would give other numbers
_LONGEST_NAME = 40


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class OwnRun:
    """What came of a model of one's own: a finished run."""

    record: RunRecord
    predictions: Mapping[str, Predictions]  # by kind: out-of-fold, test
    data: "Data"

    @property
    def folder(self) -> Path:
        """The run's folder, with record.json, predictions/ and, where there is a test list, submission.csv."""
        return run_folder(self.record.run_id)

    def submission(self, path: str | Path) -> Path:
        """Write the file to hand in, as `kit lint` checks it and `kit submit` sends it, and return its path.

        Raises:
            SubmissionError: the run has no test images that are handed in.
        """
        own = self.folder / "submission.csv"
        if not own.is_file():
            raise SubmissionError(
                f"{self.record.run_id} has no test images that are handed in, so there is no submission. Protocols "
                f"of {self.record.competition}: {', '.join(self.data.competition.protocols)} (the argument protocol of "
                "kit.load)."
            )
        target = Path(path).expanduser()
        write_text(target, own.read_text(encoding="utf-8"))
        return target

    def compare(self, kind: str | None = None) -> "LearnerComparison":
        """Return a score beside every published result of the data set, with a verdict where the conditions allow one.

        Args:
            kind: out-of-fold or test; default: the test list where its labels are known, else out of fold. The looks at
                test labels that count in the verdicts are those of the ledger, this run's among them.

        Raises:
            DataError: there are no such scored answers.
        """
        return compared(self.record, self.data, kind=kind)

    def interpret(self) -> "Interpretation":
        """Return fast.ai's verbs on the answers out of fold.

        Worst images, confusions and tables are there; what looks inside a network is not, for there is none.

        Raises:
            DataError: there are no folds. Test images are not shown: who then changes something has chosen on them.
        """
        from kit.interpret.images import images_of_pack
        from kit.interpret.interpretation import Interpretation

        found = self.predictions.get("out-of-fold")
        if found is None:
            raise DataError(
                f"{self.record.run_id} has no answers out of fold, so there is nothing to interpret. Load the data "
                "with folds: kit.load(..., folds=5)."
            )
        table = self.data.plan.samples.table
        return Interpretation(
            found,
            images_of_pack(self.data.pack) if (table["path"] != "").all() else None,
            groups=dict(zip(table["image_id"], table["group"], strict=True)),
        )

    def __repr__(self) -> str:
        """Return the run's id and its scores."""
        lines = [f"{result.kind}: {score}" for result in self.record.results for score in result.scores.values()]
        return "\n".join([f"OwnRun {self.record.run_id}: {self.record.network['name']}", *lines])

    def _repr_html_(self) -> str:
        """Return the run's name, a table of its scores with their intervals, and its id."""
        from kit.interpret.notebook import html_table

        rows = [
            (result.kind, one.metric, f"{one.value:.4f}", f"{one.low:.4f} to {one.high:.4f}", one.num_images)
            for result in self.record.results
            for one in result.scores.values()
        ]
        columns = ("answers", "metric", "score", "95 % interval", "rows")
        return html_table(columns, rows, caption=self.record.network["name"], note=f"Run {self.record.run_id}")


def run_own(
    data: "Data",
    model: Any,
    *,
    features: OfImage | Sequence[str] | None = None,
    name: str | None = None,
    seed: int | None = None,
    pretraining: str = "none",
) -> OwnRun:
    """Let a model of your own take the network's place, on all folds of `data`, and return the finished run.

    For each fold a new model learns from the other folds and answers this one; where there is a test list, one more
    learns from all training rows and answers it. So every answer comes from a model that never saw the row. What is
    fitted to data (a scaler, a PCA) must be part of the model, as in a scikit-learn Pipeline, or it would have seen
    all. The same data, model, features and seed are the same run, which is re-used when it is finished; an interrupted
    one goes on with the fold that it was at.

    Args:
        data: from `kit.load` or a `kit.from_...` function; all its folds count, not only the one held out.
        model: a scikit-learn estimator, cloned for each fold; another object with fit(X, y) and predict_proba(X),
            copied for each fold; or a class or function without arguments that gives a new one. X is (N, F); y (N,)
            int64 numbers of the classes in `data.classes`, or (N, C) of 0 and 1 where an image may have several
            labels. predict_proba returns (N, C), or the columns that an attribute `classes_` names.
        features: a function of an image, (S, S, 3) uint8 RGB with S = `data.size`, that returns (F,) numbers; None: its
            pixels, (S * S * 3,) float32 in [0, 1]. Called once per image; its values are kept. Of rows without images:
            names of columns, None: all that the competition's adapter gives, as a DataFrame.
        name: of the run, for people and in its id; default: the model's class.
        seed: of everything that draws: each `random_state` that is None, and the global generators; default: that of
            the data.
        pretraining: what the features or the model had learned from elsewhere: none, imagenet-1k, imagenet-21k,
            web-or-private or mixed. The kit cannot see it, and comparisons stand on it.

    Raises:
        ConfigError: the model, the features or the name is none.
        DataError: the images have faults that stop training; see also `kit.learner.own_features.features_of`.
        TrainingError: the model failed, or what it answered are no probabilities.
    """
    make = maker_of(model)
    data.check()
    seed = _checked_seed(data.plan, seed)
    if pretraining not in (groups := list(get_args(PretrainingGroup))):
        hint = did_you_mean(str(pretraining), groups)
        raise ConfigError(f"pretraining={pretraining!r} is no group.{hint} Known: {', '.join(groups)}.")
    label = _label(name, model)
    found = features_of(data, features, say=data.say)
    key = fingerprint(str(OWN_VERSION), identity(model), str(seed), found.key, pretraining, label, *data.plan.given)
    plan = own_plan(data.plan, name=label, seed=seed, key=key)
    if not plan.models:
        raise DataError(
            f"{plan.competition.slug} was loaded without folds, and its protocol {plan.protocol_id} has no test "
            "images: nothing could be answered. Load it with folds, e.g. folds=5."
        )
    about = {**described(model), "features": found.name, "features_key": found.key[:12], "pretraining": pretraining}
    files = {kind: plan.folder / "predictions" / f"{kind}.csv" for kind in _kinds(plan)}
    path = plan.folder / "record.json"
    if path.is_file() and all(file.is_file() for file in files.values()):
        data.say(f"{plan.run_id} is done already: every stage is re-used")
    else:
        _write_plan(plan, about)
        for kind, answers in all_answers(plan, make, found, seed=seed, say=data.say).items():
            write_predictions(files[kind], answers)
    # Read back even when just written: a second call must start from the very same numbers.
    predictions = {kind: read_predictions(file, kind=kind, classes=data.classes) for kind, file in files.items()}
    judgements = {} if path.is_file() else judge_all(plan, predictions, say=data.say)
    write_submission_of(plan, predictions, say=data.say)
    if not path.is_file():  # a record is never edited
        write_record(own_record(plan, costs_of(plan), judgements, about=about, imageless=_is_imageless(plan)))
    return OwnRun(record=read_record(path), predictions=predictions, data=data)


def _checked_seed(plan: RunPlan, seed: int | None) -> int:
    """Return the model's seed, by default the one that dealt the folds; a random split belongs to its own."""
    dealt = plan.recipe.seed
    if seed is None:
        return dealt
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**31:
        raise ConfigError(f"seed must be a whole number from 0 to 2147483647, got {seed!r}.")
    if plan.protocol.split == "random" and seed != dealt:
        raise ConfigError(
            f"The protocol {plan.protocol_id} of {plan.competition.slug} draws its test rows with the seed {dealt}, "
            f"and a run with the seed {seed} would be told to have drawn others. Load the data with it: "
            f"kit.load({plan.competition.slug!r}, seed={seed})."
        )
    return int(seed)


def _label(name: str | None, model: Any) -> str:
    """Return the run's name: small letters, digits and hyphens, as it stands in the run's id."""
    if name is not None and not re.fullmatch(rf"[a-z0-9][a-z0-9-]{{0,{_LONGEST_NAME - 1}}}", name):
        raise ConfigError(
            f"name={name!r} cannot name a run: up to {_LONGEST_NAME} small letters, digits and hyphens are expected, "
            'as in name="hog-svm".'
        )
    if name is not None:
        return name
    last = model.steps[-1][1] if getattr(model, "steps", None) else model
    own = getattr(last, "__name__", type(last).__name__)
    return re.sub(r"[^a-z0-9]+", "-", own.lower()).strip("-")[:_LONGEST_NAME] or "model"


def _kinds(plan: RunPlan) -> list[str]:
    return (["out-of-fold"] if plan.recipe.num_folds else []) + ([] if plan.samples.test.empty else ["test"])


def _is_imageless(plan: RunPlan) -> bool:
    return bool((plan.samples.table["path"] == "").all())


def _write_plan(plan: RunPlan, about: Mapping[str, Any]) -> None:
    """Write what a run's folder holds before anything is trained, as `kit.run.train_models` does."""
    write_json(plan.folder / "quality.json", summary(plan.findings, override=plan.despite_findings))
    write_json(plan.folder / "model.json", about)
    write_text(plan.folder / "images.csv", write_table(plan.samples.table))
    if plan.recipe.num_folds:
        write_folds(plan.folder / "folds.csv", plan.train)
