"""The trained networks behind predictions, one per fold or one for all, and what they see."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from kit.interpret.images import ReadImage, views_of
from kit.train.model import Network


@dataclass(frozen=True, kw_only=True)
class Networks:
    """What answered, asked for by the fold that stands beside an answer."""

    of_fold: Callable[[int], Network]  # the fold's, or for -1 the one trained on everything; may raise a KitError
    image_size: int  # side of the square that they see, pixels
    test_crop: float  # share of the shorter side that evaluation sees; 0 = the network's own
    device: torch.device  # where to compute

    def views(self, network: Network, read: ReadImage, image_ids: Sequence[str]) -> NDArray[np.uint8]:
        """Return (N, S, S, 3) uint8: what `network` saw of N images when it answered."""
        return views_of(
            read, image_ids, image_size=self.image_size, crop_share=self.test_crop or network.input.crop_pct
        )
