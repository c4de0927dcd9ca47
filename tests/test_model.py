"""Networks: those of the user's own code and modules, what is refused of them, and images as a network sees them."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kit.config import ModelConfig
from kit.errors import ConfigError, WeightsError
from kit.train.depth import depth_groups, head_names
from kit.train.model import InputSpec, make_network, normalise, own_network
from kit.train.own import code_fingerprint, is_own

CODE = """
from torch import nn


class Small(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, images):
        return self.fc(self.norm(self.stem(images)).relu().mean((2, 3)))


def small(num_classes):
    return Small(num_classes)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a file of one's own code beside which the kit is called; make its network."""
    monkeypatch.chdir(tmp_path)

    def make(code=CODE, function="small", seed=1, num_classes=3, **options):
        (tmp_path / "mine.py").write_text(code)
        config = ModelConfig(**{"name": f"mine.py:{function}", "weights": "none", **options})
        return make_network(config, num_classes=num_classes, seed=seed)

    return make


def test_a_recipe_may_name_a_function_in_a_file_of_ones_own(own, tmp_path):
    found = own()
    assert found.module.eval()(torch.randn(2, 3, 16, 16)).shape == (2, 3)
    assert head_names(found.module) == ["body.fc.weight", "body.fc.bias"]
    assert len(depth_groups(found.module)) == 3
    assert (found.weights_origin, found.pretraining_group) == ("none", "none")
    assert found.num_parameters == 3 * 8 * 9 + 8 + 16 + 8 * 3 + 3
    absolute = make_network(ModelConfig(name=f"{tmp_path}/mine.py:small", weights="none"), num_classes=3, seed=1)
    state = absolute.module.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in found.module.state_dict().items())  # the same seed


def test_a_frozen_body_of_ones_own_keeps_no_graph_without_any_further_method(own):
    module = own().module
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in head_names(module))
    seen = []
    for layer in (module.body.stem, module.body.norm, module.body.fc):
        layer.register_forward_hook(lambda layer, inputs, output: seen.append(output.requires_grad))
    module(torch.randn(2, 3, 16, 16))
    assert seen == [False, False, True]


def test_the_file_tells_its_head_and_what_its_images_are_normalised_by(own):
    more = CODE.replace("self.fc = ", "self.last = nn.Linear(1, 1)\n        self.last2 = self.fc = ")
    told = own(more + 'HEAD = "fc"\nMEAN = (0.5, 0.5, 0.5)\nSTD = (0.25, 0.25, 0.25)\nCROP_PCT = 1\n')
    assert head_names(told.module) == ["body.last2.weight", "body.last2.bias"]  # the same layer, by its first name
    assert told.input == InputSpec(mean=(0.5,) * 3, std=(0.25,) * 3, crop_pct=1.0)
    untold = own().input
    assert (untold.mean[0], untold.std[0], untold.crop_pct) == (0.485, 0.229, 0.875)  # ImageNet's


def test_what_get_classifier_says_is_the_head(own):
    told = own(CODE + "    \nSmall.get_classifier = lambda self: self.fc\n").module
    assert head_names(told) == ["fc.weight", "fc.bias"]


def test_classes_of_the_file_are_found_where_python_looks_for_them(own):
    dataclass = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    b: int\n"
    )
    assert own(dataclass + CODE).num_parameters > 0


def test_weights_of_ones_own_network_are_loaded_but_for_the_head(own, tmp_path):
    body = {key.removeprefix("body."): value for key, value in own(num_classes=10, seed=7).module.state_dict().items()}
    save_file(body, tmp_path / "mine.safetensors")
    found = own(weights="mine.safetensors", pretraining_group="imagenet-1k")
    state = found.module.state_dict()
    assert all(torch.equal(state[f"body.{key}"], body[key]) for key in body if not key.startswith("fc."))
    assert state["body.fc.weight"].shape == (3, 8)
    assert (found.weights_origin, found.pretraining_group) == ("mine.safetensors", "imagenet-1k")
    save_file({**body, "more": torch.zeros(1)}, tmp_path / "mine.safetensors")
    with pytest.raises(WeightsError, match=r"not those of mine.py:small: 1 tensors are unknown to it, first 'more'"):
        own(weights="mine.safetensors")


def test_a_function_that_loads_weights_by_itself_says_so_by_the_recipes_pretraining_group(own):
    found = own(pretraining_group="imagenet-1k")
    assert (found.weights_origin, found.pretraining_group) == ("mine.py:small", "imagenet-1k")


