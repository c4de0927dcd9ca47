"""The loss by hand: cross-entropy, binary, focal; soft labels, several labels; what counts more; probabilities."""

from math import log

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kit.config import LossConfig
from kit.train.loss import Objective, activation_of, epoch_order, probabilities_of

CPU = torch.device("cpu")
LOGITS = torch.tensor([[log(3.0), 0.0], [0.0, log(4.0)]])  # softmax: 3/4 1/4, 1/5 4/5; sigmoid: 3/4 1/2, 1/2 4/5
KINDS = ["cross-entropy", "binary", "focal"]


def table(labels="ab", **columns):
    return pd.DataFrame({"image_id": [str(k) for k in range(len(labels))], "label": list(labels), **columns})


def objective(train=None, *, several=False, classes="ab", **options):
    config = LossConfig(**{"label_smoothing": 0.0, **options})
    train = table() if train is None else train
    return Objective.of(config, several=several, train=train, classes=tuple(classes), device=CPU)


def losses(targets, *, several=False, logits=LOGITS, **options):
    return objective(several=several, **options).losses(logits, torch.tensor(targets)).tolist()


# What an image costs.


def test_classes_cost_minus_the_logarithm_of_their_probability():
    assert losses([0, 1]) == pytest.approx([-log(3 / 4), -log(4 / 5)])


def test_soft_labels_cost_each_class_by_its_target():
    assert losses([[0.5, 0.5], [0.0, 1.0]]) == pytest.approx([-(log(3 / 4) + log(1 / 4)) / 2, -log(4 / 5)])


def test_smoothing_spreads_its_share_over_all_classes():
    assert losses([0, 1], label_smoothing=0.2) == pytest.approx(losses([[0.9, 0.1], [0.1, 0.9]]))


@pytest.mark.parametrize("kind", KINDS)
def test_several_labels_cost_the_mean_of_a_yes_or_no_per_class(kind):
    expected = [-(log(3 / 4) + log(1 / 2)) / 2, -(log(1 / 2) + log(1 / 5)) / 2]
    found = losses([[1.0, 1.0], [0.0, 0.0]], several=True, kind=kind, focal_gamma=0.0)
    assert found == pytest.approx(expected)


def test_smoothing_pulls_each_of_several_labels_towards_the_middle():
    smoothed = losses([[1.0, 1.0], [0.0, 0.0]], several=True, label_smoothing=0.2)
    assert smoothed == pytest.approx(losses([[0.9, 0.9], [0.1, 0.1]], several=True))


def test_binary_asks_each_class_alone_whether_the_image_is_of_it():
    assert losses([0, 1], kind="binary") == pytest.approx(
        [-(log(3 / 4) + log(1 / 2)) / 2, -(log(1 / 2) + log(4 / 5)) / 2]
    )


def test_binary_smooths_as_cross_entropy_does():
    smoothed = losses([0, 1], kind="binary", label_smoothing=0.2)
    assert smoothed == pytest.approx(losses([[0.9, 0.1], [0.1, 0.9]], kind="binary"))


def test_focal_counts_well_predicted_images_less():
    found = losses([0, 1], kind="focal", focal_gamma=2.0)
    assert found == pytest.approx([-((1 / 4) ** 2) * log(3 / 4), -((1 / 5) ** 2) * log(4 / 5)])


def test_focal_with_several_labels_counts_well_predicted_answers_less():
    found = losses([[1.0, 0.0], [0.0, 1.0]], several=True, kind="focal", focal_gamma=2.0)
    first = -((1 / 4) ** 2 * log(3 / 4) + (1 / 2) ** 2 * log(1 / 2)) / 2
    second = -((1 / 2) ** 2 * log(1 / 2) + (1 / 5) ** 2 * log(4 / 5)) / 2
    assert found == pytest.approx([first, second])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_without_gamma_is_cross_entropy(smoothing):
    assert losses([0, 1], kind="focal", focal_gamma=0.0, label_smoothing=smoothing) == pytest.approx(
        losses([0, 1], label_smoothing=smoothing), abs=1e-5
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("several", [False, True])
def test_certain_predictions_have_finite_losses_and_gradients(gamma, several):
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0], [0.0, 0.0]], requires_grad=True)
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    found = objective(several=several, kind="focal", focal_gamma=gamma).losses(logits, targets)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(logits.grad).all()


@given(shift=st.integers(0, 2), kind=st.sampled_from(KINDS), several=st.booleans(), smoothing=st.floats(0, 0.9))
def test_an_images_loss_does_not_depend_on_the_other_images(shift, kind, several, smoothing):
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(shift))
    targets = torch.eye(4)[[0, 3, 1]]
    made = objective(several=several, classes="abcd", kind=kind, label_smoothing=smoothing)
    whole = made.losses(logits, targets)
    alone = torch.cat([made.losses(logits[k : k + 1], targets[k : k + 1]) for k in range(3)])
    torch.testing.assert_close(whole, alone)
    assert (whole >= 0).all()


def test_losses_are_float32_even_of_half_precision_logits():
    made = objective(kind="focal")
    assert made.losses(LOGITS.bfloat16(), torch.tensor([0, 1])).dtype == torch.float32


# Targets and weights.


def test_targets_come_from_the_table():
    assert objective(table("ba")).targets.tolist() == [1, 0]
    soft = objective(table("ba", target_a=[0.25, 1.0], target_b=[0.75, 0.0]))
    assert soft.targets.tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert soft.targets.dtype == torch.float32


def test_without_weights_all_images_count_the_same():
    assert objective().weights is None


