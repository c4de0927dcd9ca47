"""Labels: the same table whichever way the labels are written down, and an explanation where they are not."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import competition, write_files

from kit.competition import load_competition
from kit.data.labelling import label_images
from kit.data.labels import (
    IMAGE_SUFFIXES,
    files_below,
    find_images,
    from_csv,
    from_folder,
    from_lists,
    from_name_func,
    from_name_patterns,
    from_name_re,
    image_id_of,
    without_image_suffix,
)
from kit.data.samples import build_samples
from kit.errors import DataError
from kit.files.fetch import fetch
from kit.rules import LabelRule

PATHS = ["red/b.png", "blue/a.png", "red/c.jpg"]
ROWS = [("blue/a", "blue/a.png", "blue"), ("red/b", "red/b.png", "red"), ("red/c", "red/c.jpg", "red")]
CSV = "name,colour\nred/b.png,red\nblue/a.png,blue\nred/c.jpg,red\n"


def rows(table):
    assert list(table.columns) == ["image_id", "path", "label"]
    return list(table.itertuples(index=False, name=None))


def csv(folder: Path, text: str, name: str = "labels.csv") -> Path:
    return write_files(folder, {name: text.encode()}) / name


def test_images_are_found_by_suffix_in_sorted_order_without_hidden_files(tmp_path):
    files = ["b/2.PNG", "b/1.jpeg", "a.webp", "b/.hidden.png", "b/notes.txt", "c.png/inner.txt"]
    write_files(tmp_path, dict.fromkeys(files, b""))
    assert find_images(tmp_path) == ["a.webp", "b/1.jpeg", "b/2.PNG"]
    assert find_images(tmp_path, "b/*") == ["b/1.jpeg", "b/2.PNG"]


def test_no_image_at_all_names_pattern_folder_and_suffixes(tmp_path):
    with pytest.raises(DataError) as caught:
        find_images(tmp_path, "train/*.jpg")
    for fragment in ("'train/*.jpg'", str(tmp_path), ".jpeg"):
        assert fragment in str(caught.value)


TREE = ["a.png", "A.png", "b/a.png", "b/c/a.jpg", "b/c/x.b/1.png", ".h/a.png", "b/[x]/2.png", "n.txt", "b/c/.i.png"]


@given(parts=st.lists(st.sampled_from(["**", "*", "b", "c", "?", "[bc]", "*.b", ".", "[[]x]", "B"]), max_size=4))
@pytest.mark.parametrize("last", ["*", "*.png", "a.*", "[aA].png", "**", "?.jpg"])
def test_a_pattern_matches_what_pathlib_matches(tmp_path_factory, parts, last):
    folder = write_files(tmp_path_factory.mktemp("tree"), dict.fromkeys(TREE, b""))
    pattern = "/".join([*parts, last])
    wanted = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.glob(pattern)
        if path.is_file() and path.suffix in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    try:
        found = find_images(folder, pattern)
    except DataError:
        found = []
    assert found == wanted


@pytest.mark.parametrize("pattern", ["/", "/*.png", "*/", "../*", "..", ""])
def test_a_pattern_that_leads_out_of_the_folder_or_to_no_file_finds_nothing(tmp_path, pattern):
    write_files(tmp_path, {"a.png": b"", "in/b.png": b""})
    with pytest.raises(DataError, match="No image file matches"):
        find_images(tmp_path / "in", pattern)


def test_links_to_folders_are_followed_and_a_circle_of_them_ends(tmp_path):
    store = write_files(tmp_path / "store", {"1.png": b"", "deep/2.png": b""})
    data = write_files(tmp_path / "data", {"blue/3.png": b""})
    (data / "red").symlink_to(store)
    (data / "4.png").symlink_to(store / "1.png")
    (data / "gone.png").symlink_to(store / "gone.png")
    (data / "self.png").symlink_to(data / "self.png")
    for place, target in ((data / "blue" / "up", data), (store / "deep" / "round", store), (data / "here", data)):
        place.symlink_to(target)
    assert find_images(data) == ["4.png", "blue/3.png", "red/1.png", "red/deep/2.png"]
    assert find_images(data, "*/*") == ["blue/3.png", "red/1.png"]
    listed = files_below(data)
    assert [path for path, _ in listed] == ["4.png", "blue/3.png", "red/1.png", "red/deep/2.png"]
    (store / "1.png").write_bytes(b"12345")
    assert [entry.stat().st_size for path, entry in files_below(data)] == [5, 0, 5, 0]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"a\nb.png", r"a\\nb\.png"),
        (b"a\x1b[2J.png", r"a\\x1b\[2J\.png"),
        (b"a\\b.png", r"a\\b\.png"),
        (b"gr\xfcn.png", r"gr\\udcfcn\.png"),
        ("a\u2028b.png".encode(), r"a\\u2028b\.png"),
    ],
)
def test_a_name_that_tables_would_misread_is_refused_and_shown_escaped(tmp_path, name, shown):
    folder = write_files(tmp_path / "data", {"red/ok.png": b"", "red/grün é\u00a0.png": b""})
    assert len(find_images(folder)) == 2
    (tmp_path / "data" / "red" / os.fsdecode(name)).write_bytes(b"")
    with pytest.raises(DataError, match=rf"data has 1 image names with a control .* first red/{shown}\. Tables"):
        find_images(folder)
    with pytest.raises(DataError, match="The table of labels has 1 image names"):
        from_folder(["red/ok.png", f"red/{os.fsdecode(name)}"])


def test_only_the_suffix_of_an_image_is_cut():
    assert [without_image_suffix(name) for name in ("img_1.2", "a.b.PNG", "a.jpg.png", "a", ".png")] == [
        "img_1.2",
        "a.b",
        "a.jpg",
        "a",
        ".png",
    ]
    assert image_id_of(".") == "."


def test_an_image_id_is_the_path_without_its_suffix():
    assert image_id_of("train/red/a.b.png") == "train/red/a.b"


def test_four_ways_give_one_table(tmp_path):
    expected = ROWS
    assert rows(from_folder(PATHS)) == expected
    assert rows(from_name_re(PATHS, r"^(?P<label>[^/]+)/")) == expected
    assert rows(from_name_func(PATHS, lambda path: path.parts[0])) == expected
    assert rows(from_csv(csv(tmp_path, CSV), id_column="name", label_column="colour")) == expected


def test_the_first_group_is_the_label_where_none_has_that_name():
    assert rows(from_name_re(PATHS, r"^(\w+)/(\w)")) == ROWS


def test_a_pattern_without_any_group_is_refused():
    with pytest.raises(DataError, match=r"marks no label. Put a group around it"):
        from_name_re(PATHS, "red")


def test_unmatched_images_are_named_with_the_first_five_and_their_number():
    paths = [f"cat_{k}.png" for k in range(7)] + ["dog_1.png"]
    with pytest.raises(DataError) as caught:
        from_name_re(paths, r"(?P<label>dog)_\d")
    for fragment in ("7 of 8 images", "(?P<label>dog)", "['cat_0.png'", "'cat_4.png']", "narrow `images`"):
        assert fragment in str(caught.value)
    assert "cat_5" not in str(caught.value)


def test_a_group_that_took_no_part_and_a_function_that_returns_none_match_nothing():
    with pytest.raises(DataError, match="1 of 3 images match no label"):
        from_name_re(PATHS, r"(?P<label>red)?/")
    with pytest.raises(DataError, match="2 of 3 images match no label"):
        from_name_func(PATHS, lambda path: "blue" if path.parts[0] == "blue" else None)


def test_a_function_may_give_numbers():
    assert [label for *_, label in rows(from_name_func(PATHS, lambda path: int("red" in path.parts)))] == [
        "0",
        "1",
        "1",
    ]  # type: ignore[arg-type, return-value]


def test_lists_of_unequal_length_are_refused():
    with pytest.raises(DataError, match="There are 3 paths but 2 labels"):
        from_lists(PATHS, ["red", "blue"])


def test_a_csv_name_gets_its_folder_and_suffix(tmp_path):
    file = csv(tmp_path, "id;label\n7;red\n08;NA\n")
    table = from_csv(file, id_column="id", label_column="label", folder="train/", suffix=".jpg", delimiter=";")
    assert rows(table) == [("train/08", "train/08.jpg", "NA"), ("train/7", "train/7.jpg", "red")]


@pytest.mark.parametrize("end", [",", ",,"])
def test_the_rows_of_a_csv_may_end_in_a_comma(tmp_path, end):
    text = f"name,colour\n007,red{end}\n8,blue{end}\n"
    found = from_csv(csv(tmp_path, text), id_column="name", label_column="colour")
    assert rows(found) == [("007", "007", "red"), ("8", "8", "blue")]


def test_a_csv_may_start_with_a_byte_order_mark(tmp_path):
    assert rows(from_csv(csv(tmp_path, "\ufeff" + CSV), id_column="name", label_column="colour")) == ROWS


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty: a CSV with a header"),
        ("name,colour\n", "has a header but no rows"),
        ("name,color\na,red\n", "lacks the column 'colour'; it has name, color"),
        ("name,colour\na,\nb,red\nc,\n", r"2 of 3 rows have no 'colour', first \['a', 'c'\]"),
        ("name,colour\n,red\nb,red\n", "1 of 2 rows have no 'name'"),
        ("name,colour\na,red\nb,red,x,y\n", "cannot be read as CSV"),
        ("name,colour\na,red,\nb,red,y\n", "cannot be read as CSV: row 3 has more values"),
        ("name,colour\na,red,x,\nb,red,y,\n", "cannot be read as CSV: row 2 has more values"),
    ],
    ids=["empty", "header only", "missing column", "missing labels", "missing name", "ragged", "further", "more"],
)
def test_a_faulty_csv_names_file_and_fault(tmp_path, text, fault):
    with pytest.raises(DataError, match=rf"labels\.csv:? {fault}"):
        from_csv(csv(tmp_path, text), id_column="name", label_column="colour")


def test_a_missing_csv_and_one_in_another_encoding_are_named(tmp_path):
    (tmp_path / "latin.csv").write_bytes("name,colour\na,grün\n".encode("latin-1"))
    for name in ("latin.csv", "missing.csv"):
        with pytest.raises(DataError, match=rf"{name} cannot be read as CSV"):
            from_csv(tmp_path / name, id_column="name", label_column="colour")


ADAPTER = """
def label_of(path):
    return path.parts[-2]

