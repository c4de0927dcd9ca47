"""Export: a folder that needs nothing else, that answers as the run did, and that no stranger can set a trap with."""

import csv
import importlib.util
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from toys import TOY_RECIPE, coloured_png

from kit.board.records import all_records, find_record, run_folder
from kit.errors import ConfigError, DataError, WeightsError
from kit.export.answer import Answer, answer, image_files, open_export
from kit.export.folder import read_export
from kit.export.write import export_runs
from kit.home import kit_home, sha256_of_file
from kit.judge.predict import read_predictions
from kit.run import run

CPU = torch.device("cpu")
CLASSES = ("red", "green", "blue")


def quiet(line: str) -> None:
    """Take a line of progress."""


@pytest.fixture
def record(finished_toy):
    (found,) = all_records()
    return found


@pytest.fixture
def exported(record, tmp_path) -> Path:
    export_runs([record], tmp_path / "exported", say=quiet)
    return tmp_path / "exported"


def toy_files() -> list[Path]:
    """Return the toy's test images as they were unpacked, in the order of their ids."""
    (folder,) = (path for path in (kit_home() / "data").rglob("test") if path.is_dir())
    return sorted(folder.rglob("*.png"))


def of_run(record, kind: str) -> dict[str, np.ndarray]:
    """Return image id -> the run's probabilities."""
    found = read_predictions(run_folder(record.run_id) / "predictions" / f"{kind}.csv", kind=kind, classes=CLASSES)
    return dict(zip(found.image_ids, found.probabilities, strict=True))


def answers_of(folder: Path, files: list[Path], **options) -> list[Answer]:
    return list(answer(open_export(folder, device=CPU), files, **options))


def id_of(path: str) -> str:
    return "/".join(Path(path).with_suffix("").parts[-3:])


def test_an_exported_folder_answers_as_the_run_did(record, exported):
    expected = of_run(record, "test")
    found = answers_of(exported, toy_files())
    assert {id_of(one.path) for one in found} == set(expected)
    for one in found:
        np.testing.assert_allclose(one.probabilities, expected[id_of(one.path)], atol=1e-5)


def test_the_folds_are_exported_as_their_mean_where_nothing_was_trained_on_everything(record, tmp_path):
    shutil.rmtree(run_folder(record.run_id) / "models" / "full")
    export = export_runs([record], tmp_path / "folds", say=quiet)
    assert [one.model for one in export.models] == ["fold-0", "fold-1"]
    expected = of_run(record, "fold-ensemble")
    for one in answers_of(tmp_path / "folds", toy_files()):
        np.testing.assert_allclose(one.probabilities, expected[id_of(one.path)], atol=1e-5)


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        (TOY_RECIPE.replace('"resnet10t"', '"resnet10t"\nhead = "concat-pool"'), ["input.store_layout=square"]),
        (TOY_RECIPE, ["input.test_views=dihedral", "input.test_crop=0.7", "loss.kind=binary", "input.store_size=16"]),
    ],
)
def test_heads_layouts_views_and_losses_are_exported_with_it(toy_competition, tmp_path, recipe, changes):
    slug = toy_competition(recipe=recipe)
    _, made = run(slug, overrides=[*changes, "num_folds=0"], say=quiet)
    export_runs([made], tmp_path / "exported", say=quiet)
    expected = of_run(made, "test")
    for one in answers_of(tmp_path / "exported", toy_files()):
        np.testing.assert_allclose(one.probabilities, expected[id_of(one.path)], atol=1e-5)


def test_runs_with_two_seeds_make_one_folder_of_their_mean(record, tmp_path):
    _, other = run("toy", overrides=["seed=2", "num_folds=0"], say=quiet)
    export_runs([record, other], tmp_path / "both", say=quiet)
    first, second = of_run(record, "test"), of_run(other, "test")
    for one in answers_of(tmp_path / "both", toy_files()):
        mean = (first[id_of(one.path)] + second[id_of(one.path)]) / 2
        np.testing.assert_allclose(one.probabilities, mean, atol=1e-5)
    small = {**other.recipe, "input": {**other.recipe["input"], "store_size": 16}}
    with pytest.raises(ConfigError, match="store_size is 16 here and 32 there"):
        export_runs([record, replace(other, recipe=small)], tmp_path / "third", say=quiet)
    assert not (tmp_path / "third").exists()


