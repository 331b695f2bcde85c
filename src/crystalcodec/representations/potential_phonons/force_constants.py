"""Force constants of a crystal from few displacements: the others follow by symmetry."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.geometry import lattice_points

__all__ = [
    "Plan",
    "Symmetry",
    "find_symmetry",
    "force_constants",
    "make_plan",
    "supercell_repeats",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Along lattice vectors, diagonals of faces and of the cell: one of d and -d.
_DIRECTIONS: Final = np.array(
    sorted(
        (d for d in itertools.product((1, 0, -1), repeat=3) if d > (0, 0, 0)),
        key=lambda d: (sum(map(abs, d)), [-x for x in d]),
    )
)
_SAME: Final = 1e-4  # of directions of length 1


@dataclass(frozen=True)
class Symmetry:
    """Operations of a crystal's space group that its supercell has as well.

    Parameters
    ----------
    turns : (n, 3, 3)
        What they do to Cartesian vectors (columns).
    sites : (n, n_sites)
        Site that each site goes to.
    images : (n, n_sites, n_sites * n_cells)
        For a site as the origin: site of the supercell that each site of the supercell goes to,
        once the origin is carried back to the first cell.
    """

    turns: Floats
    sites: Ints
    images: Ints


@dataclass(frozen=True)
class Plan:
    """Which atoms of a supercell to displace, and where to.

    Parameters
    ----------
    moves : (n_moves, n_sites_of_supercell, 3)
        Å.
    origins
        For each displaced site, directions (unit vectors) and, for each direction, the rows of
        ``moves`` along it and against it, or how symmetry turns the former into the latter.
    """

    moves: Floats
    origins: dict[int, list[tuple[Floats, int, int | None]]]


def supercell_repeats(lattice: Floats, min_length: float) -> Ints:
    """(3,) copies along each cell vector that make it at least so long, Å."""
    lengths = np.linalg.norm(lattice, axis=1)
    return np.asarray(np.maximum(1, np.ceil(min_length / lengths - 1e-6)), np.int64)


def find_symmetry(
    crystal: Crystals, repeats: Ints, rotations: Ints, translations: Floats
) -> Symmetry:
    """The operations ``x -> rotation x + translation`` that leave the supercell's lattice alone.

    Parameters
    ----------
    crystal
        One, of n_sites.
    repeats : (3,)
        Copies along each cell vector.
    rotations, translations : (n, 3, 3), (n, 3)
        On fractional coordinates (columns), in units of the crystal's cell; the first is the
        identity.
    """
    kept = ((rotations * repeats) % repeats[:, None] == 0).all(axis=(1, 2))
    rotations, translations = rotations[kept], translations[kept]
    frame = crystal.lattices[0].T
    turns = frame @ rotations @ np.linalg.inv(frame)
    coords = crystal.frac_coords
    moved = coords @ rotations.transpose(0, 2, 1) + translations[:, None]
    apart = moved[:, :, None] - coords
    steps = np.rint(apart)
    distances = np.linalg.norm((apart - steps) @ crystal.lattices[0], axis=-1)
    distances[:, crystal.numbers[:, None] != crystal.numbers] = np.inf
    sites = distances.argmin(axis=2)
    steps = np.take_along_axis(steps, sites[:, :, None, None], 2)[:, :, 0].astype(np.int64)
    cells = lattice_points(np.diag(repeats))
    turned = cells @ rotations.transpose(0, 2, 1)
    # (operation, origin, site, cell, 3)
    lands = turned[:, None, None] + (steps[:, None] - steps[:, :, None])[:, :, :, None]
    places = np.ravel_multi_index(np.moveaxis(lands % repeats, -1, 0), tuple(repeats))
    images = sites[:, None, :, None] * len(cells) + places
    return Symmetry(turns, sites, images.reshape(*images.shape[:2], -1))


def make_plan(crystal: Crystals, repeats: Ints, symmetry: Symmetry, displacement: float) -> Plan:
    """Displacements from which those of all sites in all directions follow.

    Of sites that symmetry makes equal the first is displaced; along as few directions as span
    space together with what the operations that leave the site in place make of them; and in one
    sense only where such an operation turns a direction around.
    """
    directions = _DIRECTIONS @ crystal.lattices[0]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    n_cells = int(np.prod(repeats))
    rows: list[tuple[int, Floats]] = []
    origins: dict[int, list[tuple[Floats, int, int | None]]] = {}
    for site in np.unique(symmetry.sites.min(axis=0)).tolist():
        turns = symmetry.turns[symmetry.sites[:, site] == site]
        origins[site] = []
        for chosen in _spanning(directions, turns):
            rows.append((site, chosen))
            forth, back = len(rows) - 1, None
            if not (np.abs(turns @ chosen + chosen).max(axis=1) < _SAME).any():
                rows.append((site, -chosen))
                back = len(rows) - 1
            origins[site].append((chosen, forth, back))
    moves = np.zeros((len(rows), len(crystal.numbers) * n_cells, 3))
    for row, (site, direction) in zip(moves, rows, strict=True):
        row[site * n_cells] = displacement * direction
    return Plan(moves, origins)


def _spanning(directions: Floats, turns: Floats) -> list[Floats]:
    """The fewest of the directions, one after the other, whose turned copies span space."""
    chosen: list[Floats] = []
    spanned = np.zeros((0, 3))
    while len(chosen) < 3 and np.linalg.matrix_rank(spanned, tol=_SAME) < 3:
        every = [np.concatenate([spanned, turns @ direction]) for direction in directions]
        ranks = [int(np.linalg.matrix_rank(one, tol=_SAME)) for one in every]
        best = int(np.argmax(ranks))
        chosen.append(directions[best])
        spanned = every[best]
    return chosen


def force_constants(
    crystal: Crystals,
    repeats: Ints,
    symmetry: Symmetry,
    displacement: float,
    forces: Callable[[Floats], Floats],
) -> tuple[Floats, int]:
    """Second derivatives of the energy, and how many force evaluations they took.

    Returns
    -------
    constants : (n_sites, n_sites, n_cells, 3, 3)
        eV/Å²: derivative by the position of a site of the first cell, and of a site of each cell
        of the supercell. Symmetric in the two, and such that a shift of all atoms costs nothing
        (acoustic sum rule): what is missing is put on the site itself.
    """
    plan = make_plan(crystal, repeats, symmetry, displacement)
    found = forces(plan.moves)
    n_sites, n_cells = len(crystal.numbers), int(np.prod(repeats))
    constants = np.zeros((n_sites, n_sites * n_cells, 3, 3))
    for site, chosen in plan.origins.items():
        own = np.flatnonzero(symmetry.sites[:, site] == site)
        constants[site] = _solved(site, chosen, own, symmetry, found / displacement)
        for i in range(len(symmetry.turns)):
            other, turn = symmetry.sites[i, site], symmetry.turns[i]
            constants[other, symmetry.images[i, site]] = turn @ constants[site] @ turn.T
    return _sound(constants.reshape(n_sites, n_sites, n_cells, 3, 3), repeats), len(plan.moves)


def _solved(
    site: int,
    chosen: list[tuple[Floats, int, int | None]],
    own: Ints,
    symmetry: Symmetry,
    slopes: Floats,
) -> Floats:
    """(n_sites * n_cells, 3, 3) of one site, by least squares over all equivalent displacements."""
    moved, answers = [], []
    turns, images = symmetry.turns[own], symmetry.images[own, site]
    for direction, forth, back in chosen:
        if back is None:
            around = int(np.abs(turns @ direction + direction).max(axis=1).argmin())
            against = np.zeros_like(slopes[forth])
            against[images[around]] = slopes[forth] @ turns[around].T
        else:
            against = slopes[back]
        slope = (slopes[forth] - against) / 2
        for turn, image in zip(turns, images, strict=True):
            answer = np.zeros_like(slope)
            answer[image] = slope @ turn.T
            moved.append(turn @ direction)
            answers.append(-answer)
    solution = np.linalg.pinv(np.array(moved)) @ np.array(answers).reshape(len(moved), -1)
    return np.asarray(solution.reshape(3, -1, 3).transpose(1, 0, 2))


def _sound(constants: Floats, repeats: Ints) -> Floats:
    """Symmetric under exchange of the two atoms, and without force when all move alike."""
    cells = lattice_points(np.diag(repeats))
    back = np.ravel_multi_index((-cells % repeats).T, tuple(repeats))
    turned = constants[:, :, back].transpose(1, 0, 2, 4, 3)
    sound = (constants + turned) / 2
    own: Any = np.arange(len(sound))
    sound[own, own, 0] -= sound.sum(axis=(1, 2))
    return np.asarray(sound)
