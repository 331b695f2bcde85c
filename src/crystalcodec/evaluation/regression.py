"""Metrics of predicted numbers: MAE, RMSE, MSE, R2 and MAPE."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["MetricError", "mae", "mape", "mse", "r2", "regression_metrics", "rmse"]

Floats = npt.NDArray[np.float64]


class MetricError(ValueError):
    """Values that cannot be compared: of different lengths, none at all, or not finite."""


def mae(targets: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Mean absolute error, in the unit of the target.

    >>> mae([1.0, 2.0], [1.5, 1.5])
    0.5
    """
    targets, predictions = _checked(targets, predictions)
    return float(np.abs(predictions - targets).mean())


def mse(targets: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Mean squared error, in the unit of the target, squared."""
    targets, predictions = _checked(targets, predictions)
    return float(np.square(predictions - targets).mean())


def rmse(targets: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Square root of the mean squared error, in the unit of the target."""
    return float(np.sqrt(mse(targets, predictions)))


def r2(targets: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Coefficient of determination: 1 less the squared error over that of the targets' mean.

    NaN where all targets are the same, since there is nothing to determine.
    """
    targets, predictions = _checked(targets, predictions)
    spread = np.square(targets - targets.mean()).sum()
    if np.ptp(targets) == 0:
        return float("nan")
    return float(1 - np.square(predictions - targets).sum() / spread)


def mape(targets: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Mean absolute error as a percentage of the absolute target.

    Rows whose target is exactly 0 have no relative error and are left out; NaN where all are 0.
    A few targets near 0 can dominate it.

    >>> mape([0.0, 2.0], [5.0, 3.0])
    50.0
    """
    targets, predictions = _checked(targets, predictions)
    rows = targets != 0
    if not rows.any():
        return float("nan")
    return float(100 * np.abs((predictions[rows] - targets[rows]) / targets[rows]).mean())


def regression_metrics(targets: npt.ArrayLike, predictions: npt.ArrayLike) -> dict[str, float]:
    """All five metrics by name, and ``n``, the number of rows.

    Raises
    ------
    MetricError
        Different lengths, no rows, or a number that is not finite.
    """
    targets, predictions = _checked(targets, predictions)
    metrics = (mae, rmse, mse, r2, mape)
    return {"n": len(targets)} | {m.__name__: m(targets, predictions) for m in metrics}


def _checked(targets: npt.ArrayLike, predictions: npt.ArrayLike) -> tuple[Floats, Floats]:
    wanted, got = np.asarray(targets, float), np.asarray(predictions, float)
    if wanted.ndim != 1 or wanted.shape != got.shape:
        raise MetricError(
            f"targets of shape {wanted.shape} and predictions of shape {got.shape}: wanted one "
            "number a crystal in each"
        )
    if not len(wanted):
        raise MetricError("no rows: a mean over nothing has no value")
    for name, values in (("target", wanted), ("prediction", got)):
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise MetricError(f"{name} {bad[0]} is {values[bad[0]]}: only finite numbers compare")
    return wanted, got
