"""What the crystal system of a space group asks of the conventional cell."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.symmetry import CRYSTAL_SYSTEMS, crystal_system_ranks

__all__ = ["cell_rules", "symmetric_cells"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Of a, b, c the ones that are alike by number, and of the angles the given ones; nan is free.
_RULES: Final = {
    "triclinic": ((0, 1, 2), (np.nan, np.nan, np.nan)),
    "monoclinic": ((0, 1, 2), (90.0, np.nan, 90.0)),
    "orthorhombic": ((0, 1, 2), (90.0, 90.0, 90.0)),
    "tetragonal": ((0, 0, 2), (90.0, 90.0, 90.0)),
    "trigonal": ((0, 0, 2), (90.0, 90.0, 120.0)),
    "hexagonal": ((0, 0, 2), (90.0, 90.0, 120.0)),
    "cubic": ((0, 0, 0), (90.0, 90.0, 90.0)),
}


@cache
def cell_rules() -> tuple[Floats, Floats]:
    """What cells of each space group have in common.

    Returns
    -------
    means : (231, 3, 3)
        Matrices that take lengths, or their logarithms, to the means of those that are alike.
    angles : (231, 3)
        Degrees of the given angles, nan for free ones; all free for 0, no group.
    """
    means, angles = np.tile(np.eye(3), (231, 1, 1)), np.full((231, 3), np.nan)
    for number, rank in enumerate(crystal_system_ranks()[1:], 1):
        alike, given = _RULES[CRYSTAL_SYSTEMS[rank]]
        same = np.equal.outer(alike, alike)
        means[number] = same / same.sum(axis=1)
        angles[number] = given
    return means, angles


def symmetric_cells(cells: Floats, groups: Ints) -> Floats:
    """Cells (n, 6) as their groups want them: like lengths at their geometric mean, angles given.

    Lengths are to be above 0.
    """
    means, angles = cell_rules()
    lengths = np.exp(np.einsum("nij,nj->ni", means[groups], np.log(cells[:, :3])))
    free = np.isnan(angles[groups])
    return np.concatenate([lengths, np.where(free, cells[:, 3:], angles[groups])], axis=1)
