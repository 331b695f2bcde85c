"""From pairs of atoms to the A-basis, and from the A-basis to invariant products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from math import comb, prod
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from crystalcodec.representations.harmonics import (
    invariant_coupling,
    real_spherical_harmonics,
)

__all__ = ["BBasis", "Degrees", "atomic_basis"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Degrees = tuple[int, ...]

# Å; what is left of a vector shorter than this is rounding.
_ONE_PLACE: Final = 1e-8


def atomic_basis(
    n_sites: int,
    centers: Ints,
    numbers: Ints,
    vectors: Floats,
    radial: Callable[[Floats, int], tuple[Floats, Floats | None]],
    l_of_n: tuple[int, ...],
    weights: Floats,
) -> Floats:
    """(n_sites, n, channels, (l_max + 1)²) the A-basis: sums over the neighbours of each site.

    Parameters
    ----------
    n_sites
        Number of sites.
    centers, numbers : (p,)
        For each pair the site, in rising order, and the atomic number of the neighbour.
    vectors : (p, 3)
        To the neighbour, Å.
    radial
        Gives for distances (p,) and an l (n, p) functions, and (n, n) how to mix them where the
        radial functions are mixtures of these: sums over neighbours are mixed, not functions.
    l_of_n
        The largest l wanted for each n; what is not wanted stays 0. It falls with n.
    weights : (119, channels)
        What a neighbour weighs in each channel.
    """
    l_max = l_of_n[0]
    # Neighbours of one element are summed first: then channels cost a sum over few elements.
    key = centers * len(weights) + numbers
    order = np.argsort(key, kind="stable")
    key, vectors = key[order], vectors[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    shells, element = np.divmod(key[starts], len(weights))
    distances = np.sqrt((vectors * vectors).sum(axis=1))
    # Two sites in one place have no direction.
    apart = distances > _ONE_PLACE
    directions = vectors * np.divide(apart, distances, out=np.zeros(len(key)), where=apart)[:, None]
    harmonics = real_spherical_harmonics(directions, l_max)
    sums = np.zeros((len(starts), len(l_of_n), (l_max + 1) ** 2))
    shape = len(starts), len(key)
    pairs, cuts = np.arange(len(key), dtype=np.int32), np.r_[starts, len(key)].astype(np.int32)
    for degree in range(l_max + 1):
        columns = slice(degree**2, (degree + 1) ** 2)
        angular = np.ascontiguousarray(harmonics[:, columns])
        values, mixing = radial(distances, degree)
        wanted = np.flatnonzero(np.array(l_of_n) >= degree)
        for n in (wanted if mixing is None else np.arange(len(l_of_n))).tolist():
            # Row by row, neighbour by neighbour: the same sum in whatever batch.
            sums[:, n, columns] = csr_array((values[n], pairs, cuts), shape=shape) @ angular
        if mixing is not None:
            sums[:, wanted, columns] = _mixed(sums[:, :, columns], mixing[wanted])
            sums[:, len(wanted) :, columns] = 0.0
    site_cuts = np.searchsorted(shells, np.arange(n_sites + 1))
    flat = sums.reshape(len(starts), sums.shape[1] * sums.shape[2])
    out = np.empty((n_sites, weights.shape[1], *sums.shape[1:]))
    for channel in range(weights.shape[1]):
        share = weights[element, channel]
        by_site = csr_array(
            (share, np.arange(len(shells)), site_cuts), shape=(n_sites, len(shells))
        )
        out[:, channel] = (by_site @ flat).reshape(n_sites, *sums.shape[1:])
    return out.transpose(0, 2, 1, 3)


def _mixed(sums: Floats, mixing: Floats) -> Floats:
    """(s, k, m), (n, k) -> (s, n, m), summed in the same order for any number of rows."""
    out = np.zeros((len(sums), len(mixing), sums.shape[2]))
    for k in range(mixing.shape[1]):
        out += mixing[:, k, None] * sums[:, k, None]
    return out


@dataclass(frozen=True)
class BBasis:
    """Which invariant products there are, and how to form them.

    A product is a choice of functions A_v(l), v a radial function in a channel. Products that
    differ by the order of their factors are the same, the coupling being symmetric, and one of
    them is kept; what is left is linearly independent.

    Parameters
    ----------
    n_functions
        For each order the number of v.
    l_max
        For each order the largest l.
    """

    n_functions: tuple[int, ...]
    l_max: tuple[int, ...]

    @cached_property
    def blocks(self) -> list[tuple[Degrees, list[Ints]]]:
        """The l's of each block of products, and (one array a factor) the v of each product."""
        blocks: list[tuple[Degrees, list[Ints]]] = []
        for order, (size, l_max) in enumerate(zip(self.n_functions, self.l_max, strict=True), 1):
            for degrees in _degrees(order, l_max):
                grid = np.indices((size,) * order).reshape(order, -1)
                kept = np.ones(grid.shape[1], bool)
                for i in range(order - 1):
                    if degrees[i] == degrees[i + 1]:
                        kept &= grid[i] <= grid[i + 1]
                blocks.append((degrees, list(grid[:, kept])))
        return blocks

    def __len__(self) -> int:
        count = 0
        for order, (size, l_max) in enumerate(zip(self.n_functions, self.l_max, strict=True), 1):
            for degrees in _degrees(order, l_max):
                # Multisets of the v's that share an l.
                equal = [degrees.count(degree) for degree in set(degrees)]
                count += prod(comb(size + times - 1, times) for times in equal)
        return count

    def products(self, atomic: Floats) -> Iterator[Floats]:
        """Of the A-basis (n_sites, v, (l_max + 1)²), block by block, (n_sites, products)."""
        for degrees, factors in self.blocks:
            size = self.n_functions[len(degrees) - 1]
            parts = [
                np.ascontiguousarray(atomic[:, :size, degree**2 : (degree + 1) ** 2])
                for degree in degrees
            ]
            if len(parts) == 1:
                yield parts[0][:, :, 0]
            elif len(parts) == 2:
                # One small product of matrices a site, the same in whatever batch.
                dots = parts[0] @ parts[1].transpose(0, 2, 1)
                yield dots[:, factors[0], factors[1]] / np.sqrt(2 * degrees[0] + 1)
            else:
                yield _triple_products(parts, degrees, factors)


def _degrees(order: int, l_max: int) -> Iterator[Degrees]:
    """The l's that couple to an invariant even under inversion, equal ones side by side, first."""
    if order == 1:
        yield (0,)
    elif order == 2:
        for degree in range(l_max + 1):
            yield (degree, degree)
    else:
        for a, b, c in combinations_with_replacement(range(l_max + 1), 3):
            if c <= a + b and (a + b + c) % 2 == 0:
                yield (b, c, a) if a < b == c else (a, b, c)


def _triple_products(parts: list[Floats], degrees: Degrees, factors: list[Ints]) -> Floats:
    """(n_sites, products) three functions coupled to an invariant."""
    one, two, three = parts
    n_sites, size = one.shape[:2]
    coupling = invariant_coupling(*degrees).transpose(0, 2, 1)
    widths = coupling.shape
    half = one @ coupling.reshape(widths[0], -1)
    half = half.reshape(n_sites, size * widths[1], widths[2]) @ two.transpose(0, 2, 1)
    half = half.reshape(n_sites, size, widths[1], size).transpose(0, 1, 3, 2)
    # Pairs of the first two factors that occur, each once.
    pairs, place = np.unique(factors[0] * size + factors[1], return_inverse=True)
    coupled = half[:, pairs // size, pairs % size] @ three.transpose(0, 2, 1)
    return np.asarray(coupled[:, place, factors[2]], float)
