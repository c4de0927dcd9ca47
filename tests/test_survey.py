"""What a look at images shows: labels, split, metric, sizes; and what it refuses."""

import csv
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import coloured_png, write_files

from kit.competition import read_competition
from kit.data.labelling import label_images
from kit.errors import ConfigError, DataError, KitError
from kit.scaffold.draft import write_draft
from kit.scaffold.survey import survey

PNG = coloured_png("red", 1)


def drafted(found, root: Path):
    """Write the competition that a survey proposes, read it as any other, and return it with its labelled table."""
    competition = read_competition(write_draft(found, slug="mine", folder=root / "competitions"))
    return competition, label_images(competition, found.data, competition.labels)


def labels_of(table):
    return dict(zip(table["path"], table["label"], strict=True))


def images(*paths: str) -> dict[str, bytes]:
    return dict.fromkeys(paths, PNG)


def numbered(pattern: str, count: int) -> list[str]:
    return [pattern.format(k) for k in range(count)]


def csv_bytes(*rows, delimiter=",") -> bytes:
    return "".join(f"{delimiter.join(map(str, row))}\n" for row in rows).encode()


def made(root: Path, files: dict[str, bytes]) -> Path:
    return write_files(root / "data", files)


# By folder.


def test_a_folder_of_class_folders(tmp_path):
    data = made(tmp_path, images(*numbered("cat/{}.png", 6), *numbered("big dog/{}.png", 7)))
    found = survey(data)
    competition, table = drafted(found, tmp_path)
    assert competition.classes == ("big dog", "cat")
    assert labels_of(table) == {p.relative_to(data).as_posix(): p.parent.name for p in data.rglob("*.png")}
    assert (competition.default_protocol, list(competition.protocols)) == ("five-fold", ["five-fold"])
    assert competition.protocol().num_test == 13
    assert competition.source().folder == str(data)
    assert competition.metric == "accuracy"
    assert competition.recipe().input.image_size == 32  # the images are 20 x 24
    assert competition.recipe().augment.mirror


@pytest.mark.parametrize("test", ["valid", "val", "test"])
def test_train_and_a_labelled_other_side_are_the_official_split(tmp_path, test):
    data = made(tmp_path, images(*numbered("train/a/{}.png", 6), *numbered("train/b/{}.png", 6), f"{test}/a/9.png"))
    competition, table = drafted(survey(data), tmp_path)
    assert len(table) == 13
    assert (competition.official_split.train, competition.official_split.test) == ("train", test)
    assert competition.default_protocol == "official"
    assert competition.protocol().num_test == 1
    assert competition.protocol("five-fold").num_test == 13


def test_a_test_folder_without_class_folders_is_to_be_predicted(tmp_path):
    data = made(
        tmp_path,
        images(*numbered("x/train/a/{}.png", 6), *numbered("x/train/b/{}.png", 6), "x/test/1.png", "x/test/2.png"),
    )
    competition, table = drafted(survey(data), tmp_path)
    assert len(table) == 12
    assert competition.official_split is None
    assert sorted(data.glob(competition.test_files)) == [data / "x/test/1.png", data / "x/test/2.png"]
    assert competition.protocol("official").num_test == 2


def test_of_a_validation_and_a_test_folder_the_test_folder_is_scored_and_the_other_is_noted(tmp_path):
    sides = {
        side: [*numbered(f"{side}/a/{{}}.png", 5), *numbered(f"{side}/b/{{}}.png", 5)]
        for side in ("train", "val", "test")
    }
    found = survey(made(tmp_path, images(*(path for paths in sides.values() for path in paths))))
    assert found.split.test == "test"
    assert any(note.startswith("val/ has labels too") for note in found.notes)


def test_a_stray_image_is_left_out_and_said(tmp_path):
    found = survey(made(tmp_path, images(*numbered("a/{}.png", 9), *numbered("b/{}.png", 9), "overview.png")))
    assert found.num_images == 18
    assert "1 images lie outside the class folders and are left out, first overview.png" in found.notes
    assert "overview.png" not in labels_of(drafted(found, tmp_path)[1])


def test_class_folders_within_class_folders_are_refused(tmp_path):
    data = made(tmp_path, images(*numbered("a/{}.png", 6), *numbered("b/{}.png", 6), *numbered("b/sub/{}.png", 6)))
    with pytest.raises(DataError, match=r"lie at different depths, e\.g\. a/0\.png and b/sub/0\.png"):
        survey(data)


