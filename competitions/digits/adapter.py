"""Scikit-learn carries the digits as arrays; this writes them as files."""

import csv
from pathlib import Path


def materialise(data_dir: Path) -> None:
    """Write images/NNNN.png (8 x 8, grey, 16 levels spread over 0-255) and labels.csv, in scikit-learn's order."""
    import cv2
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    (data_dir / "images").mkdir()
    first_half = len(digits.target) // 2  # as train_test_split(test_size=0.5, shuffle=False) parts them
    with (data_dir / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["image", "digit", "half"])
        for number, (pixels, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
            name = f"images/{number:04d}.png"
            cv2.imwrite(str(data_dir / name), np.round(pixels * (255 / 16)).astype(np.uint8))
            rows.writerow([name, digit, "first" if number < first_half else "second"])
