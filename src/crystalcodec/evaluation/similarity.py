"""How alike rows of numbers are: distances and correlations of elements, compounds, crystals.

Three metrics are distances (0 for equal rows, no upper bound), three are similarities (1 for rows
of the same direction or order, -1 for opposite ones):

=========== ================================================================
euclidean   sqrt(sum (a - b)^2)
manhattan   sum |a - b|
chebyshev   max |a - b|
cosine      a . b / (|a| |b|)
pearson     cosine of the rows less their means
spearman    pearson of the ranks in each row, ties at their mean rank
=========== ================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.registry import did_you_mean
from crystalcodec.representations.memory import available_memory

__all__ = [
    "SIMILARITY_METRICS",
    "Nearest",
    "SimilarityError",
    "checked_metric",
    "nearest",
    "pairwise",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SIMILARITY_METRICS: Final[Mapping[str, str]] = {
    "euclidean": "distance",
    "manhattan": "distance",
    "chebyshev": "distance",
    "cosine": "similarity",
    "pearson": "similarity",
    "spearman": "similarity",
}
"""The metrics by name, and whether the nearest rows have the least or the largest value."""

_SCIPY_NAMES: Final = {"manhattan": "cityblock", "chebyshev": "chebyshev"}
# Numbers of a block: 32 MiB of float64.
_BLOCK: Final = 2**22
_QUERIES: Final = 256  # of a block
# A squared distance below this part of the squared lengths has lost digits to cancellation in
# |a|^2 + |b|^2 - 2 a.b (round-off 1e-16) and is summed again from differences.
_CANCELLED: Final = 1e-6
_SCALED_LEAST: Final = 1e-12  # spread of a row, to its size, below which it is constant
_DECIMALS: Final = 12  # of similarities
_ROUND_OFF: Final = 4e-16  # of a product, a column


class SimilarityError(ValueError):
    """Rows that cannot be compared, or a metric that there is not."""


def checked_metric(metric: str, k: int = 1) -> str:
    """The metric, if there is one of that name and a number of neighbours that can be found.

    Raises
    ------
    SimilarityError
        If not.
    """
    if metric not in SIMILARITY_METRICS:
        raise SimilarityError(f"no metric {metric!r}{did_you_mean(metric, [*SIMILARITY_METRICS])}")
    if k < 1:
        raise SimilarityError(f"k = {k}: wanted 1 neighbour or more")
    return metric


def pairwise(
    rows: npt.ArrayLike, others: npt.ArrayLike | None = None, metric: str = "euclidean"
) -> Floats:
    """The metric between every row and every other row.

    Parameters
    ----------
    rows : (n, d)
        A row of numbers for each thing.
    others : (m, d)
        What to compare with; the rows themselves where None.
    metric
        In :data:`SIMILARITY_METRICS`.

    Returns
    -------
    (n, m) float64
        Similarities are rounded to 12 decimals. NaN where one is not defined: a row of zeros has
        no direction, a constant row no correlation.

    Raises
    ------
    SimilarityError
        An unknown metric, rows of different lengths or without columns, a number that is not
        finite, a result larger than the free memory.

    Examples
    --------
    >>> pairwise([[0.0, 0.0], [3.0, 4.0]]).tolist()
    [[0.0, 5.0], [5.0, 0.0]]
    >>> pairwise([[1.0, 2.0, 3.0]], [[1.0, 4.0, 9.0]], "spearman").round(12).tolist()
    [[1.0]]
    """
    one = _checked(rows, metric)
    other = one if others is None else _checked(others, metric, one.shape[1])
    wanted, there = 8 * len(one) * len(other), available_memory()
    if wanted > there:
        raise SimilarityError(
            f"{len(one)} x {len(other)} values take {wanted / 2**30:.1f} GiB, {there / 2**30:.1f} "
            "GiB of memory are free: use nearest(), which keeps the k nearest alone"
        )
    found = np.empty((len(one), len(other)))
    step = _rows_a_block(one.shape[1])
    prepared = [_prepared(one[s : s + step], metric) for s in range(0, len(one), step)]
    for start in range(0, len(other), step):
        block = _prepared(other[start : start + step], metric)
        done = 0
        for part in prepared:
            found[done : done + len(part), start : start + len(block)] = _between(
                part, block, metric
            )
            done += len(part)
    if others is None:
        # The two triangles are sums in different orders; a thing is exactly like itself.
        found = (found + found.T) / 2
        own = found.diagonal()
        itself = 0.0 if SIMILARITY_METRICS[metric] == "distance" else 1.0
        np.fill_diagonal(found, np.where(np.isnan(own), np.nan, itself))
    return found


def nearest(
    queries: npt.ArrayLike, rows: npt.ArrayLike, k: int = 10, metric: str = "euclidean"
) -> tuple[Ints, Floats]:
    """The rows that are most like each query, found in blocks: memory stays small.

    Parameters
    ----------
    queries : (q, d)
        What to find neighbours of.
    rows : (n, d)
        Where to look.
    k
        How many neighbours; fewer come where there are fewer rows.
    metric
        In :data:`SIMILARITY_METRICS`.

    Returns
    -------
    index : (q, k)
        Neighbours, the nearest first; of equally near ones the first in ``rows``.
    values : (q, k)
        The metric. Where it is not defined it is NaN, and comes last.

    Raises
    ------
    SimilarityError
        As of :func:`pairwise`; ``k`` below 1.

    Examples
    --------
    >>> index, values = nearest([[0.9]], [[0.0], [1.0], [5.0]], k=2)
    >>> index.tolist(), values.round(6).tolist()
    ([[1, 0]], [[0.1, 0.9]])
    """
    search = Nearest(queries, k, metric)
    search.add(rows)
    return search.index, search.values


@dataclass(eq=False)
class Nearest:
    """The search of :func:`nearest` over rows that come in batches.

    Parameters
    ----------
    queries : (q, d)
        What to find neighbours of.
    k
        How many.
    metric
        In :data:`SIMILARITY_METRICS`.

    Attributes
    ----------
    index : (q, k)
        Neighbours among all rows so far, counted through all batches.
    values : (q, k)
        The metric.
    n_rows
        Rows so far.
    """

    queries: npt.ArrayLike
    k: int = 10
    metric: str = "euclidean"

    def __post_init__(self) -> None:
        checked_metric(self.metric, self.k)
        queries = _checked(self.queries, self.metric)
        self._width = queries.shape[1]
        self._queries = _prepared(queries, self.metric)
        self._sign = 1.0 if SIMILARITY_METRICS[self.metric] == "distance" else -1.0
        self.n_rows = 0
        self.index: Ints = np.zeros((len(queries), 0), np.int64)
        self._costs: Floats = np.zeros((len(queries), 0))  # least first, infinite where undefined

    @property
    def values(self) -> Floats:
        """(q, k) the metric of each neighbour; NaN where it is not defined."""
        return np.where(np.isinf(self._costs), np.nan, self._sign * self._costs + 0.0)

    def add(self, rows: npt.ArrayLike) -> None:
        """Look at more rows, (n, d).

        Raises
        ------
        SimilarityError
            Rows of another length than the queries, a number that is not finite.
        """
        checked = _checked(rows, self.metric, self._width)
        step = _rows_a_block(max(self._width, min(len(self._queries), _QUERIES)))
        for start in range(0, len(checked), step):
            block = _prepared(checked[start : start + step], self.metric)
            merged = [
                self._merged(slice(first, first + _QUERIES), block)
                for first in range(0, len(self._queries), _QUERIES)
            ]
            if merged:
                index, costs = zip(*merged, strict=True)
                self.index, self._costs = np.concatenate(index), np.concatenate(costs)
            self.n_rows += len(block)

    def _merged(self, some: slice, block: Floats) -> tuple[Ints, Floats]:
        """Neighbours and their costs of some queries after a block of rows."""
        queries, index, costs = self._queries[some], self.index[some], self._costs[some]
        found = _rough_costs(queries, block, self.metric)
        # No row beyond the k-th so far, or the k-th of the block, can be among the k nearest.
        bound = np.full(len(queries), np.inf)
        if costs.shape[1] == self.k:
            bound = costs[:, -1] ** 2 if self.metric == "euclidean" else costs[:, -1].copy()
        elif len(block) >= self.k:
            bound = np.partition(found, self.k - 1, axis=1)[:, self.k - 1]
        i, j = np.nonzero(found <= (bound + _slack(queries, block, self.metric))[:, None])
        if not len(i):
            return index, costs
        if self.metric == "euclidean":
            values = _distances_of_pairs(queries, block, i, j)
        elif self._sign < 0:
            values = -_rounded(-found[i, j])
        else:
            values = found[i, j]
        # A line of candidates for each query, filled up with what is infinitely far.
        counts = np.bincount(i, minlength=len(queries))
        place = np.arange(len(i)) - (np.cumsum(counts) - counts)[i]
        costs_of_block = np.full((len(queries), int(counts.max())), np.inf)
        index_of_block = np.zeros(costs_of_block.shape, np.int64)
        costs_of_block[i, place], index_of_block[i, place] = values, self.n_rows + j
        every = np.concatenate([costs, costs_of_block], axis=1)
        # Stable: of equal ones the first, and what was there before what fills up.
        best = np.argsort(every, axis=1, kind="stable")[:, : self.k]
        numbered = np.concatenate([index, index_of_block], axis=1)
        return np.take_along_axis(numbered, best, axis=1), np.take_along_axis(every, best, axis=1)


def _rough_costs(queries: Floats, block: Floats, metric: str) -> Floats:
    """(q, n) what is least for the nearest, with its round-off; infinite where not defined.

    Euclidean distances are squared, similarities have the other sign.
    """
    if metric in _SCIPY_NAMES or not len(queries) or not len(block):
        return _by_differences(queries, block, _SCIPY_NAMES.get(metric, "euclidean"))
    with np.errstate(over="ignore", invalid="ignore"):
        costs: Floats = queries @ block.T
        if metric != "euclidean":
            np.negative(costs, out=costs)
        else:
            costs *= -2.0
            costs += np.einsum("ij,ij->i", block, block)
            costs += np.einsum("ij,ij->i", queries, queries)[:, None]
        if not np.isfinite(costs.sum()):
            costs[np.isnan(costs)] = np.inf
    return costs


def _slack(queries: Floats, block: Floats, metric: str) -> Floats:
    """(q,) how far off rough costs may be."""
    if SIMILARITY_METRICS[metric] == "similarity":
        return np.full(len(queries), 10.0**-_DECIMALS)
    if metric != "euclidean" or not len(block):
        return np.zeros(len(queries))
    lengths: Floats = np.einsum("ij,ij->i", queries, queries)
    lengths += np.einsum("ij,ij->i", block, block).max()
    lengths *= _ROUND_OFF * queries.shape[1]
    return lengths


def _distances_of_pairs(rows: Floats, others: Floats, i: Ints, j: Ints) -> Floats:
    """Euclidean distance of rows i and others j, summed from differences."""
    if len(i) > 0.1 * len(rows) * len(others):
        return _by_differences(rows, others, "euclidean")[i, j]
    found = np.empty(len(i))
    step = _rows_a_block(rows.shape[1])
    for start in range(0, len(i), step):
        some = slice(start, start + step)
        differences = rows[i[some]] - others[j[some]]
        found[some] = np.sqrt(np.einsum("ij,ij->i", differences, differences))
    return found


def _rounded(similarities: Floats) -> Floats:
    """Without their round-off, so that rows that are equally alike have equal values."""
    rounded: Floats = np.clip(np.round(similarities, _DECIMALS), -1.0, 1.0)
    return np.where(np.isinf(similarities), similarities, rounded)


def _rows_a_block(width: int) -> int:
    """Rows of some numbers each, and at most as many pairs of such rows, that make a block."""
    return max(1, min(_BLOCK // max(1, width), 2048))


def _checked(rows: npt.ArrayLike, metric: str, width: int | None = None) -> Array:
    """Rows as they are, if they can be compared."""
    checked_metric(metric)
    array = np.asarray(rows)
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind not in "biuf":
        raise SimilarityError(
            f"rows of shape {array.shape} of {array.dtype}: wanted one row of numbers for each "
            "thing, (n, d)"
        )
    if width is not None and array.shape[1] != width:
        raise SimilarityError(
            f"rows of {array.shape[1]} numbers beside rows of {width}: give both the same columns"
        )
    step = _rows_a_block(array.shape[1])
    for start in range(0, len(array), step):
        finite = np.isfinite(array[start : start + step])
        if not finite.all():
            bad = np.argwhere(~finite)
            row, column = bad[0].tolist()
            raise SimilarityError(
                f"row {start + row}, column {column} holds {array[start + row, column]}: only "
                "finite numbers compare; leave such rows out"
            )
    return array


def _prepared(rows: Array, metric: str) -> Floats:
    """Rows as float64 whose product is the metric, for similarities: of unit length."""
    floats = np.asarray(rows, np.float64)
    if SIMILARITY_METRICS[metric] == "distance":
        return floats
    if metric == "spearman":
        from scipy.stats import rankdata

        floats = rankdata(floats, axis=1) if len(floats) else floats
    # Divided by the largest first: squares of very large or small numbers leave float64.
    size = np.abs(floats).max(axis=1, keepdims=True, initial=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        floats = floats / size
        if metric != "cosine":
            floats = floats - floats.mean(axis=1, keepdims=True)
            spread = np.abs(floats).max(axis=1, keepdims=True, initial=0.0)
            floats = np.where(spread > _SCALED_LEAST, floats / spread, np.nan)
        unit: Floats = floats / np.sqrt(np.einsum("ij,ij->i", floats, floats))[:, None]
    return unit


def _between(rows: Floats, others: Floats, metric: str) -> Floats:
    """(n, m) the metric between prepared rows."""
    if SIMILARITY_METRICS[metric] == "similarity":
        return _rounded(rows @ others.T)
    if metric in _SCIPY_NAMES or not len(rows) or not len(others):
        return _by_differences(rows, others, _SCIPY_NAMES.get(metric, "euclidean"))
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.einsum("ij,ij->i", rows, rows)[:, None] + np.einsum("ij,ij->i", others, others)
        squares = lengths - 2.0 * (rows @ others.T)
        lost = ~(squares > _CANCELLED * lengths) | ~np.isfinite(squares)
    if np.count_nonzero(lost) > 0.05 * lost.size + 64:
        return _by_differences(rows, others, "euclidean")
    found: Floats = np.sqrt(np.maximum(squares, 0.0))
    i, j = np.nonzero(lost)
    found[i, j] = _distances_of_pairs(rows, others, i, j)
    return found


def _by_differences(rows: Floats, others: Floats, name: str) -> Floats:
    from scipy.spatial.distance import cdist

    found: Floats = cdist(rows, others, name)
    return found
