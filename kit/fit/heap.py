"""The heap: how much of a process's memory lies in gaps, told by playing a step's allocations through.

On a CPU, PyTorch takes its tensors from the C library, and glibc's heap only grows at its end: a block goes into the
smallest gap that holds it, neighbouring gaps become one (Lea, "A memory allocator", 1996, which glibc descends from).
Each node of autograd's graph is a small block, taken between two activations, and stays where it is until the whole
graph is gone. So activations that were freed leave gaps that do not join, in which the larger gradients of earlier
layers find no place: an unfrozen ResNet-18 holds a third more than ever lives at once. The first step of a stage, with
the optimizer's state, lies apart from the heap (`kit.train.memory`), and is not played.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

ALIGNED = 96  # bytes more that a block takes: PyTorch asks for addresses that are multiples of 64
NODE = 32  # bytes of the smallest block
STEPS = 2  # that are played through: in the second, the gradients of the first are there at its beginning


@dataclass(frozen=True, kw_only=True)
class Change:
    """A block that is taken or freed."""

    block: int  # its number
    num_bytes: int  # 0: it is freed
    pinned: bool = False  # a node of the graph is taken behind it


class Heap:
    """Blocks and gaps on a line of addresses."""

    def __init__(self) -> None:
        """Begin with an empty one."""
        self.end = self.in_use = self.most_in_use = 0
        self._gaps: list[tuple[int, int]] = []  # (size, address), the smallest first
        self._size_at: dict[int, int] = {}  # of a gap, by its address
        self._begin_of: dict[int, int] = {}  # of a gap, by its end
        self._taken: dict[int, int] = {}  # size by address

    def take(self, num_bytes: int, *, pinned: bool = False) -> tuple[int, ...]:
        """Return the addresses of a block and, if it is pinned, of the node behind it."""
        size = num_bytes + ALIGNED
        place = bisect.bisect_left(self._gaps, (size, -1))
        if place < len(self._gaps):
            gap, address = self._gaps[place]
            self._close(address, gap)
            if gap > size:
                self._open(address + size, gap - size)
        else:  # at the end, where a gap may be the beginning of the block
            address = self._begin_of.get(self.end, self.end)
            if address < self.end:
                self._close(address, self.end - address)
            self.end = max(self.end, address + size)
        self.in_use += size
        self.most_in_use = max(self.most_in_use, self.in_use)
        if not pinned:
            self._taken[address] = size
            return (address,)
        self._taken[address], self._taken[address + size - NODE] = size - NODE, NODE
        return address, address + size - NODE

    def free(self, address: int) -> None:
        """Make a block a gap, one with the gaps beside it."""
        size = self._taken.pop(address)
        self.in_use -= size
        if address in self._begin_of:
            begin = self._begin_of[address]
            self._close(begin, address - begin)
            address, size = begin, size + address - begin
        if address + size in self._size_at:
            more = self._size_at[address + size]
            self._close(address + size, more)
            size += more
        self._open(address, size)

    def _open(self, address: int, size: int) -> None:
        self._size_at[address], self._begin_of[address + size] = size, address
        bisect.insort(self._gaps, (size, address))

    def _close(self, address: int, size: int) -> None:
        del self._size_at[address], self._begin_of[address + size]
        del self._gaps[bisect.bisect_left(self._gaps, (size, address))]


def bytes_in_gaps(step: Sequence[Change], *, num_first: int = 0) -> int:
    """Return by how much a heap ends beyond the most that is in use at once, after STEPS steps.

    Args:
        step: what a step takes and frees, gradients too; what is still there at its end (images, gradients) is freed in
            the next.
        num_first: changes of the next step that come before that: its images are made while the former ones are there.
    """
    heap = Heap()
    left: list[int] = []
    for _ in range(STEPS):
        taken: dict[int, int] = {}
        nodes: list[int] = []
        for place, change in enumerate(step):
            if place == num_first:
                _free(heap, left)
            if not change.num_bytes:
                heap.free(taken.pop(change.block))
                continue
            taken[change.block], *node = heap.take(change.num_bytes, pinned=change.pinned)
            nodes += node
        _free(heap, nodes)
        left = list(taken.values())
    return heap.end - heap.most_in_use


def _free(heap: Heap, addresses: list[int]) -> None:
    while addresses:
        heap.free(addresses.pop(0))
