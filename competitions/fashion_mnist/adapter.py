"""The publisher packs the pictures into four IDX files, in MNIST's layout; this writes them as images."""

import csv
from pathlib import Path

from kit.data.pixels import read_idx, write_images
from kit.errors import DataError

KINDS = (  # by the publisher's number
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def materialise(data_dir: Path) -> None:
    """Write train/NNNNN.png and test/NNNNN.png (28 x 28, grey) and labels.csv, in the publisher's order."""
    rows = [("image", "kind", "split")]
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images = read_idx(data_dir / f"{prefix}-images-idx3-ubyte.gz")
        numbers = read_idx(data_dir / f"{prefix}-labels-idx1-ubyte.gz")
        if len(images) != len(numbers) or numbers.max() >= len(KINDS):
            raise DataError(
                f"{data_dir} has {len(images)} {split} images and {len(numbers)} labels up to {numbers.max()}: "
                "expected as many labels as images, from 0 to 9. Fetch it again."
            )
        names = [f"{split}/{number:05d}.png" for number in range(len(images))]
        write_images(data_dir, images, names)
        rows += [(name, KINDS[number], split) for name, number in zip(names, numbers.tolist(), strict=True)]
    with (data_dir / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
