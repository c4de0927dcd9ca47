"""Clipping: how far probabilities must be kept off 0 and 1, found on images that the networks never saw.

Under log loss one sure and wrong answer costs as much as hundreds of hesitant right ones.
"""

import numpy as np
from numpy.typing import NDArray

from kit.judge.predict import Predictions
from kit.metrics import METRICS, score

CANDIDATES = (0.0, *np.geomspace(1e-6, 0.1, 51))


def clipped(probabilities: NDArray[np.float64], clip: float, *, several: bool = False) -> NDArray[np.float64]:
    """Return float64 (N, C): values moved into [clip, 1 - clip], then rows scaled to sum to 1 again.

    With `several` labels each class is a question of its own, and rows are not scaled.
    """
    kept: NDArray[np.float64] = np.clip(probabilities, clip, 1 - clip)
    return kept if several else kept / kept.sum(axis=1, keepdims=True)


def best_clip(out_of_fold: Predictions, *, metric: str, several: bool = False) -> float:
    """Return the clip, among 52 from 0 to 0.1, whose out-of-fold score is best; the smaller of equals.

    Args:
        out_of_fold: labelled predictions, each by a network that never saw the image.
        metric: a key of METRICS.
        several: an image may have any number of labels (see `clipped`).
    """
    sign = 1 if METRICS[metric].greater_is_better else -1
    probabilities = out_of_fold.probabilities.astype(np.float64)
    allowed = [clip for clip in CANDIDATES if clip * (2 if several else probabilities.shape[1]) < 1]
    values = [
        sign * score(metric, labels=out_of_fold.truth, probabilities=clipped(probabilities, clip, several=several))
        for clip in allowed
    ]
    return float(allowed[int(np.argmax(values))])
