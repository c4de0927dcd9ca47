"""Hold out: labelled images of a competition become a hidden test, and the files that participants get.

The files keep the shape that Kaggle gave them where the labels are a CSV and the test images lie in a folder of their
own: the competition's own folder of the kit then reads them. Otherwise they come as `train/`, `train.csv`, `test/` and
`sample_submission.csv`, with a folder `competition/` that tells the kit so. Hidden images get names that say nothing,
and only rows of images that were kept for training go into any table.
"""

import csv
import io
import json
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from shutil import copyfile

import pandas as pd

from kit.competition import Competition
from kit.data.labels import read_table, without_image_suffix
from kit.data.samples import Samples
from kit.data.schema import has_targets, labelled, target_columns
from kit.data.splits import random_split
from kit.errors import CompetitionError
from kit.home import filling, fingerprint
from kit.host.reading import form_of
from kit.progress import Say

SOME_DAY = 946_684_800  # 2000-01-01: a file's own time could tell where it was


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What `hold_out` wrote."""

    solution: Path
    data: Path
    num_train: int
    num_hidden: int


def hold_out(
    competition: Competition, samples: Samples, folder: Path, *, share: float | None, secret: str, say: Say
) -> HeldOut:
    """Write solution and files for participants below `folder`.

    Args:
        competition: the question.
        samples: its table under the default protocol; groups stay on one side.
        folder: gets `files/` and `held_out.csv`.
        share: of the labelled training images, in (0, 1); None: the protocol's own labelled test images are hidden.
        secret: decides which images are hidden and how they are named; it should be nobody else's.
        say: takes a line of progress.

    Raises:
        CompetitionError: no image would be hidden, or none kept; submissions have a form of their own.
    """
    form_of(competition)
    table = samples.table[labelled(samples.table) & (samples.table["path"] != "")]
    side = table["split"]
    if share is not None:
        if not 0 < share < 1:
            raise CompetitionError(f"The share to hold out is {share:g}; a number between 0 and 1 was expected.")
        table = table[table["split"] == "train"]
        seed = int(fingerprint(secret)[:8], 16)
        side = pd.Series(random_split(table["group"], share=share, seed=seed), index=table.index)
    kept, hidden = table[side == "train"], table[side == "test"]
    if kept.empty or hidden.empty:
        what = "hidden" if hidden.empty else "kept for training"
        raise CompetitionError(
            f"No labelled image of {competition.slug} would be {what}. Hold out a share of the training images with "
            "--holdout, e.g. --holdout 0.2, or give the truth of its test images with --solution FILE."
        )
    names = [fingerprint(secret, image_id)[:16] for image_id in hidden["image_id"]]
    hidden = hidden.assign(file=[name + PurePosixPath(p).suffix for name, p in zip(names, hidden["path"], strict=True)])
    hidden = hidden.sort_values("file", ignore_index=True)  # the order must tell nothing either
    files = _kaggle_shape(competition, samples, kept, hidden) or _plain_shape(competition, samples, kept, hidden)
    say(f"writing {len(kept):,} images for training and {len(hidden):,} to predict")
    with filling(folder / "files") as part:
        _write(files, part, _archives(competition))
        (part / ".held_out.csv").write_text(_truth(competition, hidden), encoding="utf-8")  # not listed: of the host
    (folder / "files" / ".held_out.csv").replace(folder / "held_out.csv")
    return HeldOut(solution=folder / "held_out.csv", data=folder / "files", num_train=len(kept), num_hidden=len(hidden))


def _kaggle_shape(
    competition: Competition, samples: Samples, kept: pd.DataFrame, hidden: pd.DataFrame
) -> dict[str, Path | str] | None:
    """Return name -> file or text as the competition's own rules read them; None where they do not say all of it."""
    rule = competition.labels
    pattern = competition.protocol().test_files or competition.test_files
    test = re.split(r"[*?\[]", pattern)[0].rpartition("/")[0]
    if rule.rule != "csv" or not test or not competition.submission.sample:
        return None
    rows = read_table(samples.folder / rule.file, columns=[rule.id_column], delimiter=rule.delimiter)
    names = [without_image_suffix(PurePosixPath(name).name) for name in rows[rule.id_column]]
    wanted = {without_image_suffix(PurePosixPath(path).name) for path in kept["path"]}
    rows = rows[[name in wanted for name in names]]
    if len(wanted) != len(kept) or len(rows) != len(kept):
        return None  # images of one name in several folders: which row is whose cannot be told
    return {
        rule.file: rows.to_csv(index=False, sep=rule.delimiter, lineterminator="\n"),
        competition.submission.sample: _sample(competition, hidden),
        **{path: samples.folder / path for path in kept["path"]},
        **_images(f"{test}/", hidden["file"], hidden["path"], samples),
    }


def _plain_shape(
    competition: Competition, samples: Samples, kept: pd.DataFrame, hidden: pd.DataFrame
) -> dict[str, Path | str]:
    """Return name -> file or text in the plain shape, with the kit's folder of it."""
    kept = kept.sort_values("image_id").reset_index(drop=True)
    kept = kept.assign(file=[f"{k:06d}{PurePosixPath(path).suffix}" for k, path in enumerate(kept["path"])])
    columns = ["file", *(target_columns(competition.classes) if has_targets(kept) else ["label"])]
    recipes = sorted((competition.folder / "recipes").glob("*.toml"))
    return {
        "train.csv": kept[columns].to_csv(index=False, lineterminator="\n"),
        "sample_submission.csv": _sample(competition, hidden),
        "competition/competition.toml": _competition_toml(competition, several=has_targets(kept), num_test=len(hidden)),
        **{f"competition/recipes/{path.name}": path for path in recipes},
        **_images("train/", kept["file"], kept["path"], samples),
        **_images("test/", hidden["file"], hidden["path"], samples),
    }


