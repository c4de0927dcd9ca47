"""What a network's units look for: the filters of its first layer, and the patches that excite later units most.

Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks": beside each unit the parts of images
that it answers to most strongly. How large such a part is is measured, not derived: the effective receptive field of
Luo et al. 2016, "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kit.errors import ConfigError, DataError, did_you_mean
from kit.interpret.networks import look_on
from kit.train.model import Network, normalise

BATCH = 32  # images at once
FIELD_SHARE = 0.95  # of the squared gradient that lies inside the receptive field
FIELD_VIEWS = 8  # images over which that is averaged


@dataclass(frozen=True, kw_only=True, eq=False)
class FirstLayer:
    """The filters that see the pixels."""

    name: str  # of the layer
    filters: NDArray[np.float32]  # (K, h, w, 3) in [0, 1]: 0.5 is a weight of 0, RGB; each filter by its own range
    stride: int  # pixels from one place to the next


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A part of one view that excites a unit."""

    image_id: str
    top: int  # pixels, of the view
    left: int
    side: int
    activation: float  # of the unit there


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One unit and what excites it most: at most one patch of an image, the strongest first."""

    number: int  # channel
    strength: float  # mean over its patches' activations above its usual maximum, in standard deviations of that
    patches: tuple[Patch, ...]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The features between two reductions of the image's size, and their strongest units."""

    name: str  # of the module whose output they are
    side: int  # places in a row
    num_units: int  # channels, of which `units` are the strongest
    receptive_field: int  # pixels: side of the square that holds FIELD_SHARE of the squared gradient, at most the view
    units: tuple[Unit, ...]


def first_layer_filters(network: Network) -> FirstLayer:
    """Return the filters of a network's first convolution, as changes of the image's own RGB values.

    Raises:
        DataError: it has none that sees three channels.
    """
    found = _first_convolution(network)
    if found is None:
        raise DataError(
            f"{type(network.module).__name__} has no convolution that sees the three colours of an image, so there are "
            "no first filters to show."
        )
    name, layer = found
    weights = layer.weight.detach().float().cpu()  # (K, 3, h, w)
    weights = weights / torch.tensor(network.input.std)[:, None, None]  # of normalised values -> of values
    largest = weights.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)
    shown = (0.5 + weights / (2 * largest)).permute(0, 2, 3, 1)  # (K, h, w, 3)
    return FirstLayer(name=name, filters=shown.numpy(), stride=int(layer.stride[0]))


def is_first_layer(network: Network, layer: str | int) -> bool:
    """Return if a layer's name, with or without "body." before it, is that of the filters that see the pixels."""
    found = _first_convolution(network)
    return found is not None and str(layer).removeprefix("body.") == found[0].removeprefix("body.")


def _first_convolution(network: Network) -> tuple[str, nn.Conv2d] | None:
    for name, layer in network.module.named_modules():
        if isinstance(layer, nn.Conv2d) and layer.in_channels == 3 and layer.groups == 1:
            return name, layer
    return None


def strongest_patches(
    network: Network,
    views: NDArray[np.uint8],
    image_ids: Sequence[str],
    *,
    num_units: int = 4,
    num_patches: int = 9,
    layer: str | int | None = None,
    device: torch.device,
) -> tuple[Stage, ...]:
    """Return, for each stage of a network, the units that some images excite far more than others, and those patches.

    A stage is what a network has computed when it next makes its maps smaller; units are its channels.

    Args:
        network: trained.
        views: (N, S, S, 3) RGB, as evaluation sees them; some hundreds show more than some dozens.
        image_ids: N ids.
        num_units: of each stage.
        num_patches: of each unit; fewer where there are fewer images.
        layer: of one stage alone, by its number from 1 on, or of any module that gives maps, by its name.
        device: where to compute.

    Raises:
        ConfigError: no such layer.
        DataError: the network has no maps that are smaller than the image, as a transformer has none.
    """
    module = network.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    module.eval()
    layers = _chosen(network, views[:1], layer, device=device)
    highest, places, sides = _maxima(network, layers, views, device=device)
    found = []
    for name, module_of_stage in layers.items():
        field = _receptive_field(network, module_of_stage, views[:FIELD_VIEWS], device=device)
        units = []
        for number, strength in _strongest(highest[name], num_units=num_units, num_patches=num_patches):
            values = highest[name][:, number]
            rows = np.argsort(-values, kind="stable")[:num_patches]
            units.append(
                Unit(
                    number=number,
                    strength=strength,
                    patches=tuple(
                        _patch(
                            image_ids[row],
                            place=int(places[name][row, number]),
                            grid=sides[name],
                            field=field,
                            size=views.shape[1],
                            activation=float(values[row]),
                        )
                        for row in rows
                    ),
                )
            )
        found.append(
            Stage(
                name=name.removeprefix("body."),
                side=sides[name],
                num_units=highest[name].shape[1],
                receptive_field=field.side,
                units=tuple(units),
            )
        )
    return tuple(found)


