"""How often the 95 % intervals hold the truth, by simulation: `python -m tests.bench.coverage`.

The closed forms are simulated as what they claim to be about: a number of images drawn at random, each answered
rightly with a fixed probability. The bootstrap draws images inside each class, so it is about other images of the same
classes in the same numbers, and that is what is simulated: 100 new images of each of ten classes, answered by a network
of fixed quality. A range behind a coverage is that of the simulation itself.
"""

import argparse
import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.judge.bootstrap import bca_interval, drawn_counts, draws_of, strata_of, weighted
from kit.judge.published import against_published
from kit.judge.statistics import CONFIDENCE, NUM_DRAWS, Score, wilson_interval
from kit.metrics import METRICS, score

NUM_IMAGES, NUM_CLASSES = 1000, 10
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
BOOTSTRAPPED = ("mean_per_class_accuracy", "roc_auc", "log_loss", "macro_f1", "quadratic_weighted_kappa")


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How many of some intervals held the truth."""

    num_intervals: int
    below: int  # intervals that lie below the truth
    above: int

    @property
    def share(self) -> float:
        """The coverage."""
        return 1 - (self.below + self.above) / self.num_intervals

    def __str__(self) -> str:
        """Return e.g. "95.2 % [94.7, 95.6]": with the 95 % range of the simulation."""
        low, high = wilson_interval(self.num_intervals - self.below - self.above, self.num_intervals)
        return f"{100 * self.share:5.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def wilson_coverage(share: float, *, num_images: int, num_draws: int, seed: int = 0) -> Coverage:
    """Return how often Wilson's interval of an accuracy holds it."""
    drawn = np.random.default_rng(seed).binomial(num_images, share, size=num_draws)
    counts, times = np.unique(drawn, return_counts=True)
    ends = np.array([wilson_interval(int(count), num_images) for count in counts])
    return Coverage(
        num_intervals=num_draws, below=int(times[ends[:, 1] < share].sum()), above=int(times[ends[:, 0] > share].sum())
    )


def difference_coverage(ours: float, theirs: float, *, num_images: int, num_draws: int, seed: int = 0) -> Coverage:
    """Return how often the interval of our accuracy less a published one, of as many images, holds the difference."""
    drawn = np.random.default_rng(seed).binomial(num_images, [ours, theirs], size=(num_draws, 2))
    pairs, times = np.unique(drawn, axis=0, return_counts=True)
    interval_of = {count: wilson_interval(count, num_images) for count in np.unique(pairs[:, 0]).tolist()}
    below = above = 0
    for (count, other), often in zip(pairs.tolist(), times.tolist(), strict=True):
        low, high = interval_of[count]
        mine = Score(
            metric="accuracy", value=count / num_images, low=low, high=high, num_images=num_images, interval="Wilson"
        )
        found = against_published(mine, value=other / num_images, num_images=num_images)
        assert found.low is not None and found.high is not None
        below += often * (found.high < ours - theirs)
        above += often * (found.low > ours - theirs)
    return Coverage(num_intervals=num_draws, below=below, above=above)


