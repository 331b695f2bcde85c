"""CrysTens: a crystal as a picture of its sites against its sites."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.geometry import (
    cell_parameters_from_lattices,
    lattices_from_cell_parameters,
)
from crystalcodec.registry import did_you_mean
from crystalcodec.representations.base import (
    Arrays,
    Decoded,
    FailureNotes,
    Field,
    Kind,
    RepresentationError,
)
from crystalcodec.representations.crystens.blocks import HEADER, LAYERS, ROWS, Blocks, chunks
from crystalcodec.representations.crystens.decoding import (
    estimate_tables,
    note_disagreements,
    note_impossible,
    note_noise,
    read_tables,
)
from crystalcodec.representations.crystens.scales import (
    AVG_STD,
    CHEMISTRY,
    NEAR_MAX,
    QUANTITIES,
    Ranges,
)
from crystalcodec.representations.space_groups import SpaceGroupRepresentation
from crystalcodec.symmetry import SYMPREC

__all__ = ["CrysTens"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_PUBLISHED: Final = {"divide_near_max": NEAR_MAX, "avg_std": AVG_STD}
# Lengths of the ranges of quantities in arrays that are not normalised.
_TYPICAL: Final = tuple(high - low for low, high in AVG_STD)
_TYPICAL_DISTANCE: Final = 10.0  # Å, of periodic ones


@dataclass(frozen=True)
class CrysTens(SpaceGroupRepresentation):
    """A crystal as 64 rows, 64 columns and 4 layers: each site has one row and one column.

    Site i has row and column 12 + i. The first eleven columns of its row hold its atomic number,
    x, y, z, then a, b, c (Å), alpha, beta, gamma (degrees) of the cell and the number of the
    space group; the first eleven rows of its column hold the same, and all four layers do. Where
    the rows of sites meet their columns, layer 0 holds the distance of site i and site j in
    fractional space, layers 1 to 3 x, y, z of i less those of j. All else is zero.

    The array depends on the order of sites, the origin and the choice of the cell. The
    orientation in space is lost: decoding gives the cell in pymatgen's orientation, with site
    order kept.

    Parameters
    ----------
    max_sites
        Sites that fit; the array has 12 more rows and columns.
    distances
        ``fractional``: as published, differences of the coordinates as they stand. ``periodic``:
        layer 0 holds the distance to the nearest image of the other site, Å, layers 1 to 3 the
        fractional vector from it.
    normalisation
        ``none``: numbers in their units. ``divide_near_max`` and ``avg_std``: the two published
        ones, a fixed range of each quantity goes to [0, 1]; what lies outside stays outside.
        ``fitted``: the same with ``ranges``. Zero differences of distinct sites are then not
        zero; empty places and the diagonal stay zero.
    ranges
        For ``fitted``, (low, high) of each of 13 quantities: the eleven rows, distance,
        difference. :meth:`fit` makes them.
    chemistry
        Names of properties of elements, one further layer each: ``electronegativity`` (Pauling),
        ``covalent_radius`` (Å), ``valence``, ``period``, ``group``, ``atomic_mass``; 0 where
        there is none. Such a layer holds the property of site i where the others hold its atomic
        number, and the mean of those of i and j where they meet. Any normalisation divides it by
        the largest of all elements.
    decoder
        ``strict``: every number must agree with the crystal that the array decodes to.
        ``robust``: for generated arrays; all copies of each number are averaged, coordinates
        fitted to themselves and to the differences, elements of all sites chosen together, by
        the layers of chemistry too. Each crystal then has a confidence, the probability by the
        array's own noise that its elements are right.
    tolerance
        For the strict decoder, how far entries may be off (relative for entries above 1).
    noise_limit
        For the robust decoder, the largest root mean square by which any part of an array may
        differ from that of the crystal it decodes to, where a quantity's range has length 1.
    min_confidence
        For the robust decoder, the confidence below which an array is refused.
    symprec
        Å; for finding space groups that are not given.

    Raises
    ------
    RepresentationError
        A limit below 1, an unknown name, ranges that do not fit the normalisation, a published
        normalisation of periodic distances, for which there are no constants.

    References
    ----------
    Alverson et al., Digital Discovery 3, 62 (2024), 10.1039/D3DD00137G.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> array = CrysTens().encode(salt)["crystens"]
    >>> array.shape, array[0, 13, :11, 0].round().astype(int).tolist()
    ((1, 64, 64, 4), [17, 0, 0, 0, 4, 4, 4, 60, 60, 60, 225])
    >>> array[0, 12, 13, 1:].tolist()  # x, y, z of site 0 less those of site 1
    [-0.5, -0.5, -0.5]
    >>> CrysTens().decode(array).crystals
    Crystals(n=1, n_sites_total=2: NaCl)
    """

    name: ClassVar[str] = "crystens"
    lost: ClassVar[str] = "the orientation of the crystal in space"
    invariances: ClassVar = frozenset({"rotation"})
    continuity: ClassVar = "discontinuous"
    layouts: ClassVar = {"crystens": "hwc"}
    round_trip_tolerance: ClassVar[float] = 1e-5

    max_sites: int = 52
    distances: Literal["fractional", "periodic"] = "fractional"
    normalisation: Literal["none", "divide_near_max", "avg_std", "fitted"] = "none"
    ranges: Ranges = ()
    chemistry: tuple[str, ...] = ()
    decoder: Literal["strict", "robust"] = "strict"
    tolerance: float = 1e-3
    noise_limit: float = 0.15
    min_confidence: float = 0.5
    symprec: float = SYMPREC

    def __post_init__(self) -> None:
        ranges = tuple((float(low), float(high)) for low, high in self.ranges)
        object.__setattr__(self, "ranges", ranges)
        object.__setattr__(self, "chemistry", tuple(self.chemistry))
        for parameter, known in (
            ("distances", ("fractional", "periodic")),
            ("normalisation", ("none", *_PUBLISHED, "fitted")),
            ("decoder", ("strict", "robust")),
        ):
            got = getattr(self, parameter)
            if got not in known:
                raise RepresentationError(f"{parameter} is {got!r}{did_you_mean(got, known)}")
        for name in self.chemistry:
            if name not in CHEMISTRY:
                raise RepresentationError(
                    f"no chemistry of the name {name!r}{did_you_mean(name, CHEMISTRY)}"
                )
        if len(set(self.chemistry)) < len(self.chemistry):
            raise RepresentationError(f"chemistry names a layer twice: {self.chemistry}")
        if self.max_sites < 1 or not (0 < self.tolerance < 0.5 and self.noise_limit > 0):
            raise RepresentationError(
                f"wanted max_sites of at least 1, a tolerance between 0 and 0.5 and a noise_limit "
                f"above 0, got {self.max_sites}, {self.tolerance:g}, {self.noise_limit:g}"
            )
        if not 0 <= self.min_confidence <= 1:
            raise RepresentationError(f"min_confidence is {self.min_confidence}, wanted 0 to 1")
        if not 1e-9 <= self.symprec <= 1:  # spglib ends the process where it is negative
            raise RepresentationError(f"symprec is {self.symprec}, wanted above 0 Å, at most 1")
        self._check_ranges()

    def _check_ranges(self) -> None:
        if self.normalisation in _PUBLISHED and self.distances == "periodic":
            raise RepresentationError(
                f"{self.normalisation!r} has no constants for periodic distances: use 'fitted'"
            )
        wanted = len(QUANTITIES) if self.normalisation == "fitted" else 0
        if len(self.ranges) != wanted:
            raise RepresentationError(
                f"normalisation {self.normalisation!r} takes {wanted} ranges, got "
                f"{len(self.ranges)}: use CrysTens(...).fit(crystals)"
            )
        if not all(low < high and math.isfinite(high - low) for low, high in self.ranges):
            raise RepresentationError(f"each range is (low, high), low < high, got {self.ranges}")

    def fit(self, crystals: Crystals) -> CrysTens:
        """The same with the normalisation that suits these crystals, such as a training set.

        Each quantity is divided by the largest there, coordinates by 1 and space groups by 230,
        so that 0 stands for an empty site alone; differences go from their largest size, negative,
        to 0 and from their largest size to 1. Crystals that do not fit are left out.

        Raises
        ------
        RepresentationError
            No crystal that fits.

        Examples
        --------
        >>> from crystalcodec.testing import sample_crystals
        >>> fitted = CrysTens(distances="periodic").fit(sample_crystals())
        >>> fitted.ranges[0], fitted.ranges[1]
        ((0.0, 93.0), (0.0, 1.0))
        """
        raw = dataclasses.replace(self, normalisation="none", ranges=(), chemistry=())
        refused = [failure.index for failure in raw._refuse(crystals)]
        crystals = crystals[np.setdiff1d(np.arange(len(crystals)), refused)]
        if not len(crystals):
            raise RepresentationError("fit needs at least one crystal that can be encoded")
        largest = np.zeros(len(QUANTITIES))
        for _, table, lattices in raw._tables(crystals, np.full(len(crystals), 230)):
            pairs = raw.blocks.of(table, lattices)[:, HEADER:, HEADER:]
            largest[:ROWS] = np.maximum(largest[:ROWS], table.max(axis=(0, 1)))
            sizes = np.abs(pairs).max(axis=(0, 1, 2))
            largest[-2:] = np.maximum(largest[-2:], [sizes[0], sizes[1:].max()])
        largest[1:4] = 1.0
        # Crystals of one site have no pairs; fractional differences have a natural limit.
        largest[-2] = largest[-2] or 1.0
        largest[-1] = 1.0 if self.distances == "fractional" else max(largest[-1], 0.5)
        low = np.zeros(len(QUANTITIES))
        low[-1] = -largest[-1]
        ranges = tuple(zip(low.tolist(), largest.tolist(), strict=True))
        return dataclasses.replace(self, normalisation="fitted", ranges=ranges)

    @property
    def side(self) -> int:
        """Rows and columns of the array."""
        return HEADER + self.max_sites

    @property
    def n_layers(self) -> int:
        """Layers of the array."""
        return LAYERS + len(self.chemistry)

    @property
    def fields(self) -> tuple[Field, ...]:
        """What the columns of the header hold, its mirrored rows, and the pairs of sites."""
        sites, four, raw = self.max_sites, slice(0, LAYERS), self.normalisation == "none"
        rows, every = slice(HEADER, self.side), slice(0, self.side)
        periodic = raw or (self.normalisation == "fitted" and set(self.ranges[1:4]) == {(0.0, 1.0)})
        fields = []
        for name, start, stop, unit in (
            ("numbers", 0, 1, ""),
            ("frac_coords", 1, 4, ""),
            ("lengths", 4, 7, "Å"),
            ("angles", 7, 10, "degree"),
            ("space_group_number", 10, 11, ""),
        ):
            part, n, unit = slice(start, stop), stop - start, unit if raw else ""
            kind: Kind = "periodic" if name == "frac_coords" and periodic else "continuous"
            shape, mirrored = (sites, n, LAYERS), (n, sites, LAYERS)
            fields += [
                Field(name, kind, self.name, shape, (rows, part, four), unit=unit),
                Field(f"mirrored_{name}", kind, self.name, mirrored, (part, rows, four), unit=unit),
            ]
        unit = "Å" if raw and self.distances == "periodic" else ""
        for name, start, stop in (("distances", 0, 1), ("differences", 1, LAYERS)):
            where = (rows, rows, slice(start, stop))
            pairs = (sites, sites, stop - start)
            fields.append(Field(name, "continuous", self.name, pairs, where, unit=unit))
            unit = ""
        for layer, name in enumerate(self.chemistry, LAYERS):
            where = (every, every, slice(layer, layer + 1))
            fields.append(Field(name, "continuous", self.name, (self.side, self.side, 1), where))
        return tuple(fields)

    def _refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals of too many sites, or of left-handed cells."""
        notes = FailureNotes()
        notes.add_too_many_sites(crystals, self.max_sites)
        notes.add_left_handed(crystals)
        return notes.in_order()

    def _encode_with(
        self, crystals: Crystals, space_group_numbers: Ints
    ) -> dict[str, npt.NDArray[Any]]:
        array = np.zeros((len(crystals), self.side, self.side, self.n_layers), np.float32)
        blocks = self.blocks
        for index, table, lattices in self._tables(crystals, space_group_numbers):
            stop = HEADER + table.shape[1]
            # Pages of the array that hold empty sites alone are never touched.
            array[index, :stop, :stop] = blocks.of(table, lattices)
        return {self.name: array}

    def _tables(
        self, crystals: Crystals, space_group_numbers: Ints
    ) -> Iterator[tuple[Ints, Floats, Floats]]:
        """Positions, numbers of the sites (g, n, 11), lattices: crystals of n sites at a time."""
        coords = crystals.frac_coords
        # 0.99999999 rounds up in float32.
        coords = np.where(coords.astype(np.float32) == 1.0, 0.0, coords)
        parameters = cell_parameters_from_lattices(crystals.lattices)
        for n, index in chunks(crystals.n_sites, self.n_layers):
            rows = crystals.offsets[index, None] + np.arange(n)
            table = np.empty((len(index), n, ROWS))
            table[:, :, 0] = crystals.numbers[rows]
            table[:, :, 1:4] = coords[rows]
            table[:, :, 4:10] = parameters[index, None]
            table[:, :, 10] = space_group_numbers[index, None]
            yield index, table, crystals.lattices[index]

    @property
    def blocks(self) -> Blocks:
        """How the numbers of sites fill an array."""
        tables = [CHEMISTRY[name] for name in self.chemistry]
        largest = [float(table.max()) for table in tables]
        if self.normalisation == "none":
            low, width = np.zeros(len(QUANTITIES)), np.ones(len(QUANTITIES))
            spread = np.array([*_TYPICAL, *largest])
            if self.distances == "periodic":
                spread[11:13] = _TYPICAL_DISTANCE, 1.0  # from -1/2 to 1/2
        else:
            ranges = np.array(_PUBLISHED.get(self.normalisation, self.ranges))
            low, width = ranges[:, 0], ranges[:, 1] - ranges[:, 0]
            tables = [table / most for table, most in zip(tables, largest, strict=True)]
            spread = np.ones(len(QUANTITIES) + len(tables))
        return Blocks(low, width, self.distances == "periodic", tuple(tables), spread)

    def _decode(self, arrays: Arrays) -> Decoded:
        array = np.asarray(arrays[self.name])
        notes = FailureNotes()
        blocks = self.blocks
        strict = self.decoder == "strict"
        with np.errstate(invalid="ignore", over="ignore"):
            if strict:
                counts, tables = read_tables(array, blocks, self.tolerance, notes)
            else:
                counts, tables, confidence = estimate_tables(array, blocks, notes)
            lattices = lattices_from_cell_parameters(tables[:, 0, 4:10])
            note_impossible(counts, tables, lattices, self.tolerance if strict else np.inf, notes)
            if strict:
                note_disagreements(array, counts, tables, lattices, blocks, self.tolerance, notes)
            else:
                limit = self.noise_limit
                note_noise(array, counts, tables, lattices, blocks, limit, notes)
                notes.add(
                    confidence < self.min_confidence,
                    "elements undecided",
                    lambda i: (
                        f"its elements are right with a probability of {confidence[i]:.3g}, at "
                        f"least {self.min_confidence:g} is taken (min_confidence)"
                    ),
                )
        kept = np.flatnonzero(~notes.mask(len(array)))
        sites = tables[kept][np.arange(self.max_sites) < counts[kept, None]]
        crystals = Crystals(
            lattices[kept],
            sites[:, 1:4],
            sites[:, 0].astype(np.int64),
            np.concatenate([[0], np.cumsum(counts[kept])]),
        )
        return Decoded.of(
            len(array), crystals, notes.in_order(), None if strict else confidence[kept]
        )
