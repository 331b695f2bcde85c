"""Atoms located in a density on the grid of the cell, and named by a grid of species."""

from __future__ import annotations

import itertools
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals, find_faults
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.representations.density_cell import DensityCell
from crystalcodec.representations.density_cube.peaks import find_peaks
from crystalcodec.representations.fields.fourier_series import gaussian_damping, multiplicities

__all__ = ["locate_atoms"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_MERGED: Final = 0.9  # Å: peaks nearer than this are one atom
_LONGEST: Final = 1e3  # Å, of a cell


def locate_atoms(
    representation: DensityCell,
    density: npt.NDArray[Any],
    cells: npt.NDArray[Any],
    species: npt.NDArray[Any],
    threshold: float,
) -> tuple[Crystals, Ints]:
    """Crystals of the peaks of densities.

    A peak is a point higher than its 26 neighbours and than ``threshold`` times the peak of an
    atom that stands alone; its place is interpolated between the points, and its species is that
    of the nearest point. Peaks where the species is 0 are no atoms, and of two nearer than 0.9 Å
    only the higher one is.

    Parameters
    ----------
    density : (n, N, N, N)
        The channel ``one``.
    cells : (n, 6)
        a, b, c (Å), alpha, beta, gamma (degrees).
    species : (n, N, N, N)
        Atomic numbers, 0 for none.

    Returns
    -------
    crystals
        Of the densities that hold atoms, in a cell that closes.
    index : (m,)
        Which densities these are.
    """
    cells = np.asarray(cells, float)
    whole = np.isfinite(cells).all(axis=1) & (cells[:, :3] < _LONGEST).all(axis=1)
    with np.errstate(all="ignore"):
        lattices = lattices_from_cell_parameters(np.where(whole[:, None], cells, 0.0))
    n = len(lattices)
    lattices[~np.isfinite(lattices).all(axis=(1, 2))] = 0.0
    one = (np.zeros((n, 3)), np.ones(n, np.int64), np.arange(n + 1))
    sound = np.ones(n, bool)
    sound[[fault.index for fault in find_faults(lattices, *one)]] = False
    index = np.flatnonzero(sound)
    lattices = lattices[index]
    fields = np.asarray(density, float)[index]
    peaks = find_peaks(fields, threshold * _lone_peaks(representation, lattices), periodic=True)
    size = fields.shape[1:]
    nearest = np.rint(peaks.positions).astype(np.int64) % np.array(size)
    numbers = np.asarray(species)[index[peaks.index], *nearest.T].astype(np.int64)
    coords = peaks.positions / np.array(size)
    kept = _single(peaks.index, coords, np.where(numbers > 0, peaks.heights, -np.inf), lattices)
    owner, coords, numbers = peaks.index[kept], coords[kept], numbers[kept]
    counts = np.bincount(owner, minlength=len(index))
    there = counts > 0
    offsets = np.concatenate([[0], np.cumsum(counts[there])])
    return Crystals(lattices[there], coords, numbers, offsets), index[there]


def _lone_peaks(representation: DensityCell, lattices: Floats) -> Floats:
    """(n,) the density at an atom that stands alone, as the grid of each cell shows it."""
    m = representation.largest_index
    damping = gaussian_damping(lattices, m, representation.sigma)
    total = (damping.sum(axis=(1, 2)) * multiplicities(m)).sum(axis=1)
    return np.asarray(total / np.abs(np.linalg.det(lattices)), float)


def _single(owner: Ints, coords: Floats, heights: Floats, lattices: Floats) -> Ints:
    """Rows, in order, of the finite peaks that no higher one stands beside."""
    kept = []
    bounds = np.searchsorted(owner, np.arange(len(lattices) + 1)).tolist()
    for i, (start, stop) in enumerate(itertools.pairwise(bounds)):
        away = coords[start:stop, None] - coords[start:stop]
        away = (away - np.rint(away)) @ lattices[i]
        close = np.square(away).sum(axis=2) < _MERGED**2
        taken = np.zeros(stop - start, bool)
        # Which peaks fall depends on those that stand: one after another.
        for k in np.argsort(-heights[start:stop], kind="stable").tolist():
            taken[k] = heights[start + k] > -np.inf and not (close[k] & taken).any()
        kept.append(start + np.flatnonzero(taken))
    return np.concatenate([np.zeros(0, np.int64), *kept])
