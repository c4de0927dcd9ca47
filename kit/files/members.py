"""Members: what a zip, a tar or a compressed file holds, told by its content, one member after another.

Nothing is written here. `archives` decides what a member's name and bytes are good for.
"""

import bz2
import gzip
import lzma
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from kit.errors import FetchError

CHUNK_BYTES = 1 << 20
HEADER_BYTES = 4 << 20  # a tar header that asks for more in one piece wants to fill the memory
BLOCK = tarfile.BLOCKSIZE
NOT_KEPT = (
    "Nothing of it was kept. Fetch it again; if it stays so, unpack it by hand where it does no harm, pack its files "
    "anew and give that archive with --mirror DIR."
)

_OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_UNIX_KINDS = {0o12: "a link", 0o01: "a pipe", 0o02: "a device", 0o06: "a device", 0o14: "a socket"}
_TAR_KINDS = {
    tarfile.SYMTYPE: "a link",
    tarfile.LNKTYPE: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a file with holes (sparse)",
}
_OTHER_FILES = {
    b"<": "is a web page, not an archive: its address may have moved, or asks for a login",
    b"{": "is a message in JSON, not an archive: its address may have moved, or asks for a login",
    b"version https://git-lfs": "is a pointer of Git LFS; the file itself was not fetched with it",
}


class Readable(AbstractContextManager[Any], Protocol):
    """Bytes of a member, read forward."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One entry of an archive, unchecked except for what `refused` says."""

    name: str  # as the archive spells it
    is_folder: bool = False
    num_bytes: int | None = None  # as its header says; None: it does not
    refused: str = ""  # why it must not be unpacked, e.g. "is a link"
    open: Callable[[], Readable]
    chunk_bytes: int = CHUNK_BYTES  # read no more at once


