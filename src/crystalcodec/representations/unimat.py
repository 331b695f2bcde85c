"""UniMat, the periodic table as a grid with the positions of each element's atoms in its cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals, find_faults
from crystalcodec.elements import ATOMIC_NUMBERS, GROUPS, MAX_ATOMIC_NUMBER, PERIODS, SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.geometry import (
    cell_parameters_from_lattices,
    lattices_from_cell_parameters,
)
from crystalcodec.representations.base import (
    Arrays,
    Decoded,
    FailureNotes,
    Field,
    InvertibleRepresentation,
    RepresentationError,
)

__all__ = ["UniMat"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_NULL: Final = np.float32(-1.0)
_HALF_WAY: Final = -0.5  # between the null value and the smallest coordinate
_CHUNK_BYTES: Final = 1 << 20  # what decoding reads at once stays in the cache


def _periodic_table() -> Ints:
    """(119,) place of each element in 9 rows of 18: lanthanides and actinides below, from La, Ac.

    The places that the f block leaves in group 3 of periods 6 and 7 stay empty.
    """
    rows, columns = PERIODS.astype(np.int64) - 1, GROUPS.astype(np.int64) - 1
    for row, first in ((7, 57), (8, 89)):
        series = slice(first, first + 15)
        rows[series], columns[series] = row, np.arange(2, 17)
    places = 18 * rows + columns
    places[0] = -1
    return places


_PERIODIC_TABLE: Final = _periodic_table()


@dataclass(frozen=True)
class UniMat(InvertibleRepresentation):
    """A crystal as a periodic table whose cells hold the positions of their element's atoms.

    The array ``unimat`` (n, L, 9, 18, 3) holds the fractional coordinates x, y, z, in [0, 1), of
    at most L atoms of each element, in the order of the list of sites; where there is no atom,
    and in the 44 cells of the grid that are no element's, all three are the null value -1. Rows
    are the periods 1 to 7, then lanthanides and actinides under groups 3 to 17. The array
    ``cell_parameters`` (n, 6) holds a, b, c in Å and alpha, beta, gamma in degrees, which the
    paper gives beside the grid.

    The arrays depend on the order of the sites of one element, the origin and the choice of the
    cell. Decoded sites stand by atomic number, in pymatgen's orientation.

    Parameters
    ----------
    max_atoms_per_element
        L, the depth of the grid.
    elements
        Symbols of the only elements to hold: the grid is then one row of them, as the paper
        shrinks it for a single chemical system. None: all 118 in the 9 rows of 18.
    tolerance
        For decoding: how far the numbers of an atom may leave [0, 1], and those of no atom -1.
        Below 0.5 decoding is strict: numbers between are undecided, and an element's atoms fill
        its cell from the start. For generated arrays, from 0.5 on, there is an atom where the mean
        of the three numbers is above -0.5, in any place of its element's cell; coordinates outside
        [0, 1) are wrapped. An atom in a cell that is no element's is refused in any case.

    Notes
    -----
    The confidence of a decoded crystal is that of its least certain atom or absence of one: how
    far the mean of the three numbers lies from half-way between, -0.5, in units of 0.5, at most 1.

    Raises
    ------
    RepresentationError
        A limit below 1, elements that are none or twice there, a tolerance outside [0, 1].

    References
    ----------
    Yang et al., Scalable diffusion for materials generation, ICLR 2024, arXiv 2311.09235.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [17, 11]
    ... )
    >>> encoded = UniMat().encode(salt)
    >>> encoded["unimat"].shape, encoded["unimat"][0, :2, 2, 16].tolist()
    ((1, 20, 9, 18, 3), [[0.0, 0.0, 0.0], [-1.0, -1.0, -1.0]])
    >>> UniMat().decode(encoded).crystals.numbers.tolist()
    [11, 17]
    """

    name: ClassVar[str] = "unimat"
    lost: ClassVar[str] = (
        "the orientation of the crystal in space, and the order of sites of different elements"
    )
    invariances: ClassVar = frozenset({"rotation"})
    continuity: ClassVar = "discontinuous"
    layouts: ClassVar = {"unimat": "dhwc"}
    round_trip_tolerance: ClassVar[float] = 1e-5
    keeps_site_order: ClassVar[bool] = False

    max_atoms_per_element: int = 20
    elements: tuple[str, ...] | None = None
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if self.max_atoms_per_element < 1:
            raise RepresentationError(
                f"max_atoms_per_element is {self.max_atoms_per_element}, wanted at least 1"
            )
        if not 0 <= self.tolerance <= 1:
            raise RepresentationError(f"tolerance is {self.tolerance}, wanted 0 to 1")
        if self.elements is not None:
            object.__setattr__(self, "elements", tuple(self.elements))
            unknown = [symbol for symbol in self.elements if symbol not in ATOMIC_NUMBERS]
            if unknown or not self.elements or len(set(self.elements)) < len(self.elements):
                raise RepresentationError(
                    f"elements is {self.elements}: wanted symbols of elements, each once"
                )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return (9, 18) if self.elements is None else (1, len(self.elements))

    @property
    def places(self) -> Ints:
        """(119,) place in the grid, row by row, by atomic number; -1 for what has none."""
        if self.elements is None:
            return _PERIODIC_TABLE
        places = np.full(MAX_ATOMIC_NUMBER + 1, -1)
        places[[ATOMIC_NUMBERS[symbol] for symbol in self.elements]] = np.arange(self.grid[1])
        return places

    @property
    def fields(self) -> tuple[Field, ...]:
        """Coordinates, lengths and angles.

        Coordinates are declared continuous, not periodic: the null value -1 is among them.
        """
        shape = (self.max_atoms_per_element, *self.grid, 3)
        return (
            Field("frac_coords", "continuous", self.name, shape),
            Field("lengths", "continuous", "cell_parameters", (3,), (slice(0, 3),), unit="Å"),
            Field("angles", "continuous", "cell_parameters", (3,), (slice(3, 6),), unit="degree"),
        )

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals of elements off the grid, of too many atoms of one, of left-handed cells."""
        notes = FailureNotes()
        counts = crystals.element_counts
        off = counts[:, self.places < 0].any(axis=1)
        notes.add(
            off,
            "element outside the grid",
            lambda i: (
                f"{', '.join(SYMBOLS[z] for z in np.flatnonzero(counts[i]) if self.places[z] < 0)}:"
                f" the grid is made for {', '.join(self.elements or ())} (elements)"
            ),
        )
        notes.add(
            counts.max(axis=1, initial=0) > self.max_atoms_per_element,
            "too many atoms of one element",
            lambda i: (
                f"{counts[i].max()} atoms of {SYMBOLS[counts[i].argmax()]}, at most "
                f"{self.max_atoms_per_element} fit (max_atoms_per_element)"
            ),
        )
        notes.add_left_handed(crystals)
        return notes.in_order()

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        n, depth, (height, width) = len(crystals), self.max_atoms_per_element, self.grid
        array = np.full((n * depth * height * width, 3), _NULL, np.float32)
        owner, place = crystals.crystal_indices, self.places[crystals.numbers]
        row = (owner * depth + _ranks(owner, place)) * (height * width) + place
        coords = crystals.frac_coords.astype(np.float32)
        coords[coords >= 1.0] = 0.0  # float32 rounds 1 - 1e-9 up
        array[row] = coords
        parameters = cell_parameters_from_lattices(crystals.lattices).astype(np.float32)
        return {
            self.name: array.reshape(n, depth, height, width, 3),
            "cell_parameters": parameters,
        }

    def _decode(self, arrays: Arrays) -> Decoded:
        n, cells = len(arrays[self.name]), self.grid[0] * self.grid[1]
        grid = arrays[self.name].reshape(n, self.max_atoms_per_element, cells, 3)
        faults, confidence, sites = self._read(grid)
        lattices = lattices_from_cell_parameters(arrays["cell_parameters"])

        notes = FailureNotes()
        finite = np.isfinite(arrays["cell_parameters"]).all(axis=1) & np.isfinite(confidence)
        notes.add(~finite, "not finite", "the arrays hold NaN or infinity")
        notes.add(faults["undecided"], "site undecided", self._undecided())
        notes.add(
            faults["outside"],
            "atom outside the periodic table",
            "a cell of the grid that is no element's holds an atom",
        )
        notes.add(faults["gap"], "gap between sites", "an element's atoms leave a place empty")
        owner, numbers, coords = sites
        counts = np.bincount(owner, minlength=n)
        notes.add(counts == 0, "no occupied site", "all places hold the null value")
        closes = np.isfinite(lattices).all(axis=(1, 2))
        notes.add(~closes, "lattice closes no cell", "lengths or angles that no cell can have")
        flat = ~notes.mask(n)
        flat[flat] = _faulty(
            lattices[flat], coords[flat[owner]], numbers[flat[owner]], counts[flat]
        )
        notes.add(flat, "lattice closes no cell", "it has no volume")

        good = ~notes.mask(n)
        crystals = Crystals(
            lattices[good], coords[good[owner]], numbers[good[owner]], _offsets(counts[good])
        )
        return Decoded.of(n, crystals, notes.in_order(), confidence[good])

    def _read(
        self, grid: npt.NDArray[Any]
    ) -> tuple[dict[str, Bools], Floats, tuple[Ints, Ints, Floats]]:
        """Faults (n,), confidence (n,), and crystal, atomic number and coordinates of each atom."""
        n, depth, cells, _ = grid.shape
        faults = {name: np.zeros(n, bool) for name in ("undecided", "outside", "gap")}
        confidence = np.ones(n)
        numbers = np.flatnonzero(self.places >= 0)
        places = self.places[numbers]
        empty = np.setdiff1d(np.arange(cells), places)
        found = []
        step = max(1, _CHUNK_BYTES // (12 * depth * cells))
        for start in range(0, n, step):
            part = slice(start, start + step)
            x, y, z = np.moveaxis(grid[part].astype(np.float32, copy=False), -1, 0)
            with np.errstate(over="ignore", invalid="ignore"):
                mean = (x + y + z) / np.float32(3)
                margin = np.abs(mean - np.float32(_HALF_WAY)).min(axis=(1, 2))
                # The least of them is not infinite where another is.
                margin[~np.isfinite(mean.sum(axis=(1, 2)))] = np.nan
            confidence[part] = np.minimum(margin / abs(_HALF_WAY), 1.0)
            present = mean > _HALF_WAY
            if self.tolerance < 0.5:
                low, high = np.minimum(np.minimum(x, y), z), np.maximum(np.maximum(x, y), z)
                tolerance = np.float32(self.tolerance)
                absent = (np.abs(low - _NULL) <= tolerance) & (np.abs(high - _NULL) <= tolerance)
                inside = (low >= -tolerance) & (high <= 1 + tolerance)
                faults["undecided"][part] = ~(absent | inside).all(axis=(1, 2))
                faults["gap"][part] = (present[:, 1:] & ~present[:, :-1]).any(axis=(1, 2))
            faults["outside"][part] = present[:, :, empty].any(axis=(1, 2))
            crystal, column, slot = np.nonzero(present[:, :, places].transpose(0, 2, 1))
            coords = grid[start + crystal, slot, places[column]].astype(np.float64)
            found.append((crystal + start, numbers[column], coords))
        if not found:
            return faults, confidence, (np.zeros(0, int), np.zeros(0, int), np.zeros((0, 3)))
        owner, number, coords = (np.concatenate(column) for column in zip(*found, strict=True))
        return faults, confidence, (owner, number, coords)

    def _undecided(self) -> str:
        return (
            f"numbers further than {self.tolerance:g} from -1 and from [0, 1]; for generated "
            "arrays decode with tolerance=0.5 (an atom where their mean is above -0.5)"
        )


def _ranks(owner: Ints, place: Ints) -> Ints:
    """(n_sites_total,) how many sites of its crystal and element stand before each site."""
    key = owner * (MAX_ATOMIC_NUMBER * 2) + place
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    first = np.ones(len(key), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    position = np.arange(len(key))
    ranks = np.empty_like(order)
    ranks[order] = position - np.maximum.accumulate(np.where(first, position, 0))
    return ranks


def _faulty(lattices: Floats, coords: Floats, numbers: Ints, counts: Ints) -> Bools:
    """(n,) whether these columns are no crystal."""
    faulty = np.zeros(len(counts), bool)
    faults = find_faults(lattices, coords, numbers, _offsets(counts))
    faulty[[fault.index for fault in faults]] = True
    return faulty


def _offsets(counts: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(counts)])
