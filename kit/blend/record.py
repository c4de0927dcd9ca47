"""The record of a blend: a run's in every field, put together from its members'."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from kit.blend.members import Members
from kit.blend.nested import Nested
from kit.board.records import SCHEMA_VERSION, Result, RunRecord
from kit.conditions import Conditions
from kit.judge.judgement import Judgement
from kit.judge.test_ledger import test_use_of
from kit.provenance import commit, versions


def blend_record(
    run_id: str,
    members: Members,
    found: Nested,
    judgements: Mapping[str, Judgement],
    *,
    rule: str,
    handed_in: Mapping[str, Any],
) -> RunRecord:
    """Return the blend's record: as its first member's where all agree, put together where they do not.

    Args:
        run_id: of the blend.
        members: all of them; those with a weight are named as its network.
        found: what was chosen.
        judgements: by kind of the predictions.
        rule: that was asked for.
        handed_in: what the record says of the submission.
    """
    records, first = members.records, members.records[0]
    counted = [record for record, weight in zip(records, found.final.weights, strict=True) if weight]
    size = _together(record.recipe["input"]["image_size"] for record in counted)
    seeds = sorted({record.recipe["seed"] for record in counted})
    return RunRecord(
        schema_version=SCHEMA_VERSION,
        run_id=run_id,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        competition=first.competition,
        title=first.title,
        baselines=first.baselines,
        protocol=first.protocol,
        source=first.source,
        complete=first.complete,
        data=dict(first.data),
        folds=dict(first.folds) if not members.disagreement else {**first.folds, "fingerprint": ""},
        recipe={
            "name": "blend",
            "seed": seeds[0],
            "num_folds": first.folds["num_folds"],
            "input": {"image_size": size},
            "blend": {
                "asked": rule,
                **asdict(found.final.way),
                "weights": dict(zip((record.run_id for record in records), found.final.weights, strict=True)),
                "temperature": found.final.temperature,
                "thresholds": list(found.final.thresholds),
                "naive": found.naive,
                "nested": found.nested,
            },
        },
        network={
            "name": " + ".join(record.network["name"] for record in counted),
            "num_parameters": sum(record.network["num_parameters"] for record in counted),
            "weights_origin": _together(record.network["weights_origin"] for record in counted),
            "weights_fingerprint": "",
            "pretraining_group": _joined("pretraining_group", [r.network["pretraining_group"] for r in counted]),
        },
        results=[
            Result(
                kind=kind,
                protocol=first.protocol,
                conditions=_conditions(kind, counted),
                scores=judgement.scores,
                confused=judgement.confused[:20],
            )
            for kind, judgement in judgements.items()
        ],
        cost=_cost(records),
        versions=versions(),
        commit=commit(),
        submission=dict(handed_in),
        quality=dict(first.quality),
        described={
            "image_size": size if isinstance(size, int) else None,
            "seeds": seeds,
            "ensemble_size": len(counted),
            "hardware": _together(record.cost["device"] for record in records),
            "split_hash": first.described.get("split_hash"),
        },
        test_use=test_use_of(first.competition, first.protocol, first.data["fingerprint"]),
    )


def _conditions(kind: str, counted: Sequence[RunRecord]) -> Conditions:
    """Return what a blend's answers were obtained under: each field as all members have it, or all that they have.

    A field that one of them does not state is not stated. It is an ensemble, whose members were chosen out of fold.
    """
    own = [result.conditions for record in counted for result in record.results if result.kind == kind]
    joined = {one.name: _joined(one.name, [getattr(each, one.name) for each in own]) for one in fields(Conditions)}
    clean = joined["selection"] != "test-images"
    return Conditions(**{**joined, "inference": "ensemble", **({"selection": "out-of-fold"} if clean else {})})


def _joined(name: str, values: Sequence[Any]) -> Any:
    if all(value == values[0] for value in values):
        return values[0]
    if None in values:
        return None
    if name == "selection" and "test-images" in values:
        return "test-images"
    return "mixed" if name == "pretraining_group" else _together(values)


def _together(values: Iterable[Any]) -> Any:
    """Return the value that all have, or their texts joined, each once."""
    different = list(dict.fromkeys(values))
    return different[0] if len(different) == 1 else " and ".join(map(str, different))


def _cost(records: Sequence[RunRecord]) -> dict[str, Any]:
    """Return what all members cost together; images per second are those that pass through all their networks."""
    total = {key: sum(record.cost[key] for record in records) for key in ("train_minutes", "num_models", "steps")}
    return {
        **total,
        "images_per_second": 1 / sum(1 / record.cost["images_per_second"] for record in records),
        "peak_memory_gib": max(record.cost["peak_memory_gib"] for record in records),
        "device": _together(record.cost["device"] for record in records),
        "num_processes": max(record.cost.get("num_processes", 1) for record in records),
        "num_threads": max(record.cost["num_threads"] for record in records),
    }