def answered(
    num_images: int, *, quality: float, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels (N,), equally many of each class, and probabilities (N, C) that are right as often as they say.

    A row's scores are noise of variance 1, that of the true class higher by `quality`: the probabilities follow from
    that by Bayes.
    """
    labels = np.arange(num_images) % NUM_CLASSES
    scores = random.normal(size=(num_images, NUM_CLASSES))
    scores[np.arange(num_images), labels] += quality
    raised = np.exp(quality * (scores - scores.max(axis=1, keepdims=True)))
    return labels, raised / raised.sum(axis=1, keepdims=True)


def true_values(quality: float, *, num_parts: int = 10) -> dict[str, float]:
    """Return each bootstrapped metric on very many images: a hundred thousand in each part."""
    random = np.random.default_rng(1)
    found = []
    for _ in range(num_parts):
        labels, probabilities = answered(100_000, quality=quality, random=random)
        found.append([score(metric, labels=labels, probabilities=probabilities) for metric in BOOTSTRAPPED])
    return dict(zip(BOOTSTRAPPED, np.mean(found, axis=0).tolist(), strict=True))


def bootstrap_coverage(
    truths: dict[str, float], *, quality: float, num_sets: int, num_draws: int = NUM_DRAWS, fresh: bool = True
) -> dict[str, dict[str, Coverage]]:
    """Return how often the stratified bootstrap's intervals hold the truth: by metric, plain percentiles and BCa.

    Args:
        truths: by metric, its value on very many images.
        quality: of the network, see `answered`.
        num_sets: sets of 1,000 images, each with intervals of its own.
        num_draws: of each bootstrap.
        fresh: new draws for each set; else the same for all, which saves time and adds a common error of about 0.7
            points at 1,000 draws.
    """
    random = np.random.default_rng(2)
    missed = {metric: {name: [0, 0] for name in ("percentile", "BCa")} for metric in truths}
    tail = (1 - CONFIDENCE) / 2
    counts = None
    for number in range(num_sets):
        labels, probabilities = answered(NUM_IMAGES, quality=quality, random=random)
        if counts is None or fresh:  # these counts fit one chunk
            counts = next(drawn_counts(strata_of(labels), num_draws=num_draws, seed=number))
        for metric, truth in truths.items():
            draws = weighted(metric, labels, probabilities)(counts)
            value = score(metric, labels=labels, probabilities=probabilities)
            found = {
                "percentile": np.quantile(draws, [tail, 1 - tail]),
                "BCa": bca_interval(draws, value, confidence=CONFIDENCE),
            }
            for name, (low, high) in found.items():
                missed[metric][name][0] += high < truth
                missed[metric][name][1] += low > truth
    return {
        metric: {name: Coverage(num_intervals=num_sets, below=low, above=high) for name, (low, high) in ways.items()}
        for metric, ways in missed.items()
    }


def seconds_of_bootstrap(metric: str, *, num_images: int) -> float:
    """Return how long 1,000 draws of a metric take, the best of three times."""
    labels, probabilities = answered(num_images, quality=2.0, random=np.random.default_rng(3))
    found = []
    for _ in range(3):
        begun = time.perf_counter()
        draws_of(weighted(metric, labels, probabilities), strata_of(labels), num_draws=NUM_DRAWS, seed=0)
        found.append(time.perf_counter() - begun)
    return min(found)


def seconds_one_by_one(metric: str, *, num_images: int, num_draws: int = 50) -> float:
    """Return how long 1,000 draws take where each is drawn and scored by itself, estimated by 50."""
    labels, probabilities = answered(num_images, quality=2.0, random=np.random.default_rng(3))
    of_class = [np.flatnonzero(labels == k) for k in range(NUM_CLASSES)]
    random, begun = np.random.default_rng(0), time.perf_counter()
    for _ in range(num_draws):
        rows = np.concatenate([random.choice(one, size=len(one)) for one in of_class])
        METRICS[metric].value(labels[rows], probabilities[rows])
    return (time.perf_counter() - begun) * NUM_DRAWS / num_draws


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10_000, help="of each closed form")
    parser.add_argument("--sets", type=int, default=1000, help="of images, for each bootstrap")
    chosen = parser.parse_args()

    print(
        f"Wilson's interval of an accuracy, {chosen.draws:,} draws; and ours less a published one that is 1 point lower"
    )
    for num_images in (1000, 3669, 100):
        for share in (*SHARES, 0.99, 0.999):
            one = wilson_coverage(share, num_images=num_images, num_draws=chosen.draws)
            two = difference_coverage(share, share - 0.01, num_images=num_images, num_draws=chosen.draws)
            print(f"n = {num_images:5,}  accuracy {share:5.3f}  {one}   difference {two}", flush=True)

    print(f"\nStratified bootstrap, {chosen.sets:,} sets of {NUM_IMAGES:,} images, {NUM_DRAWS:,} draws each")
    for quality in (1.0, 2.0, 3.0, 4.5):
        truths = true_values(quality)
        for metric, found in bootstrap_coverage(truths, quality=quality, num_sets=chosen.sets).items():
            sides = f"below {found['BCa'].below}, above {found['BCa'].above}"
            print(
                f"{metric:26} {truths[metric]:.4f}  percentile {found['percentile']}   BCa {found['BCa']}  ({sides})",
                flush=True,
            )

    print(f"\nSeconds for {NUM_DRAWS:,} draws of 10,000 images of ten classes: one by one, and as counts")
    for metric in BOOTSTRAPPED:
        slow, fast = seconds_one_by_one(metric, num_images=10_000), seconds_of_bootstrap(metric, num_images=10_000)
        print(f"{metric:26} {slow:6.2f} {fast:6.2f}  ({math.floor(slow / fast)} times)", flush=True)


if __name__ == "__main__":
    main()
