"""Distances of all pairs of sites and their images in small cells, each pair once.

In a small cell with a far cutoff almost every lattice point within reach, added to the vector
between two sites, is a neighbour: no search is needed, only the lattice points, once a crystal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.geometry import transform
from crystalcodec.representations.neighbors import neighbors_within

__all__ = [
    "MOST_SITES",
    "LatticePoints",
    "SitePairs",
    "crowded",
    "distances_of",
    "own_images",
    "pieces",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_SITES: Final = 64
"""Sites of the largest cells that this is for: in larger ones a neighbour search is faster."""

# Å; lattice points are taken this much beyond what is needed, against rounding.
_SLACK: Final = 1e-6


def pieces(costs: npt.NDArray[np.generic], most: float) -> Iterator[tuple[int, int]]:
    """Ranges whose costs add up to at most so much; one that costs more stands alone."""
    sums = np.concatenate([np.zeros(1), np.cumsum(np.asarray(costs, float))])
    start, n = 0, len(costs)
    while start < n:
        stop = int(np.searchsorted(sums, sums[start] + most, side="right")) - 1
        stop = min(n, max(stop, start + 1))
        yield start, stop
        start = stop


@dataclass(frozen=True)
class SitePairs:
    """Unordered pairs of different sites of each cell, and the vectors between near images.

    Parameters
    ----------
    first, second : (n_pairs,)
        Sites of the batch.
    vectors : (n_pairs, 3)
        From an image of the one to the other, Å; near each other, if not the nearest.
    lengths : (n_pairs,)
        Å.
    offsets : (n + 1,)
        Pairs of crystal ``i`` are ``offsets[i]:offsets[i + 1]``.
    """

    first: Ints
    second: Ints
    vectors: Floats
    lengths: Floats
    offsets: Ints

    @classmethod
    def of(cls, crystals: Crystals) -> SitePairs:
        """All pairs of these crystals."""
        owner = crystals.crystal_indices
        after = crystals.offsets[1:][owner] - np.arange(len(owner)) - 1
        first = np.repeat(np.arange(len(owner)), after)
        starts = np.cumsum(after) - after
        second = np.arange(len(first)) - starts[first] + first + 1
        vectors = crystals.frac_coords[second] - crystals.frac_coords[first]
        vectors -= np.rint(vectors)
        vectors = transform(vectors, crystals.lattices[owner[first]])
        n = crystals.n_sites
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(n * (n - 1) // 2)])
        lengths = np.sqrt((vectors * vectors).sum(axis=1))
        return cls(first, second, vectors, lengths, offsets)


@dataclass(frozen=True)
class LatticePoints:
    """The lattice points of each crystal that may bring two sites within reach.

    Parameters
    ----------
    vectors : (3, n_points)
        Å.
    lengths : (n_points,)
        Å.
    forward : (n_points,)
        Of each point and its opposite, one is.
    offsets : (n + 1,)
        Points of crystal ``i`` are ``offsets[i]:offsets[i + 1]``.
    """

    vectors: Floats
    lengths: Floats
    forward: npt.NDArray[np.bool_]
    offsets: Ints

    @classmethod
    def of(cls, crystals: Crystals, limits: Floats) -> LatticePoints:
        """Those no further from the origin than the limit (n,), Å, of each crystal."""
        limits = limits + _SLACK
        heights = 1 / np.sqrt((np.linalg.inv(crystals.lattices) ** 2).sum(axis=1))
        steps = np.floor(limits[:, None] / heights[:, :2]).astype(np.int64)
        sides = 2 * steps + 1
        sizes = sides.prod(axis=1)
        crystal = np.repeat(np.arange(len(sizes)), sizes)
        place = np.arange(len(crystal)) - (np.cumsum(sizes) - sizes)[crystal]
        x, y = np.divmod(place, sides[crystal, 1])
        x -= steps[crystal, 0]
        y -= steps[crystal, 1]
        a, b, c = crystals.lattices[crystal].transpose(1, 2, 0)
        foot = x * a + y * b
        # Of the line through this point along c, the part inside the sphere.
        along, square = (foot * c).sum(axis=0), (c * c).sum(axis=0)
        inside = along**2 - square * ((foot * foot).sum(axis=0) - limits[crystal] ** 2)
        kept = np.flatnonzero(inside >= 0)
        half, middle = np.sqrt(inside[kept]) / square[kept], -along[kept] / square[kept]
        low = np.ceil(middle - half).astype(np.int64)
        counts = np.floor(middle + half).astype(np.int64) - low + 1
        line = np.repeat(np.arange(len(kept)), counts)
        z = np.arange(len(line)) + (low - (np.cumsum(counts) - counts))[line]
        row = kept[line]
        vectors = c[:, row] * z
        vectors += foot[:, row]
        ahead = (x > 0) | ((x == 0) & (y > 0))
        through = (x == 0) & (y == 0)
        ends = np.cumsum(np.bincount(crystal[kept], counts, len(sizes)).astype(np.int64))
        return cls(
            vectors,
            np.sqrt((vectors * vectors).sum(axis=0)),
            ahead[row] | (through[row] & (z > 0)),
            np.concatenate([np.zeros(1, np.int64), ends]),
        )


def distances_of(
    pairs: SitePairs, points: LatticePoints, part: slice, counts: Ints, reach: float
) -> tuple[Ints, Floats]:
    """Distances below ``reach`` between all images of the sites of some pairs, and whose.

    Parameters
    ----------
    part
        Which pairs.
    counts : (n_pairs,)
        Lattice points of the crystal of every pair of the batch.
    """
    own = counts[part]
    crystal = np.searchsorted(pairs.offsets, np.arange(part.start, part.stop), side="right") - 1
    shifts = points.offsets[crystal] - (np.cumsum(own) - own)
    point = np.arange(own.sum()) + np.repeat(shifts, own)
    squares = np.zeros(len(point))
    for axis in range(3):
        along = np.repeat(pairs.vectors[part, axis], own)
        along += points.vectors[axis][point]
        along *= along
        squares += along
    kept = np.flatnonzero(squares < reach * reach)
    whose = np.repeat(np.arange(part.start, part.stop), own)[kept]
    return whose, np.sqrt(squares[kept])


def own_images(
    crystals: Crystals, points: LatticePoints, start: int, stop: int, reach: float
) -> tuple[Ints, Floats]:
    """Sites of some crystals, and below ``reach`` the distances of half of their own images."""
    part = slice(points.offsets[start], points.offsets[stop])
    inside = np.flatnonzero(points.forward[part] & (points.lengths[part] < reach)) + part.start
    ends = np.searchsorted(inside, points.offsets[start : stop + 1])
    sites = np.arange(crystals.offsets[start], crystals.offsets[stop])
    crystal = np.repeat(np.arange(stop - start), crystals.n_sites[start:stop])
    counts = np.diff(ends)[crystal]
    shifts = ends[crystal] - (np.cumsum(counts) - counts)
    image = np.arange(counts.sum()) + np.repeat(shifts, counts)
    return np.repeat(sites, counts), points.lengths[inside[image]]


def crowded(crystals: Crystals, distance: float) -> npt.NDArray[np.bool_]:
    """(n,) whether two sites are nearer than this distance, which is small against the cell."""
    found = np.zeros(len(crystals), bool)
    large = np.flatnonzero(crystals.n_sites > MOST_SITES)
    if len(large):
        found[large] = np.diff(neighbors_within(crystals[large], distance).offsets) > 0
    small = np.flatnonzero(crystals.n_sites <= MOST_SITES)
    for start, stop in pieces(crystals.n_sites[small] ** 2, 100_000):
        pairs = SitePairs.of(crystals[small[start:stop]])
        near = np.flatnonzero(pairs.lengths < distance)
        owners = np.searchsorted(pairs.offsets, near, side="right") - 1
        found[small[start + owners]] = True
    return found
