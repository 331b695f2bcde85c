"""A crystal as a picture: shaded spheres, bonds and the edges of the cell, hidden parts hidden."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import ELECTRONEGATIVITIES

__all__ = ["StructurePicture", "draw_structure", "element_colours"]

Floats = npt.NDArray[np.float64]

# Towards the light, seen from the eye (x right, y up, z to the eye), and half way to the eye.
_LIGHT: Final = np.array([-0.45, 0.6, 0.66]) / np.linalg.norm([-0.45, 0.6, 0.66])
_HALFWAY: Final = (_LIGHT + np.eye(3)[2]) / np.linalg.norm(_LIGHT + np.eye(3)[2])
_AZIMUTHS: Final = (24, 30, -24, -30, 36, -36, 15, -15, 48, -48, 60, 75)  # the first that will do
_ELEVATION: Final = np.radians(14.0)
_FOG: Final = 0.38  # share of white in what is farthest away
_EDGE: Final = np.array([0.35, 0.37, 0.42])
# An atom this close to a face of the cell, as a fraction, is drawn on the opposite face, too.
_ON_FACE: Final = 0.02
# Two atoms are bonded when no farther apart than this times their covalent radii; two metals
# are not where there are anions.
_BOND: Final = 1.15
_ANION, _METAL = 2.5, 1.95
# Above this number of atoms bonds only hide them, and all pairs take long.
_MAX_BONDED: Final = 600


def element_colours() -> Floats:
    """(119, 3) red, green, blue from 0 to 1 by atomic number, as Jmol paints the elements."""
    from ase.data.colors import jmol_colors

    colours = np.full((119, 3), 0.5)
    colours[: len(jmol_colors)] = jmol_colors[:119]
    return colours


@dataclass(frozen=True, eq=False)
class StructurePicture:
    """Pixels and where the cell lies in them.

    Parameters
    ----------
    pixels : (size, size, 4)
        Red, green, blue and alpha, from 0 to 1; the first row is the top.
    corners : (4, 2)
        Pixel (column, row) of the origin and of the ends of a, b and c.
    """

    pixels: Floats
    corners: Floats


class _Canvas:
    """Pixels with a depth each: what lies behind something drawn is not drawn."""

    def __init__(self, size: int, depth: tuple[float, float]) -> None:
        self.colour = np.ones((size, size, 3))
        self.alpha = np.zeros((size, size))
        self._z = np.full((size, size), -np.inf)
        self._near, self._far = depth[1], depth[0]

    def sphere(self, centre: Floats, radius: float, colour: Floats) -> None:
        """A sphere, all in pixels; y is down in the picture and up in space."""
        window, columns, rows = self._window(centre[:2] - radius, centre[:2] + radius)
        x, y = (columns - centre[0]) / radius, (rows - centre[1]) / radius
        square = x * x + y * y
        z = np.sqrt(np.clip(1 - square, 0, None))
        normals = np.stack(np.broadcast_arrays(x, -y, z), axis=-1)
        self._paint(window, square <= 1, centre[2] + radius * z, normals, colour, 0.22)

    def stick(self, start: Floats, end: Floats, radius: float, colour: Floats) -> None:
        """A cylinder, all in pixels."""
        low = np.minimum(start[:2], end[:2]) - radius
        high = np.maximum(start[:2], end[:2]) + radius
        window, columns, rows = self._window(low, high)
        axis = end - start
        flat = max(float(np.hypot(axis[0], axis[1])), 1e-9)
        ux, uy = axis[0] / flat, axis[1] / flat
        dx, dy = columns - start[0], rows - start[1]
        along, across = (dx * ux + dy * uy) / flat, (dy * ux - dx * uy) / radius
        z = np.sqrt(np.clip(1 - across * across, 0, None))
        inside = (np.abs(across) <= 1) & (along >= 0) & (along <= 1)
        slope = flat / float(np.linalg.norm(axis))
        depth = start[2] + np.clip(along, 0, 1) * axis[2] + radius * z * slope
        normals = np.stack([-uy * across, -ux * across, z], axis=-1)
        self._paint(window, inside, depth, normals, colour, 0.0)

    def _window(self, low: Floats, high: Floats) -> tuple[Any, Floats, Floats]:
        size = len(self.alpha)
        (x0, y0), (x1, y1) = (
            np.clip(np.floor(low), 0, size).astype(int),
            np.clip(np.ceil(high) + 1, 0, size).astype(int),
        )
        window = (slice(y0, y1), slice(x0, x1))
        return window, np.arange(x0, x1)[None, :] + 0.5, np.arange(y0, y1)[:, None] + 0.5

    def _paint(
        self,
        window: Any,
        inside: npt.NDArray[np.bool_],
        depth: Floats,
        normals: Floats,
        colour: Floats,
        rim: float,
    ) -> None:
        shown = inside & (depth > self._z[window])
        normals = normals[shown]
        diffuse = np.clip(normals @ _LIGHT, 0, None)
        shine = np.clip(normals @ _HALFWAY, 0, None) ** 48
        light = (0.42 + 0.66 * diffuse) * np.where(normals[:, 2] < rim, 0.55, 1.0)
        painted = np.clip(colour * light[:, None] + 0.42 * shine[:, None], 0, 1)
        span = max(self._near - self._far, 1e-9)
        fog = _FOG * np.clip((self._near - depth[shown]) / span, 0, 1)[:, None]
        self.colour[window][shown] = painted * (1 - fog) + fog
        self.alpha[window][shown] = 1.0
        self._z[window][shown] = depth[shown]


def draw_structure(crystal: Crystals, size: int = 640, *, bonds: bool = True) -> StructurePicture:
    """One crystal seen from the side, c upwards: atoms, bonds, and the edges of its cell.

    Atoms on a face of the cell are drawn on the opposite face, too. Radii are covalent ones,
    shrunk; colours are Jmol's. What is far fades.

    Parameters
    ----------
    crystal
        A batch of one.
    size
        Height and width in pixels.
    bonds
        Whether to draw sticks between near atoms.

    Examples
    --------
    >>> from crystalcodec.testing import sample_crystals
    >>> draw_structure(sample_crystals(1), 64).pixels.shape
    (64, 64, 4)
    """
    from ase.data import covalent_radii

    fractional, numbers = _with_images(crystal.frac_coords, crystal.numbers)
    cartesian = fractional @ crystal.lattices[0]
    view = _view(crystal.lattices[0], cartesian)
    atoms = cartesian @ view
    corners = np.array([*product((0, 1), repeat=3)]) @ crystal.lattices[0] @ view
    covalent = np.nan_to_num(covalent_radii, nan=1.5)[np.minimum(numbers, 96)]
    radii = 0.24 + 0.28 * covalent
    reach = np.concatenate([corners, atoms - radii[:, None], atoms + radii[:, None]])
    low, high = reach.min(axis=0), reach.max(axis=0)
    fine = 2 * size  # every pixel is the mean of four: smooth edges
    scale = 0.94 * fine / float((high - low)[:2].max())
    middle = (low + high) / 2

    def to_pixels(points: Floats) -> Floats:
        moved = (points - middle) * np.array([scale, -scale, scale])
        return np.asarray(moved + np.array([fine / 2, fine / 2, 0.0]), float)

    canvas = _Canvas(fine, ((low[2] - middle[2]) * scale, (high[2] - middle[2]) * scale))
    at, colours = to_pixels(atoms), element_colours()
    for i, number in enumerate(numbers.tolist()):
        canvas.sphere(at[i], radii[i] * scale, colours[number])
    if bonds and len(atoms) <= _MAX_BONDED:
        for i, j in _bonds(atoms, numbers, covalent):
            half = (at[i] + at[j]) / 2
            for end in (i, j):
                canvas.stick(at[end], half, 0.095 * scale, 0.9 * colours[numbers[end]])
    edges = [[i, j] for i in range(8) for j in range(i) if (i ^ j).bit_count() == 1]
    for edge in edges:
        ends = to_pixels(corners[edge])
        canvas.stick(ends[0], ends[1], max(0.0035 * fine, 1.5), _EDGE)
    alpha = canvas.alpha.reshape(size, 2, size, 2).mean(axis=(1, 3))
    painted = canvas.colour * canvas.alpha[..., None]
    colour = painted.reshape(size, 2, size, 2, 3).mean(axis=(1, 3))
    pixels = np.dstack([colour / np.maximum(alpha, 1e-9)[..., None], alpha])
    return StructurePicture(pixels, to_pixels(corners[[0, 4, 2, 1]])[:, :2] / 2)


def _view(lattice: Floats, atoms: Floats) -> Floats:
    """(3, 3) whose product with a row gives x to the right, y up and z to the eye.

    The vector c stands upright; the eye looks a little from above, and from the side from which
    atoms hide each other least.
    """
    up = lattice[2] / np.linalg.norm(lattice[2])
    right = lattice[0] - (lattice[0] @ up) * up
    right /= np.linalg.norm(right)
    to_eye = np.cross(right, up)
    cos, sin = np.cos(_ELEVATION), np.sin(_ELEVATION)
    views = []
    for azimuth in np.radians(_AZIMUTHS):
        c, s = np.cos(azimuth), np.sin(azimuth)
        across, front = c * right + s * to_eye, c * to_eye - s * right
        views.append(np.stack([across, cos * up - sin * front, cos * front + sin * up], axis=1))
    some = atoms[:: -(-len(atoms) // 80)]
    seen = [some @ view[:, :2] for view in views]
    apart = [np.linalg.norm(one[:, None] - one, axis=2).clip(0, 1.2).sum() for one in seen]
    return views[int(np.argmax(apart >= 0.93 * np.max(apart)))]


def _with_images(
    frac_coords: Floats, numbers: npt.NDArray[np.int64]
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Sites, and images of those on faces of the cell."""
    coords, kinds = [frac_coords], [numbers]
    for axis in range(3):
        coordinates, elements = np.concatenate(coords), np.concatenate(kinds)
        for on_face, step in (
            (coordinates[:, axis] < _ON_FACE, 1.0),
            (coordinates[:, axis] > 1 - _ON_FACE, -1.0),
        ):
            shift = np.zeros(3)
            shift[axis] = step
            coords.append(coordinates[on_face] + shift)
            kinds.append(elements[on_face])
    return np.concatenate(coords), np.concatenate(kinds)


def _bonds(
    atoms: Floats, numbers: npt.NDArray[np.int64], covalent: Floats
) -> list[tuple[int, int]]:
    """Pairs of drawn atoms that are near each other."""
    distances = np.linalg.norm(atoms[:, None] - atoms, axis=2)
    near = (distances > 0.3) & (distances < _BOND * (covalent[:, None] + covalent))
    strength = np.nan_to_num(ELECTRONEGATIVITIES[numbers], nan=2.0)
    if (strength >= _ANION).any() and (strength < _METAL).any():
        metal = strength < _METAL
        near &= ~(metal[:, None] & metal)
    first, second = np.nonzero(np.triu(near, 1))
    return list(zip(first.tolist(), second.tolist(), strict=True))
