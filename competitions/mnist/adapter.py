"""The publisher packs the digits into four IDX files; this writes them as images."""

import csv
from pathlib import Path

from kit.data.pixels import read_idx, write_images
from kit.errors import DataError


def materialise(data_dir: Path) -> None:
    """Write train/NNNNN.png and test/NNNNN.png (28 x 28, grey) and labels.csv, in the publisher's order."""
    rows = [("image", "digit", "split")]
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images = read_idx(data_dir / f"{prefix}-images-idx3-ubyte.gz")
        digits = read_idx(data_dir / f"{prefix}-labels-idx1-ubyte.gz")
        if len(images) != len(digits):
            raise DataError(f"{data_dir} has {len(images)} {split} images but {len(digits)} labels. Fetch it again.")
        names = [f"{split}/{number:05d}.png" for number in range(len(images))]
        write_images(data_dir, images, names)
        rows += [(name, str(digit), split) for name, digit in zip(names, digits.tolist(), strict=True)]
    with (data_dir / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
