"""Which atoms of crystals lie in a cube, how near they are, and the grid of their species."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import (
    ATOMIC_MASSES,
    ELECTRONEGATIVITIES,
    GROUPS,
    MAX_ATOMIC_NUMBER,
    PERIODS,
)
from crystalcodec.failures import Failure

__all__ = [
    "WEIGHTS",
    "CubeAtoms",
    "Found",
    "NoAtoms",
    "Placed",
    "cells_to_look_at",
    "closest",
    "place",
    "told_by_weight",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WEIGHTS: Final = {
    "Z": np.arange(MAX_ATOMIC_NUMBER + 1.0),
    "one": np.ones(MAX_ATOMIC_NUMBER + 1),
    "mass": ATOMIC_MASSES,
    "electronegativity": ELECTRONEGATIVITIES,
    "group": GROUPS,
    "period": PERIODS,
}
"""Weights of atoms in a density, by name; row Z belongs to the element of atomic number Z."""

# Two elements whose weights are nearer than this, relative, are not told apart by their weight.
_SAME_WEIGHT: Final = 2e-3
_CORNERS: Final = np.array(list(product((0.0, 1.0), repeat=3)))


@dataclass(frozen=True)
class Placed:
    """Atoms in cubes and near them, ragged: one row an atom.

    Parameters
    ----------
    crystals : (t,)
        The crystal of each, rising.
    sites : (t,)
        Its site, counted through the batch.
    positions : (t, 3)
        Where it is, Å; the cube reaches from 0 to its edge.
    shifts : (t, 3)
        The lattice vector, Å, that was added to the site.
    """

    crystals: Ints
    sites: Ints
    positions: Floats
    shifts: Floats


class NoAtoms(Exception):  # noqa: N818
    """Why a cube holds no atoms that can be read: reason and detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Found:
    """The atoms of one cube: positions (s, 3), Å, atomic numbers (s,), agreement of the field."""

    positions: Floats
    numbers: Ints
    confidence: float


@dataclass(frozen=True)
class CubeAtoms:
    """Atoms read from cubes, with no lattice; ragged, one row an atom.

    Parameters
    ----------
    positions : (a, 3)
        Å, from the first point of the cube.
    numbers : (a,)
        Atomic numbers.
    offsets : (m + 1,)
        Atoms of cube ``index[i]`` are ``offsets[i]:offsets[i + 1]``.
    index : (m,)
        Position in the input of each cube that was read.
    failures
        One for each cube that was not.
    confidence : (m,)
        From 0 to 1, how well the field of the atoms agrees with the array.
    """

    positions: Floats
    numbers: Ints
    offsets: Ints
    index: Ints
    failures: tuple[Failure, ...]
    confidence: Floats

    @classmethod
    def of(cls, found: dict[int, Found], failures: Iterable[Failure]) -> CubeAtoms:
        """From the atoms of the cubes that were read, by position."""
        index = sorted(found)
        return cls(
            np.concatenate([np.zeros((0, 3)), *(found[i].positions for i in index)]),
            np.concatenate([np.zeros(0, np.int64), *(found[i].numbers for i in index)]),
            np.cumsum([0, *(len(found[i].numbers) for i in index)]),
            np.array(index, np.int64),
            tuple(failures),
            np.array([found[i].confidence for i in index], float),
        )

    def __len__(self) -> int:
        return len(self.index)


def told_by_weight(weights: Floats) -> npt.NDArray[np.bool_]:
    """(119,) whether no other element has nearly the weight of this one."""
    apart = np.abs(weights[:, None] - weights) > _SAME_WEIGHT * weights[:, None]
    told = (apart | np.eye(len(weights), dtype=bool)).all(axis=1) & (weights > 0)
    return np.asarray(told, bool)


def _ranges(lattices: Floats, edge: float, margin: float) -> tuple[Ints, Ints]:
    """(n, 3) lowest cell along a, b, c that may reach into the cube, and how many."""
    corners = _CORNERS * (edge + 2 * margin) - margin
    coords = corners @ np.linalg.inv(lattices)
    low = np.floor(coords.min(axis=1, initial=np.inf))
    counts = np.floor(coords.max(axis=1, initial=-np.inf)) - low + 1
    return low.astype(np.int64), counts.astype(np.int64)


