"""Five ways to label images of one's own in Python: by folder, pattern, function, CSV and lists."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import COLOURS, coloured_png, write_files

import kit
from kit.cli.new import new
from kit.competition import load_competition
from kit.errors import CompetitionError, ConfigError, DataError, KitError
from kit.learner.collection import parts_of

NAMES = ("red", "green", "blue")


def quiet(line: str) -> None:
    """Say nothing."""


SMALL = {"size": 32, "say": quiet}


@pytest.fixture
def images(tmp_path) -> Path:
    """36 images, `red/red_0.png` and so on."""
    files = {f"{n}/{n}_{k}.png": coloured_png(n, 100 * c + k) for c, n in enumerate(NAMES) for k in range(12)}
    return write_files(tmp_path / "images", files)


def labels_of(data: kit.Data) -> dict[str, str]:
    return dict(zip(data.plan.train["path"], data.plan.train["label"], strict=True))


def held_out(data: kit.Data) -> list[str]:
    assert data.valid is not None
    return sorted(data.valid["path"])


def test_five_ways_to_the_same_labels_hold_out_the_same_images(images):
    paths = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))
    rows = "".join(f"{path},{path.split('/')[0]}\n" for path in paths)
    (images / "labels.csv").write_text(f"name,label\n{rows}", encoding="utf-8")
    ways = [
        kit.from_folder(images, **SMALL),
        kit.from_name_re(images, r"/([^/]+)_\d+.png$", **SMALL),
        kit.from_name_func(images, lambda path: path.parent.name, **SMALL),
        kit.from_csv(images, **SMALL),
        kit.from_lists([images / path for path in paths], [path.split("/")[0] for path in paths], **SMALL),
    ]
    expected = {path: path.split("/")[0] for path in paths}
    for data in ways:
        assert labels_of(data) == expected
        assert data.classes == ("blue", "green", "red")
        assert held_out(data) == held_out(ways[0])
        assert data.path == images
    assert sorted(path.name for path in images.iterdir()) == ["blue", "green", "labels.csv", "red"]  # nothing was added


@pytest.mark.parametrize("seed", [1, 5])
def test_the_same_fold_is_held_out_as_by_kit_new_and_kit_load(images, tmp_path, monkeypatch, capsys, seed):
    monkeypatch.chdir(tmp_path)
    new("colours", from_=images)
    loaded = kit.load("colours", size=32, folds=5, seed=seed, say=quiet)
    mine = kit.from_folder(images, folds=5, seed=seed, **SMALL)
    for k in range(5):
        assert held_out(loaded.fold(k)) == held_out(mine.fold(k))
    assert loaded.classes == mine.classes


def test_the_patterns_of_lessons_match_whether_the_folder_is_given_or_the_one_above(images):
    flat = {f"great_dane_{k}.jpg": coloured_png("red", k) for k in range(6)}
    flat |= {f"pug_{k}.jpg": coloured_png("blue", k) for k in range(6)}
    folder = write_files(images.parent / "pets" / "images", flat)
    for path in (folder, folder.parent):
        data = kit.from_name_re(path, r"/([^/]+)_\d+.jpg$", **SMALL)
        assert data.classes == ("great_dane", "pug")


def test_a_pattern_may_name_its_group(images):
    data = kit.from_name_re(images, r"(\w+)/(?P<label>\w+)_\d", **SMALL)
    assert data.classes == ("blue", "green", "red")


def test_a_function_is_given_the_whole_path_of_a_file_that_is_there(images):
    seen = []

    def label(path: Path) -> str:
        seen.append(path)
        return "warm" if "/red/" in str(path) else "cold"

    assert kit.from_name_func(images, label, **SMALL).classes == ("cold", "warm")
    assert all(path.is_absolute() and path.is_file() for path in seen)


def test_folders_train_and_valid_part_the_images(images, tmp_path):
    files = {
        f"{'valid' if k % 3 == 0 else 'train'}/{name}/{k}.png": coloured_png(name, 50 * c + k)
        for c, name in enumerate(NAMES)
        for k in range(6)
    }
    said: list[str] = []
    folder = write_files(tmp_path / "parted", {**files, "test/x.png": coloured_png("red", 99)})
    data = kit.from_folder(folder, size=32, say=said.append)
    assert data.classes == ("blue", "green", "red")
    assert held_out(data) == sorted(path for path in files if path.startswith("valid/"))
    assert said[0] == "6 images of valid/ are held out, those of train/ train"
    dealt = kit.from_folder(folder, valid_pct=0.5, **SMALL)
    assert {path.split("/")[0] for path in held_out(dealt)} == {"train", "valid"}


@pytest.mark.parametrize(
    ("share", "parts"),
    [(0.2, (1, 5)), (0.25, (1, 4)), (0.3, (3, 10)), (1 / 3, (1, 3)), (0.5, (1, 2)), (0.15, (3, 20)), (0.01, (1, 100))],
)
def test_a_share_is_so_many_of_so_many_folds(share, parts):
    assert parts_of(share) == parts


@given(st.floats(min_value=0.001, max_value=0.999))
def test_the_parts_of_any_share_are_near_it_and_leave_something_on_both_sides(share):
    held, count = parts_of(share)
    assert 0 < held < count <= 1000
    assert abs(held / count - share) <= max(0.05, share / 20)


def test_a_share_holds_out_that_share_of_each_class(images):
    data = kit.from_folder(images, valid_pct=0.25, **SMALL)
    assert data.valid is not None
    assert data.valid["label"].value_counts().to_dict() == {"red": 3, "green": 3, "blue": 3}
    data = kit.from_folder(images, valid_pct=2 / 3, **SMALL)
    assert data.valid_folds == (0, 1)
    assert data.valid is not None
    assert len(data.valid) == 24


@pytest.mark.parametrize("group", [r"_(?P<group>\d)\d?\.png", lambda path: path.stem.split("_")[1][0]])
def test_images_of_one_group_are_never_parted(images, group):
    data = kit.from_folder(images, group=group, valid_pct=0.5, **SMALL)
    first_digits = [{path.rsplit("_", 1)[1][0] for path in paths} for paths in (held_out(data), data.train["path"])]
    assert not first_digits[0] & first_digits[1]


def test_a_group_may_be_a_column_of_the_csv(images):
    paths = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))
    rows = "".join(f"{path},{path[0]},patient {k % 7}\n" for k, path in enumerate(paths))
    (images / "labels.csv").write_text(f"name,label,patient\n{rows}", encoding="utf-8")
    data = kit.from_csv(images, group="patient", folds=3, **SMALL)
    assert data.valid is not None
    assert not set(data.valid["group"]) & set(data.train["group"])


def test_a_csv_names_its_columns_its_folder_and_its_suffix(images, tmp_path):
    rows = "".join(f"{name}_{k};x;{name}\n" for name in NAMES for k in range(12))
    (tmp_path / "elsewhere.csv").write_text(f"id;other;what\n{rows}", encoding="utf-8")
    data = kit.from_csv(
        images,
        tmp_path / "elsewhere.csv",
        label_column="what",
        delimiter=";",
        folder="{what}",
        suffix=".png",
        **SMALL,
    )
    assert labels_of(data)["red/red_3.png"] == "red"


def test_a_separator_makes_images_with_several_labels(images):
    paths = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))
    rows = "".join(f"{path},{('haze', 'clear water', '')[k % 3]}\n" for k, path in enumerate(paths))
    (images / "labels.csv").write_text(f"name,tags\n{rows}", encoding="utf-8")
    data = kit.from_csv(images, separator=" ", **SMALL)
    assert (data.several, data.classes, data.competition.metric) == (True, ("clear", "haze", "water"), "mean_f1")
    row = data.plan.train[data.plan.train["path"] == paths[1]].iloc[0]
    assert [row["target_clear"], row["target_haze"], row["target_water"]] == [1, 0, 1]
    assert data.show_folds()[["haze", "clear"]].sum().tolist() == [12, 12]
    assert "(no label)" in {axis.get_title() for axis in data.show_batch(rows=4).axes}


def test_lists_of_labels_make_images_with_several_labels(images):
    paths = sorted(images.rglob("*.png"))
    data = kit.from_lists(paths, [("a", "b") if k % 2 else {"b"} for k in range(36)], **SMALL)
    assert (data.several, data.classes) == (True, ("a", "b"))


def test_numbers_are_labels_too_in_their_own_order(images):
    paths = sorted(images.rglob("*.png"))
    assert kit.from_lists(paths, [(2, 10, 1)[k % 3] for k in range(36)], **SMALL).classes == ("1", "2", "10")


def test_relative_paths_of_lists_are_below_the_folder_or_the_current_one(images, monkeypatch):
    paths = [path.relative_to(images) for path in sorted(images.rglob("*.png"))]
    labels = [path.parent.name for path in paths]
    below = kit.from_lists(paths, labels, path=images, **SMALL)
    monkeypatch.chdir(images)
    assert labels_of(kit.from_lists(paths, labels, **SMALL)) == labels_of(below)


def test_labels_decide_what_is_kept_under_a_name(images):
    a = kit.from_name_func(images, lambda path: path.parent.name, name="mine", **SMALL)
    b = kit.from_name_func(images, lambda path: path.stem[-1], name="mine", folds=2, **SMALL)
    assert a.plan.samples.fingerprint != b.plan.samples.fingerprint
    assert a.competition.slug != b.competition.slug and a.competition.slug.startswith("mine-")


def test_two_folders_of_one_name_are_two_collections(images, tmp_path):
    other = write_files(
        tmp_path / "else" / "images", {f"{n}/{k}.png": coloured_png(n, k) for n in NAMES for k in range(5)}
    )
    slugs = {kit.from_folder(folder, **SMALL).competition.slug for folder in (images, other)}
    assert len(slugs) == 2


def test_an_adapter_among_the_images_is_not_run(images):
    (images / "adapter.py").write_text("raise SystemExit('run')", encoding="utf-8")
    assert len(kit.from_folder(images, **SMALL)) == 36


def test_a_recipe_may_be_given_with_changes(images, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[augment]\nrotate_degrees = 10\n", encoding="utf-8")
    data = kit.from_folder(images, recipe=file, overrides=["augment.mirror=false"], bs=8, **SMALL)
    assert (data.recipe.augment.rotate_degrees, data.recipe.augment.mirror) == (10, False)
    again = kit.from_folder(images, recipe=data.recipe, **SMALL)
    assert (again.recipe.augment.mirror, again.recipe.schedule.batch_size) == (False, 8)


def fails(error: type[KitError], match: str, function: object, *given: object, **settings: object) -> None:
    with pytest.raises(error, match=match) as caught:
        function(*given, **{**SMALL, **settings})  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_none_is_refused(images, tmp_path):
    (tmp_path / "empty").mkdir()
    fails(DataError, "is not there", kit.from_folder, tmp_path / "absent")
    fails(DataError, r"seen from", kit.from_folder, "absent")
    fails(DataError, "is a file, not a folder", kit.from_folder, images / "red" / "red_0.png")
    fails(DataError, "No image file matches", kit.from_folder, tmp_path / "empty")
    fails(DataError, "12 of 12 images lie in .* itself", kit.from_folder, images / "red")


def test_a_pattern_that_gives_no_label_is_refused(images):
    fails(DataError, r"'zzz\(.\)' gives no label for 36 of 36 images", kit.from_name_re, images, "zzz(.)")
    fails(ConfigError, "marks no label", kit.from_name_re, images, "red")
    fails(ConfigError, "not a regular expression: missing", kit.from_name_re, images, "(red")
    fails(ConfigError, "not a regular expression", kit.from_name_re, images, None)


def test_a_function_that_fails_is_refused_with_the_image(images):
    fails(DataError, r"blue_0\.png with ZeroDivisionError: division", kit.from_name_func, images, lambda path: 1 / 0)
    fails(DataError, "The function gives no label for 36", kit.from_name_func, images, lambda path: None)
    fails(DataError, "groups images failed", kit.from_folder, images, group=lambda path: path.x)
    fails(DataError, "`group` gives nothing for 36", kit.from_folder, images, group="(zzz)")


def test_lists_that_do_not_fit_are_refused(images):
    paths = sorted(images.rglob("*.png"))
    fails(DataError, "36 paths but 35 labels", kit.from_lists, paths, ["a"] * 35)
    fails(DataError, "lists are empty", kit.from_lists, [], [])
    fails(DataError, "gives no label for 18 of 36", kit.from_lists, paths, ["a", float("nan")] * 18)
    fails(DataError, "no folder in common", kit.from_lists, ["/etc/hosts", "/usr/x.png"], ["a", "b"])
    fails(DataError, "do not lie below", kit.from_lists, ["../x.png", "y.png"], ["a", "b"], path=images)


def test_one_class_is_nothing_to_learn(images):
    fails(DataError, "with one class only", kit.from_name_func, images, lambda path: "image")


def test_class_names_that_tables_and_pages_misread_are_refused(images):
    fails(DataError, "cannot name a class", kit.from_name_func, images, lambda path: f" {path.parent.name}")
    fails(DataError, "cannot name a class", kit.from_name_func, images, lambda path: f"{path.parent.name}\n")


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, "a fifth", True, float("nan")])
def test_a_share_that_leaves_nothing_on_one_side_is_refused(images, share):
    fails(ConfigError, "valid_pct must be a number between 0 and 1", kit.from_folder, images, valid_pct=share)


def test_more_folds_than_images_of_any_class_are_refused(images):
    fails(DataError, "largest class has 12 images", kit.from_folder, images, folds=13)
    fails(DataError, "36 images cannot be parted into 37 folds", kit.from_folder, images, folds=37)
    fails(ConfigError, "folds must be a whole number", kit.from_folder, images, folds="five")


def test_copies_of_one_picture_are_one_group_and_cannot_be_dealt(tmp_path):
    folder = write_files(tmp_path / "same", {f"{n}/{k}.png": coloured_png("red", 1) for n in "ab" for k in range(8)})
    fails(DataError, r"1 groups \(copies of one picture are one\) cannot be parted", kit.from_folder, folder)


def test_a_vehicle_called_train_is_a_class_like_others(tmp_path):
    files = {f"{n}/{k}.png": coloured_png("red", 10 * c + k) for c, n in enumerate(("train", "bus")) for k in range(5)}
    assert kit.from_folder(write_files(tmp_path / "vehicles", files), **SMALL).classes == ("bus", "train")


def test_a_class_that_is_smaller_than_the_folds_is_told(images, tmp_path):
    for path in sorted((images / "red").iterdir())[3:]:
        path.unlink()
    said: list[str] = []
    kit.from_folder(images, folds=5, size=32, say=said.append)
    assert said[-1].startswith("warn: 1 of 3 classes have fewer training images than there are folds (5): red (3)")


def test_rows_without_a_file_are_refused(images):
    (images / "labels.csv").write_text("name,label\nred/red_0.png,a\nred/red_99.png,b\n", encoding="utf-8")
    fails(DataError, r"1 of 2 labelled images are not in .*, first red/red_99\.png", kit.from_csv, images)
    (images / "labels.csv").write_text("name,label\n../x.png,a\n/etc/passwd,b\n", encoding="utf-8")
    fails(DataError, r"2 of 2 images do not lie below .*/etc/passwd", kit.from_csv, images)


def test_two_labels_of_one_image_are_refused(images):
    rows = "red/red_0.png,a\nred/red_1.png,b\nred/red_0.png,b\n"
    (images / "labels.csv").write_text(f"name,label\n{rows}", encoding="utf-8")
    fails(DataError, r"red/red_0\.png has 2 labels: a, b", kit.from_csv, images)
    rows = "red/red_0.png,a\nred/red_1.png,b\nred/red_0.png,a\n"
    (images / "labels.csv").write_text(f"name,label\n{rows}", encoding="utf-8")
    fails(DataError, r"named more than once: red/red_0\.png", kit.from_csv, images)


def test_two_files_of_one_name_are_refused(images):
    (images / "red" / "red_0.jpg").write_bytes(coloured_png("red", 7))
    fails(DataError, "differ in the suffix alone", kit.from_folder, images)


def test_a_csv_that_is_no_table_of_labels_is_refused(images):
    fails(DataError, "There is no file labels.csv", kit.from_csv, images)
    (images / "labels.csv").write_text("name;label\nred/red_0.png;a\n", encoding="utf-8")
    fails(DataError, "one column .*delimiter", kit.from_csv, images)
    (images / "labels.csv").write_text("name,label\nred/red_0.png,\nred/red_1.png,b\n", encoding="utf-8")
    fails(DataError, "1 of 2 rows have no 'label'", kit.from_csv, images)
    fails(DataError, "lacks the column 'breed'", kit.from_csv, images, label_column="breed")
    fails(DataError, "lacks the column 'patient'", kit.from_csv, images, group="patient")


def test_a_name_that_is_taken_or_none_is_refused(images):
    assert load_competition("pets")
    fails(CompetitionError, r"kit\.load\('pets'\) gives its images", kit.from_folder, images, name="pets")
    fails(CompetitionError, "cannot name a competition", kit.from_folder, images, name="../mine")


def test_files_that_are_no_images_are_told_at_once_and_stop_the_pack(tmp_path):
    files = {f"{name}/{k}.jpg": f"<html>{name} {k}</html>".encode() for name in COLOURS for k in range(4)}
    folder = write_files(tmp_path / "pages", files)
    said: list[str] = []
    data = kit.from_folder(folder, folds=2, size=32, say=said.append)
    assert any(line.startswith("stop: 16 images are unreadable") for line in said)
    with pytest.raises(DataError, match=r"16 of 16 images .* cannot be decoded"):
        data.show_batch()
