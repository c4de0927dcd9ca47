"""Rules of blending: each by an example small enough to compute by hand, and what choosing them is worth."""

from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.blend.diversity import diversity
from kit.blend.nested import halves_of, nested_choice
from kit.blend.rules import RULES, Way, best_thresholds, fit_mixture, greedy_weights, simplex_weights, ways_for
from kit.blend.stack import Stack, geometric, ranks_of
from kit.metrics import METRICS, score


def stack_of(*models, several=False, parts=None):
    """Of models that give the second class of two these probabilities; or (N, C) arrays as they are."""
    arrays = [np.asarray(one, dtype=np.float64) for one in models]
    stacked = np.stack([one if one.ndim == 2 else np.column_stack([1 - one, one]) for one in arrays])
    parts = np.zeros(stacked.shape[:2], dtype=np.int64) if parts is None else np.asarray(parts)
    return Stack.of(stacked, parts=parts, several=several)


def answer_of(rule, stack, truth, *, metric="log_loss", finish=""):
    return fit_mixture(Way(rule=rule, finish=finish), stack, np.asarray(truth), metric=metric).answer(stack)


def noise(*, seed, num_models=8, num_images=200, num_classes=2):
    """Answers and truth that have nothing to do with each other."""
    random = np.random.default_rng(seed)
    stacked = random.dirichlet(np.ones(num_classes), size=(num_models, num_images))
    folds = np.arange(num_images) % 5
    truth = random.integers(num_classes, size=num_images)
    return Stack.of(stacked, parts=np.tile(folds, (num_models, 1))), truth, folds


def chosen(stack, truth, folds, *, metric, rules=RULES):
    ways = ways_for(metric, rules=rules, num_classes=stack.probabilities.shape[2], several=stack.several)
    return nested_choice(stack, truth, folds=folds, halves=np.arange(len(truth)) % 2, ways=ways, metric=metric)


def test_the_mean_of_a_ninth_and_a_half_tenth():
    assert answer_of("mean", stack_of([0.9], [0.5]), [1])[0] == pytest.approx([0.3, 0.7])


def test_the_geometric_mean_of_odds_nine_and_one_has_odds_three():
    assert answer_of("geometric", stack_of([0.9], [0.5]), [1])[0] == pytest.approx([0.25, 0.75])


def test_with_several_labels_the_geometric_mean_is_one_of_odds_class_by_class():
    stacked = np.array([[[0.9, 0.2]], [[0.5, 0.8]]])
    assert geometric(stacked, np.array([0.5, 0.5]), several=True)[0] == pytest.approx([0.75, 0.5])


def test_the_geometric_mean_lets_nobody_forbid_a_class():
    assert (geometric(np.array([[[1.0, 0.0]], [[0.0, 1.0]]]), np.array([0.5, 0.5]), several=False) > 0.4).all()


def test_ranks_are_among_the_images_of_one_network():
    ranks = ranks_of(np.array([[[0.1], [0.4], [0.9], [0.8]]]), np.array([[0, 0, 1, 1]]))
    assert ranks[0, :, 0].tolist() == [0.25, 0.75, 0.75, 0.25]


def test_equal_probabilities_share_their_rank():
    assert ranks_of(np.full((1, 4, 1), 0.3), np.zeros((1, 4), dtype=int))[0, :, 0].tolist() == [0.5] * 4


def test_the_mean_rank_does_not_ask_how_sure_a_network_is():
    timid, bold = [0.501, 0.502, 0.503, 0.504], [0.9, 0.8, 0.01, 0.02]
    found = answer_of("rank", stack_of(timid, bold), [0, 0, 1, 1], metric="roc_auc")[:, 1]
    assert found == pytest.approx([0.5, 0.5, 0.375, 0.625])  # ranks 1 2 3 4 and 4 3 1 2 of four


def test_the_best_is_the_one_with_the_best_score():
    stack = stack_of([0.9, 0.9, 0.9], [0.6, 0.4, 0.6])
    assert fit_mixture(Way(rule="best"), stack, np.array([1, 0, 1]), metric="accuracy").weights == (0, 1)


def test_the_weights_have_the_least_log_loss():
    # Images 1 to 3: A gives the truth 0.8, B 0.2; image 4 the other way round. The mixture should give them 3 / 4.
    weights = simplex_weights(stack_of([0.8, 0.8, 0.8, 0.8], [0.2, 0.2, 0.2, 0.2]), np.array([1, 1, 1, 0]))
    assert 0.8 * weights[0] + 0.2 * weights[1] == pytest.approx(0.75, abs=1e-4)
    assert weights.sum() == pytest.approx(1)


def test_with_several_labels_the_weights_have_the_least_binary_log_loss():
    truth = np.array([[1.0, 1.0], [1.0, 0.0]])
    stack = stack_of(np.full((2, 2), 0.8), np.full((2, 2), 0.2), several=True)
    weights = simplex_weights(stack, truth)
    assert 0.8 * weights[0] + 0.2 * weights[1] == pytest.approx(0.75, abs=1e-4)


