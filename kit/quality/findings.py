"""Findings: what is wrong or odd with a data set, how bad it is, and what to do; the gate before training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kit.errors import DataError
from kit.quality.fixes import Fix

SEVERITIES = ("stop", "warn", "note")
_MAX_SHOWN = 5
_MAX_RECORDED = 50


UNREADABLE = ("unreadable", "truncated")  # kinds of findings about files that give no pixels


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found about some images, or about the set as a whole."""

    kind: str  # e.g. truncated, duplicates-train-test, file-fact-leak
    # stop: scores would be wrong, or training fails; warn: a person should look; note: dealt with, or worth knowing
    severity: Literal["stop", "warn", "note"]
    message: str  # one paragraph: what, how many, the first five, what to do
    image_ids: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)  # plain values; `pairs`: lists of id, id, kind
    proposed: tuple[Fix, ...] = ()  # rows for fixes.csv; an empty action is left to a person


def proposed_fixes(findings: Sequence[Finding]) -> tuple[Fix, ...]:
    """Return the proposals of all findings, one per image, by id: a decided one goes before an undecided one."""
    found: dict[str, Fix] = {}
    for finding in findings:
        for fix in finding.proposed:
            if fix.image_id not in found or (fix.action and not found[fix.image_id].action):
                found[fix.image_id] = fix
    return tuple(found[image_id] for image_id in sorted(found))


def gate(findings: Sequence[Finding], *, slug: str, override: bool = False) -> None:
    """Refuse to train on data with a finding of severity stop, unless overridden.

    Files that cannot be read stop a run in any case: there is nothing to train on or to score.

    Args:
        findings: all of them.
        slug: of the competition, for the message.
        override: train in spite of the others.

    Raises:
        DataError: all of them in one message, with the ways out.
    """
    stops = [finding for finding in findings if finding.severity == "stop"]
    if override:
        stops = [finding for finding in stops if finding.kind in UNREADABLE]
    if not stops:
        return
    listed = " ".join(f"({number}) {finding.message}" for number, finding in enumerate(stops, 1))
    raise DataError(
        f"The data has {len(stops)} fault{'s' if len(stops) > 1 else ''} that would make scores wrong or training "
        f"fail: {listed} `kit check {slug}` shows the pictures and writes proposed rows for fixes.csv"
        + (
            ", by which such files are left out."
            if all(finding.kind in UNREADABLE for finding in stops)
            else "; --despite-findings trains all the same if every file can be read, and the record says so."
        )
    )


def summary(findings: Sequence[Finding], *, override: bool = False) -> dict[str, Any]:
    """Return findings as plain values for a record; long lists are cut, their lengths are given.

    Args:
        findings: all of them.
        override: the run goes on in spite of findings of severity stop.
    """
    counts = {severity: sum(f.severity == severity for f in findings) for severity in SEVERITIES}
    return {
        **counts,
        "overridden": override and counts["stop"] > 0,
        "findings": [
            {
                "kind": finding.kind,
                "severity": finding.severity,
                "message": finding.message,
                "num_images": len(finding.image_ids),
                "image_ids": list(finding.image_ids[:_MAX_RECORDED]),
                "details": {
                    key: value[:_MAX_RECORDED] if isinstance(value, list) else value
                    for key, value in finding.details.items()
                },
            }
            for finding in findings
        ],
    }


def first_of(names: Sequence[str]) -> str:
    """Return the first five of `names`, and how many more there are."""
    shown = ", ".join(names[:_MAX_SHOWN])
    return shown if len(names) <= _MAX_SHOWN else f"{shown} and {len(names) - _MAX_SHOWN:,} more"


def images(count: int) -> str:
    """Return "1 image" or "1,234 images"."""
    return f"{count:,} image{'' if count == 1 else 's'}"
