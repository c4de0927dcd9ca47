"""The sample table: one row per image, `image_id, path, label, group, split, sha256`, checked, with a fingerprint.

All columns are strings. `label` is empty for unlabelled test images. Images with equal `group` must never
be parted by folds; by default each image is its own group. `split` is train, test or unused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kit.competition import Competition, Protocol, SplitRule
from kit.data.labels import find_images, from_lists, image_id_of, label_images, read_table
from kit.errors import DataError
from kit.home import fingerprint, sha256_of_file

TABLE_COLUMNS = ["image_id", "path", "label", "group", "split", "sha256"]
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The table with what the later stages must know about it."""

    table: pd.DataFrame  # TABLE_COLUMNS, sorted by image_id
    folder: Path  # `path` is relative to it
    classes: tuple[str, ...]
    missing: int = 0  # images that the publisher's lists name and this source set lacks
    fingerprint: str = ""

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
) -> Samples:
    """Label, group and split the images in `data` for one protocol.

    Args:
        competition: the question.
        data: folder that `fetch` returned.
        protocol: says which split is meant.
        source: name of the source set `data` is from; a partial set may lack images that lists name.
        labels: name of one of the competition's `more_labels`; default: its main rule.
        seed: of a random split; not used otherwise.

    Raises:
        DataError: missing or unknown labels, doubled ids, missing files, an empty side of the split.
    """
    rule = competition.label_rule(labels)
    table = label_images(competition, data, rule)
    table["group"] = _groups(table["path"], rule.group_pattern)
    complete = competition.source(source).complete
    table, missing = _split(competition, data, table, protocol, complete=complete, seed=seed)
    _check(competition, data, table)
    table["sha256"] = [sha256_of_file(data / path) for path in table["path"]]
    table = table[TABLE_COLUMNS].sort_values("image_id", ignore_index=True).astype("str")
    return Samples(
        table=table, folder=data, classes=competition.classes, missing=missing, fingerprint=fingerprint_of(table)
    )


def fingerprint_of(table: pd.DataFrame) -> str:
    """Return a SHA-256 over ids, labels, groups, splits and pixels' files; row order does not matter."""
    ordered = table.sort_values("image_id")
    content = ordered[["image_id", "label", "group", "split", "sha256"]]
    return fingerprint(str(SCHEMA_VERSION), content.to_csv(index=False, lineterminator="\n"))


def _groups(paths: pd.Series, pattern: str) -> list[str]:
    if not pattern:
        return [image_id_of(path) for path in paths]
    compiled = re.compile(pattern)
    found = [compiled.search(path) for path in paths]
    unmatched = [path for path, match in zip(paths, found, strict=True) if match is None]
    if unmatched:
        raise DataError(f"{len(unmatched)} images match no group: group_pattern finds none in {unmatched[:5]}.")
    return [match["group"] for match in found if match is not None]


def _split(
    competition: Competition, data: Path, table: pd.DataFrame, protocol: Protocol, *, complete: bool, seed: int
) -> tuple[pd.DataFrame, int]:
    """Return the table with `split`, and how many images the publisher's lists name in vain."""
    missing = 0
    if protocol.split == "none":
        table = table.assign(split="train")
    elif protocol.split == "random":
        table = table.assign(split=_random_split(table["group"], share=protocol.test_share, seed=seed))
    elif competition.official_split is not None:
        table, missing = _official_split(table, competition.official_split, data, complete=complete)
    else:
        table = table.assign(split="train")
    if protocol.split == "official" and (paths := _unlabelled_test(competition, data)):
        test = from_lists(paths, [""] * len(paths)).assign(split="test")
        table = table[~table["path"].isin(paths)]
        table = pd.concat([table, test.assign(group=test["image_id"])], ignore_index=True)
    return table, missing


def _unlabelled_test(competition: Competition, data: Path) -> list[str]:
    """Return the test images that no label rule covers: the adapter's, or those that `test_files` matches."""
    if function := competition.adapter_function("test_samples"):
        return list(function(data)["path"])
    return find_images(data, competition.test_files) if competition.test_files else []


def _random_split(groups: pd.Series, *, share: float, seed: int) -> list[str]:
    """Hold out `share` of the images, no group parted, whatever their order: groups are ranked by a hash with seed."""
    sizes = groups.value_counts()
    wanted = round(share * len(groups))
    held_out: set[str] = set()
    num_held_out = 0
    for group in sorted(sizes.index, key=lambda group: fingerprint(str(seed), group)):
        if num_held_out + sizes[group] <= wanted:
            held_out.add(group)
            num_held_out += sizes[group]
    return ["test" if group in held_out else "train" for group in groups]


