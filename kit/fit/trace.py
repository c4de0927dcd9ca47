"""The trace: one training step on tensors without memory, and what lives at each of its moments.

The network's own forward and the autograd engine run, with the kit's own modes and loss, on fake tensors: shapes and
strides without values. What is allocated and freed is seen by a dispatch mode. Two batch sizes tell what each image
adds.
"""

import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kit.config import AugmentConfig
from kit.errors import ConfigError
from kit.fit.heap import Change, bytes_in_gaps
from kit.fit.workload import Precision, Workload
from kit.train.loss import Objective
from kit.train.mixing import mix, one_hot
from kit.train.model import make_network
from kit.train.trainable import Forward, set_mode, set_trainable

BATCHES = (2, 4)  # images; BatchNorm has no variance of one
FLOAT32_ON_CUDA = (F.layer_norm, F.group_norm, F.softmax, Tensor.softmax, torch.softmax)  # that keep activations
GAP_BATCHES = (8, 16, 32, 64)  # images, of the steps that are played through: what fits into which gap jumps about


@dataclass(frozen=True, kw_only=True)
class Line:
    """Bytes that grow with the batch: fixed + per_image * images."""

    fixed: float
    per_image: float

    def at(self, batch: int) -> float:
        """Return the bytes of a batch."""
        return self.fixed + self.per_image * batch


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a step takes, in bytes, beside weights and optimizer."""

    weights: int  # parameters and buffers
    learning: int  # of these, what gets gradients
    num_learning: int  # tensors of these
    kept: Line  # what autograd keeps from the forward for the backward pass, the images with it
    gaps: Line  # between blocks of a heap, where tensors live in one, as on a CPU
    moments: tuple[Line, ...]  # of a step: what lives at those that are the highest for some batch, gradients too


@lru_cache(maxsize=64)
def trace(workload: Workload) -> Trace:
    """Return what a step takes.

    Raises:
        ConfigError: timm knows no such network; or it cannot be run without values, and what went wrong.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            return _trace(workload, on_meta=True)
        except ConfigError:
            raise
        except Exception:  # some networks look at values while they are built: then they are built in real memory
            try:
                return _trace(workload, on_meta=False)
            except ConfigError:
                raise
            except Exception as error:
                raise ConfigError(
                    f"{workload.model.name} at {workload.image_size} px cannot be followed without values: "
                    f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''} "
                    "Either it takes no images of this size, or its forward looks at values of tensors. "
                    "`kit fit --measure` tries it with real images instead."
                ) from error


def _trace(workload: Workload, *, on_meta: bool) -> Trace:
    with torch.device("meta") if on_meta else nullcontext():
        network = make_network(replace(workload.model, weights="none"), num_classes=workload.num_classes, seed=0).module
    with FakeTensorMode(allow_non_fake_inputs=True):
        _take_memory_away(network)
        found = [_Step(network, workload, num_images) for num_images in BATCHES]
    evaluates = workload.stage == "evaluation"
    trained = [one.nbytes for one in network.parameters() if one.requires_grad and not evaluates]
    in_gaps = [bytes_in_gaps(_changes(found, batch), num_first=found[0].num_first) for batch in GAP_BATCHES]
    return Trace(
        weights=sum(one.nbytes for one in (*network.parameters(), *network.buffers())),
        learning=sum(trained),
        num_learning=len(trained),
        kept=_line([one.kept for one in found], BATCHES),
        gaps=_line_among(in_gaps, GAP_BATCHES),
        moments=_highest([one.history for one in found]),
    )