def test_timm_loads_a_model_of_the_folder_by_itself(exported):
    import timm

    module = timm.create_model(f"local-dir:{exported / 'model-1'}", pretrained=True)
    tensors = load_file(exported / "model-1" / "model.safetensors")
    assert all(torch.equal(value, tensors[key]) for key, value in module.state_dict().items())
    data = timm.data.resolve_model_data_config(module)
    assert (data["input_size"], data["crop_pct"]) == ((3, 32, 32), 1.0)
    assert json.loads((exported / "model-1" / "config.json").read_text())["label_names"] == list(CLASSES)


def test_a_folder_with_files_in_it_is_left_alone(record, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        export_runs([record], tmp_path / "mine", say=quiet)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_one_model_is_taken_by_its_name_and_another_name_is_refused(record, tmp_path):
    export = export_runs([record], tmp_path / "one", model="fold-1", say=quiet)
    assert [one.model for one in export.models] == ["fold-1"]
    with pytest.raises(DataError, match=r"no model 'fold-7'\. Did you mean 'fold-1'\? It has: fold-0, fold-1, full"):
        export_runs([record], tmp_path / "two", model="fold-7", say=quiet)


def test_a_damaged_model_is_not_exported(record, tmp_path):
    path = run_folder(record.run_id) / "models" / "full" / "last.safetensors"
    content = path.read_bytes()
    path.unlink()  # a hard link: never written into
    path.write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"The model full .* is not there, or was damaged"):
        export_runs([record], tmp_path / "out", say=quiet)
    assert not (tmp_path / "out").exists()


# What the command says.


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_the_commands_export_and_predict(record, tmp_path, kit):
    code, out, _ = kit("export", record.run_id[:12], tmp_path / "exported")
    assert code == 0
    assert "models    1, 3 classes, 32 px" in out
    code, out, err = kit("predict", tmp_path / "exported", *toy_files()[:2], "--out", tmp_path / "a.csv", "--top", 2)
    assert code == 0, err
    assert len(out.splitlines()) == 2
    assert out.splitlines()[0].startswith(f"{toy_files()[0]}  ")
    rows = rows_of(tmp_path / "a.csv")
    assert list(rows[0]) == ["path", "label", "problem", "probability_red", "probability_green", "probability_blue"]
    for row in rows:
        numbers = {name: np.float32(row[f"probability_{name}"]) for name in CLASSES}
        assert row["label"] == max(numbers, key=numbers.__getitem__)
        assert sum(numbers.values()) == pytest.approx(1, abs=1e-5)


def test_what_is_no_image_is_a_row_with_its_reason(exported, tmp_path, kit):
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.png").write_bytes(coloured_png("red", 1))
    (folder / "b.txt").write_text("no image")
    (folder / "deep" / "c\x1b[31m.png").write_bytes(coloured_png("red", 1)[:50])
    (folder / ".hidden").write_text("")
    code, out, err = kit("predict", exported, folder, tmp_path / "nowhere.png", "--out", tmp_path / "a.csv")
    assert code == 0
    assert "3 of 4 not read" in err
    rows = rows_of(tmp_path / "a.csv")
    assert [Path(row["path"]).name for row in rows] == ["a.png", "b.txt", "c\\x1b[31m.png", "nowhere.png"]
    assert [bool(row["label"]) for row in rows] == [True, False, False, False]
    assert "is not an image" in rows[1]["problem"]
    assert "No such file" in rows[3]["problem"]
    assert "\x1b" not in out
    assert out.count("not read: ") == 3


def test_nothing_but_files_that_cannot_be_read_ends_with_2(exported, tmp_path, kit):
    (tmp_path / "empty").mkdir()
    (tmp_path / "b.txt").write_text("no image")
    code, _, err = kit("predict", exported, tmp_path / "b.txt")
    assert (code, "None of 1 file could be read as an image. The first: " in err) == (2, True)
    code, _, err = kit("predict", exported, tmp_path / "empty")
    assert (code, "None of 0 files" in err) == (2, True)
    code, _, err = kit("predict", exported, tmp_path / "b.txt", "--test-views", "many")
    assert (code, "Known are single, mirror, lesson, dihedral" in err) == (2, True)


