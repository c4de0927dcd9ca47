"""Two ways of training on the same images: a difference is claimed only where images and seeds allow it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import DataError
from kit.judge.bootstrap import CHUNK_BYTES
from kit.judge.paired import compare_pairs, mcnemar
from kit.judge.predict import Predictions
from kit.metrics import METRICS

CLASSES = ("a", "b")


def predictions(right, *, ids=None, sure=0.9):
    """Of images whose truth is class a, b, a, b, ...; right is a list of true or false."""
    right = np.asarray(right, dtype=bool)
    truth = np.arange(len(right)) % 2
    answer = np.where(right, truth, 1 - truth)
    probabilities = np.where(np.arange(2) == answer[:, None], sure, 1 - sure).astype(np.float32)
    return Predictions(
        kind="out-of-fold",
        image_ids=tuple(ids or [f"{k:04d}" for k in range(len(right))]),
        classes=CLASSES,
        probabilities=probabilities,
        labels=tuple(CLASSES[k] for k in truth),
        folds=np.zeros(len(right), dtype=np.int64),
    )


def test_the_difference_is_that_of_the_scores_and_a_better_second_way_is_positive():
    first, second = predictions([True] * 6 + [False] * 4), predictions([True] * 9 + [False])
    found = compare_pairs([first], [second], metric="accuracy")
    assert (found.first, found.second) == ((0.6,), (0.9,))
    assert found.mean == pytest.approx(0.3)
    assert compare_pairs([second], [first], metric="accuracy").mean == pytest.approx(-0.3)


@pytest.mark.parametrize("metric", ["error_rate", "log_loss"])
def test_a_lower_error_is_a_positive_difference(metric):
    found = compare_pairs([predictions([True, False] * 10)], [predictions([True] * 20)], metric=metric)
    assert found.mean > 0


def test_rows_are_matched_by_image_id_not_by_place():
    names = [f"{k:04d}" for k in range(10)]
    first = predictions([True] * 8 + [False] * 2, ids=names)
    turned = Predictions(
        kind="out-of-fold",
        image_ids=first.image_ids[::-1],
        classes=CLASSES,
        probabilities=first.probabilities[::-1],
        labels=first.labels[::-1],
        folds=first.folds,
    )
    found = compare_pairs([first], [turned], metric="log_loss")
    assert (found.mean, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    assert not found.shown and found.verdict == "not distinguishable"


def test_mcnemar_asks_of_the_images_on_which_the_two_differ():
    assert mcnemar(0, 0) == 1
    assert mcnemar(5, 0) == pytest.approx(2 / 2**5)  # five times heads, or five times tails
    first, second = predictions([False] * 5 + [True] * 95), predictions([True] * 100)
    assert compare_pairs([first], [second], metric="accuracy").p_by_seed == pytest.approx((2 / 2**5,))
    assert compare_pairs([first], [second], metric="log_loss").p_by_seed == ()


@pytest.mark.parametrize("metric", METRICS)
def test_identical_predictions_have_p_one_and_no_difference_whatever_the_metric(metric):
    one = predictions([True] * 30 + [False] * 10)
    found = compare_pairs([one], [one], metric=metric, num_draws=50)
    assert (found.mean, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    assert found.verdict == "not distinguishable"


@given(won=st.integers(0, 60), lost=st.integers(0, 60))
def test_mcnemars_p_is_that_of_statsmodels(won, lost):
    from statsmodels.stats.contingency_tables import mcnemar as statsmodels_one

    expected = statsmodels_one([[100, lost], [won, 7]], exact=True).pvalue if won + lost else 1.0
    assert mcnemar(won, lost) == pytest.approx(expected)


@given(first=st.floats(0.5, 0.95), second=st.floats(0.5, 0.95), seed=st.integers(0, 100))
def test_the_p_value_and_the_interval_say_the_same(first, second, seed):
    random = np.random.default_rng(seed)
    ways = [[predictions(random.random(60) < share) for _ in range(2)] for share in (first, second)]
    found = compare_pairs(*ways, metric="accuracy", num_draws=100)
    assert (found.p_value < 0.05) == found.shown == (found.verdict != "not distinguishable")
    assert found.verdict == "not distinguishable" or found.verdict == ("better" if found.mean > 0 else "worse")


def test_all_images_alike_are_no_proof_where_they_are_few():
    few = compare_pairs([predictions([False] * 4)], [predictions([True] * 4)], metric="accuracy")
    many = compare_pairs([predictions([False] * 40)], [predictions([True] * 40)], metric="accuracy")
    assert (few.p_value, few.verdict) == (2 / 2**4, "not distinguishable")
    assert (many.mean, many.verdict) == (1, "better") and many.p_value == 2 / 2**40
    # A normal difference with that p is 7.0 standard errors from zero, and its interval 1.96 to either side.
    assert many.high - many.mean == pytest.approx(1.96 / 7.02, rel=1e-2)


def rare(right_of_rare, *, num_common=998):
    """Two images of class a, right or wrong, and many of class b, all right."""
    one = predictions([True] * (2 + num_common))
    truth = np.array([0, 0] + [1] * num_common)
    answer = np.where(np.arange(len(truth)) < 2, int(not right_of_rare), truth)
    probabilities = np.where(np.arange(2) == answer[:, None], 0.9, 0.1).astype(np.float32)
    return Predictions(**{**vars(one), "labels": tuple(CLASSES[k] for k in truth), "probabilities": probabilities})


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("num_seeds", [1, 3])
def test_a_class_of_two_images_that_changes_as_a_whole_is_two_tosses_of_a_coin(metric, num_seeds):
    found = compare_pairs([rare(False)] * num_seeds, [rare(True)] * num_seeds, metric=metric, num_draws=50)
    assert found.verdict == "not distinguishable" and not found.shown
    assert found.p_value >= 2 / 2**2 and found.low <= 0 <= found.high


@pytest.mark.parametrize(("won", "lost", "p"), [(5, 0, 0.0625), (7, 1, 0.0703125)])
@pytest.mark.parametrize("metric", ["accuracy", "error_rate", "micro_f1"])
def test_no_difference_of_shares_is_claimed_that_mcnemars_exact_test_does_not_bear_out(won, lost, p, metric):
    # Of 1,000 images, half of either class, the second way gains `won` and loses `lost`.
    first = predictions([False] * won + [True] * (1000 - won))
    second = predictions([True] * won + [False] * lost + [True] * (1000 - won - lost))
    found = compare_pairs([first], [second], metric=metric)
    assert found.p_by_seed == pytest.approx((p,)) and found.p_value == pytest.approx(p)
    assert found.verdict == "not distinguishable" and found.low == 0 < found.high
    assert "widened as an exact" in found.interval


@pytest.mark.parametrize("metric", ["mean_per_class_accuracy", "macro_f1", "log_loss"])
def test_what_mcnemar_would_not_bear_out_is_not_claimed_in_other_metrics_either(metric):
    # Seven won and one lost, of 500 in either class: p = 0.0703 if a coin decides who was right on each.
    first = predictions([False] * 7 + [True] * 993)
    second = predictions([True] * 7 + [False] + [True] * 992)
    found = compare_pairs([first], [second], metric=metric)
    assert found.p_value == pytest.approx(0.0703, abs=0.025)
    assert found.verdict == "not distinguishable" and not found.shown


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_a_rare_class_that_changes_as_a_whole_decides_no_mean_of_classes_whatever_else_changes(num_seeds):
    # Both images of class a are won, and of 998 of class b twenty are won and twenty lost: half of all tosses do that.
    ways = [rare(False), rare(True)]
    for way, changed in zip(ways, (slice(2, 22), slice(22, 42)), strict=True):
        way.probabilities[changed] = way.probabilities[changed, ::-1]
    first, second = ([way] * num_seeds for way in ways)
    found = compare_pairs(first, second, metric="mean_per_class_accuracy")
    assert found.mean == pytest.approx(0.5)
    assert found.p_value == pytest.approx(0.5, abs=0.3) and found.low <= 0


def test_the_answers_of_images_that_change_nothing_are_no_evidence():
    # Of 100 images three are won; the 50 that both get wrong with other probabilities do not count for the accuracy.
    first, second = predictions([False] * 53 + [True] * 47), predictions([False] * 53 + [True] * 47, sure=0.8)
    second.probabilities[:3] = second.probabilities[:3, ::-1]
    assert compare_pairs([first] * 2, [second] * 2, metric="accuracy").p_value >= 2 / 2**3


def test_a_difference_that_every_seed_and_image_bears_out_is_shown():
    random = np.random.default_rng(0)
    first = [predictions(random.random(400) < 0.6) for _ in range(3)]
    second = [predictions(random.random(400) < 0.9) for _ in range(3)]
    found = compare_pairs(first, second, metric="accuracy")
    assert found.shown and found.low > 0.2 and found.high < 0.4
    assert str(found).startswith(f"{100 * found.mean:+.2f} points [{100 * found.low:+.2f}, {100 * found.high:+.2f}]")


def test_seeds_that_disagree_widen_the_interval_however_many_images_there_are():
    n = 4000
    same = [predictions([True] * (n // 2) + [False] * (n // 2))] * 3
    by_seed = [predictions([True] * (n // 2 + k) + [False] * (n // 2 - k)) for k in (0, 200, 400)]
    alone = compare_pairs(same[:1], by_seed[1:2], metric="accuracy")
    together = compare_pairs(same, by_seed, metric="accuracy")
    assert alone.mean == pytest.approx(together.mean) == pytest.approx(0.05)
    assert alone.shown and "one seed" in alone.interval
    assert not together.shown and "3 seeds" in together.interval
    # Differences 0, 5 and 10 points: a standard error of 5 / sqrt(3), and Student's t of little more than two degrees.
    assert together.high - together.mean == pytest.approx(4.303 * 0.05 / 3**0.5, rel=0.05)


def test_the_interval_covers_the_truth_where_networks_differ_and_one_over_images_alone_does_not():
    random = np.random.default_rng(1)
    covered = images_alone = 0
    for _ in range(60):
        # Ways that are equally good; each network is better or worse by chance than its way is.
        ways = [
            [predictions(random.random(300) < np.clip(0.8 + random.normal(0, 0.06), 0, 1)) for _ in range(3)]
            for _ in range(2)
        ]
        found = compare_pairs(*ways, metric="accuracy", num_draws=100)
        covered += found.low <= 0 <= found.high
        first, second = (np.stack([one.probabilities.argmax(axis=1) for one in way]) for way in ways)
        right = np.arange(300) % 2
        gained = ((second == right).astype(float) - (first == right)).mean(axis=0)
        images_alone += abs(gained.mean()) <= 1.96 * gained.std() / np.sqrt(300)
    assert covered >= 54, (covered, images_alone)
    assert images_alone <= 45, (covered, images_alone)


def test_other_images_cannot_be_compared():
    with pytest.raises(DataError, match=r"2 images are in one only, first \['0001', 'x'\]"):
        compare_pairs([predictions([True, True])], [predictions([True, True], ids=["0000", "x"])], metric="accuracy")


def test_other_labels_of_the_same_images_cannot_be_compared():
    first = predictions([True, True])
    other = Predictions(**{**vars(first), "labels": ("b", "b")})
    with pytest.raises(DataError, match="the same labels in both"):
        compare_pairs([first], [other], metric="accuracy")


def test_images_without_a_label_cannot_be_compared():
    unlabelled = Predictions(**{**vars(predictions([True, True])), "labels": ("a", "")})
    with pytest.raises(DataError, match="1 of 2 predicted images have no known label"):
        compare_pairs([unlabelled], [unlabelled], metric="accuracy")


def test_long_draws_tell_how_far_they_are_and_the_numbers_are_the_same(monkeypatch):
    first, second = predictions([False] * 40 + [True] * 60), predictions([True] * 95 + [False] * 5)
    monkeypatch.setattr("kit.judge.paired.CHUNK_BYTES", CHUNK_BYTES // 2**15)  # one draw at a time, as of many images
    quiet, said = compare_pairs([first], [second], metric="roc_auc", num_draws=50), []
    monkeypatch.setattr("kit.progress.QUIET_SECONDS", 0.0)
    monkeypatch.setattr("kit.progress.LINE_SECONDS", 0.0)
    assert compare_pairs([first], [second], metric="roc_auc", num_draws=50, say=said.append) == quiet
    assert said[0].startswith("interval: 50 of 50 draws of the bootstrap")
    assert [line for line in said if line.startswith("randomisation test: 25 of 50 draws, ")]
    assert said[-1].startswith("randomisation test: 50 draws in ")
