"""The trained networks behind predictions, one per fold or one for all: what they see, and what goes on inside."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kit.interpret.images import ReadImage, views_of
from kit.train.model import Network, normalise


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


def look_on(
    network: Network, view: NDArray[np.uint8], look: Callable[[nn.Module, Any, Any], None], *, device: torch.device
) -> None:
    """Let one image go through a network, and call `look` for each module as it answers.

    So is found what a network of somebody's own has, of which we know no names.

    Args:
        network: on `device`, in evaluation mode.
        view: (1, S, S, 3) RGB, as evaluation sees it.
        look: takes the module, what it was given and what it gave; those inside a module come before it.
        device: where to compute.
    """
    handles = [one.register_forward_hook(look) for one in network.module.modules()]
    try:
        with torch.inference_mode():
            network.module(normalise(torch.from_numpy(view).to(device), network.input))
    finally:
        for handle in handles:
            handle.remove()
