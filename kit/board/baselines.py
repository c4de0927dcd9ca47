"""Read and check `leaderboard/baselines/<dataset-id>.yaml`, explained there; `None` means "not stated"."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from kit.conditions import SPEED_METRICS
from kit.errors import BaselineError

Adaptation = Literal["trained", "linear-probe", "zero-shot"]
Selection = Literal["held-out", "test-images"]
PretrainingGroup = Literal["none", "imagenet-1k", "imagenet-21k", "web-or-private", "mixed"]
Condition = Literal["training_pool", "test_images", "adaptation", "extra_inputs", "selection", "inference"]

# A metric that is named in neither line may have any finite value.
_FRACTIONS = frozenset({"accuracy", "mean_per_class_accuracy"})
_NOT_NEGATIVE = _FRACTIONS | {"log_loss", "seconds_to_accuracy", "usd_to_accuracy"}
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")  # within one file, equal slugs name the same images


class _Strict:
    __pydantic_config__: ClassVar[Mapping[str, object]] = {"extra": "forbid", "allow_inf_nan": False}


@dataclass(frozen=True, kw_only=True)
class Source(_Strict):
    """Where a result was published."""

    authors: str | None
    title: str
    venue: str
    year: int
    url: str | None


@dataclass(frozen=True, kw_only=True)
class PublishedProtocol(_Strict):
    """The conditions under which results of one data set were obtained."""

    description: str
    training_pool: str  # slug: the images that may be trained on
    train: str  # the same in words
    test_images: str  # slug: the images that are scored
    test: str  # the same in words
    num_test: int | None
    metrics: tuple[str, ...]
    metric_definition: str | None = None
    metric_ambiguous: bool = False  # sources under this protocol may mean another metric by the same word
    adaptation: Adaptation | None
    extra_inputs: str  # slug: what a method gets besides the image; "none" for nothing
    selection: Selection | None  # the images on which epoch and recipe were chosen
    threshold: float | None = None  # accuracy in (0, 1) at which a time-to-accuracy run stops
    timing_rule: str | None = None  # slug, for speed: which run's time counts, e.g. "first-epoch"
    accounting: str | None = None  # slug, for speed: what the clock counts, e.g. "validation-not-counted"
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class PublishedResult(_Strict):
    """One published number. The optional conditions override those of its protocol."""

    id: str
    method: str
    year: int
    protocol: str
    metric: str
    value: float | None  # fraction for accuracies, nats for log_loss, seconds, US dollars
    num_test: int | None
    num_parameters: int | float | None
    pretraining: str | None  # as published
    pretraining_group: PretrainingGroup | None
    hardware: str | None
    time: str | None
    image_size: int | None = None  # pixels
    runs: str | None = None
    reported_as: str | None = None
    note: str | None = None
    source: Source
    status: Literal["verified", "unverified"]
    provenance: str  # how we know the value, in one sentence or two
    training_pool: str | None = None
    adaptation: Adaptation | None = None
    extra_inputs: str | None = None
    selection: Selection | None = None
    inference: Literal["single", "augmented", "ensemble"] | None = None
    threshold: float | None = None
    metric_ambiguous: bool | None = None
    accelerator: str | None = None  # slug, for speed: the generation of hardware, e.g. "v100"


@dataclass(frozen=True, kw_only=True)
class Unresolved(_Strict):
    """A question about published rows that nobody has answered yet: no claim may rest on them."""

    question: str
    rows: tuple[str, ...]  # ids
    settled_by: str  # what would answer it


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """All published results of one data set, with what must be known to compare them."""

    dataset_id: str
    name: str
    protocols: Mapping[str, PublishedProtocol]
    results: tuple[PublishedResult, ...]
    comparability: tuple[str, ...]
    overlap: Mapping[str, str] = field(default_factory=dict)  # pre-training group or training pool -> how it holds the
    # test images
    unresolved: tuple[Unresolved, ...] = ()

    def question_of(self, row: PublishedResult) -> Unresolved | None:
        """Return the open question about a row, if there is one."""
        return next((one for one in self.unresolved if row.id in one.rows), None)


@dataclass(frozen=True, kw_only=True)
class _Dataset(_Strict):
    id: str
    name: str
    classes: int
    num_images: int | None
    licence: str
    homepage: str
    citation: str
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class _BaselineFile(_Strict):
    schema_version: Literal[1]
    dataset: _Dataset
    protocols: dict[str, PublishedProtocol]
    results: tuple[PublishedResult, ...]
    comparability: tuple[str, ...]
    overlap: dict[str, str] = field(default_factory=dict)
    unresolved: tuple[Unresolved, ...] = ()


def baseline_files(folder: Path) -> list[Path]:
    """Return the baseline files of `folder`, in alphabetical order."""
    return sorted(folder.glob("*.yaml"))


def effective(protocol: PublishedProtocol, result: PublishedResult, field: Condition) -> str | None:
    """Return the condition `field` under which `result` was had: its own, else its protocol's."""
    own: str | None = getattr(result, field, None)  # no result has `test_images`
    shared: str | None = getattr(protocol, field, None)  # no protocol has `inference`
    return shared if own is None else own


