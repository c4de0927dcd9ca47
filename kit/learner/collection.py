"""Collections: images that were labelled in Python, as a competition without a folder of its own."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import pandas as pd

from kit.competition import JOINED, Competition, checked_slug, competition_folders
from kit.data.schema import write_table
from kit.errors import CompetitionError, ConfigError, DataError
from kit.home import fingerprint
from kit.quality import findings
from kit.rules import FoldRule, LabelRule, Protocol, SourceSet, SubmissionRule
from kit.scaffold.survey_csv import ordered
from kit.store.decode import printable

LONGEST_CLASS = 200  # characters
MOST_PARTS = 20  # into which images are dealt for a share of them, unless the share is smaller than one part


@dataclass(frozen=True, kw_only=True)
class Collection(Competition):
    """A competition whose labels are a table in memory; its images stay where they are."""

    table: pd.DataFrame = field(repr=False, compare=False)  # path, label, and `group` or `given_fold` where there are

    def adapter(self) -> ModuleType | None:
        """Return None: a file of that name among the images is none of ours."""
        return None

    @property
    def adapter_fingerprint(self) -> str:
        """SHA-256 of the table."""
        return fingerprint(write_table(self.table))

    def adapter_function(self, name: str) -> Callable[..., Any] | None:
        """Return what gives the table, by the name that an adapter has for it."""
        return (lambda data: self.table) if name == "train_samples" else None


def collection_of(
    table: pd.DataFrame, *, folder: Path, several: bool, num_folds: int, name: str | None = None
) -> Collection:
    """Return a competition of labelled images that is scored out of fold.

    Args:
        table: `image_id`, `path` below `folder`, `label` (several of them joined), and `group` or `given_fold`.
        folder: of the images; they are used in place.
        several: an image may have any number of labels.
        num_folds: into how many parts they are dealt; 0: all of them train.
        name: of the competition, before a few digits that tell folder and classes; default: the folder's.

    Raises:
        DataError: an image is missing, has two labels, or its label cannot name a class; or there is one class only.
        CompetitionError: the name is taken, or cannot be one.
    """
    _refuse_unusable(table, folder=folder, several=several)
    counts = Counter(one for label in table["label"] for one in (label.split(JOINED) if several else [label]) if one)
    classes = tuple(ordered(counts))
    _refuse_classes(classes, table=table, folder=folder)
    metric = "mean_f1" if several else "accuracy"
    of = f" {num_folds}" if num_folds else ""
    protocol = Protocol(
        description="Each image is predicted by a network that never saw it",
        training_pool=f"other-folds-of{of.replace(' ', '-')}",
        train="the images of the other folds",
        test_images="out-of-fold",
        test="the images of a fold",
        metric=metric,
        split="none",
        num_folds=num_folds,
    )
    return Collection(
        slug=_slug(folder, classes, name=name),
        folder=folder,
        title=f"{name or printable(folder.name)}: {len(table):,} images of {len(classes)} classes",
        homepage="",
        licence="not stated",
        citation="not stated",
        task="multi-label" if several else "single-label",
        metric=metric,
        classes=classes,
        sources={"local": SourceSet(folder=str(folder))},
        labels=LabelRule(rule="adapter"),
        protocols={"folds": protocol},
        default_protocol="folds",
        submission=SubmissionRule(values="labels", label_column="labels") if several else SubmissionRule(),
        folds=FoldRule(by="column") if "given_fold" in table else FoldRule(),
        table=table,
    )


def parts_of(valid_pct: float) -> tuple[int, int]:
    """Return (a, b): a of b folds are the share of the images nearest to `valid_pct`, with b up to 20 or as needed.

    Raises:
        ConfigError: it is no share, or leaves nothing on one of the sides.
    """
    if isinstance(valid_pct, bool) or not isinstance(valid_pct, int | float) or not 0 < valid_pct < 1:
        raise ConfigError(
            f"valid_pct must be a number between 0 and 1, got {valid_pct!r}: the share of the images that is held out, "
            "so that there is something to learn from and something to be judged by. A usual value is 0.2; folds=0 "
            "holds nothing out."
        )
    if valid_pct < 1 / MOST_PARTS:
        return 1, min(round(1 / valid_pct), 1000)
    share = min(Fraction(valid_pct).limit_denominator(MOST_PARTS), Fraction(MOST_PARTS - 1, MOST_PARTS))
    return share.numerator, share.denominator


def _slug(folder: Path, classes: Sequence[str], *, name: str | None) -> str:
    """Return a name with a few digits that tell folder and classes: what is saved of others is not replaced."""
    digits = fingerprint(str(folder), *classes)[:6]
    if name is None:
        plain = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")[:50].strip("-") or "images"
        return f"{plain}-{digits}"
    if not isinstance(name, str):
        raise ConfigError(f'name must be a text, such as "bears", got {printable(repr(name))[:80]}.')
    checked_slug(name)
    if name in competition_folders():
        raise CompetitionError(
            f"There is a competition {name!r} already: kit.load({name!r}) gives its images. Choose another name for "
            "these."
        )
    return f"{name[:50]}-{digits}"


def _refuse_unusable(table: pd.DataFrame, *, folder: Path, several: bool) -> None:
    outside = [path for path in table["path"] if path.startswith("/") or ".." in PurePosixPath(path).parts]
    if outside:
        raise DataError(
            f"{len(outside)} of {len(table)} images do not lie below {folder}, first {first_of(outside)}. Give the "
            "folder that holds all of them."
        )
    if absent := [path for path in table["path"] if not (folder / path).is_file()]:
        raise DataError(
            f"{len(absent)} of {len(table)} labelled images are not in {folder}, first {first_of(absent)}. Check the "
            "folder; from_csv takes folder= and suffix= for what stands before and behind the names in the file."
        )
    doubled = table[table["image_id"].duplicated(keep=False)]
    for image_id, rows in doubled.groupby("image_id"):
        if rows["path"].nunique() > 1:
            raise DataError(
                f"{first_of(rows['path'].tolist())} are two images with one name: they differ in the suffix alone, and "
                f"{image_id!r} is to name one. Rename one of them."
            )
        if rows["label"].nunique() > 1:
            what = "labels" if not several else "rows with different labels"
            raise DataError(
                f"{rows['path'].iloc[0]} has {len(rows)} {what}: {first_of(rows['label'].tolist())}. Each image stands "
                "in one row; for several labels of one image give them as a list, or in one cell with separator=."
            )
    if not doubled.empty:
        raise DataError(
            f"Images are named more than once: {first_of(doubled['path'].unique().tolist())}. Each image stands in one "
            "row."
        )
    if not several and (nameless := table.loc[table["label"] == "", "path"].tolist()):
        raise DataError(
            f"{len(nameless)} of {len(table)} images have no label, first {first_of(nameless)}. Each image needs one."
        )


def _refuse_classes(classes: Sequence[str], *, table: pd.DataFrame, folder: Path) -> None:
    for name in classes:
        if name != name.strip() or not name.isprintable() or len(name) > LONGEST_CLASS:
            raise DataError(
                f"'{printable(name)[:LONGEST_CLASS]}' cannot name a class: it has blanks around it, unprintable "
                f"characters, or more than {LONGEST_CLASS}. Change what gives the labels of {folder}."
            )
    if len(classes) < 2:
        raise DataError(
            f"All {len(table)} images in {folder} have the label {', '.join(map(repr, classes)) or '(none)'}: with one "
            "class only there is nothing to learn. Check what gives the labels."
        )


def first_of(names: Sequence[str]) -> str:
    """Return the first five of somebody's names, and how many more there are."""
    return findings.first_of([printable(name) for name in names])
