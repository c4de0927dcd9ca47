"""Predictions made elsewhere: read in whatever columns they come, and every fault refused in one paragraph."""

import csv
import io
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import competition

from kit.data.schema import with_targets
from kit.errors import DataError, KitError
from kit.judge.outside_file import read_outside
from kit.rules import SubmissionRule

CLASSES = ("blue", "red")
OURS = """\
image_id,probability_blue,probability_red
test/b,0.9,0.1
test/a,0.2,0.8
"""
FOLDED = """\
image_id,fold,probability_blue,probability_red
train/c,0,0.9,0.1
train/d,1,0.2,0.8
"""


def samples(*, unlabelled=False):
    rows = [("test/a", "red"), ("test/b", "" if unlabelled else "blue"), ("train/c", "blue"), ("train/d", "red")]
    return pd.DataFrame(
        {
            "image_id": [name for name, _ in rows],
            "path": [f"{name}.png" for name, _ in rows],
            "label": [label for _, label in rows],
            "group": [name for name, _ in rows],
            "split": [name.split("/")[0] for name, _ in rows],
        }
    )


@pytest.fixture
def read(tmp_path):
    def call(text, *, table=None, out_of_fold=False, **changes):
        path = tmp_path / "theirs.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        found = competition(
            tmp_path, **{"submission": SubmissionRule(id_column="id", label_column="colour"), **changes}
        )
        return read_outside(
            path, competition=found, table=samples() if table is None else table, out_of_fold=out_of_fold
        )

    return call


def test_probabilities_are_joined_to_the_truth_by_id_and_not_by_row(read):
    found = read(OURS)
    predictions = found.predictions
    assert (predictions.kind, found.takes, found.num_folds) == ("test", "probabilities", None)
    assert predictions.image_ids == ("test/a", "test/b")
    assert predictions.labels == ("red", "blue")
    assert predictions.probabilities.tolist() == pytest.approx(np.array([[0.2, 0.8], [0.9, 0.1]]))
    assert len(found.digest) == 64


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("id,blue,red\nb,0.9,0.1\na,0.2,0.8\n", {}),  # the competition's own columns; ids without folder
        ("id,blue,red\nb.png,0.9,0.1\na.png,0.2,0.8\n", {}),  # file names
        ("\ufeffimage_id,blue,red\r\ntest/b,0.9,0.1\r\ntest/a,0.2,0.8\r\n", {}),  # as Excel writes it
        ('"image_id","red","blue"\n"test/b","1e-1","0.9"\n"test/a","0.8","0.2"\n', {}),  # columns in another order
        (
            "id,p\nb,0.1\na,0.8\n",
            {"submission": SubmissionRule(label_column="p", values="probability_of", of_class="red")},
        ),
    ],
    ids=["classes", "names", "excel", "order", "probability-of"],
)
def test_the_same_answers_in_other_columns_are_the_same(read, text, changes):
    assert read(text, **changes).predictions.probabilities == pytest.approx(read(OURS).predictions.probabilities)


@pytest.mark.parametrize("column", ["label", "colour"])
def test_classes_alone_are_answers_of_probability_one(read, column):
    found = read(f"image_id,{column}\ntest/b,blue\ntest/a,blue\n")
    assert found.takes == "classes"
    assert found.predictions.probabilities.tolist() == [[1, 0], [1, 0]]


def test_folds_say_that_training_images_were_held_out(read):
    found = read(FOLDED)
    assert (found.predictions.kind, found.num_folds) == ("out-of-fold", 2)
    assert found.predictions.folds.tolist() == [0, 1]


def test_somebody_may_declare_it(read):
    text = FOLDED.replace("fold,", "", 1).replace("c,0,", "c,").replace("d,1,", "d,")
    with pytest.raises(DataError, match="a network knows what it was trained on"):
        read(text)
    found = read(text, out_of_fold=True)
    assert (found.predictions.kind, found.num_folds) == ("out-of-fold", None)


def test_what_a_row_is_above_one_improves_no_score(read):
    text = "image_id,probability_blue,probability_red\ntest/b,0.9,0.1\ntest/a,0.2,0.8\n"
    above = "image_id,probability_blue,probability_red\ntest/b,0.90891,0.10099\ntest/a,0.20198,0.80792\n"
    plain, scaled = read(text).predictions, read(above).predictions
    assert scaled.probabilities == pytest.approx(plain.probabilities, abs=1e-6)
    assert scaled.probabilities.sum(axis=1) == pytest.approx([1, 1], abs=1e-6)


def test_several_labels_need_no_sum(read):
    table = with_targets(samples(), np.array([[1, 1], [0, 1], [1, 0], [0, 0]], dtype=float), classes=CLASSES)
    found = read(OURS.replace("0.9,0.1", "0.9,0.9"), table=table, task="multi-label", metric="mean_f1")
    assert found.predictions.targets.tolist() == [[1, 1], [0, 1]]
    rule = SubmissionRule(label_column="labels", values="labels")
    named = read("id,labels\na,blue red\nb,\n", table=table, task="multi-label", metric="mean_f1", submission=rule)
    assert named.predictions.probabilities.tolist() == [[1, 1], [0, 0]]


