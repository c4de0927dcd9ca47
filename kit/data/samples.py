"""Samples: a competition's images as one table (`kit.data.schema`), labelled, looked at, grouped and split."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from kit.competition import Competition
from kit.data.labelling import label_images
from kit.data.labels import files_below, find_images, from_lists, has_image_suffix, image_id_of
from kit.data.schema import checked_table, fingerprint_of, labelled, truth_of
from kit.data.splits import official_split, random_split
from kit.errors import DataError
from kit.progress import Say
from kit.quality.duplicates import find_duplicates, merge_groups
from kit.quality.fixes import Fixes, apply_fixes
from kit.quality.inspect import inspect_files
from kit.rules import Protocol

NO_FIXES = Fixes()


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The table with what the later stages must know about it."""

    table: pd.DataFrame  # as kit.data.schema says, sorted by image_id
    folder: Path  # `path` is relative to it
    classes: tuple[str, ...]
    missing: int = 0  # images that the publisher's lists name and this source set lacks
    fingerprint: str = ""
    facts: pd.DataFrame = field(default_factory=pd.DataFrame)  # a row per file, as kit.quality.inspect gives it
    duplicates: pd.DataFrame = field(default_factory=pd.DataFrame)  # a row per pair, as kit.quality.duplicates gives it
    fixes: Fixes = field(default_factory=Fixes)  # what was applied

    @property
    def train(self) -> pd.DataFrame:
        """The rows to train on, with fresh row numbers."""
        return self.table[self.table["split"] == "train"].reset_index(drop=True)

    @property
    def test(self) -> pd.DataFrame:
        """The rows to predict, with fresh row numbers."""
        return self.table[self.table["split"] == "test"].reset_index(drop=True)


def build_samples(
    competition: Competition,
    data: Path,
    *,
    protocol: Protocol,
    source: str | None = None,
    labels: str | None = None,
    seed: int = 1,
    fixes: Fixes = NO_FIXES,
    known_facts: pd.DataFrame | None = None,
    say: Say = print,
) -> Samples:
    """Label, look at, group and split the images in `data` for one protocol.

    Args:
        competition: the question.
        data: folder that `fetch` returned.
        protocol: says which split is meant.
        source: name of the source set `data` is from; a partial set may lack images that lists name.
        labels: name of one of the competition's `more_labels`; default: its main rule.
        seed: of a random split; not used otherwise.
        fixes: rows of fixes.csv, applied to the table; the files stay as they are.
        known_facts: of an earlier look at the same folder; unchanged files are not read again.
        say: takes lines of progress.

    Raises:
        DataError: missing or unknown labels, doubled ids, missing files, an empty side of the split.
    """
    rule = competition.label_rule(labels)
    complete = competition.source(source).complete
    table = _all_images(competition, data, protocol=protocol, labels=labels, say=say)
    _refuse_second_rows(table)
    table, missing = _present(table, data, complete=complete)
    if "group" not in table or rule.group_pattern:
        table["group"] = _groups(table, rule.group_pattern)
    if (split_rule := competition.folds.by) in ("grouped", "stratified-grouped") and table["group"].is_unique:
        raise DataError(
            f"folds.by = {split_rule!r} of {competition.slug} keeps groups together, and every image is a group of its "
            "own. Say which images belong together: labels.group_column or labels.group_pattern in competition.toml."
        )
    facts = inspect_files(data, table["path"].tolist(), known=known_facts, say=say)
    table["sha256"] = facts["sha256"].to_numpy()
    _refuse_fixed_tests(competition, data, table, protocol, fixes, complete=complete)
    elsewhere = {image_id_of(path) for path, _ in files_below(data)} if fixes.rows else set()
    table = apply_fixes(table, fixes, elsewhere=elsewhere)
    looked_at = facts[facts["path"].isin(table["path"])]
    duplicates = find_duplicates(
        data,
        looked_at["path"].tolist(),
        hashes=looked_at[["hash", "mirror_hash"]].to_numpy(dtype=np.uint64),
        shapes=looked_at[["height", "width"]].to_numpy(dtype=np.int64),
        sha256=looked_at["sha256"].tolist(),
        say=say,
    )
    grouping = duplicates if competition.folds.near_duplicates == "group" else duplicates[duplicates["kind"] == "exact"]
    table = merge_groups(table, grouping)
    table, missing_from_lists = _split(competition, data, table, protocol, complete=complete, seed=seed)
    if competition.task == "single-label":
        _refuse_unknown_labels(competition, table)
    table = checked_table(table, classes=competition.classes, task=competition.task, whose=competition.slug)
    _refuse_no_lesson(competition, table)
    _tell_what_is_left_out(table, data, say=say)
    return Samples(
        table=table,
        folder=data,
        classes=competition.classes,
        missing=max(missing, missing_from_lists),  # lists name what the labels name
        fingerprint=fingerprint_of(table),
        facts=facts,
        duplicates=duplicates,
        fixes=fixes,
    )


