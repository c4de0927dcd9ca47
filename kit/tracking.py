"""Tracking: a finished run, and the published results beside it, in MLflow's table. Always an extra, never a condition.

The run's own files come first; this reads from them. One local SQLite store (`KIT_HOME/mlflow.db`) holds all
runs: a parent per run, a child per trained model, epochs as metrics logged in one batch, artefacts, tags.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kit.board.baselines import Baselines
from kit.board.records import RunRecord, run_folder
from kit.home import kit_home

ARTEFACTS = ("record.json", "submission.csv", "recipe.json", "folds.csv", "predictions")


def store_uri() -> str:
    """Return MLflow's tracking URI: KIT_TRACKING_URI, or the SQLite file in KIT_HOME."""
    return os.environ.get("KIT_TRACKING_URI") or f"sqlite:///{kit_home() / 'mlflow.db'}"


def look_command() -> str:
    """Return the shell command that opens MLflow's pages on the store."""
    return f"mlflow ui --backend-store-uri {store_uri()}"


def track(record: RunRecord, histories: Mapping[str, Sequence[Mapping[str, Any]]], published: Baselines | None) -> str:
    """Log a finished run and the published results of its data set; return MLflow's run id.

    A run or a published row that the store has already is not logged again.

    Args:
        record: the run's record.
        histories: model name ("fold-0", "full") -> its epochs, as `history.json` has them.
        published: the published results, or None.
    """
    client = tracking_client()
    experiment = experiment_of(client, record.competition)
    if published is not None:
        _log_published(client, experiment, published)
    known = client.search_runs([experiment], filter_string=f"tags.`kit.run_id` = '{record.run_id}'", max_results=1)
    if known and known[0].info.status == "FINISHED":
        return str(known[0].info.run_id)
    tags = {
        "kit.run_id": record.run_id,
        "kit.kind": "run",
        "kit.protocol": record.protocol,
        "kit.source": record.source,
        "kit.data_fingerprint": record.data["fingerprint"],
        "kit.fold_fingerprint": record.folds["fingerprint"] or "none",
        "kit.commit": record.commit or "unknown",
    }
    parent = client.create_run(experiment, run_name=record.run_id, tags=tags).info.run_id
    metrics = {
        f"{result.kind.replace('-', '_')}_{name}": score.value
        for result in record.results
        for name, score in result.scores.items()
    }
    best = record.results[0]
    metrics |= {name: score.value for name, score in best.scores.items()}  # the columns that published rows have too
    metrics["train_minutes"] = record.cost["train_minutes"]
    log_batch(client, parent, [(name, value, 0) for name, value in metrics.items()], params=_flat(record.recipe))
    for model, history in histories.items():
        child_tags = {"mlflow.parentRunId": parent, "kit.kind": "model", "kit.model": model, "fold": model}
        child = client.create_run(experiment, run_name=model, tags=child_tags).info.run_id
        epochs = [
            (name, float(value), int(log["epoch"]))
            for log in history
            for name, value in log.items()
            if name != "epoch" and isinstance(value, int | float)
        ]
        log_batch(client, child, epochs, params={})
        client.set_terminated(child)
    folder = run_folder(record.run_id)
    for name in ARTEFACTS:
        if (folder / name).is_dir():
            client.log_artifacts(parent, str(folder / name), name)
        elif (folder / name).is_file():
            client.log_artifact(parent, str(folder / name))
    client.set_terminated(parent)
    return str(parent)


def tracking_client() -> Any:
    """Return MLflow's client of the store, which says nothing on its own."""
    # MLflow asks its maker's server about usage unless told not to; and lists each package it cannot find.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import logging

    from mlflow import MlflowClient

    for name in ("alembic", "mlflow"):  # after the import, which sets them: a line for each table of a new database
        logging.getLogger(name).setLevel(logging.WARNING)
    kit_home().mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=store_uri())


def experiment_of(client: Any, name: str) -> str:
    """Return the id of the experiment `name`, made now unless it is there."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(name, artifact_location=(kit_home() / "mlartifacts" / name).as_uri()))


def _log_published(client: Any, experiment: str, published: Baselines) -> None:
    """Make each published row a run of its own, so that MLflow's table shows it beside ours."""
    known = {
        run.data.tags.get("kit.published_id")
        for run in client.search_runs([experiment], filter_string="tags.`kit.kind` = 'published'", max_results=5000)
    }
    for row in published.results:
        if row.id in known or row.value is None:
            continue
        tags = {
            "kit.kind": "published",
            "kit.published_id": row.id,
            "kit.protocol": row.protocol,
            "kit.status": row.status,
            "kit.year": str(row.year),
            "kit.pretraining_group": row.pretraining_group or "not stated",
            "mlflow.note.content": f"{row.method}. {row.source.title}, {row.source.venue}. {row.provenance}",
        }
        run = client.create_run(experiment, run_name=f"published: {row.method[:80]} ({row.year})", tags=tags)
        log_batch(client, run.info.run_id, [(row.metric, float(row.value), 0)], params={"protocol": row.protocol})
        client.set_terminated(run.info.run_id)


def log_batch(client: Any, run_id: str, metrics: list[tuple[str, float, int]], *, params: Mapping[str, Any]) -> None:
    """Log metrics (name, value, step) and params of a run in one call."""
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, step) for name, value, step in metrics],
        params=[Param(name, str(value)[:6000]) for name, value in params.items()],
    )


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def histories_of(run_id: str) -> dict[str, list[dict[str, Any]]]:
    """Return the epochs of each model of a run, from its own files."""
    import json

    return {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))["history"]
        for path in sorted(Path(run_folder(run_id)).glob("models/*/history.json"))
    }
