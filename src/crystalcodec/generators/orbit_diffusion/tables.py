"""Orbits in torch: the tables of Wyckoff positions, and orbits read from arrays and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from crystalcodec.representations.base import Representation
from crystalcodec.representations.wyckoff_orbits import WyckoffOrbits
from crystalcodec.representations.wyckoff_orbits.cells import cell_rules
from crystalcodec.representations.wyckoff_orbits.positions import (
    LETTERS,
    N_SPACE_GROUPS,
    wyckoff_positions,
)
from crystalcodec.symmetry import CRYSTAL_SYSTEMS, crystal_system_ranks

__all__ = [
    "N_LETTERS",
    "N_SYSTEMS",
    "OrbitRows",
    "PositionTables",
    "applied",
    "read_orbits",
    "unreadable",
    "write_orbits",
]

N_LETTERS = len(LETTERS)
N_SYSTEMS = len(CRYSTAL_SYSTEMS)


@dataclass(frozen=True)
class OrbitRows:
    """The orbits of n crystals, crystal after crystal.

    Parameters
    ----------
    groups : (n,)
        Numbers of the space groups.
    cells : (n, 6)
        Conventional cells: a, b, c in Å, alpha, beta, gamma in degrees.
    crystals, numbers, letters : (k,)
        Crystal of each orbit, rising; its atomic number, and the number of its letter.
    coords : (k, 3)
        A point of each, in the conventional cell.
    """

    groups: Tensor
    cells: Tensor
    crystals: Tensor
    numbers: Tensor
    letters: Tensor
    coords: Tensor


def applied(matrices: Tensor, vectors: Tensor) -> Tensor:
    """(n, 3) matrices (n, 3, 3) times vectors (n, 3), in full precision whatever the training's."""
    return (matrices * vectors[:, None]).sum(2)


def read_orbits(arrays: Mapping[str, Tensor]) -> OrbitRows:
    """The orbits of arrays of ``wyckoff_orbits``."""
    elements = arrays["elements"].long()
    crystals, slots = (elements > 0).nonzero(as_tuple=True)
    return OrbitRows(
        arrays["space_group"].argmax(dim=1) + 1,
        arrays["cell_parameters"].float(),
        crystals,
        elements[crystals, slots],
        arrays["letters"].long()[crystals, slots],
        arrays["frac_coords"][crystals, slots].float(),
    )


def write_orbits(representation: WyckoffOrbits, orbits: OrbitRows) -> dict[str, Tensor]:
    """The arrays of orbits, those of a crystal by element and letter; coordinates are wrapped."""
    n, most, device = len(orbits.groups), representation.max_orbits, orbits.cells.device
    key = (orbits.crystals * 1000 + orbits.numbers) * 100 + orbits.letters
    order = key.argsort(stable=True)
    crystals = orbits.crystals[order]
    counts = torch.bincount(crystals, minlength=n)
    slots = torch.arange(len(crystals), device=device) - (counts.cumsum(0) - counts)[crystals]
    elements, letters = torch.zeros(2, n, most, dtype=torch.long, device=device)
    coords = torch.zeros(n, most, 3, device=device)
    elements[crystals, slots] = orbits.numbers[order]
    letters[crystals, slots] = orbits.letters[order]
    wrapped = orbits.coords[order] % 1
    coords[crystals, slots] = torch.where(wrapped == 1, 0.0, wrapped)
    hot = torch.zeros(n, N_SPACE_GROUPS, device=device)
    hot[torch.arange(n, device=device), orbits.groups - 1] = 1.0
    return {
        "space_group": hot,
        "cell_parameters": orbits.cells,
        "elements": elements,
        "letters": letters,
        "frac_coords": coords,
    }


def unreadable(representation: Representation) -> str | None:
    """Why a representation's arrays hold no orbits, or None."""
    if not isinstance(representation, WyckoffOrbits):
        return "its arrays hold no orbits of a space group: wanted wyckoff_orbits"
    return None


