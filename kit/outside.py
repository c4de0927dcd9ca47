"""Judge predictions made elsewhere: scored as ours are, under the conditions that somebody states, and compared."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from kit.board.baselines import Adaptation, PretrainingGroup
from kit.board.claims import Claim, claim_under
from kit.board.compare import ComparedRow, compare, load_published
from kit.board.records import Result
from kit.board.terms import own_conditions
from kit.board.test_use import use_words, uses_of_records
from kit.competition import Competition
from kit.conditions import Conditions, images_and_pool
from kit.data.prepare import is_complete, prepare
from kit.data.samples import Samples
from kit.errors import ConfigError, DataError, did_you_mean
from kit.judge.judgement import judge
from kit.judge.outside_file import OutsideAnswers, read_outside
from kit.judge.test_ledger import TEST_KINDS, check_chain, look, looked_at
from kit.metrics import METRICS
from kit.progress import Say

SELECTIONS = ("held-out", "out-of-fold", "test-images")
INFERENCES = ("single", "augmented", "ensemble")


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What somebody says about predictions of theirs, which no file tells; None: not stated."""

    training_pool: str | None = None  # a slug as in the baselines, or "protocol": what the protocol says
    pretraining_group: str | None = None
    adaptation: str | None = None
    extra_inputs: str | None = None
    inference: str | None = None
    selection: str | None = None
    out_of_fold: bool = False  # each training image was predicted by a network that never saw it

    def __post_init__(self) -> None:
        """Refuse words that no other result uses: they would differ from all of them."""
        for option, value, known in (
            ("--pretraining", self.pretraining_group, get_args(PretrainingGroup)),
            ("--adaptation", self.adaptation, get_args(Adaptation)),
            ("--inference", self.inference, INFERENCES),
            ("--selection", self.selection, SELECTIONS),
        ):
            if value is not None and value not in known:
                raise ConfigError(
                    f"{option} {value!r} is none of {', '.join(known)}.{did_you_mean(value, list(known))} Leave it out "
                    "where you do not know: then it is not stated, and no verdict is given."
                )


@dataclass(frozen=True, kw_only=True)
class OutsideJudgement:
    """Predictions made elsewhere, judged."""

    competition: Competition
    answers: OutsideAnswers
    samples: Samples
    result: Result
    test_use: str  # how often the test was opened; "" for answers out of fold
    compared: tuple[ComparedRow, ...]  # with every published row; empty where none are known
    claim: Claim | None  # what the result can say about the published ones


def judge_outside(
    competition: Competition,
    path: Path,
    *,
    stated: Stated,
    protocol: str | None = None,
    metric: str | None = None,
    source: str | None = None,
    mirror: str | None = None,
    labels: str | None = None,
    seed: int = 1,
    say: Say = print,
) -> OutsideJudgement:
    """Score a file of predictions against the labels that we have, and set it beside the published results.

    Args:
        competition: the question.
        path: CSV, see `kit.judge.outside_file`.
        stated: what is known of how they were made.
        protocol: whose images they are; default: the competition's default.
        metric: default: the protocol's.
        source: name of a source set.
        mirror: folder or URL that serves the files.
        labels: name of another label rule.
        seed: of a random split: the predictions must be of the same draw.
        say: takes lines of progress and warnings.

    Raises:
        ConfigError: a metric that there is not, or that needs probabilities where the file names classes.
        DataError: see `read_outside`.
    """
    name = protocol or competition.default_protocol
    chosen = competition.protocol(name)
    by = metric or chosen.metric
    if by not in METRICS:
        raise ConfigError(f"--metric {by!r} is unknown.{did_you_mean(by, list(METRICS))} Known: {', '.join(METRICS)}.")
    samples = prepare(competition, protocol=name, source=source, mirror=mirror, labels=labels, seed=seed, say=say)
    answers = read_outside(path, competition=competition, table=samples.table, out_of_fold=stated.out_of_fold)
    if answers.takes == "classes" and METRICS[by].takes == "probabilities":
        raise DataError(
            f"{by} takes probabilities, and {path} names classes alone. Give a column per class, or judge by another "
            "metric: --metric accuracy."
        )
    several = competition.task == "multi-label"
    found = judge(answers.predictions, metric=by, several=several, say=say)
    complete = is_complete(competition, samples, source=source)
    shown = name if complete else f"{name}@{competition.source_name(source)}"
    place = {"competition": competition.slug, "protocol": shown, "data": samples.fingerprint}
    run = f"file:{answers.digest}"
    if found.kind in TEST_KINDS:
        look(
            **place,
            run=run,
            opened="test labels",
            kind=found.kind,
            metric=by,
            value=found.scores[by].value,
            say=say,
        )
    chain = check_chain(uses_of_records())
    test_use = use_words(chain, run=run, out_of_fold=False, elsewhere=True, **place) if found.kind in TEST_KINDS else ""
    result = Result(
        kind=found.kind,
        protocol=shown,
        conditions=conditions_stated(
            competition, answers, samples, protocol=name, metric=by, stated=stated, source=source
        ),
        scores=found.scores,
        confused=found.confused[:20],
    )
    published = load_published(competition.baselines_id)
    if published is None:
        return OutsideJudgement(
            competition=competition,
            answers=answers,
            samples=samples,
            result=result,
            test_use=test_use,
            compared=(),
            claim=None,
        )
    return OutsideJudgement(
        competition=competition,
        answers=answers,
        samples=samples,
        result=result,
        test_use=test_use,
        compared=tuple(compare(result, published, chosen_of=looked_at(chain, **place, kind=found.kind))),
        claim=claim_under(
            own_conditions(result, published), published, protocol=result.protocol, metrics=found.scores.keys()
        ),
    )


def conditions_stated(
    competition: Competition,
    answers: OutsideAnswers,
    samples: Samples,
    *,
    protocol: str,
    metric: str,
    stated: Stated,
    source: str | None,
) -> Conditions:
    """Return the conditions of predictions made elsewhere: the images are known, the rest is what is stated."""
    predictions, fixes = answers.predictions, samples.fixes
    out_of_fold = predictions.kind == "out-of-fold"
    lacking = "" if is_complete(competition, samples, source=source) else competition.source_name(source)
    tested, trained = images_and_pool(
        competition.protocol(protocol),
        out_of_fold=out_of_fold,
        num_images=len(predictions.image_ids),
        num_train=len(samples.train),
        num_folds=answers.num_folds,
        lacking=lacking,
        num_fixed=len(fixes.dropped) + len(fixes.relabelled) if fixes.fingerprint else 0,
    )
    pool = trained if stated.training_pool == "protocol" else stated.training_pool
    return Conditions(
        test_images=tested,
        num_test=len(predictions.image_ids),
        metric=metric,
        training_pool=pool,
        pretraining_group=stated.pretraining_group,
        adaptation=stated.adaptation,
        extra_inputs=stated.extra_inputs,
        inference=stated.inference,
        selection=stated.selection,
    )
