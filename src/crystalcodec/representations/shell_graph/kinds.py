"""Which sites of a crystal no walk along its edges tells apart: colour refinement."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.representations.neighbors import Neighbors

__all__ = ["classes", "equal_lengths", "equal_within", "in_order", "split_kinds"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

# Of the splitmix64 generator: they spread close whole numbers over all 64 bits.
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
# Partitions settle in 3 to 8 rounds; every round but the last finds at least one more kind.
_MOST_ROUNDS: Final = 100
# Rounds in which the keys that order kinds take up what is further away.
_KEY_ROUNDS: Final = 4


def classes(*columns: npt.NDArray[Any]) -> Ints:
    """Rows of equal columns get equal numbers, from 0, rising as the columns do."""
    order = np.lexsort(columns[::-1])
    first = np.zeros(len(order), bool)
    for column in columns:
        ordered = column[order]
        first[1:] |= ordered[1:] != ordered[:-1]
    numbered = np.empty(len(order), np.int64)
    numbered[order] = np.cumsum(first)
    return numbered


def equal_within(groups: Ints, values: Floats, tolerance: float) -> Ints:
    """Rows of one group and of equal values get equal numbers, rising with group and value.

    Values of a group that follow one another by no more than the tolerance are equal; where such
    a chain gets longer than the tolerance it is cut in pieces of that length, so that no two equal
    values differ by more.
    """
    order = np.lexsort((values, groups))
    ordered, values = groups[order], values[order]
    first = np.ones(len(order), bool)
    first[1:] = (ordered[1:] != ordered[:-1]) | (np.diff(values) > tolerance)
    chain = np.cumsum(first) - 1
    pieces = ((values - values[first][chain]) / tolerance).astype(np.int64)
    first[1:] |= pieces[1:] != pieces[:-1]
    numbered = np.empty(len(order), np.int64)
    numbered[order] = np.cumsum(first) - 1
    return numbered


def equal_lengths(crystals: Crystals, near: Neighbors, tolerance: float) -> Ints:
    """A number for each edge, the same for equal distances between the same two elements."""
    numbers = crystals.numbers
    elements = (numbers[near.centers] << 7) | numbers[near.neighbors]
    groups = (crystals.crystal_indices[near.centers] << 14) | elements
    return equal_within(groups, near.distances, tolerance)


def split_kinds(kinds: Ints, near: Neighbors, lengths: Ints) -> Ints:
    """Kinds split until sites of one have equal neighbours of equal kinds at equal lengths."""
    n_kinds = int(kinds.max(initial=-1)) + 1
    hashed = _spread(lengths.astype(np.uint64) + np.uint64(1))
    for _ in range(_MOST_ROUNDS):
        around = _spread(kinds.astype(np.uint64) + _ODD)[near.neighbors]
        sums = _sums_by_center(_spread(around ^ hashed), near, len(kinds))
        kinds = classes(kinds, sums.view(np.int64))
        before, n_kinds = n_kinds, int(kinds.max(initial=-1)) + 1
        if n_kinds == before:
            break
    return kinds


def in_order(groups: Ints, near: Neighbors, kinds: Ints, start: Floats) -> Ints:
    """The same kinds, numbered by the group that each lies in, then by surroundings.

    ``start`` (n_sites_total,) is what tells sites apart before their surroundings do. No
    description of the crystal changes that order, as far as walks of a few steps tell kinds apart.
    """
    keys = _keys(near, kinds, start)
    ranks = np.empty(len(keys), np.int64)
    ranks[np.argsort(keys, kind="stable")] = np.arange(len(keys))
    return classes(groups, ranks[kinds])


def _keys(near: Neighbors, kinds: Ints, start: Floats) -> Floats:
    """(n_kinds,) a number that each kind's surroundings determine."""
    members = np.bincount(kinds)
    keys = np.bincount(kinds, start) / members
    centers, neighbors = kinds[near.centers], kinds[near.neighbors]
    decay = np.exp(-near.distances)
    for _ in range(_KEY_ROUNDS):
        around = np.bincount(centers, decay * keys[neighbors], minlength=len(keys))
        keys = keys + around / members
    return keys


def _sums_by_center(hashes: Hashes, near: Neighbors, n_sites: int) -> Hashes:
    """Sums modulo 2^64, which do not depend on the order of the neighbours."""
    sums = np.zeros(n_sites, np.uint64)
    if len(hashes):
        starts = np.flatnonzero(np.diff(near.centers, prepend=-1))
        sums[near.centers[starts]] = np.add.reduceat(hashes, starts)
    return sums


def _spread(values: Hashes) -> Hashes:
    """Another whole number for each, without pattern (splitmix64)."""
    values = values * _ODD
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))
