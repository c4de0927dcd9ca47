"""Checkpoints: safetensors with the little that is needed to use them. Written whole or not at all."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from kit.config import ModelConfig
from kit.errors import WeightsError
from kit.home import explained, make_folder
from kit.train.model import InputSpec, Network, make_network

FORMAT = "competition-kit 1"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained network and how to feed it."""

    network: Network
    classes: tuple[str, ...]
    image_size: int  # pixels


def save_checkpoint(
    path: Path, network: Network, *, config: ModelConfig, classes: tuple[str, ...], image_size: int
) -> None:
    """Write a network's weights to `path`: to a temporary name, synced, renamed."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    state = {key: value.detach().cpu().contiguous() for key, value in network.module.state_dict().items()}
    about = {
        "format": FORMAT,
        "model": config.name,
        "classes": json.dumps(classes),
        "image_size": str(image_size),
        "mean": json.dumps(network.input.mean),
        "std": json.dumps(network.input.std),
        "crop_pct": str(network.input.crop_pct),
        "weights_origin": network.weights_origin,
        "pretraining_group": network.pretraining_group or "",
    }
    make_folder(path.parent)
    part = path.with_name(path.name + ".part")
    try:
        with explained(path):
            try:
                save_file(state, part, metadata=about)
            except SafetensorError as error:  # the system's error is in its text only
                if number := re.search(r"\(os error (\d+)\)", str(error)):
                    raise OSError(int(number[1]), str(error)) from error
                raise
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote.

    Raises:
        WeightsError: no such file, damaged, or not one of the kit's checkpoints.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"The checkpoint {path} cannot be read: {error}. Remove it and train again.") from error
    if about.get("format") != FORMAT:
        raise WeightsError(f"{path} is not a checkpoint of this kit (format {about.get('format')!r}).")
    classes = tuple(json.loads(about["classes"]))
    blank = make_network(ModelConfig(name=about["model"], weights="none"), num_classes=len(classes), seed=0)
    try:
        blank.module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"The checkpoint {path} does not fit {about['model']}: {error}") from error
    network = Network(
        module=blank.module.to(memory_format=torch.channels_last),
        input=InputSpec(
            mean=tuple(json.loads(about["mean"])),
            std=tuple(json.loads(about["std"])),
            crop_pct=float(about["crop_pct"]),
        ),
        num_parameters=blank.num_parameters,
        weights_origin=about["weights_origin"],
        pretraining_group=about["pretraining_group"] or None,
    )
    return Checkpoint(network=network, classes=classes, image_size=int(about["image_size"]))
