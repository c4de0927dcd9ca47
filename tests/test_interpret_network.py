"""Inside the network: small networks made by hand, of which is known where they look."""

import numpy as np
import pytest
import timm
import torch
from torch import nn
from toys import coloured_png, write_files

from kit.errors import DataError
from kit.interpret.attention import grad_cam
from kit.interpret.embedding import embedding_map, penultimate_features
from kit.interpret.filters import first_layer_filters, strongest_patches
from kit.interpret.images import images_of_folder, images_of_pack, views_of
from kit.store.pack import pack_files
from kit.train.model import Network, own_network

CPU = torch.device("cpu")
SIZE = 32  # pixels


def as_it_is(module: nn.Module) -> Network:
    """A network that sees values in [0, 1]."""
    return own_network(module, mean=(0, 0, 0), std=(1, 1, 1), crop_pct=1.0)


class Colours(nn.Module):
    """Two classes, "red" and "blue": means over places of what is more red, and of what is more blue."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 2, 4, stride=4, bias=False)
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.stem.weight.zero_()
            self.stem.weight[0, 0], self.stem.weight[0, 2] = 1, -1
            self.stem.weight[1, 2], self.stem.weight[1, 0] = 1, -1
            self.head.weight.copy_(torch.eye(2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.stem(images).relu().mean(dim=(2, 3)))


def red_and_blue() -> np.ndarray:
    """Return (1, S, S, 3): black, a red square at the top left and a blue one at the bottom right."""
    view = np.zeros((1, SIZE, SIZE, 3), dtype=np.uint8)
    view[0, 4:12, 4:12, 0] = 255
    view[0, 20:28, 20:28, 2] = 255
    return view


@pytest.mark.parametrize(("class_index", "where"), [(0, (8, 8)), (1, (24, 24))])
def test_grad_cam_lights_up_what_speaks_for_the_class_and_nothing_else(class_index, where):
    (heat,) = grad_cam(as_it_is(Colours()), red_and_blue(), np.array([class_index]), device=CPU)
    assert (heat.shape, heat.dtype) == ((SIZE, SIZE), np.float32)
    assert heat.max() == 1 and heat.min() == 0
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert abs(row - where[0]) <= 4 and abs(column - where[1]) <= 4
    other = 31 - where[0]
    assert heat[other, other] == 0


def test_where_nothing_speaks_for_a_class_the_map_is_0_everywhere():
    view = red_and_blue()
    view[..., 2] = 0
    assert grad_cam(as_it_is(Colours()), view, np.array([1]), device=CPU).max() == 0


def test_a_frozen_network_has_a_map_too():
    network = as_it_is(Colours())
    network.module.requires_grad_(False)
    assert grad_cam(network, red_and_blue(), np.array([0]), device=CPU).max() == 1


def test_maps_do_not_depend_on_what_else_is_in_the_batch():
    views = np.concatenate([red_and_blue()] * 20)  # more than one batch
    classes = np.arange(20) % 2
    together = grad_cam(as_it_is(Colours()), views, classes, device=CPU)
    for k in (0, 1, 19):
        alone = grad_cam(as_it_is(Colours()), views[k : k + 1], classes[k : k + 1], device=CPU)
        np.testing.assert_allclose(together[k], alone[0], atol=1e-6)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "test_vit", "test_maxvit"])
def test_networks_of_timm_have_maps_over_the_whole_view(name):
    torch.manual_seed(0)
    module = timm.create_model(name, pretrained=False, num_classes=3)
    size = module.pretrained_cfg["input_size"][-1]
    views = np.random.default_rng(0).integers(0, 256, size=(2, size, size, 3)).astype(np.uint8)
    network = own_network(module)
    heat = grad_cam(network, views, np.array([0, 2]), device=CPU)
    assert heat.shape == (2, size, size)
    assert np.isfinite(heat).all() and heat.min() >= 0 and heat.max() <= 1
    assert len(np.unique(heat)) > 10  # a map of places, not one number


def test_a_network_without_places_is_refused_in_one_paragraph():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 2))
    with pytest.raises(DataError, match="no features with a place in the image") as caught:
        grad_cam(as_it_is(flat), red_and_blue(), np.array([0]), device=CPU)
    assert "\n" not in str(caught.value)


def test_first_layer_filters_are_grey_where_a_weight_is_0_and_keep_their_colour():
    layer = first_layer_filters(as_it_is(Colours()))
    assert (layer.name, layer.stride, layer.filters.shape) == ("body.stem", 4, (2, 4, 4, 3))
    assert layer.filters[0, 0, 0].tolist() == [1, 0.5, 0]  # red is wanted, green is nothing, blue is not wanted
    with pytest.raises(DataError, match="no convolution that sees the three colours"):
        first_layer_filters(as_it_is(nn.Sequential(nn.Flatten(), nn.Linear(12, 2))))


class Spots(nn.Module):
    """Two stages, each the mean of 3 x 3 places with stride 2, and a class that is their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 2, 3, stride=2, padding=1, bias=False)
        self.two = nn.Conv2d(2, 2, 3, stride=2, padding=1, bias=False)
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            self.one.weight.zero_()
            self.one.weight[0, 0] = 1  # unit 0: red
            self.one.weight[1, 2] = 1  # unit 1: blue
            self.two.weight.zero_()
            self.two.weight[0, 0] = 1
            self.two.weight[1, 1] = 1

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.two(self.one(images)).mean(dim=(2, 3)))


