"""Real spherical harmonics of many directions at once, and their invariant products."""

from __future__ import annotations

from functools import lru_cache
from math import pi, sqrt

import numpy as np
import numpy.typing as npt

__all__ = ["invariant_coupling", "real_spherical_harmonics"]

Floats = npt.NDArray[np.float64]


def real_spherical_harmonics(directions: Floats, l_max: int) -> Floats:
    """(p, (l_max + 1)²) real spherical harmonics, orthonormal on the sphere.

    Column l² + l + m holds Y_lm: for m > 0 the one with cos mφ, for m < 0 with sin |m|φ, without
    the Condon-Shortley phase. A direction of length 0 has Y_00 alone, the mean over all
    directions of each.

    Parameters
    ----------
    directions : (p, 3)
        Unit vectors.
    l_max
        Largest l.

    Examples
    --------
    >>> real_spherical_harmonics(np.array([[0.0, 0.0, 1.0]]), 1).round(4).tolist()
    [[0.2821, 0.0, 0.4886, 0.0]]
    """
    x, y, z = np.ascontiguousarray(directions.T)
    out = np.empty(((l_max + 1) ** 2, len(directions)))
    # Legendre functions divided by sin^m θ, which (x + iy)^m brings back.
    diagonal = sqrt(1 / (4 * pi))
    real, imaginary = np.ones_like(x), np.zeros_like(x)
    for m in range(l_max + 1):
        if m:
            diagonal *= sqrt((2 * m + 1) / (2 * m))
            real, imaginary = real * x - imaginary * y, real * y + imaginary * x
        before, now = np.zeros_like(z), np.full_like(z, diagonal)
        for degree in range(m, l_max + 1):
            if degree > m:
                up = sqrt((4 * degree**2 - 1) / (degree**2 - m**2))
                down = sqrt(((degree - 1) ** 2 - m**2) / (4 * (degree - 1) ** 2 - 1))
                before, now = now, up * (z * now - down * before)
            middle = degree**2 + degree
            if m == 0:
                out[middle] = now
            else:
                out[middle + m] = sqrt(2) * now * real
                out[middle - m] = sqrt(2) * now * imaginary
    nowhere = (x == 0) & (y == 0) & (z == 0)
    out[1:, nowhere] = 0.0
    return np.asarray(out.T, float)


@lru_cache(maxsize=256)
def invariant_coupling(first: int, second: int, third: int) -> Floats:
    """(2 l1 + 1, 2 l2 + 1, 2 l3 + 1) coefficients that couple three harmonics to an invariant.

    They are the generalised Clebsch-Gordan coefficients to total angular momentum 0 in the basis
    of real harmonics: Wigner's 3j symbols up to the sign of the whole. For an even sum of l's the
    invariant is even under inversion, unique, and the integral of the three harmonics over the
    sphere is a multiple of the coefficients; so they are found, the integral being exact for
    polynomials, and scaled to a sum of squares of 1. Exchanging two l's exchanges two axes.
    """
    degree = first + second + third
    if degree % 2 or not abs(first - second) <= third <= first + second:
        raise ValueError(f"l = {first}, {second}, {third} have no invariant even under inversion")
    heights, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    angles = 2 * pi * np.arange(degree + 1) / (degree + 1)
    radii = np.sqrt(1 - heights**2)[:, None]
    points = np.stack(
        [
            radii * np.cos(angles),
            radii * np.sin(angles),
            np.broadcast_to(heights[:, None], (len(heights), len(angles))),
        ],
        axis=-1,
    ).reshape(-1, 3)
    harmonics = real_spherical_harmonics(points, max(first, second, third))
    a, b, c = (harmonics[:, k**2 : (k + 1) ** 2] for k in (first, second, third))
    integrals = np.einsum("p,pa,pb,pc->abc", np.repeat(weights, len(angles)), a, b, c)
    integrals[np.abs(integrals) < 1e-12 * np.abs(integrals).max()] = 0.0
    coupling = integrals / sqrt(float((integrals**2).sum()))
    coupling.flags.writeable = False
    return np.asarray(coupling, float)
