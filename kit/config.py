"""The recipe: how we train. A TOML file, read once into frozen dataclasses; after that line it is data."""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from kit.errors import ConfigError, did_you_mean

AUTO_BATCH = 0  # what "auto" is in `schedule.batch_size`: `plan_run` puts a number there
AUTO_MICRO_BATCH = -1  # and in `schedule.micro_batch`, where 0 is the whole batch


class Strict:
    """Keys that no field has are refused when a file is read."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (pydantic reads it as a plain dict)


def _between(key: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:
        raise ConfigError(f"{key} must be between {lowest:g} and {highest:g}, got {value!r}.")


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Strict):
    """The network: a timm name with its tag where it has one, and where its weights come from."""

    name: str = "resnet18"  # any timm classification model, e.g. "resnet50.a1_in1k"
    weights: str = "auto"  # "auto" (KIT_WEIGHTS, then an installed package, then the hub), "hub", "none", or a path
    pretraining_group: str = ""  # only for a weight file of your own: none, imagenet-1k, imagenet-21k, web-or-private
    head: Literal["timm", "linear", "concat-pool"] = "timm"  # the network's own; mean of the features and one linear
    # layer; or fast.ai's: mean and maximum, BatchNorm, dropout, a hidden layer of 512, BatchNorm, dropout
    drop_rate: float = 0.0  # dropout before the classifier, in [0, 1)
    drop_path_rate: float = 0.0  # stochastic depth, in [0, 1); 0 keeps the network's own default

    def __post_init__(self) -> None:
        """Refuse rates outside [0, 1)."""
        _between("model.drop_rate", self.drop_rate, 0, 0.99)
        _between("model.drop_path_rate", self.drop_path_rate, 0, 0.99)


@dataclass(frozen=True, kw_only=True)
class InputConfig(Strict):
    """Sizes, in pixels."""

    image_size: int = 224  # side of the square the network sees
    store_size: int = 256  # shorter side of the images in the pack; larger images are reduced to it
    store_layout: Literal["ragged", "square"] = "ragged"  # of the pack: aspect kept, or the central square
    store_format: Literal["auto", "raw", "jpeg"] = "auto"  # auto: pixels, or JPEG where those would not fit the disk
    test_crop: float = 0.0  # share of the shorter side that evaluation sees, in (0, 1]; 0 = the network's own
    start_size: int = 0  # side in the first epoch that trains every layer; it grows to image_size; 0 = image_size
    test_views: Literal["single", "mirror", "lesson", "dihedral"] = "single"  # of an image, whose probabilities are
    # averaged: itself and its mirror image; the centre and four random views; or its eight turns and reflections

    def __post_init__(self) -> None:
        """Refuse sizes that no network takes."""
        _between("input.image_size", self.image_size, 8, 2048)
        _between("input.store_size", self.store_size, 8, 4096)
        _between("input.test_crop", self.test_crop, 0, 1)
        if self.start_size:
            _between("input.start_size", self.start_size, 8, self.image_size)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Strict):
    """Random changes of a training image; each draw depends on (seed, epoch, image id) alone."""

    smallest_crop: float = 0.35  # share of the image's area that the smallest random crop keeps, in (0, 1]
    widest_aspect: float = 1.33  # crops have a width:height between 1/widest_aspect and widest_aspect
    mirror: bool = True  # flip left-right with probability 1/2; digits and letters must not be
    rotate_degrees: float = 0.0  # uniform in [-rotate_degrees, rotate_degrees]
    brightness: float = 0.2  # relative change, uniform in [-brightness, brightness]
    contrast: float = 0.2  # relative change, uniform in [-contrast, contrast]
    warp: float = 0.0  # perspective: each corner of the crop moves by up to this share of its sides, in [0, 0.4]
    mixup_alpha: float = 0.0  # of the Beta distribution of mixup (Zhang 2018), which adds pairs of images; 0 = off
    cutmix_alpha: float = 0.0  # of CutMix (Yun 2019), which pastes boxes; with both, each batch draws one; 0 = off
    mix_off_epochs: int = 0  # last epochs, of all, in which neither is done
    transforms: tuple[Mapping[str, Any], ...] = ()  # more of them, of albumentations, in order: {name, arguments, p}

    def __post_init__(self) -> None:
        """Refuse ranges that mean nothing, and transforms that are not tables with a name."""
        plain = tuple(_plain(f"augment.transforms[{k}]", one) for k, one in enumerate(self.transforms))
        object.__setattr__(self, "transforms", plain)
        for k, one in enumerate(plain):
            _check_named(f"augment.transforms[{k}]", one)
        _between("augment.smallest_crop", self.smallest_crop, 0.01, 1)
        _between("augment.widest_aspect", self.widest_aspect, 1, 4)
        _between("augment.rotate_degrees", self.rotate_degrees, 0, 180)
        _between("augment.brightness", self.brightness, 0, 1)
        _between("augment.contrast", self.contrast, 0, 1)
        _between("augment.warp", self.warp, 0, 0.4)
        _between("augment.mixup_alpha", self.mixup_alpha, 0, 100)
        _between("augment.cutmix_alpha", self.cutmix_alpha, 0, 100)
        _between("augment.mix_off_epochs", self.mix_off_epochs, 0, 10_000)

    def __hash__(self) -> int:
        """Hash the values, and of `transforms` the names: tables have no hash of their own."""
        simple = [getattr(self, field.name) for field in fields(self) if field.name != "transforms"]
        return hash((*simple, *(one["name"] for one in self.transforms)))


def _plain(key: str, value: Any) -> Any:
    """Return a copy of `value` as nested dicts, lists and plain values, which both TOML and JSON have."""
    if isinstance(value, Mapping):
        return {str(name): _plain(f"{key}.{name}", inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(f"{key}[{k}]", inner) for k, inner in enumerate(value)]
    if isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ConfigError(f"{key} must be a finite number, a text, true or false, or a list of these, got {value!r}.")


def _check_named(key: str, table: Any) -> None:
    """Refuse what is no table with a name. What albumentations has is asked later: its import takes seconds."""
    name = table.get("name") if isinstance(table, dict) else None
    if not isinstance(name, str) or not name.isidentifier():
        raise ConfigError(
            f"{key} must be a table with the name of an albumentations transform and its arguments, "
            f'such as {{name = "CoarseDropout", num_holes_range = [1, 3], p = 0.5}}, got {table!r}.'
        )
    inner = table.get("transforms", [])
    if not isinstance(inner, list):
        raise ConfigError(f"{key}.transforms must be a list of tables, each with a name, got {inner!r}.")
    for k, one in enumerate(inner):
        _check_named(f"{key}.transforms[{k}]", one)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(Strict):
    """Two stages, as in fast.ai's first lesson: the head on a frozen body, then everything; one cycle each."""

    frozen_epochs: int = 4  # epochs in which only the new head learns
    frozen_lr: float = 3e-3  # peak learning rate of the head in the first stage
    frozen_norms: Literal["kept", "trained"] = "kept"  # BatchNorm layers of the frozen body: still, or learning with it
    epochs: int = 4  # epochs in which every layer learns
    lr: float = 1e-3  # peak learning rate of the head in the second stage
    lr_spread: float = 100.0  # the stem learns at lr / lr_spread, as fast.ai's slice(lr / lr_spread, lr)
    lr_between: Literal["geometric", "equal"] = "geometric"  # layers between stem and head: spaced geometrically, or
    # all as the stem (with lr_spread = 10 that is fast.ai's slice(lr))
    batch_size: int = 32  # images per optimizer step; "auto": the most, up to 64, for which there is memory
    micro_batch: int = 0  # images on the device at once; their gradients add up to those of batch_size; 0 = batch_size;
    # "auto": as many as there is memory for
    weight_decay: float = 0.05  # decoupled; applied to matrices, not to biases or norms
    warmup_share: float = 0.25  # share of a stage's steps in which the learning rate rises
    norm_statistics: Literal["auto", "batch", "kept"] = "auto"  # of BatchNorm in the second stage: each batch's own, or
    # the pretrained running ones, which suits small batches and sizes other than the pretraining's; auto: kept if any
    clip_norm: float = 0.0  # gradients are scaled down to this Euclidean norm; 0 = not
    average_decay: float = 0.0  # of an exponential moving average of the weights, which is then what is kept; 0 = none

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        _between("schedule.frozen_epochs", self.frozen_epochs, 0, 10_000)
        _between("schedule.epochs", self.epochs, 0, 10_000)
        _between("schedule.lr", self.lr, 1e-9, 100)
        _between("schedule.frozen_lr", self.frozen_lr, 1e-9, 100)
        _between("schedule.lr_spread", self.lr_spread, 1, 1e6)
        if self.batch_size != AUTO_BATCH:
            _between("schedule.batch_size", self.batch_size, 1, 1_000_000)
        _between("schedule.weight_decay", self.weight_decay, 0, 10)
        _between("schedule.warmup_share", self.warmup_share, 0, 0.9)
        if self.batch_size == AUTO_BATCH and self.micro_batch > 0:
            raise ConfigError(
                f"schedule.micro_batch = {self.micro_batch} is a part of a batch whose size is not known: "
                'schedule.batch_size is "auto", which chooses both. Leave micro_batch out.'
            )
        if self.micro_batch != AUTO_MICRO_BATCH:
            _between("schedule.micro_batch", self.micro_batch, 0, self.batch_size)
        _between("schedule.clip_norm", self.clip_norm, 0, 1e6)
        _between("schedule.average_decay", self.average_decay, 0, 0.999999)
        if self.frozen_epochs + self.epochs == 0:
            raise ConfigError("schedule.frozen_epochs and schedule.epochs are both 0: nothing would be trained.")

    @property
    def is_automatic(self) -> bool:
        """A size of batches is still to be chosen, by the memory there is."""
        return self.batch_size == AUTO_BATCH or self.micro_batch == AUTO_MICRO_BATCH


