"""Quality: what a person should know about a data set before anything is trained on it.

Files that cannot be used; pictures that stand there twice, and where; groups and classes that the split or the folds
handle badly; labels that the files give away; a test set of other files than the training set.
"""

from collections.abc import Sequence

import pandas as pd

from kit.data.schema import TARGET, has_targets, labelled
from kit.quality.file_checks import check_files
from kit.quality.findings import SEVERITIES, Finding, first_of, images
from kit.quality.fixes import Fixes
from kit.quality.probe import CONTENT, MAX_P, METADATA, NAMES, Probe, as_plain, probe_labels, probe_sides
from kit.quality.split_checks import check_duplicates, check_groups, folds_of
from kit.rules import FoldRule

WARN_SKILL = 0.10  # of a file fact that tells the label; 0 is chance, 1 is certainty
NOTE_SKILL = 0.02
SHIFT_AREA = 0.6  # area under the ROC curve of a fact that tells train from test

AUTO = FoldRule()


def check_quality(
    table: pd.DataFrame,
    facts: pd.DataFrame,
    pairs: pd.DataFrame,
    *,
    folds: pd.DataFrame | None,
    split_is_official: bool,
    classes: Sequence[str],
    fixes: Fixes | None = None,
    rule: FoldRule = AUTO,
    own_folder: bool = False,
) -> list[Finding]:
    """Return everything that was found, the worst first; nothing is changed.

    Args:
        table: the sample table, fixes applied.
        facts: FACT_DTYPES of kit.quality.inspect, a row per path.
        pairs: duplicates: `a`, `b` (paths), `kind` (exact, near, mirrored), `distance`, `difference`.
        folds: the training rows with `image_id` and `fold`; None where there are no folds.
        split_is_official: the publisher parted train and test; otherwise this kit did.
        classes: of the competition.
        rule: how the folds were made; copies that it leaves apart on purpose, and folds that somebody else dealt, are
            warnings.
        fixes: an image that they keep is left out of every finding, unless its file cannot be read.
        own_folder: the images are the user's own, used in place.
    """
    fixes = fixes or Fixes()
    used = table[table["split"] != "unused"]
    rows = used.merge(facts.drop(columns="sha256").drop_duplicates("path"), on="path")
    rows = rows[rows["path"] != ""]
    quiet = used[~used["image_id"].isin(fixes.kept)]
    # Copies make groups too, and those across an official split are told as copies already.
    copies = {*pairs["a"], *pairs["b"]} if split_is_official else set()
    parted = quiet[~quiet["path"].isin(copies)]
    train = used[used["split"] == "train"]
    fold_of = folds_of(folds)
    found = [
        *check_files(rows, kept=fixes.kept, own_folder=own_folder),
        *check_duplicates(quiet, pairs, fold_of=fold_of, split_is_official=split_is_official, rule=rule),
        *check_groups(parted, fold_of=fold_of, split_is_official=split_is_official, rule=rule),
        *_check_classes(train, classes=classes, num_folds=len(set(fold_of.values()))),
        *_check_test(used, classes=classes, fixes=fixes),
        *_check_leaks(probe_labels(train, facts)),
        *_check_shift(probe_sides(used, facts)),
    ]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def _check_classes(train: pd.DataFrame, *, classes: Sequence[str], num_folds: int) -> list[Finding]:
    if has_targets(train):
        counts = {name: int((train[TARGET + name] > 0.5).sum()) for name in classes if TARGET + name in train}
    else:
        sizes = train["label"].value_counts()
        counts = {name: int(sizes.get(name, 0)) for name in classes}
    found = []
    if empty := [name for name, count in counts.items() if count == 0]:
        found.append(
            Finding(
                kind="class-without-images",
                severity="warn",
                message=(
                    f"{len(empty)} of {len(classes)} classes have no training image and cannot be learned: "
                    f"{first_of(empty)}. Check the label rule, and whether the data is complete."
                ),
                details={"classes": empty},
            )
        )
    if rare := [name for name, count in counts.items() if 0 < count < num_folds]:
        found.append(
            Finding(
                kind="rare-class",
                severity="warn",
                message=(
                    f"{len(rare)} of {len(classes)} classes have fewer training images than there are folds "
                    f"({num_folds}): {first_of([f'{name} ({counts[name]})' for name in rare])}. Some folds hold none "
                    "of them, so their scores say little. Use fewer folds (--folds N), or more images."
                ),
                details={"classes": {name: counts[name] for name in rare}},
            )
        )
    return found


