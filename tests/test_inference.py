"""Inference: several views of an image, batches that fit, and parts of a table that processes share."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from kit.config import AugmentConfig, ModelConfig
from kit.data.augment import central_view, training_view
from kit.errors import TrainingError
from kit.store.store import Pack
from kit.train.device_images import DeviceImages
from kit.train.inference import CPU_PIXELS, _batch_size, average_over_views, peak_bytes, predict_probabilities
from kit.train.loss import probabilities_of
from kit.train.model import InputSpec, Network, make_network, normalise, own_network

CPU = torch.device("cpu")
SIZE = 32  # pixels
COUNT = 7  # images; no power of two


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Pack:
    """Seven images of noise, 40 x 48 pixels: "a" to "g"."""
    pixels = np.random.default_rng(1).integers(0, 256, size=COUNT * 40 * 48 * 3, dtype=np.uint8)
    return Pack(
        pixels=pixels,
        offsets=np.arange(COUNT + 1) * 40 * 48 * 3,
        shapes=np.array([[40, 48]] * COUNT),
        row_of={name: k for k, name in enumerate("abcdefg")},
        folder=tmp_path_factory.mktemp("pack"),
    )


@pytest.fixture(scope="module")
def network() -> Network:
    return make_network(ModelConfig(name="resnet10t", weights="none"), num_classes=3, seed=1)


TABLE = pd.DataFrame({"image_id": list("abcdefg")})
OPTIONS = {"image_size": SIZE, "test_crop": 1.0, "activation": "softmax", "device": CPU}


def by_hand(network: Network, images: list[np.ndarray]) -> np.ndarray:
    """Return (N, C) probabilities of views (S, S, 3), one after the other."""
    network.module.eval()
    with torch.inference_mode():
        seen = [normalise(torch.from_numpy(image.copy())[None], network.input) for image in images]
        return torch.cat([probabilities_of(network.module(one), activation="softmax") for one in seen]).numpy()


def centre_of(pack: Pack, name: str) -> np.ndarray:
    return central_view(image_size=SIZE, crop_share=1.0)([pack.image(pack.row_of[name])], [name], 0)[0]


def test_one_view_is_the_centre(pack, network):
    found = predict_probabilities(network, pack, TABLE, **OPTIONS)
    expected = by_hand(network, [centre_of(pack, name) for name in "abcdefg"])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_mirror_is_the_mean_of_an_image_and_its_mirror_image(pack, network):
    found = predict_probabilities(network, pack, TABLE, **OPTIONS, test_views="mirror")
    centre = centre_of(pack, "c")
    np.testing.assert_allclose(found[2], by_hand(network, [centre, centre[:, ::-1]]).mean(axis=0), atol=1e-6)


def test_dihedral_is_the_mean_of_the_eight_turns_and_reflections(pack, network):
    found = predict_probabilities(network, pack, TABLE, **OPTIONS, test_views="dihedral")
    centre = centre_of(pack, "c")
    eight = [np.rot90(side, k) for k in range(4) for side in (centre, centre[:, ::-1])]
    assert len({image.tobytes() for image in eight}) == 8
    np.testing.assert_allclose(found[2], by_hand(network, eight).mean(axis=0), atol=1e-6)


def test_lesson_is_a_quarter_of_the_centre_and_three_of_four_random_views(pack, network):
    augment = AugmentConfig(rotate_degrees=10)
    found = predict_probabilities(network, pack, TABLE, **OPTIONS, test_views="lesson", augment=augment, seed=5)
    view = training_view(augment, image_size=SIZE, seed=5)
    random_views = [view([pack.image(2)], ["c"], number)[0] for number in (1, 2, 3, 4)]
    expected = 0.25 * by_hand(network, [centre_of(pack, "c")])[0] + 0.75 * by_hand(network, random_views).mean(axis=0)
    np.testing.assert_allclose(found[2], expected, atol=1e-6)


def test_random_views_depend_on_the_image_and_the_seed_alone(pack, network):
    options = {**OPTIONS, "test_views": "lesson", "augment": AugmentConfig()}
    forward = predict_probabilities(network, pack, TABLE, **options)
    backward = predict_probabilities(network, pack, TABLE.iloc[::-1], **options, batch_size=2)
    np.testing.assert_allclose(forward, backward[::-1], atol=1e-6)
    assert np.abs(forward - predict_probabilities(network, pack, TABLE, **options, seed=1)).max() > 1e-4


@pytest.mark.parametrize("world", [2, 3, 8])
def test_processes_share_the_rows_without_padding(pack, network, world):
    whole = predict_probabilities(network, pack, TABLE, **OPTIONS)
    parts = [predict_probabilities(network, pack, TABLE, **OPTIONS, shard=(rank, world)) for rank in range(world)]
    assert sum(len(part) for part in parts) == COUNT
    for rank, part in enumerate(parts):
        assert part.shape[1] == 3  # with more processes than images, too
        np.testing.assert_allclose(part, whole[rank::world], atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_the_batch_size_changes_no_prediction(pack, network, batch_size):
    whole = predict_probabilities(network, pack, TABLE, **OPTIONS)
    found = predict_probabilities(network, pack, TABLE, **OPTIONS, batch_size=batch_size)
    np.testing.assert_allclose(found, whole, atol=1e-6)


def test_every_activation_makes_its_own_probabilities(pack, network):
    sigmoid = predict_probabilities(network, pack, TABLE, **{**OPTIONS, "activation": "sigmoid"})
    normalised = predict_probabilities(network, pack, TABLE, **{**OPTIONS, "activation": "sigmoid-normalised"})
    np.testing.assert_allclose(normalised, sigmoid / sigmoid.sum(axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("test_views", ["single", "lesson", "dihedral"])
def test_images_in_the_devices_memory_get_nearly_the_same_probabilities(pack, test_views):
    quarters = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 12, bias=False))
    nn.init.eye_(quarters[-1].weight).data.mul_(10)  # ten times the mean colours of the view's quarters
    network = own_network(quarters)
    options = {**OPTIONS, "test_crop": 0.8, "test_views": test_views, "shard": (1, 2), "batch_size": 2}
    on_device = DeviceImages.load(pack, TABLE["image_id"].tolist(), CPU)
    found = predict_probabilities(network, pack, TABLE, **options, on_device=on_device)
    expected = predict_probabilities(network, pack, TABLE, **options)
    of_paths, of_images = np.abs(found - expected).max(), np.abs(expected[0] - expected[1]).max()
    assert of_paths < 0.1 * of_images


class SmallMemory(nn.Module):
    """Counts what it was given, and has memory for so many images only."""

    def __init__(self, fitting: int) -> None:
        super().__init__()
        self.fitting, self.tried = fitting, []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.tried.append(len(images))
        if len(images) > self.fitting:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images.mean(dim=(2, 3))  # (B, 3)


def with_memory_for(fitting: int) -> Network:
    spec = InputSpec(mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), crop_pct=1.0)
    return Network(
        module=SmallMemory(fitting), input=spec, num_parameters=0, weights_origin="none", pretraining_group=None
    )


def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_stays_so(pack):
    enough, little = with_memory_for(100), with_memory_for(2)
    expected = predict_probabilities(enough, pack, TABLE, **OPTIONS, batch_size=7)
    found = predict_probabilities(little, pack, TABLE, **OPTIONS, batch_size=5)
    assert enough.module.tried == [7]
    assert little.module.tried == [5, 2, 2, 1, 2]  # 5 images in parts of 2 at most, then the 2 that are left
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_no_memory_for_a_single_image_says_what_to_do(pack):
    with pytest.raises(TrainingError, match=r"no memory left for one image of 32 x 32 pixels.*device=cpu"):
        predict_probabilities(with_memory_for(0), pack, TABLE, **OPTIONS)


@pytest.mark.parametrize("image_size", [8, 32, 128, 224, 384, 1024, 2048])
def test_on_a_cpu_larger_images_come_in_smaller_batches(image_size):
    found = _batch_size(lambda images: images, image_size=image_size, device=CPU)
    assert 1 <= found <= 512
    assert found == 1 or found * image_size**2 <= CPU_PIXELS


def test_any_function_of_pixels_can_be_averaged_over_views(pack):
    mean_colour = average_over_views(
        lambda images: images.float().mean(dim=(1, 2)),
        pack,
        list("abcdefg"),
        positions=np.array([6, 0]),
        image_size=SIZE,
        crop_share=1.0,
        test_views="dihedral",
        augment=AugmentConfig(),
        seed=0,
        batch_size=2,
    )
    np.testing.assert_allclose(mean_colour[1], centre_of(pack, "a").mean(axis=(0, 1)), rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_measures_its_batch_and_keeps_the_record_of_its_peak(pack, network):
    device = torch.device("cuda")
    large = torch.zeros(2**28, dtype=torch.uint8, device=device)
    del large
    peak = peak_bytes(device)
    found = predict_probabilities(network, pack, TABLE, **{**OPTIONS, "device": device})
    network.module.cpu()
    assert peak_bytes(device) >= peak >= 2**28
    np.testing.assert_allclose(found, predict_probabilities(network, pack, TABLE, **OPTIONS), atol=0.02)
