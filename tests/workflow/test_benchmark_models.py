"""Models of scikit-learn in the benchmark: closed forms are its own, limits are kept."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge as SklearnKernelRidge
from sklearn.linear_model import Ridge as SklearnRidge

from crystalcodec.workflow.benchmark.estimators import ESTIMATORS, Columns


def fitted_on(model, numbers, targets, settings):
    estimator = ESTIMATORS[model]
    return estimator.fit(estimator.prepare(numbers, targets), settings, 0)


@pytest.mark.parametrize("shape", [(60, 8), (30, 90), (20, 2500)], ids=str)
@pytest.mark.parametrize(
    ("model", "settings", "peer"),
    [
        ("ridge", {"alpha": 3.0}, lambda width: SklearnRidge(alpha=3.0)),
        (
            "kernel_ridge",
            {"width": 0.5, "alpha": 0.01},
            lambda width: SklearnKernelRidge(alpha=0.01, kernel="rbf", gamma=0.5 / width),
        ),
    ],
    ids=["ridge", "kernel_ridge"],
)
def test_closed_forms_are_those_of_scikit_learn(shape, model, settings, peer):
    rng = np.random.default_rng(0)
    numbers, targets = rng.normal(size=shape).astype(np.float32), rng.normal(size=shape[0])
    ours = fitted_on(model, numbers, targets, settings)
    scaled = (numbers.astype(float) - numbers.mean(0)) / numbers.std(0)
    learnt = (targets - targets.mean()) / targets.std()
    theirs = peer(shape[1]).fit(scaled, learnt).predict(scaled) * targets.std() + targets.mean()
    np.testing.assert_allclose(ours.predict(numbers), theirs, rtol=1e-4, atol=1e-4)


def test_columns_are_standardised_and_stay_in_the_range_of_training():
    numbers = np.array([[1.0, 5, 0], [3, 5, 10], [5, 5, 2]], np.float32)
    columns = Columns.fit(numbers)
    assert columns.kept.tolist() == [0, 2]
    scaled = columns.apply(numbers)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(0), 1, rtol=1e-6)
    far = columns.apply(np.array([[1e9, 7, -1e9]], np.float32))
    np.testing.assert_allclose(far[0], [scaled[:, 0].max(), scaled[:, 1].min()])


def test_numbers_that_are_the_same_everywhere_leave_the_mean():
    same = np.ones((20, 3), np.float32)
    fitted = fitted_on("random_forest", same, np.arange(20.0), {"columns": 0.5})
    assert fitted.predict(same).tolist() == [9.5] * 20
