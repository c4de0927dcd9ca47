"""What runs on Kaggle: an exported notebook calls these functions, offline, beside the data set made for it.

Nothing heavy is imported before `install_missing` has looked at what the session's image has. The session may end at
any minute: answers are written as they come, so that the next one goes on. `kit.export.train_in_kernel` trains there.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from kit.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch
    from numpy.typing import NDArray

    from kit.competition import Competition

DESCRIPTION = "kernel.json"
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz")
DEPTH = 4  # folders below the input folder that are looked into: where Kaggle mounts what has changed before
# Packages that give the same module: the image has one with windows, the kit asks for the one without.
SAME_MODULE = {
    "opencv-python-headless": (
        "opencv-python-headless",
        "opencv-python",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    )
}
RESERVE = 600.0  # seconds before the limit that are kept for what comes after the networks
RESERVE_SHARE = 0.1  # of a limit that is short


@dataclass(frozen=True, kw_only=True)
class Session:
    """Where and how long a notebook runs."""

    bundle: Path  # the data set that `kit export-kernel` made
    root: Path  # /kaggle/input
    working: Path  # /kaggle/working: what stays
    temporary: Path  # what does not
    limit_seconds: float
    begun: float = field(default_factory=time.monotonic)

    @property
    def about(self) -> dict[str, Any]:
        """What the data set says of itself."""
        told: dict[str, Any] = json.loads((self.bundle / DESCRIPTION).read_text(encoding="utf-8"))
        return told

    def seconds_left(self) -> float:
        """Return the time until nothing new is to be begun."""
        reserve = min(RESERVE, RESERVE_SHARE * self.limit_seconds)
        return self.begun + self.limit_seconds - reserve - time.monotonic()


def folders_below(root: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Yield the folders at most `depth` below `root`, the nearest first."""
    level = [root]
    for _ in range(depth):
        level = [entry for folder in level for entry in sorted(folder.iterdir()) if entry.is_dir()]
        yield from level


def install_missing(bundle: Path) -> list[str]:
    """Install the packages that the session lacks, from the data set's wheels and no network; return their names.

    Raises:
        ConfigError: a wheel that is needed is not in the data set.
    """
    from packaging.requirements import Requirement

    lines = (bundle / "wheels" / "wheels.txt").read_text(encoding="utf-8").splitlines()
    needed = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    missing = [str(one) for one in needed if not _is_installed(one)]
    if missing:
        wheels = str(bundle / "wheels")
        command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--find-links", wheels, *missing]
        if subprocess.run(command, check=False).returncode:
            raise ConfigError(
                f"This session's image lacks {', '.join(missing)}, and the data set's folder wheels/ does not have "
                "them all. Download them (`pip download --no-deps -d dataset/wheels ...`), for the image's version of "
                f"Python ({sys.version_info.major}.{sys.version_info.minor}), and push the data set again."
            )
    return missing


def _is_installed(requirement: Any) -> bool:
    for name in SAME_MODULE.get(requirement.name, (requirement.name,)):
        try:
            if requirement.specifier.contains(version(name), prereleases=True):
                return True
        except PackageNotFoundError:
            continue
    return False


def competition_of(session: Session) -> "Competition":
    """Return the competition, as the data set carries it."""
    from kit.competition import read_competition

    return read_competition(session.bundle / "code" / "competitions" / session.about["competition"])


def data_folder(session: Session, competition: "Competition") -> Path:
    """Return the folder of the competition's files in the kit's layout: in place, or unpacked beside where needed.

    Raises:
        DataError: the competition is not attached.
    """
    names = (session.about["kaggle"], competition.slug)
    found = next((folder for folder in folders_below(session.root) if folder.name in names), None)
    if found is None:
        raise DataError(
            f"No folder {names[0]!r} is below {session.root}: the competition's files are not attached to the "
            "notebook. Add it under competition_sources of kernel-metadata.json, and push again."
        )
    materialise = competition.adapter_function("materialise")
    archives = [path for path in sorted(found.iterdir()) if path.is_file() and path.suffix in ARCHIVES]
    if not archives and materialise is None:
        return found
    from kit.files.archives import unpack

    folder = session.temporary / "data"
    if not folder.is_dir():
        part = session.temporary / "data.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for archive in archives:
            unpack(archive, part)
        for entry in sorted(found.iterdir()):
            if entry not in archives and not (part / entry.name).exists():
                (part / entry.name).symlink_to(entry)
        if materialise is not None:
            materialise(part)
        part.rename(folder)
    return folder


def test_images(competition: "Competition", data: Path, protocol: str) -> "pd.DataFrame":
    """Return `image_id` and `path` of the test images that are here, without a look at any other image.

    Raises:
        DataError: the protocol has no test images of its own.
    """
    import pandas as pd

    from kit.data.labelling import label_images
    from kit.data.labels import find_images, image_id_of
    from kit.data.splits import official_split

    chosen = competition.protocol(protocol)
    if pattern := chosen.test_files or competition.test_files:
        paths = find_images(data, pattern)
    elif own := competition.adapter_function("test_samples"):
        paths = pd.DataFrame(own(data))["path"].astype("str").tolist()
    elif chosen.split == "official" and competition.official_split is not None:
        table = label_images(competition, data, competition.labels)
        sides, _ = official_split(table, competition.official_split, data, complete=False)
        return table.loc[[side == "test" for side in sides], ["image_id", "path"]].sort_values(
            "image_id", ignore_index=True
        )
    else:
        raise DataError(
            f"The protocol {protocol} of {competition.slug} has no test images that a notebook could be shown. Export "
            "a run on the protocol that is handed in."
        )
    table = pd.DataFrame({"image_id": [image_id_of(path) for path in paths], "path": paths})
    return table.sort_values("image_id", ignore_index=True)


