"""The Coulomb matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.representations.site_matrices.representation import SiteMatrix, padded_sites

__all__ = ["CoulombMatrix", "charge_matrices"]

Floats = npt.NDArray[np.float64]

_SELF_ENERGIES: Final = 0.5 * np.arange(MAX_ATOMIC_NUMBER + 1.0) ** 2.4
_MEET: Final = 1e-6  # Å; sites nearer than that lie on each other


def charge_matrices(lengths: Floats, numbers: npt.NDArray[np.int64]) -> Floats:
    """(n, w, w) products of charges over lengths, with 0.5 Z^2.4 on the diagonal.

    Parameters
    ----------
    lengths : (n, w, w)
        Å; overwritten. The diagonal is not read.
    numbers : (n, w)
        Atomic numbers, 0 where there is no site.
    """
    n, width = numbers.shape
    charges = numbers.astype(float)
    lengths.reshape(n, -1)[:, :: width + 1] = 1.0
    matrices: Floats = charges[:, :, None] * charges[:, None, :]
    there = matrices > 0
    with np.errstate(divide="ignore"):
        np.divide(matrices, lengths, out=matrices, where=there)
    if lengths.min(initial=1.0, where=there) < _MEET:
        matrices[there & (lengths < _MEET)] = np.inf
    matrices.reshape(n, -1)[:, :: width + 1] = _SELF_ENERGIES[numbers]
    return matrices


@dataclass(frozen=True)
class CoulombMatrix(SiteMatrix):
    """Z_i Z_j / |R_i - R_j| for each two sites of the cell, 0.5 Z_i^2.4 on the diagonal.

    The array ``coulomb_matrix`` (n, max_sites, max_sites) has Å as its unit of length, and zeros
    beyond the sites. With ``permutation="eigenspectrum"`` it is (n, max_sites).

    The distances are those between the sites of the one cell that is given, coordinates in
    [0, 1): no image of a site is counted, as if the atoms of the cell were a molecule. Another
    origin or another cell of the same crystal gives another matrix, and an atom that crosses a
    face of the cell makes it jump. :class:`SineMatrix` and :class:`EwaldSumMatrix` are made for
    crystals.

    Parameters
    ----------
    max_sites, permutation, sigma, seed
        See :class:`SiteMatrix`.

    Raises
    ------
    RepresentationError
        A limit below 1, an unknown permutation, a negative sigma or seed.

    References
    ----------
    Rupp, Tkatchenko, Müller and von Lilienfeld, Phys. Rev. Lett. 108, 058301 (2012),
    10.1103/PhysRevLett.108.058301. The same numbers as dscribe's, 10.1016/j.cpc.2019.106949.

    Examples
    --------
    >>> salt = Crystals.single(np.eye(3) * 4.0, [[0, 0, 0], [0.5, 0, 0]], [3, 9])
    >>> CoulombMatrix(max_sites=2).encode(salt)["coulomb_matrix"].round(1).tolist()
    [[[97.5, 13.5], [13.5, 7.0]]]
    """

    name: ClassVar[str] = "coulomb_matrix"
    lost: ClassVar[str] = (
        "the lattice, orientation and handedness: only distances inside the one cell that is given "
        "count (of eigenvalues, most of these too)"
    )
    _invariances_of_entries: ClassVar = frozenset({"rotation"})
    _entries_continuous: ClassVar[bool] = False

    def _matrices(self, crystals: Crystals, width: int) -> Floats:
        sites = padded_sites(crystals, width)
        numbers = np.where(sites >= 0, crystals.numbers[sites], 0)
        # A column of coordinates at a time: rows of three make slow inner loops.
        coords = np.ascontiguousarray(crystals.cart_coords[sites].transpose(2, 0, 1))
        squares = np.zeros((len(crystals), width, width))
        for axis in coords:
            apart = axis[:, :, None] - axis[:, None, :]
            apart *= apart
            squares += apart
        return charge_matrices(np.sqrt(squares, out=squares), numbers)
