"""Views: a random one that depends on (seed, epoch, image id) alone, and a fixed one for evaluation."""

import contextlib
import inspect
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from kit.config import AugmentConfig, read_recipe, recipe_from_dict
from kit.data.augment import central_view, check_augmentation, cut, training_view
from kit.data.draws import keys_of
from kit.data.geometry import draw
from kit.errors import ConfigError

IMAGE = np.random.default_rng(0).integers(0, 256, size=(40, 60, 3), dtype=np.uint8)
STILL = AugmentConfig(smallest_crop=1, widest_aspect=1, mirror=False, rotate_degrees=0, brightness=0, contrast=0)
WILD = AugmentConfig(rotate_degrees=20, warp=0.1)


def training(config, **options):
    """Return the random view of one image: (image, id, epoch) -> view."""
    return of_one(training_view(config, **options))


def central(**options):
    return of_one(central_view(**options))


def of_one(view):
    return lambda image, image_id, epoch: view([image], [image_id], epoch)[0]


def test_a_random_view_is_a_square_of_the_images_kind():
    view = training(WILD, image_size=32, seed=1)(IMAGE, "a", 0)
    assert view.shape == (32, 32, 3) and view.dtype == np.uint8


def test_seed_epoch_and_id_decide_the_view_and_nothing_else():
    one, two = (training(WILD, image_size=32, seed=1) for _ in range(2))
    expected = one(IMAGE, "a", 0)
    for image_id, epoch in (("b", 0), ("a", 1), ("c", 7)):  # whatever was drawn in between
        assert not np.array_equal(one(IMAGE, image_id, epoch), expected)
    assert np.array_equal(one(IMAGE, "a", 0), expected)
    assert np.array_equal(two(IMAGE, "a", 0), expected)
    assert not np.array_equal(training(WILD, image_size=32, seed=2)(IMAGE, "a", 0), expected)


def test_the_stored_image_stays_as_it_was():
    before = IMAGE.copy()
    training(WILD, image_size=32, seed=1)(IMAGE, "a", 0)
    assert np.array_equal(IMAGE, before)


def test_a_read_only_image_is_taken():
    frozen = IMAGE.copy()
    frozen.flags.writeable = False
    assert training(WILD, image_size=32, seed=1)(frozen, "a", 0).shape == (32, 32, 3)


def test_mirror_flips_about_half_of_the_images_and_is_off_where_it_must_be():
    square = np.ascontiguousarray(IMAGE[:32, :32])
    flipping = AugmentConfig(smallest_crop=1, widest_aspect=1, mirror=True, brightness=0, contrast=0)
    for config, lowest, highest in ((flipping, 30, 70), (STILL, 0, 0)):
        view = training(config, image_size=32, seed=1)
        views = [view(square, str(k), 0) for k in range(100)]
        flipped = sum(np.array_equal(seen, square[:, ::-1]) for seen in views)
        assert lowest <= flipped <= highest
        assert flipped + sum(np.array_equal(seen, square) for seen in views) == 100


def test_brightness_changes_the_mean_by_no_more_than_its_share():
    grey = np.full((32, 32, 3), 100, dtype=np.uint8)
    view = training(
        AugmentConfig(smallest_crop=1, widest_aspect=1, mirror=False, brightness=0.2, contrast=0), image_size=32, seed=1
    )
    means = [float(view(grey, str(k), 0).mean()) for k in range(50)]
    assert min(means) < 100 < max(means)
    assert all(100 - 0.2 * 255 - 1 <= mean <= 100 + 0.2 * 255 + 1 for mean in means)


def test_light_is_that_of_albumentations():
    import albumentations

    theirs = albumentations.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.3, p=1.0)
    config = AugmentConfig(brightness=0.2, contrast=0.3)
    keys, shapes = keys_of([str(k) for k in range(3000)]), np.tile([40, 60], (3000, 1))
    drawn = draw(config, keys=keys, shapes=shapes, seed=1, epoch=0)
    params = [theirs.get_params_dependent_on_data({"shape": IMAGE.shape}, {"image": IMAGE}) for _ in range(3000)]
    for ours, name in ((drawn.gains, "alpha"), (drawn.biases, "beta")):
        assert ks_2samp(ours, [one[name] for one in params]).pvalue > 1e-3
    square = np.ascontiguousarray(IMAGE[:32, :32])
    still = draw(STILL, keys=keys[:1], shapes=np.array([[32, 32]]), seed=1, epoch=0)
    for k in range(20):
        lit = replace(still, gains=drawn.gains[[k]], biases=drawn.biases[[k]])
        expected = theirs.apply(square, alpha=drawn.gains[k], beta=drawn.biases[k])
        (seen,) = cut([square], lit, image_size=32)
        assert np.abs(seen.astype(int) - expected).max() <= 1  # it cuts fractions off where we round


