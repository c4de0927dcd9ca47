"""Titanic: a competition of rows without images, from two tables to a submission."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest
from miniatures import make_miniature, titanic
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from typer.testing import CliRunner

import kit
from kit.board.records import find_record
from kit.cli.main import app
from kit.competition import package_folder
from kit.errors import ConfigError, DataError
from kit.kaggle.lint import lint
from kit.plan import pack_for


def quiet(line: str) -> None:
    """Say nothing."""


def model(**settings):
    """Return a pipeline for passengers: gaps filled, words counted, a line drawn."""
    columns = make_column_transformer(
        (SimpleImputer(), make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
    )
    return make_pipeline(columns, LogisticRegression(max_iter=2000, **settings))


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Return the data of 24 and 12 made-up passengers, as `kit.load` gives it."""
    folder = tmp_path / "competitions" / "titanic"
    folder.mkdir(parents=True)
    for path in (package_folder("competitions") / "titanic").glob("*.*"):
        text = path.read_text(encoding="utf-8")
        if path.name == "competition.toml":
            kept = [line for line in text.splitlines() if not line.startswith(("sha256", "num_bytes"))]
            text = "\n".join(kept).replace('path = "kaggle-csv', 'url = "https://example.org/none"\npath = "kaggle-csv')
        (folder / path.name).write_text(text, encoding="utf-8")
    (folder / "recipes").mkdir()
    (folder / "recipes" / "baseline.toml").write_text('num_folds = 3\n[model]\nweights = "none"\n', encoding="utf-8")
    monkeypatch.setenv("KIT_COMPETITIONS", str(tmp_path / "competitions"))
    monkeypatch.setenv("KIT_MIRROR", str(make_miniature("titanic", tmp_path / "mirror")))
    return kit.load("titanic", source="files", say=quiet)


def test_a_passengers_columns_come_from_the_own_row_alone(small):
    features = small.competition.adapter().features(small.path)
    first = features.loc["1"]
    assert (first["Pclass"], first["Age"], first["Family"], first["Sex"]) == (2, 21, 2, "female")
    assert (first["Title"], first["Deck"], first["Embarked"]) == ("Mrs", "", "C")
    assert np.isnan(features.loc["4", "Age"])
    assert features.loc["4", "Deck"] == "C"
    assert sorted(features.index) == sorted(small.plan.samples.table["image_id"])


def test_the_sample_that_follows_from_the_table_is_kaggles(small):
    with zipfile.ZipFile(io.BytesIO(titanic()["titanic.zip"])) as archive:
        assert (small.path / "gender_submission.csv").read_bytes() == archive.read("gender_submission.csv")


def test_a_model_on_columns_becomes_a_run_with_a_submission(small, tmp_path):
    run = kit.run_own(small, model(), name="line")
    score = run.record.results[0].scores["accuracy"]
    assert (score.num_images, score.value) == (24, 1.0)  # every second one survives, and is a woman
    (result,) = run.record.results
    assert (result.kind, result.conditions.extra_inputs) == ("out-of-fold", "the passenger list")
    assert run.record.recipe["own"]["features"].startswith("columns Pclass, Age")
    assert run.record.described["image_size"] is None
    path = run.submission(tmp_path / "mine.csv")
    rows = pd.read_csv(path)
    assert rows["PassengerId"].tolist() == list(range(25, 37))
    assert rows["Survived"].tolist() == [k % 2 for k in range(25, 37)]
    found = lint(path, small.competition, data=small.path, predictions=run.predictions["test"])
    assert [one.code for one in found if one.severity == "error"] == ["L419"]  # women alone survive: that is the sample


def test_columns_can_be_chosen_and_a_wrong_name_is_told(small):
    run = kit.run_own(small, model(), features=["Sex"])
    assert run.record.recipe["own"]["features"] == "columns Sex"
    with pytest.raises(ConfigError, match=r"gives no column 'sex'\. Did you mean 'Sex'\?"):
        kit.run_own(small, model(), features=["sex"])
    with pytest.raises(ConfigError, match="have no images, so `features` must be a list of column names"):
        kit.run_own(small, model(), features=lambda image: image.ravel())


def test_an_adapter_without_features_is_told_what_to_write(small):
    path = small.competition.folder / "adapter.py"
    path.write_text(path.read_text().replace("def features(", "def _features("))
    with pytest.raises(DataError, match=r"has no function features\(data_dir\)"):
        kit.run_own(small, model())


def test_features_that_lack_a_passenger_are_refused(small):
    path = small.competition.folder / "adapter.py"
    path.write_text(path.read_text().replace('name="image_id"))', 'name="image_id")).drop("7")'))
    with pytest.raises(DataError, match=r"lacks 1 of 36 rows, first \['7'\]"):
        kit.run_own(small, model())


def test_networks_are_refused_in_a_sentence_that_names_run_own(small):
    with pytest.raises(
        DataError, match=r"Rows of titanic without an image: 36, .*kit\.run_own\(kit\.load\('titanic'\), model"
    ):
        pack_for(small.plan)
    told = CliRunner().invoke(app, ["run", "titanic", "--source", "files"])
    assert isinstance(told.exception, DataError)
    assert "kit.run_own" in str(told.exception)


def test_worst_rows_and_confusions_are_there_without_pictures(small):
    found = kit.run_own(small, model()).interpret()
    assert found.confusion_matrix().counts.sum() == 24
    assert len(found.top_losses(3)) == 3
    with pytest.raises(DataError, match="came without images"):
        found.plot_top_losses(3)


@pytest.mark.real
def test_real_passengers_to_a_submission(test_data, tmp_path):
    data = kit.load("titanic", source="files", mirror=test_data / "data", say=quiet)
    assert (len(data.train) + len(data.valid), len(data.test)) == (891, 418)
    run = kit.run_own(data, model(C=1.0), name="line")
    score = run.record.results[0].scores["accuracy"]
    assert 0.80 < score.value < 0.85
    women = kit.run_own(data, model(), features=["Sex"], name="sex").record.results[0].scores["accuracy"].value
    sexes = data.competition.adapter().features(data.path)["Sex"]
    truth = data.plan.train.set_index("image_id")["label"]
    assert women == pytest.approx(((sexes[truth.index] == "female").astype(int).astype("str") == truth).mean())
    path = run.submission(tmp_path / "submission.csv")
    assert len(pd.read_csv(path)) == 418
    found = lint(path, data.competition, data=data.path, predictions=run.predictions["test"])
    assert not [one for one in found if one.severity == "error"]
    assert find_record(run.record.run_id) == run.record
