"""The Voronoi cells of all sites of a batch: who shares a face, its area and its solid angle.

The cell of a site is dual to the convex hull of its neighbours p, each moved to 2p/|p|²: corners
of the hull are faces of the cell, triangles of the hull its corners, edges its edges. One small
hull a site is all that Qhull does; areas and angles come as sums over the edges of all hulls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull, QhullError

from crystalcodec.crystals import Crystals
from crystalcodec.representations.minimum_images import reduced_cells
from crystalcodec.representations.neighbors.pairs import Neighbors
from crystalcodec.representations.neighbors.search import find_pairs

__all__ = ["CUTOFF", "Faces", "few_enough", "voronoi_faces"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

CUTOFF: Final = 7.0
"""Å. Sites beyond have no part in the cell, even where they would cut it."""

# Neighbours of one site, on average, and of a crystal that are looked at; a cell that is far too
# thin would otherwise have billions of images within its own length.
_MOST_NEIGHBORS: Final = 30_000
_MOST_PAIRS: Final = 3_000_000
# Pairs that are looked at together.
_PART: Final = 300_000
# A facet of the hull nearer to the site than this, 1/Å, is a corner of the cell at infinity.
_INFINITE: Final = 1e-9
# Solid angles of a closed cell sum to 4 pi.
_CLOSED: Final = 1e-5
_CORNERS: Final = np.array([[1, 1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]], float)


@dataclass(frozen=True)
class Faces:
    """Faces of the Voronoi cells, site after site.

    Parameters
    ----------
    centers, neighbors : (n_faces,)
        Sites of the batch on the two sides.
    vectors : (n_faces, 3)
        From the one to the other, Å.
    distances : (n_faces,)
        Their lengths, Å.
    angles : (n_faces,)
        Solid angle that the face takes up, seen from the centre.
    areas : (n_faces,)
        Å².
    open_ : (n_sites_total,)
        Whether the cell of a site could not be found; it has no faces.
    """

    centers: Ints
    neighbors: Ints
    vectors: Floats
    distances: Floats
    angles: Floats
    areas: Floats
    open_: Bools


def voronoi_faces(crystals: Crystals) -> Faces:
    """Faces between each site and its neighbours.

    Of the sites within 7 Å, or, where these leave the cell open, within twice as far and so on
    up to the longest diagonal of the given cell.

    Parameters
    ----------
    crystals
        No two sites in one place, and :func:`few_enough` neighbours.

    Examples
    --------
    >>> cubic = Crystals.single(np.eye(3) * 3.0, [[0, 0, 0]], [84])
    >>> faces = voronoi_faces(cubic)
    >>> faces.areas[faces.areas > 1e-6].round(6).tolist()
    [9.0, 9.0, 9.0, 9.0, 9.0, 9.0]
    """
    n_sites, owner = len(crystals.numbers), crystals.crystal_indices
    most = _longest_diagonals(crystals) + 0.01
    cutoffs = np.full(len(crystals), CUTOFF)
    todo = np.ones(n_sites, bool)
    given_up = np.zeros(len(crystals), bool)
    parts = [_Part(*(np.zeros(0, np.int64),) * 2, np.zeros((0, 3)), *(np.zeros(0),) * 2)]
    while todo.any():
        # A site far from all others asks for more neighbours of its crystal alone.
        for which in _together(crystals, np.unique(owner[todo]), cutoffs):
            part, closed = _faces_within(crystals, which, cutoffs, todo)
            parts.append(part)
            todo[closed] = False
        which = np.unique(owner[todo])
        given_up[which] = cutoffs[which] >= most[which]
        cutoffs[which] = np.minimum(2 * cutoffs[which], most[which] + 0.001)
        given_up[which] |= ~few_enough(crystals[which], cutoffs[which])
        todo &= ~given_up[owner]
    centers = np.concatenate([part.centers for part in parts])
    order = np.argsort(centers, kind="stable")
    neighbors, vectors, angles, areas = (
        np.concatenate([getattr(part, name) for part in parts])[order]
        for name in ("neighbors", "vectors", "angles", "areas")
    )
    return Faces(
        centers[order],
        neighbors,
        vectors,
        np.sqrt(_dot(vectors, vectors)),
        angles,
        areas,
        np.bincount(centers, minlength=n_sites) == 0,
    )


def few_enough(crystals: Crystals, cutoffs: Floats) -> Bools:
    """(n,) whether the pairs within the cut-offs (n,), Å, are few enough to be looked at."""
    each = _n_neighbors(crystals, cutoffs)
    return np.asarray((each <= _MOST_NEIGHBORS) & (each * crystals.n_sites <= _MOST_PAIRS), bool)


def _n_neighbors(crystals: Crystals, cutoffs: Floats) -> Floats:
    """(n,) about how many neighbours a site has within the cut-offs."""
    cells, _ = reduced_cells(crystals.lattices)
    # Lattice planes within reach. In thin cells a site has more images of itself than its share
    # of the volume tells.
    planes = 2 * np.sqrt((np.linalg.inv(cells) ** 2).sum(axis=1)) * cutoffs[:, None]
    spread, images = planes.prod(axis=1) * crystals.n_sites, np.maximum(planes, 1.0).prod(axis=1)
    return np.asarray(np.pi / 6 * np.maximum(spread, images), float)


def _longest_diagonals(crystals: Crystals) -> Floats:
    """(n,) Å, of the cells as they are given."""
    diagonals = _CORNERS @ crystals.lattices
    return np.asarray(np.sqrt((diagonals**2).sum(axis=2)).max(axis=1), float)


def _together(crystals: Crystals, which: Ints, cutoffs: Floats) -> Iterator[Ints]:
    """These crystals in parts of so many pairs."""
    batch = crystals[which]
    pairs = np.cumsum(_n_neighbors(batch, cutoffs[which]) * batch.n_sites)
    cuts = np.flatnonzero(np.diff(pairs // _PART)) + 1
    yield from np.split(which, cuts)


@dataclass(frozen=True)
class _Part:
    """Faces of some sites, as in :class:`Faces`."""

    centers: Ints
    neighbors: Ints
    vectors: Floats
    angles: Floats
    areas: Floats


def _faces_within(
    crystals: Crystals, which: Ints, cutoffs: Floats, todo: Bools
) -> tuple[_Part, Ints]:
    """The faces of sites to do of these crystals, and the sites whose cells are closed."""
    batch = crystals[which]
    found = find_pairs(batch, cutoffs[which])
    pairs = found.rows(found.order, found.offsets)
    # Sites of the part, counted in the whole batch.
    site = np.arange(len(batch.numbers)) + np.repeat(
        crystals.offsets[which] - batch.offsets[:-1], batch.n_sites
    )
    rows, angles, areas = _sums_over_edges(pairs, _hulls(pairs, np.flatnonzero(todo[site])))
    total = np.bincount(pairs.centers[rows], weights=angles, minlength=len(site))
    closed = np.abs(total - 4 * np.pi) < _CLOSED
    kept = closed[pairs.centers[rows]]
    rows = rows[kept]
    part = _Part(
        site[pairs.centers[rows]],
        site[pairs.neighbors[rows]],
        pairs.vectors[rows],
        angles[kept],
        areas[kept],
    )
    return part, site[closed]


@dataclass(frozen=True)
class _Hulls:
    """Triangles of all hulls: rows of pairs, the corner of the cell, the three next to each."""

    triangles: Ints
    vertices: Floats
    beside: Ints


def _hulls(pairs: Neighbors, sites: Ints) -> _Hulls:
    """The dual hulls of the cells of these sites; none for those whose cells are open."""
    duals = 2 * pairs.vectors / (pairs.distances**2)[:, None]
    starts = np.searchsorted(pairs.centers, sites, side="left").tolist()
    stops = np.searchsorted(pairs.centers, sites, side="right").tolist()
    triangles, vertices, beside = [np.zeros((0, 3), int)], [np.zeros((0, 3))], []
    count = 0
    for start, stop in zip(starts, stops, strict=True):
        if stop - start < 4:
            continue
        try:
            hull = ConvexHull(duals[start:stop])
        except QhullError:
            # All neighbours in a plane or on a line.
            continue
        equations = hull.equations
        if (equations[:, 3] > -_INFINITE).any():
            continue
        triangles.append(hull.simplices + start)
        vertices.append(equations[:, :3] / -equations[:, 3:])
        beside.append(hull.neighbors + count)
        count += len(equations)
    return _Hulls(
        np.concatenate(triangles),
        np.concatenate(vertices),
        np.concatenate([np.zeros((0, 3), int), *beside]),
    )


def _sums_over_edges(pairs: Neighbors, hulls: _Hulls) -> tuple[Ints, Floats, Floats]:
    """Rows of the pairs that share a face, its solid angle and its area.

    A face is the sum of triangles with the foot of the site on its plane and the two ends of an
    edge as corners, negative ones where the foot lies outside.
    """
    first = np.repeat(np.arange(len(hulls.triangles)), 3)
    second = hulls.beside.ravel()
    # The triangle next to a corner shares the other two.
    one = hulls.triangles[:, [1, 2, 0]].ravel()
    other = hulls.triangles[:, [2, 0, 1]].ravel()
    once = first < second
    first, second, one, other = first[once], second[once], one[once], other[once]
    ends = hulls.vertices[first], hulls.vertices[second]
    # Each edge counts for the faces on both of its sides.
    face, across = np.concatenate([one, other]), np.concatenate([other, one])
    lengths = np.sqrt(_dot(ends[0] - ends[1], ends[0] - ends[1]))
    radii = np.sqrt(_dot(ends[0], ends[0])), np.sqrt(_dot(ends[1], ends[1]))
    apart = np.tile(lengths, 2)
    height = pairs.distances[face] / 2
    along = _dot(pairs.vectors[face], pairs.vectors[across]) / pairs.distances[face]
    squares = pairs.distances[across] ** 2
    sideways = np.sqrt(np.maximum(squares - along**2, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        out = (squares / 2 - along * height) / sideways
    out = np.where(sideways > 0, out, 0.0)
    base = np.tile(_dot(*ends) + radii[0] * radii[1], 2)
    angle = 2 * np.arctan2(out * apart, base + height * np.tile(radii[0] + radii[1], 2))
    n = len(pairs.centers)
    angles = np.bincount(face, weights=angle, minlength=n)
    areas = np.bincount(face, weights=out * apart / 2, minlength=n)
    rows = np.unique(hulls.triangles)
    return rows, np.asarray(angles[rows], float), np.asarray(areas[rows], float)


def _dot(one: Floats, other: Floats) -> Floats:
    return np.asarray(
        one[:, 0] * other[:, 0] + one[:, 1] * other[:, 1] + one[:, 2] * other[:, 2], float
    )