def test_what_is_not_there_is_said_before_anything_is_loaded(exported, record, tmp_path, kit):
    for arguments, expected in (
        (("predict", tmp_path / "missing", tmp_path), "there is no folder of this name"),
        (("predict", tmp_path, tmp_path), "it has no kit.json"),
        (("predict", exported, tmp_path / "missing"), "there is no such file or folder"),
        (("export", record.run_id, exported), "is there already"),
    ):
        code, _, err = kit(*arguments)
        assert (code, expected in err, "loading" in err) == (2, True, False), err


def test_files_are_sorted_and_each_is_there_once(tmp_path):
    for name in ("b/2.png", "b/1.png", "a/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    found = image_files([tmp_path / "b" / "2.png", tmp_path])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["b/2.png", "a/3.png", "b/1.png"]


def test_more_images_than_are_held_at_once_are_answered_in_order(exported, monkeypatch):
    monkeypatch.setattr("kit.export.answer.AT_ONCE", 4)
    whole = answers_of(exported, toy_files())
    assert [one.path for one in whole] == [str(path) for path in toy_files()]
    one_by_one = [answers_of(exported, [path])[0].probabilities for path in toy_files()]
    np.testing.assert_allclose([one.probabilities for one in whole], one_by_one, atol=1e-6)


@pytest.mark.parametrize("views", ["mirror", "lesson", "dihedral"])
def test_other_views_can_be_asked_for(exported, views):
    single = answers_of(exported, toy_files())
    found = answers_of(exported, toy_files(), test_views=views)
    difference = max(np.abs(a.probabilities - b.probabilities).max() for a, b in zip(single, found, strict=True))
    assert 1e-6 < difference < 0.5
    assert all(one.probabilities.sum() == pytest.approx(1, abs=1e-5) for one in found)


# Folders of strangers.


def describe(folder: Path, change) -> None:
    """Write kit.json again after `change(its contents)`."""
    path = folder / "kit.json"
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


def in_model(**changes):
    return lambda told: told["models"][0].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (in_model(folder="../model-1"), "a model's folder must be model-1"),
        (in_model(folder="model-1/../.."), "a model's folder must be model-1"),
        (in_model(architecture="evil.py:main"), "timm knows no network"),
        (in_model(architecture="hf-hub:someone/network"), "timm knows no network"),
        (in_model(architecture="local-dir:/tmp"), "timm knows no network"),
        (in_model(architecture=""), "must have an architecture with tensors"),
        (in_model(architecture="vit_giant_patch14_dinov2"), "does not fit"),
        (in_model(head="concat-pool"), "does not fit"),
        (in_model(std=[0, 1, 1]), "std > 0"),
        (in_model(crop_share=2), "in \\(0, 1\\]"),
        (in_model(sha256="0" * 64), "was changed or damaged"),
        (lambda told: told.update(models=[]), "1 to 1,000 models"),
        (lambda told: told.update(models=told["models"] * 2), "each in a folder of its own"),
        (lambda told: told.update(classes=["red", "green"]), "does not fit"),
        (lambda told: told.update(classes=["red", "green", "\x1b[2J"]), "printable"),
        (lambda told: told.update(image_size=10**6), "image_size must be between 8 and 2048"),
        (lambda told: told.update(store_size=10**6), "store_size must be between 8 and 4096"),
        (lambda told: told.update(seed=-1), "seed must be"),
        (lambda told: told.update(activation="exec"), "activation"),
        (lambda told: told.update(code="import os"), "unknown key 'code'"),
        (lambda told: told["augment"].update(transforms=[{"name": "CLAHE"}]), "augment.transforms must be empty"),
    ],
)
def test_a_folder_that_lies_is_refused(exported, change, message):
    describe(exported, change)
    with pytest.raises((DataError, WeightsError), match=message):
        open_export(exported, device=CPU)


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000, "\x00", '{"format": "other"}'])
def test_a_description_that_is_none_is_refused(exported, content):
    (exported / "kit.json").write_text(content)
    with pytest.raises(DataError, match=r"kit\.json"):
        read_export(exported)


