"""The Wasserstein distance of order one between two samples of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

__all__ = ["Wasserstein", "wasserstein_distance"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Wasserstein:
    """The distance for many samples of the same numbers against the same others.

    Parameters
    ----------
    places : (n,)
        Where each number stands among all different numbers of both samples; -1 for none.
    others : (s - 1,)
        Share of the others up to each of the s different numbers but the last.
    gaps : (s - 1,)
        From each of them to the next.
    """

    places: Ints
    others: Floats
    gaps: Floats

    @classmethod
    def between(cls, values: npt.ArrayLike, others: npt.ArrayLike) -> Self:
        """Of (n,) numbers and (m,) others; those that are not finite are left out."""
        rows, against = np.asarray(values, np.float64), np.asarray(others, np.float64)
        against = against[np.isfinite(against)]
        finite = np.isfinite(rows) & bool(len(against))  # nothing is comparable with no others
        levels, places = np.unique(np.concatenate([rows[finite], against]), return_inverse=True)
        n = int(finite.sum())
        every = np.full(len(rows), -1)
        every[finite] = places[:n]
        counts = np.bincount(places[n:], minlength=len(levels))
        return cls(every, np.cumsum(counts)[:-1] / max(1, len(against)), np.diff(levels))

    def of(self, positions: Ints | None = None) -> float:
        """Distance of the numbers at these positions, repeated or not; NaN where there is none."""
        places = self.places if positions is None else self.places[positions]
        places = places[places >= 0]
        if not len(places):
            return float("nan")
        counts = np.bincount(places, minlength=len(self.others) + 1)
        shares = np.cumsum(counts)[:-1] / len(places)
        return float(np.sum(np.abs(shares - self.others) * self.gaps))


def wasserstein_distance(values: npt.ArrayLike, others: npt.ArrayLike) -> float:
    """Area between the cumulative distributions of (n,) numbers and (m,) others.

    In their unit; the same as of ``scipy.stats.wasserstein_distance``. Numbers that are not
    finite are left out. NaN where either has none.

    >>> wasserstein_distance([1.0, 3.0], [2.0, 4.0, 6.0])
    2.0
    """
    return Wasserstein.between(values, others).of()
