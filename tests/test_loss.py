"""The loss: cross-entropy by hand, with soft labels, with several labels, with weights."""

from math import exp, log

import pandas as pd
import pytest
import torch

from kit.train.loss import probabilities_of, training_loss, truth_tensor, weight_tensor

CPU = torch.device("cpu")
LOGITS = torch.tensor([[log(3.0), 0.0], [0.0, log(4.0)]])  # softmax: 3/4 1/4, 1/5 4/5


def loss(truth: torch.Tensor, *, weights=None, label_smoothing=0.0, several=False) -> float:
    return float(training_loss(LOGITS, truth, weights=weights, label_smoothing=label_smoothing, several=several))


def test_classes_cost_minus_the_logarithm_of_their_probability():
    assert loss(torch.tensor([0, 1])) == pytest.approx(-(log(3 / 4) + log(4 / 5)) / 2)


def test_soft_labels_cost_each_class_by_its_target():
    expected = -(0.5 * log(3 / 4) + 0.5 * log(1 / 4) + log(4 / 5)) / 2
    assert loss(torch.tensor([[0.5, 0.5], [0.0, 1.0]])) == pytest.approx(expected)


def test_a_row_of_three_times_the_weight_counts_three_times():
    expected = -(3 * log(3 / 4) + log(4 / 5)) / 4
    assert loss(torch.tensor([0, 1]), weights=torch.tensor([3.0, 1.0])) == pytest.approx(expected)
    assert loss(torch.tensor([0, 1]), weights=torch.tensor([2.0, 2.0])) == pytest.approx(loss(torch.tensor([0, 1])))


def test_several_labels_cost_the_mean_of_a_yes_or_no_per_class():
    def yes(logit: float) -> float:
        return log(1 + exp(-logit))

    expected = (yes(log(3)) + yes(0) + yes(0) + yes(-log(4))) / 4
    assert loss(torch.tensor([[1.0, 1.0], [0.0, 0.0]]), several=True) == pytest.approx(expected)


def test_smoothing_pulls_a_target_towards_the_middle():
    smoothed = loss(torch.tensor([[1.0, 1.0], [0.0, 0.0]]), several=True, label_smoothing=0.2)
    assert smoothed == pytest.approx(loss(torch.tensor([[0.9, 0.9], [0.1, 0.1]]), several=True))


def test_probabilities_sum_to_one_unless_an_image_may_have_several_labels():
    assert probabilities_of(LOGITS, several=False)[0].tolist() == pytest.approx([0.75, 0.25])
    assert probabilities_of(LOGITS, several=True)[0].tolist() == pytest.approx([0.75, 0.5])


def test_truth_and_weights_come_from_the_table():
    table = pd.DataFrame({"image_id": ["a", "b"], "label": ["dog", "cat"]})
    assert truth_tensor(table, ("cat", "dog"), CPU).tolist() == [1, 0]
    assert weight_tensor(table, CPU) is None
    table = table.assign(target_cat=[0.25, 1.0], target_dog=[0.75, 0.0], weight=[0.5, 2.0])
    assert truth_tensor(table, ("cat", "dog"), CPU).tolist() == [[0.25, 0.75], [1.0, 0.0]]
    found = weight_tensor(table, CPU)
    assert found is not None
    assert found.tolist() == [0.5, 2.0]
