"""MLflow sees a run and the published results in one table; whatever goes wrong there stops nothing."""

import json
import shutil
from pathlib import Path

import pytest
from test_compare import published, row

from kit.board.records import all_records, run_folder
from kit.home import write_text
from kit.run import track_run
from kit.tracking import (
    experiment_of,
    histories_of,
    log_published,
    look_command,
    store_uri,
    track,
    tracking_client,
)

# Alembic and SQLAlchemy, below MLflow, warn about their own coming changes.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)

PUBLISHED = published(row(value=0.95), row(id="no-value", value=None, status="unverified"))


@pytest.fixture(scope="module")
def home(trained_root):
    return trained_root / "home"


@pytest.fixture(scope="module")
def store(home, tmp_path_factory):
    """A KIT_HOME with the toy's run and, as soon as something is tracked, MLflow's database."""
    store = tmp_path_factory.mktemp("mlflow")
    (store / "runs").symlink_to(home / "runs")
    return store


@pytest.fixture
def in_store(tracked, store, monkeypatch):
    """The test's KIT_HOME is the one in which `tracked` was logged."""
    monkeypatch.setenv("KIT_HOME", str(store))


@pytest.fixture(scope="module")
def tracked(home, store):
    """A store with the toy's run, tracked twice: (client, experiment id, record, MLflow's run id of both times)."""
    from mlflow import MlflowClient

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_HOME", str(store))
        (record,) = all_records(home / "runs")
        ids = [track(record, histories_of(record.run_id), PUBLISHED) for _ in range(2)]
        client = MlflowClient(tracking_uri=store_uri())
        experiment = client.get_experiment_by_name("toy").experiment_id
        yield client, experiment, record, ids


def find(tracked, filter_string=""):
    client, experiment, *_ = tracked
    return client.search_runs([experiment], filter_string=filter_string)


def test_a_run_tracked_twice_is_logged_once(tracked):
    ids = tracked[3]
    assert ids[0] == ids[1]
    assert len(find(tracked, "tags.`kit.kind` = 'run'")) == 1
    assert len(find(tracked, "tags.`kit.kind` = 'model'")) == 3
    assert len(find(tracked, "tags.`kit.kind` = 'published'")) == 1


def test_the_parent_has_the_recipe_the_scores_and_what_identifies_the_data(tracked):
    _, _, record, (run_id, _) = tracked
    (parent,) = find(tracked, f"tags.`kit.run_id` = '{record.run_id}'")
    assert parent.info.run_id == run_id
    assert parent.info.status == "FINISHED"
    assert parent.data.params["schedule.lr"] == "0.003"
    assert parent.data.params["model.name"] == "resnet10t"
    scores = {result.kind: result.scores["accuracy"].value for result in record.results}
    assert parent.data.metrics["test_accuracy"] == parent.data.metrics["accuracy"] == scores["test"]
    assert parent.data.metrics["out_of_fold_accuracy"] == scores["out-of-fold"]
    assert parent.data.metrics["fold_ensemble_accuracy"] == scores["fold-ensemble"]
    assert parent.data.tags["kit.data_fingerprint"] == record.data["fingerprint"]
    assert parent.data.tags["kit.fold_fingerprint"] == record.folds["fingerprint"]


def test_each_model_is_a_child_with_its_epochs(tracked):
    client, _, _, (run_id, _) = tracked
    children = find(tracked, f"tags.`mlflow.parentRunId` = '{run_id}'")
    assert {child.data.tags["kit.model"] for child in children} == {"fold-0", "fold-1", "full"}
    for child in children:
        (point,) = client.get_metric_history(child.info.run_id, "train_loss")  # one epoch
        assert point.step == 1
        assert ("valid_loss" in child.data.metrics) is (child.data.tags["kit.model"] != "full")


def test_the_files_of_the_run_are_its_artefacts(tracked):
    client, _, _, (run_id, _) = tracked
    names = {artefact.path for artefact in client.list_artifacts(run_id)}
    assert names == {"record.json", "submission.csv", "recipe.json", "folds.csv", "predictions"}
    assert len(client.list_artifacts(run_id, "predictions")) == 3