def _all_images(
    competition: Competition, data: Path, *, protocol: Protocol, labels: str | None, say: Say
) -> pd.DataFrame:
    """Return the labelled images and, for an official split, the unlabelled test images, whose `split` is "test"."""
    table = label_images(competition, data, competition.label_rule(labels)).assign(split="")
    paths = _unlabelled_test(competition, data, protocol) if protocol.split == "official" else []
    if not paths:
        return table
    test = from_lists(paths, [""] * len(paths)).assign(split="test", weight=1.0, time="", given_fold="")
    test = test.assign(group=test["image_id"])
    if num_both := int((known := table["path"].isin(paths)).sum()):
        say(f"{num_both:,} labelled images are test images too: they are scored as unlabelled, and not trained on")
    own = [*table.columns[:3], *(name for name in table.columns[3:] if name in test)]
    return pd.concat([table[~known], test[own]], ignore_index=True)


def _unlabelled_test(competition: Competition, data: Path, protocol: Protocol) -> list[str]:
    """Return the test images that no label rule covers: the adapter's, or those that `test_files` matches."""
    pattern = protocol.test_files or competition.test_files
    if pattern:
        return find_images(data, pattern)
    if function := competition.adapter_function("test_samples"):
        rows = pd.DataFrame(function(data))
        if "path" not in rows or (rows["path"].fillna("") == "").any():
            raise DataError(
                f"test_samples in {competition.folder / 'adapter.py'} gave a table without a `path` for every image."
            )
        return rows["path"].astype("str").tolist()
    return []


def _present(table: pd.DataFrame, data: Path, *, complete: bool) -> tuple[pd.DataFrame, int]:
    """Return the rows whose file is there, and how many are not; in a complete source set that is an error."""
    there = [not path or (data / path).is_file() for path in table["path"]]
    absent = [path for path, found in zip(table["path"], there, strict=True) if not found]
    if absent and (complete or len(absent) == len(table)):
        raise DataError(
            f"{len(absent)} images that the labels name are not in {data}, first {absent[:5]}. "
            "Check labels.folder and labels.suffix in competition.toml."
        )
    return table[there].reset_index(drop=True), len(absent)


def _groups(table: pd.DataFrame, pattern: str) -> list[str]:
    if not pattern:
        return table["image_id"].tolist()
    compiled = re.compile(pattern)
    found = [compiled.search(path) for path in table["path"]]
    known = (table["split"] != "test").tolist()  # unlabelled test images are never parted, and may be named otherwise
    found = [match if match is not None and match["group"] else None for match in found]
    unmatched = [p for p, match, own in zip(table["path"], found, known, strict=True) if match is None and own]
    if unmatched:
        raise DataError(f"{len(unmatched)} images match no group: group_pattern finds none in {unmatched[:5]}.")
    return [
        match["group"] if match is not None else image_id
        for match, image_id in zip(found, table["image_id"], strict=True)
    ]


