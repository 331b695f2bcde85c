"""Reciprocal points of a batch of crystals within a sphere, and what they scatter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.representations.powder_pattern.form_factors import form_factors

__all__ = ["Reflections", "reflections_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_TERMS_AT_ONCE: Final = 1 << 16
"""Waves (a reflection by a site) in one block: its arrays stay in the processor's cache."""
_EXTINCT: Final = 1e-10  # of the sum of the form factors; phases are exact to some 1e-13


@dataclass(frozen=True)
class Reflections:
    """Half of the reciprocal points of each crystal, -g standing for g as well.

    Parameters
    ----------
    hkl : (m, 3)
        Miller indices in the given cell; the first that is not zero is positive.
    lengths : (m,)
        Length of g, 1 / d, Å⁻¹.
    intensities : (m,)
        Squared modulus of F(g) plus that of F(-g), electrons², F being that of one cell.
    offsets : (n + 1,)
        Reflections of crystal ``i`` are ``offsets[i]:offsets[i + 1]``.
    """

    hkl: Ints
    lengths: Floats
    intensities: Floats
    offsets: Ints


def reflections_of(crystals: Crystals, reach: float) -> Reflections:
    """The reflections of each crystal whose reciprocal vectors are at most ``reach`` Å⁻¹ long."""
    inverse = np.asarray(
        np.linalg.inv(crystals.lattices), float
    )  # columns are a*, b*, c*, without 2π
    owner, h, k, ell = _half_sphere(crystals, inverse, reach)
    squares: Floats = np.zeros(len(owner))
    for axis in range(3):
        component = inverse[owner, axis, 0] * h
        component += inverse[owner, axis, 1] * k
        component += inverse[owner, axis, 2] * ell
        squares += component * component
    inside = (squares <= reach * reach) & (squares > 0)
    owner, h, k, ell = (part[inside] for part in (owner, h, k, ell))
    squares = squares[inside]
    counts = np.bincount(owner, minlength=len(crystals))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    hkl = np.stack([h, k, ell])
    intensities = _intensities(crystals, hkl, squares / 4, offsets)
    return Reflections(hkl.T, np.sqrt(squares), intensities, offsets)


def _half_sphere(crystals: Crystals, inverse: Floats, reach: float) -> tuple[Ints, ...]:
    """Crystal, h, k, l of the points of half of a sphere, and perhaps some on its surface.

    Rows of l along each (h, k): the sphere cuts a row where a polynomial of second degree is
    positive, so that hardly a point is looked at in vain, however skewed the cell.
    """
    # |h| = |g·a| is at most |g| |a|.
    most = np.floor(reach * np.linalg.norm(crystals.lattices, axis=2) + 1e-9).astype(np.int64)
    widths = 2 * most[:, 1] + 1
    owner, place = _ranges((most[:, 0] + 1) * widths)
    h, k = place // widths[owner], place % widths[owner] - most[owner, 1]
    upper = (h > 0) | (k >= 0)
    owner, h, k = owner[upper], h[upper], k[upper]
    metric = np.einsum("nai,naj->nij", inverse, inverse)
    aa, bb, cc = (metric[owner, i, i] for i in range(3))
    ab, ac, bc = (metric[owner, i, j] for i, j in ((0, 1), (0, 2), (1, 2)))
    half_linear = ac * h + bc * k
    constant = aa * h * h + 2 * ab * h * k + bb * k * k - reach * reach
    root = half_linear * half_linear - cc * constant
    # A row that touches the sphere may miss it by rounding; the lengths decide in the end.
    root = np.sqrt(np.maximum(root, 0.0) + 1e-9 * cc * reach * reach)
    low = np.ceil((-half_linear - root) / cc).astype(np.int64)
    high = np.floor((-half_linear + root) / cc).astype(np.int64)
    axis = (h == 0) & (k == 0)
    low[axis] = 1
    row, step = _ranges(np.maximum(high - low + 1, 0))
    return owner[row], h[row], k[row], low[row] + step


def _ranges(counts: Ints) -> tuple[Ints, Ints]:
    """0 to counts[i] - 1 for each i, joined: which i, and the number."""
    owner = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    return owner, np.arange(len(owner)) - starts[owner]


def _intensities(crystals: Crystals, hkl: Ints, s_squared: Floats, offsets: Ints) -> Floats:
    """2 |F|² of each reflection; crystals of the same number of sites go together."""
    result = np.zeros(len(s_squared))
    indices = hkl.astype(np.float64)
    n_sites, n_reflections = crystals.n_sites, np.diff(offsets)
    for size in np.unique(n_sites):
        alike = np.flatnonzero(n_sites == size)
        # (sites, crystals): the reflections of a crystal pick its column.
        sites = crystals.offsets[alike] + np.arange(size)[:, None]
        coords, numbers = crystals.frac_coords[sites], crystals.numbers[sites]
        column, step = _ranges(n_reflections[alike])
        rows = offsets[alike][column] + step
        at_once = max(2, _TERMS_AT_ONCE // int(size))
        for start in range(0, len(rows), at_once):
            block, of = rows[start : start + at_once], column[start : start + at_once]
            if len(block) == 1:
                # numpy adds a single column in another order than several.
                block, of = block.repeat(2), of.repeat(2)
            result[block] = _block(coords, numbers, of, indices[:, block], s_squared[block])
    return result


def _block(coords: Floats, numbers: Ints, of: Ints, hkl: Floats, s_squared: Floats) -> Floats:
    """2 |F|² of reflections of crystals of the same number of sites.

    ``coords`` (sites, crystals, 3), ``numbers`` (sites, crystals), ``of`` (m,) the column of each
    reflection, ``hkl`` (3, m), ``s_squared`` (m,).
    """
    phases = coords[:, of, 0] * hkl[0]
    phases += coords[:, of, 1] * hkl[1]
    phases += coords[:, of, 2] * hkl[2]
    phases -= np.rint(phases)
    phases *= 2 * np.pi
    weights = _site_form_factors(numbers, of, s_squared)
    real = np.add.reduce(weights * np.cos(phases), axis=0)
    imaginary = np.add.reduce(weights * np.sin(phases), axis=0)
    squares = real * real + imaginary * imaginary
    # What an extinction leaves is rounding; alone in reach, it would be taken for a pattern.
    squares[squares < (_EXTINCT * np.add.reduce(weights, axis=0)) ** 2] = 0.0
    return np.asarray(2 * squares, float)


def _site_form_factors(numbers: Ints, of: Ints, s_squared: Floats) -> Floats:
    """(sites, m) form factors, worked out once for each element of a crystal."""
    ordered = np.sort(numbers, axis=0)
    new = np.ones(ordered.shape, bool)
    new[1:] = ordered[1:] != ordered[:-1]
    # Rank of each distinct element among those of its crystal, and the element of each rank.
    ranks = new.cumsum(axis=0) - 1
    elements = np.ones((int(ranks.max()) + 1, numbers.shape[1]), np.int64)
    np.put_along_axis(elements, ranks, ordered, axis=0)
    rank_of_site = np.zeros(numbers.shape, np.int64)
    for rank in range(1, len(elements)):
        rank_of_site[numbers == elements[rank]] = rank
    m = len(of)
    table = form_factors(elements[:, of].ravel(), np.tile(s_squared, len(elements)))
    return np.asarray(table[rank_of_site[:, of] * m + np.arange(m)], float)
