"""The package elpv-dataset carries the solar cells as images; this writes them as files, with soft labels."""

import csv
from itertools import groupby
from pathlib import Path

from kit.data.pixels import write_images
from kit.errors import FetchError

CELLS_PER_MODULE = 60  # 44 modules gave 2,624 cells


def materialise(data_dir: Path) -> None:
    """Write images/cellNNNN.png (300 x 300, grey) and labels.csv, in the publisher's order.

    Raises:
        FetchError: the package elpv-dataset is not installed.
    """
    try:
        from elpv_dataset.utils import load_dataset
    except ImportError as error:
        raise FetchError(
            "elpv needs the package elpv-dataset (90.8 MB), which carries the images, and it is not installed here. "
            "Install it with `pip install elpv-dataset` and run the same command again."
        ) from error
    images, defect_probabilities, types = load_dataset()
    names = [f"images/cell{number:04d}.png" for number in range(1, len(images) + 1)]
    write_images(data_dir, images, names)
    with (data_dir / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["image", "functional", "defective", "type", "module"])
        for name, defective, kind, module in zip(names, defect_probabilities, types, _modules(types), strict=True):
            rows.writerow([name, 1 - float(defective), float(defective), kind, module])


def _modules(types: list[str]) -> list[str]:
    """Return the module that each cell was probably cut from: cells of one module stand behind each other.

    The public file names no module. Its runs of one type are 60, 300, 180, 360, 714, 530, 72, 180, 48 and 180 cells
    long: parted into equal pieces of about 60, they give the 44 modules that the authors report.
    """
    modules: list[str] = []
    num_modules = 0
    for _, run in groupby(types):
        num_cells = len(list(run))
        pieces = max(1, round(num_cells / CELLS_PER_MODULE))
        modules += [f"{num_modules + 1 + k * pieces // num_cells:02d}" for k in range(num_cells)]
        num_modules += pieces
    return modules
