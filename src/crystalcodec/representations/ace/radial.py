"""Radial functions: Chebyshev polynomials of a scaled distance, and Gaussian-type orbitals."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import gamma

__all__ = ["CutoffFunction", "Radial", "chebyshev", "cutoff_values", "gaussian_orbitals"]

Floats = npt.NDArray[np.float64]
Radial = Literal["chebyshev", "gto"]
CutoffFunction = Literal["cosine", "polynomial"]

# Gaussian-type orbitals of n = 1 and of the largest n have fallen to this at 1 Å and at the
# cut-off (10.1016/j.cpc.2019.106949).
_DECAY: Final = 1e-3


def cutoff_values(distances: Floats, cutoff: float, kind: CutoffFunction) -> Floats:
    """(p,) from 1 at distance 0 to 0 at the cut-off, where the slope is 0 too.

    ``cosine`` is (1 + cos πx) / 2, ``polynomial`` 1 - 3x² + 2x³, x the distance over the cut-off.
    """
    x = np.minimum(distances / cutoff, 1.0)
    if kind == "cosine":
        return np.asarray(0.5 * (1 + np.cos(np.pi * x)), float)
    return np.asarray(1 + x * x * (2 * x - 3), float)


def chebyshev(distances: Floats, n_max: int, cutoff: float, decay: float) -> Floats:
    """(n_max, p) the constant 1, then (1 - T_n(x)) / 2 for n = 1, 2, ... of a scaled distance x.

    x rises from -1 at distance 0 to 1 at the cut-off, faster the shorter the distance:
    1 - 2 (exp(decay (1 - r / cutoff)) - 1) / (exp(decay) - 1).
    """
    x = 1 - 2 * np.expm1(decay * (1 - distances / cutoff)) / np.expm1(decay)
    angle = np.arccos(np.clip(x, -1.0, 1.0))
    values = np.empty((n_max, len(distances)))
    values[0] = 1.0
    for n in range(1, n_max):
        values[n] = 0.5 * (1 - np.cos(n * angle))
    return values


def gaussian_orbitals(
    distances: Floats, n_max: int, degree: int, cutoff: float, sigma: float
) -> tuple[Floats, Floats]:
    """Overlaps of radial Gaussian-type orbitals with a Gaussian at each distance.

    The orbitals r^l exp(-α_n r²) times a harmonic of degree l and the density
    exp(-|r - r_j|² / 2σ²), integrated over all space: what multiplies the harmonic of the direction
    of r_j, in closed form. The exponents let the n-th orbital fall to 0.001 at the n-th of even
    steps from 1 Å to the cut-off.

    Returns
    -------
    values : (n_max, p)
        Of the orbitals as they stand.
    mixing : (n_max, n_max)
        Row n is the n-th orbital after Löwdin's orthonormalisation, in terms of those.

    Raises
    ------
    ValueError
        Orbitals so alike that float64 cannot tell them apart.
    """
    ends = np.linspace(1.0, cutoff, n_max)
    exponents = (degree * np.log(ends) - np.log(_DECAY)) / ends**2
    sums = exponents[:, None] + exponents
    overlap = 0.5 * gamma(degree + 1.5) * sums ** (-degree - 1.5)
    values, vectors = np.linalg.eigh(overlap)
    if values[0] <= 1e-14 * values[-1]:
        raise ValueError("the orbitals are linearly dependent in float64")
    mixing = (vectors / np.sqrt(values)) @ vectors.T
    width = 1 / (2 * sigma**2)
    total = exponents + width
    scale = (np.pi / total) ** 1.5 * (width / total) ** degree
    out = np.multiply.outer(-exponents * width / total, distances * distances)
    np.exp(out, out=out)
    power = np.ones_like(distances)
    for _ in range(degree):
        power *= distances
    out *= scale[:, None]
    out *= power
    return out, mixing
