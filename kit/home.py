"""Where the kit's files live, and the one way they are written: to a temporary name, then renamed.

Everything the kit makes stands under `KIT_HOME` (default: the platform's cache folder), never in a checkout.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from kit.errors import ConfigError, StorageError, did_you_mean

FAMILIES = {
    "downloads": "files as they were fetched",
    "data": "images, unpacked or written by an adapter",
    "tables": "sample tables and folds",
    "packs": "decoded pixels, memory-mapped",
    "runs": "checkpoints, predictions, submissions, records",
    "board": "leaderboard pages",
    "folds": "folds as they were last dealt, to notice a changed table",
    "fixes": "what you decided about single images",
    "collected": "images that you scraped",
    "fit": "what batches were chosen for the memory there was, and what networks were found to take",
    "studies": "sweeps: their trials, results and pages",
    "hosted": "competitions that you host: solutions, accounts, standings",
    "submissions": "what was submitted, and the scores that came back",
    "learners": "weights that `Learner.save` kept, and cycles that were stopped",
    "ledger": "every look at test labels and leaderboard scores, a line each",
}
# Results, decisions, what may be gone tomorrow: "all" leaves them.
KEPT = ("runs", "fixes", "collected", "studies", "submissions", "learners", "ledger", "hosted")


def kit_home() -> Path:
    """Return the folder that holds everything the kit makes; `KIT_HOME` moves it."""
    if chosen := os.environ.get("KIT_HOME"):
        return Path(chosen).expanduser().resolve()
    from platformdirs import user_cache_path

    return user_cache_path("competition-kit")


def family(name: str) -> Path:
    """Return the folder of one family of files, e.g. `packs`; it may not exist yet."""
    assert name in FAMILIES
    return kit_home() / name


def make_folder(folder: Path) -> Path:
    """Create `folder` with its parents. A place that cannot be written is a `StorageError`."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's storage errors into a `StorageError` that names `path` and the way out."""
    try:
        yield
    except OSError as error:
        if (message := explained_message(error, path)) is not None:
            raise StorageError(message) from error
        raise


def explained_message(error: OSError, path: Path | None = None) -> str | None:
    """Return one paragraph on a storage error, or None where it is of another kind."""
    where = path or error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):  # full, the user's share of it, a file's limit
        full = "The disk is full" if error.errno == errno.ENOSPC else "The disk takes no more of yours"
        return (
            f"{full}: {where} could not be written. Nothing half-written is left behind. "
            "`kit cache` shows what the kit keeps and clears it; KIT_HOME moves it to another disk."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"No permission to write {where}. The kit keeps its files under {kit_home()}; "
            "set KIT_HOME to a folder of yours."
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"{where} cannot be made: a file stands where a folder is needed. Set KIT_HOME to a folder of yours."
    return None


@contextmanager
def writing(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; rename it to `path` on success, remove it on any failure."""
    make_folder(path.parent)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with explained(path):
            with part.open(
                mode, encoding=None if "b" in mode else "utf-8", newline=None if "b" in mode else ""
            ) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Give a temporary folder; on success it takes the place of `folder`, on any failure it is removed."""
    make_folder(folder.parent)
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with explained(folder):
            part.mkdir()
            yield part
            if folder.exists():
                shutil.rmtree(folder)
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8, line ends as given) to `path`, atomically."""
    with writing(path) as file:
        file.write(text)


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, keys in the order given, atomically. NaN is refused: JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(*parts: str | bytes) -> str:
    """Return a SHA-256 over `parts` and their borders: ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def family_sizes() -> dict[str, tuple[int, str]]:
    """Return family -> (bytes on disk, what it is), for `kit cache`."""
    return {name: (_num_bytes(family(name)), what) for name, what in FAMILIES.items()}


def clear_family(name: str) -> int:
    """Remove one family of files (or "all") and return the bytes freed; runs and fixes must be named.

    Raises:
        ConfigError: no such family.
    """
    if name not in (*FAMILIES, "all"):
        raise ConfigError(
            f"--clear {name!r} is unknown.{did_you_mean(name, (*FAMILIES, 'all'))} "
            f"Known are {', '.join(FAMILIES)}, and all (which keeps {', '.join(KEPT)})."
        )
    chosen = [name] if name != "all" else [one for one in FAMILIES if one not in KEPT]
    freed = sum(_num_bytes(family(one)) for one in chosen)
    for one in chosen:
        shutil.rmtree(family(one), ignore_errors=True)
    return freed


def _num_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
