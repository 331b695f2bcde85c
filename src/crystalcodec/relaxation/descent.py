"""Crystals on their way down: sites and cells of many at once, each with steps of its own.

A crystal of n sites has n + 3 rows of coordinates: of each site its displacement in Å, and of the
cell its logarithmic strain times a length, as in ASE's ``FrechetCellFilter`` with the strain
counted from the cell of the last step, where the slope with respect to it is volume times stress:

    positions -> (positions + displacements) exp(strain),  lattice -> lattice exp(strain)

Strains are symmetric, so that no crystal turns. The length is ``CELL_LENGTH * sqrt(n)`` Å: sites
and cell are about as stiff then (their stiffness is that of a bond, and of n bonds).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.geometry import transform, triple_products
from crystalcodec.relaxation.base import Evaluated
from crystalcodec.relaxation.lbfgs import Memory

__all__ = ["Descent", "Place"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CELL_LENGTH: Final = 1.5  # Å
_LONGEST: Final = 0.1  # Å, the way of a site in a step,
_MOST_STRAIN: Final = 0.05  # and the length of a row of the strain
_SHRINK: Final = 0.25
_GROW: Final = 1.5
# eV/atom by which an energy may rise: what float32 cannot tell.
_SLACK: Final = 1e-5


@dataclass
class Place:
    """Where m crystals are, and what the potential says there.

    Parameters
    ----------
    lattices : (m, 3, 3)
        Å.
    frac_coords : (s, 3)
        Not wrapped.
    energies, forces, stresses
        As in :class:`~crystalcodec.relaxation.base.Evaluated`.
    """

    lattices: Floats
    frac_coords: Floats
    energies: Floats
    forces: Floats
    stresses: Floats

    @classmethod
    def of(cls, crystals: Crystals, found: Evaluated) -> Self:
        """Crystals as they are."""
        return cls(
            crystals.lattices, crystals.frac_coords, found.energies, found.forces, found.stresses
        )

    def choose(self, which: Bools | Ints, sites: Bools | Ints) -> Self:
        """Some of the crystals, whose sites these are."""
        return type(self)(
            self.lattices[which],
            self.frac_coords[sites],
            self.energies[which],
            self.forces[sites],
            self.stresses[which],
        )

    def join(self, other: Self) -> Self:
        """These and others."""
        return type(self)(
            *(
                np.concatenate([getattr(self, one.name), getattr(other, one.name)])
                for one in fields(self)
            )
        )

    def replace(self, other: Self, which: Bools, sites: Bools) -> None:
        """Move some of the crystals elsewhere."""
        for one in fields(self):
            rows = sites if one.name in ("frac_coords", "forces") else which
            mine = getattr(self, one.name).copy()
            mine[rows] = getattr(other, one.name)[rows]
            setattr(self, one.name, mine)


class Descent:
    """Steps of L-BFGS for crystals that come and go.

    A step that raises the energy, or leads where there is none, is taken back, and the next is
    shorter; so energies only fall, and no crystal flies apart.

    Parameters
    ----------
    cell
        Whether cells move.
    """

    def __init__(self, *, cell: bool) -> None:
        self.numbers, self.n_sites = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.place = Place(
            np.zeros((0, 3, 3)),
            np.zeros((0, 3)),
            np.zeros(0),
            np.zeros((0, 3)),
            np.zeros((0, 3, 3)),
        )
        self.longest = np.zeros(0)
        self._cell = cell
        self._memory = Memory(np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.n_sites)

    @property
    def owners(self) -> Ints:
        """(s,) the crystal of each site."""
        return np.repeat(np.arange(len(self)), self.n_sites)

    def add(self, crystals: Crystals, place: Place) -> None:
        """Begin with more crystals, which are there."""
        self.numbers = np.concatenate([self.numbers, crystals.numbers])
        self.n_sites = np.concatenate([self.n_sites, crystals.n_sites])
        self.place = self.place.join(place)
        self.longest = np.concatenate([self.longest, np.full(len(crystals), _LONGEST)])
        self._memory.add(crystals.n_sites + 3)

    def keep(self, which: Bools) -> None:
        """Go on with some crystals (m,) alone."""
        sites = which[self.owners]
        self.place = self.place.choose(which, sites)
        self.numbers, self.n_sites = self.numbers[sites], self.n_sites[which]
        self.longest = self.longest[which]
        self._memory.keep(which)

    def propose(self) -> tuple[Floats, Floats, Floats]:
        """The next step (r, 3), and the lattices and coordinates that it leads to."""
        step = self._memory.direction(self._slopes(self.place))
        cells = self._cell_rows()
        with np.errstate(divide="ignore"):
            shorter = np.minimum(1.0, self.longest / self._ways(step))
        step *= np.repeat(shorter, self._memory.counts)[:, None]
        owners, place = self.owners, self.place
        inverse = np.linalg.inv(place.lattices)[owners]
        coords = place.frac_coords + transform(step[~cells], inverse)
        strains = step[cells].reshape(-1, 3, 3) / self._lengths()
        return step, place.lattices @ _exponentials(strains), coords

    def settle(self, step: Floats, there: Place) -> Bools:
        """Stay where steps led, or go back from a higher or no energy; gives (m,) which stay."""
        rise = there.energies - self.place.energies
        taken = rise <= _SLACK * self.n_sites
        sites = taken[self.owners]
        before = self._slopes(self.place)
        self.place.replace(there, taken, sites)
        change = self._slopes(self.place) - before
        self._memory.learn(step, change, taken)
        self._memory.forget(~taken)
        self.longest[taken] = np.minimum(self.longest[taken] * _GROW, _LONGEST)
        self.longest[~taken] = np.minimum(self.longest, self._ways(step))[~taken] * _SHRINK
        return taken

    def _ways(self, step: Floats) -> Floats:
        """(m,) the longest way of a site, Å; a strain counts as far as it may go beside them."""
        lengths = np.linalg.norm(step, axis=1)
        cells = self._cell_rows()
        lengths[cells] *= np.repeat(_LONGEST / _MOST_STRAIN / self._lengths().ravel(), 3)
        return np.asarray(np.maximum.reduceat(lengths, self._memory.starts), float)

    def _slopes(self, place: Place) -> Floats:
        """(r, 3) of the energy."""
        cells = self._cell_rows()
        rows = np.empty((len(cells), 3))
        rows[~cells] = -place.forces
        volumes = np.abs(triple_products(place.lattices))[:, None, None]
        of_cells = place.stresses * volumes / self._lengths() if self._cell else 0.0
        rows[cells] = np.broadcast_to(of_cells, (len(self), 3, 3)).reshape(-1, 3)
        return rows

    def _lengths(self) -> Floats:
        return CELL_LENGTH * np.sqrt(self.n_sites)[:, None, None]

    def _cell_rows(self) -> Bools:
        """(r,) which rows are those of cells, the last three of each crystal."""
        ends = np.cumsum(self._memory.counts)
        cells = np.zeros(int(self._memory.counts.sum()), bool)
        cells[(ends[:, None] - [1, 2, 3]).ravel()] = True
        return cells


def _exponentials(strains: Floats) -> Floats:
    """(m, 3, 3) exp of symmetric matrices."""
    values, vectors = np.linalg.eigh(strains)
    return np.asarray((vectors * np.exp(values)[:, None, :]) @ vectors.transpose(0, 2, 1), float)
