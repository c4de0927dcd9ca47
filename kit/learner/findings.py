"""What the quality check found, kept: it takes seconds, and a notebook makes the same `Data` again and again."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

import kit.quality
from kit.home import family, fingerprint, write_json
from kit.plan import RunPlan
from kit.quality.findings import Finding
from kit.quality.fixes import Fix


def findings_of(plan: RunPlan) -> tuple[Finding, ...]:
    """Return what `plan.findings` is, looked at once for the same images, labels, folds and checks."""
    path = family("tables") / plan.competition.slug / f"findings-{_key(plan)[:20]}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # only a memory: the check is made again
        return tuple(_finding(one) for one in json.loads(path.read_text(encoding="utf-8")))
    found = plan.findings
    with contextlib.suppress(ValueError, TypeError):  # details that JSON has no words for are not kept
        write_json(path, [asdict(one) for one in found])
    return found


def _finding(kept: Mapping[str, Any]) -> Finding:
    proposed = tuple(Fix(**one) for one in kept["proposed"])
    return Finding(**{**kept, "image_ids": tuple(kept["image_ids"]), "proposed": proposed})


def _key(plan: RunPlan) -> str:
    checks = sorted(Path(kit.quality.__path__[0]).glob("*.py"))  # others may find something else
    return fingerprint(
        *(file.read_bytes() for file in checks),
        _content(plan.samples.table),
        _content(plan.samples.facts),
        _content(plan.samples.duplicates),
        plan.samples.fixes.fingerprint,
        plan.fold_fingerprint,
        plan.protocol.split,
        repr(plan.competition.classes),
        repr(plan.competition.folds),
    )


def _content(table: pd.DataFrame) -> bytes:
    hashed: bytes = pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes()
    return hashed + repr(list(table.columns)).encode()
