"""What pruners end and save: on real one-cycle trainings, drawn into sweeps, and on made-up curves.

    python -m tests.bench.pruning --out FOLDER [--seconds 150]

Small networks on 300 of scikit-learn's digits, 2 to 24 epochs, learning rates over three decades, other batch sizes,
weight decays and augmentation each; held out are the other 1,497. The trainings are kept in --out. A sweep is a draw of
them without replacement: who would have won is known, since all were trained to their end.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from optuna.pruners import BasePruner, MedianPruner

from kit.tune.pruning import FairPruner
from tests.one_cycle import Training, one_cycle_trainings, play, table

NUM_TRAIN = 300
SWEEPS = 40


def main() -> None:
    """Train what is not trained yet, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pruning")
    parser.add_argument("--out", type=Path, required=True, help="folder for finished trainings")
    parser.add_argument("--seconds", type=float, default=150, help="of training")
    options = parser.parse_args()
    path = options.out / "trainings.json"
    if not path.is_file():
        options.out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(trained(options.seconds)), encoding="utf-8")
    curves = json.loads(path.read_text(encoding="utf-8"))
    for name in ("errors", "losses"):
        for num_trials in (24, 48):
            print(f"\n{len(curves)} real trainings, {name}, {SWEEPS} sweeps of {num_trials} trials")
            show([drawn([one[name] for one in curves], num_trials, seed=seed) for seed in range(SWEEPS)])
    for num_trials in (24, 60):
        print(f"\nmade-up curves, {SWEEPS} sweeps of {num_trials} trials")
        show([one_cycle_trainings(num_trials, seed=seed) for seed in range(SWEEPS)])


def show(sweeps: list[list[Training]]) -> None:
    """Print a line for each pruner."""
    pruners: dict[str, tuple[Callable[[], BasePruner], bool]] = {
        "median, by epoch": (MedianPruner, True),
        "median, by share": (MedianPruner, False),
        "fair": (FairPruner, False),
    }
    for name, (make, by_epoch) in pruners.items():
        print(f"{name:18s} {table([play(sweep, make(), by_epoch=by_epoch) for sweep in sweeps])}", flush=True)


def drawn(curves: list[list[float]], number: int, *, seed: int) -> list[Training]:
    """Return so many of the trainings; equal last errors are told apart by chance, once."""
    random = np.random.default_rng(seed)
    rows = random.choice(len(curves), size=number, replace=False)
    return [Training(np.array(curves[row]) + random.uniform(0, 1e-6)) for row in rows]


def trained(seconds: float) -> list[dict[str, Any]]:
    """Return trainings, one after the other, for so long."""
    import torch
    from sklearn.datasets import load_digits

    torch.set_num_threads(1)
    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(pixels / 16, dtype=torch.float32).view(-1, 1, 8, 8)[order]
    truth = torch.tensor(labels)[order]
    random = np.random.default_rng(1)
    found: list[dict[str, Any]] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        settings = {
            "epochs": round(2 ** random.uniform(1, 4.6)),
            "lr": 10 ** random.uniform(-4, -1),
            "weight_decay": 10 ** random.uniform(-3, 0),
            "batch_size": int(random.choice([8, 16, 32])),
            "strength": random.uniform(0, 2),
            "drop_rate": float(random.choice([0, 0.3])),
            "seed": len(found),
        }
        errors, losses = one_training(images, truth, **settings)
        found.append({**settings, "errors": errors, "losses": losses})
    return found


def one_training(
    images: Any,
    truth: Any,
    *,
    epochs: int,
    lr: float,
    weight_decay: float,
    batch_size: int,
    strength: float,
    drop_rate: float,
    seed: int,
) -> tuple[list[float], list[float]]:
    """Return the held-out error and loss after each epoch of a one-cycle training with AdamW."""
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    torch.manual_seed(seed)
    network = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Flatten(), nn.Dropout(drop_rate), nn.Linear(512, 10)),
    )
    steps = NUM_TRAIN // batch_size
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * steps, pct_start=0.25)
    errors, losses = [], []
    for _ in range(epochs):
        network.train()
        for rows in torch.randperm(NUM_TRAIN)[: steps * batch_size].view(steps, batch_size):
            noisy = images[rows] + 0.15 * strength * torch.randn(batch_size, 1, 8, 8)
            optimizer.zero_grad()
            cross_entropy(network(noisy), truth[rows], label_smoothing=0.1).backward()
            optimizer.step()
            schedule.step()
        network.eval()
        with torch.no_grad():
            logits = network(images[NUM_TRAIN:])
        errors.append(float((logits.argmax(dim=1) != truth[NUM_TRAIN:]).float().mean()))
        losses.append(float(cross_entropy(logits, truth[NUM_TRAIN:])))
    return errors, losses


if __name__ == "__main__":
    main()
