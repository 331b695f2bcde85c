"""Site tables: what the arrays of a representation say of each site and cell, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from crystalcodec.representations.base import Field, Representation
from crystalcodec.representations.ircr import IRCR

__all__ = ["SiteTable", "read_sites", "unreadable", "write_sites"]

_FIELDS: Final = ("elements", "occupancy", "lengths", "angles", "frac_coords")


@dataclass(frozen=True)
class SiteTable:
    """The sites of n crystals, crystal after crystal.

    Parameters
    ----------
    numbers : (n_sites,)
        Atomic numbers.
    frac_coords : (n_sites, 3)
        Fractional coordinates.
    crystals : (n_sites,)
        The crystal that each site belongs to, rising.
    cells : (n, 6)
        a, b, c in Å, alpha, beta, gamma in degrees.
    """

    numbers: Tensor
    frac_coords: Tensor
    crystals: Tensor
    cells: Tensor

    @property
    def n_sites(self) -> Tensor:
        """(n,) sites of each crystal."""
        return torch.bincount(self.crystals, minlength=len(self.cells))


def unreadable(representation: Representation) -> str | None:
    """Why a representation's arrays are no site table, or None."""
    if not isinstance(representation, IRCR):
        return "its arrays are no table of sites that can be written as well as read: wanted ircr"
    return None


def read_sites(representation: Representation, arrays: Mapping[str, Tensor]) -> SiteTable:
    """The site table of arrays, the largest entry of each category deciding."""
    fields = {field.name: field for field in representation.fields}
    elements, occupancy, lengths, angles, coords = (_cut(fields[n], arrays) for n in _FIELDS)
    of_columns = elements.argmax(dim=1) + 1
    numbers = of_columns.gather(1, occupancy.argmax(dim=2))
    crystals, row = (occupancy.amax(dim=2) > 0.5).nonzero(as_tuple=True)
    cells = torch.cat([lengths.flatten(1), angles.flatten(1)], dim=1)
    return SiteTable(numbers[crystals, row], coords[crystals, row], crystals, cells)


def write_sites(representation: IRCR, table: SiteTable) -> dict[str, Tensor]:
    """The arrays of a site table, in the representation's units; coordinates are wrapped."""
    n, device = len(table.cells), table.cells.device
    array = torch.zeros(n, representation.n_rows, representation.n_columns, device=device)
    arrays = {representation.name: array}
    fields = {field.name: field for field in representation.fields}
    elements, occupancy, lengths, angles, coords = (_cut(fields[n], arrays) for n in _FIELDS)
    counts = table.n_sites
    row = (
        torch.arange(len(table.crystals), device=device)
        - (counts.cumsum(0) - counts)[table.crystals]
    )
    column = _columns(table)
    crystals = table.crystals
    elements[crystals, table.numbers - 1, column] = 1.0
    occupancy[crystals, row, column] = 1.0
    lengths[:, 0], angles[:, 0] = table.cells[:, :3], table.cells[:, 3:]
    wrapped = table.frac_coords % 1
    coords[crystals, row] = torch.where(wrapped == 1, 0.0, wrapped)
    return arrays


def _columns(table: SiteTable) -> Tensor:
    """(n_sites,) the place of each site's element among those of its crystal, as they appear."""
    same = table.crystals[1:] == table.crystals[:-1]
    # Sites of an element stand together, so a new element is a change from the site before.
    changed = same & (table.numbers[1:] != table.numbers[:-1])
    steps = torch.cat([changed.new_zeros(1), changed]).long().cumsum(0)
    counts = table.n_sites
    starts = counts.cumsum(0) - counts
    first: Tensor = steps[starts.clamp(max=len(steps) - 1)]
    return steps - first[table.crystals]


def _cut(field: Field, arrays: Mapping[str, Tensor]) -> Tensor:
    return arrays[field.array][(slice(None), *field.where)]
