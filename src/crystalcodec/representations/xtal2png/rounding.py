"""What rounding the parameters of a cell does to its sites and lengths."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.geometry import lattices_from_cell_parameters

__all__ = ["length_errors", "rounding_shifts"]

Floats = npt.NDArray[np.float64]


def rounding_shifts(
    crystals: Crystals, rounded_cells: Floats, resolution: float, limit: float
) -> Floats:
    """(n,) Å, how far rounding moves sites and lattice points, apart from a turn of the frame.

    An upper bound where that is below the limit, else the very distance; NaN where the rounded
    parameters close no cell, or one of less than half or more than twice the volume.

    Parameters
    ----------
    crystals
        As they were.
    rounded_cells : (n, 6)
        Their a, b, c, alpha, beta, gamma, rounded.
    resolution
        Fractional coordinates are rounded to multiples of it.
    limit
        Å.

    Examples
    --------
    >>> one = Crystals.single(np.eye(3) * 4, [[0.2, 0, 0]], [26])
    >>> cells = np.array([[4.1, 4, 4, 90, 90, 90]])
    >>> rounding_shifts(one, cells, 0.01, 0.0).round(6).tolist()
    [0.1]
    """
    rounded = lattices_from_cell_parameters(rounded_cells)
    half = np.einsum("nij,njk->nik", np.linalg.inv(crystals.lattices), rounded)
    strain = np.einsum("nik,njk->nij", half, half) - np.eye(3)
    size = np.sqrt((strain * strain).sum(axis=(1, 2))) / 2
    lengths = np.sqrt((crystals.lattices**2).sum(axis=2)).sum(axis=1)
    shifts = np.asarray((size + resolution / 2) * lengths, float)
    with np.errstate(invalid="ignore"):
        shares = np.abs(np.linalg.det(half))
    shifts[~((shares > 0.5) & (shares < 2))] = np.nan
    doubtful = np.flatnonzero(shifts > limit)
    if not len(doubtful):
        return shifts
    some, rounded = crystals[doubtful], rounded[doubtful]
    u, _, vt = np.linalg.svd(np.einsum("nki,nkj->nij", rounded, some.lattices))
    turned = np.einsum("nij,njk,nkl->nil", rounded, u, vt)
    coords = np.rint(some.frac_coords / resolution) * resolution
    moved = np.einsum("si,sij->sj", coords, turned[some.crystal_indices]) - some.cart_coords
    vectors = np.sqrt(((turned - some.lattices) ** 2).sum(axis=2)).max(axis=1)
    sites = np.maximum.reduceat(np.sqrt((moved**2).sum(axis=1)), some.offsets[:-1])
    shifts[doubtful] = np.maximum(vectors, sites)
    return shifts


def length_errors(lattices: Floats, cells: Floats, errors: Floats) -> Floats:
    """(n,) bound of the relative change of any length in cells whose parameters may be off.

    To first order.

    Parameters
    ----------
    lattices : (n, 3, 3)
        Cell vectors in rows, Å.
    cells : (n, 6)
        Their a, b, c, alpha, beta, gamma.
    errors : (6,)
        Largest absolute error of each, Å and degrees.
    """
    lengths, angles = cells[:, :3], np.radians(cells[:, 3:])
    products = np.zeros((len(cells), 3, 3))  # errors of those of two cell vectors, Å²
    for i in range(3):
        products[:, i, i] = 2 * lengths[:, i] * errors[i]
        j, k = (i + 1) % 3, (i + 2) % 3  # alpha is between b and c
        stretch = lengths[:, j] * errors[k] + lengths[:, k] * errors[j]
        stretch *= np.abs(np.cos(angles[:, i]))
        turn = lengths[:, j] * lengths[:, k] * np.radians(errors[3 + i])
        products[:, j, k] = products[:, k, j] = stretch + turn
    inverse = np.abs(np.linalg.inv(lattices))
    strain = np.einsum("nij,njk,nlk->nil", inverse, products, inverse)
    return np.asarray(np.sqrt((strain**2).sum(axis=(1, 2))) / 2, float)
