"""Splits: which labelled images train and which are scored, by the publisher's own lists or at random."""

from pathlib import Path

import pandas as pd

from kit.data.labels import image_id_of, read_table, without_image_suffix
from kit.errors import DataError
from kit.home import fingerprint
from kit.rules import SplitRule


def random_split(groups: pd.Series, *, share: float, seed: int) -> list[str]:
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


def official_split(table: pd.DataFrame, rule: SplitRule, data: Path, *, complete: bool) -> tuple[list[str], int]:
    """Return train, test or unused for each row, and how many images the publisher's lists name in vain.

    Raises:
        DataError: an image is on both lists, a listed name is not unique, or images of a complete set are missing.
    """
    if rule.by == "folders":
        side_of = {rule.train: "train", rule.test: "test"}
        found = [
            next((side_of[part] for part in path.split("/")[:-1] if part in side_of), "unused")
            for path in table["path"]
        ]
        return found, 0
    if rule.by == "lists":
        listed = {"train": _first_words(data / rule.train), "test": _first_words(data / rule.test)}
    else:
        rows = read_table(data / rule.file, columns=[rule.id_column, rule.split_column])
        rows = rows[rows[rule.id_column] != ""]
        listed = {
            side: rows.loc[rows[rule.split_column] == value, rule.id_column].tolist()
            for side, value in (("train", rule.train), ("test", rule.test))
        }
    # Lists often name an image without its folder: then the last part of the id decides.
    last_parts = table["image_id"].str.rsplit("/", n=1).str[-1]
    by_name = dict(zip(last_parts, table["image_id"], strict=True)) | {i: i for i in table["image_id"]}
    shared = set(last_parts[last_parts.duplicated()]) - set(table["image_id"])
    # A name with a suffix that no image has is cut only here: "img_1.2" may be a whole id.
    spellings = {
        name: (name, without_image_suffix(name), image_id_of(name)) for names in listed.values() for name in names
    }
    meant = {name: next((one for one in tried if one in by_name), tried[1]) for name, tried in spellings.items()}
    if unclear := sorted(shared & set(meant.values())):
        raise DataError(
            f"{len(unclear)} names in the publisher's lists belong to images in more than one folder, "
            f"first {unclear[:5]}. Narrow labels.images in competition.toml, or give the lists' names with folders."
        )
    ids = {side: {by_name.get(meant[name], meant[name]) for name in names} for side, names in listed.items()}
    if both := sorted(ids["train"] & ids["test"]):
        raise DataError(f"{len(both)} images are in the training list and in the test list, first {both[:5]}.")
    absent = [name for names in listed.values() for name in names if meant[name] not in by_name]
    split = {image_id: side for side, found_ids in ids.items() for image_id in found_ids}
    if absent and complete:
        raise DataError(
            f"The publisher's lists name {len(absent)} images that are not in {data}, first {absent[:5]}. "
            "The data is incomplete: fetch it again, or declare a source set with complete = false."
        )
    return [split.get(image_id, "unused") for image_id in table["image_id"]], len(absent)


def _first_words(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()  # some editors put a byte order mark in front
    except OSError as error:
        raise DataError(f"The list {file} cannot be read: {error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"The list {file} is not UTF-8: {error}. Save it in that encoding.") from error
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
