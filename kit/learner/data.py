"""Data: the images of a competition, or one's own, with the folds that are held out; what a `Learner` learns from."""

import operator
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from kit.competition import Competition
from kit.config import Recipe, ScheduleConfig
from kit.data.folds import training_rows
from kit.errors import ConfigError, DataError
from kit.interpret.notebook import html_table
from kit.learner.findings import findings_of
from kit.plan import RunPlan, pack_for, plan_competition, trained_otherwise
from kit.progress import Say
from kit.quality.findings import SEVERITIES, UNREADABLE, Finding
from kit.quality.fixes import fixes_path
from kit.store.decode import printable
from kit.store.pack import Pack

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORDS = {"stop": "stop", "warn": "warning", "note": "note"}  # of one finding
MOST_NAMES = 8  # of classes, in the short description


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Data:
    """Labelled images, and which folds of them are held out.

    Made by `kit.load` and `kit.from_folder`, `from_name_re`, `from_name_func`, `from_csv`, `from_lists`. Nothing in it
    changes: `fold` and `with_recipe` return another one.
    """

    plan: RunPlan  # before `with_recipe` it is of the images alone: weights none, batches as a number
    valid_folds: tuple[int, ...]  # held out from training; () = none, everything trains
    recipe: Recipe  # how to train, as it was asked for
    say: Say = print

    @property
    def competition(self) -> Competition:
        """The question."""
        return self.plan.competition

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; column k of all probabilities is class k."""
        return self.plan.samples.classes

    @property
    def c(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def several(self) -> bool:
        """An image may have any number of labels."""
        return self.plan.several_labels

    @property
    def size(self) -> int:
        """Side of the square that the network sees, in pixels."""
        return self.recipe.input.image_size

    @property
    def path(self) -> Path:
        """Folder that the column `path` of the tables is relative to."""
        return self.plan.samples.folder

    @cached_property
    def train(self) -> pd.DataFrame:
        """Rows to learn from, as `kit.data.schema` says, with `fold` where there are folds."""
        if not self.valid_folds:
            return self.plan.train
        # By time, what comes after the first held-out block is not learned from either.
        rows = training_rows(self.plan.train, min(self.valid_folds), rule=self.competition.folds)
        return rows[~rows["fold"].isin(self.valid_folds)].reset_index(drop=True)

    @cached_property
    def valid(self) -> pd.DataFrame | None:
        """Rows that are held out, or None."""
        if not self.valid_folds:
            return None
        return self.plan.train[self.plan.train["fold"].isin(self.valid_folds)].reset_index(drop=True)

    @cached_property
    def test(self) -> pd.DataFrame:
        """Rows of the test list; empty where there is none."""
        return self.plan.samples.test

    @cached_property
    def pack(self) -> Pack:
        """The decoded images, memory-mapped; decoded on first use and kept under KIT_HOME.

        Raises:
            DataError: images cannot be decoded; names them.
            StorageError: the disk has no room.
        """
        return pack_for(self.plan, say=self.say)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What the quality check says of the images, the worst first."""
        return findings_of(self.plan)

    def told(self) -> "Data":
        """Say what the quality check found that a person should know, and return this."""
        for finding in self.findings:
            if finding.severity != "note":
                self.say(f"{finding.severity}: {finding.message}")
        return self

    def check(self) -> None:
        """Refuse to train on images that would make scores wrong, unless `despite_findings` was given.

        Raises:
            DataError: all such findings in one paragraph.
        """
        stops = [one for one in self.findings if one.severity == "stop"]
        unreadable = [one for one in stops if one.kind in UNREADABLE]
        if refused := unreadable if self.plan.despite_findings else stops:
            listed = " ".join(f"({number}) {finding.message}" for number, finding in enumerate(refused, 1))
            raise DataError(
                f"{self.competition.slug} has {len(refused)} fault{'s' if len(refused) > 1 else ''} that would make "
                f"scores wrong or training fail: {listed} Mend the files or their labels, or leave images out by rows "
                f"in {fixes_path(self.competition)} (columns image_id,action,label,who,when,why; action drop)"
                + ("." if unreadable else "; despite_findings=True trains all the same.")
            )

    def fold(self, k: int) -> "Data":
        """Return the same images with fold `k` held out.

        Raises:
            ConfigError: there is no such fold.
        """
        return replace(self, valid_folds=checked_folds(self.plan, [k]))

    def with_recipe(self, recipe: Recipe) -> "Data":
        """Return the same images in the same folds, to be trained by `recipe`: its network's weights are looked for.

        Raises:
            ConfigError: the recipe cannot be followed.
            WeightsError: there are no such weights.
        """
        plan = trained_otherwise(self.plan, recipe, say=self.say)
        return Data(plan=plan, valid_folds=self.valid_folds, recipe=plan.recipe, say=self.say)

    def show_batch(self, rows: int = 3, *, figsize: tuple[float, float] | None = None, epoch: int = 1) -> "Figure":
        """Return a figure of training images as the network sees them, augmented, with their classes.

        Args:
            rows: `rows` x `rows` images.
            figsize: width and height in inches.
            epoch: whose random views; another number shows other images, too.

        Raises:
            ConfigError: `rows` is no number from 1 to 20, or `figsize` no width and height.
            DataError: images cannot be decoded.
        """
        from kit.learner.show import batch_figure  # with OpenCV and matplotlib

        return batch_figure(
            self.train,
            self.pack,
            recipe=self.recipe,
            rows=rows,
            figsize=figsize,
            epoch=epoch,
            several=self.several,
        )

    def show_folds(self) -> pd.DataFrame:
        """Return a table, a row per fold: whether it is held out, its images, and how many of each class."""
        from kit.learner.show import fold_table

        return fold_table(self.plan.train, classes=self.classes, held_out=self.valid_folds, several=self.several)

    def show_findings(self) -> None:
        """Say all that the quality check found, the worst first, a paragraph each."""
        for finding in self.findings:
            self.say(f"{finding.severity}: {finding.message}")
        if not self.findings:
            self.say("The quality check found nothing.")

    def __len__(self) -> int:
        """Return the number of labelled images, held out or not."""
        return len(self.plan.train)

    def __repr__(self) -> str:
        lines = [f"{name}: {shown}" for name, shown in self._facts()]
        return "\n".join([f"Data({printable(self.competition.slug)})", *(f"  {line}" for line in lines)])

    def _repr_html_(self) -> str:
        """Return a small table for a notebook; everything is escaped."""
        return html_table(["", ""], self._facts(), caption=self.competition.title)

    def _facts(self) -> list[tuple[str, str]]:
        """Return what is worth knowing at a glance, as (what, text)."""
        names = [printable(name) for name in self.classes]
        shown = ", ".join(names[:MOST_NAMES]) + (f", … {names[-1]}" if len(names) > MOST_NAMES else "")
        count, folds = self.plan.recipe.num_folds, ", ".join(map(str, self.valid_folds))
        held_out = "nothing"
        if self.valid is not None:
            word = "fold" if len(self.valid_folds) == 1 else "folds"
            held_out = f"{len(self.valid):,} images ({word} {folds} of {count}, counted from 0)"
        tested = [("test list", f"{len(self.test):,} images")] if len(self.test) else []
        counts = Counter[str](one.severity for one in self.findings)
        found = (
            ", ".join(f"{counts[kind]} {WORDS[kind]}{'s' * (counts[kind] > 1)}" for kind in SEVERITIES if counts[kind])
            or "nothing"
        )
        return [
            ("images", f"{len(self):,}" + ("" if self.plan.complete else f" (part: {self.plan.source})")),
            ("train", f"{len(self.train):,} images"),
            ("held out", held_out),
            *tested,
            ("classes", f"{self.c}: {shown}"),
            ("size", f"{self.size} x {self.size} pixels, batches of {self.plan.recipe.schedule.batch_size}"),
            ("found", found + (" (see show_findings())" if self.findings else "")),
            ("folder", printable(str(self.path))),
        ]


