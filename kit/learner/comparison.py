"""A learner's score beside the published ones: `learn.compare()`, under the conditions that really hold for it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from kit.board.claims import Claim, claim_under
from kit.board.compare import ComparedRow, compare, load_published
from kit.board.records import Result
from kit.board.terms import own_conditions
from kit.board.test_use import use_words, uses_of_records
from kit.conditions import LABELS, Conditions
from kit.data.schema import labelled
from kit.errors import ConfigError, DataError
from kit.home import fingerprint
from kit.interpret.notebook import html_table
from kit.judge.judgement import judge
from kit.judge.statistics import Score
from kit.judge.test_ledger import check_chain, look, looked_at
from kit.learner.collection import Collection
from kit.learner.cycle import Cycle
from kit.learner.cycles import weights_fingerprint
from kit.record import conditions_of
from kit.store.decode import printable

if TYPE_CHECKING:
    import pandas as pd

    from kit.learner.answering import Answering

MOST_ROWS = 12  # of a table


@dataclass(frozen=True, kw_only=True, repr=False)
class LearnerComparison:
    """One score of a learner, and every published result beside it: a table in a notebook, plain text when printed."""

    title: str  # of the competition
    result: Result  # the score, and the conditions that it was obtained under
    rows: tuple[ComparedRow, ...]  # those that may stand beside it first; empty where nothing was published
    claim: Claim | None  # what the score can say about them; None where nothing was published
    test_use: str  # how often the test was opened; "" for held-out images

    @property
    def score(self) -> Score:
        """The score in the protocol's metric, with its 95 % interval."""
        return next(iter(self.result.scores.values()))

    @property
    def conditions(self) -> Conditions:
        """What the score was obtained under."""
        return self.result.conditions

    @property
    def comparable(self) -> tuple[ComparedRow, ...]:
        """The published results that may stand in one table with the score, with a verdict or without."""
        return tuple(row for row in self.rows if row.agreement.comparable)

    @property
    def words(self) -> str:
        """What may be said, in a few sentences."""
        if self.claim is None:
            return "Nothing is known to have been published on these images."
        beside = f"{len(self.comparable)} of {len(self.rows)} published results may stand beside this score."
        return " ".join([beside, *self._verdicts(), self.claim.could, self.claim.could_not]).strip()

    def _verdicts(self) -> list[str]:
        tested = [row for row in self.comparable if row.test is not None]
        return [f"{row.published.method} ({row.published.year}): {row.words}" for row in tested]

    def table(self) -> "pd.DataFrame":
        """Return a row per published result: method, year, metric, value, status, verdict, differs (in words)."""
        import pandas as pd

        columns = ["method", "year", "metric", "value", "status", "verdict", "differs"]
        return pd.DataFrame([_cells(row) for row in self.rows], columns=columns)

    @property
    def shared(self) -> tuple[str, ...]:
        """Labels of the conditions in which every published result differs from this score."""
        fields = [{one.field for one in row.agreement.differences} for row in self.rows]
        return tuple(label for name, label in LABELS.items() if fields and all(name in one for one in fields))

    def __str__(self) -> str:
        """Return score, conditions and table as plain text."""
        lines = [f"{self.title}: {self.score}", ""]
        lines += [f"  {label}: {value}" for label, value in self.conditions.in_words()]
        for _, method, year, value, verdict, differs in self._shown():
            lines += ["", f"{value}  {printable(method)} ({year}): {verdict}"]
            lines += [f"        {printable(differs)}"] if differs else []
        return "\n".join([*lines, "", *self._notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        caption = f"{self.title}: {self.score}"
        conditions = html_table(("condition", "ours"), self.conditions.in_words(), caption=caption)
        if not self.rows:
            return html_table(("condition", "ours"), self.conditions.in_words(), caption=caption, note=self.words)
        rows = [(value, method, year, verdict, differs) for _, method, year, value, verdict, differs in self._shown()]
        columns = ("published", "method", "year", "verdict", "theirs, where it is not ours")
        return conditions + html_table(columns, rows, note=" ".join(self._notes()))

    def _shown(self) -> list[tuple[str, str, int, str, str, str]]:
        """Return the first rows: id, method, year, value with a mark, verdict, what else differs than in all rows."""
        return [
            (
                row.published.id,
                row.published.method,
                row.published.year,
                f"{row.published.value:.4f}"
                + ("" if row.published.metric == self.score.metric else f" {row.published.metric}")
                + ("" if row.published.status == "verified" else f" {row.published.status.upper()}"),
                row.verdict,
                "; ".join(
                    f"{LABELS[one.field]}: {one.theirs}"
                    for one in row.agreement.differences
                    if LABELS[one.field] not in self.shared
                ),
            )
            for row in self.rows[:MOST_ROWS]
        ]

    def _notes(self) -> list[str]:
        notes = [f"{self.test_use[:1].upper()}{self.test_use[1:]}."] if self.test_use else []
        if self.shared:
            notes.append(
                f"Every published result differs in: {', '.join(self.shared)}; what else differs stands beside it, and "
                "all in full in .table()."
            )
        if (more := len(self.rows) - MOST_ROWS) > 0:
            notes.append(f"{more} more published results, which differ in as much or more, are in .table().")
        return [*notes, self.words]


def _cells(row: ComparedRow) -> tuple[str, int, str, float | None, str, str, str]:
    one = row.published
    return one.method, one.year, one.metric, one.value, one.status, row.verdict, _differences(row)


def _differences(row: ComparedRow) -> str:
    """Return in which conditions a published result differs, each as "what: theirs, not ours (rule)"."""
    return "; ".join(
        f"{LABELS[one.field]}: {one.theirs}, not {one.ours} (rule {one.rule})" for one in row.agreement.differences
    )


def compare_learner(learn: "Answering", which: Literal["valid", "test"] | None = None) -> LearnerComparison:
    """Score what the present weights answer, and set it beside the published results of the competition.

    A learner is no run of a protocol: what it held out it has not learned from, a head alone is a linear probe, and it
    answers alone. Its conditions say so, and where they differ from a published result's there is no verdict. Looks at
    test labels go into the test-use ledger before their value is returned.

    Args:
        learn: the learner.
        which: "test": the test list, whose labels must be known; "valid": the held-out images; None: the test list
            where its labels are known, else the held-out images.

    Raises:
        DataError: nothing was trained, there are no such images, or their labels are not known.
        StorageError: the ledger cannot be written.
    """
    plan, data = learn.data.plan, learn.data
    if cycles_of(learn) == ():
        raise DataError("Nothing was trained yet, so there is no score to compare: learn.fit_one_cycle(4) trains.")
    has_test = not data.test.empty and bool(labelled(data.test).all())
    which = which or ("test" if has_test else "valid")
    if which not in ("valid", "test"):
        raise ConfigError(
            f"learn.compare({which!r}): give 'test', 'valid', or nothing, which is the test list where it has labels."
        )
    if cycles_of(learn) is None:
        data.say(
            "these weights were loaded, and what they have learned from is not known: scores may be recall, and "
            "nothing is claimed"
        )
    if which == "test" and not has_test:
        raise DataError(
            f"The labels of {data.competition.slug}'s test images are not known, so nothing can be scored on them "
            "here: learn.submit() hands them in. learn.compare('valid') scores the held-out images."
        )
    predictions = learn.answers_with_truth(which)
    metric = plan.protocol.metric
    found = judge(predictions, metric=metric, several=data.several)
    place = {"competition": data.competition.slug, "protocol": plan.shown_protocol, "data": plan.samples.fingerprint}
    chosen_of, test_use = 1, ""
    if which == "test":
        sizes = learn.recipe.input
        digest = fingerprint(weights_fingerprint(learn.network.module), repr(sizes))
        run = f"learner:{digest[:16]}"
        value = found.scores[metric].value
        look(**place, run=run, opened="test labels", kind="test", metric=metric, value=value, say=data.say)
        chain = check_chain(uses_of_records())
        chosen_of = looked_at(chain, **place, kind="test")
        test_use = use_words(chain, run=run, out_of_fold=bool(data.valid_folds), elsewhere=True, **place)
    result = Result(
        kind=found.kind,
        protocol=plan.shown_protocol,
        conditions=conditions_of_learner(learn, which, num_images=len(predictions.image_ids)),
        scores=found.scores,
        confused=found.confused[:20],
    )
    # A collection that happens to be called like a published data set is not that data set.
    published = None if isinstance(data.competition, Collection) else load_published(data.competition.baselines_id)
    return LearnerComparison(
        title=data.competition.title,
        result=result,
        rows=() if published is None else tuple(compare(result, published, chosen_of=chosen_of)),
        claim=None
        if published is None
        else claim_under(
            own_conditions(result, published), published, protocol=result.protocol, metrics=found.scores.keys()
        ),
        test_use=test_use,
    )


def conditions_of_learner(learn: "Answering", which: Literal["valid", "test"], *, num_images: int) -> Conditions:
    """Return the typed conditions of a learner's answers.

    They are those of a run of its plan, but for what a learner does otherwise: folds that it held out are not part of
    what it learned from, and the held-out images of some folds are another test than all of them. Whether somebody
    looked at those and then changed the recipe, nobody knows: that is not stated.

    Args:
        learn: a trained learner.
        which: the test list, or the held-out images.
        num_images: that were scored.
    """
    plan, data, cycles = learn.data.plan, learn.data, cycles_of(learn)
    images = fingerprint(*sorted(data.train["image_id"]))
    adaptation = None
    if cycles is not None:
        adaptation = "linear-probe" if all(cycle.stage == "head" for cycle in cycles) else "trained"
    ours = replace(
        conditions_of(plan, "test", num_images=num_images, pretraining_group=learn.network.pretraining_group),
        adaptation=adaptation,
    )
    if cycles is None or any(cycle.images != images for cycle in cycles):
        ours = replace(ours, training_pool=None)
    if not data.valid_folds or (which == "test" and ours.training_pool is None):
        return ours
    pool = ours.training_pool or plan.protocol.training_pool
    if plan.protocol.test_images == "out-of-fold":  # whose pool is already what is left of all images
        pool = f"all labelled images{pool.removeprefix(plan.protocol.training_pool)}"
    num_folds = plan.recipe.num_folds
    learned = f"{data.train.loc[data.train['fold'] >= 0, 'fold'].nunique()} of {num_folds} folds of {pool}"
    if data.competition.folds.by == "time":
        learned += ", by time"
    if which == "test":
        return replace(ours, training_pool=learned)
    return replace(
        ours,
        test_images=f"{_folds_in_words(data.valid_folds)} of {num_folds} of {pool}",
        training_pool=learned if ours.training_pool else None,
        selection=None,
    )


def cycles_of(learn: "Answering") -> tuple[Cycle, ...] | None:
    """Return the cycles that made the present weights of those that the learner began with, in order.

    None where they are not this learner's work, because they were loaded: what they have learned from is not known.
    """
    found, wanted = [], weights_fingerprint(learn.network.module)
    for cycle in reversed(learn.cycles):
        if cycle.after == wanted:
            found.append(cycle)
            wanted = cycle.before
    return tuple(reversed(found)) if wanted == learn.first_weights else None


def _folds_in_words(folds: Sequence[int]) -> str:
    return f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"
