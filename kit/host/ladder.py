"""The Ladder: a public score that moves only when it improves by more than noise.

Blum & Hardt, "The Ladder: A Reliable Leaderboard for Machine Learning Competitions", ICML 2015, the version without a
parameter (their figure 2). A team's released score stays as it is until a submission is better by more than the
standard error of the difference to the one that set it, on the public images; then it becomes the new one's score,
rounded to one n-th for n public images. So hundreds of submissions learn little about the public images, whatever
their authors do with the scores.

The paper's losses are means over images, whose paired standard error is s / sqrt(n). For a metric that is no such mean
(the area under a curve) it is estimated by the jackknife (Tukey 1958) over groups of images; where the metric is a
mean and each group one image, that is s / sqrt(n) again.
"""

import math

import numpy as np

from kit.host.solution import Solution
from kit.metrics import METRICS, Probabilities, score

MAX_GROUPS = 100  # of the jackknife: the standard error is then known within some 7 %

ROUNDING = 1e-9  # one image won and none lost is a gain of just one standard error, and not more


def released(solution: Solution, answers: Probabilities, best: tuple[float, Probabilities] | None) -> float | None:
    """Return the public score that a submission moves its team to, or None where the old one stays.

    Args:
        solution: the truth, and which images are public.
        answers: (N, C), of the submission.
        best: the team's released score with the answers that set it; None before its first submission.
    """
    public, num_images = solution.scores(answers)[0], int(solution.public.sum())
    if best is not None:
        sign = 1 if METRICS[solution.form.metric].greater_is_better else -1
        gain = sign * (public - best[0])
        if gain <= standard_error(solution, answers, best[1]) * (1 + ROUNDING):
            return None
    return round(public * num_images) / num_images


def standard_error(solution: Solution, first: Probabilities, second: Probabilities) -> float:
    """Return the standard error of the difference of two submissions' public scores, on the same images."""
    rows = solution.strata[solution.public[solution.strata]]  # public rows, class by class: the groups are alike
    num_groups = min(len(rows), MAX_GROUPS)
    group = np.arange(len(rows)) % num_groups
    differences = []
    for left_out in range(num_groups):
        kept = rows[group != left_out]
        if len(kept):
            truth, metric = solution.truth[kept], solution.form.metric
            differences.append(
                score(metric, labels=truth, probabilities=first[kept])
                - score(metric, labels=truth, probabilities=second[kept])
            )
    defined = np.array([one for one in differences if math.isfinite(one)])  # a class may be lost with its one image
    if len(defined) < 2:
        return math.inf
    return math.sqrt((len(defined) - 1) / len(defined) * float(((defined - defined.mean()) ** 2).sum()))
