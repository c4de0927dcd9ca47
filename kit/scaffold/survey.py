"""Survey: a look at somebody's images tells how they are labelled, split, sized and best scored.

Nothing is decided that the files do not show; what is a guess is among the notes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal

from kit.data.labels import find_images
from kit.data.schema import JOINED
from kit.errors import DataError
from kit.rules import LabelRule, SplitRule, SubmissionRule
from kit.scaffold.survey_csv import (
    TABLE_SUFFIXES,
    LabelsFile,
    SampleFile,
    Table,
    delimiter_of,
    labels_file,
    ordered,
    read_tables,
    sample_file,
)
from kit.scaffold.survey_files import NamedLabels, Sides, by_folders, by_names, find_sides, glob_of
from kit.scrape.url_lists import SUFFIXES as LIST_SUFFIXES
from kit.scrape.url_lists import read_url_lists
from kit.store.decode import image_size, printable

SIZES_READ = 200  # images whose size is looked at
IMBALANCE = 10  # the largest class has this many times the images of the smallest: then accuracy tells little
FEWEST_IMAGES = 5  # of a class, one per fold
LONGEST_CLASS = 100  # characters
_NUMERALS = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}
_SIDED = {"left", "right", "clockwise", "counterclockwise", "anticlockwise"}


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a look at a folder, a CSV or lists of addresses has shown."""

    data: Path  # the folder with the images; of address lists: the file or folder
    kind: Literal["folders", "names", "csv", "urls"]  # where the labels stand
    rule: LabelRule
    classes: tuple[str, ...]
    counts: Mapping[str, int]  # class -> images
    num_images: int  # labelled ones
    task: Literal["single-label", "multi-label", "soft-label"] = "single-label"
    metric: str = "accuracy"
    metric_reason: str = ""
    split: SplitRule | None = None  # the publisher's own
    num_test: int = 0  # images that the split or `test_files` names
    test_files: str = ""  # glob of unlabelled test images
    submission: SubmissionRule | None = None
    shorter_side: int = 0  # pixels, the median; 0: not looked at
    mirrors_alike: bool = True  # a mirrored image is of the same class
    complete: bool = True  # every image that a CSV names is there
    notes: tuple[str, ...] = ()


def survey(path: Path) -> Survey:
    """Look at a folder of images, a CSV beside images, or lists of addresses, and say what they are.

    Raises:
        DataError: nothing there, no labels to be found, one class only, a class that cannot be one.
        ConfigError: lists of addresses that hold none.
    """
    path = path.expanduser().absolute()
    if not path.exists():
        raise DataError(
            f"{path}: there is no such file or folder. Give a folder of images, a CSV, or a list of addresses."
        )
    if path.is_file():
        if _lists_addresses(path):
            return _of_addresses(path)
        if path.suffix.lower() not in TABLE_SUFFIXES:
            raise DataError(
                f"{path} is no folder, no CSV and no list of addresses ({', '.join(LIST_SUFFIXES)}). Unpack an archive "
                "first, and give the folder that it makes."
            )
        return _of_images(path.parent, only=path)
    try:
        find_images(path)
    except DataError:
        if lists := [file for file in path.iterdir() if file.is_file() and _lists_addresses(file)]:
            return _of_addresses(path if len(lists) > 1 else lists[0])
        raise
    return _of_images(path, only=None)


def _lists_addresses(file: Path) -> bool:
    """Tell whether a file is a list of addresses: by its kind, a CSV by its columns."""
    if file.suffix.lower() not in TABLE_SUFFIXES:
        return file.suffix.lower() in LIST_SUFFIXES
    with file.open(encoding="utf-8-sig", errors="replace") as text:
        names = {name.strip().strip('"').lower() for name in text.readline(1 << 16).split(delimiter_of(file))}
    return {"url", "label"} <= names


def _of_addresses(path: Path) -> Survey:
    counts = Counter(row.label for row in read_url_lists([path]))
    return _checked(
        Survey(
            data=path,
            kind="urls",
            rule=LabelRule(rule="folder", images="*/*"),
            classes=tuple(ordered(counts)),
            counts=counts,
            num_images=counts.total(),
        )
    )


