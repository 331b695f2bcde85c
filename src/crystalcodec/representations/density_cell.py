"""The density in the unit cell, on a grid of fractional coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy import fft

from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.fields.decoding import power
from crystalcodec.representations.fields.periodic import PeriodicField

__all__ = ["DensityCell"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DensityCell(PeriodicField):
    """A Gaussian at each atom and each of its periodic images, on N x N x N points of the cell.

    The arrays are ``density`` (n, channels, N, N, N), per Å3, at the fractional coordinates
    (i, j, k) / N, and ``cell_parameters`` (n, 6): a, b, c in Å, alpha, beta, gamma in degrees.
    The field is

        M(r) = Σ w (2πσ²)^(-3/2) exp(-d² / 2σ²)

    over all atoms and images, without the waves that N points cannot hold: it is the Fourier
    series of M up to the index (N - 1) // 2. Where the distance of the points is below about σ
    the two are the same; in a long cell the series rings around each atom and has values below 0.
    A sum of all points times the volume of one is the sum of the weights, exactly.

    The arrays depend on the origin and on the choice of the cell. Decoding fits all atoms to the
    whole grid at once, so that noise on single points averages out.

    Parameters
    ----------
    channels
        What an atom weighs, one channel each: ``one``, ``Z``, ``period``, ``group``, ``column``
        (of the periodic table, 1 to 32, the f block written in), ``electronegativity`` (0 where
        there is none). Together they must tell all elements apart; ``("Z",)`` does.
    sigma
        Width of the Gaussians, Å.
    max_sites
        Most sites of a crystal.
    tolerance
        For decoding: the largest part of a channel that the decoded atoms may leave unexplained,
        root mean square in units of the standard deviation of the channel over the grid. The
        default is strict; for noisy or generated fields give a larger one, 0.5 for instance.
        Confidence is one less the part left of the worst channel.
    lenient
        For decoding generated fields: all peaks of the channel ``one`` above ``threshold``, and no
        others, are atoms; each takes the element that the ratios of its other weights to its
        weight in ``one`` are nearest to. The crystal must be one that ``encode`` takes; what its
        atoms leave unexplained is not checked, and told by the confidence alone.
    threshold
        Smallest peak of an atom, as a share of that of one that stands alone.
    size
        Points along each axis, N.

    Raises
    ------
    RepresentationError
        Unknown channels or such as two elements share, fewer than 7 points, a width not above 0,
        a tolerance outside (0, 1], a threshold that is not between 0 and 1, ``lenient`` without
        the channel ``one``.

    References
    ----------
    The field on a cube: Hoffmann et al., arXiv 1909.00949. On the grid of the unit cell: Court et
    al., J. Chem. Inf. Model. 60, 4518 (2020), 10.1021/acs.jcim.0c00464.

    Examples
    --------
    >>> from crystalcodec import Crystals
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> encoded = DensityCell().encode(salt)
    >>> encoded["density"].shape, round(float(encoded["density"][0, 0].mean() * salt.volumes[0]), 4)
    ((1, 3, 32, 32, 32), 2.0)
    >>> DensityCell().decode(encoded).crystals
    Crystals(n=1, n_sites_total=2: NaCl)
    """

    name: ClassVar[str] = "density_cell"
    layouts: ClassVar = {"density": "cdhw"}
    _array: ClassVar[str] = "density"
    _unit: ClassVar[str] = "1/Å3"

    size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 7:
            raise RepresentationError(f"size is {self.size}, wanted at least 7 points")
        if not self.sigma > 0:
            raise RepresentationError(f"sigma is {self.sigma} Å, wanted above 0")

    @property
    def largest_index(self) -> int:
        """Largest index of the series, (N - 1) // 2."""
        return (self.size - 1) // 2

    def _array_shape(self) -> tuple[int, ...]:
        return (len(self.channels), self.size, self.size, self.size)

    def _from_coefficients(
        self, coefficients: npt.NDArray[np.complex64], volumes: Floats
    ) -> npt.NDArray[np.float32]:
        n, m, size = len(coefficients), self.largest_index, self.size
        spectrum = np.zeros((n, len(self.channels), size, size, size // 2 + 1), np.complex64)
        scale = (1 / volumes).astype(np.float32)[:, None, None, None, None]
        # Negative indices stand at the end of an axis; the halves are copied block by block.
        for to_h, from_h in self._halves():
            for to_k, from_k in self._halves():
                block = coefficients[:, :, from_h, from_k]
                np.multiply(block, scale, out=spectrum[:, :, to_h, to_k, : m + 1])
        field = fft.irfftn(spectrum, s=(size,) * 3, axes=(2, 3, 4), norm="forward")
        return np.asarray(field, np.float32)

    def _halves(self) -> tuple[tuple[slice, slice], ...]:
        """Where indices from 0 on and below 0 stand along an axis: of the spectrum, of ours."""
        m = self.largest_index
        return (slice(0, m + 1), slice(m, None)), (slice(self.size - m, None), slice(0, m))

    def _to_coefficients(
        self, array: npt.NDArray[Any], volumes: Floats
    ) -> tuple[npt.NDArray[np.complex64], Floats]:
        m, size = self.largest_index, self.size
        spectrum = fft.rfftn(array, axes=(2, 3, 4), norm="forward")
        spectrum *= volumes.astype(np.float32)[:, None, None, None, None]
        shape = (*array.shape[:2], 2 * m + 1, 2 * m + 1, m + 1)
        coefficients = np.empty(shape, np.complex64)
        for to_h, from_h in self._halves():
            for to_k, from_k in self._halves():
                coefficients[:, :, from_h, from_k] = spectrum[:, :, to_h, to_k, : m + 1]
        outside = np.zeros(array.shape[:2])
        if size % 2 == 0:
            # Waves of half the sampling rate, which an encoding does not hold.
            last = np.abs(spectrum[..., m + 1].astype(complex)) ** 2
            outside += last.sum(axis=(2, 3))
            outside += power(spectrum[:, :, m + 1 : m + 2, :, : m + 1])
            spectrum[:, :, m + 1] = 0
            outside += power(spectrum[:, :, :, m + 1 : m + 2, : m + 1])
        return coefficients, outside
