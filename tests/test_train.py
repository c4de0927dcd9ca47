"""Training: two stages of one cycle each, the same bits for the same seed, and checkpoints that can be trusted."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from kit.config import ModelConfig, Recipe, recipe_from_dict
from kit.errors import ConfigError, TrainingError, WeightsError
from kit.fit.limits import total_memory
from kit.rules import FoldRule
from kit.store.pack import Pack
from kit.train.checkpoint import load_checkpoint, save_checkpoint
from kit.train.depth import depth_groups, head_names, optimizer_groups
from kit.train.inference import mixed_precision, predict_probabilities
from kit.train.loop import fit
from kit.train.model import choose_device, make_network, normalise
from kit.train.models import device_name, find_model, model_names, train_model
from kit.train.schedule import one_cycle, spread_lr
from kit.train.trainable import set_mode, set_trainable

CPU = torch.device("cpu")
SMALL = ModelConfig(name="resnet10t", weights="none")
CLASSES = ("red", "green", "blue")


def recipe(**schedule) -> Recipe:
    return recipe_from_dict(
        {
            "num_folds": 0,
            "model": {"name": "resnet10t", "weights": "none"},
            "input": {"image_size": 32, "store_size": 32, "test_crop": 1.0},
            "schedule": {"frozen_epochs": 0, "epochs": 1, "lr": 3e-3, "lr_spread": 1.0, "batch_size": 8, **schedule},
        }
    )


@pytest.fixture
def trained(toy, tmp_path):
    """Train a small network on the toy; give (network, what `fit` returned)."""

    def call(recipe, *, seed=1, num_images=18, valid=None, folder="model", pretrained=False, **options):
        train, test, pack = toy
        network = make_network(recipe.model, num_classes=3, seed=seed)
        network = replace(network, weights_origin="mine.pth") if pretrained else network
        found = fit(
            network,
            pack,
            train.head(num_images),
            test if valid else None,
            recipe=recipe,
            classes=CLASSES,
            several=False,
            folder=tmp_path / folder,
            device=CPU,
            seed=seed,
            **options,
        )
        return network, found

    return call


def copy_of(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def changed(before, after):
    return {key for key in before if not torch.equal(before[key], after[key])}


# The cycle.


def test_the_cycle_starts_at_a_25th_peaks_after_a_quarter_and_ends_at_a_100_000th():
    lrs = [one_cycle(step, 101, peak_lr=1.0).lr for step in range(101)]
    assert lrs[0] == pytest.approx(1 / 25)
    assert max(lrs) == lrs[25] == pytest.approx(1.0)
    assert lrs[-1] == pytest.approx(1e-5)
    assert lrs[:26] == sorted(lrs[:26])
    assert lrs[25:] == sorted(lrs[25:], reverse=True)


def test_momentum_moves_against_the_learning_rate():
    momenta = [one_cycle(step, 101, peak_lr=1.0).momentum for step in range(101)]
    assert [momenta[k] for k in (0, 25, 100)] == pytest.approx([0.95, 0.85, 0.95])


def test_a_cycle_of_one_step_and_one_without_warmup_are_possible():
    assert one_cycle(0, 1, peak_lr=1.0).lr == pytest.approx(1 / 25)
    assert one_cycle(0, 5, peak_lr=1.0, warmup_share=0).lr == pytest.approx(1.0)


def test_peak_rates_are_spread_geometrically_from_stem_to_head():
    assert spread_lr(1.0, spread=100, num_groups=3) == pytest.approx([0.01, 0.1, 1.0])
    assert spread_lr(1.0, spread=100, num_groups=1) == [1.0]


def test_fit_follows_the_cycle_once_in_each_stage(trained, monkeypatch):
    seen = []
    step = torch.optim.AdamW.step

    def spied(self, *args, **options):
        seen.append((self.param_groups[-1]["lr"], self.param_groups[-1]["betas"][0]))
        return step(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", spied)
    trained(recipe(frozen_epochs=1, frozen_lr=1e-2, epochs=2))
    points = [one_cycle(k, 3, peak_lr=1e-2) for k in range(3)] + [one_cycle(k, 6, peak_lr=3e-3) for k in range(6)]
    assert [lr for lr, _ in seen] == pytest.approx([point.lr for point in points])
    assert [beta for _, beta in seen] == pytest.approx([point.momentum for point in points])


# The stages.


def test_in_the_first_stage_only_the_head_changes(trained):
    plan = recipe(frozen_epochs=1, frozen_lr=1e-2, epochs=0)
    before = copy_of(make_network(plan.model, num_classes=3, seed=1).module)
    network, found = trained(plan)
    assert changed(before, network.module.state_dict()) == set(head_names(network.module)) == {"fc.weight", "fc.bias"}
    assert [log.stage for log in found.history] == ["head"]


def test_in_the_second_stage_every_parameter_changes(trained):
    plan = recipe(frozen_epochs=0, epochs=1)
    before = copy_of(make_network(plan.model, num_classes=3, seed=1).module)
    network, _ = trained(plan)
    assert {name for name, _ in network.module.named_parameters()} <= changed(before, network.module.state_dict())
    assert "bn1.running_mean" in changed(before, network.module.state_dict())


@pytest.mark.parametrize("norm_statistics", ["auto", "kept"])
def test_pretrained_norm_statistics_stay_in_the_second_stage_too(trained, norm_statistics):
    plan = recipe(frozen_epochs=1, epochs=1, norm_statistics=norm_statistics)
    before = copy_of(make_network(plan.model, num_classes=3, seed=1).module)
    network, _ = trained(plan, pretrained=True)
    moved = changed(before, network.module.state_dict())
    assert "conv1.0.weight" in moved
    assert not [key for key in moved if "running_" in key or "num_batches" in key]


def test_pretrained_norm_statistics_can_be_given_up(trained):
    plan = recipe(norm_statistics="batch")
    before = copy_of(make_network(plan.model, num_classes=3, seed=1).module)
    network, _ = trained(plan, pretrained=True)
    assert "bn1.running_mean" in changed(before, network.module.state_dict())


def test_random_norm_statistics_cannot_be_kept(trained):
    with pytest.raises(ConfigError, match=r"resnet10t starts from random ones. Use 'batch' or 'auto'"):
        trained(recipe(norm_statistics="kept"))


def test_a_frozen_body_is_in_evaluation_mode_and_its_classifier_and_dropout_in_training_mode():
    module = make_network(ModelConfig(name="resnet10t", weights="none", drop_rate=0.5), num_classes=3, seed=1).module
    set_trainable(module, head_only=True)
    set_mode(module, head_only=True)
    assert {name for name, p in module.named_parameters() if p.requires_grad} == {"fc.weight", "fc.bias"}
    assert module.training
    assert module.fc.training
    assert not module.bn1.training
    set_trainable(module, head_only=False)
    set_mode(module, head_only=False)
    assert all(p.requires_grad for p in module.parameters())
    assert module.bn1.training


@pytest.mark.parametrize("name", ["resnet10t", "resnet18", "tf_efficientnet_lite0"])
def test_depth_groups_hold_every_parameter_once_stem_first_head_last(name):
    module = make_network(ModelConfig(name=name, weights="none"), num_classes=3, seed=1).module
    groups = depth_groups(module)
    names = [name for group in groups for name in group]
    assert len(groups) >= 5
    assert sorted(names) == sorted(name for name, _ in module.named_parameters())
    assert set(groups[-1]) == set(head_names(module))
    assert any("conv" in name for name in groups[0])


@pytest.mark.parametrize("name", ["resnet10t", "tf_efficientnet_lite0"])
def test_biases_and_norms_get_no_weight_decay(name):
    module = make_network(ModelConfig(name=name, weights="none"), num_classes=3, seed=1).module
    peaks = [float(k + 1) for k in range(len(depth_groups(module)))]
    groups = optimizer_groups(module, peak_lrs=peaks, weight_decay=0.05)
    assert sum(len(group["params"]) for group in groups) == len(list(module.parameters()))
    for group in groups:
        dimensions = {parameter.ndim > 1 for parameter in group["params"]}
        assert dimensions == {group["weight_decay"] == 0.05}
    assert groups[-1]["peak_lr"] == peaks[-1]


def test_frozen_parameters_are_left_out_of_the_optimizer():
    module = make_network(SMALL, num_classes=3, seed=1).module
    set_trainable(module, head_only=True)
    groups = optimizer_groups(module, peak_lrs=[1.0] * len(depth_groups(module)), weight_decay=0.05)
    assert [parameter.shape for group in groups for parameter in group["params"]] == [(3, 512), (3,)]


# The same seed, the same bits.


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(trained, tmp_path):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        trained(recipe(), seed=seed, folder=folder)
    first, same, other = (load_file(tmp_path / folder / "last.safetensors") for folder in "abc")
    assert changed(first, same) == set()
    assert "conv1.0.weight" in changed(first, other)


def test_a_training_reads_its_pack_ahead_once(trained, monkeypatch):
    read: list[int] = []
    monkeypatch.setattr(Pack, "read_ahead", lambda self, *, memory: read.append(memory))
    trained(recipe(epochs=1), valid=True)
    assert read == [total_memory()]


def test_a_network_learns_plain_colours(trained, toy):
    network, found = trained(recipe(epochs=6))
    assert found.num_steps == 18
    assert [log.epoch for log in found.history] == [1, 2, 3, 4, 5, 6]
    assert found.history[-1].train_loss < found.history[0].train_loss
    _, test, pack = toy
    probabilities = predict_probabilities(
        network, pack, test, image_size=32, test_crop=1.0, activation="softmax", device=CPU
    )
    right = [CLASSES[k] == label for k, label in zip(probabilities.argmax(axis=1), test["label"], strict=True)]
    assert sum(right) >= 5


def test_predictions_keep_the_tables_order_and_their_rows_sum_to_one(toy):
    train, _, pack = toy
    network = make_network(SMALL, num_classes=3, seed=1)
    options = {"image_size": 32, "test_crop": 0.0, "activation": "softmax", "device": CPU}
    forward = predict_probabilities(network, pack, train, **options)
    backward = predict_probabilities(network, pack, train.iloc[::-1].reset_index(drop=True), **options)
    assert forward.shape == (18, 3)
    assert forward.dtype == np.float32
    np.testing.assert_allclose(forward.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(forward, backward[::-1], atol=1e-6)


def test_the_network_sees_normalised_images_channels_last():
    network = make_network(SMALL, num_classes=3, seed=1)
    images = torch.full((2, 8, 8, 3), 255, dtype=torch.uint8)
    found = normalise(images, network.input)
    assert found.shape == (2, 3, 8, 8)
    assert found.is_contiguous(memory_format=torch.channels_last)
    expected = [(1 - mean) / std for mean, std in zip(network.input.mean, network.input.std, strict=True)]
    assert found[0, :, 0, 0].tolist() == pytest.approx(expected, abs=1e-5)


def test_weights_are_trained_channels_last(trained):
    network, _ = trained(recipe())
    assert network.module.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)


# What goes wrong.


@pytest.mark.parametrize("bad_call", [0, 4])
def test_a_loss_that_is_no_number_stops_and_names_epoch_and_step(trained, monkeypatch, tmp_path, bad_call):
    calls = []
    cross_entropy = nn.functional.cross_entropy

    def broken(logits, labels, **options):
        calls.append(1)
        loss = cross_entropy(logits, labels, **options)
        return loss * math.nan if len(calls) == bad_call + 1 else loss

    monkeypatch.setattr("kit.train.loss.F.cross_entropy", broken)
    where = "epoch 1, step 1" if bad_call == 0 else "epoch 2, step 2"  # three steps in an epoch
    with pytest.raises(TrainingError, match=f"stopped being a number in {where}"):
        trained(recipe(epochs=2))
    assert len(calls) == bad_call + 1
    assert not list(tmp_path.rglob("last.safetensors"))


@pytest.mark.parametrize(("num_images", "steps"), [(16, 2), (17, 3), (18, 3), (1, 1), (9, 2)])
def test_an_epoch_uses_every_image_in_as_few_steps_as_the_batch_allows(trained, num_images, steps):
    ticks = []
    _, found = trained(
        recipe(), pretrained=True, num_images=num_images, tick=lambda step, total, loss: ticks.append((step, total))
    )
    assert found.num_steps == steps
    assert ticks == [(k + 1, steps) for k in range(steps)]


@pytest.mark.parametrize(("batch_size", "num_images"), [(1, 18), (8, 1)])
def test_batches_of_one_image_are_refused_where_batch_norm_needs_their_variance(trained, batch_size, num_images):
    with pytest.raises(TrainingError, match="BatchNorm has no variance of one image"):
        trained(recipe(batch_size=batch_size), num_images=num_images)


def test_the_best_epoch_is_kept_only_where_an_image_is_held_out(trained, tmp_path):
    _, without = trained(recipe(), folder="without")
    assert without.best_epoch is None
    assert without.history[0].valid_loss is None
    assert [path.name for path in (tmp_path / "without").iterdir()] == ["last.safetensors"]
    reports = []
    _, found = trained(recipe(epochs=2), folder="with", valid=True, report=reports.append)
    losses = [log.valid_loss for log in found.history]
    assert found.best_epoch == 1 + losses.index(min(losses))
    assert {path.name for path in (tmp_path / "with").iterdir()} == {"best.safetensors", "last.safetensors"}
    assert reports == list(found.history)
    assert found.history[1].epoch == 2


# Checkpoints.


@pytest.fixture
def checkpoint(tmp_path):
    network = make_network(SMALL, num_classes=3, seed=1)
    path = tmp_path / "model" / "last.safetensors"
    save_checkpoint(path, network, config=SMALL, classes=CLASSES, image_size=32, activation="softmax")
    return path, network


def test_a_checkpoint_is_read_back_bit_by_bit(checkpoint):
    path, network = checkpoint
    found = load_checkpoint(path)
    assert changed(copy_of(network.module), found.network.module.state_dict()) == set()
    assert (found.classes, found.image_size) == (CLASSES, 32)
    assert found.network.input == network.input
    assert (found.network.weights_origin, found.network.pretraining_group) == ("none", "none")
    assert [path.name for path in path.parent.iterdir()] == ["last.safetensors"]


def test_a_damaged_or_missing_checkpoint_says_to_train_again(checkpoint, tmp_path):
    path, _ = checkpoint
    path.write_bytes(path.read_bytes()[:-100])
    for broken in (path, tmp_path / "none.safetensors"):
        with pytest.raises(WeightsError, match=r"cannot be read: .*Remove it and train again"):
            load_checkpoint(broken)


def test_a_foreign_file_is_no_checkpoint(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="is not a checkpoint of this kit"):
        load_checkpoint(path)


def test_a_checkpoint_of_another_network_is_refused(checkpoint):
    path, _ = checkpoint
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    save_file({"x": torch.zeros(1)}, path, metadata=about)
    with pytest.raises(WeightsError, match="does not fit resnet10t"):
        load_checkpoint(path)


# Models of a run.


def test_a_run_trains_a_model_per_fold_and_one_on_everything():
    assert model_names(num_folds=2, has_test=True) == ["fold-0", "fold-1", "full"]
    assert model_names(num_folds=0, has_test=True) == ["full"]
    assert model_names(num_folds=2, has_test=False) == ["fold-0", "fold-1"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fold_model_never_sees_its_fold_and_is_found_again(toy, tmp_path):
    train, _, pack = toy
    train = train.assign(fold=[k % 3 for k in range(18)])
    said = []
    options = {"recipe": recipe(), "classes": CLASSES, "several": False, "rule": FoldRule()}
    options |= {"folder": tmp_path, "say": said.append}
    model = train_model("fold-1", train, pack, **options)
    assert model.history["num_train"] == 12
    assert said[0] == "fold-1: resnet10t starts from RANDOM weights: nothing pretrained is used"
    assert said[1].startswith("fold-1  epoch 1/1 (all)  train loss ")
    assert len(said) == 2
    assert train_model("fold-1", train, pack, **options) == model == find_model(tmp_path, "fold-1")
    assert len(said) == 2
    assert find_model(tmp_path, "fold-2") is None


# The device.


def test_a_device_is_chosen_by_name_or_refused():
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ConfigError, match="'warp' is not a device"):
        choose_device("warp")
    with pytest.raises(ConfigError, match="'xpu' is not there"):
        choose_device("xpu")


def test_a_cpu_computes_in_float32():
    context, scaler = mixed_precision(CPU)
    with context():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    assert not scaler.is_enabled()


def test_the_hardware_has_a_name():
    assert device_name("cpu")


def test_an_unknown_network_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"timm knows no network 'resnet18x'. Did you mean 'resnet18"):
        make_network(ModelConfig(name="resnet18x", weights="none"), num_classes=3, seed=1)


def test_a_network_of_one_size_says_which(trained):
    plan = recipe()
    vit = replace(plan, model=ModelConfig(name="vit_tiny_patch16_224", weights="none"))
    with pytest.raises(ConfigError, match=r"takes images of 224 x 224 pixels and no others: .*input.image_size=224"):
        trained(vit)
