"""Small made-up competitions: plainly coloured images that any network tells apart, and the folder around them."""

import hashlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kit.competition import Competition
from kit.rules import LabelRule, Protocol, SourceSet

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 60, 220), "grey": (128, 128, 128)}  # RGB
HEIGHT, WIDTH = 20, 24  # pixels

TOY_TOML = """\
title = "Plain colours"
homepage = "https://example.org/colours"
licence = "CC0"
citation = "Generated for tests."
metric = "accuracy"
default_protocol = "official"
classes = [{classes}]

[sources.local]

[[sources.local.files]]
path = "{slug}/{slug}.tar"
num_bytes = {num_bytes}
sha256 = "{sha256}"
unpack = true

[labels]
rule = "folder"
images = "*/*/*.png"

[official_split]
by = "folders"
train = "train"
test = "test"

[protocols.official]
description = "Three quarters train, one quarter is scored"
training_pool = "official-train"
train = "{num_train} images"
test_images = "official-test"
test = "{num_test} images"
num_test = {num_test}
metric = "accuracy"

[protocols.folds]
description = "All images, each predicted by the network that never saw it"
training_pool = "other-folds"
train = "the other folds"
test_images = "out-of-fold"
test = "all images"
num_test = {num_images}
metric = "accuracy"
split = "none"
num_folds = 5

[protocols.random]
description = "A random quarter is scored"
training_pool = "random-three-quarters"
train = "three quarters"
test_images = "random-quarter"
test = "a quarter"
num_test = {num_test}
metric = "log_loss"
split = "random"
test_share = 0.25

[submission]
id_column = "image_id"
values = "label"
label_column = "colour"
"""

TOY_RECIPE = """\
num_folds = 2

[model]
name = "resnet10t"
weights = "none"

[input]
image_size = 32
store_size = 32
test_crop = 1.0

[schedule]
frozen_epochs = 0
epochs = 1
lr = 3e-3
lr_spread = 1
batch_size = 8
"""


def coloured_png(colour: str, number: int) -> bytes:
    """Return a PNG of HEIGHT x WIDTH pixels in one of COLOURS, with a little noise that depends on `number`."""
    noise = np.random.default_rng(number).integers(-20, 21, size=(HEIGHT, WIDTH, 3))
    image = np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
    encoded: bytes = cv2.imencode(".png", image[..., ::-1])[1].tobytes()  # OpenCV writes BGR
    return encoded


def toy_images(classes: Sequence[str], images_per_class: int) -> dict[str, bytes]:
    """Return path -> PNG: `<train|test>/<class>/NNN.png`, every fourth image of a class in test."""
    return {
        f"{'test' if k % 4 == 3 else 'train'}/{name}/{k:03d}.png": coloured_png(name, 1000 * c + k)
        for c, name in enumerate(classes)
        for k in range(images_per_class)
    }


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files by relative path below `folder` and return it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def tar_bytes(files: dict[str, bytes], *, mode: str = "w") -> bytes:
    """Return an archive of `files`, the same bytes every time; `mode` as in tarfile, e.g. "w:gz"."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def make_toy_competition(
    root: Path,
    *,
    slug: str = "toy",
    classes: Sequence[str] = ("red", "green", "blue"),
    images_per_class: int = 8,
    replace: Sequence[tuple[str, str]] = (),
    recipe: str = TOY_RECIPE,
) -> Path:
    """Write `root/competitions/<slug>/` and `root/mirror/<slug>/<slug>.tar`, and return the competition's folder.

    Args:
        root: any empty folder; KIT_COMPETITIONS and KIT_MIRROR are to point below it.
        slug: the competition's name.
        classes: names out of COLOURS.
        images_per_class: every fourth one is a test image.
        replace: (old, new) pieces of text to change in competition.toml.
        recipe: text of recipes/baseline.toml.
    """
    images = toy_images(classes, images_per_class)
    archive = tar_bytes(images)
    write_files(root / "mirror", {f"{slug}/{slug}.tar": archive})
    num_test = sum(path.startswith("test/") for path in images)
    text = TOY_TOML.format(
        slug=slug,
        classes=", ".join(f'"{name}"' for name in classes),
        num_bytes=len(archive),
        sha256=hashlib.sha256(archive).hexdigest(),
        num_images=len(images),
        num_train=len(images) - num_test,
        num_test=num_test,
    )
    for old, new in replace:
        assert old in text, f"{old!r} is not in the toy's competition.toml"
        text = text.replace(old, new, 1)
    folder = root / "competitions" / slug
    write_files(folder, {"competition.toml": text.encode(), "recipes/baseline.toml": recipe.encode()})
    return folder


def protocol(**changes: Any) -> Protocol:
    """Return a protocol for tests that need just its split."""
    return Protocol(
        **{
            "description": "",
            "training_pool": "official-train",
            "train": "",
            "test_images": "official-test",
            "test": "",
            "num_test": None,
            "metric": "accuracy",
            **changes,
        }
    )


def competition(folder: Path, **changes: Any) -> Competition:
    """Return a competition without a TOML file, for tests of one of its parts."""
    return Competition(
        **{
            "slug": "toy",
            "folder": folder,
            "title": "",
            "homepage": "",
            "licence": "",
            "citation": "",
            "metric": "accuracy",
            "classes": ("blue", "red"),
            "sources": {"local": SourceSet()},
            "labels": LabelRule(rule="folder"),
            "protocols": {"official": protocol()},
            "default_protocol": "official",
            **changes,
        }
    )
