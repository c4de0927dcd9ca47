"""How much of a public score is noise: the public part of the test is a sample of images, and another would score else.

The out-of-fold predictions tell how far the metric scatters from sample to sample: a standard error found on n images
is that of m images times sqrt(n / m). Two submissions are scored on the same public images, so that the error of their
difference is taken pairwise where the predictions of both are there (`kit.judge.paired`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from kit.errors import DataError
from kit.judge.paired import compare_pairs
from kit.judge.predict import Predictions
from kit.judge.statistics import CONFIDENCE, Score
from kit.kaggle.submissions import Submission, number_of
from kit.metrics import METRICS

NUM_DRAWS = 400  # of the bootstrap behind a difference
OutOfFold = Callable[[str], Predictions | None]  # id of a run -> its out-of-fold predictions


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What one submission's public score is better than another's by, and how sure that is."""

    better: Submission
    than: Submission
    gain: float  # in the metric's unit, positive
    error: float  # standard error of a difference between two such submissions
    paired: bool  # False: as if they were scored on different images, which is too much
    chance: float  # share of cases in which two equally good submissions differ by so much, or more

    @property
    def words(self) -> str:
        """Say it."""
        how = (
            "pairwise, from the out-of-fold predictions of both"
            if self.paired
            else "taken as if they were scored on different images, which is too much: there are no out-of-fold "
            "predictions of both on this machine"
        )
        sure = "noise explains it well" if self.chance > 1 - CONFIDENCE else "it is more than noise"
        return (
            f"public {self.better.public} of {self.better.ref} against {self.than.public} of {self.than.ref}: better "
            f"by {self.gain:.2g}, with a standard error of {self.error:.2g} ({how}). Two equally good submissions "
            f"differ by so much in {100 * self.chance:.2g} % of cases: {sure}."
        )


def z_of_interval() -> float:
    """Return half the width of a 95 % interval in standard errors: 1.96."""
    from scipy.stats import norm

    return float(norm.ppf((1 + CONFIDENCE) / 2))


def error_of(score: Score, *, num_images: int) -> float:
    """Return the standard error of a score on `num_images` images, from that of its interval."""
    of_own = (score.high - score.low) / (2 * z_of_interval())
    return of_own * math.sqrt(score.num_images / num_images)


def error_of_difference(
    first: Submission, second: Submission, *, num_images: int, out_of_fold: OutOfFold
) -> tuple[float, bool] | None:
    """Return the standard error of the difference of two submissions' scores on the same `num_images`, and if paired.

    None where neither predictions nor intervals are there.
    """
    one, other = (out_of_fold(each.run) if each.run else None for each in (first, second))
    if one is not None and other is not None:
        try:
            found = compare_pairs([one], [other], metric=first.metric, num_draws=NUM_DRAWS)
            half = (found.high - found.low) / 2
            return half / z_of_interval() * math.sqrt(found.num_images / num_images), True
        except DataError:  # not of the same images, or another truth: nothing pairs them
            pass
    if first.out_of_fold is None or second.out_of_fold is None:
        return None
    return math.hypot(
        *(error_of(s.out_of_fold, num_images=num_images) for s in (first, second) if s.out_of_fold)
    ), False


def gain_of_best(submissions: list[Submission], *, public_share: float, out_of_fold: OutOfFold) -> Gain | None:
    """Return how sure the lead of the best public score over the next is; None without two, or without errors."""
    from scipy.stats import norm

    scored = [
        one for one in submissions if number_of(one.public) is not None and one.num_rows and one.metric in METRICS
    ]
    if len(scored) < 2:
        return None
    sign = 1 if METRICS[scored[0].metric].greater_is_better else -1
    best, second = sorted(scored, key=lambda one: -sign * float(one.public))[:2]
    num_public = max(1, round(public_share * best.num_rows))
    found = error_of_difference(best, second, num_images=num_public, out_of_fold=out_of_fold)
    if found is None:
        return None
    error, paired = found
    gain = sign * (float(best.public) - float(second.public))
    chance = 2 * float(norm.sf(gain / error)) if error else float(gain == 0)
    return Gain(better=best, than=second, gain=gain, error=error, paired=paired, chance=chance)
