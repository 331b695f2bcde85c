"""What FTCP takes from reciprocal space, and the element properties that it sums there."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.elements import GROUPS, MAX_ATOMIC_NUMBER, PERIODS

__all__ = [
    "LAST_WITH_PROPERTIES",
    "N_POINTS",
    "N_PROPERTIES",
    "PROPERTIES",
    "reciprocal_metrics",
    "reciprocal_points",
]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

N_POINTS: Final = 59
"""Reciprocal lattice points of an FTCP array."""
RADII: Final = (1.297, 1.4)
"""Radii in 1/Å of the sphere of points, without 2 pi: the second where the first holds too few."""
# |h| + |k| + |l| that the search goes up to, step by step. The first is enough for most crystals;
# beyond the last lie points of cells that are below 0.8 Å wide in two directions.
_INDEX_SUMS: Final = (3, 6, 12, 24)

LAST_WITH_PROPERTIES: Final = 100
"""Atomic number of the last element of CGCNN's table, fermium."""

# Categories of the first hundred elements as CGCNN's atom_init.json (MIT licence) sets them, one
# character each and a dot where the table has no value: electronegativity, covalent radius,
# valence electrons, first ionisation energy, electron affinity, block (s, p, d, f), atomic volume.
_CATEGORIES: Final = (
    "4.1345789.1233457.01223333343334457.012234445443344466011111.1.1.2222.122334445333344.01122322......",
    "0043222111554433337654444433344444348765554445444554449766666666666666655444444455555587766666666666",
    "0101234567012345670123456789ab234567012345678bab234567011111111111111123456789ab23456701111111111111",
    "6914456678132355670223333333342344560222333334342344550122122222222222133334444523344501122222222222",
    "5.5046269.5.56579.544455.4566.56579.54455556656.466794545557..5.65..64444546677.55578.545...........",
    "0000111111001111110022222222221111110022222222221111110033333333333333222222222211111100333333333333",
    "463000444454234456864321111112333457975432222223445568975555.56555554643322222244555...855435.55....",
)
_WIDTHS: Final = (19, 7, 10, 10, 12, 10, 10, 4, 10)  # group and period stand before these
N_PROPERTIES: Final = sum(_WIDTHS)


def _properties() -> npt.NDArray[np.float32]:
    """(119, 92) one-hot categories, side by side; group 0 are lanthanides and actinides."""
    numbers = np.arange(1, LAST_WITH_PROPERTIES + 1)
    in_f_block = ((numbers >= 57) & (numbers <= 70)) | (numbers >= 89)
    groups = np.where(in_f_block, 0, GROUPS[numbers]).astype(int)
    periods = PERIODS[numbers].astype(int) - 1
    others = [[int(c, 16) if c != "." else -1 for c in text] for text in _CATEGORIES]
    table = np.zeros((MAX_ATOMIC_NUMBER + 1, N_PROPERTIES), np.float32)
    start = 0
    for categories, width in zip([groups, periods, *map(np.array, others)], _WIDTHS, strict=True):
        known = categories >= 0
        table[numbers[known], start + categories[known]] = 1.0
        start += width
    table.flags.writeable = False
    return table


PROPERTIES: Final = _properties()
"""(119, 92) properties by atomic number, as CGCNN's atom vectors: group (19), period (7),
electronegativity (10), covalent radius (10), valence electrons (12), first ionisation energy
(10), electron affinity (10), block (4), atomic volume (10), each one-hot or unknown."""


@cache
def _indices(limit: int) -> npt.NDArray[np.float64]:
    """(m, 3) all h, k, l but 0 0 0 up to an index sum, by that sum, then h, k, l falling."""
    axis = np.arange(-limit, limit + 1)
    hkl = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    sums = np.abs(hkl).sum(axis=1)
    hkl, sums = hkl[(sums > 0) & (sums <= limit)], sums[(sums > 0) & (sums <= limit)]
    order = np.lexsort((-hkl[:, 2], -hkl[:, 1], -hkl[:, 0], sums))
    indices = np.asarray(hkl[order], float)
    indices.flags.writeable = False
    return indices


