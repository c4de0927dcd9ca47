"""The story of lesson 1 on real pets: the head first, then every layer, with care and without.

    KIT_TEST_DATA=... python -m tests.bench.story --out FOLDER [--seeds 3]

For each seed a head is trained on the frozen body. From that network training goes on in three ways, over the same
epochs and the same images in the same order: every layer with rates from LO at the stem to HI at the head (the lesson's
`slice(lo, hi)`); every layer at the frozen stage's full rate; and at that rate for the head with a tenth of it for the
body (what fast.ai makes of `slice(hi)`). All are scored on the same test images and compared pairwise. LO, HI and all
other values were set out of fold (`tests.bench.choose`) before the test images were looked at, and are not changed by
what comes out. Finished parts are kept in --out. --limit makes a trial of it.
"""

import argparse
import copy
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kit.config import Recipe, recipe_from_dict
from kit.home import write_json
from kit.judge.statistics import wilson_interval
from kit.plan import pack_for, plan_run
from kit.train.model import make_network
from tests.bench.pairs import compared
from tests.bench.parts import Parts, data_folder, hardware, say
from tests.bench.training import matrix, right_on, spread_over, train_on

NETWORK, SIZE, STORE_SIZE, BATCH = "tf_efficientnet_lite0", 128, 160, 64
FROZEN_LR = 3e-3  # the full rate
LO, HI = 1e-5, 1e-4
WAYS = {  # what the second stage does with the rates: (head, head over stem, between)
    "sliced": (HI, HI / LO, "geometric"),
    "full": (FROZEN_LR, 1.0, "equal"),
    "tenth": (FROZEN_LR, 10.0, "equal"),
}
NAMES = {
    "stage-one": f"stage one: the head at {FROZEN_LR:g}, body frozen",
    "sliced": f"then all layers, slice({LO:g}, {HI:g})",
    "full": f"then all layers at {FROZEN_LR:g}",
    "tenth": f"then all layers, slice({FROZEN_LR:g}): the body at {FROZEN_LR / 10:g}",
}


def recipe_of(options: argparse.Namespace) -> Recipe:
    """Return the recipe; its second stage is set for each way."""
    recipe = {
        "num_folds": 0,
        "model": {"name": NETWORK, "head": "concat-pool"},
        "input": {"image_size": options.size, "store_size": max(options.size, STORE_SIZE), "test_crop": 0.875},
        "augment": {"smallest_crop": 0.35},
        "schedule": {
            "frozen_epochs": options.frozen_epochs,
            "frozen_lr": FROZEN_LR,
            "epochs": 0,
            "batch_size": BATCH,
        },
    }
    return recipe_from_dict(recipe, overrides=options.set)


def main(arguments: list[str]) -> None:
    """Train what is not trained yet, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.story")
    parser.add_argument("--out", type=Path, required=True, help="folder for finished parts")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--frozen-epochs", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=2, help="with all layers")
    parser.add_argument("--size", type=int, default=SIZE, help="of the images, pixels")
    parser.add_argument("--limit", type=int, help="only so many images of each list, for a trial")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the recipe; repeatable")
    options = parser.parse_args(arguments)
    os.environ["KIT_HOME"] = str((options.out / "home").resolve())
    os.environ["KIT_WEIGHTS"] = str(data_folder() / "weights")
    recipe = recipe_of(options)
    facts = {**recipe.as_dict(), "ways": WAYS, "epochs": options.epochs, "limit": options.limit}
    parts = Parts(options.out, settings=facts)
    found = [
        parts.get(f"story-{seed}", lambda seed=seed: story(recipe, options, seed=seed))
        for seed in range(1, options.seeds + 1)
    ]
    print_tables(options, recipe, found)


def story(recipe: Recipe, options: argparse.Namespace, *, seed: int) -> dict[str, Any]:
    """Return which test images each way got right, with one seed."""
    plan = plan_run(
        "pets",
        source="subset",
        mirror=str(data_folder() / "data"),
        overrides=["num_folds=0", f"input.store_size={recipe.input.store_size}"],
        say=say,
    )
    pack, classes = pack_for(plan, say=say), plan.samples.classes
    train, test = (spread_over(table, options.limit) for table in (plan.samples.train, plan.samples.test))
    network = make_network(recipe.model, num_classes=len(classes), seed=seed)
    cost = train_on(network, pack, train, recipe=recipe, classes=classes, seed=seed)
    rights = {"stage-one": right_on(network, pack, test, recipe=recipe, classes=classes)}
    minutes = {"stage-one": cost["minutes"]}
    say(f"    stage one: {np.mean(rights['stage-one']):.4f}")
    for way, (lr, spread, between) in WAYS.items():
        second = replace(
            recipe,
            schedule=replace(
                recipe.schedule,
                frozen_epochs=0,
                epochs=options.epochs,
                lr=lr,
                lr_spread=spread,
                lr_between=between,  # type: ignore[arg-type]
            ),
        )
        going_on = replace(network, module=copy.deepcopy(network.module))
        cost = train_on(going_on, pack, train, recipe=second, classes=classes, seed=1000 + seed)
        rights[way] = right_on(going_on, pack, test, recipe=second, classes=classes)
        minutes[way] = cost["minutes"]
        say(f"    {way}: {np.mean(rights[way]):.4f}")
    return {**rights, "minutes": minutes}


def print_tables(options: argparse.Namespace, recipe: Recipe, found: list[dict[str, Any]]) -> None:
    """Print accuracies and paired differences as Markdown, and keep the figures as JSON."""
    num_test = len(found[0]["stage-one"])
    print(f"`python -m tests.bench.story {' '.join(sys.argv[1:])}` on {hardware(recipe.device)}.")
    print(
        f"{NETWORK} at {recipe.input.image_size} px, {options.frozen_epochs} frozen epochs, then {options.epochs} with "
        f"all layers; {num_test:,} test images; {len(found)} seeds.\n"
    )
    print("| what | accuracy, mean | 95 % of the first seed | by seed | minutes |\n| --- | --- | --- | --- | --- |")
    figures: dict[str, Any] = {"hardware": hardware(), "ways": {}, "differences": {}}
    for way, name in NAMES.items():
        shares = matrix(found, way).mean(axis=1)
        low, high = wilson_interval(int(matrix(found, way)[0].sum()), num_test)
        minutes = float(np.median([one["minutes"][way] for one in found]))
        figures["ways"][way] = {"name": name, "accuracies": shares.tolist(), "minutes": minutes}
        print(
            f"| {name} | {shares.mean():.4f} | [{low:.4f}, {high:.4f}] | {' '.join(f'{one:.4f}' for one in shares)} "
            f"| {minutes:.1f} |"
        )
    print("\n| compared with stage one, on the same images | difference |\n| --- | --- |")
    for way in WAYS:
        difference = compared(matrix(found, "stage-one"), matrix(found, way))
        figures["differences"][way] = vars(difference)
        print(f"| {NAMES[way]} | {difference} |")
    difference = compared(matrix(found, "full"), matrix(found, "sliced"))
    figures["differences"]["sliced over full"] = vars(difference)
    print(f"| sliced, compared with the full rate | {difference} |")
    write_json(options.out / "story.json", figures)


if __name__ == "__main__":
    main(sys.argv[1:])
