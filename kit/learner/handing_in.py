"""A learner's answers, handed in: `learn.submission` writes the file, `learn.submit` checks it and sends it once."""

from pathlib import Path
from typing import TYPE_CHECKING

from kit.errors import SubmissionError
from kit.home import fingerprint
from kit.judge.clip import best_clip
from kit.judge.predict import Predictions
from kit.kaggle.lint import lint
from kit.kaggle.submission import submission_table, write_submission
from kit.kaggle.submit import Submitted, submit
from kit.learner.cycles import learners_folder, weights_fingerprint

if TYPE_CHECKING:
    from kit.learner.answering import Answering

MOST_SHOWN = 5  # findings in a message


def write_submission_of(learn: "Answering", path: str | Path) -> Path:
    """Write the present weights' answers to the test list as the competition wants them, and return the file.

    Ids, columns and order are those of the sample submission. Where the competition clips probabilities, how far is
    chosen on the held-out images. The file is checked by the linter (`kit lint`); warnings are said.

    Args:
        learn: the learner.
        path: of the CSV file; its folder must be there.

    Raises:
        SubmissionError: the competition takes no submissions, or the file would be refused.
    """
    return _written(learn, Path(path).expanduser())


def submit_learner(
    learn: "Answering", *, message: str = "", wait: bool = True, check_only: bool = False, again: bool = False
) -> Submitted:
    """Predict the test list, check the file, and send it to the competition once.

    Args:
        learn: the learner.
        message: shown beside it on the server; default: the network's name and how it was trained.
        wait: return when there is a score.
        check_only: check everything, the account too; send nothing.
        again: send a file that was sent before.

    Raises:
        SubmissionError: see `write_submission_of`; or the very same answers were sent before.
        KaggleError: not entered, closed, nothing left of today, refused, or could not be scored.
        TryLaterError: the server is out of reach or in trouble.
    """
    slug = learn.data.competition.slug
    digest = fingerprint(weights_fingerprint(learn.network.module), repr(learn.recipe.input))
    path = _written(learn, learners_folder(slug) / "submissions" / f"{digest[:16]}.csv")
    try:
        return submit(
            learn.data.competition,
            file=path,
            message=message or _described(learn),
            wait=wait,
            dry_run=check_only,
            again=again,
            say=learn.data.say,
        )
    except SubmissionError as error:
        raise SubmissionError(str(error).replace("Give --again", "Give again=True")) from error


def _written(learn: "Answering", path: Path) -> Path:
    plan, competition, test = learn.data.plan, learn.data.competition, learn.data.test
    if not plan.submits:
        what = "has no test images" if test.empty else f"deals its own test images under {plan.protocol_id}"
        raise SubmissionError(
            f"{competition.slug} {what}, so there is nothing to hand in. learn.compare() scores what has labels."
        )
    held_out = learn.answers("valid") if learn.data.valid_folds else None
    answers = learn.answers("test")
    table = submission_table(
        competition,
        answers,
        data=plan.samples.folder,
        paths=dict(zip(test["image_id"], test["path"], strict=True)),
        sample=plan.protocol.sample,
        clip=_clip(learn, held_out),
    )
    write_submission(path, table)
    findings = lint(
        path,
        competition,
        data=plan.samples.folder,
        sample=plan.protocol.sample,
        predictions=answers,
        out_of_fold=held_out,
    )
    if errors := [one for one in findings if one.severity == "error"]:
        shown = " ".join(f"{one.code}: {one.message} {one.remedy}" for one in errors[:MOST_SHOWN])
        raise SubmissionError(f"{path} would be refused, or scored as something that it is not. {shown}")
    for one in findings:
        if one.severity == "warning":
            learn.data.say(f"{one.code} warning: {one.message}")
    return path


def _clip(learn: "Answering", held_out: Predictions | None) -> float:
    """Return how far probabilities are kept off 0 and 1, as the competition wants it."""
    if learn.data.competition.submission.clip == "none":
        return 0.0
    if held_out is None:
        learn.data.say("the submission is not clipped: that is chosen on held-out images, and nothing is held out")
        return 0.0
    return best_clip(held_out, metric=learn.data.plan.protocol.metric, several=learn.data.several)


def _described(learn: "Answering") -> str:
    epochs = sum(len(cycle.history) for cycle in learn.cycles)
    return f"{learn.recipe.model.name}, {epochs} epochs, {learn.recipe.input.image_size} px"
