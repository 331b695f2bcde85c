"""Peaks of fields on grids, between the points of the grid, in batches."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["Peaks", "find_peaks"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_NEIGHBOURS: Final = np.array(list(product((-1, 0, 1), repeat=3)))
_EARLIER: Final = _NEIGHBOURS[:13]  # half of the 26: the rest are their mirror images
_CROSSES: Final = ((0, 1), (0, 2), (1, 2))


@dataclass(frozen=True)
class Peaks:
    """Local maxima of a batch of fields, ragged: one row a peak.

    Parameters
    ----------
    index : (p,)
        The field of the batch that each peak belongs to, rising.
    positions : (p, 3)
        Where it is along the three axes, in steps of the grid; the first point is at 0.
    heights : (p,)
        The field there, interpolated.
    """

    index: Ints
    positions: Floats
    heights: Floats

    def __len__(self) -> int:
        return len(self.index)

    def of(self, field: int) -> tuple[Floats, Floats]:
        """Positions and heights of the peaks of one field, the highest first."""
        here = slice(*np.searchsorted(self.index, [field, field + 1]))
        order = np.argsort(-self.heights[here], kind="stable")
        return self.positions[here][order], self.heights[here][order]


def find_peaks(
    fields: npt.NDArray[Any], threshold: npt.ArrayLike = 0.0, *, periodic: bool = False
) -> Peaks:
    """Points higher than their 26 neighbours, moved to the top of a quadratic through these.

    The quadratic is one of the logarithm where the 27 values are positive, so that the place of a
    single Gaussian is exact, on skew axes too. A plateau of equal values counts once, at its
    first point. At the faces of a grid that is not periodic a peak is not moved across the face.

    Parameters
    ----------
    fields : (n, n_x, n_y, n_z)
        Real numbers; a point that is not finite is no peak.
    threshold
        A peak is higher than this; one number, or one a field.
    periodic
        Whether the last point of each axis is followed by the first. Positions lie in
        [0, points of the axis) then.

    Returns
    -------
    Peaks
        All peaks, field after field.

    Examples
    --------
    >>> import numpy as np
    >>> x, y, z = np.indices((9, 9, 9))
    >>> field = np.exp(-((x - 4.3) ** 2 + (y - 3.8) ** 2 + (z - 5) ** 2) / 4)
    >>> peaks = find_peaks(field[None])
    >>> peaks.positions.round(6).tolist(), peaks.heights.round(6).tolist()
    ([[4.3, 3.8, 5.0]], [1.0])
    """
    fields = np.asarray(fields)
    floor = np.broadcast_to(np.asarray(threshold, float), (len(fields),))[:, None, None, None]
    highest = fields
    for axis in (1, 2, 3):
        highest = _running_maximum(highest, axis, periodic)
    with np.errstate(invalid="ignore"):
        found = np.argwhere((fields >= highest) & (fields > floor))
    for offset in _EARLIER:
        values, outside = _neighbours(fields, found, offset, periodic)
        found = found[(values < _at(fields, found)) | outside]
    positions, heights = _top(fields, found, periodic)
    if periodic:
        positions %= fields.shape[1:]
    return Peaks(found[:, 0], positions, heights)


def _running_maximum(fields: npt.NDArray[Any], axis: int, periodic: bool) -> npt.NDArray[Any]:
    """The largest of each point and its two neighbours along an axis."""
    rows = np.moveaxis(fields, axis, 0)
    highest = rows.copy()
    np.maximum(highest[1:], rows[:-1], out=highest[1:])
    np.maximum(highest[:-1], rows[1:], out=highest[:-1])
    if periodic and len(rows):
        np.maximum(highest[0], rows[-1], out=highest[0])
        np.maximum(highest[-1], rows[0], out=highest[-1])
    return np.moveaxis(highest, 0, axis)


def _at(fields: npt.NDArray[Any], points: Ints) -> Floats:
    return np.asarray(fields[tuple(points.T)], float)


def _neighbours(
    fields: npt.NDArray[Any], points: Ints, offset: npt.NDArray[Any], periodic: bool
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The field at points moved by an offset, and which of these leave a grid that ends."""
    shape = np.array(fields.shape[1:])
    moved = points[:, 1:] + offset
    inside = np.mod(moved, shape) if periodic else np.clip(moved, 0, shape - 1)
    outside = np.zeros(len(points), bool) if periodic else (inside != moved).any(axis=1)
    return _at(fields, np.column_stack([points[:, 0], inside])), outside


def _top(fields: npt.NDArray[Any], points: Ints, periodic: bool) -> tuple[Floats, Floats]:
    """Positions and heights of the tops of the quadratics through points and neighbours."""
    around = [_neighbours(fields, points, offset, periodic)[0] for offset in _NEIGHBOURS]
    cube = np.stack(around, axis=-1).reshape(-1, 3, 3, 3)
    positive = (cube > 0).all(axis=(1, 2, 3))
    cube[positive] = np.log(cube[positive])
    gradient = np.zeros((len(points), 3))
    hessian = np.zeros((len(points), 3, 3))
    for axis in range(3):
        low, middle, high = np.moveaxis(cube, axis + 1, 1)[:, :, 1, 1].T
        gradient[:, axis] = (high - low) / 2
        hessian[:, axis, axis] = high - 2 * middle + low
    for one, other in _CROSSES:
        face = np.moveaxis(cube, (one + 1, other + 1), (1, 2))[..., 1]
        cross = (face[:, 2, 2] - face[:, 2, 0] - face[:, 0, 2] + face[:, 0, 0]) / 4
        hessian[:, one, other] = hessian[:, other, one] = cross
    if not periodic:
        place = points[:, 1:]
        held = (place == 0) | (place == np.array(fields.shape[1:]) - 1)
        gradient[held] = 0.0
        hessian[held[:, :, None] | held[:, None, :]] = 0.0
        hessian -= held[:, None] * np.eye(3)
    step = _step(gradient, hessian)
    rise = (gradient * step).sum(axis=1) / 2
    middle = cube[:, 1, 1, 1]
    with np.errstate(over="ignore"):
        heights = np.where(positive, np.exp(middle + rise), middle + rise)
    return points[:, 1:] + step, heights


def _step(gradient: Floats, hessian: Floats) -> Floats:
    """From the highest point of the grid to the top of the quadratic, at most one step an axis."""
    diagonal = np.asarray(np.diagonal(hessian, axis1=1, axis2=2), float)
    bent = np.minimum(diagonal, -1e-300)
    alone = np.clip(-gradient / bent, -0.5, 0.5)  # each axis on its own
    whole = np.isfinite(hessian).all(axis=(1, 2)) & np.isfinite(gradient).all(axis=1)
    sound = np.asarray(whole, bool)
    ones = -np.eye(3)
    solvable = np.where(sound[:, None, None], hessian, ones)
    volume = np.abs(np.asarray(np.linalg.det(solvable), float))
    flat = np.asarray(volume < 1e-12 * np.abs(diagonal).prod(axis=1), bool)
    solvable = np.where((flat | ~sound)[:, None, None] | ~np.isfinite(solvable), ones, solvable)
    together = -np.linalg.solve(solvable, gradient[:, :, None])[:, :, 0]
    good = sound & ~flat & (np.abs(together) <= 1.0).all(axis=1)
    step = np.where(good[:, None], together, alone)
    return np.asarray(np.nan_to_num(step, nan=0.0), float)
