"""Figures of a set of pictures against a reference set: counts, features, spectra."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.atom_counts import count_atoms
from crystalcodec.evaluation.base import EvaluationError, Figure
from crystalcodec.evaluation.pictures.arrays import PictureSet
from crystalcodec.evaluation.pictures.frechet import distance_to, moments, square_root
from crystalcodec.evaluation.pictures.spectra import log_spectra, spectrum_frequencies

__all__ = ["kolmogorov_smirnov", "measure_pictures"]

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
_OF: Final = "; {n} pictures against {r} reference pictures"
_FLOOR: Final = "; {n} of the reference pictures, drawn at random, against the other {r}"


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
    order = np.random.default_rng(seed).permutation(len(both[1].values))
    halves = _Halves(order[: len(order) // 2], order[len(order) // 2 :])
    figures = []
    if count is not None or both[0].values.shape[3] == 1:
        figures += _count_figures(both, halves, count or _count_grey, counter)
    if features is not None:
        figures += _feature_figures(both, halves, features, network)
    return figures + _spectrum_figures(both, halves, window)


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
    found = ks_2samp(one, other)
    return {"statistic": float(found.statistic), "p_value": float(found.pvalue), **sizes}


@dataclass(frozen=True)
class _Halves:
    first: Ints
    second: Ints


def _count_grey(pictures: Floats) -> Ints:
    return count_atoms(pictures[..., 0])


def _failures(pictured: PictureSet) -> dict[str, int]:
    return {"no picture": pictured.n_failed} if pictured.n_failed else {}


def _count_figures(
    both: tuple[PictureSet, PictureSet], halves: _Halves, count: Rows, counter: str
) -> list[Figure]:
    pictured, reference = both
    counts, real = (
        np.asarray(count(one.values), np.float64).reshape(-1) if len(one.values) else np.zeros(0)
        for one in both
    )
    for one, told in zip(both, (counts, real), strict=True):
        if len(told) != len(one.values) or not np.isfinite(told).all():
            raise EvaluationError(
                f"{len(told)} numbers of atoms of {len(one.values)} pictures: wanted one each"
            )

    def figure(name: str, values: Floats, of: Floats, text: str, failed: dict[str, int]) -> Figure:
        known = values[~np.isnan(values)]
        return Figure(
            name,
            _KS.format(counter=counter) + text.format(n=len(known), r=len(of)),
            len(values),
            _ks_estimate(values, of),
            better="lower",
            failures=failed,
            of_each=values,
            extra=kolmogorov_smirnov(known, of)
            | {"mean_count": _mean(known), "mean_reference_count": _mean(of)},
        )

    first, second = real[halves.first], real[halves.second]
    return [
        figure("atom_count_ks", pictured.spread(counts), real, _OF, _failures(pictured)),
        figure("atom_count_ks_floor", first, second, _FLOOR, _failures(reference)),
    ]


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


def _feature_figures(
    both: tuple[PictureSet, PictureSet], halves: _Halves, features: Rows, network: str
) -> list[Figure]:
    pictured, reference = both
    rows, real = _features_of(pictured, features), _features_of(reference, features)
    # A set without a picture has no features, but as many columns.
    rows = rows if len(rows) else real[:0]
    real = real if len(real) else rows[:0]
    if rows.shape[1] != real.shape[1]:
        raise EvaluationError(f"{rows.shape[1]} features and {real.shape[1]} of the reference")

    def figure(name: str, values: Floats, of: Floats, text: str, failed: dict[str, int]) -> Figure:
        n, d = int((~np.isnan(values[:, 0])).sum()), values.shape[1]
        return Figure(
            name,
            _FRECHET.format(d=d, network=network) + text.format(n=n, r=len(of)),
            len(values),
            _frechet_estimate(values, of),
            better="lower",
            failures=failed,
            extra={"n": n, "n_reference": len(of), "n_features": d, "network": network},
        )

    first, second = real[halves.first], real[halves.second]
    return [
        figure("frechet_distance", pictured.spread(rows), real, _OF, _failures(pictured)),
        figure("frechet_distance_floor", first, second, _FLOOR, _failures(reference)),
    ]


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


def _spectrum_figures(
    both: tuple[PictureSet, PictureSet], halves: _Halves, window: bool
) -> list[Figure]:
    pictured, reference = both
    height, width, channels = pictured.values.shape[1:]
    spectra = pictured.spread(log_spectra(pictured.values, window=window))
    real = log_spectra(reference.values, window=window)
    plot: dict[str, Any] = {"frequencies": spectrum_frequencies(height, width).tolist()}
    how = "Hann window" if window else "no window"

    def figure(name: str, values: Floats, of: Floats, text: str, failed: dict[str, int]) -> Figure:
        known = values[~np.isnan(values[:, 0])]
        means = {
            key: _mean_rows(rows).reshape(channels, -1).tolist()
            for key, rows in (("mean_log_power", known), ("mean_reference_log_power", of))
        }
        return Figure(
            name,
            _SPECTRUM.format(window=how) + text.format(n=len(known), r=len(of)),
            len(values),
            _spectrum_estimate(values, _mean_rows(of)),
            unit="decades",
            better="lower",
            failures=failed,
            extra=plot | means,
        )

    first, second = real[halves.first], real[halves.second]
    return [
        figure("power_spectrum_distance", spectra, real, _OF, _failures(pictured)),
        figure("power_spectrum_distance_floor", first, second, _FLOOR, _failures(reference)),
    ]


def _mean_rows(rows: Floats) -> Floats:
    return rows.mean(axis=0) if len(rows) else np.full(rows.shape[1], np.nan)


def _spectrum_estimate(values: Floats, of: Floats) -> Callable[[Ints], float]:
    known = ~np.isnan(values[:, 0])

    def estimate(positions: Ints) -> float:
        mean = _mean_rows(values[positions[known[positions]]])
        return float(np.sqrt(((mean - of) ** 2).mean()))

    return estimate
