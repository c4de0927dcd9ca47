"""The loss and its inverse: what a network's logits are held against, and how they become probabilities."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from kit.data.schema import truth_of


def truth_tensor(table: pd.DataFrame, classes: tuple[str, ...], device: torch.device) -> Tensor:
    """Return the truth of the rows on `device`: class indices int64 (N,), or targets float32 (N, C)."""
    truth = torch.from_numpy(np.ascontiguousarray(truth_of(table, classes)))
    return truth.to(device) if truth.ndim == 1 else truth.to(device, dtype=torch.float32)


def weight_tensor(table: pd.DataFrame, device: torch.device) -> Tensor | None:
    """Return how much each row counts, float32 (N,), or None where all count the same."""
    if "weight" not in table:
        return None
    return torch.from_numpy(table["weight"].to_numpy(dtype=np.float32, copy=True)).to(device)


def training_loss(
    logits: Tensor, truth: Tensor, *, weights: Tensor | None, label_smoothing: float, several: bool
) -> Tensor:
    """Return the mean loss of a batch, a scalar in nats.

    Cross-entropy against class indices or soft labels; with `several` labels an image, the mean over the classes of
    the binary cross-entropy, its targets pulled towards 1/2 by `label_smoothing`.

    Args:
        logits: (B, C).
        truth: (B,) int64 or (B, C) float32.
        weights: (B,) > 0, or None; the mean is then a weighted one.
        label_smoothing: in [0, 1).
        several: an image may have any number of labels.
    """
    if several:
        smoothed = truth * (1 - label_smoothing) + label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits.float(), smoothed, reduction="none").mean(dim=1)  # (B,)
    elif weights is None:
        return F.cross_entropy(logits.float(), truth, label_smoothing=label_smoothing)
    else:
        losses = F.cross_entropy(logits.float(), truth, label_smoothing=label_smoothing, reduction="none")  # (B,)
    return losses.mean() if weights is None else (losses * weights).sum() / weights.sum()


def probabilities_of(logits: Tensor, *, several: bool) -> Tensor:
    """Return (B, C) float32: softmax, or a sigmoid per class where an image may have several labels."""
    return logits.float().sigmoid() if several else logits.float().softmax(dim=-1)  # float32 even under AMP
