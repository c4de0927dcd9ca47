"""Who stands beside whom: one changed field refuses by that field's name; verdicts by hand-computed numbers."""

from dataclasses import replace
from math import sqrt

import pytest

from kit.board.baselines import Baselines, PublishedProtocol, PublishedResult, Source, Unresolved
from kit.board.compare import compare, load_published, reasons
from kit.board.records import Result
from kit.board.terms import published_conditions, results_of
from kit.conditions import Conditions
from kit.judge.statistics import Score

OURS = Conditions(
    test_images="official-test",
    num_test=1000,
    metric="accuracy",
    training_pool="official-train",
    pretraining_group="imagenet-1k",
    adaptation="trained",
    extra_inputs="none",
    inference="single",
    selection="held-out",
)
OTHER = {
    "test_images": "official-test-cats",
    "num_test": 999,
    "training_pool": "official-trainval",
    "pretraining_group": "imagenet-21k",
    "adaptation": "linear-probe",
    "extra_inputs": "ground-truth-segmentation",
    "inference": "ensemble",
    "selection": "test-images",
}


def score(metric="accuracy", value=0.90, num_images=1000):
    return Score(metric=metric, value=value, low=value - 0.02, high=value + 0.02, num_images=num_images, interval="")


def result(*scores, conditions=OURS, kind="test"):
    scores = scores or (score(),)
    return Result(
        kind=kind,
        protocol="official",
        conditions=conditions,
        scores={one.metric: one for one in scores},
        confused=[],
    )


def row(**changes):
    return PublishedResult(
        **{
            "id": "theirs",
            "method": "ResNet-50",
            "year": 2020,
            "protocol": "official",
            "metric": "accuracy",
            "value": 0.90,
            "num_test": None,
            "num_parameters": None,
            "pretraining": None,
            "pretraining_group": "imagenet-1k",
            "hardware": None,
            "time": None,
            "inference": "single",
            "source": Source(authors=None, title="Paper", venue="Journal", year=2020, url=None),
            "status": "verified",
            "provenance": "Table 1.",
            **changes,
        }
    )


def published(*rows, **protocol):
    shared = PublishedProtocol(
        **{
            "description": "",
            "training_pool": "official-train",
            "train": "",
            "test_images": "official-test",
            "test": "",
            "num_test": 1000,
            "metrics": ("accuracy", "error_rate", "log_loss", "top5_accuracy"),
            "adaptation": "trained",
            "extra_inputs": "none",
            "selection": "held-out",
            **protocol,
        }
    )
    return Baselines(dataset_id="small", name="Small", protocols={"official": shared}, results=rows, comparability=())


def only(found):
    (one,) = found
    return one


def refused_fields(compared):
    return {difference.field for difference in compared.agreement.differences}


def test_the_same_conditions_stand_beside_each_other():
    found = only(compare(result(), published(row())))
    assert found.theirs == OURS
    assert found.agreement.settled
    assert found.ours == score()
    assert found.verdict == "not distinguishable"


@pytest.mark.parametrize("field", OTHER)
def test_one_other_field_of_ours_refuses_a_published_row_by_that_field(field):
    found = only(compare(result(conditions=replace(OURS, **{field: OTHER[field]})), published(row())))
    assert refused_fields(found) == {field}
    assert found.verdict == "not comparable"


def test_another_metric_is_refused_where_we_did_not_compute_it():
    found = only(compare(result(), published(row(metric="top5_accuracy", value=0.99))))
    assert refused_fields(found) == {"metric"}
    assert found.ours is None


def test_a_row_in_a_metric_that_we_computed_too_is_compared_in_that_metric():
    ours = result(score(), score("error_rate", 0.10))
    found = only(compare(ours, published(row(metric="error_rate", value=0.30))))
    assert found.agreement.settled
    assert found.ours.metric == "error_rate"
    assert found.verdict == "better"  # lower is better


def test_no_verdict_across_what_is_not_stated():
    found = only(compare(result(), published(row(inference=None), selection=None)))
    assert found.agreement.comparable
    assert found.verdict == "no verdict: inference, selection not stated"


def test_no_verdict_on_an_unverified_value():
    found = only(compare(result(), published(row(value=0.50, status="unverified"))))
    assert found.verdict == "no verdict: the published value is unverified"


