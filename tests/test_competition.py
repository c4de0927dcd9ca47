"""Competition folders: where they are found, and how a contradiction in one is answered."""

import os
from pathlib import Path

import pytest
from toys import make_toy_competition

from kit.competition import competition_folders, load_competition, package_folder, read_competition
from kit.errors import CompetitionError, ConfigError


def test_the_toy_is_read_whole(toy_competition):
    toy = load_competition(toy_competition())
    assert (toy.slug, toy.classes, toy.metric) == ("toy", ("red", "green", "blue"), "accuracy")
    assert toy.protocol() is toy.protocols["official"]
    assert toy.source() is toy.sources["local"]
    assert toy.source().files[0].name == "toy.tar"
    assert toy.label_rule() is toy.labels
    assert toy.baselines_id == "toy"
    assert toy.adapter() is None
    assert toy.adapter_function("materialise") is None


def test_a_file_is_named_by_its_path_else_by_the_end_of_its_address(toy_competition):
    slug = toy_competition(replace=[('path = "toy/toy.tar"', 'url = "https://example.org/data/all.tar"')])
    assert load_competition(slug).source().files[0].name == "all.tar"


def test_the_metric_is_the_one_that_the_file_names(toy_competition):
    assert (
        load_competition(toy_competition(replace=[('metric = "accuracy"', 'metric = "log_loss"')])).metric == "log_loss"
    )


