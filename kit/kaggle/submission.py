"""The submission: predictions in the competition's columns, ids in the sample's order, checked before writing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from kit.competition import Competition
from kit.data.labels import read_table
from kit.errors import SubmissionError
from kit.home import writing
from kit.judge.clip import clipped
from kit.judge.predict import Predictions
from kit.metrics import THRESHOLD


def submission_table(
    competition: Competition,
    predictions: Predictions,
    *,
    data: Path,
    paths: Mapping[str, str] | None = None,
    sample: str = "",
    clip: float = 0.0,
) -> pd.DataFrame:
    """Return the submission's rows.

    Args:
        competition: its `submission` table names columns and values.
        predictions: of the test images; ids are paths without suffix.
        data: folder that may hold the sample submission.
        paths: image id -> path, for competitions whose ids are file names.
        sample: the sample submission below `data`, where it is not the competition's own.
        clip: probabilities are kept at least this far off 0 and 1 (`kit.judge.clip`).

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
    sample = sample or rule.sample
    if sample and not (data / sample).is_file():
        raise SubmissionError(
            f"The sample submission {sample} is not in {data}, and it says in which order {competition.slug} wants its "
            "ids. Fetch the competition's files again, or correct submission.sample in competition.toml."
        )
    names = list(predictions.image_ids)
    if sample or rule.ids != "image_id":
        names = [image_id.rsplit("/", 1)[-1] for image_id in names]
    if rule.ids == "name":
        names = [PurePosixPath((paths or {}).get(image_id, image_id)).name for image_id in predictions.image_ids]
    probabilities = clipped(predictions.probabilities.astype(np.float64), clip) if clip else predictions.probabilities
    columns: dict[str, object] = {rule.id_column: names}
    if rule.values == "label":
        columns[rule.label_column] = [predictions.classes[k] for k in probabilities.argmax(axis=1)]
    elif rule.values == "labels":
        columns[rule.label_column] = [
            rule.separator.join(name for name, p in zip(predictions.classes, row, strict=True) if p >= THRESHOLD)
            for row in probabilities
        ]
    elif rule.values == "probability_of":
        columns[rule.label_column] = probabilities[:, predictions.classes.index(rule.of_class)]
    else:
        columns |= {name: probabilities[:, k] for k, name in enumerate(predictions.classes)}
    table = pd.DataFrame(columns)
    if sample:
        return _in_order_of(table, data / sample, rule.id_column)
    return table.sort_values(rule.id_column, key=_natural, ignore_index=True)


def _natural(ids: pd.Series) -> pd.Series:
    """Order ids that are all numbers by their value: 9 before 10."""
    return ids.astype("int64") if ids.str.fullmatch(r"\d{1,18}").all() else ids


def check_sample(competition: Competition, image_ids: Sequence[str], *, data: Path, sample: str = "") -> None:
    """Refuse test images that are not those of the sample submission, before anything is trained on.

    Args:
        competition: its `submission` table names the sample.
        image_ids: of the test images.
        data: folder that holds the sample submission; where it is missing, nothing is checked.
        sample: where it is not the competition's own.

    Raises:
        SubmissionError: an id that one side lacks or has twice.
    """
    file = data / (sample or competition.submission.sample)
    if file.is_file():
        rule = competition.submission
        columns = list(read_table(file, columns=[rule.id_column]).columns)
        found = pd.DataFrame({column: list(image_ids) for column in columns}, dtype="str")
        _in_order_of(found, file, rule.id_column)


def _in_order_of(table: pd.DataFrame, sample: Path, id_column: str) -> pd.DataFrame:
    wanted = read_table(sample, columns=list(table.columns))
    ids = [PurePosixPath(name).stem for name in wanted[id_column]]
    table = table.assign(**{id_column: [PurePosixPath(name).stem for name in table[id_column]]})
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