def _check_test(used: pd.DataFrame, *, classes: Sequence[str], fixes: Fixes) -> list[Finding]:
    test = used[used["split"] == "test"]
    known = labelled(test)
    found = []
    if known.any() and not known.all():
        ids = test.loc[~known, "image_id"].tolist()
        found.append(
            Finding(
                kind="test-label-missing",
                severity="warn",
                message=(
                    f"{images(len(ids))} of {len(test):,} in the test set have no label, so that the test set as a "
                    f"whole cannot be scored: {first_of(ids)}. Check the label rule, or the publisher's list."
                ),
                image_ids=tuple(ids),
            )
        )
    trained = set(used.loc[used["split"] == "train", "label"])
    if not has_targets(used) and (unseen := sorted(set(test["label"]) - trained - {""})):
        odd = [name for name in unseen if name not in classes]
        ids = test.loc[test["label"].isin(unseen), "image_id"].tolist()
        found.append(
            Finding(
                kind="test-label-unknown",
                severity="stop" if odd else "warn",
                message=(
                    f"{images(len(ids))} in the test set have a label that no training image has: {first_of(unseen)}. "
                    "No network can predict it: check the label rule and the split."
                ),
                image_ids=tuple(ids),
                details={"labels": unseen},
            )
        )
    if ids := sorted(set(test["image_id"]) & set(fixes.relabelled)):
        found.append(
            Finding(
                kind="test-relabelled",
                severity="warn",
                message=(
                    f"fixes.csv gives {images(len(ids))} of the test set another label: {first_of(ids)}. Scores are no "
                    "longer those of the published test set."
                ),
                image_ids=tuple(ids),
            )
        )
    return found


def _check_leaks(probes: Sequence[Probe]) -> list[Finding]:
    """Turn the label probes into findings: what has nothing to do with the picture is a warning, file size a note."""
    found = []
    sure = [probe for probe in probes if probe.p_value < MAX_P and probe.skill >= NOTE_SKILL]
    alone = [probe for probe in sure if len(probe.facts) == 1]
    foreign = [probe for probe in alone if probe.facts[0] in METADATA | NAMES]
    # All facts together are news only where none of them says it by itself.
    foreign = foreign or [probe for probe in sure if len(probe.facts) > 1]
    if foreign:
        strong = foreign[0].skill >= WARN_SKILL
        found.append(
            Finding(
                kind="file-fact-leak",
                severity="warn" if strong else "note",
                message=(
                    f"The label can be told from the files without looking at the pictures: {_told(foreign)}. A "
                    "network may learn how the images were collected instead of what they show"
                    + (
                        ", and scores then come out too high. Find out why the classes differ; write all images alike "
                        "(size, format, quality), or collect the classes in the same way."
                        if strong
                        else ". The effect is small; it is recorded."
                    )
                ),
                details={"probes": [as_plain(probe) for probe in foreign]},
            )
        )
    if content := [probe for probe in alone if probe.facts[0] in CONTENT]:
        found.append(
            Finding(
                kind="file-size-tells-label",
                severity="note",
                message=(
                    f"The label can be told in part from {_told(content)}. That may well be the subject itself: a "
                    "plain background takes fewer bytes. It is a fault only if the classes were encoded differently."
                ),
                details={"probes": [as_plain(probe) for probe in content]},
            )
        )
    return found


def _told(probes: Sequence[Probe]) -> str:
    """Return "the width (balanced accuracy 0.91, chance 0.50), the ..."; the best three."""
    return ", ".join(
        f"{probe.words} (balanced accuracy {probe.score:.2f}, chance {probe.chance:.2f})" for probe in probes[:3]
    )


def _check_shift(probes: Sequence[Probe]) -> list[Finding]:
    sure = [probe for probe in probes if probe.low > SHIFT_AREA]
    sure = [probe for probe in sure if len(probe.facts) == 1] or sure
    if not sure:
        return []
    told = ", ".join(f"{probe.words} (area under the ROC curve {probe.score:.2f})" for probe in sure[:3])
    return [
        Finding(
            kind="train-test-shift",
            severity="warn",
            message=(
                f"Training and test images differ as files: {told}; 0.50 would mean alike. Scores out of fold may "
                "then promise more than the test set keeps. Compare the two sides, and augment for what differs."
            ),
            details={"probes": [as_plain(probe) for probe in sure]},
        )
    ]
