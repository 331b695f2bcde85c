"""The orbits of a crystal, as moyopy finds its symmetry, by one choice of origin and axes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.geometry import cell_parameters_from_lattices, wrap
from crystalcodec.representations.wyckoff_orbits.positions import (
    LETTERS,
    WyckoffPositions,
    wyckoff_positions,
)
from crystalcodec.symmetry import moyo_datasets

__all__ = ["Orbits", "distance_from_position", "find_orbits"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_ON: Final = 1e-3  # Å; moyopy puts sites where symmetry wants them, to rounding
_DIGITS: Final = 5  # of coordinates that are compared
_AROUND: Final = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)


@dataclass(frozen=True, eq=False)
class Orbits:
    """The orbits of a crystal.

    Parameters
    ----------
    group
        Number of the space group.
    cell : (6,)
        Of the conventional cell, Å and degrees.
    numbers, letters : (k,)
        Atomic number and number of the letter of each orbit, by which they are sorted.
    coords : (k, 3)
        A point of each, on its position as :class:`WyckoffPositions` has it, in [0, 1).
    """

    group: int
    cell: Floats
    numbers: Ints
    letters: Ints
    coords: Floats


def find_orbits(crystals: Crystals, symprec: float) -> Iterator[Orbits | str]:
    """The orbits of each crystal, or in words why there are none.

    Of all choices of origin and axes that leave group and metric as they are one is taken whose
    letters come first. moyopy tells those that change letters, not all with the same ones.
    """
    positions = wyckoff_positions()
    for found in moyo_datasets(crystals, symprec):
        if isinstance(found, str):
            yield found
            continue
        try:
            yield _orbits(found, positions)
        except ValueError as error:
            yield str(error)


def _orbits(found: Any, positions: WyckoffPositions) -> Orbits:
    """Raise ValueError where moyopy finds no positions, or these do not fit."""
    numbers = np.array(found.std_cell.numbers)
    coords = np.array(found.std_cell.positions).reshape(-1, 3)
    lattice = np.array(found.std_cell.basis)
    choices = []
    for change, sites in found.normalizer_wyckoff_positions().coset_representatives:
        letters = np.array([LETTERS.index(site.letter) + 1 for site in sites])
        choices.append(
            (sorted(zip(numbers.tolist(), letters.tolist(), strict=True)), change, letters)
        )
    if not choices:
        raise ValueError("no Wyckoff positions")
    first = min(key for key, _, _ in choices)
    made = []
    for key, change, letters in choices:
        if key != first:
            continue
        moved = coords @ np.array(change.linear, float).T + np.array(change.origin_shift)
        one = _grouped(found.number, lattice, numbers, letters, moved, positions)
        made.append((np.round(one.coords, _DIGITS).tolist(), one))
    return min(made, key=lambda pair: pair[0])[1]


def _grouped(
    group: int,
    lattice: Floats,
    numbers: Ints,
    letters: Ints,
    coords: Floats,
    positions: WyckoffPositions,
) -> Orbits:
    """Sites of the conventional cell as orbits."""
    index = positions.index(np.full(len(letters), group), letters)
    away, on = distance_from_position(coords, index, lattice[None].repeat(len(index), 0), positions)
    to_primitive = positions.to_primitive[group]
    cell = np.linalg.inv(to_primitive).T @ lattice
    primitive = coords @ to_primitive.T
    rows = []
    left = np.ones(len(index), bool)
    order = np.lexsort((*np.round(wrap(on), _DIGITS).T[::-1], away > _ON, letters, numbers))
    for i in order.tolist():
        if not left[i]:
            continue
        images, _ = positions.images(index[[i]], on[[i]])
        apart = primitive[:, None] - images
        apart = np.linalg.norm((apart - np.rint(apart)) @ cell, axis=2).min(axis=1)
        same = left & (apart < _ON) & (numbers == numbers[i]) & (letters == letters[i])
        if away[i] > _ON or not same[i]:
            raise ValueError(
                f"a site of element {numbers[i]} is not on position {LETTERS[letters[i] - 1]} of "
                f"group {group}"
            )
        left &= ~same
        rows.append(i)
    return Orbits(
        group,
        cell_parameters_from_lattices(lattice[None])[0],
        numbers[rows],
        letters[rows],
        wrap(on[rows]),
    )


def distance_from_position(
    coords: Floats, index: Ints, lattices: Floats, positions: WyckoffPositions
) -> tuple[Floats, Floats]:
    """How far points are from their Wyckoff positions, and the points of these next to them.

    Parameters
    ----------
    coords : (n, 3)
        In the conventional cell.
    index : (n,)
        Of the positions.
    lattices : (n, 3, 3)
        Of the conventional cells, Å.

    Returns
    -------
    distances : (n,)
        Å.
    nearest : (n, 3)
        Not wrapped.
    """
    projectors, points = positions.projectors[index], positions.points[index]
    # A line may leave the cell, as x, 2x does, and come in again beside it.
    apart = coords[:, None] + _AROUND - points[:, None]
    off = apart - np.einsum("nij,nkj->nki", projectors, apart)
    squares = (np.einsum("nki,nij->nkj", off, lattices) ** 2).sum(axis=2)
    best = squares.argmin(axis=1)
    rows = np.arange(len(coords))
    return np.sqrt(squares[rows, best]), coords + _AROUND[best] - off[rows, best]
