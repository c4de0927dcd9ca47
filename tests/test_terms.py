"""The terms of a result: what a row or a run was obtained under, and what is only told about it."""

from dataclasses import replace

import pandas as pd
import pytest
from test_compare import OURS, published, result, row
from test_records import make_record

from kit.board.terms import (
    OwnResult,
    draw_of,
    in_short,
    overlap_of,
    own_conditions,
    own_description,
    own_results,
    published_conditions,
    published_description,
)
from kit.conditions import NO_OVERLAP, OVERLAP
from kit.record import split_hash

CUT_OUT = replace(published(row()), overlap={"imagenet-1k": "Cut out of it.", "mnist": "Its test images."})


@pytest.mark.parametrize(
    ("group", "pool", "expected"),
    [
        ("none", "official-train", NO_OVERLAP),
        ("imagenet-1k", "official-train", OVERLAP),
        ("none", "mnist", OVERLAP),
        ("imagenet-21k", "official-train", NO_OVERLAP),
        ("web-or-private", "official-train", None),
        ("mixed", "official-train", None),
        (None, "official-train", None),
    ],
)
def test_overlap_is_what_the_file_states_and_unknown_of_collections_that_nobody_can_look_into(group, pool, expected):
    assert overlap_of(CUT_OUT, pretraining_group=group, training_pool=pool) == expected


def test_a_file_that_states_no_overlap_knows_of_none():
    assert overlap_of(published(row()), pretraining_group="web-or-private", training_pool="x") == NO_OVERLAP
    assert overlap_of(None, pretraining_group=None, training_pool=None) == NO_OVERLAP


def test_a_run_of_ours_overlaps_as_a_published_one_does():
    assert own_conditions(result(), CUT_OUT).overlap == OVERLAP
    assert own_conditions(result(), CUT_OUT, metric="log_loss").metric == "log_loss"


def test_a_row_says_otherwise_than_its_protocol_where_it_states_it():
    baselines = published(row(metric_ambiguous=False, threshold=0.93), metric_ambiguous=True, threshold=0.94)
    found = published_conditions(baselines, baselines.results[0])
    assert (found.metric_definition, found.threshold) == ("as defined here", 0.93)
    found = published_conditions(baselines, row())
    assert (found.metric_definition, found.threshold) == (None, 0.94)


def test_a_published_row_describes_what_its_source_states():
    told = published_description(row(num_parameters=5, hardware="A100", time="1 h", image_size=224, runs="3 runs"))
    assert (told.num_parameters, told.hardware, told.time, told.image_size, told.seeds) == (
        5,
        "A100",
        "1 h",
        224,
        "3 runs",
    )
    assert told.split_hash is None


def test_an_old_record_describes_itself_by_recipe_and_cost():
    told = own_description(OwnResult(record=make_record(), result=result()))
    assert (told.image_size, told.hardware, told.time, told.split_hash) == (32, "CPU", "0.1 min", None)


def test_the_size_of_an_ensemble_is_told_of_the_ensemble_alone():
    record = make_record(folds={"num_folds": 5}, results=[result(kind="out-of-fold"), result(kind="fold-ensemble")])
    sizes = {one.result.kind: own_description(one).ensemble_size for one in own_results([record])}
    assert sizes == {"fold-ensemble": 5, "out-of-fold": 1}


def test_a_draw_is_its_split_and_in_old_records_its_data_and_seed():
    new = make_record(described={"split_hash": "abc"})
    old = make_record(data={"fingerprint": "f"}, recipe={"seed": 3})
    assert [draw_of(OwnResult(record=one, result=result())) for one in (new, old)] == ["abc", "f-3"]


def test_a_split_is_who_stands_on_which_side_whatever_the_order():
    train, test = pd.DataFrame({"image_id": ["a", "b"]}), pd.DataFrame({"image_id": ["c"]})
    assert split_hash(train, test) == split_hash(train.iloc[::-1], test)
    assert split_hash(train, test) != split_hash(test, train)
    assert split_hash(train, test) != split_hash(train, test.iloc[:0])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "accuracy on official-test (1,000 images); trained end to end, imagenet-1k; on official-train"),
        ({"pretraining_group": "none"}, "trained from scratch, no pre-training"),
        ({"pretraining_group": None, "adaptation": None}, "adaptation not stated, pre-training not stated"),
        ({"adaptation": "zero-shot", "extra_inputs": "web-text"}, "given web-text"),
        ({"inference": "ensemble", "selection": "test-images"}, "ensemble; recipe chosen on the test images"),
        ({"test_images": "official-test (part: 6 of 10)"}, "official-test (part: 6 of 10); trained"),
        ({"metric": "seconds_to_accuracy", "threshold": 0.94, "accelerator": "v100"}, "to 94%; v100"),
    ],
)
def test_conditions_in_short(changes, expected):
    assert expected in in_short(replace(OURS, **changes))