def test_a_turned_or_warped_view_reflects_what_is_beyond_the_edge_and_never_goes_dark():
    white = np.full((40, 60, 3), 255, dtype=np.uint8)
    config = AugmentConfig(rotate_degrees=180, warp=0.4, brightness=0, contrast=0)
    view = training(config, image_size=32, seed=1)
    assert all((view(white, str(k), 0) == 255).all() for k in range(50))


def test_several_images_at_once_get_what_each_would_get_alone():
    images = [IMAGE, IMAGE[:30, :30], IMAGE[:1, :1], IMAGE[:, :7]]
    ids = ["a", "b", "c", "d"]
    for config in (AugmentConfig(), WILD, with_transforms({"name": "GaussNoise", "p": 1.0})):
        together = training_view(config, image_size=32, seed=1)(images, ids, 3)
        alone = [training(config, image_size=32, seed=1)(image, one, 3) for image, one in zip(images, ids, strict=True)]
        assert all(np.array_equal(one, other) for one, other in zip(together, alone, strict=True))


def test_a_recipe_without_transforms_does_without_albumentations():
    program = (
        "import sys, numpy as np; from kit.config import AugmentConfig; from kit.data.augment import training_view; "
        "view = training_view(AugmentConfig(rotate_degrees=5, warp=0.1), image_size=16, seed=1); "
        "view([np.zeros((20, 20, 3), np.uint8)], ['a'], 1); print('albumentations' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(("shape", "crop", "size"), [((40, 60), 1.0, 40), ((60, 40), 1.0, 40), ((40, 60), 0.5, 20)])
def test_the_central_view_of_a_size_that_fits_is_the_centre_itself(shape, crop, size):
    image = np.random.default_rng(1).integers(0, 256, size=(*shape, 3), dtype=np.uint8)
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    view = central(image_size=size, crop_share=crop)(image, "a", 0)
    assert np.array_equal(view, image[top : top + size, left : left + size])


def test_a_shrunk_central_view_averages_areas():
    blocks = np.kron(np.array([[0, 100], [200, 40]]), np.ones((10, 10)))[..., None].repeat(3, axis=2).astype(np.uint8)
    view = central(image_size=2, crop_share=1.0)(blocks, "a", 0)
    assert view[..., 0].tolist() == [[0, 100], [200, 40]]


@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    crop=st.floats(0.01, 1),
    size=st.integers(8, 40),
    value=st.integers(0, 255),
)
def test_any_image_has_a_central_view_and_a_plain_one_stays_plain(height, width, crop, size, value):
    image = np.full((height, width, 3), value, dtype=np.uint8)
    view = central(image_size=size, crop_share=crop)(image, "a", 0)
    assert view.shape == (size, size, 3) and view.dtype == np.uint8
    assert (view == value).all()


@given(height=st.integers(1, 50), width=st.integers(1, 50), size=st.integers(8, 40))
def test_any_image_has_a_random_view(height, width, size):
    image = np.zeros((height, width, 3), dtype=np.uint8)
    assert training(WILD, image_size=size, seed=1)(image, "a", 0).shape == (size, size, 3)


def with_transforms(*tables: dict) -> AugmentConfig:
    return AugmentConfig(smallest_crop=1, widest_aspect=1, mirror=False, brightness=0, contrast=0, transforms=tables)


def image_transforms() -> list[str]:
    """Return every class of albumentations that `check_augmentation` takes with its own default arguments."""
    import albumentations

    names = []
    for name, kind in sorted(vars(albumentations).items()):
        if inspect.isclass(kind) and issubclass(kind, albumentations.BasicTransform):
            with contextlib.suppress(ConfigError):
                check_augmentation(with_transforms({"name": name}), image_size=16)
                names.append(name)
    return names


def test_every_transform_of_the_library_draws_by_seed_epoch_and_id_alone():
    names = image_transforms()
    assert len(names) > 60 and {"CoarseDropout", "ColorJitter", "Affine", "ElasticTransform"} <= set(names)
    changing = 0
    for name in names:
        config = with_transforms({"name": name, "p": 1.0})
        one, two = (training(config, image_size=16, seed=1) for _ in range(2))
        expected = one(IMAGE, "a", 1)
        others = [one(IMAGE, image_id, epoch) for image_id, epoch in (("b", 1), ("a", 2), ("c", 7))]
        assert np.array_equal(one(IMAGE, "a", 1), expected) and np.array_equal(two(IMAGE, "a", 1), expected), name
        changing += any(not np.array_equal(other, expected) for other in others)
    assert changing > 45  # the rest has nothing random, such as Equalize