@dataclass(frozen=True, kw_only=True)
class LossConfig(Strict):
    """What the logits are held against. An image with several labels always has a binary loss per class."""

    kind: Literal["cross-entropy", "binary", "focal"] = "cross-entropy"  # binary: one yes or no per class
    focal_gamma: float = 2.0  # how much less well-predicted images count (Lin 2017); focal only
    label_smoothing: float = 0.1  # share of the target spread over all classes, in [0, 1)
    balance: Literal["none", "class-weights", "sampling"] = "none"  # rare classes count more, or are drawn more often

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        _between("loss.focal_gamma", self.focal_gamma, 0, 20)
        _between("loss.label_smoothing", self.label_smoothing, 0, 0.99)


@dataclass(frozen=True, kw_only=True)
class Recipe(Strict):
    """How we train, whole. Equal recipes on equal data with equal seeds give equal numbers on a CPU."""

    name: str = "baseline"  # the file's name, for people
    seed: int = 1  # of folds, weights of the new head, order of images, augmentation
    num_folds: int = 5  # 0: no folds, one model trained on the whole training list
    device: str = "auto"  # "auto" (CUDA, then MPS, then CPU), "cpu", "cuda", "cuda:1", "mps"
    deterministic: bool = True  # deterministic kernels on a GPU too (on a CPU they are)
    images_on: Literal["auto", "host", "device"] = "auto"  # where batches are made; auto: on a GPU that has room
    compile: Literal["none", "default", "reduce-overhead"] = "none"  # torch.compile's mode, the last with CUDA graphs
    model: ModelConfig = ModelConfig()
    input: InputConfig = InputConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    schedule: ScheduleConfig = ScheduleConfig()

    def __post_init__(self) -> None:
        """Refuse one fold: it has nothing to train on."""
        _between("seed", self.seed, 0, 2**31 - 1)
        if self.num_folds == 1 or not 0 <= self.num_folds <= 1000:
            raise ConfigError(
                f"num_folds must be 0 (one model on all training images) or from 2 to 1000, got {self.num_folds}."
            )

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as nested plain values, the form in which records keep it."""
        plain = asdict(self)
        for key, automatic in _AUTOMATIC.items():
            if plain["schedule"][key] == automatic:
                plain["schedule"][key] = "auto"
        return plain


_AUTOMATIC = {"batch_size": AUTO_BATCH, "micro_batch": AUTO_MICRO_BATCH}  # keys of `schedule` that may be "auto"


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; one that cannot be read or parsed is a `ConfigError` naming file and place."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}. https://toml.io shows the syntax.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error


def read_recipe(path: Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and lay `overrides` ("schedule.lr=1e-3", values as in TOML) over it.

    A table `[tune]` is left out: it says what a sweep may try.

    Raises:
        ConfigError: an unknown key, a wrong type, a value out of range; names file, overrides and key.
    """
    written = read_toml(path)
    written.pop("tune", None)  # a sweep's own table, see `kit.tune.space`
    return recipe_from_dict({"name": path.stem, **written}, overrides=overrides, where=str(path))


