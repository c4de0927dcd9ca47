"""Groups: what may be ranked stands in one, whatever is only described; ranks, verdicts and notes by hand."""

from dataclasses import fields, replace

import pytest
from test_compare import OTHER, OURS, published, result, row, score
from test_records import make_record

from kit.board.baselines import Unresolved
from kit.board.compare import load_published
from kit.board.groups import groups
from kit.board.terms import OwnResult, own_description
from kit.conditions import Conditions, Description

DESCRIBED = {
    "split_hash": "0" * 64,
    "image_size": 224,
    "seeds": [1],
    "test_views": "single",
    "ensemble_size": 1,
    "hardware": "CPU",
}


def own(value=0.90, *, conditions=OURS, scores=(), kind="test", **record):
    found = result(*(scores or (score(value=value),)), conditions=conditions, kind=kind)
    return OwnResult(record=make_record(**{"described": DESCRIBED, **record}), result=found)


def shape(found):
    return [[(line.id, line.rank) for line in group.rows] for group in found]


def test_ours_and_the_published_rows_of_the_same_conditions_are_ranked_together():
    rows = [row(id="best", value=0.95), row(id="worst", value=0.80)]
    (group,) = groups(published(*rows), [own(0.90, run_id="mine")])
    assert [(line.id, line.rank) for line in group.rows] == [("best", 1), ("mine", 2), ("worst", 3)]
    assert [line.verdict for line in group.rows] == ["worse", "", "better"]
    assert (group.has_ours, group.ranked, group.metric, group.greater_is_better) == (True, True, "accuracy", True)
    assert (group.differences, group.not_stated) == ((), ())
    assert group.title == "accuracy on official-test (1,000 images); trained end to end, imagenet-1k; on official-train"


# The field-mutation test. Each identifying field of ours in turn: the row then stands in another group, and that group
# names just this field. Each describing field in turn: nothing moves.


@pytest.mark.parametrize("name", OTHER)
def test_any_other_identifying_field_parts_the_groups_and_is_named(name):
    changed = replace(OURS, **{name: OTHER[name]})
    found = groups(published(row(id="theirs")), [own(run_id="mine", conditions=changed)])
    assert shape(found) == [[("mine", 1)], [("theirs", 1)]]
    assert [difference.field for difference in found[1].differences] == [name]
    assert all(line.verdict == "" for group in found for line in group.rows)


def test_another_metric_parts_the_groups():
    found = groups(published(row(id="theirs", metric="top5_accuracy")), [own(run_id="mine")])
    assert [difference.field for difference in found[1].differences] == ["metric"]


def test_a_metric_that_may_mean_another_gets_no_verdict():
    (group,) = groups(published(row(value=0.5), metric_ambiguous=True), [own()])
    assert group.rows[1].verdict == "no verdict: metric_definition not stated"


def test_test_images_inside_the_pretraining_part_the_groups():
    baselines = replace(published(row(pretraining_group="none")), overlap={"imagenet-1k": "Cut out of it."})
    found = groups(baselines, [own()])
    assert {difference.field for difference in found[1].differences} == {"pretraining_group", "overlap"}


DESCRIBING = {
    "data_fingerprint": {"data": {"fingerprint": "other"}},
    "split_hash": {"described": {**DESCRIBED, "split_hash": "1" * 64}},
    "image_size": {"described": {**DESCRIBED, "image_size": 448}},
    "seeds": {"described": {**DESCRIBED, "seeds": [1, 2, 3]}},
    "test_views": {"described": {**DESCRIBED, "test_views": "mirror"}},
    "ensemble_size": {"described": {**DESCRIBED, "ensemble_size": 5}, "folds": {"num_folds": 5}},
    "num_parameters": {"network": {"name": "resnet10t", "num_parameters": 7, "weights_origin": "none"}},
    "hardware": {"described": {**DESCRIBED, "hardware": "H200"}},
    "time": {"cost": {"train_minutes": 99.0, "device": "CPU", "num_threads": 1}},
    "peak_memory_gib": {"cost": {"train_minutes": 0.1, "device": "CPU", "num_threads": 1, "peak_memory_gib": 3.0}},
}


@pytest.mark.parametrize("name", [field.name for field in fields(Description)])
def test_any_other_describing_field_changes_no_rank_and_no_verdict(name):
    kind = "fold-ensemble" if name == "ensemble_size" else "test"
    plain, changed = own(kind=kind), own(kind=kind, **DESCRIBING[name])
    differing = {
        field.name
        for field in fields(Description)
        if getattr(own_description(plain), field.name) != getattr(own_description(changed), field.name)
    }
    assert differing == {name}
    baselines = published(row(id="better", value=0.99), row(id="worse", value=0.50))
    before, after = (groups(baselines, [one]) for one in (plain, changed))
    assert shape(before) == shape(after)
    assert (
        [line.verdict for line in before[0].rows] == [line.verdict for line in after[0].rows] == ["worse", "", "better"]
    )


