"""The places in which blocks of the docs are run: files that a reader would have, made small."""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from miniatures import make_miniature
from textures import encoded, texture
from toys import coloured_png, make_toy_competition, tar_bytes, toy_images, write_files

from kit.competition import package_folder

Patch = pytest.MonkeyPatch
Scene = Callable[[Path, Patch], Mapping[str, str] | None]
SCENES: dict[str, Scene] = {}
HEIGHT = 100  # pixels of the pictures: enough for `kit new` to take pretrained weights
SHADES = {"beagle": (170, 60, 30), "pug": (40, 150, 60), "samoyed": (240, 240, 250)}  # RGB


def scene(name: str) -> Callable[[Scene], Scene]:
    """Enter a scene: it is given the block's folder, and gives what is to be said otherwise in the block."""

    def enter(function: Scene) -> Scene:
        SCENES[name] = function
        return function

    return enter


def dog_picture(breed: str, number: int) -> bytes:
    """Return a made-up picture: breeds differ in their colour."""
    shade = np.array(SHADES[breed][::-1])  # OpenCV writes BGR
    return encoded((0.2 * texture(number, height=HEIGHT, width=HEIGHT) + 0.8 * shade).astype(np.uint8))


def dog_pictures(folder: Path, *, per_class: int) -> None:
    """Write `per_class` pictures of each breed into a folder each."""
    for place, breed in enumerate(SHADES):
        numbers = range(100 * place, 100 * place + per_class)
        write_files(folder, {f"{breed}/{breed}_{k}.jpg": dog_picture(breed, k) for k in numbers})


@scene("three folders of pictures")
def three_folders(here: Path, patch: Patch) -> None:
    dog_pictures(here.parent / "pictures" / "dogs", per_class=5)
    new = {"beagle_1.jpg": "beagle", "pug_1.jpg": "pug", "samoyed_5.jpg": "samoyed"}
    pictures = {name: dog_picture(breed, 900 + k) for k, (name, breed) in enumerate(new.items())}
    write_files(here.parent / "pictures" / "new", pictures)


def colours(here: Path, patch: Patch, **options: object) -> Path:
    """Make the toy competition `colours` in `here`, with its files in `here/mirror`."""
    folder = make_toy_competition(here, slug="colours", **options)  # type: ignore[arg-type]
    patch.setenv("KIT_MIRROR", str(here / "mirror"))
    return folder


@scene("colours")
def _colours(here: Path, patch: Patch) -> None:
    colours(here, patch)


@scene("colours, with a broken image")
def _broken(here: Path, patch: Patch) -> None:
    repacked(colours(here, patch), here, {"train/red/001.png": b"not a PNG"})


@scene("colours, with a class that nobody declared")
def _violet(here: Path, patch: Patch) -> None:
    repacked(colours(here, patch), here, {"test/violet/000.png": coloured_png("blue", 5)})


@scene("colours, with an image in both lists")
def _both(here: Path, patch: Patch) -> None:
    changes = [("folders", "lists"), ("train", "train.txt"), ("test", "test.txt")]
    keys = ("by", "train", "test")
    replace = [(f'{key} = "{old}"', f'{key} = "{new}"') for key, (old, new) in zip(keys, changes, strict=True)]
    lists = {
        "train.txt": b"train/red/000\ntrain/green/000\ntrain/blue/000\n",
        "test.txt": b"train/red/000\ntest/red/003\n",
    }
    repacked(colours(here, patch, replace=replace), here, lists)


@scene("colours, of one class")
def _one_class(here: Path, patch: Patch) -> None:
    colours(here, patch, classes=("red",))


@scene("colours, with a slip in its TOML")
def _slip(here: Path, patch: Patch) -> None:
    path = colours(here, patch) / "competition.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('metric = "accuracy"', 'metric = "acuracy"', 1))


@scene("colours, with TOML that is none")
def _no_toml(here: Path, patch: Patch) -> None:
    path = colours(here, patch) / "competition.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('title = "', "title = ", 1))


@scene("colours, with a damaged archive")
def _damaged(here: Path, patch: Patch) -> None:
    colours(here, patch)
    archive = here / "mirror" / "colours" / "colours.tar"
    data = bytearray(archive.read_bytes())
    data[600] ^= 1
    archive.write_bytes(data)


@scene("colours, with no file on the mirror")
def _empty_mirror(here: Path, patch: Patch) -> None:
    colours(here, patch)
    (here / "mirror" / "colours" / "colours.tar").unlink()


@scene("colours, and a submission that lacks an image")
def _short_submission(here: Path, patch: Patch) -> None:
    colours(here, patch)
    write_files(here, {"mine.csv": b"image_id,color\ntest/red/003,red\n"})


@scene("no weights")
def _no_weights(here: Path, patch: Patch) -> None:
    colours(here, patch)
    patch.setenv("HF_HUB_OFFLINE", "1")


@scene("a folder without pictures")
def _no_pictures(here: Path, patch: Patch) -> None:
    write_files(here, {"papers/notes.pdf": b"nothing to see"})


@scene("pictures of dogs")
def _pictures(here: Path, patch: Patch) -> None:
    dog_pictures(here / "pictures" / "dogs", per_class=2)


@scene("a file where the kit's folder is to be")
def _taken(here: Path, patch: Patch) -> None:
    colours(here, patch)
    (here / "taken").write_text("a file")
    patch.setenv("KIT_HOME", str(here / "taken"))


@scene("a folder that holds something")
def _full_folder(here: Path, patch: Patch) -> None:
    write_files(here, {"photos/a.jpg": encoded(texture(1))})


SMALL = {
    "size=224": "size=32",
    '"resnet34"': '"resnet10t", weights="none"',
}  # what a lesson's lines say otherwise in a test


@scene("pets in miniature")
def _pets(here: Path, patch: Patch) -> Mapping[str, str]:
    folder = here / "competitions" / "pets"
    shutil.copytree(package_folder("competitions") / "pets", folder)
    toml = folder / "competition.toml"
    lines = toml.read_text(encoding="utf-8").splitlines(keepends=True)
    toml.write_text(
        "".join(line for line in lines if not line.startswith(("num_bytes", "sha256", "md5"))), encoding="utf-8"
    )
    make_miniature("pets", here / "mirror")
    patch.setenv("KIT_MIRROR", str(here / "mirror"))
    return {**SMALL, '"pets"': '"pets", source="official", overrides=["num_folds=2"]'}


@scene("pictures of dogs, for Python")
def _dogs(here: Path, patch: Patch) -> Mapping[str, str]:
    dog_pictures(here / "pictures" / "dogs", per_class=5)
    return SMALL


@scene("digits, as colours")
def _small_digits(here: Path, patch: Patch) -> Mapping[str, str]:
    colours(here, patch)
    return {'"digits"': '"colours"'}


def repacked(folder: Path, here: Path, files: Mapping[str, bytes]) -> None:
    """Add `files` to the toy's archive, and let its competition.toml accept the new one."""
    archive = tar_bytes({**toy_images(("red", "green", "blue"), 8), **files})
    write_files(here / "mirror", {"colours/colours.tar": archive})
    path = folder / "competition.toml"
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("num_bytes"):
            line = f"num_bytes = {len(archive)}"
        if line.startswith("sha256"):
            line = f'sha256 = "{hashlib.sha256(archive).hexdigest()}"'
        lines.append(line)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
