"""What came out of files: crystals, where each came from, and why the rest could not be read."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals, find_faults
from crystalcodec.elements import SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.io.overlap import close_pairs, shortest_vectors
from crystalcodec.io.whole import whole_file

__all__ = ["MIN_DISTANCE", "Loaded", "ReadError", "Records", "write_failures"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_DISTANCE: Final = 0.1
"""Å; two atoms closer than this cannot be meant: the shortest bond, H-H, has 0.74 Å."""


class ReadError(ValueError):
    """Sources that cannot be read at all, or, in strict mode, the first failure of a record."""


@dataclass(frozen=True)
class Loaded:
    """Crystals read from files, one entry a crystal in each column, and the failures.

    Parameters
    ----------
    crystals
        What could be read, in the order of the sources.
    ids
        Block name, table id or file stem of each crystal; not necessarily unique.
    sources
        Where each crystal came from: ``"dir/a.cif"``, ``"x.zip!/a.cif"``, ``"t.csv!/row 17"``.
    properties
        By name, one value a crystal; None where that crystal has none.
    failures
        One for each record that could not be read, with its source and, where known, line.
    """

    crystals: Crystals
    ids: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    properties: dict[str, list[Any]] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    @property
    def n(self) -> int:
        """Number of records attempted: crystals and failures."""
        return len(self.crystals) + len(self.failures)

    @classmethod
    def empty(cls) -> Loaded:
        """Nothing attempted."""
        return cls(Crystals.empty())

    @classmethod
    def concatenate(cls, parts: Iterable[Loaded]) -> Loaded:
        """All parts in order; a property that a part lacks is None there."""
        kept = list(parts)
        if len(kept) == 1:
            return kept[0]
        names = dict.fromkeys(name for part in kept for name in part.properties)
        return cls(
            Crystals.concatenate(part.crystals for part in kept),
            tuple(one for part in kept for one in part.ids),
            tuple(one for part in kept for one in part.sources),
            {
                name: [
                    value
                    for part in kept
                    for value in part.properties.get(name, [None] * len(part.crystals))
                ]
                for name in names
            },
            tuple(failure for part in kept for failure in part.failures),
        )

    def __getitem__(self, crystals: slice) -> Loaded:
        """The crystals of a slice with their columns; failures are left out."""
        return Loaded(
            self.crystals[crystals],
            self.ids[crystals],
            self.sources[crystals],
            {name: values[crystals] for name, values in self.properties.items()},
        )

    def strictly(self) -> Loaded:
        """Itself where nothing failed.

        Raises
        ------
        ReadError
            Names the first failure and how many there are.
        """
        if self.failures:
            more = len(self.failures) - 1
            raise ReadError(
                f"{self.failures[0]}" + (f" (and {more} more failures)" if more else "")
            )
        return self


class _Column:
    """Numbers gathered from lists, all of which become an array together, and from arrays."""

    def __init__(self, kind: type[np.generic]) -> None:
        self._kind, self._arrays, self._list = kind, [np.zeros(0, kind)], list[Any]()

    def extend(self, values: list[Any] | npt.NDArray[Any]) -> None:
        if isinstance(values, list):
            self._list += values
        else:
            self._close()
            self._arrays.append(values.ravel().astype(self._kind))

    def array(self) -> npt.NDArray[Any]:
        self._close()
        return np.concatenate(self._arrays)

    def _close(self) -> None:
        if self._list:
            self._arrays.append(np.array(self._list, self._kind))
            self._list = []


@dataclass
class Records:
    """Records of files on their way to :class:`Loaded`, gathered one by one, checked together."""

    _lattices: list[Sequence[Any] | Floats] = field(default_factory=list)
    _coords: _Column = field(default_factory=lambda: _Column(np.float64))
    _numbers: _Column = field(default_factory=lambda: _Column(np.int64))
    _counts: list[int] = field(default_factory=list)
    _places: list[tuple[int, str, str, int | None]] = field(default_factory=list)
    _properties: list[Mapping[str, Any]] = field(default_factory=list)
    _ranks: list[int] = field(default_factory=list)
    _failures: list[tuple[int, Failure]] = field(default_factory=list)
    taken: int = 0

    def add(
        self,
        lattice: Sequence[Any] | Floats,
        frac_coords: list[float] | Floats,
        numbers: list[int] | Ints,
        *,
        index: int,
        name: str,
        source: str,
        line: int | None = None,
        properties: Mapping[str, Any] | None = None,
    ) -> None:
        """A crystal as it was read.

        The lattice is (3, 3) in Å, or the six cell parameters in Å and degrees. Coordinates are
        an array (n, 3) or one flat list of all, numbers an array (n,) or a list.
        """
        self._ranks.append(len(self))
        self._lattices.append(lattice)
        self._coords.extend(frac_coords)
        self._numbers.extend(numbers)
        self._counts.append(len(numbers))
        self._places.append((index, name, source, line))
        self._properties.append(properties or {})

    def fail(
        self, reason: str, detail: str = "", *, index: int, source: str, line: int | None = None
    ) -> None:
        """A record that could not be read."""
        self._failures.append((len(self), Failure(index, reason, detail, source, line)))

    def __len__(self) -> int:
        return len(self._places) + len(self._failures)

    def take(self, min_distance: float) -> Loaded:
        """What :meth:`finish` gives, and begin anew."""
        loaded = self.finish(min_distance)
        taken, fresh = self.taken + len(self), Records()
        self.__dict__.update(fresh.__dict__)
        self.taken = taken
        return loaded

    def _lattice_array(self) -> Floats:
        """All lattices (n, 3, 3), those given as cell parameters computed in one go."""
        lattices = np.empty((len(self._lattices), 3, 3))
        parameters = [i for i, lattice in enumerate(self._lattices) if len(lattice) == 6]
        for i, lattice in enumerate(self._lattices):
            if len(lattice) == 3:
                lattices[i] = lattice
        if parameters:
            cells = np.array([self._lattices[i] for i in parameters], float)
            lattices[parameters] = lattices_from_cell_parameters(cells)
        return lattices

    @np.errstate(all="ignore")
    def finish(self, min_distance: float) -> Loaded:
        """The crystals, after the checks that need all of a crystal's sites.

        Parameters
        ----------
        min_distance
            Å; crystals with two sites closer than this become failures. 0: no such check.
        """
        failures, places = list(self._failures), self._places
        counts = np.array(self._counts, np.int64)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        lattices = self._lattice_array()
        coords, numbers = self._coords.array().reshape(-1, 3), self._numbers.array()
        kept = np.ones(len(counts), bool)

        def refuse(fault: Failure) -> None:
            index, _, source, line = places[fault.index]
            placed = dataclasses.replace(fault, index=index, source=source, line=line)
            failures.append((self._ranks[fault.index], placed))
            kept[fault.index] = False

        for fault in find_faults(lattices, coords, numbers, offsets):
            refuse(fault)
        sites = np.repeat(kept, counts)
        crystals = Crystals(
            lattices[kept],
            coords[sites],
            numbers[sites],
            np.concatenate([[0], np.cumsum(counts[kept])]).astype(np.int64),
        )
        positions = np.flatnonzero(kept)
        for fault in _overlaps(crystals, min_distance):
            refuse(dataclasses.replace(fault, index=int(positions[fault.index])))
        if len(positions) != kept.sum():
            crystals = crystals[kept[positions]]
        read = np.flatnonzero(kept).tolist()
        rows = [self._properties[i] for i in read]
        names = dict.fromkeys(name for row in rows for name in row)
        return Loaded(
            crystals,
            tuple(places[i][1] for i in read),
            tuple(places[i][2] for i in read),
            {name: [row.get(name) for row in rows] for name in names},
            tuple(failure for _, failure in sorted(failures, key=lambda ranked: ranked[0])),
        )


def _overlaps(crystals: Crystals, min_distance: float) -> list[Failure]:
    """A failure for each crystal that has atoms on top of each other: its closest pair."""
    if min_distance <= 0 or not len(crystals):
        return []
    failures = []
    lengths = shortest_vectors(crystals, min_distance)
    for i in np.flatnonzero(lengths < min_distance).tolist():
        detail = (
            f"a lattice vector has {lengths[i]:.4g} Å, so each atom is that close to its own image"
        )
        failures.append(Failure(i, "atoms on top of each other", detail))
    crystal, first, second, distances = close_pairs(crystals, min_distance)
    apart = lengths[crystal] >= min_distance
    crystal, first, second = crystal[apart], first[apart], second[apart]
    distances = distances[apart]
    order = np.lexsort((distances, crystal))
    worst = order[np.unique(crystal[order], return_index=True)[1]]
    for pair in worst.tolist():
        i, one, two = int(crystal[pair]), int(first[pair]), int(second[pair])
        start = crystals.offsets[i]
        symbols = [SYMBOLS[crystals.numbers[start + site]] for site in (one, two)]
        failures.append(
            Failure(
                i,
                "atoms on top of each other",
                f"sites {one} ({symbols[0]}) and {two} ({symbols[1]}) are "
                f"{distances[pair]:.4g} Å apart, wanted {min_distance:g} Å or more: remove one, "
                "or give a smaller min_distance",
            )
        )
    return failures


def write_failures(failures: Iterable[Failure], path: str | os.PathLike[str]) -> None:
    """Write failures as CSV with the columns source, line, index, reason, detail.

    Raises
    ------
    OSError
        The file could not be written.
    """
    header: Sequence[str] = ("source", "line", "index", "reason", "detail")
    with (
        whole_file(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(header)
        for failure in failures:
            writer.writerow([getattr(failure, name) for name in header])
