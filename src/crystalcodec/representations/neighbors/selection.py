"""Neighbours by distance and by number, in an order that round-off does not decide."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.representations.neighbors.cells import compact_cells
from crystalcodec.representations.neighbors.pairs import Neighbors
from crystalcodec.representations.neighbors.search import TOLERANCE, Found, find_pairs

__all__ = ["nearest_neighbors", "neighbors_within"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Ties = Literal["cut", "kept"]

# Distances are ranked as multiples of this, Å: whole numbers make one key with the site.
_GRAIN: Final = 2.0**-31
# First reach for k neighbours, in units of the sphere that holds as many sites on average.
_FIRST: Final = 1.15
_MORE: Final = 1.3
# Of the tolerance of ties: nearer than these, sites follow one another without an end.
_SPACING: Final = 100.0
_STEP: Final = 10.0


def neighbors_within(
    crystals: Crystals,
    cutoff: float,
    *,
    order: Literal["distance", "site"] = "distance",
    tie_tolerance: float = TOLERANCE,
) -> Neighbors:
    """All pairs of sites whose distance is at most ``cutoff`` Å (and 1e-8 Å: whole shells).

    Parameters
    ----------
    crystals
        Any crystals.
    cutoff
        Å, above zero.
    order
        Of the rows of one site: ``distance``; or ``site``: by neighbour, then image, which is
        faster.
    tie_tolerance
        Å. Distances of a site that follow one another by less than this count as equal, and equal
        ones stand by neighbour, then image.

    Examples
    --------
    >>> cubic = Crystals.single(np.eye(3) * 3.0, [[0, 0, 0]], [84])
    >>> near = neighbors_within(cubic, 3.5)
    >>> len(near), near.distances.tolist()
    (6, [3.0, 3.0, 3.0, 3.0, 3.0, 3.0])
    """
    found = find_pairs(crystals, np.full(len(crystals), float(cutoff)))
    if order == "site":
        return found.rows(found.order, found.offsets)
    ranked = _ranked(found, tie_tolerance)[0]
    return found.rows(found.order[ranked], found.offsets)


def nearest_neighbors(
    crystals: Crystals,
    k: int,
    *,
    cutoff: float | None = None,
    ties: Ties = "cut",
    tie_tolerance: float = TOLERANCE,
) -> Neighbors:
    """The k nearest neighbours of every site, by distance.

    Parameters
    ----------
    crystals
        Any crystals.
    k
        Rows of each site.
    cutoff
        Å; a site with fewer than k neighbours within it keeps those that it has. Without one
        every site has k.
    ties
        What becomes of neighbours as near as the k-th: ``kept``, all of them, so that a site may
        have more than k rows; ``cut``, those that stand first in the order at ties, by neighbour
        and image.
    tie_tolerance
        As for :func:`neighbors_within`.

    Examples
    --------
    >>> cubic = Crystals.single(np.eye(3) * 3.0, [[0, 0, 0]], [84])
    >>> len(nearest_neighbors(cubic, 4)), len(nearest_neighbors(cubic, 4, ties="kept"))
    (4, 6)
    """
    if not len(crystals):
        return neighbors_within(crystals, 1.0)
    limit = np.inf if cutoff is None else float(cutoff)
    volumes = crystals.volumes / crystals.n_sites
    reach = np.minimum(_FIRST * (3.0 * (k + 1) * volumes / (4 * np.pi)) ** (1 / 3), limit)
    todo = np.arange(len(crystals))
    parts: list[Neighbors] = []
    while len(todo):
        batch = crystals if len(todo) == len(crystals) else crystals[todo]
        found = find_pairs(batch, reach[todo])
        kept, short = _first(found, batch, reach[todo], k, ties, tie_tolerance)
        short &= reach[todo] < limit
        kept = kept[~short[batch.crystal_indices[found.centers[kept]]]]
        part = found.rows(kept, _offsets_of(found.centers[kept], batch))
        if len(todo) == len(crystals) and not short.any():
            return part
        parts.append(_in_batch(part, batch, crystals, todo))
        todo = todo[short]
        reach[todo] = np.minimum(reach[todo] * _MORE, limit)
    return _joined(parts, crystals)


def without_shells(
    crystals: Crystals, tie_tolerance: float
) -> tuple[npt.NDArray[np.bool_], str, Callable[[int], str]]:
    """Crystals whose neighbours with ties would not end: a collapsed cell, that no crystal has.

    Each distance is then as good as equal to the one before.

    Returns
    -------
    found, reason, detail
        (n,) whether it is so; for :meth:`FailureNotes.add`.
    """
    spacings = np.cbrt(crystals.volumes / crystals.n_sites)
    lattices = compact_cells(crystals).lattices
    steps = np.sqrt((lattices * lattices).sum(axis=2)).min(axis=1)
    found = (spacings < _SPACING * tie_tolerance) | (steps < _STEP * tie_tolerance)
    return (
        found,
        "cell too small",
        lambda i: (
            f"{crystals.n_sites[i]} sites in {crystals.volumes[i]:.2g} Å³, the shortest vector "
            f"{steps[i]:.2g} Å: distances are told apart by {tie_tolerance:g} Å"
        ),
    )


def _ranked(found: Found, tie_tolerance: float) -> tuple[Ints, Ints, Ints]:
    """Rows of each site by distance, equal ones in their order; the shell and grains of each.

    Shells are numbered through the batch. Within one the grains rise, whatever its rows do.
    """
    centers = found.centers[found.order].astype(np.int64)
    grains = (found.distances() / _GRAIN).astype(np.int64)
    bits = int(grains.max(initial=0)).bit_length()
    if bits + int(centers.max(initial=0)).bit_length() < 63:
        order = np.argsort((centers << bits) | grains)
    else:
        order = np.lexsort((grains, centers))
    centers, grains = centers[order], grains[order]
    first = np.ones(len(order), bool)
    first[1:] = (centers[1:] != centers[:-1]) | (np.diff(grains) > tie_tolerance / _GRAIN)
    shells = np.cumsum(first)
    # The sort above is not stable; this one puts the rows of a shell in their order.
    order = np.sort((shells << 32) | order) & 0xFFFFFFFF
    return order, shells, grains


def _first(
    found: Found,
    crystals: Crystals,
    reach: Floats,
    k: int,
    ties: Ties,
    tie_tolerance: float,
) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Rows of the first k of each site, and (n,) the crystals whose reach was too short."""
    order, shells, grains = _ranked(found, tie_tolerance)
    n_sites = len(crystals.numbers)
    counts = np.bincount(found.centers, minlength=n_sites)
    starts = np.cumsum(counts) - counts
    short = counts < k
    last = starts[~short] + k - 1
    ends = np.searchsorted(shells, shells[last], side="right")
    # A shell is whole where the reach goes on beyond its last member without another.
    owner = crystals.crystal_indices
    most = (grains[ends - 1] + 1) * _GRAIN + tie_tolerance
    short[~short] = most >= reach[owner[~short]]
    rank = np.arange(len(order)) - np.repeat(starts, counts)
    limits = np.full(n_sites, k)
    if ties == "kept":
        enough = counts >= k
        limits[enough] = ends - starts[enough]
    taken = rank < np.repeat(limits, counts)
    return found.order[order[taken]], np.logical_or.reduceat(short, crystals.offsets[:-1])


def _offsets_of(centers: npt.NDArray[np.int32], crystals: Crystals) -> Ints:
    """(n + 1,) where the rows of each crystal start, of rows by rising centre."""
    return np.searchsorted(centers, crystals.offsets).astype(np.int64)


def _in_batch(part: Neighbors, batch: Crystals, crystals: Crystals, which: Ints) -> Neighbors:
    """The same rows with sites counted in all crystals, of which ``batch`` holds ``which``."""
    shifts = (crystals.offsets[which] - batch.offsets[:-1])[batch.crystal_indices]
    return dataclasses.replace(
        part,
        centers=part.centers + shifts[part.centers],
        neighbors=part.neighbors + shifts[part.neighbors],
    )


def _joined(parts: list[Neighbors], crystals: Crystals) -> Neighbors:
    """Rows of all parts, each crystal in one of them, in the order of the crystals."""
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("centers", "neighbors", "images", "vectors", "distances")
    }
    counts = np.bincount(crystals.crystal_indices[columns["centers"]], minlength=len(crystals))
    # Rows of a site stand together in their order, which a stable sort keeps.
    order = np.argsort(columns["centers"], kind="stable")
    columns = {name: column[order] for name, column in columns.items()}
    return Neighbors(**columns, offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
