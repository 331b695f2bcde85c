"""Atoms read back from the Fourier coefficients of a periodic field.

Peaks of a sharpened map give first positions; a joint least-squares fit of all positions and
weights follows, with the width of the Gaussians and the lattice known; each fitted weight goes to
the nearest element, or to none; positions are fitted once more with the weights of the elements.
What then remains of the field is searched for further peaks, until there are none.

Lenient reading is for fields that no atoms explain to the end, such as generated ones: the peaks of
the field as it is are all the atoms that there are, and each takes the element that the ratios of
its weights are nearest to, however high it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import fft

from crystalcodec.representations.fields.fourier_series import (
    batches_of_equal_size,
    multiplicities,
    property_table,
    structure_factors,
    waves,
)

__all__ = ["Atoms", "FieldDecoder", "power"]

Floats = npt.NDArray[np.float64]
Reals = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Coefficients = npt.NDArray[np.complex64]

# Coefficients of which the Gaussian leaves less tell the fit nothing that the others do not.
_FITTED: Final = 1e-2
# Coefficients of which it leaves less hold noise only.
_EMPTY: Final = 1e-4
# Least regularisation of the sharpening: float32 rounding is not to be sharpened.
_SHARPEST: Final = 1e-2
# Width of the sharpened peaks, in points of a grid of 2m + 1 points.
_WIDTH: Final = 0.55
# Height of a peak worth a fit, relative to the highest of its map and to the lightest atom.
_CANDIDATE: Final = 0.3
# Noise peaks of this many standard deviations are met in about one of 100 grids of 32³ points.
_SIGNIFICANT: Final = 5.0
# Residual below which no further peak is looked for.
_EXPLAINED: Final = 1e-5
# Peaks nearer than this, in widths, are one atom.
_ONE_ATOM: Final = 1.0
_MOST_ROUNDS: Final = 6
# Steps of the fit of weights and positions, most steps of the fit of positions, and the step,
# in points of a grid of 2m + 1 points, after which it has converged.
_FREE_STEPS: Final = 2
_MOST_STEPS: Final = 10
_CONVERGED: Final = 2e-4
_LONGEST_STEP: Final = 0.7
# Least weight in ``one`` that other weights are divided by.
_LOWEST: Final = 0.1


@dataclass
class Atoms:
    """What was read from each field: its atoms, and how well they explain it.

    Parameters
    ----------
    coords, elements
        Fractional coordinates (n_sites, 3) and atomic numbers (n_sites,) of each field.
    residuals : (n, channels)
        What the atoms leave of each channel: root mean square, in units of the standard
        deviation of the field.
    crowded : (n,)
        Whether there were more peaks than atoms allowed.
    """

    coords: list[Floats]
    elements: list[Ints]
    residuals: Floats
    crowded: Bools

    @classmethod
    def none(cls, n: int, channels: int) -> Atoms:
        """Nothing read from n fields yet."""
        return cls(
            [np.zeros((0, 3))] * n,
            [np.zeros(0, np.int64)] * n,
            np.full((n, channels), np.inf),
            np.zeros(n, bool),
        )


def power(coefficients: npt.NDArray[Any]) -> Floats:
    """(n, channels) sum of squares over all coefficients and their conjugates."""
    squares = np.square(coefficients.real) + np.square(coefficients.imag)
    count = multiplicities(coefficients.shape[-1] - 1)
    return np.asarray((squares.sum(axis=(2, 3), dtype=float) * count).sum(axis=2), float)


@dataclass(frozen=True)
class FieldDecoder:
    """Reads atoms from coefficients |h|, |k|, |l| <= ``m`` of fields of these channels.

    Parameters
    ----------
    m
        Largest index of the coefficients.
    channels
        Names of the weights.
    max_sites
        Most atoms that a field may hold.
    """

    m: int
    channels: tuple[str, ...]
    max_sites: int

    @cached_property
    def _table(self) -> Floats:
        return property_table(self.channels)

    @cached_property
    def _detection_channel(self) -> int:
        """The channel whose weights differ least between elements: peaks are alike in it."""
        table = self._table[1:]
        lightest = np.where((table > 0).all(axis=0), table.min(axis=0), 1e-9)
        return int((table.max(axis=0) / lightest).argmin())

    def read(
        self,
        coefficients: Coefficients,
        damping: Reals,
        scale: Floats,
        outside: Floats,
        widths: Floats,
    ) -> Atoms:
        """Atoms of each field.

        Parameters
        ----------
        coefficients : (n, channels, 2m + 1, 2m + 1, m + 1)
            Finite.
        damping : (n, 2m + 1, 2m + 1, m + 1)
            What the Gaussian leaves of each coefficient.
        scale : (n, channels)
            Square root of the sum of squares without the coefficient 000.
        outside : (n, channels)
            Sum of squares that the field holds beside these coefficients.
        widths : (n, 3, 3)
            Turns differences of fractional coordinates into distances in widths of a peak.
        """
        n = len(coefficients)
        atoms = Atoms.none(n, len(self.channels))
        active, rest = np.arange(n), coefficients
        for _ in range(_MOST_ROUNDS):
            if not len(active):
                break
            changed = []
            for i, peaks in zip(active.tolist(), self._peaks(rest, damping[active]), strict=True):
                if self._add(atoms, i, peaks, coefficients[i], damping[i], scale[i], widths[i]):
                    changed.append(i)
            active = np.array(changed, np.int64)
            rest = self._rest(atoms, active, coefficients, damping)
            left = power(rest) + outside[active]
            atoms.residuals[active] = np.sqrt(left) / scale[active]
            going = (atoms.residuals[active] > _EXPLAINED).any(axis=1)
            active, rest = active[going], rest[going]
        return atoms

    def read_lenient(
        self,
        coefficients: Coefficients,
        damping: Reals,
        scale: Floats,
        outside: Floats,
        widths: Floats,
        threshold: float,
        apart: float,
    ) -> Atoms:
        """Atoms of fields that atoms do not explain; the channel ``one`` tells where they are.

        Parameters
        ----------
        coefficients, damping, scale, outside, widths
            As for :meth:`read`.
        threshold
            Smallest peak of an atom, as a share of that of one that stands alone.
        apart
            Of two peaks nearer than this, in widths, only the higher one is an atom.
        """
        n = len(coefficients)
        atoms = Atoms.none(n, len(self.channels))
        for i, peaks in enumerate(self._plain_peaks(coefficients, damping, threshold)):
            coords = _one_peak_an_atom(np.zeros((0, 3)), peaks, widths[i], apart)
            atoms.crowded[i] = len(coords) > self.max_sites
            if len(coords) and not atoms.crowded[i]:
                fit = _Fit(self.m, coefficients[i], damping[i], scale[i])
                coords, weights = fit.freely(coords, _MOST_STEPS)
                atoms.coords[i] = coords - np.floor(coords)
                atoms.elements[i] = self._by_ratio(weights * scale[i], scale[i])
        named = np.flatnonzero([len(numbers) > 0 for numbers in atoms.elements])
        left = power(self._rest(atoms, named, coefficients, damping)) + outside[named]
        atoms.residuals[named] = np.sqrt(left) / scale[named]
        return atoms

    def _plain_peaks(
        self, coefficients: Coefficients, damping: Reals, threshold: float
    ) -> list[Floats]:
        """Peaks of the channel ``one``, as it is save for a blur by half a point."""
        m = self.m
        window = _window(m)
        kernel = window[:, None, None] * window[:, None] * window[m:]
        blurred = coefficients[:, self.channels.index("one")] * kernel
        lone = ((kernel * damping).sum(axis=(1, 2)) * multiplicities(m)).sum(axis=1)
        return _maxima(_on_grid(blurred), threshold * lone)

    def _by_ratio(self, weights: Floats, scale: Floats) -> Ints:
        """(n_sites,) the element that each atom is, were it as high as an atom."""
        height = np.maximum(weights[:, [self.channels.index("one")]], _LOWEST)
        away = (weights / height)[:, None] - self._table[1:]
        return np.asarray(np.square(away / scale).sum(axis=2).argmin(axis=1) + 1, np.int64)

    def _add(
        self,
        atoms: Atoms,
        i: int,
        peaks: Floats,
        coefficients: Coefficients,
        damping: Reals,
        scale: Floats,
        widths: Floats,
    ) -> bool:
        """Fit field ``i`` with these peaks added; whether that gave further atoms."""
        before = atoms.coords[i]
        coords = _one_peak_an_atom(before, peaks[: 2 * self.max_sites + 1], widths)
        atoms.crowded[i] |= len(coords) > self.max_sites
        if len(coords) == len(before) or atoms.crowded[i]:
            return False
        coords, elements = self._fit(coords, coefficients, damping, scale)
        if len(coords) <= len(before):
            return False
        atoms.coords[i], atoms.elements[i] = coords, elements
        return True

    def _peaks(self, coefficients: Coefficients, damping: Reals) -> list[Floats]:
        """Fractional coordinates of the peaks of each field, sharpened; the highest first."""
        m, rest = self.m, coefficients[:, self._detection_channel]
        kernel, noise = self._sharpening(rest, damping)
        sharp = _on_grid(rest * kernel)
        unit = ((kernel * damping).sum(axis=(1, 2)) * multiplicities(m)).sum(axis=1)
        weights = self._table[1:, self._detection_channel]
        lightest = weights[weights > 0].min() * unit
        least = _CANDIDATE * np.maximum(lightest, sharp.max(axis=(1, 2, 3)))
        return _maxima(sharp, np.maximum(least, _SIGNIFICANT * noise))

    def _sharpening(self, rest: Coefficients, damping: Reals) -> tuple[Reals, Floats]:
        """Factors that undo the Gaussian as far as noise allows, and the noise they leave.

        A Wiener filter (n, 2m + 1, 2m + 1, m + 1): the noise is read from coefficients of which
        the Gaussian leaves nothing. Beside it the noise (n,) of the sharpened map.
        """
        count = multiplicities(self.m)
        squares = np.square(rest.real) + np.square(rest.imag)
        empty = damping < _EMPTY
        n_empty = (empty.sum(axis=(1, 2)) * count).sum(axis=1)
        noise = ((squares * empty).sum(axis=(1, 2)) * count).sum(axis=1) / np.maximum(n_empty, 1)
        damped = (np.square(damping).sum(axis=(1, 2)) * count).sum(axis=1)
        signal = (squares.sum(axis=(1, 2)) * count).sum(axis=1) / damped
        floor = np.maximum(noise / np.maximum(signal, 1e-30), _SHARPEST**2).astype(np.float32)
        window = _window(self.m)
        kernel = damping / (np.square(damping) + floor[:, None, None, None])
        kernel *= window[:, None, None] * window[:, None] * window[self.m :]
        squared = (np.square(kernel).sum(axis=(1, 2)) * count).sum(axis=1)
        return np.asarray(kernel, np.float32), np.sqrt(noise * squared)

    def _fit(
        self, coords: Floats, coefficients: Coefficients, damping: Reals, scale: Floats
    ) -> tuple[Floats, Ints]:
        """Positions and elements of one field: which coefficients count is its own."""
        fit = _Fit(self.m, coefficients, damping, scale)
        coords, weights = fit.freely(coords, _FREE_STEPS)
        scaled = self._table / scale
        # The nearest of no atom and all elements, in units of each channel's spread.
        elements = np.square(weights[:, None] - scaled).sum(axis=2).argmin(axis=1)
        coords, elements = coords[elements > 0], elements[elements > 0]
        for _ in range(_MOST_STEPS if len(coords) else 0):
            step, _ = fit.step(fit.basis(coords), scaled[elements], free=False)
            coords = coords + step
            if np.abs(step).max() < _CONVERGED / (2 * self.m + 1):
                break
        return coords - np.floor(coords), elements

    def _rest(
        self, atoms: Atoms, active: Ints, coefficients: Coefficients, damping: Reals
    ) -> Coefficients:
        """Coefficients of the active fields less those of their atoms."""
        rest = coefficients[active]
        for places in batches_of_equal_size(np.array([len(atoms.elements[i]) for i in active])):
            fields = active[places]
            coords = np.stack([atoms.coords[i] for i in fields])
            weights = self._table[np.stack([atoms.elements[i] for i in fields])]
            rest[places] -= structure_factors(coords, weights, self.m) * damping[fields, None]
        return rest


def _window(m: int) -> Reals:
    """(2m + 1,) what a peak of the width of half a point leaves of the coefficients of an axis."""
    h = np.arange(-m, m + 1) / (2 * m + 1)
    return np.exp(-2 * np.pi**2 * _WIDTH**2 * h**2).astype(np.float32)


def _on_grid(coefficients: Coefficients) -> Reals:
    """(n, points, points, points) the field of coefficients, on at least 32 points an axis."""
    m = coefficients.shape[-1] - 1
    points = max(32, 2 * m + 2)
    padded = np.zeros((len(coefficients), points, points, points // 2 + 1), np.complex64)
    h = np.arange(-m, m + 1)
    padded[:, h[:, None], h, : m + 1] = coefficients
    return np.asarray(fft.irfftn(padded, s=(points,) * 3, axes=(1, 2, 3), norm="forward"))


def _maxima(field: Reals, least: Floats) -> list[Floats]:
    """Fractional coordinates of the peaks of each field above its least; the highest first."""
    highest = field
    for axis in (1, 2, 3):
        beside = np.maximum(np.roll(highest, 1, axis), np.roll(highest, -1, axis))
        highest = np.maximum(highest, beside)
    found = (field == highest) & (field > least[:, None, None, None])
    return _below_the_grid(field, np.argwhere(found))


def _below_the_grid(field: Reals, where: Ints) -> list[Floats]:
    """Peaks of each field (n, points, points, points) by a parabola along each axis."""
    n, points = field.shape[:2]
    height = field[tuple(where.T)]
    shift = np.zeros((len(where), 3))
    for axis in range(3):
        beside = []
        for step in (1, -1):
            place = where.copy()
            place[:, axis + 1] = (place[:, axis + 1] + step) % points
            beside.append(field[tuple(place.T)])
        curve = np.maximum(2 * height - beside[0] - beside[1], 1e-6 * height)
        shift[:, axis] = np.clip((beside[0] - beside[1]) / (2 * curve), -0.5, 0.5)
    coords = (where[:, 1:] + shift) / points
    order = np.lexsort((-height, where[:, 0]))
    return np.split(coords[order], np.searchsorted(where[:, 0], np.arange(1, n)))


def _one_peak_an_atom(
    coords: Floats, peaks: Floats, widths: Floats, apart: float = _ONE_ATOM
) -> Floats:
    """Coordinates, and after them the peaks that are no atom yet, each once."""
    every = np.concatenate([coords, peaks])
    difference = every[:, None] - every
    difference -= np.rint(difference)
    near = np.square(difference @ widths).sum(axis=2) < apart**2
    kept = np.ones(len(every), bool)
    for i in range(len(coords), len(every)):
        kept[i] = not (near[i, :i] & kept[:i]).any()
    return every[kept]


class _Fit:
    """Least squares of one field: its significant coefficients, in units of each channel's."""

    def __init__(self, m: int, coefficients: Coefficients, damping: Reals, scale: Floats) -> None:
        self._m = m
        self._points = 2 * m + 1
        fitted = damping > _FITTED
        self._places = np.nonzero(fitted)
        root = np.sqrt(multiplicities(m))[self._places[2]]
        self._factor = damping[self._places] * root
        data = coefficients[:, fitted] * (root / scale[:, None])
        self._target = np.concatenate([data.real, data.imag], axis=1).T.astype(np.float32)
        h = np.stack(self._places, axis=1) - [m, m, 0]
        self._slopes = (2 * np.pi * h / self._points).astype(np.float32)[:, :, None]

    def basis(self, coords: Floats) -> Reals:
        """(2 coefficients, 4 n_sites) waves of unit atoms, then their slopes along each axis."""
        x, y, z = waves(coords, self._m)
        first, second, third = self._places
        wave = x.T[first]
        wave *= y.T[second]
        wave *= z.T[third]
        wave *= self._factor[:, None]
        basis = np.empty((2, len(wave), 4, len(coords)), np.float32)
        basis[0, :, 0], basis[1, :, 0] = wave.real, wave.imag
        np.multiply(self._slopes, wave.imag[:, None], out=basis[0, :, 1:])
        np.multiply(-self._slopes, wave.real[:, None], out=basis[1, :, 1:])
        return basis.reshape(2 * len(wave), 4 * len(coords))

    def weights(self, basis: Reals) -> Floats:
        """(n_sites, channels) the weights that fit best at these positions."""
        wave = basis[:, : basis.shape[1] // 4]
        normal = (wave.T @ wave).astype(float)
        normal[np.diag_indices(len(normal))] *= 1 + 1e-6
        return np.asarray(np.linalg.solve(normal, (wave.T @ self._target).astype(float)), float)

    def freely(self, coords: Floats, most_steps: int) -> tuple[Floats, Floats]:
        """Coordinates and weights (n_sites, channels) that fit best, in some steps from peaks."""
        basis = self.basis(coords)
        weights = self.weights(basis)
        for _ in range(most_steps):
            step, change = self.step(basis, weights, free=True)
            coords, weights = coords + step, weights + change
            basis = self.basis(coords)
            if np.abs(step).max() < _CONVERGED / self._points:
                break
        return coords, self.weights(basis)

    def step(self, basis: Reals, weights: Floats, *, free: bool) -> tuple[Floats, Floats]:
        """Gauss-Newton step of fractional coordinates and, where they are free, of weights."""
        n, channels = weights.shape
        left = self._target - basis[:, :n] @ weights.astype(np.float32)
        gram = (basis.T @ basis).astype(float)
        slopes = (basis.T @ left).astype(float)
        places = 3 * n
        size = places + (channels * n if free else 0)
        normal, right = np.zeros((size, size)), np.empty(size)
        normal[:places, :places] = gram[n:, n:] * np.tile(weights @ weights.T, (3, 3))
        right[:places] = (slopes[n:].reshape(3, n, channels) * weights).sum(axis=2).ravel()
        if free:
            cross = gram[n:, :n].reshape(3, n, 1, n) * weights[None, :, :, None]
            normal[:places, places:] = cross.reshape(places, channels * n)
            normal[places:, :places] = normal[:places, places:].T
            normal[places:, places:] = np.kron(np.eye(channels), gram[:n, :n])
            right[places:] = slopes[:n].T.ravel()
        diagonal = np.diag_indices(size)
        normal[diagonal] = normal[diagonal] * (1 + 1e-5) + 1e-12 * normal[diagonal].max() + 1e-30
        step = np.linalg.solve(normal, right)
        moves = np.clip(step[:places].reshape(3, n).T, -_LONGEST_STEP, _LONGEST_STEP)
        change = step[places:].reshape(channels, n).T if free else np.zeros_like(weights)
        return moves / self._points, change
