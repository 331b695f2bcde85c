"""Cells and coordinates that agree best with their own entries and with the distances."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.representations.minimum_images import minimum_images

__all__ = ["refined"]

Floats = npt.NDArray[np.float64]

_ROUNDS: Final = 4
_STEP: Final = 1e-5  # for the derivatives of lattices, in units of the ranges
_SHORT: Final = 0.3  # Å; below, the direction between two sites says nothing


def refined(
    cells: Floats, coords: Floats, apart: Floats, low: Floats, span: Floats, reach: float
) -> tuple[Floats, Floats, Floats]:
    """Least squares over all entries of pictures, each as noisy as any other.

    A cell parameter stands in a picture 2 s times for s sites, a coordinate and a distance twice.
    Gauss-Newton; a step that makes the sum of squares no smaller is not taken.

    Parameters
    ----------
    cells : (k, 6)
        Mean entries of a, b, c, alpha, beta, gamma, in units of their ranges.
    coords : (k, s, 3)
        Mean entries of the coordinates.
    apart : (k, s, s)
        Entries of the distances, in units of ``reach``.
    low, span : (6,)
        The ranges of the cell parameters, Å and degrees.
    reach
        Å, the distance of entry 1; those of 1 are not read.

    Returns
    -------
    cells, coords
        As given, where the cell closes none.
    left : (k,)
        Root mean square, by distance, of what remains: of the distances, and of what cell and
        coordinates had to give way.
    """
    k, sites = coords.shape[:2]
    first, second = np.triu_indices(sites, 1)
    if not len(first) or not k:
        return cells, coords, np.zeros(k)
    read = (apart[:, first, second] + apart[:, second, first]) / 2
    used = (read < 1 - 1e-9).astype(float)
    start = np.concatenate([coords.reshape(k, -1), cells], axis=1)
    weights = np.r_[np.full(3 * sites, 2.0), np.full(6, 2.0 * sites)]
    point, damping = start.copy(), np.zeros(k)
    best = np.full(k, np.inf)
    trial = start.copy()
    for _ in range(_ROUNDS + 1):
        lattices = lattices_from_cell_parameters(low + span * trial[:, -6:])
        closed = np.abs(np.nan_to_num(np.linalg.det(np.nan_to_num(lattices)))) > 1e-3
        lattices[~closed] = np.eye(3)
        places = trial[:, : 3 * sites].reshape(k, sites, 3)
        images, distances = minimum_images(places[:, first] - places[:, second], lattices)
        off = (distances / reach - read) * used
        cost = (weights * (trial - start) ** 2).sum(axis=1) + 2 * (off**2).sum(axis=1)
        better = closed & (cost < best)
        point[better], best[better] = trial[better], cost[better]
        damping = np.where(better, 0.0, 1.0)
        slopes = _slopes(images, distances, lattices, trial, low, span, first, second)
        slopes *= (used / reach)[..., None]
        normal = 2 * np.einsum("kpi,kpj->kij", slopes, slopes, optimize=True)
        normal[:, np.arange(len(weights)), np.arange(len(weights))] += weights
        right = weights * (start - trial) - 2 * np.einsum("kpi,kp->ki", slopes, off)
        steps = np.linalg.solve(normal, right[..., None])[..., 0]
        steps[~closed] = 0.0
        # From a worse point back half the way to the best one.
        trial = np.where(damping[:, None] == 0.0, trial + steps, (trial + point) / 2)
    left = np.where(np.isfinite(best), np.sqrt(best / (2 * len(first))), 1.0)
    return point[:, -6:], point[:, : 3 * sites].reshape(k, sites, 3), left


def _slopes(
    images: Floats,
    distances: Floats,
    lattices: Floats,
    trial: Floats,
    low: Floats,
    span: Floats,
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
) -> Floats:
    """(k, p, 3 s + 6) derivatives of the distances, Å, by coordinates and cell entries."""
    k, pairs = distances.shape
    vectors = np.einsum("kpi,kij->kpj", images, lattices)
    directions = vectors / np.maximum(distances, _SHORT)[..., None]
    by_coords = np.einsum("kpj,kij->kpi", directions, lattices)
    slopes = np.zeros((k, pairs, trial.shape[1]))
    every = np.arange(pairs)
    for axis in range(3):
        slopes[:, every, 3 * first + axis] = by_coords[..., axis]
        slopes[:, every, 3 * second + axis] = -by_coords[..., axis]
    cells = low + span * trial[:, -6:]
    for i in range(6):
        moved = cells.copy()
        moved[:, i] += span[i] * _STEP
        change = np.nan_to_num((lattices_from_cell_parameters(moved) - lattices) / _STEP)
        by_cell = np.einsum("kpi,kij->kpj", images, change)
        slopes[..., trial.shape[1] - 6 + i] = (by_cell * directions).sum(axis=2)
    return slopes
