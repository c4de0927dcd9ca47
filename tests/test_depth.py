"""Depth groups: for one network of every family of timm, five or more of the body, the head last; what decays."""

import re

import pytest
import timm
import torch
from torch import nn

from kit.config import ModelConfig
from kit.train.depth import depth_groups, head_names, optimizer_groups
from kit.train.model import make_network, own_network

FAMILIES = [
    family for family in timm.list_modules() if any(not n.endswith("_enc") for n in timm.list_models(module=family))
]
SIZES = ["atto", "femto", "pico", "nano", "micro", "xxs", "xxt", "test", "tiny", "_xs", "_s", "small", "_t", ""]


def smallest_of(family):
    """Return the family's network that is smallest by its name."""
    names = [name for name in timm.list_models(module=family) if not name.endswith("_enc")]
    return min(names, key=lambda name: (next(k for k, size in enumerate(SIZES) if size in name), len(name), name))


def on_paper(name, **options):
    with torch.device("meta"):
        return timm.create_model(name, num_classes=3, **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_timm_has_five_depth_groups_and_the_head_last(family):
    module = on_paper(smallest_of(family))
    groups = depth_groups(module)
    names = [name for name, _ in module.named_parameters()]
    assert len(groups) >= 6
    assert sorted(name for group in groups for name in group) == sorted(names)  # each once
    assert all(groups)
    assert groups[-1] == head_names(module)
    assert 0 < len(groups[-1]) <= 10


def test_the_sweep_covers_all_families():
    assert len(FAMILIES) >= 95


def test_a_resnet_has_a_stem_four_stages_and_a_head():
    groups = depth_groups(on_paper("resnet18"))
    assert [sorted({name.split(".")[0] for name in group}) for group in groups] == [
        ["bn1", "conv1"],
        ["layer1"],
        ["layer2"],
        ["layer3"],
        ["layer4"],
        ["fc"],
    ]


def test_a_vision_transformer_has_a_group_for_each_block():
    groups = depth_groups(on_paper("vit_tiny_patch16_224"))
    assert {name.split(".")[0] for name in groups[0]} == {"cls_token", "pos_embed", "patch_embed"}
    blocks = [re.match(r"blocks\.(\d+)", group[0]).group(1) for group in groups[1:-1]]
    assert blocks == [str(k) for k in range(12)]


def test_without_groups_of_timm_the_layers_are_dealt_out_in_their_order():
    names = [name for group in depth_groups(on_paper("poolformer_s12"))[:-1] for name in group]
    module = on_paper("poolformer_s12")
    head = set(head_names(module))
    assert names == [name for name, _ in module.named_parameters() if name not in head]


@pytest.mark.parametrize("head", ["linear", "concat-pool"])
def test_another_head_leaves_the_bodys_groups_as_they_are(head):
    own = make_network(ModelConfig(name="resnet18", weights="none"), num_classes=3, seed=1).module
    module = make_network(ModelConfig(name="resnet18", weights="none", head=head), num_classes=3, seed=1).module
    assert depth_groups(module)[:-1] == [[f"body.{name}" for name in group] for group in depth_groups(own)[:-1]]


def test_a_network_of_ones_own_is_dealt_into_five_groups_or_as_many_as_it_has_layers():
    def stack(num_layers):
        layers = [nn.Conv2d(3, 3, 1) for _ in range(num_layers)]
        return own_network(nn.Sequential(*layers, nn.Flatten(), nn.Linear(3, 2))).module

    assert depth_groups(stack(2)) == [
        ["body.0.weight", "body.0.bias"],
        ["body.1.weight", "body.1.bias"],
        ["body.3.weight", "body.3.bias"],
    ]
    assert [len(group) for group in depth_groups(stack(12))] == [6, 4, 6, 4, 4, 2]


# What decays.


def decaying(module):
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    groups = optimizer_groups(module, peak_lrs=[1.0] * len(depth_groups(module)), weight_decay=0.05)
    found = {True: set(), False: set()}
    for group in groups:
        assert group["weight_decay"] in (0.05, 0.0)
        found[group["weight_decay"] > 0] |= {names[id(parameter)] for parameter in group["params"]}
    assert found[True] | found[False] == set(names.values())
    return found[True]


def test_matrices_and_kernels_decay_and_biases_and_norms_do_not():
    module = on_paper("resnet18")
    assert decaying(module) == {name for name, parameter in module.named_parameters() if parameter.ndim in (2, 4)}


def test_positional_embeddings_and_tokens_do_not_decay_under_any_head():
    for head, prefix in (("timm", ""), ("linear", "body.")):
        config = ModelConfig(name="test_vit", weights="none", head=head)
        found = decaying(make_network(config, num_classes=3, seed=1).module)
        assert not {f"{prefix}pos_embed", f"{prefix}cls_token", f"{prefix}reg_token"} & found
        assert f"{prefix}blocks.0.attn.qkv.weight" in found


def test_what_a_network_of_timm_spares_does_not_decay():
    module = on_paper("swin_tiny_patch4_window7_224")
    tables = {name for name, _ in module.named_parameters() if "relative_position_bias_table" in name}
    assert len(tables) == 12
    assert not tables & decaying(module)


def test_scales_and_tokens_of_ones_own_network_do_not_decay():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.position = nn.Parameter(torch.zeros(1, 49, 8))
            self.scale = nn.Parameter(torch.ones(8, 1, 1))
            self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
            self.single = nn.Linear(8, 1)
            self.head = nn.Linear(8, 2)

    assert decaying(own_network(Own()).module) == {
        "body.depthwise.weight",
        "body.single.weight",
        "body.head.weight",
    }


def test_groups_carry_the_peak_of_their_depth_and_leave_frozen_parameters_out():
    module = on_paper("resnet18")
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name.startswith(("fc", "layer4")))
    groups = optimizer_groups(module, peak_lrs=[1, 2, 3, 4, 5, 6], weight_decay=0.05)
    assert [group["peak_lr"] for group in groups] == [5, 5, 6, 6]
    assert sum(len(group["params"]) for group in groups) == sum(p.requires_grad for p in module.parameters())
