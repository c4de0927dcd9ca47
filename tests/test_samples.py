"""The sample table: who trains, who is scored, and everything that is refused before an hour is spent on it."""

from pathlib import Path

import pytest
from toys import coloured_png, competition, protocol, write_files

from kit.competition import load_competition
from kit.data.samples import build_samples
from kit.data.schema import COLUMNS
from kit.errors import DataError
from kit.files.fetch import fetch
from kit.quality.fixes import Fix, Fixes
from kit.rules import LabelRule, SourceSet, SplitRule

NAMES = ["red/1", "red/2", "blue/3", "blue/4"]
LISTS = SplitRule(by="lists", train="train.txt", test="test.txt")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with two red and two blue images."""
    files = {f"{name}.png": coloured_png(name.split("/")[0], k) for k, name in enumerate(NAMES)}
    return write_files(tmp_path / "data", files)


def build(data: Path, *, seed: int = 1, split: str = "official", test_share: float = 0.2, **changes):
    asked = competition(data.parent, **changes)
    return build_samples(asked, data, protocol=protocol(split=split, test_share=test_share), seed=seed)


def sides(samples) -> dict[str, str]:
    return dict(zip(samples.table["image_id"], samples.table["split"], strict=True))


def lists(data: Path, train: str, test: str) -> None:
    write_files(data, {"train.txt": train.encode(), "test.txt": test.encode()})


def test_each_image_has_one_row_of_strings_and_is_its_own_group(data):
    samples = build(data, split="none")
    assert list(samples.table.columns) == COLUMNS
    assert samples.table["image_id"].tolist() == sorted(NAMES)
    assert samples.table["group"].tolist() == sorted(NAMES)
    assert set(samples.table["sha256"].str.len()) == {64}
    assert (len(samples.train), len(samples.test), samples.missing) == (4, 0, 0)
    assert samples.classes == ("blue", "red")


def test_the_toy_is_split_by_its_folders(toy_competition):
    toy = load_competition(toy_competition())
    samples = build_samples(toy, fetch(toy, say=lambda line: None), protocol=toy.protocol())
    assert (len(samples.train), len(samples.test)) == (18, 6)
    assert samples.test["label"].tolist() == ["blue"] * 2 + ["green"] * 2 + ["red"] * 2
    assert samples.train.index.tolist() == list(range(18))


def test_an_image_in_neither_folder_is_unused(data):
    write_files(data, {"old/red/9.png": coloured_png("red", 9)})
    rule = SplitRule(by="folders", train="red", test="blue")
    with pytest.raises(DataError, match="one class only"):
        build(data, official_split=rule)
    for name in ("1", "2"):
        write_files(data, {f"train/{c}/{name}.png": coloured_png(c, int(name)) for c in ("red", "blue")})
    write_files(data, {"test/red/8.png": coloured_png("red", 8)})
    samples = build(data, official_split=SplitRule(by="folders", train="train", test="test"))
    assert sides(samples)["old/red/9"] == "unused"
    assert samples.train["image_id"].tolist() == ["train/blue/1", "train/blue/2", "train/red/1", "train/red/2"]


@pytest.mark.parametrize("full", [True, False], ids=["with folders", "names only"])
def test_lists_split_by_the_first_word_of_a_line(data, full):
    cut = 0 if full else -1
    names = [name if full else name.split("/")[cut] for name in NAMES]
    lists(data, f"# id class\n{names[0]} 1 1\n\n{names[2]} 2 1\n", f"{names[3]} 2 1\n")
    assert sides(build(data, official_split=LISTS)) == {
        "blue/3": "train",
        "blue/4": "test",
        "red/1": "train",
        "red/2": "unused",
    }


def test_a_csv_splits_by_the_value_of_a_column(data):
    rows = "name,half\nred/1.png,first\nred/2.png,second\nblue/3.png,first\nblue/4.png,third\n,first\n"
    write_files(data, {"split.csv": rows.encode()})
    rule = SplitRule(by="csv", file="split.csv", id_column="name", split_column="half", train="first", test="second")
    assert sides(build(data, official_split=rule)) == {
        "blue/3": "train",
        "blue/4": "unused",
        "red/1": "train",
        "red/2": "test",
    }


def test_a_list_that_names_missing_images_is_refused_where_the_data_should_be_complete(data):
    lists(data, "red/1\nblue/3\n" + "".join(f"red/{k}\n" for k in range(10, 17)), "blue/4\n")
    with pytest.raises(DataError) as caught:
        build(data, official_split=LISTS)
    for fragment in ("name 7 images that are not in", "['red/10'", "'red/14']", "complete = false"):
        assert fragment in str(caught.value)
    samples = build(data, official_split=LISTS, sources={"part": SourceSet(complete=False)})
    assert (samples.missing, len(samples.train), len(samples.test)) == (7, 2, 1)


def test_an_image_in_both_lists_is_refused(data):
    lists(data, "red/1\nblue/3\n", "blue/3\n")
    with pytest.raises(DataError, match=r"1 images are in the training list and in the test list, first \['blue/3'\]"):
        build(data, official_split=LISTS)


def test_a_list_name_that_two_folders_share_is_refused(data):
    write_files(data, {"blue/1.png": coloured_png("blue", 8)})
    lists(data, "1\n3\n", "4\n")
    with pytest.raises(DataError, match=r"1 names in the publisher's lists .* more than one folder, first \['1'\]"):
        build(data, official_split=LISTS)


def test_a_missing_list_is_named(data):
    with pytest.raises(DataError, match=r"The list .*train\.txt cannot be read"):
        build(data, official_split=LISTS)


def test_unlabelled_test_files_are_a_test_side_without_labels(data):
    write_files(data, {"test/9.png": coloured_png("grey", 9)})
    samples = build(data, test_files="test/*.png", labels=LabelRule(rule="folder"))
    assert samples.test[["image_id", "label", "group"]].to_numpy().tolist() == [["test/9", "", "test/9"]]
    assert len(samples.train) == 4


def test_a_random_split_depends_on_ids_and_seed_and_not_on_row_order(data, tmp_path):
    names = [f"{colour}/{k}" for colour in ("red", "blue") for k in range(20)]
    write_files(data, {f"{name}.png": coloured_png(name.split("/")[0], k) for k, name in enumerate(names)})
    text = ["name,colour", *(f"{name}.png,{name.split('/')[0]}" for name in names)]
    rule = LabelRule(rule="csv", file="labels.csv", id_column="name", label_column="colour")

    def split_of(lines, seed):
        write_files(data, {"labels.csv": "\n".join(lines).encode()})
        return sides(build(data, labels=rule, split="random", test_share=0.25, seed=seed))

    first = split_of(text, 1)
    assert list(first.values()).count("test") == 10
    assert split_of([text[0], *reversed(text[1:])], 1) == first
    assert split_of(text, 2) != first


@pytest.mark.parametrize(("side", "split"), [("train", "none"), ("test", "official")])
def test_an_unknown_class_is_named_with_its_side_and_the_known_ones(data, side, split):
    write_files(data, {"pink/5.png": coloured_png("red", 5)})
    lists(data, "red/1\nblue/3\n", "pink/5\n")
    with pytest.raises(DataError) as caught:
        build(data, split=split, official_split=LISTS)
    for fragment in (f"1 {side} images have a label that toy does not know: ['pink']", "blue, red", "labels.rename"):
        assert fragment in str(caught.value)


def test_an_unused_image_may_have_any_label(data):
    write_files(data, {"pink/5.png": coloured_png("red", 5)})
    lists(data, "red/1\nblue/3\n", "blue/4\n")
    assert sides(build(data, official_split=LISTS))["pink/5"] == "unused"


def test_one_class_only_is_refused(data):
    with pytest.raises(DataError, match=r"All 2 training images of toy have the label 'red': with one class only"):
        build(data, split="none", labels=LabelRule(rule="folder", images="red/*"))


def test_a_split_that_leaves_nothing_to_train_on_is_refused(data):
    lists(data, "", "red/1\n")
    with pytest.raises(DataError, match="no image is left to train on"):
        build(data, official_split=LISTS)


def test_doubled_ids_are_named(data):
    write_files(data, {"red/1.jpg": b""})
    with pytest.raises(DataError, match=r"1 image ids stand there more than once, first \['red/1'\]"):
        build(data, split="none")


def test_a_training_image_without_a_label_is_named(data):
    (data.parent / "adapter.py").write_text(
        "def train_samples(data_dir):\n"
        "    return {'path': ['red/1.png', 'blue/3.png', 'red/2.png'], 'label': ['red', 'blue', '']}\n"
    )
    with pytest.raises(DataError, match=r"1 training images have no label, first \['red/2'\]"):
        build(data, split="none", labels=LabelRule(rule="adapter"))


def test_the_adapter_may_name_training_and_test_images(data):
    (data.parent / "adapter.py").write_text(
        "def train_samples(data_dir):\n"
        "    return {'path': ['red/1.png', 'blue/3.png'], 'label': ['red', 'blue']}\n"
        "def test_samples(data_dir):\n"
        "    return {'path': ['red/2.png', 'blue/4.png']}\n"
    )
    samples = build(data, split="official", labels=LabelRule(rule="adapter"))
    assert samples.train["image_id"].tolist() == ["blue/3", "red/1"]
    assert samples.test["image_id"].tolist() == ["blue/4", "red/2"]
    assert samples.test["label"].tolist() == ["", ""]


def test_images_that_a_csv_names_and_the_folder_lacks_are_named(data):
    rows = "id,label\nred/1,red\nblue/3,blue\n" + "".join(f"red/{k},red\n" for k in range(50, 57))
    write_files(data, {"labels.csv": rows.encode()})
    with pytest.raises(DataError) as caught:
        build(data, split="none", labels=LabelRule(rule="csv", file="labels.csv", suffix=".png"))
    for fragment in ("7 images that the labels name are not in", "'red/50.png'", "labels.suffix"):
        assert fragment in str(caught.value)
    assert "red/55" not in str(caught.value)


def test_images_that_a_partial_source_lacks_are_counted_and_left_out(data):
    write_files(data, {"labels.csv": b"id,label\nred/1,red\nblue/3,blue\nred/50,red\n"})
    rule = LabelRule(rule="csv", file="labels.csv", suffix=".png")
    samples = build(data, split="none", labels=rule, sources={"part": SourceSet(complete=False)})
    assert (samples.missing, samples.train["image_id"].tolist()) == (1, ["blue/3", "red/1"])


def test_exact_copies_share_a_group(data):
    write_files(data, {"red/7.png": coloured_png("red", 0), "blue/8.png": coloured_png("blue", 8)})  # as red/1
    groups = dict(zip(*build(data, split="none").table[["image_id", "group"]].to_numpy().T, strict=True))
    assert groups["red/7"] == groups["red/1"]
    assert len(set(groups.values())) == 5


def test_fixes_are_applied_before_anything_else_and_change_the_fingerprint(data):
    fixes = Fixes(
        rows=(
            Fix(image_id="red/2", action="drop", why="a hand"),
            Fix(image_id="blue/4", action="relabel", label="red", why="is red"),
        )
    )
    asked = competition(data.parent)
    made = build_samples(asked, data, protocol=protocol(split="none"), fixes=fixes)
    assert made.table["image_id"].tolist() == ["blue/3", "blue/4", "red/1"]
    assert made.table["label"].tolist() == ["blue", "red", "red"]
    assert made.fixes == fixes
    assert (data / "red/2.png").is_file()
    assert made.fingerprint != build(data, split="none").fingerprint


def test_a_group_pattern_groups_images(data):
    samples = build(data, split="none", labels=LabelRule(rule="folder", group_pattern="^(?P<group>.)"))
    assert samples.table["group"].tolist() == ["b", "b", "r", "r"]


def test_a_random_split_parts_no_group(data):
    grouped = LabelRule(rule="folder", group_pattern="^(?P<group>.)")
    with pytest.raises(DataError, match="with one class only"):  # whole colours are groups: one side gets one of them
        build(data, labels=grouped, split="random", test_share=0.5)


def test_images_without_a_group_are_named(data):
    with pytest.raises(DataError, match=r"2 images match no group: .*'blue/3\.png', 'blue/4\.png'"):
        build(data, split="none", labels=LabelRule(rule="folder", group_pattern="^(?P<group>red)"))


def test_other_pixels_are_another_fingerprint(data):
    before = build(data, split="none").fingerprint
    assert build(data, split="none").fingerprint == before
    write_files(data, {"red/1.png": coloured_png("red", 99)})
    assert build(data, split="none").fingerprint != before
