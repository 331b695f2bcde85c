"""Cells made compact, and the lattice vectors that can join two sites within reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.geometry import transform, triple_products
from crystalcodec.representations.minimum_images import reduced_cells

__all__ = ["CompactCells", "Steps", "compact_cells", "steps_within"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# A cell is reduced where the box a x b x c is this many times its volume: a reduced cell never
# needs more, and for a less skew one the box of images is small already.
_SKEW: Final = 2.0


@dataclass(frozen=True)
class CompactCells:
    """The crystals in cells without much skew, each site in the cell.

    Parameters
    ----------
    lattices : (n, 3, 3)
        Å; the given ones, or reduced where those are skew.
    coords, cart : (n_sites_total, 3)
        Fractional coordinates in them, in [0, 1); Cartesian ones, Å.
    changes : (n, 3, 3) or None
        Each lattice is its change times the given one; None where none was changed.
    moves : (n_sites_total, 3) or None
        Whole vectors of the given cell by which each site was moved to lie in the compact one.
    """

    lattices: Floats
    coords: Floats
    cart: Floats
    changes: Ints | None
    moves: Ints | None


@dataclass(frozen=True)
class Steps:
    """Lattice vectors of each crystal, in rising order.

    Parameters
    ----------
    images : (n_steps, 3)
        In units of the given cell vectors.
    vectors : (n_steps, 3)
        Å.
    counts : (n,)
        Of each crystal; odd, and the one in the middle is zero.
    radii : (n,)
        Å, no site is further from the middle of the sites.
    middles : (n, 3)
        Å, the middle of the sites.
    """

    images: Ints
    vectors: Floats
    counts: Ints
    radii: Floats
    middles: Floats


def compact_cells(crystals: Crystals) -> CompactCells:
    """The crystals with skew cells reduced."""
    lattices, coords, owner = crystals.lattices, crystals.frac_coords, crystals.crystal_indices
    boxes = np.sqrt((lattices * lattices).sum(axis=2)).prod(axis=1)
    skew = boxes > _SKEW * np.abs(triple_products(lattices))
    if not skew.any():
        return CompactCells(lattices, coords, transform(coords, lattices[owner]), None, None)
    lattices, coords = lattices.copy(), coords.copy()
    whole = np.broadcast_to(np.eye(3), lattices.shape).copy()
    lattices[skew], whole[skew] = reduced_cells(lattices[skew])
    rows = skew[owner]
    inside = transform(coords[rows], np.linalg.inv(whole)[owner[rows]])
    cells = np.floor(inside)
    coords[rows] = inside - cells
    moves = np.zeros((len(coords), 3))
    moves[rows] = transform(cells, whole[owner[rows]])
    return CompactCells(
        lattices,
        coords,
        transform(coords, lattices[owner]),
        np.rint(whole).astype(np.int64),
        np.rint(moves).astype(np.int64),
    )


def steps_within(crystals: Crystals, cells: CompactCells, reach: Floats) -> Steps:
    """The lattice vectors that can bring two sites of a crystal within its reach (n,), Å."""
    n, starts = len(crystals), crystals.offsets[:-1]
    if not n:
        none = np.zeros((0, 3))
        return Steps(none.astype(np.int64), none, np.zeros(0, np.int64), np.zeros(0), none)
    low = np.minimum.reduceat(cells.coords, starts)
    high = np.maximum.reduceat(cells.coords, starts)
    middles = transform((low + high) / 2, cells.lattices)
    apart = cells.cart - middles[crystals.crystal_indices]
    radii = np.sqrt(np.maximum.reduceat((apart * apart).sum(axis=1), starts))
    inverse = np.linalg.inv(cells.lattices)
    heights = 1 / np.sqrt((inverse * inverse).sum(axis=1))
    # Two sites of the cell are at most high - low apart along each axis, before the step.
    most = np.floor(reach[:, None] / heights + (high - low) + 1e-6).astype(np.int64)
    owner, whole = _points(cells.lattices, most, (reach + 2 * radii) * (1 + 1e-6))
    along = transform(whole.astype(float), cells.lattices[owner])
    if cells.changes is not None:
        changed = (cells.changes != np.eye(3, dtype=np.int64)).any(axis=(1, 2))[owner]
        rows = owner[changed]
        whole[changed] = np.einsum("si,sij->sj", whole[changed], cells.changes[rows])
    return Steps(whole, along, np.bincount(owner, minlength=n), radii, middles)


def _points(lattices: Floats, most: Ints, reach: Floats) -> tuple[Ints, Ints]:
    """Points of each lattice within reach (n,) of the origin and up to ``most`` (n, 3) steps.

    Returns the crystal of each point, and the point (n_points, 3), in rising order. Points come
    by lines along the third axis, whose stretch in the sphere follows from a quadratic equation.
    """
    widths = 2 * most[:, :2] + 1
    lines = widths[:, 0] * widths[:, 1]
    owner = np.repeat(np.arange(len(lattices)), lines)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(lines) - lines, lines)
    first, second = np.divmod(rank, widths[owner, 1])
    first -= most[owner, 0]
    second -= most[owner, 1]
    gram = np.einsum("nik,njk->nij", lattices, lattices)
    aa, ab, ac, _, bb, bc, _, _, cc = gram.reshape(-1, 9).T[:, owner]
    squares, along = cc, first * ac + second * bc
    beyond = first * first * aa + 2 * first * second * ab + second * second * bb
    root = along * along - squares * (beyond - (reach * reach)[owner])
    # Lines that miss the sphere have no root; a line and its mirror image round alike.
    inside = root >= 0
    owner, first, second = owner[inside], first[inside], second[inside]
    along, half, squares = along[inside], np.sqrt(root[inside]), squares[inside]
    limit = most[owner, 2]
    low = np.maximum(np.ceil((-along - half) / squares).astype(np.int64), -limit)
    high = np.minimum(np.floor((-along + half) / squares).astype(np.int64), limit)
    counts = np.maximum(high - low + 1, 0)
    line = np.repeat(np.arange(len(owner)), counts)
    third = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts - low, counts)
    return owner[line], np.stack([first[line], second[line], third], axis=1)
