"""Which spectra a batch has: one for each combination of the elements of a crystal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.representations.mbtr.terms import Term

__all__ = ["Blocks", "Elements", "pair_numbers"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def pair_numbers(first: Ints, second: Ints, n: npt.NDArray[np.int64] | int) -> Ints:
    """Number of the unordered pair of two of n things: 00, 01, ..., 11, 12, ..."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    return np.asarray(high + low * n - low * (low + 1) // 2, np.int64)


@dataclass(frozen=True)
class Elements:
    """The elements of each crystal, in rising order of the atomic number.

    Parameters
    ----------
    of_sites : (n_sites_total,)
        Place of each site's element among those of its crystal.
    species : (n_elements_total,)
        Place of each element of each crystal among those of the representation.
    numbers : (n_elements_total,)
        Its atomic number.
    amounts : (n_elements_total,)
        Sites of it.
    counts : (n,)
        Elements of each crystal.
    """

    of_sites: Ints
    species: Ints
    numbers: Ints
    amounts: Ints
    counts: Ints

    @classmethod
    def of(cls, crystals: Crystals, species: tuple[int, ...]) -> Elements:
        """The elements of crystals whose elements are all among the species, which are sorted."""
        known = np.array(species, np.int64)
        places = np.searchsorted(known, crystals.numbers)
        width = max(1, len(species))
        found, rows, amounts = np.unique(
            crystals.crystal_indices * width + places, return_inverse=True, return_counts=True
        )
        counts = np.bincount(found // width, minlength=len(crystals))
        firsts = np.cumsum(counts) - counts
        own = rows - np.repeat(firsts, crystals.n_sites)
        return cls(own, found % width, known[found % width], amounts, counts)


@dataclass(frozen=True)
class Blocks:
    """The spectra of one term: crystal after crystal, combination after combination.

    Parameters
    ----------
    crystals : (n_blocks,)
        The crystal of each.
    combinations : (n_blocks,)
        Its combination, numbered among those of all species: rising within a crystal.
    products : (n_blocks,)
        Product of the amounts of its elements in the cell; half of it for a pair of the same
        element.
    offsets : (n + 1,)
        Spectra of crystal ``i`` are ``offsets[i]:offsets[i + 1]``.
    """

    crystals: Ints
    combinations: Ints
    products: Floats
    offsets: Ints

    @classmethod
    def of(cls, term: Term, elements: Elements, n_species: int) -> Blocks:
        """The spectra of a term for crystals of these elements."""
        counts = elements.counts
        offsets = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(term.n_combinations(counts), out=offsets[1:])
        owner = np.repeat(np.arange(len(counts)), np.diff(offsets))
        combinations = np.zeros(offsets[-1], np.int64)
        products = np.ones(offsets[-1])
        firsts = np.cumsum(counts) - counts
        for n in np.unique(counts).tolist():
            with_n = np.flatnonzero(counts == n)
            parts = _combinations(term.k, n)
            rows = firsts[with_n, None, None] + parts
            places = offsets[with_n, None] + np.arange(len(parts))
            combinations[places] = _numbers(elements.species[rows], n_species)
            products[places] = elements.amounts[rows].prod(axis=2)
            if term.k == 2:
                products[places[:, parts[:, 0] == parts[:, 1]]] *= 0.5
        return cls(owner, combinations, products, offsets)


def _combinations(k: int, n: int) -> Ints:
    """(n_combinations, k) elements of each; of a triple the one in the middle stands first."""
    if k == 1:
        return np.arange(n)[:, None]
    pairs = np.stack(np.triu_indices(n), axis=1)
    if k == 2:
        return pairs
    middle = np.repeat(np.arange(n), len(pairs))
    return np.concatenate([middle[:, None], np.tile(pairs, (n, 1))], axis=1)


def _numbers(parts: Ints, n: int) -> Ints:
    """Number of each combination of n species, the elements being on the last axis."""
    if parts.shape[-1] == 1:
        return parts[..., 0]
    pairs = pair_numbers(parts[..., -2], parts[..., -1], n)
    if parts.shape[-1] == 2:
        return pairs
    return np.asarray(parts[..., 0] * (n * (n + 1) // 2) + pairs, np.int64)