def _official_split(table: pd.DataFrame, rule: SplitRule, data: Path, *, complete: bool) -> tuple[pd.DataFrame, int]:
    if rule.by == "folders":
        side_of = {rule.train: "train", rule.test: "test"}
        found = [
            next((side_of[part] for part in path.split("/")[:-1] if part in side_of), "unused")
            for path in table["path"]
        ]
        return table.assign(split=found), 0
    if rule.by == "lists":
        listed = {"train": _first_words(data / rule.train), "test": _first_words(data / rule.test)}
    else:
        rows = read_table(data / rule.file, columns=[rule.id_column, rule.split_column])
        rows = rows[rows[rule.id_column] != ""]
        listed = {
            side: [image_id_of(name) for name in rows.loc[rows[rule.split_column] == value, rule.id_column]]
            for side, value in (("train", rule.train), ("test", rule.test))
        }
    both = sorted(set(listed["train"]) & set(listed["test"]))
    if both:
        raise DataError(f"{len(both)} images are in the training list and in the test list, first {both[:5]}.")
    # Lists often name an image without its folder: then the last part of the id decides.
    last_parts = table["image_id"].str.rsplit("/", n=1).str[-1]
    by_name = dict(zip(last_parts, table["image_id"], strict=True)) | {i: i for i in table["image_id"]}
    shared = set(last_parts[last_parts.duplicated()]) - set(table["image_id"])
    if unclear := sorted(shared & {*listed["train"], *listed["test"]}):
        raise DataError(
            f"{len(unclear)} names in the publisher's lists belong to images in more than one folder, "
            f"first {unclear[:5]}. Narrow labels.images in competition.toml, or give the lists' names with folders."
        )
    split: dict[str, str] = {}
    absent: list[str] = []
    for side, names in listed.items():
        for name in names:
            if name in by_name:
                split[by_name[name]] = side
            else:
                absent.append(name)
    if absent and complete:
        raise DataError(
            f"The publisher's lists name {len(absent)} images that are not in {data}, first {absent[:5]}. "
            "The data is incomplete: fetch it again, or declare a source set with complete = false."
        )
    return table.assign(split=[split.get(image_id, "unused") for image_id in table["image_id"]]), len(absent)


def _first_words(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"The list {file} cannot be read: {error}.") from error
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


def _check(competition: Competition, data: Path, table: pd.DataFrame) -> None:
    doubled = table.loc[table["image_id"].duplicated(), "image_id"].unique().tolist()
    if doubled:
        raise DataError(
            f"{len(doubled)} image ids stand there more than once, first {doubled[:5]}. Each image has one row."
        )
    known = set(competition.classes)
    used = table[table["split"] != "unused"]
    for side in ("train", "test"):
        labels = used.loc[used["split"] == side, "label"]
        if unknown := sorted(set(labels) - known - {""}):
            count = int(labels.isin(unknown).sum())
            raise DataError(
                f"{count} {side} images have a label that {competition.slug} does not know: {unknown[:5]}. "
                f"Its classes are {', '.join(competition.classes[:10])}{', ...' if len(known) > 10 else ''}; "
                "add the class to competition.toml, or map it with labels.rename."
            )
    train = used[used["split"] == "train"]
    if train.empty:
        raise DataError(f"{competition.slug}: no image is left to train on. Check the split and the label rule.")
    if (train["label"] == "").any():
        nameless = train.loc[train["label"] == "", "image_id"].tolist()
        raise DataError(
            f"{len(nameless)} training images have no label, first {nameless[:5]}. Each training image needs one."
        )
    if train["label"].nunique() < 2:
        raise DataError(
            f"All {len(train)} training images of {competition.slug} have the label {train['label'].iloc[0]!r}: "
            "with one class only there is nothing to learn. Check the label rule."
        )
    absent = [path for path in table["path"] if not (data / path).is_file()]
    if absent:
        raise DataError(
            f"{len(absent)} images that the labels name are not in {data}, first {absent[:5]}. "
            "Check labels.folder and labels.suffix in competition.toml."
        )


def write_table(table: pd.DataFrame) -> str:
    """Return a table of strings as CSV text with Unix line ends."""
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text


def read_samples_table(path: Path) -> pd.DataFrame:
    """Read a sample table that `write_table` wrote."""
    return pd.read_csv(path, dtype="str", keep_default_na=False)


def class_indices(labels: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Return int64 (N,): the index of each label in `classes`, -1 where the label is empty."""
    index = {name: k for k, name in enumerate(classes)}
    return np.array([index.get(label, -1) for label in labels], dtype=np.int64)
