"""Reproduce: a run is made again from its record alone, and its figures are held against those of the record.

The record has recipe, seeds, versions, commit and the fingerprints of data, folds and weights. What decides the numbers
must be as it was: changed data are refused, naming the files. What may move the last bits is said before anything
starts. The models are trained in a folder of their own, `runs/RUN-again`, without a look at those of before.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from kit.board.records import RunRecord, board_records, run_folder
from kit.competition import load_competition
from kit.config import Recipe, recipe_from_dict
from kit.data.changes import changed_files
from kit.data.folds import fold_fingerprint
from kit.data.schema import fingerprint_of, read_samples_table
from kit.errors import ConfigError, DataError, KitError, TrainingError, did_you_mean
from kit.home import family, write_json, write_text
from kit.judge.judgement import judge
from kit.judge.statistics import Score
from kit.judge.test_ledger import TEST_KINDS, look
from kit.plan import RunPlan, plan_run
from kit.progress import Say
from kit.provenance import commit, versions
from kit.run import predict, train_models
from kit.train.distributed import device_among
from kit.train.models import device_name
from kit.train.world import SOLO
from kit.tune.recipe_file import recipe_toml

EQUAL, WITHIN, OUTSIDE = "equal bit for bit", "within the interval", "outside the interval"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One score of the record, and the one that came out now."""

    kind: str  # of the predictions
    stored: Score
    value: float

    @property
    def difference(self) -> float:
        """What came out now minus what the record says."""
        return self.value - self.stored.value

    @property
    def verdict(self) -> str:
        """Equal bit for bit, or within or outside of the 95 % interval that the record gives."""
        if self.value == self.stored.value:
            return EQUAL
        return WITHIN if self.stored.low <= self.value <= self.stored.high else OUTSIDE


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """A run made again."""

    record: RunRecord  # of the run as it was
    folder: Path
    differences: tuple[str, ...]  # what was otherwise than then, before it began
    figures: tuple[Figure, ...]

    @property
    def words(self) -> str:
        """What came of it, in a sentence."""
        counts = {verdict: sum(one.verdict == verdict for one in self.figures) for verdict in (EQUAL, WITHIN, OUTSIDE)}
        if counts[EQUAL] == len(self.figures):
            return f"all {len(self.figures)} figures are {EQUAL}"
        said = [f"{count} {verdict}" for verdict, count in counts.items() if count]
        return f"of {len(self.figures)} figures {', '.join(said)}"


def record_to_reproduce(run: str) -> RunRecord:
    """Return the record of a run of this machine or of the published ones, by its id or the unique start of it.

    Raises:
        DataError: no such run, or several.
    """
    records = {record.run_id: record for record in board_records()}
    matching = [run] if run in records else sorted(run_id for run_id in records if run_id.startswith(run))
    if len(matching) != 1:
        what = f"{run!r} could be {', '.join(matching[:5])}" if matching else f"There is no run {run!r}"
        known = "Known are the runs of this machine, and the published ones of the leaderboard"
        raise DataError(f"{what}.{did_you_mean(run, list(records))} {known}: {', '.join(list(records)[-5:])}.")
    return records[matching[0]]


def plan_again(record: RunRecord, *, mirror: str | None = None, say: Say = print) -> RunPlan:
    """Return the plan of a run, made anew from its record, whose data, folds and weights are those of then.

    Args:
        record: of the run.
        mirror: folder or URL that serves the competition's files; default: KIT_MIRROR.
        say: takes lines of progress.

    Raises:
        DataError: the images, labels, groups or splits are not those of then; names the files that differ where the
            table of then is known. Or the folds, or the weights.
        ConfigError: the recipe is of another version of the kit.
    """
    _refuse_other_kinds(record)
    recipe = _recipe_of(record)
    competition = load_competition(record.competition)
    protocol = record.protocol.removesuffix(f"@{record.source}")
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "recipe.toml"
        write_text(written, recipe_toml(recipe))
        settings: dict[str, Any] = {
            "recipe": str(written),
            "protocol": protocol,
            "source": record.source,
            "mirror": mirror,
            "despite_findings": bool(record.quality.get("overridden")),
            "say": say,
        }
        # Which rule gave the labels is not in the record; the fingerprint of what it gave is.
        plans = []
        for labels in (None, *competition.more_labels):
            plans.append(plan_run(record.competition, labels=labels, **settings))
            if plans[-1].samples.fingerprint == record.data["fingerprint"]:
                return _with_its_folds(record, plans[-1], {**settings, "labels": labels})
    raise DataError(_changes(record, plans[0]))