class Stream:
    """A file that is only read forward, and that may not swell; tarfile reads from it as from a file."""

    def __init__(self, file: IO[bytes], *, packed_bytes: Callable[[], int], swell: "Swell") -> None:
        self._file, self._packed_bytes, self._swell = file, packed_bytes, swell
        self._position = 0
        self.last = b""  # what the latest read gave

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes. Raises FetchError where far more comes out than went in."""
        if size > HEADER_BYTES:
            raise tarfile.ReadError(f"a header asks for {size:,} bytes")
        self.last = self._file.read(size)
        self._position += len(self.last)
        self._swell.check(self._position, self._packed_bytes)
        return self.last

    def tell(self) -> int:
        """Return the number of bytes that were read."""
        return self._position

    def seek(self, position: int) -> int:
        """Read on until `position`."""
        if position < self._position:  # tarfile would follow a negative size in circles
            raise tarfile.ReadError("a header points backwards")
        while self._position < position and self.read(min(position - self._position, CHUNK_BYTES)):
            pass
        return self._position


@dataclass(frozen=True, kw_only=True)
class Swell:
    """The bound on what comes out of compressed bytes."""

    archive: Path
    ratio: int
    small_bytes: int

    def check(self, num_bytes: int, packed_bytes: Callable[[], int]) -> None:
        """Raise FetchError if `num_bytes` came out of too few."""
        if num_bytes > self.small_bytes and num_bytes > self.ratio * (packed := max(packed_bytes(), 1)):
            raise FetchError(
                f"{self.archive} is refused as a bomb: {packed:,} bytes of it have swollen to {num_bytes:,}, more than "
                f"{self.ratio} times as many. {NOT_KEPT}"
            )


@contextmanager
def opened(archive: Path, *, swell: Swell) -> Iterator[tuple[Iterator[Member], int]]:
    """Give the members of `archive` in its order, and the bytes that a list at its end says they have (0: no list).

    Raises:
        FetchError: it is no archive. What is damaged raises the errors of zipfile, tarfile and the decompressors.
    """
    with ExitStack() as stack:
        raw = stack.enter_context(archive.open("rb"))
        head = raw.read(BLOCK)
        ends_as_zip = zipfile.is_zipfile(raw)  # a zip may have a program before it, and a tar a zip as its last member
        raw.seek(0)
        opener = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)
        if head.startswith(b"PK\x03\x04") or (ends_as_zip and opener is None and not _is_tar(head)):
            if not ends_as_zip:
                raise zipfile.BadZipFile("the list of its members, which stands at its end, is missing, so it was cut")
            bundle = stack.enter_context(zipfile.ZipFile(raw))
            yield _zip_members(bundle, swell), sum(info.file_size for info in bundle.infolist())
        elif _is_tar(head):
            yield _tar_members(Stream(raw, packed_bytes=raw.tell, swell=swell)), 0
        elif opener is not None:
            first = opener(raw).read(BLOCK)
            raw.seek(0)
            stream = Stream(stack.enter_context(opener(raw)), packed_bytes=raw.tell, swell=swell)
            yield _tar_members(stream) if _is_tar(first) else iter([_single(archive, stream)]), 0
        else:
            start = head.lstrip(b"\xef\xbb\xbf \r\n\t")
            other = next((what for mark, what in _OTHER_FILES.items() if start.startswith(mark)), "")
            other = other or "is neither a zip nor a tar archive, nor a compressed file"
            raise FetchError(f"{archive} {other if head else 'is empty: it has no byte in it'}. {NOT_KEPT}")


def _is_tar(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _single(archive: Path, stream: Stream) -> Member:
    stem = re.sub(r"\.(gz|bz2|xz)$", "", archive.name, flags=re.IGNORECASE)
    if stem in ("", archive.name) or stem.lower().endswith(".tar"):
        raise FetchError(
            f"{archive} is compressed, and what it holds is no tar. One file alone is expected in NAME.gz, NAME.bz2 or "
            f"NAME.xz, and is called NAME then. {NOT_KEPT}"
        )
    return Member(name=stem, open=lambda: stream)


def _zip_members(bundle: zipfile.ZipFile, swell: Swell) -> Iterator[Member]:
    infos = bundle.infolist()
    overlapping = _overlapping(infos)
    for info in infos:
        refused = "overlaps with another, as in archives that are made to swell" if info is overlapping else ""
        if info.flag_bits & 0x2041:
            refused = "is encrypted, and the kit knows no password"
        if kind := _UNIX_KINDS.get(info.external_attr >> 28):
            refused = f"is {kind}"
        yield Member(
            name=info.orig_filename,  # `filename` is already cut at a NUL
            is_folder=info.is_dir(),
            num_bytes=info.file_size,
            refused=refused,
            open=_opener(bundle, info, swell),
            # What comes out in one piece is bounded by zipfile for deflate only; 4 KiB of bz2 can give 80 MB.
            chunk_bytes=CHUNK_BYTES if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else 4096,
        )


def _opener(bundle: zipfile.ZipFile, info: zipfile.ZipInfo, swell: Swell) -> Callable[[], Stream]:
    def open_member() -> Stream:
        info.file_size = 1 << 62  # zipfile would stop at the declared size, and not see that more is there
        return Stream(bundle.open(info), packed_bytes=lambda: info.compress_size, swell=swell)

    return open_member


def _overlapping(infos: list[zipfile.ZipInfo]) -> zipfile.ZipInfo | None:
    """Return a member whose bytes begin before those of the one before it end, or None."""
    end = 0
    for info in sorted(infos, key=lambda one: one.header_offset):
        if info.header_offset < end:
            return info
        encoding = "utf-8" if info.flag_bits & 0x800 else "cp437"
        end = info.header_offset + 30 + len(info.orig_filename.encode(encoding)) + info.compress_size
    return None


def _tar_members(stream: Stream) -> Iterator[Member]:
    with tarfile.TarFile(fileobj=stream) as tar:  # type: ignore[arg-type]
        while (info := tar.next()) is not None:
            what = _TAR_KINDS.get(info.type) or (info.issparse() and _TAR_KINDS[tarfile.GNUTYPE_SPARSE])
            if not what and not info.isreg() and not info.isdir():
                what = f"neither a plain file nor a folder (tar type {info.type!r})"
            yield Member(
                name=info.name,
                is_folder=info.isdir(),
                num_bytes=info.size,
                refused=f"is {what}" if what else "",
                open=_tar_opener(tar, info),
            )
            tar.members.clear()  # type: ignore[attr-defined]  # it would remember millions
        if len(stream.last) < BLOCK:
            raise tarfile.ReadError(f"it ends at byte {stream.tell():,} without the mark of its end, so it was cut")
        if any(stream.last):
            raise tarfile.ReadError(f"there is no header at byte {tar.offset:,}, where one was expected")
        while chunk := stream.read(CHUNK_BYTES):  # to the end: only there gzip and xz compare their checksums
            if any(chunk[at + 257 : at + 262] == b"ustar" for at in range(0, len(chunk), BLOCK)):
                raise tarfile.ReadError("a second archive stands behind its end")


def _tar_opener(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], Readable]:
    def open_member() -> Readable:
        file = tar.extractfile(info)
        assert file is not None  # only links and devices give None
        return file

    return open_member
