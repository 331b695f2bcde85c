"""All pairs of sites within reach, whole batches at once.

For sites i, j and a lattice vector T the squared distance is ``|d|² + |T|² + 2 d·T`` with
``d = x_j - x_i``: for a crystal one matrix product of all (i, j) with all T. In float32 that
tells, with a margin for its rounding, which few pairs can be near enough; those are then measured
in float64. Crystals of the same number of sites go through it together, as many as fit the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pymatgen.optimization.neighbors import find_points_in_spheres

from crystalcodec.crystals import Crystals
from crystalcodec.representations.neighbors.cells import (
    CompactCells,
    Steps,
    compact_cells,
    steps_within,
)
from crystalcodec.representations.neighbors.pairs import Neighbors

__all__ = ["TOLERANCE", "Found", "find_pairs"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Columns = tuple[Int32s, Int32s, Int32s]

TOLERANCE: Final = 1e-8
"""Å by which a distance may exceed the cut-off: a shell at the cut-off stays whole."""

# Pairs (i, j, T) of a block: its float32 distances stay in the cache.
_BLOCK: Final = 2**18
_PART: Final = 2**12
# Of the largest squared length in the product; float32 rounds at 6e-8.
_MARGIN: Final = np.float32(2e-6)
_FAR: Final = np.float32(1e30)
# With more sites most pairs are far apart, and a grid of boxes finds the near ones sooner.
_MANY_SITES: Final = 160


@dataclass(frozen=True)
class Found:
    """Pairs in the order in which they were found, and the order in which they belong.

    Parameters
    ----------
    centers, neighbors, steps : (n_pairs,)
        Sites of the batch, and the row of the step that leads to the image.
    order : (n_pairs,)
        Crystal after crystal, by centre, then neighbour, then image.
    offsets : (n + 1,)
        Of crystals, in that order.
    cart : (n_sites_total, 3)
        Å, of the compact cells.
    step_vectors, step_images : (n_steps, 3)
        Å, and whole cell vectors.
    moves : (n_sites_total, 3) or None
        As in :class:`CompactCells`.
    """

    centers: Int32s
    neighbors: Int32s
    steps: Int32s
    order: Ints
    offsets: Ints
    cart: Floats
    step_vectors: Floats
    step_images: Ints
    moves: Ints | None

    def distances(self) -> Floats:
        """(n_pairs,) Å, in the order in which pairs belong."""
        distances = np.empty(len(self.order))
        for part in _parts(len(self.order)):
            vectors = self._vectors(self.order[part])
            distances[part] = _lengths(vectors)
        return distances

    def rows(self, taken: Ints, offsets: Ints) -> Neighbors:
        """The pairs at these places, in this order."""
        n = len(taken)
        centers, neighbors = np.empty(n, np.int64), np.empty(n, np.int64)
        images, vectors = np.empty((n, 3), np.int64), np.empty((n, 3))
        distances = np.empty(n)
        for part in _parts(n):
            places = taken[part]
            center, neighbor = self.centers[places], self.neighbors[places]
            image = self.step_images.take(self.steps[places], axis=0)
            if self.moves is not None:
                image += self.moves.take(center, axis=0)
                image -= self.moves.take(neighbor, axis=0)
            vector = self._vectors(places)
            centers[part], neighbors[part], images[part] = center, neighbor, image
            vectors[part], distances[part] = vector, _lengths(vector)
        return Neighbors(centers, neighbors, images, vectors, distances, offsets)

    def _vectors(self, places: Ints) -> Floats:
        vectors = self.cart.take(self.neighbors[places], axis=0)
        vectors -= self.cart.take(self.centers[places], axis=0)
        vectors += self.step_vectors.take(self.steps[places], axis=0)
        return vectors


def _lengths(vectors: Floats) -> Floats:
    x, y, z = vectors.T
    return np.asarray(np.sqrt(x * x + y * y + z * z), float)


def _parts(n: int) -> Iterator[slice]:
    """Slices whose columns stay in the cache; large arrays made on the way cost more than sums."""
    for start in range(0, n, _PART):
        yield slice(start, min(start + _PART, n))


def find_pairs(crystals: Crystals, cutoffs: Floats) -> Found:
    """All pairs of sites of each crystal within its cut-off (n,), Å."""
    n = len(crystals)
    cells = compact_cells(crystals)
    few = crystals.n_sites <= _MANY_SITES
    reach = cutoffs + TOLERANCE
    steps = steps_within(crystals, cells, np.where(few, reach, 0.0))
    parts: list[Columns] = [(np.zeros(0, np.int32),) * 3]
    counts = np.zeros(n, np.int64)
    sequence = [np.zeros(0, np.int64)]
    for block in _blocks(crystals, steps, few):
        columns, counts[block] = _near(crystals, cells, steps, block, reach)
        parts.append(columns)
        sequence.append(block)
    vectors, images = [steps.vectors], [steps.images]
    for i in np.flatnonzero(~few).tolist():
        columns, image = _near_of_many_sites(crystals, cells, i, float(reach[i]))
        columns[2][:] += sum(map(len, images))
        parts.append(columns)
        sequence.append(np.array([i]))
        counts[i] = len(image)
        images.append(image if cells.changes is None else image @ cells.changes[i])
        vectors.append(_times(image.astype(float), cells.lattices[i]))
    centers, neighbors, taken = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return Found(
        centers,
        neighbors,
        taken,
        _places(np.concatenate(sequence), counts),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        cells.cart,
        np.concatenate(vectors) if len(vectors) > 1 else vectors[0],
        np.concatenate(images) if len(images) > 1 else images[0],
        cells.moves,
    )


def _places(sequence: Ints, counts: Ints) -> Ints:
    """Where the rows of crystal 0, 1, ... stand, that were written in this sequence of crystals."""
    starts = np.empty(len(counts), np.int64)
    written = counts[sequence]
    starts[sequence] = np.cumsum(written) - written
    shifts = starts - (np.cumsum(counts) - counts)
    return np.repeat(shifts, counts) + np.arange(int(counts.sum()))


def _blocks(crystals: Crystals, steps: Steps, few: npt.NDArray[np.bool_]) -> Iterator[Ints]:
    """Crystals of the same number of sites and about as many steps, a cache full at a time."""
    sizes = crystals.n_sites
    order = np.lexsort((steps.counts, sizes))
    order = order[few[order]]
    sizes, widths = sizes[order], steps.counts[order]
    start = 0
    while start < len(order):
        size = int(sizes[start])
        stop = int(np.searchsorted(sizes, size, side="right"))
        entries = widths[start:stop] * np.arange(1, stop - start + 1) * size * size
        stop = start + max(1, int(np.searchsorted(entries, _BLOCK, side="right")))
        yield order[start:stop]
        start = stop


def _near(
    crystals: Crystals, cells: CompactCells, steps: Steps, block: Ints, reach: Floats
) -> tuple[Columns, Ints]:
    """The pairs of crystals of one number of sites, and how many each has."""
    n, size = len(block), int(crystals.n_sites[block[0]])
    counts, starts = steps.counts[block], (np.cumsum(steps.counts) - steps.counts)[block]
    width = int(counts.max())
    site = crystals.offsets[block][:, None] + np.arange(size)
    step = starts[:, None] + np.minimum(np.arange(width), counts[:, None] - 1)
    cart = cells.cart[site]
    apart = (cart[:, None, :, :] - cart[:, :, None, :]).reshape(n, size * size, 3)
    along = steps.vectors[step]

    # |d|² + |T|² + 2 d·T, the first of it on the side of the limit.
    pairs = np.ones((n, size * size, 4), np.float32)
    np.multiply(apart, 2, out=pairs[..., :3], casting="same_kind")
    lattice = np.empty((n, 4, width), np.float32)
    lattice[:, :3] = along.transpose(0, 2, 1)
    lattice[:, 3] = (along * along).sum(axis=2)
    lattice[:, 3][np.arange(width) >= counts[:, None]] = _FAR
    squares = pairs @ lattice
    longest = (reach[block] + 4 * steps.radii[block]) ** 2
    limits = (reach[block] ** 2)[:, None] - (apart * apart).sum(axis=2)
    margins = _MARGIN * longest[:, None]
    near = squares <= (limits + margins).astype(np.float32)[..., None]
    # A site and itself: the diagonal of the pairs, the step in the middle.
    near[np.arange(n)[:, None], np.arange(size) * (size + 1), (counts // 2)[:, None]] = False

    flat = np.flatnonzero(near)
    row = flat // width
    first = np.repeat(starts, size * size) - np.arange(n * size * size) * width
    columns = _columns(site, size, row, flat + first[row])
    sure = np.count_nonzero(squares <= (limits - margins).astype(np.float32)[..., None])
    if sure - n * size < len(flat):
        vectors = cells.cart[columns[1]] - cells.cart[columns[0]] + steps.vectors[columns[2]]
        within = _lengths(vectors) <= reach[block][row // (size * size)]
        flat = flat[within]
        columns = columns[0][within], columns[1][within], columns[2][within]
    ends = np.searchsorted(flat, np.arange(1, n + 1) * (size * size * width))
    return columns, np.diff(ends, prepend=0)


def _columns(site: Ints, size: int, row: Ints, steps: Ints) -> Columns:
    """Centres and neighbours of pairs (i, j) by their row in the block, beside their steps."""
    centers = np.repeat(site.astype(np.int32), size, axis=1).ravel()
    neighbors = np.tile(site.astype(np.int32), (1, size)).ravel()
    return centers[row], neighbors[row], steps.astype(np.int32)


def _near_of_many_sites(
    crystals: Crystals, cells: CompactCells, i: int, reach: float
) -> tuple[Columns, Ints]:
    """The pairs of one large crystal, and the image of each in its compact cell."""
    start, stop = crystals.offsets[i : i + 2].tolist()
    sites, lattice = np.ascontiguousarray(cells.cart[start:stop]), np.array(cells.lattices[i])
    every = np.array([1, 1, 1], dtype=np.int64)
    center, other, image, _ = find_points_in_spheres(
        sites, sites, r=reach, pbc=every, lattice=lattice, tol=1e-8
    )
    image = np.rint(image).astype(np.int64)
    vectors = sites[other] - sites[center] + _times(image.astype(float), lattice)
    kept = (_lengths(vectors) <= reach) & ((center != other) | image.any(axis=1))
    center, other, image = center[kept], other[kept], image[kept]
    order = np.lexsort((image[:, 2], image[:, 1], image[:, 0], other, center))
    columns = (
        (center[order] + start).astype(np.int32),
        (other[order] + start).astype(np.int32),
        np.arange(len(order), dtype=np.int32),
    )
    return columns, image[order]


def _times(rows: Floats, matrix: Floats) -> Floats:
    return np.asarray(np.einsum("si,ij->sj", rows, matrix), float)
