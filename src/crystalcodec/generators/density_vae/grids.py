"""What the network sees of the arrays of a representation, and how arrays are made of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor

from crystalcodec.crystals import Crystals
from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.generators.density_vae.cell_atoms import locate_atoms
from crystalcodec.models.base import ModelError
from crystalcodec.representations.base import Representation
from crystalcodec.representations.density_cell import DensityCell
from crystalcodec.representations.density_cube import DensityCube

__all__ = [
    "N_CLASSES",
    "UNKNOWN",
    "CellGrid",
    "CubeGrid",
    "Grid",
    "grid_of",
    "species_grid",
    "unfit",
]

Batch = Mapping[str, Tensor]

N_CLASSES: Final = MAX_ATOMIC_NUMBER + 1
UNKNOWN: Final = -1
"""The species of points of which it is not known."""
_RADIUS: Final = 1.8  # of sigma: the nearest that two atoms of a cell grid may be to one another
_AT_ONCE: Final = 8  # crystals whose distances to all points are held in memory together


class Grid(ABC):
    """The arrays of a representation as a density, numbers beside it, and a grid of species.

    Attributes
    ----------
    channels
        Of the density.
    n_points
        Along each axis.
    n_numbers
        Beside the density: all that is needed to make crystals of it.
    periodic
        Whether the last point of each axis is followed by the first.
    """

    periodic: ClassVar[bool]
    channels: int
    n_points: int
    n_numbers: int

    @abstractmethod
    def density(self, batch: Batch) -> Tensor:
        """(n, channels, N, N, N)."""

    @abstractmethod
    def numbers(self, batch: Batch) -> Tensor:
        """(n, n_numbers), on a scale on which they may be standardised."""

    @abstractmethod
    def species(self, batch: Batch) -> Tensor:
        """(n, N, N, N) atomic numbers, 0 where there is no atom, UNKNOWN where it is not known."""

    @abstractmethod
    def arrays(self, density: Tensor, numbers: Tensor, species: Tensor) -> dict[str, Tensor]:
        """The arrays of the representation, in its units."""


class CubeGrid(Grid):
    """The cube: density, lattice and origin; the grid of species is an array of its own."""

    periodic: ClassVar[bool] = False

    def __init__(self, representation: DensityCube) -> None:
        self.channels, self.n_points = 1, representation.n_points
        self.has_origin = "origin" in representation.shapes()
        self.n_numbers = 12 if self.has_origin else 9

    def density(self, batch: Batch) -> Tensor:
        """As :meth:`Grid.density`."""
        return batch["density"][:, None]

    def numbers(self, batch: Batch) -> Tensor:
        """As :meth:`Grid.numbers`."""
        parts = [batch["lattice"].flatten(1)]
        return torch.cat([*parts, batch["origin"]] if self.has_origin else parts, dim=1)

    def species(self, batch: Batch) -> Tensor:
        """As :meth:`Grid.species`."""
        return batch["species"].round().long()

    def arrays(self, density: Tensor, numbers: Tensor, species: Tensor) -> dict[str, Tensor]:
        """As :meth:`Grid.arrays`."""
        arrays = {
            "density": density[:, 0],
            "species": species.to(density.dtype),
            "lattice": numbers[:, :9].reshape(-1, 3, 3),
        }
        if self.has_origin:
            arrays["origin"] = numbers[:, 9:]
        return arrays


class CellGrid(Grid):
    """The grid of the cell: channels of density, logarithms of the lengths, and angles.

    It has no grid of species. The true one is made from the crystals that the arrays decode to,
    exactly. What the segmenter says cannot be written into the channels point by point: they name
    an element only where they are right to a few percent. Atoms are therefore located by the
    peaks of the channel ``one``, named by the segmenter, and the density is written anew as
    theirs; where there are none, or such as the representation refuses, it stays as it came.
    """

    periodic: ClassVar[bool] = True

    def __init__(self, representation: DensityCell, threshold: float) -> None:
        self.representation, self.threshold = representation, threshold
        self.channels, self.n_points = len(representation.channels), representation.size
        self.n_numbers = 6
        self.one = representation.channels.index("one")

    def density(self, batch: Batch) -> Tensor:
        """As :meth:`Grid.density`."""
        return batch["density"]

    def numbers(self, batch: Batch) -> Tensor:
        """As :meth:`Grid.numbers`."""
        cells = batch["cell_parameters"]
        return torch.cat([cells[:, :3].log(), cells[:, 3:]], dim=1)

    def species(self, batch: Batch) -> Tensor:
        """As :meth:`Grid.species`."""
        density = batch["density"]
        arrays = {
            name: batch[name].detach().float().cpu().numpy()
            for name in ("density", "cell_parameters")
        }
        decoded = self.representation.decode(arrays)
        made = torch.full((len(density), *density.shape[2:]), UNKNOWN)
        if len(decoded.index):
            radius = _RADIUS * self.representation.sigma
            grids = species_grid(decoded.crystals, self.n_points, radius)
            made[torch.from_numpy(decoded.index)] = grids
        return made.to(density.device)

    def arrays(self, density: Tensor, numbers: Tensor, species: Tensor) -> dict[str, Tensor]:
        """As :meth:`Grid.arrays`."""
        cells = torch.cat([numbers[:, :3].exp(), numbers[:, 3:]], dim=1)
        arrays = {"density": density, "cell_parameters": cells}
        told = {name: tensor.detach().float().cpu().numpy() for name, tensor in arrays.items()}
        crystals, index = locate_atoms(
            self.representation,
            told["density"][:, self.one],
            told["cell_parameters"],
            species.cpu().numpy(),
            self.threshold,
        )
        encoded = self.representation.encode(crystals)
        written = density.clone()
        places = torch.from_numpy(index[encoded.index]).to(density.device)
        written[places] = torch.from_numpy(encoded["density"]).to(written)
        return {**arrays, "density": written}


def grid_of(representation: Representation, threshold: float = 0.4) -> Grid:
    """What the network sees of a representation.

    ``threshold``: the smallest peak of an atom in the cell, as a share of that of a lone one.

    Raises
    ------
    ModelError
        One that :func:`unfit` has a reason against.
    """
    if reason := unfit(representation):
        raise ModelError(reason)
    if isinstance(representation, DensityCell):
        return CellGrid(representation, threshold)
    assert isinstance(representation, DensityCube)
    return CubeGrid(representation)


def unfit(representation: Representation) -> str | None:
    """Why a representation is no density with species; None where it is one."""
    if isinstance(representation, DensityCube):
        if representation.species:
            return None
        return "it has no grid of species: wanted species = true"
    if isinstance(representation, DensityCell):
        if "one" in representation.channels:
            return None
        return (
            f"it has the channels {', '.join(representation.channels)}; wanted 'one' among them, "
            "which atoms of all elements fill alike"
        )
    return "wanted density_cube or density_cell"


@torch.autocast("cpu", enabled=False)  # type: ignore[untyped-decorator]
def species_grid(crystals: Crystals, n_points: int, radius: float) -> Tensor:
    """(n, N, N, N) the atomic number of the nearest atom, at points of the cell near to one.

    Near is within ``radius``, Å, where planes of the lattice are at least twice as far apart; and
    the point nearest to an atom is the atom's in any case. 0 elsewhere.
    """
    axis = torch.arange(n_points) / n_points
    points = torch.cartesian_prod(axis, axis, axis)
    grids = torch.zeros(len(crystals), n_points**3, dtype=torch.long)
    lattices = torch.from_numpy(np.array(crystals.lattices)).float()
    for start in range(0, len(crystals), _AT_ONCE):
        some = crystals[start : start + _AT_ONCE]
        owner = torch.from_numpy(np.array(some.crystal_indices))
        numbers = torch.from_numpy(np.array(some.numbers, np.int64))
        coords = torch.from_numpy(np.array(some.frac_coords)).float()
        away = points - coords[:, None]
        away = (away - away.round()) @ lattices[start + owner]
        squares = away.square().sum(dim=2)
        # The point nearest to an atom is nearer to it than to any other.
        squares[torch.arange(len(owner)), squares.argmin(dim=1)] = 0.0
        here = slice(start, start + len(some))
        nearest = torch.full((len(some), n_points**3), torch.inf)
        nearest.scatter_reduce_(
            0, owner[:, None].expand_as(squares), squares, "amin", include_self=True
        )
        own = (squares == nearest[owner]) & (squares < radius**2)
        grids[here].scatter_reduce_(
            0, owner[:, None].expand_as(squares), own * numbers[:, None], "amax"
        )
    return grids.reshape(-1, n_points, n_points, n_points)
