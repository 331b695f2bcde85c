"""Slices of a density on a grid along the axes of its cell, or anywhere, as grey pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.io.volumetric import VolumetricData
from crystalcodec.representations.base import RepresentationError

__all__ = ["ChargeSlice", "ChargeSlicing", "charge_block", "plane_picture"]

Floats = npt.NDArray[np.float64]
Pictures = npt.NDArray[np.float32]

# Of the slices at one place along an axis: which axis points right, and which up.
_RIGHT: Final = (1, 2, 0)
_UP: Final = (2, 0, 1)


@dataclass(frozen=True)
class ChargeSlice:
    """A slice and where it was cut.

    Parameters
    ----------
    picture : (size, size)
        0 to 1, float32; None for a sparse slice.
    axis, index
        The slice at grid point ``index`` along cell vector ``axis`` (0, 1, 2).
    frame : (3, 3)
        Rows: the direction to the right and upwards in the picture, Å a picture where it follows
        the cell and of length 1 where it is square, and the normal, of length 1.
    origin : (3,)
        Å; the middle of the picture.
    width
        Å; side of a square picture; 0 where it follows the cell.
    share
        Share of the grid points of the slice that are not empty.
    """

    picture: Pictures | None
    axis: int
    index: int
    frame: Floats
    origin: Floats
    width: float
    share: float


@dataclass(frozen=True)
class ChargeSlicing:
    """How a density is cut along the axes of its cell.

    A slice is the grid plane at one point along one cell vector: the two others lie in it, the
    following one to the right (b, c, a of a, b, c), the last one upwards.

    Parameters
    ----------
    size
        Pixels of a side.
    axes
        Cell vectors to cut along: 0, 1, 2.
    indices
        Grid points along each axis; None: all. Negative ones count from the end.
    shape
        ``fractional``, as published: the picture is the cell, its edges are the cell's, and a
        skewed cell becomes a square. ``cartesian``: a true picture of ``width`` Å around the
        middle of the cell, repeated by the lattice as far as needed.
    width
        Å; side of a Cartesian picture; None: the longest cell vector.
    scaling
        ``slice``: each picture from its least to its greatest value. ``volume``: all from the
        least to the greatest value of the volume, so that they can be compared.
    threshold, min_share
        A slice is sparse, and dropped, where fewer than ``min_share`` of its grid points have a
        magnitude above ``threshold`` times the mean magnitude of the volume. ``min_share=0`` keeps
        all.

    Raises
    ------
    RepresentationError
        Parameters out of range.

    Examples
    --------
    >>> from crystalcodec.crystals import Crystals
    >>> values = np.zeros((4, 4, 4))
    >>> values[1:3] = 1.0
    >>> atom = Crystals.single(3 * np.eye(3), [[0.4, 0.5, 0.5]], [1])
    >>> slicing = ChargeSlicing(size=64, axes=(0,))
    >>> slices = [*slicing.cut(VolumetricData(atom, values))]
    >>> [(one.index, one.picture is not None) for one in slices]
    [(0, False), (1, True), (2, True), (3, False)]
    """

    size: int = 256
    axes: tuple[int, ...] = (0, 1, 2)
    indices: tuple[int, ...] | None = None
    shape: Literal["fractional", "cartesian"] = "fractional"
    width: float | None = None
    scaling: Literal["slice", "volume"] = "slice"
    threshold: float = 0.5
    min_share: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes", tuple(self.axes))
        if self.indices is not None:
            object.__setattr__(self, "indices", tuple(self.indices))
        if self.size < 2:
            raise RepresentationError(f"size is {self.size}, wanted at least 2 pixels")
        if not self.axes or not set(self.axes) <= {0, 1, 2}:
            raise RepresentationError(f"axes are {self.axes}, wanted some of 0, 1, 2")
        if self.shape not in ("fractional", "cartesian"):
            raise RepresentationError(
                f"shape is {self.shape!r}, wanted 'fractional' or 'cartesian'"
            )
        if self.scaling not in ("slice", "volume"):
            raise RepresentationError(f"scaling is {self.scaling!r}, wanted 'slice' or 'volume'")
        if self.width is not None and not (math.isfinite(self.width) and self.width > 0):
            raise RepresentationError(f"width is {self.width}, wanted a positive number of Å")
        if not (0 <= self.threshold < math.inf and 0 <= self.min_share <= 1):
            raise RepresentationError(
                f"threshold {self.threshold}, min_share {self.min_share}: wanted 0 or more, and a "
                "share from 0 to 1"
            )

    def cut(self, volume: VolumetricData) -> Iterator[ChargeSlice]:
        """The slices of a density, axis after axis; sparse ones without a picture.

        Raises
        ------
        RepresentationError
            A grid point beyond the grid.
        """
        values = volume.values
        side = self._side(volume)
        level = self.threshold * float(np.abs(values).mean())
        limits = (float(values.min()), float(values.max())) if self.scaling == "volume" else None
        for axis in self.axes:
            n = values.shape[axis]
            along = np.moveaxis(values, axis, 0)
            for index in range(n) if self.indices is None else self.indices:
                if not -n <= index < n:
                    raise RepresentationError(
                        f"no grid point {index} along axis {axis} of {n} points"
                    )
                share = float((np.abs(along[index]) > level).mean())
                picture = None
                if share >= self.min_share:
                    picture = _scaled(self._picture(volume, axis, index % n), limits)
                frame, origin = self._frame(volume, axis, index % n)
                yield ChargeSlice(picture, axis, index % n, frame, origin, side, share)

    def _side(self, volume: VolumetricData) -> float:
        if self.shape == "fractional":
            return 0.0
        return self.width or float(np.linalg.norm(volume.crystals.lattices[0], axis=1).max())

    def _frame(self, volume: VolumetricData, axis: int, index: int) -> tuple[Floats, Floats]:
        lattice = volume.crystals.lattices[0]
        middle = np.full(3, 0.5)
        middle[axis] = index / volume.values.shape[axis]
        right, up = lattice[_RIGHT[axis]], lattice[_UP[axis]]
        normal = np.cross(right, up)
        normal /= np.linalg.norm(normal)
        if self.shape == "cartesian":
            right = right / np.linalg.norm(right)
            up = np.cross(normal, right)
        return np.stack([right, up, normal]), middle @ lattice

    def _picture(self, volume: VolumetricData, axis: int, index: int) -> Floats:
        if self.shape == "cartesian":
            frame, origin = self._frame(volume, axis, index)
            return plane_picture(volume, frame, origin, width=self._side(volume), size=self.size)
        plane: npt.NDArray[Any] = np.moveaxis(volume.values, axis, 0)[index]
        if axis == 1:  # x and z are left in this order, and z points right
            plane = plane.T
        right, up = _weights(plane.shape[0], self.size), _weights(plane.shape[1], self.size)
        return np.asarray((up @ plane.T @ right.T)[::-1])


def plane_picture(
    volume: VolumetricData, frame: Floats, origin: Floats, *, width: float, size: int = 256
) -> Floats:
    """Values on a square of any plane of the endless crystal, by linear interpolation.

    Parameters
    ----------
    volume
        The density.
    frame : (3, 3)
        Rows: right, up, normal, of length 1.
    origin : (3,)
        Å; the middle.
    width
        Å; side of the square.
    size
        Pixels of a side.

    Returns
    -------
    (size, size)
        e/Å3 at the middle of each pixel, row 0 at the top.
    """
    from scipy.ndimage import map_coordinates

    steps = (np.arange(size) - (size - 1) / 2) * (width / size)
    to_grid = np.linalg.inv(volume.crystals.lattices[0]) * volume.values.shape
    right, up = frame[:2] @ to_grid
    points = (
        (origin @ to_grid)[:, None, None]
        + up[:, None, None] * steps[::-1, None]
        + right[:, None, None] * steps
    )
    return np.asarray(map_coordinates(volume.values, points, order=1, mode="grid-wrap"), float)


def charge_block(
    volume: VolumetricData,
    *,
    depth: int = 64,
    size: int = 64,
    axis: int = 2,
    shape: Literal["fractional", "cartesian"] = "fractional",
    width: float | None = None,
    spacing: float | None = None,
) -> Pictures:
    """Parallel slices of a density as one volume (depth, size, size), 0 to 1.

    Parameters
    ----------
    volume
        The density.
    depth, size
        Slices, and pixels of a side.
    axis
        Cell vector along which the slices follow each other.
    shape
        ``fractional``: the block is the cell, slice d at (d + 1/2) / depth of the axis.
        ``cartesian``: a true block around the middle of the cell, slices at ``spacing`` along the
        normal, the middle one (of an even number, the first above the middle) in the middle.
    width, spacing
        Å, of a Cartesian block: side, None: the longest cell vector; between slices, None: that of
        pixels.

    Raises
    ------
    RepresentationError
        Parameters out of range.
    """
    slicing = ChargeSlicing(size=size, axes=(axis,), shape=shape, width=width)
    if depth < 1 or (spacing is not None and not (math.isfinite(spacing) and spacing > 0)):
        raise RepresentationError(f"depth {depth}, spacing {spacing}: wanted positive numbers")
    if shape == "fractional":
        along = np.moveaxis(volume.values, (axis, _UP[axis], _RIGHT[axis]), (0, 1, 2))
        weights = [_weights(n, m) for n, m in zip(along.shape, (depth, size, size), strict=True)]
        block = np.einsum("da,abc,hb,wc->dhw", weights[0], along, *weights[1:], optimize=True)
        return _scaled(block[:, ::-1], None)
    frame, _ = slicing._frame(volume, axis, 0)
    lattice = volume.crystals.lattices[0]
    side = width or float(np.linalg.norm(lattice, axis=1).max())
    apart = side / size if spacing is None else spacing
    middle = np.full(3, 0.5) @ lattice
    places: Sequence[int] = range(-(depth // 2), depth - depth // 2)
    block = np.stack(
        [
            plane_picture(volume, frame, middle + place * apart * frame[2], width=side, size=size)
            for place in places
        ]
    )
    return _scaled(block, None)


def _weights(n: int, size: int) -> Floats:
    """(size, n) weights of n points of a period in the pixels of a side.

    Linear interpolation where pixels are finer than the grid; the mean over the area of a pixel,
    each grid point standing for the place around it, where they are coarser.
    """
    edges = np.arange(size + 1) * (n / size)
    weights = np.zeros((size, n))
    rows = np.arange(size)
    if size >= n:
        place = (edges[:-1] + edges[1:]) / 2
        low = np.floor(place).astype(int)
        np.add.at(weights, (rows, low % n), 1 - (place - low))
        np.add.at(weights, (rows, (low + 1) % n), place - low)
        return weights
    points = np.arange(n + 1)  # the last is the first again
    low = np.maximum(edges[:-1, None], points - 0.5)
    high = np.minimum(edges[1:, None], points + 0.5)
    covered = np.maximum(high - low, 0)
    weights += covered[:, :n]
    weights[:, 0] += covered[:, n]
    return np.asarray(weights * (size / n), float)


def _scaled(values: npt.NDArray[Any], limits: tuple[float, float] | None) -> Pictures:
    """From 0 to 1; zeros where all values are the same."""
    low, high = limits or (float(values.min()), float(values.max()))
    if not high > low:
        return np.zeros(values.shape, np.float32)
    return np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
