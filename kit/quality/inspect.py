"""Inspect: one pass over all image files gives what they are: checksum, format, size, colour mode, hash, and faults.

Each file is read once and decoded once, by the very decoder that training uses: what is sound here can be packed.
"""

import hashlib
import os
import stat
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from io import BytesIO
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

import pandas as pd

from kit.errors import DataError
from kit.home import writing
from kit.progress import Say, counted
from kit.quality.hashes import hash_image
from kit.store.decode import MAX_PIXELS, PILLOW_FORMATS, Image, decode_image, reduced
from kit.store.headers import JPEG, PNG, kind_of

# Column -> dtype of the table of facts: one row per file.
FACT_DTYPES = {
    "path": "str",  # below the data folder; "" for a row without an image: then everything else is empty too
    "num_bytes": "int64",
    "mtime_ns": "int64",
    "sha256": "str",
    "format": "str",  # by content: JPEG, PNG, GIF, ...; "" where nothing knows it
    "width": "int64",  # as stored, before `orientation` turns the image
    "height": "int64",
    "orientation": "int64",  # EXIF, 1 to 8; 1 is upright
    "mode": "str",  # as stored: RGB, L, CMYK, P, RGBA, I;16, ...
    "bits": "int64",  # per channel
    "num_frames": "int64",
    "jpeg_tables": "str",  # short hash of the quantisation tables: encoder and quality; "" where it is no JPEG
    "mean": "float64",  # of the grey image, shorter side at most GREY_SIDE, 0 to 255
    "std": "float64",
    "hash": "uint64",  # see kit.quality.hashes; a plain image has 0
    "mirror_hash": "uint64",
    "fault": "str",  # "" or one of FAULTS
}
# Fault -> how the decoder's message speaks of it; the first that fits.
FAULTS = {
    "missing": "",
    "unreadable": "",  # no permission, a folder, a pipe
    "too large": "",
    "empty": "is empty",
    "truncated": "is truncated",
    "not an image": "is not an image",
    "too many pixels": "too many pixels",
    "unsupported": " not supported",
    "damaged": "",
}

GREY_SIDE = 64  # pixels
MAX_BYTES = 2**30  # a larger file is not taken for an image
LARGE_PIXELS = 25_000_000  # larger images are decoded one at a time, so that memory does not grow with the cores
_BITS_OF_MODE = {"1": 1, "I": 32, "F": 32}


def inspect_files(
    folder: Path, paths: Sequence[str], *, known: pd.DataFrame | None = None, say: Say = print
) -> pd.DataFrame:
    """Return one row of FACT_DTYPES per path, in the order given, reading files in parallel.

    Args:
        folder: the data folder.
        paths: relative to it, forward slashes; "" gives an empty row.
        known: facts of an earlier pass; a file of the same path, size and time is not read again.
        say: takes lines of progress.

    Raises:
        DataError: a path that leads out of `folder`. A bad file is no error: its `fault` says what is wrong.
    """
    import PIL.Image

    PIL.Image.init()  # all of Pillow's formats, before threads ask for them
    for path in paths:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise DataError(
                f"The image path {path!r} leads out of the data folder {folder}. Paths are relative to it and stay "
                "below it; mend the list or CSV that names this image."
            )
    kept: dict[str, dict[Any, Any]] = {}
    if known is not None:
        kept = {row["path"]: row for row in known.to_dict("records")}
    one_large = Lock()
    rows: list[Mapping[str, Any]] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        # Pillow warns of broken EXIF and of sizes that are judged here anyway.
        warnings.filterwarnings("ignore", module="PIL")
        found = pool.map(lambda path: _facts_of(folder, path, kept.get(path), one_large), paths)
        rows.extend(counted(found, "inspecting", total=len(paths), unit="files", say=say))
    return pd.DataFrame(rows, columns=list(FACT_DTYPES)).astype(FACT_DTYPES)


def write_facts(path: Path, facts: pd.DataFrame) -> None:
    """Write facts as CSV, atomically; `read_facts` gives back the same values and dtypes."""
    with writing(path) as file:
        facts.to_csv(file, index=False, lineterminator="\n")


