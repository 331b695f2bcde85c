"""The physics term: atoms that are too near, and cells that are too dense or too empty.

Sites and cells are read from arrays of an invertible representation so that gradients flow back:
a site is there to some degree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Final

import torch
from torch import Tensor

from crystalcodec.representations.base import Field, Representation
from crystalcodec.representations.crystens import CrysTens

__all__ = ["Reader", "SoftSites", "closeness", "number_densities", "outside", "reader_of"]

_SMALLEST_ANGLE: Final = math.radians(5.0)
_LEAST_HEIGHT: Final = 1e-3  # squared, of a unit c vector; flatter cells count as this flat
_PRESENT: Final = 20.0  # degrees; below the mean angle of known cells, above that of no site


@dataclass(frozen=True)
class SoftSites:
    """Crystals read from arrays.

    Parameters
    ----------
    frac_coords : (n, sites, 3)
        Fractional coordinates.
    there : (n, sites)
        From 0, an empty place, to 1, an atom.
    lattices : (n, 3, 3)
        Cell vectors in rows, Å.
    """

    frac_coords: Tensor
    there: Tensor
    lattices: Tensor


Reader = Callable[[Mapping[str, Tensor]], SoftSites]


def reader_of(representation: Representation) -> tuple[Reader | None, str]:
    """What reads sites from the arrays of a representation, or None and why there is nothing."""
    fields = {field.name: field for field in representation.fields}
    if isinstance(representation, CrysTens):
        blocks = representation.blocks
        return _RowReader(fields, tuple(blocks.low.tolist()), tuple(blocks.width.tolist())), ""
    wanted = ("lengths", "angles", "frac_coords", "occupancy")
    if missing := [name for name in wanted if name not in fields]:
        return None, f"its fields tell no {', '.join(missing)} of the crystals"
    return _ColumnReader(fields), ""


@dataclass(frozen=True)
class _ColumnReader:
    """IRCR and its kin: a site is there as much as its largest occupancy."""

    fields: Mapping[str, Field]

    def __call__(self, arrays: Mapping[str, Tensor]) -> SoftSites:
        lengths, angles, coords, occupancy = (
            _cut(self.fields[name], arrays)
            for name in ("lengths", "angles", "frac_coords", "occupancy")
        )
        there = occupancy.amax(dim=2).clamp(0, 1)
        return SoftSites(coords, there, _lattices(lengths[:, 0], angles[:, 0]))


@dataclass(frozen=True)
class _RowReader:
    """CrysTens: a site is there as much as its row holds angles of a cell; copies are averaged."""

    fields: Mapping[str, Field]
    low: tuple[float, ...]
    width: tuple[float, ...]

    def __call__(self, arrays: Mapping[str, Tensor]) -> SoftSites:
        rows = torch.cat([self._rows(n, arrays) for n in ("frac_coords", "lengths", "angles")], 2)
        # Rows 1 to 9 of the header: coordinates, lengths, angles.
        raw = rows * rows.new_tensor(self.width[1:10])
        there = (raw[:, :, 6:].mean(dim=2) / _PRESENT).clamp(0, 1)
        values = raw + rows.new_tensor(self.low[1:10])
        weights = there / there.sum(dim=1, keepdim=True).clamp(min=1e-6)
        cell = (weights[:, :, None] * values[:, :, 3:]).sum(dim=1)
        return SoftSites(values[:, :, :3], there, _lattices(cell[:, :3], cell[:, 3:]))

    def _rows(self, name: str, arrays: Mapping[str, Tensor]) -> Tensor:
        """(n, sites, 3) means over the layers of a site's row and of its column."""
        row = _cut(self.fields[name], arrays).mean(dim=3)
        column = _cut(self.fields[f"mirrored_{name}"], arrays).mean(dim=3)
        return (row + column.transpose(1, 2)) / 2


def closeness(sites: SoftSites, closest: float) -> Tensor:
    """(n,) how much atoms are nearer to each other, or to their own images, than ``closest`` Å.

    Sum over pairs of (1 - distance / closest)², where positive, times how much both are there;
    divided by the number of atoms. The distance is to the nearest of 27 images, coordinates
    having been moved to within half a cell of each other; in very skew cells a nearer one can
    lie further off.
    """
    n_sites = sites.frac_coords.shape[1]
    i, j = torch.triu_indices(n_sites, n_sites, device=sites.frac_coords.device)
    between = sites.frac_coords[:, i] - sites.frac_coords[:, j]
    between = between - between.detach().round()
    images = between.new_tensor([*product((-1, 0, 1), repeat=3)])
    vectors = (between @ sites.lattices)[:, :, None] + (images @ sites.lattices)[:, None]
    squares = vectors.square().sum(dim=3)
    # A site is no neighbour of itself, its images are.
    itself = (i == j)[:, None] & (images == 0).all(dim=1)
    squares = squares.masked_fill(itself, torch.inf).amin(dim=2)
    distances = squares.clamp(min=1e-6).sqrt()
    both = sites.there[:, i] * sites.there[:, j]
    near = (both * (1 - distances / closest).relu().square()).sum(dim=1)
    amount: Tensor = near / sites.there.sum(dim=1).clamp(min=1)
    return amount


def number_densities(sites: SoftSites) -> Tensor:
    """(n,) atoms in a cubic Å."""
    volumes = torch.linalg.det(sites.lattices).abs().clamp(min=1e-6)
    densities: Tensor = sites.there.sum(dim=1) / volumes
    return densities


def outside(densities: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(n,) squared logarithm of how far densities are outside of a range."""
    logs = densities.clamp(min=1e-6).log()
    return (logs - high.log()).relu().square() + (low.log() - logs).relu().square()


def _cut(field: Field, arrays: Mapping[str, Tensor]) -> Tensor:
    return arrays[field.array][(slice(None), *field.where)].float()


def _lattices(lengths: Tensor, angles: Tensor) -> Tensor:
    """(n, 3, 3) of lengths, Å, and angles, degrees: a along x, b in the x-y plane.

    Cells that do not close are made as flat ones, so that there is a gradient out of them.
    """
    radians = torch.deg2rad(angles).clamp(_SMALLEST_ANGLE, math.pi - _SMALLEST_ANGLE)
    cos_alpha, cos_beta, cos_gamma = radians.cos().unbind(1)
    sin_gamma = radians[:, 2].sin()
    across = (cos_alpha - cos_beta * cos_gamma) / sin_gamma
    height = (1 - cos_beta.square() - across.square()).clamp(min=_LEAST_HEIGHT).sqrt()
    zero, one = torch.zeros_like(across), torch.ones_like(across)
    rows = [
        torch.stack([one, zero, zero], dim=1),
        torch.stack([cos_gamma, sin_gamma, zero], dim=1),
        torch.stack([cos_beta, across, height], dim=1),
    ]
    return torch.stack(rows, dim=1) * lengths[:, :, None]
