"""Folds: which training image is held out when. They depend on ids, labels and seed, not on row order."""

import warnings

import pandas as pd

from kit.errors import DataError
from kit.home import fingerprint


def assign_folds(samples: pd.DataFrame, *, num_folds: int, seed: int) -> pd.DataFrame:
    """Return `samples` plus an int64 column `fold` in [0, num_folds): labels balanced, no group parted.

    Args:
        samples: rows with `image_id`, `label`, `group`, each id once.
        num_folds: at least 2.
        seed: other seeds give other folds.

    Raises:
        DataError: fewer images, or fewer groups, than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    groups = samples["group"].nunique()
    if min(len(samples), groups) < num_folds:
        raise DataError(
            f"{len(samples)} training images in {groups} groups cannot be parted into {num_folds} folds. "
            f"Give at most {min(len(samples), groups)} folds: --folds N."
        )
    # Ranked by a hash of seed and id: the same folds on every machine, whatever the row order.
    rank = samples["image_id"].map(lambda image_id: fingerprint(str(seed), image_id))
    ordered = samples.loc[rank.sort_values().index]
    grouped = groups < len(samples)
    kind = StratifiedGroupKFold if grouped else StratifiedKFold
    fold = pd.Series(0, index=ordered.index, dtype="int64")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        splits = kind(n_splits=num_folds, shuffle=True, random_state=seed).split(
            ordered, ordered["label"], ordered["group"] if grouped else None
        )
        try:
            for k, (_, held_out) in enumerate(splits):
                fold.iloc[held_out] = k
        except ValueError as error:  # every class has fewer images than there are folds
            raise DataError(
                f"The training images cannot be parted into {num_folds} folds: {error} Use fewer: --folds N."
            ) from error
    return samples.assign(fold=fold)


def fold_fingerprint(folds: pd.DataFrame) -> str:
    """Return a SHA-256 over (image_id, fold), whatever the row order."""
    ordered = folds.sort_values("image_id")[["image_id", "fold"]]
    return fingerprint(ordered.to_csv(index=False, lineterminator="\n"))