FAULTS = {
    "empty": ("", "cannot be read as CSV"),
    "header only": ("image_id,blue,red\n", "no rows"),
    "not text": (b"\xff\xfe\x00\x01", "cannot be read as CSV in UTF-8"),
    "nul": (OURS.encode() + b"\0", "NUL bytes"),
    "short row": ("image_id,blue,red\ntest/a,1,0\ntest/b,1\n", "first '' in line 3"),
    "long row": ("image_id,blue,red\ntest/a,1,0,7\ntest/b,1,0,8\n", "cannot be read as CSV"),
    "column twice": ("image_id,blue,red,red\ntest/a,1,0,0\n", "the column 'red' more than once"),
    "no id": ("name,blue,red\ntest/a,1,0\n", "no column names the image; expected 'image_id' or 'id', found 'name'"),
    "no answer": ("image_id,fold\ntest/a,1\ntest/b,1\n", "no column holds an answer"),
    "unknown id": (OURS.replace("test/a", "test/aa"), "1 of 2 ids name no image of this competition, first 'test/aa'"),
    "id twice": (OURS + "test/a,0.5,0.5\n", "1 images stand there more than once, first 'test/a'"),
    "id twice, spelled twice": (OURS + "a,0.5,0.5\n", "more than once, first 'test/a'"),
    "image left out": ("image_id,blue,red\ntest/a,1,0\n", "1 of 2 test images are left out, first 'test/b'"),
    "two sides": (OURS + "train/c,0.5,0.5\n", r"of several sides under this protocol \(2 test, 1 train\)"),
    "class missing": ("image_id,blue\ntest/a,1\ntest/b,1\n", "1 of 2 columns with answers are missing, first 'red'"),
    "unknown class": (OURS.replace("_red", "_read"), "missing, first 'probability_red'"),
    "one class more": (
        "image_id,blue,red,green\ntest/a,1,0,0\ntest/b,1,0,0\n",
        "belong to no class of this competition, first 'green'",
    ),
    "unknown answer": ("image_id,label\ntest/a,bleu\ntest/b,red\n", "'bleu' is no class .* Did you mean 'blue'"),
    "words": (OURS.replace("0.8", "high"), "1 cells are no finite numbers, first 'high' in line 3, image 'test/a'"),
    "nan": (OURS.replace("0.8", "nan"), "first 'nan' in line 3"),
    "nothing": (OURS.replace("0.8", ""), "first '' in line 3"),
    "infinite": (OURS.replace("0.8", "inf"), "first 'inf' in line 3"),
    "negative": (OURS.replace("0.2,0.8", "-0.2,1.2"), r"2 cells lie outside \[0, 1\], first -0.2"),
    "percent": (OURS.replace("0.2,0.8", "20,80"), "not logits or percent"),
    "sum": (OURS.replace("0.2,0.8", "0.2,0.7"), "1 rows do not sum to 1; furthest off is 0.9 in line 3"),
    "another truth": (
        "image_id,label,blue,red\ntest/a,blue,0.2,0.8\ntest/b,blue,1,0\n",
        "differs from the true label of 1 images, first 'test/a': 'blue' there, 'red' here",
    ),
    "one fold": (FOLDED.replace("d,1", "d,0"), "all training images are in one fold"),
    "half a fold": (FOLDED.replace("d,1", "d,0.5"), "line 3: the fold of a training image is '0.5'"),
    "no fold": (FOLDED.replace("d,1", "d,-1"), "line 3: the fold of a training image is '-1'"),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_refused_in_one_paragraph_that_names_the_file(read, text, message):
    with pytest.raises(DataError, match=message) as caught:
        read(text)
    assert "theirs.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError, match="The predictions "):
            read_outside(path, competition=competition(tmp_path), table=samples())


def test_images_without_known_labels_cannot_be_judged(read):
    with pytest.raises(DataError, match="the labels of 1 of these 2 test images are not known here"):
        read(OURS, table=samples(unlabelled=True))


def test_a_name_that_two_images_share_must_be_spelled_out(read):
    table = samples().assign(
        image_id=["x/a", "y/a", "train/c", "train/d"], path=["x/a.png", "y/a.png", "c.png", "d.png"]
    )
    with pytest.raises(DataError, match="'a' could be several images: give image_id"):
        read("image_id,blue,red\na,1,0\n", table=table)
    assert read("image_id,blue,red\nx/a,1,0\ny/a,1,0\n", table=table).predictions.image_ids == ("x/a", "y/a")


CELLS = st.text(alphabet=st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ["test/a", "test/b", "blue", "red", "0.5", "1", "nan", "image_id", "label", "fold", "probability_blue"]
)


@given(st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=5))
def test_any_table_is_read_or_refused_and_never_breaks(tmp_path, rows):
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    path = tmp_path / "any.csv"
    path.write_bytes(text.getvalue().encode())
    with suppress(KitError):
        found = read_outside(path, competition=competition(tmp_path), table=samples())
        assert set(found.predictions.image_ids) in ({"test/a", "test/b"}, {"train/c", "train/d"})
        assert np.isfinite(found.predictions.probabilities).all()


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_and_never_break(tmp_path, content):
    path = tmp_path / "any.csv"
    path.write_bytes(content)
    with pytest.raises(DataError):
        read_outside(path, competition=competition(tmp_path), table=samples())
