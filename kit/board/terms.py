"""The terms of a result: its typed conditions and its description, of a published row and of a run of ours alike."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from kit.board.baselines import Baselines, PublishedResult, effective
from kit.board.records import Result, RunRecord
from kit.conditions import DEFINED_HERE, NO_OVERLAP, NOT_STATED, OVERLAP, SPEED_METRICS, Conditions, Description

ORDER = {"test": 0, "fold-ensemble": 1, "seed-ensemble": 2, "out-of-fold": 3}  # of the results of a run


@dataclass(frozen=True, kw_only=True)
class OwnResult:
    """One result of a run of ours, with the run."""

    record: RunRecord
    result: Result


def results_of(record: RunRecord) -> list[Result]:
    """Return the results of a record, a test list's before those out of fold."""
    return sorted(record.results, key=lambda result: ORDER.get(result.kind, len(ORDER)))


def own_results(records: Iterable[RunRecord]) -> list[OwnResult]:
    """Return the results of all records, as `kit.board.compare.groups` takes them."""
    return [OwnResult(record=record, result=result) for record in records for result in results_of(record)]


def overlap_of(baselines: Baselines | None, *, pretraining_group: str | None, training_pool: str | None) -> str | None:
    """Return if the test images are in what a network learned from, as far as the baseline file states it (rule 8)."""
    if baselines is None or not baselines.overlap:
        return NO_OVERLAP
    if {pretraining_group, training_pool} & baselines.overlap.keys():
        return OVERLAP
    # Where the test images are known to lie in one collection, nobody can say that a larger one has none of them.
    return None if pretraining_group in (None, "mixed", "web-or-private") else NO_OVERLAP


def published_conditions(baselines: Baselines, row: PublishedResult) -> Conditions:
    """Return the conditions of a published row: its own where it states them, else its protocol's."""
    protocol = baselines.protocols[row.protocol]
    training_pool = effective(protocol, row, "training_pool")
    threshold = row.threshold if row.threshold is not None else protocol.threshold
    return Conditions(
        test_images=effective(protocol, row, "test_images"),
        num_test=row.num_test if row.num_test is not None else protocol.num_test,
        metric=row.metric,
        training_pool=training_pool,
        pretraining_group=row.pretraining_group,
        adaptation=effective(protocol, row, "adaptation"),
        extra_inputs=effective(protocol, row, "extra_inputs"),
        inference=effective(protocol, row, "inference"),
        selection=effective(protocol, row, "selection"),
        metric_definition=DEFINED_HERE if _is_defined(protocol.metric_ambiguous, row.metric_ambiguous) else None,
        overlap=overlap_of(baselines, pretraining_group=row.pretraining_group, training_pool=training_pool),
        threshold=threshold,
        timing_rule=protocol.timing_rule,
        accelerator=row.accelerator,
        accounting=protocol.accounting,
    )


def _is_defined(of_protocol: bool, of_row: bool | None) -> bool:
    return not (of_protocol if of_row is None else of_row)


def published_description(row: PublishedResult) -> Description:
    """Return what a published row states besides its conditions."""
    return Description(
        image_size=row.image_size,
        seeds=row.runs,
        num_parameters=row.num_parameters,
        hardware=row.hardware,
        time=row.time,
    )


def own_conditions(result: Result, baselines: Baselines | None, *, metric: str | None = None) -> Conditions:
    """Return the conditions of a result of ours in a metric that we computed: default, the competition's own."""
    found = result.conditions
    overlap = overlap_of(baselines, pretraining_group=found.pretraining_group, training_pool=found.training_pool)
    return replace(found, metric=metric or found.metric, overlap=overlap)


def own_description(own: OwnResult) -> Description:
    """Return what the record of a run tells besides its conditions; old records tell less."""
    record, said = own.record, own.record.described
    several = own.result.kind == "fold-ensemble" or "blend" in record.recipe
    num_models = said.get("ensemble_size", record.folds.get("num_folds")) if several else 1
    minutes = record.cost.get("train_minutes")
    return Description(
        data_fingerprint=record.data.get("fingerprint"),
        split_hash=said.get("split_hash"),
        image_size=said.get("image_size", record.recipe.get("input", {}).get("image_size")),
        seeds=", ".join(map(str, said["seeds"])) if "seeds" in said else _text(record.recipe.get("seed")),
        test_views=said.get("test_views", record.recipe.get("input", {}).get("test_views")),
        ensemble_size=num_models,
        num_parameters=record.network.get("num_parameters"),
        hardware=said.get("hardware", record.cost.get("device")),
        time=None if minutes is None else f"{minutes:.1f} min",
        peak_memory_gib=record.cost.get("peak_memory_gib"),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def draw_of(own: OwnResult) -> str:
    """Return what tells one random draw of images from another: the split's hash; in old records, data and seed."""
    split = own.record.described.get("split_hash")
    return str(split or f"{own.record.data.get('fingerprint')}-{own.record.recipe.get('seed')}")


def in_short(conditions: Conditions) -> str:
    """Return the conditions as a heading: what is measured where, by what kind of network."""
    pretraining = conditions.pretraining_group
    kind = {
        "trained": "trained from scratch" if pretraining == "none" else "trained end to end",
        None: f"adaptation {NOT_STATED}",
    }.get(conditions.adaptation, conditions.adaptation)
    images = "" if conditions.num_test is None else f" ({conditions.num_test:,} images)"
    if "(" in (conditions.test_images or ""):
        images = ""  # a part of the images says so itself, with both numbers
    before = {"none": "no pre-training", None: f"pre-training {NOT_STATED}"}.get(pretraining, f"{pretraining}")
    parts = [f"{conditions.metric} on {conditions.test_images or NOT_STATED}{images}", f"{kind}, {before}"]
    parts.append(f"on {conditions.training_pool or NOT_STATED}")
    if conditions.extra_inputs not in (None, "none"):
        parts.append(f"given {conditions.extra_inputs}")
    if conditions.inference not in (None, "single"):
        parts.append(f"{conditions.inference}")
    if conditions.selection == "test-images":
        parts.append("recipe chosen on the test images")
    if conditions.metric in SPEED_METRICS and conditions.threshold is not None:
        parts += [f"to {conditions.threshold:.0%}", conditions.accelerator or f"hardware {NOT_STATED}"]
    return "; ".join(parts)