def _changes(found: Sequence["_Step"], batch: int) -> list[Change]:
    """Return what a step of `batch` images takes and frees, by those of BATCHES."""
    low, high = (one.changes for one in found)
    if [(one.block, one.num_bytes > 0) for one in low] != [(one.block, one.num_bytes > 0) for one in high]:
        # The program depends on the batch: that of the larger one is stretched.
        return [replace(one, num_bytes=one.num_bytes * batch // BATCHES[1]) for one in high]
    return [
        replace(one, num_bytes=int(_line([one.num_bytes, other.num_bytes], BATCHES).at(batch)))
        for one, other in zip(low, high, strict=True)
    ]


def _take_memory_away(module: nn.Module) -> None:
    """Make every parameter and buffer a fake one of the same shape, channels last as the trainer wants them."""
    made: dict[int, Any] = {}  # tied weights stay tied

    def fake(tensor: Any) -> Any:
        if tensor is not None and id(tensor) not in made:
            layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
            empty = torch.empty(tensor.shape, dtype=tensor.dtype, memory_format=layout)
            made[id(tensor)] = nn.Parameter(empty) if isinstance(tensor, nn.Parameter) else empty
        return made.get(id(tensor))

    for part in module.modules():
        part._parameters.update({name: fake(one) for name, one in part._parameters.items()})
        part._buffers.update({name: fake(one) for name, one in part._buffers.items()})


class _Step:
    """A step of so many images, all at once: what lived after each change, what autograd kept, and the changes."""

    def __init__(self, network: nn.Module, workload: Workload, num_images: int) -> None:
        head_only, norms = workload.stage == "head", workload.norms_learn
        for parameter in network.parameters():
            parameter.grad = None
        if workload.checkpointing:
            _checkpoint(network)
        if workload.stage == "evaluation":
            network.eval()
        else:
            set_trainable(network, head_only=head_only, norms=norms)
            set_mode(network, head_only=head_only, norms=norms, keep_statistics=workload.keeps_statistics and not norms)
        forward = Forward(network, graph_in_body=not head_only or norms)
        with _Live(_standing(network)) as live, _like(workload.device, workload.precision):
            self.kept, whole = 0, _images(workload, num_images)  # the portion holds them while the step lasts
            self.num_first = len(live.changes)
            if workload.stage == "evaluation":
                with torch.no_grad(), _autocast(workload.precision):
                    forward(whole).float().softmax(dim=-1)
            else:
                self.kept = _learn(forward, whole, workload, live)
            self.history, self.changes = list(live.history), list(live.changes)


def _learn(forward: nn.Module, whole: Tensor, workload: Workload, live: "_Live") -> int:
    """Go forward and back, as `kit.train.engine` does, and return the bytes that are kept in between."""
    objective = Objective(
        config=workload.loss, several=workload.several, targets=torch.empty(0), weights=None, shares=None, notes=()
    )
    num_images = len(whole)
    targets = torch.empty(num_images, dtype=torch.int64)
    if workload.several:
        targets = torch.empty(num_images, workload.num_classes)
    images = whole
    if workload.mixes:
        targets = targets if workload.several else one_hot(targets, workload.num_classes)
        images, targets = mix(whole, targets, config=AugmentConfig(mixup_alpha=1.0), seed=0, step=0)
    live.pinning = workload.stage == "all" or workload.norms_learn
    standing = {id(one.untyped_storage()) for one in _standing(forward)}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in standing:
            kept[id(storage)] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with _autocast(workload.precision):
            logits = forward(images)
        loss = objective.losses(logits, targets).sum()
    del logits, images, targets
    live.pinning = False
    # Checkpointing keeps the inputs of blocks where hooks do not see them.
    num_kept = live.now - whole.untyped_storage().nbytes() if workload.checkpointing else sum(kept.values())
    loss.backward()  # type: ignore[no-untyped-call]
    return num_kept


def _images(workload: Workload, num_images: int) -> Tensor:
    """Return a batch made as `kit.train.model.normalise` makes it, whose constants must not become fake ones."""
    side, scale = workload.image_size, torch.empty(3)
    pixels = torch.empty(num_images, side, side, 3, dtype=torch.uint8)
    return torch.addcmul(scale, pixels.float(), scale).permute(0, 3, 1, 2)


def _autocast(precision: Precision) -> Any:
    """Return the context of a forward pass."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast("cpu", dtype=dtype, enabled=precision != "fp32")


def _like(device: str, precision: Precision) -> Any:
    """Return a context in which autocast on a CPU keeps those operations in float32 that it keeps so on a GPU."""
    return _InFloat32() if device == "cuda" and precision != "fp32" else nullcontext()


class _InFloat32(TorchFunctionMode):
    """Operations that CUDA's autocast does in float32, and a CPU's in the type of their input."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do the operation."""
        if function in FLOAT32_ON_CUDA:
            args = tuple(one.float() if isinstance(one, Tensor) else one for one in args)
        return function(*args, **(kwargs or {}))


def _standing(module: nn.Module) -> list[Tensor]:
    """Return weights, buffers and gradients."""
    weights = list(module.parameters())
    return [*weights, *module.buffers(), *(one.grad for one in weights if one.grad is not None)]


def _checkpoint(network: nn.Module) -> None:
    """Ask timm's network for gradient checkpointing."""
    inner = getattr(network, "body", network)
    if not hasattr(inner, "set_grad_checkpointing"):
        raise ConfigError(f"{type(inner).__name__} has no gradient checkpointing.")
    try:
        inner.set_grad_checkpointing(True)  # type: ignore[operator]
    except AssertionError as error:
        raise ConfigError(f"{type(inner).__name__} has no gradient checkpointing.") from error


def _line(amounts: Sequence[int], batches: Sequence[int]) -> Line:
    """Return the line through the amounts of two batches."""
    slope = (amounts[1] - amounts[0]) / (batches[1] - batches[0])
    return Line(fixed=amounts[0] - slope * batches[0], per_image=slope)


def _line_among(amounts: Sequence[int], batches: Sequence[int]) -> Line:
    """Return the line of least squares through the amounts of several batches; misses count as shares of the batch."""
    slope, fixed = np.polyfit(batches, amounts, deg=1, w=[1 / batch for batch in batches])
    return Line(fixed=float(fixed), per_image=float(slope))


def _highest(histories: Sequence[Sequence[int]]) -> tuple[Line, ...]:
    """Return the lines of those moments that are the highest for some batch, the flattest first.

    A moment is the same in both histories where the program is the same. Where it is not, as its steps depend on the
    batch, the line through both peaks has to do.
    """
    if len(histories[0]) != len(histories[1]):
        return (_line([max(history) for history in histories], BATCHES),)
    lines: list[Line] = []
    found = {_line(pair, BATCHES) for pair in zip(*histories, strict=True)}
    for line in sorted(found, key=lambda one: (one.per_image, one.fixed)):
        while lines and line.at(1) >= lines[-1].at(1):
            lines.pop()  # lower at one image, and never steeper
        while len(lines) > 1 and _crossing(lines[-2], line) <= _crossing(lines[-2], lines[-1]):
            lines.pop()
        lines.append(line)
    return tuple(lines)


def _crossing(flat: Line, steep: Line) -> float:
    """Return the batch from which on the steeper line is the higher one."""
    return (flat.fixed - steep.fixed) / (steep.per_image - flat.per_image)


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of storages that live, and writes down the count after each change."""

    def __init__(self, standing: Sequence[Tensor]) -> None:
        """Take the tensors that are there before, which count nothing."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.history: list[int] = [0]
        self.changes: list[Change] = []
        self.pinning = False  # blocks that are taken now have a node of the graph behind them
        self._standing = [one.untyped_storage() for one in standing]
        self._known: dict[int, Any] = {id(storage): storage for storage in self._standing}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do the operation, and see what it made."""
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._see(tensor.untyped_storage())
        return made

    def _see(self, storage: Any) -> None:
        key, num_bytes, block = id(storage), storage.nbytes(), len(self.changes)
        if key in self._known or not num_bytes:
            return

        def gone(_: Any) -> None:
            del self._known[key]
            self._write(-num_bytes, Change(block=block, num_bytes=0))

        self._known[key] = weakref.ref(storage, gone)
        self._write(num_bytes, Change(block=block, num_bytes=num_bytes, pinned=self.pinning))

    def _write(self, num_bytes: int, change: Change) -> None:
        self.now += num_bytes
        self.history.append(self.now)
        self.changes.append(change)