def test_what_is_drawn_for_one_transform_says_nothing_of_another():
    across = np.arange(200, dtype=np.uint8)[None, :, None].repeat(200, axis=0).repeat(3, axis=2)  # pixel = its column
    across[..., 2] = 0
    invert = {"name": "InvertImg", "p": 0.5}
    choice = {"name": "OneOf", "p": 1.0, "transforms": [{"name": "NoOp"}, {"name": "InvertImg"}]}
    for last in (invert, choice):
        geometry = training(AugmentConfig(brightness=0, contrast=0, transforms=(last,)), image_size=32, seed=1)
        draws = []
        for k in range(600):
            view = geometry(across, str(k), 0).astype(int)
            inverted = view[0, 0, 2] == 255
            columns = 255 - view if inverted else view
            slope = columns[0, -1, 0] - columns[0, 0, 0]
            draws.append((slope < 0, abs(slope), inverted))  # mirrored; width of the crop; inverted
        correlations = np.corrcoef(np.array(draws, dtype=float).T)
        assert np.abs(correlations - np.eye(3)).max() < 0.15  # 3.7 standard errors
    light = training(AugmentConfig(mirror=False), image_size=32, seed=1)
    flat = AugmentConfig(mirror=False, brightness=0, contrast=0)
    still = training(flat, image_size=32, seed=1)
    draws = []
    for k in range(600):
        seen, plain = (view(across, str(k), 0)[0].astype(int) for view in (light, still))
        width = plain[-1, 0] - plain[0, 0]
        draws.append((width, (seen[20, 0] - seen[10, 0]) / (plain[20, 0] - plain[10, 0])))  # and the contrast's factor
    assert abs(np.corrcoef(np.array(draws).T)[0, 1]) < 0.15


def test_threads_share_a_view_and_each_gets_what_it_would_get_alone():
    view = training(WILD, image_size=32, seed=1)
    ids = [str(k) for k in range(200)]
    expected = [view(IMAGE, image_id, 0) for image_id in ids]
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda image_id: view(IMAGE, image_id, 0), ids))
    assert all(np.array_equal(a, b) for a, b in zip(seen, expected, strict=True))


def test_transforms_follow_the_simple_keys_in_their_order():
    square = np.ascontiguousarray(IMAGE[:32, :32])
    invert, solarise = {"name": "InvertImg", "p": 1.0}, {"name": "Solarize", "threshold_range": [0.5, 0.5], "p": 1.0}
    inverted = 255 - square
    solarised = np.where(square >= 128, 255 - square, square)
    for tables, expected in (
        ((invert,), inverted),
        ((solarise,), solarised),
        ((solarise, invert), 255 - solarised),
        ((invert, solarise), np.where(inverted >= 128, 255 - inverted, inverted)),
    ):
        view = training(with_transforms(*tables), image_size=32, seed=1)
        assert np.array_equal(view(square, "a", 0), expected)


def test_transforms_leave_the_simple_keys_their_draws():
    plain = training(WILD, image_size=32, seed=1)(IMAGE, "a", 0)
    inverting = AugmentConfig(rotate_degrees=20, warp=0.1, transforms=({"name": "InvertImg", "p": 1.0},))
    assert np.array_equal(training(inverting, image_size=32, seed=1)(IMAGE, "a", 0), 255 - plain)


def test_one_of_several_is_chosen_anew_for_each_image():
    choice = {
        "name": "OneOf",
        "p": 1.0,
        "transforms": [{"name": "InvertImg"}, {"name": "Sequential", "p": 1.0, "transforms": [{"name": "NoOp"}]}],
    }
    config = with_transforms(choice)
    check_augmentation(config, image_size=32)
    square = np.ascontiguousarray(IMAGE[:32, :32])
    view = training(config, image_size=32, seed=1)
    inverted = sum(np.array_equal(view(square, str(k), 0), 255 - square) for k in range(90))
    assert 10 <= inverted <= 50  # OneOf weighs by p: 0.5 against 1


