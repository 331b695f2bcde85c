"""Fourier series of the periodic fields of a crystal: atoms that weigh an element's property.

A field with an atom of weight w at each fractional coordinate x has the coefficients

    F(hkl) = D(hkl) Σ w exp(-2πi h·x),  D = exp(-2π²σ²|G|²),

where D turns each atom into a Gaussian of width σ. Indices run over |h|, |k|, |l| <= ``m``, and
only l >= 0 is kept: F(-h) is the conjugate of F(h). Arrays of coefficients have the shape
(n, channels, 2m + 1, 2m + 1, m + 1), h and k from -m to m, l from 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.elements import ELECTRONEGATIVITIES, GROUPS, MAX_ATOMIC_NUMBER, PERIODS
from crystalcodec.representations.base import RepresentationError

__all__ = [
    "PROPERTIES",
    "batches_of_equal_size",
    "gaussian_damping",
    "multiplicities",
    "property_table",
    "structure_factors",
    "waves",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float32]
Coefficients = npt.NDArray[np.complex64]

_NOBLE_GASES: Final = (0, 2, 10, 18, 36, 54, 86)
# Coefficients of this many crystals, and tables of this many sites, stay in the cache.
_CRYSTALS_AT_ONCE: Final = 4
_SITES_AT_ONCE: Final = 256


def _columns() -> Floats:
    """Column of the periodic table with the f block written in: 1 to 32.

    1 and 2 are the s block, 3 to 16 lanthanum to ytterbium and those below, 17 to 26 the d
    block, 27 to 32 the p block. Helium stands over neon.
    """
    numbers = np.arange(MAX_ATOMIC_NUMBER + 1)
    period = PERIODS.astype(int)
    start = np.array(_NOBLE_GASES)[np.maximum(period - 1, 0)]
    length = np.array([0, 2, 8, 8, 18, 18, 32, 32])[period]
    place = numbers - start
    # Counted from the left in the s block, from the right behind it.
    columns = np.where(place <= 2, place, 32 - length + place).astype(float)
    columns[2] = 32.0
    columns[0] = 0.0
    return np.asarray(columns, float)


# By name, a number for each atomic number up to 118; 0 where the element has none.
PROPERTIES: Final[dict[str, Floats]] = {
    "one": np.r_[0.0, np.ones(MAX_ATOMIC_NUMBER)],
    "Z": np.arange(MAX_ATOMIC_NUMBER + 1.0),
    "period": PERIODS,
    "group": GROUPS,
    "column": _columns(),
    "electronegativity": np.nan_to_num(ELECTRONEGATIVITIES, nan=0.0),
}
"""What an atom may weigh, by name: a value for each atomic number."""


def property_table(channels: tuple[str, ...]) -> Floats:
    """(119, channels) the weights of each element.

    Raises
    ------
    RepresentationError
        An unknown property, none or one twice, or properties that two elements share, so that
        no field could tell which of them it holds.
    """
    unknown = [channel for channel in channels if channel not in PROPERTIES]
    if unknown or not channels or len(set(channels)) != len(channels):
        raise RepresentationError(
            f"channels are {channels}, wanted different ones of {', '.join(PROPERTIES)}"
        )
    table = np.stack([PROPERTIES[channel] for channel in channels], axis=1)
    if len(np.unique(table, axis=0)) < len(table):
        raise RepresentationError(
            f"channels {channels} do not tell all elements apart: add 'Z', or 'period' and 'column'"
        )
    return table


def batches_of_equal_size(counts: Ints) -> Iterator[Ints]:
    """Positions of crystals of the same number of sites, few enough at once for the cache.

    A sum over sites then has the same shape, and the same rounding, whatever the batch is.
    """
    for count in np.unique(counts).tolist():
        same = np.flatnonzero(counts == count)
        step = max(1, min(_CRYSTALS_AT_ONCE, _SITES_AT_ONCE // count))
        for start in range(0, len(same), step):
            yield same[start : start + step]


def waves(coords: Floats, m: int) -> tuple[Coefficients, Coefficients, Coefficients]:
    """exp(-2πi h x) along each axis: (..., n_sites, 2m + 1) twice, then (..., n_sites, m + 1)."""
    h = np.arange(-m, m + 1)
    x, y, z = (
        np.exp(-2j * np.pi * (coords[..., axis, None] * indices)).astype(np.complex64)
        for axis, indices in enumerate((h, h, h[m:]))
    )
    return x, y, z


def structure_factors(coords: Floats, weights: Floats, m: int) -> Coefficients:
    """Coefficients of point atoms: (n, channels, 2m + 1, 2m + 1, m + 1).

    Parameters
    ----------
    coords : (n, n_sites, 3)
        Fractional coordinates.
    weights : (n, n_sites, channels)
        What each atom weighs in each channel.
    m
        Largest index.
    """
    n, n_sites, channels = weights.shape
    # A wave over the cell is a product of three, so that a matrix product sums all of them.
    x, y, z = waves(coords, m)
    planes = (x[:, :, :, None] * y[:, :, None, :]).reshape(n, 1, n_sites, -1)
    lines = weights.transpose(0, 2, 1)[..., None].astype(np.float32) * z[:, None]
    summed = np.matmul(planes.transpose(0, 1, 3, 2), lines)
    shape = (n, channels, 2 * m + 1, 2 * m + 1, m + 1)
    return np.asarray(summed.reshape(shape), np.complex64)


def gaussian_damping(lattices: Floats, m: int, sigma: float) -> Reals:
    """(n, 2m + 1, 2m + 1, m + 1) the factor exp(-2π²σ²|G|²) of each coefficient."""
    h = np.arange(-m, m + 1.0)
    first, second, third = h[:, None], h, h[m:]
    reciprocal = np.linalg.inv(lattices)
    metric = np.einsum("nki,nkj->nij", reciprocal, reciprocal) * (-2 * np.pi**2 * sigma**2)
    g = metric[:, :, :, None, None]
    hk = g[:, 0, 0] * first**2 + g[:, 1, 1] * second**2 + 2 * g[:, 0, 1] * first * second
    hl = g[:, 2, 2] * third**2 + 2 * g[:, 0, 2] * first * third
    kl = 2 * g[:, 1, 2] * second[:, None] * third
    exponent = hk.astype(np.float32)[..., None] + hl.astype(np.float32)[:, :, None]
    exponent += kl.astype(np.float32)[:, None]
    return np.asarray(np.exp(exponent, out=exponent), np.float32)


def multiplicities(m: int) -> Reals:
    """(m + 1,) how often a coefficient of each l counts in a sum over all of them."""
    return np.where(np.arange(m + 1) == 0, 1, 2).astype(np.float32)
