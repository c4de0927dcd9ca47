"""Predictions and the submission made of them: the competition's columns, every id once, in the sample's order."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from toys import competition

from kit.errors import DataError, SubmissionError
from kit.judge.judgement import judge
from kit.judge.predict import Predictions, join_folds, read_predictions, write_predictions
from kit.kaggle.submission import check_sample, submission_table, write_submission
from kit.rules import SubmissionRule


def predictions(image_ids=("test/a", "test/b"), probabilities=((0.25, 0.75), (0.5, 0.5))):
    return Predictions(
        kind="test",
        image_ids=tuple(image_ids),
        classes=("blue", "red"),
        probabilities=np.array(probabilities, dtype=np.float32),
        labels=("",) * len(image_ids),
        folds=np.full(len(image_ids), -1),
    )


def table(tmp_path, *, sample=None, found=None, **rule):
    if sample is not None:
        (tmp_path / "sample.csv").write_text(sample, encoding="utf-8")
        rule["sample"] = "sample.csv"
    asked = competition(tmp_path, submission=SubmissionRule(**rule))
    return submission_table(asked, found or predictions(), data=tmp_path)


def test_labels_are_the_likeliest_classes(tmp_path):
    found = table(tmp_path, label_column="colour")
    assert found.to_dict("list") == {"id": ["test/a", "test/b"], "colour": ["red", "blue"]}  # a tie: the first class


def test_probabilities_get_a_column_per_class(tmp_path):
    found = table(tmp_path, values="probabilities")
    assert found.to_dict("list") == {"id": ["test/a", "test/b"], "blue": [0.25, 0.5], "red": [0.75, 0.5]}


def test_the_probability_of_one_class_gets_one_column(tmp_path):
    found = table(tmp_path, values="probability_of", of_class="red", label_column="is_red")
    assert found.to_dict("list") == {"id": ["test/a", "test/b"], "is_red": [0.75, 0.5]}


def test_the_sample_gives_ids_order_and_columns(tmp_path):
    found = table(tmp_path, values="probabilities", sample="id,red,blue\nb,0,1\na,0,1\n")
    assert list(found.columns) == ["id", "red", "blue"]
    assert found.values.tolist() == [["b", 0.5, 0.5], ["a", 0.75, 0.25]]


def test_ids_are_spelt_as_in_the_sample(tmp_path):
    found = table(tmp_path, sample="id,label\nb.jpg,x\na.jpg,x\n")
    assert found["id"].tolist() == ["b.jpg", "a.jpg"]
    assert found["label"].tolist() == ["blue", "red"]


def test_leading_zeros_survive(tmp_path):
    found = table(tmp_path, sample="id,label\n0002,x\n0001,x\n", found=predictions(("test/0001", "test/0002")))
    path = write_submission(tmp_path / "submission.csv", found)
    assert path.read_text() == "id,label\n0002,blue\n0001,red\n"


def test_an_id_that_was_not_predicted_is_named(tmp_path):
    with pytest.raises(SubmissionError, match=r"1 of 3 ids have none \(first \['c'\]\), 0 predicted ids"):
        table(tmp_path, sample="id,label\na,x\nb,x\nc,x\n")


def test_a_prediction_that_the_sample_does_not_know_is_named(tmp_path):
    with pytest.raises(
        SubmissionError, match=r"0 of 1 ids have none .* 1 predicted ids are not in it \(first \['b'\]\)"
    ):
        table(tmp_path, sample="id,label\na,x\n")


def test_an_id_that_the_sample_names_twice_is_refused(tmp_path):
    with pytest.raises(SubmissionError, match="more than once"):
        table(tmp_path, sample="id,label\na,x\nb,x\nb,x\n")


def test_two_test_images_of_one_name_are_refused(tmp_path):
    with pytest.raises(SubmissionError, match="more than once"):
        table(tmp_path, sample="id,label\na,x\n", found=predictions(("one/a", "two/a")))


def test_a_sample_without_the_column_is_refused(tmp_path):
    with pytest.raises(SubmissionError, match=r"sample\.csv lacks the column 'label'"):
        table(tmp_path, sample="id,breed\na,x\nb,x\n")


def check(tmp_path, sample, ids=("test/a", "test/b"), **rule):
    (tmp_path / "sample.csv").write_text(sample, encoding="utf-8")
    asked = competition(tmp_path, submission=SubmissionRule(sample="sample.csv", **rule))
    check_sample(asked, ids, data=tmp_path)


@pytest.mark.parametrize(
    ("sample", "rule", "fault"),
    [
        ("id,label,Usage\na,x,Public\nb,x,Private\n", {}, r"has the column 'Usage', for which there are no values"),
        ("id,breed\na,x\nb,x\n", {}, r"lacks the column 'label' and has the column 'breed'"),
        ("image,label\na,x\nb,x\n", {}, r"lacks the column 'id'"),
        ("id,blue\na,0\nb,0\n", {"values": "probabilities"}, r"lacks the column 'red'.* have 3 \(id, blue, red\)"),
        ("id,label\na,x\nc,x\n", {}, r"1 of 2 ids have none \(first \['c'\]\)"),
    ],
)
def test_a_sample_that_does_not_fit_is_found_before_the_training(tmp_path, sample, rule, fault):
    with pytest.raises(SubmissionError, match=fault):
        check(tmp_path, sample, **rule)


def test_a_sample_that_fits_is_let_pass(tmp_path):
    check(tmp_path, "id,label\nb,x\na.jpg,x\n")
    check(tmp_path, "red,id,blue\n0,b,1\n0,a,1\n", values="probabilities")
    check(tmp_path, "id,label\ntest/b.png,x\ntest/a.png,x\n", ids=("test/a", "test/b"))
    with pytest.raises(SubmissionError, match=r"The sample submission not_there\.csv is not in"):
        check_sample(competition(tmp_path), ("a",), data=tmp_path, sample="not_there.csv")


def test_ids_with_dots_are_told_apart(tmp_path):
    ids = ("test/img_1.2", "test/img_1.3")
    for sample in ("id,label\nimg_1.3,x\nimg_1.2,x\n", "id,label\nimg_1.3.JPG,x\nimg_1.2.JPG,x\n"):
        check(tmp_path, sample, ids=ids)
        found = table(tmp_path, sample=sample, found=predictions(ids))
        assert found["label"].tolist() == ["blue", "red"]
    paths = {ids[0]: "test/img_1.2.png", ids[1]: "test/img_1.3.png"}
    asked = competition(tmp_path, submission=SubmissionRule(ids="name", sample="sample.csv"))
    (tmp_path / "sample.csv").write_text("id,label\nimg_1.3.png,x\nimg_1.2.png,x\n")
    found = submission_table(asked, predictions(ids), data=tmp_path, paths=paths)
    assert found.values.tolist() == [["img_1.3.png", "blue"], ["img_1.2.png", "red"]]


def test_a_sample_is_not_compared_where_an_adapter_writes_the_rows(tmp_path):
    (tmp_path / "adapter.py").write_text("def submission_rows(predictions):\n    return [1, 2]\n")
    check(tmp_path, "image,one,two\nx,1,2\n")
    with pytest.raises(SubmissionError, match=r"submission_rows in .*adapter\.py gave a list, expected a pandas"):
        submission_table(competition(tmp_path), predictions(), data=tmp_path)


def test_ids_may_be_the_last_part_of_the_path_or_the_file_name(tmp_path):
    assert table(tmp_path, ids="stem")["id"].tolist() == ["a", "b"]
    asked = competition(tmp_path, submission=SubmissionRule(ids="name"))
    paths = {"test/a": "test/a.jpg", "test/b": "test/b.JPEG"}
    found = submission_table(asked, predictions(), data=tmp_path, paths=paths)
    assert found["id"].tolist() == ["a.jpg", "b.JPEG"]


def test_a_sample_may_name_ids_with_folder_and_suffix(tmp_path):
    found = table(tmp_path, ids="name", sample="id,label\ntest_stg2/b.jpg,x\na.jpg,x\n")
    assert found["id"].tolist() == ["test_stg2/b.jpg", "a.jpg"]


def test_ids_that_are_numbers_are_ordered_by_value(tmp_path):
    found = table(tmp_path, ids="stem", found=predictions(("test/10", "test/9")))
    assert found["id"].tolist() == ["9", "10"]


def test_another_sample_may_belong_to_the_protocol(tmp_path):
    (tmp_path / "stage2.csv").write_text("id,label\nb,x\na,x\n")
    asked = competition(tmp_path, submission=SubmissionRule(sample="stage1.csv"))
    found = submission_table(asked, predictions(), data=tmp_path, sample="stage2.csv")
    assert found["id"].tolist() == ["b", "a"]
    with pytest.raises(SubmissionError, match=r"sample submission stage1\.csv is not in"):
        submission_table(asked, predictions(), data=tmp_path)


def test_several_labels_are_those_with_at_least_one_half(tmp_path):
    found = table(tmp_path, values="labels", separator=" ", label_column="tags")
    assert found["tags"].tolist() == ["red", "blue red"]


def test_probabilities_are_kept_off_0_and_1_by_the_clip(tmp_path):
    asked = competition(tmp_path, submission=SubmissionRule(values="probability_of", of_class="red"))
    sure = predictions(probabilities=((0.0, 1.0), (1.0, 0.0)))
    assert submission_table(asked, sure, data=tmp_path, clip=0.01)["label"].tolist() == [0.99, 0.01]


def test_probabilities_of_several_labels_are_clipped_each_alone(tmp_path):
    classes = ("blue", "red", "green")
    sure = replace(predictions(), classes=classes, probabilities=np.array([[1.0, 1.0, 0.0], [0.5, 0.0, 0.0]]))
    rule = SubmissionRule(values="probabilities")
    asked = competition(tmp_path, submission=rule, task="multi-label", classes=classes)
    found = submission_table(asked, sure, data=tmp_path, clip=0.1)
    assert found.loc[0, list(classes)].tolist() == pytest.approx([0.9, 0.9, 0.1])
    assert found.loc[1, list(classes)].tolist() == pytest.approx([0.5, 0.1, 0.1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_no_number_is_refused(tmp_path, bad):
    with pytest.raises(SubmissionError, match=r"hold values that are not numbers. Train again"):
        table(tmp_path, found=predictions(probabilities=((bad, 0.5), (0.5, 0.5))))


def test_the_adapter_may_make_the_rows_itself(tmp_path):
    (tmp_path / "adapter.py").write_text(
        "import pandas as pd\n"
        "def submission_rows(predictions):\n"
        "    return pd.DataFrame({'name': predictions.image_ids, 'n': 1})\n"
    )
    asked = competition(tmp_path)
    found = submission_table(asked, predictions(), data=tmp_path)
    assert found.to_dict("list") == {"name": ["test/a", "test/b"], "n": [1, 1]}


def test_a_written_submission_is_read_back_the_same(tmp_path):
    found = table(tmp_path, values="probabilities")
    path = write_submission(tmp_path / "runs" / "submission.csv", found)
    pd.testing.assert_frame_equal(pd.read_csv(path), found, check_dtype=False)
    assert b"\r" not in path.read_bytes()


def test_the_predictions_stay_as_they_were(tmp_path):
    before = predictions()
    copy = replace(before, probabilities=before.probabilities.copy())
    table(tmp_path, sample="id,label\nb,x\na,x\n", found=before)
    assert (before.probabilities == copy.probabilities).all()
    assert before.image_ids == copy.image_ids


# The predictions themselves.


def test_predictions_are_read_back_bit_by_bit(tmp_path):
    thirds = np.array([[1 / 3, 2 / 3], [0.1, 0.9]], dtype=np.float32)
    before = predictions(("test/NA", "test/007"), thirds)
    write_predictions(tmp_path / "test.csv", before)
    after = read_predictions(tmp_path / "test.csv", kind="test", classes=before.classes)
    assert (after.image_ids, after.labels, after.classes) == (before.image_ids, before.labels, before.classes)
    np.testing.assert_array_equal(after.probabilities, before.probabilities)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read"),
        ("image_id,fold,label,probability_red,probability_blue\n", "has the columns"),
        ("image_id,fold,label,probability_blue,probability_red\na,0,,0,1\na,0,,0,1\n", "more than once, first 'a'"),
    ],
)
def test_a_file_of_other_predictions_is_refused(tmp_path, content, message):
    (tmp_path / "test.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_predictions(tmp_path / "test.csv", kind="test", classes=("blue", "red"))


def test_joined_folds_have_every_image_once():
    joined = join_folds([predictions(("a", "b")), predictions(("c", "d"))])
    assert (joined.kind, joined.image_ids) == ("out-of-fold", ("a", "b", "c", "d"))
    with pytest.raises(AssertionError):
        join_folds([predictions(("a", "b")), predictions(("b", "c"))])


def test_predictions_without_the_truth_are_not_judged():
    with pytest.raises(DataError, match="2 of 2 predicted images have no known label"):
        judge(predictions(), metric="accuracy")


def test_predictions_with_the_truth_are_judged_by_the_metric_first():
    found = judge(replace(predictions(), labels=("red", "red")), metric="error_rate")
    assert list(found.scores) == ["error_rate", "accuracy", "mean_per_class_accuracy"]
    assert found.scores["error_rate"].value == 0.5  # the tie goes to the first class, blue
    assert found.matrix.tolist() == [[0, 0], [1, 1]]
    assert found.confused == [("red", "blue", 1)]
