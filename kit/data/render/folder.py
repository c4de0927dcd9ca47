"""Folder: drawings become PNG files and a CSV of their labels, several at a time, and only what is not there yet.

Each PNG says in a text chunk of its own what it was made of, so that a second call draws what is new or changed and
leaves the rest, however the first one ended. A file is there whole or not at all. A file of that name without the chunk
is somebody else's, and stays.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kit.data.labels import files_below, refuse_odd_names
from kit.data.render.strokes import Image
from kit.errors import ConfigError, DataError
from kit.home import make_folder, writing
from kit.progress import Say, counted
from kit.store.decode import printable

LABELS = "labels.csv"
MADE_OF = "kit-made-of"  # keyword of the text chunk
HEAD = 4096  # bytes of a PNG, in which the chunk begins
END = b"\0\0\0\0IEND\xaeB`\x82"  # of a PNG that is whole
LONGEST_NAME = 200  # bytes of a part of a path; file systems end at 255
NAMED = 5  # faults, in a message


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A picture that is to be made."""

    image: str  # its file below the folder, forward slashes, ends in .png
    made_of: Callable[[], str]  # a fingerprint of all that decides its pixels
    draw: Callable[[], Image]
    columns: Mapping[str, str]  # what labels.csv says of it: label and others


def fill(folder: Path, drawings: Sequence[Drawing], *, workers: int | None, leave_out_bad: bool, say: Say) -> Path:
    """Write each drawing that is not there as it should be, then `labels.csv`; return the CSV's path.

    Args:
        folder: made if it is not there.
        drawings: one or more, with the same columns.
        workers: threads; None: one per core.
        leave_out_bad: a drawing that fails with a DataError is left out and said, rather than an error at the end.
        say: takes lines of progress.

    Raises:
        DataError: a file that is none of ours would be replaced: nothing is done. Or one or more cannot be drawn: names
            the first five, with reasons, and the count; the others are done.
        ConfigError: a number of workers that cannot be.
        StorageError: the folder cannot be written.
    """
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int | np.integer) or workers < 1):
        raise ConfigError(f"workers is {workers!r}: expected a number of threads, 1 or more, or None for one per core.")
    _check_names([drawing.image for drawing in drawings])
    _refuse_to_replace(folder, drawings)
    make_folder(folder)
    _say_of_others(folder, drawings, say)
    faults: dict[int, str] = {}
    num_made = 0
    pool = ThreadPoolExecutor(int(workers) if workers else os.cpu_count())
    try:
        waiting = {pool.submit(_make, folder / drawing.image, drawing): k for k, drawing in enumerate(drawings)}
        for future in counted(as_completed(waiting), "drawing", say=say, total=len(drawings), unit="pictures"):
            try:
                num_made += future.result()
            except DataError as error:
                faults[waiting[future]] = str(error)
    finally:
        pool.shutdown(cancel_futures=True)
    first = " ".join(faults[k] for k in sorted(faults)[:NAMED])
    if faults and (not leave_out_bad or len(faults) == len(drawings)):
        raise DataError(
            f"{len(faults)} of {len(drawings)} pictures could not be drawn: {first} The others are in {folder}. Mend "
            "or remove these and call again, which draws what is missing; `leave_out_bad=True` does without them."
        )
    if faults:
        say(f"{len(faults)} of {len(drawings)} left out: {first}")
    good = [drawing for k, drawing in enumerate(drawings) if k not in faults]
    table = pd.DataFrame([{"image": drawing.image, **drawing.columns} for drawing in good]).sort_values("image")
    with writing(folder / LABELS) as file:
        table.to_csv(file, index=False, lineterminator="\n")
    say(f"{folder}: {num_made:,} drawn, {len(good) - num_made:,} were there already")
    return folder / LABELS


def _make(file: Path, drawing: Drawing) -> bool:
    """Draw and write one picture unless it is there; tell whether it was made."""
    from PIL import Image as Pillow
    from PIL.PngImagePlugin import PngInfo

    wanted = drawing.made_of()
    if _said_by(file) == wanted:
        return False
    text = PngInfo()
    text.add_text(MADE_OF, wanted)
    picture = Pillow.fromarray(drawing.draw())
    with writing(file, "wb") as part:
        picture.save(part, format="png", pnginfo=text)
    return True


def _said_by(file: Path) -> str | None:
    """Return what a PNG says it was made of; None where it is none of ours, or not whole."""
    from PIL import Image as Pillow

    try:
        with file.open("rb") as opened:
            opened.seek(-len(END), os.SEEK_END)
            if opened.read() != END:
                return None
        with Pillow.open(file, formats=["PNG"]) as picture:
            said = picture.info.get(MADE_OF)
    except Exception:  # Pillow raises many kinds on damaged files; a new picture takes their place
        return None
    return said if isinstance(said, str) else None


def _is_ours(file: Path) -> bool:
    """Tell whether a file was drawn here, be it damaged since; an empty one holds nothing that could be lost."""
    try:
        if not file.is_file():
            return False
        with file.open("rb") as opened:
            head = opened.read(HEAD)
    except OSError:
        return False
    return not head or f"tEXt{MADE_OF}\0".encode() in head


def _refuse_to_replace(folder: Path, drawings: Sequence[Drawing]) -> None:
    """Refuse to write over files that were not made here."""
    files = [folder / drawing.image for drawing in drawings]
    if others := [file for file in files if os.path.lexists(file) and not _is_ours(file)]:
        raise DataError(
            f"{len(others)} of the {len(files)} pictures would replace files that this function did not draw, first "
            f"{printable(str(others[0]))}. Nothing was written. Give another folder, or move these files away."
        )
    beside = (folder / path for path, _ in files_below(folder) if path.endswith(".png"))
    if os.path.lexists(folder / LABELS) and not any(map(_is_ours, beside)):
        raise DataError(
            f"{printable(str(folder / LABELS))} would be replaced, and no picture of this function is beside it: it "
            "seems to be yours. Nothing was written. Give another folder, or move the file away."
        )


def _check_names(images: Sequence[str]) -> None:
    """Refuse names that cannot be files of the folder, or that two pictures share."""
    refuse_odd_names(images, where="The list of pictures")
    seen: dict[str, str] = {}
    for image in images:
        for part in image.split("/"):
            if part in ("", ".", "..", ".png") or part.startswith(".") or len(part.encode()) > LONGEST_NAME:
                raise DataError(
                    f"{printable(image)[:60]!r} cannot be a picture's name: each part of it has 1 to {LONGEST_NAME} "
                    "bytes, and begins with no dot. Rename what it is drawn from."
                )
        # Some file systems take small and capital letters for the same.
        if (other := seen.setdefault(image.casefold(), image)) is not image:
            raise DataError(
                f"Two pictures would be the file {image!r}"
                + (f" (the other {other!r}: many disks do not tell them apart)" if other != image else "")
                + ". Give what they are drawn from different names."
            )


def _say_of_others(folder: Path, drawings: Sequence[Drawing], say: Say) -> None:
    names = {drawing.image for drawing in drawings}
    others = [path for path, _ in files_below(folder) if path.endswith(".png") and path not in names]
    if others:
        say(f"{folder} has {len(others):,} other pictures, first {printable(others[0])}: {LABELS} does not name them")
