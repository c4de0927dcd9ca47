"""How long the board takes: making the site of thousands of made-up records, and opening its pages in Chromium.

    python -m tests.bench.site --out FOLDER [--competitions 40] [--runs 125] [--largest 1000] [--rounds 3]

Every competition has `--runs` runs with two results each; one more competition has `--largest`. Published rows are the
kit's own. Printed are: the seconds of `write_site` on an empty folder, with all in place, and after one more run (by
the clock, and of the processor); the bytes; and, for the index and the two largest pages, the seconds from navigation
to the load event and to the frame after it, in headless Chromium from disk, the median over `--rounds` fresh pages.
"""

import argparse
import json
import random
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.parts import hardware, say

KINDS = ("test", "out-of-fold")
NETWORKS = ("resnet18", "resnet50", "efficientnet_b0", "convnext_tiny", "vit_small_patch16_224")


def made_up_record(competition: str, number: int, *, baselines: str = "oxford-iiit-pet") -> dict[str, Any]:
    """Return a record as JSON has it: plausible numbers, drawn from the names alone."""
    draw = random.Random(f"{competition} {number}")
    value = min(0.97, 0.6 + 0.35 * draw.random() ** 0.5)
    results = []
    for kind in KINDS:
        conditions = {
            "test_images": "official-test" if kind == "test" else "official-trainval, out of fold",
            "num_test": 3669 if kind == "test" else 3680,
            "metric": "accuracy",
            "training_pool": "official-trainval" if kind == "test" else "4 of 5 folds of official-trainval",
            "pretraining_group": "imagenet-1k" if number % 5 else "none",
            "adaptation": "trained",
            "extra_inputs": "none",
            "inference": "single",
            "selection": "out-of-fold",
        }
        scores = {
            metric: {
                "metric": metric,
                "value": value - shift,
                "low": value - shift - 0.011,
                "high": value - shift + 0.01,
                "num_images": conditions["num_test"],
                "interval": "Wilson",
            }
            for metric, shift in (("accuracy", 0.0), ("mean_per_class_accuracy", 0.004))
        }
        confused = [[f"class {draw.randrange(37)}", f"class {draw.randrange(37)}", k] for k in range(20, 0, -1)]
        results.append(
            {
                "kind": kind,
                "protocol": "official-37-transfer",
                "conditions": conditions,
                "scores": scores,
                "confused": confused,
            }
        )
    return {
        "schema_version": 1,
        "run_id": f"{competition}-official-37-transfer-baseline-s{number}-{draw.randrange(16**8):08x}",
        "created_at": f"2026-{1 + number % 11:02}-{1 + number % 28:02}T12:00:00+00:00",
        "competition": competition,
        "title": f"Made-up competition {competition}",
        "baselines": baselines,
        "protocol": "official-37-transfer",
        "source": "full",
        "complete": True,
        "data": {"fingerprint": "0" * 64, "num_train": 3680, "num_test": 3669, "num_missing": 0, "num_fixes": 0},
        "folds": {"num_folds": 5, "fingerprint": "1" * 64},
        "recipe": {
            "name": "baseline",
            "seed": number,
            "model": {"name": NETWORKS[number % len(NETWORKS)], "weights": "timm"},
            "input": {"image_size": 160, "store_size": 192},
            "schedule": {"epochs": 8, "lr": 0.001, "batch_size": 64, "weight_decay": 0.05},
            "augment": {"transforms": [{"name": "HorizontalFlip", "p": 0.5} for _ in range(6)]},
        },
        "network": {
            "name": NETWORKS[number % len(NETWORKS)],
            "num_parameters": 5_000_000 + draw.randrange(60_000_000),
            "weights_origin": "timm",
            "weights_fingerprint": "2" * 64,
            "pretraining_group": conditions["pretraining_group"],
        },
        "results": results,
        "cost": {
            "train_minutes": round(2 + 60 * draw.random(), 2),
            "num_models": 6,
            "steps": 5000,
            "images_per_second": 640.0,
            "peak_memory_gib": round(1 + 20 * draw.random(), 2),
            "device": "made-up device",
            "num_threads": 8,
        },
        "versions": {"python": "3.11", "torch": "2.8", "timm": "1.0"},
        "commit": None,
    }


def write_records(folder: Path, *, competitions: int, runs: int, largest: int = 0) -> int:
    """Write made-up records as files below `folder` and return how many there are."""
    sizes = {f"made-up-{k:02}": runs for k in range(competitions)} | ({"made-up-largest": largest} if largest else {})
    total = 0
    for competition, count in sizes.items():
        for number in range(count):
            record = made_up_record(competition, number)
            place = folder / record["run_id"]
            place.mkdir(parents=True, exist_ok=True)
            (place / "record.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
            total += 1
    return total


def opening_seconds(pages: list[Path], *, rounds: int) -> Iterator[tuple[Path, float, float]]:
    """Yield (page, seconds to the load event, seconds to the frame after it) for each page, medians over `rounds`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        for path in pages:
            times = []
            for _ in range(rounds):
                page = chromium.new_page(viewport={"width": 1280, "height": 900})
                page.goto(path.as_uri(), wait_until="load")
                # Milliseconds since navigation began; the second frame after load has been laid out and painted.
                after = (
                    "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(performance.now()))))"
                )
                painted = page.evaluate(after)
                loaded = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
                times.append((loaded / 1000, painted / 1000))
                page.close()
            yield (path, *(statistics.median(column) for column in zip(*times, strict=True)))
        chromium.close()


def main(arguments: list[str]) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.site")
    parser.add_argument("--out", type=Path, required=True, help="folder for records and site; made anew")
    parser.add_argument("--competitions", type=int, default=40)
    parser.add_argument("--runs", type=int, default=125)
    parser.add_argument("--largest", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    from kit.board.site import write_site

    records, site = options.out / "records", options.out / "board"
    for folder in (records, site):
        shutil.rmtree(folder, ignore_errors=True)
    count = write_records(records, competitions=options.competitions, runs=options.runs)

    def build() -> tuple[float, float, int]:
        start, worked = time.perf_counter(), time.process_time()
        made = write_site(folders=[records], folder=site).made
        return time.perf_counter() - start, time.process_time() - worked, len(made)

    print(f"`python -m tests.bench.site {' '.join(arguments)}` on {hardware()}.\n\n| what | |\n| --- | --- |")
    for what in ("all pages made", "nothing changed", "one run more"):
        if what == "one run more":
            more = made_up_record("made-up-00", options.runs)
            (records / more["run_id"]).mkdir()
            (records / more["run_id"] / "record.json").write_text(json.dumps(more), encoding="utf-8")
        seconds, worked, made = build()
        print(
            f"| {count:,} runs, {what}: {made} competitions | {seconds:.2f} s ({worked:.2f} s of one core) |",
            flush=True,
        )
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    print(f"| size of the site | {size / 2**20:.1f} MiB |")
    pages = [site / "index.html", site / "made-up-01.html"]
    if options.largest:
        say(f"one more competition, of {options.largest:,} runs")
        write_records(records, competitions=0, runs=0, largest=options.largest)
        seconds, worked, _ = build()
        print(f"| a competition of {options.largest:,} runs more | {seconds:.2f} s ({worked:.2f} s of one core) |")
        pages.append(site / "made-up-largest.html")
    for path, loaded, painted in opening_seconds(pages, rounds=options.rounds):
        kib = path.stat().st_size / 2**10
        print(f"| {path.name}, {kib:,.0f} KiB, opened: load event, painted | {loaded:.2f} s, {painted:.2f} s |")


if __name__ == "__main__":
    main(sys.argv[1:])