def recipe_from_dict(data: Mapping[str, Any], *, overrides: Sequence[str] = (), where: str = "the recipe") -> Recipe:
    """Build a checked `Recipe` from nested plain values; see `read_recipe`."""
    merged = {key: dict(value) if isinstance(value, Mapping) else value for key, value in data.items()}
    for override in overrides:
        _lay_over(merged, override)
    # The fault may be in the file or in what was laid over it: both are named.
    where = " ".join([where, *_as_options(overrides)])
    if isinstance(merged.get("schedule"), dict):
        _read_automatic(merged["schedule"], where=where)
    recipe: Recipe = checked(Recipe, merged, where=where)
    return recipe


def _read_automatic(schedule: dict[str, Any], *, where: str) -> None:
    """Put numbers where a table `schedule` says "auto", and refuse those numbers: people write the word."""
    for key, automatic in _AUTOMATIC.items():
        if schedule.get(key) == "auto":
            schedule[key] = automatic
        elif type(schedule.get(key)) is int and schedule[key] == automatic:
            lowest = automatic + 1
            raise ConfigError(f'{where}: schedule.{key} must be at least {lowest}, or "auto", got {schedule[key]}.')


def _as_options(overrides: Sequence[str]) -> list[str]:
    return [f"{'and' if number else 'with'} --set {override}" for number, override in enumerate(overrides)]


