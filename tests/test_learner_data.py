"""`kit.load` and `Data`: the images of a competition in a notebook, which folds are held out, and pictures of them."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from toys import COLOURS, TOY_RECIPE, coloured_png, make_toy_competition, write_files

import kit
from kit.errors import ConfigError, DataError, KitError, WeightsError
from kit.plan import plan_run

ROOT = Path(__file__).parent.parent
WAYS = ["from_csv", "from_folder", "from_lists", "from_name_func", "from_name_re"]
NAMES = ["Data", "KitError", "Learner", "OwnRun", *WAYS, "load", "run_own"]


def quiet(line: str) -> None:
    """Say nothing."""


def own(folder: Path, **settings: object) -> kit.Data:
    return kit.from_folder(folder, **{"size": 32, "say": quiet, **settings})  # type: ignore[arg-type]


@pytest.fixture
def images(tmp_path) -> Path:
    """36 images in three folders, blue, green and red."""
    files = {f"{name}/{k}.png": coloured_png(name, 100 * c + k) for c, name in enumerate(COLOURS) for k in range(12)}
    return write_files(tmp_path / "images", {path: data for path, data in files.items() if "grey" not in path})


def in_a_fresh_python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    return done.stdout.strip()


def test_importing_kit_imports_nothing_heavy_and_dir_shows_its_names():
    code = "import sys, kit; print(len([m for m in sys.modules if m.startswith('kit.')]), 'numpy' in sys.modules); "
    first, *names = in_a_fresh_python(code + "print(*dir(kit))").split("\n")
    assert first == "0 False"
    assert set(NAMES) <= set(names[0].split())


def test_making_data_imports_no_torch(images):
    code = f"import sys, kit; kit.from_folder({str(images)!r}, size=32); print('torch' in sys.modules)"
    assert in_a_fresh_python(code).endswith("False")


def test_a_name_that_kit_has_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'kit' has no attribute 'lode'"):
        kit.lode  # noqa: B018


def test_the_stub_for_editors_has_the_names_that_kit_has():
    stub = (ROOT / "kit" / "__init__.pyi").read_text(encoding="utf-8")
    assert sorted(re.findall(r"import (\w+) as \1", stub)) == sorted(NAMES)


def test_a_script_of_a_user_passes_mypy_strict(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(
        "from pathlib import Path\n\nimport kit\n\n"
        "data = kit.load('pets', size=224)\n"
        "own: kit.Data = kit.from_name_re(Path('images'), r'/([^/]+)_\\d+.jpg$', valid_pct=0.2)\n"
        "names: tuple[str, ...] = data.classes\n"
        "if (held_out := own.fold(1).valid) is not None:\n"
        "    print(held_out['label'].nunique(), names, data.c + len(own.train))\n"
        "data.show_batch(rows=3).savefig('batch.png')\n"
        "reveal_type(data)\n"
        "kit.load('pets', size='large')\n",
        encoding="utf-8",
    )
    # With the repository's settings and cache: without them a run would look through torch anew.
    done = subprocess.run([sys.executable, "-m", "mypy", str(script)], capture_output=True, text=True, cwd=ROOT)
    said = [line.partition("mine.py:")[2] for line in done.stdout.splitlines() if "mine.py:" in line]
    assert said == [
        '11: note: Revealed type is "kit.learner.data.Data"',
        '12: error: Argument "size" to "load" has incompatible type "str"; expected "int | None"  [arg-type]',
    ]


def test_load_gives_the_images_of_a_competition_with_fold_0_held_out(toy_competition):
    data = kit.load(toy_competition(), folds=3, say=quiet)
    assert (data.classes, data.c, data.several, data.size) == (("red", "green", "blue"), 3, False, 32)
    assert (len(data), len(data.train), len(data.test)) == (18, 12, 6)
    assert data.valid_folds == (0,)
    assert data.valid is not None
    assert data.valid["label"].value_counts().to_dict() == {"red": 2, "green": 2, "blue": 2}
    assert not set(data.valid["image_id"]) & set(data.train["image_id"])
    assert (data.path / data.train["path"][0]).is_file()
    assert len(data.pack) == 24


def test_load_has_the_folds_that_kit_run_has(toy_competition):
    slug = toy_competition()
    planned = plan_run(slug, overrides=["num_folds=4"], say=quiet)
    pd.testing.assert_frame_equal(kit.load(slug, folds=4, say=quiet).plan.train, planned.train)


def test_another_fold_is_another_data_and_this_one_stays(toy_competition):
    data = kit.load(toy_competition(), folds=3, say=quiet)
    other = data.fold(2)
    assert (data.valid_folds, other.valid_folds) == ((0,), (2,))
    assert other.valid is not None
    assert other.valid["fold"].unique().tolist() == [2]
    with pytest.raises(ConfigError, match=r"no fold 3 of toy\. They are numbered 0 to 2"):
        data.fold(3)


def test_folds_0_hold_nothing_out(toy_competition):
    data = kit.load(toy_competition(), folds=0, say=quiet)
    assert (data.valid, data.valid_folds, len(data.train)) == (None, (), 18)
    with pytest.raises(ConfigError, match="Nothing is held out"):
        data.fold(0)
    assert len(kit.load("toy", folds=0, protocol="folds", say=quiet).train) == 24  # which has no test images either


def test_without_a_word_on_folds_the_protocol_or_five_decide(toy_competition):
    slug = toy_competition(recipe=TOY_RECIPE.replace("num_folds = 2", "num_folds = 0"))
    assert kit.load(slug, say=quiet).plan.recipe.num_folds == 5
    assert kit.load(slug, protocol="folds", say=quiet).plan.recipe.num_folds == 5


def test_a_size_takes_the_stored_size_with_it(toy_competition):
    recipe = TOY_RECIPE.replace("store_size = 32", "store_size = 40")
    data = kit.load(toy_competition(recipe=recipe), size=64, bs=4, say=quiet)
    assert (data.size, data.recipe.input.store_size, data.recipe.schedule.batch_size) == (64, 80, 4)


def test_a_batch_that_memory_decides_waits_for_the_network(toy_competition):
    data = kit.load(toy_competition(), overrides=['schedule.batch_size="auto"'], say=quiet)
    assert data.recipe.schedule.is_automatic
    assert data.plan.recipe.schedule.batch_size == 32


def test_data_needs_no_weights_until_a_network_is_chosen(toy_competition):
    data = kit.load(toy_competition(), overrides=["model.weights=auto"], say=quiet)
    assert data.recipe.model.weights == "auto"
    with pytest.raises(WeightsError, match="KIT_WEIGHTS"):
        data.with_recipe(data.recipe)


def test_another_recipe_has_the_same_folds_whatever_its_seed_and_another_run_id(toy_competition):
    data = kit.load(toy_competition(), protocol="random", folds=3, say=quiet).fold(1)
    other = data.with_recipe(replace(data.recipe, seed=7, num_folds=5))
    pd.testing.assert_frame_equal(other.plan.samples.table, data.plan.samples.table)
    pd.testing.assert_frame_equal(other.plan.train, data.plan.train)
    assert (other.valid_folds, other.recipe.seed, other.recipe.num_folds) == ((1,), 7, 3)
    assert other.plan.run_id != data.plan.run_id
    assert data.with_recipe(data.recipe).plan.run_id == data.with_recipe(data.recipe).plan.run_id
    assert (
        data.with_recipe(data.recipe).plan.run_id
        == plan_run("toy", protocol="random", overrides=["num_folds=3"], say=quiet).run_id
    )


def test_by_time_nothing_is_learned_from_what_came_later(tmp_path, monkeypatch):
    folder = make_toy_competition(
        tmp_path, replace=[('[labels]\nrule = "folder"', '[folds]\nby = "time"\n\n[labels]\nrule = "adapter"')]
    )
    (folder / "adapter.py").write_text(
        "def train_samples(data_dir):\n"
        "    found = sorted(data_dir.glob('*/*/*.png'))\n"
        "    names = [p.relative_to(data_dir).as_posix() for p in found]\n"
        "    return {'path': names, 'label': [p.parent.name for p in found], 'time': [p.stem for p in found]}\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("KIT_COMPETITIONS", str(tmp_path / "competitions"))
    monkeypatch.setenv("KIT_MIRROR", str(tmp_path / "mirror"))
    data = kit.load("toy", folds=2, say=quiet)
    assert data.valid is not None
    assert data.train["time"].max() < data.valid["time"].min()
    assert sorted(data.train["fold"].unique()) == [-1]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": "big"}, "size must be a whole number, got 'big'"),
        ({"size": 2.5}, "size must be a whole number, got 2.5"),
        ({"size": 3}, "image_size must be between 8 and 2048, got 3"),
        ({"bs": 0}, "bs must be at least 1, got 0"),
        ({"folds": 1}, "num_folds must be 0 .* or from 2 to 1000, got 1"),
        ({"folds": 3, "valid_fold": 3}, "no fold 3"),
        ({"folds": 3, "valid_fold": "first"}, "no fold 'first'"),
        ({"seed": -1}, "seed must be between 0"),
        ({"protocol": "offical"}, "Did you mean 'official'"),
        ({"recipe": "basline"}, "Did you mean 'baseline'"),
        ({"source": "locale"}, "Did you mean 'local'"),
        ({"folds": 30}, "cannot be parted into 30 folds"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_one_paragraph(toy_competition, settings, said):
    with pytest.raises(KitError, match=said) as caught:
        kit.load(toy_competition(), say=quiet, **settings)
    assert "\n" not in str(caught.value)


def test_the_second_call_reads_no_image_again_and_the_findings_are_kept(images, own_home, monkeypatch):
    said: list[str] = []
    own(images, say=said.append)
    assert said == [f"reading labels and files of {own(images).competition.slug}"]
    kept = sorted(own_home.glob("tables/*/findings-*.json"))
    assert [json.loads(path.read_text(encoding="utf-8")) for path in kept] == [[]]
    found = {"kind": "odd", "severity": "note", "message": "m", "image_ids": ["a"], "details": {}, "proposed": []}
    kept[0].write_text(json.dumps([found]), encoding="utf-8")
    assert own(images).findings[0].image_ids == ("a",)  # it was read, not found
    kept[0].write_text("[{", encoding="utf-8")
    assert own(images).findings == ()  # only a memory


def test_changed_images_are_looked_at_anew(images):
    assert own(images).findings == ()
    (images / "red" / "0.png").write_bytes(b"no image")
    assert [one.kind for one in own(images).findings] == ["unreadable"]


def test_findings_are_said_and_those_that_stop_a_run_stop_training(images):
    write_files(images, {"red/broken.png": b"no image"})
    said: list[str] = []
    data = own(images, say=said.append)
    assert said[-1].startswith("stop: 1 image is unreadable: red/broken")
    with pytest.raises(DataError, match=r"has 1 fault that .* red/broken .* out by rows in .*fixes.*csv") as caught:
        data.check()
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="unreadable"):  # nothing can be learned from it, whatever one wishes
        own(images, despite_findings=True).check()


def test_a_fault_that_is_no_broken_file_can_be_overridden(images, own_home):
    assert own(images).findings == ()
    (kept,) = own_home.glob("tables/*/findings-*.json")
    found = {"kind": "copies", "severity": "stop", "message": "m", "image_ids": ["a"], "details": {}, "proposed": []}
    kept.write_text(json.dumps([found]), encoding="utf-8")
    with pytest.raises(DataError, match="despite_findings=True trains all the same"):
        own(images).check()
    own(images, despite_findings=True).check()


def test_a_row_of_fixes_leaves_an_image_out(images, own_home):
    write_files(images, {"red/broken.png": b"no image"})
    slug = own(images).competition.slug
    row = "image_id,action,label,who,when,why\nred/broken,drop,,,,broken\n"
    write_files(own_home / "fixes", {f"{slug}.csv": row.encode()})
    data = own(images)
    data.check()
    assert len(data) == 36


def test_data_says_what_it_is_in_a_terminal_and_in_a_notebook(images):
    data = own(images)
    assert repr(data).splitlines() == [
        f"Data({data.competition.slug})",
        "  images: 36",
        f"  train: {len(data.train)} images",
        f"  held out: {36 - len(data.train)} images (fold 0 of 5, counted from 0)",
        "  classes: 3: blue, green, red",
        "  size: 32 x 32 pixels, batches of 32",
        "  found: nothing",
        f"  folder: {images}",
    ]
    assert "<td style='text-align:left'>3: blue, green, red</td>" in data._repr_html_()


def test_names_of_classes_are_escaped_on_the_page(images):
    evil = "<script>alert(1)</script>"
    data = kit.from_name_func(images, lambda path: evil if path.parent.name == "red" else "b", size=32, say=quiet)
    assert evil in data.classes
    assert "<script>" not in data._repr_html_() and "&lt;script&gt;" in data._repr_html_()


def test_the_table_of_folds_counts_the_images_of_each_class(images):
    table = own(images, folds=3).show_folds()
    assert table["held out"].tolist() == [True, False, False]
    assert table[["images", "blue", "green", "red"]].to_numpy().tolist() == [[12, 4, 4, 4]] * 3
    assert own(images, folds=0).show_folds().loc["all"].tolist() == [False, 36, 12, 12, 12]


LONG = [f"a class of a rather long name_number {k} of thirty-seven" for k in range(37)]


@pytest.mark.parametrize("figsize", [None, (10, 10), (5, 5)])
@pytest.mark.parametrize("names", [["cat", "dog"], LONG, ["$x^2$", "w" * 60]])
def test_titles_of_a_batch_stay_in_the_figure_and_off_each_other(images, figsize, names):
    number = {path: k for k, path in enumerate(sorted(images.rglob("*.png")))}
    data = kit.from_name_func(images, lambda path: names[number[path] % len(names)], size=32, folds=0, say=quiet)
    figure = data.show_batch(rows=3, figsize=figsize)
    figure.draw_without_rendering()
    boxes = [axis.title.get_window_extent() for axis in figure.axes]
    width, height = figure.get_size_inches() * figure.dpi
    assert len(boxes) == 9
    assert all(min(box.x0, box.y0) >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)
    assert not any(one.overlaps(other) for k, one in enumerate(boxes) for other in boxes[:k])
    assert {axis.title.get_fontsize() for axis in figure.axes} == {11}


def test_a_batch_is_of_training_images_as_the_network_sees_them(images):
    from kit.data.augment import training_view

    data = own(images)
    figure = data.show_batch(rows=2)
    views = {tuple(axis.images[0].get_array().ravel()): axis.get_title() for axis in figure.axes}
    view = training_view(data.recipe.augment, image_size=32, seed=1)
    ids = data.train["image_id"].tolist()
    seen = view([data.pack.image(data.pack.row_of[one]) for one in ids], ids, 1)
    known = {tuple(one.ravel()): label for one, label in zip(seen, data.train["label"], strict=True)}
    assert len(views) == 4 and views.items() <= known.items()
    other = data.show_batch(rows=2, epoch=2)
    assert not {tuple(axis.images[0].get_array().ravel()) for axis in other.axes} & set(views)


def test_a_batch_of_few_images_has_as_many_pictures_as_there_are(tmp_path):
    files = {f"{name}/{k}.png": coloured_png(name, k) for name in ("red", "blue") for k in range(2)}
    data = own(write_files(tmp_path / "few", files), folds=2)
    assert sum(bool(axis.images) for axis in data.show_batch(rows=3).axes) == 2


@pytest.mark.parametrize("rows", [0, 21, "three", True])
def test_a_number_of_rows_that_is_none_is_refused(images, rows):
    with pytest.raises(ConfigError, match="rows must be a whole number from 1 to 20"):
        own(images).show_batch(rows=rows)


@pytest.mark.real
def test_the_pets_are_loaded_with_their_breeds(test_data):
    data = kit.load("pets", size=128, source="subset", mirror=test_data / "data", say=quiet)
    assert (data.c, len(data), len(data.test), data.size) == (37, 1589, 1341, 128)
    assert data.valid is not None
    assert len(data.valid) == 318
    assert [one.kind for one in data.findings] == ["duplicates-train-test", "duplicates-within", "file-fact-leak"]
    assert len(data.show_batch(rows=3).axes) == 9
