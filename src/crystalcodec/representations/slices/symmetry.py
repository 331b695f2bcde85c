"""Which planes through atoms of a crystal are the same by its symmetry."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.symmetry import moyo_datasets

__all__ = ["cross", "inequivalent"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_MAX_INDEX: Final = 24  # largest Miller index of a plane that is taken for a lattice plane
_DIGITS: Final = 6


def cross(first: Floats, second: Floats) -> Floats:
    """Cross products (n, 3) of rows; several times as fast as numpy's on short arrays."""
    (a, b, c), (d, e, f) = first.T, second.T
    products = np.empty((len(first), 3))
    products[:, 0] = b * f - c * e
    products[:, 1] = c * d - a * f
    products[:, 2] = a * e - b * d
    return products


def inequivalent(crystal: Crystals, sites: Ints, translations: Ints, symprec: float | None) -> Ints:
    """Positions of the first triple of each plane that symmetry tells apart.

    Parameters
    ----------
    crystal
        One crystal.
    sites, translations : (n, 3), (n, 3, 3)
        Triples of atoms that are not collinear: sites, and in which cell each is.
    symprec
        Å; how far sites may be from symmetric places. None: no symmetry but the lattice's.

    Raises
    ------
    ValueError
        moyopy finds no symmetry.
    """
    rotations, permutations, coords = _operations(crystal, symprec)
    n = len(coords)
    first, second, third = np.moveaxis(coords[sites] + translations, 1, 0)
    covectors = cross(second - first, third - first)
    covectors /= np.linalg.norm(covectors, axis=1)[:, None]
    inverse = np.linalg.inv(rotations)
    # By direction: the first triple of each plane, and what it cannot share with another plane.
    known: dict[tuple[float, ...], list[tuple[int, set[Any]]]] = {}
    step = max(1, 2_000_000 // (len(rotations) * n))
    for start in range(0, len(sites), step):
        part = slice(start, start + step)
        directions = np.einsum("pi,gij->pgj", covectors[part], inverse)
        directions /= np.linalg.norm(directions, axis=2)[:, :, None]
        sign = _signs(directions)
        rounded = np.round(directions * sign[:, :, None], _DIGITS) + 0.0
        offsets = np.einsum("ps,ps->p", covectors[part], first[part])
        on_plane = np.abs(covectors[part] @ coords.T - offsets[:, None]) < 10**-_DIGITS
        on_plane[np.arange(len(on_plane))[:, None], sites[part]] = True
        for i in range(len(rounded)):
            direction, marks = _marks(
                rounded[i], permutations, coords, int(sites[start + i, 0]), on_plane[i]
            )
            others = known.setdefault(direction, [])
            alike = [one for one in others if not marks.isdisjoint(one[1])]
            merged = (alike[0][0] if alike else start + i, marks.union(*(m for _, m in alike)))
            known[direction] = [*(one for one in others if one not in alike), merged]
    return np.array(sorted(place for group in known.values() for place, _ in group), np.int64)


def _marks(
    directions: Floats, permutations: Ints, coords: Floats, site: int, on_plane: npt.NDArray[Any]
) -> tuple[tuple[float, ...], set[Any]]:
    """A direction that is the same for all images of a plane, and marks of the images with it.

    ``directions`` (g, 3) are those of its images; an image passes through the images of its atoms,
    and each of these is an atom of the cell but for a lattice translation. Parallel planes that
    share a mark are equivalent: of a lattice plane the marks are offsets from the origin, of
    another the sites that lie on it.
    """
    least = directions[np.lexsort(directions.T[::-1])[0]]
    same = (directions == least).all(axis=1)
    miller = _miller(least)
    if miller is None:
        return tuple(least.tolist()), set(permutations[same][:, on_plane].ravel().tolist())
    offsets = coords[permutations[same, site]] @ miller
    offsets = np.round(offsets - np.floor(offsets), _DIGITS) % 1.0
    return tuple(miller.tolist()), set(offsets.tolist())


def _signs(directions: Floats) -> Floats:
    """-1 where the first component that is not zero is negative."""
    tiny = np.abs(directions) < 10**-_DIGITS
    first = np.argmin(tiny, axis=-1)[..., None]
    return np.where(np.take_along_axis(directions, first, axis=-1)[..., 0] < 0, -1.0, 1.0)


def _miller(direction: Floats) -> Ints | None:
    """The whole numbers without common factor that a direction is a multiple of, if small."""
    ratios = direction / np.abs(direction).max()
    multiples = ratios * np.arange(1, _MAX_INDEX + 1)[:, None]
    whole = (np.abs(multiples - np.rint(multiples)) < 1e-4).all(axis=1)
    if not whole.any():
        return None
    return np.asarray(np.rint(multiples[whole.argmax()]), np.int64)


def _operations(crystal: Crystals, symprec: float | None) -> tuple[Floats, Ints, Floats]:
    """Rotations (g, 3, 3), where each site goes (g, n), and the coordinates made symmetric."""
    coords = crystal.frac_coords
    n = len(coords)
    identity = np.eye(3)[None], np.arange(n)[None], coords
    if symprec is None:
        return identity
    dataset = next(moyo_datasets(crystal, symprec))
    if isinstance(dataset, str):  # none is found, or the search would not end
        return identity
    found = dataset.operations
    rotations = np.array(found.rotations, float)
    shifts = np.array(found.translations, float)
    images = np.einsum("gij,sj->gsi", rotations, coords) + shifts[:, None]
    apart = images[:, :, None] - coords
    apart -= np.rint(apart)
    distances = np.linalg.norm(apart @ crystal.lattices[0], axis=3)
    distances[:, crystal.numbers[:, None] != crystal.numbers] = np.inf
    permutations = distances.argmin(axis=2)
    # Each site becomes the mean of what the operations bring there, so that comparisons are exact.
    offsets = np.take_along_axis(apart, permutations[:, :, None, None], axis=2)[:, :, 0]
    mean = np.zeros_like(coords)
    np.add.at(mean, permutations, offsets / len(rotations))
    return rotations, permutations, coords + mean