def read_facts(path: Path) -> pd.DataFrame:
    """Read facts that `write_facts` wrote.

    Raises:
        DataError: the file is missing, damaged, or has other columns.
    """
    try:
        # Floats as text, because the quick parsers of pandas may be off in the last digit.
        dtypes = {name: "str" if dtype == "float64" else dtype for name, dtype in FACT_DTYPES.items()}
        facts = pd.read_csv(path, dtype=dtypes, keep_default_na=False)
        for name in {"mean", "std"} & set(facts.columns):
            facts[name] = [float(text) for text in facts[name]]
    except (OSError, ValueError) as error:
        raise DataError(f"The facts {path} cannot be read: {error}. Remove the file; it is made again.") from error
    if list(facts.columns) != list(FACT_DTYPES):
        raise DataError(
            f"{path} has the columns {list(facts.columns)[:5]}..., expected {list(FACT_DTYPES)[:5]}... "
            "Remove the file; it is made again."
        )
    return facts


def empty_facts(path: str = "") -> dict[str, Any]:
    """Return the row of a file of which nothing is known."""
    zero = {"str": "", "int64": 0, "uint64": 0, "float64": 0.0}
    return {name: zero[dtype] for name, dtype in FACT_DTYPES.items()} | {"path": path}


def _facts_of(folder: Path, path: str, known: Mapping[Any, Any] | None, one_large: Lock) -> Mapping[str, Any]:
    facts = empty_facts(path)
    if not path:
        return facts
    try:
        status = (folder / path).stat()
        facts.update(num_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
        if known is not None and (known["num_bytes"], known["mtime_ns"]) == (status.st_size, status.st_mtime_ns):
            return known
        if not stat.S_ISREG(status.st_mode):  # reading a named pipe would wait for ever
            return facts | {"fault": "unreadable"}
        if status.st_size > MAX_BYTES:
            return facts | {"fault": "too large"}
        data = (folder / path).read_bytes()
    except FileNotFoundError:
        return facts | {"fault": "missing"}
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return facts | {"fault": "unreadable"}
    facts |= {"sha256": hashlib.sha256(data).hexdigest(), "format": kind_of(data)}
    facts |= _header(data, facts["format"])
    # Beyond MAX_PIXELS nothing is decoded: `decode_image` refuses it.
    large = LARGE_PIXELS < facts["width"] * facts["height"] <= MAX_PIXELS
    turn: AbstractContextManager[object] = one_large if large else nullcontext()
    with turn:
        try:
            return facts | _pixel_facts(decode_image(data, name=path, shorter_side=GREY_SIDE))
        except DataError as error:
            said = str(error)
            fault = next((fault for fault, words in FAULTS.items() if words and words in said), "damaged")
            return facts | {"fault": fault}


def _header(data: bytes, kind: str) -> dict[str, Any]:
    """Return what the header says, without decoding; {} where Pillow cannot make sense of it."""
    import PIL.Image

    found: dict[str, Any] = {}
    try:
        with PIL.Image.open(BytesIO(data), formats=PILLOW_FORMATS) as image:
            found |= {"width": image.width, "height": image.height, "mode": image.mode}
            found |= {"bits": _bits(image, data), "orientation": 1, "num_frames": 1}
            if kind == JPEG:  # one with a second view behind it (MPO) is no animation
                tables = repr(sorted(getattr(image, "quantization", {}).items()))
                found["jpeg_tables"] = hashlib.sha256(tables.encode()).hexdigest()[:10]
            else:
                found["num_frames"] = int(getattr(image, "n_frames", 1))
            # Of a PNG without EXIF, `getexif` would decode all pixels to look for it behind them.
            if kind != PNG or "exif" in image.info:
                turned = image.getexif().get(0x0112, 1)
                found["orientation"] = turned if turned in range(1, 9) else 1
    except Exception:  # a hostile header makes Pillow raise almost anything; the decoder has the last word
        return found
    return found


def _bits(image: Any, data: bytes) -> int:
    if image.format == "PNG":
        return data[24]  # of IHDR, always first; Pillow shows 16-bit RGB as 8-bit
    if image.format == "TIFF":
        return int(image.tag_v2.get(258, (8,))[0])
    return 16 if "16" in image.mode else _BITS_OF_MODE.get(image.mode, 8)


def _pixel_facts(image: Image) -> dict[str, Any]:
    import cv2

    grey = cv2.cvtColor(reduced(image, GREY_SIDE), cv2.COLOR_RGB2GRAY)
    own, mirrored = hash_image(image)
    return {"mean": float(grey.mean()), "std": float(grey.std()), "hash": int(own), "mirror_hash": int(mirrored)}
