"""Time blocks: images in the order in which they were taken, cut into blocks, so that the past predicts the future."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.errors import DataError


def time_blocks(times: pd.Series, groups: pd.Series, *, num_blocks: int) -> NDArray[np.int64]:
    """Return int64 (N,): the block of each image, 0 the earliest. Neither equal times nor groups are parted.

    The cuts are the possible ones that come nearest to equal sizes. A group that lasts keeps all together that was
    taken meanwhile.

    Args:
        times: (N,) numbers or ISO 8601 dates, as strings; dates without a zone are taken as UTC.
        groups: (N,) names.
        num_blocks: at least 2.

    Raises:
        DataError: a missing or unreadable time, or too few moments to cut between.
    """
    moments = _moments(times)
    by_group = moments.groupby(groups.to_numpy())
    order = np.argsort(moments.to_numpy(), kind="stable")
    begins = by_group.transform("min").to_numpy()[order]
    lasts_until = np.maximum.accumulate(by_group.transform("max").to_numpy()[order])
    # A cut before position p is possible where nothing of before p lasts into what stands from p on.
    earliest_later = np.minimum.accumulate(begins[::-1])[::-1]
    cuts = 1 + np.flatnonzero(lasts_until[:-1] < earliest_later[1:])
    if len(cuts) < num_blocks - 1:
        raise DataError(
            f"Folds by time need {num_blocks} blocks that follow each other (one to begin with and one for each fold), "
            f"but the {len(times)} training images have only {len(cuts) + 1}: equal times and groups are not parted. "
            "Use fewer folds: --folds N."
        )
    chosen: list[int] = []
    for number in range(1, num_blocks):
        left = num_blocks - 1 - number  # cuts that are still needed behind this one
        low = chosen[-1] + 1 if chosen else 0
        possible = cuts[low : len(cuts) - left]
        chosen.append(low + int(np.abs(possible - number * len(times) / num_blocks).argmin()))
    block = np.zeros(len(times), dtype=np.int64)
    block[order] = np.searchsorted(cuts[chosen], np.arange(len(times)), side="right")
    return block


def _moments(times: pd.Series) -> pd.Series:
    """Return comparable moments: float64, or int64 nanoseconds."""
    text = times.astype("str").str.strip().reset_index(drop=True)
    numbers = pd.to_numeric(text, errors="coerce")
    if numbers.notna().all() and np.isfinite(numbers).all():
        return numbers.astype("float64")
    dates = pd.to_datetime(text, errors="coerce", format="ISO8601", utc=True)
    if dates.notna().all():
        return dates.dt.as_unit("ns").astype("int64")
    of_most = dates if dates.notna().sum() >= numbers.notna().sum() else numbers
    wrong = text[of_most.isna()].tolist()
    raise DataError(
        f"{len(wrong)} of {len(text)} training images have a time that cannot be read, first {wrong[:5]}. "
        "Folds by time need a number for each image, or for each an ISO 8601 date such as 2021-03-01T10:00."
    )