TABLE = "[official_split]"
SEVERAL = [
    ('metric = "accuracy"\ndef', 'task = "multi-label"\nmetric = "mean_f1"\ndef'),
    *[('metric = "accuracy"', 'metric = "mean_f1"')] * 2,
    ('metric = "log_loss"', 'metric = "roc_auc"'),
]
FAULTS = {
    "missing key": ([('licence = "CC0"\n', "")], ["'licence' is missing"]),
    "unknown key": ([('title = "Pl', 'titel = "x"\ntitle = "Pl')], ["'titel'", "Did you mean 'title'?", "homepage"]),
    "unknown key in a table": (
        [('rule = "folder"', 'rule = "folder"\npatern = "x"')],
        ["'labels.patern'", "Did you mean 'pattern'?", "id_column"],
    ),
    "unknown key of a file": (
        [("unpack = true", "unpack = true\nuntar = true")],
        ["'sources.local.files.0.untar'", "Allowed here: path, url, sha256"],
    ),
    "unknown key of a protocol": (
        [("num_test = 6", "num_test = 6\nnum_tests = 6")],
        ["'protocols.official.num_tests'", "Did you mean 'num_test'?"],
    ),
    "missing key of a protocol": ([('train = "18 images"\n', "")], ["'protocols.official.train' is missing"]),
    "unknown metric": (
        [('"accuracy"', '"acuracy"')],
        ["metric: ", "'acuracy'", "Did you mean 'accuracy'?", "log_loss"],
    ),
    "unknown metric of a protocol": (
        [('metric = "log_loss"', 'metric = "logloss"')],
        ["protocols.random.metric", "'logloss'", "Did you mean 'log_loss'?", "roc_auc"],
    ),
    "test share": ([("test_share = 0.25", "test_share = 1.0")], ["protocols.random.test_share", "between 0 and 1"]),
    "doubled classes": ([('"red", ', '"red", "red", ')], ["classes", "['red']", "more than once"]),
    "one class": ([('"red", "green", "blue"', '"red"')], ["classes", "at least 2", "['red']"]),
    "no protocol of that name": (
        [('default_protocol = "official"', 'default_protocol = "offical"')],
        ["default_protocol", "'offical'", "official, folds, random"],
    ),
    "no source of that name": (
        [('metric = "acc', 'default_source = "locale"\nmetric = "acc')],
        ["default_source", "'locale'", "local"],
    ),
    "no sources": ([("[sources.local]\n\n[[sources.local.files]]", "[sources]\n[other]")], ["'other'"]),
    "file without a place": ([('path = "toy/toy.tar"\n', "")], ["sources.local.files", "url", "path"]),
    "task": ([('metric = "acc', 'task = "many-label"\nmetric = "acc')], ["'task'", "'single-label'", "'multi-label'"]),
    "label rule": (
        [('rule = "folder"', 'rule = "folders"')],
        ["'labels.rule'", "'folder', 'regex', 'csv'", "'folders'"],
    ),
    "bad regex": (
        [('rule = "folder"', 'rule = "regex"\npattern = "("')],
        ["labels.pattern", "not a regular expression"],
    ),
    "bad group regex": (
        [('rule = "folder"', 'rule = "folder"\ngroup_pattern = "["')],
        ["labels.group_pattern", "not a regular expression"],
    ),
    "regex without a label": (
        [('rule = "folder"', 'rule = "regex"\npattern = "a(b)"')],
        ["labels.pattern", "group named 'label'", "(?P<label>...)"],
    ),
    "group regex without a group": (
        [('rule = "folder"', 'rule = "folder"\ngroup_pattern = "x"')],
        ["labels.group_pattern", "group named 'group'"],
    ),
    "regex rule without a pattern": ([('rule = "folder"', 'rule = "regex"')], ["labels.pattern", "'regex' needs it"]),
    "csv rule without a file": ([('rule = "folder"', 'rule = "csv"')], ["labels.file", "'csv' needs it"]),
    "fault in another label rule": (
        [(TABLE, '[more_labels.second]\nrule = "csv"\n\n[official_split]')],
        ["more_labels.second.file"],
    ),
    "official without a split": (
        [('[official_split]\nby = "folders"\ntrain = "train"\ntest = "test"\n', "")],
        ["protocols.official", "[official_split]", "test_files"],
    ),
    "split by": ([('by = "folders"', 'by = "folder"')], ["'official_split.by'", "'lists', 'folders' or 'csv'"]),
    "probability of no class": (
        [('values = "label"', 'values = "probability_of"\nof_class = "pink"')],
        ["submission.of_class", "'pink'", "not among the classes"],
    ),
    "one class per image scored where it may have several": (
        [('metric = "accuracy"', 'task = "multi-label"\nmetric = "accuracy"')],
        ["metric: 'accuracy' takes one class", "Fitting: roc_auc, mean_f1, exact_match"],
    ),
    "the same by a protocol": (
        [
            ('metric = "accuracy"\ndef', 'task = "multi-label"\nmetric = "mean_f1"\ndef'),
            *[('metric = "accuracy"', 'metric = "mean_f1"')] * 2,
        ],
        ["protocols.random.metric: 'log_loss' takes one class"],
    ),
    "the joining sign in a class of several": (
        [*SEVERAL, ('"red", ', '"red + grey", ')],
        ["classes: ['red + grey'] hold ' + '", "labels.rename"],
    ),
    "one label handed in where there are several": (
        SEVERAL,
        ["submission.values: 'label' gives each", "Give 'labels'"],
    ),
    "several labels handed in where there is one": (
        [('values = "label"', 'values = "labels"')],
        ["submission.values: 'labels' is for a multi-label task, and this one is single-label"],
    ),
    "a class called as the column of ids": (
        [('id_column = "image_id"\nvalues = "label"', 'id_column = "red"\nvalues = "probabilities"')],
        ["submission.id_column: 'red' is also a column of values"],
    ),
    "slug": ([('metric = "acc', 'slug = "toy"\nmetric = "acc')], ["remove the key 'slug'", "folder's name"]),
    "folder": ([('metric = "acc', 'folder = "toy"\nmetric = "acc')], ["remove the key 'folder'"]),
}


@pytest.mark.parametrize(("replace", "fragments"), FAULTS.values(), ids=FAULTS)
def test_a_fault_names_file_key_and_what_is_allowed(tmp_path, replace, fragments):
    folder = make_toy_competition(tmp_path, replace=replace)
    with pytest.raises(CompetitionError) as caught:
        read_competition(folder)
    message = str(caught.value)
    assert message.startswith(str(folder / "competition.toml"))
    for fragment in fragments:
        assert fragment in message


def test_several_labels_are_scored_and_handed_in_by_what_fits_them(tmp_path):
    for k, values in enumerate(("labels", "probabilities")):
        fitting = [*SEVERAL, ('values = "label"', f'values = "{values}"')]
        assert read_competition(make_toy_competition(tmp_path / str(k), replace=fitting)).task == "multi-label"
    joined = make_toy_competition(tmp_path / "one", replace=[('"red", ', '"red + grey", ')])
    assert read_competition(joined).classes[0] == "red + grey"  # an image has one class: nothing is joined


