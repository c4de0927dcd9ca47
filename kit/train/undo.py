"""What an optimizer step changes, kept so that it can be put back when memory runs out in the middle of the step.

Forward and backward hold the activations, so memory runs out there; they change the buffers of modules (BatchNorm's
statistics), the random generators and the gradients, which the next attempt makes anew. The optimizer changes weights
in place: it needs memory only for its state, which is made before the first of them changes. So no weight is copied.
"""

import torch
from torch import Tensor, nn

from kit.train.state import generators, set_generators


class ForwardUndo:
    """The buffers of a module and the random generators, as they were before a forward pass."""

    def __init__(self, module: nn.Module) -> None:
        """Look where buffers are; a module may put other tensors there."""
        self._places = [(owner._buffers, name) for owner in module.modules() for name in owner._buffers]
        self._held: list[Tensor | None] = []
        self._pairs: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}  # tensors and their copies
        self._generators = generators()

    @torch.no_grad()
    def keep(self) -> None:
        """Keep what there is now instead of what was kept before."""
        self._generators = generators()
        held = [owner[name] for owner, name in self._places]
        if len(held) != len(self._held) or any(now is not was for now, was in zip(held, self._held, strict=True)):
            self._held, self._pairs = held, {}
            for tensor in held:
                if tensor is not None:
                    tensors, copies = self._pairs.setdefault(tensor.dtype, ([], []))
                    tensors.append(tensor)
                    copies.append(tensor.clone())
            return
        for tensors, copies in self._pairs.values():  # one dtype at a time, which a GPU does in one go
            torch._foreach_copy_(copies, tensors)

    @torch.no_grad()
    def put_back(self) -> None:
        """Make everything what it was when it was kept."""
        for (owner, name), tensor in zip(self._places, self._held, strict=True):
            owner[name] = tensor
        for tensors, copies in self._pairs.values():
            torch._foreach_copy_(tensors, copies)
        set_generators(self._generators)


def make_state(optimizer: torch.optim.AdamW) -> None:
    """Make what the optimizer keeps of the weights that have a gradient for the first time, as it would in its step.

    In its step it does so group by group, each before it changes the weights of that group. What is made here before
    memory runs out is of zeros, and stays: the next attempt goes on from there.
    """
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if weight.grad is not None and weight not in optimizer.state:
                # A fused step counts on the device.
                count = torch.zeros((), device=weight.device) if group["fused"] else torch.tensor(0.0)
                optimizer.state[weight] = {
                    "step": count,
                    "exp_avg": torch.zeros_like(weight, memory_format=torch.preserve_format),
                    "exp_avg_sq": torch.zeros_like(weight, memory_format=torch.preserve_format),
                }


def num_changes(optimizer: torch.optim.Optimizer) -> list[int]:
    """Return how often the optimizer has changed each weight, without waiting for the device."""
    return [int(kept["step"]._version) for kept in optimizer.state.values()]
