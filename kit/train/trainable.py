"""Which layers learn: gradients, modes, and a forward pass that spares a frozen body its graph."""

import torch
from torch import Tensor, nn

from kit.train.depth import head_names
from kit.train.heads import classifiers


class Forward(nn.Module):
    """Logits; a frozen body is run without a graph, which saves its memory and a third of the time."""

    def __init__(self, module: nn.Module, *, graph_in_body: bool) -> None:
        """Take a module; `graph_in_body` where layers of its body learn."""
        super().__init__()
        self.module, self.graph_in_body = module, graph_in_body
        self.parted = hasattr(module, "forward_features") and hasattr(module, "forward_head")

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, C) of images (B, 3, S, S)."""
        logits: Tensor
        if self.graph_in_body or not self.parted:
            logits = self.module(images)
            return logits
        with torch.no_grad():
            features = self.module.forward_features(images)  # type: ignore[operator]
        logits = self.module.forward_head(features)  # type: ignore[operator]
        return logits


def set_trainable(module: nn.Module, *, head_only: bool, norms: bool = False) -> None:
    """Let gradients reach every layer, or the classifier only, and with `norms` the BatchNorm layers of the body."""
    head = set(head_names(module))
    normalising = {id(p) for layer in batch_norms(module) for p in layer.parameters()} if norms else set()
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(not head_only or name in head or id(parameter) in normalising)


def set_mode(module: nn.Module, *, head_only: bool, norms: bool = False, keep_statistics: bool = False) -> None:
    """Put the module into training mode; with a frozen body only its classifier and the dropout before it.

    Args:
        module: to be trained.
        head_only: the body is frozen.
        norms: the BatchNorm layers of a frozen body use and learn each batch's statistics.
        keep_statistics: BatchNorm layers of the body go on normalising by their running statistics.
    """
    module.train(not head_only)
    heads = classifiers(module)
    in_head = {id(layer) for head in heads for layer in head.modules()}
    if head_only:
        module.training = True  # timm's networks ask this flag, not a layer, whether to drop before the classifier
        for name, layer in module.named_modules():
            if isinstance(layer, nn.Dropout) and "head" in name:
                layer.train()
        for head in heads:
            head.train()
    for layer in batch_norms(module):
        if id(layer) not in in_head and (norms or keep_statistics):
            layer.train(norms)


def batch_norms(module: nn.Module) -> list[nn.Module]:
    """Return the BatchNorm layers of a module."""
    return [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
