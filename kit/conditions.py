"""Who may be compared with whom: the typed conditions of a result, and the fields in which two of them differ.

The ten rules stand in `leaderboard/baselines/README.md`. Rules 1 to 8 and 10 are about fields, and are decided here;
rule 9 is about chance, and is decided by a test. A field that one side does not state is neither equal nor different:
it is "not stated".
"""

from dataclasses import dataclass, field, fields
from typing import Any

from kit.rules import Protocol

NOT_STATED = "not stated"
DEFINED_HERE = "as defined here"  # by `kit.metrics` and the table in leaderboard/baselines/README.md
NO_OVERLAP = "none known"
OVERLAP = "test images are in the pre-training"
SPEED_METRICS = ("seconds_to_accuracy", "usd_to_accuracy")


def _says(label: str, *, rule: int, default: Any = ..., speed: bool = False) -> Any:
    """Return a field of `Conditions`: how people call it, the rule it belongs to, and if it is about speed only."""
    metadata = {"label": label, "rule": rule, "speed": speed}
    return field(metadata=metadata) if default is ... else field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a number was obtained under. Every field identifies the protocol; None means "not stated"."""

    test_images: str | None = _says("test images", rule=1)  # which were scored, e.g. "official-test"
    num_test: int | None = _says("number of test images", rule=1)
    metric: str | None = _says("metric", rule=2)  # a key of METRICS, or a name of the publication's own
    training_pool: str | None = _says("trained on", rule=3)  # e.g. "official-trainval"
    pretraining_group: str | None = _says("pre-training", rule=4)  # none, imagenet-1k, -21k, web-or-private, mixed
    adaptation: str | None = _says("adaptation", rule=5)  # trained (fine-tuned), linear-probe, zero-shot
    extra_inputs: str | None = _says("inputs beside the image", rule=6)  # "none", or what the method was given
    inference: str | None = _says("inference", rule=6)  # single, augmented (test-time augmentation), ensemble
    selection: str | None = _says("choice of the recipe", rule=7)  # held-out, out-of-fold, test-images
    metric_definition: str | None = _says("metric's definition", rule=2, default=DEFINED_HERE)  # None: ambiguous
    overlap: str | None = _says("overlap of pre-training and test", rule=8, default=NO_OVERLAP)  # or OVERLAP
    threshold: float | None = _says("accuracy to reach", rule=10, default=None, speed=True)
    timing_rule: str | None = _says("rule of the clock", rule=10, default=None, speed=True)  # first-epoch, ...
    accelerator: str | None = _says("generation of hardware", rule=10, default=None, speed=True)  # e.g. "v100"
    accounting: str | None = _says("what the clock counts", rule=10, default=None, speed=True)

    def in_words(self) -> list[tuple[str, str]]:
        """Return (what, value) of every field that applies, in order; a field that is open is "not stated"."""
        return [
            (one.metadata["label"], NOT_STATED if (value := getattr(self, one.name)) is None else f"{value}")
            for one in fields(self)
            if applies(one.name, self)
        ]


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is worth knowing of a result and decides no comparison; None means "not stated"."""

    data_fingerprint: str | None = None
    split_hash: str | None = None  # of the ids on either side and of the folds
    image_size: int | None = None  # pixels that the network saw
    seeds: str | None = None  # "1"; or how often it was run, as published
    test_views: str | None = None  # which views of an image the probabilities are the mean of
    ensemble_size: int | None = None  # models whose mean was scored
    num_parameters: int | float | None = None
    hardware: str | None = None
    time: str | None = None  # of training
    peak_memory_gib: float | None = None


LABELS: dict[str, str] = {one.name: one.metadata["label"] for one in fields(Conditions)}
RULE_OF_FIELD: dict[str, int] = {one.name: one.metadata["rule"] for one in fields(Conditions)}
_SPEED_ONLY = {one.name for one in fields(Conditions) if one.metadata["speed"]}


