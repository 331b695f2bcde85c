"""Atoms in pictures of slices: where they are, how many, and how well they are counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["AtomCountError", "atom_positions", "count_atoms", "counting_errors"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class AtomCountError(ValueError):
    """Pictures or counts that cannot be taken, or scikit-image is not there."""


def atom_positions(
    picture: npt.ArrayLike,
    *,
    threshold: float | None = None,
    min_distance: int = 1,
    smoothing: float = 0.0,
) -> Floats:
    """Atoms of one picture: peaks, refined to a fraction of a pixel.

    A peak is a pixel that none within ``min_distance`` exceeds (scikit-image's
    ``peak_local_max``); its place is where a Gaussian through it and its neighbours has its top.
    A peak on the rim whose top lies outside the picture is no atom of it.

    Parameters
    ----------
    picture : (h, w)
        Grey values, from 0 to 1 or uint8 or uint16.
    threshold
        Least height of a peak, from 0 to 1. None: 0.15 without smoothing; with it, five times the
        noise that is left, which is measured in the picture, and 0.05 at least.
    min_distance
        Pixels; two peaks are further apart.
    smoothing
        Pixels; standard deviation of a Gaussian that the picture is smoothed with first. For
        pictures with noise: 0.7; without it every grain of noise above the threshold is an atom.

    Returns
    -------
    (m, 2)
        Row and column of each atom, in pixels from the middle of the first pixel.

    Raises
    ------
    AtomCountError
        No picture, values that are not finite, or no scikit-image.

    Examples
    --------
    >>> y, x = np.mgrid[:16, :16]
    >>> picture = np.exp(-((y - 4.3) ** 2 + (x - 9.0) ** 2) / 4)
    >>> atom_positions(picture).round(2).tolist()
    [[4.3, 9.0]]
    """
    grey = _grey(picture)
    find = _peak_finder()
    least = 0.15 if threshold is None else threshold
    if smoothing > 0:
        from skimage.filters import gaussian

        if threshold is None:
            least = max(0.05, 5 * _noise(grey) / (2 * np.sqrt(np.pi) * smoothing))
        grey = np.asarray(gaussian(grey, smoothing, mode="nearest"), float)
    peaks = find(grey, min_distance=min_distance, threshold_abs=least, exclude_border=False)
    places = np.asarray(peaks, np.int64).reshape(-1, 2)
    curvature = _curvature(grey, places)
    heights = grey[tuple(places.T)]
    places_in = places.astype(float)
    for axis in (0, 1):
        places_in[:, axis] += _shifts(grey, places, axis, curvature)
    inside = (places_in >= -0.5).all(axis=1) & (places_in < np.array(grey.shape) - 0.5).all(axis=1)
    rim = ((places == 0) | (places == np.array(grey.shape) - 1)).any(axis=1)
    if (~rim).any():
        # The tail of an atom outside: lower than any atom whose middle is in the picture.
        inside &= ~rim | (heights > 0.5 * np.quantile(heights[~rim], 0.1))
    return _once(places_in[inside], heights[inside])


def count_atoms(
    pictures: npt.ArrayLike,
    *,
    threshold: float | None = None,
    min_distance: int = 1,
    smoothing: float = 0.0,
) -> Ints:
    """(n,) number of atoms in each of n pictures (n, h, w); see :func:`atom_positions`.

    >>> count_atoms(np.zeros((2, 8, 8))).tolist()
    [0, 0]
    """
    stack = np.asarray(pictures)
    if stack.ndim != 3:
        raise AtomCountError(f"pictures of shape {stack.shape}, wanted (n, height, width)")
    counts = [
        len(
            atom_positions(
                picture, threshold=threshold, min_distance=min_distance, smoothing=smoothing
            )
        )
        for picture in stack
    ]
    return np.array(counts, np.int64)


def counting_errors(true_counts: npt.ArrayLike, counts: npt.ArrayLike) -> dict[str, float]:
    """How well atoms were counted.

    Returns
    -------
    dict
        ``n``, the number of pictures; ``exact``, the share counted without an error;
        ``mean_absolute_error`` in atoms; ``mean_relative_error``, of the error's magnitude over
        the true count, of pictures with atoms; ``bias``, the mean of count less truth.

    Raises
    ------
    AtomCountError
        Different lengths, or no pictures.

    Examples
    --------
    >>> counting_errors([10, 20], [10, 18])["mean_absolute_error"]
    1.0
    """
    truth, got = np.asarray(true_counts, float), np.asarray(counts, float)
    if truth.ndim != 1 or truth.shape != got.shape or not len(truth):
        raise AtomCountError(
            f"{truth.shape} true counts and {got.shape} counts: wanted one each of every picture"
        )
    errors = got - truth
    some = truth > 0
    relative = np.abs(errors[some]) / truth[some]
    return {
        "n": len(truth),
        "exact": float((errors == 0).mean()),
        "mean_absolute_error": float(np.abs(errors).mean()),
        "mean_relative_error": float(relative.mean()) if some.any() else float("nan"),
        "bias": float(errors.mean()),
    }


def _once(positions: Floats, heights: Floats) -> Floats:
    """Positions without those within a pixel of a higher peak: two equal pixels are one top."""
    from scipy.spatial import cKDTree

    order = np.argsort(-heights, kind="stable")
    positions = positions[order]
    kept = np.ones(len(positions), bool)
    pairs = cKDTree(positions).query_pairs(1.0, output_type="ndarray") if len(positions) else []
    for first, second in sorted(map(tuple, np.asarray(pairs).reshape(-1, 2).tolist())):
        kept[second] &= not kept[first]
    return positions[kept]


def _grey(picture: npt.ArrayLike) -> Floats:
    array = np.asarray(picture)
    if array.ndim != 2 or min(array.shape, default=0) < 3:
        raise AtomCountError(f"a picture of shape {array.shape}, wanted (height, width), 3 or more")
    if array.dtype in (np.uint8, np.uint16):
        return np.asarray(array / np.iinfo(array.dtype).max, float)
    if array.dtype.kind != "f":
        raise AtomCountError(f"a picture of {array.dtype}, wanted real numbers, uint8 or uint16")
    if not np.isfinite(array).all():
        raise AtomCountError("the picture holds NaN or infinity")
    return np.asarray(array, float)


def _peak_finder() -> Callable[..., Any]:
    try:
        from skimage.feature import peak_local_max
    except ImportError:
        raise AtomCountError(
            "counting atoms needs scikit-image: pip install 'crystalcodec[images]'"
        ) from None
    finder: Callable[..., Any] = peak_local_max
    return finder


def _noise(grey: Floats) -> float:
    """Standard deviation of the noise of single pixels (Immerkær, 10.1006/cviu.1996.0060).

    The median stands for the mean, since peaks of a few pixels have the mask's shape, too.
    """
    from scipy.ndimage import convolve

    mask = np.outer([1, -2, 1], [1, -2, 1])
    return float(np.median(np.abs(convolve(grey, mask, mode="nearest"))) / (6 * 0.6745))


def _neighbours(grey: Floats, places: Ints, axis: int) -> tuple[Floats, Floats, Floats]:
    """Logarithms of the values before, at and behind each place; NaN outside the picture."""
    padded = np.pad(np.log(np.maximum(grey, 1e-6)), 1, constant_values=np.nan)
    at = places + 1
    step = np.array([1, 0]) if axis == 0 else np.array([0, 1])
    before, behind = at - step, at + step
    return padded[tuple(before.T)], padded[tuple(at.T)], padded[tuple(behind.T)]


def _curvature(grey: Floats, places: Ints) -> float:
    """The usual 1 / sigma² of the peaks, in pixels."""
    curvatures = []
    for axis in (0, 1):
        before, at, behind = _neighbours(grey, places, axis)
        curvatures.append(2 * at - before - behind)
    every = np.concatenate(curvatures)
    every = every[np.isfinite(every) & (every > 0)]
    return float(np.median(every)) if len(every) else 1.0


def _shifts(grey: Floats, places: Ints, axis: int, curvature: float) -> Floats:
    """From each peak pixel to the top of the Gaussian, pixels, at most one.

    On the rim, where one neighbour is missing, the width of the other peaks is taken.
    """
    before, at, behind = _neighbours(grey, places, axis)
    width = 2 * at - before - behind
    shifts = np.zeros(len(places))
    inner = np.isfinite(width) & (width > 0)
    shifts[inner] = (behind - before)[inner] / (2 * width[inner])
    first, last = np.isnan(before), np.isnan(behind)
    shifts[first] = 0.5 - (at - behind)[first] / curvature
    shifts[last] = (at - before)[last] / curvature - 0.5
    return np.asarray(np.clip(np.nan_to_num(shifts), -1, 1), float)
