"""Recipes: what a TOML file may say, and how a mistake in it is answered."""

import dataclasses
from pathlib import Path

import pytest

from kit.config import AUTO_BATCH, AugmentConfig, Recipe, read_recipe, read_toml, recipe_from_dict
from kit.errors import ConfigError


def write(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_file_is_the_default_recipe_named_after_the_file(tmp_path):
    assert read_recipe(write(tmp_path, "")) == Recipe(name="mine")


def test_a_file_changes_just_what_it_says(tmp_path):
    recipe = read_recipe(write(tmp_path, 'name = "big"\nseed = 7\n[model]\nname = "resnet50"\n[schedule]\nlr = 1\n'))
    assert (recipe.name, recipe.seed, recipe.model.name, recipe.schedule.lr) == ("big", 7, "resnet50", 1.0)
    assert recipe.augment == AugmentConfig()


def test_a_recipe_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().seed = 2  # type: ignore[misc]


def test_a_recipe_as_dict_reads_back_as_the_same_recipe():
    recipe = recipe_from_dict({"name": "x"}, overrides=["model.name=vit_small", "augment.mirror=false", "seed=3"])
    assert recipe_from_dict(recipe.as_dict()) == recipe


def test_batches_may_be_left_to_the_memory_there_is(tmp_path):
    text = '[schedule]\nbatch_size = "auto"\n'
    both = read_recipe(write(tmp_path, text))
    assert both.schedule.is_automatic
    assert both.schedule.batch_size == AUTO_BATCH
    assert both.as_dict()["schedule"]["batch_size"] == "auto"
    assert recipe_from_dict(both.as_dict()) == both
    portions = read_recipe(write(tmp_path, ""), overrides=["schedule.micro_batch=auto"])
    assert portions.schedule.is_automatic
    assert (portions.schedule.batch_size, portions.as_dict()["schedule"]["micro_batch"]) == (32, "auto")
    assert recipe_from_dict(portions.as_dict()) == portions
    assert not read_recipe(write(tmp_path, text), overrides=["schedule.batch_size=16"]).schedule.is_automatic


def test_a_sweeps_table_is_no_part_of_the_recipe(tmp_path):
    recipe = read_recipe(write(tmp_path, "seed = 3\n[tune]\n'schedule.lr' = [1e-4, 1e-2]\n"))
    assert recipe == Recipe(name="mine", seed=3)
    with pytest.raises(ConfigError, match="unknown key 'tune'"):
        recipe_from_dict({"tune": {}})


MISTAKES = {
    "unknown key": (
        "[schedule]\nepoch = 3",
        ["'schedule.epoch'", "Did you mean 'epochs'?", "Allowed here:", "lr_spread"],
    ),
    "unknown table": ("[modle]\nname = 'x'", ["'modle'", "Did you mean 'model'?", "Allowed here:", "num_folds"]),
    "no word like it": ("zzz = 1", ["unknown key 'zzz'. Allowed here: name, seed"]),
    "text for a number": ("[schedule]\nepochs = 'many'", ["'schedule.epochs'", "integer", "got 'many'"]),
    "half an epoch": ("[schedule]\nepochs = 1.5", ["'schedule.epochs'", "integer", "got 1.5"]),
    "number for a text": ("[model]\nname = 18", ["'model.name'", "string", "got 18"]),
    "number for a table": ("model = 18", ["'model'", "dictionary", "got 18"]),
    "drop rate": ("[model]\ndrop_rate = 1.0", ["model.drop_rate", "between 0 and 0.99", "got 1.0"]),
    "drop path rate": ("[model]\ndrop_path_rate = -0.1", ["model.drop_path_rate", "got -0.1"]),
    "image size": ("[input]\nimage_size = 4", ["input.image_size", "between 8 and 2048", "got 4"]),
    "store size": ("[input]\nstore_size = 9000", ["input.store_size", "between 8 and 4096"]),
    "test crop": ("[input]\ntest_crop = 1.5", ["input.test_crop", "between 0 and 1"]),
    "smallest crop": ("[augment]\nsmallest_crop = 0", ["augment.smallest_crop", "between 0.01 and 1"]),
    "widest aspect": ("[augment]\nwidest_aspect = 0.5", ["augment.widest_aspect", "between 1 and 4"]),
    "rotation": ("[augment]\nrotate_degrees = 181", ["augment.rotate_degrees", "between 0 and 180"]),
    "brightness": ("[augment]\nbrightness = 2", ["augment.brightness", "between 0 and 1"]),
    "contrast": ("[augment]\ncontrast = -1", ["augment.contrast", "between 0 and 1"]),
    "lr of zero": ("[schedule]\nlr = 0", ["schedule.lr", "got 0"]),
    "lr of nan": ("[schedule]\nlr = nan", ["schedule.lr", "got nan"]),
    "frozen lr": ("[schedule]\nfrozen_lr = inf", ["schedule.frozen_lr", "got inf"]),
    "lr spread": ("[schedule]\nlr_spread = 0.5", ["schedule.lr_spread", "between 1 and 1e+06"]),
    "batch of none": ("[schedule]\nbatch_size = 0", ["schedule.batch_size", "got 0"]),
    "half a word": ("[schedule]\nbatch_size = 'aut'", ["'schedule.batch_size'", "integer", "got 'aut'"]),
    "the number that auto is": ("[schedule]\nbatch_size = 0", ['schedule.batch_size must be at least 1, or "auto"']),
    "less than no portions": ("[schedule]\nmicro_batch = -1", ['schedule.micro_batch must be at least 0, or "auto"']),
    "portions above the batch": (
        "[schedule]\nmicro_batch = 33",
        ["schedule.micro_batch", "between 0 and 32", "got 33"],
    ),
    "a part of what is not known": (
        "[schedule]\nbatch_size = 'auto'\nmicro_batch = 4",
        ["schedule.micro_batch = 4", "which chooses both", "Leave micro_batch out"],
    ),
    "weight decay": ("[schedule]\nweight_decay = -1", ["schedule.weight_decay"]),
    "all warmup": ("[schedule]\nwarmup_share = 1", ["schedule.warmup_share", "between 0 and 0.9"]),
    "label smoothing": ("[loss]\nlabel_smoothing = 1", ["loss.label_smoothing"]),
    "negative epochs": ("[schedule]\nepochs = -1", ["schedule.epochs", "got -1"]),
    "negative frozen epochs": ("[schedule]\nfrozen_epochs = -1", ["schedule.frozen_epochs", "got -1"]),
    "nothing to train": ("[schedule]\nepochs = 0\nfrozen_epochs = 0", ["schedule.epochs", "nothing would be trained"]),
    "one fold": ("num_folds = 1", ["num_folds must be 0", "or from 2 to 1000", "got 1"]),
    "too many folds": ("num_folds = 1001", ["num_folds", "got 1001"]),
    "negative seed": ("seed = -1", ["seed must be between 0 and", "got -1"]),
    "broken TOML": ("seed = = 1", ["not valid TOML", "line 1"]),
}


@pytest.mark.parametrize(("text", "fragments"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_names_file_key_and_what_is_allowed(tmp_path, text, fragments):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_recipe(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message


def test_a_mistake_in_what_was_set_is_not_blamed_on_the_file_alone(tmp_path):
    path = write(tmp_path, "[schedule]\nepochs = 3")
    with pytest.raises(ConfigError) as caught:
        read_recipe(path, overrides=["schedule.epochs=x", "seed=2"])
    assert str(caught.value).startswith(f"{path} with --set schedule.epochs=x and --set seed=2: 'schedule.epochs': ")


def test_several_mistakes_are_told_at_once(tmp_path):
    with pytest.raises(ConfigError, match=r"'model\.nam'.*'sed'"):
        read_recipe(write(tmp_path, "sed = 1\n[model]\nnam = 'x'"))


def test_a_missing_file_and_one_that_is_no_text_are_named(tmp_path):
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    for path in (tmp_path / "missing.toml", binary):
        with pytest.raises(ConfigError, match=rf"{path.name} cannot be read"):
            read_toml(path)


@pytest.mark.parametrize(
    ("override", "table", "key", "value"),
    [
        ("seed=9", None, "seed", 9),
        ("schedule.epochs=8", "schedule", "epochs", 8),
        ("schedule.lr=1e-2", "schedule", "lr", 0.01),
        ("augment.mirror=false", "augment", "mirror", False),
        ('model.name="resnet34"', "model", "name", "resnet34"),
        ("model.name=resnet50.a1_in1k", "model", "name", "resnet50.a1_in1k"),
        ("model.weights=none", "model", "weights", "none"),
        ("model.weights=../my weights/a=b.pt", "model", "weights", "../my weights/a=b.pt"),
        (" device = cuda:1 ", None, "device", "cuda:1"),
    ],
)
def test_set_takes_a_toml_value_or_a_bare_word(tmp_path, override, table, key, value):
    recipe = read_recipe(write(tmp_path, "[augment]\nmirror = true"), overrides=[override])
    assert getattr(getattr(recipe, table) if table else recipe, key) == value


def test_the_last_set_of_a_key_wins_and_the_file_data_stay_as_they_were():
    data = {"schedule": {"epochs": 3}}
    recipe = recipe_from_dict(data, overrides=["schedule.epochs=5", "schedule.epochs=6"])
    assert recipe.schedule.epochs == 6
    assert data == {"schedule": {"epochs": 3}}


@pytest.mark.parametrize(
    ("override", "fragments"),
    [
        ("schedule.epochs", ["not of the form key=value", "--set schedule.epochs=8"]),
        ("=3", ["not of the form key=value"]),
        ("", ["not of the form key=value"]),
        ("schedule.epoch=3", ["'schedule.epoch'", "Did you mean 'schedule.epochs'?", "lr_spread"]),
        ("shedule.epochs=3", ["'shedule.epochs'", "Did you mean 'schedule'?"]),
        ("seed.more=3", ["'seed.more'", "nothing below it"]),
        ("schedule=3", ["'schedule' is a table", "schedule.KEY=value"]),
        ("schedule.epochs=many", ["'schedule.epochs'", "got 'many'"]),
        ("schedule.epochs=", ["'schedule.epochs'", "got ''"]),
        ("schedule.lr=0", ["schedule.lr must be between"]),
    ],
)
def test_a_wrong_set_says_what_is_known_there(override, fragments):
    with pytest.raises(ConfigError) as caught:
        recipe_from_dict({}, overrides=[override])
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_a_set_below_a_key_that_the_file_gives_no_table_is_refused():
    with pytest.raises(
        ConfigError, match=r"the recipe with --set model.name=resnet18: 'model': Input should be a dictionary .* got 5"
    ):
        recipe_from_dict({"model": 5}, overrides=["model.name=resnet18"])