def train_samples(data_dir):
    return {"path": ["red/b.png", "blue/a.png", "red/c.jpg"], "label": ["red", "blue", "red"]}
"""
RULES = {
    "folder": LabelRule(rule="folder"),
    "regex": LabelRule(rule="regex", pattern="(?P<label>[^/]+)/"),
    "csv": LabelRule(rule="csv", file="labels.csv", id_column="name", label_column="colour"),
    "function": LabelRule(rule="function"),
    "adapter": LabelRule(rule="adapter"),
    "renamed": LabelRule(
        rule="csv", file="short.csv", id_column="name", label_column="colour", rename={"r": "red", "b": "blue"}
    ),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_rule_of_a_competition_gives_the_same_table(tmp_path, rule):
    write_files(tmp_path, {"question/adapter.py": ADAPTER.encode()})
    data = write_files(tmp_path / "data", dict.fromkeys(PATHS, b""))
    csv(data, CSV)
    csv(data, CSV.replace(",red", ",r").replace(",blue", ",b"), "short.csv")
    assert rows(label_images(competition(tmp_path / "question"), data, rule)) == ROWS


def labelled(tmp_path: Path, text: str, rule: dict[str, object], **asked) -> list[tuple[object, ...]]:
    """Rows of a competition whose labels stand in a CSV of this text."""
    csv(tmp_path, text)
    made = LabelRule(rule="csv", file="labels.csv", id_column="name", **{"label_column": "colour", **rule})
    table = label_images(competition(tmp_path / "question", **asked), tmp_path, made)
    return list(table.drop(columns="path").itertuples(index=False, name=None))


def test_an_image_that_matches_the_patterns_of_two_classes_is_named_and_so_is_one_that_matches_none():
    assert rows(from_name_patterns(PATHS, {"red": "^red/", "blue": "^blue/"})) == ROWS
    with pytest.raises(DataError, match="1 of 3 images match the patterns of two classes or more") as caught:
        from_name_patterns(PATHS, {"red": "red", "blue": "b"})
    assert "red/b.png (red, blue)" in str(caught.value)
    with pytest.raises(DataError, match=r"match no label: labels.patterns gives none for \['blue/a.png'\]"):
        from_name_patterns(PATHS, {"red": "red"})


def test_the_folder_of_a_csv_row_may_depend_on_its_columns(tmp_path):
    text = "name,colour\nb.png,red\na.png,blue\n"
    assert [path for path, _ in labelled(tmp_path, text, {"folder": "img/{colour}"})] == ["img/blue/a", "img/red/b"]


def test_group_weight_time_and_given_fold_come_from_columns(tmp_path):
    text = "name,colour,who,how,day,part\na,red,anna,0.5,2020-01-02,x\nb,blue,ben,2,2019-01-02,y\n"
    rule = {"group_column": "who", "weight_column": "how", "time_column": "day", "fold_column": "part"}
    assert labelled(tmp_path, text, rule) == [
        ("a", "red", "anna", 0.5, "2020-01-02", "x"),
        ("b", "blue", "ben", 2.0, "2019-01-02", "y"),
    ]
    with pytest.raises(DataError, match=r"row 2: 'how' is 'much', expected a number"):
        labelled(tmp_path, text.replace("0.5", "much"), rule)
    with pytest.raises(DataError, match="1 of 2 rows have no 'day'"):
        labelled(tmp_path, text.replace("2020-01-02", ""), rule)


def test_an_image_without_a_group_is_its_own(tmp_path):
    text = "name,colour,who\na,red,anna\nb,blue,\nc,blue,\n"
    assert labelled(tmp_path, text, {"group_column": "who"}) == [
        ("a", "red", "anna"),
        ("b", "blue", "b"),
        ("c", "blue", "c"),
    ]
    code = "{'path': ['a.png', 'b.png', 'c.png'], 'label': list('rrb'), 'group': ['g', None, float('nan')]}"
    assert from_adapter(tmp_path, code)["group"].tolist() == ["g", "b", "c"]


def from_adapter(folder: Path, code: str, **asked):
    """The table of a competition whose adapter's train_samples returns the value of `code`."""
    text = f"import pandas as pd\ndef train_samples(data_dir):\n    return {code}\n"
    write_files(folder, {"question/adapter.py": text.encode()})
    return label_images(competition(folder / "question", **asked), folder, LabelRule(rule="adapter"))


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("{'image': ['a.png'], 'label': ['red']}", "gave a table with the columns image, label. Expected: `path` and"),
        ("{'path': ['a.png']}", "gave a table with the columns path"),
        ("None", r"with the columns \(none\)"),
        ("3", "gave a int, expected a table"),
        ("{'path': ['a.png', 'b.png'], 'label': ['red']}", "gave a dict, expected a table"),
        ("{'path': ['a.png', None], 'label': ['red', 'red']}", "gave 1 of 2 rows neither a path nor .* first row 2"),
        ("{'path': ['a\\n.png'], 'label': ['red']}", r"of toy has 2 image names .* first a\\n\.png"),
        ("{'path': ['a.png'], 'label': ['red'], 'image_id': ['a\\\\b']}", "of toy has 1 image names"),
    ],
)
def test_an_adapter_that_gives_something_else_is_told_what_is_expected(tmp_path, code, fault):
    with pytest.raises(DataError, match=fault):
        from_adapter(tmp_path, code)


