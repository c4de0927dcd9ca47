"""Split checks: what stands on both sides of a split, or in two folds: copies of one picture, parts of one group."""

from collections.abc import Sequence

import pandas as pd

from kit.quality.duplicates import clusters_of, default_cap
from kit.quality.findings import Finding, first_of, images
from kit.quality.fixes import Fix
from kit.rules import FoldRule

Pair = tuple[str, str, str]  # image id, image id, kind (exact, near, mirrored)


def check_duplicates(
    rows: pd.DataFrame, pairs: pd.DataFrame, *, fold_of: dict[str, int], split_is_official: bool, rule: FoldRule
) -> list[Finding]:
    """Return findings about pairs of equal pictures: across train and test, across folds, within a side, mislabelled.

    Args:
        rows: table rows to look at.
        pairs: see `check_quality`; pairs with an image that is not in `rows` are passed over.
        fold_of: image id -> fold.
        split_is_official: see `check_quality`, also of `rule`.
    """
    row_of = rows.drop_duplicates("path").set_index("path")[["image_id", "split", "label", "group"]].to_dict("index")
    crowds = clusters_of(pairs, cap=default_cap(len(rows)))
    crowd_of = {path: k for k, crowd in enumerate(crowds) if crowd.look_alikes for path in crowd.paths}
    look_alikes: list[Pair] = []
    across_split: list[Pair] = []
    across_folds: list[Pair] = []
    within: list[Pair] = []
    disagreeing: list[Pair] = []
    label_of = {row["image_id"]: row["label"] for row in row_of.values()}
    for path_a, path_b, kind in zip(pairs["a"], pairs["b"], pairs["kind"], strict=True):
        if path_a not in row_of or path_b not in row_of:
            continue
        # The training image first, then by id: proposals drop the same one of a group of copies each time.
        ends = [(row_of[path]["split"] != "train", row_of[path]["image_id"]) for path in (path_a, path_b)]
        (a_in_test, a), (b_in_test, b) = sorted(ends)
        pair = (a, b, kind)
        # Of a crowd of look-alikes, only what was given one group is taken for copies of one picture.
        same_group = row_of[path_a]["group"] == row_of[path_b]["group"]
        if kind != "exact" and (path_a in crowd_of or rule.near_duplicates == "ignore") and not same_group:
            look_alikes.append(pair)
            continue
        if a_in_test != b_in_test:
            across_split.append(pair)
        elif not a_in_test and a in fold_of and b in fold_of and fold_of[a] != fold_of[b]:
            across_folds.append(pair)
        else:
            within.append(pair)
        if label_of[a] and label_of[b] and label_of[a] != label_of[b]:
            disagreeing.append(pair)
    found = []
    if across_split:
        found.append(
            _pairs_finding(
                "duplicates-train-test",
                across_split,
                "with one picture in the training set and one in the test set, so that the score is partly recall",
                (
                    "The split is the publisher's and stays as it is; the record says so. To train without them, drop "
                    "the training images with rows in fixes.csv"
                    if split_is_official
                    else "Drop one of each with a row in fixes.csv, or give both the same group in competition.toml"
                ),
                official=split_is_official,
                proposed=[_drop(a, b) for a, b, _ in across_split],
            )
        )
    if across_folds:
        found.append(
            _pairs_finding(
                "duplicates-folds",
                across_folds,
                "in different folds, so that out-of-fold scores are partly recall",
                "Give both the same group in competition.toml, or drop one with a row in fixes.csv",
                official=rule.by == "column",
                proposed=[_drop(b, a) for a, b, _ in across_folds],
            )
        )
    if disagreeing:
        found.append(
            _pairs_finding(
                "duplicate-labels",
                disagreeing,
                "that show the same picture under two labels, of which one at least is wrong",
                "Look at them, and relabel or drop with rows in fixes.csv",
                official=True,
                proposed=[
                    Fix(
                        image_id=one,
                        action="",
                        label=label_of[other],
                        why=f"same picture as {other}, which has this label; here it is {label_of[one]}",
                    )
                    for a, b, _ in disagreeing
                    for one, other in ((a, b), (b, a))
                ],
            )
        )
    if within:
        found.append(
            _pairs_finding(
                "duplicates-within",
                within,
                "on the same side",
                "They are kept in one fold; a picture that stands there often weighs more. Drop copies with rows in "
                "fixes.csv if that is not meant",
                official=True,
                proposed=[_drop(b, a) if kind == "exact" else _undecided(b, a, kind) for a, b, kind in within],
            )
        )
    if look_alikes:
        found.append(
            _pairs_finding(
                "look-alikes",
                look_alikes,
                "in crowds of images that all look alike, too many to be copies of one picture",
                "They are not grouped. If they are frames of one film, or cuts of one picture, name their groups in "
                "competition.toml",
                official=True,
                proposed=[],
            )
        )
    return found


def _drop(image_id: str, other: str) -> Fix:
    return Fix(image_id=image_id, action="drop", why=f"same picture as {other}")


def _undecided(image_id: str, other: str, kind: str) -> Fix:
    return Fix(image_id=image_id, action="", why=f"{kind} copy of {other}?")


def _pairs_finding(
    kind: str, pairs: Sequence[Pair], what: str, advice: str, *, official: bool, proposed: Sequence[Fix]
) -> Finding:
    counts = pd.Series([pair[2] for pair in pairs]).value_counts()
    kinds = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    noun = "1 pair" if len(pairs) == 1 else f"{len(pairs):,} pairs"
    shown = first_of([f"{a} = {b}" for a, b, _ in pairs])
    return Finding(
        kind=kind,
        severity="warn" if official else "stop",
        message=f"{noun} of duplicates ({kinds}) {what}: {shown}. {advice}.",
        image_ids=tuple(dict.fromkeys(image_id for a, b, _ in pairs for image_id in (a, b))),
        details={"num_pairs": len(pairs), "pairs": [list(pair) for pair in pairs]},
        proposed=tuple(proposed),
    )


def folds_of(folds: pd.DataFrame | None) -> dict[str, int]:
    """Return image id -> fold of a table with both; rows outside every fold (-1) are left out."""
    if folds is None or "fold" not in folds:
        return {}
    dealt = folds[folds["fold"] >= 0]
    return {str(image_id): int(fold) for image_id, fold in zip(dealt["image_id"], dealt["fold"], strict=True)}


def check_groups(
    rows: pd.DataFrame, *, fold_of: dict[str, int], split_is_official: bool, rule: FoldRule
) -> list[Finding]:
    """Return findings about groups that the split or the folds part; arguments as in `check_duplicates`."""
    found = []
    for kind, where, sides in (
        ("group-split", "both sides of the split", rows["split"]),
        ("group-folds", "more than one fold", rows["image_id"].map(fold_of)),
    ):
        parted = rows[sides.groupby(rows["group"]).transform("nunique") > 1]
        if parted.empty:
            continue
        groups = sorted(parted["group"].unique().tolist())
        official = split_is_official if kind == "group-split" else rule.by == "column"
        found.append(
            Finding(
                kind=kind,
                severity="warn" if official else "stop",
                message=(
                    f"{len(groups):,} group{' is' if len(groups) == 1 else 's are'} on {where}, with "
                    f"{images(len(parted))}: {first_of(groups)}. What is learned of one image of a group helps with "
                    "the others, so scores come out too high. "
                    + (
                        "The split is the publisher's and stays as it is; the record says so."
                        if official
                        else "Deal folds and splits by group, or mend the groups in competition.toml."
                    )
                ),
                image_ids=tuple(parted["image_id"]),
                details={"groups": groups},
            )
        )
    return found
