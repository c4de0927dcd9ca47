"""Probe: can the label, or the side of the split, be told from facts about the files alone, without their pixels?

Where it can, a network may learn the camera, the encoder or the order of collection instead of the subject. Each
fact is probed by itself with a small cross-validated tree, so that the answer names the fact; then all together.
Chance is exactly 1 / number of classes in balanced accuracy, whatever the classes' sizes; the test against it is
clustered by group (Cameron and Miller 2015, "A practitioner's guide to cluster-robust inference").
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Fact -> what it is in plain words. The first group has nothing to do with what an image shows.
METADATA = {
    "width": "the width in pixels",
    "height": "the height in pixels",
    "aspect": "the aspect ratio",
    "pixels": "the number of pixels",
    "format": "the file format",
    "suffix": "the ending of the file name",
    "mode": "the colour mode",
    "bits": "the bits per channel",
    "orientation": "the EXIF orientation",
    "jpeg_tables": "the JPEG quantisation tables (encoder and quality)",
}
NAMES = {
    "name_order": "the place in the sorted list of file names",
    "name_number": "the last number in the file name",
    "name_last_digit": "the last digit in the file name",
}
# These depend on the subject too: a plain background compresses better. Telling labels by them is no fault as such.
CONTENT = {"num_bytes": "the file size", "bits_per_pixel": "the file size per pixel"}
PIXELS = {"mean": "the mean brightness", "std": "the contrast"}
ALL = METADATA | NAMES | CONTENT | PIXELS

MAX_ROWS = 5_000
NUM_FOLDS = 5
MAX_P = 1e-5  # one false alarm in 10,000 data sets with ten facts each
_MIN_CLASS_SIZE = NUM_FOLDS


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How well facts about files tell the classes."""

    facts: tuple[str, ...]  # one name out of ALL, or all that were probed together
    score: float  # out-of-fold balanced accuracy (labels) or area under the ROC curve (side)
    chance: float
    low: float  # 99.9 % lower bound of `score`
    p_value: float  # one-sided, of a score at chance
    num_images: int

    @property
    def skill(self) -> float:
        """0 at chance, 1 where the classes are told perfectly."""
        return (self.score - self.chance) / (1 - self.chance)

    @property
    def words(self) -> str:
        """The facts in plain words."""
        return ALL[self.facts[0]] if len(self.facts) == 1 else "several file facts taken together"


def probe_labels(table: pd.DataFrame, facts: pd.DataFrame, *, seed: int = 1) -> list[Probe]:
    """Probe each fact about the training files for the label, then the metadata together; the best one first.

    Names of files are left out where the label is read from them (see `names_tell_labels`).

    Args:
        table: `path`, `label`, `group`: the training rows.
        facts: FACT_DTYPES of kit.quality.inspect, a row per path.
        seed: of the subsample and of the folds.
    """
    joined = _joined(table, facts)
    sizes = joined["label"].value_counts()
    joined = joined[joined["label"].isin(sizes.index[sizes >= _MIN_CLASS_SIZE])]
    # The order is that of all the names, not of the subsample.
    columns = known_facts(joined)
    names = [] if names_tell_labels(joined["path"], joined["label"]) else list(NAMES)
    rows = _subsample(len(joined), seed=seed)
    joined, columns = joined.iloc[rows], columns.iloc[rows]
    return _probes(
        columns,
        joined["label"],
        joined["group"],
        alone=[*METADATA, *names, *CONTENT],
        together=list(METADATA),
        seed=seed,
        side=False,
    )


def probe_sides(table: pd.DataFrame, facts: pd.DataFrame, *, seed: int = 1) -> list[Probe]:
    """Probe each fact, brightness and contrast included, for the side (train or test), then all together.

    Args:
        table: `path`, `split`, `group`: training and test rows.
        facts: FACT_DTYPES of kit.quality.inspect, a row per path.
        seed: of the subsample and of the folds.
    """
    joined = _joined(table, facts)
    joined = joined.iloc[_subsample(len(joined), seed=seed)]
    if joined["split"].value_counts().reindex(["train", "test"], fill_value=0).min() < _MIN_CLASS_SIZE:
        return []
    alone = [*METADATA, *CONTENT, *PIXELS]
    return _probes(
        known_facts(joined), joined["split"], joined["group"], alone=alone, together=alone, seed=seed, side=True
    )