def test_greedy_selection_adds_who_helps_those_that_are_in():
    # A is right on 1, 2, 3; B on 3, 4, sure of 4; C on none: A and B together are right everywhere.
    a, b, c = [0.9, 0.9, 0.9, 0.4], [0.4, 0.4, 0.6, 0.9], [0.1, 0.1, 0.1, 0.1]
    assert greedy_weights(stack_of(a, b, c), np.ones(4, dtype=int), metric="accuracy").tolist() == [0.5, 0.5, 0]


def test_greedy_selection_may_add_a_network_again():
    # The mean of A and B is wrong on image 2, that of A, A and B is right on both.
    weights = greedy_weights(stack_of([0.45, 0.7], [0.7, 0.2]), np.array([1, 1]), metric="accuracy")
    assert weights == pytest.approx([2 / 3, 1 / 3])


def test_a_network_that_is_right_three_times_of_four_and_says_nine_tenths_gets_temperature_two():
    mixture = fit_mixture(
        Way(rule="mean", finish="temperature"), stack_of([0.9] * 4), np.array([1, 1, 1, 0]), metric="log_loss"
    )
    assert mixture.temperature == pytest.approx(log(9) / log(3), abs=1e-3)
    assert mixture.answer(stack_of([0.9])) == pytest.approx(np.array([[0.25, 0.75]]), abs=1e-3)


def test_a_threshold_moves_the_border_of_two_classes_to_one_half():
    stack, truth = stack_of([0.1, 0.2, 0.32, 0.4]), np.array([0, 0, 1, 1])
    mixture = fit_mixture(Way(rule="mean", finish="threshold"), stack, truth, metric="accuracy")
    assert mixture.thresholds == (0.3,)  # of 0.225 to 0.3, the nearest to 1/2
    assert score("accuracy", labels=truth, probabilities=mixture.answer(stack)) == 1
    assert mixture.answer(stack).sum(axis=1) == pytest.approx(1)


def test_with_several_labels_each_class_can_have_a_threshold_of_its_own():
    truth = np.array([[1, 0], [1, 1], [0, 1]], dtype=np.float64)
    probabilities = np.array([[0.3, 0.7], [0.35, 0.9], [0.2, 0.9]])
    found = best_thresholds(probabilities, truth, metric="mean_f1", several=True, by_class=True)
    assert 0.2 < found[0] <= 0.3
    assert 0.7 < found[1] <= 0.9
    stack = Stack.of(probabilities[None], parts=np.zeros((1, 3), dtype=int), several=True)
    assert (
        score(
            "exact_match",
            labels=truth,
            probabilities=answer_of("mean", stack, truth, metric="mean_f1", finish="thresholds"),
        )
        == 1
    )


def test_an_answer_at_the_threshold_is_given():
    stack = stack_of([[0.3, 0.3]], several=True)
    truth = np.array([[1.0, 1.0]])
    mixture = fit_mixture(Way(rule="mean", finish="threshold"), stack, truth, metric="exact_match")
    assert mixture.thresholds == (0.3, 0.3)
    assert mixture.answer(stack).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("several", [False, True])
def test_every_metric_has_ways_and_mean_ranks_only_where_just_the_order_counts(metric, several):
    ways = ways_for(metric, rules=RULES, num_classes=2, several=several)
    assert Way(rule="mean") == ways[0]
    assert any(way.rule == "rank" for way in ways) == (metric == "roc_auc")
    assert any(way.finish == "temperature" for way in ways) == (metric == "log_loss")


def test_diversity_by_hand():
    # Truth 1; errors of A on images 1, 2; of B on images 2, 3; four images.
    found = diversity(stack_of([0.1, 0.1, 0.9, 0.9], [0.9, 0.1, 0.1, 0.9]), np.ones(4, dtype=int))[0]
    assert (found.first, found.second, found.disagreement) == (0, 1, 0.5)
    assert found.errors == pytest.approx(0)  # one of each of the four cases
    assert found.q == pytest.approx(0)


def test_diversity_of_a_network_with_itself_and_of_one_without_errors():
    wrong_once, right = [0.1, 0.9, 0.9], [0.9, 0.9, 0.9]
    same = diversity(stack_of(wrong_once, wrong_once), np.ones(3, dtype=int))[0]
    assert (same.disagreement, same.errors, same.q) == (0, pytest.approx(1), 1)
    none = diversity(stack_of(wrong_once, right), np.ones(3, dtype=int))[0]
    assert (none.errors, none.q) == (None, None)


@pytest.mark.parametrize("rules", [RULES, ["greedy"]])
def test_on_noise_the_nested_estimate_is_at_chance_while_the_naive_one_is_not(rules):
    found = [chosen(*noise(seed=seed), metric="accuracy", rules=rules) for seed in range(8)]
    naive, nested = np.array([one.naive for one in found]), np.array([one.nested for one in found])
    error = 0.5 / sqrt(200 * len(found))  # of the mean of shares of 200 images at chance
    assert abs(nested.mean() - 0.5) < 3 * error
    assert naive.mean() > 0.5 + 5 * error
    assert np.mean([one.optimism for one in found]) == pytest.approx(naive.mean() - nested.mean())