DROPOUT = {"name": "CoarseDropout", "num_holes_range": [1, 3], "p": 0.5}
REFUSED = {
    "a misspelt name": ({"name": "CoarseDropuot"}, "Did you mean 'CoarseDropout'"),
    "a composition that is none of ours": ({"name": "Compose", "transforms": [DROPOUT]}, "no transform 'Compose'"),
    "code": ({"name": "Lambda"}, "no transform 'Lambda'"),
    "an argument of an older version": ({"name": "CoarseDropout", "num_holes": 3}, "'num_holes_range'"),
    "an argument that the library drops": ({"name": "PlasmaShadow", "plasma_size": 256}, "no argument 'plasma_size'"),
    "a value out of order": ({**DROPOUT, "num_holes_range": [3, 1]}, "num_holes_range.*hole_height_range"),
    "a probability above 1": ({**DROPOUT, "p": 2}, "p: Input should be less than or equal to 1"),
    "text for a number": ({"name": "GaussNoise", "std_range": "wide"}, "std_range"),
    "a lacking argument": ({"name": "Resize"}, "height: Field required"),
    "what the library warns of": ({"name": "ShiftScaleRotate"}, "use Affine"),
    "a number that it would change": ({"name": "SomeOf", "n": 5, "transforms": [DROPOUT]}, "greater than number"),
    "nothing to choose from": ({"name": "OneOf"}, "OneOf needs the key transforms"),
    "a fault deep inside": (
        {"name": "OneOf", "transforms": [DROPOUT, {"name": "Blurr"}]},
        r"\.transforms\[1\].*'Blur'",
    ),
    "what needs other images": ({"name": "FDA"}, "FDA needs more than the image"),
    "what needs boxes": ({"name": "ConstrainedCoarseDropout"}, "for images alone"),
    "the device's work": ({"name": "Normalize"}, "the device, which normalises"),
    "tensors": ({"name": "ToTensorV2"}, "uint8"),
    "another size": ({"name": "RandomCrop", "height": 8, "width": 8}, r"\(8, 8, 3\) uint8.*\(16, 16, 3\)"),
    "another size, seldom": ({"name": "RandomScale", "p": 0.01}, r"takes \(16, 16, 3\)"),
    "grey": ({"name": "ToGray", "num_output_channels": 1}, r"\(16, 16\) uint8"),
    "a size that is not there": ({"name": "Crop", "x_max": 50, "y_max": 50}, "fails on an image of 16 x 16 pixels"),
}


@pytest.mark.parametrize(("table", "said"), REFUSED.values(), ids=REFUSED)
def test_before_training_is_refused(table, said):
    with pytest.raises(ConfigError, match=rf"^augment\.transforms\[1\].*{said}") as caught:
        check_augmentation(with_transforms(DROPOUT, table), image_size=16)
    assert "\n" not in str(caught.value)


def test_a_change_of_size_that_no_trial_met_is_an_error_in_training_and_no_stretched_image():
    rare = {"name": "Sequential", "p": 1.0, "transforms": [{"name": "RandomScale", "p": 0.02}]}
    view = training(with_transforms(rare), image_size=16, seed=1)
    with pytest.raises(ConfigError, match=r"augment\.transforms makes"):
        [view(IMAGE, str(k), 0) for k in range(500)]


def test_a_recipe_with_transforms_is_read_hashed_and_kept_as_json(tmp_path):
    text = '[[augment.transforms]]\nname = "CoarseDropout"\nnum_holes_range = [1, 3]\np = 0.5\n'
    (tmp_path / "one.toml").write_text(text, encoding="utf-8")
    recipe = read_recipe(tmp_path / "one.toml")
    assert recipe.augment.transforms == (DROPOUT,)
    kept = json.loads(json.dumps(recipe.as_dict()))
    assert recipe_from_dict(kept) == recipe and hash(recipe_from_dict(kept)) == hash(recipe)
    assert recipe != recipe_from_dict({**kept, "augment": {}})
    inline = 'augment.transforms=[{name = "CoarseDropout", num_holes_range = [1, 3], p = 0.5}]'
    assert read_recipe(tmp_path / "one.toml", overrides=["augment.transforms=[]"]).augment == AugmentConfig()
    assert recipe_from_dict({"name": "one"}, overrides=[inline]) == recipe
    assert recipe_from_dict({"name": "one"}, overrides=["augment.smallest_crop=0.5"]).augment.smallest_crop == 0.5


def test_a_recipe_keeps_a_copy_of_its_transforms():
    table = {"name": "CoarseDropout", "num_holes_range": [1, 3]}
    config = AugmentConfig(transforms=(table,))
    table["num_holes_range"][0] = 2
    assert config.transforms[0]["num_holes_range"] == [1, 3]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[{p = 0.5}]", r"augment\.transforms\[0\] must be a table with the name"),
        ("[{name = 3}]", r"augment\.transforms\[0\] must be a table with the name"),
        ('[{name = "Blur; rm"}]', r"augment\.transforms\[0\] must be a table with the name"),
        ('["Blur"]', r"augment\.transforms"),
        ('[{name = "Blur", p = nan}]', r"augment\.transforms\[0\]\.p must be a finite number"),
        ('[{name = "Blur", p = 1979-05-27}]', r"augment\.transforms\[0\]\.p must be a finite number"),
        ('[{name = "OneOf", transforms = [{p = 1}]}]', r"augment\.transforms\[0\]\.transforms\[0\] must be a table"),
        ('[{name = "OneOf", transforms = 3}]', r"augment\.transforms\[0\]\.transforms must be a list"),
    ],
)
def test_a_list_of_transforms_is_checked_when_the_recipe_is_read(value, said):
    with pytest.raises(ConfigError, match=said):
        recipe_from_dict({}, overrides=[f"augment.transforms={value}"])