def _chosen(
    network: Network, view: NDArray[np.uint8], layer: str | int | None, *, device: torch.device
) -> dict[str, nn.Module]:
    """Return name -> module: all stages, one of them by its number, or the module of a name."""
    if isinstance(layer, str):
        return _named(network, view, layer, device=device)
    stages = _stages_of(network, view, device=device)
    if layer is None:
        return stages
    if not 1 <= layer <= len(stages):
        names = ", ".join(f"{number}: {name.removeprefix('body.')}" for number, name in enumerate(stages, 1))
        raise ConfigError(
            f"There is no layer {layer}: 0 is the first one, whose filters see the pixels, and the stages behind it "
            f"are {names}. Give one of these numbers, or the name of any module that gives maps."
        )
    name = list(stages)[layer - 1]
    return {name: stages[name]}


def _named(network: Network, view: NDArray[np.uint8], name: str, *, device: torch.device) -> dict[str, nn.Module]:
    """Return the module of a name, with or without "body." before it, whose output is square maps, channels first."""
    names = {one: called.removeprefix("body.") for called, one in network.module.named_modules()}
    found: dict[str, nn.Module] = {}

    def look(one: nn.Module, _: Any, given: Any) -> None:
        if isinstance(given, Tensor) and given.ndim == 4 and given.shape[2] == given.shape[3] > 1:
            found[names[one]] = one

    look_on(network, view, look, device=device)
    wanted = name.removeprefix("body.")
    if wanted not in found:
        what = "gives no maps" if wanted in names.values() else "is not there"
        few = ", ".join(one for one in found if one.count(".") <= 1 and one)
        raise ConfigError(
            f"The layer {name!r} {what}.{did_you_mean(wanted, list(found))} These give maps, among others: {few}. "
            "0 is the first layer, 1 the first stage behind it."
        )
    return {wanted: found[wanted]}


def _stages_of(network: Network, view: NDArray[np.uint8], *, device: torch.device) -> dict[str, nn.Module]:
    """Return name -> module, whose output is a stage's last: the last one with maps of each size.

    Inside a module that makes its maps smaller, the first layers still have the old size; so names with more than one
    dot are passed over.
    """
    module, size = network.module, view.shape[1]
    names = {one: name for name, one in module.named_modules()}
    of_side: dict[int, tuple[str, nn.Module]] = {}
    previous = size

    def look(one: nn.Module, _: Any, given: Any) -> None:
        nonlocal previous
        name = names[one]
        if not isinstance(given, Tensor) or given.ndim != 4 or name in ("", "body"):
            return
        side = int(given.shape[2])
        if given.shape[2] == given.shape[3] and 1 < side <= previous and name.removeprefix("body.").count(".") <= 1:
            of_side[side] = (name, one)
            previous = side

    look_on(network, view, look, device=device)
    stages = {name: one for side, (name, one) in of_side.items() if side < size}
    if len(stages) < 2:  # one: the patches that a transformer begins with
        raise DataError(
            f"{type(getattr(module, 'body', module)).__name__} has no stages of maps that become smaller, channels "
            "first, so there are no patches that excite its units to be shown: it is not a convolutional network."
        )
    return stages