def test_what_an_adapter_leaves_out_is_empty(tmp_path):
    code = "pd.DataFrame({'path': ['a.png', 'b.png', None], 'label': ['red', None, 3], 'image_id': [None, 'x', 'y']})"
    assert rows(from_adapter(tmp_path, code)) == [("a", "a.png", "red"), ("x", "b.png", ""), ("y", "", "3")]


def test_an_adapter_may_give_a_number_per_class_instead_of_a_label(tmp_path):
    code = "{'path': ['b.png', 'a.png'], 'target_blue': [1, 0.25], 'target_red': [0, 0.75]}"
    table = from_adapter(tmp_path, code, task="soft-label")
    assert table[["image_id", "label", "target_red"]].values.tolist() == [["a", "red", 0.75], ["b", "blue", 0.0]]
    with pytest.raises(DataError, match=r"columns path, target_blue\. Expected: `path` and `label`, or `path` and a"):
        from_adapter(tmp_path, "{'path': ['a.png'], 'target_blue': [1]}", task="soft-label")
    with pytest.raises(DataError, match="row 2: target_red is 'much', expected a number"):
        from_adapter(tmp_path, code.replace("0.75", "'much'"), task="soft-label")


def test_a_label_is_parted_only_where_an_image_may_have_several(tmp_path):
    text = "name,colour\na,red + blue\n"
    rename = {"red": "green", "red + blue": "purple"}
    assert labelled(tmp_path, text, {"rename": rename}) == [("a", "purple")]
    found = labelled(tmp_path, text, {"rename": {"red": "blue", "blue": "red"}, "separator": "+"}, task="multi-label")
    assert found == [("a", "blue + red", 1.0, 1.0)]


