"""Lesson 1, replayed: fast.ai, a plain loop of timm and torchvision, and the kit, on the same images in one run.

    KIT_TEST_DATA=... python -m tests.bench.lesson --fastai-python .venv-peers/bin/python --out FOLDER [--rounds 3]

The same files, network, weights, size, batch and number of epochs; each trainer with the rest as it recommends it. Each
round is another seed, and the trainers take turns. Rates are those of training: images over the time from an epoch's
first step to its last. All look at the test images after each epoch, and choose nothing by them.

On a GPU the lesson's first stage is timed, with images repeated and weights random where there are no others:

    python -m tests.bench.lesson --device cuda --architecture resnet34 --size 224 --store-size 256 --images 5912 \\
        --epochs 0 --set images_on=device --fastai-python ... --out FOLDER

Finished parts are kept in --out; the same command goes on. --limit makes a trial of it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench.parts import Parts, data_folder, hardware, say

PEERS = Path(__file__).with_name("peers.py")
STAGES = {"head": "frozen body", "all": "all layers"}
FROZEN_LR, LR = 3e-3, 1e-4  # of the kit and the plain loop; fast.ai has its own


def main(arguments: list[str]) -> None:
    """Measure what is not measured yet, and print the tables."""
    options = parsed(arguments)
    os.environ["KIT_HOME"] = str((options.out / "home").resolve())
    settings = {k: v for k, v in vars(options).items() if k not in ("out", "rounds", "fastai_python", "seconds")}
    parts = Parts(options.out, settings=settings)
    job = job_of(options)
    trainers = ["kit", "plain"] + (["fastai"] if options.fastai_python else [])
    if options.fastai_python and options.device.startswith("cuda"):
        trainers.append("fastai-half")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in trainers}
    for seed in range(1, options.rounds + 1):
        for name in trainers:
            one = {**job, "seed": seed, "half": name.endswith("-half")}
            found[name].append(parts.get(f"{name}-{seed}", lambda name=name, one=one: trained(name, one, options)))
    ceiling = None
    if not options.no_ceiling:
        ceiling = parts.get("ceiling", lambda: ceilings(job, options))
    print_tables(options, job, found, ceiling)


def parsed(arguments: list[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.lesson")
    parser.add_argument("--out", type=Path, required=True, help="folder for finished parts")
    parser.add_argument("--fastai-python", help="a Python with fastai; without it fast.ai is left out")
    parser.add_argument("--rounds", type=int, default=3, help="seeds")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--architecture", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, default=128, help="of the images, pixels")
    parser.add_argument("--store-size", type=int, default=160, help="of the kit's pack")
    parser.add_argument("--batch", type=int, default=64, help="fast.ai's default")
    parser.add_argument("--frozen-epochs", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=2, help="with all layers")
    parser.add_argument("--images", type=int, help="repeat the training images up to so many; the default: as they are")
    parser.add_argument("--limit", type=int, help="only so many different images of each list, for a trial")
    parser.add_argument("--fastai-lr", type=float, help="of the frozen stage; the default: fast.ai's")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="of the plain loop")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the kit's recipe; repeatable")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement of the ceiling")
    parser.add_argument("--no-ceiling", action="store_true")
    return parser.parse_args(arguments)


def job_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return what all trainers are told: real pets where they are at hand, else made-up images."""
    if os.environ.get("KIT_TEST_DATA"):
        from kit.plan import plan_run

        os.environ["KIT_WEIGHTS"] = str(data_folder() / "weights")
        # `none`: this plan is only asked for its images.
        samples = plan_run(
            "pets",
            source="subset",
            mirror=str(data_folder() / "data"),
            overrides=["num_folds=0", "model.name=resnet18", "model.weights=none"],
            say=say,
        ).samples
        root = samples.folder
        train, test = (
            part[["path", "label"]].to_numpy().tolist()[:: stride(len(part), options.limit)]
            for part in (samples.train, samples.test)
        )
        files = sorted((data_folder() / "weights").glob(f"{options.architecture}.*"))
        weights = str(files[0].resolve()) if files else None
    else:
        root = options.out / "made-up"
        train = made_up_images(root, options.limit or 1000)
        test, weights = train[::5], None
    known = {label for _, label in train}
    test = [row for row in test if row[1] in known]  # fast.ai and the plain loop know no others
    if options.images:
        train = (train * (options.images // len(train) + 1))[: options.images]
    return {
        "root": str(root),
        "train": train,
        "test": test,
        "architecture": options.architecture,
        "weights": weights,
        "image_size": options.size,
        "batch_size": options.batch,
        "frozen_epochs": options.frozen_epochs,
        "epochs": options.epochs,
        "frozen_lr": FROZEN_LR,
        "lr": LR,
        "fastai_lr": options.fastai_lr,
        "device": options.device,
        "workers": options.workers,
    }


def stride(num_rows: int, limit: int | None) -> int:
    """Return the step through a list that leaves about `limit` rows of all classes."""
    return max(1, num_rows // limit) if limit else 1


def made_up_images(root: Path, num_images: int) -> list[list[str]]:
    """Write JPEG files as large as pets of the web (500 x 375) and return (path, label) of 37 classes."""
    import cv2
    import numpy as np

    rows = []
    for number in range(num_images):
        path = root / f"{number:05d}.jpg"
        if not path.is_file():
            noise = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), cv2.resize(noise, (500, 375), interpolation=cv2.INTER_CUBIC))
        rows.append([path.name, f"class {number % 37:02d}"])
    return rows


def trained(name: str, job: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Train with one trainer and return its answer: each in a process of its own, with nothing warm."""
    with tempfile.TemporaryDirectory() as folder:
        job_file, answer_file = Path(folder) / "job.json", Path(folder) / "answer.json"
        job_file.write_text(json.dumps(job), encoding="utf-8")
        if name == "kit":
            command = [sys.executable, "-m", "tests.bench.lesson_kit", str(job_file), str(answer_file)]
            command += [str(options.store_size), *options.set]
        else:
            peer, python = ("plain", sys.executable) if name == "plain" else ("fastai", options.fastai_python)
            command = [python, str(PEERS), peer, str(job_file), str(answer_file)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        answer: dict[str, Any] = json.loads(answer_file.read_text(encoding="utf-8"))
        return answer


def ceilings(job: dict[str, Any], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return, by stage, the rate of the kit's whole steps and that of the bare network, in this process."""
    import torch

    from kit.bench import stage_rates
    from tests.bench.lesson_kit import recipe_of, tables_of

    train, _, pack, classes = tables_of(job, store_size=options.store_size)
    found = stage_rates(
        pack,
        train,
        recipe=recipe_of(job, store_size=options.store_size, overrides=options.set),
        classes=classes,
        several=False,
        device=torch.device(job["device"]),
        seconds=options.seconds,
        say=say,
    )
    return [{**asdict(rate), "share": rate.share} for rate in found]


def print_tables(
    options: argparse.Namespace,
    job: dict[str, Any],
    found: dict[str, list[dict[str, Any]]],
    ceiling: list[dict[str, Any]] | None,
) -> None:
    """Print the comparison and the ceiling as Markdown, and keep the figures as JSON."""
    from kit.home import write_json

    different = len({path for path, _ in job["train"]})
    print(f"`python -m tests.bench.lesson {' '.join(sys.argv[1:])}` on {hardware(options.device)}.")
    print(
        f"{len(job['train']):,} training images ({different:,} different), {len(job['test']):,} test images; "
        f"{job['architecture']} at {job['image_size']} px, batches of {job['batch_size']}, weights "
        f"{Path(job['weights']).name if job['weights'] else 'random'}; {options.rounds} seeds, medians.\n"
    )
    print(
        "| trainer | stage | images/s | the kit is faster by | seconds of training | with looking at the test images "
        "| accuracy, by seed |\n| --- | --- | --- | --- | --- | --- | --- |"
    )
    rows = []
    for stage in [one for one in STAGES if any(e["stage"] == one for e in found["kit"][0]["epochs"])]:
        ours = statistics.median(summary(answer, stage)["images_per_second"] for answer in found["kit"])
        for name, answers in found.items():
            of_seeds = [summary(answer, stage) for answer in answers]
            middle = {key: statistics.median(one[key] for one in of_seeds) for key in of_seeds[0]}
            accuracies = [one["accuracy"] for one in of_seeds]
            row = {"trainer": name, "how": answers[0]["how"], "stage": stage, **middle, "accuracies": accuracies}
            rows.append({**row, "kit_is_faster_by": ours / middle["images_per_second"]})
            print(
                f"| {answers[0]['how']} | {STAGES[stage]} | {middle['images_per_second']:,.0f} "
                f"| {rows[-1]['kit_is_faster_by']:.2f} | {middle['train_seconds']:.1f} | {middle['seconds']:.1f} "
                f"| {' '.join(f'{one:.4f}' for one in accuracies)} |"
            )
    if ceiling:
        print("\n| stage | whole steps, images/s | bare network, images/s | share |\n| --- | --- | --- | --- |")
        for rate in ceiling:
            print(
                f"| {STAGES[rate['stage']]} | {rate['images_per_second']:,.0f} | {rate['ceiling']:,.0f} "
                f"| {rate['share']:.1%} |"
            )
    facts = {"hardware": hardware(options.device), "rows": rows, "ceiling": ceiling}
    write_json(options.out / "lesson.json", {"command": sys.argv[1:], **facts})


def summary(answer: dict[str, Any], stage: str) -> dict[str, float]:
    """Return rate, times and the last accuracy of one stage."""
    epochs = [epoch for epoch in answer["epochs"] if epoch["stage"] == stage]
    train_seconds = sum(epoch["train_seconds"] for epoch in epochs)
    return {
        "images_per_second": sum(epoch["num_images"] for epoch in epochs) / train_seconds,
        "train_seconds": train_seconds,
        "seconds": sum(epoch["seconds"] for epoch in epochs),
        "accuracy": epochs[-1]["accuracy"],
    }


if __name__ == "__main__":
    main(sys.argv[1:])
