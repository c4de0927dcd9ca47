"""Our score against a published one: what may be said, and what not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import confint_proportions_2indep

from kit.judge.paired import mcnemar
from kit.judge.published import against_published, smallest_difference, smallest_paired_difference
from kit.judge.statistics import Score, score_with_interval, wilson_interval


def share(right, images, metric="accuracy"):
    low, high = wilson_interval(right, images)
    return Score(metric=metric, value=right / images, low=low, high=high, num_images=images, interval="Wilson")


def test_the_interval_of_a_difference_of_shares_is_newcombes_example():
    # Newcombe 1998, Table II, example (a): 56/70 against 48/80, method 10.
    found = against_published(share(56, 70), value=48 / 80, num_images=80)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert (found.difference, found.verdict) == (pytest.approx(0.2), "better")


@given(ours=st.integers(1, 500), theirs=st.floats(0, 1), images=st.integers(1, 500), other=st.integers(1, 5000))
def test_the_interval_is_that_of_statsmodels(ours, theirs, images, other):
    ours = min(ours, images)
    found = against_published(share(ours, images), value=theirs, num_images=other)
    expected = confint_proportions_2indep(ours, images, theirs * other, other, method="newcomb", compare="diff")
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)


@given(ours=st.integers(0, 300), theirs=st.floats(0, 1), other=st.integers(1, 5000))
def test_the_p_value_the_interval_and_the_verdict_say_the_same(ours, theirs, other):
    found = against_published(share(ours, 300), value=theirs, num_images=other)
    apart = found.low > 0 or found.high < 0
    assert (found.p_value < 0.05) == apart == (found.verdict != "not distinguishable")
    assert found.low <= found.difference <= found.high
    assert found.words.startswith(found.verdict[0].upper() + found.verdict[1:])


def test_a_lower_error_rate_is_better_by_as_much_as_the_accuracy_is_higher():
    accuracy = against_published(share(3500, 3669), value=0.93, num_images=1478)
    error = against_published(share(169, 3669, "error_rate"), value=0.07, num_images=1478)
    assert accuracy.verdict == error.verdict == "better"
    assert (error.difference, error.low, error.high) == pytest.approx(
        (accuracy.difference, accuracy.low, accuracy.high)
    )
    assert error.p_value == pytest.approx(accuracy.p_value)


def test_one_point_on_3669_images_is_not_distinguishable_and_three_are_better_or_worse():
    ours = share(3449, 3669)  # 94.0 %
    assert against_published(ours, value=0.93, num_images=3669).verdict == "not distinguishable"
    assert against_published(ours, value=0.91, num_images=3669).verdict == "better"
    assert against_published(ours, value=0.97, num_images=3669).verdict == "worse"


def test_the_published_numbers_own_error_counts():
    ours = share(3500, 3669)  # 95.4 %
    assert against_published(ours, value=0.94, num_images=3669).verdict == "better"
    assert against_published(ours, value=0.94, num_images=300).verdict == "not distinguishable"


def test_the_same_value_has_p_one():
    found = against_published(share(90, 100), value=0.9, num_images=100)
    assert (found.difference, found.p_value, found.verdict) == (0, 1.0, "not distinguishable")


def test_without_a_number_of_images_there_is_no_verdict_but_the_plain_difference():
    found = against_published(share(90, 100), value=0.5, num_images=None)
    assert (found.verdict, found.low, found.high, found.p_value) == ("no verdict", None, None, None)
    assert found.words == (
        "No verdict: the number of images behind the published value is not known, and with it its error. "
        "The plain difference is +40.00 points."
    )


@pytest.mark.parametrize("metric", ["log_loss", "roc_auc", "quadratic_weighted_kappa", "macro_f1"])
def test_a_metric_whose_error_a_value_does_not_give_has_no_verdict(metric):
    ours = Score(metric=metric, value=0.5, low=0.45, high=0.55, num_images=1000, interval="bootstrap")
    found = against_published(ours, value=0.9, num_images=1000)
    assert found.verdict == "no verdict" and f"a published {metric} comes without its own error" in found.words


@pytest.mark.parametrize(("value", "images"), [(59.21, 3669), (-0.1, 10), (0.5, 0)])
def test_a_value_that_is_no_share_has_no_verdict(value, images):
    found = against_published(share(90, 100), value=value, num_images=images)
    assert found.verdict == "no verdict" and "is no share of images" in found.words


@pytest.mark.parametrize("value", [0.4, 0.5, 0.6])
def test_a_score_whose_interval_has_no_width_gets_no_verdict(value):
    # A network that always says the first of two classes: half right per class in every draw of a bootstrap.
    truth = np.array([0] * 60 + [1] * 40)
    ours = score_with_interval("mean_per_class_accuracy", labels=truth, probabilities=np.tile([0.9, 0.1], (100, 1)))
    assert (ours.value, ours.low, ours.high) == (0.5, 0.5, 0.5)
    found = against_published(ours, value=value, num_images=100)
    assert (found.verdict, found.p_value) == ("no verdict", None) and "our score has no interval" in found.words


def test_all_right_still_has_an_interval_and_a_verdict():
    assert against_published(share(100, 100), value=0.8, num_images=100).verdict == "better"


def test_the_mean_per_class_accuracy_takes_our_own_interval_and_says_what_theirs_assumes():
    ours = Score(
        metric="mean_per_class_accuracy", value=0.94, low=0.925, high=0.95, num_images=3669, interval="bootstrap"
    )
    found = against_published(ours, value=0.91, num_images=3669)
    their_high = wilson_interval(round(0.91 * 3669), 3669)[1] - round(0.91 * 3669) / 3669
    assert found.low == pytest.approx(0.03 - np.hypot(0.015, their_high), abs=1e-5)
    assert found.verdict == "better"
    assert "as if the classes were equally frequent" in found.words


def test_the_words_say_what_is_assumed():
    words = against_published(share(3500, 3669), value=0.93, num_images=3669).words
    assert words.startswith("Better: +2.39 points [+1.33, +3.47], p = ")
    assert "two independent samples of 3,669 and 3,669 images, which is conservative where they are the same" in words
    assert "chance in training is not included" in words


def found_share(first, second, images, *, times=4000):
    """How often two samples of so many images, with these true shares, are found to differ."""
    random = np.random.default_rng(0)
    draws = random.binomial(images, [[first, second]], size=(times, 2))
    results = {tuple(pair) for pair in draws.tolist()}
    shown = {
        (a, b): against_published(share(a, images), value=b / images, num_images=images).p_value < 0.05
        for a, b in results
    }
    return np.mean([shown[tuple(pair)] for pair in draws.tolist()])


def test_the_smallest_difference_is_found_four_times_of_five():
    difference = smallest_difference(0.94, num_images=1000)
    assert difference == pytest.approx(0.0336, abs=5e-4)
    assert found_share(0.94, 0.94 - difference, 1000) == pytest.approx(0.8, abs=0.03)
    assert found_share(0.94, 0.94 - difference / 2, 1000) < 0.5


def test_the_smallest_difference_shrinks_with_images_and_grows_where_theirs_are_fewer():
    assert smallest_difference(0.94, num_images=3669) == pytest.approx(0.0165, abs=5e-4)
    assert smallest_difference(0.94, num_images=3669, other_images=1478) > smallest_difference(0.94, num_images=3669)
    assert smallest_difference(0.06, num_images=3669) == pytest.approx(smallest_difference(0.94, num_images=3669))
    assert np.isnan(smallest_difference(0.5, num_images=4))


def test_mcnemars_test_finds_the_smallest_paired_difference_four_times_of_five():
    images, discordance = 3669, 0.04
    difference = smallest_paired_difference(discordance, num_images=images)
    assert difference < smallest_difference(0.94, num_images=images)  # the same images tell more
    won = (discordance + difference) / 2
    draws = np.random.default_rng(0).multinomial(images, [won, discordance - won, 1 - discordance], size=1500)
    found = np.mean([mcnemar(int(one), int(other)) < 0.05 for one, other, _ in draws])
    assert found == pytest.approx(0.8, abs=0.05)  # the exact test is a little more careful than its approximation


def test_where_the_two_hardly_differ_no_number_of_wins_would_be_found():
    assert np.isnan(smallest_paired_difference(0.04, num_images=50))
    assert smallest_paired_difference(0.5, num_images=50) < 0.5


@pytest.mark.parametrize(("discordance", "images"), [(0.0, 1000), (1.0, 1), (1.0, 3), (1.0, 5), (0.005, 1000)])
def test_five_images_that_differ_show_no_difference_whichever_way_they_fall(discordance, images):
    assert mcnemar(round(discordance * images), 0) >= 0.05
    assert np.isnan(smallest_paired_difference(discordance, num_images=images))