def _images(folder: str, names: pd.Series, paths: pd.Series, samples: Samples) -> dict[str, Path | str]:
    """Return name below `folder` -> file, of the images at `paths`."""
    return {f"{folder}{name}": samples.folder / path for name, path in zip(names, paths, strict=True)}


def _ids(competition: Competition, hidden: pd.DataFrame) -> list[str]:
    """Return the ids of the hidden images as submissions have them."""
    names: list[str] = hidden["file"].tolist()
    return names if competition.submission.ids == "name" else [without_image_suffix(name) for name in names]


def _sample(competition: Competition, hidden: pd.DataFrame) -> str:
    rule, classes = competition.submission, competition.classes
    guess: Mapping[str, list[str]] = {
        "label": [classes[0]],
        "labels": [""],
        "probability_of": ["0.5"],
        "probabilities": [f"{1 / len(classes):.6g}"] * len(classes),
    }
    return _csv([_header(competition), *([one, *guess[rule.values]] for one in _ids(competition, hidden))])


def _truth(competition: Competition, hidden: pd.DataFrame) -> str:
    """Return the solution."""
    rule, classes = competition.submission, competition.classes
    rows = []
    for image_id, (_, row) in zip(_ids(competition, hidden), hidden.iterrows(), strict=True):
        if has_targets(hidden):
            targets = [float(row[column]) for column in target_columns(classes)]
        else:
            targets = [float(name == row["label"]) for name in classes]
        cells = {
            "label": [classes[targets.index(max(targets))]],
            "labels": [rule.separator.join(name for name, target in zip(classes, targets, strict=True) if target == 1)],
            "probability_of": [repr(targets[classes.index(rule.of_class)]) if rule.of_class in classes else ""],
            "probabilities": [repr(target) for target in targets],
        }
        rows.append([image_id, *cells[rule.values]])
    return _csv([_header(competition), *rows])


def _header(competition: Competition) -> list[str]:
    return list(form_of(competition).columns)


def _csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _archives(competition: Competition) -> dict[str, str]:
    """Return folder -> name of the zip in which the competition's source on Kaggle has it."""
    kaggle = [source for source in competition.sources.values() if source.kaggle]
    packed = [file.name for source in kaggle[:1] for file in source.files if file.unpack]
    return {PurePosixPath(name).stem: name for name in packed if name.endswith(".zip")}


def _write(files: Mapping[str, Path | str], folder: Path, archives: Mapping[str, str]) -> None:
    """Write files; those below a folder of `archives` into its zip, with the folder in their names."""
    bundles: dict[str, zipfile.ZipFile] = {}
    try:
        for name, content in files.items():
            top = name.split("/")[0]
            if "/" in name and top in archives:
                bundle = bundles.get(top) or bundles.setdefault(top, zipfile.ZipFile(folder / archives[top], "w"))
                member = zipfile.ZipInfo(name)
                member.external_attr = 0o644 << 16
                bundle.writestr(member, content.read_bytes() if isinstance(content, Path) else content)
                continue
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                path.write_text(content, encoding="utf-8", newline="")
                continue
            copyfile(content, path)
            os.utime(path, (SOME_DAY, SOME_DAY))
    finally:
        for bundle in bundles.values():
            bundle.close()


def _competition_toml(competition: Competition, *, several: bool, num_test: int) -> str:
    """Return the competition.toml of the plain shape."""
    rule, metric, name = competition.submission, competition.protocol().metric, competition.kaggle or competition.slug
    values: dict[str, dict[str, object]] = {
        "": {
            "title": competition.title,
            "homepage": competition.homepage,
            "licence": competition.licence,
            "citation": competition.citation,
            "task": competition.task,
            "metric": metric,
            "kaggle": name,
            "default_protocol": "hosted",
            "default_recipe": competition.default_recipe,
            "test_files": "test/*",
            "classes": list(competition.classes),
        },
        "sources.hosted": {"kaggle": name},
        "labels": {
            "rule": "csv",
            "file": "train.csv",
            "id_column": "file",
            "folder": "train",
            **({"target_columns": target_columns(competition.classes)} if several else {"label_column": "label"}),
        },
        "protocols.hosted": {
            "description": "The host's hidden images",
            "training_pool": "hosted-train",
            "train": "the images that the host gives",
            "test_images": "hosted-hidden",
            "test": f"{num_test:,} hidden images",
            "num_test": num_test,
            "metric": metric,
        },
        "submission": {
            "id_column": rule.id_column,
            "values": rule.values,
            "label_column": rule.label_column,
            "separator": rule.separator,
            "of_class": rule.of_class,
            "ids": "name" if rule.ids == "name" else "stem",
            "sample": "sample_submission.csv",
        },
    }
    lines = []
    for table, entries in values.items():
        lines += [f"\n[{table}]"] if table else []
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in entries.items()]  # also TOML
    return "\n".join(lines) + "\n"
