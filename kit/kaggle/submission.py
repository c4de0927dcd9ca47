"""The submission: predictions in the competition's columns, ids in the sample's order, checked before writing."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from kit.competition import Competition
from kit.data.labels import read_table
from kit.errors import SubmissionError
from kit.home import writing
from kit.judge.predict import Predictions


def submission_table(competition: Competition, predictions: Predictions, *, data: Path) -> pd.DataFrame:
    """Return the submission's rows.

    Args:
        competition: its `submission` table names columns and values.
        predictions: of the test images; ids are paths without suffix.
        data: folder that may hold the sample submission.

    Raises:
        SubmissionError: test images are missing or unknown to the sample, or a probability is not a number.
    """
    rule = competition.submission
    if not np.isfinite(predictions.probabilities).all():
        raise SubmissionError(
            f"The test predictions of {competition.slug} hold values that are not numbers. Train again."
        )
    if own := competition.adapter_function("submission_rows"):
        table = own(predictions)
        assert isinstance(table, pd.DataFrame)
        return table
    names = list(predictions.image_ids)
    if rule.sample:
        names = [image_id.rsplit("/", 1)[-1] for image_id in names]
    columns: dict[str, object] = {rule.id_column: names}
    if rule.values == "label":
        columns[rule.label_column] = [predictions.classes[k] for k in predictions.probabilities.argmax(axis=1)]
    elif rule.values == "probability_of":
        columns[rule.label_column] = predictions.probabilities[:, predictions.classes.index(rule.of_class)]
    else:
        columns |= {name: predictions.probabilities[:, k] for k, name in enumerate(predictions.classes)}
    table = pd.DataFrame(columns)
    return _in_order_of(table, data / rule.sample, rule.id_column) if rule.sample else table


def _in_order_of(table: pd.DataFrame, sample: Path, id_column: str) -> pd.DataFrame:
    wanted = read_table(sample, columns=list(table.columns))
    ids = [name.rsplit(".", 1)[0] if "." in name else name for name in wanted[id_column]]
    for whose, names in (("The predictions name", list(table[id_column])), (f"{sample} names", ids)):
        if doubled := sorted({name for name, count in Counter(names).items() if count > 1}):
            raise SubmissionError(
                f"{whose} {len(doubled)} ids more than once, first {doubled[:3]}. The submission must name every id "
                "once; check test_files in competition.toml."
            )
    missing = sorted(set(ids) - set(table[id_column]))
    extra = sorted(set(table[id_column]) - set(ids))
    if missing or extra:
        raise SubmissionError(
            f"The predictions do not fit {sample}: {len(missing)} of {len(ids)} ids have none (first {missing[:3]}), "
            f"{len(extra)} predicted ids are not in it (first {extra[:3]}). The submission must name every id once; "
            "check test_files in competition.toml."
        )
    ordered = table.set_index(id_column).loc[ids].reset_index()
    ordered[id_column] = wanted[id_column].to_numpy()  # as the sample spells them
    return ordered[list(wanted.columns)]


def write_submission(path: Path, table: pd.DataFrame) -> Path:
    """Write a submission as CSV and return its path."""
    with writing(path) as file:
        table.to_csv(file, index=False, lineterminator="\n")
    return path