def _of_images(data: Path, only: Path | None) -> Survey:
    images = find_images(data)
    tables = read_tables(data, only)
    beside = tables if only is None else [*tables, *(t for t in read_tables(data) if t.is_sample)]
    samples = [one for t in beside if t.is_sample and (one := sample_file(t, images))]
    sample = samples[0] if samples else None
    sides = find_sides(images)
    named = None if only else by_folders(data, images, sides)
    table_labels = _best_table(tables, images, sample)
    if named and (table_labels is None or _same_partition(named, table_labels, tables)):
        found = _of_names(data, named, "folders")
    elif table_labels:
        found = _of_table(data, table_labels)
    elif only:
        raise DataError(
            f"{only} has no column that names images below {data}, with a column of labels beside it. Its columns are "
            f"{', '.join(map(str, tables[0].rows.columns[:10]))}; the images are such as {images[0]}."
        )
    elif named := by_names(data, images, sides):
        found = _of_names(data, named, "names")
    else:
        raise DataError(
            f"The {len(images)} images in {data} have no labels that could be found: there are no two class folders, "
            f"no CSV that names them, and no class in their names (first {images[0]}). Sort them into a folder per "
            "class, or put a CSV with the columns image and label beside them."
        )
    labelled = set(named.label_of) if named and found.kind != "csv" else set(table_labels.paths if table_labels else ())
    found = _with_test(found, data, images, labelled, sides, sample)
    found = _with_submission(found, sample)
    return _checked(_with_metric(_with_sizes(found, images), sample))


def _best_table(tables: Sequence[Table], images: Sequence[str], sample: SampleFile | None) -> LabelsFile | None:
    """Return the CSV that labels the most images."""
    labelling = [labels for t in tables if not t.is_sample and (labels := labels_file(t, images, sample))]
    return max(labelling, key=lambda one: len(one.paths), default=None)


def _same_partition(named: NamedLabels, table: LabelsFile, tables: Sequence[Table]) -> bool:
    """Tell whether a CSV says no more than the class folders: other names for the same classes, and no groups."""
    if table.rule.group_column or table.labels.task != "single-label" or table.labels.target_columns:
        return False
    rows = next(one.rows for one in tables if one.file == table.rule.file)
    if len(rows) != len(table.paths):
        return len(table.paths) < len(named.label_of) / 2
    pairs = {(named.label_of.get(p), v) for p, v in zip(table.paths, rows[table.rule.label_column], strict=True)}
    return len(pairs) == len({name for name, _ in pairs}) == len({value for _, value in pairs})


def _of_names(data: Path, named: NamedLabels, kind: Literal["folders", "names"]) -> Survey:
    counts = Counter(named.label_of.values())
    num_test = sum(f"/{named.split.test}/" in f"/{path}" for path in named.label_of) if named.split else 0
    return Survey(
        data=data,
        kind=kind,
        rule=named.rule,
        classes=tuple(ordered(counts)),
        counts=counts,
        num_images=len(named.label_of),
        split=named.split,
        num_test=num_test,
        notes=named.notes,
    )


def _of_table(data: Path, found: LabelsFile) -> Survey:
    labels, notes = found.labels, []
    if found.num_other_suffix:
        raise DataError(
            f"{data / found.rule.file} names images without their suffix, and {found.num_other_suffix} of them do not "
            f"end in {found.rule.suffix!r} as the others do. A label rule takes one suffix: write them into the CSV."
        )
    if found.num_missing:
        notes.append(f"{found.num_missing} images that {found.rule.file} names are not there")
    if found.rule.group_column:
        notes.append(f"images of one {found.rule.group_column!r} stay in one fold")
    if found.group_hint:
        notes.append(f"{found.group_hint!r} looks like groups, but has too few to be dealt out to folds")
    if labels.others:
        notes.append(f"{labels.label_column!r} was taken for the label; it might be {', '.join(labels.others[:3])}")
    return Survey(
        data=data,
        kind="csv",
        rule=found.rule,
        classes=labels.classes,
        counts=labels.counts,
        num_images=len(found.paths),
        task=labels.task,
        split=found.split,
        num_test=found.num_split_test,
        complete=not found.num_missing,
        notes=tuple(notes),
    )


def _with_test(
    found: Survey, data: Path, images: Sequence[str], labelled: set[str], sides: Sides | None, sample: SampleFile | None
) -> Survey:
    """Add the unlabelled test images: those that the sample submission names, else those in a folder called test."""
    unlabelled = [path for path in images if path not in labelled]
    if not unlabelled:
        return found
    tests = set(sample.paths) if sample else set()
    for name in sides.tests if sides and not tests else ():
        assert sides is not None
        inside = set(sides.below(name, images))
        if inside <= set(unlabelled):
            tests = inside
            break
    pattern = glob_of(data, tests) if tests and tests <= set(unlabelled) and found.split is None else None
    left_out = len(unlabelled) - (len(tests) if pattern else 0)
    notes = found.notes
    if left_out:
        first = next(path for path in unlabelled if not pattern or path not in tests)
        notes = (*notes, f"{left_out} images without a label are left out, first {first}")
    if pattern is None:
        return replace(found, notes=notes)
    return replace(found, test_files=pattern, num_test=len(tests), notes=notes)


