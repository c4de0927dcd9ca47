"""The published results: every file is sound, every fault is refused, one row is measured again."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.board.baselines import baseline_files, effective, load_baselines
from kit.errors import BaselineError

FOLDER = Path(__file__).parent.parent / "leaderboard" / "baselines"
FILES = baseline_files(FOLDER)

SMALL: dict[str, Any] = {
    "schema_version": 1,
    "dataset": {
        "id": "small",
        "name": "Small",
        "classes": 2,
        "num_images": 10,
        "licence": "CC0",
        "homepage": "https://example.org",
        "citation": "A. Author, 2026.",
    },
    "protocols": {
        "official": {
            "description": "Two classes.",
            "training_pool": "official-train",
            "train": "6 images",
            "test_images": "official-test",
            "test": "4 images",
            "num_test": 4,
            "metrics": ["accuracy", "log_loss"],
            "adaptation": None,
            "extra_inputs": "none",
            "selection": "held-out",
        }
    },
    "results": [
        {
            "id": "first",
            "method": "ResNet-18",
            "year": 2020,
            "protocol": "official",
            "metric": "accuracy",
            "value": 0.75,
            "num_test": 4,
            "num_parameters": 11_000_000,
            "pretraining": "ImageNet-1k",
            "pretraining_group": "imagenet-1k",
            "hardware": None,
            "time": None,
            "adaptation": "trained",
            "inference": "single",
            "source": {"authors": None, "title": "Paper", "venue": "Journal", "year": 2020, "url": None},
            "status": "verified",
            "provenance": "Value read in Table 1 of the paper.",
        }
    ],
    "comparability": ["Four images decide nothing."],
}


def write(folder: Path, content: object, name: str = "small.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_there_are_280_published_rows_and_one_measured_here():
    baselines = [load_baselines(path) for path in FILES]
    assert len(baselines) == 20
    assert sum(len(one.results) for one in baselines) == 280 + 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_loads_and_says_how_to_compare(path):
    baselines = load_baselines(path)
    assert baselines.dataset_id == path.stem
    assert baselines.protocols
    assert baselines.comparability


@pytest.mark.parametrize("path", [*FILES, FOLDER / "README.md"], ids=lambda path: path.name)
def test_every_text_speaks_of_the_results_only(path):
    found = re.findall(
        r"(?i)\b(?:memory|remember(?:s|ed)?|recalled|stored|session|as found)\b",
        path.read_text(encoding="utf-8"),
    )
    assert found == []


def test_a_sound_file_keeps_what_is_not_stated_as_none(tmp_path):
    baselines = load_baselines(write(tmp_path, SMALL))
    (row,) = baselines.results
    assert (row.value, row.num_parameters, row.hardware, row.source.url) == (0.75, 11_000_000, None, None)
    assert baselines.protocols["official"].metrics == ("accuracy", "log_loss")


def test_a_row_overrides_its_protocol_and_otherwise_inherits(tmp_path):
    baselines = load_baselines(write(tmp_path, SMALL))
    (row,), protocol = baselines.results, baselines.protocols["official"]
    assert effective(protocol, row, "adaptation") == "trained"  # the protocol does not state it
    assert effective(protocol, row, "selection") == "held-out"
    assert effective(protocol, row, "test_images") == "official-test"
    assert effective(protocol, row, "inference") == "single"


ROW_FAULTS = {
    "unknown key": ("color", lambda row: row.update(color="red")),
    "missing key": ("hardware", lambda row: row.pop("hardware")),
    "number as text": ("value", lambda row: row.update(value="0.75")),
    "truth as number": ("value", lambda row: row.update(value=True)),
    "text as number": ("method", lambda row: row.update(method=18)),
    "accuracy in percent": ("value", lambda row: row.update(value=75.0)),
    "negative accuracy": ("value", lambda row: row.update(value=-0.1)),
    "not a number": ("value", lambda row: row.update(value=float("nan"))),
    "negative log loss": ("value", lambda row: row.update(metric="log_loss", value=-0.1)),
    "metric of no protocol": ("metric", lambda row: row.update(metric="top5_accuracy")),
    "unknown protocol": ("protocol", lambda row: row.update(protocol="offical")),
    "unknown pretraining group": ("pretraining_group", lambda row: row.update(pretraining_group="jft")),
    "unknown status": ("status", lambda row: row.update(status="sure")),
    "verified without a value": ("status", lambda row: row.update(value=None)),
    "unknown adaptation": ("adaptation", lambda row: row.update(adaptation="fine-tuned")),
    "unknown selection": ("selection", lambda row: row.update(selection="luck")),
    "unknown inference": ("inference", lambda row: row.update(inference="tta")),
    "training pool in words": ("training_pool", lambda row: row.update(training_pool="All of it")),
    "extra inputs in words": ("extra_inputs", lambda row: row.update(extra_inputs="Boxes, parts")),
    "accelerator in words": ("accelerator", lambda row: row.update(accelerator="8 V100")),
    "ambiguous in words": ("metric_ambiguous", lambda row: row.update(metric_ambiguous="maybe")),
    "threshold in percent": ("threshold", lambda row: row.update(threshold=94.0)),
    "empty provenance": ("provenance", lambda row: row.update(provenance=" ")),
    "source without title": ("source.title", lambda row: row["source"].pop("title")),
    "source with a page": ("source.page", lambda row: row["source"].update(page=7)),
}


@pytest.mark.parametrize(("key", "break_row"), ROW_FAULTS.values(), ids=ROW_FAULTS)
def test_a_faulty_row_is_refused_by_file_row_and_key(tmp_path, key: str, break_row: Callable[[dict], object]):
    content = copy.deepcopy(SMALL)
    break_row(content["results"][0])
    path = write(tmp_path, content)
    with pytest.raises(BaselineError) as caught:
        load_baselines(path)
    message = str(caught.value)
    assert str(path) in message
    assert f"row 'first', key {key}: " in message
    assert "\n" not in message


def test_two_rows_of_one_id_are_refused(tmp_path):
    content = copy.deepcopy(SMALL)
    content["results"].append(copy.deepcopy(content["results"][0]))
    with pytest.raises(BaselineError, match=r"small\.yaml .*row 'first', key id: another row has the same"):
        load_baselines(write(tmp_path, content))


def test_a_row_without_an_id_is_named_by_its_place(tmp_path):
    content = copy.deepcopy(SMALL)
    del content["results"][0]["id"]
    with pytest.raises(BaselineError, match="row 'number 1', key id: Field required"):
        load_baselines(write(tmp_path, content))


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"selection": "luck"}, "protocol 'official', key selection: "),
        ({"test_images": "The test list"}, "protocol 'official', key test_images: "),
        ({"higher_is_better": True}, "protocol 'official', key higher_is_better: "),
        ({"threshold": 94.0}, "protocol 'official', key threshold: "),
        ({"timing_rule": "The first epoch"}, "protocol 'official', key timing_rule: "),
        ({"accounting": "All of it"}, "protocol 'official', key accounting: "),
    ],
)
def test_a_faulty_protocol_is_refused_by_file_protocol_and_key(tmp_path, change, place):
    content = copy.deepcopy(SMALL)
    content["protocols"]["official"].update(change)
    path = write(tmp_path, content)
    with pytest.raises(BaselineError) as caught:
        load_baselines(path)
    assert str(path) in str(caught.value)
    assert place in str(caught.value)


def test_a_speed_without_the_accuracy_to_reach_is_refused(tmp_path):
    content = copy.deepcopy(SMALL)
    content["protocols"]["official"]["metrics"] = ["seconds_to_accuracy"]
    content["results"][0].update(metric="seconds_to_accuracy", value=90.0)
    with pytest.raises(BaselineError, match="row 'first', key threshold: seconds_to_accuracy needs the accuracy"):
        load_baselines(write(tmp_path, content))
    content["protocols"]["official"]["threshold"] = 0.94
    assert load_baselines(write(tmp_path, content)).results[0].value == 90.0


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"overlap": {"none": "It is."}}, "key overlap.none: "),
        ({"overlap": {"ImageNet 1k": "It is."}}, "key overlap.ImageNet 1k: "),
        ({"overlap": {"imagenet-1k": " "}}, "key overlap.imagenet-1k: "),
        ({"overlap": {"imagenet-1k": 5}}, "key overlap.imagenet-1k: "),
        (
            {"unresolved": [{"question": "Which?", "rows": ["second"], "settled_by": "x"}]},
            "key unresolved: no row is called 'second'",
        ),
        ({"unresolved": [{"question": "Which?", "rows": ["first"]}]}, "key unresolved.0.settled_by: "),
    ],
)
def test_a_faulty_overlap_or_question_is_refused_by_its_key(tmp_path, change, fault):
    with pytest.raises(BaselineError) as caught:
        load_baselines(write(tmp_path, SMALL | change))
    assert fault in str(caught.value)


def test_overlap_and_questions_are_optional_and_kept(tmp_path):
    assert load_baselines(write(tmp_path, SMALL)).unresolved == ()
    question = {"question": "Which?", "rows": ["first"], "settled_by": "The paper."}
    told = load_baselines(write(tmp_path, SMALL | {"overlap": {"imagenet-1k": "Cut out."}, "unresolved": [question]}))
    assert told.overlap == {"imagenet-1k": "Cut out."}
    assert told.question_of(told.results[0]).settled_by == "The paper."


def test_the_row_that_the_readme_shows_is_sound(tmp_path):
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    (row,) = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    content = copy.deepcopy(SMALL)
    content["protocols"][row["protocol"]] = content["protocols"]["official"]
    content["results"].append(row)
    assert load_baselines(write(tmp_path, content)).results[1].id == "resnet-50-example"


def test_every_speed_says_on_which_hardware_and_by_which_rule():
    for baselines in map(load_baselines, FILES):
        for row in baselines.results:
            if row.metric.endswith("_to_accuracy"):
                assert row.accelerator and baselines.protocols[row.protocol].timing_rule


def test_the_file_is_named_after_its_data_set(tmp_path):
    with pytest.raises(BaselineError, match=r"key dataset\.id: 'small', but the file is named other\.yaml"):
        load_baselines(write(tmp_path, SMALL, "other.yaml"))


@pytest.mark.parametrize("content", [None, [], {"schema_version": 2}])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    with pytest.raises(BaselineError, match="breaks the schema"):
        load_baselines(write(tmp_path, content))


def test_broken_yaml_and_a_missing_file_are_refused(tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("results: [1,\n", encoding="utf-8")
    for path in (broken, tmp_path / "missing.yaml"):
        with pytest.raises(BaselineError, match=r"\.yaml cannot be read as YAML"):
            load_baselines(path)


def test_the_digits_row_is_what_the_gallery_example_gives():
    from sklearn import datasets, svm
    from sklearn.model_selection import train_test_split

    images, labels = datasets.load_digits(return_X_y=True)  # (1797, 64) float64 in [0, 16]; (1797,) int64
    train, test, train_labels, test_labels = train_test_split(images, labels, test_size=0.5, shuffle=False)
    right = svm.SVC(gamma=0.001).fit(train, train_labels).predict(test) == test_labels

    digits = load_baselines(FOLDER / "digits.yaml")
    (row,) = digits.results
    assert len(train) == 898 and len(right) == row.num_test == 899
    assert row.value == round(float(right.mean()), 6)
    assert digits.protocols["five-fold"].num_test == len(images)
