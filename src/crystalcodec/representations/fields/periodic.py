"""What the representations by a periodic field share: limits, chunks, and the way back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals, find_faults
from crystalcodec.failures import Failure
from crystalcodec.geometry import cell_parameters_from_lattices, lattices_from_cell_parameters
from crystalcodec.io.overlap import close_pairs
from crystalcodec.representations.base import (
    Arrays,
    Decoded,
    FailureNotes,
    Field,
    InvertibleRepresentation,
    RepresentationError,
)
from crystalcodec.representations.fields.decoding import FieldDecoder, power
from crystalcodec.representations.fields.fourier_series import (
    batches_of_equal_size,
    gaussian_damping,
    property_table,
    structure_factors,
)

__all__ = ["PeriodicField"]

Floats = npt.NDArray[np.float64]
Reals = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Coefficients = npt.NDArray[np.complex64]

# Coefficients up to m blur an atom over this many points of a grid of 2m + 1 points.
_BLUR: Final = 0.9
# Pairs of atoms that are this many widths apart are resolved: made pairs of any two elements all
# came back from here on with the default channels, and fewer below.
_RESOLVED: Final = 1.8
# No field of atoms holds larger numbers, and their squares fit into float32.
_LARGEST: Final = 1e6
_AT_ONCE: Final = 16


@dataclass(frozen=True)
class PeriodicField(InvertibleRepresentation):
    """A field of Gaussian atoms, or of point atoms, as a Fourier series, and the cell.

    A leaf says how its array follows from the coefficients, and the coefficients from its array.

    Parameters
    ----------
    channels
        What an atom weighs, one channel each: ``one``, ``Z``, ``period``, ``group``, ``column``
        (1 to 32, the f block written in), ``electronegativity`` (0 where there is none).
        Together they must tell all elements apart.
    sigma
        Width of the Gaussians, Å.
    max_sites
        Most sites of a crystal.
    tolerance
        For decoding: largest part of a channel that may be left unexplained by the decoded atoms,
        root mean square in units of the standard deviation of the field.
    lenient
        For decoding generated fields: peaks above ``threshold`` are atoms, whatever they leave.
    threshold
        Smallest peak of an atom, as a share of that of one that stands alone.
    """

    round_trip_tolerance: ClassVar[float] = 1e-4
    keeps_site_order: ClassVar[bool] = False
    invariances: ClassVar = frozenset({"permutation", "rotation"})
    lost: ClassVar[str] = "the orientation of the crystal in space and the order of its sites"

    channels: tuple[str, ...] = ("one", "period", "column")
    sigma: float = 0.4
    max_sites: int = 64
    tolerance: float = 1e-4
    lenient: bool = False
    threshold: float = 0.4

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        property_table(self.channels)
        if self.max_sites < 1:
            raise RepresentationError(f"max_sites is {self.max_sites}, wanted at least 1")
        if not 0 < self.tolerance <= 1:
            raise RepresentationError(f"tolerance is {self.tolerance}, wanted above 0, at most 1")
        if not 0 < self.threshold < 1:
            raise RepresentationError(f"threshold is {self.threshold}, wanted between 0 and 1")
        if self.lenient and "one" not in self.channels:
            raise RepresentationError(
                f"lenient, and channels are {self.channels}: wanted 'one' among them, in which "
                "atoms of all elements are alike"
            )

    @property
    @abstractmethod
    def largest_index(self) -> int:
        """Largest index of the coefficients, m."""

    @abstractmethod
    def _from_coefficients(self, coefficients: Coefficients, volumes: Floats) -> Reals:
        """The array of coefficients (n, channels, 2m + 1, 2m + 1, m + 1)."""

    @abstractmethod
    def _to_coefficients(self, array: npt.NDArray[Any], volumes: Floats) -> tuple[Any, Floats]:
        """Coefficients of the array, and the sum of squares (n, channels) beside them."""

    @abstractmethod
    def _array_shape(self) -> tuple[int, ...]:
        """Shape of the array without its batch axis."""

    @property
    def fields(self) -> tuple[Field, ...]:
        """The field, lengths and angles."""
        return (
            Field(self._array, "continuous", self._array, self._array_shape(), unit=self._unit),
            Field("lengths", "continuous", "cell_parameters", (3,), (slice(0, 3),), unit="Å"),
            Field("angles", "continuous", "cell_parameters", (3,), (slice(3, 6),), unit="degree"),
        )

    # Name and unit of the array that holds the field.
    _array: ClassVar[str]
    _unit: ClassVar[str] = ""

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Too many sites, left-handed and thin cells, sites too close to be resolved."""
        notes = FailureNotes()
        notes.add_too_many_sites(crystals, self.max_sites)
        notes.add_left_handed(crystals)
        widths = self._widths(crystals.lattices)
        thin, detail = self._thin(widths)
        notes.add(thin, "cell too thin", detail)
        left = np.flatnonzero(~notes.mask(len(crystals)))
        sites = crystals[left]
        scaled = Crystals(widths[left], sites.frac_coords, sites.numbers, sites.offsets)
        which, first, second, apart = close_pairs(scaled, _RESOLVED)
        nearest = {int(left[which[p]]): p for p in np.argsort(-apart, kind="stable").tolist()}
        close = np.zeros(len(crystals), bool)
        close[[*nearest]] = True
        notes.add(
            close,
            "sites too close",
            lambda i: (
                f"sites {first[nearest[i]]} and {second[nearest[i]]} are "
                f"{apart[nearest[i]]:.2f} widths of a peak apart, {_RESOLVED} are resolved: use a "
                "smaller sigma, or more points or coefficients"
            ),
        )
        return notes.in_order()

    def _widths(self, lattices: Floats) -> Floats:
        """(n, 3, 3) cells in units of the width of a peak, which sigma and the grid both blur."""
        inverse = np.linalg.inv(lattices)
        blur = (_BLUR / (2 * self.largest_index + 1)) ** 2
        covariance = self.sigma**2 * inverse.transpose(0, 2, 1) @ inverse + blur * np.eye(3)
        return np.asarray(np.linalg.cholesky(np.linalg.inv(covariance)), float)

    def _thin(self, widths: Floats) -> tuple[Bools, Any]:
        # Lattice planes this far apart leave coefficients to fit, and make the nearest image of
        # a site the one that rounding finds.
        heights = 1 / np.linalg.norm(np.linalg.inv(widths), axis=1).max(axis=1)
        return (
            heights < 2 * _RESOLVED,
            lambda i: (
                f"lattice planes {heights[i]:.2f} widths of a peak apart, at least "
                f"{2 * _RESOLVED} wanted: use a smaller sigma, or another cell"
            ),
        )

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        array = np.empty((len(crystals), *self._array_shape()), np.float32)
        for places, coefficients in self._coefficients(crystals):
            array[places] = self._from_coefficients(coefficients, crystals.volumes[places])
        cells = cell_parameters_from_lattices(crystals.lattices).astype(np.float32)
        return {self._array: array, "cell_parameters": cells.reshape(-1, 6)}

    def _coefficients(self, crystals: Crystals) -> Iterator[tuple[Ints, Coefficients]]:
        """Positions of some crystals, and their coefficients."""
        table = property_table(self.channels)
        m = self.largest_index
        for places in batches_of_equal_size(crystals.n_sites):
            sites = crystals.offsets[places][:, None] + np.arange(crystals.n_sites[places[0]])
            weights = table[crystals.numbers[sites]]
            factors = structure_factors(crystals.frac_coords[sites], weights, m)
            if self.sigma:
                factors *= gaussian_damping(crystals.lattices[places], m, self.sigma)[:, None]
            yield places, factors

    def _decode(self, arrays: Arrays) -> Decoded:
        array, cells = np.asarray(arrays[self._array]), np.asarray(arrays["cell_parameters"], float)
        n, notes = len(array), FailureNotes()
        flat = array.reshape(n, -1)
        low, high = (np.asarray(ends, float) for ends in (flat.min(axis=1), flat.max(axis=1)))
        finite = np.isfinite(low) & np.isfinite(high) & np.isfinite(cells).all(axis=1)
        notes.add(~finite, "not finite", "the arrays hold NaN or infinity")
        notes.add(
            finite & ~(np.maximum(-low, high) <= _LARGEST),
            "value out of range",
            lambda i: f"entries from {low[i]:g} to {high[i]:g}, wanted at most {_LARGEST:g}",
        )
        lattices = self._cells(cells, notes)
        good = np.flatnonzero(~notes.mask(n))
        coords: dict[int, Floats] = {}
        elements: dict[int, Ints] = {}
        residuals = np.full((n, len(self.channels)), np.inf)
        for start in range(0, len(good), _AT_ONCE):
            some = good[start : start + _AT_ONCE]
            self._read(some, array[some], lattices[some], notes, coords, elements, residuals)
        if not self.lenient:
            self._check_residuals(residuals, notes)
        kept = np.flatnonzero(~notes.mask(n))
        members = kept.tolist()
        crystals = Crystals(
            lattices[kept],
            np.concatenate([np.zeros((0, 3)), *(coords[i] for i in members)]),
            np.concatenate([np.zeros(0, np.int64), *(elements[i] for i in members)]),
            np.cumsum([0, *(len(elements[i]) for i in members)]),
        )
        # What could not have been encoded was not decoded either.
        refused = {int(kept[failure.index]): failure for failure in self.refuse(crystals)}
        for i, failure in refused.items():
            notes.add(np.arange(n) == i, failure.reason, f"of the decoded sites: {failure.detail}")
        held = ~notes.mask(n)[kept]
        confidence = np.clip(1 - residuals[kept[held]].max(axis=1, initial=0.0), 0, 1)
        return Decoded.of(n, crystals[held], notes.in_order(), confidence)

    def _cells(self, cells: Floats, notes: FailureNotes) -> Floats:
        """Lattices of the cell parameters; where there is none, it is noted."""
        n = len(cells)
        with np.errstate(all="ignore"):
            lattices = lattices_from_cell_parameters(np.where(np.isfinite(cells), cells, 0.0))
        opened: Bools = np.asarray(~np.isfinite(lattices).all(axis=(1, 2)), bool)
        opened |= ~(cells[:, :3] < _LARGEST).all(axis=1)
        lattices[opened] = np.eye(3)
        faults = find_faults(lattices, np.zeros((n, 3)), np.ones(n, np.int64), np.arange(n + 1))
        opened[[fault.index for fault in faults]] = True
        notes.add(opened, "lattice closes no cell", "lengths or angles that no cell can have")
        lattices[opened] = np.eye(3) * 10
        thin, detail = self._thin(self._widths(lattices))
        notes.add(thin, "cell too thin", detail)
        return lattices

    def _read(
        self,
        some: Ints,
        array: npt.NDArray[Any],
        lattices: Floats,
        notes: FailureNotes,
        coords: dict[int, Floats],
        elements: dict[int, Ints],
        residuals: Floats,
    ) -> None:
        """Atoms of some arrays; where there are none, it is noted."""
        m, n = self.largest_index, int(some.max()) + 1
        volumes = np.abs(np.linalg.det(lattices))
        coefficients, outside = self._to_coefficients(array.astype(np.float32), volumes)
        total = np.abs(coefficients[:, :, m, m, 0]).astype(float) ** 2
        spread = power(coefficients) - total + outside
        flat = (spread <= 1e-8 * total).any(axis=1) | (spread <= 1e-30).any(axis=1)
        notes.add(_mask(some[flat], n), "flat field", "a channel is the same everywhere")
        some, clear = some[~flat], ~flat
        damping = gaussian_damping(lattices[clear], m, self.sigma)
        decoder = FieldDecoder(m, self.channels, self.max_sites)
        field = (
            coefficients[clear],
            damping,
            np.sqrt(spread[clear]),
            outside[clear],
            self._widths(lattices[clear]),
        )
        if self.lenient:
            atoms = decoder.read_lenient(*field, self.threshold, _RESOLVED)
        else:
            atoms = decoder.read(*field)
        notes.add(
            _mask(some[atoms.crowded], n),
            "too many peaks",
            f"more than {self.max_sites} (max_sites)",
        )
        empty = np.array([not len(numbers) for numbers in atoms.elements], bool)
        notes.add(_mask(some[empty], n), "no atom", "no peak of the field weighs what an atom does")
        residuals[some] = atoms.residuals
        for i, where, numbers in zip(some.tolist(), atoms.coords, atoms.elements, strict=True):
            order = np.argsort(numbers, kind="stable")
            coords[i], elements[i] = where[order], numbers[order]

    def _check_residuals(self, residuals: Floats, notes: FailureNotes) -> None:
        worst = residuals.argmax(axis=1)
        notes.add(
            (residuals > self.tolerance).any(axis=1),
            "field not explained",
            lambda i: (
                f"the decoded atoms leave {residuals[i, worst[i]]:.3g} of the channel "
                f"{self.channels[worst[i]]!r}, at most {self.tolerance:g} wanted (tolerance)"
            ),
        )


def _mask(index: Ints, length: int) -> Bools:
    mask = np.zeros(length, bool)
    mask[index] = True
    return mask
