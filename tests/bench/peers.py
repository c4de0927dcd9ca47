"""fast.ai, and a plain loop of timm and torchvision, on one list of image files. Imports nothing of the kit.

    PYTHON tests/bench/peers.py fastai|plain JOB.json ANSWER.json

`tests.bench.lesson` calls it, for fast.ai with a Python of its own (the dependency group `peers`). The job says which
files, network, weights, size, batch, epochs and rates; the answer has a line per epoch.

fast.ai is what its documentation shows: ImageDataLoaders with Resize and aug_transforms, vision_learner, one cycle on
the frozen body at its default rate (or the job's), then `fine_tune`'s second half: unfrozen, rates from lr / 100 to
lr. Weights are read from the file by timm: vision_learner hands `pretrained_cfg_overlay` on to timm.create_model.
"""

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

Job = dict[str, Any]


def main(peer: str, job_file: str, answer_file: str) -> None:
    """Do one job and write its answer."""
    warnings.simplefilter("ignore")  # of other people's libraries
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    torch.manual_seed(job["seed"])
    epochs, how = {"fastai": fastai, "plain": plain}[peer](job)
    answer = {"how": how, "epochs": epochs, "torch": torch.__version__}
    Path(answer_file).write_text(json.dumps(answer), encoding="utf-8")


def said(epochs: list[dict[str, Any]]) -> None:
    """Print the newest epoch."""
    one = epochs[-1]
    print(
        f"    epoch {len(epochs)} ({one['stage']}): {one['num_images'] / one['train_seconds']:.0f} images/s, "
        f"accuracy {one['accuracy']:.4f}, {one['seconds'] / 60:.1f} min",
        file=sys.stderr,
        flush=True,
    )


def pretrained(job: Job) -> dict[str, Any]:
    """Return timm's arguments for the job's weights."""
    if not job["weights"]:
        return {"pretrained": False}
    return {"pretrained": True, "pretrained_cfg_overlay": {"file": job["weights"]}}


def fastai(job: Job) -> tuple[list[dict[str, Any]], str]:
    """Train as fast.ai's lesson does, with its defaults."""
    import fastai as library
    import pandas as pd
    from fastai.vision.all import Callback, ImageDataLoaders, Resize, accuracy, aug_transforms, vision_learner

    rows = [(*row, False) for row in job["train"]] + [(*row, True) for row in job["test"]]
    loaders = ImageDataLoaders.from_df(
        pd.DataFrame(rows, columns=["path", "label", "is_valid"]),
        path=job["root"],
        valid_col="is_valid",
        item_tfms=Resize(job["image_size"]),
        batch_tfms=aug_transforms(),
        bs=job["batch_size"],
        device=torch.device(job["device"]),
    )
    epochs: list[dict[str, Any]] = []

    class Clock(Callback):
        order = 90  # after the recorder

        def before_train(self) -> None:
            self.begun = time.perf_counter()

        def after_train(self) -> None:
            wait(job)
            self.trained = time.perf_counter()

        def after_epoch(self) -> None:
            epochs.append(
                {
                    "stage": self.learn.stage_name,
                    "num_images": self.learn.dls.train.n // job["batch_size"] * job["batch_size"],  # drops the rest
                    "train_seconds": self.trained - self.begun,
                    "seconds": time.perf_counter() - self.begun,
                    "accuracy": float(self.learn.recorder.values[-1][-1]),
                }
            )
            said(epochs)

    learn = vision_learner(loaders, job["architecture"], metrics=accuracy, cbs=Clock(), **pretrained(job))
    if job["half"]:
        learn = learn.to_fp16()
    learn.freeze()  # with pretrained weights it is already
    learn.stage_name = "head"
    with learn.no_bar(), learn.no_logging():
        if job["frozen_epochs"]:
            learn.fit_one_cycle(job["frozen_epochs"], job["fastai_lr"])
        if job["epochs"]:
            learn.unfreeze()
            learn.stage_name = "all"
            # fine_tune's second half, with its defaults.
            learn.fit_one_cycle(job["epochs"], slice(1e-3 / 100, 1e-3), pct_start=0.3, div=5.0)
    rate = job["fastai_lr"] or "default lr"
    return epochs, f"fast.ai {library.__version__}, {rate}{', to_fp16' if job['half'] else ''}"


class Files(torch.utils.data.Dataset):
    """Image files through a transform."""

    def __init__(self, root: str, rows: list[list[str]], classes: list[str], transform: Any) -> None:
        self.root, self.rows, self.classes, self.transform = Path(root), rows, classes, transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        path, label = self.rows[index]
        with Image.open(self.root / path) as image:
            return self.transform(image.convert("RGB")), self.classes.index(label)


def plain(job: Job) -> tuple[list[dict[str, Any]], str]:
    """Train as a script of timm's model, timm's transforms, torch's loader, AdamW and OneCycleLR does."""
    import timm

    classes = sorted({label for _, label in job["train"]})
    device = torch.device(job["device"])
    model = timm.create_model(job["architecture"], num_classes=len(classes), **pretrained(job)).to(device)
    config = {
        **timm.data.resolve_model_data_config(model),
        "input_size": (3, job["image_size"], job["image_size"]),
    }
    config.pop("crop_mode", None)
    augmenting = timm.data.create_transform(
        **config, is_training=True, scale=(0.35, 1.0), ratio=(3 / 4, 4 / 3), color_jitter=(0.2, 0.2, 0.0)
    )
    options = {"batch_size": job["batch_size"], "num_workers": job["workers"], "pin_memory": device.type == "cuda"}
    options["persistent_workers"] = job["workers"] > 0
    train_loader = torch.utils.data.DataLoader(
        Files(job["root"], job["train"], classes, augmenting), shuffle=True, drop_last=True, **options
    )
    test_loader = torch.utils.data.DataLoader(
        Files(job["root"], job["test"], classes, timm.data.create_transform(**config)), **options
    )
    epochs: list[dict[str, Any]] = []
    half = torch.autocast("cuda", dtype=torch.bfloat16, enabled=device.type == "cuda")
    head = {id(parameter) for parameter in model.get_classifier().parameters()}
    for stage, num_epochs, lr in (
        ("head", job["frozen_epochs"], job["frozen_lr"]),
        ("all", job["epochs"], job["lr"]),
    ):
        if not num_epochs:
            continue
        for parameter in model.parameters():
            parameter.requires_grad_(stage == "all" or id(parameter) in head)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0.05)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=num_epochs * len(train_loader))
        for _ in range(num_epochs):
            begun = time.perf_counter()
            model.train()
            for images, labels in train_loader:
                with half:
                    loss = nn.functional.cross_entropy(
                        model(images.to(device, non_blocking=True)), labels.to(device, non_blocking=True)
                    )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                cycle.step()
            wait(job)
            trained = time.perf_counter()
            model.eval()
            right = 0
            with torch.inference_mode(), half:
                for images, labels in test_loader:
                    right += int((model(images.to(device)).argmax(dim=1).cpu() == labels).sum())
            epochs.append(
                {
                    "stage": stage,
                    "num_images": len(train_loader) * job["batch_size"],
                    "train_seconds": trained - begun,
                    "seconds": time.perf_counter() - begun,
                    "accuracy": right / len(job["test"]),
                }
            )
            said(epochs)
    return epochs, f"timm {timm.__version__} and torchvision, a plain loop"


def wait(job: Job) -> None:
    """Let a GPU finish before the clock is read."""
    if job["device"].startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    main(*sys.argv[1:])
