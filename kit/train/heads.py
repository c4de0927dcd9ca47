"""Heads: what maps a body's features to logits, and where the head of any network is."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kit.errors import ConfigError, did_you_mean

HIDDEN = 512  # units between features and logits of the concat-pool head, as in fast.ai


class HeadedBody(nn.Module):
    """A body of timm's under a new head: (B, 3, S, S) float32 to logits (B, C).

    Features are (B, F, H, W), (B, H, W, F) or tokens (B, L, F). Tokens that stand for no place (class, distillation
    and register tokens) are left out when the others are pooled.
    """

    def __init__(
        self, body: nn.Module, head: nn.Module, *, channels_first: bool, num_prefix_tokens: int, with_maximum: bool
    ) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.channels_first = channels_first
        self.num_prefix_tokens = num_prefix_tokens
        self.with_maximum = with_maximum

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the body's features, in the body's own layout."""
        features: Tensor = self.body.forward_features(images)  # type: ignore[operator]
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """Return logits (B, C) of what `forward_features` gave."""
        if self.channels_first:
            places = features.flatten(2)  # (B, F, HW)
            axis = 2
        else:
            places = features.flatten(1, -2)[:, self.num_prefix_tokens :]  # (B, L, F)
            axis = 1
        pooled = places.mean(axis)  # (B, F)
        if self.with_maximum:
            pooled = torch.cat([places.amax(axis), pooled], dim=1)  # (B, 2F)
        logits: Tensor = self.head(pooled)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, C)."""
        return self.forward_head(self.forward_features(images))

    def get_classifier(self) -> nn.Module:
        """Return the new head, as timm's networks do."""
        return self.head