def test_what_a_published_row_describes_changes_nothing_either():
    told = row(value=0.5, num_parameters=1, hardware="A100", time="1 h", image_size=600, runs="3", note="a note")
    for one in (row(value=0.5), told):
        (group,) = groups(published(one), [own()])
        assert [(line.rank, line.verdict) for line in group.rows] == [(1, ""), (2, "better")]


def test_an_unverified_row_stands_at_its_place_without_a_rank_and_decides_nothing():
    rows = [row(id="rumour", value=0.99, status="unverified"), row(id="known", value=0.50)]
    (group,) = groups(published(*rows), [own(run_id="mine")])
    assert [(line.id, line.rank, line.status) for line in group.rows] == [
        ("rumour", None, "unverified"),
        ("mine", 1, "ours"),
        ("known", 2, "verified"),
    ]
    assert group.rows[0].verdict == "no verdict: the published value is unverified"


def test_an_open_question_about_a_row_takes_rank_and_verdict_away():
    question = Unresolved(question="Which of the two?", rows=("asked",), settled_by="The paper.")
    baselines = replace(published(row(id="asked", value=0.5)), unresolved=(question,))
    (group,) = groups(baselines, [own()])
    assert (group.rows[1].rank, group.rows[1].status) == (None, "unresolved")
    assert group.rows[1].verdict.startswith("no verdict: unresolved")
    assert "Unresolved: Which of the two?" in group.notes


def test_equal_values_share_a_rank_and_the_next_one_counts_them():
    rows = [row(id="a", value=0.9), row(id="b", value=0.9), row(id="c", value=0.8)]
    assert shape(groups(published(*rows), [])) == [[("a", 1), ("b", 1), ("c", 3)]]


def test_of_seconds_the_fewest_stand_first():
    rows = [
        row(id=name, metric="seconds_to_accuracy", value=value, threshold=0.94, accelerator="v100")
        for name, value in (("slow", 300.0), ("quick", 100.0))
    ]
    baselines = published(*rows, metrics=("seconds_to_accuracy",), timing_rule="first-epoch", accounting="all")
    (group,) = groups(baselines, [])
    assert ([line.id for line in group.rows], group.greater_is_better) == (["quick", "slow"], False)
    assert all(line.low is None for line in group.rows)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"threshold": 0.96}, "threshold"),
        ({"accelerator": "a100"}, "accelerator"),
    ],
)
def test_a_speed_stands_beside_another_only_at_one_threshold_on_one_generation_of_hardware(changed, field):
    usual = {"metric": "seconds_to_accuracy", "value": 100.0, "threshold": 0.94, "accelerator": "v100"}
    rows = [row(id="a", **usual), row(id="b", **{**usual, **changed})]
    baselines = published(*rows, metrics=("seconds_to_accuracy",), timing_rule="first-epoch", accounting="all")
    first = groups(baselines, [])[0].conditions
    found = groups(baselines, [], seen_from=first)
    assert [[difference.field for difference in group.differences] for group in found] == [[], [field]]


def test_a_run_is_ranked_in_each_metric_that_somebody_published_and_it_was_scored_by():
    scores = (score(), score("error_rate", 0.10))
    found = groups(published(row(), row(id="error", metric="error_rate", value=0.2)), [own(scores=scores)])
    assert [group.metric for group in found] == ["accuracy", "error_rate"]
    assert all(group.has_ours for group in found)
    assert len(groups(published(row()), [own(scores=scores)])) == 1  # nobody published an error rate


def test_runs_under_two_sets_of_conditions_have_two_groups_and_a_silent_row_stands_in_both():
    ensemble = own(0.92, conditions=replace(OURS, inference="ensemble"), run_id="several")
    found = groups(published(row(id="silent", inference=None, value=0.85)), [own(run_id="one"), ensemble])
    assert shape(found) == [[("one", 1), ("silent", 2)], [("several", 1), ("silent", 2)]]
    assert found[0].rows[1].not_stated == ("inference",)
    assert found[0].rows[1].verdict == "no verdict: inference not stated"


def test_published_rows_that_say_less_join_the_one_group_that_they_fit():
    rows = [row(id="says-all"), row(id="says-less", inference=None, value=0.8)]
    assert shape(groups(published(*rows), [])) == [[("says-all", 1), ("says-less", 2)]]


def test_a_published_row_that_fits_two_groups_stands_in_neither():
    rows = [row(id="one"), row(id="many", inference="ensemble"), row(id="silent", inference=None)]
    assert sorted(group.rows[0].id for group in groups(published(*rows), [])) == ["many", "one", "silent"]


