"""Intervals that hold the true value with a stated probability: split conformal prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "Conformal",
    "IntervalError",
    "binomial_interval",
    "conformal_rank",
    "coverage_figures",
    "cross_fitted",
    "rows_needed",
]

Floats = npt.NDArray[np.float64]


class IntervalError(ValueError):
    """Intervals that cannot be made from these numbers."""


@dataclass(frozen=True, eq=False)
class Conformal:
    """Calibrated intervals around the predictions of a regressor.

    Split conformal prediction: the score of a held-out row is |error|, divided by its spread plus
    ``floor`` where predictions come with a spread. An interval reaches as far on both sides as the
    ``ceil((n + 1) coverage)``-th smallest of n scores, times the scale of its own row. It holds
    the true value with at least the stated probability, over the draw of calibration rows and of
    the new one, where these could be exchanged for one another; it promises nothing for rows that
    differ from the calibration rows, and nothing for a single row or group.

    Parameters
    ----------
    scores : (n,)
        Of the calibration rows, ascending: in the unit of the target, or without a unit where
        ``floor`` is not None.
    floor
        What is added to every spread, so that members which agree by chance give no interval of
        width 0; None for intervals of one width.
    lower_limit
        No lower end is below it; None for no limit.

    References
    ----------
    Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 10.1007/b106715. Lei,
    G'Sell, Rinaldo, Tibshirani and Wasserman, 10.1080/01621459.2017.1307116.

    Examples
    --------
    >>> conformal = Conformal.fit(np.arange(1.0, 10.0), np.zeros(9))
    >>> conformal.quantile(0.5), conformal.quantile(0.9)
    (5.0, 9.0)
    >>> conformal.quantile(0.95)  # nine rows cannot tell
    nan
    """

    scores: Floats
    floor: float | None = None
    lower_limit: float | None = None

    @classmethod
    def fit(
        cls,
        targets: npt.ArrayLike,
        values: npt.ArrayLike,
        spread: npt.ArrayLike | None = None,
        lower_limit: float | None = None,
    ) -> Conformal:
        """Calibrate on held-out rows; rows without a finite target and value are left out.

        The floor is the median spread of these rows, or their mean where the median is 0; where
        all spreads are 0 the intervals are of one width. A limit that a target of these rows is
        below is none.

        Raises
        ------
        IntervalError
            Different lengths, or a spread that is negative or missing beside a value.
        """
        wanted, got = _columns(targets, values)
        used = np.isfinite(wanted) & np.isfinite(got)
        errors = np.abs(got - wanted)[used]
        if lower_limit is not None and (wanted[used] < lower_limit).any():
            lower_limit = None
        if spread is None:
            return cls(np.sort(errors), None, lower_limit)
        spreads = _spreads(spread, len(wanted))[used]
        if not np.isfinite(spreads).all():
            raise IntervalError("a row with a value has no spread: wanted one for each")
        floor = float(np.median(spreads) or spreads.mean()) if len(spreads) else 0.0
        if floor == 0:
            return cls(np.sort(errors), None, lower_limit)
        return cls(np.sort(errors / (spreads + floor)), floor, lower_limit)

    def quantile(self, coverage: float) -> float:
        """What the scale of a row is multiplied with; NaN where there are too few scores."""
        rank = conformal_rank(len(self.scores), coverage)
        return float("nan") if rank is None else float(self.scores[rank - 1])

    def interval(
        self, values: npt.ArrayLike, coverage: float, spread: npt.ArrayLike | None = None
    ) -> tuple[Floats, Floats]:
        """(m,) lower and upper ends, NaN where there is no value or too few scores.

        Raises
        ------
        IntervalError
            No spread where the calibration had one, or a coverage not between 0 and 1.
        """
        centres = np.asarray(values, float)
        half: float | Floats = self.quantile(coverage)
        if self.floor is not None:
            if spread is None:
                raise IntervalError("calibrated with spreads: wanted the spread of each row")
            half = half * (_spreads(spread, len(centres)) + self.floor)
        lower, upper = centres - half, centres + half
        if self.lower_limit is not None:
            lower = np.maximum(lower, self.lower_limit)
            upper = np.maximum(upper, self.lower_limit)
        return lower, upper


def conformal_rank(n: int, coverage: float) -> int | None:
    """Rank, from 1, of the score that n scores give an interval of that coverage.

    None where it would be above n: then no finite interval has the coverage.

    >>> conformal_rank(9, 0.9), conformal_rank(8, 0.9)
    (9, None)
    """
    if not 0 < coverage < 1:
        raise IntervalError(f"coverage {coverage}: wanted a number between 0 and 1, such as 0.9")
    # 0.9 has no exact binary form: without rounding, 10 x 0.9 may be above 9.
    rank = max(1, math.ceil(round((n + 1) * coverage, 9)))
    return rank if rank <= n else None


def rows_needed(coverage: float) -> int:
    """Fewest calibration rows that give a finite interval of that coverage.

    >>> rows_needed(0.9), rows_needed(0.99)
    (9, 99)
    """
    conformal_rank(1, coverage)
    return math.ceil(round(coverage / (1 - coverage), 6))


def binomial_interval(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact confidence interval of a probability of which ``hits`` of ``n`` trials came true.

    Clopper and Pearson, 10.1093/biomet/26.4.404.

    >>> low, high = binomial_interval(0, 10)
    >>> low, round(high, 4)
    (0.0, 0.3085)
    """
    from scipy.special import betaincinv

    if not 0 <= hits <= n or n < 1:
        raise IntervalError(f"{hits} of {n}: wanted at least one trial and no more hits than that")
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, tail))
    high = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 1 - tail))
    return low, high


