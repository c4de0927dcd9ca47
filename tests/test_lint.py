"""The linter: a valid submission passes, and each way to spoil one has its own code."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from lint_kinds import CLASSES, KINDS, MUTATIONS, make_case, predicted
from toys import competition
from typer.testing import CliRunner

from kit.board.records import all_records, run_folder, write_record
from kit.cli.lint import lint as lint_command
from kit.competition import load_competition
from kit.kaggle.lint import lint
from kit.kaggle.lint_codes import CODES
from kit.kaggle.lint_file import LARGEST
from kit.kaggle.submission import submission_table, write_submission
from kit.rules import SubmissionRule


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return {kind: make_case(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


def findings(case, path, **changes):
    known = {"data": case.data, "predictions": case.predictions, "out_of_fold": case.out_of_fold, **changes}
    return lint(path, case.competition, **known)


def codes(case, path, **changes):
    return [one.code for one in findings(case, path, **changes)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_valid_submission_passes(cases, kind):
    assert codes(cases[kind], cases[kind].valid) == []


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for name, (_, kinds, _) in MUTATIONS.items() for kind in kinds]
)
def test_each_fault_gives_its_own_code_and_no_other(cases, kind, name):
    code, _, mutate = MUTATIONS[name]
    found = findings(cases[kind], mutate(cases[kind]))
    assert [one.code for one in found] == [code]
    assert found[0].severity == CODES[code].severity
    assert found[0].message.endswith(".")
    assert found[0].remedy.endswith((".", "`."))


def test_there_are_at_least_thirty_faults_each_with_a_code_of_its_own():
    assert len(MUTATIONS) >= 30
    assert len({code for code, _, _ in MUTATIONS.values()}) == len(MUTATIONS)
    for kind in KINDS:
        assert sum(kind in kinds for _, kinds, _ in MUTATIONS.values()) >= 30


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_run_the_answers_are_not_checkable_and_it_says_so(cases, kind):
    found = findings(cases[kind], cases[kind].valid, predictions=None, out_of_fold=None)
    assert [(one.code, one.severity) for one in found] == [("L500", "not checkable"), ("L509", "not checkable")]


def test_without_the_sample_the_runs_ids_are_compared_and_their_order_is_not(cases):
    case = cases["binary"]
    rows = case.rows
    assert codes(case, case.written([rows[0], *rows[:0:-1]]), data=None) == ["L308"]
    assert codes(case, case.written(rows[:-1]), data=None) == ["L302", "L308"]


@given(order=st.permutations(range(40)))
def test_a_shuffle_with_its_ids_is_a_matter_of_order_only_where_the_sample_gives_one(cases, order):
    case = cases["multi-class"]
    shuffled = case.written([case.rows[0], *(case.rows[1 + k] for k in order)])
    in_order = list(order) == sorted(order)
    assert codes(case, shuffled) == ([] if in_order else ["L306"])
    assert codes(case, shuffled, data=None) == ["L308"]


@given(content=st.binary(max_size=300))
def test_no_bytes_make_it_fail(cases, content):
    case = cases["label"]
    found = findings(case, case.written(content))
    assert found
    assert any(one.severity == "error" for one in found)
    assert all(one.message.isprintable() for one in found)


@given(text=st.text(alphabet='ab01.,;"\n\r =-eE\u0660\x1b', max_size=120))
def test_no_text_makes_it_fail(cases, text):
    case = cases["binary"]
    assert any(one.severity == "error" for one in findings(case, case.written(f"id,answer\n{text}".encode())))


@given(decimals=st.integers(2, 12))
def test_rounding_to_two_decimals_or_more_is_no_fault(cases, decimals):
    case = cases["multi-class"]
    rows = [[one[0], *(f"{float(cell):.{decimals}f}" for cell in one[1:])] for one in case.rows[1:]]
    assert not {"L501", "L503", "L504", "L505", "L507"} & set(codes(case, case.written([case.rows[0], *rows])))


@pytest.mark.parametrize("kind", ["binary", "multi-class"])
@pytest.mark.parametrize("clip", [0.001, 0.02, 0.09])
def test_a_clipped_submission_is_still_the_runs(cases, kind, clip):
    case = cases[kind]
    table = submission_table(case.competition, case.predictions, data=case.data, clip=clip)
    assert codes(case, write_submission(case.data / "clipped.csv", table)) == []


def test_a_calibrated_submission_is_changed_and_not_another_runs(cases):
    case = cases["multi-class"]
    cooler = case.predictions.probabilities.astype(float) ** 0.5
    cooler = (cooler / cooler.sum(axis=1, keepdims=True)).astype(np.float32)
    table = submission_table(case.competition, replace(case.predictions, probabilities=cooler), data=case.data)
    assert codes(case, write_submission(case.data / "cooler.csv", table)) == ["L507"]


def test_a_few_answers_changed_by_hand_are_a_warning_that_counts_them(cases):
    case = cases["label"]
    rows = case.rows
    rows[5][1] = "ant" if rows[5][1] != "ant" else "bee"
    (found,) = findings(case, case.written(rows))
    assert (found.code, found.severity) == ("L507", "warning")
    assert "1 of 40 answers differ" in found.message


def test_another_protocols_file_is_told_from_one_with_faults(cases):
    case = cases["binary"]
    stage_two = predicted("binary", prefix="stage-2/")
    ids = tuple(f"stage-2/x{k}" for k in range(40))
    assert codes(case, case.valid, predictions=replace(stage_two, image_ids=ids)) == ["L506"]
    assert codes(case, case.valid, predictions=replace(stage_two, image_ids=ids), data=None) == ["L506", "L308"]


def test_one_that_is_sure_and_wrong_is_told_with_its_cost(cases):
    case = cases["binary"]
    rows = case.rows
    rows[3][1] = "1.0"
    (found,) = [one for one in findings(case, case.written(rows)) if one.code == "L417"]
    assert "costs 34.5, which is 0.86 on the mean of 40 images" in found.message  # 34.54 / 40
    rows = [[one[0], str(float(k % 2))] for k, one in enumerate(case.rows[1:])]
    found = findings(case, case.written([case.rows[0], *rows]), predictions=None)
    assert "costs 34.5" in next(one for one in found if one.code == "L418").message


def test_under_the_area_below_the_curve_any_numbers_rank(cases):
    case = cases["binary"]
    ranking = replace(case.competition, metric="roc_auc")
    rows = [case.rows[0], *([one[0], str(3 * float(one[1]) - 1)] for one in case.rows[1:])]
    found = lint(case.written(rows), ranking, data=case.data)
    assert [(one.code, one.severity) for one in found if one.severity != "not checkable"] == [("L406", "warning")]


def test_predicted_classes_unlike_those_out_of_fold_are_a_warning(cases):
    case = cases["multi-class"]
    mostly_ants = np.tile(np.array([[0.7, 0.1, 0.1, 0.1]], dtype=np.float32), (40, 1))
    (found,) = findings(case, case.valid, out_of_fold=replace(case.out_of_fold, probabilities=mostly_ants))
    assert (found.code, found.severity) == ("L508", "warning")
    assert "'ant', and of the 40 training images 100.0% were" in found.message


def test_digits_with_a_decimal_point_are_told(tmp_path):
    asked = competition(tmp_path, classes=("0", "1", "2"), submission=SubmissionRule())
    path = tmp_path / "digits.csv"
    path.write_text("id,label\na,0.0\nb,1.0\nc,2.0\n")
    assert [one.code for one in lint(path, asked, data=None)] == ["L414", "L308", "L500"]


def test_columns_of_several_labels_need_not_sum_to_one(tmp_path):
    asked = competition(
        tmp_path, task="multi-label", metric="roc_auc", submission=SubmissionRule(values="probabilities")
    )
    path = tmp_path / "several.csv"
    path.write_text("id,blue,red\na,0.9,0.9\nb,0.1,0.2\n")
    assert {one.severity for one in lint(path, asked, data=None)} == {"not checkable"}


def test_shifted_labels_of_a_lopsided_competition_are_seen(cases):
    case = cases["label"]
    probabilities = np.full((40, 4), 0.1, dtype=np.float32)
    probabilities[:, 0] = 0.7
    probabilities[[3, 9, 20, 31]] = (0.1, 0.7, 0.1, 0.1)
    found = replace(case.predictions, probabilities=probabilities)
    rows = [[one[0], CLASSES["label"][k]] for one, k in zip(case.rows[1:], probabilities.argmax(1), strict=True)]
    shifted = [[one[0], other[1]] for one, other in zip(rows, [*rows[1:], rows[0]], strict=True)]
    assert codes(case, case.written([case.rows[0], *shifted]), predictions=found, out_of_fold=None)[0] == "L503"


def test_a_file_that_is_not_there_is_one_finding(cases, tmp_path):
    (found,) = findings(cases["label"], tmp_path / "missing.csv", predictions=None, data=None)
    assert (found.code, found.name) == ("L100", "no such file")


def test_a_file_too_large_is_not_read(cases):
    path = cases["label"].data / "large.csv"
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)
    assert codes(cases["label"], path) == ["L102"]
    path.unlink()
    assert codes(cases["label"], path) == ["L100"]


@pytest.fixture
def kit():
    """Call the command as a shell would."""
    app = typer.Typer()
    app.command("lint")(lint_command)
    app.command("none")(lambda: None)
    return lambda *arguments: CliRunner().invoke(app, ["lint", *map(str, arguments)])


def test_the_command_passes_a_runs_own_submission_and_refuses_a_spoiled_one(finished_toy, kit, tmp_path):
    (record,) = all_records()
    own = run_folder(record.run_id) / "submission.csv"
    passed = kit(own, finished_toy, "--run", record.run_id)
    assert passed.exit_code == 0, passed.output
    assert "no errors" in passed.output
    spoiled = tmp_path / "spoiled.csv"
    spoiled.write_text(own.read_text().replace("image_id", "Image_Id").rsplit("\n", 2)[0] + "\n")
    refused = kit(spoiled, finished_toy, "--run", record.run_id, "--json")
    assert refused.exit_code == 2
    assert [one["code"] for one in json.loads(refused.stdout)["findings"] if one["severity"] == "error"] == [
        "L206",
        "L302",
    ]


def test_a_run_on_part_of_the_files_is_linted_by_its_protocol(finished_toy, kit):
    (record,) = all_records()
    part = replace(record, run_id="toy-part", protocol=f"{record.protocol}@{record.source}")
    shutil.copytree(run_folder(record.run_id), run_folder(part.run_id))
    (run_folder(part.run_id) / "record.json").unlink()
    write_record(part)
    passed = kit(run_folder(part.run_id) / "submission.csv", finished_toy, "--run", part.run_id)
    assert (passed.exit_code, passed.exception) == (0, None), passed.output


@pytest.mark.real
@pytest.mark.parametrize(
    ("slug", "folder"),
    [("aerial_cactus", "aerial-cactus"), ("plant_pathology_2020", "kaggle-csv/plant-pathology-2020-fgvc7")],
)
def test_kaggles_own_samples_are_known_and_filled_in_ones_pass(test_data, tmp_path, slug, folder):
    asked, data = load_competition(slug), test_data / "data" / folder
    assert [one.code for one in lint(data / "sample_submission.csv", asked, data=data)] == ["L419", "L500"]
    table = pd.read_csv(data / "sample_submission.csv", dtype={"id": "str"})
    names = [name for name in table.columns if name != asked.submission.id_column]
    values = np.random.default_rng(0).dirichlet(np.ones(max(2, len(names))), size=len(table))
    table[names] = values[:, : len(names)]
    found = lint(write_submission(tmp_path / "filled.csv", table), asked, data=data)
    assert [one.code for one in found] == ["L500", "L509"]