def load_baselines(path: Path) -> Baselines:
    """Read one baseline file; a fault is a `BaselineError` that names file, row (or protocol) and key."""
    import pydantic  # imported here, like yaml, because `kit --help` must not pay for it
    import yaml

    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BaselineError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}.") from error
    try:
        # By way of JSON, where strict types can be asked for: no text becomes a number, no number a text.
        adapter = pydantic.TypeAdapter(_BaselineFile)
        file = adapter.validate_json(json.dumps(content, default=str), strict=True)
    except pydantic.ValidationError as error:
        faults = [f"{_place(content, e['loc'])}: {e['msg']}" for e in error.errors()]
    else:
        faults = [*_faults(file)]
        if file.dataset.id != path.stem:
            faults.append(f"key dataset.id: {file.dataset.id!r}, but the file is named {path.name}")
    if faults:
        raise BaselineError(f"{path} breaks the schema (README.md beside it): {'; '.join(faults[:5])}.")
    parts = {key: getattr(file, key) for key in ("protocols", "results", "comparability", "overlap", "unresolved")}
    return Baselines(dataset_id=file.dataset.id, name=file.dataset.name, **parts)


def _place(content: Any, location: tuple[int | str, ...]) -> str:
    """Turn ("results", 3, "source", "url") into "row 'lenet5-1998', key source.url"."""
    place = ""
    if len(location) > 1 and location[0] in ("protocols", "results"):
        if isinstance(name := location[1], int):
            row = content["results"][name]
            name = row["id"] if isinstance(row, dict) and "id" in row else f"number {name + 1}"
        place, location = f"{'protocol' if location[0] == 'protocols' else 'row'} {name!r}, ", location[2:]
    return f"{place}key {'.'.join(map(str, location)) or '(all)'}"


def _faults(file: _BaselineFile) -> Iterator[str]:
    """Yield what types alone cannot tell."""
    for name, protocol in file.protocols.items():
        yield from (f"protocol {name!r}, key {fault}" for fault in _condition_faults(protocol))
    ids = [row.id for row in file.results]
    for row in file.results:
        twice = ["id: another row has the same"] if ids.count(row.id) > 1 else []
        faults = [*twice, *_condition_faults(row), *_row_faults(row, file.protocols)]
        yield from (f"row {row.id!r}, key {fault}" for fault in faults)
    for group, how in file.overlap.items():
        if group == "none" or not _SLUG.fullmatch(group) or not how.strip():
            yield f"key overlap.{group}: name a pre-training group or a training pool, and say how it has test images"
    for question in file.unresolved:
        if unknown := sorted(set(question.rows) - set(ids)):
            yield f"key unresolved: no row is called {unknown[0]!r}"


def _condition_faults(item: PublishedProtocol | PublishedResult) -> Iterator[str]:
    for key in ("training_pool", "test_images", "extra_inputs", "timing_rule", "accounting", "accelerator"):
        slug: str | None = getattr(item, key, None)
        if slug is not None and not _SLUG.fullmatch(slug):
            yield f"{key}: {slug!r} is no slug such as 'official-test'"
    if item.threshold is not None and not 0 < item.threshold < 1:
        yield f"threshold: {item.threshold} is not between 0 and 1"


def _row_faults(row: PublishedResult, protocols: Mapping[str, PublishedProtocol]) -> Iterator[str]:
    if row.protocol not in protocols:
        yield f"protocol: {row.protocol!r} is none of {sorted(protocols)}"
    elif row.metric not in (metrics := protocols[row.protocol].metrics):
        yield f"metric: {row.metric!r} is none of {list(metrics)}, the metrics of its protocol"
    elif row.metric in SPEED_METRICS and row.threshold is None and protocols[row.protocol].threshold is None:
        yield f"threshold: {row.metric} needs the accuracy that the run had to reach, here or in the protocol"
    value = 0.0 if row.value is None else row.value
    if (value > 1 and row.metric in _FRACTIONS) or (value < 0 and row.metric in _NOT_NEGATIVE):
        yield f"value: {value} is outside the range of {row.metric}, which starts at 0 (fractions end at 1)"
    if row.value is None and row.status == "verified":
        yield "status: without a value there is nothing verified"
    if not row.provenance.strip():
        yield "provenance: empty; say in one sentence where the value comes from"
