"""Metrics of predicted probabilities: accuracy, balanced accuracy, ROC AUC and others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.regression import MetricError

__all__ = [
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "classification_metrics",
    "log_loss",
    "roc_auc",
]

Floats = npt.NDArray[np.float64]


def accuracy(targets: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Share of the rows whose class (probability of at least 0.5 or not) is right.

    >>> accuracy([1, 0, 1], [0.9, 0.2, 0.4])
    0.6666666666666666
    """
    wanted, given = _checked(targets, probabilities)
    return float(((given >= 0.5) == (wanted == 1)).mean())


def balanced_accuracy(targets: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean of the accuracies on either class; NaN where there is one class alone."""
    wanted, given = _checked(targets, probabilities)
    right = (given >= 0.5) == (wanted == 1)
    if not _both(wanted):
        return float("nan")
    return float((right[wanted == 1].mean() + right[wanted == 0].mean()) / 2)


def roc_auc(targets: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Area under the receiver operating characteristic; NaN where there is one class alone.

    The probability that of a row of either class the true one has the higher probability.
    """
    from sklearn.metrics import roc_auc_score

    wanted, given = _checked(targets, probabilities)
    return float(roc_auc_score(wanted, given)) if _both(wanted) else float("nan")


def average_precision(targets: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean precision over the recalls of the true class; NaN where there is one class alone."""
    from sklearn.metrics import average_precision_score

    wanted, given = _checked(targets, probabilities)
    return float(average_precision_score(wanted, given)) if _both(wanted) else float("nan")


def log_loss(targets: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean cross-entropy in nats; probabilities are kept 1e-15 away from 0 and 1.

    >>> round(log_loss([1, 0], [0.5, 0.5]), 6)
    0.693147
    """
    wanted, given = _checked(targets, probabilities)
    given = np.clip(given, 1e-15, 1 - 1e-15)
    return float(-np.where(wanted == 1, np.log(given), np.log1p(-given)).mean())


def classification_metrics(
    targets: npt.ArrayLike, probabilities: npt.ArrayLike
) -> dict[str, float]:
    """All five by name, ``n``, the number of rows, and ``share``, that of the true ones.

    Raises
    ------
    MetricError
        Different lengths, no rows, a class that is not 0 or 1, or a probability outside [0, 1].
    """
    wanted, given = _checked(targets, probabilities)
    metrics = (accuracy, balanced_accuracy, roc_auc, average_precision, log_loss)
    return {"n": len(wanted), "share": float(wanted.mean())} | {
        metric.__name__: metric(wanted, given) for metric in metrics
    }


def _both(wanted: Floats) -> bool:
    return bool(0 < wanted.mean() < 1)


def _checked(targets: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[Floats, Floats]:
    wanted, given = np.asarray(targets, float), np.asarray(probabilities, float)
    if wanted.ndim != 1 or wanted.shape != given.shape:
        raise MetricError(
            f"targets of shape {wanted.shape} and probabilities of shape {given.shape}: wanted one "
            "number a crystal in each"
        )
    if not len(wanted):
        raise MetricError("no rows: a mean over nothing has no value")
    for name, values, good in (
        ("target", wanted, (wanted == 0) | (wanted == 1)),
        ("probability", given, (given >= 0) & (given <= 1)),
    ):
        bad = np.flatnonzero(~good)
        if len(bad):
            limits = "0 or 1" if name == "target" else "a number from 0 to 1"
            raise MetricError(f"{name} {bad[0]} is {values[bad[0]]}: wanted {limits}")
    return wanted, given