def test_a_competition_without_any_source_is_refused(tmp_path):
    folder = make_toy_competition(tmp_path)
    text = (folder / "competition.toml").read_text()
    start, end = text.index("[sources.local]"), text.index("[labels]")
    (folder / "competition.toml").write_text(text[:start] + "[sources]\n\n" + text[end:])
    with pytest.raises(CompetitionError, match="sources: at least one source set is needed"):
        read_competition(folder)


def test_broken_toml_names_file_and_line(tmp_path):
    folder = make_toy_competition(tmp_path, replace=[("[labels]", "[labels")])
    with pytest.raises(ConfigError, match=r"toy/competition\.toml is not valid TOML: .*line 17"):
        read_competition(folder)


@pytest.mark.parametrize("name", ["Toy", "my toy", "-toy", "toy!", "t" * 65])
def test_a_folder_name_that_is_no_slug_is_refused(tmp_path, name):
    folder = make_toy_competition(tmp_path)
    renamed = folder.rename(folder.with_name(name))
    with pytest.raises(CompetitionError, match=r"cannot name a competition: up to 64 small letters, digits, - and _"):
        read_competition(renamed)


def test_folders_are_found_in_kit_competitions_here_and_in_the_kit(tmp_path, monkeypatch):
    for place in ("one", "two", "here"):
        make_toy_competition(tmp_path / place, slug=f"toy-{place}")
        make_toy_competition(tmp_path / place, slug="shared")
    chosen = [tmp_path / "two" / "competitions", tmp_path / "one" / "competitions"]
    monkeypatch.setenv("KIT_COMPETITIONS", os.pathsep.join(map(str, chosen)))
    monkeypatch.chdir(tmp_path / "here")
    found = competition_folders()
    assert {"toy-one", "toy-two", "toy-here", "digits"} <= found.keys()
    assert found["shared"] == tmp_path / "two" / "competitions" / "shared"  # the first one found wins
    assert found["digits"] == package_folder("competitions") / "digits"


def test_an_installed_kit_has_its_facts_inside_the_package(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "kit"
    (package / "_competitions").mkdir(parents=True)
    monkeypatch.setattr("kit.competition.__file__", str(package / "competition.py"))
    assert package_folder("competitions") == package / "_competitions"
    assert package_folder("leaderboard") == package.parent / "leaderboard"


def test_an_unknown_slug_names_the_closest_and_where_folders_go(toy_competition):
    toy_competition(slug="colours")
    with pytest.raises(CompetitionError) as caught:
        load_competition("colors")
    for fragment in ("'colors'", "Did you mean 'colours'?", "digits", "./competitions", "KIT_COMPETITIONS"):
        assert fragment in str(caught.value)


@pytest.mark.parametrize(
    ("ask", "fragments"),
    [
        (lambda toy: toy.protocol("fold"), ["no protocol 'fold'", "Did you mean 'folds'?", "official, folds, random"]),
        (lambda toy: toy.source("locl"), ["no source 'locl'", "Did you mean 'local'?", "It has: local"]),
        (lambda toy: toy.label_rule("csv"), ["no label rule 'csv'", "one only"]),
        (lambda toy: toy.recipe("base"), ["no recipe 'base'", "baseline", "path of a .toml file"]),
    ],
)
def test_an_unknown_name_inside_a_competition_lists_the_known_ones(toy_competition, ask, fragments):
    with pytest.raises(CompetitionError) as caught:
        ask(load_competition(toy_competition()))
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_a_recipe_is_had_by_name_or_by_path_with_overrides(toy_competition, tmp_path):
    toy = load_competition(toy_competition())
    assert toy.recipe().model.name == "resnet10t"
    assert toy.recipe("baseline", overrides=("seed=5",)).seed == 5
    mine = tmp_path / "mine.toml"
    mine.write_text("seed = 6\n")
    assert (toy.recipe(str(mine)).seed, toy.recipe(str(mine)).name) == (6, "mine")


def test_an_adapter_gives_the_functions_it_defines_and_none_else(toy_competition):
    toy = load_competition(toy_competition())
    Path(toy.folder / "adapter.py").write_text("def label_of(path):\n    return path.parts[-2]\n")
    label_of = toy.adapter_function("label_of")
    assert label_of is not None and label_of(Path("train/red/1.png")) == "red"
    assert toy.adapter_function("materialise") is None
