"""File checks: which image files cannot be used, and which are unlike what their set is made of."""

from collections.abc import Callable
from pathlib import PurePosixPath

import pandas as pd

from kit.quality.findings import Finding, first_of, images
from kit.quality.fixes import Fix

SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "PNG": {".png"},
    "GIF": {".gif"},
    "BMP": {".bmp", ".dib"},
    "TIFF": {".tif", ".tiff"},
    "WebP": {".webp"},
}
TINY = 16  # pixels of the shorter side
BLANK = 1.5  # grey levels of standard deviation; a photograph has 20 to 100
USUAL = 0.5  # what so large a share of the images has is the set's own nature: a note
_TINY_USUAL = 0.05

# Kind -> (which rows, what they are, what to know or do). Rows are table rows joined with their facts.
Check = Callable[[pd.DataFrame], pd.Series]
NOTES: dict[str, tuple[Check, str, str]] = {
    "wrong-extension": (
        lambda rows: pd.Series(
            [
                kind in SUFFIXES and PurePosixPath(path).suffix.lower() not in SUFFIXES[kind]
                for kind, path in zip(rows["format"], rows["path"], strict=True)
            ],
            index=rows.index,
            dtype="bool",
        ),
        "of another format than the file name says",
        "They are read by their content; nothing needs to be done",
    ),
    "exif-rotated": (
        lambda rows: rows["orientation"] > 1,
        "stored turned or mirrored, with an EXIF orientation",
        "They are set upright when read; nothing needs to be done",
    ),
    "palette": (
        lambda rows: rows["mode"].isin(["P", "PA"]),
        "stored with a palette of at most 256 colours",
        "They are read as RGB, and may look coarser than the others",
    ),
}
WARNINGS: dict[str, tuple[Check, str, str]] = {
    "cmyk": (
        lambda rows: rows["mode"] == "CMYK",
        "in CMYK",
        "They are read as RGB without a colour profile, so colours may be off: look at them, and convert them",
    ),
    "16-bit": (
        lambda rows: rows["bits"] > 8,
        "of more than 8 bits a channel",
        "The higher 8 are used: where the picture lives in the lower ones, e.g. in a "
        "medical image, write them with the range that matters stretched to 8 bits",
    ),
    "alpha": (
        lambda rows: rows["mode"].isin(["RGBA", "LA", "PA", "RGBa", "La"]),
        "with transparency",
        "They are put on white, which the others may not have: look at them",
    ),
    "animated": (
        lambda rows: rows["num_frames"] > 1,
        "with several frames or pages",
        "The first one is used: look whether it shows the subject",
    ),
    "blank": (
        lambda rows: rows["std"] < BLANK,
        "of one plain colour, or nearly",
        "They hardly show anything: look at them, and drop them if so",
    ),
}


_AGAIN = (
    "Fetch the files again; if the publisher's own are like this, drop training images with a row in fixes.csv. "
    "A test image needs a sound file."
)
_OWN = "Delete or mend each such file, or copy the proposed row into fixes.csv. A test image needs a sound file."


def check_files(rows: pd.DataFrame, *, kept: frozenset[str], own_folder: bool = False) -> list[Finding]:
    """Return findings about single files, the worst first.

    Args:
        rows: table rows joined with the facts of their files (one row per image).
        kept: ids of images that somebody found fine; they are left out, unless they cannot be read at all.
        own_folder: the files are the user's own, used in place: they cannot be fetched again.
    """
    found = _faults(rows, advice=_OWN if own_folder else _AGAIN)
    sound = rows[(rows["fault"] == "") & ~rows["image_id"].isin(kept)]
    total = max(1, len(rows))
    for kind, (check, what, advice) in WARNINGS.items():
        ids = sound.loc[check(sound), "image_id"].tolist()
        if ids:
            usual = len(ids) >= USUAL * total and kind != "16-bit"
            found.append(_about(ids, kind, "note" if usual else "warn", what, advice))
    shorter = rows.loc[rows["fault"] == "", ["width", "height"]].min(axis=1)
    if (shorter < TINY).mean() < _TINY_USUAL:
        ids = sound.loc[sound[["width", "height"]].min(axis=1) < TINY, "image_id"].tolist()
        if ids:
            what = f"less than {TINY} pixels high or wide, in a set whose median is {shorter.median():.0f}"
            advice = "Thumbnails or spacers may have slipped in: look at them, and drop what shows nothing"
            found.append(_about(ids, "tiny", "warn", what, advice))
    for kind, (check, what, advice) in NOTES.items():
        ids = sound.loc[check(sound), "image_id"].tolist()
        if ids:
            found.append(_about(ids, kind, "note", what, advice))
    return found


def _about(ids: list[str], kind: str, severity: str, what: str, advice: str) -> Finding:
    assert severity in ("warn", "note")
    return Finding(
        kind=kind,
        severity="warn" if severity == "warn" else "note",
        message=f"{images(len(ids))} {what}: {first_of(ids)}. {advice}.",
        image_ids=tuple(ids),
        proposed=tuple(Fix(image_id=i, action="", why=f"{kind}: look at it") for i in ids)
        if severity == "warn"
        else (),
    )


def _faults(rows: pd.DataFrame, *, advice: str) -> list[Finding]:
    found = []
    for kind, chosen in (
        ("truncated", rows[rows["fault"] == "truncated"]),
        ("unreadable", rows[~rows["fault"].isin(["", "truncated"])]),
    ):
        if chosen.empty:
            continue
        ids = chosen["image_id"].tolist()
        said = [f"{image_id} ({fault})" for image_id, fault in zip(ids, chosen["fault"], strict=True)]
        train = chosen[chosen["split"] == "train"]
        verb = "is" if len(ids) == 1 else "are"
        found.append(
            Finding(
                kind=kind,
                severity="stop",
                message=(
                    f"{images(len(ids))} {verb} {kind}: {first_of(ids if kind == 'truncated' else said)}. {advice}"
                ),
                image_ids=tuple(ids),
                details={"faults": {str(fault): int(count) for fault, count in chosen["fault"].value_counts().items()}},
                proposed=tuple(
                    Fix(image_id=image_id, action="drop", why=f"the file is unusable: {fault}")
                    for image_id, fault in zip(train["image_id"], train["fault"], strict=True)
                ),
            )
        )
    return found
