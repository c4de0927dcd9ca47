"""Checkpoints: safetensors with the little that is needed to use them. Written whole or not at all.

What a file says is checked before any of its tensors is read: names and shapes have to be those of the network that
it names, so that a network takes no more memory than its file has bytes. A checkpoint never decides which code runs.
"""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from kit.config import ModelConfig, Strict, checked
from kit.errors import ConfigError, WeightsError
from kit.home import explained, make_folder
from kit.train.loss import Activation
from kit.train.model import InputSpec, Network, make_network
from kit.train.own import is_own

FORMAT = "competition-kit 2"
MOST_CLASSES = 100_000


@dataclass(frozen=True, kw_only=True)
class About(Strict):
    """What a checkpoint says of itself, as JSON in the file's metadata."""

    model: str  # timm's name, or FILE.py:function
    head: Literal["timm", "linear", "concat-pool"]
    classes: tuple[str, ...]
    image_size: int  # pixels
    activation: Activation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_pct: float
    weights_origin: str
    pretraining_group: str | None

    def __post_init__(self) -> None:
        """Refuse what no network has."""
        check_facts(classes=self.classes, image_size=self.image_size, crop_share=self.crop_pct)
        check_statistics(mean=self.mean, std=self.std)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained network and how to feed it."""

    network: Network
    config: ModelConfig  # name and head; `weights` is "none"
    classes: tuple[str, ...]
    image_size: int  # pixels
    activation: Activation


def check_facts(*, classes: tuple[str, ...], image_size: int, crop_share: float) -> None:
    """Refuse what could not be a trained classifier's, in a file from anywhere.

    Raises:
        ConfigError: no classes, too many or doubled ones, a size or a crop out of range.
    """
    if not 1 <= len(classes) <= MOST_CLASSES or len(set(classes)) != len(classes):
        raise ConfigError(f"there must be 1 to {MOST_CLASSES:,} classes, each once, and there are {len(classes):,}.")
    if not 8 <= image_size <= 2048:
        raise ConfigError(f"image_size must be between 8 and 2048 pixels, got {image_size}.")
    if not 0 < crop_share <= 1:
        raise ConfigError(f"the crop must be a share of the shorter side, in (0, 1], got {crop_share}.")


def check_statistics(*, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Refuse means and deviations that would make every pixel NaN or infinite.

    Raises:
        ConfigError: they do.
    """
    if not all(math.isfinite(value) for value in mean) or not all(0 < value < math.inf for value in std):
        raise ConfigError(f"mean and std must be finite and std > 0, got {mean} and {std}.")


