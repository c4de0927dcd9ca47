"""Uploads are read as hostile input: what is wrong is said, and nothing else happens."""

import io
import zipfile

import numpy as np
import pytest
from hosting import BINARY, IDS, TRUTH, csv_of, guesses, hosted_question
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import CompetitionError, SubmissionError
from kit.host import reading
from kit.host.reading import Form, form_of, read_answers
from kit.kaggle import lint_values
from kit.rules import SubmissionRule

SMALL = ("a", "b")


def form(**changes: object) -> Form:
    """Return the form of a submission with the probability of red."""
    plain = {
        "id_column": "id",
        "value_columns": ("red",),
        "values": "probability_of",
        "classes": ("blue", "red"),
        "separator": " ",
        "of_class": "red",
        "task": "single-label",
        "metric": "log_loss",
    }
    return Form(**{**plain, **changes})  # type: ignore[arg-type]


LABEL = form(values="label", value_columns=("label",))
LABELS = form(values="labels", value_columns=("tags",), task="multi-label", metric="mean_f1")
ALL = form(values="probabilities", value_columns=("blue", "red"))


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)
    return out.getvalue()


def test_each_kind_of_submission_becomes_a_row_of_answers_per_image_whatever_the_order_of_rows():
    assert read_answers(b"id,red\nb,0.25\na,1\n", form(), SMALL).tolist() == [[0, 1], [0.75, 0.25]]
    assert read_answers(b"id,label\nb,red\na,blue\n", LABEL, SMALL).tolist() == [[1, 0], [0, 1]]
    assert read_answers(b"id,tags\nb,\na,red blue\n", LABELS, SMALL).tolist() == [[1, 1], [0, 0]]
    assert read_answers(b"id,blue,red\nb,0.5,0.5\na,1,0\n", ALL, SMALL).tolist() == [[1, 0], [0.5, 0.5]]
    assert read_answers(b"red,id\r\n.5,b\r\n1e-1,a\r\n", form(), SMALL).tolist() == [[0.9, 0.1], [0.5, 0.5]]


def test_a_byte_order_mark_and_a_zip_around_the_file_do_no_harm():
    content = b"\xef\xbb\xbfid,red\na,1\nb,0\n"
    assert read_answers(content, form(), SMALL).tolist() == [[0, 1], [1, 0]]
    assert read_answers(zipped({"sub.csv": content}), form(), SMALL).tolist() == [[0, 1], [1, 0]]


FAULTS = [
    (b"", "is empty"),
    (b"\n\n", "is empty"),
    (b"id,red\n", "2 of 2 test ids have no row, first 'a', 'b'"),
    (b"id,red\na,1\n", "1 of 2 test ids have no row, first 'b'"),
    (b"id,red\na,1\nb,0\na,1\n", "Row 4 has the id 'a' for the second time"),
    (b"id,red\na,1\nc,0\n", "Row 3 has the id 'c', which is not among the test ids"),
    (b"id,red\n=1+1,1\n", "Row 2 has '=1+1', which a spreadsheet would run as a formula"),
    (b"id,red\na,=HYPERLINK(1)\n", "would run as a formula"),
    (b"id,red\na,@SUM(1)\n", "would run as a formula"),
    (b"id,red\na,+cmd|' /C calc'!A0\n", "would run as a formula"),
    (b"id,red\na,nan\n", "Row 2 has 'nan' where a number was expected"),
    (b"id,red\na,inf\n", "where a number was expected"),
    (b"id,red\na,1_0\n", "where a number was expected"),
    (b"id,red\na,\n", "where a number was expected"),
    ("id,red\na,１\n".encode(), "where a number was expected"),
    (b"id,red\na,1.5\n", "Row 2 has '1.5'; a probability is between 0 and 1"),
    (b"id,red\na,-0.1\n", "a probability is between 0 and 1"),
    (b"id,red\na,1e999\n", "too large a number"),
    (b"id\na\nb\n", "lacks the column 'red'"),
    (b"0.5\n", "lacks the column 'id'"),
    (b"id,red,extra\na,1,2\n", "has the column 'extra'"),
    (b"id,red,red\na,1,1\n", "names a column twice"),
    (b"id;red\na;1\n", "lacks the column 'id'"),
    (b"id,red\na,1,2\n", "Row 2 has 3 cells; the header has 2 columns"),
    (b"id,red\na\n", "Row 2 has 1 cells"),
    (b'id,red\n"a"x,1\n', "Line 2 is not CSV"),
    (b'id,red\n"a,1\n', "is not CSV"),
    (b"id,red\na,\0\n", "has a NUL at byte 9"),
    ("id,red\na,1\n".encode("utf-16"), "is UTF-16"),
    (b"id,red\n\xe4,1\n", "is not UTF-8: byte 7 is 0xe4"),
    (b"id,red\n" + b"a" * 20_000 + b",1\n", "a cell of more than 10,000 characters"),
    (b"id,red\n" + b"a" * 200_000 + b",1\n", "Line 2 is not CSV: field larger than field limit"),
    (b"PK\x03\x04 this is no zip", "The zip cannot be unpacked"),
    (zipped({"a.csv": b"", "b.csv": b""}), "The zip has 2 files in it"),
    (b"id,red\n\x1b[31m\x07,1\n", r"Row 2 has the id '\x1b[31m\x07'"),
]


