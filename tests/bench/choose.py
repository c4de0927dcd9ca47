"""Settings of a recipe side by side on a held-out part of the training list; the test list is never looked at.

    KIT_TEST_DATA=... python -m tests.bench.choose pets --source subset --out FOLDER \\
        "schedule.frozen_lr=1e-3" "schedule.frozen_lr=3e-3 model.head=concat-pool"

Each argument after the options is one setting: overrides of the recipe, parted by spaces ("" is the recipe as it is).
Every setting is trained on four fifths of the training list and scored on the fifth, for each of --seeds; the folds are
the same for all. With --limit, that many training images are used. Finished parts are kept in --out.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from kit.data.folds import assign_folds, held_out_rows, training_rows
from kit.home import write_json
from kit.judge.statistics import wilson_interval
from kit.plan import pack_for, plan_run
from kit.train.model import make_network
from tests.bench.parts import Parts, data_folder, hardware, say
from tests.bench.training import right_on, spread_over, train_on


def main(arguments: list[str]) -> None:
    """Train what is not trained yet, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.choose")
    parser.add_argument("slug")
    parser.add_argument("settings", nargs="+", help="overrides, parted by spaces")
    parser.add_argument("--out", type=Path, required=True, help="folder for finished parts")
    parser.add_argument("--recipe")
    parser.add_argument("--source")
    parser.add_argument("--mirror", help="default: KIT_TEST_DATA/data")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--limit", type=int, help="training images, before the fifth is held out")
    options = parser.parse_args(arguments)
    os.environ.setdefault("KIT_HOME", str((options.out / "home").resolve()))
    mirror = options.mirror or str(data_folder() / "data")
    if "KIT_TEST_DATA" in os.environ:
        os.environ.setdefault("KIT_WEIGHTS", str(data_folder() / "weights"))
    facts = {key: getattr(options, key) for key in ("slug", "recipe", "source", "limit")}
    found: dict[str, list[dict[str, Any]]] = {}
    for number, text in enumerate(options.settings):

        def trained(text: str = text, seed: int = 1) -> dict[str, Any]:
            overrides = [*text.split(), "num_folds=0"]
            plan = plan_run(
                options.slug,
                recipe=options.recipe,
                source=options.source,
                mirror=mirror,
                overrides=overrides,
                say=say,
            )
            rows = spread_over(plan.samples.train, options.limit)
            folded = assign_folds(rows, num_folds=5, seed=1, rule=plan.competition.folds)
            classes, pack = plan.samples.classes, pack_for(plan, say=say)
            network = make_network(plan.recipe.model, num_classes=len(classes), seed=seed)
            cost = train_on(network, pack, training_rows(folded, 0), recipe=plan.recipe, classes=classes, seed=seed)
            return {
                **cost,
                "right": right_on(network, pack, held_out_rows(folded, 0), recipe=plan.recipe, classes=classes),
            }

        for seed in range(1, options.seeds + 1):
            parts = Parts(options.out, settings={**facts, "setting": text})
            found.setdefault(text, []).append(
                parts.get(f"choose-{options.slug}-{number}-{seed}", lambda seed=seed: trained(seed=seed))
            )
    print(f"`python -m tests.bench.choose {' '.join(sys.argv[1:])}` on {hardware()}.\n")
    print("| setting | accuracy on the held-out fifth | 95 % | by seed | minutes |\n| --- | --- | --- | --- | --- |")
    for text, of_seeds in found.items():
        shares = [float(np.mean(one["right"])) for one in of_seeds]
        num_images = len(of_seeds[0]["right"])
        low, high = wilson_interval(round(float(np.mean(shares)) * num_images), num_images)
        minutes = float(np.median([one["minutes"] for one in of_seeds]))
        print(
            f"| {text or 'as it is'} | {np.mean(shares):.4f} | [{low:.4f}, {high:.4f}], n = {num_images:,} "
            f"| {' '.join(f'{one:.4f}' for one in shares)} | {minutes:.1f} |"
        )
    write_json(options.out / f"choose-{options.slug}.json", {"hardware": hardware(), "found": found})


if __name__ == "__main__":
    main(sys.argv[1:])
