"""A ResNet-18 trained here on CIFAR-10, kept in timm's layout, and carried over to cats and dogs of another set.

    KIT_TEST_DATA=... python -m tests.bench.transfer --out FOLDER [--seeds 3]

No pretrained ResNet is at hand, so one is made: from random weights, on the 50,000 re-encoded CIFAR-10 images, at 32
pixels, scored on their 10,000 test images. timm writes it (model.safetensors and config.json). It is read by file, by
folder and by name (KIT_WEIGHTS), which must give the same tensors, and by timm itself. Then two networks are trained on
a thousand images of Dogs vs. Cats, with the same recipe, epochs, order and seed: one from these weights, one from
random ones. Both are scored on the other thousand images. Finished parts are kept in --out.
"""

import argparse
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from kit.config import ModelConfig, Recipe, recipe_from_dict
from kit.data.folds import assign_folds, held_out_rows, training_rows
from kit.home import filling, write_json
from kit.plan import pack_for, plan_run
from kit.store.pack import Pack, pack_files
from kit.train.model import make_network
from tests.bench.pairs import compared
from tests.bench.parts import Parts, data_folder, hardware, say
from tests.bench.training import matrix, right_on, spread_over, train_on

NAME = "resnet18"


def recipe_of(*, weights: str, image_size: int, batch_size: int, epochs: int, lr: float) -> Recipe:
    """Return a recipe without a frozen stage: the same for given and for random weights."""
    return recipe_from_dict(
        {
            "num_folds": 0,
            "model": {"name": NAME, "weights": weights, "pretraining_group": "" if weights == "none" else "none"},
            "input": {"image_size": image_size, "store_size": image_size, "test_crop": 1.0},
            "augment": {"smallest_crop": 0.5},
            "schedule": {
                "frozen_epochs": 0,
                "epochs": epochs,
                "lr": lr,
                "lr_spread": 1,
                "norm_statistics": "batch",
                "batch_size": batch_size,
            },
            "loss": {"label_smoothing": 0.0},
        }
    )