def plan_images(
    competition: Competition,
    recipe: Recipe,
    *,
    say: Say,
    protocol: str | None = None,
    source: str | None = None,
    mirror: str | None = None,
    labels: str | None = None,
    despite_findings: bool = False,
) -> RunPlan:
    """Return the plan of the images alone: no network is chosen yet, so none is looked for or measured.

    Args:
        competition: the question.
        recipe: sizes, folds, seed, augmentation.
        say: takes lines of progress and warnings.
        protocol: see `kit.plan.plan_run`, as all that follows.
        source: name of a source set.
        mirror: folder or URL.
        labels: name of another label rule.
        despite_findings: train in spite of what the quality check found.
    """
    schedule = recipe.schedule
    if schedule.is_automatic:
        schedule = replace(schedule, batch_size=ScheduleConfig().batch_size, micro_batch=0)
    return plan_competition(
        competition,
        replace(recipe, model=replace(recipe.model, weights="none"), schedule=schedule),
        protocol=protocol,
        source=source,
        mirror=mirror,
        labels=labels,
        despite_findings=despite_findings,
        say=say,
    )


def checked_folds(plan: RunPlan, folds: Sequence[int]) -> tuple[int, ...]:
    """Return `folds` if the plan has them.

    Raises:
        ConfigError: it has not, or is not parted at all.
    """
    count = plan.recipe.num_folds
    found = []
    for fold in folds:
        try:
            number = -1 if isinstance(fold, bool) else operator.index(fold)
        except TypeError:
            number = -1
        if not 0 <= number < count:
            there = f"They are numbered 0 to {count - 1}." if count else "Nothing is held out: give folds=5."
            raise ConfigError(f"There is no fold {fold!r} of {plan.competition.slug}. {there}")
        found.append(number)
    return tuple(found)