def applies(name: str, *conditions: Conditions) -> bool:
    """Return if a field says anything about these results: those of rule 10 are about time and its price alone."""
    return name not in _SPEED_ONLY or any(one.metric in SPEED_METRICS for one in conditions)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One field in which a published result was obtained otherwise than ours."""

    field: str
    ours: str
    theirs: str
    rule: int  # number of the comparability rule that this breaks

    def __str__(self) -> str:
        """Return the difference as the tables print it."""
        return f"{self.field}: ours {self.ours}, theirs {self.theirs}"


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How two sets of conditions stand to each other."""

    differences: tuple[Difference, ...]
    not_stated: tuple[str, ...]  # fields that at least one side leaves open

    @property
    def comparable(self) -> bool:
        """Nothing that is stated on both sides differs."""
        return not self.differences

    @property
    def settled(self) -> bool:
        """Every field is stated and equal: a verdict may be given."""
        return self.comparable and not self.not_stated


# A recipe chosen out of fold never saw the scored images, as one chosen on a held-out part of the training list.
_CLEAN_SELECTION = {"held-out", "out-of-fold"}
# Slugs of which every result has images of its own, although they are called alike (rule 1).
_OWN_DRAW = ("random-", "differs-")


def is_own_draw(conditions: Conditions) -> bool:
    """Return if each result under these conditions was scored on images of its own, such as a random fifth."""
    return (conditions.test_images or "").startswith(_OWN_DRAW)


def agreement(ours: Conditions, theirs: Conditions) -> Agreement:
    """Compare the conditions of two results field by field; two draws of one kind are two sets of images."""
    differences, open_fields = [], []
    for one in fields(Conditions):
        if not applies(one.name, ours, theirs):
            continue
        mine, other = getattr(ours, one.name), getattr(theirs, one.name)
        if mine is None or other is None:
            open_fields.append(one.name)
        elif mine != other and not (one.name == "selection" and {mine, other} <= _CLEAN_SELECTION):
            differences.append(
                Difference(field=one.name, ours=str(mine), theirs=str(other), rule=RULE_OF_FIELD[one.name])
            )
        elif one.name == "test_images" and is_own_draw(ours):
            draw = "random draw" if mine.startswith("random-") else "choice"
            differences.append(Difference(field=one.name, ours=f"a {draw}", theirs=f"another {draw}", rule=1))
    return Agreement(differences=tuple(differences), not_stated=tuple(open_fields))


def images_and_pool(
    protocol: Protocol,
    *,
    out_of_fold: bool,
    num_images: int,
    num_train: int,
    num_folds: int | None,
    lacking: str = "",
    num_fixed: int = 0,
) -> tuple[str, str | None]:
    """Return what identifies the scored images, and what the network learned from.

    Args:
        protocol: that was followed.
        out_of_fold: the training images were scored, each by a network that never saw it.
        num_images: scored.
        num_train: training images that are there.
        num_folds: of those scored out of fold; None: not stated, and with it the training pool.
        lacking: name of the source where images are missing: it makes both sides others; "" where all are there.
        num_fixed: images that a person dropped or relabelled.
    """
    listed = f"{protocol.num_test:,}" if protocol.num_test else "an unknown number"
    fixed = f" ({num_fixed} images fixed)" if num_fixed else ""
    part = f" ({lacking}: {num_images:,} of {listed})" if lacking else ""
    pool_part = f" ({lacking}: {num_train:,} images)" if lacking else ""
    tested, trained = protocol.test_images + part, protocol.training_pool + pool_part
    if not out_of_fold:
        return tested + (fixed if protocol.split != "official" else ""), trained + fixed
    own = protocol.test_images == "out-of-fold"
    if not own:
        tested = f"{protocol.training_pool}, out of fold{pool_part}"
    if num_folds is None:
        return tested + fixed, None
    if not own or num_folds != (protocol.num_folds or num_folds):
        whole = "all labelled images" if own else protocol.training_pool  # `own`: the pool is what a fold leaves
        trained = f"{num_folds - 1} of {num_folds} folds of {whole}{pool_part}"
    return tested + fixed, trained + fixed