class NamedHead(nn.Module):
    """A network of the user's own, of which a submodule `head` is known to be the classifier."""

    def __init__(self, body: nn.Module, head: str) -> None:
        super().__init__()
        self.body = body
        self.head_name = head

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, C)."""
        logits: Tensor = self.body(images)
        return logits

    def get_classifier(self) -> nn.Module:
        """Return the submodule that is the classifier."""
        return self.body.get_submodule(self.head_name)


def with_head(
    kind: Literal["linear", "concat-pool"],
    body: nn.Module,
    *,
    name: str,
    options: Mapping[str, Any],
    num_classes: int,
    drop_rate: float,
) -> HeadedBody:
    """Return `body` under a new head; its own head, and the layers that only that head used, are dropped.

    Args:
        kind: "linear": the mean over places, and one linear layer (after the body's own LayerNorm of pooled features
            where it has one: the features of ConvNeXt, for one, are not normalised before). "concat-pool": fast.ai's
            `create_head`, which pools mean and maximum and has a hidden layer, BatchNorm and dropout.
        body: a network of timm's, with its weights; it is changed.
        name: timm's name of it.
        options: what it was created with.
        num_classes: logits.
        drop_rate: dropout before the last layer, in [0, 1).

    Raises:
        ConfigError: the features of this network are not one tensor of places.
    """
    shape, channels_first, unused = _look_at_features(name, options)
    num_features = shape[1] if channels_first else shape[-1]
    head = (
        _linear(num_features, num_classes, drop_rate=drop_rate, norm=_pooled_norm(body, num_features))
        if kind == "linear"
        else _concat_pool(num_features, num_classes, drop_rate=drop_rate)
    )
    _drop(body, unused)
    num_prefix_tokens = int(getattr(body, "num_prefix_tokens", 0)) if len(shape) == 3 else 0
    return HeadedBody(
        body,
        head,
        channels_first=channels_first,
        num_prefix_tokens=num_prefix_tokens,
        with_maximum=kind == "concat-pool",
    )


def classifiers(module: nn.Module) -> list[nn.Module]:
    """Return the modules that make logits: one, or two where a network was distilled (levit, efficientformer)."""
    found = module.get_classifier()  # type: ignore[operator]
    return list(found) if isinstance(found, tuple | list) else [found]


def reset_head(module: nn.Module) -> None:
    """Give the classifier PyTorch's own initial weights.

    timm's rule for networks converted from TensorFlow scales with 1 / sqrt(num_classes): with 37 classes on 1,280
    features the first losses were 8 nats instead of ln 37 = 3.6, and four frozen epochs were spent on undoing it.
    """
    for classifier in classifiers(module):
        for layer in classifier.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.reset_parameters()


def find_head(module: nn.Module, name: str) -> nn.Module:
    """Return `module` so that its classifier is known: as it is where it tells, else as a `NamedHead`.

    Args:
        module: maps images to logits.
        name: of the submodule that is its classifier; if empty, `get_classifier` tells, or the last linear layer is it.

    Raises:
        ConfigError: no such submodule, or nothing that could be a classifier.
    """
    if not name and hasattr(module, "get_classifier"):
        return module
    linear = [key for key, layer in module.named_modules() if key and isinstance(layer, nn.Linear)]
    if not name and not linear:
        raise ConfigError(
            f"{type(module).__name__} has no recognisable head: neither a get_classifier() nor an nn.Linear inside. "
            'Name the submodule that makes the logits: head="...", or HEAD = "..." in the file that makes the network.'
        )
    name = name or linear[-1]
    known = dict(module.named_modules(remove_duplicate=False))  # one layer may have two names
    if not isinstance(name, str) or name not in known or not any(True for _ in known[name].parameters()):
        raise ConfigError(
            f"{type(module).__name__} has no submodule {name!r} with parameters to be its head."
            f"{did_you_mean(str(name), list(known))} Its linear layers: {', '.join(linear[-5:]) or 'none'}."
        )
    return NamedHead(module, name)


def num_logits(module: nn.Module) -> int | None:
    """Return how many logits the classifier gives, by its last linear or convolutional layer; None without one."""
    layers = [one for head in classifiers(module) for one in head.modules() if isinstance(one, nn.Linear | nn.Conv2d)]
    if not layers:
        return None
    last = layers[-1]
    return last.out_features if isinstance(last, nn.Linear) else last.out_channels


def _look_at_features(name: str, options: Mapping[str, Any]) -> tuple[tuple[int, ...], bool, set[str]]:
    """Return the shape of a network's features, whether channels come first, and the parameters it makes without.

    A twin without memory ("meta" device) runs forward and backward: which parameters a network's head alone uses
    (ConvNeXt's last norm, MobileNetV3's last convolution) stands nowhere else. Left in, they would never learn.
    """
    import timm

    with torch.device("meta"):
        twin = timm.create_model(name, pretrained=False, **options).eval()
        size = timm.data.resolve_model_data_config(twin)["input_size"]
        features = twin.forward_features(torch.zeros(2, *size))
    shape = tuple(features.shape) if isinstance(features, Tensor) else ()
    if len(shape) not in (3, 4) or twin.num_features not in (shape[1], shape[-1]):
        raise ConfigError(
            f"model.head: the features of {name} are not one tensor with a place for each part of the image, so "
            "they cannot be pooled. Use model.head = 'timm', the network's own."
        )
    features.sum().backward()
    unused = {key for key, parameter in twin.named_parameters() if parameter.grad is None}
    return shape, len(shape) == 4 and shape[1] == twin.num_features, unused


def _pooled_norm(body: nn.Module, num_features: int) -> nn.Module | None:
    """Return a copy of the LayerNorm that a body has behind its pooling, over (B, F), or None."""
    found = getattr(body, "fc_norm", None)
    if not isinstance(found, nn.LayerNorm):
        found = getattr(getattr(body, "head", None), "norm", None)
    if not isinstance(found, nn.LayerNorm) or tuple(found.normalized_shape) != (num_features,):
        return None  # inception_next has one behind a hidden layer
    norm = nn.LayerNorm(found.normalized_shape, eps=found.eps, bias=found.bias is not None)
    norm.load_state_dict(found.state_dict())
    return norm


def _linear(num_features: int, num_classes: int, *, drop_rate: float, norm: nn.Module | None) -> nn.Module:
    before = [norm] if norm is not None else []
    return nn.Sequential(*before, nn.Dropout(drop_rate), nn.Linear(num_features, num_classes))


def _concat_pool(num_features: int, num_classes: int, *, drop_rate: float) -> nn.Module:
    """Return fast.ai's `create_head` (fastai 2, vision/learner.py), but for its pooling."""
    drop_rate = drop_rate or 0.5
    return nn.Sequential(
        nn.BatchNorm1d(2 * num_features),
        nn.Dropout(drop_rate / 2),
        nn.Linear(2 * num_features, HIDDEN, bias=False),
        nn.ReLU(inplace=True),
        nn.BatchNorm1d(HIDDEN),
        nn.Dropout(drop_rate),
        nn.Linear(HIDDEN, num_classes, bias=False),
    )


def _drop(module: nn.Module, unused: set[str], prefix: str = "") -> None:
    """Replace the submodules of which no parameter is used, and remove single parameters that are not."""
    for name, child in list(module.named_children()):
        inside = f"{prefix}{name}."
        names = {inside + key for key, _ in child.named_parameters()}
        if names and names <= unused:
            setattr(module, name, nn.Identity())
        else:
            _drop(child, unused, inside)
    for name, _ in list(module.named_parameters(recurse=False)):
        if prefix + name in unused:
            setattr(module, name, None)