def test_no_pickle_is_ever_opened(exported, tmp_path):
    target = exported / "model-1" / "model.safetensors"
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return ran.touch, ()

    torch.save({"fc.weight": Trap()}, target)
    describe(exported, in_model(sha256=sha256_of_file(target)))
    with pytest.raises(WeightsError, match="cannot be read"):
        open_export(exported, device=CPU)
    assert not ran.exists()


def test_a_network_that_answers_with_no_number_is_refused(exported):
    path = exported / "model-1" / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "fc.bias": torch.full((3,), float("nan"))}, path)
    describe(exported, in_model(sha256=sha256_of_file(path)))
    with pytest.raises(WeightsError, match="numbers that are none"):
        answers_of(exported, toy_files())


def test_a_folder_that_was_not_exported_says_how_one_is_made(tmp_path):
    with pytest.raises(DataError, match=r"it has no kit.json. `kit export RUN FOLDER` makes one"):
        open_export(tmp_path, device=CPU)


# ONNX.

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="the optional extra competition-kit[onnx] is not installed",
)
OWN = """\
from torch import nn

def tiny(num_classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
"""


@needs_onnx
def test_onnx_answers_from_stored_pixels_as_the_run_did(record, tmp_path):
    from kit.data.augment import central_view
    from kit.export.onnx import open_onnx
    from kit.store.decode import read_image

    export_runs([record], tmp_path / "exported", onnx=True, say=quiet)
    classify = open_onnx(tmp_path / "exported" / "model-1" / "model.onnx")
    files = toy_files()
    view = central_view(image_size=32, crop_share=1.0)
    images = np.stack([view([read_image(path)], [""], 0)[0] for path in files])
    expected = of_run(record, "test")
    found = classify(torch.from_numpy(images))
    np.testing.assert_allclose(found, [expected[id_of(str(path))] for path in files], atol=1e-4)


@needs_onnx
def test_a_network_of_ones_own_is_exported_as_onnx_alone(toy_competition, tmp_path):
    (tmp_path / "nets.py").write_text(OWN)
    name = f"{tmp_path / 'nets.py'}:tiny"
    slug = toy_competition(recipe=TOY_RECIPE.replace("resnet10t", name))
    _, made = run(slug, overrides=["num_folds=0"], say=quiet)
    with pytest.raises(ConfigError, match=r"code of your own, which an exported folder does not carry\. Give --onnx"):
        export_runs([made], tmp_path / "without", say=quiet)
    export_runs([made], tmp_path / "exported", onnx=True, say=quiet)
    (tmp_path / "nets.py").unlink()
    assert sorted(path.name for path in (tmp_path / "exported" / "model-1").iterdir()) == ["model.onnx"]
    expected = of_run(made, "test")
    for one in answers_of(tmp_path / "exported", toy_files()):
        np.testing.assert_allclose(one.probabilities, expected[id_of(one.path)], atol=1e-4)


@needs_onnx
def test_onnx_that_answers_differently_is_not_kept(tmp_path, monkeypatch):
    from kit.export import onnx
    from kit.train.model import own_network

    network = own_network(nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)))
    real = onnx.open_onnx
    monkeypatch.setattr(onnx, "open_onnx", lambda path: lambda images: real(path)(images) + 0.01)
    with pytest.raises(WeightsError, match=r"differs by 0\.01, and less than 0\.0001 is accepted"):
        onnx.write_onnx(tmp_path / "model.onnx", network, activation="softmax", image_size=32)
    assert not list(tmp_path.iterdir())


@needs_onnx
def test_onnx_that_wants_other_files_is_refused(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    from kit.export.onnx import open_onnx

    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="../../etc/passwd")
    value = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Constant", [], ["probabilities"], value=outside)], "g", [], [value])
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    with pytest.raises(WeightsError, match="wants tensors from other files, first 'w'"):
        open_onnx(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(WeightsError, match="cannot be read as ONNX"):
        open_onnx(tmp_path / "model.onnx")


def test_without_the_extra_onnx_says_how_to_get_it(record, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"pip install 'competition-kit\[onnx\]'"):
        export_runs([find_record(record.run_id)], tmp_path / "out", onnx=True, say=quiet)
    assert not (tmp_path / "out").exists()
