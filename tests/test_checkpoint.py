"""Checkpoints: they say what is needed to use them, and nothing in one of a stranger's is believed."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from kit.config import ModelConfig
from kit.errors import WeightsError
from kit.train.checkpoint import load_checkpoint, save_checkpoint
from kit.train.model import make_network

SMALL = ModelConfig(name="resnet10t", weights="none")
CLASSES = ("red", "green", "blue")
FACTS = {"classes": CLASSES, "image_size": 32, "activation": "softmax"}

OWN = """\
from torch import nn

MEAN, STD, CROP_PCT = (0.1, 0.2, 0.3), (0.5, 0.5, 0.5), 0.9


def tiny(num_classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
"""


@pytest.fixture
def saved(tmp_path):
    network = make_network(SMALL, num_classes=3, seed=1)
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, network, config=SMALL, **FACTS)
    return path, network


def changed(path, **changes):
    """Write the checkpoint again with other facts about itself."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    metadata["about"] = json.dumps({**json.loads(metadata["about"]), **changes})
    save_file(load_file(path), path, metadata=metadata)


@pytest.mark.parametrize("head", ["timm", "linear", "concat-pool"])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "sigmoid-normalised"])
def test_head_and_activation_are_read_back(tmp_path, head, activation):
    config = ModelConfig(name="resnet10t", weights="none", head=head)
    network = make_network(config, num_classes=3, seed=1)
    save_checkpoint(tmp_path / "one", network, config=config, **{**FACTS, "activation": activation})
    found = load_checkpoint(tmp_path / "one")
    assert (found.config, found.classes, found.image_size) == (config, CLASSES, 32)
    assert (found.activation, found.network.input) == (activation, network.input)
    state = network.module.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in found.network.module.state_dict().items())


def test_other_tensors_can_be_kept_in_place_of_the_modules_own(tmp_path):
    network = make_network(SMALL, num_classes=3, seed=1)
    averaged = {key: value * 0.5 for key, value in network.module.state_dict().items()}
    save_checkpoint(tmp_path / "one", network, config=SMALL, **FACTS, state=averaged)
    found = load_checkpoint(tmp_path / "one").network.module
    assert torch.equal(found.fc.weight, network.module.fc.weight * 0.5)


def test_a_checkpoint_of_an_earlier_version_says_to_train_again(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "old", metadata={"format": "competition-kit 1", "model": "resnet10t"})
    with pytest.raises(WeightsError, match=r"'competition-kit 1', expected 'competition-kit 2'.*trained again"):
        load_checkpoint(tmp_path / "old")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": []}, "1 to 100,000 classes"),
        ({"classes": ["red", "red", "blue"]}, "each once"),
        ({"classes": ["red", "blue"]}, "does not fit resnet10t.*'fc.bias'"),
        ({"image_size": 10**9}, "image_size must be between 8 and 2048"),
        ({"image_size": "large"}, "image_size"),
        ({"crop_pct": -1}, "in \\(0, 1\\]"),
        ({"std": [0, 1, 1]}, "std > 0"),
        ({"mean": [float("nan"), 0, 0]}, "must be finite"),
        ({"mean": [0.5]}, "'mean"),
        ({"activation": "relu"}, "activation"),
        ({"head": "other"}, "head"),
        ({"more": 1}, "unknown key 'more'"),
        ({"model": "resnet18"}, "does not fit"),
        ({"model": "/etc/passwd.py:main"}, "which a file must not choose"),
    ],
)
def test_a_checkpoint_that_lies_about_itself_is_refused(saved, changes, message):
    path, _ = saved
    changed(path, **changes)
    with pytest.raises(WeightsError, match=message):
        load_checkpoint(path)


def test_a_checkpoint_that_says_nothing_is_refused(saved):
    path, _ = saved
    save_file(load_file(path), path, metadata={"format": "competition-kit 2", "about": "[" * 100_000})
    with pytest.raises(WeightsError, match="does not say what it is of"):
        load_checkpoint(path)


def test_a_large_network_is_not_built_for_a_small_file(saved, monkeypatch):
    """A file of some bytes could else ask for gigabytes: before its shapes are known, nothing is allocated."""
    path, _ = saved
    changed(path, model="vit_giant_patch14_dinov2")
    real = torch.nn.Parameter.__new__
    on_cpu = []

    def counting(cls, data=None, requires_grad=True):
        on_cpu.append(0 if data is None or data.device.type == "meta" else data.numel())
        return real(cls, data, requires_grad)

    monkeypatch.setattr(torch.nn.Parameter, "__new__", counting)
    with pytest.raises(WeightsError, match="does not fit"):
        load_checkpoint(path)
    assert sum(on_cpu) == 0


def test_a_network_of_ones_own_is_run_only_where_the_recipe_names_it(tmp_path):
    file = tmp_path / "nets.py"
    file.write_text(OWN)
    config = ModelConfig(name=f"{file}:tiny", weights="none")
    network = make_network(config, num_classes=3, seed=1)
    save_checkpoint(tmp_path / "one", network, config=config, **FACTS)
    with pytest.raises(WeightsError, match="run only where your own recipe names it"):
        load_checkpoint(tmp_path / "one")
    found = load_checkpoint(tmp_path / "one", config=config)
    assert found.network.input == network.input
    state = network.module.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in found.network.module.state_dict().items())


def test_a_checkpoint_of_another_network_than_the_recipes_is_refused(saved):
    path, _ = saved
    with pytest.raises(WeightsError, match="is of resnet10t with the head timm, and the recipe asks for resnet18"):
        load_checkpoint(path, config=ModelConfig(name="resnet18"))
