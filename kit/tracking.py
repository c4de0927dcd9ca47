"""Tracking: a finished run, and the published results beside it, in MLflow's table. Always an extra, never a condition.

The run's own files come first; this reads from them. One local SQLite store (`KIT_HOME/mlflow.db`) holds all
runs: a parent per run, a child per trained model, epochs as metrics logged in one batch, artefacts, tags.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kit.board.baselines import Baselines, PublishedResult
from kit.board.records import RunRecord, run_folder
from kit.home import fingerprint, kit_home, sha256_of_file

ARTEFACTS = ("record.json", "submission.csv", "recipe.json", "folds.csv", "predictions")
REPORTS = ("report.html", "report")  # the page of a run and its figures: made after the run, and made anew
_LAYOUT = 1  # goes up when published rows are logged in another way: those of before are then replaced


def store_uri() -> str:
    """Return MLflow's tracking URI: KIT_TRACKING_URI, or the SQLite file in KIT_HOME."""
    return os.environ.get("KIT_TRACKING_URI") or f"sqlite:///{kit_home() / 'mlflow.db'}"


def look_command() -> str:
    """Return the shell command that opens MLflow's pages on the store."""
    return f"mlflow ui --backend-store-uri {store_uri()}"


def track(record: RunRecord, histories: Mapping[str, Sequence[Mapping[str, Any]]], published: Baselines | None) -> str:
    """Log a finished run and the published results of its data set; return MLflow's run id.

    A run that the store has already is not logged again; its report is, if it is another one now. A published row is
    logged once, and anew when the file of published results says something else of it.

    Args:
        record: the run's record.
        histories: model name ("fold-0", "full") -> its epochs, as `history.json` has them.
        published: the published results, or None.
    """
    client = tracking_client()
    experiment = experiment_of(client, record.competition)
    if published is not None:
        log_published(client, experiment, published)
    known = client.search_runs([experiment], filter_string=f"tags.`kit.run_id` = '{record.run_id}'", max_results=1)
    if known and known[0].info.status == "FINISHED":
        _log_report(client, known[0], run_folder(record.run_id))
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
    _log_files(client, parent, folder, ARTEFACTS)
    _log_report(client, client.get_run(parent), folder)
    client.set_terminated(parent)
    return str(parent)


def _log_files(client: Any, run_id: str, folder: Path, names: Sequence[str]) -> None:
    for name in names:
        if (folder / name).is_dir():
            client.log_artifacts(run_id, str(folder / name), name)
        elif (folder / name).is_file():
            client.log_artifact(run_id, str(folder / name))


def _log_report(client: Any, run: Any, folder: Path) -> None:
    """Log a run's report and figures, unless the store has these very ones."""
    now = report_fingerprint(folder)
    if now and run.data.tags.get("kit.report") != now:
        _log_files(client, run.info.run_id, folder, REPORTS)
        client.set_tag(run.info.run_id, "kit.report", now)


def report_fingerprint(folder: Path) -> str:
    """Return a SHA-256 over a run's report and figures, or an empty string where there are none."""
    files = [path for name in REPORTS for path in sorted([folder / name, *(folder / name).rglob("*")])]
    parts = [part for path in files if path.is_file() for part in (path.name, sha256_of_file(path))]
    return fingerprint(*parts) if parts else ""


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


def published_fingerprint(published: Baselines | None) -> str:
    """Return a SHA-256 over all published rows of a data set, as MLflow is shown them."""
    rows = published.results if published is not None else ()
    return fingerprint(*(_row_fingerprint(row) for row in rows if row.value is not None))


def _row_fingerprint(row: PublishedResult) -> str:
    return fingerprint(str(_LAYOUT), repr(row))


def log_published(client: Any, experiment: str, published: Baselines) -> None:
    """Make each published row a run of its own, so that MLflow's table shows it beside ours.

    Each is there once, as the file has it now: a row that changed, or left the file, goes to MLflow's bin. (A run's
    params cannot be changed there.) An unverified one is called so in its name and its tag `kit.status`.
    """
    wanted = {row.id: row for row in published.results if row.value is not None}
    for run in client.search_runs([experiment], filter_string="tags.`kit.kind` = 'published'", max_results=5000):
        row = wanted.get(run.data.tags.get("kit.published_id", ""))
        finished = run.info.status == "FINISHED"
        if row is not None and finished and run.data.tags.get("kit.published_row") == _row_fingerprint(row):
            del wanted[row.id]
        else:
            client.delete_run(run.info.run_id)
    for row in wanted.values():
        _log_row(client, experiment, row)


def _log_row(client: Any, experiment: str, row: PublishedResult) -> None:
    assert row.value is not None
    tags = {
        "kit.kind": "published",
        "kit.published_id": row.id,
        "kit.published_row": _row_fingerprint(row),
        "kit.protocol": row.protocol,
        "kit.status": row.status,
        "kit.year": str(row.year),
        "kit.publication": f"{row.source.title}. {row.source.venue}, {row.source.year}",
        "kit.address": row.source.url or "not stated",
        "kit.pretraining_group": row.pretraining_group or "not stated",
        "mlflow.note.content": f"{row.method}. {row.source.title}, {row.source.venue}. {row.provenance}",
    }
    mark = "" if row.status == "verified" else ", unverified"
    run = client.create_run(experiment, run_name=f"published{mark}: {row.method[:80]} ({row.year})", tags=tags)
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
