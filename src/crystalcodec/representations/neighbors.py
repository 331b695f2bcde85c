"""Neighbours of every site of a batch, periodic images and all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pymatgen.optimization.neighbors import find_points_in_spheres

from crystalcodec.crystals import Crystals

__all__ = ["Neighbors", "nearest_neighbors", "neighbors_within"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Neighbors:
    """Directed pairs of sites, one row for each periodic image of the second within reach.

    Rows come crystal after crystal, site after site, and for each site by distance.

    Parameters
    ----------
    centers, neighbors : (n_pairs,)
        Sites of the batch, rows of ``crystals.numbers``.
    images : (n_pairs, 3)
        Whole cell vectors between the neighbour and its image.
    vectors : (n_pairs, 3)
        From the centre to the image, Å: ``(frac[neighbors] + images - frac[centers]) @ lattice``.
    distances : (n_pairs,)
        Their lengths, Å; above zero: a site is no neighbour of itself, its images are.
    offsets : (n + 1,)
        Pairs of crystal ``i`` are ``offsets[i]:offsets[i + 1]``.
    """

    centers: Ints
    neighbors: Ints
    images: Ints
    vectors: Floats
    distances: Floats
    offsets: Ints

    def __len__(self) -> int:
        return len(self.centers)


def neighbors_within(crystals: Crystals, cutoff: float) -> Neighbors:
    """All pairs of sites whose distance is at most ``cutoff`` Å.

    Examples
    --------
    >>> cubic = Crystals.single(np.eye(3) * 3.0, [[0, 0, 0]], [84])
    >>> near = neighbors_within(cubic, 3.5)
    >>> len(near), near.distances.tolist()
    (6, [3.0, 3.0, 3.0, 3.0, 3.0, 3.0])
    """
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    coords = crystals.cart_coords
    every = np.array([1, 1, 1], dtype=np.int64)
    for lattice, start, stop in zip(
        crystals.lattices, crystals.offsets[:-1], crystals.offsets[1:], strict=True
    ):
        sites = np.ascontiguousarray(coords[start:stop])
        center, other, image, _ = find_points_in_spheres(
            sites, sites, r=float(cutoff), pbc=every, lattice=np.array(lattice), tol=1e-8
        )
        image = image.astype(np.int64)
        itself = (center == other) & ~image.any(axis=1)
        center, other, image = center[~itself], other[~itself], image[~itself]
        vectors = sites[other] + image @ lattice - sites[center]
        distances = np.linalg.norm(vectors, axis=1)
        inside = distances <= cutoff
        order = np.flatnonzero(inside)[np.lexsort((distances[inside], center[inside]))]
        parts.append(
            (
                center[order] + start,
                other[order] + start,
                image[order],
                vectors[order],
                distances[order],
            )
        )
    return _joined(parts)


def nearest_neighbors(crystals: Crystals, k: int) -> Neighbors:
    """The k nearest neighbours of every site: k rows each, ties cut by an order of our own."""
    found: dict[int, tuple[npt.NDArray[Any], ...]] = {}
    todo = np.arange(len(crystals))
    cutoffs = (3.0 * (k + 1) * crystals.volumes / (4 * np.pi * crystals.n_sites)) ** (1 / 3)
    while len(todo):
        still = []
        for i in todo.tolist():
            near = neighbors_within(crystals[i], float(cutoffs[i]))
            counts = np.bincount(near.centers, minlength=int(crystals.n_sites[i]))
            if counts.min() < k:
                cutoffs[i] *= 1.3
                still.append(i)
                continue
            starts = np.cumsum(counts) - counts
            rank = np.arange(len(near)) - np.repeat(starts, counts)
            kept, start = rank < k, crystals.offsets[i]
            found[i] = (
                near.centers[kept] + start,
                near.neighbors[kept] + start,
                near.images[kept],
                near.vectors[kept],
                near.distances[kept],
            )
        todo = np.array(still, dtype=int)
    return _joined([found[i] for i in range(len(crystals))])


def _joined(parts: list[tuple[npt.NDArray[Any], ...]]) -> Neighbors:
    none = (
        np.zeros(0, int),
        np.zeros(0, int),
        np.zeros((0, 3), int),
        np.zeros((0, 3)),
        np.zeros(0),
    )
    centers, neighbors, images, vectors, distances = map(
        np.concatenate, zip(none, *parts, strict=True)
    )
    counts = [len(part[0]) for part in parts]
    offsets = np.r_[0, np.cumsum(counts)].astype(np.int64)
    return Neighbors(centers, neighbors, images, vectors, distances, offsets)
