"""Splits: the publisher's lists, however their names are spelt and whatever program wrote them."""

from pathlib import Path

import pandas as pd
import pytest
from toys import write_files

from kit.data.splits import official_split
from kit.errors import DataError
from kit.rules import SplitRule

LISTS = SplitRule(by="lists", train="train.txt", test="test.txt")
TABLE_CSV = SplitRule(by="csv", file="split.csv", id_column="name", split_column="half", train="first", test="second")


def split(folder: Path, ids: list[str], train: bytes, test: bytes, *, complete: bool = True) -> tuple[list[str], int]:
    write_files(folder, {"train.txt": train, "test.txt": test})
    return official_split(table_of(ids), LISTS, folder, complete=complete)


def table_of(ids: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"image_id": ids, "path": [f"{image_id}.png" for image_id in ids]}, dtype="str")


def test_a_byte_order_mark_belongs_to_no_name(tmp_path):
    assert split(tmp_path, ["a", "b"], b"\xef\xbb\xbfa\n", b"b\n") == (["train", "test"], 0)


def test_a_list_that_is_not_utf8_is_named(tmp_path):
    with pytest.raises(DataError, match=r"The list .*train\.txt is not UTF-8: .*Save it in that encoding"):
        split(tmp_path, ["a", "b"], "gr\u00fcn\n".encode("latin-1"), b"b\n")


def test_names_in_lists_may_have_the_suffix_of_an_image(tmp_path):
    ids = ["x/a", "x/b", "x/c.2", "x/c.3"]
    train, test = b"a.png 1\nx/c.2.JPG 1\n", b"x/b.jpeg\nc.3\n"
    assert split(tmp_path, ids, train, test) == (["train", "test", "train", "test"], 0)
    rows = "name,half\na.png,first\nc.2,first\nx/b.png,second\nx/c.3.png,second\n"
    write_files(tmp_path, {"split.csv": rows.encode()})
    found, _ = official_split(table_of(ids), TABLE_CSV, tmp_path, complete=True)
    assert found == ["train", "test", "train", "test"]


def test_an_image_on_both_lists_under_two_names_is_refused(tmp_path):
    for other in (b"red_20\n", b"red_20.png\n", b"x/red_20.jpg\n"):
        with pytest.raises(DataError, match=r"1 images are in the training list and in the test list.*\['x/red_20'\]"):
            split(tmp_path, ["x/red_20", "x/red_21"], b"x/red_20\nx/red_21\n", other)


def test_an_absent_image_on_both_lists_is_refused_too(tmp_path):
    with pytest.raises(DataError, match=r"1 images are in the training list and in the test list.*\['gone'\]"):
        split(tmp_path, ["a", "b"], b"a\ngone\n", b"b\ngone.png\n", complete=False)


def test_a_name_that_is_cut_may_still_be_in_two_folders(tmp_path):
    with pytest.raises(DataError, match=r"1 names in the publisher's lists .* first \['a'\]"):
        split(tmp_path, ["x/a", "y/a", "x/b"], b"a.png\n", b"b\n")


def test_absent_images_are_counted_as_the_lists_spell_them(tmp_path):
    assert split(tmp_path, ["a", "b"], b"a\nc.png\n", b"b\n", complete=False) == (["train", "test"], 1)
    with pytest.raises(DataError, match=r"name 1 images that are not in .* first \['c.png'\]"):
        split(tmp_path, ["a", "b"], b"a\nc.png\n", b"b\n")
