"""The network: timm's or the user's own, with weights and a head, and the input it wants."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kit.config import InputConfig, ModelConfig
from kit.errors import ConfigError, WeightsError
from kit.train.depth import head_names
from kit.train.heads import NamedHead, find_head, num_logits, reset_head, with_head
from kit.train.own import is_own, read_own
from kit.train.weights import Weights, find_weights, refuse_unknown


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What a network was trained to see, from its pretrained configuration."""

    mean: tuple[float, ...]  # per channel, of values in [0, 1]
    std: tuple[float, ...]
    crop_pct: float  # share of the shorter side in evaluation


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network and what must be known about it."""

    module: nn.Module  # maps (B, 3, S, S) float32, normalised, to logits (B, C); `get_classifier` tells its head
    input: InputSpec
    num_parameters: int
    weights_origin: str  # "none", a file, a package, the hub
    pretraining_group: str | None


def make_network(config: ModelConfig, *, num_classes: int, seed: int) -> Network:
    """Create the network `config` names, with a new head for `num_classes`.

    Args:
        config: name, weights, head, dropout.
        num_classes: logits of the new head.
        seed: of every random weight.

    Raises:
        ConfigError: timm knows no such network, or not with such a head; or the user's own code makes no such network.
        WeightsError: weights not found, or not of this network.
    """
    if is_own(config.name):
        return _own_from_file(config, num_classes=num_classes, seed=seed)
    import timm

    refuse_unknown(config.name)
    weights = find_weights(config.name, config.weights, pretraining_group=config.pretraining_group)
    state = weights.read() if weights else None
    torch.manual_seed(seed)
    options: dict[str, Any] = {"num_classes": num_classes}
    if config.head == "timm":
        options["drop_rate"] = config.drop_rate
    if config.drop_path_rate:
        options["drop_path_rate"] = config.drop_path_rate
    from_hub = weights is not None and state is None
    module: nn.Module = timm.create_model(config.name, pretrained=from_hub, **options)
    if not hasattr(module, "get_classifier"):
        raise ConfigError(
            f"model.name: timm's {config.name} is an encoder without a classifier, made to serve in other networks. "
            "Choose a classification network: https://huggingface.co/timm lists them."
        )
    if weights is not None and state is not None:
        _load_body(module, state, head=set(head_names(module)), origin=weights.origin, whose=f"timm's {config.name}")
    data = timm.data.resolve_model_data_config(module)
    if config.head == "timm":
        reset_head(module)
    else:
        module = with_head(
            config.head,
            module,
            name=config.name,
            options=options,
            num_classes=num_classes,
            drop_rate=config.drop_rate,
        )
    return _network(module, data, weights)


def own_network(
    module: nn.Module,
    *,
    head: str = "",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    crop_pct: float | None = None,
    weights_origin: str = "none",
    pretraining_group: str | None = "none",
) -> Network:
    """Return a network of the user's own, ready for training.

    Args:
        module: maps (B, 3, S, S) float32, normalised, to logits (B, C). No further method is needed.
        head: name of the submodule that makes the logits, such as "fc"; if empty, the module's `get_classifier` tells,
            or its last linear layer is it.
        mean: per channel, of values in [0, 1], that the module's images are normalised by; None: as its
            `pretrained_cfg` says where it is timm's, else ImageNet's.
        std: likewise.
        crop_pct: share of the shorter side that evaluation sees, in (0, 1]; None likewise, else 0.875.
        weights_origin: where its weights are from, for people; "none" if they are random.
        pretraining_group: what these weights had seen: none, imagenet-1k, imagenet-21k, web-or-private, None: unknown.

    Raises:
        ConfigError: not a module, no head can be found, or mean, std or crop_pct mean nothing.
    """
    import timm

    if not isinstance(module, nn.Module):
        raise ConfigError(f"A network of your own must be a torch.nn.Module, got {type(module).__name__}.")
    data = timm.data.resolve_model_data_config(module)
    stated = {"mean": mean, "std": std, "crop_pct": crop_pct}
    data |= {key: value for key, value in stated.items() if value is not None}
    try:
        spec = InputSpec(
            mean=tuple(float(one) for one in data["mean"]),
            std=tuple(float(one) for one in data["std"]),
            crop_pct=float(data["crop_pct"]),
        )
        fits = len(spec.mean) == len(spec.std) == 3 and min(spec.std) > 0 and 0 < spec.crop_pct <= 1
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ConfigError(
            f"The input of a network of your own is not understood: mean {data['mean']!r}, std {data['std']!r}, "
            f"crop_pct {data['crop_pct']!r}. Three numbers each (of values in [0, 1]; std above 0) and a share in "
            "(0, 1] were expected."
        )
    found = find_head(module, head)
    return Network(
        module=found,
        input=spec,
        num_parameters=_num_parameters(found),
        weights_origin=weights_origin,
        pretraining_group=pretraining_group,
    )


def _own_from_file(config: ModelConfig, *, num_classes: int, seed: int) -> Network:
    """Create the network that the user's own file makes; constants of the file tell what a module cannot.

    `HEAD` is `own_network`'s `head`; `MEAN`, `STD` and `CROP_PCT` are its `mean`, `std` and `crop_pct`. Where the
    recipe states a pretraining group and no weights, the function has loaded weights by itself.
    """
    if config.head != "timm" or config.drop_rate or config.drop_path_rate:
        raise ConfigError(
            f"model.name: {config.name} is a network of your own, which brings its head and its dropout along. Leave "
            "model.head, model.drop_rate and model.drop_path_rate as they are by default."
        )
    weights = find_weights(config.name, config.weights, pretraining_group=config.pretraining_group)
    state = weights.read() if weights else None
    function, file = read_own(config.name)
    torch.manual_seed(seed)
    module = function(num_classes=num_classes)
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"model.name: {config.name}(num_classes={num_classes}) must return a torch.nn.Module, got "
            f"{type(module).__name__}."
        )
    constants = {key.lower(): getattr(file, key) for key in ("HEAD", "MEAN", "STD", "CROP_PCT") if hasattr(file, key)}
    group = config.pretraining_group or "none"
    network = own_network(
        module, **constants, weights_origin=config.name if group != "none" else "none", pretraining_group=group
    )
    given = num_logits(network.module)
    if given is not None and given != num_classes:
        raise ConfigError(
            f"model.name: {config.name} gives {given} logits, and there are {num_classes} classes. The function is "
            "called with num_classes, which must be the outputs of the network's head; where that is another layer "
            'than the one found, name it in the file: HEAD = "...".'
        )
    if weights is None or state is None:
        return network
    inner, prefix = (network.module.body, "body.") if isinstance(network.module, NamedHead) else (network.module, "")
    head = {name.removeprefix(prefix) for name in head_names(network.module)}
    _load_body(inner, state, head=head, origin=weights.origin, whose=config.name)
    spec = {"mean": network.input.mean, "std": network.input.std, "crop_pct": network.input.crop_pct}
    return _network(network.module, spec, weights)


def _network(module: nn.Module, data: Mapping[str, Any], weights: Weights | None) -> Network:
    """Put a network together; what stands beside its weights is truer than what timm knows of its name."""
    data = {**data, **(weights.input if weights else {})}
    return Network(
        module=module,
        input=InputSpec(mean=tuple(data["mean"]), std=tuple(data["std"]), crop_pct=float(data["crop_pct"])),
        num_parameters=_num_parameters(module),
        weights_origin=weights.origin if weights else "none",
        pretraining_group=weights.pretraining_group if weights else "none",
    )


def _num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _load_body(module: nn.Module, weights: Mapping[str, Tensor], *, head: set[str], origin: str, whose: str) -> None:
    """Load everything but the classifier; any other difference means that the file is of another network."""
    own = module.state_dict()
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
        raise WeightsError(f"The weights {origin} are not those of {whose}: {'; '.join(faults)}.")
    module.load_state_dict(state, strict=False)


def normalise(images: Tensor, spec: InputSpec) -> Tensor:
    """Return `images` (B, S, S, 3), uint8 or float32 in [0, 255], as (B, 3, S, S) float32, normalised.

    The result is channels last in memory: the pixels lie so already, and the permuted view is what convolutions want.
    """
    scale, shift = _scale_and_shift(spec, images.device)
    return torch.addcmul(shift, images.float(), scale).permute(0, 3, 1, 2)


@functools.lru_cache(maxsize=16)
def _scale_and_shift(spec: InputSpec, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return (3,) float32 `scale` and `shift` on `device`; kept, because a copy to a GPU waits for its work."""
    with torch.inference_mode(False):  # kept tensors must serve in training too, whoever asks first
        mean, std = torch.tensor(spec.mean, dtype=torch.float64), torch.tensor(spec.std, dtype=torch.float64)
        scale, shift = 1 / (255 * std), -mean / std
        return scale.to(device, torch.float32), shift.to(device, torch.float32)


def refuse_other_sizes(network: Network, sizes: InputConfig, *, name: str) -> None:
    """Refuse image sizes that a network was not built for: most of timm's take any, some transformers only one.

    Raises:
        ConfigError: names the size it takes.
    """
    facts = getattr(network.module, "pretrained_cfg", None) or getattr(
        getattr(network.module, "body", None), "pretrained_cfg", {}
    )
    if not facts.get("fixed_input_size", False):
        return
    side = facts["input_size"][-1]
    if sizes.image_size != side or sizes.start_size not in (0, side):
        raise ConfigError(
            f"{name} takes images of {side} x {side} pixels and no others: --set input.image_size={side}, without "
            f"input.start_size, got {sizes.image_size}{f' and {sizes.start_size}' if sizes.start_size else ''}."
        )


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
