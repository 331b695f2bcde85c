"""Rows of distances: equal ones merged, the rest in an order that rounding does not change."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["merged_rows"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Numbers compared at once.
_BLOCK: Final = 2_000_000


def merged_rows(rows: Floats, offsets: Ints, tolerance: float) -> tuple[Floats, Floats, Ints]:
    """Merge equal rows of each crystal and order what is left by its columns, first to last.

    Rows are equal where no entry differs by more than the tolerance, and so are rows that such
    rows lead to. Of merged rows the mean is held. In the order, too, entries that a chain of
    differences within the tolerance connects are equal, so that rounding cannot swap two rows.

    Parameters
    ----------
    rows : (n_sites_total, k)
        A row for each site.
    offsets : (n + 1,)
        Sites of each crystal.
    tolerance
        See above.

    Returns
    -------
    weights : (n_rows,)
        Share of the sites of the crystal that each row stands for.
    merged : (n_rows, k)
        The rows.
    offsets : (n + 1,)
        Rows of each crystal.
    """
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    label, n_rows = _classes(rows, owner, tolerance)
    by_label = np.argsort(label, kind="stable")
    counts = np.bincount(label, minlength=n_rows)
    starts = np.cumsum(counts) - counts
    merged = np.add.reduceat(rows[by_label], starts, axis=0) if n_rows else rows[:0]
    merged = merged / counts[:, None]
    crystal = owner[by_label][starts] if n_rows else owner
    weights = counts / np.diff(offsets)[crystal]
    order = _order(merged, crystal, tolerance)
    numbers = np.bincount(crystal, minlength=len(offsets) - 1)
    return weights[order], merged[order], np.r_[0, np.cumsum(numbers)].astype(np.int64)


def _classes(rows: Floats, owner: Ints, tolerance: float) -> tuple[Ints, int]:
    """The class of each row, classes counted through the batch, and their number."""
    # Equal rows have equal means, so that only rows of one run of means are compared: neighbours
    # in the run first, which settles nearly all, then rows of different classes.
    means = rows.sum(axis=1) / rows.shape[1]
    order = np.lexsort((means, owner))
    same_owner = owner[order][1:] == owner[order][:-1]
    close = same_owner & (np.diff(means[order]) <= tolerance)
    first, second = order[:-1][close], order[1:][close]
    equal = _equal(rows, first, second, tolerance)
    first, second = first[equal], second[equal]
    label = _components(len(rows), first, second)

    run = np.r_[0, np.cumsum(~close)][: len(rows)]
    # One row of each class in each run with more than one class could stand for it, were equality
    # transitive; it nearly is, so all rows of such runs are compared.
    pairs = np.unique(np.stack([run, label[order]], axis=1), axis=0)
    mixed = np.bincount(pairs[:, 0], minlength=1)[run] > 1 if len(rows) else run > 0
    members, runs = order[mixed], run[mixed]
    left, right = _pairs_within(runs)
    left, right = members[left], members[right]
    apart = label[left] != label[right]
    left, right = left[apart], right[apart]
    equal = _equal(rows, left, right, tolerance)
    if equal.any():
        first, second = np.r_[first, left[equal]], np.r_[second, right[equal]]
        label = _components(len(rows), first, second)
    # Classes in the order of their crystals.
    _, place, inverse = np.unique(label, return_index=True, return_inverse=True)
    rank = np.empty(len(place), np.int64)
    rank[np.argsort(place)] = np.arange(len(place))
    return rank[inverse], len(place)


def _equal(rows: Floats, first: Ints, second: Ints, tolerance: float) -> npt.NDArray[np.bool_]:
    """Whether no entry of two rows differs by more than the tolerance."""
    step = max(1, _BLOCK // max(1, rows.shape[1]))
    equal = np.zeros(len(first), bool)
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        equal[part] = (np.abs(rows[first[part]] - rows[second[part]]) <= tolerance).all(axis=1)
    return equal


def _components(n: int, first: Ints, second: Ints) -> Ints:
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _pairs_within(runs: Ints) -> tuple[Ints, Ints]:
    """Positions of all pairs of entries of the same run; the runs stand one after another."""
    _, starts, counts = np.unique(runs, return_index=True, return_counts=True)
    last = np.repeat(starts + counts, counts)
    after = last - np.arange(len(runs)) - 1
    left = np.repeat(np.arange(len(runs)), after)
    right = left + 1 + np.arange(len(left)) - np.repeat(np.cumsum(after) - after, after)
    return left, right


def _order(rows: Floats, crystal: Ints, tolerance: float) -> Ints:
    """Order by crystal, then by columns, with entries equal that are connected."""
    order = np.arange(len(rows))
    # Rows that are still tied have the place of the first of them; at first, those of a crystal.
    group = np.searchsorted(crystal, crystal).astype(np.int64)
    for column in range(rows.shape[1]):
        counts = np.bincount(group, minlength=len(rows))
        tied = np.flatnonzero(counts[group] > 1)
        if not len(tied):
            break
        # Only rows that earlier columns left tied move, each group within its places.
        values = rows[order[tied], column]
        inner = np.lexsort((values, group[tied]))
        values, groups = values[inner], group[tied][inner]
        order[tied] = order[tied][inner]
        parts = np.r_[True, (np.diff(groups) != 0) | (np.diff(values) > tolerance)]
        group[tied] = tied[np.maximum.accumulate(np.where(parts, np.arange(len(tied)), 0))]
    return order
