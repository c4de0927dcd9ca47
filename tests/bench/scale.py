"""How folds and duplicates grow: generated tables and hashes, timed here. Seconds are of this machine.

    python -m tests.bench.scale [folds] [duplicates] [--tenth]

`--tenth` takes a tenth of each number. Each line says what was done, how long it took and what came out.
"""

import os
import platform
import resource
import sys
import time

import numpy as np
import pandas as pd

from kit.data.fold_report import FoldReport, fold_report
from kit.data.folds import assign_folds, fold_fingerprint
from kit.quality.hashes import Hashes, near_pairs

CLASSES = 10


def main(wanted: list[str]) -> None:
    """Measure what is wanted and print one Markdown table."""
    scale = 10 if "--tenth" in wanted else 1
    print(f"python -m tests.bench.scale {' '.join(wanted)}: {platform.processor() or platform.machine()}, ", end="")
    print(f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, numpy {np.__version__}\n")
    print("| what | seconds | came out | peak memory so far, GiB |\n| --- | --- | --- | --- |", flush=True)
    if "folds" in wanted:
        folds(scale)
    if "duplicates" in wanted:
        duplicates(scale)


def folds(scale: int) -> None:
    """Grouped, alone and mixed tables; beside scikit-learn's splitter at a size that it manages."""
    for rows, groups in ((10_000_000, 100_000), (10_000_000, 10_000_000), (10_000_000, 8_000_000)):
        samples = table(rows // scale, num_groups=groups // scale)
        begun = time.perf_counter()
        folded = assign_folds(samples, num_folds=5, seed=1)
        line(f"folds: {rows // scale:,} rows, {groups // scale:,} groups", begun, even(fold_report(folded)))
    begun = time.perf_counter()
    mark = fold_fingerprint(folded)
    line(f"fold_fingerprint: {rows // scale:,} rows", begun, mark[:8])

    from sklearn.model_selection import StratifiedGroupKFold

    samples = table(200_000 // scale, num_groups=20_000 // scale)
    begun = time.perf_counter()
    own = assign_folds(samples, num_folds=5, seed=1)
    took = line(f"folds: {len(samples):,} rows, {20_000 // scale:,} groups", begun, even(fold_report(own)))
    begun = time.perf_counter()
    peer = samples.assign(fold=0)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=1)
    for fold, (_, held_out) in enumerate(splitter.split(samples, samples["label"], samples["group"])):
        peer.loc[held_out, "fold"] = fold
    what = f"the same by StratifiedGroupKFold, {(time.perf_counter() - begun) / took:.0f} times as long"
    line(what, begun, even(fold_report(peer)))


def duplicates(scale: int) -> None:
    """Pairs among random hashes, among those of smooth scenes, and where half of all images are blank."""
    generator = np.random.default_rng(1)
    for number in (200_000, 1_000_000):
        random = generator.integers(0, 2**64, (number // scale, 2), dtype=np.uint64)
        planted = random[: len(random) // 100].copy()
        planted[:, 0] ^= np.uint64(0b111)
        timed_pairs("random, 1 % copies", np.concatenate([random[: -len(planted)], planted]))
        timed_pairs("of smooth scenes", scenes(number // scale, generator))
    blank = generator.integers(0, 2**64, (200_000 // scale, 2), dtype=np.uint64)
    blank[::2] = 0
    timed_pairs("half of them blank", blank)


def timed_pairs(what: str, hashes: Hashes) -> None:
    begun = time.perf_counter()
    pairs = near_pairs(hashes)
    line(
        f"near_pairs: {len(hashes):,} hashes, {what}", begun, f"{len(pairs):,} pairs, {len(pairs.crowded):,} in crowds"
    )


def table(num_rows: int, *, num_groups: int) -> pd.DataFrame:
    """Return rows of CLASSES uneven classes in groups of uneven sizes, or each its own group."""
    generator = np.random.default_rng(0)
    numbers = np.arange(num_rows)
    group = numbers
    if num_groups < num_rows:
        group = np.minimum((num_groups * generator.random(num_rows) ** 1.5).astype(np.int64), num_groups - 1)
    label = np.minimum(generator.geometric(0.25, num_rows), CLASSES)
    ids = pd.Series(numbers).astype("str").str.zfill(9)
    return pd.DataFrame(
        {
            "image_id": "train/" + ids,
            "label": pd.Categorical.from_codes(label - 1, [f"class {k}" for k in range(CLASSES)]).astype("str"),
            "group": "train/" + (ids if num_groups == num_rows else pd.Series(group).astype("str").str.zfill(9)),
        }
    )


def scenes(number: int, generator: np.random.Generator) -> Hashes:
    """Return the hashes of blurred noise: neighbouring bits are alike, as those of photographs are."""
    noise = generator.standard_normal((number, 10, 11), dtype=np.float32)
    means = noise[:, :-2] + 2 * noise[:, 1:-1] + noise[:, 2:]
    means = means[:, :, :-2] + 2 * means[:, :, 1:-1] + means[:, :, 2:]  # (N, 8, 9)
    sides = [np.packbits((m[:, :, 1:] > m[:, :, :-1]).reshape(number, 64), axis=1) for m in (means, means[:, :, ::-1])]
    return np.stack([side.view(">u8").ravel() for side in sides], axis=1).astype(np.uint64)


def even(report: FoldReport) -> str:
    return f"sizes within {report.size_deviation:.3%}, class shares within {100 * report.share_deviation:.3f} points"


def line(what: str, begun: float, outcome: str) -> float:
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"| {what} | {seconds:.1f} | {outcome} | {peak:.1f} |", flush=True)
    return seconds


if __name__ == "__main__":
    main(sys.argv[1:] or ["folds", "duplicates"])