def reciprocal_metrics(cell_parameters: Floats) -> Floats:
    """(n, 6) products of reciprocal vectors, 1/Å2: a*a*, b*b*, c*c*, b*c*, a*c*, a*b*.

    Without 2 pi; NaN where the parameters close no cell.
    """
    a, b, c = cell_parameters[:, :3].T
    with np.errstate(all="ignore"):
        cosines = np.cos(np.radians(cell_parameters[:, 3:]))
        cosines[cell_parameters[:, 3:] == 90.0] = 0.0
        x, y, z = cosines.T
        square = 1 - x * x - y * y - z * z + 2 * x * y * z  # (volume / abc)²
        square = np.where(square > 0, square, np.nan)
        metrics = np.stack(
            [
                (1 - x * x) / (a * a),
                (1 - y * y) / (b * b),
                (1 - z * z) / (c * c),
                (y * z - x) / (b * c),
                (x * z - y) / (a * c),
                (x * y - z) / (a * b),
            ],
            axis=1,
        )
        return np.asarray(metrics / square[:, None], float)


def squared_lengths(metrics: Floats, hkl: Floats) -> Floats:
    """(n, m) squared lengths, 1/Å2, of points (m, 3) or (n, m, 3).

    A sum of six products and no matrix product, which would depend on the size of the batch.
    """
    h, k, ell = np.moveaxis(hkl, -1, 0)
    s = metrics[:, :, None]
    with np.errstate(all="ignore"):
        length = h * h * s[:, 0] + k * k * s[:, 1] + ell * ell * s[:, 2]
        length += 2 * (k * ell * s[:, 3] + h * ell * s[:, 4] + h * k * s[:, 5])
    return np.asarray(length, float)


def reciprocal_points(cell_parameters: Floats) -> tuple[Floats, Floats, Bools]:
    """The reciprocal lattice points that an FTCP array is about.

    Of the points within 1.297 1/Å of the origin (1.4 where fewer than 59 lie there) those that
    come first by |h| + |k| + |l|, then by falling h, k and l. They are not the 59 nearest points.

    Parameters
    ----------
    cell_parameters : (n, 6)
        a, b, c in Å and alpha, beta, gamma in degrees.

    Returns
    -------
    hkl : (n, 59, 3)
        Miller indices, whole numbers.
    lengths : (n, 59)
        Distance of each from the origin, 1/Å.
    found : (n,)
        Whether there are 59 at all; the others' entries are zero.
    """
    n = len(cell_parameters)
    hkl, lengths = np.zeros((n, N_POINTS, 3)), np.zeros((n, N_POINTS))
    metrics = reciprocal_metrics(cell_parameters)
    left = np.flatnonzero(np.isfinite(metrics).all(axis=1))
    for radius in RADII:
        for limit in _INDEX_SUMS:
            if not len(left):
                break
            candidates = _indices(limit)
            step = max(1, 2**18 // len(candidates))
            rest = []
            for start in range(0, len(left), step):
                part = left[start : start + step]
                squares = squared_lengths(metrics[part], candidates)
                counted = np.cumsum(squares <= radius * radius, axis=1)
                enough = counted[:, -1] >= N_POINTS
                rest.append(part[~enough])
                # Position of the k-th point inside, without a search: where the count reaches k.
                chosen = (squares <= radius * radius) & (counted <= N_POINTS)
                row, column = np.nonzero(chosen[enough])
                shape = (int(enough.sum()), N_POINTS)
                hkl[part[enough]] = candidates[column].reshape(*shape, 3)
                lengths[part[enough]] = np.sqrt(squares[enough][row, column]).reshape(shape)
            left = np.concatenate(rest)
    found = lengths[:, -1] > 0
    return hkl, lengths, found
