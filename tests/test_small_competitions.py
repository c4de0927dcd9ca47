"""MNIST, Fashion-MNIST and ELPV: their files become images and labels, and what is wrong with them is said."""

import csv
import gzip
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from kit.competition import read_competition
from kit.data.labelling import label_images
from kit.data.splits import official_split
from kit.errors import DataError, FetchError
from kit.files.fetch import fetch

COMPETITIONS = Path(__file__).parent.parent / "competitions"


def idx_bytes(values) -> bytes:
    """Write uint8 values in the publisher's format."""
    return bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape) + values.tobytes()


def write_idx(folder: Path, *, num_train: int = 12, num_test: int = 5) -> dict[str, np.ndarray]:
    """Write the four gzipped files of an MNIST-like set into `folder`, and return the arrays in them."""
    arrays = {}
    for prefix, count in (("train", num_train), ("t10k", num_test)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays |= {f"{prefix}-images-idx3": images, f"{prefix}-labels-idx1": np.arange(count, dtype=np.uint8) % 10}
    for name, values in arrays.items():
        (folder / f"{name}-ubyte.gz").write_bytes(gzip.compress(idx_bytes(values)))
    return arrays


@pytest.mark.parametrize("slug", ["mnist", "fashion_mnist"])
def test_idx_files_become_images_with_their_pixels_labels_and_split(slug, tmp_path):
    competition = read_competition(COMPETITIONS / slug)
    arrays = write_idx(tmp_path)
    competition.adapter_function("materialise")(tmp_path)
    table = label_images(competition, tmp_path, competition.labels).set_index("image_id", drop=False)
    assert table.loc["train/00011", "label"] == competition.classes[1]
    assert table.loc["test/00004", "label"] == competition.classes[4]
    for image_id, name in (("train/00011", "train"), ("test/00004", "t10k")):
        pixels = cv2.imread(str(tmp_path / f"{image_id}.png"), cv2.IMREAD_UNCHANGED)
        assert (pixels == arrays[f"{name}-images-idx3"][int(image_id[-5:])]).all()
    split, missing = official_split(table, competition.official_split, tmp_path, complete=True)
    assert (split.count("train"), split.count("test"), missing) == (12, 5, 0)


@pytest.mark.parametrize("slug", ["mnist", "fashion_mnist"])
def test_labels_that_do_not_fit_the_images_are_refused(slug, tmp_path):
    write_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(np.zeros(11, dtype=np.uint8))))
    with pytest.raises(DataError, match=r"12 train images .*11 labels"):
        read_competition(COMPETITIONS / slug).adapter_function("materialise")(tmp_path)


def test_a_kind_of_clothing_that_nobody_knows_is_refused(tmp_path):
    write_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(np.full(5, 10, dtype=np.uint8))))
    with pytest.raises(DataError, match=r"5 labels up to 10: expected as many labels as images, from 0 to 9"):
        read_competition(COMPETITIONS / "fashion_mnist").adapter_function("materialise")(tmp_path)


@pytest.fixture
def solar_cells(monkeypatch) -> None:
    """A package of the name elpv_dataset with four cells, one of each defect probability."""
    package, utils = ModuleType("elpv_dataset"), ModuleType("elpv_dataset.utils")
    images = np.stack([np.full((300, 300), 10 * k, dtype=np.uint8) for k in range(4)])
    probabilities = np.array([0.0, 0.3333333333333333, 0.6666666666666666, 1.0])
    utils.load_dataset = lambda: (images, probabilities, np.array(["mono", "mono", "poly", "poly"]))
    package.utils = utils
    monkeypatch.setitem(sys.modules, "elpv_dataset", package)
    monkeypatch.setitem(sys.modules, "elpv_dataset.utils", utils)


def test_a_cells_defect_probability_is_its_soft_label(solar_cells):
    competition = read_competition(COMPETITIONS / "elpv")
    data = fetch(competition, say=lambda line: None)
    table = label_images(competition, data, competition.labels)
    assert table["image_id"].tolist() == [f"images/cell000{k}" for k in (1, 2, 3, 4)]
    assert table["target_defective"].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert table[["target_functional", "target_defective"]].sum(axis=1).tolist() == pytest.approx([1, 1, 1, 1])
    assert table["label"].tolist() == ["functional", "functional", "defective", "defective"]
    assert table["group"].tolist() == ["01", "01", "02", "02"]
    assert cv2.imread(str(data / "images" / "cell0003.png"), cv2.IMREAD_UNCHANGED).tolist() == [[20] * 300] * 300


def test_without_its_package_the_solar_cells_say_how_to_get_it(monkeypatch):
    for name in ("elpv_dataset", "elpv_dataset.utils"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(FetchError, match=r"`pip install elpv-dataset` and run the same command again"):
        fetch(read_competition(COMPETITIONS / "elpv"), say=lambda line: None)


def test_runs_of_one_type_are_parted_into_modules_of_about_sixty_cells():
    parted = read_competition(COMPETITIONS / "elpv").adapter()._modules
    lengths = {"a": 60, "b": 300, "c": 180, "d": 360, "e": 714, "f": 530, "g": 72, "h": 180, "i": 48, "j": 180}
    modules = parted([kind for kind, count in lengths.items() for _ in range(count)])
    assert len(modules) == 2624
    assert len(set(modules)) == 44  # as the authors say
    assert modules == sorted(modules)
    assert modules[:61] == ["01"] * 60 + ["02"]
    assert all(48 <= modules.count(module) <= 72 for module in set(modules))


# The real ones.


@pytest.mark.real
def test_the_real_mnist_has_its_known_counts_and_a_five_first(test_data):
    competition = read_competition(COMPETITIONS / "mnist")
    data = fetch(competition, source="rebuilt", mirror=str(test_data / "data"), say=lambda line: None)
    with (data / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"image": "train/00000.png", "digit": "5", "split": "train"}
    assert (len(rows), sum(row["split"] == "test" for row in rows)) == (70000, 10000)
    assert sum(row["digit"] == "1" for row in rows) == 7877


@pytest.mark.real
@pytest.mark.skipif(not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="Debian's package is not installed")
def test_debians_fashion_mnist_has_seven_thousand_of_each_kind():
    competition = read_competition(COMPETITIONS / "fashion_mnist")
    data = fetch(competition, source="debian", mirror="/usr/share/datasets", say=lambda line: None)
    kinds = label_images(competition, data, competition.labels)["label"].value_counts()
    assert kinds.to_dict() == dict.fromkeys(competition.classes, 7000)


@pytest.mark.real
@pytest.mark.skipif(importlib.util.find_spec("elpv_dataset") is None, reason="elpv-dataset is not installed")
def test_the_real_solar_cells_have_their_known_counts():
    competition = read_competition(COMPETITIONS / "elpv")
    data = fetch(competition, say=lambda line: None)
    table = label_images(competition, data, competition.labels)
    counts = table["target_defective"].round(2).value_counts()
    assert counts.to_dict() == {0: 1508, 0.33: 295, 0.67: 106, 1: 715}
    assert table["group"].nunique() == 44