def test_several_labels_are_parted_by_a_separator_and_none_at_all_is_allowed(tmp_path):
    text = "name,colour\na,red; blue\nb,\nc,blue\n"
    found = labelled(tmp_path, text, {"separator": ";"}, task="multi-label")
    assert found == [("a", "blue + red", 1.0, 1.0), ("b", "", 0.0, 0.0), ("c", "blue", 1.0, 0.0)]  # blue, red
    with pytest.raises(DataError, match=r"1 labels are of classes that toy does not know: \['green'\]"):
        labelled(tmp_path, text.replace("red", "green"), {"separator": ";"}, task="multi-label")


def test_several_labels_of_an_image_may_be_given_as_lists():
    table = from_lists(["b.png", "a.png"], [["red", "blue"], []])
    assert rows(table) == [("a", "a.png", ""), ("b", "b.png", "red + blue")]


COLUMNS_TEXT = "name,blue,red\na,0,1\nb,1,0\n"


def test_a_column_per_class_gives_the_class_that_is_1(tmp_path):
    assert labelled(tmp_path, COLUMNS_TEXT, {"target_columns": ("blue", "red")}) == [("a", "red"), ("b", "blue")]
    for wrong in ("a,1,1", "a,0,0", "a,0.5,0.5"):
        with pytest.raises(DataError, match=r"1 of 2 rows do not have a single 1 .* first \['a'\]"):
            labelled(tmp_path, COLUMNS_TEXT.replace("a,0,1", wrong), {"target_columns": ("blue", "red")})


