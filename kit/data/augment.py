"""Images as the network sees them: a random view for training, a fixed central one for evaluation.

A random view depends on (seed, epoch, image id) alone: restarts, threads and the order of images change nothing.
albumentations has a generator of its own that knows nothing of ours; it is re-seeded for each image.
"""

import os
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from kit.config import AugmentConfig
from kit.data.decode import Image

View = Callable[[Image, str, int], Image]  # (stored image, image id, epoch) -> (S, S, 3) uint8


def training_view(config: AugmentConfig, *, image_size: int, seed: int) -> View:
    """Return the random view: crop of random area and aspect, mirror, rotation, brightness and contrast."""
    pipeline = _pipeline(config, image_size)

    def view(image: Image, image_id: str, epoch: int) -> Image:
        # crc32, not hash(): Python salts the latter in every process.
        words = np.random.SeedSequence((seed, epoch, zlib.crc32(image_id.encode())))
        pipeline.set_random_seed(int(words.generate_state(1)[0]))
        changed: Image = pipeline(image=image)["image"]
        return changed

    return view


def central_view(*, image_size: int, crop_share: float) -> View:
    """Return the fixed view: the central square of `crop_share` of the shorter side, resized to `image_size`.

    The geometry is timm's (resize to image_size / crop_pct, then crop the centre), done with one interpolation:
    by area where it shrinks, bicubic where it enlarges.
    """
    import cv2

    def view(image: Image, image_id: str, epoch: int) -> Image:
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

    return view


def _pipeline(config: AugmentConfig, image_size: int) -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or its import calls the network
    import albumentations as A
    import cv2

    cv2.setNumThreads(0)
    steps: list[Any] = []
    if config.rotate_degrees:
        steps.append(A.Rotate(limit=config.rotate_degrees, border_mode=cv2.BORDER_REFLECT_101, p=1.0))
    steps.append(
        A.RandomResizedCrop(
            size=(image_size, image_size),
            scale=(config.smallest_crop, 1.0),
            ratio=(1 / config.widest_aspect, config.widest_aspect),
            interpolation=cv2.INTER_LINEAR,
        )
    )
    if config.mirror:
        steps.append(A.HorizontalFlip(p=0.5))
    if config.brightness or config.contrast:
        steps.append(
            A.RandomBrightnessContrast(brightness_limit=config.brightness, contrast_limit=config.contrast, p=1.0)
        )
    return A.Compose(steps)
