"""The kit's part of `tests.bench.lesson`, in a process of its own: the same job as the peers get, the same answer.

python -m tests.bench.lesson_kit JOB.json ANSWER.json STORE_SIZE [KEY=VALUE ...]
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from kit.config import Recipe, recipe_from_dict
from kit.store.pack import Pack, pack_files
from kit.train.loop import EpochLog, fit
from kit.train.model import make_network


def main(job_file: str, answer_file: str, store_size: str, *overrides: str) -> None:
    """Do one job and write its answer."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    train, test, pack, classes = tables_of(job, store_size=int(store_size))
    recipe = recipe_of(job, store_size=int(store_size), overrides=overrides)
    network = make_network(recipe.model, num_classes=len(classes), seed=job["seed"])
    epochs: list[dict[str, Any]] = []

    def report(log: EpochLog) -> None:
        num_images = len(train) - (len(train) % job["batch_size"] == 1)
        epochs.append(
            {
                "stage": log.stage,
                "num_images": num_images,
                "train_seconds": num_images / log.images_per_second,
                "seconds": log.seconds,
                "accuracy": log.valid_accuracy,
            }
        )
        print(
            f"    epoch {log.epoch} ({log.stage}): {log.images_per_second:.0f} images/s, accuracy "
            f"{log.valid_accuracy:.4f}, {log.seconds / 60:.1f} min",
            file=sys.stderr,
            flush=True,
        )

    with tempfile.TemporaryDirectory() as folder:
        fit(
            network,
            pack,
            train,
            test,
            recipe=recipe,
            classes=classes,
            several=False,
            folder=Path(folder),
            device=torch.device(job["device"]),
            seed=job["seed"],
            report=report,
        )
    answer = {"how": "the kit", "epochs": epochs, "torch": torch.__version__}
    Path(answer_file).write_text(json.dumps(answer), encoding="utf-8")


def recipe_of(job: dict[str, Any], *, store_size: int, overrides: Sequence[str] = ()) -> Recipe:
    """Return the kit's recipe for a job: the lesson's head and augmentation, rates chosen out of fold."""
    recipe = {
        "num_folds": 0,
        "seed": job.get("seed", 1),
        "device": job["device"],
        "model": {"name": job["architecture"], "weights": job["weights"] or "none", "head": "concat-pool"},
        "input": {"image_size": job["image_size"], "store_size": store_size, "test_crop": 0.875},
        "augment": {"smallest_crop": 0.35},
        "schedule": {
            "frozen_epochs": job["frozen_epochs"],
            "frozen_lr": job["frozen_lr"],
            "epochs": job["epochs"],
            "lr": job["lr"],
            "lr_spread": 10,
            "batch_size": job["batch_size"],
        },
    }
    return recipe_from_dict(recipe, overrides=overrides)


def tables_of(job: dict[str, Any], *, store_size: int) -> tuple[pd.DataFrame, pd.DataFrame, Pack, tuple[str, ...]]:
    """Return training and test rows, their pack (KIT_HOME keeps it) and the classes; repeated images get own ids."""
    frames = []
    for name in ("train", "test"):
        frame = pd.DataFrame(job[name], columns=["path", "label"])
        frames.append(frame.assign(image_id=[f"{name}/{k}/{path}" for k, path in enumerate(frame["path"])]))
    both = pd.concat(frames)
    sizes = [Path(job["root"], path).stat().st_size for path in both["path"]]
    pack = pack_files(
        Path(job["root"]),
        image_ids=both["image_id"].tolist(),
        paths=both["path"].tolist(),
        content_keys=[f"{path} {size}" for path, size in zip(both["path"], sizes, strict=True)],
        store_size=store_size,
        say=lambda line: print(f"    {line}", file=sys.stderr, flush=True),
    )
    return frames[0], frames[1], pack, tuple(sorted({label for _, label in job["train"]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
