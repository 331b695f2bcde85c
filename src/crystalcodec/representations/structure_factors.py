"""Truncated structure factors: the Fourier coefficients of the atoms in the cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.fields.periodic import PeriodicField

__all__ = ["StructureFactors"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StructureFactors(PeriodicField):
    """Complex coefficients of the atoms on the reciprocal vectors |h|, |k|, |l| <= m.

    The arrays are ``structure_factors`` (n, 2 channels, 2m + 1, 2m + 1, m + 1), where channel 2j
    holds the real and channel 2j + 1 the imaginary part of the j-th property, and
    ``cell_parameters`` (n, 6): a, b, c in Å, alpha, beta, gamma in degrees. h and k run from -m
    to m and l from 0 to m, the rest being conjugates. The coefficients are

        F(hkl) = D(hkl) Σ w exp(-2πi (hx + ky + lz)),  D = exp(-2π²σ²|G|²)

    over the atoms of the cell (crystallography writes the exponent with the other sign). They are
    periodic by nature, and covariant: a shift t of the origin turns the phase of each by
    -2π h·t and leaves its modulus. With the same σ and m = (N - 1) // 2 they are the discrete
    Fourier transform of :class:`DensityCell`, up to the volume.

    Parameters
    ----------
    channels
        What an atom weighs, as for :class:`DensityCell`.
    sigma
        Width of the Gaussian that damps the coefficients, Å; 0 for point atoms, all coefficients
        of which are of the same size.
    max_sites
        Most sites of a crystal.
    tolerance
        For decoding: the largest part of a channel that the decoded atoms may leave unexplained,
        root mean square in units of that of its coefficients without 000. The default is
        strict; for noisy or generated coefficients give a larger one, 0.5 for instance.
        Confidence is one less the part left of the worst channel.
    lenient
        For decoding generated coefficients: all peaks of the channel ``one`` above ``threshold``,
        and no others, are atoms; each takes the element that the ratios of its other weights to its
        weight in ``one`` are nearest to. The crystal must be one that ``encode`` takes; what its
        atoms leave unexplained is not checked, and told by the confidence alone.
    threshold
        Smallest peak of an atom, as a share of that of one that stands alone.
    max_index
        Largest index, m.

    Raises
    ------
    RepresentationError
        Unknown channels or such as two elements share, an index below 3, a negative width, a
        tolerance outside (0, 1], a threshold that is not between 0 and 1, ``lenient`` without
        the channel ``one``.

    References
    ----------
    Nine basis functions along each axis, a density for each species: arXiv 2602.12045.

    Examples
    --------
    >>> from crystalcodec import Crystals
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> factors = StructureFactors(channels=("Z",), max_index=4)
    >>> array = factors.encode(salt)["structure_factors"]
    >>> array.shape, array[0, 0, 4, 4, :3].tolist()  # F(000), F(001), F(002)
    ((1, 2, 9, 9, 5), [28.0, -6.0, 28.0])
    """

    name: ClassVar[str] = "structure_factors"
    layouts: ClassVar = {"structure_factors": "cdhw"}
    _array: ClassVar[str] = "structure_factors"

    sigma: float = 0.0
    max_index: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_index < 3:
            raise RepresentationError(f"max_index is {self.max_index}, wanted at least 3")
        if not self.sigma >= 0:
            raise RepresentationError(f"sigma is {self.sigma} Å, wanted at least 0")

    @property
    def largest_index(self) -> int:
        """Largest index, m."""
        return self.max_index

    def _array_shape(self) -> tuple[int, ...]:
        points = 2 * self.max_index + 1
        return (2 * len(self.channels), points, points, self.max_index + 1)

    def _from_coefficients(
        self, coefficients: npt.NDArray[np.complex64], volumes: Floats
    ) -> npt.NDArray[np.float32]:
        del volumes  # the coefficients are those of the cell, not of a density
        parts = np.stack([coefficients.real, coefficients.imag], axis=2)
        return parts.reshape(len(coefficients), *self._array_shape())

    def _to_coefficients(
        self, array: npt.NDArray[Any], volumes: Floats
    ) -> tuple[npt.NDArray[np.complex64], Floats]:
        del volumes
        coefficients = np.empty((len(array), len(self.channels), *array.shape[2:]), np.complex64)
        coefficients.real, coefficients.imag = array[:, 0::2], array[:, 1::2]
        return coefficients, np.zeros((len(array), len(self.channels)))