def test_a_column_per_class_may_hold_soft_labels(tmp_path):
    text = "name,blue,red\na,0.25,0.75\nb,1,0\n"
    found = labelled(tmp_path, text, {"target_columns": ("blue", "red")}, task="soft-label")
    assert found == [("a", "red", 0.25, 0.75), ("b", "blue", 1.0, 0.0)]


def test_an_image_with_two_labels_and_one_that_stands_there_twice_are_told_apart(tmp_path):
    with pytest.raises(DataError, match=r"1 images have two labels or more, first \['a'\]"):
        labelled(tmp_path, "name,colour\na,red\na,blue\n", {})
    with pytest.raises(DataError, match=r"1 image ids stand there more than once, first \['a'\]"):
        labelled(tmp_path, "name,colour\na,red\na,red\n", {})


@pytest.mark.parametrize(
    ("rule", "missing"), [("function", r"label_of\(path\)"), ("adapter", r"train_samples\(data_dir\)")]
)
def test_a_rule_whose_function_the_adapter_lacks_is_refused(tmp_path, rule, missing):
    data = write_files(tmp_path / "data", dict.fromkeys(PATHS, b""))
    with pytest.raises(DataError, match=rf"adapter\.py lacks {missing}"):
        label_images(competition(tmp_path), data, LabelRule(rule=rule))


@pytest.mark.real
def test_the_four_label_rules_of_mnist_sample_give_one_table_on_the_real_images(test_data):
    mnist = load_competition("mnist_sample")
    data = fetch(mnist, source="rebuilt", mirror=str(test_data / "data"), say=lambda line: None)
    main = label_images(mnist, data, mnist.label_rule())
    assert len(main) == 12_396 + 2_038
    assert set(mnist.more_labels) == {"csv", "regex", "function"}
    for name in mnist.more_labels:
        assert label_images(mnist, data, mnist.label_rule(name)).equals(main)


@pytest.mark.real
def test_the_subset_of_pets_has_1589_training_and_1341_test_images_of_all_breeds(test_data):
    pets = load_competition("pets")
    data = fetch(pets, source="subset", mirror=str(test_data / "data"), say=lambda line: None)
    samples = build_samples(pets, data, protocol=pets.protocol(), source="subset")
    assert (len(samples.train), len(samples.test), samples.missing) == (1_589, 1_341, 4_419)
    for side in (samples.train, samples.test):
        assert set(side["label"]) == set(pets.classes)
