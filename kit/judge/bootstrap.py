"""Bootstrap: what a metric would have been on other images, by counting how often each image is drawn.

A draw with replacement is a count per image, so that many draws are one matrix (images, draws), and a metric of all of
them a few matrix products.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kit.metrics import METRICS, Probabilities, Tally, Truth, class_of, is_member, scored_columns
from kit.progress import Counter, Say, silent

Counts: TypeAlias = NDArray[np.float64]  # (N, D): how often draw d has image n
Weighted: TypeAlias = Callable[[Counts], NDArray[np.float64]]  # counts (N, D) -> the metric of each draw (D,)

CHUNK_BYTES = 1 << 26  # of one matrix of counts; a few such are held at a time
STEEPEST = 0.25  # greatest acceleration: a skewness of 1.5, which one rare image alone brings


def strata_of(truth: Truth) -> NDArray[np.int64]:
    """Return int64 (N,): an image's class; -1, a stratum of its own, for all images that are alone in their class.

    One stratum where images have several or soft labels: nearly every row would be one by itself, and each draw the
    same. The lonely ones are drawn together for that reason (in sampling theory: collapsed strata).
    """
    if truth.ndim == 2:
        return np.zeros(len(truth), dtype=np.int64)
    labels = class_of(truth)
    _, stratum, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return np.where(sizes[stratum] == 1, -1, labels)


def drawn_counts(strata: NDArray[np.int64], *, num_draws: int, seed: int) -> Iterator[Counts]:
    """Yield counts (N, D) of draws with replacement inside each stratum, `num_draws` in all, chunk by chunk.

    Of n images n - 1 are drawn, and each counts n / (n - 1): then the draws vary as much as other images would (Rao and
    Wu 1988, "Resampling inference with complex survey data"), where n draws vary by (n - 1) / n of it: half as much in
    a class of two. The draws are the same however many are in a chunk.

    Args:
        strata: (N,) whole numbers.
        num_draws: how many.
        seed: of numpy's generator.
    """
    random, num_images = np.random.default_rng(seed), len(strata)
    order = np.argsort(strata, kind="stable")  # the images of a stratum side by side
    _, begins, sizes = np.unique(strata[order], return_index=True, return_counts=True)
    per_stratum = np.maximum(sizes - 1, 1)
    begin, size = np.repeat(begins, per_stratum), np.repeat(sizes, per_stratum)
    weight = np.repeat(sizes / per_stratum, sizes)
    in_chunk = max(1, CHUNK_BYTES // (8 * num_images))
    for done in range(0, num_draws, in_chunk):
        now = min(in_chunk, num_draws - done)
        picked = (random.random((now, len(size))) * size).astype(np.int64) + begin
        picked += (np.arange(now) * num_images)[:, None]
        counts = np.bincount(picked.ravel(), minlength=now * num_images).reshape(now, num_images)
        by_image = np.empty((num_images, now))
        by_image[order] = (counts * weight).T
        yield by_image


def draws_of(
    metric: Weighted, strata: NDArray[np.int64], *, num_draws: int, seed: int, say: Say = silent
) -> NDArray[np.float64]:
    """Return float64 (num_draws,): a metric, or any function of counts, of each draw (see `drawn_counts`)."""
    draws = []
    with Counter("interval", total=num_draws, unit="draws of the bootstrap", say=say) as counter:
        for counts in drawn_counts(strata, num_draws=num_draws, seed=seed):
            draws.append(metric(counts))
            counter.add(counts.shape[1])
    return np.concatenate(draws)


def bca_interval(draws: NDArray[np.float64], value: float, *, confidence: float) -> tuple[float, float]:
    """Return the bias-corrected and accelerated interval (Efron 1987, "Better bootstrap confidence intervals").

    Plain percentiles are off where the draws are skewed, as those of an area or a loss are that few images decide:
    they are too seldom above the truth. The acceleration is a sixth of the draws' skewness: for a sum over independent
    images that is what the jackknife gives. The share of draws below the value is taken from their first three moments
    (Edgeworth's series): counted, it would be off where a score has few levels, as one with a handful of mistakes, and
    the draws, in which an image weighs n / (n - 1), have others.

    Args:
        draws: (D,) of the metric; those that are NaN, as where a rare class was missed, are left out.
        value: of the metric on the images themselves.
        confidence: e.g. 0.95.

    Returns:
        The interval, which holds `value`; it has no width where all draws are alike.
    """
    from scipy.special import ndtr, ndtri

    known = draws[~np.isnan(draws)]
    if len(known) == 0 or no_spread(draws):
        return value, value
    mean, deviation, least = known.mean(), known.std(), 1 / (2 * len(known))
    skewness, t = np.mean((known - mean) ** 3) / deviation**3, (value - mean) / deviation
    below = ndtr(t) - skewness / 6 * (t**2 - 1) * np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi)
    off = ndtri(np.clip(below, least, 1 - least))
    z = off + ndtri([(1 - confidence) / 2, (1 + confidence) / 2])
    # The floor keeps the order of the two ends where a bias far beyond the usual meets a steep acceleration.
    levels = ndtr(off + z / np.maximum(1 - np.clip(skewness / 6, -STEEPEST, STEEPEST) * z, 0.1))
    low, high = np.quantile(known, levels)
    return min(float(low), value), max(float(high), value)


def no_spread(draws: NDArray[np.float64]) -> bool:
    """Return whether all draws are alike, within rounding: then they tell nothing about chance."""
    known = draws[~np.isnan(draws)]
    return len(known) == 0 or bool(np.ptp(known) <= 1e-12 * max(1.0, abs(float(known[0]))))


def weighted(metric: str, truth: Truth, probabilities: Probabilities) -> Weighted:
    """Return the function that gives the metric of each draw, for counts (N, D); NaN where a draw does not define it.

    Args:
        metric: a key of METRICS.
        truth: class indices (N,) or targets (N, C).
        probabilities: float64 (N, C).
    """
    known = METRICS[metric]
    if known.per_image is not None:
        values = known.per_image(truth, probabilities)
        return lambda counts: (values @ counts) / counts.sum(axis=0)
    if known.of_tally is not None:
        of_tally, tally = known.of_tally, _weighted_tally(truth, probabilities)
        return lambda counts: of_tally(tally(counts))
    assert metric == "roc_auc"
    columns = scored_columns(truth, probabilities.shape[1])
    members = is_member(truth, probabilities.shape[1])
    areas = [_weighted_area(members[:, column], probabilities[:, column]) for column in columns]
    return lambda counts: np.mean([area(counts) for area in areas], axis=0)


def _weighted_tally(truth: Truth, probabilities: Probabilities) -> Callable[[Counts], Tally]:
    from scipy.sparse import csr_array

    labels, answers, num_classes = class_of(truth), probabilities.argmax(axis=1), probabilities.shape[1]
    hit = labels == answers
    images = np.arange(len(labels))

    def rows_of(classes: NDArray[np.int64], chosen: NDArray[np.int64]) -> csr_array:
        return csr_array((np.ones(len(chosen)), (classes[chosen], chosen)), shape=(num_classes, len(labels)))

    true, answered, hits = rows_of(labels, images), rows_of(answers, images), rows_of(labels, np.flatnonzero(hit))
    apart = (labels - answers) ** 2.0
    return lambda counts: Tally(
        true=(true @ counts).T, answered=(answered @ counts).T, hits=(hits @ counts).T, apart=apart @ counts
    )


def _weighted_area(member: NDArray[np.bool_], scores: NDArray[np.float64]) -> Weighted:
    """Return the area under one ROC curve as a function of counts.

    Other images fall between two neighbouring scores of members, or on one: an image's weight goes to its bin, and a
    member is ranked above all bins below its own, and above half of its own.
    """
    from scipy.sparse import csr_array

    levels, level_of = np.unique(scores[member], return_inverse=True)
    others, members = np.flatnonzero(~member), np.flatnonzero(member)
    below = np.searchsorted(levels, scores[others], side="left")
    on_one = below < np.searchsorted(levels, scores[others], side="right")
    bins = 2 * below + on_one  # even: between levels; odd: on the level (bins - 1) / 2
    shape = (2 * len(levels) + 1, len(scores))
    of_others = csr_array((np.ones(len(others)), (bins, others)), shape=shape)
    of_members = csr_array((np.ones(len(members)), (level_of, members)), shape=(len(levels), len(scores)))

    def area(counts: Counts) -> NDArray[np.float64]:
        other: Any = of_others @ counts  # (bins, D)
        own: Any = of_members @ counts  # (levels, D)
        up_to = other.cumsum(axis=0)
        ahead = np.einsum("kd,kd->d", own, up_to[:-1:2]) + 0.5 * np.einsum("kd,kd->d", own, other[1::2])
        pairs = own.sum(axis=0) * up_to[-1]
        share: NDArray[np.float64] = np.divide(ahead, pairs, out=np.full_like(pairs, np.nan), where=pairs > 0)
        return np.minimum(share, 1.0)  # sums of weights that are no whole numbers are rounded

    return area
