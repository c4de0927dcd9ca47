"""The plan of a run: everything that decides its numbers, known before anything is trained."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from kit.batches import limit_of, with_numbers
from kit.board.records import run_folder
from kit.competition import Competition, load_competition
from kit.config import Recipe
from kit.data.augment import check_augmentation
from kit.data.folds import apply_frozen, assign_folds, compare_tables, fold_fingerprint, read_folds, write_folds
from kit.data.prepare import is_complete, prepare
from kit.data.pseudo_labels import PseudoLabels
from kit.data.samples import Samples
from kit.data.schema import labelled, truth_of
from kit.errors import DataError
from kit.fit.limits import Limit
from kit.home import family, fingerprint
from kit.judge.judgement import refuse_undefined
from kit.kaggle.submission import check_sample
from kit.progress import Say
from kit.quality.findings import Finding
from kit.quality.quality import check_quality
from kit.rules import Protocol
from kit.store.pack import Pack, pack_images
from kit.train.models import model_names
from kit.train.own import code_fingerprint
from kit.train.weights import Weights, find_weights

# Goes up when the same recipe on the same data would give other numbers; runs of before are then not re-used.
TRAINING_VERSION = 4


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """Everything that decides a run's numbers, known before anything is trained."""

    competition: Competition
    protocol_id: str
    source: str
    recipe: Recipe
    samples: Samples
    train: pd.DataFrame  # with `fold` where there are folds
    weights: Weights | None
    run_id: str
    complete: bool
    despite_findings: bool = False  # train in spite of those that stop a run; the record says so
    memory: Limit | None = None  # that somebody asked for; of each process that trains
    pseudo: PseudoLabels | None = None  # rows of test images that a teacher has labelled, for each model its own

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return run_folder(self.run_id)

    @property
    def protocol(self) -> Protocol:
        """The protocol that the run follows."""
        return self.competition.protocol(self.protocol_id)

    @property
    def shown_protocol(self) -> str:
        """The protocol's id as results carry it: a partial source makes it another one."""
        return self.protocol_id if self.complete else f"{self.protocol_id}@{self.source}"

    @property
    def several_labels(self) -> bool:
        """An image may have any number of labels."""
        return self.competition.task == "multi-label"

    @property
    def submits(self) -> bool:
        """There are test images, and they are those that the competition's sample submission names."""
        split_is_own = self.protocol.split != "official"
        return not self.samples.test.empty and not (split_is_own and self.competition.submission.sample)

    @property
    def fold_fingerprint(self) -> str:
        """A SHA-256 over which image is in which fold, or "" without folds."""
        return fold_fingerprint(self.train) if self.recipe.num_folds else ""

    @property
    def weights_fingerprint(self) -> str:
        """That of the pretrained weights, or "" without them."""
        return self.weights.fingerprint if self.weights else ""

    @property
    def given(self) -> tuple[str, ...]:
        """What decides the numbers of any model, whatever it is and however it is trained: images, rules and folds."""
        competition = self.competition
        return (
            self.samples.fingerprint,
            self.protocol_id,
            self.source,
            repr(self.protocol),
            repr(competition.submission),
            repr(competition.folds),
            repr(competition.classes),
            competition.task,
            str(self.complete),
            self.fold_fingerprint,
        )

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What the quality check says of the data; looked at once, when somebody asks."""
        found = check_quality(
            self.samples.table,
            self.samples.facts,
            self.samples.duplicates,
            folds=self.train if self.recipe.num_folds else None,
            split_is_official=self.protocol.split == "official",
            classes=self.competition.classes,
            fixes=self.samples.fixes,
            rule=self.competition.folds,
            own_folder=bool(self.competition.source(self.source).folder),
        )
        return tuple(found)

    @property
    def models(self) -> list[str]:
        """Names of the models to train."""
        return model_names(num_folds=self.recipe.num_folds, has_test=not self.samples.test.empty)


def plan_run(
    slug: str,
    *,
    recipe: str | None = None,
    protocol: str | None = None,
    source: str | None = None,
    mirror: str | None = None,
    labels: str | None = None,
    overrides: Sequence[str] = (),
    folds_from: Path | None = None,
    despite_findings: bool = False,
    memory: int | None = None,
    say: Say = print,
) -> RunPlan:
    """Fetch, label and fold; return what a run with these settings would do.

    Args:
        slug: the competition.
        recipe: name of one of its recipes, or path of a TOML file.
        protocol: id of one of its protocols.
        source: name of one of its source sets.
        mirror: folder or URL that serves the files.
        labels: name of another label rule.
        overrides: "key=value", laid over the recipe.
        folds_from: folds.csv of an earlier run, whose folds are used as they are; refused if the images changed.
        despite_findings: train in spite of what the quality check found.
        memory: bytes that each process that trains may take; None: `KIT_MEMORY`, or what the machine has.
        say: takes lines of progress and warnings.
    """
    competition = load_competition(slug)
    plan = plan_competition(
        competition,
        competition.recipe(recipe, overrides=tuple(overrides)),
        protocol=protocol,
        source=source,
        mirror=mirror,
        labels=labels,
        folds_from=folds_from,
        despite_findings=despite_findings,
        memory=memory,
        say=say,
    )
    if not plan.models:
        raise DataError(
            f"The protocol {plan.protocol_id} of {slug} has no test images, so without folds nothing could be "
            "predicted. Give --folds 5."
        )
    return plan


def plan_competition(
    competition: Competition,
    recipe: Recipe,
    *,
    protocol: str | None = None,
    source: str | None = None,
    mirror: str | None = None,
    labels: str | None = None,
    folds_from: Path | None = None,
    despite_findings: bool = False,
    memory: int | None = None,
    say: Say = print,
) -> RunPlan:
    """Return what a run of `recipe` on `competition` would do; without folds and test images it has no `models`.

    Args:
        competition, recipe: the question, which need not be one that has a folder, and how to train.
        protocol, source, mirror, labels, folds_from, despite_findings, memory, say: see `plan_run`.
    """
    slug, chosen = competition.slug, recipe
    check_augmentation(chosen.augment, image_size=chosen.input.image_size)
    protocol_id = protocol or competition.default_protocol
    competition.protocol(protocol_id)
    weights = _weights_of(chosen)
    samples = prepare(
        competition, protocol=protocol_id, source=source, mirror=mirror, labels=labels, seed=chosen.seed, say=say
    )
    several = competition.task == "multi-label"
    chosen, limit = _fitted(chosen, asked=memory, num_classes=len(samples.classes), several=several, say=say)
    train = samples.train
    if folds_from is not None:
        train = apply_frozen(train, read_folds(folds_from))
        if (competition.folds.by == "time") != bool((train["fold"] == -1).any()):
            raise DataError(
                f"{folds_from} and {slug} do not fit: folds by time begin with images that are never held out (fold "
                f"-1), other folds have none, and {slug} has folds.by = {competition.folds.by!r}."
            )
        chosen = replace(chosen, num_folds=int(train["fold"].max()) + 1)
    elif chosen.num_folds:
        train = assign_folds(train, num_folds=chosen.num_folds, seed=chosen.seed, rule=competition.folds)
        dealt = f"{competition.source_name(source)}-{protocol_id}-{chosen.num_folds}-s{chosen.seed}.csv"
        _notice_changes(family("folds") / slug / dealt, train, say=say)
    _refuse_what_would_fail_later(competition, protocol_id, samples, train if chosen.num_folds else None)
    return _named(
        RunPlan(
            competition=competition,
            protocol_id=protocol_id,
            source=competition.source_name(source),
            recipe=chosen,
            samples=samples,
            train=train,
            weights=weights,
            run_id="",
            complete=is_complete(competition, samples, source=source),
            despite_findings=despite_findings,
            memory=limit,
        )
    )


def trained_otherwise(plan: RunPlan, recipe: Recipe, *, say: Say = print) -> RunPlan:
    """Return the plan of another recipe on the same images in the same folds, which its `seed` leaves as they are.

    Args:
        plan: whose images, split and folds are kept; its number of folds, too.
        recipe: how to train.
        say: takes lines of progress and warnings.

    Raises:
        ConfigError, WeightsError: see `plan_run`.
    """
    chosen = replace(recipe, num_folds=plan.recipe.num_folds)
    check_augmentation(chosen.augment, image_size=chosen.input.image_size)
    weights = _weights_of(chosen)
    chosen, limit = _fitted(
        chosen,
        asked=plan.memory.num_bytes if plan.memory else None,
        num_classes=len(plan.samples.classes),
        several=plan.several_labels,
        say=say,
    )
    return _named(replace(plan, recipe=chosen, weights=weights, memory=limit))


def _weights_of(recipe: Recipe) -> Weights | None:
    model = recipe.model
    return find_weights(model.name, model.weights, pretraining_group=model.pretraining_group)


def _fitted(
    recipe: Recipe, *, asked: int | None, num_classes: int, several: bool, say: Say
) -> tuple[Recipe, Limit | None]:
    """Return the recipe with numbers where it leaves batches to the memory, and the limit if somebody asked for one."""
    limit = limit_of(recipe, asked=asked)
    if limit is not None and recipe.schedule.is_automatic:
        recipe = with_numbers(recipe, limit, num_classes=num_classes, several=several, say=say)
    return recipe, limit if limit is not None and limit.asked else None


def _named(plan: RunPlan) -> RunPlan:
    """Return the plan with its run id: other ids for whatever would give other numbers."""
    recipe = plan.recipe
    key = fingerprint(
        str(TRAINING_VERSION),
        json.dumps({**recipe.as_dict(), "name": ""}, sort_keys=True),
        *plan.given,
        plan.weights_fingerprint or "none",
        code_fingerprint(recipe.model),
    )
    return replace(plan, run_id=f"{plan.competition.slug}-{plan.protocol_id}-{recipe.name}-s{recipe.seed}-{key[:8]}")


def _refuse_what_would_fail_later(
    competition: Competition, protocol_id: str, samples: Samples, folded: pd.DataFrame | None
) -> None:
    """Refuse what could not be trained on, scored or handed in, before hours are spent on it."""
    protocol = competition.protocol(protocol_id)
    scored = [] if folded is None else [folded[folded["fold"] >= 0]]
    scored += [samples.test] if not samples.test.empty and labelled(samples.test).all() else []
    for table in scored:
        refuse_undefined(protocol.metric, truth_of(table, competition.classes), competition.classes)
    sample = protocol.sample or competition.submission.sample
    if sample and protocol.split == "official" and not samples.test.empty:
        check_sample(competition, samples.test["image_id"].tolist(), data=samples.folder, sample=sample)


def _notice_changes(path: Path, folded: pd.DataFrame, *, say: Say) -> None:
    """Say which images came, went or changed since the folds in `path` were dealt, and keep the new ones there."""
    if path.is_file():
        changes = compare_tables(read_folds(path), folded)
        if not changes:
            return
        say(f"{changes} The folds are dealt anew: scores of before belong to other folds.")
    write_folds(path, folded)


def refuse_rows_without_images(plan: RunPlan) -> None:
    """Refuse to train a network on the rows of a table.

    Raises:
        DataError: rows have no image.
    """
    table = plan.samples.table
    if (imageless := table["path"] == "").any():
        raise DataError(
            f"Rows of {plan.competition.slug} without an image: {int(imageless.sum()):,}, first "
            f"{table.loc[imageless, 'image_id'].head(5).tolist()}. Networks are trained on images: leave these rows "
            f"out in the adapter, or learn from their columns: kit.run_own(kit.load({plan.competition.slug!r}), model)."
        )


def pack_for(plan: RunPlan, *, say: Say = print) -> Pack:
    """Return the decoded images of a plan; see `refuse_rows_without_images`."""
    refuse_rows_without_images(plan)
    return pack_images(
        plan.samples,
        store_size=plan.recipe.input.store_size,
        layout=plan.recipe.input.store_layout,
        storage=plan.recipe.input.store_format,
        say=say,
    )
