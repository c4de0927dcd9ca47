"""Runs of ours that differ in the seed alone: their mean over seeds, as a note of the group in which they stand."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from kit.board.groups import GroupRow, ProtocolGroup
from kit.board.records import RunRecord
from kit.conditions import is_own_draw
from kit.judge.repeats import over_seeds


def with_seed_notes(found: Sequence[ProtocolGroup], records: Iterable[RunRecord]) -> list[ProtocolGroup]:
    """Return the groups, each with a note on the mean over seeds of runs of ours that differ in the seed alone.

    These have one recipe but for its seed, one network with the same weights, and the same data. Where each run has
    test images of its own the mean is not one over seeds alone, and is not given. Of runs with the same seed the latest
    counts.

    Args:
        found: groups.
        records: of the runs in them.
    """
    by_id = {record.run_id: record for record in records}
    return [replace(group, notes=(*group.notes, *_notes_of(group, by_id))) for group in found]


def _notes_of(group: ProtocolGroup, by_id: dict[str, RunRecord]) -> list[str]:
    if is_own_draw(group.conditions):
        return []
    alike: dict[str, dict[int, tuple[str, GroupRow]]] = defaultdict(dict)
    for row in group.rows:
        record = by_id.get(row.id) if row.ours else None
        if record is None or "seed" not in record.recipe:
            continue
        of_seed = alike[_all_but_seed(record, row.kind)]
        seed = int(record.recipe["seed"])
        of_seed[seed] = max(
            of_seed.get(seed, (record.created_at, row)), (record.created_at, row), key=lambda one: one[0]
        )
    notes = []
    for of_seed in alike.values():
        if len(of_seed) < 2:
            continue
        seeds = sorted(of_seed)
        rows = [of_seed[seed][1] for seed in seeds]
        found = over_seeds([row.value for row in rows])
        about = "" if found.low is None else " The interval is Student's; what other images would show is not in it."
        recipe = by_id[rows[0].id].recipe.get("name", "")
        notes.append(
            f"Ours, {rows[0].kind}, {recipe}, seeds {', '.join(map(str, seeds))}: {group.metric} {found}.{about}"
        )
    return notes


def _all_but_seed(record: RunRecord, kind: str) -> str:
    """Return what two runs that differ in the seed alone have in common, as text."""
    recipe = {name: value for name, value in record.recipe.items() if name != "seed"}
    network = {name: record.network.get(name) for name in ("name", "num_parameters", "weights_fingerprint")}
    data = {name: record.data.get(name) for name in ("fingerprint", "num_train", "num_test", "pseudo_labels")}
    same = (kind, record.protocol, record.source, recipe, network, data)
    return json.dumps(same, sort_keys=True, default=str)
