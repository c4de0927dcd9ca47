"""Pixel neighbours and HOG with a support vector machine on all of Fashion-MNIST, beside the published rows.

    python -m tests.bench.own_models --mirror /usr/share/datasets --out FOLDER [--models pixel-knn hog-svm]

--mirror is a folder that has fashion-mnist/ with the publisher's four files, as Debian's package
dataset-fashion-mnist installs them. Each model learns from the 60,000 training images and is scored once on the 10,000
test images. Its settings are those that are usual for it, chosen on no image of the test list. Finished runs are kept
in --out.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import kit
from kit.home import write_json
from kit.learner.own_features import hog
from tests.bench.parts import Parts, hardware, say


def grey(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (S * S,) in [0, 1]: one channel, where all three are alike."""
    return image[..., 0].ravel().astype(np.float32) / np.float32(255)


class Margins:
    """A support vector machine whose margins become probabilities by a softmax: their order is all that is scored."""

    def __init__(self) -> None:
        self.scale, self.machine = StandardScaler(), SVC(C=10.0, cache_size=1000)

    def fit(self, rows: NDArray[np.float32], truth: NDArray[np.int64]) -> None:
        """Learn from rows (N, F) and class numbers (N,)."""
        self.machine.fit(self.scale.fit_transform(rows), truth)
        self.classes_ = self.machine.classes_

    def predict_proba(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return (N, K), each row summing to 1."""
        margins = self.machine.decision_function(self.scale.transform(rows))
        odds = np.exp(margins - margins.max(axis=1, keepdims=True))
        found: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
        return found


MODELS: dict[str, tuple[Any, Any]] = {
    "pixel-knn": (KNeighborsClassifier(5, weights="distance", n_jobs=-1), grey),
    "hog-svm": (Margins(), hog),
}


def main(arguments: list[str]) -> None:
    """Run what is not run yet, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.own_models")
    parser.add_argument("--mirror", required=True, help="folder with fashion-mnist/")
    parser.add_argument("--out", type=Path, required=True, help="folder for finished runs")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options = parser.parse_args(arguments)
    os.environ["KIT_HOME"] = str((options.out / "home").resolve())
    parts = Parts(options.out, settings={})
    found = [parts.get(name, lambda name=name: scored(name, mirror=options.mirror)) for name in options.models]
    print(f"`python -m tests.bench.own_models {' '.join(sys.argv[1:])}` on {hardware()}.\n")
    print("| model | accuracy | 95 % | minutes of learning | minutes in all |")
    print("| --- | --- | --- | --- | --- |")
    for one in found:
        print(
            f"| {one['model']} | {one['accuracy']:.4f} | [{one['low']:.4f}, {one['high']:.4f}] "
            f"| {one['train_minutes']:.1f} | {one['minutes']:.1f} |"
        )
    for one in found:
        print(f"\n| published, beside {one['model']} | year | accuracy | {one['model']} is |")
        print("| --- | --- | --- | --- |")
        for row in one["published"]:
            print(f"| {row['method']} | {row['year']} | {row['value']:.4f} | {row['verdict']} |")
    write_json(options.out / "own_models.json", {"command": sys.argv[1:], "hardware": hardware(), "runs": found})


def scored(name: str, *, mirror: str) -> dict[str, Any]:
    """Do one run and return its figures with the comparable published rows."""
    begun = time.perf_counter()
    data = kit.load("fashion_mnist", source="debian", mirror=mirror, size=28, folds=0, say=say)
    model, features = MODELS[name]
    run = kit.run_own(data, model, features=features, name=name)
    compared = run.compare("test")
    score = compared.score
    return {
        "model": name,
        "accuracy": score.value,
        "low": score.low,
        "high": score.high,
        "train_minutes": run.record.cost["train_minutes"],
        "minutes": (time.perf_counter() - begun) / 60,  # files, pack, features, learning, answers
        "published": [
            {
                "method": row.published.method,
                "year": row.published.year,
                "value": row.published.value,
                "verdict": row.verdict,
            }
            for row in compared.comparable
        ],
    }


if __name__ == "__main__":
    main(sys.argv[1:])
