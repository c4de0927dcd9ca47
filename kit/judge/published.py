"""Our score against a published one: two samples, each with its own sampling error, and a verdict in words.

The published images are often ours too, but which of them the other system got right is not published. So the two are
taken as independent samples, which is conservative: a paired test on the same images would show smaller differences.
Chance in training, the spread over seeds, is not a part of it.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from kit.judge.paired import interval_text, measured
from kit.judge.statistics import BOUNDED_MEANS, CONFIDENCE, LEVEL, NO_VERDICT, SHARES, Score, verdict_on
from kit.metrics import METRICS

POWER = 0.8  # with which a difference is to be found, where one asks for the smallest
THEIR_ERROR = {
    **dict.fromkeys(SHARES, "binomial, p (1 - p) / n"),
    **dict.fromkeys(BOUNDED_MEANS, "at most binomial, p (1 - p) / n"),
    "mean_per_class_accuracy": "p (1 - p) / n, as if the classes were equally frequent",
}


@dataclass(frozen=True, kw_only=True)
class PublishedTest:
    """What our score says against a published one."""

    difference: float  # positive where ours is better, whatever the metric's direction; in the metric's own unit
    low: float | None  # 95 % interval of the difference; None without a verdict
    high: float | None
    p_value: float | None  # two-sided; below 0.05 just where the interval leaves out zero
    verdict: str  # "better", "not distinguishable", "worse" or "no verdict"
    words: str  # a sentence that says it, and under which assumptions


def against_published(score: Score, *, value: float, num_images: int | None) -> PublishedTest:
    """Test whether our score and a published value differ by more than chance among images explains.

    The interval of the difference is put together from the two values' own 95 % intervals: Newcombe's (1998, "Interval
    estimation for the difference between independent proportions", method 10) for shares of images, and for other
    metrics the same rule with our bootstrap's interval (Zou and Donner 2008). The published value has Wilson's.

    Where our interval has no width, since all draws of its bootstrap were alike, nothing is known about chance, and
    there is no verdict.

    Args:
        score: ours, with its interval.
        value: theirs, in the same metric and unit.
        num_images: that theirs was measured on; None where it is not known, and there is no verdict then.
    """
    difference = value - score.value if not METRICS[score.metric].greater_is_better else score.value - value
    why = _no_test(score, value=value, num_images=num_images)
    if why or num_images is None:
        return PublishedTest(
            difference=difference,
            low=None,
            high=None,
            p_value=None,
            verdict=NO_VERDICT,
            words=f"No verdict: {why}. The plain difference is {measured(difference, score.metric)}.",
        )
    their_low, their_high = _published_interval(value, num_images)
    # How far each value may lie off on the side that matters: towards the other's (inner), and away from it (outer).
    ours = (score.value - score.low, score.high - score.value)
    theirs = (value - their_low, their_high - value)
    if not METRICS[score.metric].greater_is_better:
        ours, theirs = ours[::-1], theirs[::-1]
    below, above = math.hypot(ours[0], theirs[1]), math.hypot(ours[1], theirs[0])
    towards_zero = below if difference > 0 else above
    p_value = _two_sided_p(difference, half_width=towards_zero)
    verdict = verdict_on(difference, p_value=p_value)
    low, high = difference - below, difference + above
    return PublishedTest(
        difference=difference,
        low=low,
        high=high,
        p_value=p_value,
        verdict=verdict,
        words=(
            f"{verdict[0].upper()}{verdict[1:]}: {measured(difference, score.metric)} "
            f"{interval_text(low, high, metric=score.metric)}, p = {p_value:.2g}; two independent samples of "
            f"{score.num_images:,} and {num_images:,} images, which is conservative where they are the same; the "
            f"published value's own error is {THEIR_ERROR[score.metric]}; chance in training is not included."
        ),
    )


def _no_test(score: Score, *, value: float, num_images: int | None) -> str:
    """Return why no test can be made, or an empty string."""
    if score.metric not in THEIR_ERROR:
        return f"a published {score.metric} comes without its own error, and value and number of images do not give it"
    if num_images is None:
        return "the number of images behind the published value is not known, and with it its error"
    if not (0 <= value <= 1 and num_images > 0):
        return f"the published {value} on {num_images} images is no share of images"
    return "" if score.low <= score.value <= score.high and score.low < score.high else "our score has no interval"


@lru_cache(maxsize=4096)  # a board sets every run beside the same few hundred published values
def _published_interval(value: float, num_images: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a published share; value times number need not be whole."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(value * num_images, num_images, alpha=1 - CONFIDENCE, method="wilson")
    return float(low), float(high)


def _two_sided_p(difference: float, *, half_width: float) -> float:
    """Return the normal two-sided p of a difference whose 95 % interval reaches `half_width` towards zero."""
    if difference == 0:
        return 1.0
    return math.erfc(abs(difference) / half_width * _critical() / math.sqrt(2))


def _critical() -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf((1 + CONFIDENCE) / 2)  # 1.96


def smallest_difference(share: float, *, num_images: int, other_images: int | None = None) -> float:
    """Return the smallest difference that a two-sample test would find, with 80 % power, at 5 % two-sided.

    The difference is taken towards 1/2, where chance is greater: it then suffices in both directions. For accuracy and
    other shares of images; as an approximation for mean per-class accuracy of about equally frequent classes.

    Args:
        share: the one of the two that is known, in [0, 1].
        num_images: behind it.
        other_images: behind the other; as many where it is not given.

    Returns:
        The difference in [0, 1]; NaN where the samples are so small that no difference would do.
    """
    from scipy.optimize import brentq
    from statsmodels.stats.proportion import power_proportions_2indep

    far = max(share, 1 - share)  # mirrored where the share is below 1/2: the same chance
    ratio = (num_images if other_images is None else other_images) / num_images

    def missing(difference: float) -> float:
        found = power_proportions_2indep(difference, far - difference, num_images, ratio=ratio, return_results=False)
        return float(found) - POWER

    if missing(far) < 0:
        return float("nan")
    return float(brentq(missing, 1e-9, far))


def smallest_paired_difference(discordance: float, *, num_images: int) -> float:
    """Return the smallest difference that McNemar's test would find, with 80 % power, at 5 % two-sided.

    The normal approximation of Connor (1987, "Sample size for testing differences in proportions for the paired-sample
    design"): the difference d with d sqrt(n) = 1.96 sqrt(q) + 0.84 sqrt(q - d^2), q the discordance.

    Args:
        discordance: share of the images that just one of the two systems gets right, in [0, 1].
        num_images: that both answered.

    Returns:
        The difference of the accuracies in (0, discordance]; NaN where even that would not be found, as where they are
        fewer than six images, of which the exact test's p is never below 2 / 2^5.
    """
    from statistics import NormalDist

    if 2.0 ** (1 - num_images * discordance) >= LEVEL:
        return float("nan")
    a, b, n = _critical(), NormalDist().inv_cdf(POWER), num_images
    # Squared and solved for d: (n + b^2) d^2 - 2 a sqrt(n q) d + (a^2 - b^2) q = 0, the greater root.
    half = a * math.sqrt(n * discordance)
    found = (half + math.sqrt(half**2 - (n + b**2) * (a**2 - b**2) * discordance)) / (n + b**2)
    return found if found <= discordance else float("nan")
