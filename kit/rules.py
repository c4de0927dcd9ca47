"""The rules of a competition: where files come from, how images get label, split and folds, what is handed in.

Each is one table of `competition.toml`, read into a frozen dataclass; unknown keys are refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kit.config import Strict


@dataclass(frozen=True, kw_only=True)
class SourceFile(Strict):
    """One file that a source set is made of."""

    path: str = ""  # where a mirror keeps it, e.g. "oxford-pets/pets-test.tar"; default: the end of `url`
    url: str = ""  # public address; empty: it is only had from a mirror
    sha256: str = ""
    md5: str = ""  # where the publisher gives only that
    num_bytes: int = 0  # 0: not stated
    unpack: bool = False  # an archive whose members go into the data folder
    save_as: str = ""  # name inside the data folder of a file that is not unpacked; default: its name

    @property
    def name(self) -> str:
        """The file's name in the downloads folder."""
        return (self.path or self.url).rstrip("/").rsplit("/", 1)[-1]


@dataclass(frozen=True, kw_only=True)
class SourceSet(Strict):
    """The files that make the data, in one of the ways they can be had."""

    files: tuple[SourceFile, ...] = ()
    kaggle: str = ""  # a Kaggle competition whose files are downloaded with the user's own account
    folder: str = ""  # images that lie on this machine, used in place; relative to KIT_HOME/collected/<slug>
    complete: bool = True  # False: some of the images are missing, and results are of another protocol
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class LabelRule(Strict):
    """How an image gets its label."""

    rule: Literal["folder", "regex", "csv", "function", "adapter"]
    images: str = "**/*"  # which files are images: a glob below the data folder
    pattern: str = ""  # regex: matched against the path below the data folder; needs a group named `label`
    patterns: Mapping[str, str] = field(
        default_factory=dict
    )  # regex: class -> pattern, instead; exactly one must match
    file: str = ""  # csv: the file below the data folder
    id_column: str = "id"  # csv: names the image
    label_column: str = "label"  # csv
    separator: str = ""  # multi-label: between the labels of one image, e.g. " "
    target_columns: tuple[str, ...] = ()  # csv: a number per class instead of a label, in the order of the classes
    weight_column: str = ""  # csv: how much an image counts in training, > 0
    group_column: str = ""  # csv: images that must stay in one fold
    time_column: str = ""  # csv: when the image was taken, a number or an ISO 8601 date
    fold_column: str = ""  # csv: folds that somebody else has dealt out
    folder: str = ""  # csv: goes before the name; {column} stands for the row's value
    suffix: str = ""  # csv: goes behind the name
    delimiter: str = ","  # csv
    rename: Mapping[str, str] = field(default_factory=dict)  # label as found -> class name
    group_pattern: str = ""  # regex with a group named `group`: images that must stay in one fold


@dataclass(frozen=True, kw_only=True)
class SplitRule(Strict):
    """How the publisher's own split is read."""

    by: Literal["lists", "folders", "csv"]
    train: str = ""  # lists: file, first word of a row is an image id; folders: folder name; csv: value
    test: str = ""
    file: str = ""  # csv
    id_column: str = "id"  # csv
    split_column: str = "split"  # csv


@dataclass(frozen=True, kw_only=True)
class FoldRule(Strict):
    """How training images are parted into folds."""

    by: Literal["auto", "stratified", "grouped", "stratified-grouped", "time", "column"] = "auto"
    # auto: stratified, and grouped where images share a group; column: `labels.fold_column`
    near_duplicates: Literal["group", "ignore"] = "group"  # verified copies of at least 64 px stay in one fold


@dataclass(frozen=True, kw_only=True)
class Protocol(Strict):
    """What is trained on, what is tested on, and how it is scored."""

    description: str
    training_pool: str  # identity of the training images, as in the baselines
    train: str
    test_images: str  # identity of the scored images, as in the baselines; "out-of-fold" where there is no test
    test: str
    num_test: int | None = None  # left out: differs by draw
    metric: str
    split: Literal["official", "random", "none"] = "official"
    test_share: float = 0.2  # of a random split
    num_folds: int = 0  # of an out-of-fold protocol; runs with another number are of another protocol; 0: any
    extra_inputs: str = "none"
    test_files: str = ""  # where it is not the competition's own: a later stage's test images
    sample: str = ""  # and their sample submission


@dataclass(frozen=True, kw_only=True)
class SubmissionRule(Strict):
    """The columns of the file that is handed in."""

    id_column: str = "id"
    values: Literal["label", "labels", "probabilities", "probability_of"] = "label"
    label_column: str = "label"  # the one value column, unless every class has its own ("probabilities")
    separator: str = " "  # labels: between the labels of one image
    of_class: str = ""  # probability_of: whose
    ids: Literal["image_id", "stem", "name"] = "image_id"  # path without suffix, its last part, or the file's name
    sample: str = ""  # the sample submission below the data folder: its ids, in its order
    clip: Literal["none", "out-of-fold"] = "none"  # keep probabilities off 0 and 1, as far as is best out of fold
