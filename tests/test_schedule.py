"""One cycle and the spread of rates over depth: pure functions with known values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.train.schedule import one_cycle, spread_lr


def test_the_cycle_begins_at_a_25th_peaks_after_a_quarter_and_ends_at_a_hundred_thousandth():
    rates = [one_cycle(step, 101, peak_lr=1.0).lr for step in range(101)]
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[25] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(1e-5)
    assert rates[:26] == sorted(rates[:26])
    assert rates[25:] == sorted(rates[25:], reverse=True)


def test_half_way_up_is_the_mean_of_start_and_peak():
    point = one_cycle(10, 81, peak_lr=1.0, warmup_share=0.25)
    assert point.lr == pytest.approx((1 / 25 + 1) / 2)
    assert point.momentum == pytest.approx((0.95 + 0.85) / 2)


def test_momentum_moves_against_the_rate():
    momenta = [one_cycle(step, 101, peak_lr=1.0).momentum for step in (0, 25, 100)]
    assert momenta == pytest.approx([0.95, 0.85, 0.95])


def test_without_warmup_the_first_step_has_the_peak():
    assert one_cycle(0, 10, peak_lr=0.5, warmup_share=0.0).lr == pytest.approx(0.5)


@given(
    total=st.integers(1, 500),
    share=st.floats(0, 0.9),
    peak=st.floats(1e-6, 10),
    where=st.floats(0, 1, exclude_max=True),
)
def test_rate_and_momentum_stay_in_their_ranges(total, share, peak, where):
    point = one_cycle(int(where * total), total, peak_lr=peak, warmup_share=share)
    assert peak / 1e5 * 0.999 <= point.lr <= peak * 1.001
    assert 0.85 - 1e-9 <= point.momentum <= 0.95 + 1e-9


def test_three_groups_spread_by_a_hundred_are_a_tenth_apart():
    assert spread_lr(1e-3, spread=100, num_groups=3) == pytest.approx([1e-5, 1e-4, 1e-3])


def test_one_group_has_the_peak_and_no_spread_is_the_peak_everywhere():
    assert spread_lr(1e-3, spread=100, num_groups=1) == [1e-3]
    assert spread_lr(1e-3, spread=1, num_groups=4) == pytest.approx([1e-3] * 4)
