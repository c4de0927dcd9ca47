"""The subset comes without a sample submission; this writes one for the test images that it has."""

import csv
from pathlib import Path


def materialise(data_dir: Path) -> None:
    """Write sample_submission.csv, ids in the order of their numbers, unless it is there, as in Kaggle's archive."""
    sample = data_dir / "sample_submission.csv"
    if sample.is_file():
        return
    ids = sorted((path.stem for path in (data_dir / "test").glob("*.jpg") if path.stem.isdecimal()), key=int)
    with sample.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("id", "label"), *((name, 0.5) for name in ids)])