def test_the_receptive_field_of_3_x_3_filters_with_stride_2_is_3_and_then_7_pixels():
    views = np.random.default_rng(0).integers(0, 256, size=(6, SIZE, SIZE, 3)).astype(np.uint8)
    first, second = strongest_patches(as_it_is(Spots()), views, list("abcdef"), num_units=1, device=CPU)
    assert [(one.name, one.side, one.receptive_field) for one in (first, second)] == [("one", 16, 3), ("two", 8, 7)]


def test_the_strongest_patch_of_a_unit_holds_what_excites_it():
    views = np.zeros((4, SIZE, SIZE, 3), dtype=np.uint8)
    views[1, 9:12, 21:24, 0] = 255  # unit 0 sees it; 9 to 11 is what place 5 sees
    views[2, 9:12, 21:24, 0] = 120
    (first, _) = strongest_patches(
        as_it_is(Spots()), views, ["none", "bright", "dim", "nothing"], num_units=2, num_patches=2, device=CPU
    )
    (unit,) = first.units  # the other one is never excited, and left out
    assert (unit.number, [one.image_id for one in unit.patches]) == (0, ["bright", "dim"])
    best = unit.patches[0]
    assert (best.top, best.left, best.side) == (9, 21, 3)
    assert best.activation == pytest.approx(9.0)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_stages_become_smaller_and_patches_lie_inside_the_view(name):
    torch.manual_seed(0)
    network = own_network(timm.create_model(name, pretrained=False, num_classes=3))
    views = np.random.default_rng(0).integers(0, 256, size=(5, 64, 64, 3)).astype(np.uint8)
    stages = strongest_patches(network, views, list("abcde"), num_units=2, device=CPU)
    assert len(stages) >= 2
    assert [one.side for one in stages] == sorted({one.side for one in stages}, reverse=True)
    for stage in stages:
        assert 1 <= stage.receptive_field <= 64
        for unit in stage.units:
            assert len({one.image_id for one in unit.patches}) == len(unit.patches) == 5
            assert all(0 <= one.top <= 64 - one.side and 0 <= one.left <= 64 - one.side for one in unit.patches)
            values = [one.activation for one in unit.patches]
            assert values == sorted(values, reverse=True)


def test_a_transformer_has_no_stages_and_is_refused_in_one_paragraph():
    network = own_network(timm.create_model("test_vit", pretrained=False, num_classes=3))
    size = network.module.pretrained_cfg["input_size"][-1]
    with pytest.raises(DataError, match="no stages of maps that become smaller"):
        strongest_patches(network, np.zeros((2, size, size, 3), dtype=np.uint8), ["a", "b"], device=CPU)


def test_penultimate_features_are_what_the_classifier_is_given():
    features = penultimate_features(as_it_is(Colours()), red_and_blue(), device=CPU)
    # Four of 64 places are red, each with 16 pixels of 1.
    np.testing.assert_allclose(features, [[4 / 64 * 16, 4 / 64 * 16]], atol=1e-6)


def test_images_that_the_network_finds_alike_lie_near_each_other_on_the_map():
    random = np.random.default_rng(0)
    centres = np.repeat(np.eye(3) * 20, 8, axis=0)
    features = (centres + random.normal(size=centres.shape)).astype(np.float32)
    classes = np.repeat(["a", "b", "c"], 8)
    names = [f"{k}" for k in range(24)]

    def make():
        return embedding_map(features, image_ids=names, actual=classes, predicted=classes, seed=1)

    found = make()
    distances = np.linalg.norm(found.points[:, None] - found.points[None], axis=2) + np.eye(24) * 1e9
    assert (classes[distances.argmin(axis=1)] == classes).all()
    assert found.explained == pytest.approx(1)
    assert np.array_equal(found.points, make().points)


def test_a_map_of_few_images_or_of_equal_features_is_refused():
    def refused(features):
        names = ["x"] * len(features)
        with pytest.raises(DataError) as caught:
            embedding_map(features, image_ids=names, actual=names, predicted=names)
        return str(caught.value)

    assert "at least 5 are needed" in refused(np.zeros((3, 4), dtype=np.float32))
    assert "the same features" in refused(np.ones((9, 4), dtype=np.float32))


def test_images_are_read_from_the_pack_or_from_files_and_are_the_same(tmp_path):
    import hashlib

    import pandas as pd

    from kit.config import InputConfig

    files = {f"{colour}.png": coloured_png(colour, 1) for colour in ("red", "blue")}
    write_files(tmp_path, files)
    shas = [hashlib.sha256(data).hexdigest() for data in files.values()]
    table = pd.DataFrame({"image_id": ["r", "b"], "path": list(files), "sha256": shas})
    pack = pack_files(
        tmp_path, image_ids=["r", "b"], paths=list(files), content_keys=shas, store_size=16, say=lambda line: None
    )
    from_pack = images_of_pack(pack)
    from_files = images_of_folder(tmp_path, table, store=InputConfig(store_size=16))
    for image_id in ("r", "b"):
        assert np.array_equal(from_pack(image_id), from_files(image_id))
    assert views_of(from_pack, ["b", "r"], image_size=8, crop_share=1.0).shape == (2, 8, 8, 3)
    for read in (from_pack, from_files):
        with pytest.raises(DataError, match="'nobody'"):
            read("nobody")
    (tmp_path / "red.png").write_bytes(coloured_png("red", 2))
    with pytest.raises(DataError, match="another file than the one that the run was judged on"):
        from_files("r")