# By name.


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog.1.jpg"], ["cat", "cat", "dog", "dog"]),
        (
            ["Maine_Coon_1.jpg", "Maine_Coon_2.jpg", "pug_1.jpg", "pug_2.jpg"],
            ["Maine_Coon", "Maine_Coon", "pug", "pug"],
        ),
        (["003_red.png", "004_red.png", "005_blue.png", "006_blue.png"], ["red", "red", "blue", "blue"]),
        (["cat1.png", "cat2.png", "dog1.png", "dog2.png"], ["cat", "cat", "dog", "dog"]),
        (["red-a8f.png", "red-b3c.png", "blue-99d.png", "blue-0ab.png"], ["red", "red", "blue", "blue"]),
        (["3_0001.png", "3_0002.png", "7_0001.png", "7_0002.png"], ["3", "3", "7", "7"]),
        (["cat (1).png", "cat (2).png", "dog (1).png", "dog (2).png"], ["cat", "cat", "dog", "dog"]),
    ],
)
def test_a_flat_folder_with_the_class_in_the_names(tmp_path, names, labels):
    competition, table = drafted(survey(made(tmp_path, images(*names))), tmp_path)
    assert labels_of(table) == dict(zip(names, labels, strict=True))
    assert set(competition.classes) == set(labels)


LETTERS = st.text(alphabet="abcdeéßXYZ", min_size=1, max_size=8)


@given(
    classes=st.lists(LETTERS, min_size=2, max_size=4, unique_by=str.casefold),
    separator=st.sampled_from(["_", "-", ".", " ", "__"]),
    count=st.integers(2, 4),
)
def test_any_words_before_a_separator_and_a_number_are_the_class(tmp_path_factory, classes, separator, count):
    root = tmp_path_factory.mktemp("names")
    truth = {f"{name}{separator}{k}.png": name for name in classes for k in range(count)}
    competition, table = drafted(survey(made(root, images(*truth))), root)
    assert labels_of(table) == truth
    assert set(competition.classes) == set(classes)


# "0 0" beside "0" would look like two labels in one cell, which is what such cells nearly always hold.
NAMES = st.text(min_size=1, max_size=12).filter(lambda text: text.isprintable() and not set(text) & set(" ,;|"))


