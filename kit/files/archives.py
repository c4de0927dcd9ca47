"""Archives: a zip, a tar or a compressed file is unpacked whole and inside its folder, or not at all.

An archive comes from outside, so nothing it says of itself is believed: names are checked before they are used, and
limits are judged on the bytes that come out, since sizes in headers can lie. Links are refused, all of them: no data
set that we know needs one, and a link that is never made can point nowhere.
"""

import filecmp
import lzma
import os
import re
import shutil
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from kit.errors import FetchError, StorageError
from kit.files.members import NOT_KEPT, Member, Swell, opened
from kit.home import explained, make_folder
from kit.progress import Counter, Say, silent

FILE_MODE = 0o644  # whatever the archive says: no setuid, nothing executable, no foreign owner
MOST_PARTS, MOST_PART_BYTES, MOST_NAME_BYTES = 100, 255, 2000  # 255 is the bound of common file systems

_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,  # zipfile's kind of error for a compression that it lacks, or an encrypted member
    ValueError,
    OverflowError,
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much may come out of one archive; the disk's free space is respected besides."""

    members: int = 5_000_000  # ImageNet-1k has 1.4 million files, in archives of at most 1.3 million
    member_bytes: int = 1 << 40
    total_bytes: int = 2 << 40
    ratio: int = 1000  # bytes out per byte in; deflate gives at most 1032, images about 1
    small_bytes: int = 100 << 20  # up to here any ratio will do: a blank picture is no bomb