def _with_its_folds(record: RunRecord, plan: RunPlan, settings: Mapping[str, Any]) -> RunPlan:
    """Return the plan with the folds of then, from the run's own file where they are dealt otherwise now."""
    if record.network["weights_fingerprint"] != plan.weights_fingerprint:
        raise DataError(
            f"The pretrained weights of {plan.recipe.model.name} are not those that {record.run_id} began with "
            f"({record.network['weights_origin']}): their checksum differs. Put those where the kit finds them first "
            "(KIT_WEIGHTS)."
        )
    wanted = record.folds["fingerprint"]
    if not wanted or fold_fingerprint(plan.train) == wanted:
        return plan
    kept = run_folder(record.run_id) / "folds.csv"
    if kept.is_file():
        plan = plan_run(record.competition, folds_from=kept, **settings)
        if fold_fingerprint(plan.train) == wanted:
            return plan
    raise DataError(
        f"The folds of {record.run_id} cannot be dealt again: this kit deals others with the same seed, and {kept} is "
        f"{'not theirs' if kept.is_file() else 'not there'}. Check out the commit {record.commit or 'of the run'}."
    )


def differences(record: RunRecord, plan: RunPlan) -> list[str]:
    """Return what is otherwise than it was when a run was made, a sentence each: it may move the figures."""
    import torch

    found = []
    now = commit()
    if (record.commit or "") != (now or ""):
        found.append(f"commit: {record.commit or 'not known'} then, {now or 'not known'} now")
    elif "+changes" in (now or ""):
        found.append(f"commit: {now}, with changes of then and of now that no commit holds")
    here = versions()
    for name in sorted({*record.versions, *here}):
        if (then := record.versions.get(name, "not stated")) != here.get(name, "not stated"):
            found.append(f"{name}: {then} then, {here.get(name, 'not stated')} now")
    device = device_name(str(device_among(SOLO, plan.recipe.device)))
    if device != record.cost["device"]:
        found.append(f"device: {record.cost['device']} then, {device} now")
    if torch.get_num_threads() != record.cost["num_threads"]:
        found.append(
            f"threads: {record.cost['num_threads']} then, {torch.get_num_threads()} now; sums are added up in another "
            f"order (OMP_NUM_THREADS={record.cost['num_threads']} gives those of then)"
        )
    if (processes := record.cost.get("num_processes", 1)) > 1:
        found.append(f"processes: {processes} trained each model then, 1 now")
    if new := sorted(_keys(plan.recipe) - _keys(record.recipe)):
        found.append(f"the record does not state {', '.join(new)}: these are as a recipe has them by default now")
    if plan.run_id != record.run_id and not found:
        found.append("the competition's rules, or the kit's version of training, are not those of then")
    return found


def reproduce(
    record: RunRecord,
    plan: RunPlan,
    *,
    say: Say = print,
) -> Reproduction:
    """Train, predict and judge a run again, and hold each figure of its record against what comes out.

    One that was killed goes on where it was; a finished one is begun anew. No record is written: the outcome is
    `reproduction.json` in the folder, and the leaderboard does not have it.

    Args:
        record: of the run.
        plan: from `plan_again`.
        say: takes lines of progress.
    """
    found = tuple(differences(record, plan))
    folder = run_folder(_again(record))
    if (folder / "reproduction.json").is_file():
        shutil.rmtree(folder)
    again = replace(plan, run_id=folder.name)
    train_models(again, say=say)
    judged = {
        kind: judge(predictions, metric=plan.protocol.metric, several=plan.several_labels)
        for kind, predictions in predict(again, say=say).items()
        if predictions.labelled
    }
    for kind in sorted(judged.keys() & {*TEST_KINDS}):  # an equal value is no new look
        look(
            competition=record.competition,
            protocol=record.protocol,
            data=record.data["fingerprint"],
            run=record.run_id,
            opened="test labels",
            kind=kind,
            metric=plan.protocol.metric,
            value=judged[kind].scores[plan.protocol.metric].value,
            say=say,
        )
    figures = tuple(
        Figure(kind=result.kind, stored=stored, value=judged[result.kind].scores[metric].value)
        for result in record.results
        for metric, stored in result.scores.items()
        if result.kind in judged and metric in judged[result.kind].scores
    )
    done = Reproduction(record=record, folder=folder, differences=found, figures=figures)
    outcome = [{"kind": f.kind, **asdict(f.stored), "now": f.value, "verdict": f.verdict} for f in figures]
    write_json(folder / "reproduction.json", {"run_id": record.run_id, "differences": list(found), "figures": outcome})
    return done


