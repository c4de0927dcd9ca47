"""Draft: what a survey has shown becomes a competition's folder, which works at once and is its owner's to edit."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from kit.rules import SubmissionRule
from kit.scaffold.scaffold import quoted, write_competition
from kit.scaffold.survey import Survey
from kit.scrape.scrape import SOURCE_TOML
from kit.store.decode import printable

# Median shorter side in pixels, up to and including -> image_size, store_size of the recipe.
SIZES = ((47, 32, 32), (95, 64, 64), (199, 128, 160), (1 << 30, 224, 256))
LARGEST_FROM_SCRATCH = 64  # pixels: pretrained networks were trained on photographs, and know little of smaller ones

SCRATCH = """\
num_folds = 5

[model]
name = "resnet10t"
weights = "none"

[input]
image_size = {image_size}
store_size = {store_size}
test_crop = 1.0

[augment]
smallest_crop = 0.75
widest_aspect = 1.2
mirror = {mirror}

[schedule]
frozen_epochs = 0
epochs = {epochs}
lr = 3e-3
lr_spread = 1
batch_size = 32
"""

PRETRAINED = """\
num_folds = 5

[model]
name = "tf_efficientnet_lite0"
drop_rate = 0.2

[input]
image_size = {image_size}
store_size = {store_size}
test_crop = 0.875

[augment]
mirror = {mirror}

[schedule]
frozen_epochs = 4
frozen_lr = 1e-3
epochs = 4
lr = 3e-4
lr_spread = 10
batch_size = 32

[loss]
label_smoothing = 0.05
"""

README = """\
# {slug}

{num_images:,} {things} of {num_classes} classes, found in `{data}`. `kit new` wrote this
folder after a look at the files; everything in it may be edited.

**Look at it first.** `competition.toml` says how an image gets its label and what the metric is; put the title, the
licence and whom to cite there. `recipes/baseline.toml` says how a network is trained.

**Then** `kit {first}` {does}, and `kit run {slug}` trains, judges and records.
"""


def write_draft(found: Survey, *, slug: str, folder: Path) -> Path:
    """Write the competition `slug` into `folder` and return its own folder.

    Raises:
        CompetitionError: the slug cannot name a folder, or the folder is there.
    """
    listed = found.kind == "urls"
    source = f"[sources.local]\nfolder = {quoted(str(found.data))}\n"
    if not found.complete:
        source += "complete = false\n"
    return write_competition(
        folder,
        slug=slug,
        title=f"{slug}: {found.num_images:,} {'addresses' if listed else 'images'} of {len(found.classes)} classes",
        classes=found.classes,
        source_toml=SOURCE_TOML if listed else source,
        settings_toml=_settings(found),
        rules_toml=_rules(found),
        citation="not stated",
        readme=README.format(
            slug=slug,
            num_images=found.num_images,
            things="addresses" if listed else "labelled images",
            num_classes=len(found.classes),
            data=printable(str(found.data)),
            first=f"scrape {slug} --urls {printable(str(found.data))}" if listed else f"prepare {slug}",
            does="fetches the images" if listed else "labels and checks the images",
        ),
        recipe=recipe_for(found),
    )


def recipe_for(found: Survey) -> str:
    """Return the text of a first recipe: small images are learned from scratch, larger ones from pretrained weights."""
    side = found.shorter_side or SIZES[-2][0]  # of images that are still to be fetched nothing is known
    _, image_size, store_size = next(row for row in SIZES if side <= row[0])
    # Few images make few steps: an epoch count between 4 and 30 gives about 2,000 of them.
    epochs = min(30, max(4, round(2000 * 32 / max(1, found.num_images))))
    text = SCRATCH if image_size <= LARGEST_FROM_SCRATCH else PRETRAINED
    mirror = "true" if found.mirrors_alike else "false"
    return text.format(image_size=image_size, store_size=store_size, epochs=epochs, mirror=mirror)


def _settings(found: Survey) -> str:
    official = found.split is not None or bool(found.test_files)
    lines = [f"# Noticed: {printable(note)}." for note in found.notes]
    if found.task != "single-label":
        lines.append(f"task = {quoted(found.task)}")
    if found.metric_reason:
        lines.append(f"# {found.metric_reason[0].upper()}{printable(found.metric_reason[1:])}.")
    lines.append(f"metric = {quoted(found.metric)}")
    lines.append(f"default_protocol = {quoted('official' if official else 'five-fold')}")
    if found.test_files:
        lines.append(f"test_files = {quoted(found.test_files)}")
    return "\n".join(lines)


def _rules(found: Survey) -> str:
    tables = [table_toml("labels", found.rule)]
    if found.split is not None:
        tables.append(table_toml("official_split", found.split))
    out_of_fold = {
        "description": "Each image is predicted once, by the one of five networks that never saw it",
        "training_pool": "four-fifths-by-fold",
        "train": f"four fifths of the {found.num_images:,} images, by fold",
        "test_images": "out-of-fold",
        "test": f"all {found.num_images:,} labelled images, out of fold",
        "num_test": found.num_images,
        "metric": found.metric,
        "split": "none",
        "num_folds": 5,
    }
    if found.kind == "urls":  # how many of them can be fetched is not known yet
        out_of_fold |= {"train": "four fifths of the images, by fold", "test": "all images, out of fold"}
        del out_of_fold["num_test"]
    tables.append(_lines("protocols.five-fold", out_of_fold))
    if found.split is not None or found.test_files:
        num_train = found.num_images - (found.num_test if found.split is not None else 0)
        official = {
            "description": "The split as it was found: the training images train, the test images are predicted",
            "training_pool": "official-train",
            "train": f"{num_train:,} training images",
            "test_images": "official-test",
            "test": f"{found.num_test:,} test images",
            "num_test": found.num_test,
            "metric": found.metric,
        }
        tables.append(_lines("protocols.official", official))
    if found.submission is not None:
        tables.append(table_toml("submission", found.submission))
    elif found.task == "multi-label":
        tables.append(table_toml("submission", SubmissionRule(values="labels", label_column="labels")))
    return "\n\n".join(tables)


def table_toml(name: str, rule: Any) -> str:
    """Return a frozen dataclass of `kit.rules` as a TOML table of the keys that differ from their defaults."""
    chosen = {}
    for field in fields(rule):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if (value := getattr(rule, field.name)) != default:
            chosen[field.name] = value
    return _lines(name, chosen)


def _lines(name: str, values: Mapping[str, Any]) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {_value(value)}" for key, value in values.items())])


def _value(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(_value(one) for one in value)}]"
    return str(value)
