"""The submission: predictions in the competition's columns, ids in the sample's order, checked before writing."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from kit.competition import Competition, value_columns
from kit.data.labels import read_table, without_image_suffix
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
        SubmissionError: test images are missing or unknown to the sample, its columns are others, a probability is
            not a number, or the adapter gives no table.
    """
    rule = competition.submission
    if not np.isfinite(predictions.probabilities).all():
        raise SubmissionError(
            f"The test predictions of {competition.slug} hold values that are not numbers. Train again."
        )
    if own := competition.adapter_function("submission_rows"):
        table = own(predictions)
        if not isinstance(table, pd.DataFrame):
            raise SubmissionError(
                f"submission_rows in {competition.folder / 'adapter.py'} gave a {type(table).__name__}, expected a "
                "pandas.DataFrame with the rows to hand in. Correct it and run the same command again."
            )
        return table
    sample = sample or rule.sample
    names = list(predictions.image_ids)
    if sample or rule.ids != "image_id":
        names = [image_id.rsplit("/", 1)[-1] for image_id in names]
    if rule.ids == "name":
        names = [PurePosixPath((paths or {}).get(image_id, image_id)).name for image_id in predictions.image_ids]
    raw, several = predictions.probabilities, competition.task == "multi-label"
    probabilities = clipped(raw.astype(np.float64), clip, several=several) if clip else raw
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
        wanted = _read_sample(competition, data / sample)
        plain = [without_image_suffix(name) for name in names] if rule.ids == "name" else names
        table = table.iloc[_rows_in_order(plain, _ids(competition, wanted), data / sample)].reset_index(drop=True)
        return table.assign(**{rule.id_column: wanted[rule.id_column]})[list(wanted.columns)]  # as the sample spells it
    return table.sort_values(rule.id_column, key=_natural, ignore_index=True)


def _natural(ids: pd.Series) -> pd.Series:
    """Order ids that are all numbers by their value: 9 before 10."""
    return ids.astype("int64") if ids.str.fullmatch(r"\d{1,18}").all() else ids


def check_sample(competition: Competition, image_ids: Sequence[str], *, data: Path, sample: str = "") -> None:
    """Refuse a sample submission that has other columns or images, before anything is trained on.

    Args:
        competition: its `submission` table names the sample; where an adapter writes the rows, nothing is checked.
        image_ids: of the test images.
        data: folder that holds the sample submission.
        sample: where it is not the competition's own.

    Raises:
        SubmissionError: the sample is missing, an id that one side lacks or has twice, or columns that the submission
            would not have.
    """
    file = data / (sample or competition.submission.sample)
    if competition.adapter_function("submission_rows") is None:
        wanted = _read_sample(competition, file)
        _rows_in_order([image_id.rsplit("/", 1)[-1] for image_id in image_ids], _ids(competition, wanted), file)


def _read_sample(competition: Competition, file: Path) -> pd.DataFrame:
    """Read a sample submission and refuse columns other than those that the submission would have."""
    if not file.is_file():
        raise SubmissionError(
            f"The sample submission {file.name} is not in {file.parent}, and it says in which order {competition.slug} "
            "wants its ids. Fetch the competition's files again, or correct submission.sample in competition.toml."
        )
    wanted = read_table(file, columns=())
    columns = [competition.submission.id_column, *value_columns(competition)]
    missing = [column for column in columns if column not in wanted.columns]
    further = [str(column) for column in wanted.columns if column not in columns]
    if missing or further:
        faults = [f"lacks the column {missing[0]!r}"] if missing else []
        faults += [f"has the column {further[0]!r}, for which there are no values"] if further else []
        raise SubmissionError(
            f"{file} {' and '.join(faults)}. It has {len(wanted.columns)} columns ({_first(wanted.columns)}), and the "
            f"submission would have {len(columns)} ({_first(columns)}). Correct [submission] or classes in "
            "competition.toml, or write the rows with submission_rows in adapter.py."
        )
    return wanted


def _first(columns: Iterable[str]) -> str:
    names = list(map(str, columns))
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _ids(competition: Competition, wanted: pd.DataFrame) -> list[str]:
    """Return the sample's ids as it spells them, without folders."""
    return [name.rsplit("/", 1)[-1] for name in wanted[competition.submission.id_column]]


def _rows_in_order(names: Sequence[str], sample_ids: Sequence[str], file: Path) -> list[int]:
    """Return the row of `names` for each id of the sample, which may spell it with an image suffix; each once."""
    known = set(names)
    ids = [name if name in known else without_image_suffix(name) for name in sample_ids]
    for whose, found in (("The predictions name", names), (f"{file} names", ids)):
        if doubled := sorted({name for name, count in Counter(found).items() if count > 1}):
            raise SubmissionError(
                f"{whose} {len(doubled)} ids more than once, first {doubled[:3]}. The submission must name every id "
                "once; check test_files in competition.toml."
            )
    missing = sorted(set(ids) - known)
    extra = sorted(known - set(ids))
    if missing or extra:
        raise SubmissionError(
            f"The predictions do not fit {file}: {len(missing)} of {len(ids)} ids have none (first {missing[:3]}), "
            f"{len(extra)} predicted ids are not in it (first {extra[:3]}). The submission must name every id once; "
            "check test_files in competition.toml."
        )
    row_of = {name: row for row, name in enumerate(names)}
    return [row_of[name] for name in ids]


def write_submission(path: Path, table: pd.DataFrame) -> Path:
    """Write a submission as CSV and return its path."""
    with writing(path) as file:
        table.to_csv(file, index=False, lineterminator="\n")
    return path
