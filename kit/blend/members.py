"""The members of a blend: finished runs of one competition, their predictions matched by image id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.blend.stack import Stack
from kit.board.records import RunRecord, run_folder
from kit.competition import Competition
from kit.errors import DataError
from kit.home import fingerprint, sha256_of_file
from kit.judge.predict import Predictions, mean_of, read_predictions

ON_TEST = ("test", "fold-ensemble")
MOST = 100  # runs


@dataclass(frozen=True, kw_only=True)
class Members:
    """Runs whose answers are to become one, in the order in which they were named; copies are left out."""

    records: tuple[RunRecord, ...]
    copies: Mapping[str, str]  # id of a run that says what an earlier one says, in each number -> id of that one
    out_of_fold: Predictions  # ids, truth and folds of all (probabilities of the first); fold -1 where they disagree
    stack: Stack  # of the same images
    disagreement: str  # in which runs the folds are others, and how many images that concerns; "" where they agree
    on_test: Mapping[str, tuple[Predictions, Stack]]  # by kind, as far as every member has it
    sources: Mapping[str, str]  # run id -> fingerprint of its files of predictions


def gather(records: Sequence[RunRecord], competition: Competition) -> Members:
    """Read the predictions of finished runs and match them by image id.

    Args:
        records: of the runs, at least one.
        competition: theirs.

    Raises:
        DataError: runs of another competition, protocol or data; without folds or predictions; with other images,
            classes or labels; too many.
    """
    records = list({record.run_id: record for record in records}.values())
    if not 1 <= len(records) <= MOST:
        raise DataError(f"A blend is made of 1 to {MOST} runs, and {len(records)} were named.")
    first = records[0]
    for record in records:
        _refuse_others(record, first, competition)
    found = {record.run_id: _predictions(record, competition) for record in records}
    kinds = [kind for kind in ("out-of-fold", *ON_TEST) if all(kind in found[record.run_id] for record in records)]
    copies: dict[str, str] = {}
    own: dict[str, RunRecord] = {}  # what is said -> who said it first
    aligned = {record.run_id: _in_order(found[record.run_id], found[first.run_id], kinds) for record in records}
    for record in records:
        said = fingerprint(*(aligned[record.run_id][kind].probabilities.tobytes() for kind in kinds))
        if said in own:
            copies[record.run_id] = own[said].run_id
        else:
            own[said] = record
    kept = list(own.values())
    several = competition.task == "multi-label"
    parts = [aligned[record.run_id]["out-of-fold"] for record in kept]
    merged, disagreement = _common_folds(kept, parts)
    return Members(
        records=tuple(kept),
        copies=copies,
        out_of_fold=merged,
        stack=_stack(parts, several=several),
        disagreement=disagreement,
        on_test={
            kind: (
                aligned[kept[0].run_id][kind],
                _stack([aligned[record.run_id][kind] for record in kept], several=several),
            )
            for kind in kinds
            if kind != "out-of-fold"
        },
        sources={
            record.run_id: fingerprint(*(sha256_of_file(_file(record, kind)) for kind in kinds)) for record in kept
        },
    )


def _file(record: RunRecord, kind: str) -> Path:
    return run_folder(record.run_id) / "predictions" / f"{kind}.csv"


def _refuse_others(record: RunRecord, first: RunRecord, competition: Competition) -> None:
    if record.competition != competition.slug:
        raise DataError(
            f"{record.run_id} is a run of {record.competition}, not of {competition.slug}: name runs of one."
        )
    for what, mine, theirs in (
        ("protocol", record.protocol, first.protocol),
        ("source", record.source, first.source),
        ("metric", _metric(record), _metric(first)),
    ):
        if mine != theirs:
            raise DataError(
                f"{record.run_id} and {first.run_id} differ in their {what}: {mine} and {theirs}. Only answers to the "
                "same question can be blended; run one of the two again as the other."
            )
    if not record.folds.get("num_folds") or not _file(record, "out-of-fold").is_file():
        why = "has no folds" if not record.folds.get("num_folds") else "has lost its predictions/out-of-fold.csv"
        raise DataError(
            f"{record.run_id} {why}, and a blend is chosen and scored on out-of-fold predictions. "
            "Run it with --folds 5, or `kit judge` it again."
        )


def _metric(record: RunRecord) -> str | None:
    return record.results[0].conditions.metric if record.results else None


def _predictions(record: RunRecord, competition: Competition) -> dict[str, Predictions]:
    found = {
        kind: read_predictions(_file(record, kind), kind=kind, classes=competition.classes)
        for kind in ("out-of-fold", *ON_TEST)
        if _file(record, kind).is_file()
    }
    for kind, one in found.items():
        if not np.isfinite(one.probabilities).all() or (one.probabilities < 0).any() or (one.probabilities > 1).any():
            raise DataError(
                f"The {kind} predictions of {record.run_id} hold values that are no probabilities. Remove "
                f"{_file(record, kind)} and `kit judge` the run again."
            )
    return found


def _in_order(
    found: Mapping[str, Predictions], first: Mapping[str, Predictions], kinds: Sequence[str]
) -> dict[str, Predictions]:
    """Return a run's predictions with their rows in the order of the first run's, matched by id."""
    aligned = {}
    for kind in kinds:
        mean_of([first[kind], found[kind]], kind=kind)  # says what does not fit: images, classes, labels
        row_of = {image_id: row for row, image_id in enumerate(found[kind].image_ids)}
        rows = np.array([row_of[image_id] for image_id in first[kind].image_ids], dtype=np.int64)
        one = found[kind]
        aligned[kind] = Predictions(
            kind=kind,
            image_ids=first[kind].image_ids,
            classes=one.classes,
            probabilities=np.ascontiguousarray(one.probabilities[rows]),
            labels=first[kind].labels,
            folds=one.folds[rows],
            targets=first[kind].targets,
        )
    return aligned


def _common_folds(records: Sequence[RunRecord], parts: Sequence[Predictions]) -> tuple[Predictions, str]:
    """Return the first run's rows with the folds that all share, and in words which runs have others.

    Folds agree where the same images are held out together, whatever the numbers are.
    """
    first = parts[0]
    differing = []
    for record, part in zip(records[1:], parts[1:], strict=True):
        num = _num_apart(first.folds, part.folds)
        if num:
            differing.append(
                f"{record.run_id} (fold fingerprint {str(record.folds.get('fingerprint'))[:8]}, {num:,} of "
                f"{len(part.folds):,} images in another fold)"
            )
    if not differing:
        return first, ""
    words = (
        f"The folds are not those of {records[0].run_id} (fold fingerprint "
        f"{str(records[0].folds.get('fingerprint'))[:8]}) in {', '.join(differing)}."
    )
    return replace(first, folds=np.full(len(first.folds), -1, dtype=np.int64)), words


def _num_apart(first: NDArray[np.int64], second: NDArray[np.int64]) -> int:
    """Return how many images are held out with others in `second`, where its folds are renamed as fits best."""
    from scipy.optimize import linear_sum_assignment

    names, one = np.unique(first, return_inverse=True)
    others, two = np.unique(second, return_inverse=True)
    shared = np.zeros((len(names), len(others)), dtype=np.int64)
    np.add.at(shared, (one, two), 1)
    rows, columns = linear_sum_assignment(-shared)
    return int(len(first) - shared[rows, columns].sum())


def _stack(parts: Sequence[Predictions], *, several: bool) -> Stack:
    return Stack.of(
        np.stack([part.probabilities for part in parts]).astype(np.float64),
        parts=np.stack([part.folds for part in parts]),
        several=several,
    )