@given(classes=st.lists(NAMES, min_size=2, max_size=4, unique=True), delimiter=st.sampled_from([",", ";", "\t"]))
def test_any_printable_class_of_a_csv_comes_back_out_of_the_written_toml(tmp_path_factory, classes, delimiter):
    root = tmp_path_factory.mktemp("classes")
    truth = {f"{k}.png": classes[k % len(classes)] for k in range(3 * len(classes))}
    data = made(root, images(*truth))
    with (data / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([("file", "class"), *truth.items()])
    competition, table = drafted(survey(data), root)
    assert labels_of(table) == truth
    assert set(competition.classes) == set(classes)


# By CSV.


def test_a_csv_in_kaggles_layout_with_a_sample_of_probabilities(tmp_path):
    data = made(
        tmp_path,
        {
            **images(*numbered("train/{}.png", 12), *numbered("test/{}.png", 5)),
            "train.csv": csv_bytes(("id", "has_cactus"), *((f"{k}.png", k % 2) for k in range(12))),
            "sample_submission.csv": csv_bytes(("id", "has_cactus"), *((f"{k}.png", 0.5) for k in range(5))),
        },
    )
    competition, table = drafted(survey(data), tmp_path)
    assert labels_of(table) == {f"train/{k}.png": str(k % 2) for k in range(12)}
    assert competition.classes == ("0", "1")
    assert competition.metric == "roc_auc"
    assert len(list(data.glob(competition.test_files))) == 5
    rule = competition.submission
    assert (rule.values, rule.label_column, rule.of_class, rule.ids) == ("probability_of", "has_cactus", "1", "name")
    assert rule.sample == "sample_submission.csv"
    assert competition.recipe().augment.mirror  # 0 and 1 are no and yes here, not digits


def test_names_without_suffix_and_a_sample_with_a_column_per_class(tmp_path):
    data = made(
        tmp_path,
        {
            **images(*numbered("train/t{}.png", 12), *numbered("test/u{}.png", 3)),
            "labels.csv": csv_bytes(("id", "breed"), *((f"t{k}", ("pug", "boxer")[k % 2]) for k in range(12))),
            "sample_submission.csv": csv_bytes(("id", "boxer", "pug"), *((f"u{k}", 0.5, 0.5) for k in range(3))),
        },
    )
    competition, table = drafted(survey(data), tmp_path)
    assert labels_of(table) == {f"train/t{k}.png": ("pug", "boxer")[k % 2] for k in range(12)}
    assert competition.metric == "log_loss"
    assert (competition.submission.values, competition.submission.ids) == ("probabilities", "stem")


def test_folders_out_of_a_column_and_a_column_of_groups(tmp_path):
    """State Farm's layout: img_1.jpg lies in train/c0, and a driver must not be in two folds."""
    rows = [(f"p{k % 12:03d}", f"c{k % 3}", f"img_{k}.png") for k in range(36)]
    data = made(
        tmp_path,
        {
            **images(*(f"imgs/train/{label}/{name}" for _, label, name in rows), "imgs/test/img_900.png"),
            "driver_imgs_list.csv": csv_bytes(("subject", "classname", "img"), *rows),
        },
    )
    competition, table = drafted(survey(data), tmp_path)
    assert labels_of(table) == {f"imgs/train/{label}/{name}": label for _, label, name in rows}
    assert competition.labels.group_column == "subject"
    assert table["group"].nunique() == 12
    assert competition.test_files == "imgs/test/*"


def test_one_column_per_class(tmp_path):
    rows = [(f"Train_{k}", *(int(k % 4 == j) for j in range(4))) for k in range(12)]
    files = {
        **images(*numbered("images/Train_{}.png", 12), "images/Test_0.png"),
        "train.csv": csv_bytes(("image_id", "healthy", "rust", "scab", "both"), *rows),
        "sample_submission.csv": csv_bytes(("image_id", "healthy", "rust", "scab", "both"), ("Test_0", *[0.25] * 4)),
    }
    competition, table = drafted(survey(made(tmp_path, files)), tmp_path)
    assert competition.task == "single-label"
    assert competition.classes == ("healthy", "rust", "scab", "both")
    assert labels_of(table)["images/Train_6.png"] == "scab"
    assert competition.metric == "log_loss"
    assert competition.test_files == "images/Test_0.png*"  # in one folder with the others


def test_several_ones_in_a_row_are_several_labels(tmp_path):
    rows = [(f"{k}.png", k % 2, int(k % 3 == 0), 1) for k in range(12)]
    found = survey(
        made(tmp_path, {**images(*numbered("{}.png", 12)), "l.csv": csv_bytes(("image", "sea", "sky", "sun"), *rows)})
    )
    competition, table = drafted(found, tmp_path)
    assert (competition.task, competition.metric) == ("multi-label", "mean_f1")
    assert table.set_index("path").loc["3.png", ["target_sea", "target_sky", "target_sun"]].tolist() == [1, 1, 1]
    assert table.set_index("path").loc["2.png", "label"] == "sun"


def test_numbers_that_sum_to_one_are_soft_labels(tmp_path):
    rows = [(f"{k}.png", k / 12, 1 - k / 12) for k in range(12)]
    files = {**images(*numbered("{}.png", 12)), "l.csv": csv_bytes(("image", "bad", "good"), *rows)}
    competition, table = drafted(survey(made(tmp_path, files)), tmp_path)
    assert (competition.task, competition.metric) == ("soft-label", "log_loss")
    assert table.set_index("path").loc["3.png", "target_bad"] == pytest.approx(0.25)


@pytest.mark.parametrize("separator", [" ", "|", ";"])
def test_several_labels_in_one_cell(tmp_path, separator):
    cells = ["rust", "scab", separator.join(("rust", "scab")), "spot", "healthy", separator.join(("scab", "spot"))]
    rows = [(f"{k}.png", cells[k % 6]) for k in range(24)]
    files = {**images(*numbered("{}.png", 24)), "train.csv": csv_bytes(("image", "labels"), *rows)}
    competition, table = drafted(survey(made(tmp_path, files)), tmp_path)
    assert competition.task == "multi-label"
    assert competition.classes == ("healthy", "rust", "scab", "spot")
    assert table.set_index("path").loc["2.png", "label"] == "rust + scab"


def test_a_class_of_two_words_is_one_label(tmp_path):
    rows = [(f"{k}.png", ("golden retriever", "tabby cat", "siamese cat")[k % 3]) for k in range(12)]
    found = survey(made(tmp_path, {**images(*numbered("{}.png", 12)), "l.csv": csv_bytes(("image", "label"), *rows)}))
    assert found.task == "single-label"
    assert found.classes == ("golden retriever", "siamese cat", "tabby cat")


def test_a_column_that_says_train_and_test_is_the_official_split(tmp_path):
    rows = [(f"{k}.png", "ab"[k % 2], "test" if k < 4 else "train") for k in range(12)]
    files = {**images(*numbered("{}.png", 12)), "l.csv": csv_bytes(("image", "label", "split"), *rows)}
    competition, _ = drafted(survey(made(tmp_path, files)), tmp_path)
    assert (competition.official_split.by, competition.official_split.split_column) == ("csv", "split")
    assert competition.protocol().num_test == 4


def test_a_semicolon_and_other_columns_do_not_confuse(tmp_path):
    header = ("width", "file", "comment", "category")
    rows = [(20.5 + k, f"pics/{k}.png", f"remark {k}", ("x", "y")[k % 2]) for k in range(12)]
    files = {**images(*numbered("pics/{}.png", 12)), "all.csv": csv_bytes(header, *rows, delimiter=";")}
    data = made(tmp_path, files)
    competition, table = drafted(survey(data / "all.csv"), tmp_path)
    assert labels_of(table) == {f"pics/{k}.png": ("x", "y")[k % 2] for k in range(12)}
    assert competition.labels.delimiter == ";"


def test_a_csv_that_says_the_same_as_the_folders_leaves_the_folders_to_speak(tmp_path):
    rows = [(f"train/{d}/{k}.png", int(d == 7)) for d in (3, 7) for k in range(6)]
    files = {**images(*(path for path, _ in rows)), "labels.csv": csv_bytes(("name", "label"), *rows)}
    competition, _ = drafted(survey(made(tmp_path, files)), tmp_path)
    assert competition.labels.rule == "folder"
    assert competition.classes == ("3", "7")
    assert not competition.recipe().augment.mirror  # a mirrored digit is another sign


def test_a_csv_that_contradicts_the_folders_decides(tmp_path):
    rows = [(f"batch{k % 2}/{k}.png", ("x", "y", "z")[k % 3]) for k in range(12)]
    files = {**images(*(path for path, _ in rows)), "labels.csv": csv_bytes(("name", "label"), *rows)}
    assert survey(made(tmp_path, files)).classes == ("x", "y", "z")


def test_images_that_a_csv_names_in_vain_make_the_source_partial(tmp_path):
    rows = [(f"{k}.png", "ab"[k % 2]) for k in range(12)]
    found = survey(made(tmp_path, {**images(*numbered("{}.png", 10)), "l.csv": csv_bytes(("image", "label"), *rows)}))
    competition, _ = drafted(found, tmp_path)
    assert not competition.source().complete
    assert found.num_images == 10


def test_names_without_suffix_of_images_with_two_are_refused(tmp_path):
    rows = [(k, "ab"[k % 2]) for k in range(12)]
    files = {**images(*numbered("{}.png", 9), "9.jpg", "10.jpg", "11.jpg"), "l.csv": csv_bytes(("id", "label"), *rows)}
    with pytest.raises(DataError, match=r"names images without their suffix, and 3 of them do not end in '\.png'"):
        survey(made(tmp_path, files))


# Metric and classes.


def test_a_strong_imbalance_is_scored_per_class(tmp_path):
    found = survey(made(tmp_path, images(*numbered("a/{}.png", 60), *numbered("b/{}.png", 6))))
    assert found.metric == "mean_per_class_accuracy"
    competition, _ = drafted(found, tmp_path)
    assert "# The largest class has 60 images, the smallest 6" in (competition.folder / "competition.toml").read_text()


def test_left_and_right_are_not_mirrored(tmp_path):
    found = survey(made(tmp_path, images(*numbered("turn left/{}.png", 6), *numbered("turn right/{}.png", 6))))
    assert not found.mirrors_alike


def test_classes_that_are_numbers_are_in_their_order(tmp_path):
    found = survey(made(tmp_path, images(*(f"{d}/{k}.png" for d in (1, 2, 10) for k in range(5)))))
    assert found.classes == ("1", "2", "10")


# Addresses.


def test_lists_of_addresses_become_a_competition_that_waits_for_its_images(tmp_path):
    lists = {f"{name}.txt": b"https://example.org/1.jpg\nhttps://example.org/2.jpg\n" for name in ("bear", "teddy")}
    found = survey(made(tmp_path, lists))
    competition = read_competition(write_draft(found, slug="bears", folder=tmp_path / "competitions"))
    assert competition.classes == ("bear", "teddy")
    assert competition.source().folder == "images"
    assert competition.labels.rule == "folder"
    assert "kit scrape bears --urls" in (competition.folder / "README.md").read_text()


def test_a_csv_of_url_and_label_is_a_list_of_addresses(tmp_path):
    rows = [("https://example.org/1.jpg", "a"), ("https://example.org/2.jpg", "b")]
    found = survey(made(tmp_path, {"list.csv": csv_bytes(("url", "label"), *rows)}) / "list.csv")
    assert (found.kind, found.classes, found.num_images) == ("urls", ("a", "b"), 2)


# Refused.


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "No image file"),
        (images("a/1.png", "a/2.png"), "have no labels that could be found"),
        (images(*numbered("img_{}.png", 8)), "have no labels that could be found"),
        (images(*(f"patient{k}/x.png" for k in range(8))), "have no labels that could be found"),
        (
            {**images("1.png", "2.png"), "l.csv": csv_bytes(("image", "label"), ("1.png", "a"), ("2.png", "a"))},
            "no labels",
        ),
        (images(*numbered("a/{}.png", 6), *numbered("b\n/{}.png", 6)), "image names with a control character"),
        (images(*numbered("a/{}.png", 6), *numbered(" a/{}.png", 6)), "' a' cannot name a class"),
        ({"a/1.png": b"", "a/2.png": b"no image", "b/1.png": b"", "b/2.png": b""}, "None of the files in"),
        ({"notes.txt": b"\n"}, "There is no address"),
    ],
)
def test_what_makes_no_competition_is_refused_in_one_paragraph(tmp_path, files, message):
    (tmp_path / "data").mkdir()
    with pytest.raises(KitError, match=message) as error:
        survey(made(tmp_path, files))
    assert "\n" not in str(error.value)


