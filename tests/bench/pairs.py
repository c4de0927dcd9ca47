"""Two ways of training, compared pairwise: on the same images, over the same seeds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.judge.paired import mcnemar

NUM_DRAWS = 10_000


@dataclass(frozen=True, kw_only=True)
class Compared:
    """By how much the second way is more accurate than the first."""

    by_seed: tuple[float, ...]  # differences of accuracy
    p_by_seed: tuple[float, ...]  # exact McNemar test, two-sided (McNemar 1947)
    mean: float
    low: float  # 95 % percentile interval of the mean over seeds, images drawn with replacement (Efron 1979)
    high: float
    num_images: int

    def __str__(self) -> str:
        """Return e.g. "+1.20 points [+0.40, +2.00]; by seed +1.1 (p = 0.03), ..."."""
        seeds = ", ".join(
            f"{100 * one:+.1f} (p = {p:.2g})" for one, p in zip(self.by_seed, self.p_by_seed, strict=True)
        )
        return (
            f"{100 * self.mean:+.2f} points [{100 * self.low:+.2f}, {100 * self.high:+.2f}] "
            f"over {self.num_images:,} images; by seed {seeds}"
        )


def compared(first: NDArray[np.bool_], second: NDArray[np.bool_], *, seed: int = 0) -> Compared:
    """Compare two ways by which images each got right.

    The interval is that of other images with these very networks: the seeds' own spread is seen in `by_seed`.

    Args:
        first: (seeds, N) which images were right.
        second: the same of the other way; column k is the same image, row s the same seed.
        seed: of the bootstrap.
    """
    difference = second.astype(np.int8) - first.astype(np.int8)  # (seeds, N): 1, 0 or -1
    values, counts = np.unique(difference.mean(axis=0), return_counts=True)
    num_images = difference.shape[1]
    # Drawing images with replacement is drawing how often each value comes: a multinomial.
    draws = np.random.default_rng(seed).multinomial(num_images, counts / num_images, size=NUM_DRAWS)
    low, high = np.quantile(draws @ values / num_images, [0.025, 0.975])
    pairs = [(int((row == 1).sum()), int((row == -1).sum())) for row in difference]
    return Compared(
        by_seed=tuple(float(row.mean()) for row in difference),
        p_by_seed=tuple(mcnemar(won, lost) for won, lost in pairs),
        mean=float(difference.mean()),
        low=float(low),
        high=float(high),
        num_images=num_images,
    )
