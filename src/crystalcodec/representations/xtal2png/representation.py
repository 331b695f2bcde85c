"""The PNG format of xtal2png: a crystal as one greyscale picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

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
    RepresentationError,
)
from crystalcodec.representations.images import ImageRepresentation
from crystalcodec.representations.space_groups import SpaceGroupRepresentation
from crystalcodec.representations.xtal2png.rounding import rounding_shifts
from crystalcodec.representations.xtal2png.site_distances import reduce_skew, site_distances
from crystalcodec.symmetry import SYMPREC

__all__ = ["HEADER", "Xtal2PNG"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Range = tuple[float, float]

HEADER: Final = 12
"""Rows above, and columns left of, the distances: one for each number below."""

_ROWS: Final = {
    "atom": slice(0, 1),
    "frac": slice(1, 4),
    "a": slice(4, 5),
    "b": slice(5, 6),
    "c": slice(6, 7),
    "angles": slice(7, 10),
    "num_sites": slice(10, 11),
    "space_group": slice(11, 12),
}
_MASKS: Final = (*_ROWS, "distance", "lower_tri")
_NOT_NEEDED: Final = ("space_group", "distance", "lower_tri")  # for decoding
_TIE: Final = 6  # decimals of a pixel's step: 90 degrees lies between two steps
_ENTRIES_AT_ONCE: Final = 200_000
_PICTURES_AT_ONCE: Final = 4096


@dataclass(frozen=True)
class Xtal2PNG(SpaceGroupRepresentation, ImageRepresentation):
    """A crystal as a greyscale picture of 64 by 64 pixels, as xtal2png 0.9.4 writes it.

    The first 12 rows, from column 12 on, hold a column a site: atomic number, x, y, z, a, b, c,
    alpha, beta, gamma, number of sites, space group; the first 12 columns hold the same,
    mirrored. From row and column 12 on stand the distances between the sites' nearest images.
    Each number is scaled from its range to the steps of a pixel and rounded; cell, number of
    sites and space group repeat at each site. What belongs to no site is 0.

    With ``bits=16`` the layout is the same. Coordinates and cell are then rounded to half a step:
    the mirrored entries differ by one step where their mean is the value. Sites and lattice
    points come back to less than 0.001 Å; crystals for which that cannot be are refused.

    Rounding is coarse at 8 bits: 90 degrees come back as 90.35, coordinates move by up to 1/510
    of the cell. The array depends on the order of sites, the origin and the choice of the cell.

    Parameters
    ----------
    bits
        8, as published, or 16.
    max_sites
        The side of the picture is 12 more.
    atomic_number_range, a_range, b_range, c_range, angle_range, n_sites_range, \
