"""Shortest distances in crystals, whole batches at once: of all pairs, and by pair of elements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data.atom_sizes import covalent_radii
from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.representations.minimum_images import reduced_cells

__all__ = [
    "STEPS",
    "Pairs",
    "Shortest",
    "image_squares",
    "separation_table",
    "shortest_distances",
    "site_pairs",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_ALL: Final = np.array([*product((-1.0, 0.0, 1.0), repeat=3)])
STEPS: Final = _ALL[len(_ALL) // 2 + 1 :]
"""(13, 3) steps to the cells around one, without those that are the opposite of another."""

# Pairs of a block: its arrays stay in the cache.
_BLOCK: Final = 2**16


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of different sites of crystals that have as many sites, at their nearest images.

    Parameters
    ----------
    crystals : (m,)
        Which crystals of the batch.
    first, second : (m, p)
        Their sites, rows of ``crystals.numbers``.
    distances : (m, p)
        Å.
    """

    crystals: Ints
    first: Ints
    second: Ints
    distances: Floats


@dataclass(frozen=True, eq=False)
class Shortest:
    """The shortest distances of n crystals.

    Parameters
    ----------
    between_sites : (n,)
        Between two different sites, at their nearest images, Å; infinite for one site.
    lattice : (n,)
        Between a site and its own images, Å: the shortest lattice vector.
    over_radii : (n,)
        Smallest distance over the sum of the two covalent radii, images of a site among them.
    """

    between_sites: Floats
    lattice: Floats
    over_radii: Floats

    @property
    def of_all(self) -> Floats:
        """(n,) between any two atoms, Å."""
        return np.minimum(self.between_sites, self.lattice)


def shortest_distances(crystals: Crystals) -> Shortest:
    """The shortest distances of each crystal, in any cell, however skew.

    Every pair of sites is measured: time and not memory grow with the square of their number.

    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> shortest = shortest_distances(salt)
    >>> float(shortest.between_sites[0].round(3)), float(shortest.lattice[0].round(3))
    (2.8, 3.96)
    """
    cells, changes = reduced_cells(crystals.lattices)
    lattice = np.sqrt((cells * cells).sum(axis=2).min(axis=1))
    radii = covalent_radii()[crystals.numbers]
    largest = np.maximum.reduceat(radii, crystals.offsets[:-1]) if len(crystals) else np.zeros(0)
    over = lattice / (2 * largest)
    between = np.full(len(crystals), np.inf)
    for pairs in site_pairs(crystals, cells, changes):
        rows, distances = pairs.crystals, pairs.distances
        between[rows] = np.minimum(between[rows], distances.min(axis=1))
        ratios = distances / (radii[pairs.first] + radii[pairs.second])
        over[rows] = np.minimum(over[rows], ratios.min(axis=1))
    return Shortest(between, lattice, over)


def separation_table(
    crystals: Crystals, *, quantile: float = 0.05, least_crystals: int = 5
) -> Floats:
    """(119, 119) how near atoms of two elements come to each other in crystals, Å.

    For each crystal the shortest distance of each pair of elements, images of a site among them;
    of these, over the crystals that have both elements, a low quantile. Where fewer than
    ``least_crystals`` have both: the same quantile, over all crystals, of the smallest distance
    over the sum of covalent radii, times the sum of the two radii.

    Parameters
    ----------
    crystals
        n crystals.
    quantile
        0 is the shortest distance ever seen.
    least_crystals
        See above.
    """
    radii = covalent_radii()
    shortest = shortest_distances(crystals)
    ratio = np.quantile(shortest.over_radii, quantile) if len(crystals) else 0.8
    table = ratio * (radii[:, None] + radii)
    keys, distances = _by_elements(crystals, shortest.lattice)
    order = np.lexsort((distances, keys))
    keys, distances = keys[order], distances[order]
    known, starts, counts = np.unique(keys, return_index=True, return_counts=True)
    enough = counts >= least_crystals
    rank = starts + np.floor(quantile * (counts - 1)).astype(np.int64)
    first, second = np.divmod(known[enough], MAX_ATOMIC_NUMBER + 1)
    table[first, second] = table[second, first] = distances[rank[enough]]
    return np.asarray(table, float)