@pytest.mark.parametrize("weights", ["auto", "hub"])
def test_no_weights_are_published_for_ones_own_network(own, weights):
    with pytest.raises(WeightsError, match="a network of your own has no published weights"):
        own(weights=weights)


def test_a_folder_of_weights_is_refused_for_ones_own_network(own, tmp_path):
    with pytest.raises(WeightsError, match="is not a weight file"):
        own(weights=str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "yours.py:small"}, r"there is no file .*yours.py, which 'yours.py:small' names"),
        ({"function": "smal"}, r"mine.py has no function 'smal'. Did you mean 'small'\?"),
        ({"code": "small = 3"}, r"mine.py has no function 'small'"),
        ({"code": "def small(num_classes): return 3"}, r"must return a torch.nn.Module, got int"),
        ({"code": CODE.replace("Small(num_classes)", "Small(10)")}, r"gives 10 logits, and there are 3 classes"),
        ({"code": CODE + "HEAD = 'stem'"}, r"gives 8 logits, and there are 3 classes"),
        (
            {"code": CODE + "HEAD = 'norms'"},
            r"Small has no submodule 'norms' .*Did you mean 'norm'\? Its linear layers: fc",
        ),
        ({"code": CODE + "HEAD = 3"}, r"Small has no submodule 3"),
        ({"code": CODE.replace("nn.Linear(8, num_classes)", "nn.ReLU()")}, r"Small has no recognisable head"),
        ({"code": CODE + "MEAN = (1, 2)"}, r"The input of a network of your own is not understood: mean \(1, 2\)"),
        ({"code": CODE + "STD = (1, 0, 1)"}, r"is not understood"),
        ({"code": CODE + "CROP_PCT = 'all'"}, r"is not understood"),
        ({"head": "linear"}, r"brings its head and its dropout along"),
        ({"drop_rate": 0.5}, r"brings its head and its dropout along"),
    ],
)
def test_what_cannot_be_a_network_of_ones_own_is_refused_in_one_paragraph(own, options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        own(**options)
    assert "\n" not in str(caught.value)


def test_an_error_inside_ones_own_code_keeps_its_traceback(own):
    with pytest.raises(ZeroDivisionError):
        own("def small(num_classes): return 1 / 0")


def test_a_changed_file_changes_its_fingerprint_and_timms_names_have_none(own, tmp_path):
    own()
    config = ModelConfig(name=f"{tmp_path}/mine.py:small")
    before = code_fingerprint(config)
    (tmp_path / "mine.py").write_text(CODE + "\n")
    assert len(before) == 64
    assert code_fingerprint(config) != before
    assert code_fingerprint(ModelConfig(name="resnet18")) == ""
    assert [is_own(name) for name in ("mine.py:small", "resnet18", "resnet18.a1_in1k")] == [True, False, False]


def test_a_module_made_in_python_is_a_network_too():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    found = own_network(module, head="3", mean=(0.5, 0.5, 0.5), weights_origin="mine", pretraining_group=None)
    assert head_names(found.module) == ["body.3.weight", "body.3.bias"]
    assert (found.input.mean, found.weights_origin, found.pretraining_group) == ((0.5,) * 3, "mine", None)
    with pytest.raises(ConfigError, match=r"must be a torch.nn.Module, got str"):
        own_network("resnet18")


def test_an_encoder_of_timm_without_a_classifier_is_refused():
    with (
        torch.device("meta"),
        pytest.raises(ConfigError, match="timm's mobilenetv5_300m_enc is an encoder without a classifier"),
    ):
        make_network(ModelConfig(name="mobilenetv5_300m_enc", weights="none"), num_classes=3, seed=1)


# What a network sees.

SPEC = InputSpec(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0), crop_pct=1.0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_images_are_normalised_channels_last_and_stay_as_they_were(dtype):
    images = torch.tensor([0, 51, 255], dtype=dtype).expand(2, 4, 4, 3).contiguous()
    before = images.clone()
    found = normalise(images, SPEC)
    assert found.shape == (2, 3, 4, 4)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found[0, :, 0, 0].tolist() == pytest.approx([-1.0, -0.2, 1.0], abs=1e-6)
    assert torch.equal(images, before)


def test_images_normalised_in_inference_first_may_be_learnt_from_later():
    spec = InputSpec(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), crop_pct=1.0)
    images = torch.zeros(1, 2, 2, 3)
    with torch.inference_mode():
        normalise(images, spec)
    images.requires_grad_()
    normalise(images, spec).sum().backward()
    assert images.grad[0, 0, 0].tolist() == pytest.approx([1 / (255 * std) for std in spec.std])
