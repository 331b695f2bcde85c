"""Peaks spread over an axis of equally spaced points."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["spread"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_ENTRIES_AT_ONCE: Final = 1 << 17
_SIGMAS: Final = 5.0


def spread(
    positions: Floats,
    intensities: Floats,
    owner: Ints,
    patterns: Floats,
    axis: tuple[float, float, float, float],
) -> Floats:
    """Add pseudo-Voigt profiles of unit area to the patterns of their crystals.

    Parameters
    ----------
    positions, intensities, owner : (m,)
        Where each peak stands, its area, and the row that it belongs to.
    patterns : (n, n_points)
        Changed in place, and given back.
    axis
        First point, last point, full width at half maximum, part of the Lorentzian.
    """
    low, high, fwhm, mixing = axis
    n_points = patterns.shape[1]
    step = (high - low) / (n_points - 1)
    sigma = fwhm / np.sqrt(8 * np.log(2))
    # A Lorentzian has no end: it is worked out on all points, a Gaussian on those near by.
    width = n_points if mixing else min(n_points, int(np.ceil(2 * _SIGMAS * sigma / step)) + 1)
    window = np.arange(width)
    at_once = max(1, _ENTRIES_AT_ONCE // width)
    flat = patterns.reshape(-1)
    for start in range(0, len(positions), at_once):
        some = slice(start, start + at_once)
        rows = owner[some]
        first = np.zeros(len(rows), np.int64)
        if width < n_points:
            # The first point within reach; the window is moved to lie on the axis as a whole.
            ahead = np.ceil((positions[some] - _SIGMAS * sigma - low) / step).astype(np.int64)
            first = np.clip(ahead, 0, n_points - width)
        points = first[:, None] + window
        away = low + step * points - positions[some, None]
        heights = _profile(away, fwhm, sigma, mixing) * intensities[some, None]
        places = points + (rows * n_points)[:, None]
        # Peak after peak, so that where a block ends does not change the sums.
        np.add.at(flat, places.ravel(), heights.ravel())
    return patterns


def _profile(away: Floats, fwhm: float, sigma: float, mixing: float) -> Floats:
    result = np.zeros_like(away)
    if mixing < 1:
        result += (1 - mixing) / (sigma * np.sqrt(2 * np.pi)) * np.exp(-0.5 * (away / sigma) ** 2)
    if mixing:
        half = fwhm / 2
        result += mixing * half / np.pi / (away * away + half * half)
    return result
