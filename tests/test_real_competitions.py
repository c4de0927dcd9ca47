"""Real files of Kaggle competitions: whole where they are complete, else the tables that label their images."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from kit.competition import load_competition
from kit.data.folds import assign_folds
from kit.data.labelling import label_images
from kit.data.prepare import prepare
from kit.data.schema import class_indices
from kit.judge.predict import Predictions
from kit.kaggle.submission import submission_table

pytestmark = pytest.mark.real


def labelled_by_table(slug, test_data, *, folder):
    """Return the competition and its training images as its real table names them; the images need not be there."""
    competition = load_competition(slug)
    return competition, label_images(competition, test_data / "data" / "kaggle-csv" / folder, competition.labels)


@pytest.fixture(scope="module")
def state_farm(test_data):
    return labelled_by_table("state_farm", test_data, folder="state-farm-distracted-driver-detection")


def test_state_farm_has_ten_classes_and_26_drivers(state_farm):
    competition, table = state_farm
    assert len(table) == table["image_id"].nunique() == 22424
    assert set(table["label"]) == set(competition.classes)
    assert table["group"].nunique() == 26
    row = table[table["image_id"] == "imgs/train/c0/img_44733"].iloc[0]
    assert (row["path"], row["label"], row["group"]) == ("imgs/train/c0/img_44733.jpg", "c0", "p002")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_state_farm_folds_share_no_driver(state_farm, seed):
    competition, table = state_farm
    folds = assign_folds(table, num_folds=5, seed=seed, rule=competition.folds)
    assert (folds.groupby("group")["fold"].nunique() == 1).all()
    sizes = folds["fold"].value_counts()
    assert sizes.sum() == 22424
    # Whole drivers of 346 to 1,237 frames make no equal folds, but nearly: a fifth is 4,485.
    assert sorted(sizes.index) == [0, 1, 2, 3, 4]
    assert sizes.between(4400, 4600).all()
    # Every fold tests every class, which keeps its share of about a tenth.
    shares = folds.groupby("fold")["label"].value_counts(normalize=True)
    assert len(shares) == 50
    assert shares.between(0.05, 0.15).all()


@pytest.fixture(scope="module")
def cactus(test_data, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_HOME", str(tmp_path_factory.mktemp("cactus")))
        competition = load_competition("aerial_cactus")
        return competition, prepare(
            competition, source="repacked", mirror=str(test_data / "data"), say=lambda line: None
        )


def test_aerial_cactus_is_complete(cactus):
    _, samples = cactus
    assert (len(samples.train), len(samples.test), samples.missing) == (17500, 4000, 0)
    assert samples.train["label"].value_counts().to_dict() == {"cactus": 13136, "none": 4364}
    assert (samples.test["label"] == "").all()


def test_aerial_cactus_has_no_image_twice(cactus):
    _, samples = cactus
    assert samples.table["sha256"].is_unique


def test_aerial_cactus_answers_fit_the_sample(cactus):
    competition, samples = cactus
    test = samples.test
    chance = np.random.default_rng(1).random(len(test), dtype=np.float32)
    found = Predictions(
        kind="test",
        image_ids=tuple(test["image_id"]),
        classes=samples.classes,
        probabilities=np.stack([1 - chance, chance], axis=1),
        labels=("",) * len(test),
        folds=np.full(len(test), -1),
    )
    paths = dict(zip(test["image_id"], test["path"], strict=True))
    made = submission_table(competition, found, data=samples.folder, paths=paths)
    with (samples.folder / "sample_submission.csv").open(encoding="utf-8", newline="") as file:
        sample = list(csv.DictReader(file))
    assert list(made.columns) == list(sample[0]) == ["id", "has_cactus"]
    assert made["id"].tolist() == [row["id"] for row in sample]
    of_name = dict(zip(test["path"].str.removeprefix("test/"), chance, strict=True))
    assert made["has_cactus"].tolist() == [of_name[name] for name in made["id"]]


def test_dogs_and_cats_of_the_subset_are_told_by_their_names(test_data):
    said = []
    competition = load_competition("dogs_vs_cats_redux")
    samples = prepare(competition, source="subset", mirror=str(test_data / "data"), say=said.append)
    assert samples.train["label"].value_counts().to_dict() == {"cat": 1000, "dog": 1000}
    assert len(samples.test) == 499
    (same,) = samples.table.groupby("sha256")["image_id"].apply(tuple)[lambda ids: ids.str.len() > 1]
    assert same == ("test/224", "test/267")
    assert samples.table[samples.table["image_id"].isin(same)]["group"].nunique() == 1
    assert any(line.startswith("PARTIAL DATA: ") for line in said)
    sample = (samples.folder / "sample_submission.csv").read_text(encoding="utf-8").splitlines()
    assert sample[:3] == ["id,label", "1,0.5", "2,0.5"]
    assert len(sample) == 1 + 499


def test_plant_pathology_gives_each_leaf_one_of_four_labels(test_data):
    competition, table = labelled_by_table("plant_pathology_2020", test_data, folder="plant-pathology-2020-fgvc7")
    assert table["label"].value_counts().to_dict() == {
        "rust": 622,
        "scab": 592,
        "healthy": 516,
        "multiple_diseases": 91,
    }
    labels = dict(zip(table["path"], table["label"], strict=True))
    assert (labels["images/Train_0.jpg"], labels["images/Train_1.jpg"]) == ("scab", "multiple_diseases")
    sample = test_data / "data" / "kaggle-csv" / "plant-pathology-2020-fgvc7" / "sample_submission.csv"
    header, *rows = sample.read_text(encoding="utf-8").splitlines()
    assert header.split(",") == [competition.submission.id_column, *competition.classes]
    assert len(rows) == competition.protocol().num_test == 1821


def test_dog_breeds_are_the_classes_in_alphabetical_order(test_data):
    competition, table = labelled_by_table("dog_breed", test_data, folder="dog-breed-identification")
    assert len(table) == 10222
    assert competition.classes == tuple(sorted(set(table["label"])))
    assert len(competition.classes) == 120
    assert (class_indices(table["label"].tolist(), competition.classes) >= 0).all()


def test_the_frames_of_one_driver_are_only_apart_because_the_list_names_the_driver(state_farm):
    """Folds of frames would have all 26 drivers on both sides: what the rule in competition.toml prevents."""
    competition, table = state_farm
    frames = table.assign(group=table["image_id"])
    folds = assign_folds(frames, num_folds=5, seed=1, rule=replace(competition.folds, by="stratified"))
    drivers = folds.assign(driver=table.set_index("image_id").loc[folds["image_id"], "group"].to_numpy())
    assert (drivers.groupby("driver")["fold"].nunique() == 5).all()
