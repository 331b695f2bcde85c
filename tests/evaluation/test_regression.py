"""Metrics against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crystalcodec.evaluation.regression import (
    MetricError,
    mae,
    mape,
    mse,
    r2,
    regression_metrics,
    rmse,
)

TARGETS = [1.0, 2.0, 4.0, -3.0]
PREDICTIONS = [1.5, 2.0, 3.0, -3.5]


def test_exact_values():
    assert mae(TARGETS, PREDICTIONS) == 0.5
    assert mse(TARGETS, PREDICTIONS) == 0.375
    assert rmse(TARGETS, PREDICTIONS) == math.sqrt(0.375)
    # Targets' mean is 1; their squared distances from it are 0, 1, 9, 16.
    assert r2(TARGETS, PREDICTIONS) == pytest.approx(1 - 1.5 / 26, abs=1e-15)
    assert mape(TARGETS, PREDICTIONS) == pytest.approx(100 * (0.5 + 0 + 0.25 + 0.5 / 3) / 4)


def test_mape_leaves_out_zero_targets():
    assert mape([0.0, 2.0, -4.0], [9.0, 3.0, -4.0]) == 25.0
    assert math.isnan(mape([0.0, 0.0], [1.0, 2.0]))


def test_r2_of_equal_targets_is_not_a_number():
    assert math.isnan(r2([2.0, 2.0], [2.0, 3.0]))
    assert math.isnan(r2([0.1], [0.1]))


def test_the_mean_as_prediction_has_r2_zero():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=1000)
    assert r2(targets, np.full(1000, targets.mean())) == pytest.approx(0, abs=1e-12)


def test_all_together():
    metrics = regression_metrics(TARGETS, PREDICTIONS)
    assert set(metrics) == {"n", "mae", "rmse", "mse", "r2", "mape"}
    assert metrics["n"] == 4
    assert metrics["mae"] == 0.5


@pytest.mark.parametrize(
    ("targets", "predictions", "says"),
    [
        ([1.0, 2.0], [1.0], "shape"),
        ([[1.0]], [[1.0]], "shape"),
        ([], [], "no rows"),
        ([1.0, math.nan], [1.0, 2.0], "target 1 is nan"),
        ([1.0, 2.0], [math.inf, 2.0], "prediction 0 is inf"),
    ],
)
def test_what_cannot_be_compared(targets, predictions, says):
    with pytest.raises(MetricError, match=says):
        regression_metrics(targets, predictions)
