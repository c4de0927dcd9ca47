"""The linter of submission files: anybody's file against the sample submission, the competition and a run's answers.

It looks at the file in the order in which a fault would hide others: its bytes, header, ids and values, then at the
answers beside those that were stored. What cannot be looked at is said: "not checkable". `kit.kaggle.lint_codes` lists
all that may be found.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from kit.competition import Competition
from kit.judge.predict import Predictions
from kit.kaggle.lint_answers import lint_against_folds, lint_against_run
from kit.kaggle.lint_codes import Finding, finding
from kit.kaggle.lint_columns import lint_columns, lint_ids
from kit.kaggle.lint_expected import Expected, expected_of
from kit.kaggle.lint_file import read_cells
from kit.kaggle.lint_values import Answers, is_the_sample, lint_classes, lint_numbers

_ORDER = ("error", "warning", "not checkable")


def lint(
    file: Path,
    competition: Competition,
    *,
    data: Path | None,
    sample: str = "",
    predictions: Predictions | None = None,
    out_of_fold: Predictions | None = None,
) -> list[Finding]:
    """Return all that is wrong with a submission file, errors first; nothing in it is trusted or run.

    Args:
        file: anybody's; a CSV is expected.
        competition: its classes, metric and `submission` table.
        data: folder with the competition's files, for its sample submission; None: they are not here.
        sample: the sample submission below `data`, where it is not the competition's own.
        predictions: a run's stored predictions of the test images; without them the answers are not checkable.
        out_of_fold: the same run's, of the training images, for the distribution of the answered classes.
    """
    cells, form = read_cells(file)
    if any(one.code == "L100" for one in form):
        return form  # there is nothing to compare anything with
    expected, found = expected_of(competition, data=data, sample=sample, predictions=predictions)
    found += form
    if cells is not None and expected.columns:
        place, columns = lint_columns(cells, expected)
        found += columns
        ids = cells.column(place[expected.id_column]) if expected.id_column in place else None
        if ids is not None:
            found += lint_ids(ids, cells.lines, expected)
        if ids is not None and all(name in place for name in expected.value_columns):
            places = [place[name] for name in expected.value_columns]
            values = [[row[k] for k in places] for row in cells.rows]
            found += _lint_values(values, ids, cells.lines, expected, found=found, out_of_fold=out_of_fold)
    return sorted(found, key=lambda one: (_ORDER.index(one.severity), one.code))


def _lint_values(
    values: Sequence[Sequence[str]],
    ids: Sequence[str],
    lines: Sequence[int],
    expected: Expected,
    *,
    found: Sequence[Finding],
    out_of_fold: Predictions | None,
) -> list[Finding]:
    if expected.competition.adapter_function("submission_rows"):
        return [finding("L510", "An adapter writes this competition's rows: what values they may have is not known.")]
    if same := is_the_sample(ids, values, expected):
        return same
    answers, own_findings = _answers_of(values, lines, expected)
    if answers is None or any(one.severity == "error" for one in (*found, *own_findings)):
        return own_findings
    if expected.own is not None:
        own_findings += lint_against_run(answers, ids, _own_answers(expected.own, expected), expected)
    if any(one.severity == "error" for one in own_findings):
        return own_findings
    if out_of_fold is None:
        own_findings.append(finding("L509", "The distribution of the answered classes cannot be compared."))
    elif not (expected.numbers and ((answers < 0) | (answers > 1)).any()):
        own_findings += lint_against_folds(answers, out_of_fold, expected)
    return own_findings


def _answers_of(
    values: Sequence[Sequence[str]], lines: Sequence[int], expected: Expected
) -> tuple[Answers | None, list[Finding]]:
    if expected.numbers:
        return lint_numbers(values, expected.value_columns, lines, expected)
    return lint_classes([row[0] for row in values], expected.value_columns[0], lines, expected)


def _own_answers(own: pd.DataFrame, expected: Expected) -> Answers:
    """Return the answers of the run's submission, which the kit has made: float64 (M, K) or (M, C)."""
    told = own[list(expected.value_columns)]
    if expected.numbers:
        return told.to_numpy(dtype=np.float64)
    cells = told.iloc[:, 0].astype("str").tolist()
    answers, _ = lint_classes(cells, expected.value_columns[0], range(len(cells)), expected)
    assert answers is not None
    return answers
