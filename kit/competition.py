"""A competition: the question. One folder, `competitions/<slug>/`, read once into a frozen `Competition`."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from kit.config import Recipe, Strict, checked, read_recipe, read_toml
from kit.errors import CompetitionError, did_you_mean
from kit.home import fingerprint
from kit.metrics import METRICS
from kit.own_code import run_file
from kit.rules import FoldRule, LabelRule, Protocol, SourceSet, SplitRule, SubmissionRule

ADAPTER_FUNCTIONS = ("materialise", "label_of", "train_samples", "test_samples", "features", "submission_rows")
JOINED = " + "  # between the labels of one image, where it has several
_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Competition(Strict):
    """The question: everything about a data set that is not in its images."""

    slug: str
    folder: Path
    title: str
    homepage: str
    licence: str
    citation: str
    task: Literal["single-label", "multi-label", "soft-label"] = "single-label"
    metric: str
    classes: tuple[str, ...]
    sources: Mapping[str, SourceSet]
    labels: LabelRule
    protocols: Mapping[str, Protocol]
    default_protocol: str
    default_source: str = ""
    default_recipe: str = "baseline"
    submission: SubmissionRule = field(default_factory=SubmissionRule)
    official_split: SplitRule | None = None
    folds: FoldRule = field(default_factory=FoldRule)
    test_files: str = ""  # glob of unlabelled test images below the data folder
    more_labels: Mapping[str, LabelRule] = field(default_factory=dict)  # other ways to the same labels, by name
    baselines: str = ""  # id of the data set in leaderboard/baselines; default: the slug
    kaggle: str = ""  # slug on Kaggle where it differs

    @property
    def baselines_id(self) -> str:
        """The data set's id in `leaderboard/baselines`."""
        return self.baselines or self.slug

    def protocol(self, name: str | None = None) -> Protocol:
        """Return the protocol `name`, or the default one."""
        name = name or self.default_protocol
        if name not in self.protocols:
            raise CompetitionError(
                f"{self.slug} has no protocol {name!r}.{did_you_mean(name, list(self.protocols))} "
                f"It has: {', '.join(self.protocols)}."
            )
        return self.protocols[name]

    def source(self, name: str | None = None) -> SourceSet:
        """Return the source set `name`, or the default one."""
        name = self.source_name(name)
        if name not in self.sources:
            raise CompetitionError(
                f"{self.slug} has no source {name!r}.{did_you_mean(name, list(self.sources))} "
                f"It has: {', '.join(self.sources)}."
            )
        return self.sources[name]

    def source_name(self, name: str | None = None) -> str:
        """Return `name`, or the default source's: the one declared, else the first."""
        return name or self.default_source or next(iter(self.sources))

    def label_rule(self, name: str | None = None) -> LabelRule:
        """Return the label rule `name` out of `more_labels`, or the main one."""
        if name is None:
            return self.labels
        if name not in self.more_labels:
            raise CompetitionError(
                f"{self.slug} has no label rule {name!r}.{did_you_mean(name, self.more_labels)} "
                f"It has: {', '.join(self.more_labels) or 'one only'}."
            )
        return self.more_labels[name]

    def recipe(self, name: str | None = None, *, overrides: tuple[str, ...] = ()) -> Recipe:
        """Read the recipe `name` of this competition (or a TOML file's path), with overrides laid over it."""
        name = name or self.default_recipe
        if name.endswith(".toml"):
            return read_recipe(Path(name), overrides=overrides)
        path = self.folder / "recipes" / f"{name}.toml"
        if not path.is_file():
            there = sorted(p.stem for p in path.parent.glob("*.toml"))
            raise CompetitionError(
                f"{self.slug} has no recipe {name!r}.{did_you_mean(name, there)} "
                f"It has: {', '.join(there) or 'none'}; or give the path of a .toml file."
            )
        return read_recipe(path, overrides=overrides)

    def adapter(self) -> ModuleType | None:
        """Import the competition's `adapter.py`, if it has one."""
        path = self.folder / "adapter.py"
        if not path.is_file():
            return None
        return run_file(path, module_name=f"kit_adapter_{self.slug}")

    @property
    def adapter_fingerprint(self) -> str:
        """SHA-256 of `adapter.py`, or an empty string where there is none."""
        path = self.folder / "adapter.py"
        return fingerprint(path.read_bytes()) if path.is_file() else ""

    def adapter_function(self, name: str) -> Callable[..., Any] | None:
        """Return a function of the adapter, or None where the adapter does not define it."""
        assert name in ADAPTER_FUNCTIONS
        module = self.adapter()
        function: Callable[..., Any] | None = getattr(module, name, None) if module else None
        return function


