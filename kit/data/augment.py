"""Images as the network sees them: a random view for training, a fixed central one for evaluation.

A random view depends on (seed, epoch, image id) alone: restarts, workers and the order of images change nothing. What
is drawn for it is `kit.data.geometry`'s; here it becomes pixels, by one interpolation. albumentations makes what a
recipe lists beyond that. It has a generator of its own that knows nothing of ours, and is re-seeded for each image.
"""

import copy
import inspect
import os
import random
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from kit.config import AugmentConfig
from kit.data.draws import keys_of
from kit.data.geometry import Drawn, draw, matrices
from kit.errors import ConfigError, did_you_mean
from kit.store.decode import Image

# (stored images, their ids, epoch) -> (S, S, 3) uint8 of each, a function of its image, its id and the epoch alone.
# Several at once, because drawing for one takes as long as drawing for a hundred.
View = Callable[[Sequence[Image], Sequence[str], int], list[Image]]

COMPOSITIONS = ("OneOf", "RandomOrder", "Sequential", "SomeOf")  # transforms that hold transforms
FOR_THE_DEVICE = ("FromFloat", "Normalize", "ToFloat", "ToTensor3D", "ToTensorV2")
# Without boxes or masks these do nothing or fail. Others of their kind say so by `targets_as_params`.
FOR_MORE_THAN_IMAGES = (
    "AtLeastOneBBoxRandomCrop",
    "BBoxSafeRandomCrop",
    "ConstrainedCoarseDropout",
    "CropNonEmptyMaskIfExists",
    "Lambda",
    "RandomSizedBBoxSafeCrop",
)
TO_MIDDLES = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
TO_EDGES = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
DRY_RUNS = 8  # of each transform, with other draws: a change of size may be one branch of several


def training_view(config: AugmentConfig, *, image_size: int, seed: int) -> View:
    """Return the random view: crop of random area and aspect, rotation, perspective, mirror, light, and more.

    The view may be called from several threads and in forked processes.

    Raises:
        ConfigError: albumentations refuses one of `config.transforms`, or the result is no (S, S, 3) uint8.
    """
    import cv2

    cv2.setNumThreads(0)
    change = _transforms(config, image_size=image_size, seed=seed) if config.transforms else None

    def view(images: Sequence[Image], image_ids: Sequence[str], epoch: int) -> list[Image]:
        shapes = np.array([image.shape[:2] for image in images], dtype=np.int64)
        drawn = draw(config, keys=keys_of(image_ids), shapes=shapes, seed=seed, epoch=epoch)
        seen = cut(images, drawn, image_size=image_size)
        if change is not None:
            seen = [change(image, image_id, epoch) for image, image_id in zip(seen, image_ids, strict=True)]
        return seen

    return view


def cut(images: Sequence[Image], drawn: Drawn, *, image_size: int) -> list[Image]:
    """Return the views (image_size, image_size, 3) uint8 that `drawn` describes, each by one bilinear interpolation.

    An upright box is interpolated within itself. Where a view is turned or warped, pixels beyond the image's edge are
    its reflection, the edge itself not doubled.
    """
    import cv2

    size = (image_size, image_size)
    if drawn.upright:
        views = []
        for image, (top, left, height, width), mirrored in zip(
            images, drawn.boxes.tolist(), drawn.mirrored.tolist(), strict=True
        ):
            view = cv2.resize(image[top : top + height, left : left + width], size, interpolation=cv2.INTER_LINEAR)
            views.append(cv2.flip(view, 1, dst=view) if mirrored else view)
    else:
        shapes = np.array([image.shape[:2] for image in images], dtype=np.int64)
        # OpenCV counts from the middle of the first pixel, and we from its edge.
        placed = TO_MIDDLES @ matrices(drawn, shapes, image_size=image_size) @ TO_EDGES
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        views = [
            cv2.warpPerspective(image, matrix, size, flags=how, borderMode=cv2.BORDER_REFLECT_101)
            for image, matrix in zip(images, placed, strict=True)
        ]
    for view, gain, bias in zip(views, drawn.gains.tolist(), drawn.biases.tolist(), strict=True):
        if (gain, bias) != (1, 0):
            cv2.addWeighted(view, gain, view, 0, bias, dst=view)  # rounds, and stays within 0 to 255
    return views


