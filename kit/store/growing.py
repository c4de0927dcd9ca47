"""A file that grows at its end, in large pieces, which go straight to the disk where that can be.

By way of the page cache an image of 256 pixels is copied in 35 to 50 microseconds, a seventh of the time of decoding,
and the copy leaves cold caches to the decoder. With O_DIRECT the disk takes it from where it was decoded; place, length
and memory must be whole pages then. What is not, or is small, goes by way of the page cache, as does everything on a
file system that knows nothing of it. Both ways may take turns.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

PAGE = 4096  # bytes
STRAIGHT_BYTES = 512 * 2**10  # less than this is gathered in the page cache: the disk would take as long for it
RESERVED_BYTES = (
    16 * 2**20
)  # asked of the disk at once, ahead of what is written: that halves the time of writing (ext4)


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

    def __enter__(self) -> "GrowingFile":
        """Return the file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; room that was reserved stays, and is cut off by `cut`."""
        self._close_straight()
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
            if error.errno != errno.EINVAL:
                raise
            self._close_straight()  # it can be opened so, but not written: larger blocks, or a layer that pretends
            return 0
        self.size += written
        return written

    def _reserve(self, num_bytes: int) -> None:
        end = self.size + num_bytes
        if end <= self._reserved:
            return
        # The disk has no room for so much, or does not know of this: writing tells. What it gave in part lies where the
        # next bytes are written.
        with suppress(OSError):
            os.posix_fallocate(self._file, self._reserved, end + RESERVED_BYTES - self._reserved)
        self._reserved = end + RESERVED_BYTES

    def _close_straight(self) -> None:
        if self._straight is not None:
            os.close(self._straight)
            self._straight = None