@pytest.mark.parametrize(("content", "message"), FAULTS)
def test_what_is_wrong_with_an_upload_is_said(content, message):
    with pytest.raises(SubmissionError) as caught:
        read_answers(content, form(), SMALL)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


def test_rows_of_probabilities_must_sum_to_one_or_a_row_of_ones_would_win():
    with pytest.raises(SubmissionError, match="row 2 sum to 2; they should sum to 1"):
        read_answers(b"id,blue,red\na,1,1\nb,1,1\n", ALL, SMALL)
    rounded = read_answers(b"id,blue,red\na,0.3333,0.6663\nb,1,0\n", ALL, SMALL)
    assert rounded.sum(axis=1).tolist() == pytest.approx([1, 1], abs=1e-12)


def test_an_area_under_the_curve_takes_any_finite_number():
    assert read_answers(b"id,red\na,-3\nb,12\n", form(metric="roc_auc"), SMALL)[:, 1].tolist() == [-3, 12]


def test_an_unknown_class_is_named_with_the_known_ones():
    with pytest.raises(SubmissionError, match=r"Row 2 has the class 'green'\. The classes are blue, red"):
        read_answers(b"id,label\na,green\n", LABEL, SMALL)
    with pytest.raises(SubmissionError, match="parted by ' '"):
        read_answers(b"id,tags\na,red;blue\n", LABELS, SMALL)


def test_a_zip_bomb_is_unfolded_no_further_than_an_upload_may_be_large(monkeypatch):
    monkeypatch.setattr(reading, "MAX_BYTES", 10_000)
    with pytest.raises(SubmissionError, match="unfolds to more than 10,000 bytes"):
        read_answers(zipped({"bomb.csv": b"0" * 1_000_000}), form(), SMALL)
    with pytest.raises(SubmissionError, match="up to 10,000 are taken"):
        read_answers(b"0" * 10_001, form(), SMALL)


@pytest.mark.parametrize("start", [b"", b"id,red\n", b'id,red\n"a\nb"'])
def test_a_row_of_nothing_but_commas_is_refused_before_it_becomes_cells(start):
    with pytest.raises(SubmissionError, match=r"The row at line \d has 2,000,\d+ commas; up to 100,000 cells are read"):
        read_answers(zipped({"wide.csv": start + b"," * 2_000_000}), form(), SMALL)


def test_the_bound_on_cells_is_for_each_row_and_quoted_line_breaks_are_within_one(monkeypatch):
    monkeypatch.setattr(reading, "MAX_CELLS", 3)
    content = b'id,red\n"a\nb",1\n"c\r\n,d",0.5\ne,0\n'
    found = read_answers(content, form(), ("a\nb", "c\r\n,d", "e"))
    assert found.tolist() == [[0, 1], [0.5, 0.5], [1, 0]]
    with pytest.raises(SubmissionError, match="row at line 5 has 4 commas; up to 3 cells are read"):
        read_answers(b'id,red\na,1\n"b,\n,\n,",0\n', form(), SMALL)


def test_what_the_linter_lets_pass_is_read():
    assert reading.SUM_TOLERANCE == lint_values.SUM_TOLERANCE
    off = read_answers(b"id,blue,red\na,0.5,0.4901\nb,1,0.0099\n", ALL, SMALL)
    assert off.sum(axis=1).tolist() == pytest.approx([1, 1], abs=1e-12)
    spaced = read_answers(b"id,tags\nb, \na,red  blue \n", LABELS, SMALL)
    assert spaced.tolist() == [[1, 1], [0, 0]]


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_be_refused(content):
    with pytest.raises(SubmissionError):
        read_answers(content, form(), SMALL)


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_a_cell_holds_the_message_can_be_printed(first, second):
    line = ",".join('"' + cell.replace('"', '""') + '"' for cell in (first, second))
    with pytest.raises(SubmissionError) as caught:  # at the latest, because no row is left for "a"
        read_answers(f"id,red\n{line}\nb,0\n".encode(errors="replace"), form(), ("a", "b", "c"))
    assert str(caught.value).isprintable()


def test_competitions_whose_columns_leave_something_open_are_not_hosted(tmp_path):
    three = hosted_question(tmp_path, classes=("blue", "red", "green"), submission=BINARY)
    with pytest.raises(CompetitionError, match="the probability of 'red' alone, and of 3 classes"):
        form_of(three)
    own = hosted_question(tmp_path, submission=SubmissionRule(values="label"))
    (tmp_path / "adapter.py").write_text("def submission_rows(predictions):\n    return None\n")
    with pytest.raises(CompetitionError, match=r"submission_rows in its adapter\.py"):
        form_of(own)


def test_a_submission_that_the_helper_writes_is_read_back(tmp_path):
    found = read_answers(guesses(0.8), form_of(hosted_question(tmp_path)), IDS)
    assert found[np.arange(len(IDS)), TRUTH].tolist() == pytest.approx([0.8] * len(IDS))
    assert csv_of(TRUTH).splitlines()[1] == b"img000,0.000000"
