"""Sites and cells read back from the arrays of an invertible representation, as tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from crystalcodec.representations.base import Field, Representation
from crystalcodec.representations.unimat import UniMat

__all__ = ["Reader", "SiteRows", "reader_of"]

Arrays = Mapping[str, Tensor]


@dataclass(frozen=True)
class SiteRows:
    """The rows of sites that are not empty, crystal after crystal.

    Parameters
    ----------
    numbers : (n_sites,)
        Atomic numbers.
    frac_coords : (n_sites, 3)
        Fractional coordinates.
    crystals : (n_sites,)
        The crystal of the batch that each site belongs to, in rising order.
    lattices : (batch, 3, 3)
        Cell vectors in rows, Å, float32; NaN where lengths and angles close no cell.
    """

    numbers: Tensor
    frac_coords: Tensor
    crystals: Tensor
    lattices: Tensor


Reader = Callable[[Arrays], SiteRows]


def reader_of(representation: Representation) -> tuple[Reader | None, str]:
    """What reads the sites of a representation's arrays, or None and why there is nothing."""
    fields = {field.name: field for field in representation.fields}
    cell = [name for name in ("lengths", "angles", "frac_coords") if name not in fields]
    if cell:
        return None, f"its fields tell no {', '.join(cell)} of the crystals"
    units = fields["lengths"].unit, fields["angles"].unit
    if units != ("Å", "degree"):
        return None, "its lengths and angles are not in Å and degrees: use it without normalisation"
    if isinstance(representation, UniMat):
        return _GridReader(fields, torch.from_numpy(representation.places.copy())), ""
    if {"elements", "occupancy"} <= fields.keys():
        return _ColumnReader(fields), ""
    if "numbers" in fields:
        return _NumberReader(fields), ""
    return None, "its fields tell no elements of sites: wanted elements and occupancy, or numbers"


def _cut(field: Field, arrays: Arrays) -> Tensor:
    return arrays[field.array][(slice(None), *field.where)]


@dataclass(frozen=True)
class _ColumnReader:
    """IRCR and its kin: a column an element, and of each site the column that it has."""

    fields: Mapping[str, Field]

    def __call__(self, arrays: Arrays) -> SiteRows:
        elements, occupancy = (_cut(self.fields[n], arrays) for n in ("elements", "occupancy"))
        # As decoding reads them: the largest entry decides.
        of_columns = elements.argmax(dim=1) + 1
        numbers = of_columns.gather(1, occupancy.argmax(dim=2))
        lengths, angles = (_cut(self.fields[n], arrays)[:, 0] for n in ("lengths", "angles"))
        coords = _cut(self.fields["frac_coords"], arrays)
        return _rows(numbers, coords, occupancy.amax(dim=2) > 0.5, lengths, angles)


@dataclass(frozen=True)
class _NumberReader:
    """CrysTens: a row a site, with atomic number, coordinates and the cell."""

    fields: Mapping[str, Field]

    def __call__(self, arrays: Arrays) -> SiteRows:
        names = ("numbers", "frac_coords", "lengths", "angles")
        numbers, coords, lengths, angles = (_cut(self.fields[n], arrays)[..., 0] for n in names)
        whole = numbers[..., 0].round().long()
        return _rows(whole, coords, whole > 0, lengths[:, 0], angles[:, 0])


@dataclass(frozen=True)
class _GridReader:
    """UniMat: an element's place in the grid holds the coordinates of its atoms, or -1."""

    fields: Mapping[str, Field]
    places: Tensor

    def __call__(self, arrays: Arrays) -> SiteRows:
        grid = _cut(self.fields["frac_coords"], arrays)
        places = self.places.to(grid.device)
        of_place = torch.zeros(grid.shape[2] * grid.shape[3], dtype=torch.long, device=grid.device)
        numbers = torch.arange(len(places), device=grid.device)[places >= 0]
        of_place[places[places >= 0]] = numbers
        coords = grid.flatten(1, 3)
        every = of_place.repeat(grid.shape[1]).expand(coords.shape[:2])
        # Half-way between no atom, -1, and the smallest coordinate, as decoding reads it.
        there = (coords.mean(dim=2) > -0.5) & (every > 0)
        lengths, angles = (_cut(self.fields[n], arrays) for n in ("lengths", "angles"))
        return _rows(every, coords, there, lengths, angles)


def _rows(
    numbers: Tensor, coords: Tensor, occupied: Tensor, lengths: Tensor, angles: Tensor
) -> SiteRows:
    crystals, row = occupied.nonzero(as_tuple=True)
    return SiteRows(
        numbers[crystals, row],
        coords[crystals, row].float(),
        crystals,
        _lattices(lengths, angles),
    )


def _lattices(lengths: Tensor, angles: Tensor) -> Tensor:
    """(batch, 3, 3) cells of lengths, Å, and angles, degrees: a along x, b in the x-y plane."""
    # Few numbers: in float64 a flat cell keeps its height. Apple's devices have none.
    precise = torch.float32 if lengths.device.type == "mps" else torch.float64
    a, b, c = lengths.to(precise).unbind(1)
    degrees = angles.to(precise)
    cosines = torch.deg2rad(degrees).cos()
    cosines = torch.where(degrees == 90, 0.0, cosines)
    cos_alpha, cos_beta, cos_gamma = cosines.unbind(1)
    sin_gamma = (1 - cos_gamma.square()).sqrt()
    across = (cos_alpha - cos_beta * cos_gamma) / sin_gamma
    height = (1 - cos_beta.square() - across.square()).sqrt()  # NaN where no cell closes
    zero = torch.zeros_like(a)
    rows = [
        torch.stack([a, zero, zero], dim=1),
        torch.stack([b * cos_gamma, b * sin_gamma, zero], dim=1),
        torch.stack([c * cos_beta, c * across, c * height], dim=1),
    ]
    return torch.stack(rows, dim=1).float()
