"""Primitive cells of the structure types, and the freedom that symmetry leaves them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import moyopy
import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Element, Lattice
from pymatgen.symmetry.groups import SpaceGroup

from prototype_structures import STRUCTURE_TYPES, StructureType

FloatArray = NDArray[np.float64]

#: Stand-ins for the roles while a bare structure type is handled: any distinct elements do.
_ROLE_STANDINS = {"A": "Na", "B": "Ti", "C": "Al", "X": "O", "Y": "Cl"}
#: Distance (Å, in a cell with a = 10 Å) under which two positions count as symmetry images.
_SYMPREC = 1e-4
#: Distance (Å, same cell) under which two images of an orbit are the same site.
_SAME_SITE = 1e-2
#: Space-group numbers between which the conventional cell has hexagonal axes.
_FIRST_TRIGONAL, _LAST_HEXAGONAL = 143, 194


@dataclass(frozen=True)
class Template:
    """A structure type in its primitive cell, with a basis of what symmetry lets move.

    Attributes
    ----------
    name
        The structure type's name.
    lattice
        Row vectors (3, 3), in units in which the conventional ``a`` is 10.
    coords
        Fractional coordinates (n, 3).
    roles
        The role of every site.
    strains
        Orthonormal basis (k, 3, 3) of the symmetric strains the point group allows.
    shifts
        Orthonormal basis (m, n, 3) of the Cartesian displacements the space group
        allows, uniform translations left out.
    """

    name: str
    lattice: FloatArray
    coords: FloatArray
    roles: tuple[str, ...]
    strains: FloatArray
    shifts: FloatArray

    @property
    def counts(self) -> dict[str, int]:
        """Number of sites of every role in the primitive cell."""
        return {role: self.roles.count(role) for role in sorted(set(self.roles))}


def _conventional_cell(kind: StructureType) -> tuple[moyopy.Cell, dict[int, str]]:
    """Conventional cell with a = 10 Å and the role behind each stand-in atomic number."""
    group = SpaceGroup(kind.group).int_number
    a, b, c = 10.0, 10.0 * kind.axes[0], 10.0 * kind.axes[1]
    gamma = 120.0 if _FIRST_TRIGONAL <= group <= _LAST_HEXAGONAL else 90.0
    lattice = Lattice.from_parameters(a, b, c, 90.0, kind.beta, gamma).matrix
    operations = moyopy.operations_from_number(group, setting=moyopy.Setting.standard())
    rotations = np.asarray(operations.rotations, dtype=np.float64)
    translations = np.asarray(operations.translations, dtype=np.float64)
    positions: list[list[float]] = []
    numbers: list[int] = []
    for role, representative in kind.orbits:
        orbit: list[FloatArray] = []
        for image in (rotations @ np.asarray(representative, dtype=np.float64)) + translations:
            point = image - np.floor(image)
            # Thirds and sums of eighths come back off by rounding; 1 and 0 are the same place.
            point[np.abs(point - 1.0) < 1e-9] = 0.0
            if all(_distance(point - other, lattice) > _SAME_SITE for other in orbit):
                orbit.append(point)
        positions += [point.tolist() for point in orbit]
        numbers += [Element(_ROLE_STANDINS[role]).Z] * len(orbit)
    roles = {Element(standin).Z: role for role, standin in _ROLE_STANDINS.items()}
    return moyopy.Cell(lattice.tolist(), positions, numbers), roles


def _distance(difference: FloatArray, lattice: FloatArray) -> float:
    """Length (Å) of a fractional difference taken to the nearest integers."""
    return float(np.linalg.norm((difference - np.round(difference)) @ lattice))


@functools.cache
def template(name: str) -> Template:
    """Primitive cell and symmetry-allowed freedom of the structure type called ``name``."""
    kind = next((t for t in STRUCTURE_TYPES if t.name == name), None)
    if kind is None:
        raise KeyError(f"no structure type called {name!r}")
    cell, role_of = _conventional_cell(kind)
    primitive = moyopy.MoyoDataset(cell, symprec=_SYMPREC).prim_std_cell
    roles = tuple(role_of[z] for z in primitive.numbers)
    lattice = np.asarray(primitive.basis, dtype=np.float64)
    coords = np.asarray(primitive.positions, dtype=np.float64)
    strains, shifts = _allowed_freedom(primitive, lattice, coords)
    return Template(name, lattice, coords, roles, strains, shifts)


def _allowed_freedom(
    cell: moyopy.Cell, lattice: FloatArray, coords: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Bases of the invariant strains and Cartesian displacements, by averaging over the group."""
    operations = moyopy.MoyoDataset(cell, symprec=_SYMPREC).operations
    rotations = np.asarray(operations.rotations, dtype=np.float64)
    translations = np.asarray(operations.translations, dtype=np.float64)
    numbers = np.asarray(cell.numbers)
    n = len(coords)
    to_cartesian, to_fractional = lattice.T, np.linalg.inv(lattice.T)
    strain_mean = np.zeros((9, 9))
    shift_mean = np.zeros((3 * n, 3 * n))
    for rotation, translation in zip(rotations, translations, strict=True):
        cartesian = to_cartesian @ rotation @ to_fractional
        strain_mean += np.kron(cartesian, cartesian)
        images = coords @ rotation.T + translation
        delta = images[:, None, :] - coords[None, :, :]
        delta -= np.round(delta)
        distance = np.linalg.norm(delta @ lattice, axis=-1)
        distance[numbers[:, None] != numbers[None, :]] = np.inf
        for source, target in enumerate(np.argmin(distance, axis=1)):
            block = np.s_[3 * target : 3 * target + 3, 3 * source : 3 * source + 3]
            shift_mean[block] += cartesian
    transpose = np.eye(9).reshape(3, 3, 3, 3).transpose(1, 0, 2, 3).reshape(9, 9)
    strain_mean = strain_mean / len(rotations) @ (np.eye(9) + transpose) / 2
    drift = np.kron(np.full((n, n), 1.0 / n), np.eye(3))
    shift_mean = (np.eye(3 * n) - drift) @ (shift_mean / len(rotations))
    return (
        _unit_eigenspace(strain_mean).reshape(-1, 3, 3),
        _unit_eigenspace(shift_mean).reshape(-1, n, 3),
    )


def _unit_eigenspace(projector: FloatArray) -> FloatArray:
    """Orthonormal rows spanning the space that an orthogonal projector keeps."""
    values, vectors = np.linalg.eigh((projector + projector.T) / 2)
    return vectors[:, values > 0.5].T.copy()