def predict_there(session: Session) -> Path:
    """Answer all test images with the exported models, on every GPU there is, and write the submission.

    Answers are kept in `working`/answers as they come; those of an earlier session, where its output is attached,
    are used again. When the time is nearly over, the images that are left get the mean of the answers.

    Returns:
        `working`/submission.csv.
    """
    import numpy as np

    competition = competition_of(session)
    data = data_folder(session, competition)
    images = test_images(competition, data, session.about["protocol"])
    found = _answered(session, data, images["path"].tolist())
    rows = np.stack(list(found.values())) if found else np.full((1, len(competition.classes)), np.nan)
    instead = rows.mean(axis=0) if found else np.full(len(competition.classes), 1 / len(competition.classes))
    lacking = [path for path in images["path"] if path not in found]
    if lacking:
        print(f"{len(lacking):,} of {len(images):,} images have no answer of their own, first {lacking[:3]}")
    probabilities = np.stack([found.get(path, instead) for path in images["path"]]).astype(np.float32)
    return write_answers(session, competition, images, probabilities, data=data)


def _answered(session: Session, data: Path, paths: list[str]) -> "dict[str, NDArray[np.float32]]":
    """Return path -> probabilities (C,) of the images that could be answered in the time there is."""
    from kit.export.answer import AT_ONCE, Answering, answer, open_export
    from kit.home import sha256_of_file

    models = session.bundle / "model"
    key = sha256_of_file(models / "kit.json")
    kept = session.working / "answers"
    kept.mkdir(parents=True, exist_ok=True)
    chunks = [paths[at : at + AT_ONCE] for at in range(0, len(paths), AT_ONCE)]
    found: dict[str, NDArray[np.float32]] = {}
    left = []
    places = [kept, *(folder for folder in folders_below(session.root) if folder.name == kept.name)]
    for number, chunk in enumerate(chunks):
        earlier = _kept_answers(places, number, chunk, key=key)
        if earlier is None:
            left.append(number)
        else:
            found |= earlier
    print(f"{len(paths):,} test images, {len(found):,} answered before")
    waiting = iter(left)
    longest = 0.0

    def work(device: "torch.device") -> None:
        nonlocal longest
        answering: Answering = open_export(models, device=device)
        while (number := next(waiting, None)) is not None:
            if session.seconds_left() < 2 * longest:
                print("the time is over: no more images are begun")
                return
            begun = time.monotonic()
            chunk = chunks[number]
            answers = answer(answering, [data / path for path in chunk])
            own = {
                path: one.probabilities
                for path, one in zip(chunk, answers, strict=True)
                if one.probabilities is not None
            }
            _keep_answers(kept / f"{number:06d}.npz", own, num=len(chunk), key=key)
            found.update(own)
            longest = max(longest, time.monotonic() - begun)

    used = devices()
    with ThreadPoolExecutor(len(used)) as pool:
        for done in [pool.submit(work, device) for device in used]:
            done.result()
    return found


def devices() -> "list[torch.device]":
    """Return the session's GPUs, or its processor where it has none."""
    import torch

    return [torch.device("cuda", k) for k in range(torch.cuda.device_count())] or [torch.device("cpu")]


def _keep_answers(path: Path, answers: "dict[str, NDArray[np.float32]]", *, num: int, key: str) -> None:
    import numpy as np

    from kit.home import writing

    with writing(path, "wb") as file:
        values = np.stack(list(answers.values())) if answers else np.empty((0, 0), dtype=np.float32)
        np.savez(file, paths=np.array(list(answers), dtype=np.str_), values=values, num=num, key=key)


def _kept_answers(
    places: Sequence[Path], number: int, chunk: Sequence[str], *, key: str
) -> "dict[str, NDArray[np.float32]] | None":
    """Return the answers of one chunk that a session has kept in one of these folders, or None."""
    import numpy as np

    for folder in places:
        try:
            with (folder / f"{number:06d}.npz").open("rb") as file, np.load(file, allow_pickle=False) as kept:
                paths = kept["paths"].tolist()
                if str(kept["key"]) == key and int(kept["num"]) == len(chunk) and set(paths) <= set(chunk):
                    return dict(zip(paths, kept["values"], strict=True))
        except (OSError, ValueError, KeyError, BadZipFile):  # none, or it was cut
            continue
    return None


def write_answers(
    session: Session,
    competition: "Competition",
    images: "pd.DataFrame",
    probabilities: "NDArray[np.float32]",
    *,
    data: Path,
    clip: float | None = None,
) -> Path:
    """Write the submission of probabilities (N, C) of the rows of `images`."""
    import numpy as np

    from kit.judge.predict import Predictions
    from kit.kaggle.submission import submission_table, write_submission

    predictions: Predictions = Predictions(
        kind="test",
        image_ids=tuple(images["image_id"]),
        classes=competition.classes,
        probabilities=probabilities,
        labels=("",) * len(images),
        folds=np.full(len(images), -1, dtype=np.int64),
    )
    table = submission_table(
        competition,
        predictions,
        data=data,
        paths=dict(zip(images["image_id"], images["path"], strict=True)),
        sample=competition.protocol(session.about["protocol"]).sample,
        clip=session.about["clip"] if clip is None else clip,
    )
    path = write_submission(session.working / "submission.csv", table)
    print(f"{len(table):,} rows in {path}")
    return path
