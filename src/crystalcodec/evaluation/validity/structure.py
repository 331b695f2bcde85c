"""Whether structures are physically possible: as published, and by bounds from real crystals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data.atom_sizes import covalent_radii
from crystalcodec.data.pair_distances import Shortest, shortest_distances
from crystalcodec.geometry import cell_parameters_from_lattices
from crystalcodec.representations.minimum_images import reduced_cells

__all__ = [
    "ANGLES",
    "ASPECT",
    "FILLING",
    "LEAST_DISTANCE",
    "LEAST_SEPARATION",
    "LEAST_VOLUME",
    "LENGTHS",
    "SKEW",
    "VOLUME_PER_ATOM",
    "StructureChecks",
    "check_structures",
    "published_structure_validity",
]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEAST_DISTANCE: Final = 0.5
"""Å, between two different sites, as published."""
LEAST_VOLUME: Final = 0.1
"""Å³, of the cell, as published."""
LEAST_SEPARATION: Final = 0.7
"""Distance over the sum of covalent radii."""
VOLUME_PER_ATOM: Final = (5.0, 150.0)
"""Å³."""
FILLING: Final = (0.1, 1.5)
"""Volume of the spheres of covalent radius over that of the cell."""
LENGTHS: Final = (2.0, 50.0)
"""Å, of the vectors of the reduced cell."""
ASPECT: Final = 15.0
"""Longest over shortest vector of the reduced cell."""
ANGLES: Final = (5.0, 175.0)
"""Degrees, of the cell as it is given."""
SKEW: Final = 0.01
"""Volume over that of the box a b c, of the cell as it is given."""


@dataclass(frozen=True, eq=False)
class StructureChecks:
    """What holds for the structures of n crystals, and the numbers it was judged by.

    Parameters
    ----------
    published : (n,)
        See :func:`published_structure_validity`.
    separated, sized, regular : (n,)
        Atoms no nearer than :data:`LEAST_SEPARATION`; volume within :data:`VOLUME_PER_ATOM` and
        :data:`FILLING`; cell within :data:`LENGTHS`, :data:`ASPECT`, :data:`ANGLES` and
        :data:`SKEW`.
    shortest
        The shortest distances.
    volumes_per_atom : (n,)
        Å³.
    fillings : (n,)
        Volume of the spheres of covalent radius over that of the cell.
    """

    published: Bools
    separated: Bools
    sized: Bools
    regular: Bools
    shortest: Shortest
    volumes_per_atom: Floats
    fillings: Floats


def check_structures(crystals: Crystals) -> StructureChecks:
    """Judge the structure of each of n crystals; see :class:`StructureChecks`.

    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> checks = check_structures(salt)
    >>> bool(checks.separated[0]), float(checks.shortest.over_radii[0].round(3))
    (True, 1.045)
    """
    shortest = shortest_distances(crystals)
    volumes = crystals.volumes
    per_atom = volumes / crystals.n_sites
    spheres = 4 / 3 * np.pi * covalent_radii() ** 3
    fillings = np.asarray(crystals.element_counts @ spheres, float) / volumes
    return StructureChecks(
        _as_published(shortest, volumes),
        shortest.over_radii >= LEAST_SEPARATION,
        _within(per_atom, VOLUME_PER_ATOM) & _within(fillings, FILLING),
        _regular(crystals.lattices),
        shortest,
        per_atom,
        fillings,
    )


def published_structure_validity(crystals: Crystals) -> Bools:
    """(n,) structural validity as CDVAE's evaluation counts it (arXiv 2110.06197).

    The volume of the cell is at least 0.1 Å³, and no two different sites are, at their nearest
    images, nearer than 0.5 Å. The images of a site itself are not looked at: a crystal of one site
    passes in any cell of 0.1 Å³. Lattices of a negative length and those that no structure can be
    made of, which fail there, are failures of an attempt here.
    """
    return _as_published(shortest_distances(crystals), crystals.volumes)


def _as_published(shortest: Shortest, volumes: Floats) -> Bools:
    return np.asarray((shortest.between_sites >= LEAST_DISTANCE) & (volumes >= LEAST_VOLUME), bool)


def _regular(lattices: Floats) -> Bools:
    """Lengths are judged on the reduced cell, which is the same for any choice of cell."""
    lengths = cell_parameters_from_lattices(reduced_cells(lattices)[0])[:, :3]
    shortest, longest = lengths.min(axis=1), lengths.max(axis=1)
    given = cell_parameters_from_lattices(lattices)
    skew = np.abs(np.linalg.det(lattices)) / given[:, :3].prod(axis=1)
    return np.asarray(
        _within(lengths, LENGTHS).all(axis=1)
        & (longest <= ASPECT * shortest)
        & _within(given[:, 3:], ANGLES).all(axis=1)
        & (skew >= SKEW),
        bool,
    )


def _within(values: Floats, bounds: tuple[float, float]) -> Bools:
    return np.asarray((values >= bounds[0]) & (values <= bounds[1]), bool)
