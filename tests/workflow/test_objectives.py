"""The loss over several targets with missing values, and the figures that are watched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from crystalcodec.workflow.config import TrainingConfig
from crystalcodec.workflow.objectives import TargetObjective
from crystalcodec.workflow.samples import Samples
from crystalcodec.workflow.targets import Target, TargetTransform

NAN = np.nan
ENERGY = Target("energy", "eV", weight=2.0, deviation=4.0)
METAL = Target("metal", kind="class", weight=1.0, deviation=0.5)
GAP = Target("gap", "eV", zero="classifier", weight=3.0, deviation=2.0)
LN2 = np.log(2)


class Given(nn.Module):
    """Gives the outputs that it is told, whatever the arrays are."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = nn.Parameter(torch.tensor(outputs, dtype=torch.float32))

    def forward(self, arrays):
        return self.outputs[arrays["row"]]


def objective(targets, loss="l1", values=None):
    values = np.zeros((0, len(targets))) if values is None else np.array(values, float)
    samples = Samples(len(values), {"row": torch.arange(len(values))})
    training = TrainingConfig(loss=loss)
    return TargetObjective(training, targets, samples, values, np.ones(len(values), int))


def loss_of(targets, outputs, wanted, loss="l1"):
    network = Given(outputs)
    batch = {
        "row": torch.arange(len(wanted)),
        "target": torch.tensor(wanted, dtype=torch.float32),
    }
    value = objective(targets, loss).loss(network, batch)
    value.backward()
    return value.item(), network.outputs.grad.numpy()


def test_a_weighted_mean_of_each_target_s_mean_over_what_is_there():
    # energy: |1 - 3|, |5 - 4|; metal: one row of logit 0; gap: one value, two logits of 0.
    outputs = [[1.0, 0.0, 2.0, 0.0], [5.0, 0.0, 2.0, 0.0]]
    wanted = [[3.0, NAN, NAN, 0.0], [4.0, 1.0, 2.5, 1.0]]
    value, slopes = loss_of([ENERGY, METAL, GAP], outputs, wanted)
    expected = (2 * 1.5 + 1 * LN2 + 3 * 0.5 + 3 * LN2) / (2 + 1 + 3 + 3)
    assert value == pytest.approx(expected, rel=1e-6)
    expected = np.array([[-1, 0, 0, 3 * 0.25], [1, -0.5, -3, -3 * 0.25]]) / 9
    np.testing.assert_allclose(slopes, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loss", ["l1", "mse", "huber", "mape"])
def test_a_batch_without_a_target_has_a_loss_and_a_slope(loss):
    targets = [ENERGY, Target("log", transform=TargetTransform("log", 1.0, 2.0))]
    value, slopes = loss_of(targets, [[1.0, 300.0], [2.0, 300.0]], [[2.0, NAN], [4.0, NAN]], loss)
    assert np.isfinite(value)
    assert np.isfinite(slopes).all()
    assert (slopes[:, 1] == 0).all()
    assert (slopes[:, 0] != 0).all()


def test_percentage_errors_are_of_undone_values():
    target = Target("size", transform=TargetTransform("log", 1.0, 2.0))
    outputs = np.array([[0.5], [-0.25], [0.0]])
    wanted = np.array([[0.25], [0.25], [NAN]])
    value, _ = loss_of([target], outputs, wanted, "mape")
    true, given = np.exp(2 * wanted[:2] + 1), np.exp(2 * outputs[:2] + 1)
    assert value == pytest.approx(np.abs((given - true) / true).mean(), rel=1e-6)


def test_one_target_is_watched_in_its_unit():
    target = Target("x", transform=TargetTransform("standardise", 10.0, 2.0))
    made = objective([target], values=[[11.0], [NAN], [6.0]])
    figures = made.validate(Given([[0.0], [50.0], [0.0]]))
    assert list(figures) == ["validation_mae", "validation_rmse"]
    assert figures["validation_mae"] == pytest.approx((1 + 4) / 2)
    assert figures["validation_rmse"] == pytest.approx(np.sqrt((1 + 16) / 2))


@pytest.mark.parametrize("value", [NAN, np.inf])
def test_a_network_that_diverged_is_never_the_best(value):
    made = objective([ENERGY], values=[[1.0], [0.0]])
    figures = made.validate(Given([[1.0], [value]]))
    assert figures["validation_mae"] == np.inf
    made = objective([ENERGY, METAL], values=[[1.0, 1.0], [0.0, 0.0]])
    figures = made.validate(Given([[1.0, 0.0], [value, 0.0]]))
    assert figures["validation_relative_error"] == np.inf
    assert figures["validation_log_loss_metal"] == pytest.approx(LN2)


def test_a_class_is_watched_by_its_cross_entropy():
    figures = objective([METAL], values=[[1.0], [0.0]]).validate(Given([[0.0], [0.0]]))
    assert figures == {"validation_log_loss": pytest.approx(LN2), "validation_roc_auc": 0.5}


def test_several_are_watched_relative_to_knowing_nothing():
    values = [[1.0, 1.0, 0.0], [3.0, NAN, 4.0]]
    # gap: 0 where the logit is negative, otherwise its value.
    figures = objective([ENERGY, METAL, GAP], values=values).validate(
        Given([[2.0, 0.0, 9.0, -1.0], [3.0, 0.0, 5.0, 1.0]])
    )
    assert figures["validation_mae_energy"] == 0.5
    assert figures["validation_mae_gap"] == 0.5
    assert figures["validation_log_loss_metal"] == pytest.approx(LN2)
    name, first = next(iter(figures.items()))
    assert name == "validation_relative_error"
    assert first == pytest.approx((0.5 / 4 + LN2 / 0.5 + 0.5 / 2) / 3)
