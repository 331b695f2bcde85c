"""Power spectra of pictures, averaged over directions."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.pictures.arrays import PictureSet

__all__ = ["SMALLEST_POWER", "log_spectra", "power_spectra", "spectrum_frequencies"]

Floats = npt.NDArray[np.float64]

SMALLEST_POWER: Final = 1 / (12 * 255**2)
"""Power of the rounding of 8-bit pictures; less than that counts as that in logarithms."""
_AT_ONCE: Final = 64


def power_spectra(pictures: npt.ArrayLike, *, window: bool = True) -> Floats:
    """Power of each picture by spatial frequency, averaged over directions.

    |FFT(w (x - mean))|² / sum(w²), where w is a Hann window (or 1): white noise of variance v has
    about the power v at each frequency. Frequencies are gathered in rings 1 / s wide around 1 / s,
    2 / s ..., s the shorter side in pixels, up to 1/2 a pixel; the corners beyond are left out.

    Parameters
    ----------
    pictures : (n, height, width) or (n, height, width, channels)
        As :meth:`PictureSet.of` takes them.
    window
        Whether each picture fades out towards its rim, so that the jump from one rim to the
        other, which is not in the picture, is not in its spectrum. False for periodic pictures.

    Returns
    -------
    (n, channels, k)
        At :func:`spectrum_frequencies`; NaN for what is no picture.

    Raises
    ------
    EvaluationError
        As :meth:`PictureSet.of`.
    """
    pictured = PictureSet.of(pictures)
    return pictured.spread(_power(pictured.values, window))


def spectrum_frequencies(height: int, width: int) -> Floats:
    """(k,) frequencies in the middle of the rings of :func:`power_spectra`, cycles a pixel."""
    side = min(height, width)
    return np.arange(1, side // 2 + 1) / side


def log_spectra(pictures: npt.ArrayLike, *, window: bool = True) -> Floats:
    """(n, channels x k) decadic logarithms of :func:`power_spectra`, at least that of rounding."""
    power = power_spectra(pictures, window=window)
    rows = power.reshape(len(power), power.shape[1] * power.shape[2])
    return np.asarray(np.log10(np.maximum(rows, SMALLEST_POWER)), float)


def _power(values: Floats, window: bool) -> Floats:
    from scipy.fft import rfft2

    n, height, width, channels = values.shape
    rings = _rings(height, width)
    weights = _hann(height, width) if window else np.ones((height, width))
    weights = weights / np.sqrt((weights**2).sum())
    out = np.zeros((n, channels, rings.shape[0]))
    for start in range(0, n, _AT_ONCE):
        part = np.moveaxis(values[start : start + _AT_ONCE], 3, 1)
        part = (part - part.mean(axis=(2, 3), keepdims=True)) * weights
        transformed = rfft2(part)
        power = transformed.real**2 + transformed.imag**2
        means = rings @ power.reshape(-1, rings.shape[1]).T
        out[start : start + _AT_ONCE] = means.T.reshape(*power.shape[:2], -1)
    return out


def _rings(height: int, width: int) -> Any:
    """Sparse (k, pixels of a real transform): what means over the rings are made with."""
    from scipy.sparse import csr_array

    side = min(height, width)
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    rings = np.rint(side * np.hypot(y, x)).astype(np.int64)
    # The left half of the frequencies is that of the right one; the middle is there once.
    times = np.where((x == 0) | (x == 0.5), 1.0, 2.0) * np.ones_like(y)
    inside = (rings > 0) & (rings <= side // 2)
    pixels, ring, times = np.flatnonzero(inside), rings[inside] - 1, times[inside]
    sizes = np.bincount(ring, weights=times)
    return csr_array((times / sizes[ring], (ring, pixels)), shape=(side // 2, rings.size))


def _hann(height: int, width: int) -> Floats:
    """A window without its zeros at the rim, periodic in neither direction."""
    y, x = (np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (height, width))
    return np.asarray(np.outer(y, x), float)