def _lay_over(data: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {override!r} is not of the form key=value. Example: --set schedule.epochs=8.")
    *tables, last = key.strip().split(".")
    known: Any = Recipe()
    for depth, name in enumerate((*tables, last)):
        names = [field.name for field in fields(known)] if is_dataclass(known) else []
        if name not in names:
            hint = did_you_mean(name, names, before="".join(f"{table}." for table in tables[:depth]))
            raise ConfigError(
                f"--set {override!r}: a recipe has no key {key.strip()!r}.{hint} "
                f"Known here: {', '.join(names) or 'nothing below it'}."
            )
        known = getattr(known, name)
    if is_dataclass(known):
        raise ConfigError(f"--set {override!r}: {key.strip()!r} is a table; set one of its keys, e.g. {key}.KEY=value.")
    for name in tables:
        if not isinstance(data.setdefault(name, {}), dict):
            return  # the file has no table there, which `checked` will say
        data = data[name]
    data[last] = _toml_value(text.strip())


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word: names of networks and paths need no quotes on a command line


def checked(kind: Any, data: Mapping[str, Any], *, where: str, error_kind: type[Exception] = ConfigError) -> Any:
    """Return `data` as the dataclass `kind`; a violation becomes one paragraph naming `where`, key and expectation."""
    from pydantic import TypeAdapter, ValidationError  # 0.1 s that `kit --help` must not pay

    try:
        return TypeAdapter(kind).validate_python(data)
    except ConfigError as error:  # a dataclass refused a value that is out of range
        raise error_kind(f"{where}: {error}") from error
    except ValidationError as error:
        faults = []
        for fault in error.errors()[:5]:
            key = ".".join(str(part) for part in fault["loc"])
            if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
                names = _names_at(kind, fault["loc"][:-1])
                hint = did_you_mean(str(fault["loc"][-1]), names)
                faults.append(f"unknown key {key!r}.{hint} Allowed here: {', '.join(names)}")
            elif fault["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
                faults.append(f"the key {key!r} is missing")
            else:
                faults.append(f"{key!r}: {fault['msg']}, got {fault['input']!r}")
        raise error_kind(f"{where}: {'; '.join(faults)}.") from error


def _names_at(kind: Any, location: Sequence[Any]) -> list[str]:
    """Return the field names of the dataclass that `location` leads to inside `kind`."""
    import typing

    for part in location:
        hints = typing.get_type_hints(kind) if is_dataclass(kind) else {}
        hint = hints.get(str(part), kind)
        inner = [a for a in typing.get_args(hint) if is_dataclass(a)]
        kind = inner[0] if inner else hint
    return [field.name for field in fields(kind)] if is_dataclass(kind) else []
