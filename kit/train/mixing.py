"""Mixup and CutMix: pairs of a batch's images become one, and their targets with them."""

import math

import numpy as np
import torch
from torch import Tensor

from kit.config import AugmentConfig

_STREAM = 1  # sets these draws apart from those of the order of images, which are seeded with (seed, epoch)


def mix(images: Tensor, targets: Tensor, *, config: AugmentConfig, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Return each image mixed with another one of the batch, and the targets mixed in the same share.

    Mixup (Zhang et al. 2018) adds pairs of images; CutMix (Yun et al. 2019) pastes a box of the other, and its share
    is then the area that was pasted. With both in the recipe, each batch draws one of them. One share is drawn per
    batch, and the partner is the image a random number of places further: any size of batch will do, and nothing but
    numbers goes to the device. A pure function of (seed, step); the inputs stay as they were.

    Args:
        images: (B, 3, S, S) float32, on any device.
        targets: (B, C) float32; anything that is linear in the images' labels may stand in its columns.
        config: `mixup_alpha` and `cutmix_alpha`; with both 0 nothing is mixed.
        seed: of the training.
        step: number of the batch, over all epochs.
    """
    alphas = {"mixup": config.mixup_alpha, "cutmix": config.cutmix_alpha}
    kinds = [kind for kind, alpha in alphas.items() if alpha > 0]
    if not kinds or len(images) == 1:
        return images, targets
    random = np.random.default_rng((seed, step, _STREAM))
    kind = kinds[int(random.integers(len(kinds)))]
    share = float(random.beta(alphas[kind], alphas[kind]))  # of the image itself
    shift = int(random.integers(1, len(images)))
    partners = _shifted(images, shift)
    if kind == "mixup":
        mixed = torch.lerp(partners, images, share)
    else:
        height, width = images.shape[-2:]
        top, bottom, left, right = _box(random, share, height=height, width=width)
        mixed = images.clone()
        mixed[..., top:bottom, left:right] = partners[..., top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)
    return mixed, torch.lerp(_shifted(targets, shift), targets, share)


def one_hot(targets: Tensor, num_classes: int) -> Tensor:
    """Return class indices (B,) int64 as (B, num_classes) float32.

    PyTorch's own one_hot looks at the values, which waits for a GPU.
    """
    return (targets[:, None] == torch.arange(num_classes, device=targets.device)).float()


def _shifted(rows: Tensor, shift: int) -> Tensor:
    """Return row k + shift at k; unlike `roll`, with the memory layout that the rows have."""
    return torch.cat([rows[shift:], rows[:shift]])


def _box(random: np.random.Generator, share: float, *, height: int, width: int) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right of a box of 1 - share of the area around a uniform centre, cut at the border."""
    side = math.sqrt(1 - share)
    y, x = int(random.integers(height)), int(random.integers(width))
    half_height, half_width = int(height * side) // 2, int(width * side) // 2
    return max(y - half_height, 0), min(y + half_height, height), max(x - half_width, 0), min(x + half_width, width)
