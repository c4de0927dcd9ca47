"""Over seeds, over folds, and several comparisons: textbook numbers and who may claim what."""

import numpy as np
import pytest

from kit.errors import DataError
from kit.judge.repeats import compare_folds, holm, over_folds, over_seeds


def test_the_interval_over_three_seeds_is_students_with_two_degrees_of_freedom():
    found = over_seeds([0.90, 0.92, 0.94])
    assert (found.mean, found.deviation) == pytest.approx((0.92, 0.02))
    assert found.high - found.mean == pytest.approx(4.3027 * 0.02 / 3**0.5, rel=1e-4)
    assert str(found) == "0.9200 [0.8703, 0.9697] over 3 seeds (s = 0.0200), on these images"


def test_one_seed_has_no_spread():
    with pytest.raises(DataError, match=r"at least two, and there are 1\. Train with more seeds"):
        over_seeds([0.9])


def test_equal_seeds_have_no_interval():
    found = over_seeds([0.1 + 0.2, 0.3, 0.3])
    assert (found.low, found.high) == (None, None)
    assert str(found) == "0.3000 over 3 seeds on these images, all equal, which gives no interval"


def test_the_spread_of_folds_is_called_descriptive():
    assert str(over_folds([0.90, 0.92, 0.94])) == (
        "0.9200, folds from 0.9000 to 0.9400 (s = 0.0200; descriptive, folds are not independent)"
    )


FIRST = [0.90, 0.91, 0.92, 0.90, 0.92]
SECOND = [0.92, 0.92, 0.95, 0.92, 0.94]  # better by 2, 1, 3, 2, 2 points


def test_the_test_over_folds_adds_the_share_held_out_to_the_variance():
    found = compare_folds(FIRST, SECOND, greater_is_better=True, num_folds=5)
    # s^2 = 0.5 points squared; the variance of the mean 0.5 (1/5 + 1/4); t of four degrees of freedom.
    error = (0.5 * (1 / 5 + 1 / 4)) ** 0.5
    assert found.mean == pytest.approx(0.02)
    assert found.high - found.mean == pytest.approx(2.7764 * error / 100, rel=1e-4)
    from scipy.stats import t

    assert found.p_value == pytest.approx(2 * t.sf(2 / error, 4))
    assert found.verdict == "better"
    assert compare_folds(SECOND, FIRST, greater_is_better=True, num_folds=5).verdict == "worse"
    assert compare_folds(FIRST, SECOND, greater_is_better=False, num_folds=5).verdict == "worse"


def test_few_folds_of_many_hold_out_less():
    all_of_three = compare_folds(FIRST[:3], SECOND[:3], greater_is_better=True, num_folds=3)
    three_of_ten = compare_folds(FIRST[:3], SECOND[:3], greater_is_better=True, num_folds=10)
    assert three_of_ten.high < all_of_three.high


def test_the_same_folds_twice_do_not_differ():
    found = compare_folds(FIRST, FIRST, greater_is_better=True, num_folds=5)
    assert (found.mean, found.low, found.high, found.p_value, found.verdict) == (0, 0, 0, 1, "not distinguishable")


@pytest.mark.parametrize(("num_folds", "p", "verdict"), [(2, 0.5, "not distinguishable"), (6, 0.03125, "better")])
def test_equal_differences_in_all_folds_are_tosses_of_a_coin_that_fell_alike(num_folds, p, verdict):
    first = [0.9, 0.8, 0.7, 0.85, 0.75, 0.6][:num_folds]
    found = compare_folds(first, [one + 0.05 for one in first], greater_is_better=True, num_folds=6)
    assert (found.p_value, found.verdict) == (p, verdict)
    assert (found.low <= 0) == (verdict == "not distinguishable") and found.high >= found.mean + 0.04


def test_other_numbers_of_folds_cannot_be_compared():
    with pytest.raises(DataError, match="5 and 4 scores of 5 folds"):
        compare_folds(FIRST, SECOND[:4], greater_is_better=True, num_folds=5)
    with pytest.raises(DataError, match="5 and 5 scores of 3 folds"):
        compare_folds(FIRST, SECOND, greater_is_better=True, num_folds=3)


def test_the_corrected_test_claims_rarely_where_nothing_differs_and_the_plain_one_often():
    from scipy.stats import ttest_rel

    random, corrected, plain = np.random.default_rng(0), 0, 0
    for _ in range(300):
        # Nothing differs. Folds share training images: their differences have a correlation of 1/5.
        shared = random.normal()
        first = np.zeros(5)
        second = np.sqrt(0.2) * shared + np.sqrt(0.8) * random.normal(size=5)
        corrected += compare_folds(first, second, greater_is_better=True, num_folds=5).p_value < 0.05
        plain += ttest_rel(first, second).pvalue < 0.05
    assert corrected / 300 <= 0.07 < 0.1 <= plain / 300


def test_holm_multiplies_the_smallest_p_by_the_number_of_comparisons_the_next_by_one_less():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.5, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
