"""Survey of CSV files: which column names the images, where they lie, which columns are labels, groups, a split."""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import pandas as pd

from kit.data.labels import columns_in, csv_paths, image_id_of, read_table
from kit.errors import DataError
from kit.rules import LabelRule, SplitRule

TABLE_SUFFIXES = (".csv", ".tsv")
LARGEST_CSV_BYTES = 1 << 28
ROWS_TRIED = 300  # of a CSV, for a first look at where its images lie
SMALLEST_SHARE = 0.5  # of the rows whose image must be there, or the CSV is about something else
MANY_GROUPS = 10  # fewer cannot be dealt out to five folds evenly
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing", "valid", "validation", "val", "dev")  # in the order in which they are taken

_LABEL_NAMES = (
    *("label", "labels", "class", "classes", "class_name", "classname", "class_id", "target", "category", "species"),
    *("breed", "tags", "diagnosis", "digit", "y"),
)
_SEVERAL_NAMES = ("labels", "classes", "tags", "attributes", "categories", "targets")
_GROUP_NAME = re.compile(
    r"(patient|subject|driver|group|site|person|user|camera|location|series|study|slide|individual|writer|sequence"
    r"|video|scene|module|station|plot|farm)",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A CSV file as it stands there, all strings."""

    file: str  # below the data folder
    delimiter: str
    rows: pd.DataFrame

    @property
    def is_sample(self) -> bool:
        """It shows what to hand in, rather than what is true."""
        return "submission" in PurePosixPath(self.file).name.lower()


@dataclass(frozen=True, kw_only=True)
class Place:
    """How a row names its image: `folder`/value`suffix`; a folder may hold {column}, as in a label rule."""

    id_column: str
    folder: str
    suffix: str
    paths: tuple[str, ...]  # of all rows, whether there or not
    share: float  # of the rows whose image is there


@dataclass(frozen=True, kw_only=True)
class LabelColumns:
    """Which columns say what an image shows."""

    task: Literal["single-label", "multi-label", "soft-label"]
    classes: tuple[str, ...]
    counts: Mapping[str, int]  # images per class
    label_column: str = ""
    target_columns: tuple[str, ...] = ()
    separator: str = ""
    others: tuple[str, ...] = ()  # columns that could as well be labels


@dataclass(frozen=True, kw_only=True)
class LabelsFile:
    """A CSV that gives images their labels."""

    rule: LabelRule
    labels: LabelColumns
    paths: tuple[str, ...]  # images that it names and that are there
    num_missing: int  # images that it names and that are not
    num_other_suffix: int = 0  # of these: there with another suffix
    split: SplitRule | None = None
    num_split_test: int = 0  # images on the test side of `split`
    group_hint: str = ""  # a column that looks like groups, too few to be dealt out to folds


@dataclass(frozen=True, kw_only=True)
class SampleFile:
    """A sample submission: the columns to hand in, and the test images it names."""

    file: str
    id_column: str
    value_columns: tuple[str, ...]
    ids: Literal["stem", "name"]
    paths: tuple[str, ...]  # test images that are there
    looks_like: Literal["label", "probability", "probabilities"]


def read_tables(data: Path, only: Path | None = None) -> list[Table]:
    """Return the CSV and TSV files below `data`, at most two folders deep; with `only`, that file alone must be one."""
    files = [only] if only else [*data.glob("*"), *data.glob("*/*"), *data.glob("*/*/*")]
    found = []
    for file in sorted(f for f in files if f.suffix.lower() in TABLE_SUFFIXES and f.is_file()):
        if file.stat().st_size > LARGEST_CSV_BYTES:
            raise DataError(f"{file} is larger than {LARGEST_CSV_BYTES >> 20} MiB, which no list of labels is.")
        try:
            delimiter = delimiter_of(file)
            rows = read_table(file, columns=(), delimiter=delimiter)
        except DataError:
            if only:
                raise
            continue  # beside the images lie all sorts of files
        if rows.columns.is_unique:
            found.append(Table(file=file.relative_to(data).as_posix(), delimiter=delimiter, rows=rows))
    return found


def delimiter_of(file: Path) -> str:
    """Return the character out of `,`, `;`, tab and `|` that parts the header of a CSV into the most columns."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            header = text.readline(1 << 16)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as CSV: {error}. It should be UTF-8 text.") from error
    return max(",;\t|", key=lambda one: len(next(csv.reader([header], delimiter=one), [])))


