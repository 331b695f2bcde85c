"""Atoms on top of each other: pairs of sites at a distance that no two atoms have."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals

__all__ = ["close_pairs", "shortest_vectors"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Pairs = tuple[Ints, Ints, Ints, Floats]

# All pairs of a crystal of more sites than this take longer than a tree.
_MANY_SITES: Final = 300
_MOST_THIN: Final = 3000
_STEPS: Final = np.array([*product((-1.0, 0.0, 1.0), repeat=3)])
# Pairs tried at once: some 100 MB of working memory.
_PAIRS_AT_ONCE: Final = 1_000_000


def close_pairs(crystals: Crystals, distance: float) -> Pairs:
    """Pairs of sites closer than ``distance`` (Å), in bounded memory for crystals of any size.

    Exact, but for cells of more than 3,000 sites that are thinner than twice ``distance``; made
    for tests for atoms on top of each other, this is no neighbour list.

    Returns
    -------
    crystal, first, second, distances : (n_pairs,)
        The crystal, the two sites counted within it (first < second), and their distance by the
        nearest periodic image, Å. In no order; of a crystal where millions of pairs are that
        close, some.
    """
    none = np.zeros(0, np.int64)
    parts: list[Pairs] = [(none, none, none, np.zeros(0))]
    counts = crystals.n_sites
    thin = _thin(crystals, distance) & (counts <= _MOST_THIN)
    for i in np.flatnonzero(thin).tolist():
        first, second, distances = _close_pairs_of_thin(crystals[i], distance)
        parts.append((np.full(len(first), i), first, second, distances))
    counts = np.where(thin, 0, counts)
    for n in np.unique(counts[counts <= _MANY_SITES]).tolist():
        same = np.flatnonzero(counts == n) if n else none
        parts.extend(_close_pairs_of_same_size(crystals, same, n, distance))
    for i in np.flatnonzero(counts > _MANY_SITES).tolist():
        first, second, distances = _close_pairs_of_one(crystals[i], distance)
        parts.append((np.full(len(first), i), first, second, distances))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return columns[0], columns[1], columns[2], columns[3]


def shortest_vectors(crystals: Crystals, distance: float) -> Floats:
    """(n,) shortest cell vector, Å; in cells thinner than twice ``distance`` of the lattice."""
    shortest = np.linalg.norm(crystals.lattices, axis=2).min(axis=1, initial=np.inf)
    for i in np.flatnonzero(_thin(crystals, distance)).tolist():
        shortest[i] = np.linalg.norm(_reduced(crystals.lattices[i])[0], axis=1).min()
    return np.asarray(shortest, float)


def _thin(crystals: Crystals, distance: float) -> npt.NDArray[np.bool_]:
    """(n,) whether a cell is thinner than twice the distance: more than one image may be near."""
    if not len(crystals):
        return np.zeros(0, bool)
    heights = 1 / np.linalg.norm(np.linalg.inv(crystals.lattices), axis=1)
    return np.asarray(heights.min(axis=1) < 2 * distance, bool)


def _reduced(lattice: Floats) -> tuple[Floats, Floats]:
    """The shortest vectors of a lattice, and what turns coordinates into theirs."""
    from ase.geometry.minkowski_reduction import minkowski_reduce

    try:
        reduced, operation = minkowski_reduce(lattice)
    except (RuntimeError, ValueError):  # a cell so skew that rounding ends it
        return lattice, np.eye(3)
    return np.asarray(reduced, float), np.linalg.inv(operation)


def _close_pairs_of_thin(crystal: Crystals, distance: float) -> tuple[Ints, Ints, Floats]:
    """Pairs of one crystal, over the nearest images in all directions of its reduced cell."""
    lattice, turn = _reduced(crystal.lattices[0])
    coords = crystal.frac_coords @ turn
    first, second = np.triu_indices(len(coords), 1)
    apart = coords[second] - coords[first]
    apart -= np.rint(apart)
    squares = np.full(len(first), np.inf)
    for step in _STEPS:
        vectors = (apart + step) @ lattice
        np.minimum(squares, np.einsum("pi,pi->p", vectors, vectors), out=squares)
    distances = np.sqrt(squares)
    near = distances < distance
    return first[near], second[near], distances[near]


def _close_pairs_of_same_size(
    crystals: Crystals, same: Ints, n: int, distance: float
) -> Iterator[Pairs]:
    """Pairs of crystals of n sites each, as many crystals at once as memory bears."""
    first, second = np.triu_indices(n, 1)
    step = max(1, _PAIRS_AT_ONCE // max(len(first), 1))
    for start in range(0, len(same), step):
        index = same[start : start + step]
        sites = crystals.offsets[index][:, None] + np.arange(n)
        coords = crystals.frac_coords[sites]
        apart = coords[:, second] - coords[:, first]
        apart -= np.rint(apart)
        vectors = apart @ crystals.lattices[index]
        distances = np.sqrt(np.einsum("cpi,cpi->cp", vectors, vectors))
        crystal, pair = np.nonzero(distances < distance)
        yield index[crystal], first[pair], second[pair], distances[crystal, pair]


def _close_pairs_of_one(crystal: Crystals, distance: float) -> tuple[Ints, Ints, Floats]:
    """Pairs of one large crystal, by a tree over the unit cell."""
    from scipy.spatial import cKDTree

    lattice = crystal.lattices[0]
    # Height of the cell along each axis: two atoms closer than a distance are also closer than
    # it along each axis measured in heights, so that the tree finds no pair too few.
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    # Times a height a coordinate just below 1 may round up to the box.
    places = np.minimum(crystal.frac_coords * heights, np.nextafter(heights, 0))
    tree = cKDTree(places, boxsize=heights)
    while tree.count_neighbors(tree, distance, p=np.inf) > len(places) + 2 * _PAIRS_AT_ONCE:
        # Atoms heaped up without end: the first of them are enough to say so.
        places = places[: len(places) // 2]
        tree = cKDTree(places, boxsize=heights)
    pairs = tree.query_pairs(distance, p=np.inf, output_type="ndarray")
    first, second = np.sort(pairs.reshape(-1, 2), axis=1).T
    apart = crystal.frac_coords[second] - crystal.frac_coords[first]
    apart -= np.rint(apart)
    distances = np.linalg.norm(apart @ lattice, axis=1)
    near = distances < distance
    return first[near], second[near], distances[near]
