"""FTCP, Fourier-transformed crystal properties: a real-space and a reciprocal-space half."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import MAX_ATOMIC_NUMBER, SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.geometry import cell_parameters_from_lattices
from crystalcodec.representations.base import (
    Arrays,
    Decoded,
    FailureNotes,
    Field,
    InvertibleRepresentation,
    RepresentationError,
)
from crystalcodec.representations.ftcp.decoding import decode_directly, decode_robustly
from crystalcodec.representations.ftcp.reciprocal import (
    LAST_WITH_PROPERTIES,
    N_POINTS,
    N_PROPERTIES,
    PROPERTIES,
    RADII,
    reciprocal_metrics,
    reciprocal_points,
)

__all__ = ["FTCP"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_ENCODED_AT_ONCE, _DECODED_AT_ONCE = 128, 32  # crystals: their arrays stay in the cache
# All points of |h| + |k| + |l| <= 3, which are 62, lie within 1.4 1/Å of the origin where no
# reciprocal vector is longer than a third of that.
_SURELY_ENOUGH: Final = RADII[1] / 3


@dataclass(frozen=True)
class FTCP(InvertibleRepresentation):
    """A crystal as a matrix: element columns on the left, reciprocal lattice points on the right.

    The left columns, one for each element in the order of its first appearance, hold the
    real-space half. From top to bottom: E, which element (one-hot, 103 rows); L, a b c in Å, then
    alpha beta gamma in degrees; C, fractional coordinates x y z, a row a site; O, which column's
    element sits on that site (one-hot along the row); K, zeros; P, the element's 92 properties
    (CGCNN's one-hot atom vector). The 59 columns on the right are reciprocal lattice points k and
    hold zeros, then in row K the length of k in 1/Å and in the rows P the sum over all sites of
    property times pi k·r, with r fractional.

    That last row is what the published code computes: the phase itself and no exponential of it,
    so that it is no Fourier transform in the strict sense and not periodic in r. The points are
    the first 59 by index sum within 1.297 1/Å, not the 59 nearest as its comment says.

    The array depends on the order of sites, the origin and the choice of the cell. The
    orientation in space is lost: decoding gives the cell in pymatgen's orientation. It reads the
    real-space half; the other one must agree with it (strict decoding) or helps (robust decoder).

    Parameters
    ----------
    max_sites
        Rows of C and O (published: 20 for ternaries, 40 for ternaries and quaternaries).
    max_elements
        Left columns; at least three are there, since a, b, c and x, y, z need them.
    max_atomic_number
        Rows of E. Elements above 100 have no properties in CGCNN's table and are refused.
    padding
        Rows of zeros at the end; the published networks take 2.
    row_ranges
        Smallest and largest value of each row, which become 0 and 1: the published normalisation,
        made from training crystals by :meth:`fit`. None: values as they are.
    decoder
        ``"direct"`` reads the real-space half. ``"robust"`` is for generated arrays: elements
        from E and P together, the number of sites from all rows of O, the cell from L and the
        lengths of k, coordinates from C and their sums in the reciprocal half, each weighted by
        its row's range.
    tolerance
        For the direct decoder: how far a one-hot entry may lie from 0 or 1. Below 0.5 decoding is
        strict: the whole array, both halves, must be the encoding of the crystal it decodes to,
        entry by entry to this tolerance (relative for entries above 1, in units of the row's range
        where there is one). From 0.5 on the largest entry decides (arg-max) where it reaches
        1 - ``tolerance``; the rest is not read. The published code does this with 0.95.

    Notes
    -----
    The robust decoder gives a confidence: 1 less the root mean square deviation of the array from
    the encoding of the decoded crystal, in the block where it is largest and in units of row
    ranges and of the limit 0.25 above which an array is refused. It is no more than how far the
    ones of E and O are on average from 0.6, below which they are refused, to 1. Lengths below
    1 Å are read as 1 Å.

    Raises
    ------
    RepresentationError
        Limits below 1, an atomic number above 118, a tolerance outside [0, 1], another decoder,
        ranges that do not fit the rows.

    References
    ----------
    Ren et al., Matter 5, 314 (2022), 10.1016/j.matt.2021.11.032; code PV-Lab/FTCP. Properties:
    Xie and Grossman, Phys. Rev. Lett. 120, 145301 (2018), 10.1103/PhysRevLett.120.145301.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> array = FTCP().encode(salt)["ftcp"]
    >>> array.shape, array[0, 104, :3].round(3).tolist(), array[0, [0, 10, 16], :3].tolist()
    ((1, 238, 62), [60.0, 60.0, 60.0], [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> FTCP().decode(array).crystals
    Crystals(n=1, n_sites_total=2: NaCl)
    """

    name: ClassVar[str] = "ftcp"
    lost: ClassVar[str] = "the orientation of the crystal in space"
    invariances: ClassVar = frozenset({"rotation"})
    continuity: ClassVar = "discontinuous"
    layouts: ClassVar = {"ftcp": "hc"}
    round_trip_tolerance: ClassVar[float] = 1e-5

    max_sites: int = 20
    max_elements: int = 3
    max_atomic_number: int = 103
    padding: int = 0
    row_ranges: tuple[tuple[float, float], ...] | None = None
    decoder: str = "direct"
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if min(self.max_sites, self.max_elements, self.max_atomic_number) < 1 or self.padding < 0:
            raise RepresentationError(f"limits of at least 1 wanted, got {self}")
        if self.max_atomic_number > MAX_ATOMIC_NUMBER:
            raise RepresentationError(
                f"max_atomic_number is {self.max_atomic_number}, there are {MAX_ATOMIC_NUMBER}"
            )
        if not 0 <= self.tolerance <= 1:
            raise RepresentationError(f"tolerance is {self.tolerance}, wanted 0 to 1")
        if self.decoder not in ("direct", "robust"):
            raise RepresentationError(f"decoder is {self.decoder!r}, wanted 'direct' or 'robust'")
        if self.row_ranges is not None:
            ranges = tuple((float(low), float(high)) for low, high in self.row_ranges)
            object.__setattr__(self, "row_ranges", ranges)
            if len(ranges) != self.n_rows or not all(-np.inf < a <= b < np.inf for a, b in ranges):
                raise RepresentationError(
                    f"{len(ranges)} row_ranges for {self.n_rows} rows: wanted a smallest and a "
                    "largest number for each; FTCP.fit(crystals) makes them"
                )

    @property
    def n_columns(self) -> int:
        """Columns of the real-space half."""
        return max(3, self.max_elements)

    @property
    def blocks(self) -> dict[str, slice]:
        """Rows of E, L, C, O, K and P."""
        heights = (self.max_atomic_number, 2, self.max_sites, self.max_sites, 1, N_PROPERTIES)
        ends = np.cumsum(heights).tolist()
        return {
            block: slice(end - height, end)
            for block, height, end in zip("ELCOKP", heights, ends, strict=True)
        }

    @property
    def n_rows(self) -> int:
        """Rows of the array."""
        return int(self.blocks["P"].stop) + self.padding

    @property
    def row_scales(self) -> tuple[Floats, Floats]:
        """(n_rows,) what is taken from each row and what it is then divided by."""
        if self.row_ranges is None:
            return np.zeros(self.n_rows), np.ones(self.n_rows)
        low, high = np.array(self.row_ranges).T
        return low, np.where(high > low, high - low, 1.0)  # constant rows are only shifted

    def fit(self, crystals: Crystals) -> FTCP:
        """The same representation with the row ranges of the crystals that it can hold.

        Raises
        ------
        RepresentationError
            If it can hold none of them.
        """
        plain = dataclasses.replace(self, row_ranges=None)
        array = plain.encode(crystals)[self.name]
        if not len(array):
            raise RepresentationError("row ranges need crystals that fit: all were refused")
        low, high = array.min(axis=(0, 2)).tolist(), array.max(axis=(0, 2)).tolist()
        return dataclasses.replace(self, row_ranges=tuple(zip(low, high, strict=True)))

    @property
    def fields(self) -> tuple[Field, ...]:
        """Elements, lengths, angles, coordinates, occupancy, properties, points and their sums.

        With ``row_ranges`` all are continuous: scaled coordinates have no period of 1.
        """
        rows, left = self.blocks, slice(0, self.n_columns)
        right, xyz = slice(self.n_columns, self.n_columns + N_POINTS), slice(0, 3)
        width, points, plain = self.n_columns, N_POINTS, self.row_ranges is None
        start = rows["L"].start
        lengths, angles = (slice(start, start + 1), xyz), (slice(start + 1, start + 2), xyz)
        unit = ("Å", "degree", "1/Å") if plain else ("", "", "")
        fields = (
            ("elements", "categorical", (self.max_atomic_number, width), (rows["E"], left), 0, ""),
            ("lengths", "continuous", (1, 3), lengths, None, unit[0]),
            ("angles", "continuous", (1, 3), angles, None, unit[1]),
            ("frac_coords", "periodic", (self.max_sites, 3), (rows["C"], xyz), None, ""),
            ("occupancy", "categorical", (self.max_sites, width), (rows["O"], left), 1, ""),
            ("properties", "continuous", (N_PROPERTIES, width), (rows["P"], left), None, ""),
            ("k_lengths", "continuous", (1, points), (rows["K"], right), None, unit[2]),
            ("k_sums", "continuous", (N_PROPERTIES, points), (rows["P"], right), None, ""),
        )
        return tuple(
            Field(
                name,
                kind if plain else "continuous",  # type: ignore[arg-type]
                self.name,
                shape,
                where,
                axis=axis if plain else None,
                unit=text,
            )
            for name, kind, shape, where, axis, text in fields
        )

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals with too much to fit, left-handed cells, and cells of too few k points."""
        notes = FailureNotes()
        present = crystals.element_counts > 0
        notes.add_too_many_sites(crystals, self.max_sites)
        last = min(self.max_atomic_number, LAST_WITH_PROPERTIES)
        notes.add(
            present[:, last + 1 :].any(axis=1),
            "element out of range",
            lambda i: (
                f"{SYMBOLS[np.flatnonzero(present[i])[-1]]}, atomic numbers up to {last} fit "
                f"(max_atomic_number, and the {LAST_WITH_PROPERTIES} of CGCNN's properties)"
            ),
        )
        notes.add(
            present.sum(axis=1) > self.max_elements,
            "too many elements",
            lambda i: (
                f"{present[i].sum()} elements, at most {self.max_elements} fit (max_elements)"
            ),
        )
        notes.add_left_handed(crystals)
        parameters = _rounded_parameters(crystals)
        diagonal = reciprocal_metrics(parameters)[:, :3].max(axis=1, initial=0.0)
        short = np.flatnonzero(~(diagonal <= _SURELY_ENOUGH**2))
        few = np.zeros(len(crystals), bool)
        few[short] = ~reciprocal_points(parameters[short])[2]
        notes.add(
            few,
            "too few reciprocal points",
            f"the cell is so small that fewer than {N_POINTS} lie within {RADII[1]} 1/Å",
        )
        return notes.in_order()

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        n = len(crystals)
        array = np.zeros((n, self.n_rows, self.n_columns + N_POINTS), np.float32)
        low, scale = (values.astype(np.float32)[:, None] for values in self.row_scales)
        for start in range(0, n, _ENCODED_AT_ONCE):
            part = slice(start, start + _ENCODED_AT_ONCE)
            self._fill(array[part], crystals[part])
            if self.row_ranges is not None:
                array[part] -= low
                array[part] /= scale
        return {self.name: array}

    def _fill(self, array: npt.NDArray[np.float32], crystals: Crystals) -> None:
        """Write both halves into an array of zeros.

        The reciprocal half is made from cell parameters and coordinates as float32 holds them,
        so that a decoded crystal gives it again bit for bit.
        """
        rows, width, n = self.blocks, self.n_columns, len(crystals)
        owner = crystals.crystal_indices
        elements, column = _columns(crystals, width)
        present, used = np.nonzero(elements)
        array[present, elements[present, used] - 1, used] = 1.0
        parameters = _rounded_parameters(crystals)
        array[:, rows["L"], :3] = parameters.reshape(n, 2, 3)
        coords = crystals.frac_coords.astype(np.float32)
        coords[coords >= 1.0] = 0.0  # float32 rounds 1 - 1e-9 up
        position = np.arange(len(owner)) - crystals.offsets[owner]
        array[owner, rows["C"].start + position, :3] = coords
        array[owner, rows["O"].start + position, column] = 1.0
        properties = PROPERTIES[elements].transpose(0, 2, 1)
        array[:, rows["P"], :width] = properties

        hkl, lengths, _ = reciprocal_points(parameters)
        array[:, rows["K"].start, width:] = lengths
        place = owner * width + column
        x, y, z = (
            np.bincount(place, coords[:, axis], n * width).reshape(n, width, 1) for axis in range(3)
        )
        h, k, ell = np.moveaxis(hkl[:, None], -1, 0)
        phases = (np.pi * (h * x + k * y + ell * z)).astype(np.float32)
        # One small product a crystal, of the same shape in any batch: sums come out the same.
        array[:, rows["P"], width:] = np.matmul(properties, phases)

    def _decode(self, arrays: Arrays) -> Decoded:
        array = arrays[self.name]
        if array.dtype not in (np.float32, np.float64):  # half precision overflows, for one
            array = array.astype(np.float64)
        decode = decode_robustly if self.decoder == "robust" else decode_directly
        crystals: list[Crystals] = []
        failures: list[Failure] = []
        confidences: list[Floats] = []
        for start in range(0, len(array), _DECODED_AT_ONCE):
            decoded = decode(self, array[start : start + _DECODED_AT_ONCE])
            crystals.append(decoded.crystals)
            failures += [
                dataclasses.replace(failure, index=failure.index + start)
                for failure in decoded.failures
            ]
            if decoded.confidence is not None:
                confidences.append(decoded.confidence)
        confidence = np.concatenate([np.zeros(0), *confidences])
        return Decoded.of(
            len(array),
            Crystals.concatenate(crystals),
            failures,
            confidence if self.decoder == "robust" else None,
        )


def _rounded_parameters(crystals: Crystals) -> Floats:
    """(n, 6) cell parameters, as float32 holds them."""
    parameters = cell_parameters_from_lattices(crystals.lattices)
    return parameters.astype(np.float32).astype(np.float64)


def _columns(crystals: Crystals, width: int) -> tuple[Ints, Ints]:
    """(n, width) atomic number of each column, 0 where unused; (n_sites_total,) column of each.

    Columns follow the first appearance of the elements in the list of sites.
    """
    elements = np.zeros((len(crystals), width), np.int64)
    if not len(crystals):
        return elements, np.zeros(0, np.int64)
    places = np.arange(len(crystals.numbers))
    left = np.ones(len(places), bool)
    columns = np.zeros(len(places), np.int64)
    for column in range(width):
        first = np.minimum.reduceat(np.where(left, places, len(left)), crystals.offsets[:-1])
        found = first < len(left)
        elements[found, column] = crystals.numbers[first[found]]
        here = left & (crystals.numbers == elements[crystals.crystal_indices, column])
        columns[here] = column
        left &= ~here
    return elements, columns
