"""The figures of the docs: each line of the table is a run of the kit, made and timed here. `make bench` calls it.

    python -m tests.bench.figures [digits] [pets]

Pets needs KIT_TEST_DATA, a folder with data/ and weights/. Runs are made afresh: KIT_HOME is a temporary folder.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SEEDS = (1, 2, 3)


def main(wanted: list[str]) -> None:
    """Run what is wanted and print one Markdown table."""
    data = os.environ.get("KIT_TEST_DATA")
    rows: list[tuple[str, str, str, str, str]] = []
    with tempfile.TemporaryDirectory() as home:
        os.environ["KIT_HOME"] = home
        if "digits" in wanted:
            rows.append(measured("digits", kind="out-of-fold"))
            rows.append(measured("digits", kind="test", protocol="sklearn-half", overrides=["num_folds=0"]))
        if "pets" in wanted:
            if not data:
                print("pets: KIT_TEST_DATA is not set, left out", file=sys.stderr)
            else:
                os.environ["KIT_WEIGHTS"] = str(Path(data) / "weights")
                subset = {"source": "subset", "mirror": str(Path(data) / "data")}
                rows.append(measured("pets", kind="test", **subset))
                scratch = ["model.name=resnet18", "model.weights=none"]
                rows.append(measured("pets", kind="test", seeds=(1,), overrides=scratch, **subset))
    print("| run | kind | accuracy, by seed | 95 % of the first seed | minutes of training, median |")
    print("| --- | --- | --- | --- | --- |")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def measured(
    slug: str, *, kind: str, seeds: tuple[int, ...] = SEEDS, overrides: list[str] | None = None, **settings: Any
) -> tuple[str, str, str, str, str]:
    """Return one line of the table: the same run with several seeds."""
    from kit.run import run

    values, minutes, first, device = [], [], "", ""
    for seed in seeds:
        begun = time.perf_counter()
        _, record = run(
            slug,
            overrides=[*(overrides or []), f"seed={seed}"],
            say=lambda line: print(line, file=sys.stderr),
            **settings,
        )
        result = next(result for result in record.results if result.kind == kind)
        score = result.scores["accuracy"]
        values.append(f"{score.value:.4f}")
        minutes.append(record.cost["train_minutes"])
        first = first or f"[{score.low:.4f}, {score.high:.4f}], n = {score.num_images:,}"
        device = f"{record.cost['device']}, {record.cost['num_threads']} threads"
        print(f"{record.run_id}: {(time.perf_counter() - begun) / 60:.1f} min in all on {device}", file=sys.stderr)
    name = f"{result.protocol}, {record.network['name']} ({record.network['weights_origin']})"
    return name, kind, " ".join(values), first, f"{statistics.median(minutes):.1f} ({device})"


if __name__ == "__main__":
    main(sys.argv[1:] or ["digits", "pets"])