def save_checkpoint(
    path: Path,
    network: Network,
    *,
    config: ModelConfig,
    classes: tuple[str, ...],
    image_size: int,
    activation: Activation,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a network's weights to `path`: to a temporary name, synced, renamed.

    Args:
        path: the file.
        network: whose facts are written.
        config: that it was made by.
        classes: in order; logit k is class k.
        image_size: side of the square it sees, pixels.
        activation: what makes probabilities of its logits.
        state: tensors to write in place of the module's own, under the same names, e.g. averaged weights.
    """
    about = About(
        model=config.name,
        head=config.head,
        classes=classes,
        image_size=image_size,
        activation=activation,
        mean=network.input.mean,  # type: ignore[arg-type]  # three channels
        std=network.input.std,  # type: ignore[arg-type]
        crop_pct=network.input.crop_pct,
        weights_origin=network.weights_origin,
        pretraining_group=network.pretraining_group,
    )
    metadata = {"format": FORMAT, "about": json.dumps(asdict(about), ensure_ascii=False)}
    write_tensors(path, network.module.state_dict() if state is None else state, metadata=metadata)


def write_tensors(path: Path, state: Mapping[str, Tensor], *, metadata: dict[str, str]) -> None:
    """Write tensors as safetensors: to a temporary name, synced, renamed."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    contiguous = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    make_folder(path.parent)
    part = path.with_name(path.name + ".part")
    try:
        with explained(path):
            try:
                save_file(contiguous, part, metadata=metadata)
            except SafetensorError as error:  # the system's error is in its text only
                if number := re.search(r"\(os error (\d+)\)", str(error)):
                    raise OSError(int(number[1]), str(error)) from error
                raise
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_checkpoint(path: Path, *, config: ModelConfig | None = None) -> Checkpoint:
    """Read what `save_checkpoint` wrote.

    Args:
        path: the file.
        config: the caller's own; needed where the network is the user's own code, which a file must not name.

    Raises:
        WeightsError: no such file, damaged, not one of the kit's checkpoints, or of another network than `config`.
    """
    from safetensors import safe_open

    with _readable(path), safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{path} is not a checkpoint of this kit (format {metadata.get('format')!r}, expected {FORMAT!r}). "
            "One of an earlier version has to be trained again."
        )
    about = _about(path, metadata)
    named = ModelConfig(name=about.model, weights="none", head=about.head)
    if config is None and is_own(named.name):
        raise WeightsError(
            f"The checkpoint {path} is of {named.name}, code of somebody's own, which a file must not choose: it is "
            "run only where your own recipe names it."
        )
    if config is not None and (config.name, config.head) != (named.name, named.head):
        raise WeightsError(
            f"The checkpoint {path} is of {named.name} with the head {named.head}, and the recipe asks for "
            f"{config.name} with the head {config.head}. Remove it and train again."
        )
    network = load_network(
        path,
        config or named,
        num_classes=len(about.classes),
        spec=InputSpec(mean=about.mean, std=about.std, crop_pct=about.crop_pct),
        weights_origin=about.weights_origin,
        pretraining_group=about.pretraining_group,
    )
    return Checkpoint(
        network=network,
        config=named,
        classes=about.classes,
        image_size=about.image_size,
        activation=about.activation,
    )


def load_network(
    path: Path,
    config: ModelConfig,
    *,
    num_classes: int,
    spec: InputSpec,
    weights_origin: str = "none",
    pretraining_group: str | None = None,
) -> Network:
    """Return the network that `config` names with the tensors of a safetensors file, strictly.

    Args:
        path: the file.
        config: name and head; its own weights are not looked for.
        num_classes: logits.
        spec: what the network was trained to see.
        weights_origin: where the training began.
        pretraining_group: what that had seen.

    Raises:
        ConfigError: timm knows no such network.
        WeightsError: the file cannot be read, or its tensors are not those of this network.
    """
    from safetensors import safe_open

    blank_config = replace(config, weights="none")
    with _readable(path), safe_open(path, framework="pt") as file:
        found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 (not a dict)
        if not is_own(config.name):  # their constructors may need real tensors
            with torch.device("meta"):
                twin = make_network(blank_config, num_classes=num_classes, seed=0)
            _check_shapes(path, found, twin, name=config.name)
        blank = make_network(blank_config, num_classes=num_classes, seed=0)
        _check_shapes(path, found, blank, name=config.name)
        state = {key: file.get_tensor(key) for key in found}
    blank.module.load_state_dict(state, strict=True)
    return replace(
        blank,
        module=blank.module.to(memory_format=torch.channels_last),
        input=spec,
        weights_origin=weights_origin,
        pretraining_group=pretraining_group,
    )


def _check_shapes(path: Path, found: Mapping[str, tuple[int, ...]], network: Network, *, name: str) -> None:
    wanted = {key: tuple(value.shape) for key, value in network.module.state_dict().items()}
    if different := sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key)):
        first = different[0]
        raise WeightsError(
            f"{path} does not fit {name}, which it is said to be of: {len(different)} tensors differ, first {first!r}, "
            f"with the shape {found.get(first, 'missing')} in the file and {wanted.get(first, 'unknown')} in the "
            "network."
        )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"The checkpoint {path} cannot be read: {error}. Remove it and train again.") from error


def _about(path: Path, metadata: Mapping[str, str]) -> About:
    try:
        told = json.loads(metadata.get("about", ""))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"The checkpoint {path} does not say what it is of: {error}. Train again.") from error
    about: About = checked(About, told, where=f"the checkpoint {path}", error_kind=WeightsError)
    return about
