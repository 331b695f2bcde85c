"""Maximum mean discrepancy: whether two samples of vectors come from one distribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.base import EvaluationError

__all__ = ["Discrepancy", "median_distance"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_BLOCK: Final = 2**21  # kernel values at a time
_HALVINGS: Final = 50


@dataclass(frozen=True, eq=False)
class Discrepancy:
    """Squared maximum mean discrepancy between m vectors and l others, unbiased.

    With the kernel k(x, y) = exp(-|x - y|² / 2 s²): the mean of k over pairs of different
    vectors, plus that over pairs of different others, less twice the mean over all pairs of a
    vector and an other (eq. 3 of Gretton et al., J. Mach. Learn. Res. 13, 723 (2012)). It is 0 on
    average for two samples of one distribution, so it may be negative, and at most 2.

    Parameters
    ----------
    within : (m,)
        Mean of k between each vector and the rest of them.
    between : (m,)
        Mean of k between each vector and all others.
    of_others
        Mean of k over pairs of different others.
    halves : (h,)
        The same discrepancy between two halves of the others, cut at random, h times: how large
        it is by chance.
    bandwidth
        s.
    """

    within: Floats
    between: Floats
    of_others: float
    halves: Floats
    bandwidth: float

    @classmethod
    def measured(
        cls,
        rows: npt.ArrayLike,
        others: npt.ArrayLike,
        *,
        bandwidth: float | None = None,
        seed: int = 0,
    ) -> Self:
        """Of vectors (m, d) and others (l, d).

        Parameters
        ----------
        rows, others
            One vector each; numbers that are not finite are refused.
        bandwidth
            s; :func:`median_distance` of the others where None. It does not depend on the
            vectors, so that several generators are measured with one kernel.
        seed
            Of the halves.

        Raises
        ------
        EvaluationError
            Vectors of different lengths, a number that is not finite, a bandwidth of 0 or less.

        Examples
        --------
        >>> found = Discrepancy.measured([[0.0], [2.0]], [[0.0], [2.0]], bandwidth=2.0)
        >>> float(np.exp(-0.5).round(6)), round(found.value(), 6)  # e + e - 2 (1 + e) / 2 = e - 1
        (0.606531, -0.393469)
        """
        x, y = _checked(rows, others)
        width = median_distance(y, seed=seed) if bandwidth is None else float(bandwidth)
        if not 0 < width < np.inf:
            raise EvaluationError(f"bandwidth {width}: wanted a positive number")
        m, n = len(x), len(y)
        rows_within = np.full(m, np.nan)
        rows_between = np.full(m, np.nan)
        if m > 1:  # less k(x, x), which is 1
            rows_within = (_kernel_sums(x, x, width)[:, 0] - 1.0) / (m - 1)
        if n:
            rows_between = _kernel_sums(x, y, width)[:, 0] / n
        of_others, halves = _among_others(y, width, seed)
        return cls(rows_within, rows_between, of_others, halves, width)

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything, by name; ``Discrepancy(**arrays)`` gives it back."""
        return {
            "within": self.within,
            "between": self.between,
            "of_others": np.asarray(self.of_others),
            "halves": self.halves,
            "bandwidth": np.asarray(self.bandwidth),
        }

    @classmethod
    def kept(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """One of :attr:`arrays` that were kept."""
        return cls(
            arrays["within"],
            arrays["between"],
            float(arrays["of_others"]),
            arrays["halves"],
            float(arrays["bandwidth"]),
        )

    def value(self, positions: Ints | None = None) -> float:
        """The discrepancy; NaN with fewer than two vectors or others.

        For a sample of the vectors, with repetitions or not, it is exact to first order in the
        weights of the vectors: each counts with its mean kernel to all of them, not to those of
        the sample. So a pair of two copies of one vector, which is no pair, never counts.
        """
        chosen = slice(None) if positions is None else positions
        if len(self.within) < 2 or not len(self.within[chosen]):
            return float("nan")
        influence = 2.0 * (self.within[chosen] - self.between[chosen])
        return float(self.of_others - self.within.mean() + influence.mean())

    @property
    def witness(self) -> Floats:
        """(m,) how much more of the vectors than of the others lies around each vector."""
        return self.within - self.between

    @property
    def noise_floor(self) -> float:
        """95th percentile of the discrepancy between halves of the others; NaN without any."""
        return float(np.quantile(self.halves, 0.95)) if len(self.halves) else float("nan")


def median_distance(rows: npt.ArrayLike, *, at_most: int = 1000, seed: int = 0) -> float:
    """Median Euclidean distance between two different vectors of (n, d).

    Of at most so many of them, drawn at random; the mean where the median is 0, and 1 where all
    are the same or there are fewer than two.
    """
    from scipy.spatial.distance import pdist

    some = np.asarray(rows, np.float64)
    if len(some) > at_most:
        some = some[np.random.default_rng(seed).choice(len(some), at_most, replace=False)]
    if len(some) < 2:
        return 1.0
    distances = pdist(some)
    return float(np.median(distances) or distances.mean() or 1.0)


def _checked(rows: npt.ArrayLike, others: npt.ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(rows, np.float64), np.asarray(others, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not x.shape[1]:
        raise EvaluationError(
            f"vectors of shapes {x.shape} and {y.shape}: wanted one row each, of one length"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise EvaluationError("a vector holds a number that is not finite: leave it out")
    return x, y


def _kernel_sums(
    rows: Floats, others: Floats, width: float, weights: Floats | None = None
) -> Floats:
    """(n, w) sums over the others of the kernel with each row, times weights (m, w) or ones."""
    # From the middle of the others, |a|² + |b|² - 2 a·b loses fewer digits.
    middle = others.mean(axis=0)
    scale = 1.0 / (np.sqrt(2.0) * width)
    a, b = (rows - middle) * scale, (others - middle) * scale
    lengths = np.einsum("ij,ij->i", b, b)
    every = np.ones((len(others), 1)) if weights is None else weights
    sums = np.empty((len(rows), every.shape[1]))
    step = max(1, _BLOCK // len(others))
    for start in range(0, len(rows), step):
        some = a[start : start + step]
        exponents = some @ b.T
        exponents *= 2.0
        exponents -= lengths
        exponents -= np.einsum("ij,ij->i", some, some)[:, None]
        np.minimum(exponents, 0.0, out=exponents)
        sums[start : start + step] = np.exp(exponents, out=exponents) @ every
    return sums


def _among_others(others: Floats, width: float, seed: int) -> tuple[float, Floats]:
    """Mean kernel over pairs of different others, and discrepancies between their halves."""
    n = len(others)
    if n < 2:
        return float("nan"), np.zeros(0)
    half = n // 2
    random = np.random.default_rng(seed)
    sides = np.zeros((n, _HALVINGS))
    for column in sides.T:
        order = random.permutation(n)
        column[order[:half]] = 1.0
        column[order[half : 2 * half]] = -1.0
    weights = np.column_stack([np.ones(n), sides == 1, sides == -1]).astype(np.float64)
    sums = _kernel_sums(others, others, width, weights)
    mean = (sums[:, 0].sum() - n) / (n * (n - 1))
    if half < 2:
        return float(mean), np.zeros(0)
    first, second = weights[:, 1 : 1 + _HALVINGS], weights[:, 1 + _HALVINGS :]
    to_first, to_second = sums[:, 1 : 1 + _HALVINGS], sums[:, 1 + _HALVINGS :]
    own = (first * to_first).sum(axis=0) + (second * to_second).sum(axis=0) - 2 * half
    across = (first * to_second).sum(axis=0)
    return float(mean), own / (half * (half - 1)) - 2 * across / half**2
