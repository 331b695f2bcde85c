"""Sums of many Gaussians on one grid, without a Gaussian for each."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev
from scipy.special import erf

__all__ = ["Broadening"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# A Gaussian is cut where it has fallen below 7e-10 of its height, and its polynomials are as
# near: two orders of magnitude below the rounding of float32.
_REACH: Final = 6.5
_NEAR: Final = 1e-9
# Narrower Gaussians, in steps of the grid, are added one by one: they touch a few points each.
_NARROW: Final = 0.5
# Rows of one matrix product. Always as many, so that a row does not depend on the batch it is in.
_ROWS: Final = 64


class Broadening:
    """Gaussians of one width on one grid of n points, as means over steps of the grid.

    The value at a point is the integral of the Gaussian over the step around that point, divided
    by the length of the step.

    A Gaussian depends smoothly on where its centre lies between two nodes, nodes being about a
    width apart. So each grid point's value is a polynomial of the centre's place in its interval,
    and of all centres in an interval only the sums of the powers of their places are needed:
    these are gathered first, and one matrix turns them into the spectrum.

    Parameters
    ----------
    minimum, maximum
        First and last point of the grid.
    n
        Points of the grid, at least 2.
    sigma
        Standard deviation.
    """

    def __init__(self, minimum: float, maximum: float, n: int, sigma: float) -> None:
        self.n = n
        self.step = (maximum - minimum) / (n - 1)
        self.start = minimum - self.step / 2
        self.width = sigma / self.step
        self._reach = int(np.ceil(_REACH * self.width))
        if self.width >= _NARROW:
            # Steps of the grid from node to node, points of a tile, nodes that a tile sees.
            self._spacing = max(1, min(n, round(self.width)))
            n_tiles = max(1, round(n / max(32, 2 * self._reach)))
            nodes_of_tile = -(-n // (n_tiles * self._spacing))
            self._tile = nodes_of_tile * self._spacing
            self._tiles = -(-n // self._tile)
            self._seen = nodes_of_tile + 2 * (-(-self._reach // self._spacing))
            self._nodes = self._seen + nodes_of_tile * (self._tiles - 1)
            self._margin = self._spacing * (-(-self._reach // self._spacing))
            self._matrices = self._polynomials()

    @property
    def n_sums(self) -> int:
        """Numbers that stand for one spectrum while it is gathered."""
        return self._nodes * len(self._matrices) if self.width >= _NARROW else self.n

    def gather(self, rows: Ints, centers: Floats, weights: Floats, n_rows: int) -> Floats:
        """Add up what :meth:`spectra` needs; the sums of two parts are the sums of the whole.

        Parameters
        ----------
        rows, centers, weights : (n_gaussians,)
            The spectrum that each belongs to, its centre, its area.
        n_rows
            Spectra.
        """
        places = (centers - self.start) / self.step
        if self.width < _NARROW:
            return self._directly(rows, places, weights, n_rows)
        places = (places + self._margin) / self._spacing
        inside = (places >= 0) & (places < self._nodes)
        if not inside.all():
            rows, places, weights = rows[inside], places[inside], weights[inside]
        nodes = places.astype(np.int64)
        # From -1 to 1 in the interval of its node.
        places -= nodes
        places *= 2
        places -= 1
        nodes += rows * self._nodes
        padded = -(-n_rows // _ROWS) * _ROWS
        sums = np.empty((len(self._matrices), padded * self._nodes))
        power = weights
        for order in range(len(sums)):
            sums[order] = np.bincount(nodes, power, padded * self._nodes)
            power = power * places
        return sums.reshape(len(sums), padded, self._nodes)

    def spectra(self, sums: Floats, n_rows: int) -> Floats:
        """(n_rows, n) the spectra of gathered sums."""
        if self.width < _NARROW:
            return sums
        out = np.empty((sums.shape[1], self._tile * self._tiles))
        between = self._tile // self._spacing
        for row in range(0, len(out), _ROWS):
            for tile in range(self._tiles):
                seen = slice(tile * between, tile * between + self._seen)
                part = np.matmul(sums[:, row : row + _ROWS, seen], self._matrices)
                out[row : row + _ROWS, tile * self._tile : (tile + 1) * self._tile] = part.sum(0)
        return out[:n_rows, : self.n]

    def exactly(self, centers: npt.ArrayLike) -> Floats:
        """(n_centers, n) the spectrum of one Gaussian of area 1 at each centre."""
        places = (np.asarray(centers, float) - self.start) / self.step
        return self._means(np.arange(self.n), places[:, None])

    def _means(self, points: Any, places: Any) -> Floats:
        """Means over the steps of points, for centres at places in steps from the first edge."""
        scale = self.width * np.sqrt(2.0)
        above, below = erf((points + 1 - places) / scale), erf((points - places) / scale)
        return np.asarray((above - below) / (2 * self.step), float)

    def _polynomials(self) -> Floats:
        """(powers, nodes that a tile sees, points of a tile) what each sum adds to each point."""
        # The first node of a tile lies a margin below its first point, and only the distance
        # from node to point matters: one row for each, then a table.
        first = np.arange(self._seen)[:, None] * self._spacing - self._margin
        points = np.arange(self._tile)
        apart = points - first
        every = np.arange(apart.min(), apart.max() + 1)
        fine = np.linspace(-1, 1, 41)
        wanted = self._means(every, (fine[:, None] + 1) / 2 * self._spacing)
        height = self._means(0, 0.5)
        for n_powers in range(4, 33):
            nodes = chebyshev.chebpts1(n_powers)
            values = self._means(every, (nodes[:, None] + 1) / 2 * self._spacing)
            series = chebyshev.chebfit(nodes, values, n_powers - 1)
            error = np.abs(chebyshev.chebval(fine, series).T - wanted).max()
            if error <= _NEAR * height:
                break
        # From coefficients of Chebyshev polynomials to those of powers.
        change = np.zeros((n_powers, n_powers))
        for order, one in enumerate(np.eye(n_powers)):
            change[: order + 1, order] = chebyshev.cheb2poly(one)[: order + 1]
        return np.ascontiguousarray((change @ series)[:, apart - every[0]])

    def _directly(self, rows: Ints, places: Floats, weights: Floats, n_rows: int) -> Floats:
        """The spectra themselves, Gaussian by Gaussian."""
        inside = (places > -self._reach) & (places < self.n + self._reach)
        rows, places, weights = rows[inside], places[inside], weights[inside]
        points = np.floor(places)[:, None] + np.arange(-self._reach, self._reach + 1)
        values = self._means(points, places[:, None]) * weights[:, None]
        kept = (points >= 0) & (points < self.n)
        cells = rows[:, None] * self.n + points.astype(np.int64)
        spectra = np.bincount(cells[kept], values[kept], n_rows * self.n)
        return np.asarray(spectra.reshape(n_rows, self.n), float)