def test_no_verdict_on_a_published_score_without_its_own_error():
    ours = result(score(), score("log_loss", 0.10))
    found = only(compare(ours, published(row(metric="log_loss", value=0.90))))
    assert found.verdict == "no verdict: the published score comes without its own error"


# Ours: 0.90 of 1,000. Each variance is p (1 - p) / 1000; 1.96 standard errors of the difference:
# against 0.93: 1.96 sqrt(0.00009 + 0.0000651) = 0.0244 < 0.030; against 0.92: 1.96 sqrt(0.00009 + 0.0000736) = 0.0251.
@pytest.mark.parametrize(
    ("theirs", "verdict"),
    [
        (0.93, "worse"),
        (0.92, "not distinguishable"),
        (0.90, "not distinguishable"),
        (0.87, "better"),
        (0.88, "not distinguishable"),
    ],
)
def test_a_verdict_needs_a_difference_beyond_both_sampling_errors(theirs, verdict):
    assert 1.96 * sqrt(0.00009 + 0.93 * 0.07 / 1000) == pytest.approx(0.0244, abs=1e-4)
    assert only(compare(result(), published(row(value=theirs)))).verdict == verdict


def test_a_row_of_its_own_number_of_test_images_overrides_its_protocol():
    baselines = published(row(num_test=999))
    assert published_conditions(baselines, baselines.results[0]).num_test == 999
    assert refused_fields(only(compare(result(), baselines))) == {"num_test"}


def test_a_row_without_a_value_is_not_compared():
    assert compare(result(), published(row(value=None, status="unverified"))) == []


def test_a_partial_source_is_another_protocol():
    partial = replace(
        OURS,
        test_images="official-test (subset: 400 of 1,000)",
        num_test=400,
        training_pool="official-train (subset: 700 images)",
    )
    found = only(compare(result(conditions=partial), published(row())))
    assert refused_fields(found) == {"test_images", "num_test", "training_pool"}


def test_two_random_draws_are_two_sets_of_images():
    drawn = replace(OURS, test_images="random-quarter", training_pool="random-rest")
    baselines = published(row(), test_images="random-quarter", training_pool="random-rest")
    found = only(compare(result(conditions=drawn), baselines))
    (difference,) = found.agreement.differences
    assert (difference.field, difference.rule) == ("test_images", 1)
    assert str(difference) == "test_images: ours a random draw, theirs another random draw"


def test_comparable_rows_come_first_and_the_best_of_them_at_the_top():
    rows = [
        row(id="far", value=0.99, pretraining_group="none", inference="ensemble"),
        row(id="near", value=0.98, pretraining_group="none"),
        row(id="lower", value=0.80),
        row(id="higher", value=0.95),
    ]
    found = compare(result(), published(*rows))
    assert [one.published.id for one in found] == ["higher", "lower", "near", "far"]
    assert [(why, [one.published.id for one in group]) for why, group in reasons(found)] == [
        ("pretraining_group: ours imagenet-1k, theirs none", ["near"]),
        ("pretraining_group: ours imagenet-1k, theirs none; inference: ours single, theirs ensemble", ["far"]),
    ]


def test_of_errors_the_lowest_stands_at_the_top():
    ours = result(score("error_rate", 0.1), conditions=replace(OURS, metric="error_rate"))
    rows = [row(id="high", metric="error_rate", value=0.2), row(id="low", metric="error_rate", value=0.1)]
    assert [one.published.id for one in compare(ours, published(*rows))] == ["low", "high"]


def test_results_of_the_test_list_stand_before_those_out_of_fold():
    class Record:
        results = (result(kind="out-of-fold"), result(kind="fold-ensemble"), result(kind="test"))

    assert [one.kind for one in results_of(Record)] == ["test", "fold-ensemble", "out-of-fold"]


def test_a_data_set_without_published_results_has_none():
    assert load_published("no-such-data-set") is None


# The pets, as they are published.

PETS_OURS = replace(OURS, num_test=3669, training_pool="official-trainval")
PETS_SCORES = (score(value=0.93, num_images=3669), score("mean_per_class_accuracy", 0.93, 3669))


@pytest.fixture(scope="module")
def pets():
    return load_published("oxford-iiit-pet")


def parkhi(found):
    rows = [one for one in found if one.published.id.startswith("parkhi2012-")]
    assert len(rows) == 25
    return rows