def cells_to_look_at(lattices: Floats, edge: float, margin: float) -> Floats:
    """(n,) how many cells :func:`place` looks at: very many for a flat or skew cell."""
    return np.asarray(_ranges(lattices, edge, margin)[1].astype(float).prod(axis=1), float)


def place(crystals: Crystals, edge: float, margin: float) -> Placed:
    """Atoms of endless crystals in a cube, and up to ``margin`` (Å) from its nearest point.

    The origin of the cell lies at the corner (0, 0, 0) of the cube.
    """
    low, counts = _ranges(crystals.lattices, edge, margin)
    cells = counts.prod(axis=1)
    crystal = np.repeat(np.arange(len(crystals)), cells)
    rank = np.arange(len(crystal)) - np.repeat(np.cumsum(cells) - cells, cells)
    size = counts[crystal]
    b, c = size[:, 1], size[:, 2]
    steps = np.stack([rank // (b * c), rank // c % b, rank % c], axis=1) + low[crystal]
    shifts = np.einsum("ti,tij->tj", steps.astype(float), crystals.lattices[crystal])
    # Cells whose box does not meet the cube hold no atom of it.
    box = _CORNERS @ crystals.lattices
    lowest = shifts + box.min(axis=1, initial=np.inf)[crystal]
    highest = shifts + box.max(axis=1, initial=-np.inf)[crystal]
    near = ((lowest <= edge + margin) & (highest >= -margin)).all(axis=1)
    crystal, shifts = crystal[near], shifts[near]

    per_cell = crystals.n_sites[crystal]
    cell = np.repeat(np.arange(len(crystal)), per_cell)
    first = crystals.offsets[crystal] - (np.cumsum(per_cell) - per_cell)
    sites = np.arange(len(cell)) + first[cell]
    positions = crystals.cart_coords[sites] + shifts[cell]
    beyond = np.maximum(np.maximum(-positions, positions - edge), 0.0)
    kept = np.flatnonzero((beyond * beyond).sum(axis=1) <= margin * margin)
    cell = cell[kept]
    return Placed(crystal[cell], sites[kept], positions[kept], shifts[cell])


def closest(crystals: Crystals, distance: float, endless: bool) -> Floats:
    """(n,) the shortest distance of two atoms of each crystal, where it is below ``distance``.

    Infinite where there is none. Only the atoms of one cell are looked at, unless the crystal is
    ``endless``: then all images are.
    """
    counts = crystals.n_sites
    nearest = np.full(len(crystals), np.inf)
    owner = crystals.crystal_indices
    partners = counts[owner]
    one = np.repeat(np.arange(len(owner)), partners)
    rank = np.arange(len(one)) - np.repeat(np.cumsum(partners) - partners, partners)
    other = crystals.offsets[owner[one]] + rank
    # An image nearer than the distance is at most this many planes from the nearest one.
    inverse = np.linalg.inv(crystals.lattices)
    reach = np.floor(distance * np.linalg.norm(inverse, axis=1) + 0.5).astype(np.int64)
    pairs = (other > one) | ((other == one) & (reach[owner[one]] > 0).any(axis=1) & endless)
    one, other = one[pairs], other[pairs]
    crystal = owner[one]
    difference = crystals.frac_coords[other] - crystals.frac_coords[one]
    if endless:
        difference = difference - np.rint(difference)
    most = reach.max(axis=0, initial=0).tolist() if endless else [0, 0, 0]
    for steps in product(*(range(-k, k + 1) for k in most)):
        here = (np.abs(steps) <= reach[crystal]).all(axis=1)
        if not any(steps):
            here &= one != other
        vectors = np.einsum(
            "si,sij->sj", difference[here] + np.array(steps), crystals.lattices[crystal[here]]
        )
        lengths = np.sqrt((vectors * vectors).sum(axis=1))
        np.minimum.at(nearest, crystal[here], lengths)
    return np.where(nearest < distance, nearest, np.inf)