def test_published_results_stand_beside_ours_in_one_search(tracked):
    found = find(tracked, "metrics.accuracy >= 0")
    assert sorted(run.data.tags["kit.kind"] for run in found) == ["published", "run"]
    (theirs,) = [run for run in found if run.data.tags["kit.kind"] == "published"]
    assert theirs.data.metrics["accuracy"] == 0.95
    assert theirs.data.tags["kit.status"] == "verified"
    assert theirs.info.run_name == "published: ResNet-50 (2020)"
    assert theirs.data.tags["kit.publication"] == "Paper. Journal, 2020"


def test_published_rows_follow_their_file_and_each_is_there_once(in_store):
    client = tracking_client()
    experiment = experiment_of(client, "published alone")

    def shown(*rows):
        log_published(client, experiment, published(*rows))
        found = client.search_runs([experiment])
        return {run.info.run_name: (run.info.run_id, run.data.metrics["accuracy"]) for run in found}

    one, other = row(value=0.95), row(id="other", method="ViT", value=0.9, status="unverified")
    first = shown(one, other)
    assert set(first) == {"published: ResNet-50 (2020)", "published, unverified: ViT (2020)"}
    assert shown(one, other) == first
    changed = shown(row(value=0.96), other)
    assert changed["published: ResNet-50 (2020)"][1] == 0.96
    assert changed["published, unverified: ViT (2020)"] == first["published, unverified: ViT (2020)"]
    assert set(shown(row(value=0.96))) == {"published: ResNet-50 (2020)"}
    assert set(shown(row(value=0.96), row(id="other", method="ViT", value=0.9))) == {
        *("published: ResNet-50 (2020)", "published: ViT (2020)")  # it was verified meanwhile
    }


def test_a_report_that_is_made_later_or_anew_is_an_artefact_of_the_same_run(tracked, in_store):
    client, _, record, (run_id, _) = tracked
    folder = run_folder(record.run_id)
    try:
        write_text(folder / "report.html", "<p>first</p>")
        write_text(folder / "report" / "confusion.svg", "<svg/>")
        assert track(record, {}, None) == run_id
        names = {artefact.path for artefact in client.list_artifacts(run_id)}
        assert {"report.html", "report", "record.json"} <= names
        assert [artefact.path for artefact in client.list_artifacts(run_id, "report")] == ["report/confusion.svg"]
        write_text(folder / "report.html", "<p>second</p>")
        track(record, {}, None)
        assert Path(client.download_artifacts(run_id, "report.html")).read_text() == "<p>second</p>"
    finally:
        shutil.rmtree(folder / "report", ignore_errors=True)
        (folder / "report.html").unlink(missing_ok=True)


def test_the_store_is_in_kit_home_unless_said_otherwise(own_home, monkeypatch):
    assert store_uri() == f"sqlite:///{own_home / 'mlflow.db'}"
    monkeypatch.setenv("KIT_TRACKING_URI", "http://localhost:5000")
    assert look_command() == "mlflow ui --backend-store-uri http://localhost:5000"


@pytest.mark.parametrize(
    "uri", ["nonsense://nowhere", "sqlite:////proc/nowhere/mlflow.db", "sqlite:///{taken}/mlflow.db"]
)
def test_a_broken_store_is_said_in_a_line_and_stops_nothing(finished_toy, tmp_path, monkeypatch, uri):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("KIT_TRACKING_URI", uri.format(taken=tmp_path / "taken"))
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_MAX_RETRIES", "1")
    (record,) = all_records()
    said = []
    track_run(record, say=said.append)
    (line,) = said
    assert line.startswith("MLflow did not take the run (")
    assert line.endswith(f"{run_folder(record.run_id)}. `kit track {record.run_id}` tries again.")
    assert not (run_folder(record.run_id) / "tracked.json").exists()


def test_a_run_that_this_store_has_is_not_shown_again(finished_toy, monkeypatch):
    (record,) = all_records()
    calls = []
    monkeypatch.setattr("kit.tracking.track", lambda *given: calls.append(given) or "run-id")
    track_run(record)
    track_run(record)
    assert len(calls) == 1
    marker = run_folder(record.run_id) / "tracked.json"
    kept = json.loads(marker.read_text())
    assert (kept["store"], kept["mlflow_run_id"], kept["report"]) == (store_uri(), "run-id", "")
    (run_folder(record.run_id) / "report.html").write_text("<p>now there is a report</p>")
    track_run(record)
    track_run(record)
    assert len(calls) == 2
    monkeypatch.setenv("KIT_TRACKING_URI", "sqlite:///elsewhere.db")
    track_run(record)
    assert len(calls) == 3
