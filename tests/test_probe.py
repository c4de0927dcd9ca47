"""Probe: which facts about files tell the label or the side, by how much, and that chance is not taken for skill."""

import numpy as np
import pandas as pd
import pytest
from textures import table_of

from kit.quality.inspect import FACT_DTYPES, empty_facts
from kit.quality.probe import MAX_P, names_tell_labels, natural, probe_labels, probe_sides

RNG = np.random.default_rng(0)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def same_numbers_whatever_ran_before():
    RNG.bit_generator.state = START


def facts_with(paths: list[str], **columns: object) -> pd.DataFrame:
    usual = {"width": 100, "height": 80, "num_bytes": RNG.integers(4000, 9000, len(paths)), "format": "JPEG"}
    facts = pd.DataFrame([empty_facts(path) for path in paths])
    return facts.assign(**{**usual, **columns}).astype(FACT_DTYPES)


def random_names(count: int) -> list[str]:
    return [f"{RNG.integers(1 << 40):010x}.jpg" for _ in range(count)]


def test_a_fact_that_is_the_label_is_found_and_named():
    paths = random_names(100)
    labels = ["cat", "dog"] * 50
    widths = [200 if label == "cat" else 220 for label in labels]
    best = probe_labels(table_of(paths, labels), facts_with(paths, width=widths))[0]
    assert best.facts in {("width",), ("aspect",), ("pixels",)}
    assert (best.score, best.chance, best.skill) == pytest.approx((1.0, 0.5, 1.0))
    assert best.p_value < MAX_P


@pytest.mark.parametrize("counts", [(900, 100), (50, 30, 20), (6,) * 12])
def test_balanced_accuracy_of_facts_that_say_nothing_is_at_chance_whatever_the_class_sizes(counts: tuple[int, ...]):
    labels = [f"class {k}" for k, count in enumerate(counts) for _ in range(count)]
    paths = random_names(len(labels))
    for probe in probe_labels(table_of(paths, labels), facts_with(paths)):
        assert probe.chance == 1 / len(counts)
        assert probe.p_value > 1e-3


def test_no_false_alarm_in_probes_of_chance():
    paths = random_names(60)
    p_values = []
    for _ in range(10):
        labels = RNG.choice(["a", "b", "c"], len(paths)).tolist()
        facts = facts_with(paths, **{name: RNG.integers(50, 99, len(paths)) for name in ("width", "height")})
        p_values += [probe.p_value for probe in probe_labels(table_of(paths, labels), facts)]
    assert min(p_values) > MAX_P
    assert np.mean(np.array(p_values) < 0.05) < 0.12


def test_a_fact_that_tells_groups_apart_does_not_tell_labels():
    """Twelve patients, each with a camera of its own and one diagnosis: the camera tells the patient, not more."""
    patients = [f"p{k % 12}" for k in range(240)]
    labels = ["ill" if int(patient[1:]) % 2 else "well" for patient in patients]
    paths = random_names(240)
    widths = [100 + 7 * ((5 * int(patient[1:])) % 12) for patient in patients]
    table = table_of(paths, labels).assign(group=patients)
    assert all(probe.p_value > MAX_P for probe in probe_labels(table, facts_with(paths, width=widths)))


def test_file_names_in_the_order_of_the_labels_are_found():
    paths = [f"img_{k}.jpg" for k in range(200)]
    labels = ["cat"] * 100 + ["dog"] * 100
    found = probe_labels(table_of(paths, labels), facts_with(paths))
    assert {"name_order", "name_number"} == {probe.facts[0] for probe in found if probe.skill > 0.9}


@pytest.mark.parametrize(
    ("paths", "tell"),
    [
        ([f"train/{label}/{k}.jpg" for label in ("cat", "dog") for k in range(30)], True),
        ([f"train/{label}.{k}.jpg" for label in ("cat", "dog") for k in range(30)], True),
        ([f"train/{k}.jpg" for k in range(60)], False),
        ([f"train/{k * 2654435761 % 2**32:08x}.jpg" for k in range(60)], False),
    ],
)
def test_names_that_hold_the_label_on_purpose_are_told_from_those_that_do_not(paths: list[str], tell: bool):
    assert names_tell_labels(paths, ["cat"] * 30 + ["dog"] * 30) is tell


def test_names_sort_by_their_numbers():
    assert sorted(["cat.10", "cat.9", "9", "cat", "cat.9b"], key=natural) == ["9", "cat", "cat.9", "cat.9b", "cat.10"]


def test_a_test_side_of_other_brightness_is_found_and_one_like_the_training_side_is_not():
    paths = random_names(300)
    splits = ["train"] * 200 + ["test"] * 100
    table = table_of(paths, [""] * 300, splits=splits)
    same = facts_with(paths, mean=RNG.normal(120, 20, 300))
    darker = facts_with(paths, mean=[*RNG.normal(120, 20, 200), *RNG.normal(75, 20, 100)])
    assert all(probe.low < 0.6 for probe in probe_sides(table, same))
    best = probe_sides(table, darker)[0]
    assert best.facts == ("mean",) or len(best.facts) > 1
    assert best.low > 0.6


def test_the_verdict_does_not_depend_on_the_order_of_rows():
    paths = random_names(80)
    table, facts = table_of(paths, RNG.choice(["a", "b"], 80).tolist()), facts_with(paths)
    assert probe_labels(table, facts) == probe_labels(table.iloc[::-1], facts.iloc[::-1])


def test_too_few_images_are_not_probed():
    paths = random_names(8)
    table = table_of(paths, ["a", "b"] * 4)
    assert probe_labels(table, facts_with(paths)) == []
    assert probe_sides(table, facts_with(paths)) == []
