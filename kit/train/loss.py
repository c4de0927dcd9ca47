"""The loss and its inverse: what a network's logits are held against, and how they become probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from kit.config import LossConfig
from kit.data.schema import truth_of
from kit.train.mixing import one_hot

Activation = Literal["softmax", "sigmoid", "sigmoid-normalised"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Objective:
    """What a training list asks for: the targets of its rows, how much each counts, and the loss of logits."""

    config: LossConfig
    several: bool  # an image may have any number of labels
    targets: Tensor  # class indices int64 (N,), or float32 (N, C)
    weights: Tensor | None  # float32 (N,), mean 1: how much each row counts; None where all count the same
    shares: NDArray[np.float64] | None  # (N,), sum 1: how often each row is drawn; None: each once an epoch
    notes: tuple[str, ...]  # lines for the log: what counts more or is drawn more often

    @classmethod
    def of(
        cls,
        config: LossConfig,
        *,
        several: bool,
        train: pd.DataFrame,
        classes: Sequence[str],
        device: torch.device,
    ) -> "Objective":
        """Build the objective of a training list.

        With `balance`, every class counts the same in all (the inverse of its frequency): as weights in the loss, or
        as shares of the draws. Weights of the table's rows always stay in the loss. An image with soft labels counts
        as its classes do on average, one with several as its rarest (as Gupta et al. 2019 draw LVIS), and those
        without any label are a class of their own.

        Args:
            config: the loss.
            several: an image may have any number of labels.
            train: rows with the truth, as kit.data.schema says, and perhaps `weight`.
            classes: in order; column k of logits is class k.
            device: where the targets and weights are kept.
        """
        truth = truth_of(train, classes)
        rows = train["weight"].to_numpy(dtype=np.float64) if "weight" in train else None
        balanced, shares = None, None
        if config.balance == "class-weights":
            balanced = _balance(truth, num_classes=len(classes), several=several, rows=rows)
        elif config.balance == "sampling":
            shares = _balance(truth, num_classes=len(classes), several=several, rows=None)
            shares /= shares.sum()
        weights = balanced if rows is None else rows if balanced is None else rows * balanced
        targets = torch.from_numpy(np.ascontiguousarray(truth))
        return cls(
            config=config,
            several=several,
            targets=targets.to(device) if truth.ndim == 1 else targets.to(device, dtype=torch.float32),
            weights=(
                None if weights is None else torch.from_numpy((weights / weights.mean()).astype(np.float32)).to(device)
            ),
            shares=shares,
            notes=_notes(balanced=balanced, shares=shares, weighted=rows is not None),
        )

    @property
    def activation(self) -> Activation:
        """What makes probabilities of logits trained so."""
        return activation_of(self.config, several=self.several)

    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each image, float32 (B,), in nats; unweighted.

        - Cross-entropy against class indices or soft labels, smoothed.
        - Binary: the mean over classes of a yes or no each. For one class an image, the smoothed targets are
          those of cross-entropy (Wightman et al. 2021); for several labels they are pulled towards 1/2.
        - Focal (Lin et al. 2017): each class's part of either is multiplied by (1 - its probability) ** focal_gamma.

        Args:
            logits: (B, C), of any float type.
            targets: (B,) int64 or (B, C) float32, such as rows of `targets`, or mixed ones.
        """
        logits, smoothing = logits.float(), self.config.label_smoothing  # float32 even under AMP
        num_classes = logits.shape[1]
        binary = self.several or self.config.kind == "binary"
        focal = self.config.kind == "focal"
        if not binary and not focal:
            return F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
        if targets.ndim == 1:
            targets = one_hot(targets, num_classes)
        targets = targets * (1 - smoothing) + smoothing / (2 if self.several else num_classes)
        if not focal:
            return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1)
        gamma = self.config.focal_gamma
        if not binary:
            log_p = logits.log_softmax(dim=1)
            # Clamped: at p = 1 the derivative of (1 - p) ** gamma is infinite for gamma below 1.
            return -(targets * (-torch.expm1(log_p)).clamp_min(1e-6) ** gamma * log_p).sum(dim=1)
        log_yes, log_no = F.logsigmoid(logits), F.logsigmoid(-logits)
        yes = targets * torch.exp(gamma * log_no) * log_yes
        no = (1 - targets) * torch.exp(gamma * log_yes) * log_no
        return -(yes + no).mean(dim=1)


def epoch_order(objective: Objective, *, num_rows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the rows of an epoch, (num_rows,) int64: each once in random order, or drawn by `objective.shares`.

    A pure function of (seed, epoch).
    """
    random = np.random.default_rng((seed, epoch))
    if objective.shares is None:
        return random.permutation(num_rows)
    return random.choice(num_rows, size=num_rows, replace=True, p=objective.shares)


def activation_of(config: LossConfig, *, several: bool) -> Activation:
    """Return what makes probabilities of logits that were trained with this loss."""
    if several:
        return "sigmoid"
    return "sigmoid-normalised" if config.kind == "binary" else "softmax"


def probabilities_of(logits: Tensor, *, activation: Activation) -> Tensor:
    """Return (B, C) float32; rows sum to 1, but for "sigmoid", where each class has a probability of its own."""
    logits = logits.float()  # float32 even under AMP
    if activation == "sigmoid":
        return logits.sigmoid()
    # Sigmoids divided by their sum, as a softmax of their logarithms: no row is 0 / 0.
    return (F.logsigmoid(logits) if activation == "sigmoid-normalised" else logits).softmax(dim=-1)


def _balance(
    truth: NDArray[np.int64] | NDArray[np.float64],
    *,
    num_classes: int,
    several: bool,
    rows: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Return (N,) factors, mean 1, by which every class has the same sum; `rows` are weights that it has already."""
    if truth.ndim == 1:
        mass = np.bincount(truth, weights=rows, minlength=num_classes)
        factors = 1 / mass[truth]
    else:
        unlabelled = (truth.sum(axis=1, keepdims=True) == 0).astype(np.float64)
        member = np.hstack([truth, unlabelled]) if several else truth
        mass = (member if rows is None else member * rows[:, None]).sum(axis=0)
        rarity = np.divide(1.0, mass, out=np.zeros_like(mass), where=mass > 0)
        factors = (member * rarity).max(axis=1) if several else member @ rarity
    balanced: NDArray[np.float64] = factors / factors.mean()
    return balanced


def _notes(
    *,
    balanced: NDArray[np.float64] | None,
    shares: NDArray[np.float64] | None,
    weighted: bool,
) -> tuple[str, ...]:
    lines = []
    if balanced is not None:
        lines.append(
            f"loss.balance: class weights, an image counts from {balanced.min():.3g} to {balanced.max():.3g} times the "
            "mean"
        )
    if shares is not None:
        spread = shares * len(shares)
        lines.append(
            f"loss.balance: sampling, an image is drawn {spread.min():.3g} to {spread.max():.3g} times an epoch on "
            "average"
        )
    if weighted:
        lines.append("the table's weights of rows are in the loss" + (", beside loss.balance" if lines else ""))
    return tuple(lines)
