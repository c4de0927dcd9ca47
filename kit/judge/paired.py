"""Two ways of training, or two runs, compared pairwise: on the same images, over the same seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.errors import DataError
from kit.judge.bootstrap import CHUNK_BYTES, Counts, draws_of, no_spread, strata_of, weighted
from kit.judge.predict import Predictions
from kit.judge.repeats import wide_enough
from kit.judge.statistics import CONFIDENCE, LEVEL, NUM_DRAWS, SHARES, verdict_on
from kit.metrics import METRICS, Probabilities, Truth
from kit.progress import Counter, Say, silent


@dataclass(frozen=True, kw_only=True)
class Difference:
    """By how much the second way is better than the first; negative where it is worse, whatever the metric."""

    metric: str
    first: tuple[float, ...]  # score by seed
    second: tuple[float, ...]
    by_seed: tuple[float, ...]  # second better by so much, in the metric's own unit
    p_by_seed: tuple[float, ...]  # exact McNemar test, two-sided; empty where the metric is not about right and wrong
    mean: float  # over the seeds
    low: float  # 95 % interval of the mean: other images, and other seeds
    high: float
    p_value: float  # two-sided, of the mean; below 0.05 just where the interval leaves out zero
    num_images: int
    interval: str  # how it was made

    @property
    def shown(self) -> bool:
        """The interval leaves out zero: one of the two is better."""
        return self.low > 0 or self.high < 0

    @property
    def verdict(self) -> str:
        """What the second way is beside the first: "better", "worse" or "not distinguishable"."""
        return verdict_on(self.mean, p_value=self.p_value)

    def __str__(self) -> str:
        """Return e.g. "+1.20 points [+0.40, +2.00] over 1,500 images; by seed +1.1 (p = 0.03), ..."."""
        seeds = [measured(one, self.metric) for one in self.by_seed]
        if self.p_by_seed:
            seeds = [f"{seed} (p = {p:.2g})" for seed, p in zip(seeds, self.p_by_seed, strict=True)]
        return (
            f"{measured(self.mean, self.metric)} {interval_text(self.low, self.high, metric=self.metric)} over "
            f"{self.num_images:,} images; by seed {', '.join(seeds)}"
        )


def measured(difference: float, metric: str) -> str:
    """Return a difference with sign and unit: points (hundredths) of a share, else the metric's own unit."""
    return f"{difference:+.3f} nats" if metric == "log_loss" else f"{100 * difference:+.2f} points"


def interval_text(low: float, high: float, *, metric: str) -> str:
    """Return an interval of differences in the unit of `measured`, e.g. "[+0.40, +2.00]"."""
    return f"[{low:+.3f}, {high:+.3f}]" if metric == "log_loss" else f"[{100 * low:+.2f}, {100 * high:+.2f}]"


