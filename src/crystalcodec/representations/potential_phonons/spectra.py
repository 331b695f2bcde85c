"""Frequencies of a crystal's vibrations from its force constants."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import ATOMIC_MASSES
from crystalcodec.geometry import lattice_points

__all__ = ["Spectrum", "site_frequencies", "vibrations", "wave_vectors", "wavenumbers"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_WAVENUMBER: Final = 521.4708980
"""1/cm of a mass of 1 u on a spring of 1 eV/Å² (CODATA 2018)."""

_STEPS: Final = np.array([*itertools.product((-1, 0, 1), repeat=3)])
_SAME: Final = 1e-3  # Å; images of an atom that are as near as each other


@dataclass(frozen=True)
class Spectrum:
    """Vibrations at several wave vectors.

    Parameters
    ----------
    frequencies : (n_q, 3 n_sites)
        1/cm, rising; imaginary ones as negative numbers.
    shares : (n_q, 3 n_sites, n_sites)
        How much of the vibration each site does; their sum is 1.
    weights : (n_q,)
        Of the wave vectors; their sum is 1.
    """

    frequencies: Floats
    shares: Floats
    weights: Floats


def wavenumbers(eigenvalues: Floats) -> Floats:
    """1/cm of eigenvalues in eV/(Å² u); of negative ones the negative."""
    return np.asarray(_WAVENUMBER * np.sign(eigenvalues) * np.sqrt(np.abs(eigenvalues)))


def wave_vectors(lattice: Floats, spacing: float) -> tuple[Floats, Floats]:
    """A grid around the zone centre, in units of the reciprocal cell, and weights of sum 1.

    Of q and -q, at which a crystal vibrates alike, one is kept. ``spacing``, 1/Å without 2 π, is
    the largest distance between neighbouring points along a reciprocal vector.
    """
    lengths = np.linalg.norm(np.linalg.inv(lattice), axis=0)
    counts = np.maximum(1, np.ceil(lengths / spacing - 1e-6)).astype(np.int64)
    grid = lattice_points(np.diag(counts))
    opposite = np.ravel_multi_index((-grid % counts).T, tuple(counts))
    kept = np.flatnonzero(np.arange(len(grid)) <= opposite)
    weights = np.where(opposite[kept] == kept, 1.0, 2.0)
    return grid[kept] / counts, weights / weights.sum()


def vibrations(
    crystal: Crystals, repeats: Ints, constants: Floats, wave_vectors: Floats, weights: Floats
) -> Spectrum:
    """Frequencies and shares at wave vectors, by Fourier interpolation of the force constants.

    The constant between two atoms is that of the nearest image in the supercell; of images as
    near as each other each gets its part. At wave vectors that fit the supercell the frequencies
    are exact.

    Parameters
    ----------
    constants : (n_sites, n_sites, n_cells, 3, 3)
        eV/Å².
    wave_vectors : (n_q, 3)
        In units of the reciprocal cell.
    """
    phases = _phases(crystal, repeats, wave_vectors)
    masses = ATOMIC_MASSES[crystal.numbers]
    n = len(masses)
    scaled = constants / np.sqrt(masses[:, None] * masses)[:, :, None, None, None]
    matrices = np.einsum("qijc,ijcab->qiajb", phases, scaled, optimize=True)
    matrices = matrices.reshape(-1, 3 * n, 3 * n)
    matrices = (matrices + matrices.conj().transpose(0, 2, 1)) / 2
    values, vectors = np.linalg.eigh(matrices)
    shares = (np.abs(vectors) ** 2).reshape(-1, n, 3, 3 * n).sum(axis=2).transpose(0, 2, 1)
    return Spectrum(wavenumbers(values), shares, weights)


def _phases(crystal: Crystals, repeats: Ints, wave_vectors: Floats) -> npt.NDArray[np.complex128]:
    """(n_q, n_sites, n_sites, n_cells), the mean over the nearest images of each atom."""
    coords, cells = crystal.frac_coords, lattice_points(np.diag(repeats))
    apart = coords - coords[:, None]
    apart = (apart[:, :, None] + cells) / repeats
    # Rounding is kept from deciding between faces of the supercell: all images are looked at.
    steps = (_STEPS - np.rint(apart)[..., None, :]).astype(np.int64)
    vectors = (apart[..., None, :] + steps) * repeats @ crystal.lattices[0]
    distances = np.linalg.norm(vectors, axis=-1)
    near = distances < distances.min(axis=-1, keepdims=True) + _SAME
    lags = cells[:, None] + steps * repeats
    i, j, cell, step = np.nonzero(near)
    phase = np.exp(2j * np.pi * wave_vectors @ lags[i, j, cell, step].T)
    count = near.sum(axis=-1)
    places = np.ravel_multi_index((i, j, cell), count.shape)
    starts = np.flatnonzero(np.r_[True, np.diff(places) > 0])
    total = np.add.reduceat(phase, starts, axis=1)
    return np.asarray(total.reshape(-1, *count.shape) / count)


def site_frequencies(crystal: Crystals, constants: Floats) -> Floats:
    """(n_sites, 3) the frequencies, 1/cm, of each site in the field of all others at rest."""
    own = np.arange(len(crystal.numbers))
    matrices = constants[own, own, 0] / ATOMIC_MASSES[crystal.numbers][:, None, None]
    return wavenumbers(np.linalg.eigvalsh((matrices + matrices.transpose(0, 2, 1)) / 2))
