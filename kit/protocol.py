"""Who may be compared with whom: the typed conditions of a result, and the fields in which two of them differ.

The ten rules stand in `leaderboard/baselines/README.md`; the first eight are about fields, and are decided
here. A field that one side does not state is neither equal nor different: it is "not stated".
"""

from dataclasses import dataclass, fields

NOT_STATED = "not stated"


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a number was obtained under. Every field identifies the protocol; None means "not stated"."""

    test_images: str | None  # which images were scored, e.g. "official-test"
    num_test: int | None  # how many
    metric: str | None  # a key of METRICS, or a name of the publication's own
    training_pool: str | None  # what was trained on, e.g. "official-trainval"
    pretraining_group: str | None  # none, imagenet-1k, imagenet-21k, web-or-private, mixed
    adaptation: str | None  # trained, linear-probe, zero-shot
    extra_inputs: str | None  # "none", or what the method was given beside the image
    inference: str | None  # single, augmented (test-time augmentation), ensemble
    selection: str | None  # what epoch and recipe were chosen on: held-out, out-of-fold, test-images


RULE_OF_FIELD = {
    "test_images": 1,
    "num_test": 1,
    "metric": 2,
    "training_pool": 3,
    "pretraining_group": 4,
    "adaptation": 5,
    "extra_inputs": 6,
    "inference": 6,
    "selection": 7,
}


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


def agreement(ours: Conditions, theirs: Conditions) -> Agreement:
    """Compare two results' conditions field by field."""
    differences, open_fields = [], []
    for field in fields(Conditions):
        mine, other = getattr(ours, field.name), getattr(theirs, field.name)
        if mine is None or other is None:
            open_fields.append(field.name)
        elif mine != other and not (field.name == "selection" and {mine, other} <= _CLEAN_SELECTION):
            differences.append(
                Difference(field=field.name, ours=str(mine), theirs=str(other), rule=RULE_OF_FIELD[field.name])
            )
    return Agreement(differences=tuple(differences), not_stated=tuple(open_fields))