def test_a_subset_of_the_pets_is_refused_beside_every_row_of_2012(pets):
    partial = replace(
        PETS_OURS,
        test_images="official-test (subset: 1,341 of 3,669)",
        num_test=1341,
        training_pool="official-trainval (subset: 1,589 images)",
    )
    for one in parkhi(compare(result(*PETS_SCORES, conditions=partial), pets)):
        assert {"test_images", "num_test", "training_pool"} <= refused_fields(one)


def test_a_random_fifth_of_the_pets_is_refused_beside_every_row_of_2012(pets):
    drawn = replace(
        PETS_OURS,
        test_images="random-20-percent-of-all-images",
        num_test=1478,
        training_pool="random-80-percent-of-all-images",
    )
    for one in parkhi(compare(result(*PETS_SCORES, conditions=drawn), pets)):
        assert {"test_images", "num_test", "training_pool"} <= refused_fields(one)


def test_a_random_fifth_of_the_pets_is_refused_beside_other_random_fifths(pets):
    drawn = replace(
        PETS_OURS,
        test_images="random-20-percent-of-all-images",
        num_test=1478,
        training_pool="random-80-percent-of-all-images",
    )
    rows = [
        one
        for one in compare(result(*PETS_SCORES, conditions=drawn), pets)
        if one.published.protocol == "fastai-random20"
    ]
    assert len(rows) == 14
    assert all("test_images" in refused_fields(one) for one in rows)


def test_the_whole_pets_from_imagenet_1k_stand_beside_published_fine_tuned_rows(pets):
    found = compare(result(*PETS_SCORES, conditions=PETS_OURS), pets)
    beside = {one.published.id for one in found if one.agreement.comparable}
    assert {"resnet152-kornblith", "efficientnet-b4", "vtab2019-sup-full"} <= beside
    assert not any(one.published.id in beside for one in parkhi(found))  # trained from nothing
    assert "bit-m-r152x4" not in beside  # pretrained on ImageNet-21k
    assert "align" not in beside


# Rules 8 and 9, questions, and several comparisons at once.


def test_no_verdict_where_the_test_images_were_in_the_pretraining():
    baselines = replace(published(row(value=0.5)), overlap={"imagenet-1k": "The data set is cut out of ImageNet."})
    found = only(compare(result(), baselines))
    assert found.agreement.settled
    assert found.verdict == "no verdict: the test images are part of what both networks learned from (rule 8)"


def test_no_verdict_on_a_row_about_which_a_question_is_open():
    question = Unresolved(question="What was it given?", rows=("theirs",), settled_by="The paper.")
    found = only(compare(result(), replace(published(row(value=0.5)), unresolved=(question,))))
    assert found.verdict == "no verdict: unresolved, see the open question about this row"


def test_a_verdict_tells_the_difference_its_interval_and_what_was_assumed():
    found = only(compare(result(), published(row(value=0.80))))
    assert found.verdict == "better"
    assert found.test.difference == pytest.approx(0.10)
    assert found.test.low < 0.10 < found.test.high
    assert "two independent samples of 1,000 and 1,000 images" in found.words


def test_of_many_comparisons_a_narrow_one_no_longer_says_better():
    # 0.90 against 0.87 of 1,000 each: p = 0.04. Among three comparisons Holm asks 0.05 / 3 of the smallest p, 0.05 / 2
    # of the next one.
    near, far = row(id="near", value=0.87), row(id="far", value=0.70)
    assert only(compare(result(), published(near))).verdict == "better"
    verdicts = {one.published.id: one for one in compare(result(), published(near, far, row(id="same", value=0.90)))}
    assert {name: one.verdict for name, one in verdicts.items()} == {
        "near": "not distinguishable",
        "far": "better",
        "same": "not distinguishable",
    }
    assert "Holm over 3 comparisons" in verdicts["near"].words
    assert verdicts["near"].words.endswith("hence not distinguishable.")


def test_rows_that_are_not_tested_do_not_count_among_the_comparisons():
    rows = [row(id="near", value=0.87), row(id="rumour", value=0.5, status="unverified"), row(id="x", inference=None)]
    verdicts = {one.published.id: one.verdict for one in compare(result(), published(*rows))}
    assert verdicts["near"] == "better"


def test_the_best_of_ten_runs_is_not_better_by_a_narrow_difference():
    assert only(compare(result(), published(row(value=0.87)), chosen_of=10)).verdict == "not distinguishable"
    assert only(compare(result(), published(row(value=0.70)), chosen_of=10)).verdict == "better"
