"""Values, weights and spectra of all pairs and triples of atoms, in bounded pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.representations.mbtr.blocks import Blocks, Elements, pair_numbers
from crystalcodec.representations.mbtr.pairs import (
    MOST_SITES,
    LatticePoints,
    SitePairs,
    distances_of,
    own_images,
    pieces,
)
from crystalcodec.representations.mbtr.terms import Term
from crystalcodec.representations.neighbors import Neighbors, neighbors_within

__all__ = ["spectra_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# What a piece of a batch may take. Crystals that take more stand alone, cut in pieces that begin
# with their own first pair: no sum depends on the batch that a crystal is in.
_PAIRS: Final = 100_000
_TRIPLES: Final = 40_000
_CANDIDATES: Final = 60_000
_SUMS: Final = 1_000_000


def spectra_of(
    term: Term, crystals: Crystals, elements: Elements, blocks: Blocks
) -> Iterator[tuple[int, int, Floats]]:
    """Spectra, not normalised, piece after piece.

    Yields
    ------
    start, stop
        Crystals of the piece.
    spectra : (n_blocks_of_the_piece, n)
        Their spectra, in the order of the blocks.
    """
    sums = np.diff(blocks.offsets) * term.broadening.n_sums
    if term.k == 1:
        table = term.broadening.exactly(np.arange(MAX_ATOMIC_NUMBER + 1))
        for start, stop in pieces(sums, _SUMS):
            own = slice(blocks.offsets[start], blocks.offsets[stop])
            yield start, stop, table[elements.numbers[own]] * elements.amounts[own, None]
        return
    # Of a uniform crystal; what is really there is cut again where it is more.
    ball = 4 / 3 * np.pi * term.reach**3
    pairs = crystals.n_sites * (1 + ball * crystals.n_sites / crystals.volumes)
    costs = np.maximum(pairs / _PAIRS, sums / _SUMS)
    small = (crystals.n_sites <= MOST_SITES) & (term.k == 2)
    # Two ways of finding pairs: crystals of large cells stand alone, whatever is beside them.
    costs[~small & (term.k == 2)] = 2
    for start, stop in pieces(costs, 1):
        piece = crystals[start:stop]
        sites = elements.of_sites[crystals.offsets[start] : crystals.offsets[stop]]
        offsets = blocks.offsets[start : stop + 1] - blocks.offsets[start]
        rows = _Rows.of(offsets, sites, elements.counts[start:stop], piece.crystal_indices)
        if term.k == 3:
            yield start, stop, _of_triples(term, neighbors_within(piece, term.reach), rows)
        elif small[start]:
            yield start, stop, _of_small_cells(term, piece, rows)
        else:
            yield start, stop, _of_pairs(term, neighbors_within(piece, term.reach), rows)


@dataclass(frozen=True)
class _Rows:
    """Where the spectra of pairs and triples stand, looked up by site.

    The spectrum of a pair is ``pairs[tables[i] + elements[j]]``, that of a triple with i and k at
    its ends the same plus ``middles[j]``.
    """

    n: int
    offsets: Ints
    elements: Ints
    tables: Ints
    middles: Ints
    pairs: Ints

    @classmethod
    def of(cls, offsets: Ints, elements: Ints, counts: Ints, owner: Ints) -> _Rows:
        """For crystals of so many elements each, and sites of these."""
        sizes = counts * counts
        starts = np.cumsum(sizes) - sizes
        crystal = np.repeat(np.arange(len(counts)), sizes)
        place, n = np.arange(len(crystal)) - starts[crystal], counts[crystal]
        pairs = offsets[crystal] + pair_numbers(place // n, place % n, n)
        middles = elements * (counts * (counts + 1) // 2)[owner]
        tables = starts[owner] + elements * counts[owner]
        return cls(int(offsets[-1]), offsets, elements, tables, middles, pairs)


def _of_pairs(term: Term, near: Neighbors, rows: _Rows) -> Floats:
    """Spectra of pairs; each pair is in the list from both of its ends, and is counted once."""
    x, y, z = near.images.T
    # Of a pair and its reverse, the one that goes forward.
    forward = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    same = near.centers == near.neighbors
    forward = np.where(same, forward, near.centers < near.neighbors)
    forward &= near.distances < term.reach
    kept = np.flatnonzero(forward)
    values, weights = term.of_pairs(near.distances[kept])
    places = rows.pairs[rows.tables[near.centers[kept]] + rows.elements[near.neighbors[kept]]]
    sums = term.broadening.gather(places, values, weights, rows.n)
    return term.broadening.spectra(sums, rows.n)


def _of_small_cells(term: Term, crystals: Crystals, rows: _Rows) -> Floats:
    """Spectra of pairs, without a search for neighbours."""
    pairs = SitePairs.of(crystals)
    filled = np.flatnonzero(np.diff(pairs.offsets))
    longest = np.zeros(len(crystals))
    if len(filled):
        longest[filled] = np.maximum.reduceat(pairs.lengths, pairs.offsets[filled])
    points = LatticePoints.of(crystals, term.reach + longest)
    counts = np.repeat(np.diff(points.offsets), np.diff(pairs.offsets))
    places = rows.pairs[rows.tables[pairs.first] + rows.elements[pairs.second]]
    totals = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])[pairs.offsets]
    spectra = np.empty((rows.n, term.n))
    for start, stop in pieces(np.diff(totals), _CANDIDATES):
        first, n = rows.offsets[start], int(rows.offsets[stop] - rows.offsets[start])
        sites, distances = own_images(crystals, points, start, stop, term.reach)
        own = rows.pairs[rows.tables[sites] + rows.elements[sites]]
        sums = term.broadening.gather(own - first, *term.of_pairs(distances), n)
        begin = int(pairs.offsets[start])
        for low, high in pieces(counts[begin : pairs.offsets[stop]], _CANDIDATES):
            part = slice(begin + low, begin + high)
            whose, distances = distances_of(pairs, points, part, counts, term.reach)
            own = places[whose]
            sums += term.broadening.gather(own - first, *term.of_pairs(distances), n)
        spectra[first : first + n] = term.broadening.spectra(sums, n)
    return spectra


def _of_triples(term: Term, near: Neighbors, rows: _Rows) -> Floats:
    """Spectra of triples: a middle atom, and an unordered pair of its neighbours."""
    inside = np.flatnonzero(near.distances < term.reach)
    centers, others = near.centers[inside], near.neighbors[inside]
    distances = near.distances[inside]
    starts = np.searchsorted(inside, near.offsets)
    sides = _Sides(
        term,
        distances,
        np.ascontiguousarray((near.vectors[inside] / distances[:, None]).T),
        rows.tables[others],
        rows.elements[others],
        rows.middles[centers],
        rows.pairs,
    )
    # Partners of a neighbour are those after it that share its centre.
    ends = np.cumsum(np.bincount(centers, minlength=len(rows.elements)))[centers]
    partners = ends - np.arange(len(centers)) - 1
    totals = np.concatenate([np.zeros(1, np.int64), np.cumsum(partners)])
    spectra = np.empty((rows.n, term.n))
    for start, stop in pieces(np.diff(totals[starts]), _TRIPLES):
        first, n = rows.offsets[start], int(rows.offsets[stop] - rows.offsets[start])
        sums: Floats | None = None
        for low, high in pieces(partners[starts[start] : starts[stop]], _TRIPLES):
            own = slice(starts[start] + low, starts[start] + high)
            places, values, weights = sides.triples(own, partners)
            part = term.broadening.gather(places - first, values, weights, n)
            sums = part if sums is None else sums + part
        if sums is None:
            spectra[first : first + n] = 0
        else:
            spectra[first : first + n] = term.broadening.spectra(sums, n)
    return spectra


@dataclass(frozen=True)
class _Sides:
    """The neighbours of middle atoms, a row each: those of one middle atom follow each other."""

    term: Term
    distances: Floats
    directions: Floats
    tables: Ints
    elements: Ints
    middles: Ints
    pairs: Ints

    def triples(self, own: slice, partners: Ints) -> tuple[Ints, Floats, Floats]:
        """Spectrum, value and weight of each triple of these rows and those after them."""
        counts = partners[own]
        one = np.repeat(np.arange(own.start, own.stop), counts)
        other = np.arange(len(one)) - np.repeat(np.cumsum(counts) - counts, counts)
        other += one
        other += 1
        x, y, z = self.directions
        cosines = x[one] * x[other]
        cosines += y[one] * y[other]
        cosines += z[one] * z[other]
        first, second = self.distances[one], self.distances[other]
        if self.term.weighting == "exp":
            across = first * second
            across *= cosines
            across *= -2
            across += first * first
            across += second * second
            around = np.sqrt(np.maximum(across, 0, out=across), out=across)
            around += first
            around += second
            kept = np.flatnonzero(around < 2 * self.term.reach)
            one, other, cosines = one[kept], other[kept], cosines[kept]
            weights = self.term.of_perimeters(around[kept])
        else:
            sides = self.term.of_sides(self.distances[own])
            weights = np.repeat(sides, counts) * self.term.of_sides(second)
        places = self.pairs[self.tables[one] + self.elements[other]] + self.middles[one]
        return places, self.term.angles(cosines), weights
