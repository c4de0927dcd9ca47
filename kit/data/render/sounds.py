"""Sounds: WAV files become a folder of spectrograms (`sound` draws one) and a CSV of their labels."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from kit.data.labels import files_below
from kit.data.render.folder import Drawing, fill
from kit.data.render.sound import HZ, LEVELS, RelativeTo, check_sound_settings, spectrogram
from kit.errors import DataError
from kit.home import fingerprint, sha256_of_file
from kit.progress import Say
from kit.store.decode import printable

VERSION = "sound 1"  # of the drawing: another one is drawn anew
SUFFIXES = (".wav", ".wave")


def render_sounds(
    sounds: str | Path | Sequence[str | Path],
    folder: str | Path,
    *,
    labels: Sequence[str] | None = None,
    size: int = 224,
    hz: tuple[float, float] = HZ,
    levels: tuple[float, float] = LEVELS,
    relative_to: RelativeTo = "full scale",
    workers: int | None = None,
    leave_out_bad: bool = False,
    say: Say = print,
) -> Path:
    """Draw the spectrogram of each WAV file and write `<folder>/labels.csv`; return the CSV's path.

    A second call draws only what is new or changed. The CSV has the columns `image` and `label`.

    Args:
        sounds: a folder, all WAV files below it: their pictures stand in the same folders below `folder`. Or a list of
            files: their pictures are `<folder>/<label>/<name>.png`.
        folder: made if it is not there; not the one the sounds are in.
        labels: one for each file of a list; None: the name of the folder that a file lies in.
        size: see `spectrogram`, as are `hz`, `levels` and `relative_to`.
        workers: threads; None: one per core.
        leave_out_bad: leave out files that cannot be drawn, and say so, instead of an error at the end.
        say: takes lines of progress.

    Raises:
        DataError: no WAV files, labels of another number, or files that cannot be drawn; what can be drawn is.
        ConfigError: settings that cannot be.
        StorageError: the folder cannot be written.
    """
    check_sound_settings(size=size, hz=hz, levels=levels, relative_to=relative_to)
    files = list(sounds) if isinstance(sounds, Iterable) else [sounds]  # a text is letters, which are texts
    if not all(isinstance(file, str | Path) for file in files):
        raise DataError(
            f"`sounds` is {printable(repr(sounds))[:80]}: expected the folder of the sounds, or a list of WAV files."
        )
    if labels is not None and (isinstance(labels, str) or not isinstance(labels, Iterable)):
        raise DataError(f"`labels` is {printable(repr(labels))[:80]}: expected a list, one for each file.")
    if isinstance(sounds, str | Path):
        named = _below(Path(sounds), Path(folder), labels=labels)
    else:
        named = _listed(list(map(Path, files)), labels=labels)
    settings = fingerprint(VERSION, repr((size, list(map(float, hz)), list(map(float, levels)), relative_to)))
    draw = partial(spectrogram, size=size, hz=hz, levels=levels, relative_to=relative_to)
    drawings = [
        Drawing(
            image=image,
            made_of=partial(_fingerprint, file, settings),
            draw=partial(draw, file),
            columns={"label": label},
        )
        for image, file, label in named
    ]
    return fill(Path(folder), drawings, workers=workers, leave_out_bad=leave_out_bad, say=say)


def _below(source: Path, folder: Path, *, labels: Sequence[str] | None) -> list[tuple[str, Path, str]]:
    """Return (picture, file, label) of each WAV file below a folder."""
    if labels is not None:
        raise DataError(
            "`labels` belong to a list of files, one each; those of a folder are labelled by the folders they are in."
        )
    if not source.is_dir():
        raise DataError(f"{source} is no folder. Give the folder of the sounds, or a list of WAV files.")
    if source.resolve() == folder.resolve():
        raise DataError(f"{folder} holds the sounds: pictures go into a folder of their own.")
    paths = [
        path
        for path, entry in files_below(source)
        if PurePosixPath(path).suffix.lower() in SUFFIXES and not entry.name.startswith(".")
    ]
    if not paths:
        raise DataError(f"{source} has no sounds: no file below it ends in {' or '.join(SUFFIXES)}.")
    return [
        (str(PurePosixPath(path).with_suffix(".png")), source / path, (source / path).absolute().parent.name)
        for path in paths
    ]


def _listed(files: Sequence[Path], *, labels: Sequence[str] | None) -> list[tuple[str, Path, str]]:
    """Return (picture, file, label) of each file of a list."""
    if not files:
        raise DataError("The list of sounds is empty: a WAV file or more was expected.")
    named = [str(label) for label in labels] if labels is not None else [file.absolute().parent.name for file in files]
    if len(named) != len(files):
        raise DataError(f"There are {len(files)} sounds but {len(named)} labels. Each sound needs one.")
    if odd := [label for label in named if not label or "/" in label]:
        raise DataError(f"The label {odd[0]!r} cannot be a folder's name, which it is to be. Use another.")
    return [(f"{label}/{file.stem}.png", file, label) for file, label in zip(files, named, strict=True)]


def _fingerprint(file: Path, settings: str) -> str:
    try:
        # A named pipe would be waited for. What cannot be read has no fingerprint: drawing it says what is wrong.
        return fingerprint(settings, sha256_of_file(file)) if file.is_file() else ""
    except (OSError, ValueError):
        return ""
