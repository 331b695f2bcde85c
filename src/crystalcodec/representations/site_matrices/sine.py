"""The sine matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.representations.site_matrices.coulomb import charge_matrices
from crystalcodec.representations.site_matrices.representation import SiteMatrix, padded_sites

__all__ = ["SineMatrix"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SineMatrix(SiteMatrix):
    """Z_i Z_j / φ_ij for each two sites, 0.5 Z_i^2.4 on the diagonal.

    φ_ij = |Σ_k sin²(π Δx_k) b_k| stands for the distance: Δx are the differences of fractional
    coordinates and b_k the cell vectors in Å, so that it is periodic and costs no sum over
    images. The array ``sine_matrix`` (n, max_sites, max_sites) has zeros beyond the sites. With
    ``permutation="eigenspectrum"`` it is (n, max_sites).

    φ is bound to the cell vectors: another cell of the same lattice gives other numbers, and
    sites that a symmetry of the lattice makes equal may differ.

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
    Faber, Lindmaa, von Lilienfeld and Armiento, Int. J. Quantum Chem. 115, 1094 (2015),
    10.1002/qua.24917. The same numbers as dscribe's, 10.1016/j.cpc.2019.106949.

    Examples
    --------
    >>> salt = Crystals.single(np.eye(3) * 4.0, [[0, 0, 0], [0.5, 0, 0]], [3, 9])
    >>> SineMatrix(max_sites=2).encode(salt)["sine_matrix"].round().tolist()
    [[[98.0, 7.0], [7.0, 7.0]]]
    """

    name: ClassVar[str] = "sine_matrix"
    lost: ClassVar[str] = (
        "orientation and handedness, and of the lattice all that φ does not tell (of eigenvalues, "
        "most of the rest too)"
    )
    _invariances_of_entries: ClassVar = frozenset({"rotation", "translation"})
    _entries_continuous: ClassVar[bool] = True

    def _matrices(self, crystals: Crystals, width: int) -> Floats:
        sites = padded_sites(crystals, width)
        numbers = np.where(sites >= 0, crystals.numbers[sites], 0)
        angles = np.pi * crystals.frac_coords
        # sin(a - b) from the sines and cosines of the sites: one pair a site, not one a pair.
        sines, cosines = (
            np.ascontiguousarray(values[sites].transpose(2, 0, 1))
            for values in (np.sin(angles), np.cos(angles))
        )
        squares = []
        for sine, cosine in zip(sines, cosines, strict=True):
            products = sine[:, :, None] * cosine[:, None, :]
            products = products - products.transpose(0, 2, 1)
            products *= products
            squares.append(products)
        metrics = np.einsum("nik,njk->nij", crystals.lattices, crystals.lattices)[..., None, None]
        lengths = np.zeros((len(crystals), width, width))
        for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)):
            term = squares[i] * squares[j]
            term *= metrics[:, i, j] * (1.0 if i == j else 2.0)
            lengths += term
        # Rounding may leave less than nothing where sites meet in a flat cell.
        np.maximum(lengths, 0.0, out=lengths)
        return charge_matrices(np.sqrt(lengths, out=lengths), numbers)
