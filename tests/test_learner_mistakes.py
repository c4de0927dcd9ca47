"""What a person may give by mistake where images are labelled is refused in one paragraph, or taken as it was meant."""

from pathlib import Path

import numpy as np
import pytest
from toys import coloured_png, write_files

import kit
from kit.errors import ConfigError, DataError, KitError
from kit.quality.findings import Finding

NAMES = ("red", "blue")


def quiet(line: str) -> None:
    """Say nothing."""


SMALL = {"size": 32, "folds": 2, "say": quiet}


@pytest.fixture
def images(tmp_path) -> Path:
    """Twelve images, `red/0.png` and so on, and a CSV of their labels."""
    files = {f"{name}/{k}.png": coloured_png(name, 100 * c + k) for c, name in enumerate(NAMES) for k in range(6)}
    rows = "".join(f"{path},{path.split('/')[0]}\n" for path in files)
    return write_files(tmp_path / "images", {**files, "labels.csv": f"name,label\n{rows}".encode()})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"delimiter": ""}, "delimiter must be one sign"),
        ({"delimiter": ";;"}, "delimiter must be one sign"),
        ({"folder": "{"}, "folder = '{' cannot be read"),
        ({"folder": "{}"}, "empty braces"),
        ({"csv": None}, "csv must be a path"),
    ],
)
def test_a_csv_that_is_described_wrongly_is_told(images, settings, said):
    with pytest.raises(ConfigError, match=said) as caught:
        kit.from_csv(images, **settings, **SMALL)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("paths", "labels", "said"),
    [
        ([None], ["a"], "each of paths must be a path"),
        (["a.png"], None, "labels must be a list"),
        (["a.png"], "a", "labels must be a list"),
        (None, ["a"], "paths must be a list"),
        ("a.png", ["a"], "paths must be a list"),
    ],
)
def test_lists_that_are_none_are_told(paths, labels, said):
    with pytest.raises(ConfigError, match=said):
        kit.from_lists(paths, labels, **SMALL)


@pytest.mark.parametrize("slug", [5, Path("pets"), None])
def test_a_competition_that_is_no_text_is_told(slug):
    with pytest.raises(ConfigError, match=r"kit\.load takes the name of a competition"):
        kit.load(slug)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": 5}, "name must be a text"),
        ({"recipe": 5}, "recipe must be a path"),
        ({"overrides": 5}, "overrides must be texts, got 5"),
        ({"overrides": [5]}, "overrides must be texts"),
        ({"overrides": "a=b"}, "'?a'?"),
    ],
)
def test_settings_that_are_none_are_told(images, toy_competition, settings, said):
    with pytest.raises(KitError, match=said) as caught:
        kit.from_folder(images, **settings, **SMALL)
    assert "\n" not in str(caught.value)
    if "overrides" in settings:
        with pytest.raises(KitError, match=said):
            kit.load(toy_competition(), say=quiet, **settings)


def test_a_folder_that_is_no_path_is_told():
    with pytest.raises(ConfigError, match=r"path must be a path, .* got None"):
        kit.from_folder(None)


def test_one_override_may_be_a_text(images, toy_competition):
    for data in (
        kit.from_folder(images, overrides="augment.mirror=false", **SMALL),
        kit.load(toy_competition(), overrides="augment.mirror=false", say=quiet),
    ):
        assert data.recipe.augment.mirror is False


def test_a_fold_may_be_a_number_of_numpy(images):
    data = kit.from_folder(images, **SMALL)
    assert data.fold(np.int64(1)).valid_folds == (1,)
    with pytest.raises(ConfigError, match="no fold True"):
        data.fold(True)


@pytest.mark.parametrize("figsize", [5, (5,), ("a", "b"), (0, 5), (float("nan"), 5), ()])
def test_a_size_of_a_figure_that_is_none_is_told(images, figsize):
    with pytest.raises(ConfigError, match=r"figsize is .* width and height in inches"):
        kit.from_folder(images, **SMALL).show_batch(figsize=figsize)


def test_a_label_that_would_be_read_as_two_is_refused(images):
    paths = [images / f"{name}/{k}.png" for name in NAMES for k in range(6)]
    labels = [["salt + pepper"], *([["salt"], ["pepper", "salt"]] * 6)[:11]]
    with pytest.raises(DataError, match=r"1 labels hold ' \+ ', first 'salt \+ pepper' of red/0.png"):
        kit.from_lists(paths, labels, **SMALL)
    rows = "".join(f"{path.relative_to(images)},{';'.join(one)}\n" for path, one in zip(paths, labels, strict=True))
    (images / "labels.csv").write_text(f"name,label\n{rows}", encoding="utf-8")
    with pytest.raises(DataError, match="would be read as two"):
        kit.from_csv(images, separator=";", **SMALL)
    assert kit.from_csv(images, **SMALL, despite_findings=True).c == 3  # each is one label, whatever is in it


def test_what_is_saved_of_other_images_or_classes_is_not_replaced(images, tmp_path):
    other = write_files(
        tmp_path / "other", {f"{name}/{k}.png": coloured_png(name, 500 + k) for name in NAMES for k in range(6)}
    )
    first = kit.from_folder(images, name="mine", **SMALL).competition
    again = kit.from_folder(images, name="mine", **SMALL).competition
    elsewhere = kit.from_folder(other, name="mine", **SMALL).competition
    otherwise = kit.from_name_func(images, lambda path: f"a {path.parent.name}", name="mine", **SMALL).competition
    assert first.slug == again.slug and first.title.startswith("mine: ")
    assert len({first.slug, elsewhere.slug, otherwise.slug}) == 3
    longest = kit.from_folder(images, name="m" * 64, **SMALL).competition
    assert len(longest.slug) <= 64


def test_kinds_of_findings_are_counted_in_the_plural(images):
    data = kit.from_folder(images, **SMALL)
    note, warn = (Finding(severity=kind, kind="x", message="x") for kind in ("note", "warn"))
    data.__dict__["findings"] = (warn, note, note)  # where the property keeps them
    assert "found: 1 warning, 2 notes (see" in repr(data)


def test_lists_keep_the_name_that_was_given_to_them(images):
    paths = sorted(images.glob("*/*.png"))
    data = kit.from_lists(paths, [path.parent.name for path in paths], name="mine", **SMALL)
    assert data.competition.slug.startswith("mine-")
    other = kit.from_lists(paths, [path.parent.name for path in paths], **SMALL)
    assert other.competition.slug.startswith("images-")
