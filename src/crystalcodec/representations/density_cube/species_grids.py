"""The grid of species in a cube: written from atoms, and read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.representations.density_cube.atoms import Placed

__all__ = ["BORDER", "SpeciesGrid", "scatter_species"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_MANY: Final = 1500  # points whose distances are looked at all together
_COVERED: Final = 0.3  # Å, how far a peak may be from its atom
BORDER: Final = 1e-3
"""Å: points this near to the border of an atom may be on either side."""


@dataclass(frozen=True, eq=False)
class SpeciesGrid:
    """A grid of species as it stands in an array.

    Parameters
    ----------
    values : (N, N, N)
        Atomic numbers, 0 where there is no atom.
    spacing
        Distance between two points, Å.
    radius
        How far from an atom its points reach, Å.
    """

    values: Floats
    spacing: float
    radius: float

    def named(self, sites: Floats, *, blurred: bool = False) -> Ints:
        """(s,) the atomic number at sites, 0 where none; ``blurred``: the median around them."""
        nearest = np.clip(np.rint(sites / self.spacing), 0, len(self.values) - 1).astype(np.int64)
        if not blurred:
            return np.asarray(np.rint(self.values[tuple(nearest.T)]), np.int64)
        offsets = np.indices((3, 3, 3)).reshape(3, -1).T - 1
        around = np.clip(nearest[:, None] + offsets, 0, len(self.values) - 1)
        away = (around * self.spacing - sites[:, None]) ** 2
        values = self.values[tuple(np.moveaxis(around, -1, 0))]
        there = (away.sum(axis=2) < self.radius**2) & np.isfinite(values)
        values = np.where(there, values, np.nan)
        values[~there.any(axis=1)] = 0.0  # a site outside of the cube has no point near it
        named = np.rint(np.nanmedian(values, axis=1))
        return np.asarray(np.clip(named, 0, MAX_ATOMIC_NUMBER), np.int64)

    def filled(self, places: Floats, numbers: Ints) -> Floats:
        """(p,) the share of the points around a place that are of its species.

        All of them at an atom; ripples of a heavy atom make peaks off the middle of a light one.
        """
        reach = int(self.radius / self.spacing + 0.5)
        offsets = np.indices((2 * reach + 1,) * 3).reshape(3, -1).T - reach
        points = np.rint(places / self.spacing).astype(np.int64)[:, None] + offsets
        inside = ((points >= 0) & (points < len(self.values))).all(axis=2)
        away = points * self.spacing - places[:, None]
        inside &= (away * away).sum(axis=2) < self.radius**2
        points = np.clip(points, 0, len(self.values) - 1)
        same = np.rint(self.values[tuple(np.moveaxis(points, -1, 0))]) == numbers[:, None]
        return np.asarray((same & inside).sum(axis=1) / np.maximum(inside.sum(axis=1), 1), float)

    def uncovered(
        self, atoms: Floats, heights: Floats, weights: Floats, least: float
    ) -> list[tuple[Floats, int]]:
        """Middle and atomic number of each part of the grid that none of the atoms explains.

        Parameters
        ----------
        atoms : (t, 3), heights : (t,)
            Where atoms are known, Å, and their weights.
        weights : (119,)
            The weight of an atom by atomic number.
        least
            Smallest part, relative to all points of an atom.
        """
        points = np.argwhere(self.values > 0.5)
        named = np.rint(self.values[tuple(points.T)]).astype(np.int64)
        places = points * self.spacing
        limit = (self.radius + _COVERED) ** 2
        whole = 4 / 3 * np.pi * (self.radius / self.spacing) ** 3
        covered = np.zeros(len(places), bool)
        for atom, height in zip(atoms, heights.tolist(), strict=True):
            near = ((places - atom) ** 2).sum(axis=1) < limit
            covered |= near & (weights[named] == height)
        parts = []
        while not covered.all():
            number = int(named[~covered][0])
            left = places[~covered & (named == number)]
            if len(left) > _MANY:
                left = left[((left - left[0]) ** 2).sum(axis=1) < (2 * self.radius) ** 2]
            together = ((left[:, None] - left) ** 2).sum(axis=2) < self.radius**2
            sizes = together.sum(axis=1)
            if sizes.max() < least * whole:
                covered |= ((places - left[0]) ** 2).sum(axis=1) < self.radius**2
                continue
            spot = left[together[sizes.argmax()]].mean(axis=0)
            near = ((places - spot) ** 2).sum(axis=1) < limit
            near |= (places == left[0]).all(axis=1)
            covered |= near & (named == number)
            parts.append((spot, number))
        return parts

    def wrong_points(self, placed: Placed, numbers: Ints) -> int:
        """How many points hold another species than atoms give them; 0 where rounding explains."""
        again = np.zeros((1, *self.values.shape))
        scatter_species(placed, numbers[placed.sites], again, self.spacing, self.radius)
        wrong = np.argwhere(np.rint(self.values) != again[0])
        if len(wrong) > 1000 or not self._on_border(wrong, placed, numbers):
            return len(wrong)
        return 0

    def _on_border(self, points: Ints, placed: Placed, numbers: Ints) -> bool:
        """Whether the species of points is one of those that rounding might give."""
        away = points[:, None] * self.spacing - placed.positions
        distances = np.sqrt((away * away).sum(axis=2))
        nearest = distances.min(axis=1, initial=np.inf)
        values = np.rint(self.values[tuple(points.T)])
        empty = (values == 0) & (nearest > self.radius - BORDER)
        reach = np.minimum(nearest + 2 * BORDER, self.radius + BORDER)
        named = (distances <= reach[:, None]) & (numbers[placed.sites] == values[:, None])
        return bool((empty | named.any(axis=1)).all())


def scatter_species(
    placed: Placed, numbers: Ints, grids: npt.NDArray[Any], spacing: float, radius: float
) -> None:
    """Write atomic numbers on the points of grids (n, N, N, N) nearer than a radius to an atom.

    The nearest atom names a point; of two equally near the one of higher number.
    """
    n_points = grids.shape[1]
    reach = int(radius / spacing + 0.5)
    nearest = np.rint(placed.positions / spacing).astype(np.int64)
    met = ((nearest >= -reach) & (nearest < n_points + reach)).all(axis=1)
    crystals, numbers, nearest = placed.crystals[met], numbers[met], nearest[met]
    points = nearest[:, :, None] + np.arange(-reach, reach + 1)
    squares = (points * spacing - placed.positions[met][:, :, None]) ** 2
    squares[(points < 0) | (points >= n_points)] = np.inf
    x, y, z = squares.transpose(1, 0, 2)
    distances = x[:, :, None, None] + (y[:, :, None] + z[:, None, :])[:, None]
    flat = np.flatnonzero(distances < radius * radius)
    width = 2 * reach + 1
    atom = flat // width**3
    # Points count on along each axis, so that a place in the stencil is a fixed stride.
    start = crystals * n_points**3 + (points[:, :, 0] * [n_points**2, n_points, 1]).sum(axis=1)
    i, j, k = np.indices((width,) * 3).reshape(3, -1)
    place_of = start[atom] + (i * n_points**2 + j * n_points + k)[flat % width**3]
    written = grids.reshape(-1)
    written[place_of] = numbers[atom]
    contested = np.unique(place_of[written[place_of] != numbers[atom]])
    if len(contested):
        claims = np.flatnonzero(np.isin(place_of, contested))
        order = np.lexsort((numbers[atom[claims]], -distances.ravel()[flat[claims]]))
        claims = claims[order]  # the last to write is the nearest
        written[place_of[claims]] = numbers[atom[claims]]