space_group_range, distance_range
        What 0 and 1 stand for: atomic numbers, Å, degrees, sites, numbers of space groups, Å.
    masks
        Blocks that are left 0, by their published names: atom, frac, a, b, c, angles, num_sites,
        space_group, distance; lower_tri for all below the diagonal. Only without space_group,
        distance and lower_tri can a crystal be decoded.
    decoder
        ``strict``: the picture must be one that :meth:`encode` makes, to the rounding of its
        pixels. ``robust``: for pictures with noise: all that stands in a picture more than once
        is weighed together, each decoded crystal has a confidence (the probability that all its
        elements are right, were the noise Gaussian and each element as likely as another), and
        pictures that no crystal explains are refused.
    max_noise
        For ``robust``: largest root mean square of what the crystal leaves unexplained in its
        picture, of the range 0 to 1.
    min_confidence
        For ``robust``: crystals of less confidence are refused.
    symprec
        Å; for finding the space group.

    Raises
    ------
    RepresentationError
        Parameters outside what is said above; ranges that are empty or in which two atomic
        numbers, numbers of sites or space groups share a pixel's step.

    References
    ----------
    Baird et al., J. Open Source Softw. 7, 4528 (2022), 10.21105/joss.04528.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> pixels = Xtal2PNG().to_pixels(Xtal2PNG().encode(salt, space_group_numbers=[225]))
    >>> pixels.shape, pixels[0, :12, 13].tolist()
    ((1, 64, 64), [35, 128, 128, 128, 38, 38, 15, 85, 85, 85, 10, 249])
    >>> Xtal2PNG().decode(Xtal2PNG().from_pixels(pixels)).crystals
    Crystals(n=1, n_sites_total=2: NaCl)
    """

    name: ClassVar[str] = "xtal2png"
    lost: ClassVar[str] = (
        "the orientation of the crystal in space, and all that the rounding to pixels takes"
    )
    invariances: ClassVar = frozenset({"rotation"})
    continuity: ClassVar = "discontinuous"
    layouts: ClassVar = {"xtal2png": "hw"}

    bits: int = 8
    max_sites: int = 52
    atomic_number_range: tuple[int, int] = (1, 118)
    a_range: Range = (2.0, 15.3)
    b_range: Range = (2.0, 15.0)
    c_range: Range = (2.0, 36.0)
    angle_range: Range = (0.0, 180.0)
    n_sites_range: tuple[int, int] = (0, 52)
    space_group_range: tuple[int, int] = (1, 230)
    distance_range: Range = (0.0, 18.0)
    masks: tuple[str, ...] = ()
    decoder: Literal["strict", "robust"] = "strict"
    max_noise: float = 0.16
    min_confidence: float = 0.0
    symprec: float = SYMPREC

    @property
    def round_trip_tolerance(self) -> float:
        """Å; what is rounded further is refused as ``lattice too flat``."""
        return 0.5 if self.bits == 8 else 0.001

    def __post_init__(self) -> None:
        object.__setattr__(self, "masks", tuple(self.masks))
        for field in dataclasses.fields(self):
            if field.name.endswith("_range"):
                low_high = tuple(getattr(self, field.name))
                object.__setattr__(self, field.name, low_high)
                if not (len(low_high) == 2 and 0 <= low_high[0] < low_high[1] < np.inf):
                    raise RepresentationError(
                        f"{field.name} is {low_high}: wanted two numbers, 0 or more and rising"
                    )
        if self.bits not in (8, 16):
            raise RepresentationError(f"bits is {self.bits}, wanted 8 or 16")
        if self.decoder not in ("strict", "robust"):
            raise RepresentationError(f"decoder is {self.decoder!r}, wanted strict or robust")
        if self.decoder == "robust" and self.masks:
            raise RepresentationError("decoder='robust' reads all blocks: no masks with it")
        if unknown := set(self.masks).difference(_MASKS):
            raise RepresentationError(
                f"no mask {', '.join(sorted(unknown))}; there is: {', '.join(_MASKS)}"
            )
        for name, least in (("max_noise", 0), ("min_confidence", 0), ("symprec", 1e-9)):
            if not least <= getattr(self, name) <= 1:
                raise RepresentationError(f"{name} is {getattr(self, name)}, wanted 0 to 1")
        if self.distance_range[0] != 0:
            raise RepresentationError(
                f"distance_range is {self.distance_range}: wanted from 0, a site's from itself"
            )
        self._check_whole_numbers()

    def _check_whole_numbers(self) -> None:
        """Atomic numbers, numbers of sites and space groups have a pixel's step each."""
        if not 1 <= self.atomic_number_range[0] < self.atomic_number_range[1] <= MAX_ATOMIC_NUMBER:
            raise RepresentationError(
                f"atomic_number_range is {self.atomic_number_range}: wanted within 1 to "
                f"{MAX_ATOMIC_NUMBER}"
            )
        if not (self.space_group_range[0] <= 1 and self.space_group_range[1] >= 230):
            raise RepresentationError(
                f"space_group_range is {self.space_group_range}: wanted 1 to 230 in it"
            )
        if not (self.max_sites >= 1 and self.n_sites_range[1] >= self.max_sites):
            raise RepresentationError(
                f"max_sites is {self.max_sites}, n_sites_range {self.n_sites_range}: wanted at "
                "least 1, and the range to reach it"
            )
        widths = [high - low for low, high in (self.n_sites_range, self.space_group_range)]
        if self.n_sites_range[0] > 1 or max(widths) > self.whole:
            raise RepresentationError(
                f"n_sites_range {self.n_sites_range}, space_group_range {self.space_group_range}: "
                f"wanted from 1 or 0, and no wider than the {self.whole} steps of a pixel"
            )

    @property
    def side(self) -> int:
        """Rows, and columns, of the picture."""
        return HEADER + self.max_sites

    @property
    def fields(self) -> tuple[Field, ...]:
        """The rows, the same in the columns, and the distances; all scaled to [0, 1].

        Coordinates are no periodic field: the format writes 0.999 as 1.
        """
        sites = slice(HEADER, self.side)
        parts = []
        for name, rows in _ROWS.items():
            height = rows.stop - rows.start
            shape, turned = (height, self.max_sites), (self.max_sites, height)
            parts.append(Field(f"{name}_rows", "continuous", self.name, shape, (rows, sites)))
            parts.append(Field(f"{name}_columns", "continuous", self.name, turned, (sites, rows)))
        square = (self.max_sites, self.max_sites)
        parts.append(Field("distance", "continuous", self.name, square, (sites, sites)))
        return tuple(parts)

    @property
    def cell_ranges(self) -> tuple[Floats, Floats]:
        """Least and span of a, b, c, alpha, beta, gamma."""
        ranges = [self.a_range, self.b_range, self.c_range, *[self.angle_range] * 3]
        low, high = np.array(ranges, float).T
        return low, high - low

    @property
    def resolution(self) -> float:
        """Of coordinates and cell, in units of their ranges."""
        return 1.0 / (self.whole * (2 if self.bits == 16 else 1))

    def _refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals of too many sites, and whatever leaves its range or the pixels' rounding."""
        notes = FailureNotes()
        notes.add_too_many_sites(crystals, self.max_sites)
        least, most = self.atomic_number_range
        outside = np.zeros(len(crystals), bool)
        beyond = (crystals.numbers < least) | (crystals.numbers > most)
        outside[crystals.crystal_indices[beyond]] = True
        notes.add(
            outside,
            "element out of range",
            lambda i: (
                f"{', '.join(SYMBOLS[z] for z in np.unique(crystals[i].numbers))}: atomic numbers "
                f"{least} to {most} fit (atomic_number_range)"
            ),
        )
        notes.add_left_handed(crystals)
        self._refuse_cells(crystals, notes)
        # No nearest image is further away than half of a + b + c: most need no distances here.
        reach = self.distance_range[1]
        sizes = np.sqrt((crystals.lattices**2).sum(axis=2)).sum(axis=1)
        longest = np.zeros(len(crystals))
        far = np.flatnonzero(~notes.mask(len(crystals)) & (sizes > 2 * reach))
        for index, coords in _by_size(crystals, far):
            longest[index] = site_distances(crystals.lattices[index], coords).max(axis=(1, 2))
        notes.add(
            longest > reach,
            "distance out of range",
            lambda i: (
                f"two sites are {longest[i]:.3f} Å apart, at most {reach:g} fit (distance_range)"
            ),
        )
        return notes.in_order()

    def _refuse_cells(self, crystals: Crystals, notes: FailureNotes) -> None:
        """Note cells outside the ranges, and those that the rounding would change too much."""
        cells = cell_parameters_from_lattices(crystals.lattices)
        low, span = self.cell_ranges
        tiny = 1e-9 * span  # what a rotation of the frame changes
        notes.add(
            ((cells < low - tiny) | (cells > low + span + tiny)).any(axis=1),
            "lattice out of range",
            lambda i: (
                f"a, b, c, alpha, beta, gamma = {np.round(cells[i], 3).tolist()}: from "
                f"{low.tolist()} to {(low + span).tolist()} fit (a_range ...)"
            ),
        )
        limit = 1e-3 if self.bits == 16 else self.round_trip_tolerance
        lower, upper = self._halves(self._cell_levels(cells))
        rounded = low + span * (lower + upper) / (2 * self.whole)
        shifts = rounding_shifts(crystals, rounded, self.resolution, limit)
        notes.add(
            ~(shifts <= limit),
            "lattice too flat",
            lambda i: (
                f"the rounding of its angles moves sites by {shifts[i]:.2g} Å, more than "
                f"{limit:g}: use a reduced cell"
            ),
        )

    def _cell_levels(self, cells: Floats) -> Floats:
        """(n, 6) cell parameters in steps of a pixel, not rounded."""
        low, span = self.cell_ranges
        levels = np.clip((cells - low) / span, 0.0, 1.0) * self.whole
        return np.asarray(np.round(levels, _TIE), float)

    def _halves(self, levels: Floats) -> tuple[Floats, Floats]:
        """Rounded levels for the rows above and for the columns on the left."""
        if self.bits == 8:
            rounded = np.rint(levels)
            return rounded, rounded
        twice = np.rint(levels * 2)
        lower = np.floor(twice / 2)
        return lower, twice - lower

    def _encode_with(
        self, crystals: Crystals, space_group_numbers: Ints
    ) -> dict[str, npt.NDArray[Any]]:
        array = np.zeros((len(crystals), self.side, self.side), np.float32)
        cells = self._cell_levels(cell_parameters_from_lattices(crystals.lattices))
        reduced, changes = reduce_skew(crystals.lattices)
        for index, coords in _by_size(crystals, np.arange(len(crystals))):
            sites = coords.shape[1]
            end = HEADER + sites
            levels = np.empty((len(index), HEADER, sites))
            numbers = crystals.numbers[crystals.offsets[index][:, None] + np.arange(sites)]
            levels[:, 0] = self._scaled(numbers, self.atomic_number_range)
            levels[:, 1:4] = coords.transpose(0, 2, 1) * self.whole
            levels[:, 4:10] = cells[index][:, :, None]
            levels[:, 10] = self._scaled(np.array(sites), self.n_sites_range)
            groups = space_group_numbers[index][:, None]
            levels[:, 11] = self._scaled(groups, self.space_group_range)
            levels[:, [0, 10, 11]] = np.rint(levels[:, [0, 10, 11]])
            above, left = self._halves(levels)
            array[index, :HEADER, HEADER:end] = self._values(above)
            array[index, HEADER:end, :HEADER] = self._values(left).transpose(0, 2, 1)
            distances = site_distances(
                crystals.lattices[index], coords, (reduced[index], changes[index])
            )
            apart = np.rint(self._scaled(distances, self.distance_range))
            array[index, HEADER:end, HEADER:end] = self._values(apart)
        self._mask(array)
        return {self.name: array}

    def _scaled(self, values: npt.NDArray[Any], low_high: Range) -> Floats:
        low, high = low_high
        return np.asarray((values - low) / (high - low) * self.whole, float)

    def _values(self, levels: Floats) -> npt.NDArray[np.float32]:
        return levels.astype(np.float32) / np.float32(self.whole)

    def _mask(self, array: npt.NDArray[Any]) -> None:
        for mask in self.masks:
            if mask == "distance":
                array[:, HEADER:, HEADER:] = 0
            elif mask == "lower_tri":
                array[:, *np.tril_indices(self.side, -1)] = 0
            else:
                array[:, _ROWS[mask]] = 0
                array[:, :, _ROWS[mask]] = 0

    def _decode(self, arrays: Arrays) -> Decoded:
        hidden = set(self.masks).difference(_NOT_NEEDED)
        if hidden:
            without = ", ".join(sorted(hidden))
            raise RepresentationError(f"nothing decodes without {without} (masks)")
        # The readers know this class's layout; they are imported when first needed.
        if self.decoder == "robust":
            from crystalcodec.representations.xtal2png.robust import read_pictures
        else:
            from crystalcodec.representations.xtal2png.strict import read_pictures
        array = np.asarray(arrays[self.name])
        parts = [
            read_pictures(self, array[start : start + _PICTURES_AT_ONCE])
            for start in range(0, len(array), _PICTURES_AT_ONCE)
        ]
        failures = [
            dataclasses.replace(failure, index=failure.index + i * _PICTURES_AT_ONCE)
            for i, part in enumerate(parts)
            for failure in part.failures
        ]
        certain = [part.confidence for part in parts if part.confidence is not None]
        return Decoded.of(
            len(array),
            Crystals.concatenate([part.crystals for part in parts]) if parts else Crystals.empty(),
            failures,
            np.concatenate([np.zeros(0), *certain]) if self.decoder == "robust" else None,
        )


def _by_size(crystals: Crystals, index: Ints) -> Iterator[tuple[Ints, Floats]]:
    """Crystals of one number of sites, some at a time: their indices, coordinates (k, s, 3)."""
    counts = crystals.n_sites[index]
    for sites in np.unique(counts).tolist():
        same = index[counts == sites]
        step = max(1, _ENTRIES_AT_ONCE // sites**2)
        for start in range(0, len(same), step):
            part = same[start : start + step]
            places = crystals.offsets[part][:, None] + np.arange(sites)
            yield part, crystals.frac_coords[places]