def test_a_path_that_is_nothing_of_the_kind_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no such file or folder"):
        survey(tmp_path / "nowhere")
    with pytest.raises(DataError, match="Unpack an archive first"):
        survey(write_files(tmp_path, {"images.zip": b"PK"}) / "images.zip")
    with pytest.raises(DataError, match="has no column that names images"):
        survey(made(tmp_path, {**images("1.png", "2.png"), "l.csv": csv_bytes(("a", "b"), (5, 6))}) / "l.csv")
    with pytest.raises(ConfigError, match="There is no address"):
        survey(write_files(tmp_path, {"empty.txt": b"# nothing\n"}) / "empty.txt")


# Real ones.


@pytest.mark.real
def test_the_mnist_sample_is_read_by_folder_with_valid_as_its_test(tmp_path, test_data):
    with tarfile.open(test_data / "data" / "mnist-sample" / "mnist_sample.tgz") as tar:
        members = [member for member in tar.getmembers() if member.name.endswith(".png")][::10]  # for speed
        tar.extractall(tmp_path, members=members, filter="data")
    found = survey(tmp_path / "mnist_sample")
    assert (found.kind, found.classes, found.num_images) == ("folders", ("3", "7"), len(members))
    assert (found.split.train, found.split.test, found.mirrors_alike) == ("train", "valid", False)