def place_of(table: Table, images: Sequence[str]) -> Place | None:
    """Find out which column names the images, and how; None where no column names enough of them."""
    there = set(images)
    last_parts = {PurePosixPath(path).name for path in images} | {PurePosixPath(path).stem for path in images}
    suffixes = ["", *(suffix for suffix, _ in Counter(PurePosixPath(path).suffix for path in images).most_common(4))]
    folders, children = _folders(images)
    few = table.rows.iloc[:: max(1, len(table.rows) // ROWS_TRIED)]
    tried: list[tuple[int, str, str, str]] = []
    for column in map(str, table.rows.columns):
        known = sum(value.rsplit("/", 1)[-1] in last_parts for value in few[column])
        if known < SMALLEST_SHARE * len(few):
            continue
        templates = [
            f"{parent}/{{{other}}}".lstrip("/")
            for other in map(str, table.rows.columns)
            if other != column and not set("{}.[]!:") & set(other)
            for parent, names in children.items()
            if few[other].isin(names).mean() >= SMALLEST_SHARE
        ]
        for folder in [*folders, *templates]:
            for suffix in suffixes:
                paths = csv_paths_of(table, few, id_column=column, folder=folder, suffix=suffix)
                tried.append((sum(path in there for path in paths), column, folder, suffix))
    if not tried:
        return None
    _, column, folder, suffix = max(tried, key=lambda one: one[0])  # the first of equals: the simplest
    paths = csv_paths_of(table, table.rows, id_column=column, folder=folder, suffix=suffix)
    share = sum(path in there for path in paths) / len(paths)
    if share < SMALLEST_SHARE:
        return None
    return Place(id_column=column, folder=folder, suffix=suffix, paths=tuple(paths), share=share)


def csv_paths_of(table: Table, rows: pd.DataFrame, *, id_column: str, folder: str, suffix: str) -> list[str]:
    """Return the path of each row as the label rule would read it; rows without a name get "?"."""
    named = rows.assign(**{id_column: rows[id_column].replace("", "?")})
    return csv_paths(named, id_column=id_column, folder=folder, suffix=suffix, file=Path(table.file))


def _folders(images: Sequence[str]) -> tuple[list[str], dict[str, set[str]]]:
    """Return every folder that images lie below ("" first), and parent -> names of the folders in it."""
    children: dict[str, set[str]] = defaultdict(set)
    folders = {""}
    for path in {path.rpartition("/")[0] for path in images}:
        parts = path.split("/") if path else []
        for k in range(len(parts)):
            folders.add("/".join(parts[: k + 1]))
            children["/".join(parts[:k])].add(parts[k])
    plain = sorted(folder for folder in folders if "{" not in folder and "}" not in folder)
    return sorted(plain, key=lambda folder: folder.count("/") + bool(folder)), children


def labels_file(table: Table, images: Sequence[str], sample: SampleFile | None) -> LabelsFile | None:
    """Return what a CSV says of the images' labels, or None where it names no images or no labels."""
    place = place_of(table, images)
    if place is None:
        return None
    labels = label_columns(table.rows, place, sample)
    if labels is None:
        return None
    used = {place.id_column, labels.label_column, *labels.target_columns}
    free = [str(column) for column in table.rows.columns if str(column) not in used]
    groups = [c for c in free if _GROUP_NAME.search(c) and 1 < table.rows[c].nunique() < len(table.rows)]
    groups = [c for c in groups if (table.rows[c] != "").all() and c not in columns_in(place.folder)]
    enough = next((c for c in groups if table.rows[c].nunique() >= MANY_GROUPS), "")
    there = set(images)
    ids = {image_id_of(path) for path in images}
    missing = [path for path in place.paths if path not in there]
    split = _split_column(table, place, free) if table.delimiter == "," else None
    return LabelsFile(
        rule=LabelRule(
            rule="csv",
            file=table.file,
            id_column=place.id_column,
            label_column=labels.label_column or "label",
            target_columns=labels.target_columns,
            separator=labels.separator,
            group_column=enough,
            folder=place.folder,
            suffix=place.suffix,
            delimiter=table.delimiter,
        ),
        labels=labels,
        paths=tuple(path for path in place.paths if path in there),
        num_missing=len(missing),
        num_other_suffix=sum(image_id_of(path) in ids for path in missing) if place.suffix else 0,
        split=split,
        num_split_test=int((table.rows[split.split_column] == split.test).sum()) if split else 0,
        group_hint="" if enough else next(iter(groups), ""),
    )


def label_columns(rows: pd.DataFrame, place: Place, sample: SampleFile | None) -> LabelColumns | None:
    """Find the columns that say what an image shows: by the sample submission, by name, by their values."""
    free = [str(column) for column in rows.columns if str(column) != place.id_column]
    numbers = {c: found for c in free if (found := pd.to_numeric(rows[c], errors="coerce")).between(0, 1).all()}
    wanted = _wanted(sample, free)
    hot = [c for c in numbers if c in wanted] or list(numbers)
    named = len(wanted) < 2 and any(c.lower() in _LABEL_NAMES for c in free)
    values = pd.DataFrame({c: numbers[c] for c in hot})
    one_each = ((values.sum(axis=1) - 1).abs() < 1e-3).all()
    if len(hot) > 1 and not named and (len(wanted) > 1 or len(hot) > 2 or one_each):
        whole = bool(values.isin([0, 1]).to_numpy().all())
        if whole or one_each:
            task: Literal["single-label", "multi-label", "soft-label"] = "single-label" if one_each else "multi-label"
            best = values.idxmax(axis=1).value_counts()
            counts = {c: int(values[c].sum()) if whole else int(best.get(c, 0)) for c in hot}
            return LabelColumns(
                task=task if whole else "soft-label", classes=tuple(hot), counts=counts, target_columns=tuple(hot)
            )
    candidates = _candidates(rows, free, wanted)
    if not candidates:
        return None
    column, others = candidates[0], tuple(candidates[1:])
    if separator := _separator(rows[column], column):
        tokens = Counter(t.strip() for text in rows[column] for t in text.split(separator) if t.strip())
        return LabelColumns(
            task="multi-label",
            classes=tuple(ordered(tokens)),
            counts=tokens,
            label_column=column,
            separator=separator,
            others=others,
        )
    texts = Counter(text for text in rows[column] if text)
    return LabelColumns(
        task="single-label", classes=tuple(ordered(texts)), counts=texts, label_column=column, others=others
    )


def _wanted(sample: SampleFile | None, free: Sequence[str]) -> list[str]:
    """Return the columns of which the sample submission wants a value."""
    return [column for column in free if sample is not None and column in sample.value_columns]


def _candidates(rows: pd.DataFrame, free: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return the columns that may be the label, the likeliest first."""
    repeated = [c for c in free if 2 <= rows[c].nunique() <= max(2, len(rows) // 2)]
    several = [c for c in free if c.lower() in _SEVERAL_NAMES and c not in repeated and rows[c].nunique() > 1]
    named = [c for name in _LABEL_NAMES for c in (*repeated, *several) if c.lower() == name]
    plain = [
        c
        for c in sorted(repeated, key=lambda c: rows[c].nunique())
        if not _GROUP_NAME.search(c) and not _is_split(rows[c]) and not _is_measure(rows[c])
    ]
    return list(dict.fromkeys([*(c for c in wanted if c in repeated), *named, *plain]))


def _is_measure(values: pd.Series) -> bool:
    """A width, a date, a position: numbers with a fraction, or many of them."""
    numbers = pd.to_numeric(values, errors="coerce")
    return bool(numbers.notna().all() and ((numbers % 1 != 0).any() or values.nunique() > 200))


def _is_split(values: pd.Series) -> bool:
    return set(values.str.lower()) <= {*TRAIN_NAMES, *TEST_NAMES, ""}


def _separator(values: pd.Series, column: str) -> str:
    """Return what parts the labels of one image, or "" where each image has one."""
    texts = [text for text in values if text]
    for separator in ("|", ";", ",", " "):
        several = sum(len(text.split(separator)) > 1 for text in texts)
        if not several:
            continue
        tokens = {token.strip() for text in texts for token in text.split(separator)} - {""}
        alone = len(tokens & set(texts)) / max(1, len(tokens))
        fewer = 2 * len(tokens) <= len(set(texts))
        # "golden retriever" is one label, "scab rust" is two: their parts are labels by themselves.
        if alone >= 0.5 or (fewer and (separator != " " or column.lower() in _SEVERAL_NAMES)):
            return separator
    return ""


def _split_column(table: Table, place: Place, free: Sequence[str]) -> SplitRule | None:
    for column in free:
        values = table.rows[column]
        train = next((v for v in values.unique() if v.lower() in TRAIN_NAMES), "")
        test = next((v for name in TEST_NAMES for v in values.unique() if v.lower() == name), "")
        if train and test and _is_split(values):
            return SplitRule(
                by="csv", file=table.file, id_column=place.id_column, split_column=column, train=train, test=test
            )
    return None


def sample_file(table: Table, images: Sequence[str]) -> SampleFile | None:
    """Return what a sample submission asks for, or None where it names no images that are there."""
    place = place_of(table, images)
    columns = [str(column) for column in table.rows.columns]
    values = [column for column in columns if place and column != place.id_column]
    if place is None or not values or table.delimiter != ",":
        return None
    there = set(images)
    looks_like: Literal["label", "probability", "probabilities"] = "probabilities" if len(values) > 1 else "probability"
    numbers = pd.to_numeric(table.rows[values[0]], errors="coerce")
    if len(values) == 1 and (numbers.isna().any() or (numbers % 1 == 0).all()):
        looks_like = "label"
    return SampleFile(
        file=table.file,
        id_column=place.id_column,
        value_columns=tuple(values),
        ids="stem" if place.suffix else "name",
        paths=tuple(path for path in place.paths if path in there),
        looks_like=looks_like,
    )


def ordered(names: Sequence[str] | Mapping[str, int]) -> list[str]:
    """Return names sorted, whole numbers by their value."""
    return sorted(names, key=lambda name: (0, int(name), name) if re.fullmatch(r"\d{1,18}", name) else (1, 0, name))