def _maxima(
    network: Network, layers: dict[str, nn.Module], views: NDArray[np.uint8], *, device: torch.device
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.int64]], dict[str, int]]:
    """Return by layer: the maxima (N, C) over places, where they are (N, C), and the side of its maps."""
    highest: dict[str, list[Tensor]] = {name: [] for name in layers}
    places: dict[str, list[Tensor]] = {name: [] for name in layers}
    sides: dict[str, int] = {}

    def keeper(name: str) -> Any:
        def keep(_: nn.Module, __: Any, given: Tensor) -> None:
            value, place = given.float().flatten(2).max(dim=2)  # (B, C), (B, C)
            highest[name].append(value.cpu())
            places[name].append(place.cpu())
            sides[name] = int(given.shape[2])

        return keep

    handles = [layer.register_forward_hook(keeper(name)) for name, layer in layers.items()]
    try:
        with torch.inference_mode():
            for start in range(0, len(views), BATCH):
                part = torch.from_numpy(views[start : start + BATCH]).to(device)
                network.module(normalise(part, network.input))
    finally:
        for handle in handles:
            handle.remove()
    return (
        {name: torch.cat(parts).numpy() for name, parts in highest.items()},
        {name: torch.cat(parts).numpy() for name, parts in places.items()},
        sides,
    )


def _strongest(maxima: NDArray[np.float32], *, num_units: int, num_patches: int) -> list[tuple[int, float]]:
    """Return (unit, strength) of the units whose strongest images stand out most from their others.

    Units have scales of their own, so the largest activation alone would only find the largest scale.
    """
    spread = maxima.std(axis=0)
    alive = spread > 1e-6
    top = np.sort(maxima, axis=0)[-num_patches:].mean(axis=0)
    strength = np.divide(top - maxima.mean(axis=0), spread, out=np.zeros_like(spread), where=alive)
    order = np.argsort(-strength, kind="stable")
    return [(int(unit), float(strength[unit])) for unit in order[:num_units] if alive[unit]]


@dataclass(frozen=True, kw_only=True)
class _Field:
    """What a place of a map sees."""

    side: int  # pixels
    below: float  # pixels from the place's middle, as the grid lies over the view, to that of what it sees
    right: float


def _receptive_field(network: Network, layer: nn.Module, views: NDArray[np.uint8], *, device: torch.device) -> _Field:
    """Return the square that holds FIELD_SHARE of a place's squared gradient, around the centre of that gradient.

    Measured at the middle of the map, over all channels at once with random signs, averaged over `views`.
    """
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _, __, given: kept.append(given))
    try:
        images = normalise(torch.from_numpy(views).to(device), network.input).requires_grad_()
        network.module(images)
    finally:
        handle.remove()
    features = kept[-1]
    middle = features.shape[2] // 2
    signs = torch.randint(0, 2, (features.shape[1],), generator=torch.Generator().manual_seed(0)) * 2 - 1
    (gradient,) = torch.autograd.grad((features[:, :, middle, middle] * signs.to(device)).sum(), images)
    energy = gradient.float().square().sum(dim=(0, 1)).cpu().numpy()  # (S, S)
    size = energy.shape[0]
    expected = (middle + 0.5) * size / features.shape[2]
    if energy.sum() <= 0:  # all units are off there
        return _Field(side=size, below=0.0, right=0.0)
    # Padding moves it: what a 3 x 3 filter with stride 2 sees begins one pixel before its place.
    middles = np.arange(size) + 0.5
    row, column = (float((energy.sum(axis=axis) * middles).sum() / energy.sum()) for axis in (1, 0))
    distance = np.maximum(np.abs(middles - row)[:, None], np.abs(middles - column)[None])  # (S, S)
    order = np.argsort(distance, axis=None)
    inside = np.cumsum(energy.ravel()[order])
    enough = distance.ravel()[order[int(np.searchsorted(inside, FIELD_SHARE * inside[-1]))]]
    return _Field(side=int(min(size, round(2 * enough + 1))), below=row - expected, right=column - expected)


def _patch(image_id: str, *, place: int, grid: int, field: _Field, size: int, activation: float) -> Patch:
    """Return what a place sees, moved inside the view where it would stick out."""

    def begin(index: int, shift: float) -> int:
        centre = (index + 0.5) * size / grid + shift
        return int(np.clip(round(centre - field.side / 2), 0, size - field.side))

    row, column = divmod(place, grid)
    return Patch(
        image_id=image_id,
        top=begin(row, field.below),
        left=begin(column, field.right),
        side=field.side,
        activation=activation,
    )