@pytest.mark.real
def test_cats_and_dogs_are_read_by_name_with_499_to_predict(tmp_path, test_data):
    for side in ("train", "test"):
        with tarfile.open(test_data / "data" / "dogs-vs-cats" / f"dogs-vs-cats-{side}.tar") as tar:
            tar.extractall(tmp_path / "data", filter="data")
    found = survey(tmp_path / "data")
    assert (found.kind, dict(found.counts), found.num_test) == ("names", {"cat": 1000, "dog": 1000}, 499)
    assert found.test_files == "test/*"


@pytest.mark.real
def test_the_cacti_are_read_by_csv_with_a_probability_to_hand_in(tmp_path, test_data):
    cactus = test_data / "data" / "aerial-cactus"
    for side, table in (("train", "train.csv"), ("test", "sample_submission.csv")):
        lines = (cactus / table).read_text(encoding="utf-8").splitlines()[:801]  # the first 800 of each, for speed
        (tmp_path / table).write_text("\n".join(lines) + "\n", encoding="utf-8")
        with zipfile.ZipFile(cactus / f"{side}.zip") as archive:
            archive.extractall(tmp_path, [f"{side}/{line.split(',')[0]}" for line in lines[1:]])
    found = survey(tmp_path)
    assert (found.kind, found.classes, found.num_images, found.num_test) == ("csv", ("0", "1"), 800, 800)
    assert (found.metric, found.submission.of_class, found.test_files) == ("roc_auc", "1", "test/*")