def refuse_other_figures(done: Reproduction) -> None:
    """Refuse a reproduction whose figures are not those of the record.

    Raises:
        TrainingError: one is outside of its interval, or none could be held against another.
    """
    outside = [one for one in done.figures if one.verdict == OUTSIDE]
    if outside or not done.figures:
        first = outside[0] if outside else None
        what = (
            f"{first.kind} {first.stored.metric} is {first.value:.6g} now and was {first.stored.value:.6g}, 95 % "
            f"interval [{first.stored.low:.6g}, {first.stored.high:.6g}]"
            if first
            else "none of its scores could be computed again"
        )
        said = f" What is otherwise than then: {'; '.join(done.differences)}." if done.differences else ""
        raise TrainingError(f"{done.record.run_id} was not reproduced: {what}.{said} The models are in {done.folder}.")


def _again(record: RunRecord) -> str:
    return f"{record.run_id}-again"


def _refuse_other_kinds(record: RunRecord) -> None:
    """Refuse a record that is not of one plan: an ensemble of runs, or labels that another run gave."""
    if record.data.get("pseudo_labels"):
        raise DataError(
            f"{record.run_id} was trained on labels that another run gave, and that run must be reproduced first: "
            "`kit reproduce` makes runs again that stand on a competition's data alone."
        )
    if "own" in record.recipe:
        raise DataError(
            f"{record.run_id} was answered by a model of somebody's own, {record.network['name']}: call kit.run_own "
            "with that model again. The record's recipe names its class, parameters and library."
        )
    if not record.recipe.get("model"):
        raise DataError(
            f"{record.run_id} has no recipe of a network in its record, so there is nothing to train again: reproduce "
            "the runs that it was made of."
        )


def _recipe_of(record: RunRecord) -> Recipe:
    try:
        return recipe_from_dict(record.recipe, where=f"the record of {record.run_id}")
    except ConfigError as error:
        raise ConfigError(
            f"{error} It was made by another version of the kit, whose recipes are written otherwise: check out the "
            f"commit {record.commit or '(not stated in the record)'} and reproduce it there."
        ) from error


def _keys(recipe: Any, prefix: str = "") -> set[str]:
    """Return all keys of a recipe, or of the plain tables of one, as "schedule.lr"."""
    if is_dataclass(recipe):
        pairs = [(field.name, getattr(recipe, field.name)) for field in fields(recipe)]
    else:
        pairs = list(recipe.items())
    found: set[str] = set()
    for name, value in pairs:
        inner = is_dataclass(value) or (isinstance(value, Mapping) and not prefix)
        found |= _keys(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}"}
    return found


def _changes(record: RunRecord, plan: RunPlan) -> str:
    """Say which files are not those that a run was made of."""
    intro = f"The data of {record.competition} are not those that {record.run_id} was made of"
    outro = "Put those back (or, for your own fixes, the fixes.csv of then), and reproduce it then."
    before = _table_of(record)
    if before is None:
        return (
            f"{intro}: the fingerprint is {plan.samples.fingerprint[:12]} and was {record.data['fingerprint'][:12]}, "
            f"with {len(plan.samples.train):,} training and {len(plan.samples.test):,} test images now, "
            f"{record.data['num_train']:,} and {record.data['num_test']:,} then. Which files differ cannot be told: "
            f"the table of then is not on this machine. {outro}"
        )
    said = changed_files(before, plan.samples.table)
    return f"{intro}: {'; '.join(said)}. The files are below {plan.samples.folder}. {outro}"


def _table_of(record: RunRecord) -> pd.DataFrame | None:
    """Return the sample table of a run: the one in its folder, or one that is kept among the tables."""
    kept = [run_folder(record.run_id) / "images.csv"]
    for about in sorted((family("tables") / record.competition).glob("*/about.json")):
        try:
            if json.loads(about.read_text(encoding="utf-8"))["fingerprint"] == record.data["fingerprint"]:
                kept.append(about.parent / "samples.csv")
        except (OSError, ValueError, KeyError, TypeError):
            continue
    for path in kept:
        try:
            if path.is_file() and fingerprint_of(table := read_samples_table(path)) == record.data["fingerprint"]:
                return table
        except (KitError, OSError, ValueError, KeyError):
            continue
    return None