def _with_submission(found: Survey, sample: SampleFile | None) -> Survey:
    if sample is None:
        return found
    rule = SubmissionRule(id_column=sample.id_column, ids=sample.ids, sample=sample.file if found.test_files else "")
    if sample.looks_like == "probabilities":
        if set(sample.value_columns) != set(found.classes):
            odd = f"the columns of {sample.file} are not the classes: write the table [submission] yourself"
            return replace(found, notes=(*found.notes, odd))
        return replace(found, submission=replace(rule, values="probabilities"))
    column = sample.value_columns[0]
    if sample.looks_like == "probability" and len(found.classes) == 2:
        of_class = column if column in found.classes else found.classes[1]
        note = f"{sample.file} wants a probability, taken to be that of {of_class!r}"
        chosen = replace(rule, values="probability_of", label_column=column, of_class=of_class)
        return replace(found, submission=chosen, notes=(*found.notes, note))
    if found.task == "multi-label":
        return replace(found, submission=replace(rule, values="labels", label_column=column))
    return replace(found, submission=replace(rule, values="label", label_column=column))


def _with_sizes(found: Survey, images: Sequence[str]) -> Survey:
    """Add the median shorter side, and whether classes survive a mirror."""
    few = images[:: max(1, len(images) // SIZES_READ)]
    sides = [min(size) for path in few if (size := image_size(found.data / path))]
    if not sides:
        raise DataError(f"None of the files in {found.data} can be read as an image, e.g. {images[0]}. Are they whole?")
    return replace(found, shorter_side=int(median(sides)), mirrors_alike=mirrors_alike(found.classes))


def mirrors_alike(classes: Sequence[str]) -> bool:
    """Tell from their names whether classes survive a mirror: digits, letters and sides do not."""
    names = [name.lower() for name in classes]
    # "0" and "1" alone are no and yes; other single characters are signs, and a mirrored sign is another one.
    signs = set(names) != {"0", "1"} and all(len(name) == 1 or name in _NUMERALS for name in names)
    sided = any(_SIDED & set(name.replace("-", "_").replace(" ", "_").split("_")) for name in names)
    return not (signs or sided)


def _with_metric(found: Survey, sample: SampleFile | None) -> Survey:
    """Add a metric; the competition's own page knows better."""
    counts = [count for count in found.counts.values() if count]
    if found.submission is not None and found.submission.values == "probability_of":
        return replace(found, metric="roc_auc", metric_reason="the sample submission has one probability per image")
    if found.task == "multi-label":
        return replace(found, metric="mean_f1", metric_reason="an image may have several labels")
    if (sample is not None and sample.looks_like == "probabilities") or found.task == "soft-label":
        return replace(found, metric="log_loss", metric_reason="a probability per class is asked for")
    if max(counts) >= IMBALANCE * min(counts):
        reason = (
            f"the largest class has {max(counts):,} images, the smallest {min(counts):,}: accuracy would tell little"
        )
        return replace(found, metric="mean_per_class_accuracy", metric_reason=reason)
    return found


def _checked(found: Survey) -> Survey:
    """Return `found` if it makes a competition, with a note on what is thin."""
    where = found.data / found.rule.file if found.kind == "csv" else found.data
    if len(found.classes) < 2:
        raise DataError(
            f"All images in {where} are of the class {', '.join(found.classes) or '(none)'}. Two are needed."
        )
    for name in found.classes:
        if not name.strip() or name != name.strip() or not name.isprintable() or len(name) > LONGEST_CLASS:
            raise DataError(
                f"{where}: '{printable(name)[:LONGEST_CLASS]}' cannot name a class, for it is empty, has blanks around "
                f"it, has unprintable characters, or has more than {LONGEST_CLASS}. Rename it."
            )
        if found.task == "multi-label" and JOINED in name:
            raise DataError(
                f"{where}: {name!r} cannot name a class: {JOINED!r} joins the labels of one image. Rename it."
            )
    thin = [name for name in found.classes if found.counts[name] < FEWEST_IMAGES]
    if not thin:
        return found
    note = f"{len(thin)} classes have fewer than {FEWEST_IMAGES} images, one per fold: {', '.join(thin[:5])}"
    return replace(found, notes=(*found.notes, note))
