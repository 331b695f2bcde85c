"""Metrics of probabilities against numbers worked out by hand, and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from crystalcodec.evaluation.classification import (
    accuracy,
    average_precision,
    balanced_accuracy,
    classification_metrics,
    log_loss,
    roc_auc,
)
from crystalcodec.evaluation.regression import MetricError

TARGETS = [1, 1, 1, 0]
PROBABILITIES = [0.9, 0.5, 0.2, 0.4]


def test_exact_values():
    # Right are 0.9 and 0.5 (true) and 0.4 (false).
    assert accuracy(TARGETS, PROBABILITIES) == 0.75
    assert balanced_accuracy(TARGETS, PROBABILITIES) == pytest.approx((2 / 3 + 1) / 2)
    # Of the three pairs, 0.9 and 0.5 are above 0.4 and 0.2 is below.
    assert roc_auc(TARGETS, PROBABILITIES) == pytest.approx(2 / 3)
    # Precision 1 at the first two, 3/4 at the last of the true ones.
    assert average_precision(TARGETS, PROBABILITIES) == pytest.approx((1 + 1 + 3 / 4) / 3)
    expected = -(math.log(0.9) + math.log(0.5) + math.log(0.2) + math.log(0.6)) / 4
    assert log_loss(TARGETS, PROBABILITIES) == pytest.approx(expected, rel=1e-12)


def test_the_same_as_scikit_learn():
    rng = np.random.default_rng(0)
    targets = (rng.random(500) < 0.2).astype(float)
    given = np.clip(rng.normal(0.3 + 0.3 * targets, 0.2), 0, 1)
    assert balanced_accuracy(targets, given) == pytest.approx(
        reference.balanced_accuracy_score(targets, given >= 0.5)
    )
    assert log_loss(targets, given) == pytest.approx(
        reference.log_loss(targets, np.clip(given, 1e-15, 1 - 1e-15))
    )


def test_one_class_alone_has_no_ranking():
    found = classification_metrics([1, 1], [0.8, 0.1])
    assert (found["n"], found["share"], found["accuracy"]) == (2, 1.0, 0.5)
    for name in ("roc_auc", "average_precision", "balanced_accuracy"):
        assert math.isnan(found[name])


def test_a_sure_mistake_is_a_large_loss_and_no_infinite_one():
    assert 30 < log_loss([1.0], [0.0]) < 40


@pytest.mark.parametrize(
    ("targets", "given", "says"),
    [
        ([1.0, 0.0], [0.5], "shape"),
        ([], [], "no rows"),
        ([0.5], [0.5], "target 0 is 0.5: wanted 0 or 1"),
        ([1.0, 0.0], [0.5, 1.5], "probability 1 is 1.5"),
        ([1.0], [math.nan], "probability 0 is nan"),
    ],
)
def test_what_cannot_be_compared(targets, given, says):
    with pytest.raises(MetricError, match=says):
        classification_metrics(targets, given)