def test_weights_of_rows_keep_their_ratios_and_have_the_mean_1():
    assert objective(table(weight=[1.0, 3.0])).weights.tolist() == pytest.approx([0.5, 1.5])


def test_class_weights_give_each_class_the_same_sum():
    weights = objective(table("aaab"), balance="class-weights").weights
    assert weights.tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2.0])


def test_class_weights_and_weights_of_rows_are_multiplied_and_the_classes_still_have_the_same_sum():
    weights = objective(table("aab", weight=[1.0, 3.0, 1.0]), balance="class-weights").weights
    assert float(weights[:2].sum()) == pytest.approx(float(weights[2]))
    assert float(weights[1] / weights[0]) == pytest.approx(3)
    assert float(weights.mean()) == pytest.approx(1)


def test_a_soft_label_weighs_as_its_classes_do_on_average():
    train = table("aab", target_a=[1.0, 0.5, 0.0], target_b=[0.0, 0.5, 1.0])
    assert objective(train, balance="class-weights").weights.tolist() == pytest.approx([1, 1, 1])


def test_an_image_of_several_labels_weighs_as_its_rarest_and_no_label_is_a_class_of_its_own():
    train = table("aaaa", target_a=[1.0, 1.0, 1.0, 0.0], target_b=[0.0, 0.0, 1.0, 0.0])  # a a ab -
    weights = objective(train, several=True, balance="class-weights").weights
    assert weights.tolist() == pytest.approx([1 / 2, 1 / 2, 3 / 2, 3 / 2])


def test_a_class_without_training_images_disturbs_nothing():
    for train in (table("aab"), table("aab", target_a=[1.0, 1.0, 0.0], target_b=[0.0, 0.0, 1.0], target_c=[0.0] * 3)):
        weights = objective(train, classes="abc", balance="class-weights").weights
        assert weights.tolist() == pytest.approx([0.75, 0.75, 1.5])


# The order.


def test_unbalanced_an_epoch_takes_each_row_once_in_the_order_of_its_seed_and_number():
    found = epoch_order(objective(table("a" * 50)), num_rows=50, seed=3, epoch=2)
    assert found.tolist() == np.random.default_rng((3, 2)).permutation(50).tolist()
    assert found.dtype == np.int64


def test_balanced_sampling_draws_each_class_equally_often():
    made = objective(table("a" * 900 + "b" * 100), balance="sampling")
    assert made.weights is None
    order = epoch_order(made, num_rows=1000, seed=1, epoch=1)
    assert len(order) == 1000
    assert 440 < int((order >= 900).sum()) < 560  # 100 rows of 1000 are of class b


def test_balanced_sampling_is_a_pure_function_of_seed_and_epoch():
    made = objective(table("a" * 9 + "b"), balance="sampling")
    first, again, next_epoch = (epoch_order(made, num_rows=10, seed=1, epoch=e) for e in (1, 1, 2))
    assert first.tolist() == again.tolist() != next_epoch.tolist()


def test_sampling_leaves_the_weights_of_rows_in_the_loss_and_draws_by_class_alone():
    made = objective(table("aab", weight=[1.0, 3.0, 1.0]), balance="sampling")
    assert made.weights.tolist() == pytest.approx([0.6, 1.8, 0.6])
    assert made.shares.tolist() == pytest.approx([1 / 4, 1 / 4, 1 / 2])


# What is logged.


def test_the_log_says_what_was_balanced_and_how():
    assert objective(label_smoothing=0.1).notes == ()
    balanced = objective(table("aaab"), balance="class-weights", kind="focal").notes
    assert balanced[0] == "loss.balance: class weights, an image counts from 0.667 to 2 times the mean"
    both = objective(table("aaab", weight=[1.0, 2.0, 1.0, 1.0]), balance="sampling").notes
    assert both[0] == "loss.balance: sampling, an image is drawn 0.667 to 2 times an epoch on average"
    assert both[1] == "the table's weights of rows are in the loss, beside loss.balance"


# Probabilities.


def test_probabilities_are_those_that_the_loss_was_about():
    assert probabilities_of(LOGITS, activation="softmax")[0].tolist() == pytest.approx([0.75, 0.25])
    assert probabilities_of(LOGITS, activation="sigmoid")[0].tolist() == pytest.approx([0.75, 0.5])
    assert probabilities_of(LOGITS, activation="sigmoid-normalised")[0].tolist() == pytest.approx([0.6, 0.4])


def test_rows_sum_to_1_even_where_no_class_is_likely():
    found = probabilities_of(torch.full((2, 3), -500.0), activation="sigmoid-normalised")
    assert found.sum(dim=1).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("kind", "several", "activation"),
    [
        ("cross-entropy", False, "softmax"),
        ("focal", False, "softmax"),
        ("binary", False, "sigmoid-normalised"),
        *((kind, True, "sigmoid") for kind in KINDS),
    ],
)
def test_each_loss_has_its_activation(kind, several, activation):
    assert activation_of(LossConfig(kind=kind), several=several) == activation
    assert objective(kind=kind, several=several).activation == activation


@pytest.mark.parametrize("kind", KINDS)
def test_the_activation_gives_back_the_distribution_that_minimises_the_loss(kind):
    """Of a loss without a focus: descend to the minimum of one soft label and look at the probabilities."""
    made = objective(kind=kind, focal_gamma=0.0)
    logits = torch.zeros(1, 2, requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=4.0)
    for _ in range(200):
        optimizer.zero_grad()
        made.losses(logits, torch.tensor([[0.8, 0.2]])).sum().backward()
        optimizer.step()
    assert probabilities_of(logits.detach(), activation=made.activation)[0].tolist() == pytest.approx(
        [0.8, 0.2], abs=1e-3
    )
