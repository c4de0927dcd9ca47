"""The intervals hold the truth as often as they say. `python -m tests.bench.coverage` prints more, and slower."""

import pytest
from bench.coverage import SHARES, bootstrap_coverage, difference_coverage, true_values, wilson_coverage


@pytest.mark.parametrize("num_images", [1000, 3669])
@pytest.mark.parametrize("share", SHARES)
def test_wilsons_interval_holds_the_accuracy_19_times_of_20(share, num_images):
    found = wilson_coverage(share, num_images=num_images, num_draws=10_000)
    assert found.share == pytest.approx(0.95, abs=0.015), found


@pytest.mark.parametrize("share", [0.6, 0.95])
def test_the_interval_against_a_published_share_holds_the_difference_19_times_of_20(share):
    found = difference_coverage(share, share - 0.01, num_images=1000, num_draws=10_000)
    assert found.share == pytest.approx(0.95, abs=0.015), found


def test_the_bootstraps_intervals_hold_their_metrics_19_times_of_20():
    truths = true_values(2.0, num_parts=2)  # of a network that is right on 66 % of the images
    chosen = {metric: truths[metric] for metric in ("mean_per_class_accuracy", "roc_auc", "log_loss")}
    found = bootstrap_coverage(chosen, quality=2.0, num_sets=400, num_draws=600, fresh=False)
    for metric, ways in found.items():
        assert ways["BCa"].share == pytest.approx(0.95, abs=0.025), (metric, ways)
