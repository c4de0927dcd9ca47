"""Grad-CAM: where in the image a network found what speaks for a class.

Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization": the last
feature maps, weighted by the mean gradient of the class's logit and summed; what speaks against the class is cut off.
"""

from math import isqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from kit.errors import DataError
from kit.interpret.networks import look_on
from kit.train.model import Network, normalise

BATCH = 16  # images at once: a backward pass keeps all activations


def grad_cam(
    network: Network, views: NDArray[np.uint8], classes: NDArray[np.int64], *, device: torch.device
) -> NDArray[np.float32]:
    """Return (N, S, S) float32 in [0, 1]: how much each place of a view speaks for a class, 1 the most of that view.

    A view in which no place speaks for the class is 0 everywhere. The map is as coarse as the network's last features,
    4 to 7 places a side, and interpolated; it tells where, not what.

    Of a convolutional network these are the features that it pools. A transformer's tokens form a grid as well: where
    it answers from a class token, the grid is taken before the last block, behind which the other tokens count for
    nothing. The paper is about convolutional networks; on transformers the maps are known to be less sharp.

    Args:
        network: trained.
        views: (N, S, S, 3) RGB, as evaluation sees them.
        classes: (N,) class of each view to look for.
        device: where to compute.

    Raises:
        DataError: the network has no features with a place in the image.
    """
    module = network.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    module.eval()
    layer, takes_input = _layer_with_places(network, views[:1], device=device)
    kept: list[Tensor] = []
    handle = (
        layer.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
        if takes_input
        else layer.register_forward_hook(lambda _, __, given: kept.append(given))
    )
    maps = []
    try:
        for start in range(0, len(views), BATCH):
            kept.clear()
            part = torch.from_numpy(views[start : start + BATCH]).to(device)
            wanted = torch.from_numpy(classes[start : start + BATCH]).to(device)
            # Asked of the input, so that frozen networks have gradients too.
            images = normalise(part, network.input).requires_grad_()
            logits = module(images)
            spoken_for = logits.gather(1, wanted[:, None]).sum()  # the images do not meet in evaluation mode
            (gradient,) = torch.autograd.grad(spoken_for, kept[-1])
            features, gradient = _in_places(kept[-1].detach(), module), _in_places(gradient, module)
            weights = gradient.mean(dim=(2, 3), keepdim=True)  # (B, F, 1, 1)
            cam = F.relu((weights * features).sum(dim=1, keepdim=True)).float()  # (B, 1, h, w)
            cam = F.interpolate(cam, size=views.shape[1:3], mode="bilinear", align_corners=False)[:, 0]
            highest = cam.amax(dim=(1, 2), keepdim=True)
            maps.append(torch.where(highest > 0, cam / highest.clamp_min(1e-30), 0.0).cpu())
    finally:
        handle.remove()
    return torch.cat(maps).numpy() if maps else np.zeros(views.shape[:3], dtype=np.float32)


def _layer_with_places(network: Network, view: NDArray[np.uint8], *, device: torch.device) -> tuple[nn.Module, bool]:
    """Return the module that has the last features with places, and whether they are its input, not its output."""
    module = network.module
    body: Any = getattr(module, "body", module)  # of a network under a head of ours
    blocks = getattr(body, "blocks", None)
    maps: list[nn.Module] = []
    grids: list[nn.Module] = []

    def look(one: nn.Module, _: Any, given: Any) -> None:
        if one in (module, body) or not isinstance(given, Tensor):
            return
        if _side_of(given) > 1:
            maps.append(one)
            grids.clear()
        elif _grid_of(given, module) > 1:
            grids.append(one)
            maps.clear()  # a map before tokens is of patches, or of attention, and not what is pooled

    look_on(network, view, look, device=device)
    if maps:
        return maps[-1], False
    if grids and isinstance(blocks, nn.Sequential | nn.ModuleList) and len(blocks):
        # A class token gathers from the others in each block; behind the last one nothing comes of them.
        return blocks[-1], True
    if grids:
        return grids[-1], False
    raise DataError(
        f"{type(body).__name__} has no features with a place in the image, neither square maps nor a square grid of "
        "tokens, so Grad-CAM cannot say where it looks. Top losses and confusion need no places."
    )


def _side_of(features: Tensor) -> int:
    """Return the side of square maps, 0 where a tensor is none."""
    if features.ndim != 4:
        return 0
    if features.shape[2] == features.shape[3]:
        return int(features.shape[2])
    return int(features.shape[1]) if features.shape[1] == features.shape[2] else 0


def _grid_of(tokens: Tensor, module: nn.Module) -> int:
    """Return the side of the grid that tokens (B, L, F) form without those that stand for no place, 0 if none."""
    if tokens.ndim != 3:
        return 0
    num = tokens.shape[1] - _num_prefix_tokens(module)
    side = isqrt(max(0, num))
    return side if side * side == num else 0


def _num_prefix_tokens(module: nn.Module) -> int:
    return int(getattr(getattr(module, "body", module), "num_prefix_tokens", 0))


def _in_places(features: Tensor, module: nn.Module) -> Tensor:
    """Return features as (B, F, h, w), whatever their layout."""
    if features.ndim == 3:
        side = _grid_of(features, module)
        return features[:, _num_prefix_tokens(module) :].permute(0, 2, 1).reshape(len(features), -1, side, side)
    if features.shape[2] == features.shape[3]:
        return features
    return features.permute(0, 3, 1, 2)
