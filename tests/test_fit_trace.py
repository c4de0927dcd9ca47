"""The trace: what a step keeps and takes, told by shapes alone, is what a real step keeps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kit.config import LossConfig, ModelConfig
from kit.errors import ConfigError
from kit.fit import trace as tracing
from kit.fit.trace import trace
from kit.fit.workload import Workload
from kit.train.loss import Objective
from kit.train.mixing import one_hot
from kit.train.model import make_network
from kit.train.trainable import Forward, set_mode, set_trainable

MIB = 2**20


def workload(name: str = "resnet10t", **changes: Any) -> Workload:
    """Return a step of a small network."""
    return Workload(**{"model": ModelConfig(name=name, weights="none"), "num_classes": 37, "image_size": 64, **changes})


def kept_by_autograd(work: Workload, batch: int) -> int:
    """Return the bytes that autograd keeps in a real forward pass on a CPU, weights apart."""
    module = make_network(work.model, num_classes=work.num_classes, seed=1).module
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    set_trainable(module, head_only=work.stage == "head")
    set_mode(module, head_only=work.stage == "head", keep_statistics=work.keeps_statistics)
    forward = Forward(module, graph_in_body=work.stage == "all")
    standing = {one.untyped_storage().data_ptr() for one in (*module.parameters(), *module.buffers())}
    found: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in standing:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    objective = Objective(config=work.loss, several=False, targets=torch.empty(0), weights=None, shares=None, notes=())
    images = torch.rand(batch, work.image_size, work.image_size, 3).permute(0, 3, 1, 2)
    targets = torch.arange(batch) % work.num_classes
    if work.mixes:
        targets = one_hot(targets, work.num_classes)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=work.precision == "bf16"):
            logits = forward(images)
        objective.losses(logits, targets).sum()
    return sum(found.values())


@pytest.mark.parametrize(("name", "size", "fp32", "bf16"), [("resnet50", 320, 167, 87), ("resnet34", 224, 31, 18)])
def test_an_image_of_the_lessons_networks_keeps_as_many_mib_as_were_tried(
    name: str, size: int, fp32: int, bf16: int
) -> None:
    for precision, expected in (("fp32", fp32), ("bf16", bf16)):
        kept = trace(workload(name, image_size=size, precision=precision)).kept
        assert kept.at(32) / 32 / MIB == pytest.approx(expected, rel=0.04)  # the weights in bf16 among them


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "bf16"},
        {"stage": "head"},
        {"keeps_statistics": True},
        {"mixes": True, "loss": LossConfig(kind="binary")},
        {"model": ModelConfig(name="resnet10t", weights="none", head="concat-pool")},
        {"model": ModelConfig(name="convnext_atto", weights="none", drop_path_rate=0.1), "precision": "bf16"},
        {"model": ModelConfig(name="tf_efficientnet_lite0", weights="none", drop_rate=0.2)},
    ],
    ids=lambda changes: "-".join(f"{key}" for key in changes) or "plain",
)
def test_activations_are_predicted_within_five_percent_of_what_autograd_keeps(changes: dict[str, Any]) -> None:
    work = workload(**changes)
    batch = 6  # neither of the batches that were traced
    found = kept_by_autograd(work, batch)
    assert trace(work).kept.at(batch) == pytest.approx(found, rel=0.05, abs=4096)


def test_weights_and_what_learns_of_them_are_counted_once() -> None:
    module = make_network(workload().model, num_classes=37, seed=1).module
    found, head = trace(workload()), trace(workload(stage="head"))
    num_bytes = sum(one.nbytes for one in module.parameters())
    assert found.weights == num_bytes + sum(one.nbytes for one in module.buffers())
    assert found.learning == num_bytes
    assert head.learning == (512 * 37 + 37) * 4
    assert trace(workload(stage="evaluation")).learning == 0


def test_each_of_two_stages_takes_less_than_the_one_before_it() -> None:
    most = [
        max(line.at(16) for line in trace(workload(stage=stage)).moments) for stage in ("all", "head", "evaluation")
    ]
    assert most[0] > 2 * most[1] and most[1] >= most[2] > 16 * 4 * 3 * 64**2


def test_mixed_images_are_a_batch_more() -> None:
    plain, mixed = (trace(workload(mixes=mixes)).moments[-1].per_image for mixes in (False, True))
    assert mixed - plain == pytest.approx(4 * 3 * 64**2, abs=500)


def test_checkpointing_keeps_less_and_is_refused_where_a_network_has_none() -> None:
    plain, spared = (
        trace(workload("resnet26", checkpointing=checkpointing)).kept.per_image for checkpointing in (False, True)
    )
    assert spared < 0.6 * plain
    with pytest.raises(ConfigError, match="no gradient checkpointing"):
        trace(workload("vgg11", checkpointing=True, image_size=32))


def test_layer_norm_is_float32_on_a_gpu_under_autocast_and_so_keeps_more() -> None:
    cpu, cuda = (trace(workload("convnext_atto", precision="bf16", device=device)).kept for device in ("cpu", "cuda"))
    assert 1.05 * cpu.per_image < cuda.per_image < 1.5 * cpu.per_image


OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        {built}
        self.head = nn.Linear(8, num_classes)

    def forward(self, images):
        features = self.first(images).relu()
        {run}
        return self.head(features.mean((2, 3)))

def network(num_classes):
    return Net(num_classes)
"""


def own(folder: Path, **parts: str) -> ModelConfig:
    """Return a network of one's own in a file."""
    path = folder / "mine.py"
    path.write_text(OWN.format(**{"built": "", "run": "", **parts}))
    return ModelConfig(name=f"{path}:network", weights="none")


def test_a_network_of_ones_own_is_traced(tmp_path: Path) -> None:
    found = trace(workload(model=own(tmp_path), image_size=16))
    image, features = 3 * 16 * 16 * 4, 8 * 16 * 16 * 4  # the first layer's input and the output that relu keeps
    assert found.kept.per_image == pytest.approx(image + features, abs=700)


def test_a_network_that_looks_at_values_while_it_is_built_is_built_in_real_memory(tmp_path: Path) -> None:
    rates = "self.rates = torch.linspace(0, 1, 3).tolist()"
    assert trace(workload(model=own(tmp_path, built=rates), image_size=16)).weights == (3 * 8 * 9 + 8 + 8 * 37 + 37) * 4


def test_a_network_whose_forward_looks_at_values_is_refused_in_one_paragraph(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="looks at values") as caught:
        trace(workload(model=own(tmp_path, run="features = features * (1 if features.sum().item() > 0 else 2)")))
    assert "\n" not in str(caught.value)


def test_a_trace_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    trace(replace(workload(), num_classes=11))
    assert torch.equal(torch.rand(3), expected)


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**4)), min_size=1, max_size=40),
    st.integers(1, 500),
)
def test_the_highest_moments_are_the_highest_of_all_for_every_batch(moments: list[tuple[int, int]], batch: int) -> None:
    histories = [[fixed + slope * images for fixed, slope in moments] for images in tracing.BATCHES]
    kept = tracing._highest(histories)
    assert max(line.at(batch) for line in kept) == pytest.approx(max(fixed + slope * batch for fixed, slope in moments))