def unpack(archive: Path, folder: Path, *, limits: Limits = Limits(), say: Say = silent) -> None:
    """Unpack a zip, a tar (plain, gz, bz2, xz) or a single compressed file into `folder`, beside what is there.

    Archives inside the archive stay as they are. A file that `folder` has already must have the same bytes.

    Args:
        archive: its kind is told by its content. A compressed file that holds no tar gives one file, of its own name
            without .gz, .bz2 or .xz.
        folder: made if it is absent; left as it was if anything is refused.
        limits: how much may come out.
        say: takes lines of progress.

    Raises:
        FetchError: damaged, cut or no archive; a member that lies outside, is a link or a device, is encrypted, has a
            name that cannot be used or is used already, or grows beyond the limits. Names the member.
        StorageError: it does not fit on the disk.
    """
    make_folder(folder.parent)
    part = folder.with_name(f"{folder.name}.unpack.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    swell = Swell(archive=archive, ratio=limits.ratio, small_bytes=limits.small_bytes)
    try:
        with explained(folder):
            part.mkdir()
            with opened(archive, swell=swell) as (members, declared_bytes):
                what, total = f"unpacking {archive.name}", declared_bytes or None
                with Counter(what, total=total, unit="MB", scale=1e6, say=say) as counter:
                    unpacking = _Unpacking(archive, part, limits, counter)
                    unpacking.refuse_if_full(declared_bytes)
                    unpacking.run(members)
            _merge(archive, part, folder)
    except _DAMAGE as error:
        raise FetchError(f"{archive} cannot be unpacked: {error or type(error).__name__}. {NOT_KEPT}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise FetchError(f"{archive} cannot be unpacked: {error}. {NOT_KEPT}") from error  # gzip's and bz2's own words
    finally:
        shutil.rmtree(part, ignore_errors=True)


class _Unpacking:
    """One archive on its way into an empty folder."""

    def __init__(self, archive: Path, folder: Path, limits: Limits, counter: Counter) -> None:
        self.archive, self.folder, self.limits, self.counter = archive, folder, limits, counter
        self.names: dict[str, str] = {}  # a path's `_key` -> the path
        self.folders = {""}  # paths that were made
        self.total = 0  # bytes written
        self.free = shutil.disk_usage(folder).free

    def refuse(self, name: str, why: str) -> NoReturn:
        shown = name if len(name) <= 120 else f"{name[:100]}..."
        raise FetchError(f"{self.archive}: the member {shown!r} {why}. {NOT_KEPT}")

    def run(self, members: Iterator[Member]) -> None:
        for number, member in enumerate(members):
            if member.refused:
                self.refuse(member.name, member.refused)
            if number >= self.limits.members:
                self.refuse(member.name, f"is one too many: at most {self.limits.members:,} are unpacked")
            path = self._path(member)
            if member.is_folder:
                self._make(path, member)
            else:
                self._make(path.rpartition("/")[0], member)
                self._take(path, member, as_folder=False)
                self.total += self._write(path, member)
        if len(self.names) < len(self.folders):  # each folder but "" has a name, so no name is left for a file
            raise FetchError(f"{self.archive} is an archive without a file in it. {NOT_KEPT}")

    def _path(self, member: Member) -> str:
        """Return the member's path below the folder, its parts joined by "/"; "" is the folder itself."""
        name = member.name
        if not name.isprintable() and any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in name):
            self.refuse(name, "has a control character in its name")
        if "\\" in name:
            self.refuse(name, "has a backslash in its name, which some systems take for a folder's border")
        if name.startswith("/"):
            self.refuse(name, "has an absolute path")
        if re.match(r"[A-Za-z]:", name):
            self.refuse(name, "has a path with a drive letter")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            self.refuse(name, "leaves its folder by '..'")
        try:
            lengths = [len(part.encode()) for part in parts]
        except UnicodeEncodeError:
            self.refuse(name, "has a name that is not UTF-8")
        if len(parts) > MOST_PARTS or max(lengths, default=0) > MOST_PART_BYTES or sum(lengths) > MOST_NAME_BYTES:
            self.refuse(
                name,
                f"has too long a name: at most {MOST_PARTS} parts, {MOST_PART_BYTES} bytes in each and "
                f"{MOST_NAME_BYTES:,} together can be kept",
            )
        if not parts and not member.is_folder:
            self.refuse(name, "is a file without a name")
        return "/".join(parts)

    def _make(self, path: str, member: Member) -> None:
        """Make the folder `path` and those above it; one that is there is fine."""
        if path in self.folders:
            return
        self._make(path.rpartition("/")[0], member)
        self._take(path, member, as_folder=True)
        self.folders.add(path)
        (self.folder / path).mkdir()

    def _take(self, path: str, member: Member, *, as_folder: bool) -> None:
        """Claim a name that no other member has, nor one that some disk takes for the same."""
        key = _key(path)
        if (other := self.names.get(key)) is None:
            self.names[key] = path
        elif other != path:
            self.refuse(member.name, f"cannot stand beside {other!r}: on some disks these two names are the same")
        elif as_folder or path in self.folders:
            self.refuse(member.name, f"makes {path!r} a file and a folder at once")
        else:
            self.refuse(member.name, "stands in it twice")

    def _write(self, path: str, member: Member) -> int:
        """Write the member's bytes and return their number."""
        declared, limits, produced = member.num_bytes, self.limits, 0
        self.refuse_if_full(declared or 0)
        target = os.open(f"{self.folder}/{path}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        with os.fdopen(target, "wb") as file, member.open() as stream:
            while chunk := stream.read(member.chunk_bytes):
                produced += len(chunk)
                if declared is not None and produced > declared:
                    self.refuse(member.name, f"declares {declared:,} bytes and holds more")
                if produced > limits.member_bytes:
                    self.refuse(member.name, f"holds more than {limits.member_bytes:,} bytes")
                if self.total + produced > limits.total_bytes:
                    self.refuse(member.name, f"brings what was unpacked over {limits.total_bytes:,} bytes")
                self.refuse_if_full(produced)
                file.write(chunk)
                self.counter.add(len(chunk))
        if declared is not None and produced != declared:
            self.refuse(member.name, f"declares {declared:,} bytes and holds {produced:,}")
        return produced

    def refuse_if_full(self, more: int) -> None:
        if (needed := self.total + more) > self.free:
            raise StorageError(
                f"{self.archive} needs {needed / 1e9:,.2f} GB or more, and the disk has {self.free / 1e9:,.2f} GB "
                "left. Nothing of it was kept. `kit cache` shows what the kit keeps and clears it; KIT_HOME moves it "
                "to another disk."
            )


def _key(path: str) -> str:
    """Return what two paths share that a disk may take for the same: macOS composes letters, Windows folds capitals."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _merge(archive: Path, part: Path, folder: Path) -> None:
    """Move what was unpacked beside what `folder` has; refused before the first move, undone after a failed one."""
    if not folder.exists():
        part.rename(folder)
        return
    moves = list(_moves(archive, part, folder))
    done: list[tuple[Path, Path]] = []
    try:
        for old, new in moves:
            old.rename(new)
            done.append((old, new))
    except BaseException:
        for old, new in reversed(done):
            new.rename(old)
        raise


def _moves(archive: Path, part: Path, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Give (from, to) for each file or whole folder of `part` that `folder` lacks."""
    with os.scandir(folder) as entries:
        there = {_key(entry.name): entry for entry in entries}
    with os.scandir(part) as entries:
        coming = sorted(entries, key=lambda entry: entry.name)
    for new in coming:
        old = there.get(_key(new.name))
        if old is None:
            yield Path(new.path), folder / new.name
        elif old.name == new.name and new.is_dir() and old.is_dir(follow_symlinks=False):
            yield from _moves(archive, Path(new.path), Path(old.path))
        elif not (
            old.name == new.name
            and new.is_file()
            and old.is_file(follow_symlinks=False)
            and filecmp.cmp(new.path, old.path, shallow=False)
        ):
            raise FetchError(
                f"{archive}: its member {new.name!r} would take the place of {old.path}, which came from elsewhere and "
                "is not the same. Nothing of it was kept. Two archives of one source set must not hold different files "
                "of one name: leave one of them out, or repack it by hand with a folder of its own."
            )
