"""One kind of crystals, reduced, compared one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data.matching.cells import Cell
from crystalcodec.data.matching.fitting import Fitter
from crystalcodec.data.matching.tolerances import Tolerances

__all__ = ["Batch", "Rules", "find_in", "first_in"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Relative, so that rounding parts nothing.
_SLACK: Final = 1e-6


@dataclass(frozen=True)
class Rules:
    """When two crystals are the same: tolerances, and of volumes per atom where it is given."""

    tolerances: Tolerances
    volume_tolerance: float | None = None


@dataclass(frozen=True)
class Batch:
    """Reduced crystals, and the volume per atom of each before it was reduced."""

    crystals: Crystals
    volumes: Floats

    def __len__(self) -> int:
        return len(self.crystals)

    def __getitem__(self, key: Any) -> Batch:
        return Batch(self.crystals[key], self.volumes[key])


def first_in(rules: Rules, batch: Batch) -> Ints:
    """For each crystal the place of the first that is the same one."""
    shelf = _Shelf(rules, len(batch))
    first = np.arange(len(batch))
    places = np.zeros(len(batch), np.int64)
    for i, (cell, volume) in enumerate(_cells(batch)):
        found = shelf.find(cell, volume)
        if found < 0:
            places[shelf.n] = i
            shelf.add(cell, volume)
        else:
            first[i] = places[found]
    return first


def find_in(rules: Rules, pair: tuple[Batch, Batch]) -> Ints:
    """For each crystal of the first batch the place of the first same one in the second, or -1."""
    new, old = pair
    shelf = _Shelf(rules, len(old))
    for cell, volume in _cells(old):
        shelf.add(cell, volume)
    return np.array([shelf.find(cell, volume) for cell, volume in _cells(new)], np.int64)


def _cells(batch: Batch) -> Any:
    return zip(map(Cell, batch.crystals), batch.volumes.tolist(), strict=True)


class _Shelf:
    """Cells that others are compared with, in their order."""

    def __init__(self, rules: Rules, capacity: int) -> None:
        self.n = 0
        self._rules = rules
        self._fitter = Fitter(rules.tolerances)
        self._cells: list[Cell] = []
        self._minima = np.zeros((capacity, 3))
        self._volumes = np.zeros(capacity)

    def add(self, cell: Cell, volume: float) -> None:
        self._cells.append(cell)
        self._minima[self.n] = cell.minima
        self._volumes[self.n] = volume
        self.n += 1

    def find(self, cell: Cell, volume: float) -> int:
        """Place of the first that is the same, or -1."""
        # Three independent vectors of a lattice are no shorter than its three minima, and those
        # laid over the vectors of this cell are longer by no more than the tolerance.
        most = cell.sorted_lengths * ((1 + self._rules.tolerances.ltol) * (1 + _SLACK))
        possible = (self._minima[: self.n] <= most).all(axis=1)
        if (tolerance := self._rules.volume_tolerance) is not None:
            volumes = self._volumes[: self.n]
            largest = np.maximum(volumes, volume) * (1 + 1e-9)
            possible &= np.abs(volumes - volume) <= tolerance * largest
        for i in np.flatnonzero(possible).tolist():
            if self._fitter.fit(self._cells[i], cell):
                return i
        return -1
