"""Claims: what a run could say about published results, before and after it was made."""

from dataclasses import replace

import pytest
from test_compare import OURS, published, row
from test_groups import own

from kit.board.baselines import Unresolved
from kit.board.claims import claim_under, claims_of, claims_of_runs, run_conditions, unresolved_words, usual_conditions
from kit.board.compare import load_published
from kit.competition import load_competition


def test_rows_are_counted_as_settled_beside_or_refused_with_the_reasons():
    rows = [
        row(id="settled"),
        row(id="silent", inference=None),
        row(id="rumour", status="unverified"),
        row(id="other", pretraining_group="none"),
        row(id="empty", value=None, status="unverified"),
    ]
    claim = claim_under(OURS, published(*rows), protocol="official")
    assert (claim.settled, claim.beside) == (("settled",), ("silent", "rumour"))
    assert claim.why_none == ("inference not stated (1)", "value unverified (1)")
    assert "could be called better, worse or not distinguishable from 1 published row, by a test" in claim.could
    assert claim.could_not == "It could claim nothing about the other 1, which differ in: pre-training (1)."


def test_where_nothing_is_settled_no_better_may_be_said():
    claim = claim_under(OURS, published(row(selection=None), selection=None), protocol="official")
    assert "It could be called better or worse than none of them." in claim.could


def test_a_metric_that_the_run_is_scored_by_as_well_is_no_difference():
    baselines = published(row(metric="error_rate"))
    assert claim_under(OURS, baselines, protocol="official").settled == ()
    assert claim_under(OURS, baselines, protocol="official", metrics={"error_rate"}).settled == ("theirs",)


def test_a_run_on_a_random_draw_is_set_beside_none():
    drawn = replace(OURS, test_images="random-quarter")
    claim = claim_under(drawn, published(row(), test_images="random-quarter"), protocol="random")
    assert (claim.settled, claim.beside) == ((), ())
    assert "a draw of its own" in claim.could


def test_the_smallest_difference_of_a_thousand_images_is_told():
    # About 2.8 standard errors of a difference at 93 %: 2.8 * sqrt(2 * 0.93 * 0.07 / 1000) = 0.032.
    assert (
        "1,000 images on either side show a difference of 3."
        in claim_under(OURS, published(row()), protocol="official").could
    )


def test_our_runs_claim_once_for_each_set_of_conditions():
    ensemble = own(conditions=replace(OURS, inference="ensemble"), run_id="c")
    claims = claims_of_runs([own(run_id="a"), own(run_id="b"), ensemble], published(row()))
    assert [claim.settled for claim in claims] == [("theirs",), ()]


def test_an_open_question_is_told_with_its_rows_their_values_and_what_would_answer_it():
    question = Unresolved(question="Which one is it?", rows=("theirs",), settled_by="Table 3 of the paper.")
    (words,) = unresolved_words(replace(published(row()), unresolved=(question,)))
    assert words.startswith("Which one is it? Rows: accuracy 0.9 ResNet-50 (2020).")
    assert words.endswith("until this is settled: Table 3 of the paper.")


# The pets: the sentence "we beat the 59 % of 2012" is refused, with reasons.


@pytest.fixture(scope="module")
def pets():
    return load_competition("pets"), load_published("oxford-iiit-pet")


def test_a_pretrained_run_of_the_pets_could_say_better_than_nobody(pets):
    claims = {(claim.protocol, claim.conditions.pretraining_group): claim for claim in claims_of(*pets)}
    pretrained = claims["official-37-transfer", "imagenet-1k"]
    assert pretrained.settled == ()
    assert {"efficientnet-b4", "gpipe"} <= set(pretrained.beside)
    assert not any(name.startswith("parkhi2012") for name in pretrained.beside)
    assert "inference not stated (12)" in pretrained.why_none
    assert "pre-training (56)" in pretrained.could_not


def test_a_run_of_the_pets_from_scratch_meets_2012_and_the_open_question(pets):
    (claim,) = [
        claim
        for claim in claims_of(*pets)
        if (claim.protocol, claim.conditions.pretraining_group) == ("official-37-transfer", "none")
    ]
    assert "parkhi2012-sa-ihb-flat" in claim.beside  # mean per class is computed as well
    assert "parkhi2012-sa-ihb-gt-flat" not in claim.beside  # was given the segmentation, as far as is known
    assert "question unresolved (1)" in claim.why_none


def test_protocols_that_differ_in_the_metric_alone_are_told_once(pets):
    assert {claim.protocol for claim in claims_of(*pets)} == {"official-37-transfer", "fastai-random20"}


def test_the_usual_run_is_pretrained_where_verified_partners_are(pets):
    assert usual_conditions(*pets).pretraining_group == "imagenet-1k"
    digits = load_competition("digits"), load_published("digits")
    assert usual_conditions(*digits).pretraining_group == "none"


def test_a_run_out_of_fold_is_selected_out_of_fold():
    conditions = run_conditions(load_competition("digits"), "five-fold", pretraining_group="none", baselines=None)
    assert (conditions.test_images, conditions.selection) == ("out-of-fold", "out-of-fold")
