"""Survey of file names: which folders part train from test, and where the class stands in a path."""

import glob
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

from kit.data.labels import find_images
from kit.errors import DataError
from kit.rules import LabelRule, SplitRule
from kit.scaffold.survey_csv import TEST_NAMES

_TRAIN = re.compile(r"(?:^|[\W_])train(?:ing)?(?:$|[\W_\d])", re.IGNORECASE)
_TEST = re.compile(rf"(?:^|[\W_])(?:{'|'.join(TEST_NAMES)})(?:$|[\W_\d])", re.IGNORECASE)
DEEPEST_SPLIT = 3  # folders above those called train and test
LARGEST_STRAY_SHARE = 0.1  # of the images may lie elsewhere, and are left out

# Forms of a file name that hold the class, tried in this order; each with an example.
NAME_FORMS = (
    r"(?:^|/)(?P<label>[^/]*?[^\d\W_])(?:[^\w/]|_)+\d+\)?\.[^./]+$",  # cat.0.jpg, american_bulldog_12.jpg, cat (3).jpg
    r"(?:^|/)(?P<label>[^/\d]*[^\d\W_])\d+\.[^./]+$",  # cat0.jpg
    r"(?:^|/)\d+[ _.-]+(?P<label>[^/]*[^\d\W_])\.[^./]+$",  # 003_red.png
    r"(?:^|/)(?P<label>[^/ _.-]+)[ _.-][^/]+\.[^./]+$",  # red-a8f3.png
    r"(?:^|/)[^/]+[ _.-](?P<label>[^/ _.-]+)\.[^./]+$",  # a8f3-red.png
)


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Folders called like train and test, next to each other."""

    above: str  # the folder that holds them, "" or with a slash at its end
    train: str  # folder name
    tests: tuple[str, ...]  # folder names, a test folder before a validation folder

    def below(self, name: str, images: Sequence[str]) -> list[str]:
        """Return the images of one of the folders."""
        return [path for path in images if path.startswith(f"{self.above}{name}/")]


@dataclass(frozen=True, kw_only=True)
class NamedLabels:
    """What folders or file names say of the labels."""

    rule: LabelRule
    label_of: dict[str, str]  # path -> label
    split: SplitRule | None = None
    notes: tuple[str, ...] = ()


def find_sides(images: Sequence[str]) -> Sides | None:
    """Return the folders that part train from test, or None where nothing is called so."""
    for depth in range(DEEPEST_SPLIT):
        above = Counter("/".join(path.split("/")[:depth]) for path in images if path.count("/") > depth)
        for parent, _ in above.most_common(3):
            prefix = f"{parent}/" if parent else ""
            inside = [path for path in images if path.startswith(prefix) and path.count("/") > depth]
            names = Counter(path[len(prefix) :].split("/")[0] for path in inside)
            trains = sorted((n for n in names if _TRAIN.search(n)), key=lambda n: (n.lower() != "train", -names[n], n))
            tests = sorted((n for n in names if _TEST.search(n) and n not in trains), key=_test_rank)
            if trains and (tests or names[trains[0]] > (1 - LARGEST_STRAY_SHARE) * len(images)):
                kept = tuple(f"{prefix}{name}/" for name in (trains[0], *tests))
                strays = [path for path in images if not path.startswith(kept)]
                if len(strays) <= LARGEST_STRAY_SHARE * len(images):
                    return Sides(above=prefix, train=trains[0], tests=tuple(tests))
    return None


def _test_rank(name: str) -> tuple[int, str]:
    first = next((k for k, word in enumerate(TEST_NAMES) if word in name.lower()), len(TEST_NAMES))
    return first, name


def by_folders(data: Path, images: Sequence[str], sides: Sides | None) -> NamedLabels | None:
    """Label by class folder, inside train and test where there are such; None where folders name no classes.

    Raises:
        DataError: class folders lie within class folders.
    """
    train = sides.below(sides.train, images) if sides else list(images)
    above = PurePosixPath(f"{sides.above}{sides.train}") if sides else PurePosixPath()
    depth = {path: len(PurePosixPath(path).relative_to(above).parts) - 1 for path in train}
    usual = Counter(depth.values()).most_common(1)[0][0]
    strays = [path for path in train if depth[path] != usual]
    kept = [path for path in train if depth[path] == usual]
    if usual == 0 or not _are_labels(parent_names(kept)):
        return None
    if len(strays) > LARGEST_STRAY_SHARE * len(train):
        raise DataError(
            f"The images in {data} lie at different depths, e.g. {kept[0]} and {strays[0]}, so that it is not clear "
            "which folder names the class. Put each class's images directly into one folder."
        )
    classes = set(parent_names(kept))
    labelled = set(kept)
    split, notes = None, []
    for name in sides.tests if sides else ():
        assert sides is not None
        below = sides.below(name, images)
        inside = PurePosixPath(f"{sides.above}{name}")
        same_depth = all(len(PurePosixPath(path).relative_to(inside).parts) - 1 == usual for path in below)
        if not same_depth or not set(parent_names(below)) <= classes:
            continue
        labelled |= set(below)
        if split is None:
            split = SplitRule(by="folders", train=sides.train, test=name)
        else:
            notes.append(f"{name}/ has labels too; the official split uses {split.train}/ and {split.test}/ only")
    if strays:
        notes.append(f"{len(strays)} images lie outside the class folders and are left out, first {strays[0]}")
    pattern = glob_of(data, labelled)
    if pattern is None and split is not None:  # unlabelled images lie between: the training folder alone has a pattern
        notes.append(f"{split.test}/ is left out, because unlabelled images lie beside it")
        labelled, split = set(kept), None
        pattern = glob_of(data, labelled)
    if pattern is None:
        raise DataError(
            f"No one pattern matches the images with a class folder in {data} and no others. Move the images that have "
            "none, e.g. into a folder called test."
        )
    return NamedLabels(
        rule=LabelRule(rule="folder", images=pattern),
        label_of={path: PurePosixPath(path).parent.name for path in sorted(labelled)},
        split=split,
        notes=tuple(notes),
    )


def by_names(data: Path, images: Sequence[str], sides: Sides | None) -> NamedLabels | None:
    """Label by a piece of the file name, found by trying NAME_FORMS; None where no form fits every image."""
    train = sides.below(sides.train, images) if sides else list(images)
    form = next((form for form in NAME_FORMS if _are_labels(_searched(form, train))), None)
    if form is None:
        return None
    classes = set(_searched(form, train))
    labelled, split = set(train), None
    for name in sides.tests if sides else ():
        assert sides is not None
        below = sides.below(name, images)
        if split is None and set(_searched(form, below)) <= classes:
            labelled |= set(below)
            split = SplitRule(by="folders", train=sides.train, test=name)
    pattern = glob_of(data, labelled)
    if pattern is None:
        labelled, split = set(train), None
        pattern = glob_of(data, labelled)
    if pattern is None:
        return None
    label_of = dict(zip(sorted(labelled), _searched(form, sorted(labelled)), strict=True))
    return NamedLabels(rule=LabelRule(rule="regex", images=pattern, pattern=form), label_of=label_of, split=split)


def _searched(form: str, paths: Sequence[str]) -> list[str]:
    """Return the label of each path, "" where the form does not fit."""
    compiled = re.compile(form)
    return [found["label"] if (found := compiled.search(path)) else "" for path in paths]


def parent_names(paths: Iterable[str]) -> list[str]:
    """Return the name of the folder that each image lies in."""
    return [PurePosixPath(path).parent.name for path in paths]


def _are_labels(names: Sequence[str]) -> bool:
    """Tell whether these can be classes: every image has one, there are two or more, and they come again."""
    counts = Counter(names)
    return "" not in counts and len(counts) > 1 and len(names) >= 2 * len(counts)


def glob_of(data: Path, wanted: set[str]) -> str | None:
    """Return a glob that matches exactly these images below `data`, or None where no simple one does."""
    folders = {path.rpartition("/")[0] for path in wanted}
    parts = [folder.split("/") if folder else [] for folder in folders]
    shared = 0
    while all(len(p) > shared and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    fixed = "".join(f"{glob.escape(part)}/" for part in parts[0][:shared])
    depths = {len(p) for p in parts}
    suffixes = {PurePosixPath(path).suffix for path in wanted}
    candidates = [f"{fixed}{'*/' * (depth - shared)}*" for depth in depths] if len(depths) == 1 else []
    candidates.append(f"{fixed}**/*")
    if len(folders) == 1:  # train and test in one folder, told apart by how their names begin
        names = [path.rpartition("/")[2] for path in wanted]
        pairs = zip(min(names), max(names), strict=False)
        start = "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        candidates.append(f"{fixed}{glob.escape(start)}*")
    candidates += [f"{one}{glob.escape(suffix)}" for one in candidates for suffix in suffixes if len(suffixes) == 1]
    for candidate in candidates:
        try:
            if set(find_images(data, candidate)) == wanted:
                return candidate
        except DataError:
            continue
    return None
