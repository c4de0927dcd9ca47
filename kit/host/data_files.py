"""The files that participants download: a folder as a list, and as one zip."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kit.errors import CompetitionError
from kit.home import fingerprint, writing
from kit.progress import Say

ALREADY_PACKED = {".zip", ".gz", ".jpg", ".jpeg", ".png", ".webp", ".gif", ".7z", ".npz"}  # deflating gains nothing


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One file, as it was when the list was made."""

    path: Path
    num_bytes: int
    modified: datetime  # UTC, whole seconds
    etag: str


def list_files(folder: Path) -> dict[str, DataFile]:
    """Return name -> file of everything below `folder`, sorted; names have forward slashes.

    Nothing that begins with a dot is listed, and no link, which might lead out of the folder.

    Raises:
        CompetitionError: there is no such folder, no file in it, or a name that is not text.
    """
    if not folder.is_dir():
        raise CompetitionError(f"There is no folder {folder} with files to download. Give another one with --data.")
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in name.split("/"))
        linked = any(one.is_symlink() for one in (path, *path.parents) if one.is_relative_to(folder) and one != folder)
        if hidden or linked or not path.is_file():
            continue
        if not name.isprintable() or "\\" in name:
            raise CompetitionError(f"The file {name!r} in {folder} has a name that is not plain text. Rename it.")
        found[name] = data_file(path)
    if not found:
        raise CompetitionError(f"The folder {folder} has no files to download. Give another one with --data.")
    return found


def data_file(path: Path) -> DataFile:
    """Return a file as it is now."""
    about = path.stat()
    return DataFile(
        path=path,
        num_bytes=about.st_size,
        modified=datetime.fromtimestamp(int(about.st_mtime), UTC),
        etag=f'"{about.st_size:x}-{about.st_mtime_ns:x}"',
    )


def archive_of(files: Mapping[str, DataFile], folder: Path, *, say: Say) -> DataFile:
    """Return all files as one zip in `folder`, made where there is none of just these; earlier ones are removed."""
    key = fingerprint(*(f"{name}\n{file.etag}" for name, file in files.items()))
    archive = folder / f"files-{key[:20]}.zip"
    if not archive.is_file():
        say(f"packing {len(files):,} files for download")
        for old in folder.glob("files-*.zip*"):
            old.unlink()
        with writing(archive, "wb") as out, zipfile.ZipFile(out, "w", strict_timestamps=False) as bundle:
            for name, file in files.items():
                packed = file.path.suffix.lower() in ALREADY_PACKED
                kind = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
                bundle.write(file.path, name, compress_type=kind)
    return data_file(archive)
