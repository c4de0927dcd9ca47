"""What the pages tell of a run's network and cost, out of a record whose inner tables may lack it or hold other things.

A record's results are typed; its recipe, network and cost are tables that grew over time. What is not there, or is
not of the kind that is expected, is None and shown as not stated.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kit.board.records import RunRecord


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """A run in short."""

    network: str | None
    num_parameters: float | None
    weights: str | None
    image_size: int | None  # pixels
    recipe: str | None
    seed: int | None
    minutes: float | None  # of training, all models
    gib: float | None  # peak
    device: str | None
    year: float | None  # with the share of the year that had gone by
    day: str  # of the record, YYYY-MM-DD, or what stands there

    @property
    def in_short(self) -> str:
        """Return network, image size, weights and minutes in one line, as far as they are stated."""
        parts = [
            self.network or "network not stated",
            f"{self.image_size} px" if self.image_size else "",
            f"weights {self.weights}" if self.weights else "",
            f"{self.minutes:.1f} min on {self.device or 'a device that is not stated'}"
            if self.minutes is not None
            else "",
        ]
        return ", ".join(part for part in parts if part)


def facts_of(record: RunRecord) -> RunFacts:
    """Return what a record says of its run."""
    year, day = _date(record.created_at)
    return RunFacts(
        network=_words(record.network, "name"),
        num_parameters=_amount(record.network, "num_parameters"),
        weights=_words(record.network, "weights_origin"),
        image_size=_whole(_table(record.recipe, "input"), "image_size"),
        recipe=_words(record.recipe, "name"),
        seed=_whole(record.recipe, "seed"),
        minutes=_amount(record.cost, "train_minutes"),
        gib=_amount(record.cost, "peak_memory_gib"),
        device=_words(record.cost, "device"),
        year=year,
        day=day,
    )


def missing_images(record: RunRecord) -> str:
    """Return how many of the listed images a partial source lacks, in words."""
    count = _whole(record.data, "num_missing")
    return f"{count:,} of the listed images" if count else "images (how many is not known)"


def num_folds(record: RunRecord) -> int | None:
    """Return into how many folds a run dealt its images."""
    return _whole(record.folds, "num_folds")


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = table.get(key)
    return found if isinstance(found, Mapping) else {}


def _words(table: Mapping[str, Any], key: str) -> str | None:
    found = table.get(key)
    return found if isinstance(found, str) and found else None


def _amount(table: Mapping[str, Any], key: str) -> float | None:
    found = table.get(key)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    try:
        amount = float(found)
    except OverflowError:
        return None
    return amount if math.isfinite(amount) and amount >= 0 else None


def _whole(table: Mapping[str, Any], key: str) -> int | None:
    found = _amount(table, key)
    return None if found is None else int(found)


def _date(told: str) -> tuple[float | None, str]:
    try:
        moment = datetime.fromisoformat(told)
    except ValueError:
        return None, told
    return moment.year + (moment.timetuple().tm_yday - 1) / 366, moment.date().isoformat()
