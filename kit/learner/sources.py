"""Ways to label images of one's own, named as in fast.ai's lesson: each returns `Data`.

The images stay where they are, and nothing is written beside them. What is made of them (tables, decoded pixels) is
kept under KIT_HOME, and found again by the next call.
"""

from collections.abc import Sequence

from kit.config import Recipe
from kit.data import labels as rules
from kit.errors import DataError
from kit.learner.collection import first_of
from kit.learner.data import Data
from kit.learner.labelling import (
    VALID_PCT,
    Group,
    NameOf,
    Place,
    called,
    data_of,
    labelled,
    own_folder,
    searching,
    with_groups,
)
from kit.progress import Say


def from_folder(
    path: Place,
    *,
    train: str = "train",
    valid: str = "valid",
    size: int = 224,
    bs: int | None = None,
    valid_pct: float | None = None,
    folds: int | None = None,
    group: Group = None,
    seed: int = 1,
    name: str | None = None,
    recipe: Place | Recipe | None = None,
    overrides: str | Sequence[str] = (),
    despite_findings: bool = False,
    say: Say = print,
) -> Data:
    """Return images that lie in a folder per class, each labelled with the name of the folder it lies in.

    Where `path` has a folder `train` with a folder per class, other folders are left out. One called `valid` beside it
    is not: its images are held out, or, where `valid_pct` or `folds` is given, dealt together with the others.

    Args:
        path: folder of the images, searched in all folders below it.
        train: name of a folder of training images.
        valid: name of a folder of images to hold out.
        size: side of the square that the network sees, in pixels.
        bs: images per batch; default: the recipe's, 32.
        valid_pct: share of the images that is held out, in (0, 1): the nearest share a / b is taken, b folds are dealt
            and a of them held out. Folds have equal shares of each class; images of a group, and copies, stay together.
        folds: how many folds, the first of which is held out; goes before `valid_pct`; 0: all images train.
        group: images that stay in one fold: a regular expression with a group named `group`, searched in the path,
            or a function of the path.
        seed: of folds, order and augmentation.
        name: of the collection, in what is kept of it, where a few digits that tell folder and classes follow it;
            default: the folder's.
        recipe: path of a recipe's TOML file, or a `Recipe`.
        overrides: "key=value" or several, laid over the recipe, e.g. "augment.mirror=false" for digits.
        despite_findings: train in spite of faults that the quality check finds.
        say: takes lines of progress and warnings.

    Raises:
        DataError: there are no images, or fewer than two classes; images cannot be told apart by their names.
        ConfigError: a number is none, or out of range.
    """
    folder = own_folder(path)
    paths = rules.find_images(folder)
    classed = [one for one in paths if one.count("/") > 1]  # those in a folder of a folder
    sides = {one.split("/")[0] for one in classed} & {train, valid}
    if train in sides:
        paths = [one for one in classed if one.split("/")[0] in sides]
    parted = sides == {train, valid} and valid_pct is None and folds is None
    if classless := [one for one in paths if "/" not in one]:
        raise DataError(
            f"{len(classless)} of {len(paths)} images lie in {folder} itself, first {first_of(classless)}. from_folder "
            "takes the name of the folder that an image lies in as its label: put each into the folder of its class, "
            "or label them with from_name_re or from_csv."
        )
    table = with_groups(rules.from_folder(paths), folder, group)
    if parted:
        table["given_fold"] = ["0" if one.split("/")[0] == valid else "1" for one in table["path"]]
        say(f"{(table['given_fold'] == '0').sum():,} images of {valid}/ are held out, those of {train}/ train")
    return data_of(
        table,
        folder=folder,
        several=False,
        size=size,
        bs=bs,
        valid_pct=valid_pct,
        folds=folds,
        seed=seed,
        name=name,
        recipe=recipe,
        overrides=overrides,
        despite_findings=despite_findings,
        say=say,
    )


def from_name_re(
    path: Place,
    pattern: str,
    *,
    size: int = 224,
    bs: int | None = None,
    valid_pct: float = VALID_PCT,
    folds: int | None = None,
    group: Group = None,
    seed: int = 1,
    name: str | None = None,
    recipe: Place | Recipe | None = None,
    overrides: str | Sequence[str] = (),
    despite_findings: bool = False,
    say: Say = print,
) -> Data:
    r"""Return images whose label stands in their path, e.g. `r"/([^/]+)_\d+.jpg$"`.

    Args:
        path: folder of the images, searched in all folders below it.
        pattern: regular expression; its group `label`, or its first one, is the label. It is searched in the path
            below `path`, with or without a "/" in front.
        size: see `from_folder`, as all that follows.
        bs: images per batch.
        valid_pct: share that is held out.
        folds: how many folds, the first of which is held out.
        group: images that stay in one fold.
        seed: of folds, order and augmentation.
        name: of the collection.
        recipe: path or `Recipe`.
        overrides: laid over the recipe.
        despite_findings: train in spite of faults.
        say: takes lines.

    Raises:
        DataError: an image has no match; or as `from_folder`.
        ConfigError: the pattern is no regular expression, or marks no group; or as `from_folder`.
    """
    folder = own_folder(path)
    search = searching(pattern, group="label", what="pattern")
    paths = rules.find_images(folder)
    table, several = labelled(paths, [search(one) for one in paths], rule=f"The pattern {pattern!r}")
    return data_of(
        with_groups(table, folder, group),
        folder=folder,
        several=several,
        size=size,
        bs=bs,
        valid_pct=valid_pct,
        folds=folds,
        seed=seed,
        name=name,
        recipe=recipe,
        overrides=overrides,
        despite_findings=despite_findings,
        say=say,
    )


def from_name_func(
    path: Place,
    function: NameOf,
    *,
    size: int = 224,
    bs: int | None = None,
    valid_pct: float = VALID_PCT,
    folds: int | None = None,
    group: Group = None,
    seed: int = 1,
    name: str | None = None,
    recipe: Place | Recipe | None = None,
    overrides: str | Sequence[str] = (),
    despite_findings: bool = False,
    say: Say = print,
) -> Data:
    """Return images that a function labels.

    Args:
        path: folder of the images, searched in all folders below it.
        function: takes the whole path of an image and returns its label, or a list of labels where images have
            several.
        size: see `from_folder`, as all that follows.
        bs: images per batch.
        valid_pct: share that is held out.
        folds: how many folds, the first of which is held out.
        group: images that stay in one fold.
        seed: of folds, order and augmentation.
        name: of the collection.
        recipe: path or `Recipe`.
        overrides: laid over the recipe.
        despite_findings: train in spite of faults.
        say: takes lines.

    Raises:
        DataError: the function fails or gives no label; or as `from_folder`.
        ConfigError: as `from_folder`.
    """
    folder = own_folder(path)
    paths = rules.find_images(folder)
    found = [called(function, folder / one, what="The function that labels images") for one in paths]
    table, several = labelled(paths, found, rule="The function")
    return data_of(
        with_groups(table, folder, group),
        folder=folder,
        several=several,
        size=size,
        bs=bs,
        valid_pct=valid_pct,
        folds=folds,
        seed=seed,
        name=name,
        recipe=recipe,
        overrides=overrides,
        despite_findings=despite_findings,
        say=say,
    )
