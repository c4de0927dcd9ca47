"""The student: trained with a teacher's pseudo-labels, and kept only where it is better out of fold."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from kit.board.records import RunRecord, find_record, run_folder
from kit.config import Recipe, recipe_from_dict
from kit.data.folds import fold_fingerprint
from kit.data.pseudo_labels import PseudoLabels
from kit.errors import DataError
from kit.home import fingerprint, write_json
from kit.judge.paired import Difference, compare_pairs
from kit.judge.predict import read_predictions
from kit.plan import RunPlan, plan_run
from kit.progress import Say
from kit.pseudo.teacher import pseudo_labels
from kit.run import finish
from kit.tune.recipe_file import recipe_toml


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What pseudo-labels were worth."""

    teacher: RunRecord
    student: RunRecord
    labels: PseudoLabels
    gain: Difference  # of the student over the teacher, on the same images, out of fold
    kept: bool  # the gain's interval is above zero
    verdict: str  # one sentence

    @property
    def chosen(self) -> RunRecord:
        """The run to go on with."""
        return self.student if self.kept else self.teacher


def teach(
    slug: str,
    run: str,
    *,
    threshold: float = 0.95,
    weight: float = 1.0,
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    mirror: str | None = None,
    labels: str | None = None,
    memory: int | None = None,
    despite_findings: bool = False,
    parallel: int = 1,
    say: Say = print,
) -> Lesson:
    """Train a student with the test images that a finished run is sure of, on the run's own folds, and compare the two.

    The student is a run as any other, of another training pool; what is done is used again.

    Args:
        slug: the competition.
        run: id of the teacher, or the unique start of it.
        threshold: see `kit.data.pseudo_labels.pseudo_rows`, as for the weight.
        weight: of each pseudo-labelled image in training.
        recipe: of the student: a name or path; default: the teacher's.
        overrides: "key=value", laid over that recipe.
        mirror: folder or URL that serves the files.
        labels: name of another label rule, where the teacher had one.
        memory: bytes that each process that trains may take.
        despite_findings: train in spite of what the quality check found.
        parallel: models to train at once.
        say: takes lines of progress.

    Raises:
        DataError: the run is of another competition, cannot teach, or its images, labels or folds are no more those of
            now.
    """
    teacher = find_record(run)
    if teacher.competition != slug:
        raise DataError(f"{teacher.run_id} is a run of {teacher.competition}, not of {slug}.")
    out_of_fold = run_folder(teacher.run_id) / "predictions" / "out-of-fold.csv"
    if not teacher.folds.get("num_folds") or not out_of_fold.is_file():
        raise DataError(
            f"{teacher.run_id} has no out-of-fold predictions, and whether pseudo-labels help is told by them. Run it "
            "with --folds 5."
        )
    if "blend" in teacher.recipe:
        raise DataError(
            f"{teacher.run_id} is a blend and has no models of its own that could teach fold by fold. Take one of its "
            f"members: {', '.join(teacher.recipe['blend']['weights'])}."
        )
    if "own" in teacher.recipe:
        raise DataError(
            f"{teacher.run_id} was answered by a model of somebody's own, of which the kit has no copy that could "
            "teach fold by fold. Take a run of networks."
        )
    settings = {
        "protocol": teacher.protocol.partition("@")[0],
        "source": teacher.source,
        "mirror": mirror,
        "labels": labels,
        "folds_from": run_folder(teacher.run_id) / "folds.csv",
        "despite_findings": despite_findings,
        "memory": memory,
        "say": say,
    }
    own = recipe_from_dict(teacher.recipe, where=f"the recipe of {teacher.run_id}")
    with tempfile.TemporaryDirectory() as folder:
        path = _written(own, Path(folder))
        teachers_plan = plan_run(slug, recipe=str(path), **settings)  # type: ignore[arg-type]
        _refuse_changed(teachers_plan, teacher)
        plan = plan_run(slug, recipe=recipe or str(path), overrides=overrides, **settings)  # type: ignore[arg-type]
    found = pseudo_labels(teachers_plan, teacher, threshold=threshold, weight=weight, say=say)
    student = student_plan(plan, found)
    record = finish(student, say=say, parallel=parallel)
    lesson = compared(teacher, record, found, student)
    write_json(
        student.folder / "pseudo.json",
        {
            "teacher": teacher.run_id,
            "student": record.run_id,
            "labels": dict(found.about),
            "gain": asdict(lesson.gain),
            "kept": lesson.kept,
            "verdict": lesson.verdict,
        },
    )
    return lesson


def student_plan(plan: RunPlan, labels: PseudoLabels) -> RunPlan:
    """Return the plan of a run that learns from pseudo-labels besides, with an id of its own."""
    key = fingerprint(plan.run_id, labels.fingerprint)
    recipe = plan.recipe
    return replace(
        plan,
        pseudo=labels,
        run_id=f"{plan.competition.slug}-{plan.protocol_id}-{recipe.name}-pseudo-s{recipe.seed}-{key[:8]}",
    )


def compared(teacher: RunRecord, student: RunRecord, labels: PseudoLabels, plan: RunPlan) -> Lesson:
    """Compare the two runs' out-of-fold predictions pairwise; the student is kept if its gain is shown."""
    before, after = (
        read_predictions(
            run_folder(record.run_id) / "predictions" / "out-of-fold.csv",
            kind="out-of-fold",
            classes=plan.samples.classes,
        )
        for record in (teacher, student)
    )
    gain = compare_pairs([before], [after], metric=plan.protocol.metric)
    kept = gain.low > 0
    if kept:
        verdict = f"The student {student.run_id} is kept: its out-of-fold gain's interval is above zero."
    else:
        why = "its gain's interval is below zero" if gain.high < 0 else "its gain's interval is not above zero"
        verdict = f"The student {student.run_id} is not kept, since {why}: go on with {teacher.run_id}."
    return Lesson(teacher=teacher, student=student, labels=labels, gain=gain, kept=kept, verdict=verdict)


def _written(recipe: Recipe, folder: Path) -> Path:
    path = folder / f"{recipe.name}.toml"
    path.write_text(recipe_toml(recipe), encoding="utf-8")
    return path


def _refuse_changed(plan: RunPlan, teacher: RunRecord) -> None:
    """Refuse a teacher whose images or folds are other ones now: its fold k might know of the student's fold k."""
    if plan.samples.fingerprint != teacher.data["fingerprint"]:
        raise DataError(
            f"The images or labels of {plan.competition.slug} have changed since {teacher.run_id} (fingerprint "
            f"{plan.samples.fingerprint[:8]}, then {teacher.data['fingerprint'][:8]}). Its models may have seen what "
            f"is held out now: run it again first, or give the --labels and --mirror that it had."
        )
    if fold_fingerprint(plan.train) != teacher.folds["fingerprint"]:
        raise DataError(
            f"The folds.csv of {teacher.run_id} is not that of its record any more: it cannot be told which images its "
            "models have seen. Run it again."
        )
