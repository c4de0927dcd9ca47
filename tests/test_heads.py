"""Heads: on every kind of body the same promises, and what the parts of a head compute, by hand."""

from functools import cache

import pytest
import timm
import torch
from torch import nn

from kit.config import ModelConfig
from kit.errors import ConfigError
from kit.train.depth import depth_groups, head_names
from kit.train.heads import HeadedBody, classifiers
from kit.train.model import make_network

# One of each layout of features: (B, F, H, W), tokens with a class token, (B, H, W, F); heads with layers of their own.
BODIES = {
    "resnet18": 512,
    "convnext_atto": 320,
    "test_vit": 64,
    "test_vit2": 64,
    "mambaout_femto": 288,
    "tf_efficientnet_lite0": 1280,
    "mobilenetv3_small_050": 288,
}
HEADS = ["timm", "linear", "concat-pool"]


@cache
def made(name, head, num_classes=3):
    return make_network(ModelConfig(name=name, weights="none", head=head), num_classes=num_classes, seed=1)


def images_for(module, batch_size=2):
    torch.manual_seed(0)
    body = module.body if isinstance(module, HeadedBody) else module
    fixed = body.pretrained_cfg.get("fixed_input_size", False)
    side = body.pretrained_cfg["input_size"][-1] if fixed else 64
    return torch.randn(batch_size, 3, side, side).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", BODIES)
def test_a_head_maps_images_to_logits_and_a_frozen_body_keeps_no_graph(name, head):
    module = made(name, head).module
    own = set(head_names(module))
    for key, parameter in module.named_parameters():
        parameter.requires_grad_(key in own)
    module.eval()
    images = images_for(module)
    features = module.forward_features(images)
    assert not features.requires_grad
    logits = module.forward_head(features)
    assert logits.shape == (2, 3)
    torch.testing.assert_close(logits, module(images))
    module.zero_grad()
    logits.sum().backward()
    assert {key for key, parameter in module.named_parameters() if parameter.grad is not None} == own


@pytest.mark.parametrize("head", HEADS[1:])
@pytest.mark.parametrize("name", BODIES)
def test_every_parameter_learns_and_only_the_classifier_is_the_head(name, head):
    module = made(name, head).module
    module.requires_grad_(True)
    module.zero_grad()
    module.eval()
    module(images_for(module)).square().sum().backward()
    unused = [key for key, parameter in module.named_parameters() if parameter.grad is None]
    assert unused == []
    [classifier] = classifiers(module)
    assert len(head_names(module)) == len(list(classifier.parameters()))
    assert depth_groups(module)[-1] == head_names(module)


@pytest.mark.parametrize("name", BODIES)
def test_the_heads_have_the_parameters_of_their_description(name):
    width = BODIES[name]
    norm = (
        2 * width if name in ("convnext_atto", "test_vit2", "mambaout_femto") else 0
    )  # theirs, kept before the linear layer
    count = {head: sum(p.numel() for p in made(name, head).module.get_classifier().parameters()) for head in HEADS[1:]}
    assert count["linear"] == norm + 3 * width + 3
    assert count["concat-pool"] == 4 * width + 2 * width * 512 + 2 * 512 + 512 * 3


def test_a_linear_head_is_the_mean_of_the_features_and_one_layer():
    for name, mean in (
        ("resnet18", lambda features: features.mean((2, 3))),
        ("test_vit", lambda features: features[:, 1:].mean(1)),  # without the class token
        ("mambaout_femto", lambda features: features.mean((1, 2))),
    ):
        module = made(name, "linear").module.eval()
        features = module.forward_features(images_for(module))
        expected = module.head(mean(features))
        torch.testing.assert_close(module.forward_head(features), expected)


def test_a_concat_pool_head_takes_maximum_and_mean_through_a_hidden_layer():
    module = made("resnet18", "concat-pool").module.eval()
    features = module.forward_features(images_for(module))
    pooled = torch.cat([features.amax((2, 3)), features.mean((2, 3))], dim=1)
    torch.testing.assert_close(module.forward_head(features), module.head(pooled))
    assert [type(layer) for layer in module.head] == [
        nn.BatchNorm1d,
        nn.Dropout,
        nn.Linear,
        nn.ReLU,
        nn.BatchNorm1d,
        nn.Dropout,
        nn.Linear,
    ]


