"""The contract that every folder in competitions/ keeps. A new folder is found and checked by itself."""

import inspect

import pytest

from kit.board.baselines import load_baselines
from kit.competition import ADAPTER_FUNCTIONS, package_folder, read_competition
from kit.config import read_recipe

FOLDER = package_folder("competitions")
SLUGS = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


@pytest.fixture(params=SLUGS)
def competition(request):
    return read_competition(FOLDER / request.param)


def test_there_are_competitions():
    assert SLUGS


def test_it_says_what_it_is_and_under_which_licence(competition):
    for text in (competition.title, competition.homepage, competition.licence, competition.citation):
        assert text.strip()
    assert competition.homepage.startswith(("https://", "http://"))


def test_its_folder_holds_nothing_but_the_known_files(competition):
    names = {path.name for path in competition.folder.iterdir()} - {"__pycache__"}
    assert names <= {"competition.toml", "README.md", "adapter.py", "recipes"}
    assert {path.suffix for path in (competition.folder / "recipes").iterdir()} == {".toml"}


def test_its_recipes_load_and_one_is_the_default(competition):
    for path in (competition.folder / "recipes").glob("*.toml"):
        assert read_recipe(path).name
    assert competition.recipe().name == competition.default_recipe


def test_every_file_can_be_had_and_a_mirrors_file_can_be_checked(competition):
    for source in competition.sources.values():
        for file in source.files:
            assert file.url or file.path
            assert file.url.startswith(("https://", "http://")) or not file.url
            if not file.url:
                assert len(file.sha256) == 64 and file.num_bytes > 0


def test_no_two_files_of_a_source_share_a_name(competition):
    for source in competition.sources.values():
        names = [file.name for file in source.files]
        assert len(set(names)) == len(names)


def test_labels_are_renamed_to_classes_only(competition):
    for rule in (competition.labels, *competition.more_labels.values()):
        assert set(rule.rename.values()) <= set(competition.classes)


def test_its_adapter_defines_known_functions_only(competition):
    module = competition.adapter()
    if module is None:
        return
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and inspect.isfunction(value) and value.__module__ == module.__name__
    }
    assert public
    assert public <= set(ADAPTER_FUNCTIONS)


def test_a_protocol_with_published_results_has_their_conditions(competition):
    path = package_folder("leaderboard") / "baselines" / f"{competition.baselines_id}.yaml"
    published = load_baselines(path).protocols if path.is_file() else {}
    for name in competition.protocols.keys() & published.keys():
        ours, theirs = competition.protocols[name], published[name]
        for key in ("training_pool", "test_images", "num_test", "extra_inputs"):
            assert getattr(ours, key) == getattr(theirs, key), f"protocols.{name}.{key}"
        assert ours.metric in theirs.metrics