class PositionTables(nn.Module):
    """The tables of :class:`WyckoffPositions`, and what follows from them.

    Attributes
    ----------
    steps : (n_images, 3, 3)
        What a small step of an orbit's point becomes at each image, in the primitive cell; steps
        off the position are left out.
    pulls : (n_images, 3, 3)
        The least-squares way back: the step of an orbit is the sum over its images of matrix times
        step.
    alike : (231, 3, 3)
        Means of like lengths.
    free : (231, 6)
        1 over how many are alike for each length; 1 for a free angle, 0 for a given one.
    given : (231, 3)
        Degrees of given angles, 0 for free ones.
    systems : (231,)
        Crystal systems.
    volumes : (231,)
        Primitive cells in the conventional one.
    symmetries : (1732,)
        A number for the site symmetry of each position.
    reachable : (231, 29, max_sites + 1)
        Whether so many sites can be had with letters from a given one on.
    """

    first: Tensor
    n_letters: Tensor
    points: Tensor
    projectors: Tensor
    n_free: Tensor
    n_sites: Tensor
    starts: Tensor
    linears: Tensor
    shifts: Tensor
    from_primitive: Tensor
    steps: Tensor
    pulls: Tensor
    alike: Tensor
    free: Tensor
    given: Tensor
    systems: Tensor
    volumes: Tensor
    symmetries: Tensor
    reachable: Tensor

    def __init__(self, max_sites: int) -> None:
        super().__init__()
        positions = wyckoff_positions()
        owners = np.repeat(np.arange(len(positions.n_sites)), positions.n_sites)
        steps = positions.linears @ positions.projectors[owners]
        squares = np.zeros((len(positions.n_sites), 3, 3))
        np.add.at(squares, owners, steps.transpose(0, 2, 1) @ steps)
        pulls = np.linalg.pinv(squares, hermitian=True)[owners] @ steps.transpose(0, 2, 1)
        means, angles = cell_rules()
        share = np.diagonal(means, axis1=1, axis2=2)
        names = {name: i for i, name in enumerate(dict.fromkeys(positions.symmetries))}
        self.n_symmetries = len(names)
        for name, value in {
            "first": positions.first,
            "n_letters": positions.n_letters,
            "points": positions.points,
            "projectors": positions.projectors,
            "n_free": positions.n_free,
            "n_sites": positions.n_sites,
            "starts": positions.starts,
            "linears": positions.linears,
            "shifts": positions.shifts,
            "from_primitive": np.linalg.inv(positions.to_primitive),
            "steps": steps,
            "pulls": pulls,
            "alike": means,
            "free": np.concatenate([share, np.isnan(angles)], axis=1),
            "given": np.nan_to_num(angles),
            "systems": crystal_system_ranks().clip(0),
            "volumes": np.rint(np.linalg.det(positions.to_primitive)),
            "symmetries": np.array([names[name] for name in positions.symmetries]),
            "reachable": _reachable(max_sites),
        }.items():
            tensor = torch.from_numpy(np.ascontiguousarray(value))
            tensor = tensor.float() if tensor.is_floating_point() else tensor
            # They follow from the International Tables: not kept with the weights.
            self.register_buffer(name, tensor, persistent=False)

    def positions(self, groups: Tensor, letters: Tensor) -> Tensor:
        """Positions of letter numbers, which are to be letters of their groups."""
        return self.first[groups] + letters

    def rows(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Of all sites of orbits the row in the tables of images, and the orbit."""
        counts = self.n_sites[positions]
        orbits = torch.repeat_interleave(
            torch.arange(len(positions), device=positions.device), counts
        )
        place = torch.arange(len(orbits), device=positions.device)
        place = place - (counts.cumsum(0) - counts)[orbits]
        return self.starts[positions][orbits] + place, orbits


def _reachable(max_sites: int) -> np.ndarray:
    """See :class:`PositionTables`; that points are taken once is kept to for each sum alone."""
    positions = wyckoff_positions()
    table = np.zeros((N_SPACE_GROUPS + 1, N_LETTERS + 2, max_sites + 1), bool)
    table[:, :, 0] = True
    for group in range(1, N_SPACE_GROUPS + 1):
        for letter in range(int(positions.n_letters[group]), 0, -1):
            place = positions.first[group] + letter
            size, row = int(positions.n_sites[place]), table[group, letter + 1].copy()
            for total in range(size, max_sites + 1):
                before = row if positions.n_free[place] else table[group, letter + 1]
                row[total] |= before[total - size]
            table[group, letter] = row
    return table
