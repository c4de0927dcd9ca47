"""The cost model against what is really allocated: every network, size, stage and precision of the grid.

    python -m tests.bench.memory [--device cpu] [--networks resnet18,...] [--out FILE.json]

Predicted without running anything; measured in a process of its own, which takes three real steps with the kit's engine
on random images: the bytes that autograd keeps for the backward pass, and the growth of the process's peak resident
memory over the state before (on a GPU: the most that PyTorch reserved). Prints a row per combination, and those that
miss by more than promised: 5 % for activations; 15 % in all on a CPU, 7 % on a GPU.
"""

import argparse
import sys
from pathlib import Path
from statistics import median
from typing import Any

from kit.config import Recipe, recipe_from_dict
from kit.fit.check import measure
from kit.fit.cost import cost_of
from kit.fit.workload import Precision
from kit.home import write_json
from tests.bench.parts import hardware, say

NETWORKS = ("resnet18", "resnet34", "resnet50", "tf_efficientnet_lite0", "convnext_tiny")
BATCHES = {160: 32, 224: 16, 320: 8}  # image size -> images at once: about as many pixels, some GiB at most
STAGES = ("all", "head")
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
NUM_CLASSES = 37
PROMISED = {"activations": 0.05, "cpu": 0.15, "cuda": 0.07}


def recipe_of(name: str, *, image_size: int, stage: str) -> Recipe:
    """Return a recipe with one stage, from random weights."""
    frozen = stage == "head"
    return recipe_from_dict(
        {
            "model": {"name": name, "weights": "none"},
            "input": {"image_size": image_size},
            "schedule": {"frozen_epochs": int(frozen), "epochs": int(not frozen)},
        }
    )


def compared(
    name: str, *, image_size: int, stage: Any, precision: Precision, device: str, batch: int, repeats: int
) -> dict[str, Any]:
    """Return the prediction and the median of the measurements of one combination, in bytes."""
    recipe = recipe_of(name, image_size=image_size, stage=stage)
    cost = cost_of(recipe, NUM_CLASSES, device=device.partition(":")[0], precision=precision)
    steps = cost.only(stage)
    found = [
        measure(recipe, NUM_CLASSES, stage=stage, batch=batch, device=device, precision=precision)
        for _ in range(repeats)
    ]
    growths = sorted(one.growth for one in found)
    return {
        "network": name,
        "image_size": image_size,
        "stage": stage,
        "precision": precision,
        "batch": batch,
        "kept": found[0].kept,
        "kept_predicted": int(steps.stages[0].trace.kept.at(batch)),
        "growth": int(median(growths)),
        "growth_lowest": growths[0],
        "growth_highest": growths[-1],
        "growth_predicted": steps.growth(batch),
        "live": int(steps.stages[0].needed(batch)),
        "gaps": int(steps.stages[0].trace.gaps.at(batch)),
        "device_name": found[0].device_name,
    }


def row_of(one: dict[str, Any]) -> str:
    """Return a line of the table."""
    mib = 2**20
    return (
        f"{one['network']:22}{one['image_size']:5}  {one['stage']:5}{one['precision']:5}{one['batch']:4}"
        f"{one['kept_predicted'] / mib:9.1f}{one['kept'] / mib:9.1f}{error(one, 'kept'):+8.1%}"
        f"{one['growth_predicted'] / mib:9.0f}{one['growth'] / mib:9.0f}{error(one, 'growth'):+8.1%}"
        f"  ({one['growth_lowest'] / mib:.0f} to {one['growth_highest'] / mib:.0f})"
    )


def error(one: dict[str, Any], key: str) -> float:
    """Return by which share the prediction is too high; of what is nearly nothing, the share of the whole."""
    least = 2**20 if key == "kept" else 0
    return float((one[f"{key}_predicted"] - one[key]) / max(one[key], least))


def main(arguments: list[str]) -> None:
    """Measure the grid and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memory")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--sizes", default=",".join(map(str, BATCHES)))
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement: where a heap has gaps is chance")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    chosen = parser.parse_args(arguments)
    kind = "cuda" if chosen.device.startswith("cuda") else "cpu"
    say(f"{hardware()}; MiB, predicted and measured: activations, growth of the peak")
    rows = []
    for name in chosen.networks.split(","):
        for image_size in map(int, chosen.sizes.split(",")):
            for stage in STAGES:
                for precision in PRECISIONS:
                    one = compared(
                        name,
                        image_size=image_size,
                        stage=stage,
                        precision=precision,
                        device=chosen.device,
                        batch=BATCHES[image_size],
                        repeats=chosen.repeats,
                    )
                    rows.append(one)
                    print(row_of(one), flush=True)
                    if chosen.out:
                        write_json(chosen.out, rows)
    missed = [
        one
        for one in rows
        if abs(error(one, "kept")) > PROMISED["activations"] or abs(error(one, "growth")) > PROMISED[kind]
    ]
    print(f"\n{len(rows) - len(missed)} of {len(rows)} within what is promised")
    for one in missed:
        print("missed:", row_of(one))


if __name__ == "__main__":
    main(sys.argv[1:])