def mcnemar(won: int, lost: int) -> float:
    """Return the two-sided p of McNemar's exact test (McNemar 1947), by scipy.

    Args:
        won: images that only the second way got right.
        lost: images that only the first way got right.
    """
    from scipy.stats import binomtest

    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def compare_pairs(
    first: Sequence[Predictions],
    second: Sequence[Predictions],
    *,
    metric: str,
    seed: int = 0,
    num_draws: int = NUM_DRAWS,
    say: Say = silent,
) -> Difference:
    """Compare two ways of training by their predictions of the same images.

    The variance of the mean difference is that over images (bootstrap of the images, stratified by class where each
    has one, each draw the same for all networks) plus that over seeds (the squared standard error of the seeds' mean);
    the interval is Student's with Satterthwaite's degrees of freedom (1946). With one seed it is that of other images
    with these very networks, which is said.

    Few images that differ are no normal sample, and where all of a class change at once a stratified bootstrap has no
    spread. So p is at least that of tests which need neither: with one seed, for a share of right answers, McNemar's;
    else Fisher's randomisation test, in which a coin is tossed for each image on which of the two gave which answer:
    the share of draws that come up to the difference, if any does, and 2 / 2^k where k images were answered
    differently. Where they decide, the interval is made as wide as befits that p.

    Args:
        first: labelled predictions, one per seed.
        second: the same of the other way, in the same order of seeds; their rows may be in any order.
        metric: a key of METRICS.
        seed: of the bootstrap.
        num_draws: of the bootstrap.
        say: takes lines of progress, where many images and classes take long.

    Raises:
        DataError: predictions are not of the same images, classes or truth; or an image's truth is not known.
    """
    assert len(first) == len(second) > 0
    order = sorted(first[0].image_ids)
    truth = _rows(first[0], order)[0]
    answers = []
    for one in (*first, *second):
        _refuse_others(one, first[0])
        labels, probabilities = _rows(one, order)
        if not np.array_equal(labels, truth):
            raise DataError("Two ways of training can be compared only where the images have the same labels in both.")
        answers.append(probabilities)
    ours, theirs = answers[len(first) :], answers[: len(first)]
    sign = 1 if METRICS[metric].greater_is_better else -1
    score = METRICS[metric].value
    scores = tuple(score(truth, one) for one in theirs), tuple(score(truth, one) for one in ours)
    by_seed = tuple(sign * (b - a) for a, b in zip(*scores, strict=True))
    mean = float(np.mean(by_seed))
    pairs = [(weighted(metric, truth, a), weighted(metric, truth, b)) for a, b in zip(theirs, ours, strict=True)]

    def gained(counts: Counts) -> Counts:
        return np.asarray(np.mean([b(counts) - a(counts) for a, b in pairs], axis=0))

    draws = draws_of(gained, strata_of(truth), num_draws=num_draws, seed=seed, say=say)
    of_images = 0.0 if no_spread(draws) else float(np.nanvar(draws))
    half, student, over = _half_width(mean, of_images, by_seed, num_images=len(truth))
    p_by_seed = tuple(_mcnemar_of(metric, truth, a, b) for a, b in zip(theirs, ours, strict=True) if metric in SHARES)
    differ = np.any([_differ(metric, truth, a, b) for a, b in zip(theirs, ours, strict=True)], axis=0)
    p_value = max(student, min(1.0, 2.0 ** (1 - int(differ.sum()))))
    if p_by_seed and len(first) == 1:
        p_value = max(p_value, *p_by_seed)
    elif p_value < LEVEL:
        answered = list(zip(theirs, ours, strict=True))
        randomised = _randomised(metric, truth, answered, differ, num_draws=num_draws, seed=seed, say=say)
        p_value = max(p_value, randomised)
    wide = wide_enough(half, mean=mean, p_value=p_value) if p_value > student else half
    return Difference(
        metric=metric,
        first=scores[0],
        second=scores[1],
        by_seed=by_seed,
        p_by_seed=p_by_seed,
        mean=mean,
        low=mean - wide,
        high=mean + wide,
        p_value=p_value,
        num_images=len(truth),
        interval=f"{over}: bootstrap of the images, {num_draws:,} draws, and Student's t"
        + (", widened as an exact or randomised test asks" if wide > half else ""),
    )


def _mcnemar_of(metric: str, truth: Truth, first: Probabilities, second: Probabilities) -> float:
    """Return McNemar's p of two answers (N, C), for a metric that is a share of images."""
    per_image = METRICS[metric].per_image
    assert per_image is not None
    gained = per_image(truth, second) - per_image(truth, first)  # (N,) of -1, 0, 1
    return mcnemar(int((gained > 0).sum()), int((gained < 0).sum()))


def _differ(metric: str, truth: Truth, first: Probabilities, second: Probabilities) -> NDArray[np.bool_]:
    """Return (N,): whether two answers (N, C) to an image can bring the metric different values."""
    known = METRICS[metric]
    if known.per_image is not None:
        return np.asarray(known.per_image(truth, first) != known.per_image(truth, second))
    if known.takes == "classes":
        return np.asarray(first.argmax(axis=1) != second.argmax(axis=1))
    return np.asarray((first != second).any(axis=1))