def test_random_draws_are_listed_and_not_ranked():
    rows = [row(id="a", value=0.9, num_test=250), row(id="b", value=0.8, num_test=251)]
    (group,) = groups(published(*rows, test_images="random-quarter"), [])
    assert not group.ranked
    assert [line.rank for line in group.rows] == [None, None]
    assert any("rule 1" in note for note in group.notes)


def test_two_runs_on_one_draw_are_ranked_and_a_third_on_another_draw_is_not_among_them():
    drawn = replace(OURS, test_images="random-quarter")
    other = own(run_id="c", conditions=drawn, described={**DESCRIBED, "split_hash": "1" * 64})
    found = groups(None, [own(0.8, run_id="a", conditions=drawn), own(0.9, run_id="b", conditions=drawn), other])
    assert shape(found) == [[("b", 1), ("a", 2)], [("c", 1)]]
    assert len({group.key for group in found}) == 2


def test_validation_numbers_and_overlaps_are_said_of_the_whole_group():
    (group,) = groups(published(row(), selection="test-images"), [])
    assert any("rule 7" in note for note in group.notes)
    cut_out = replace(published(row(value=0.5)), overlap={"imagenet-1k": "Cut out of ImageNet."})
    (group,) = groups(cut_out, [own()])
    assert any(note.startswith("Cut out of ImageNet.") and "rule 8" in note for note in group.notes)
    assert group.rows[1].verdict == "no verdict: the test images are part of what both networks learned from (rule 8)"


def test_the_best_of_several_runs_pays_for_the_choice():
    # One run at 0.90 of 1,000 is better than 0.87 (p = 0.04). As the best of two it is not: p counts twice.
    (alone,) = groups(published(row(value=0.87)), [own(0.90)])
    (best,) = groups(published(row(value=0.87)), [own(0.90, run_id="b"), own(0.85, run_id="a")])
    assert [line.verdict for line in alone.rows if not line.ours] == ["better"]
    assert [line.verdict for line in best.rows if not line.ours] == ["not distinguishable"]
    assert any("best of 2 results" in note for note in best.notes)


def test_without_runs_and_baselines_there_is_nothing():
    assert groups(None, []) == []
    assert len(groups(None, [own()])) == 1


def test_a_group_keeps_its_key_while_rows_come_and_go():
    (before,) = groups(published(row(id="a")), [own()])
    (after,) = groups(published(row(id="a"), row(id="b")), [own(), own(run_id="second")])
    assert before.key == after.key


# The pets, as they are published.


@pytest.fixture(scope="module")
def pets():
    return groups(load_published("oxford-iiit-pet"), [])


def test_every_row_of_the_pets_stands_in_exactly_one_group(pets):
    ids = [line.id for group in pets for line in group.rows]
    assert len(ids) == len(set(ids)) == 87
    assert len({group.key for group in pets}) == len(pets)


def test_no_two_pets_of_a_group_differ_in_a_field_that_both_state(pets):
    for group in pets:
        for field in fields(Conditions):
            if field.name == "num_test" and not group.ranked:
                continue
            assert len({getattr(line.conditions, field.name) for line in group.rows} - {None}) <= 1


def test_the_two_numbers_of_2012_are_unresolved_in_two_groups(pets):
    found = {line.id: (group.key, line) for group in pets for line in group.rows}
    (automatic, one), (oracle, other) = found["parkhi2012-sa-ihb-flat"], found["parkhi2012-sa-ihb-gt-flat"]
    assert (one.value, other.value, one.status, other.status) == (0.5668, 0.5921, "unresolved", "unresolved")
    assert automatic != oracle
    assert (one.rank, other.rank) == (None, None)


@pytest.mark.parametrize("name", ["stanford-dogs", "dog-breed-identification", "imagenette", "imagewoof"])
def test_data_cut_out_of_imagenet_gives_no_verdict_to_networks_pretrained_there(name):
    baselines = load_published(name)
    assert {"imagenet-1k", "imagenet-21k"} <= baselines.overlap.keys()
    for group in groups(baselines, []):
        pretrained = (group.conditions.pretraining_group or "").startswith("imagenet")
        assert any("rule 8" in note for note in group.notes) == pretrained


def test_digit_recognizer_says_that_it_is_mnist():
    assert "mnist" in load_published("digit-recognizer").overlap


@pytest.mark.parametrize("name", ["cifar10", "imagenet-dawnbench"])
def test_the_published_speeds_are_parted_by_threshold_rule_and_hardware(name):
    found = [group for group in groups(load_published(name), []) if group.metric == "seconds_to_accuracy"]
    told = {(group.conditions.threshold, group.conditions.timing_rule, group.conditions.accelerator) for group in found}
    assert len(found) >= len(told) > 2
    assert all(None not in one for one in told)