def central_view(*, image_size: int, crop_share: float) -> View:
    """Return the fixed view: the central square of `crop_share` of the shorter side, resized to `image_size`.

    The geometry is timm's (resize to image_size / crop_pct, then crop the centre), done with one interpolation:
    by area where it shrinks, bicubic where it enlarges.
    """
    import cv2

    cv2.setNumThreads(0)

    def central(image: Image) -> Image:
        height, width = image.shape[:2]
        side = max(1, round(min(height, width) * crop_share))
        top, left = (height - side) // 2, (width - side) // 2
        square = image[top : top + side, left : left + side]
        if side == image_size:
            return square
        shrinks = side > image_size
        resized: Image = cv2.resize(
            square, (image_size, image_size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        )
        return resized

    return lambda images, image_ids, epoch: [central(image) for image in images]


def check_augmentation(config: AugmentConfig, *, image_size: int) -> None:
    """Build each of `config.transforms` and try it on a generated image, before anything is trained with it.

    Raises:
        ConfigError: an unknown transform or argument, a value that albumentations refuses or ignores, or a result
            that is not (image_size, image_size, 3) uint8; names the key of the recipe.
    """
    if not config.transforms:
        return  # the simple keys are checked when the recipe is read, and albumentations takes seconds to import
    albumentations = _albumentations()
    noise = np.random.default_rng(0).integers(0, 256, size=(image_size, image_size, 3), dtype=np.uint8)
    for key, table in _keyed(config.transforms):
        tried = _built(table, key)
        seeded = albumentations.Compose([tried])
        for seed in range(DRY_RUNS):
            seeded.set_random_seed(seed)
            with _explained(f"{key} ({table['name']}) fails on an image of {image_size} x {image_size} pixels"):
                changed = tried(image=noise.copy(), force_apply=True)["image"]
            _check_view(changed, image_size, f"{key} ({table['name']})")


def _albumentations() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or its import calls the network
    import albumentations

    return albumentations


def _transforms(config: AugmentConfig, *, image_size: int, seed: int) -> Callable[[Image, str, int], Image]:
    """Return what albumentations does to one view."""
    albumentations = _albumentations()
    untouched = albumentations.Compose([_built(table, key) for key, table in _keyed(config.transforms)])
    own = threading.local()  # a pipeline carries its generator, and must not be shared by two threads

    def change(image: Image, image_id: str, epoch: int) -> Image:
        if not hasattr(own, "pipeline"):
            own.pipeline = copy.deepcopy(untouched)
        # crc32, not hash(): Python salts the latter in every process.
        words = np.random.SeedSequence((seed, epoch, zlib.crc32(image_id.encode("utf-8", "surrogateescape"))))
        # Not set_random_seed: it gives every transform a generator of its own with the same seed, so that whether one
        # happens and how strong another is are one draw (correlation 0.9 to 1.0). This way they share two generators.
        own.pipeline.set_random_state(
            np.random.default_rng(words), random.Random(int(words.generate_state(1, np.uint64)[0]))
        )
        changed: Image = own.pipeline(image=image)["image"]
        _check_view(changed, image_size, "augment.transforms")
        return changed

    return change


def _keyed(tables: Any, above: str = "augment") -> list[tuple[str, Mapping[str, Any]]]:
    """Return each table of a list of transforms with its key in the recipe."""
    return [(f"{above}.transforms[{k}]", table) for k, table in enumerate(tables)]


def _built(table: Mapping[str, Any], key: str) -> Any:
    """Return the transform that a table of the recipe describes; what the library warns of is refused, too."""
    name = table["name"]
    kind = _kind(name, key)
    arguments = {argument: _as_tuples(value) for argument, value in table.items() if argument != "name"}
    known = _arguments(kind)
    for argument in arguments:
        if argument not in known:
            raise ConfigError(
                f"{key}: {name} has no argument {argument!r}.{did_you_mean(argument, known)} "
                f"It has: {', '.join(known)}."
            )
    if name in COMPOSITIONS:
        if not table.get("transforms"):
            raise ConfigError(f"{key}: {name} needs the key transforms, a list of tables, each with a name.")
        arguments["transforms"] = [_built(inner, k) for k, inner in _keyed(table["transforms"], key)]
    with _explained(f"{key}: albumentations refuses {name}", known=known):
        transform = kind(**arguments)
    if needed := getattr(transform, "targets_as_params", []):
        raise ConfigError(f"{key}: {name} needs more than the image ({', '.join(needed)}), which the kit cannot give.")
    return transform


def _kind(name: str, key: str) -> Any:
    """Return albumentations' class of that name, if it works on images alone and leaves them `uint8`."""
    A = _albumentations()
    if name in FOR_THE_DEVICE:
        raise ConfigError(
            f"{key}: {name} is not for a recipe. Images stay uint8 until they are on the device, which normalises "
            "them with the network's own statistics. Leave it out."
        )
    kinds = {
        name: kind
        for name, kind in vars(A).items()
        if inspect.isclass(kind)
        and (
            name in COMPOSITIONS
            or (
                issubclass(kind, A.BasicTransform)
                and not issubclass(kind, A.Transform3D)
                and kind not in (A.BasicTransform, A.DualTransform, A.ImageOnlyTransform)
                and name not in (*FOR_THE_DEVICE, *FOR_MORE_THAN_IMAGES)
            )
        )
    }
    if name not in kinds:
        raise ConfigError(
            f"{key}: albumentations {A.__version__} has no transform {name!r} for images alone."
            f"{did_you_mean(name, sorted(kinds))} https://explore.albumentations.ai shows those there are; "
            f"{', '.join(COMPOSITIONS)} hold others."
        )
    return kinds[name]


def _arguments(kind: Any) -> list[str]:
    """Return the arguments that a class takes and heeds: those that its schema lacks are dropped without a word."""
    taken = [argument for argument in inspect.signature(kind.__init__).parameters if argument not in ("self", "strict")]
    schema = getattr(kind, "InitSchema", None)  # compositions have none
    return [argument for argument in taken if schema is None or argument in schema.model_fields]


def _as_tuples(value: Any) -> Any:
    """Return `value` with tuples for lists: the library's own defaults are tuples."""
    return tuple(_as_tuples(inner) for inner in value) if isinstance(value, list) else value


@contextmanager
def _explained(what: str, known: list[str] | None = None) -> Iterator[None]:
    """Turn whatever the library raises or warns of into a `ConfigError` that begins with `what`.

    It warns of arguments that it then ignores, and of values for which it takes its defaults instead.
    """
    from pydantic import ValidationError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    except Exception as error:
        cause = error.__cause__
        if isinstance(cause, ValidationError):
            faults = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in cause.errors(include_url=False)]
            said = "; ".join(f"{where}: {message}" if where else message for where, message in faults)
            said = said.replace("Value error, ", "")
        else:
            said = " ".join(str(error).split()) or type(error).__name__
        arguments = f" Its arguments: {', '.join(known)}." if known else ""
        raise ConfigError(f"{what}: {said.rstrip('.')}.{arguments}") from error


def _check_view(image: Any, image_size: int, what: str) -> None:
    shape, dtype = getattr(image, "shape", None), getattr(image, "dtype", None)
    if shape != (image_size, image_size, 3) or dtype != np.uint8:
        raise ConfigError(
            f"{what} makes {shape} {dtype} of an image, and the network takes ({image_size}, {image_size}, 3) uint8. "
            "Size and type must stay as they are: the crop is augment.smallest_crop and augment.widest_aspect, "
            "the size input.image_size."
        )