def cross_fitted(
    targets: npt.ArrayLike,
    values: npt.ArrayLike,
    coverage: float,
    spread: npt.ArrayLike | None = None,
    lower_limit: float | None = None,
    *,
    folds: int = 10,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """(n,) intervals of each row, calibrated on the other folds of the same rows.

    To check the coverage where no further rows are held out.

    Raises
    ------
    IntervalError
        As :meth:`Conformal.fit`.
    """
    wanted, got = _columns(targets, values)
    spreads = None if spread is None else _spreads(spread, len(wanted))
    lower, upper = np.full(len(wanted), np.nan), np.full(len(wanted), np.nan)
    order = np.random.default_rng(seed).permutation(len(wanted))
    for fold in np.array_split(order, min(folds, max(1, len(order)))):
        rest = np.setdiff1d(order, fold)
        theirs, own = (None, None) if spreads is None else (spreads[rest], spreads[fold])
        conformal = Conformal.fit(wanted[rest], got[rest], theirs, lower_limit)
        lower[fold], upper[fold] = conformal.interval(got[fold], coverage, own)
    return lower, upper


def coverage_figures(
    targets: npt.ArrayLike,
    lower: npt.ArrayLike,
    upper: npt.ArrayLike,
    groups: Mapping[str, npt.NDArray[np.bool_]] | None = None,
) -> dict[str, Any]:
    """How many targets lie in their intervals: of all rows, and of each group.

    Rows without a target or an interval are left out. Of each: ``n``, ``inside`` (the fraction),
    its 95 % confidence interval ``low`` and ``high``, and the ``median_width`` of the intervals;
    None for the fractions of no rows. The confidence interval takes rows as independent.

    >>> coverage_figures([1.0, 5.0], [0.0, 0.0], [2.0, 2.0])["inside"]
    0.5
    """
    wanted, bottom = _columns(targets, lower)
    wanted, top = _columns(targets, upper)
    used = np.isfinite(wanted) & np.isfinite(bottom) & np.isfinite(top)
    inside = (bottom <= wanted) & (wanted <= top)
    width = top - bottom

    def figures(rows: npt.NDArray[np.bool_]) -> dict[str, Any]:
        n = int(rows.sum())
        if not n:
            return {"n": 0, "inside": None, "low": None, "high": None, "median_width": None}
        hits = int(inside[rows].sum())
        low, high = binomial_interval(hits, n)
        return {
            "n": n,
            "inside": hits / n,
            "low": low,
            "high": high,
            "median_width": float(np.median(width[rows])),
        }

    by_group = {name: figures(used & rows) for name, rows in (groups or {}).items()}
    return {**figures(used), **({"groups": by_group} if by_group else {})}


def _columns(one: npt.ArrayLike, other: npt.ArrayLike) -> tuple[Floats, Floats]:
    left, right = np.asarray(one, float), np.asarray(other, float)
    if left.ndim != 1 or left.shape != right.shape:
        raise IntervalError(f"shapes {left.shape} and {right.shape}: wanted one number a row")
    return left, right


def _spreads(spread: npt.ArrayLike, n: int) -> Floats:
    spreads = np.asarray(spread, float)
    if spreads.shape != (n,) or (spreads < 0).any():
        raise IntervalError(
            f"spreads of shape {spreads.shape} for {n} rows: wanted one a row, none below 0"
        )
    return spreads
