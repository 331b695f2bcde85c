"""Crystals to and from the objects of pymatgen and ASE."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from crystalcodec.crystals import Crystals, CrystalsError
from crystalcodec.elements import MAX_ATOMIC_NUMBER, SYMBOLS

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import IStructure, Structure

__all__ = ["from_ase", "from_pymatgen", "to_ase", "to_pymatgen"]


def to_pymatgen(crystals: Crystals) -> list[Structure]:
    """One ``pymatgen.core.Structure`` a crystal: the same sites in the same order, float64.

    Parameters
    ----------
    crystals
        Any number of crystals.

    Examples
    --------
    >>> [structure] = to_pymatgen(Crystals.single(3 * np.eye(3), [[0, 0, 0]], [84]))
    >>> structure.formula
    'Po1'
    """
    from pymatgen.core import Element, Lattice, Structure

    elements = {z: Element(SYMBOLS[z]) for z in np.unique(crystals.numbers).tolist()}
    return [
        Structure(
            Lattice(crystal.lattices[0].copy()),
            [elements[z] for z in crystal.numbers.tolist()],
            crystal.frac_coords.copy(),
        )
        for crystal in crystals
    ]


def from_pymatgen(structures: IStructure | Iterable[IStructure]) -> Crystals:
    """Crystals of pymatgen structures: the same sites in the same order, float64.

    Fractional coordinates are wrapped into [0, 1). Oxidation states, spins, magnetic moments,
    site properties, labels, charge and the flags of periodicity have no place in crystals and are
    left behind.

    Parameters
    ----------
    structures
        One structure or any number of them.

    Raises
    ------
    CrystalsError
        A structure with partial occupancy, a deuterium, tritium or dummy species, a cell open in
        a direction, or no sites; the message names the structure, counted from 0.
    """
    batch: list[Any] = [structures] if hasattr(structures, "sites") else [*structures]
    numbers = [
        _atomic_numbers(structure.species_and_occu, index) for index, structure in enumerate(batch)
    ]
    for index, structure in enumerate(batch):
        _check_periodic(structure.lattice.pbc, index)
    counts = [len(one) for one in numbers]
    return Crystals(
        np.array([structure.lattice.matrix for structure in batch], np.float64).reshape(-1, 3, 3),
        np.concatenate([np.zeros((0, 3)), *(structure.frac_coords for structure in batch)]),
        np.array([z for one in numbers for z in one], np.int64),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def _atomic_numbers(compositions: Iterable[Any], index: int) -> list[int]:
    numbers = []
    for site, composition in enumerate(compositions):
        species = list(composition.items())
        # pymatgen's own rule for an ordered site.
        if len(species) != 1 or species[0][1] != 1:
            raise CrystalsError(
                f"structure {index}, site {site}: partial occupancy ({composition}), and a site "
                "here holds exactly one atom: order the structure first, for example with "
                "pymatgen's OrderDisorderedStructureTransformation"
            )
        # An oxidation state wraps the element. Deuterium has the symbol H there, and its own name.
        one = getattr(species[0][0], "element", species[0][0])
        symbol = getattr(one, "name", None) or one.symbol
        number = getattr(one, "Z", 0)
        if number not in range(1, MAX_ATOMIC_NUMBER + 1) or SYMBOLS[int(number)] != symbol:
            raise CrystalsError(
                f"structure {index}, site {site}: species {symbol!r} is no element of a crystal "
                "here: replace it (D and T by H, where the isotope does not matter)"
            )
        numbers.append(int(number))
    return numbers


def to_ase(crystals: Crystals) -> list[Atoms]:
    """One ``ase.Atoms`` a crystal, periodic in all directions, sites in the same order.

    ASE keeps Cartesian positions: fractional coordinates come back from it to the rounding of
    float64, not bit for bit. The lattice and the atomic numbers come back exactly.

    Parameters
    ----------
    crystals
        Any number of crystals.
    """
    from ase import Atoms

    positions = crystals.cart_coords
    return [
        Atoms(
            numbers=crystals.numbers[start:stop],
            positions=positions[start:stop],
            cell=lattice,
            pbc=True,
        )
        for lattice, start, stop in zip(
            crystals.lattices,
            crystals.offsets[:-1].tolist(),
            crystals.offsets[1:].tolist(),
            strict=True,
        )
    ]


def from_ase(atoms: Atoms | Iterable[Atoms]) -> Crystals:
    """Crystals of ASE atoms: the same sites in the same order, float64.

    Calculators, constraints, magnetic moments, charges, masses, tags and momenta have no place in
    crystals and are left behind.

    Parameters
    ----------
    atoms
        One ``ase.Atoms`` or any number of them.

    Raises
    ------
    CrystalsError
        Atoms that are not periodic in all three directions or have no cell, atomic number 0 (a
        dummy), no atoms, or an occupancy table that says a site is shared; the message names the
        atoms, counted from 0.
    """
    batch: list[Any] = [atoms] if hasattr(atoms, "get_positions") else [*atoms]
    for index, one in enumerate(batch):
        _check_periodic(one.pbc, index)
        _check_occupancies(one.info.get("occupancy"), index)
        if one.cell.rank < 3:
            raise CrystalsError(
                f"structure {index}: cell {one.cell.tolist()} has no volume: give three vectors"
            )
    counts = [len(one) for one in batch]
    return Crystals(
        np.array([one.cell.array for one in batch], np.float64).reshape(-1, 3, 3),
        np.concatenate(
            [np.zeros((0, 3)), *(one.get_scaled_positions(wrap=False) for one in batch)]
        ),
        np.concatenate([np.zeros(0, np.int64), *(one.numbers for one in batch)]).astype(np.int64),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def _check_periodic(pbc: Iterable[bool], index: int) -> None:
    periodic = [bool(direction) for direction in pbc]
    if not all(periodic):
        raise CrystalsError(
            f"structure {index}: periodic along a, b, c: {periodic}, wanted all three: a crystal "
            "has no open direction; set pbc to True where the cell is meant to repeat"
        )


def _check_occupancies(occupancy: Any, index: int) -> None:
    """ASE's CIF reader keeps shared sites in a table and only the main species as an atom."""
    if not isinstance(occupancy, dict):
        return
    for kind, table in occupancy.items():
        if isinstance(table, dict) and (len(table) != 1 or {*table.values()} != {1.0}):
            raise CrystalsError(
                f"structure {index}, sites of kind {kind}: partial occupancy ({table}), and a "
                "site here holds exactly one atom: order the structure first"
            )
