"""How far apart two distributions over categories are, such as over space groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

__all__ = ["Categories", "jensen_shannon_distance", "total_variation"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def total_variation(shares: npt.ArrayLike, others: npt.ArrayLike) -> float:
    """Half the sum of the differences of two (c,) distributions: from 0, the same, to 1.

    It is the least share of one that has to change category to give the other.

    >>> total_variation([0.5, 0.5, 0.0], [0.5, 0.0, 0.5])
    0.5
    """
    return float(np.abs(np.asarray(shares, float) - np.asarray(others, float)).sum() / 2)


def jensen_shannon_distance(shares: npt.ArrayLike, others: npt.ArrayLike) -> float:
    """Root of the Jensen-Shannon divergence in bits: from 0, the same, to 1, nothing in common.

    The divergence is the entropy of the mean of two (c,) distributions less the mean of their
    entropies; its root is a metric (Endres and Schindelin, 10.1109/TIT.2003.813506).

    >>> jensen_shannon_distance([1.0, 0.0], [0.0, 1.0])
    1.0
    """
    p, q = np.asarray(shares, float), np.asarray(others, float)
    divergence = _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2
    return float(np.sqrt(np.clip(divergence, 0.0, 1.0)))


def _entropy(shares: Floats) -> float:
    held = shares[shares > 0]
    return float(-(held * np.log2(held)).sum())


@dataclass(frozen=True, eq=False)
class Categories:
    """What share of each category each of n attempts has, and what the held-out crystals have.

    Parameters
    ----------
    rows : (n, c)
        Rows sum to 1, or to 0 for an attempt that has none.
    known : (n,)
        Which attempts have any.
    held_rows : (l, c)
        Of the held-out crystals that have any.
    """

    rows: Floats
    known: npt.NDArray[np.bool_]
    held_rows: Floats

    @classmethod
    def of_rows(cls, rows: npt.ArrayLike, held_rows: npt.ArrayLike) -> Self:
        """Of shares (n, c) of attempts and (m, c) of crystals; NaN for one that has none."""
        given, held = np.asarray(rows, np.float64), np.asarray(held_rows, np.float64)
        known = np.asarray(np.isfinite(given).all(axis=1))
        held = held[np.isfinite(held).all(axis=1)]
        return cls(np.where(known[:, None], given, 0.0), known, held)

    @classmethod
    def numbered(
        cls, numbers: npt.ArrayLike, held_numbers: npt.ArrayLike, n_categories: int
    ) -> Self:
        """Of one category each, by number; below 0 for an attempt or a crystal of none."""
        one_hot = np.concatenate([np.eye(n_categories), np.full((1, n_categories), np.nan)])
        codes = [np.asarray(some, np.int64) for some in (numbers, held_numbers)]
        return cls.of_rows(*(one_hot[np.maximum(some, -1)] for some in codes))

    @cached_property
    def held_shares(self) -> Floats:
        """(c,) mean over the held-out crystals; NaN where there are none."""
        held = self.held_rows
        return held.mean(axis=0) if len(held) else np.full(held.shape[1], np.nan)

    def shares(self, positions: Ints | None = None) -> Floats:
        """(c,) mean of the rows at these positions, repeated or not; NaN where there is none."""
        n = len(self.rows)
        weights = np.ones(n) if positions is None else np.bincount(positions, minlength=n)
        total = float(weights @ self.known)
        if not total:
            return np.full(self.rows.shape[1], np.nan)
        return np.asarray(weights @ self.rows / total)

    def apart(
        self, distance: Callable[[Floats, Floats], float], positions: Ints | None = None
    ) -> float:
        """A distance of :meth:`shares` to those of the held-out crystals; NaN without either."""
        shares = self.shares(positions)
        nothing = np.isnan(shares).any() or np.isnan(self.held_shares).any()
        return float("nan") if nothing else distance(shares, self.held_shares)
