"""The arena: memory that images are decoded into, and that is used again for the next ones.

New memory comes from the system in pages of 4 KiB, each of which takes up to 2 microseconds at first touch: a quarter
of the time that decoding takes. It begins on a page, so that a disk can take it as it is (`kit.store.growing`).
"""

import math

import numpy as np
from numpy.typing import NDArray

from kit.store.decode import Image
from kit.store.growing import PAGE

KEPT_BYTES = 16 * 2**20  # memory that is larger is given back at once


class Arena:
    """Rows of bytes, one behind the other, and room for the next one. It belongs to one thread at a time."""

    def __init__(self) -> None:
        self._memory = _on_pages(0)
        self.num_bytes = 0

    @property
    def filled(self) -> NDArray[np.uint8]:
        """The (K,) bytes of the rows that were kept."""
        return self._memory[: self.num_bytes]

    def room(self, *shape: int) -> NDArray[np.uint8]:
        """Return memory of `shape` behind the last row, of any content."""
        end = self.num_bytes + math.prod(shape)
        if end > len(self._memory):
            larger = _on_pages(max(end + -end % PAGE, 2 * len(self._memory)))  # whole pages: `fill_page` has room
            larger[: self.num_bytes] = self.filled
            self._memory = larger
        return self._memory[self.num_bytes : end].reshape(shape)

    def image_room(self, height: int, width: int) -> Image:
        """Return room for an image."""
        return self.room(height, width, 3)

    def keep(self, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Make `stored` the next row, copied unless it is in the room behind the last one; return its (K,) bytes."""
        room = self.room(*stored.shape)
        if not np.may_share_memory(room, stored):
            room[...] = stored
        self.num_bytes += room.size
        return room.reshape(-1)

    def fill_page(self) -> int:
        """Put zeros behind the last row until its page ends, and return how many."""
        num_zeros = -self.num_bytes % PAGE
        self.room(num_zeros)[...] = 0
        self.num_bytes += num_zeros
        return num_zeros

    def clear(self) -> None:
        """Drop the rows."""
        self.num_bytes = 0
        if len(self._memory) > KEPT_BYTES:
            self._memory = _on_pages(0)


def _on_pages(num_bytes: int) -> NDArray[np.uint8]:
    """Return (num_bytes,) of any content that begin on a page."""
    memory = np.empty(num_bytes + PAGE, dtype=np.uint8)
    start = -memory.ctypes.data % PAGE
    return memory[start : start + num_bytes]