@pytest.mark.parametrize(("given", "rates"), [(0.0, [0.25, 0.5]), (0.2, [0.1, 0.2])])
def test_dropout_of_a_concat_pool_head_is_half_before_the_hidden_layer(given, rates):
    config = ModelConfig(name="test_resnet", weights="none", head="concat-pool", drop_rate=given)
    head = make_network(config, num_classes=3, seed=1).module.get_classifier()
    assert [layer.p for layer in head if isinstance(layer, nn.Dropout)] == rates


def test_the_norm_of_a_convnext_goes_on_before_a_linear_head():
    """With the norm's own values, and pooled first as there: the same logits as timm's own head."""
    torch.manual_seed(3)
    whole = made("convnext_atto", "timm").module.eval()
    with torch.no_grad():
        whole.head.norm.weight.uniform_(0.5, 2)
    state = {key: value.clone() for key, value in whole.state_dict().items()}
    linear = made("convnext_atto", "linear").module.eval()
    linear.body.load_state_dict({k: v for k, v in state.items() if not k.startswith("head.")})
    linear.head.load_state_dict(
        {f"0.{k}": state[f"head.norm.{k}"] for k in ("weight", "bias")}
        | {f"2.{k}": state[f"head.fc.{k}"] for k in ("weight", "bias")}
    )
    images = images_for(whole)
    torch.testing.assert_close(linear(images), whole(images))


def test_a_norm_behind_a_hidden_layer_does_not_go_on():
    with torch.device("meta"):
        config = ModelConfig(name="inception_next_atto", weights="none", head="linear")
        module = make_network(config, num_classes=3, seed=1).module
        assert [type(layer) for layer in module.head] == [nn.Dropout, nn.Linear]
        assert module(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


@pytest.mark.parametrize("head", HEADS)
def test_equal_seeds_give_equal_networks(head):
    config = ModelConfig(name="test_resnet", weights="none", head=head)
    first, again, other = (make_network(config, num_classes=3, seed=seed).module.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    last = max(key for key in first if key.endswith("fc.weight") or (key.startswith("head.") and first[key].ndim == 2))
    assert not torch.equal(first[last], other[last])


@pytest.mark.parametrize("head", ["linear", "concat-pool"])
def test_weights_of_the_body_are_loaded_below_another_head(head, tmp_path):
    from safetensors.torch import save_file

    body = {key: value.clone() for key, value in made("mobilenetv3_small_050", "timm", 10).module.state_dict().items()}
    save_file(body, tmp_path / "mobilenetv3_small_050.safetensors")
    config = ModelConfig(name="mobilenetv3_small_050", weights=str(tmp_path), head=head)
    found = make_network(config, num_classes=3, seed=5).module.body.state_dict()
    assert found.keys() == {key for key in body if not key.startswith(("conv_head.", "classifier."))}
    assert all(torch.equal(found[key], body[key]) for key in found)


@pytest.mark.parametrize("name", ["crossvit_tiny_240", "coat_tiny", "efficientvim_m1"])
def test_features_that_are_not_one_tensor_leave_the_networks_own_head(name):
    with (
        torch.device("meta"),
        pytest.raises(ConfigError, match=rf"the features of {name} are not one tensor .* Use model.head = 'timm'"),
    ):
        make_network(ModelConfig(name=name, weights="none", head="linear"), num_classes=3, seed=1)


def test_a_distilled_network_has_two_classifiers_and_both_are_the_head():
    with torch.device("meta"):
        module = timm.create_model("levit_128s", num_classes=3)
    assert len(classifiers(module)) == 2
    assert {name.split(".")[0] for name in head_names(module)} == {"head", "head_dist"}


def test_the_first_losses_are_near_those_of_guessing():
    """timm's own initial weights gave 8 nats instead of ln 37 = 3.6 on the features of this network."""
    for head in ("timm", "concat-pool"):
        module = make_network(
            ModelConfig(name="tf_efficientnet_lite0", weights="none", head=head), num_classes=37, seed=1
        ).module.train()
        loss = nn.functional.cross_entropy(module(images_for(module, 4)), torch.arange(4))
        assert 3.0 < loss.item() < 4.5
