"""The engine: one optimizer step, and everything that a step changes, to be put away and taken up again."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kit.config import Recipe
from kit.errors import ConfigError
from kit.train.course import Stage
from kit.train.depth import depth_groups, head_names, optimizer_groups
from kit.train.distributed import describe_sharing, has_idle_parameters
from kit.train.feed import Step
from kit.train.heads import classifiers
from kit.train.inference import mixed_precision
from kit.train.loss import Objective
from kit.train.memory import keep_freed_memory
from kit.train.mixing import mix, one_hot
from kit.train.model import Network
from kit.train.schedule import CyclePoint
from kit.train.state import generators, set_generators
from kit.train.world import SOLO, World

SECOND_BETA = 0.99  # AdamW's, as fast.ai has it


class Engine:
    """A network with its optimizer, on a device."""

    def __init__(
        self,
        network: Network,
        objective: Objective,
        *,
        recipe: Recipe,
        num_classes: int,
        device: torch.device,
        seed: int,
        world: World = SOLO,
    ) -> None:
        """Move the network to the device; `begin` comes next.

        Args:
            network: from `make_network`; trained in place.
            objective: the targets and their loss.
            recipe: how.
            num_classes: C.
            device: where.
            seed: of dropout and of mixed images.
            world: the processes that train it together.

        Raises:
            ConfigError: pretrained statistics are to be kept where there are none.
        """
        plan = recipe.schedule
        pretrained = network.weights_origin != "none"
        if plan.norm_statistics == "kept" and not pretrained:
            raise ConfigError(
                "schedule.norm_statistics = 'kept' keeps the statistics that came with pretrained weights, and "
                f"{recipe.model.name} starts from random ones. Use 'batch' or 'auto'."
            )
        self.keeps_statistics = pretrained and plan.norm_statistics != "batch"
        torch.manual_seed(seed + world.rank)
        if device.type == "cpu":
            keep_freed_memory()
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32 where autocast leaves float32
            if recipe.deterministic:
                os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
                torch.use_deterministic_algorithms(True, warn_only=True)
            else:
                torch.backends.cudnn.benchmark = True
        self.module = network.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.objective, self.device, self.seed, self.world = objective, device, seed, world
        self._recipe, self._num_classes = recipe, num_classes
        self._precision, self.scaler = mixed_precision(device)
        self.average: Any = None
        if plan.average_decay:
            from timm.utils import ModelEmaV3

            self.average = ModelEmaV3(self.module, decay=plan.average_decay, use_warmup=True)
        self.stage: Stage | None = None
        self.optimizer: torch.optim.AdamW
        self._forward: nn.Module

    @property
    def kept_module(self) -> nn.Module:
        """The weights that are scored and kept: the moving average where there is one."""
        kept: nn.Module = self.average.module if self.average is not None else self.module
        return kept

    def begin(self, stage: Stage, peak_lrs: Sequence[float]) -> None:
        """Begin a stage with a new optimizer.

        Args:
            stage: "head" trains the classifier on a frozen body, "all" every layer.
            peak_lrs: of each depth group, stem first.
        """
        plan = self._recipe.schedule
        self.stage = stage
        norms = stage == "head" and plan.frozen_norms == "trained"
        set_trainable(self.module, head_only=stage == "head", norms=norms)
        self.optimizer = torch.optim.AdamW(
            optimizer_groups(self.module, peak_lrs=peak_lrs, weight_decay=plan.weight_decay),
            fused=self.device.type in ("cpu", "cuda"),
        )
        forward: nn.Module = _Forward(self.module, graph_in_body=stage == "all" or norms)
        if self.world.size > 1:
            side = self._recipe.input.image_size
            joint = nn.parallel.DistributedDataParallel(
                forward,
                device_ids=[self.device] if self.device.type == "cuda" else None,
                find_unused_parameters=has_idle_parameters(forward, torch.zeros(2, 3, side, side, device=self.device)),
            )
            joint.broadcast_buffers = False  # before each step, those of the first process; see `agree` instead
            forward = joint
        if self._recipe.compile != "none":
            forward.compile(mode=self._recipe.compile)
        self._forward = forward

    @property
    def num_groups(self) -> int:
        """Depth groups of the network, the head among them."""
        return len(depth_groups(self.module))

    def train_mode(self) -> None:
        """Put the layers into training mode, as the stage wants it."""
        head_only = self.stage == "head"
        norms = head_only and self._recipe.schedule.frozen_norms == "trained"
        set_mode(self.module, head_only=head_only, norms=norms, keep_statistics=self.keeps_statistics and not norms)

    def step(self, step: Step, point: CyclePoint, *, number: int, mixes: bool = False) -> Tensor:
        """Take one optimizer step and return its loss: this process's part of the mean over all images, a scalar.

        Args:
            step: the images. Gradients of portions add up to those of the whole: each image's loss is divided by the
                weight of the step's images, not of its portion's.
            point: where the cycle stands; its `lr` is a share of each group's peak.
            number: of the step, over all epochs; decides how images are mixed.
            mixes: mix images as the recipe says.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * point.lr
            group["betas"] = (point.momentum, SECOND_BETA)
        weights = self.objective.weights
        total = len(step.rows) if weights is None else weights[step.rows].sum()
        self.optimizer.zero_grad(set_to_none=True)
        whole = torch.zeros((), device=self.device)
        for k, portion in enumerate(step.portions):
            images, targets = portion.images, self.objective.targets[portion.rows]
            own = None if weights is None else weights[portion.rows]
            if mixes:
                place = (number * len(step.portions) + k) * self.world.size + self.world.rank
                images, targets, own = self._mixed(images, targets, own, place=place)
            last = k == len(step.portions) - 1
            with self._unsynchronised(not last):
                with self._precision():
                    logits = self._forward(images)  # (B, C)
                losses = self.objective.losses(logits, targets)  # (B,)
                losses = losses if own is None else losses * own
                loss = losses[: portion.num_counted].sum() / total
                # DistributedDataParallel takes the mean over processes; ours is a sum of their parts.
                self.scaler.scale(loss * self.world.size).backward()  # type: ignore[no-untyped-call]
            whole += loss.detach()
        if self._recipe.schedule.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.module.parameters(), self._recipe.schedule.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.module, step=number)
        return whole

    def _mixed(
        self, images: Tensor, targets: Tensor, weights: Tensor | None, *, place: int
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Mix the images of a portion, and with them their targets and weights."""
        targets = one_hot(targets, self._num_classes) if targets.ndim == 1 else targets
        columns = targets if weights is None else torch.cat([targets, weights[:, None]], dim=1)
        images, columns = mix(images, columns, config=self._recipe.augment, seed=self.seed, step=place)
        return images, columns[:, : self._num_classes], None if weights is None else columns[:, -1]

    def _unsynchronised(self, wanted: bool) -> Any:
        """Return a context in which gradients stay in this process: only a step's last portion exchanges them."""
        import contextlib

        if wanted and isinstance(self._forward, nn.parallel.DistributedDataParallel):
            return self._forward.no_sync()
        return contextlib.nullcontext()

    def agree(self) -> None:
        """Bring what each process has seen into the statistics of all; weights agree after every step."""
        self.world.blend_buffers(self.module)
        if self.average is not None:
            self.world.blend_buffers(self.average.module)

    def describe(self) -> list[str]:
        """Return lines for the log on the processes that train together."""
        plan = self._recipe.schedule
        learns = (plan.epochs and not self.keeps_statistics) or (plan.frozen_epochs and plan.frozen_norms == "trained")
        return describe_sharing(
            self.world, batch_size=plan.batch_size, batch_statistics=bool(learns and batch_norms(self.module))
        )

    def capture(self) -> dict[str, Any]:
        """Return all that a step changes, as tensors (not copied) and plain values; all processes must ask."""
        self.agree()
        return {
            "stage": self.stage,
            "module": self.module.state_dict(),
            "average": None if self.average is None else self.average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "generators": self.world.gather(generators()),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put everything back to what `capture` returned, in the same stage.

        The generators of another number of processes are of no use: dropout then begins anew.
        """
        assert state["stage"] == self.stage
        self.module.load_state_dict(state["module"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if len(state["generators"]) == self.world.size:
            set_generators(state["generators"][self.world.rank])


class _Forward(nn.Module):
    """Logits; a frozen body is run without a graph, which saves its memory and a third of the time."""

    def __init__(self, module: nn.Module, *, graph_in_body: bool) -> None:
        super().__init__()
        self.module, self.graph_in_body = module, graph_in_body
        self.parted = hasattr(module, "forward_features") and hasattr(module, "forward_head")

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor
        if self.graph_in_body or not self.parted:
            logits = self.module(images)
            return logits
        with torch.no_grad():
            features = self.module.forward_features(images)  # type: ignore[operator]
        logits = self.module.forward_head(features)  # type: ignore[operator]
        return logits


def set_trainable(module: nn.Module, *, head_only: bool, norms: bool = False) -> None:
    """Let gradients reach every layer, or the classifier only, and with `norms` the BatchNorm layers of the body."""
    head = set(head_names(module))
    normalising = {id(p) for layer in batch_norms(module) for p in layer.parameters()} if norms else set()
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(not head_only or name in head or id(parameter) in normalising)


def set_mode(module: nn.Module, *, head_only: bool, norms: bool = False, keep_statistics: bool = False) -> None:
    """Put the module into training mode; with a frozen body only its classifier and the dropout before it.

    Args:
        module: to be trained.
        head_only: the body is frozen.
        norms: the BatchNorm layers of a frozen body use and learn each batch's statistics.
        keep_statistics: BatchNorm layers of the body go on normalising by their running statistics.
    """
    module.train(not head_only)
    heads = classifiers(module)
    in_head = {id(layer) for head in heads for layer in head.modules()}
    if head_only:
        module.training = True  # timm's networks ask this flag, not a layer, whether to drop before the classifier
        for name, layer in module.named_modules():
            if isinstance(layer, nn.Dropout) and "head" in name:
                layer.train()
        for head in heads:
            head.train()
    for layer in batch_norms(module):
        if id(layer) not in in_head and (norms or keep_statistics):
            layer.train(norms)


def batch_norms(module: nn.Module) -> list[nn.Module]:
    """Return the BatchNorm layers of a module."""
    return [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
