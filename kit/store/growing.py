"""A file that grows at its end, in large pieces, which go straight to the disk where that can be.

By way of the page cache an image of 256 pixels is copied in 35 to 50 microseconds, a seventh of the time of decoding,
and the copy leaves cold caches to the decoder. With O_DIRECT the disk takes it from where it was decoded; place, length
and memory must be whole pages then. What is not, or is small, goes by way of the page cache, as does everything on a
file system that knows nothing of it. Both ways may take turns.
"""

import ctypes
import errno
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

PAGE = 4096  # bytes
STRAIGHT_BYTES = 512 * 2**10  # less than this is gathered in the page cache: the disk would take as long for it
RESERVED_BYTES = 16 * 2**20  # asked of the disk ahead of what is written: that halves the time of writing (ext4)


class GrowingFile:
    """A file of bytes, written at its end and read anywhere. Not for several threads at once, but for `read`."""

    def __init__(self, path: Path) -> None:
        """Open the file, made if it is not there; its end is where the file ends."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._straight: int | None = None
        with suppress(OSError):  # a file system without
            self._straight = os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
        self.size = os.fstat(self._file).st_size
        self._reserved = self.size  # bytes: where the room ends that was asked for
        self._reserves = True

    def __enter__(self) -> "GrowingFile":
        """Return the file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back the room that was reserved, and close the file."""
        self._close_straight()
        with suppress(OSError):
            os.ftruncate(self._file, self.size)
        os.close(self._file)

    def append(self, data: NDArray[np.uint8]) -> None:
        """Write (K,) bytes at the end.

        Raises:
            OSError: e.g. ENOSPC; what was written before it counts.
        """
        self._reserve(len(data))
        rest = data.data
        if self._on_pages(data):
            rest = rest[self._write_straight(rest) :]
        while rest:
            written = os.pwrite(self._file, rest, self.size)
            self.size += written
            rest = rest[written:]

    def read(self, num_bytes: int, at: int) -> bytes:
        """Return up to `num_bytes` from place `at`; fewer where the file ends."""
        return os.pread(self._file, num_bytes, at)

    def cut(self, size: int) -> None:
        """Let the file end at `size`, which is not behind its end."""
        os.ftruncate(self._file, size)
        self.size = self._reserved = size

    def sync(self) -> None:
        """Return when the disk has every byte."""
        os.fsync(self._file)

    def _on_pages(self, data: NDArray[np.uint8]) -> bool:
        places = (self.size, len(data), data.ctypes.data)
        return len(data) >= STRAIGHT_BYTES and not any(place % PAGE for place in places)

    def _write_straight(self, data: memoryview) -> int:
        """Write what the disk takes past the page cache, and return how many bytes these are."""
        if self._straight is None:
            return 0
        try:
            written = os.pwrite(self._straight, data, self.size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            self._close_straight()  # it can be opened so, but not written: larger blocks, or a layer that pretends
            return 0
        self.size += written
        return written

    def _reserve(self, num_bytes: int) -> None:
        end = self.size + num_bytes
        if not self._reserves or end <= self._reserved:
            return
        try:
            reserve(self._file, self._reserved, end + RESERVED_BYTES - self._reserved)
            self._reserved = end + RESERVED_BYTES
        except OSError:
            # The disk has no room for so much, or does not know of this. It may have given a part, which others need:
            # the journal of what is written here, for one.
            os.ftruncate(self._file, self.size)
            self._reserves = False

    def _close_straight(self) -> None:
        if self._straight is not None:
            os.close(self._straight)
            self._straight = None


def reserve(file: int, at: int, num_bytes: int) -> None:
    """Ask the disk for room from place `at`; by Linux's call, as the portable one may write into every block.

    Raises:
        OSError: there is no room, perhaps after a part was given; or the file system knows nothing of it.
    """
    if _libc.fallocate(file, 0, ctypes.c_int64(at), ctypes.c_int64(num_bytes)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


_libc = ctypes.CDLL(None, use_errno=True)
