"""Depth: a network's parameters in groups from stem to head, and what each group is trained with."""

import fnmatch
from collections.abc import Callable, Collection, Sequence
from typing import Any

from torch import Tensor, nn

from kit.train.heads import HeadedBody, NamedHead, classifiers

NUM_GROUPS = 5  # of the body, at least


def head_names(module: nn.Module) -> list[str]:
    """Return the names of the classifier's parameters: what is new on a pretrained body."""
    own = {id(parameter) for classifier in classifiers(module) for parameter in classifier.parameters()}
    return [name for name, parameter in module.named_parameters() if id(parameter) in own]


def depth_groups(module: nn.Module) -> list[list[str]]:
    """Return the parameter names by depth: stem first, then the body's parts, the classifier alone at last.

    The body has five groups or more: timm's coarse ones (stem and stages, or blocks), else its finer ones, else five
    parts of about equally many layers in the order of their definition. A network with fewer layers has fewer.
    """
    head = set(head_names(module))
    return [*_body_groups(module, head), [name for name, _ in module.named_parameters() if name in head]]


def optimizer_groups(module: nn.Module, *, peak_lrs: Sequence[float], weight_decay: float) -> list[dict[str, Any]]:
    """Return AdamW's parameter groups: per depth group one with weight decay (matrices) and one without.

    Biases, norms and scales, positional embeddings and class tokens do not decay. Each group carries its `peak_lr`;
    parameters that are frozen are left out.

    Args:
        module: parameters that shall learn have `requires_grad`.
        peak_lrs: one for each of `depth_groups`.
        weight_decay: decoupled.
    """
    parameters = dict(module.named_parameters())
    inner, prefix = _inner(module)
    stated: Callable[[], Collection[str]] = getattr(inner, "no_weight_decay", tuple)  # timm's names or patterns
    spared = [prefix + pattern for pattern in stated()]
    groups = []
    for names, peak_lr in zip(depth_groups(module), peak_lrs, strict=True):
        learning = [name for name in names if parameters[name].requires_grad]
        decaying = {
            name
            for name in learning
            if _is_matrix(parameters[name]) and not any(fnmatch.fnmatch(name, pattern) for pattern in spared)
        }
        for decay in (True, False):
            chosen = [parameters[name] for name in learning if (name in decaying) is decay]
            if chosen:
                rate = weight_decay if decay else 0.0
                groups.append({"params": chosen, "peak_lr": peak_lr, "lr": peak_lr, "weight_decay": rate})
    return groups


def _is_matrix(parameter: Tensor) -> bool:
    """Tell matrices and kernels from what is added or multiplied: vectors, scales (F, 1, 1), tokens (1, L, F)."""
    if parameter.ndim <= 2:
        return parameter.ndim == 2
    return parameter.shape[0] > 1 and sum(side > 1 for side in parameter.shape) > 1


def _inner(module: nn.Module) -> tuple[nn.Module, str]:
    """Return the network that knows its own parts, and the prefix of its parameters in `module`."""
    return (module.body, "body.") if isinstance(module, HeadedBody | NamedHead) else (module, "")


def _body_groups(module: nn.Module, head: set[str]) -> list[list[str]]:
    inner, prefix = _inner(module)
    for coarse in (True, False):
        groups = [
            kept
            for names in _timm_groups(inner, coarse=coarse)
            if (kept := [prefix + name for name in names if prefix + name not in head])
        ]
        if len(groups) >= NUM_GROUPS:
            return groups
    return _equal_parts(module, head)


def _timm_groups(module: nn.Module, *, coarse: bool) -> list[list[str]]:
    """Return timm's groups, or none where a network states none (metaformer) or not this kind (rdnet)."""
    from timm.models import group_parameters

    if not hasattr(module, "group_matcher"):
        return []
    try:
        groups = group_parameters(module, module.group_matcher(coarse=coarse))  # type: ignore[operator]
    except AssertionError:
        return []
    return [groups[key] for key in sorted(groups)]


def _equal_parts(module: nn.Module, head: set[str]) -> list[list[str]]:
    layers: dict[str, list[str]] = {}  # a weight and its bias stay together
    for name, _ in module.named_parameters():
        if name not in head:
            layers.setdefault(name.rpartition(".")[0], []).append(name)
    parts: list[list[str]] = [[] for _ in range(min(NUM_GROUPS, len(layers)))]
    for k, names in enumerate(layers.values()):
        parts[k * len(parts) // len(layers)].extend(names)
    return parts
