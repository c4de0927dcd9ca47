"""The network: a timm backbone with a new head, the depth groups of its parameters, and the input it wants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kit.config import ModelConfig
from kit.errors import ConfigError, WeightsError
from kit.train.weights import find_weights, refuse_unknown


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What a network was trained to see, from its pretrained configuration."""

    mean: tuple[float, ...]  # per channel, of values in [0, 1]
    std: tuple[float, ...]
    crop_pct: float  # share of the shorter side in evaluation


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network and what must be known about it."""

    module: nn.Module  # maps (B, 3, S, S) float32, normalised, to logits (B, C)
    input: InputSpec
    num_parameters: int
    weights_origin: str  # "none", a file, a package, the hub
    pretraining_group: str | None


def make_network(config: ModelConfig, *, num_classes: int, seed: int) -> Network:
    """Create the network `config` names, with a new head for `num_classes`.

    Args:
        config: name, weights, dropout.
        num_classes: logits of the new head.
        seed: of every random weight.

    Raises:
        ConfigError: timm knows no such network.
        WeightsError: weights not found, or not of this network.
    """
    import timm

    refuse_unknown(config.name)
    weights = find_weights(config.name, config.weights, pretraining_group=config.pretraining_group)
    state = weights.read() if weights else None
    torch.manual_seed(seed)
    options: dict[str, Any] = {"num_classes": num_classes, "drop_rate": config.drop_rate}
    if config.drop_path_rate:
        options["drop_path_rate"] = config.drop_path_rate
    from_hub = weights is not None and state is None
    module: nn.Module = timm.create_model(config.name, pretrained=from_hub, **options)
    if weights is not None and state is not None:
        _load_body(module, state, origin=weights.origin, name=config.name)
    _reset_head(module)
    data = timm.data.resolve_model_data_config(module)
    return Network(
        module=module,
        input=InputSpec(mean=tuple(data["mean"]), std=tuple(data["std"]), crop_pct=float(data["crop_pct"])),
        num_parameters=sum(p.numel() for p in module.parameters()),
        weights_origin=weights.origin if weights else "none",
        pretraining_group=weights.pretraining_group if weights else "none",
    )


def _load_body(module: nn.Module, weights: Mapping[str, Tensor], *, origin: str, name: str) -> None:
    """Load everything but the classifier; any other difference means that the file is of another network."""
    own = module.state_dict()
    head = set(head_names(module))
    state = {key: value for key, value in weights.items() if key not in head}
    wanted = {key for key in own if key not in head and not key.endswith("num_batches_tracked")}
    missing = sorted(wanted - set(state))
    unknown = sorted(set(state) - set(own))
    shaped = sorted(key for key in set(state) & set(own) if state[key].shape != own[key].shape)
    faults = [
        f"{len(keys)} tensors {what}, first {keys[0]!r}"
        for keys, what in ((missing, "are missing"), (unknown, "are unknown to it"), (shaped, "have another shape"))
        if keys
    ]
    if faults:
        raise WeightsError(f"The weights {origin} are not those of timm's {name}: {'; '.join(faults)}.")
    module.load_state_dict(state, strict=False)


def _reset_head(module: nn.Module) -> None:
    """Give the new classifier PyTorch's own initial weights.

    timm's rule for networks converted from TensorFlow scales with 1 / sqrt(num_classes): with 37 classes on 1,280
    features the first losses were 8 nats instead of ln 37 = 3.6, and four frozen epochs were spent on undoing it.
    """
    classifier = module.get_classifier()  # type: ignore[operator]
    if isinstance(classifier, nn.Linear):
        classifier.reset_parameters()


def head_names(module: nn.Module) -> list[str]:
    """Return the names of the classifier's parameters: what is new on a pretrained body."""
    classifier: nn.Module = module.get_classifier()  # type: ignore[operator]
    own = {id(parameter) for parameter in classifier.parameters()}
    return [name for name, parameter in module.named_parameters() if id(parameter) in own]


def depth_groups(module: nn.Module) -> list[list[str]]:
    """Return the parameter names by depth: stem first, then stages, the classifier alone at last."""
    from timm.models import group_parameters

    matcher = module.group_matcher(coarse=True)  # type: ignore[operator]
    groups = group_parameters(module, matcher)
    head = set(head_names(module))
    trainable = {name for name, _ in module.named_parameters()}
    body = [[name for name in groups[key] if name in trainable and name not in head] for key in sorted(groups)]
    return [names for names in body if names] + [sorted(head)]


def optimizer_groups(module: nn.Module, *, peak_lrs: Sequence[float], weight_decay: float) -> list[dict[str, Any]]:
    """Return AdamW's parameter groups: per depth group one with weight decay (matrices) and one without.

    Each carries its `peak_lr`; parameters that are frozen are left out.
    """
    parameters = dict(module.named_parameters())
    groups = []
    for names, peak_lr in zip(depth_groups(module), peak_lrs, strict=True):
        for is_matrix in (True, False):
            chosen = [p for name in names if (p := parameters[name]).requires_grad and (p.ndim > 1) is is_matrix]
            if chosen:
                decay = weight_decay if is_matrix else 0.0
                groups.append({"params": chosen, "peak_lr": peak_lr, "lr": peak_lr, "weight_decay": decay})
    return groups


def normalise(images: Tensor, spec: InputSpec) -> Tensor:
    """Return `images` (B, S, S, 3) uint8 as (B, 3, S, S) float32, normalised, channels last in memory.

    The pixels lie channels-last already, so the permuted view is what convolutions want: no copy.
    """
    mean = torch.tensor(spec.mean, device=images.device) * 255
    std = torch.tensor(spec.std, device=images.device) * 255
    return images.float().sub_(mean).div_(std).permute(0, 3, 1, 2)


def choose_device(name: str) -> torch.device:
    """Return the device that `name` asks for; "auto" is CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: the device is not there, or not a device's name.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device: {name!r} is not a device. Use auto, cpu, cuda, cuda:N or mps.") from error
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type, False):
        raise ConfigError(f"device: {name!r} is not there. Use auto or cpu.")
    return device
