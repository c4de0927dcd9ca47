"""The record of a model of one's own: a run's in every field, with the model in the recipe's place."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.board.records import RunRecord
from kit.config import ModelConfig, ScheduleConfig
from kit.errors import DataError
from kit.judge.judgement import Judgement
from kit.plan import RunPlan
from kit.record import record_of
from kit.train.models import ModelFolder, device_name

if TYPE_CHECKING:
    from kit.board.compare import ComparedRow
    from kit.learner.comparison import LearnerComparison
    from kit.learner.data import Data


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What one fitted model cost; kept beside its answers."""

    seconds: float  # of its fit
    num_rows: int  # that it learned from
    num_numbers: int  # that it holds; 0: not known

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as plain values for JSON."""
        return asdict(self)


def read_fitted(path: Path) -> Fitted | None:
    """Read what `Fitted.as_dict` gave, or None where it is not there or is damaged."""
    try:
        return Fitted(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def own_plan(plan: RunPlan, *, name: str, seed: int, key: str) -> RunPlan:
    """Return the plan as that of a model of one's own: with a run id of its own, and nothing of a network.

    Args:
        plan: of the rows and their folds.
        name: of the run.
        seed: of the model; the folds keep theirs.
        key: SHA-256 of all that decides the numbers.
    """
    recipe = replace(
        plan.recipe,
        name=name,
        seed=seed,
        model=ModelConfig(name=name, weights="none"),
        input=replace(plan.recipe.input, test_views="single"),
        schedule=ScheduleConfig(),
    )
    run_id = f"{plan.competition.slug}-{plan.protocol_id}-own-{name}-s{seed}-{key[:8]}"
    return replace(plan, recipe=recipe, weights=None, run_id=run_id, pseudo=None)


def own_record(
    plan: RunPlan,
    fits: Sequence[Fitted],
    judgements: Mapping[str, Judgement],
    *,
    about: Mapping[str, Any],
    imageless: bool,
) -> RunRecord:
    """Return the record of a finished run.

    Args:
        plan: see `own_plan`.
        fits: of its models, the one on all rows last.
        judgements: by kind of the predictions.
        about: class, parameters, features and pretraining of the model, as plain values.
        imageless: the rows are a table's.
    """
    group = str(about["pretraining"])
    record = record_of(
        plan, [_as_model(one, plan.folder, group, imageless=imageless) for one in fits], dict(judgements)
    )
    elsewhere = group != "none"  # whether what was learned there stayed as it was, the kit cannot see
    results = [
        replace(one, conditions=replace(one.conditions, adaptation=None)) if elsewhere else one
        for one in record.results
    ]
    size = None if imageless else plan.recipe.input.image_size
    return replace(
        record,
        recipe={
            "name": plan.recipe.name,
            "seed": plan.recipe.seed,
            "num_folds": plan.recipe.num_folds,
            "input": {"image_size": None} if imageless else asdict(plan.recipe.input),
            "own": dict(about),
        },
        network={**record.network, "name": _shown_name(plan, about)},
        results=results,
        described={**record.described, "image_size": size, "ensemble_size": 1},
    )


def compared(record: RunRecord, data: "Data", *, kind: str | None) -> "LearnerComparison":
    """Return a result of a run beside the published ones; see `kit.learner.own_model.OwnRun.compare`."""
    from kit.board.claims import claim_under
    from kit.board.compare import compare, load_published
    from kit.board.terms import own_conditions, results_of
    from kit.board.test_use import chosen_of, selection_words, uses_of_records
    from kit.judge.test_ledger import check_chain
    from kit.learner.collection import Collection
    from kit.learner.comparison import LearnerComparison

    found = [one for one in results_of(record) if kind in (None, one.kind)]
    if not found:
        there = ", ".join(one.kind for one in record.results) or "none: load the data with folds"
        raise DataError(
            f"{record.run_id} has no scored answers{f' of the kind {kind!r}' if kind else ''}: there are {there}."
        )
    result, chain = found[0], check_chain(uses_of_records())
    # A collection that happens to be called like a published data set is not that data set.
    published = None if isinstance(data.competition, Collection) else load_published(record.baselines)
    rows: tuple[ComparedRow, ...] = ()
    claim = None
    if published is not None:
        rows = tuple(compare(result, published, chosen_of=chosen_of(record, result, chain)))
        ours = own_conditions(result, published)
        claim = claim_under(ours, published, protocol=result.protocol, metrics=result.scores.keys())
    return LearnerComparison(
        title=record.title, result=result, rows=rows, claim=claim, test_use=selection_words(record, chain)
    )


def _shown_name(plan: RunPlan, about: Mapping[str, Any]) -> str:
    kind = str(about.get("class") or about.get("factory")).rpartition(".")[2]
    return kind if kind.lower() == plan.recipe.name.replace("-", "") else f"{plan.recipe.name} ({kind})"


def _as_model(one: Fitted, folder: Path, group: str, *, imageless: bool) -> ModelFolder:
    """Return a fitted model as `record_of` takes those of networks; it has no checkpoint."""
    return ModelFolder(
        name="own",
        folder=folder / "own",
        history={
            "minutes": one.seconds / 60,
            "num_steps": 0,
            "history": [{"images_per_second": one.num_rows / max(one.seconds, 1e-6)}],
            "store": "none, a table" if imageless else "pixels through a function",
            "num_parameters": one.num_numbers,
            "weights_origin": "none",
            "pretraining_group": group,
            "device": device_name("cpu"),
            "num_processes": 1,
            "num_threads": _num_threads(),
            "peak_memory_gib": _peak_memory_gib(),
        },
    )


def _num_threads() -> int:
    """Return how many threads the libraries of linear algebra may take, as they are loaded now."""
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]  # comes with scikit-learn

    return max((int(pool["num_threads"]) for pool in threadpool_info()), default=len(os.sched_getaffinity(0)))


def _peak_memory_gib() -> float:
    """Return the most memory that this process has had, GiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