def known_facts(joined: pd.DataFrame) -> pd.DataFrame:
    """Return the facts of ALL as float64 columns; categories become their rank by frequency, equal ranks by name."""
    pixels = joined["width"] * joined["height"]
    stems = [PurePosixPath(path).stem for path in joined["path"]]
    numbers = [re.findall(r"\d+", stem)[-1:] for stem in stems]
    order = pd.Series(range(len(joined)), index=sorted(range(len(joined)), key=lambda row: natural(stems[row])))
    found = pd.DataFrame(
        {
            "width": joined["width"],
            "height": joined["height"],
            "aspect": joined["width"] / joined["height"].clip(lower=1),
            "pixels": pixels,
            "bits": joined["bits"],
            "orientation": joined["orientation"],
            "num_bytes": joined["num_bytes"],
            "bits_per_pixel": 8 * joined["num_bytes"] / pixels.clip(lower=1),
            "mean": joined["mean"],
            "std": joined["std"],
            "name_order": order.sort_index().to_numpy(),
            # A number of a hundred digits is no order; as a float it would not be finite.
            "name_number": [float(n[0][:15]) if n else -1.0 for n in numbers],
            "name_last_digit": [float(n[0][-1]) if n else -1.0 for n in numbers],
        },
        index=joined.index,
    )
    for name in ("format", "mode", "jpeg_tables"):
        found[name] = _ranked(joined[name])
    found["suffix"] = _ranked(pd.Series([PurePosixPath(path).suffix for path in joined["path"]], index=joined.index))
    return found.astype("float64")


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts "cat.9" before "cat.10"."""
    return [
        (0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part)
        for part in re.findall(r"[0-9]{1,15}|[^0-9]+", name)
    ]


def names_tell_labels(paths: Sequence[str] | pd.Series, labels: Sequence[str] | pd.Series) -> bool:
    """Whether labels are written into the paths on purpose: the folder, or the name without digits, has one label."""
    table = pd.DataFrame({"path": list(paths), "label": list(labels)})
    folder = [str(PurePosixPath(path).parent) for path in table["path"]]
    stem = [re.sub(r"\d", "", PurePosixPath(path).stem) for path in table["path"]]
    for key in (folder, stem):
        of_key = table.groupby(key)["label"]
        pure = of_key.nunique() == 1
        # Names that are all different say nothing, therefore a key must stand for several images.
        telling = pure & (of_key.size() > 1)
        if of_key.size()[telling].sum() > 0.9 * len(table):
            return True
    return False


def _joined(table: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    sound = facts[(facts["fault"] == "") & (facts["path"] != "")].drop_duplicates("path")
    # Sorted: the folds, and with them the verdict, are the same whatever the row order.
    return table.merge(sound, on="path").sort_values("path", ignore_index=True)


def _subsample(num_rows: int, *, seed: int) -> Ints:
    if num_rows <= MAX_ROWS:
        return np.arange(num_rows)
    return np.sort(np.random.default_rng(seed).choice(num_rows, MAX_ROWS, replace=False))


def _ranked(values: pd.Series) -> pd.Series:
    counts = values.value_counts()
    rank = {name: k for k, name in enumerate(sorted(counts.index, key=lambda name: (-counts[name], str(name))))}
    return values.map(rank)


def _probes(
    columns: pd.DataFrame,
    target: pd.Series,
    groups: pd.Series,
    *,
    alone: Sequence[str],
    together: Sequence[str],
    seed: int,
    side: bool,
) -> list[Probe]:
    if target.nunique() < 2 or groups.nunique() < 2 * NUM_FOLDS:
        return []
    truth, group_codes = pd.factorize(target, sort=True)[0], pd.factorize(groups)[0]
    varies = columns.nunique() > 1
    sets: list[tuple[str, ...]] = [(name,) for name in alone if varies[name]]
    joint = tuple(name for name in together if varies[name])
    sets += [joint] if len(joint) > 1 else []
    splits = _splits(truth, group_codes, seed=seed)
    found = []
    for names in sets:
        probabilities = _out_of_fold(columns[list(names)].to_numpy(), truth, splits, seed=seed)
        found.append(
            _side_probe(names, probabilities[:, 1], truth)
            if side
            else _label_probe(names, probabilities.argmax(axis=1), truth, group_codes)
        )
    return sorted(found, key=lambda probe: (-probe.skill, len(probe.facts)))


def _splits(truth: Ints, groups: Ints, *, seed: int) -> list[tuple[Ints, Ints]]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    grouped = groups.max() + 1 < len(groups)
    kind = StratifiedGroupKFold if grouped else StratifiedKFold
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        parts = kind(NUM_FOLDS, shuffle=True, random_state=seed).split(truth, truth, groups if grouped else None)
        return [(seen, held_out) for seen, held_out in parts if len(seen) and len(held_out)]


def _out_of_fold(values: Floats, truth: Ints, splits: Sequence[tuple[Ints, Ints]], *, seed: int) -> Floats:
    """Return (N, C) probabilities of trees that did not see the row's group, classes weighted to equal size."""
    from sklearn.tree import DecisionTreeClassifier

    num_classes = int(truth.max()) + 1
    probabilities = np.zeros((len(truth), num_classes))
    tree = DecisionTreeClassifier(
        max_leaf_nodes=max(16, 2 * num_classes),
        min_samples_leaf=max(3, len(truth) // 500),
        random_state=seed,
    )
    for seen, held_out in splits:
        sizes = np.bincount(truth[seen], minlength=num_classes)
        tree.fit(values[seen], truth[seen], sample_weight=1 / sizes[truth[seen]])
        probabilities[np.ix_(held_out, tree.classes_)] = tree.predict_proba(values[held_out])
    return probabilities


def _label_probe(names: tuple[str, ...], predicted: Ints, truth: Ints, groups: Ints) -> Probe:
    """Test the balanced accuracy against chance, 1/C: the predicted shares q sum to 1, whatever they are."""
    from scipy.stats import t as student

    num_classes = int(truth.max()) + 1
    sizes = np.bincount(truth, minlength=num_classes)
    weight = 1 / (num_classes * sizes[truth])  # (N,), sums to 1
    hit = (predicted == truth).astype(np.float64)
    score = float((weight * hit).sum())
    shares = np.bincount(predicted, minlength=num_classes) / len(predicted)
    # If facts say nothing, an image of class k is hit with probability q_k; images of one group go together.
    by_group = np.bincount(groups, weights=weight * (hit - shares[truth]))
    clustered = float((by_group**2).sum())
    independent = float((weight**2 * (shares * (1 - shares))[truth]).sum())
    error = max(clustered, independent, 1e-12) ** 0.5
    freedom = int(groups.max())
    chance = 1 / num_classes
    return Probe(
        facts=names,
        score=score,
        chance=chance,
        low=score - float(student.isf(0.001, freedom)) * error,
        p_value=float(student.sf((score - chance) / error, freedom)),
        num_images=len(truth),
    )


def _side_probe(names: tuple[str, ...], probability: Floats, truth: Ints) -> Probe:
    """Return the area under the ROC curve with the error of Hanley and McNeil (Radiology 143, 1982)."""
    from scipy.stats import norm
    from sklearn.metrics import roc_auc_score

    area = float(roc_auc_score(truth, probability))
    ones = int(truth.sum())
    zeros = len(truth) - ones

    def error(at: float) -> float:
        both, twice = at / (2 - at), 2 * at**2 / (1 + at)
        square = at * (1 - at) + (ones - 1) * (both - at**2) + (zeros - 1) * (twice - at**2)
        return float(max(square / (ones * zeros), 1e-12) ** 0.5)

    return Probe(
        facts=names,
        score=area,
        chance=0.5,
        low=area - float(norm.isf(0.001)) * error(area),
        p_value=float(norm.sf((area - 0.5) / error(0.5))),
        num_images=len(truth),
    )


def as_plain(probe: Probe) -> Mapping[str, object]:
    """Return a probe as plain values for a record."""
    return {
        "facts": list(probe.facts),
        "score": round(probe.score, 4),
        "chance": round(probe.chance, 4),
        "low": round(probe.low, 4),
        "p_value": probe.p_value,
        "num_images": probe.num_images,
    }
