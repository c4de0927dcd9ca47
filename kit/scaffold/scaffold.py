"""Scaffold: the folder of a new competition, written once and then its owner's to edit."""

import json
from collections.abc import Sequence
from pathlib import Path

from kit.competition import checked_slug
from kit.errors import CompetitionError
from kit.home import filling, write_text

RECIPE = """\
num_folds = 5

[model]
name = "tf_efficientnet_lite0"
drop_rate = 0.2

[input]
image_size = 128
store_size = 160
test_crop = 0.875

[schedule]
frozen_epochs = 10
frozen_lr = 1e-3
epochs = 6
lr = 3e-4
lr_spread = 10
batch_size = 32

[loss]
label_smoothing = 0.05
"""


SETTINGS = """\
metric = "accuracy"
default_protocol = "five-fold"
"""

RULES = """\
[labels]
rule = "folder"
images = {images}

[protocols.five-fold]
description = "Each image is predicted once, by the one of five networks that never saw it"
training_pool = "four-fifths-by-fold"
train = "four fifths of the images, by fold"
test_images = "out-of-fold"
test = "all images, out of fold"
metric = "accuracy"
split = "none"
num_folds = 5
"""


def write_competition(
    folder: Path,
    *,
    slug: str,
    title: str,
    classes: Sequence[str],
    source_toml: str,
    images_glob: str = "*/*",
    settings_toml: str = SETTINGS,
    rules_toml: str = "",
    homepage: str = "",
    licence: str = "not stated",
    citation: str = "",
    readme: str = "",
    recipe: str = RECIPE,
) -> Path:
    """Write a competition, by default of images in a folder per class, scored out of fold, and return its folder.

    Args:
        folder: where competitions are, e.g. `./competitions`.
        slug: the competition's name, and its folder's.
        title: one line for people.
        classes: in the order of the columns of all probabilities.
        source_toml: the `[sources.NAME]` tables, as text.
        images_glob: which files below the data folder are images, each in the folder of its class.
        settings_toml: metric, default protocol and other keys that stand above all tables, as text.
        rules_toml: the tables behind the sources, as text; default: label by folder, and the protocol five-fold.
        homepage: address of the data's publisher.
        licence: under which the images are.
        citation: whom to cite.
        readme: text of README.md; default: the title.
        recipe: text of recipes/baseline.toml.

    Raises:
        CompetitionError: the slug cannot name a folder, there are fewer than two classes, or the folder is there.
    """
    place = folder / checked_slug(slug)
    if len(classes) < 2:
        raise CompetitionError(f"{slug}: a classification needs at least 2 classes, got {list(classes)}.")
    if place.exists():
        raise CompetitionError(f"{place} is there already, and is not written over. Edit it, or choose another name.")
    lines = [
        f"title = {quoted(title)}",
        f"homepage = {quoted(homepage)}",
        f"licence = {quoted(licence)}",
        f"citation = {quoted(citation)}",
        settings_toml.strip(),
        "classes = [",
        *(f"  {quoted(name)}," for name in classes),
        "]",
        "",
        source_toml.strip(),
        "",
        (rules_toml or RULES.format(images=quoted(images_glob))).strip(),
        "",
    ]
    with filling(place) as part:
        write_text(part / "competition.toml", "\n".join(lines))
        write_text(part / "recipes" / "baseline.toml", recipe)
        write_text(part / "README.md", readme or f"# {title}\n")
    return place


def quoted(text: str) -> str:
    """Return `text` as a TOML string: JSON's escapes are TOML's too, except that DEL must be escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
