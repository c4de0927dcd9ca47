"""Fold report: how even folds are, in sizes and in shares of each class."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from kit.data.schema import TARGET


@dataclass(frozen=True, kw_only=True)
class FoldReport:
    """How even folds are."""

    sizes: dict[int, int]  # fold -> images
    class_shares: pd.DataFrame  # (K, C): index fold, columns classes, in [0, 1]
    size_deviation: float  # the largest |size / mean size - 1|
    share_deviation: float  # the largest difference between two folds' shares of one class, in [0, 1]
    parted_groups: int  # groups with images in several folds
    absent: tuple[str, ...]  # classes that some fold has no image of

    def __str__(self) -> str:
        lines = [
            f"{len(self.sizes)} folds of {min(self.sizes.values())} to {max(self.sizes.values())} images, "
            f"at most {self.size_deviation:.1%} off their mean; the share of a class differs by at most "
            f"{100 * self.share_deviation:.1f} points."
        ]
        if self.absent:
            lines.append(f"{len(self.absent)} classes are not in every fold, first {list(self.absent[:5])}.")
        if self.parted_groups:
            lines.append(f"{self.parted_groups} groups have images in more than one fold.")
        return " ".join(lines)


def fold_report(folded: pd.DataFrame) -> FoldReport:
    """Return how even the folds of a table are; images that are never held out (fold -1) do not count."""
    held = folded[folded["fold"] >= 0]
    sizes = held["fold"].value_counts().sort_index()
    if targets := [column for column in held.columns if str(column).startswith(TARGET)]:
        counts = (held[targets] >= 0.5).groupby(held["fold"]).sum()
        counts.columns = [column.removeprefix(TARGET) for column in targets]
    else:
        counts = pd.crosstab(held["fold"], held["label"])
    shares = counts.div(sizes, axis=0)
    codes, names = pd.factorize(held["group"])
    pairs = np.unique(codes.astype(np.int64) * (int(held["fold"].max()) + 1) + held["fold"].to_numpy())
    per_group = np.bincount(pairs // (int(held["fold"].max()) + 1), minlength=len(names))
    return FoldReport(
        sizes=dict(zip(sizes.index.tolist(), sizes.tolist(), strict=True)),
        class_shares=shares,
        size_deviation=float((sizes / sizes.mean() - 1).abs().max()),
        share_deviation=float((shares.max() - shares.min()).max()),
        parted_groups=int((per_group > 1).sum()),
        absent=tuple(str(name) for name in counts.columns[(counts == 0).any()]),
    )
