"""What a submission file is expected to be: columns, ids in their order and kind of values, from sample and TOML."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from kit.competition import Competition, value_columns
from kit.data.labels import read_table
from kit.errors import KitError
from kit.judge.predict import Predictions
from kit.kaggle.lint_codes import Finding, finding
from kit.kaggle.submission import submission_table


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The form of a submission, and what it would hold by the run's stored test predictions."""

    competition: Competition
    id_column: str
    columns: tuple[str, ...]  # all, in order
    ids: tuple[str, ...] | None  # as the sample spells them, in its order; None: there is no sample
    own: pd.DataFrame | None  # the submission of the stored predictions; None: there are none, or they do not fit
    sample: pd.DataFrame | None  # as text

    @property
    def values(self) -> str:
        """What the value columns hold, as in `kit.rules.SubmissionRule`."""
        return self.competition.submission.values

    @property
    def value_columns(self) -> tuple[str, ...]:
        """All columns but the id's, in order."""
        return tuple(name for name in self.columns if name != self.id_column)

    @property
    def numbers(self) -> bool:
        """The values are probabilities."""
        return self.values in ("probabilities", "probability_of")

    @property
    def several(self) -> bool:
        """An image may have any number of labels."""
        return self.competition.task == "multi-label"

    @property
    def metric(self) -> str:
        """The competition's metric, a key of METRICS."""
        return self.competition.metric

    @property
    def ranks_only(self) -> bool:
        """The metric looks at the order of the values alone: then numbers outside [0, 1] score as well."""
        return self.metric == "roc_auc"


def expected_of(
    competition: Competition, *, data: Path | None, sample: str, predictions: Predictions | None
) -> tuple[Expected, list[Finding]]:
    """Return what is expected, and findings on what of it is not known.

    Args:
        competition: its `submission` table names columns and values.
        data: folder with the competition's files; None: they are not here.
        sample: the sample submission below `data`, where it is not the competition's own.
        predictions: of the test images; None: none are stored.
    """
    rule = competition.submission
    found: list[Finding] = []
    wanted, why = _sample_of(competition, data, sample or rule.sample)
    if wanted is None:
        nothing = "" if sample or rule.sample else "Nothing: `--run` has the ids compared with those of a run."
        message = f"Nothing to compare the ids and their order with: {why}"
        found.append(finding("L308", message, remedy=nothing))
    own: pd.DataFrame | None = None
    if predictions is None:
        found.append(finding("L500", "The answers cannot be compared with what the networks said: no run is given."))
    else:
        own, problem = _own_submission(
            competition, predictions, data=data, sample=sample, has_sample=wanted is not None
        )
        if problem:
            found.append(finding("L506", f"The run's test predictions make no submission here: {problem}"))
    columns = tuple(map(str, wanted.columns if wanted is not None else own.columns if own is not None else ()))
    adapter = competition.adapter_function("submission_rows") is not None
    if adapter and not columns:
        found.append(finding("L510", "An adapter writes the rows of this competition, in a form of their own."))
    id_column = rule.id_column
    if columns and id_column not in columns:
        id_column = columns[0]
    return (
        Expected(
            competition=competition,
            id_column=id_column,
            columns=columns or (() if adapter else (id_column, *value_columns(competition))),
            ids=None if wanted is None else tuple(wanted[id_column]),
            own=own,
            sample=wanted,
        ),
        found,
    )


def _sample_of(competition: Competition, data: Path | None, name: str) -> tuple[pd.DataFrame | None, str]:
    """Return the sample submission as text, or why there is none."""
    if not name:
        return None, f"{competition.slug} names no sample submission."
    if data is None:
        return None, f"the files of {competition.slug} are not here."
    if not (data / name).is_file():
        return None, f"{name} is not in {data}."
    try:
        table = read_table(data / name, columns=())
    except KitError as error:
        return None, str(error)
    return (table, "") if len(table.columns) > 1 else (None, f"{name} has one column, and no place for answers.")


def _own_submission(
    competition: Competition, predictions: Predictions, *, data: Path | None, sample: str, has_sample: bool
) -> tuple[pd.DataFrame | None, str]:
    """Return the submission that the stored predictions make, or why they make none."""
    if not has_sample:  # then ids are as the kit spells them: the last part of the path where there would be a sample
        rule = competition.submission
        ids = "stem" if rule.ids == "image_id" and (sample or rule.sample) else rule.ids
        competition = replace(competition, submission=replace(rule, sample="", ids=ids))
        sample = ""
    try:
        return submission_table(competition, predictions, data=data or Path(), sample=sample), ""
    except KitError as error:
        return None, str(error)


def by_id(table: pd.DataFrame, *, id_column: str) -> Mapping[str, int]:
    """Return id -> row, of the first row where an id is doubled."""
    rows: dict[str, int] = {}
    for row, name in enumerate(table[id_column].astype("str")):
        rows.setdefault(name, row)
    return rows
