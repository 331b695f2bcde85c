"""The k smallest distances of every site, whole batches at once, mostly without lists of pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.representations.minimum_images import reduced_cells
from crystalcodec.representations.neighbors import nearest_neighbors

__all__ = ["nearest_distances", "parts_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Candidate distances held at once: the arrays of a block stay in the cache of one core.
_BLOCK: Final = 40_000
# Distances held at once in float64 before they are averaged or merged.
_PART: Final = 5_000_000
# The first radius holds k neighbours on average; this much more spares most crystals a second
# search.
_MARGIN: Final = 1.08
# Here every site is compared with all others; in cells of more sites a search by place is faster.
_LARGE: Final = 300
_CORNERS: Final = np.array([[1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]], float) / 2


def parts_of(crystals: Crystals, k: int) -> Iterator[Crystals]:
    """The batch in parts whose k distances a site take some 40 MB."""
    sites, start = max(1, _PART // k), 0
    while start < len(crystals):
        last = crystals.offsets[start] + sites
        stop = max(start + 1, int(np.searchsorted(crystals.offsets, last, "right")) - 1)
        yield crystals[start:stop]
        start = stop


def nearest_distances(crystals: Crystals, k: int) -> Floats:
    """(n_sites_total, k) distances, Å, from each site to its k nearest neighbours, rising.

    Every site of the infinite crystal counts but the site itself; its own images do count, and so
    does another site in the same place, at distance 0. Sites at the same distance count each.

    Examples
    --------
    >>> cubic = Crystals.single(np.eye(3) * 3.0, [[0, 0, 0]], [84])
    >>> nearest_distances(cubic, 7).round(3).tolist()
    [[3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 4.243]]
    """
    cells, changes = reduced_cells(crystals.lattices)
    owner = crystals.crystal_indices
    coords = _rows_times(crystals.frac_coords, np.asarray(np.linalg.inv(changes), float)[owner])
    # No site is further from any other than half a diagonal of the cell, up to a lattice vector.
    reach = np.sqrt(((_CORNERS @ cells) ** 2).sum(axis=2)).max(axis=1)
    radii = _MARGIN * (3.0 * k * crystals.volumes / (4 * np.pi * crystals.n_sites)) ** (1 / 3)
    found = np.empty((len(owner), k))
    large = crystals.n_sites > _LARGE
    if large.any():
        listed = nearest_neighbors(crystals[large], k)
        found[large[owner]] = np.sort(listed.distances.reshape(-1, k), axis=1)
    todo = np.flatnonzero(~large)
    while len(todo):
        found_now = _search(cells, coords, crystals.offsets, todo, radii + reach, k)
        rows = np.flatnonzero(np.isin(owner, todo))
        found[rows] = found_now
        furthest = np.zeros(len(crystals))
        np.maximum.at(furthest, owner[rows], found_now[:, -1])
        # All images within the radius were looked at; what was found beyond bounds the k-th one.
        open_ = furthest[todo] > radii[todo]
        todo = todo[open_]
        wider = np.where(np.isfinite(furthest[todo]), furthest[todo] * (1 + 1e-9), np.inf)
        radii[todo] = np.minimum(wider, 2 * radii[todo] + reach[todo])
    return found


def _search(
    cells: Floats, coords: Floats, offsets: Ints, todo: Ints, radii: Floats, k: int
) -> Floats:
    """The k smallest distances of the sites of some crystals, of images of the cell within radii.

    Rows follow the order of the crystals in ``todo``; infinite where fewer images were there.
    """
    vectors, starts = _translations(cells[todo], radii[todo])
    n_vectors = np.diff(starts)
    n_sites = np.diff(offsets)[todo]
    # One row a site; rows of like size come together, so that little is padded.
    crystal = np.repeat(np.arange(len(todo)), n_sites)
    site = np.arange(len(crystal)) + np.repeat(
        offsets[todo] - np.r_[0, np.cumsum(n_sites)[:-1]], n_sites
    )
    order = np.lexsort((n_vectors[crystal], n_sites[crystal]))
    found = np.empty((len(order), k))
    start = 0
    while start < len(order):
        size = int(n_sites[crystal[order[start]]] * n_vectors[crystal[order[start]]])
        rows = order[start : start + max(1, _BLOCK // size)]
        # Sorted by size, a block ends where rows have grown by half.
        sizes = n_sites[crystal[rows]] * n_vectors[crystal[rows]]
        rows = rows[: max(1, int(np.argmax(np.r_[sizes, np.inf] > 1.5 * size + 64)))]
        of = crystal[rows]
        others = _padded(offsets[todo[of]], n_sites[of])
        images = _padded(starts[of], n_vectors[of])
        between = coords[others[0]] - coords[site[rows], None]
        between -= np.rint(between)
        here = _rows_times(between, cells[todo[of], None])
        here[others[1]] = np.inf
        there = vectors[images[0]]
        squares = np.zeros((*here.shape[:2], there.shape[1]))
        for axis in range(3):
            step = here[:, :, None, axis] + there[:, None, :, axis]
            squares += step * step
        squares.transpose(0, 2, 1)[images[1]] = np.inf
        # The translation by nothing is the first: a site is no neighbour of itself.
        squares[np.arange(len(rows)), site[rows] - offsets[todo[of]], 0] = np.inf
        found[rows] = _smallest(squares.reshape(len(rows), -1), k)
        start += len(rows)
    return np.sqrt(found)


def _smallest(squares: Floats, k: int) -> Floats:
    """(rows, k) the k smallest of each row, rising; infinite where there are fewer."""
    if squares.shape[1] > k:
        squares = np.partition(squares, k - 1, axis=1)[:, :k]
    squares = np.sort(squares, axis=1)
    missing = k - squares.shape[1]
    return np.pad(squares, ((0, 0), (0, missing)), constant_values=np.inf)


def _translations(cells: Floats, radii: Floats) -> tuple[Floats, Ints]:
    """Lattice vectors, Å, no longer than the radius of each cell, and where each cell's start.

    The zero vector comes first.
    """
    # The spacing of the lattice planes is the inverse length of a reciprocal vector.
    inverse = np.asarray(np.linalg.inv(cells), float)
    most = np.floor(radii[:, None] * np.sqrt((inverse**2).sum(axis=1))).astype(np.int64)
    sides = 2 * most + 1
    counts = sides.prod(axis=1)
    cell = np.repeat(np.arange(len(cells)), counts)
    place = np.arange(len(cell)) - np.repeat(np.cumsum(counts) - counts, counts)
    # Counted from the middle, so that the zero vector is the first.
    place = (place + counts[cell] // 2) % counts[cell]
    steps = np.empty((len(cell), 3))
    for axis in (2, 1, 0):
        place, step = np.divmod(place, sides[cell, axis])
        steps[:, axis] = step - most[cell, axis]
    vectors = _rows_times(steps, cells[cell])
    kept = (vectors**2).sum(axis=1) <= (radii**2)[cell]
    starts = np.r_[0, np.cumsum(np.bincount(cell[kept], minlength=len(cells)))]
    return vectors[kept], starts.astype(np.int64)


def _padded(starts: Ints, counts: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """(rows, most) positions from each start on, the last repeated, and which are repeats."""
    step = np.arange(int(counts.max()))
    return starts[:, None] + np.minimum(step, counts[:, None] - 1), step >= counts[:, None]


def _rows_times(rows: Floats, matrices: npt.NDArray[Any]) -> Floats:
    """Each row times its matrix, summed in the same order for any batch."""
    out = rows[..., 0:1] * matrices[..., 0, :]
    out += rows[..., 1:2] * matrices[..., 1, :]
    out += rows[..., 2:3] * matrices[..., 2, :]
    return np.asarray(out, float)