def main(arguments: list[str]) -> None:
    """Train what is not trained yet, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.transfer")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights and finished parts")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cifar-epochs", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=8, help="on cats and dogs")
    parser.add_argument("--size", type=int, default=64, help="of the cats and dogs, pixels")
    parser.add_argument("--limit", type=int, help="only so many images of each list, for a trial")
    options = parser.parse_args(arguments)
    os.environ["KIT_HOME"] = str((options.out / "home").resolve())
    weights = options.out / "weights"
    facts = {"cifar_epochs": options.cifar_epochs, "limit": options.limit}
    first = Parts(options.out, settings=facts)
    made = first.get("cifar", lambda: train_on_cifar(options, weights))
    if not (weights / NAME / "model.safetensors").is_file():
        sys.exit(f"{weights} lacks the weights that {options.out / 'cifar.json'} tells of: remove that file too.")
    ways = first.get("loaded", lambda: loaded(weights))
    parts = Parts(options.out, settings={**facts, "epochs": options.epochs, "size": options.size})
    found = [
        parts.get(f"transfer-{seed}", lambda seed=seed: transferred(options, weights, seed=seed))
        for seed in range(1, options.seeds + 1)
    ]
    print(f"`python -m tests.bench.transfer {' '.join(sys.argv[1:])}` on {hardware()}.\n")
    print(
        f"{NAME} on CIFAR-10 (re-encoded), {options.cifar_epochs} epochs at 32 px: {made['accuracy']:.4f} of "
        f"{made['num_test']:,} test images after {made['minutes']:.1f} min."
    )
    print(f"Loaded {', '.join(ways)}: the same tensors.\n")
    difference = compared(matrix(found, "random"), matrix(found, "given"))
    print("| cats and dogs, from | accuracy, mean | by seed |\n| --- | --- | --- |")
    for way, name in (("random", "random weights"), ("given", "the weights of CIFAR-10")):
        shares = matrix(found, way).mean(axis=1)
        print(f"| {name} | {shares.mean():.4f} | {' '.join(f'{one:.4f}' for one in shares)} |")
    print(f"\nDifference on the same images: {difference}")
    write_json(
        options.out / "transfer.json",
        {"hardware": hardware(), "cifar": made, "loaded": ways, "runs": found, "difference": vars(difference)},
    )


def train_on_cifar(options: argparse.Namespace, weights: Path) -> dict[str, Any]:
    """Train on CIFAR-10 and let timm write the network to `weights`/resnet18."""
    from timm.models import save_for_hf

    recipe = recipe_of(weights="none", image_size=32, batch_size=128, epochs=options.cifar_epochs, lr=2e-3)
    table, pack, classes = cifar(options)
    train, test = (table[table["split"] == split].reset_index(drop=True) for split in ("train", "test"))
    network = make_network(recipe.model, num_classes=len(classes), seed=1)
    cost = train_on(network, pack, train, recipe=recipe, classes=classes, seed=1)
    right = right_on(network, pack, test, recipe=recipe, classes=classes)
    with filling(weights / NAME) as folder:
        network.module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        save_for_hf(network.module, str(folder), model_config={"label_names": list(classes)}, safe_serialization=True)
    return {**cost, "accuracy": float(np.mean(right)), "num_test": len(right)}


def cifar(options: argparse.Namespace) -> tuple[pd.DataFrame, Pack, tuple[str, ...]]:
    """Unpack CIFAR-10 and return its rows with their pack and classes."""
    root = options.out / "cifar"
    rows = []
    for split in ("train", "test"):
        if not (root / split).is_dir():
            say(f"    unpacking CIFAR-10, {split}")
            archive = data_folder() / "data" / "cifar10-jpeg" / f"cifar10-jpeg-{split}.tar.xz"
            with filling(root / split) as folder, tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
        files = sorted(path.relative_to(root).as_posix() for path in (root / split).rglob("*.jpg"))
        frame = pd.DataFrame({"image_id": files, "path": files, "split": split})
        frame["label"] = frame["path"].str.split("/").str[-2]
        rows.append(spread_over(frame, options.limit))
    table = pd.concat(rows, ignore_index=True)
    paths = table["path"].tolist()
    pack = pack_files(root, image_ids=paths, paths=paths, content_keys=paths, store_size=32, say=say)
    return table, pack, tuple(sorted(table["label"].unique()))


def loaded(weights: Path) -> list[str]:
    """Load the network by file, folder and name, and by timm; stop where a tensor of the body differs."""
    import timm

    folder = weights / NAME
    os.environ["KIT_WEIGHTS"] = str(weights)
    asked = {"by file": str(folder / "model.safetensors"), "by folder": str(folder), "by name": "auto"}
    given = timm.create_model(f"local-dir:{folder.resolve()}", pretrained=True).state_dict()
    for way, chosen in asked.items():
        found = make_network(ModelConfig(name=NAME, weights=chosen), num_classes=2, seed=1).module.state_dict()
        differing = [key for key in given if not key.startswith("fc.") and not torch.equal(given[key], found[key])]
        assert not differing, f"{way}: {differing[:3]}"
    return [*asked, "by timm's local-dir"]


def transferred(options: argparse.Namespace, weights: Path, *, seed: int) -> dict[str, Any]:
    """Return which cats and dogs each of the two networks got right, with one seed."""
    plan = plan_run(
        "dogs_vs_cats_redux",
        source="subset",
        mirror=str(data_folder() / "data"),
        overrides=["num_folds=0", "model.weights=none", f"input.store_size={options.size}"],
        say=say,
    )
    pack, classes = pack_for(plan, say=say), plan.samples.classes
    rows = spread_over(plan.samples.train, options.limit)
    folded = assign_folds(rows, num_folds=2, seed=1, rule=plan.competition.folds)
    found: dict[str, Any] = {}
    for way, chosen in (("random", "none"), ("given", str(weights))):
        recipe = recipe_of(weights=chosen, image_size=options.size, batch_size=32, epochs=options.epochs, lr=1e-3)
        network = make_network(recipe.model, num_classes=len(classes), seed=seed)
        train_on(network, pack, training_rows(folded, 0), recipe=recipe, classes=classes, seed=seed)
        found[way] = right_on(network, pack, held_out_rows(folded, 0), recipe=recipe, classes=classes)
        say(f"    seed {seed}, {way}: {np.mean(found[way]):.4f}")
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
