"""Kaggle gives two tables and no images: passengers become rows without a path, and their columns become features."""

import csv
from pathlib import Path

import pandas as pd

from kit.data.labels import read_table

_ID = "PassengerId"
_NUMBERS = ("Pclass", "Age", "SibSp", "Parch", "Fare")
_WORDS = ("Sex", "Embarked", "Title", "Deck")


def materialise(data_dir: Path) -> None:
    """Write sides.csv, and gender_submission.csv where the source has none: women survive, men do not."""
    sides = {side: read_table(data_dir / f"{side}.csv", columns=[_ID, "Sex"]) for side in ("train", "test")}
    rows = [(passenger, side) for side, table in sides.items() for passenger in table[_ID]]
    _write(data_dir / "sides.csv", (_ID, "side"), rows)
    sample = data_dir / "gender_submission.csv"
    if not sample.is_file():
        test = sides["test"]
        _write(sample, (_ID, "Survived"), zip(test[_ID], (test["Sex"] == "female").astype(int), strict=True))


def train_samples(data_dir: Path) -> pd.DataFrame:
    """Return a row per passenger of both tables: image_id is PassengerId, and the test table has no labels."""
    train = read_table(data_dir / "train.csv", columns=[_ID, "Survived"])
    test = read_table(data_dir / "test.csv", columns=[_ID])
    labels = [*train["Survived"], *[""] * len(test)]
    return pd.DataFrame({"image_id": [*train[_ID], *test[_ID]], "path": "", "label": labels})


def features(data_dir: Path) -> pd.DataFrame:
    """Return what a model may learn from, a row per PassengerId: nothing here was fitted, so folds stay apart.

    Columns: Pclass, Age (years), SibSp, Parch, Fare (pounds) as numbers, NaN where nothing is known; Sex, Embarked,
    Title (of the name: Mr, Mrs, Miss, Master, ...), Deck (first letter of the cabin) as text, "" likewise. Family is
    the number aboard of a family with oneself.
    """
    columns = [_ID, "Name", "Sex", "Embarked", "Cabin", *_NUMBERS]
    tables = [read_table(data_dir / f"{side}.csv", columns=columns) for side in ("train", "test")]
    both = pd.concat(tables, ignore_index=True)
    found = both[list(_NUMBERS)].apply(pd.to_numeric)
    found["Family"] = found["SibSp"] + found["Parch"] + 1
    both["Title"] = both["Name"].str.extract(r", *([^.,]+)\.", expand=False).fillna("").str.strip()
    both["Deck"] = both["Cabin"].str[:1]
    return found.join(both[list(_WORDS)]).set_index(pd.Index(both[_ID], name="image_id"))


def _write(path: Path, header: tuple[str, str], rows: object) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(header)
        lines.writerows(rows)