def _by_elements(crystals: Crystals, lattice: Floats) -> tuple[Ints, Floats]:
    """Of each crystal and pair of its elements: the pair as one number, the shortest distance."""
    width = MAX_ATOMIC_NUMBER + 1
    owners, elements = np.nonzero(crystals.element_counts)
    keys = [elements * width + elements]
    rows, distances = [owners], [lattice[owners]]
    for pairs in site_pairs(crystals):
        one, other = crystals.numbers[pairs.first], crystals.numbers[pairs.second]
        keys.append((np.minimum(one, other) * width + np.maximum(one, other)).ravel())
        rows.append(np.repeat(pairs.crystals, pairs.distances.shape[1]))
        distances.append(pairs.distances.ravel())
        if len(keys) > 64:
            keys, rows, distances = _kept(keys, rows, distances)
    (key,), (_,), (distance,) = _kept(keys, rows, distances)
    return key, distance


def _kept(
    keys: list[Ints], rows: list[Ints], distances: list[Floats]
) -> tuple[list[Ints], list[Ints], list[Floats]]:
    """The shortest distance of each key of each row, in one part."""
    key, row, distance = np.concatenate(keys), np.concatenate(rows), np.concatenate(distances)
    order = np.lexsort((distance, key, row))
    key, row, distance = key[order], row[order], distance[order]
    first = np.ones(len(key), bool)
    first[1:] = (np.diff(key) != 0) | (np.diff(row) != 0)
    return [key[first]], [row[first]], [distance[first]]


def site_pairs(
    crystals: Crystals, cells: Floats | None = None, changes: Floats | None = None
) -> Iterator[Pairs]:
    """All pairs of different sites, each at least once, in blocks that fit the cache.

    Parameters
    ----------
    crystals
        n crystals.
    cells, changes : (n, 3, 3)
        What :func:`reduced_cells` gives, where it is there already.
    """
    if cells is None or changes is None:
        cells, changes = reduced_cells(crystals.lattices)
    sizes = crystals.n_sites
    for size in np.unique(sizes[sizes > 1]).tolist():
        members = np.flatnonzero(sizes == size)
        at_once = max(1, _BLOCK // (size * (size // 2)))
        for start in range(0, len(members), at_once):
            rows = members[start : start + at_once]
            sites = crystals.offsets[rows][:, None] + np.arange(size)
            # The change of cell is of whole numbers, and so is its inverse.
            back = np.rint(np.linalg.inv(changes[rows]))
            coords = crystals.frac_coords[sites] @ back
            yield from _in_block(rows, sites, coords, cells[rows])


def _in_block(rows: Ints, sites: Ints, coords: Floats, cells: Floats) -> Iterator[Pairs]:
    size = sites.shape[1]
    every = np.arange(size)
    width = max(1, _BLOCK // (size * len(rows)))
    # A site and the one so many places after it, around: for half of the places all pairs.
    for start in range(1, size // 2 + 1, width):
        places = np.arange(start, min(start + width, size // 2 + 1))
        other = ((every + places[:, None]) % size).ravel()
        first = np.tile(every, len(places))
        differences = coords[:, other] - coords[:, first]
        differences -= np.rint(differences)
        distances = np.sqrt(image_squares(differences, cells))
        yield Pairs(rows, sites[:, first], sites[:, other], distances)


def image_squares(differences: Floats, cells: Floats) -> Floats:
    """(m, p) squared length of the shortest image of each difference, Å².

    Parameters
    ----------
    differences : (m, p, 3)
        Fractional, each number within [-0.5, 0.5].
    cells : (m, 3, 3)
        Minkowski-reduced: no image further than one step is nearer.
    """
    vectors = differences @ cells
    start = (vectors * vectors).sum(axis=2)
    shortest = start.copy()
    along = vectors @ cells.transpose(0, 2, 1)
    for step in STEPS:
        across = step @ cells
        # Of a step and its opposite the one that leads back.
        x, y, z = (step[axis] * along[..., axis] if step[axis] else 0.0 for axis in range(3))
        squares = start + (across * across).sum(axis=1)[:, None] - 2 * np.abs(x + y + z)
        np.minimum(shortest, squares, out=shortest)
    return np.asarray(np.maximum(shortest, 0.0), float)
