"""Images on the device: the same views as the CPU's, within a grey level or so, without a look at any value."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kit.config import AugmentConfig
from kit.data.augment import central_view, cut, training_view
from kit.data.geometry import Drawn
from kit.errors import ConfigError
from kit.store.pack import Pack
from kit.train import device_images
from kit.train.device_images import DeviceImages, room_for

CPU = torch.device("cpu")
RAGGED = [(40, 60), (64, 48), (30, 30), (1, 5), (90, 33), (32, 200), (48, 48)]
SQUARE = [(32, 32)] * 5
SHAPES = pytest.mark.parametrize("shapes", [RAGGED, SQUARE], ids=["ragged", "square"])
DARK = {"brightness": 0.0, "contrast": 0.0}


def packed(shapes):
    """Return a pack of noise, and its ids."""
    shapes = np.array(shapes)
    ids = [f"image-{k}" for k in range(len(shapes))]
    ends = np.cumsum(shapes.prod(axis=1) * 3)
    pixels = np.random.default_rng(0).integers(0, 256, size=ends[-1], dtype=np.uint8)
    rows = {image_id: row for row, image_id in enumerate(ids)}
    return Pack(pixels=pixels, offsets=np.r_[0, ends], shapes=shapes, row_of=rows, folder=Path()), ids


def images_of(pack, ids):
    return [pack.image(pack.row_of[image_id]) for image_id in ids]


def everything(ids):
    return torch.arange(len(ids))


# The CPU rounds once after interpolating (its resizing has 11 bits of fraction) and once after the light, whose gain
# enlarges the first: 0.5 + 0.3 of a level, times 1.2, and 0.5 more.
CONFIGS = {
    "crop and mirror": (AugmentConfig(**DARK), 0.85),
    "light": (AugmentConfig(), 1.5),
    "turned": (AugmentConfig(rotate_degrees=30, **DARK), 0.51),
    "warped": (AugmentConfig(warp=0.2, **DARK), 0.51),
    "all of it": (AugmentConfig(rotate_degrees=180, warp=0.4), 1.15),
}


@SHAPES
@pytest.mark.parametrize(("config", "levels"), CONFIGS.values(), ids=CONFIGS)
def test_random_views_are_those_of_the_cpu(shapes, config, levels):
    pack, ids = packed(shapes)
    images = DeviceImages.load(pack, ids, CPU)
    for image_size in (24, 65):
        view = training_view(config, image_size=image_size, seed=1)
        for epoch in range(10):
            expected = np.stack(view(images_of(pack, ids), ids, epoch)).astype(np.float32)
            views = images.views(config, image_size=image_size, seed=1, epoch=epoch)
            found = images.batch(everything(ids), views)
            assert found.shape == expected.shape and found.dtype == torch.float32
            assert np.abs(found.numpy() - expected).max() <= levels


def test_given_parameters_make_the_view_that_a_person_would():
    pack, ids = packed([(6, 8)])
    (image,) = images_of(pack, ids)
    images = DeviceImages.load(pack, ids, CPU)
    plain = Drawn(
        boxes=np.array([[1, 2, 4, 4]]),
        mirrored=np.array([False]),
        degrees=None,
        moves=None,
        gains=np.ones(1),
        biases=np.zeros(1),
    )
    box = image[1:5, 2:6].astype(int)
    quarter = Drawn(**{**vars(plain), "degrees": np.array([90.0]), "boxes": np.array([[0, 1, 6, 6]])})
    for drawn, size, expected in (
        (plain, 4, box),
        (replace(plain, mirrored=np.array([True])), 4, box[:, ::-1]),
        (replace(plain, gains=np.array([0.5]), biases=np.array([100.0])), 4, box * 0.5 + 100),
        (replace(plain, gains=np.array([2.0]), biases=np.array([-99.0])), 4, np.clip(box * 2 - 99, 0, 255)),
        (plain, 2, box.reshape(2, 2, 2, 2, 3).mean(axis=(1, 3))),  # halfway between two pixels both ways
        (quarter, 6, np.rot90(image[:, 1:7])),
    ):
        on_device = images.batch(everything(ids), images.upload(drawn, image_size=size))[0].numpy()
        assert on_device == pytest.approx(expected, abs=1e-3)
        (on_cpu,) = cut([image], drawn, image_size=size)
        assert on_cpu == pytest.approx(expected, abs=0.5)


def test_over_many_images_both_ways_have_the_same_distribution():
    pack, ids = packed([(24, 32)] * 400)
    images = DeviceImages.load(pack, ids, CPU)
    config = AugmentConfig(rotate_degrees=10, warp=0.1)
    on_cpu = np.stack(training_view(config, image_size=16, seed=1)(images_of(pack, ids), ids, 1)).astype(float)
    on_device = images.batch(everything(ids), images.views(config, image_size=16, seed=1, epoch=1)).numpy()
    for of in (np.mean, np.std):
        ours, theirs = of(on_cpu, axis=(1, 2, 3)), of(on_device, axis=(1, 2, 3))
        assert np.quantile(ours, [0.02, 0.25, 0.5, 0.75, 0.98]) == pytest.approx(
            np.quantile(theirs, [0.02, 0.25, 0.5, 0.75, 0.98]), abs=0.2
        )


@SHAPES
@given(
    image_size=st.sampled_from([8, 24, 32, 33, 48, 70]),
    crop_share=st.one_of(st.sampled_from([1.0, 0.875, 0.5]), st.floats(0.02, 1)),
)
def test_central_views_are_those_of_the_cpu(shapes, image_size, crop_share):
    pack, ids = packed(shapes)
    images = DeviceImages.load(pack, ids, CPU)
    view = central_view(image_size=image_size, crop_share=crop_share)
    expected = np.stack(view(images_of(pack, ids), ids, 0)).astype(float)
    found = images.central(everything(ids), image_size=image_size, crop_share=crop_share).numpy()
    assert found.shape == expected.shape
    # OpenCV rounds halves its own way, and weighs cubic ones by 11 bits.
    assert np.abs(found - expected).max() <= 1 and np.abs(found - expected).mean() < 0.15


def test_positions_choose_images_in_any_order_and_number():
    pack, ids = packed(RAGGED)
    images = DeviceImages.load(pack, ids, CPU)
    views = images.views(AugmentConfig(), image_size=24, seed=1, epoch=1)
    every = images.batch(everything(ids), views)
    chosen = torch.tensor([5, 0, 0, 3])
    assert torch.equal(images.batch(chosen, views), every[chosen])
    centres = images.central(everything(ids), image_size=24, crop_share=0.9)
    assert torch.equal(images.central(chosen, image_size=24, crop_share=0.9), centres[chosen])


@pytest.mark.parametrize("piece", [1, 5000, 2**26])
def test_images_are_loaded_in_pieces_by_their_ids(monkeypatch, piece):
    monkeypatch.setattr(device_images, "PIECE", piece)
    pack, ids = packed(RAGGED)
    chosen = [ids[4], ids[0], ids[2]]
    images = DeviceImages.load(pack, chosen, CPU)
    for k, image_id in enumerate(chosen):
        image = pack.image(pack.row_of[image_id])
        stored = images.pixels[images.offsets[k] :][: image.shape[0] * image.shape[1]]
        assert np.array_equal(stored.numpy().reshape(image.shape), image)
    assert len(images.pixels) == sum(image.shape[0] * image.shape[1] for image in images_of(pack, chosen))


def test_a_pack_of_jpeg_files_is_decoded_once(tmp_path):
    import cv2

    from kit.store.pack import pack_files

    smooth = cv2.resize(np.random.default_rng(0).integers(0, 256, size=(4, 5, 3), dtype=np.uint8), (50, 40))
    cv2.imwrite(str(tmp_path / "a.png"), smooth)
    names = ["a.png"]
    pack = pack_files(
        tmp_path, image_ids=names, paths=names, content_keys=names, store_size=32, storage="jpeg", say=[].append
    )
    images = DeviceImages.load(pack, names, CPU)
    assert np.array_equal(images.pixels.numpy().reshape(32, 40, 3), pack.image(0))


@pytest.mark.parametrize("config", [AugmentConfig(), AugmentConfig(rotate_degrees=10, warp=0.2)], ids=["box", "warped"])
def test_no_step_asks_the_device_for_a_value(config):
    from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

    pack, ids = packed(RAGGED)
    images = DeviceImages.load(pack, ids, CPU)
    views = images.views(config, image_size=24, seed=1, epoch=1)
    with FakeTensorMode() as mode:  # its tensors have shapes and no values

        def fake(whole):
            tensors = {name: mode.from_tensor(each) for name, each in vars(whole).items() if torch.is_tensor(each)}
            return replace(whole, **tensors)

        positions = torch.zeros(3, dtype=torch.int64)
        with pytest.raises(DataDependentOutputException):
            positions.sum().item()
        assert fake(images).batch(positions, fake(views)).shape == (3, 24, 24, 3)
        assert fake(images).central(positions, image_size=24, crop_share=0.9).shape == (3, 24, 24, 3)


@pytest.mark.gpu
def test_no_step_waits_for_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    pack, ids = packed(RAGGED)
    config = AugmentConfig(rotate_degrees=10, warp=0.2)
    for upright in (replace(config, rotate_degrees=0.0, warp=0.0), config):
        found = {}
        for device in (CPU, torch.device("cuda")):
            images = DeviceImages.load(pack, ids, device)
            views = images.views(upright, image_size=24, seed=1, epoch=1)
            positions = everything(ids).to(device)
            images.central(positions, image_size=24, crop_share=0.9)  # the first product sets up cuBLAS
            torch.cuda.set_sync_debug_mode("error")
            try:
                batch = images.batch(positions, views)
                centre = images.central(positions, image_size=24, crop_share=0.9)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            found[device.type] = batch.cpu(), centre.cpu()
        assert (found["cpu"][0] - found["cuda"][0]).abs().max() < 0.1
        assert (found["cpu"][1] - found["cuda"][1]).abs().max() <= 1


def test_a_batch_is_one_graph_for_torch_compile():
    pack, ids = packed(RAGGED)
    images = DeviceImages.load(pack, ids, CPU)
    compiled = torch.compile(images.batch, fullgraph=True, backend="eager")
    for epoch in (1, 2):
        views = images.views(AugmentConfig(warp=0.1), image_size=24, seed=1, epoch=epoch)
        assert torch.equal(compiled(everything(ids), views), images.batch(everything(ids), views))


def test_transforms_of_albumentations_are_the_hosts():
    pack, ids = packed(SQUARE)
    config = AugmentConfig(transforms=({"name": "Blur"},))
    with pytest.raises(ConfigError, match=r"augment\.transforms.*images_on"):
        DeviceImages.load(pack, ids, CPU).views(config, image_size=24, seed=1, epoch=1)


def test_images_live_on_a_gpu_that_has_room_and_nowhere_else(monkeypatch):
    pack, ids = packed(SQUARE)  # 5 x 32 x 32 x 3 = 15,360 bytes
    assert room_for(pack, ids, CPU) == (False, "5 images stay in the pack: the device is cpu")
    cuda = torch.device("cuda")
    for free, fits in ((25_600, True), (25_599, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**12))
        has_room, why = room_for(pack, ids, cuda)
        assert has_room == fits and ("live there" in why) == fits and "GiB free" in why
