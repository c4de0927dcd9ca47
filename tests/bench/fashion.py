"""Fashion-MNIST from scratch, by the competition's own recipe, beside the published rows that it may be compared with.

    python -m tests.bench.fashion --mirror /usr/share/datasets --out FOLDER [--seeds 1]

--mirror is a folder that has fashion-mnist/ with the publisher's four files, as Debian's package
dataset-fashion-mnist installs them. The recipe was set on a held-out part of the training images
(`tests.bench.choose`); the 10,000 test images are scored once per seed. Finished runs are kept in --out.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from kit.board.compare import compare, load_published
from kit.home import write_json
from kit.run import run
from tests.bench.parts import Parts, hardware, say


def main(arguments: list[str]) -> None:
    """Run what is not run yet, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fashion")
    parser.add_argument("--mirror", required=True, help="folder with fashion-mnist/")
    parser.add_argument("--out", type=Path, required=True, help="folder for finished runs")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the recipe, for a trial; repeatable")
    options = parser.parse_args(arguments)
    os.environ["KIT_HOME"] = str((options.out / "home").resolve())
    parts = Parts(options.out, settings={"set": options.set})
    found = [
        parts.get(f"fashion-{seed}", lambda seed=seed: scored(options, seed=seed))
        for seed in range(1, options.seeds + 1)
    ]
    print(f"`python -m tests.bench.fashion {' '.join(sys.argv[1:])}` on {hardware()}.\n")
    print("| network | epochs | accuracy | 95 % | minutes of training | minutes in all |")
    print("| --- | --- | --- | --- | --- | --- |")
    for one in found:
        print(
            f"| {one['network']} | {one['epochs']} | {one['accuracy']:.4f} | [{one['low']:.4f}, {one['high']:.4f}] "
            f"| {one['train_minutes']:.1f} | {one['minutes']:.1f} |"
        )
    print("\n| published, under the same conditions as far as stated | year | accuracy | the kit is |")
    print("| --- | --- | --- | --- |")
    for row in found[0]["published"]:
        print(f"| {row['method']} | {row['year']} | {row['value']:.4f} | {row['verdict']} |")
    write_json(options.out / "fashion.json", {"command": sys.argv[1:], "hardware": hardware(), "runs": found})


def scored(options: argparse.Namespace, *, seed: int) -> dict[str, Any]:
    """Do one run and return its figures with the comparable published rows."""
    begun = time.perf_counter()
    plan, record = run(
        "fashion_mnist",
        source="debian",
        mirror=options.mirror,
        overrides=[*options.set, f"seed={seed}"],
        say=say,
    )
    (result,) = record.results
    score = result.scores["accuracy"]
    baselines = load_published(record.baselines)
    rows = compare(result, baselines) if baselines else []
    return {
        "network": plan.recipe.model.name,
        "epochs": plan.recipe.schedule.frozen_epochs + plan.recipe.schedule.epochs,
        "accuracy": score.value,
        "low": score.low,
        "high": score.high,
        "train_minutes": record.cost["train_minutes"],
        "minutes": (time.perf_counter() - begun) / 60,  # files, pack, training, prediction
        "published": [
            {
                "method": row.published.method,
                "year": row.published.year,
                "value": row.published.value,
                "verdict": row.verdict,
            }
            for row in rows
            if row.agreement.comparable
        ],
    }


if __name__ == "__main__":
    main(sys.argv[1:])
