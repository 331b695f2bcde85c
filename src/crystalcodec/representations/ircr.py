"""IRCR, the invertible real-space crystallographic representation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals, find_faults
from crystalcodec.elements import ELECTRONEGATIVITIES, GROUPS, MAX_ATOMIC_NUMBER, PERIODS, SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.geometry import cell_parameters_from_lattices, lattices_from_cell_parameters
from crystalcodec.representations.base import (
    Arrays,
    Decoded,
    FailureNotes,
    Field,
    InvertibleRepresentation,
    RepresentationError,
)

__all__ = ["IRCR", "VALENCES"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_PROPERTIES: Final = ("Z", "fraction", "period", "group", "electronegativity", "valence")
_PROPERTY_ROWS: Final = 8  # the last two hold zeros, as published


def _valences() -> npt.NDArray[np.float64]:
    """The group up to 12 (3 for the f block), the group less 10 from 13 to 17, none for 18."""
    valences = np.where(GROUPS <= 12, GROUPS, np.where(GROUPS <= 17, GROUPS - 10, 0.0))
    valences.flags.writeable = False
    return valences


VALENCES: Final = _valences()
"""Valence by atomic number, as IRCR counts it."""

# Z, period, group, electronegativity, valence by atomic number. Where Pauling's scale has no
# value (He, Ne, Ar, Z > 103) the array holds 0, as for an absent element: arrays must be finite.
_TABLE: Final = np.stack(
    [
        np.arange(MAX_ATOMIC_NUMBER + 1.0),
        PERIODS,
        GROUPS,
        np.nan_to_num(ELECTRONEGATIVITIES, nan=0.0),
        VALENCES,
    ]
).astype(np.float32)
_TABLE_ROWS: Final = (0, 2, 3, 4, 5)  # where these stand among the properties


@dataclass(frozen=True)
class IRCR(InvertibleRepresentation):
    """A crystal as a picture of 144 rows and 3 columns, one column for each element.

    From top to bottom: E, which element each column is (one-hot, 94 rows); L, the lattice
    (a b c in Å, then alpha beta gamma in degrees); C, fractional coordinates x y z (a row a
    site); O, which column's element sits on that site (one-hot, a row a site); P, of each
    column's element the atomic number, its fraction of the sites, period, group, Pauling
    electronegativity (0 where there is none) and valence, then two rows of zeros. Columns follow
    the first appearance of the elements in the list of sites. Absent elements and sites are zero.

    The array depends on the order of sites, the origin and the choice of the cell. The
    orientation in space is lost: decoding gives the cell in pymatgen's orientation, with site
    order kept.

    Parameters
    ----------
    max_sites
        Rows for sites.
    max_elements
        Columns; at least three are there, since a, b, c and x, y, z need them.
    max_atomic_number
        Rows for elements.
    tolerance
        For decoding: how far a one-hot entry may lie from 0 or 1. Below 0.5 decoding is strict:
        entries between are undecided, and the whole array must be the encoding of the crystal it
        decodes to, entry by entry to this tolerance (relative for entries above 1). For
        generated arrays, from 0.5 on, the largest entry decides (arg-max) where it reaches
        1 - ``tolerance``, and properties, unused columns and gaps between sites are not read.

    Raises
    ------
    RepresentationError
        Limits below 1, an atomic number above 118, a tolerance outside [0, 1].

    References
    ----------
    Mal, Seal and Sen, J. Phys. Chem. Lett. 15, 3221 (2024), 10.1021/acs.jpclett.4c00068.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> array = IRCR().encode(salt)["ircr"]
    >>> array.shape, array[0, 95].round(3).tolist(), array[0, 136].tolist()
    ((1, 144, 3), [60.0, 60.0, 60.0], [11.0, 17.0, 0.0])
    >>> IRCR().decode(array).crystals
    Crystals(n=1, n_sites_total=2: NaCl)
    """

    name: ClassVar[str] = "ircr"
    lost: ClassVar[str] = "the orientation of the crystal in space"
    invariances: ClassVar = frozenset({"rotation"})
    round_trip_tolerance: ClassVar[float] = 1e-5

    max_sites: int = 20
    max_elements: int = 3
    max_atomic_number: int = 94
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if min(self.max_sites, self.max_elements, self.max_atomic_number) < 1:
            raise RepresentationError(f"limits of at least 1 wanted, got {self}")
        if self.max_atomic_number > MAX_ATOMIC_NUMBER:
            raise RepresentationError(
                f"max_atomic_number is {self.max_atomic_number}, there are {MAX_ATOMIC_NUMBER}"
            )
        if not 0 <= self.tolerance <= 1:
            raise RepresentationError(f"tolerance is {self.tolerance}, wanted 0 to 1")

    @property
    def n_columns(self) -> int:
        """Columns of the array."""
        return max(3, self.max_elements)

    @property
    def blocks(self) -> dict[str, slice]:
        """Rows of E, L, C, O and P."""
        heights = (self.max_atomic_number, 2, self.max_sites, self.max_sites, _PROPERTY_ROWS)
        ends = np.cumsum(heights).tolist()
        return {
            block: slice(end - height, end)
            for block, height, end in zip("ELCOP", heights, ends, strict=True)
        }

    @property
    def n_rows(self) -> int:
        """Rows of the array."""
        return int(self.blocks["P"].stop)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Elements, lengths, angles, coordinates, occupancy and properties."""
        rows, columns, sites = self.blocks, self.n_columns, self.max_sites
        lattice, xyz = rows["L"].start, slice(0, 3)
        lengths = (slice(lattice, lattice + 1), xyz)
        angles = (slice(lattice + 1, lattice + 2), xyz)
        return (
            Field(
                "elements",
                "categorical",
                self.name,
                (self.max_atomic_number, columns),
                (rows["E"],),
                axis=0,
            ),
            Field("lengths", "continuous", self.name, (1, 3), lengths, unit="Å"),
            Field("angles", "continuous", self.name, (1, 3), angles, unit="degree"),
            Field("frac_coords", "periodic", self.name, (sites, 3), (rows["C"], xyz)),
            Field("occupancy", "categorical", self.name, (sites, columns), (rows["O"],), axis=1),
            Field("properties", "continuous", self.name, (_PROPERTY_ROWS, columns), (rows["P"],)),
        )

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals of too many sites or elements, of heavier elements, of left-handed cells."""
        notes = FailureNotes()
        notes.add_too_many_sites(crystals, self.max_sites)
        heavy = np.zeros(len(crystals), bool)
        heavy[crystals.crystal_indices[crystals.numbers > self.max_atomic_number]] = True
        notes.add(
            heavy,
            "element out of range",
            lambda i: (
                f"{SYMBOLS[crystals[i].numbers.max()]}, atomic numbers up to "
                f"{self.max_atomic_number} fit (max_atomic_number)"
            ),
        )
        _, rest = self._columns(crystals)
        crowded = np.zeros(len(crystals), bool)
        crowded[crystals.crystal_indices[rest]] = True
        notes.add(
            crowded,
            "too many elements",
            lambda i: (
                f"{len(np.unique(crystals[i].numbers))} elements, at most {self.max_elements} fit "
                "(max_elements)"
            ),
        )
        notes.add_left_handed(crystals)
        return notes.in_order()

    def _columns(self, crystals: Crystals) -> tuple[Ints, Bools]:
        """(n, max_elements) atomic number of each column, 0 where unused; sites left over."""
        elements = np.zeros((len(crystals), self.max_elements), np.int64)
        left = np.ones(len(crystals.numbers), bool)
        if not len(crystals):
            return elements, left
        places = np.arange(len(left))
        for column in range(self.max_elements):
            # The first site of each crystal whose element has no column yet.
            first = np.minimum.reduceat(np.where(left, places, len(left)), crystals.offsets[:-1])
            found = first < len(left)
            elements[found, column] = crystals.numbers[first[found]]
            left &= crystals.numbers != np.repeat(elements[:, column], crystals.n_sites)
        return elements, left

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        n, width, rows = len(crystals), self.n_columns, self.blocks
        array = np.zeros((n, self.n_rows, width), np.float32)
        if not n:
            return {self.name: array}
        elements, _ = self._columns(crystals)
        present, column = np.nonzero(elements)
        number = elements[present, column]
        array[present, number - 1, column] = 1.0
        parameters = cell_parameters_from_lattices(crystals.lattices)
        array[:, rows["L"], :3] = parameters.reshape(n, 2, 3)
        owner = crystals.crystal_indices
        position = np.arange(len(owner)) - crystals.offsets[owner]
        coords = crystals.frac_coords.astype(np.float32)
        coords[coords == 1.0] = 0.0  # 0.99999999 rounds up in float32
        array[owner, rows["C"].start + position, :3] = coords
        site_column = (crystals.numbers[:, None] == elements[owner]).argmax(axis=1)
        array[owner, rows["O"].start + position, site_column] = 1.0
        used = slice(rows["P"].start, rows["P"].start + len(_PROPERTIES))
        properties = array[:, used, : self.max_elements]
        properties[:, _TABLE_ROWS] = _TABLE[:, elements].transpose(1, 0, 2)
        filled = np.bincount(owner * self.max_elements + site_column, minlength=elements.size)
        properties[:, 1] = filled.reshape(elements.shape) / crystals.n_sites[:, None]
        return {self.name: array}

    def _decode(self, arrays: Arrays) -> Decoded:
        array = np.asarray(arrays[self.name], float)
        rows = self.blocks
        notes = FailureNotes()
        finite = np.isfinite(array).all(axis=(1, 2))
        notes.add(~finite, "not finite", "the array holds NaN or infinity")
        array = np.where(finite[:, None, None], array, 0.0)
        element_of, no_element, unclear_element = self._hot(array[:, rows["E"]], axis=1)
        column_of, empty, unclear_site = self._hot(array[:, rows["O"]], axis=2)
        occupied = ~empty
        notes.add(~occupied.any(axis=1), "no occupied site", "no entry of block O is 1")
        notes.add(unclear_site.any(axis=1), "occupancy undecided", self._undecided("O"))
        notes.add(unclear_element.any(axis=1), "element undecided", self._undecided("E"))
        unknown = occupied & np.take_along_axis(no_element, column_of, axis=1)
        notes.add(
            unknown.any(axis=1), "site without element", "its column of block E has no entry 1"
        )
        lattices = lattices_from_cell_parameters(array[:, rows["L"], :3].reshape(-1, 6))
        closes = np.isfinite(lattices).all(axis=(1, 2))
        notes.add(~closes, "lattice closes no cell", "lengths or angles that no cell can have")

        good = ~notes.mask(len(array))
        places = np.flatnonzero(good)
        numbers = np.take_along_axis(element_of + 1, column_of, axis=1)
        sites = occupied[good]
        columns = (
            lattices[good],
            array[good][:, rows["C"], :3][sites],
            numbers[good][sites],
            np.concatenate([[0], np.cumsum(sites.sum(axis=1))]),
        )
        flat = [fault.index for fault in find_faults(*columns)]
        notes.add(_mask(places[flat], len(array)), "lattice closes no cell", "it has no volume")
        kept = ~_mask(np.asarray(flat, np.int64), len(places))
        owner = np.repeat(kept, sites.sum(axis=1))
        crystals = Crystals(
            columns[0][kept],
            columns[1][owner],
            columns[2][owner],
            np.concatenate([[0], np.cumsum(sites[kept].sum(axis=1))]),
        )
        if self.tolerance < 0.5:
            places = places[kept]
            wrong = self._inconsistent(crystals, array[places])
            details = {int(places[j]): detail for j, detail in wrong.items()}
            found = _mask(np.array([*details], np.int64), len(array))
            notes.add(found, "not self-consistent", details.__getitem__)
            crystals = crystals[~found[places]]
        return Decoded.of(len(array), crystals, notes.in_order())

    def _hot(self, block: npt.NDArray[Any], axis: int) -> tuple[Any, Any, Any]:
        """Position of the hot entry along an axis, whether there is none, whether it is unclear."""
        hot = block >= 1 - self.tolerance
        none = ~hot.any(axis=axis)
        if self.tolerance >= 0.5:
            return block.argmax(axis=axis), none, np.zeros_like(none)
        cold = np.abs(block) <= self.tolerance
        unclear = ~(hot | cold).all(axis=axis) | (hot.sum(axis=axis) > 1)
        return block.argmax(axis=axis), none, unclear

    def _undecided(self, block: str) -> str:
        return (
            f"block {block} has an entry further than {self.tolerance:g} from 0 and 1, or two "
            "entries 1 where one belongs; for generated arrays decode with tolerance=0.5 (arg-max)"
        )

    def _inconsistent(self, crystals: Crystals, array: npt.NDArray[Any]) -> dict[int, str]:
        """By position, the first entry that the encoding of the crystal would not have."""
        encoded = self.encode(crystals)
        again = np.full_like(array, np.nan)
        again[encoded.index] = encoded[self.name]
        difference = np.abs(array - again)
        coords = difference[:, self.blocks["C"], :3]
        np.minimum(coords, np.abs(1.0 - coords), out=coords)
        wrong = ~(difference <= self.tolerance * np.maximum(1.0, np.abs(again)))
        details = {}
        for j in np.flatnonzero(wrong.any(axis=(1, 2))).tolist():
            row, column = np.argwhere(wrong[j])[0].tolist()
            got, wanted = array[j, row, column], again[j, row, column]
            details[j] = (
                f"row {row} ({self.row_name(row)}), column {column} holds {got:g}, the crystal "
                f"that it decodes to has {wanted:g}"
            )
        return details

    def row_name(self, row: int) -> str:
        """What a row holds, in words."""
        block = next(name for name, rows in self.blocks.items() if row < rows.stop)
        place = row - self.blocks[block].start
        if block == "P":
            return _PROPERTIES[place] if place < len(_PROPERTIES) else "zeros"
        return {
            "E": f"element {SYMBOLS[place + 1]}",
            "L": ("lengths", "angles")[place % 2],
            "C": f"coordinates of site {place}",
            "O": f"occupancy of site {place}",
        }[block]


def _mask(index: Ints, length: int) -> Bools:
    mask = np.zeros(length, bool)
    mask[index] = True
    return mask
