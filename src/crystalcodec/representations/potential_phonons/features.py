"""Numbers of one length that tell a spectrum of vibrations."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import ATOMIC_MASSES
from crystalcodec.representations.potential_phonons.spectra import Spectrum, site_frequencies

__all__ = ["EDGES", "STIFFNESSES", "SUMMARY", "density", "slices", "stiffnesses", "summary"]

Floats = npt.NDArray[np.float64]

EDGES: Final = (*(i / 20 for i in range(20)), 0.98, 0.99, 1.0)
"""Of the slices: shares of all vibrations."""

_POWERS: Final = (2, 4, 8, 16, 32)

SUMMARY: Final = (
    "maximum",
    "maximum at the zone centre",
    "minimum",
    "minimum at the zone centre",
    "mean",
    "standard deviation",
    "mean imaginary",
    *(f"power mean {power}" for power in _POWERS),
    "highest site frequency",
    "lowest site frequency",
    *(
        f"{which} element, {what}"
        for which in ("lightest", "heaviest")
        for what in ("mean", "power mean 8", "site frequency")
    ),
)
"""1/cm each."""

STIFFNESSES: Final = ("maximum", "mean", "minimum")
"""Of the sites, eV/Å²."""


def slices(spectrum: Spectrum) -> Floats:
    """(22,) mean frequency, 1/cm, of the slowest twentieth of all vibrations, the next, and so on.

    Slices stand for quantiles, which would jump where one of them falls into a gap.
    """
    n = spectrum.frequencies.shape[1]
    every = spectrum.frequencies.ravel()
    order = np.argsort(every, kind="stable")
    weights = np.repeat(spectrum.weights / n, n)[order]
    below = np.r_[0, np.cumsum(weights)]
    sums = np.interp(EDGES, below / below[-1], np.r_[0, np.cumsum(weights * every[order])])
    return np.asarray(np.diff(sums) / np.diff(EDGES))


def summary(crystal: Crystals, constants: Floats, spectrum: Spectrum) -> Floats:
    """(20,) the numbers of :data:`SUMMARY`, 1/cm; imaginary frequencies count as negative."""
    frequencies, weights = spectrum.frequencies, spectrum.weights
    centre = frequencies[0]
    mean = float(weights @ frequencies.mean(axis=1))
    square = float(weights @ (frequencies**2).mean(axis=1))
    alone = site_frequencies(crystal, constants)
    every = np.full(frequencies.shape, 1.0 / frequencies.shape[1])
    masses = ATOMIC_MASSES[crystal.numbers]
    parts = []
    for number in crystal.numbers[[masses.argmin(), masses.argmax()]]:
        own = crystal.numbers == number
        # All vibrations of n sites hold three of each site.
        share = spectrum.shares[:, :, own].sum(axis=2) / (3 * own.sum())
        signed = np.sign(alone[own]) * alone[own] ** 2
        parts += [
            float(weights @ (share * frequencies).sum(axis=1)),
            _power_mean(frequencies, share, weights, 8),
            float(np.sign(signed.mean()) * np.sqrt(abs(signed.mean()))),
        ]
    return np.array(
        [
            frequencies.max(),
            centre.max(),
            frequencies.min(),
            centre.min(),
            mean,
            np.sqrt(max(square - mean**2, 0.0)),
            weights @ np.minimum(frequencies, 0).mean(axis=1),
            *(_power_mean(frequencies, every, weights, power) for power in _POWERS),
            alone.max(),
            alone.min(),
            *parts,
        ]
    )


def _power_mean(frequencies: Floats, share: Floats, weights: Floats, power: int) -> float:
    """The power mean of the real frequencies; imaginary ones count as 0."""
    real = np.maximum(frequencies, 0)
    largest = float(real.max())
    if largest == 0:
        return 0.0
    mean = weights @ (share * (real / largest) ** power).sum(axis=1)
    return float(largest * mean ** (1 / power))


def stiffnesses(constants: Floats) -> Floats:
    """(3,) the numbers of :data:`STIFFNESSES`: thirds of the traces of the sites' own constants."""
    own = np.arange(len(constants))
    traces = np.trace(constants[own, own, 0], axis1=1, axis2=2) / 3
    return np.array([traces.max(), traces.mean(), traces.min()])


def density(spectrum: Spectrum, axis: Floats, broadening: float) -> Floats:
    """(n_points,) the density of vibrations on an axis, 1/cm, as Gaussians of that width.

    In units of the share of all vibrations in one step of the axis.
    """
    n = spectrum.frequencies.shape[1]
    apart = (axis - spectrum.frequencies.reshape(-1, 1)) / broadening
    step = axis[1] - axis[0]
    heights = np.exp(-(apart**2) / 2) * step / (broadening * np.sqrt(2 * np.pi))
    return np.asarray(np.repeat(spectrum.weights / n, n) @ heights)