def test_on_noise_a_log_loss_is_not_flattered_either():
    found = [chosen(*noise(seed=seed, num_models=6), metric="log_loss") for seed in range(4)]
    assert np.mean([one.nested for one in found]) >= log(2)  # what saying nothing costs
    assert all(one.optimism > 0 for one in found)


def test_where_nothing_is_chosen_the_naive_score_is_the_nested_one():
    found = chosen(*noise(seed=1), metric="accuracy", rules=["mean"])
    fixed = nested_choice(
        noise(seed=1)[0],
        noise(seed=1)[1],
        folds=noise(seed=1)[2],
        halves=noise(seed=1)[2],
        ways=[Way(rule="mean")],
        metric="accuracy",
    )
    assert fixed.optimism == 0
    assert found.naive >= fixed.naive  # a threshold was chosen besides


@pytest.mark.parametrize("rules", [RULES, ["weights"], ["greedy"], ["best"]])
def test_no_fold_is_answered_by_what_was_chosen_with_it(rules):
    stack, truth, folds = noise(seed=3, num_models=4, num_images=100)

    def answers_to_fold_2(truth):
        return chosen(stack, truth, folds, metric="log_loss", rules=rules).answers[folds == 2]

    before = answers_to_fold_2(truth)
    assert np.array_equal(answers_to_fold_2(np.where(folds == 2, 1 - truth, truth)), before)
    assert not np.array_equal(answers_to_fold_2(np.where(folds == 2, truth, 1 - truth)), before)


def test_with_two_folds_the_one_that_is_left_is_parted_by_halves():
    stack, truth, _ = noise(seed=4, num_images=120)
    folds = np.arange(120) % 3 // 2  # 0 0 1 0 0 1 ...
    found = chosen(stack, truth, folds, metric="log_loss")
    assert set(found.by_fold) == {0, 1}
    assert np.isfinite(found.answers).all()


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 1)), min_size=1, max_size=40))
def test_each_fold_of_two_groups_and_more_is_parted_into_halves_and_no_group_is(rows):
    groups, folds = [f"fold {fold} group {group}" for group, fold in rows], np.array([fold for _, fold in rows])
    halves = halves_of(groups, folds)
    assert len({*zip(groups, halves.tolist(), strict=True)}) == len(set(groups))
    for fold in set(folds):
        half_of = {group: half for group, half, at in zip(groups, halves, folds, strict=True) if at == fold}
        assert abs(2 * sum(half_of.values()) - len(half_of)) <= 1


def test_an_ensemble_of_networks_that_err_apart_is_better_than_each_and_the_nested_estimate_sees_it():
    random = np.random.default_rng(0)
    truth, folds = random.integers(2, size=600), np.arange(600) % 5
    sides = [np.clip(truth * 0.3 + 0.35 + random.normal(0, 0.25, 600), 0.01, 0.99) for _ in range(5)]
    stack = stack_of(*sides, parts=np.tile(folds, (5, 1)))
    found = chosen(stack, truth, folds, metric="roc_auc")
    alone = max(score("roc_auc", labels=truth, probabilities=one) for one in stack.probabilities)
    assert found.nested > alone + 0.03
    assert found.optimism < 0.01


@given(seed=st.integers(0, 1000), rule=st.sampled_from(RULES), several=st.booleans())
def test_every_rule_gives_probabilities_whatever_the_answers(seed, rule, several):
    random = np.random.default_rng(seed)
    stacked = random.integers(0, 3, size=(3, 12, 3)) / 2
    if not several:
        stacked = (stacked + 0.1) / (stacked + 0.1).sum(axis=2, keepdims=True)
    stack = Stack.of(stacked, parts=np.tile(np.arange(12) % 2, (3, 1)), several=several)
    truth = random.integers(0, 2, size=(12, 3)).astype(float) if several else random.integers(3, size=12)
    metric = "mean_f1" if several else "accuracy"
    mixture = fit_mixture(Way(rule=rule), stack, truth, metric=metric)
    found = mixture.answer(stack)
    assert ((found >= 0) & (found <= 1)).all()
    assert sum(mixture.weights) == pytest.approx(1)
    assert several or found.sum(axis=1) == pytest.approx(1)


@given(seed=st.integers(0, 1000), metric=st.sampled_from(["accuracy", "log_loss", "roc_auc"]))
def test_the_order_of_the_images_changes_nothing(seed, metric):
    stack, truth, folds = noise(seed=seed, num_models=3, num_images=60)
    order = np.random.default_rng(seed + 1).permutation(60)
    turned = Stack.of(stack.probabilities[:, order], parts=np.tile(folds[order], (3, 1)))
    way = Way(rule="weights")
    one = fit_mixture(way, stack, truth, metric=metric)
    two = fit_mixture(way, turned, truth[order], metric=metric)
    assert two.weights == pytest.approx(one.weights, abs=1e-3)
