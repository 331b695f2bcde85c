"""Pictures of the atoms near a plane of an endless crystal, each atom a Gaussian."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.slices.planes import Planes

__all__ = ["SliceStyle", "atoms_near_plane", "draw_slice"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Pictures = npt.NDArray[np.float32]

_REACH: Final = 5.0  # standard deviations; a Gaussian is zero further out
_MAX_SIZE: Final = 8192
_MAX_WIDTH: Final = 1000.0
_STRIPE: Final = 32  # rows of a picture that are drawn together


@dataclass(frozen=True)
class SliceStyle:
    """How atoms near a plane are drawn.

    Parameters
    ----------
    size
        Pixels of a side.
    width
        Å; side of the square that is drawn.
    tolerance
        Å; atoms up to this far from the plane are projected onto it.
    sigma
        Å; standard deviation of the Gaussian of an atom.
    atoms
        ``fixed``: each Gaussian has this sigma and height 1. ``element``: sigma is multiplied by
        the square root of the covalent radius (10.1039/b801115j) over 1.4 Å, and the height is
        0.2 + 0.8 Z / 118, so that every element has its own.
    """

    size: int = 256
    width: float = 40.0
    tolerance: float = 0.1
    sigma: float = 0.2
    atoms: Literal["fixed", "element"] = "fixed"

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 2:
            raise RepresentationError(f"size is {self.size!r}, wanted at least 2 pixels")
        for name in ("width", "tolerance", "sigma"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise RepresentationError(f"{name} is {value}, wanted a positive number of Å")
        if self.size > _MAX_SIZE or self.width > _MAX_WIDTH:
            raise RepresentationError(
                f"size is {self.size} and width {self.width} Å, wanted at most {_MAX_SIZE} pixels "
                f"and {_MAX_WIDTH:g} Å: the atoms of a larger square do not fit into memory"
            )
        if self.atoms not in ("fixed", "element"):
            raise RepresentationError(f"atoms is {self.atoms!r}, wanted 'fixed' or 'element'")

    @property
    def pixel(self) -> float:
        """Å; side of a pixel."""
        return self.width / self.size

    def draw(self, positions: Floats, numbers: Ints, out: Pictures | None = None) -> Pictures:
        """One picture (size, size), 0 to 1, of atoms at positions (m, 2) in Å from its middle.

        Row 0 is the top. Gaussians are taken at the middle of each pixel and added, and what
        exceeds 1, where atoms stand closer than about sigma, is cut to 1. Written into ``out``
        where it is given.
        """
        sigmas, heights = _looks(self.atoms)
        sigma = sigmas[numbers] * self.sigma
        half = int(np.ceil(_REACH * (sigma.max() if len(sigma) else 0.0) / self.pixel)) + 1
        # In pixels from the first one's middle; rows count downwards.
        x = positions[:, 0] / self.pixel + (self.size - 1) / 2
        y = (self.size - 1) / 2 - positions[:, 1] / self.pixel
        inside = (np.abs(x - self.size / 2) < self.size / 2 + half) & (
            np.abs(y - self.size / 2) < self.size / 2 + half
        )
        x, y, sigma = x[inside], y[inside], sigma[inside] / self.pixel
        order = np.argsort(y, kind="stable")
        y = y[order]
        height = heights[numbers[inside][order]]
        columns = self._profiles(x[order], sigma[order], half)
        rows = self._profiles(y, sigma[order], half) * height[:, None].astype(np.float32)
        picture = np.empty((self.size, self.size), np.float32) if out is None else out
        starts = np.arange(0, self.size, _STRIPE)
        first = np.searchsorted(y, starts - half - 1)
        last = np.searchsorted(y, starts + _STRIPE + half + 1)
        for start, low, high in zip(starts.tolist(), first.tolist(), last.tolist(), strict=True):
            stripe = slice(start, start + _STRIPE)
            np.matmul(rows[low:high, stripe].T, columns[low:high], out=picture[stripe])
        return np.minimum(picture, np.float32(1), out=picture)

    def _profiles(self, centres: Floats, sigma: Floats, half: int) -> Pictures:
        """(m, size) the Gaussian of each atom along one axis; zero outside its reach."""
        nearest = np.rint(centres).astype(np.int64)
        steps = np.arange(-half, half + 1)
        apart = (steps - (centres - nearest)[:, None]).astype(np.float32)
        values = np.exp(apart * apart * (-0.5 / sigma**2).astype(np.float32)[:, None])
        padded = np.zeros((len(centres), self.size + 4 * half + 2), np.float32)
        start = nearest + half + np.arange(len(centres)) * padded.shape[1]
        padded.reshape(-1)[start[:, None] + (steps + half)] = values
        return padded[:, 2 * half : 2 * half + self.size]


@lru_cache(maxsize=2)
def _looks(atoms: str) -> tuple[Floats, Floats]:
    """Factor of sigma, and height, by atomic number."""
    if atoms == "fixed":
        return np.ones(MAX_ATOMIC_NUMBER + 1), np.ones(MAX_ATOMIC_NUMBER + 1)
    from ase.data import covalent_radii

    radii = np.full(MAX_ATOMIC_NUMBER + 1, covalent_radii[96])  # beyond curium none are tabulated
    radii[:97] = covalent_radii[:97]
    return np.sqrt(radii / 1.4), 0.2 + 0.8 * np.arange(MAX_ATOMIC_NUMBER + 1) / 118


def atoms_near_plane(
    crystal: Crystals,
    frame: Floats,
    origin: Floats,
    *,
    reach: float,
    tolerance: float = 0.1,
    scale: float = 1.0,
) -> tuple[Floats, Ints]:
    """Every atom of the endless crystal near a plane, and inside a square of it.

    Parameters
    ----------
    crystal
        One crystal.
    frame : (3, 3)
        Rows: right, up, normal.
    origin : (3,)
        Middle of the square, Å in the scaled crystal.
    reach
        Å; half the side of the square.
    tolerance
        Å; largest distance from the plane.
    scale
        Factor of all lengths.

    Returns
    -------
    positions : (m, 2)
        Right and up from the middle, Å.
    sites : (m,)
        Which site of the cell each is.
    """
    vectors = crystal.lattices[0] @ frame.T * scale  # a, b, c: right, up, above the plane
    points = crystal.frac_coords @ vectors - frame @ origin
    # Lines along the vector that leaves the plane most steeply: each meets the plane once, so
    # that only these meeting points, a lattice of two dimensions, are counted through.
    steep = int(np.abs(vectors[:, 2]).argmax())
    line = vectors[steep]
    others = vectors[[i for i in range(3) if i != steep]]
    others, net = _reduced(others, others[:, :2] - np.outer(others[:, 2] / line[2], line[:2]))
    meets = points[:, :2] - np.outer(points[:, 2] / line[2], line[:2])
    inverse = np.linalg.inv(net)
    near = np.rint(meets @ inverse)
    points, meets = points - near @ others, meets - near @ net
    # An atom stands off the place where its line meets the plane.
    aside = tolerance / abs(line[2])
    limit = (reach + aside * np.abs(line[:2]).max()) * np.abs(inverse).sum(axis=0) + 0.5
    m, k = (np.arange(-count, count + 1) for count in np.ceil(limit).astype(int).tolist())
    above = others[0, 2] * m[:, None] + others[1, 2] * k
    steps = (points[:, 2:] + above.reshape(-1)) * (-1 / line[2])
    nearest = np.rint(steps)
    found = []
    for shift in range(-int(aside + 0.5), int(aside + 0.5) + 1):
        off = nearest + shift - steps if shift else nearest - steps
        site, place = np.divmod(np.flatnonzero(np.abs(off) <= aside), steps.shape[1])
        i, j = np.divmod(place, len(k))
        position = meets[site] + m[i][:, None] * net[0] + k[j][:, None] * net[1]
        position += off[site, place][:, None] * line[:2]
        inside = (np.abs(position) <= reach).all(axis=1)
        found.append((position[inside], site[inside]))
    if len(found) == 1:
        return found[0]
    return np.concatenate([p for p, _ in found]), np.concatenate([s for _, s in found])


def _reduced(vectors: Floats, net: Floats) -> tuple[Floats, Floats]:
    """The same net by its two shortest vectors (Gauss), and the vectors combined alike."""
    (ax, ay), (bx, by) = net.tolist()
    p, q, r, s = 1, 0, 0, 1
    for _ in range(64):
        if ax * ax + ay * ay > bx * bx + by * by:
            ax, ay, bx, by, p, q, r, s = bx, by, ax, ay, r, s, p, q
        times = round((ax * bx + ay * by) / (ax * ax + ay * ay))
        if not times:
            break
        bx, by, r, s = bx - times * ax, by - times * ay, r - times * p, s - times * q
    change = np.array([[p, q], [r, s]], float)
    return change @ vectors, change @ net


def draw_slice(
    crystal: Crystals,
    planes: Planes,
    j: int,
    style: SliceStyle,
    *,
    offset: float = 0.0,
    out: Pictures | None = None,
) -> tuple[Pictures, int]:
    """The picture (size, size) of the j-th plane, and the number of atoms in it.

    Parameters
    ----------
    crystal
        The crystal that the planes are of.
    planes, j
        Its planes, and which one.
    style
        How atoms are drawn.
    offset
        Å; how far the plane is moved along its normal.
    out
        Where the picture is written, where it is given.
    """
    frame = planes.frames[j]
    margin = _REACH * float(_looks(style.atoms)[0][crystal.numbers].max()) * style.sigma
    positions, sites = atoms_near_plane(
        crystal,
        frame,
        planes.origins[j] + offset * frame[2],
        reach=style.width / 2 + margin + style.pixel,
        tolerance=style.tolerance,
        scale=planes.scale,
    )
    n_inside = int((np.abs(positions) <= style.width / 2).all(axis=1).sum())
    return style.draw(positions, crystal.numbers[sites], out), n_inside
