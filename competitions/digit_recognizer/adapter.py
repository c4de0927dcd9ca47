"""Kaggle gives the digits as numbers in two CSV files; this writes them as images."""

import csv
from pathlib import Path

SHAPE = (28, 28)  # rows, columns


def materialise(data_dir: Path) -> None:
    """Write train/N.png with labels.csv, and test/N.png; N counts the rows of a file from 1, as ImageId does."""
    from kit.data.pixels import read_pixel_csv, write_images

    images, labels = read_pixel_csv(data_dir / "train.csv", label_column="label", shape=SHAPE)
    names = [f"train/{number}.png" for number in range(1, len(images) + 1)]
    write_images(data_dir, images, names)
    with (data_dir / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("image", "label"), *zip(names, labels, strict=True)])
    images, _ = read_pixel_csv(data_dir / "test.csv", label_column=None, shape=SHAPE)
    write_images(data_dir, images, [f"test/{number}.png" for number in range(1, len(images) + 1)])