def package_folder(name: str) -> Path:
    """Return `competitions` or `leaderboard`: beside the package in a checkout, inside it when installed."""
    here = Path(__file__).resolve().parent
    installed = here / f"_{name}"
    return installed if installed.is_dir() else here.parent / name


def competition_folders() -> dict[str, Path]:
    """Return slug -> folder: from KIT_COMPETITIONS, ./competitions and the kit itself; the first one found wins."""
    roots = [Path(p) for p in os.environ.get("KIT_COMPETITIONS", "").split(os.pathsep) if p]
    roots += [Path("competitions"), package_folder("competitions")]
    found: dict[str, Path] = {}
    for root in roots:
        for path in sorted(root.glob("*/competition.toml")):
            found.setdefault(path.parent.name, path.parent.resolve())
    return found


def load_competition(slug: str) -> Competition:
    """Read the competition `slug`.

    Raises:
        CompetitionError: no such folder, or a key that is missing, unknown or wrong; names file and key.
    """
    folders = competition_folders()
    if slug not in folders:
        raise CompetitionError(
            f"There is no competition {slug!r}.{did_you_mean(slug, list(folders))} Known: {', '.join(folders)}. "
            "A competition is a folder with a competition.toml in ./competitions, or in a folder that "
            "KIT_COMPETITIONS names."
        )
    return read_competition(folders[slug])


def checked_slug(name: str) -> str:
    """Return `name` if a competition's folder can be called so.

    Raises:
        CompetitionError: it has other characters than small letters, digits, - and _.
    """
    if not _SLUG.fullmatch(name):
        raise CompetitionError(
            f"{name[:80]!r} cannot name a competition: up to 64 small letters, digits, - and _ are expected, the first "
            "one a letter or a digit. Example: bears."
        )
    return name


def read_competition(folder: Path) -> Competition:
    """Read and check one competition folder; see `load_competition`."""
    path = folder / "competition.toml"
    data = read_toml(path)
    for key in ("slug", "folder"):
        if key in data:
            raise CompetitionError(f"{path}: remove the key {key!r}. The slug is the folder's name.")
    checked_slug(folder.name)
    found: Competition = checked(
        Competition,
        {**data, "slug": folder.name, "folder": folder},
        where=str(path),
        error_kind=CompetitionError,
    )
    _refuse_contradictions(found, path)
    return found


def metrics_of_several() -> list[str]:
    """Return the names of the metrics that can score images with any number of labels."""
    return [name for name, metric in METRICS.items() if metric.of_several]


def value_columns(competition: Competition) -> list[str]:
    """Return the columns of a submission that hold values: one per class, or a single one."""
    rule = competition.submission
    return list(competition.classes) if rule.values == "probabilities" else [rule.label_column]


