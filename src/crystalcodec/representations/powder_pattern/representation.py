"""The powder pattern as an array over diffraction angle or scattering vector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.representations.base import (
    FailureNotes,
    Field,
    Representation,
    RepresentationError,
)
from crystalcodec.representations.parameters import misfit
from crystalcodec.representations.powder_pattern.form_factors import form_factor_table
from crystalcodec.representations.powder_pattern.peaks import BraggPeaks, merged
from crystalcodec.representations.powder_pattern.profiles import spread
from crystalcodec.representations.powder_pattern.reflections import Reflections, reflections_of

__all__ = ["WAVELENGTHS", "PowderPattern"]

Floats = npt.NDArray[np.float64]

WAVELENGTHS: Final = {
    "CuKa": 1.54184,
    "CuKa1": 1.54056,
    "MoKa": 0.71073,
    "MoKa1": 0.70930,
    "CoKa": 1.79026,
    "FeKa": 1.93735,
    "CrKa": 2.29100,
    "AgKa": 0.560885,
}
"""Å, of the usual anodes; Ka is the mean of its two lines, weighted by their strength."""

_LAST_ANGLE: Final = 170.0  # degrees; the Lorentz factor has no bound towards 180
_REFLECTIONS_AT_ONCE: Final = 1 << 17
# A minute or two, and a gigabyte.
_MOST_REFLECTIONS: Final = 2e7
_MOST_WAVES: Final = 2e9


@dataclass(frozen=True)
class PowderPattern(Representation):
    """The X-ray powder pattern of a crystal: intensity over 2θ in degrees, or over Q in Å⁻¹.

    The array ``powder_pattern`` (n, n_points) holds the kinematic pattern of an ideal powder at
    the points from ``low`` to ``high``, both included. Every reciprocal point g within reach
    gives a peak at 2θ = 2 arcsin(λ |g| / 2), Q = 2π |g|, of the intensity

        I(g) = |Σ f(|g|) exp(2πi (hx + ky + lz))|² (1 + cos²2θ) / (sin²θ cos θ)

    summed over the sites of the cell, so that multiplicities count themselves; f is the atomic
    form factor. There is no thermal motion, absorption, texture or anomalous dispersion. Each
    peak is spread over a pseudo-Voigt profile of unit area. Peaks beyond both ends whose profiles
    reach in count too, out to five standard deviations of a Gaussian, and to twenty times
    ``fwhm`` where ``mixing`` is not 0. A crystal without a peak in reach holds zeros.

    Parameters
    ----------
    wavelength
        Å, or the name of a line: CuKa, CuKa1, MoKa, MoKa1, CoKa, FeKa, CrKa, AgKa.
    axis
        ``"two_theta"``, degrees, or ``"q"``, Å⁻¹.
    low, high
        First and last point of the axis, in its unit. At most 170 degrees, or the Q of that.
    n_points
        Points of the axis.
    fwhm
        Full width of a peak at half its height, in the unit of the axis.
    mixing
        Part of a Lorentzian in each peak, the rest being a Gaussian, 0 to 1.
    normalise
        ``"max"``: the highest point is 100. ``"sum"``: the points add up to 1.
    lorentz_polarisation
        Whether the last factor above is there; without it, |F|² of the reciprocal points alone.

    Raises
    ------
    RepresentationError
        A wavelength that is no positive number nor a name above, an axis that does not rise or
        leaves its range, fewer than two points, a width that is not positive, a mixing outside
        [0, 1].

    References
    ----------
    De Graef and McHenry, Structure of Materials, chapters 11 and 12. Pseudo-Voigt: Thompson, Cox
    and Hastings, J. Appl. Cryst. 20, 79 (1987), 10.1107/S0021889887087090.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.82, 2.82], [2.82, 0, 2.82], [2.82, 2.82, 0]],
    ...     [[0, 0, 0], [0.5, 0.5, 0.5]],
    ...     [11, 17],
    ... )
    >>> pattern = PowderPattern()
    >>> array = pattern.encode(salt)["powder_pattern"]
    >>> array.shape, round(float(pattern.points[array[0].argmax()]), 2)  # the 200 peak of rock salt
    ((1, 801), 31.7)
    >>> peaks = pattern.peaks(salt)
    >>> peaks.positions[:3].round(2).tolist(), peaks.intensities[:3].round(1).tolist()
    ([27.39, 31.73, 45.49], [8.1, 100.0, 65.6])
    """

    name: ClassVar[str] = "powder_pattern"
    lost: ClassVar[str] = (
        "directions, phases and handedness: crystals of the same interatomic distances in the same "
        "numbers look the same, and elements of similar numbers of electrons nearly so"
    )
    invariances: ClassVar = frozenset(
        {"permutation", "translation", "rotation", "supercell", "unit_cell"}
    )

    wavelength: str | float = "CuKa"
    axis: Literal["two_theta", "q"] = "two_theta"
    low: float = 10.0
    high: float = 90.0
    n_points: int = 801
    fwhm: float = 0.5
    mixing: float = 0.0
    normalise: Literal["max", "sum"] = "max"
    lorentz_polarisation: bool = True

    def __post_init__(self) -> None:
        wrong = misfit(type(self), vars(self))
        if wrong:
            raise RepresentationError(wrong)
        if isinstance(self.wavelength, str) and self.wavelength not in WAVELENGTHS:
            raise RepresentationError(
                f"wavelength is {self.wavelength!r}, wanted Å or one of {', '.join(WAVELENGTHS)}"
            )
        if not 0 < self.angstroms < np.inf:
            raise RepresentationError(
                f"wavelength is {self.wavelength}, wanted a positive number of Å"
            )
        most = _LAST_ANGLE if self.axis == "two_theta" else self._q_of_angle(_LAST_ANGLE)
        if not 0 <= self.low < self.high <= most:
            raise RepresentationError(
                f"low is {self.low} and high is {self.high}: wanted 0 <= low < high <= {most:.4g} "
                f"on the axis {self.axis!r}"
            )
        if self.n_points < 2:
            raise RepresentationError(f"n_points is {self.n_points}, wanted at least 2")
        if not 0 < self.fwhm < np.inf:
            raise RepresentationError(f"fwhm is {self.fwhm}, wanted a positive number")
        if not 0 <= self.mixing <= 1:
            raise RepresentationError(f"mixing is {self.mixing}, wanted 0 to 1")

    @property
    def angstroms(self) -> float:
        """The wavelength, Å."""
        given = self.wavelength
        return WAVELENGTHS[given] if isinstance(given, str) else float(given)

    @property
    def points(self) -> Floats:
        """(n_points,) where the pattern is given, degrees or Å⁻¹."""
        return np.linspace(self.low, self.high, self.n_points)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The intensities."""
        return (Field("intensity", "continuous", self.name, (self.n_points,)),)

    def feature_names(self) -> tuple[str, ...]:
        """``two_theta 31.70`` and so on; as many decimals as tell the points apart."""
        step = (self.high - self.low) / (self.n_points - 1)
        decimals = max(2, 1 - int(np.floor(np.log10(step))))
        return tuple(f"{self.axis} {point:.{decimals}f}" for point in self.points)

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals of elements beyond californium, without a form factor, and of too many sites."""
        notes = FailureNotes()
        unknown = np.isnan(form_factor_table()[:, 0, 0])[crystals.numbers]
        faulty = np.zeros(len(crystals), bool)
        faulty[crystals.crystal_indices[unknown]] = True
        notes.add(
            faulty,
            "no form factor",
            lambda i: f"{SYMBOLS[crystals[i].numbers.max()]}: the table ends with Cf (98)",
        )
        n_reflections = 2 * np.pi / 3 * self._reach(self.high) ** 3 * crystals.volumes
        notes.add(
            (n_reflections > _MOST_REFLECTIONS) | (n_reflections * crystals.n_sites > _MOST_WAVES),
            "too many terms",
            lambda i: (
                f"{n_reflections[i]:.2g} reflections of {crystals.n_sites[i]:,} sites, at most "
                f"{_MOST_REFLECTIONS:.0e} reflections and {_MOST_WAVES:.0e} terms are summed: a "
                "lower end (high) or the primitive cell makes fewer"
            ),
        )
        return notes.in_order()

    def peaks(self, crystals: Crystals) -> BraggPeaks:
        """The Bragg peaks from ``low`` to ``high`` before any broadening.

        Parameters
        ----------
        crystals
            n crystals.

        Returns
        -------
        BraggPeaks
            Peaks that stand at one place are one; intensities are such that the highest of each
            crystal is 100.

        Raises
        ------
        RepresentationError
            A crystal of an element without a form factor.
        """
        for failure in self.refuse(crystals):
            raise RepresentationError(str(failure))
        parts = []
        for block in self._blocks(crystals, self._reach(self.high)):
            reflections = reflections_of(block, self._reach(self.high))
            positions, intensities = self._on_axis(reflections)
            parts.append(merged(positions, intensities, reflections, self.low, self.high))
        return BraggPeaks.joined(parts)

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        margin = self.fwhm * (20.0 if self.mixing else 5 / np.sqrt(8 * np.log(2)))
        reach = self._reach(self.high + margin)
        array = np.zeros((len(crystals), self.n_points), np.float32)
        start = 0
        for block in self._blocks(crystals, reach):
            reflections = reflections_of(block, reach)
            positions, intensities = self._on_axis(reflections)
            near = (positions >= self.low - margin) & (positions <= self.high + margin)
            near &= intensities > 0
            owner = np.repeat(np.arange(len(block)), np.diff(reflections.offsets))
            patterns = spread(
                positions[near],
                intensities[near],
                owner[near],
                np.zeros((len(block), self.n_points)),
                (self.low, self.high, self.fwhm, self.mixing),
            )
            array[start : start + len(block)] = self._normalised(patterns)
            start += len(block)
        return {self.name: array}

    def _normalised(self, patterns: Floats) -> Floats:
        if self.normalise == "max":
            scale = patterns.max(axis=1, keepdims=True) / 100
        else:
            scale = patterns.sum(axis=1, keepdims=True)
        return np.asarray(patterns / np.where(scale > 0, scale, 1.0), float)

    def _on_axis(self, reflections: Reflections) -> tuple[Floats, Floats]:
        """Position on the axis and intensity of each reflection."""
        sine = np.minimum(reflections.lengths * (self.angstroms / 2), 1.0)
        intensities = reflections.intensities
        if self.lorentz_polarisation:
            squared = sine * sine
            double = 1 - 2 * squared  # cos 2θ
            intensities = intensities * (1 + double * double) / (squared * np.sqrt(1 - squared))
        if self.axis == "q":
            return 2 * np.pi * reflections.lengths, intensities
        return np.degrees(2 * np.arcsin(sine)), intensities

    def _reach(self, place: float) -> float:
        """Length of the reciprocal vectors of a place on the axis, Å⁻¹; not beyond 175 degrees."""
        longest = 2 * np.sin(np.radians(175 / 2)) / self.angstroms
        if self.axis == "q":
            return float(min(place / (2 * np.pi), longest))
        return float(2 * np.sin(np.radians(min(place, 175.0) / 2)) / self.angstroms)

    def _q_of_angle(self, two_theta: float) -> float:
        return float(4 * np.pi * np.sin(np.radians(two_theta / 2)) / self.angstroms)

    @staticmethod
    def _blocks(crystals: Crystals, reach: float) -> Iterator[Crystals]:
        """The crystals in order, some at a time, so that a block has not too many reflections."""
        expected = np.cumsum(2 * np.pi / 3 * reach**3 * crystals.volumes + 1)
        ends = np.flatnonzero(np.diff(expected // _REFLECTIONS_AT_ONCE, append=np.inf)) + 1
        start = 0
        for end in ends.tolist():
            yield crystals[start:end]
            start = end