def _split(
    competition: Competition, data: Path, table: pd.DataFrame, protocol: Protocol, *, complete: bool, seed: int
) -> tuple[pd.DataFrame, int]:
    """Return the table with `split`, and how many images the publisher's lists name in vain."""
    own = table["split"] == "test"  # unlabelled test images
    split, missing = pd.Series("train", index=table.index), 0
    if protocol.split == "random":
        split = pd.Series(random_split(table["group"], share=protocol.test_share, seed=seed), index=table.index)
    elif protocol.split == "official" and competition.official_split is not None:
        found, missing = official_split(table, competition.official_split, data, complete=complete)
        split = pd.Series(found, index=table.index)
    table = table.assign(split=split.mask(own, "test"))
    if protocol.split != "none" and not (table["split"] == "test").any():
        raise DataError(
            f"{competition.slug}: no image is left to test on. "
            + (
                f"A share of {protocol.test_share:g} is smaller than each of the groups: give a larger test_share, or "
                "a protocol that is scored out of fold."
                if protocol.split == "random"
                else "Check official_split and test_files in competition.toml against the names of files and folders."
            )
        )
    return table, missing


def _refuse_fixed_tests(
    competition: Competition, data: Path, table: pd.DataFrame, protocol: Protocol, fixes: Fixes, *, complete: bool
) -> None:
    """Refuse a fix that changes the publisher's own test list: scores on another one meet no published number."""
    if protocol.split != "official" or not fixes.fingerprint:
        return
    split, _ = _split(competition, data, table, protocol, complete=complete, seed=0)
    tests = set(split.loc[split["split"] == "test", "image_id"])
    if changed := sorted(tests & {*fixes.dropped, *fixes.relabelled}):
        raise DataError(
            f"fixes.csv changes {len(changed)} images of the publisher's test list, first {changed[:5]}. That list is "
            "scored as it was published: take these rows out, or score with a protocol whose split is your own."
        )


def _tell_what_is_left_out(table: pd.DataFrame, data: Path, *, say: Say) -> None:
    if num_unused := int((table["split"] == "unused").sum()):
        say(f"{num_unused:,} labelled images are on neither side of the split, and are not used")
    unnamed = sorted({path for path, _ in files_below(data) if has_image_suffix(path)} - set(table["path"]))
    if unnamed:
        files = "1 image file has" if len(unnamed) == 1 else f"{len(unnamed):,} image files have"
        say(f"{files} no row and {'is' if len(unnamed) == 1 else 'are'} not used, e.g. {', '.join(unnamed[:3])}")


def _refuse_second_rows(table: pd.DataFrame) -> None:
    """Refuse two rows of one file: folds and splits could part them."""
    paths = table.loc[table["path"] != "", "path"]
    if twice := sorted(set(paths[paths.duplicated()])):
        raise DataError(
            f"{len(twice)} files have more than one row, first {twice[:5]}. Each image has one row; for several labels "
            "of one image set task = 'multi-label' or 'soft-label' in competition.toml."
        )


def _refuse_unknown_labels(competition: Competition, table: pd.DataFrame) -> None:
    used = table[table["split"] != "unused"]
    known = {*competition.classes, ""}
    for side in ("train", "test"):
        labels = used.loc[used["split"] == side, "label"]
        if unknown := sorted(set(labels) - known):
            count = int(labels.isin(unknown).sum())
            raise DataError(
                f"{count} {side} images have a label that {competition.slug} does not know: {unknown[:5]}. Its classes "
                f"are {', '.join(competition.classes[:10])}{', ...' if len(competition.classes) > 10 else ''}; "
                "add the class to competition.toml, or map it with labels.rename."
            )


def _refuse_no_lesson(competition: Competition, table: pd.DataFrame) -> None:
    """Refuse training images of which nothing could be learned."""
    train = table[table["split"] == "train"]
    if train.empty:
        raise DataError(f"{competition.slug}: no image is left to train on. Check the split and the label rule.")
    if not (has_label := labelled(train)).all():
        nameless = train.loc[~has_label, "image_id"].tolist()
        raise DataError(
            f"{len(nameless)} training images have no label, first {nameless[:5]}. Each training image needs one."
        )
    if len({tuple(np.atleast_1d(truth)) for truth in truth_of(train, competition.classes)}) < 2:
        raise DataError(
            f"All {len(train)} training images of {competition.slug} have the label {train['label'].iloc[0]!r}: "
            "with one class only there is nothing to learn. Check the label rule."
        )