def _refuse_contradictions(found: Competition, path: Path) -> None:
    def refuse(what: str) -> None:
        raise CompetitionError(f"{path}: {what}")

    for key, metric in {
        "metric": found.metric,
        **{f"protocols.{name}.metric": protocol.metric for name, protocol in found.protocols.items()},
    }.items():
        if metric not in METRICS:
            hint = did_you_mean(metric, list(METRICS))
            refuse(f"{key}: unknown metric {metric!r}.{hint} Known: {', '.join(METRICS)}.")
        if found.task == "multi-label" and metric not in (fitting := metrics_of_several()):
            refuse(
                f"{key}: {metric!r} takes one class per image, and an image of a multi-label task may have any number. "
                f"Fitting: {', '.join(fitting)}."
            )
    if len(found.classes) < 2:
        refuse(f"classes: a classification needs at least 2 classes, got {list(found.classes)}.")
    if doubled := sorted({c for c in found.classes if found.classes.count(c) > 1}):
        refuse(f"classes: {doubled} stand there more than once.")
    if found.task == "multi-label" and (joined := [name for name in found.classes if JOINED in name]):
        refuse(
            f"classes: {joined[:5]} hold {JOINED!r}, which parts the labels of an image that has several. Call them "
            "otherwise, and map the labels as found to the new names with labels.rename."
        )
    if not found.sources:
        refuse("sources: at least one source set is needed, e.g. [sources.official].")
    for name, source in found.sources.items():
        if not all(file.name for file in source.files):
            refuse(f"sources.{name}.files: each file needs a url, a path (its place in a mirror), or both.")
    if found.default_protocol not in found.protocols:
        refuse(f"default_protocol: {found.default_protocol!r} is not among {', '.join(found.protocols)}.")
    if found.default_source and found.default_source not in found.sources:
        refuse(f"default_source: {found.default_source!r} is not among {', '.join(found.sources)}.")
    _refuse_submission(found, refuse)
    for name, protocol in found.protocols.items():
        if not 0 < protocol.test_share < 1:
            refuse(f"protocols.{name}.test_share: must be between 0 and 1, got {protocol.test_share}.")
        has_split = found.official_split or found.test_files or (found.folder / "adapter.py").is_file()
        if protocol.split == "official" and not has_split:
            refuse(
                f"protocols.{name}: split = 'official' needs an [official_split] table, test_files, or an adapter.py "
                "with test_samples(data_dir)."
            )
    for name, rule in {
        "labels": found.labels,
        **{f"more_labels.{k}": v for k, v in found.more_labels.items()},
    }.items():
        for key in ("pattern", "group_pattern"):
            try:
                compiled = re.compile(getattr(rule, key))
            except re.error as error:
                raise CompetitionError(f"{path}: {name}.{key} is not a regular expression: {error}.") from error
            needed = "label" if key == "pattern" else "group"
            if getattr(rule, key) and needed not in compiled.groupindex:
                refuse(f"{name}.{key}: needs a group named {needed!r}, as in (?P<{needed}>...).")
        for class_name, pattern in rule.patterns.items():
            if class_name not in found.classes:
                refuse(f"{name}.patterns: {class_name!r} is not among the classes.")
            try:
                re.compile(pattern)
            except re.error as error:
                raise CompetitionError(
                    f"{path}: {name}.patterns.{class_name}: not a regular expression: {error}."
                ) from error
        if rule.rule == "regex" and bool(rule.pattern) == bool(rule.patterns):
            refuse(f"{name}.pattern: the rule 'regex' needs it, or {name}.patterns with one per class, and not both.")
        if rule.rule == "csv" and not rule.file:
            refuse(f"{name}.file: the rule 'csv' needs it.")
        if rule.target_columns and len(rule.target_columns) != len(found.classes):
            refuse(f"{name}.target_columns: {len(rule.target_columns)} columns for {len(found.classes)} classes.")
        if rule.target_columns and rule.separator:
            refuse(f"{name}: target_columns and separator are two ways to the same labels; keep one.")
        if rule.separator and found.task != "multi-label":
            refuse(f"{name}.separator: only a multi-label task has several labels per image.")
    if found.folds.by == "column" and not found.labels.fold_column:
        refuse("folds.by: 'column' needs labels.fold_column.")
    if found.folds.by == "time" and not (found.labels.time_column or found.labels.rule == "adapter"):
        refuse("folds.by: 'time' needs labels.time_column.")


def _refuse_submission(found: Competition, refuse: Callable[[str], None]) -> None:
    rule = found.submission
    if rule.values == "probability_of" and rule.of_class not in found.classes:
        refuse(f"submission.of_class: {rule.of_class!r} is not among the classes.")
    if rule.values == "labels" and found.task != "multi-label":
        refuse(f"submission.values: 'labels' is for a multi-label task, and this one is {found.task}. Give 'label'.")
    if rule.values == "label" and found.task == "multi-label":
        refuse(
            "submission.values: 'label' gives each image one class, and an image of a multi-label task may have any "
            "number. Give 'labels', 'probabilities' or 'probability_of'."
        )
    if rule.id_column in value_columns(found):
        refuse(
            f"submission.id_column: {rule.id_column!r} is also a column of values, and a file has one of that name. "
            "Call the ids or the values otherwise, or write the rows with submission_rows in adapter.py."
        )
