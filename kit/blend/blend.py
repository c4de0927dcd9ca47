"""Blend: finished runs in, a run-like result out: record, predictions, submission, and why they are what they are."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from kit.blend.diversity import Pair, diversity
from kit.blend.members import Members, gather
from kit.blend.nested import Nested, halves_of, nested_choice
from kit.blend.record import blend_record
from kit.blend.rules import RULES, UNFITTED, Mixture, Way, fit_mixture, ways_for
from kit.board.records import RunRecord, find_record, read_record, run_folder, write_record
from kit.competition import Competition, load_competition
from kit.data.folds import read_folds
from kit.data.prepare import prepare
from kit.data.samples import Samples
from kit.errors import ConfigError, DataError, did_you_mean
from kit.home import fingerprint, write_json
from kit.judge.clip import best_clip
from kit.judge.judgement import judge
from kit.judge.paired import Difference, compare_pairs
from kit.judge.predict import Predictions, write_predictions
from kit.judge.statistics import Score
from kit.judge.test_ledger import TEST_KINDS, look
from kit.kaggle.submission import submission_table, write_submission
from kit.metrics import score
from kit.progress import Say

BLEND_VERSION = 2  # goes up when the same runs would be blended otherwise
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class BlendReport:
    """A finished blend, and how it came about."""

    record: RunRecord
    members: tuple[str, ...]  # ids of the runs that count
    copies: Mapping[str, str]  # id of a run that is a copy -> of which
    scores: tuple[Score, ...]  # out of fold, of each member
    diversity: tuple[Pair, ...]
    mixture: Mixture  # what the test images are answered with
    by_fold: Mapping[int, Mixture]  # what was chosen without each fold; empty where nothing was chosen
    ways: Mapping[str, float]  # what there was to choose between, with its score over the folds
    naive: float
    nested: Score
    optimism: float  # by how much the naive score is too good
    gain: Difference  # of the blend, nested, over the member with the best score
    best_member: int
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        plain = {key: value for key, value in asdict(self).items() if key != "record"}
        return {
            "run_id": self.record.run_id,
            "metric": self.nested.metric,
            **plain,
            "by_fold": {str(k): v for k, v in plain["by_fold"].items()},
        }


def blend(
    slug: str,
    runs: Sequence[str],
    *,
    rule: str = AUTO,
    mirror: str | None = None,
    labels: str | None = None,
    say: Say = print,
) -> BlendReport:
    """Blend finished runs of a competition: choose how, score the choosing, write predictions, submission and record.

    Args:
        slug: the competition.
        runs: ids of runs, or unique starts of them.
        rule: one of RULES, of which then only the numbers are chosen; "auto" chooses the rule too.
        mirror: folder or URL that serves the competition's files, where they are not here any more.
        labels: name of another label rule, where the runs had one.
        say: takes lines of progress.

    Raises:
        ConfigError: no such rule, or the metric has no use for it.
        DataError: the runs do not fit together; see `kit.blend.members.gather`.
    """
    if rule not in (AUTO, *RULES):
        raise ConfigError(
            f"There is no rule {rule!r}.{did_you_mean(rule, [AUTO, *RULES])} Known: {', '.join((AUTO, *RULES))}."
        )
    competition = load_competition(slug)
    members = gather([find_record(run) for run in runs], competition)
    first, several = members.records[0], competition.task == "multi-label"
    metric = first.results[0].conditions.metric
    assert metric is not None
    ways = ways_for(
        metric, rules=RULES if rule == AUTO else [rule], num_classes=len(competition.classes), several=several
    )
    if not ways:
        raise ConfigError(
            f"The rule {rule!r} is for metrics that only ask for an order, and {slug} is scored by {metric}. "
            f"Fitting: {', '.join(one for one in RULES if one != rule)}, or {AUTO}."
        )
    notes = [f"{copy} says what {of} says, and is left out" for copy, of in members.copies.items()]
    if len(members.records) == 1:
        notes.append("there is one run to blend: its own answers stand, as they are or with what follows the rule")
    if why := members.disagreement or _single_group(members):
        ways = _unchosen(members, rule, ways)
        notes.append(f"{why} The rule was given and nothing is chosen, so the score stands")
    elif competition.folds.by == "time":
        notes.append("the folds are by time: what was chosen for a fold looked at later folds too")
    found, by_fold = _choose(members, ways, metric=metric)
    answers = replace(members.out_of_fold, probabilities=found.answers.astype(np.float32))
    on_test = {
        kind: replace(rows, probabilities=found.final.answer(stack).astype(np.float32))
        for kind, (rows, stack) in members.on_test.items()
    }
    singles = [
        replace(members.out_of_fold, probabilities=one.astype(np.float32)) for one in members.stack.probabilities
    ]
    judged = [judge(one, metric=metric, several=several).scores[metric] for one in singles]
    judgements = {
        kind: judge(one, metric=metric, several=several)
        for kind, one in (("out-of-fold", answers), *on_test.items())
        if one.labelled
    }
    best = fit_mixture(Way(rule="best"), members.stack, members.out_of_fold.truth, metric=metric).weights.index(1.0)
    run_id = _run_id(members, competition, rule)
    for kind, judgement in judgements.items():
        if kind in TEST_KINDS:
            look(
                competition=slug,
                protocol=first.protocol,
                data=first.data["fingerprint"],
                run=run_id,
                opened="test labels",
                kind=kind,
                metric=metric,
                value=judgement.scores[metric].value,
                say=say,
            )
    folder = run_folder(run_id)
    for kind, one in (("out-of-fold", answers), *on_test.items()):
        write_predictions(folder / "predictions" / f"{kind}.csv", one)
    handed_in = _write_submission(
        run_id, competition, first, answers, on_test.get("test"), mirror=mirror, labels=labels, say=say
    )
    report = BlendReport(
        record=blend_record(run_id, members, found, judgements, rule=rule, handed_in=handed_in),
        members=tuple(record.run_id for record in members.records),
        copies=members.copies,
        scores=tuple(judged),
        diversity=tuple(diversity(members.stack, members.out_of_fold.truth)),
        mixture=found.final,
        by_fold=by_fold,
        ways=found.scores,
        naive=found.naive,
        nested=judgements["out-of-fold"].scores[metric],
        optimism=found.optimism,
        gain=compare_pairs([singles[best]], [answers], metric=metric),
        best_member=best,
        notes=tuple(notes),
    )
    write_json(folder / "recipe.json", dict(report.record.recipe))
    write_json(folder / "blend.json", report.as_dict())
    path = folder / "record.json"
    if path.is_file():  # a record is never edited: the same runs and rule give the same numbers
        return replace(report, record=read_record(path))
    write_record(report.record)
    return report


def _unchosen(members: Members, rule: str, ways: Sequence[Way]) -> list[Way]:
    """Return the rule by itself, where the folds are not fit to choose on and it has nothing to choose.

    Raises:
        DataError: something would be chosen.
    """
    if rule not in UNFITTED:
        why = (
            f"{members.disagreement} What a blend chooses on one fold's images is scored on another's, which needs the "
            "same folds in all runs: train the others again with --folds-from "
            f"{run_folder(members.records[0].run_id) / 'folds.csv'}."
            if members.disagreement
            else f"{_single_group(members)} What is scored on the other fold would have to be chosen on halves of this "
            "one, and no group is parted: train the runs again with more folds, e.g. --folds 3."
        )
        raise DataError(
            f"{why} Until then a rule that chooses nothing can be taken: --rule {', --rule '.join(UNFITTED)}. Each "
            "image is then still answered only by networks that never saw it."
        )
    return [way for way in ways if not way.finish]


def _choose(members: Members, ways: Sequence[Way], *, metric: str) -> tuple[Nested, Mapping[int, Mixture]]:
    truth, folds = members.out_of_fold.truth, members.out_of_fold.folds
    if len(ways) > 1 or ways[0].rule not in UNFITTED:
        halves = halves_of(_groups(members), folds)
        found = nested_choice(members.stack, truth, folds=folds, halves=halves, ways=ways, metric=metric)
        return found, found.by_fold
    mixture = fit_mixture(ways[0], members.stack, truth, metric=metric)
    answers = mixture.answer(members.stack)
    value = score(metric, labels=truth, probabilities=answers)
    return (
        Nested(
            answers=answers,
            by_fold={},
            final=mixture,
            scores={str(ways[0]): value},
            naive=value,
            nested=value,
            metric=metric,
        ),
        {},
    )


def _groups(members: Members) -> list[str]:
    """Return the group of each image; one that is in no list of folds is its own."""
    table = read_folds(run_folder(members.records[0].run_id) / "folds.csv")
    group_of = dict(zip(table["image_id"], table["group"], strict=True))
    return [group_of.get(one, one) for one in members.out_of_fold.image_ids]


def _single_group(members: Members) -> str:
    """Say which of two folds is one single group, so that it cannot be parted; "" where that is no hindrance."""
    folds, groups = members.out_of_fold.folds, np.array(_groups(members), dtype=object)
    numbers = np.unique(folds)
    for fold in numbers if len(numbers) == 2 else ():  # of more folds, none is ever left alone to choose on
        if len(found := set(groups[folds == fold])) == 1:
            return f"There are two folds, and all images of fold {fold} are of one group, {found.pop()!r}."
    return ""


def _run_id(members: Members, competition: Competition, rule: str) -> str:
    first = members.records[0]
    key = fingerprint(
        str(BLEND_VERSION),
        rule,
        *(text for pair in sorted(members.sources.items()) for text in pair),
        repr(competition.submission),
        competition.adapter_fingerprint,
    )
    return f"{competition.slug}-{first.protocol.partition('@')[0]}-blend-{key[:8]}"


def _samples(
    competition: Competition, first: RunRecord, *, mirror: str | None, labels: str | None, say: Say
) -> Samples:
    return prepare(
        competition,
        protocol=first.protocol.partition("@")[0],
        source=first.source,
        mirror=mirror,
        labels=labels,
        seed=first.recipe["seed"],
        say=say,
    )


def _write_submission(
    run_id: str,
    competition: Competition,
    first: RunRecord,
    out_of_fold: Predictions,
    test: Predictions | None,
    *,
    mirror: str | None,
    labels: str | None,
    say: Say,
) -> dict[str, Any]:
    """Write the submission as a run does, and return what the record says of it; nothing where there is none."""
    protocol = competition.protocol(first.protocol.partition("@")[0])
    if test is None or (protocol.split != "official" and competition.submission.sample):
        return {}
    samples = _samples(competition, first, mirror=mirror, labels=labels, say=say)
    path_of = dict(zip(samples.test["image_id"], samples.test["path"], strict=True))
    if unknown := sorted(set(test.image_ids) - path_of.keys()):
        raise DataError(
            f"{len(unknown)} test images of {first.run_id} are not among those of {competition.slug} as it is now, "
            f"first {unknown[:3]}: the files, or the options that they are read with, have changed since the run."
        )
    several = competition.task == "multi-label"
    clip = 0.0
    if competition.submission.clip == "out-of-fold":
        clip = best_clip(out_of_fold, metric=protocol.metric, several=several)
    table = submission_table(competition, test, data=samples.folder, paths=path_of, sample=protocol.sample, clip=clip)
    about = {"rows": len(table), "clip": clip, "adapter": competition.adapter_fingerprint}
    write_json(run_folder(run_id) / "submission.json", about)
    write_submission(run_folder(run_id) / "submission.csv", table)
    return about
