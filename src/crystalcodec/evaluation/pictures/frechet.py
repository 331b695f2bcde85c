"""Fréchet distance of two sets of features, each taken as a normal distribution."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.base import EvaluationError

__all__ = [
    "Moments",
    "distance_to",
    "frechet_distance",
    "frechet_distance_of_moments",
    "moments",
    "principal_features",
    "square_root",
]

Floats = npt.NDArray[np.float64]
Moments = tuple[Floats, Floats]
"""Mean (d,) and covariance (d, d)."""


def frechet_distance(features_a: npt.ArrayLike, features_b: npt.ArrayLike) -> float:
    """Fréchet distance of two sets of features, squared as it is always given.

    Of normal distributions with the means and covariances (dividing by n - 1) of the two sets:
    |mean_a - mean_b|² + tr(C_a + C_b - 2 (C_a C_b)^(1/2)). It is not negative, and 0 where means
    and covariances are equal.

    Parameters
    ----------
    features_a, features_b : (n, d), (m, d)
        One row a picture, finite.

    Returns
    -------
    float
        In the squared unit of the features; NaN where a set has fewer than two rows.

    Raises
    ------
    EvaluationError
        Other shapes, or features that are not finite.

    References
    ----------
    Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter, 10.48550/arXiv.1706.08500; Dowson and
    Landau, 10.1016/0047-259X(82)90077-X.

    Examples
    --------
    >>> one = np.array([[0.0], [2.0]])
    >>> frechet_distance(one, one + 3)
    9.0
    """
    a, b = _features(features_a), _features(features_b)
    if a.shape[1] != b.shape[1]:
        raise EvaluationError(
            f"{a.shape[1]} and {b.shape[1]} features: wanted those of one network for both sets"
        )
    if min(len(a), len(b)) < 2:
        return float("nan")
    return frechet_distance_of_moments(moments(a), moments(b))


def frechet_distance_of_moments(a: Moments, b: Moments) -> float:
    """Fréchet distance, squared, of two normal distributions given by mean and covariance."""
    return distance_to(a, b, square_root(b[1]))


def distance_to(a: Moments, b: Moments, root_of_b: Floats) -> float:
    """The same where the square root of the second covariance is known.

    tr (A B)^(1/2) is the sum of the square roots of the eigenvalues of B^(1/2) A B^(1/2), which is
    symmetric: no complex numbers, and no failure where A or B is singular.
    """
    values = np.linalg.eigvalsh(root_of_b @ a[1] @ root_of_b)
    cross = np.sqrt(np.maximum(values, 0)).sum()
    shift = float(((a[0] - b[0]) ** 2).sum())
    # Rounding may leave less than nothing of equal covariances.
    return shift + max(float(np.trace(a[1]) + np.trace(b[1]) - 2 * cross), 0.0)


def principal_features(
    reference: npt.ArrayLike, *others: npt.ArrayLike, n: int = 64
) -> tuple[Floats, ...]:
    """Features along the first n principal axes of the reference, of all sets.

    For networks with more features than there are pictures: covariances of fewer rows than columns
    are singular and say little. The distance along some axes is at most that along all.

    Raises
    ------
    EvaluationError
        As :func:`frechet_distance`, or n below 1.
    """
    rows = _features(reference)
    if n < 1 or not len(rows):
        raise EvaluationError(
            f"{n} principal axes of {len(rows)} rows: wanted at least one of each"
        )
    mean = rows.mean(axis=0)
    axes = np.linalg.svd(rows - mean, full_matrices=False)[2][:n]
    return tuple((_features(some) - mean) @ axes.T for some in (reference, *others))


def square_root(matrix: Floats) -> Floats:
    """The symmetric square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T, float)


def moments(features: Floats) -> Moments:
    """Mean and covariance (dividing by n - 1) of at least two rows."""
    mean = features.mean(axis=0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


def _features(features: npt.ArrayLike) -> Floats:
    rows = np.asarray(features, np.float64)
    if rows.ndim != 2 or not rows.shape[1]:
        raise EvaluationError(f"features of shape {rows.shape}, wanted (n, d): one row a picture")
    if not np.isfinite(rows).all():
        raise EvaluationError("features that are not finite: leave out what is no picture")
    return rows
