"""What chance does to a figure: noise floors, and samples of attempts with replacement."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["noise_floor", "recentred"]

Ints = npt.NDArray[np.int64]

_HALVINGS: Final = 20
_RESAMPLES: Final = 100


def noise_floor(n: int, distance: Callable[[Ints, Ints], float]) -> dict[str, float | int] | None:
    """The distance between two halves of n held-out crystals, cut at random many times.

    Parameters
    ----------
    n
        Number of crystals.
    distance
        From the positions (n // 2,) of the crystals of two halves.

    Returns
    -------
    dict or None
        ``n`` of a half, number of ``halvings``, ``median`` and ``p95``, the 95th percentile. None
        where there are no two crystals.
    """
    half = n // 2
    if not half:
        return None
    random = np.random.default_rng(0)
    found = []
    for _ in range(_HALVINGS):
        order = random.permutation(n)
        found.append(distance(order[:half], order[half : 2 * half]))
    median, high = np.quantile(found, [0.5, 0.95])
    return {"n": half, "halvings": _HALVINGS, "median": float(median), "p95": float(high)}


def recentred(
    estimate: Callable[[Ints], float], n: int, low: float = 0.0, high: float = np.inf
) -> Callable[[Ints], float]:
    """The same number, with what repetitions alone do to it taken off.

    Of n attempts a sample with replacement has only 63 % different ones. It covers less, and its
    shares are noisier, than n fresh attempts; so all samples give a lower coverage, or a larger
    distance, than the attempts themselves. For positions with repetitions the number is moved by
    the difference between the value of all attempts and the mean over such samples, and kept
    between ``low`` and ``high``: the interval lies around the value. Positions without
    repetitions have the number itself.
    """

    @cache
    def shift() -> float:
        random = np.random.default_rng(1)
        found = [estimate(random.integers(0, n, n)) for _ in range(_RESAMPLES)]
        known = [value for value in found if not np.isnan(value)]
        return estimate(np.arange(n)) - float(np.mean(known)) if known else 0.0

    def of(positions: Ints) -> float:
        value = estimate(positions)
        if np.isnan(value) or len(np.unique(positions)) == len(positions):
            return value
        return float(np.clip(value + shift(), low, high))

    return of