def _randomised(
    metric: str,
    truth: Truth,
    answered: Sequence[tuple[Probabilities, Probabilities]],
    differ: NDArray[np.bool_],
    *,
    num_draws: int,
    seed: int,
    say: Say,
) -> float:
    """Return the p of Fisher's randomisation test of the mean difference; 0 where no draw comes up to it.

    Each image is there twice, with the one answer and the other, and a draw counts one of them for each way: the same
    one for all seeds.

    Args:
        metric: a key of METRICS.
        truth: class indices (N,) or targets (N, C).
        answered: by seed, the first way's probabilities (N, C) and the second's.
        differ: (N,), images on which the coin decides anything.
        num_draws: how often coins are tossed.
        seed: of numpy's generator.
        say: takes lines of progress.
    """
    twice = np.concatenate([truth, truth])
    scores = [weighted(metric, twice, np.concatenate(pair)) for pair in answered]

    def apart(swapped: Counts) -> Counts:  # (N, D) of 0 and 1 -> (D,)
        one, other = np.concatenate([1 - swapped, swapped]), np.concatenate([swapped, 1 - swapped])
        return np.asarray(np.abs(np.mean([score(other) - score(one) for score in scores], axis=0)))

    random, reached = np.random.default_rng(seed), 0
    least = float(apart(np.zeros((len(truth), 1)))[0]) - 1e-12
    in_chunk = max(1, CHUNK_BYTES // (16 * len(truth)))
    with Counter("randomisation test", total=num_draws, unit="draws", say=say) as counter:
        for done in range(0, num_draws, in_chunk):
            now = min(in_chunk, num_draws - done)
            coins = random.random((len(truth), now)) < 0.5
            reached += int((apart((coins & differ[:, None]).astype(np.float64)) >= least).sum())
            counter.add(now)
    return (reached + 1) / (num_draws + 1) if reached else 0.0


def _refuse_others(one: Predictions, first: Predictions) -> None:
    if set(one.image_ids) != set(first.image_ids) or one.classes != first.classes:
        different = sorted(set(one.image_ids) ^ set(first.image_ids))
        raise DataError(
            f"Two ways of training are compared on the same images and classes; {len(different)} images are in one "
            f"only, first {different[:3]}. Predict the same images with both."
        )
    if not one.labelled:
        raise DataError(
            f"{one.num_unlabelled} of {len(one.labels)} predicted images have no known label: two ways of training "
            "cannot be compared on them."
        )


def _rows(predictions: Predictions, order: Sequence[str]) -> tuple[Truth, Probabilities]:
    """Return truth and float64 probabilities (N, C), row k for the image order[k]."""
    row_of = {image_id: row for row, image_id in enumerate(predictions.image_ids)}
    rows = np.array([row_of[image_id] for image_id in order if image_id in row_of], dtype=np.int64)
    return predictions.truth[rows], predictions.probabilities[rows].astype(np.float64)


def _half_width(
    mean: float, of_images: float, by_seed: Sequence[float], *, num_images: int
) -> tuple[float, float, str]:
    """Return half the width of Student's interval, the two-sided p that belongs to it, and over what they are.

    Args:
        mean: of the differences.
        of_images: variance of the mean difference over images.
        by_seed: the differences.
        num_images: behind each.
    """
    from scipy.stats import t

    num_seeds = len(by_seed)
    over = f"over images and {num_seeds} seeds" if num_seeds > 1 else "over images alone, since there is one seed"
    of_seeds = float(np.var(by_seed, ddof=1)) / num_seeds if num_seeds > 1 else 0.0
    total = of_images + of_seeds
    if total == 0:  # every image and seed says the same: that alone tells nothing about chance
        return 0.0, 1.0 if mean == 0 else 0.0, over
    squares = of_images**2 / max(1, num_images - 1) + (of_seeds**2 / (num_seeds - 1) if num_seeds > 1 else 0.0)
    degrees, error = total**2 / squares, math.sqrt(total)
    half = float(t.ppf((1 + CONFIDENCE) / 2, degrees)) * error
    return half, float(2 * t.sf(abs(mean) / error, degrees)), over
