"""The processes that train one network together: who we are among them, and how numbers are brought together.

One process alone is `SOLO`, in which every exchange is the identity. Several are started by torchrun, see
`kit.train.distributed`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # torch takes seconds, which a run of which everything is done need not spend
    from torch import Tensor, nn

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class World:
    """This process among those that train together."""

    rank: int  # 0 <= rank < size; 0 writes files and speaks
    size: int
    local_rank: int = 0  # among those of this machine: the number of its GPU

    @property
    def is_first(self) -> bool:
        """This process writes the files."""
        return self.rank == 0

    def share(self, items: Any) -> Any:
        """Return this process's part of a sequence that all hold: every `size`-th from `rank` on."""
        return items[self.rank :: self.size]

    def whole(self, part: NDArray[Any], *, num: int) -> NDArray[Any]:
        """Return the whole of what `share` dealt out, (num, ...) in the order of before; all must ask.

        Args:
            part: (n, ...) what this process has made of its share.
            num: of all.
        """
        if self.size == 1:
            return part
        whole = np.empty((num, *part.shape[1:]), dtype=part.dtype)
        for rank, found in enumerate(self.gather(part)):
            whole[rank :: self.size] = found
        return whole

    def sum(self, numbers: "Tensor") -> "Tensor":
        """Return the sum over all processes of a tensor that each has, which is left as it is."""
        if self.size == 1:
            return numbers
        import torch

        total = numbers.clone()
        torch.distributed.all_reduce(total)
        return total

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank; all must ask."""
        if self.size == 1:
            return [value]
        import torch

        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.gather(None)

    def first_alone(self, work: Callable[[], T]) -> T:
        """Return what `work` gives in this process; the first does it while the others wait, who find it done."""
        if self.is_first:
            found = work()
        self.wait()
        return found if self.is_first else work()

    def blend_buffers(self, module: "nn.Module") -> None:
        """Put the mean over all processes into the buffers of `module`: BatchNorm's running statistics.

        They are a moving average, and so linear in what each process has seen: the mean is what all images have
        contributed, whenever it is taken. Buffers that are not of a float type are alike in all processes.
        """
        if self.size > 1:
            for buffer in module.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(self.sum(buffer) / self.size)


SOLO = World(rank=0, size=1)
