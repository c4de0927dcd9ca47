"""The exported folder: what stands in it, checked when read, since such a folder may come from anybody.

| file | holds |
| --- | --- |
| `kit.json` | classes, sizes, views, activation and the models, as `Export` below; written first, read first |
| `model-1/model.safetensors` | the tensors of a network of timm's, one folder per model |
| `model-1/config.json` | timm's own description, where the head is timm's: `create_model("local-dir:FOLDER/model-1")` |
| `model-1/model.onnx` | the same as ONNX, from stored pixels to probabilities, where it was asked for |

Reading one runs no code of its maker's: tensors are safetensors, networks are timm's, and `kit.json` is plain data.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from kit.config import AugmentConfig, ModelConfig, Strict, checked
from kit.errors import ConfigError, DataError, WeightsError
from kit.home import sha256_of_file
from kit.store.store import Layout
from kit.train.checkpoint import check_facts, check_statistics, load_network
from kit.train.inference import TestViews
from kit.train.loss import Activation
from kit.train.model import InputSpec, Network
from kit.train.weights import refuse_unknown

FORMAT: Final = "competition-kit export 1"
DESCRIPTION = "kit.json"
TENSORS = "model.safetensors"
ONNX = "model.onnx"
LARGEST_DESCRIPTION = 64 * 2**20  # bytes
MOST_MODELS = 1000


@dataclass(frozen=True, kw_only=True)
class ExportedModel(Strict):
    """One model of a folder."""

    folder: str  # model-1, model-2, ...
    run: str  # id of the run it comes from
    model: str  # its name there: full, fold-0, ...
    architecture: str  # timm's name; empty where the network is the user's own code, and there is ONNX only
    head: Literal["timm", "linear", "concat-pool"]
    mean: tuple[float, float, float]  # per channel, of values in [0, 1]
    std: tuple[float, float, float]
    crop_share: float  # share of the shorter side that the central view shows
    sha256: str = ""  # of the tensors; empty where there are none
    onnx_sha256: str = ""  # of the ONNX file; empty where there is none

    def __post_init__(self) -> None:
        """Refuse names that lead elsewhere, and numbers that no network has."""
        if not re.fullmatch(r"model-[1-9][0-9]{0,3}", self.folder):
            raise ConfigError(f"a model's folder must be model-1, model-2, ..., got {self.folder[:50]!r}.")
        check_statistics(mean=self.mean, std=self.std)
        if bool(self.architecture) is not bool(self.sha256) or not (self.sha256 or self.onnx_sha256):
            raise ConfigError(f"{self.folder} must have an architecture with tensors, or ONNX.")


@dataclass(frozen=True, kw_only=True)
class Export(Strict):
    """What an exported folder says of itself, in `kit.json`."""

    format: Literal["competition-kit export 1"]
    title: str  # of the competition
    competition: str  # its slug
    classes: tuple[str, ...]  # column k of the probabilities is class k
    activation: Activation
    image_size: int  # side of the square the networks see, pixels
    store_size: int  # larger images are reduced to this shorter side first, as in the run's pack
    store_layout: Layout
    test_views: TestViews  # those of the run
    augment: AugmentConfig  # the random views of "lesson", without albumentations' transforms
    seed: int  # of these views
    models: tuple[ExportedModel, ...]  # their mean is the answer

    def __post_init__(self) -> None:
        """Refuse what could not have been exported."""
        for name in (self.title, self.competition, *self.classes):
            if len(name) > 500 or not name.isprintable():
                raise ConfigError(f"names must be printable texts of at most 500 characters, got {name[:50]!r}.")
        if not 8 <= self.store_size <= 4096:
            raise ConfigError(f"store_size must be between 8 and 4096 pixels, got {self.store_size}.")
        if not 0 <= self.seed < 2**31:
            raise ConfigError(f"seed must be between 0 and 2**31 - 1, got {self.seed}.")
        if self.augment.transforms:
            raise ConfigError("augment.transforms must be empty: a folder names no transforms of albumentations.")
        if not 1 <= len(self.models) <= MOST_MODELS or len({one.folder for one in self.models}) < len(self.models):
            raise ConfigError(f"there must be 1 to {MOST_MODELS:,} models, each in a folder of its own.")
        for one in self.models:
            check_facts(classes=self.classes, image_size=self.image_size, crop_share=one.crop_share)


def read_export(folder: Path) -> Export:
    """Return what `folder`/kit.json says, checked.

    Raises:
        DataError: no exported folder, or its description breaks a rule.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise DataError(
            f"{folder} is not an exported folder: it has no {DESCRIPTION}. `kit export RUN FOLDER` makes one."
        )
    try:
        if path.stat().st_size > LARGEST_DESCRIPTION:
            raise DataError(f"{path} has more than {LARGEST_DESCRIPTION // 2**20} MiB: no description is as large.")
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}. Copy or export the folder again.") from error
    if not isinstance(told, dict):
        raise DataError(f"{path} holds no table. Copy or export the folder again.")
    export: Export = checked(Export, told, where=str(path), error_kind=DataError)
    return export


def load_exported(folder: Path, export: Export, model: ExportedModel) -> Network:
    """Return one network of a folder, with its tensors.

    Raises:
        WeightsError: a file is missing or was changed, timm knows no such network, or the tensors are of another one.
    """
    path = checked_file(folder / model.folder / TENSORS, sha256=model.sha256)
    try:
        refuse_unknown(model.architecture)
    except ConfigError as error:
        raise WeightsError(f"{folder / model.folder}: {error}") from error
    return load_network(
        path,
        ModelConfig(name=model.architecture, weights="none", head=model.head),
        num_classes=len(export.classes),
        spec=InputSpec(mean=model.mean, std=model.std, crop_pct=model.crop_share),
    )


def checked_file(path: Path, *, sha256: str) -> Path:
    """Return `path` if it is a file with this checksum.

    Raises:
        WeightsError: it is not.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is missing. Copy or export the folder again.")
    if (found := sha256_of_file(path)) != sha256:
        raise WeightsError(
            f"{path} was changed or damaged: its SHA-256 begins with {found[:12]}, and {DESCRIPTION} says "
            f"{sha256[:12]!r}. Copy or export the folder again."
        )
    return path
