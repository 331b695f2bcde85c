"""Figures of a set of pictures against a reference set: counts, features, spectra."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.atom_counts import count_atoms
from crystalcodec.evaluation.base import EvaluationError, Figure
from crystalcodec.evaluation.pictures.arrays import PictureSet
from crystalcodec.evaluation.pictures.frechet import distance_to, moments, square_root
from crystalcodec.evaluation.pictures.spectra import log_spectra, spectrum_frequencies

__all__ = [
    "PictureRows",
    "copy_figures",
    "count_figures",
    "feature_figures",
    "kolmogorov_smirnov",
    "measure_pictures",
    "spectrum_figures",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rows = Callable[[Floats], npt.ArrayLike]

_KS: Final = (
    "largest difference between the shares of pictures with at most so many atoms (statistic of "
    "the two-sample Kolmogorov-Smirnov test), counted by {counter}"
)
_FRECHET: Final = (
    "|mean - mean|² + tr(C + C' - 2 (C C')^(1/2)) of {d} features by {network} "
    "(10.48550/arXiv.1706.08500); the fewer pictures the larger it comes out, and larger still for "
    "samples of them, so that its interval lies above it"
)
_SPECTRUM: Final = (
    "root mean square, over the frequencies, of the difference of the mean decadic logarithms of "
    "the radially averaged power spectra ({window}; less power than the rounding of 8 bits counts "
    "as that)"
)
_COPIES: Final = (
    "share of the attempts whose picture, rounded to 8 bits, is a reference picture pixel by pixel"
)
_OF: Final = "; {n} pictures against {r} reference pictures."
_FLOOR: Final = "; {n} of the reference pictures, drawn at random, against the other {r}."


def measure_pictures(
    pictures: npt.ArrayLike,
    reference: npt.ArrayLike,
    *,
    features: Rows | None = None,
    network: str = "a network",
    count: Rows | None = None,
    counter: str = "crystalcodec's count_atoms",
    window: bool = True,
    seed: int = 0,
) -> list[Figure]:
    """Pictures against reference pictures, and the reference against itself beside each figure.

    Distances of sets: a picture that is none (a value that is not finite) has no place in them;
    it is left out and counted. Intervals are over the pictures, with the reference as it is.

    Parameters
    ----------
    pictures, reference : (n, height, width) or (n, height, width, channels)
        Of one size; real numbers from 0 to 1, uint8 or uint16.
    features
        From pictures (m, height, width, channels) to features (m, d), for the Fréchet distance:
        the method ``features`` of a trained ``crystalcodec.models.picture_features``, say. None:
        no such figure. Up to 128 of them, or intervals take long.
    network
        What the features are of, for the definition.
    count
        From pictures (m, height, width[, channels]) to numbers of atoms (m,). None:
        :func:`~crystalcodec.evaluation.atom_counts.count_atoms` where there is one channel.
    counter
        What counts, for the definition.
    window
        See :func:`power_spectra`.
    seed
        Of the two halves of the reference.

    Returns
    -------
    list
        ``atom_count_ks``, ``frechet_distance`` and ``power_spectrum_distance``, and of each
        ``..._floor``: one half of the reference against the other one.

    Raises
    ------
    EvaluationError
        Arrays that are no pictures, or of different sizes; features of another shape.
    AtomCountError
        Without scikit-image, where atoms are to be counted.
    """
    both = PictureSet.of(pictures), PictureSet.of(reference)
    if both[0].values.shape[1:] != both[1].values.shape[1:]:
        raise EvaluationError(
            f"pictures of {both[0].values.shape[1:]} and reference pictures of "
            f"{both[1].values.shape[1:]} pixels and channels: wanted one size"
        )
    figures = []
    if count is not None or both[0].values.shape[3] == 1:
        counts = [_rows(one, _counts_of(one, count or _count_grey)) for one in both]
        figures += count_figures(*counts, counter=counter, seed=seed)
    if features is not None:
        found = [_rows(one, _features_of(one, features)) for one in both]
        figures += feature_figures(*found, network=network, seed=seed)
    shape = both[0].values.shape[1:]
    spectra = [_rows(one, log_spectra(one.values, window=window)) for one in both]
    return figures + spectrum_figures(*spectra, shape=shape, window=window, seed=seed)


@dataclass(frozen=True)
class PictureRows:
    """What was computed of each picture: where that takes long, it can be kept and used again.

    Parameters
    ----------
    values : (n,) or (n, d)
        NaN where an attempt is no picture.
    failures
        Number of those by reason.
    """

    values: Floats
    failures: Mapping[str, int] = field(default_factory=dict)

    @property
    def known(self) -> Floats:
        """The rows of the pictures."""
        missing = np.isnan(self.values).any(axis=tuple(range(1, self.values.ndim)))
        return np.asarray(self.values[~missing])

    def halves(self, seed: int) -> tuple[PictureRows, PictureRows]:
        """The pictures in two halves at random; of one seed always the same."""
        known = self.known
        order = np.random.default_rng(seed).permutation(len(known))
        first, second = order[: len(order) // 2], order[len(order) // 2 :]
        return PictureRows(known[first], self.failures), PictureRows(known[second])


_Pair = tuple[str, PictureRows, PictureRows, str]


def _pairs(name: str, rows: PictureRows, reference: PictureRows, seed: int) -> list[_Pair]:
    """The pictures against the reference, and one half of that against the other."""
    return [
        (name, rows, reference, _OF),
        (f"{name}_floor", *reference.halves(seed), _FLOOR),
    ]


def kolmogorov_smirnov(counts: npt.ArrayLike, reference: npt.ArrayLike) -> dict[str, float]:
    """Two-sample Kolmogorov-Smirnov test of numbers of atoms.

    Parameters
    ----------
    counts, reference : (n,), (m,)
        Numbers of atoms.

    Returns
    -------
    dict
        ``statistic``; ``p_value``, two-sided (scipy's ``ks_2samp``; too large where many pictures
        have the same number of atoms, since the test is one of continuous values); ``n`` and
        ``n_reference``. NaN where there are no pictures.

    Examples
    --------
    >>> kolmogorov_smirnov([1, 2, 3, 4], [3, 4, 5, 6])["statistic"]
    0.5
    """
    from scipy.stats import ks_2samp

    one, other = np.asarray(counts, float), np.asarray(reference, float)
    sizes = {"n": len(one), "n_reference": len(other)}
    if not len(one) or not len(other):
        return {"statistic": float("nan"), "p_value": float("nan"), **sizes}
    with warnings.catch_warnings():
        # Where p cannot be counted out scipy says so, and takes the limit of large numbers.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = ks_2samp(one, other)
    return {"statistic": float(found.statistic), "p_value": float(found.pvalue), **sizes}


def _rows(pictured: PictureSet, rows: Floats) -> PictureRows:
    failed = {"no picture": pictured.n_failed} if pictured.n_failed else {}
    return PictureRows(pictured.spread(rows), failed)


def _count_grey(pictures: Floats) -> Ints:
    return count_atoms(pictures[..., 0])


def _counts_of(pictured: PictureSet, count: Rows) -> Floats:
    n = len(pictured.values)
    told = np.asarray(count(pictured.values) if n else (), np.float64).reshape(-1)
    if len(told) != n or not np.isfinite(told).all():
        raise EvaluationError(f"{len(told)} numbers of atoms of {n} pictures: wanted one each")
    return told


def count_figures(
    counts: PictureRows, reference: PictureRows, *, counter: str = "the caller", seed: int = 0
) -> list[Figure]:
    """``atom_count_ks`` and its floor, from numbers of atoms (n,) of each picture."""

    def figure(name: str, rows: PictureRows, other: PictureRows, text: str) -> Figure:
        known, of = rows.known, other.known
        return Figure(
            name,
            _KS.format(counter=counter) + text.format(n=len(known), r=len(of)),
            len(rows.values),
            _ks_estimate(rows.values, of),
            better="lower",
            failures=rows.failures,
            of_each=rows.values,
            extra=kolmogorov_smirnov(known, of)
            | {"mean_count": _mean(known), "mean_reference_count": _mean(of)}
            | {"pictures_by_count": _by_count(known), "reference_by_count": _by_count(of)},
        )

    return [figure(*pair) for pair in _pairs("atom_count_ks", counts, reference, seed)]


def copy_figures(pixels: PictureRows, reference: PictureRows, *, seed: int = 0) -> list[Figure]:
    """``copies_of_reference`` and its floor, from :func:`pixel_numbers` (n,) of each picture."""

    def figure(name: str, rows: PictureRows, other: PictureRows, text: str) -> Figure:
        known, of = rows.known, other.known
        return Figure.share(
            name,
            _COPIES + text.format(n=len(known), r=len(of)),
            np.isin(rows.values, of),
            better="lower",
            failures=rows.failures,
        )

    return [figure(*pair) for pair in _pairs("copies_of_reference", pixels, reference, seed)]


def _by_count(counts: Floats) -> dict[str, list[int]]:
    numbers, times = np.unique(counts, return_counts=True)
    return {"atoms": numbers.astype(int).tolist(), "pictures": times.tolist()}


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _ks_estimate(values: Floats, reference: Floats) -> Callable[[Ints], float]:
    """The statistic for resampled values, by sums over the distinct ones."""
    known = np.concatenate([values[~np.isnan(values)], reference])
    steps = np.unique(known)
    # NaN comes last, and into a bin of its own.
    places = np.searchsorted(steps, values)
    below = np.searchsorted(np.sort(reference), steps, "right") / max(len(reference), 1)

    def estimate(positions: Ints) -> float:
        numbers = np.bincount(places[positions], minlength=len(steps) + 1)[: len(steps)]
        n = numbers.sum()
        if not n or not len(reference):
            return float("nan")
        return float(np.abs(np.cumsum(numbers) / n - below).max())

    return estimate


def feature_figures(
    features: PictureRows, reference: PictureRows, *, network: str = "a network", seed: int = 0
) -> list[Figure]:
    """``frechet_distance`` and its floor, from features (n, d) of each picture.

    Raises
    ------
    EvaluationError
        Other numbers of features.
    """
    # A set without a picture has no features, but as many columns.
    d = max(features.values.shape[1], reference.values.shape[1])
    features, reference = (
        one if len(one.known) else PictureRows(np.full((len(one.values), d), np.nan), one.failures)
        for one in (features, reference)
    )
    if features.values.shape[1] != reference.values.shape[1]:
        raise EvaluationError(
            f"{features.values.shape[1]} features and {reference.values.shape[1]} of the reference"
        )

    def figure(name: str, rows: PictureRows, other: PictureRows, text: str) -> Figure:
        n, of = len(rows.known), other.known
        return Figure(
            name,
            _FRECHET.format(d=d, network=network) + text.format(n=n, r=len(of)),
            len(rows.values),
            _frechet_estimate(rows.values, of),
            better="lower",
            failures=rows.failures,
            extra={"n": n, "n_reference": len(of), "n_features": d, "network": network},
        )

    return [figure(*pair) for pair in _pairs("frechet_distance", features, reference, seed)]


def _features_of(pictured: PictureSet, features: Rows) -> Floats:
    if not len(pictured.values):
        return np.zeros((0, 1))
    rows = np.asarray(features(pictured.values), np.float64)
    if rows.ndim != 2 or len(rows) != len(pictured.values) or not np.isfinite(rows).all():
        raise EvaluationError(
            f"features of shape {rows.shape} of {len(pictured.values)} pictures: wanted one row of "
            "finite numbers each"
        )
    return rows


def _frechet_estimate(values: Floats, reference: Floats) -> Callable[[Ints], float]:
    if len(reference) < 2:
        return lambda positions: float("nan")
    of = moments(reference)
    root = square_root(of[1])
    known = ~np.isnan(values[:, 0])

    def estimate(positions: Ints) -> float:
        chosen = values[positions[known[positions]]]
        return distance_to(moments(chosen), of, root) if len(chosen) > 1 else float("nan")

    return estimate


def spectrum_figures(
    spectra: PictureRows,
    reference: PictureRows,
    *,
    shape: tuple[int, ...],
    window: bool = True,
    seed: int = 0,
) -> list[Figure]:
    """``power_spectrum_distance`` and its floor, from :func:`log_spectra` (n, channels x k).

    ``shape`` is the height, width and channels of a picture.
    """
    height, width, channels = shape
    plot: dict[str, Any] = {"frequencies": spectrum_frequencies(height, width).tolist()}
    how = "Hann window" if window else "no window"

    def figure(name: str, rows: PictureRows, other: PictureRows, text: str) -> Figure:
        known, of = rows.known, other.known
        means = {
            key: _mean_rows(some).reshape(channels, -1).tolist()
            for key, some in (("mean_log_power", known), ("mean_reference_log_power", of))
        }
        return Figure(
            name,
            _SPECTRUM.format(window=how) + text.format(n=len(known), r=len(of)),
            len(rows.values),
            _spectrum_estimate(rows.values, _mean_rows(of)),
            unit="decades",
            better="lower",
            failures=rows.failures,
            extra=plot | means,
        )

    return [figure(*pair) for pair in _pairs("power_spectrum_distance", spectra, reference, seed)]


def _mean_rows(rows: Floats) -> Floats:
    return rows.mean(axis=0) if len(rows) else np.full(rows.shape[1], np.nan)


def _spectrum_estimate(values: Floats, of: Floats) -> Callable[[Ints], float]:
    known = ~np.isnan(values[:, 0])

    def estimate(positions: Ints) -> float:
        mean = _mean_rows(values[positions[known[positions]]])
        return float(np.sqrt(((mean - of) ** 2).mean()))

    return estimate
