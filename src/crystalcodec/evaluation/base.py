"""What a judge of generated crystals works on, and what it says: attempts, evidence, figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure, count_reasons

__all__ = ["Attempts", "EvaluationError", "Evidence", "Figure", "Progress"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Progress = Callable[[str, int, int], None]


class EvaluationError(ValueError):
    """Crystals, tables or settings that cannot be judged; the message says what to do."""


@dataclass(frozen=True)
class Attempts:
    """All that a generator tried: crystals, and the attempts that gave none.

    Parameters
    ----------
    crystals
        m crystals.
    positions : (m,)
        Which attempt each is, rising.
    n
        Number of attempts; every share counts over it.
    failures
        Why the others gave no crystal, by attempt.

    Raises
    ------
    EvaluationError
        Unless each attempt is a crystal or a failure, once.
    """

    crystals: Crystals
    positions: Ints
    n: int
    failures: tuple[Failure, ...] = ()

    def __post_init__(self) -> None:
        failed = [failure.index for failure in self.failures]
        told = np.concatenate([np.asarray(self.positions, np.int64), np.array(failed, np.int64)])
        if len(self.positions) != len(self.crystals):
            raise EvaluationError(
                f"{len(self.positions)} positions of {len(self.crystals)} crystals, wanted one each"
            )
        if len(told) != self.n or not np.array_equal(np.sort(told), np.arange(self.n)):
            raise EvaluationError(
                f"{self.n} attempts, {len(self.crystals)} crystals and {len(failed)} failures: "
                "wanted each attempt once, as a crystal or as a failure"
            )
        if np.any(np.diff(self.positions) <= 0):
            raise EvaluationError("positions of the crystals do not rise; put them in order")

    @classmethod
    def of(cls, crystals: Crystals, failures: Iterable[Failure] = ()) -> Self:
        """Crystals in the order of their attempts, and the failures between them."""
        failures = tuple(failures)
        n = len(crystals) + len(failures)
        failed = np.zeros(n, bool)
        indices = np.array([failure.index for failure in failures], np.int64)
        if np.any((indices < 0) | (indices >= n)):
            raise EvaluationError(f"a failure beyond the {n} attempts: {indices.max()}")
        failed[indices] = True
        return cls(crystals, np.flatnonzero(~failed), n, failures)

    def spread(self, values: npt.ArrayLike, fill: float = 0.0) -> Floats:
        """(n, ...) values of the (m, ...) crystals, with ``fill`` where an attempt gave none."""
        values = np.asarray(values, np.float64)
        out = np.full((self.n, *values.shape[1:]), fill)
        out[self.positions] = values
        return out

    def reasons(self) -> dict[str, int]:
        """Number of failures by reason."""
        return count_reasons(self.failures)


@dataclass(frozen=True)
class Figure:
    """One number about all attempts, with what it means and how sure it is.

    Parameters
    ----------
    name
        ``"structural_validity"``; small letters and underlines, in its family once.
    definition
        What is counted over what, with every threshold and the source (DOI): someone else could
        compute the number from it.
    n
        Attempts, or pairs, that it counts over.
    estimate
        From positions (k,) among the n, repeated or not, to the number for these alone: the
        value for ``arange(n)``, and of samples with replacement for its interval. It may give NaN
        where there is nothing to count.
    unit
        Empty for a share or a plain number.
    better
        Which way is better, where one is.
    failures
        Attempts that count as missed, or were left out where the definition says so, by reason.
    of_each : (n,)
        What each attempt has, NaN where nothing: for histograms, and the best and the worst.
    extra
        More that belongs in the JSON.
    """

    name: str
    definition: str
    n: int
    estimate: Callable[[Ints], float]
    unit: str = ""
    better: Literal["higher", "lower", ""] = ""
    failures: Mapping[str, int] = field(default_factory=dict)
    of_each: Floats | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def share(
        cls,
        name: str,
        definition: str,
        hits: npt.ArrayLike,
        *,
        better: Literal["higher", "lower", ""] = "higher",
        failures: Mapping[str, int] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Self:
        """The mean of (n,) booleans, one an attempt."""
        values = np.asarray(hits, bool).astype(np.float64)
        return cls.mean(name, definition, values, better=better, failures=failures, extra=extra)

    @classmethod
    def mean(
        cls,
        name: str,
        definition: str,
        values: npt.ArrayLike,
        *,
        unit: str = "",
        better: Literal["higher", "lower", ""] = "",
        failures: Mapping[str, int] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Self:
        """The mean of (n,) values, one an attempt; NaN ones are left out of it."""
        values = np.asarray(values, np.float64)

        def estimate(positions: Ints) -> float:
            chosen = values[positions]
            chosen = chosen[~np.isnan(chosen)]
            return float(chosen.mean()) if len(chosen) else float("nan")

        return cls(
            name,
            definition,
            len(values),
            estimate,
            unit,
            better,
            failures or {},
            values,
            extra or {},
        )

    @property
    def value(self) -> float:
        """The number; NaN where there is nothing to count."""
        return self.estimate(np.arange(self.n))

    def interval(
        self, coverage: float = 0.95, *, n_resamples: int = 200, seed: int = 0
    ) -> tuple[float, float]:
        """Percentiles of the number over samples of the attempts with replacement.

        ``nan, nan`` where more than half of the samples have nothing to count.
        """
        random = np.random.default_rng(seed)
        values = np.array(
            [self.estimate(random.integers(0, self.n, self.n)) for _ in range(n_resamples)]
            if self.n
            else []
        )
        values = values[~np.isnan(values)]
        if len(values) <= n_resamples / 2:
            return float("nan"), float("nan")
        low, high = np.quantile(values, [(1 - coverage) / 2, (1 + coverage) / 2])
        return float(low), float(high)


@dataclass(frozen=True)
class Evidence:
    """What is judged, against what, and with what.

    Parameters
    ----------
    attempts
        What was generated.
    train
        What the generator learnt from; novelty is against it.
    held_out
        Crystals of the same kind that it did not learn from; distributions are against them.
    relaxed
        The crystals of the attempts after relaxation (:class:`~crystalcodec.relaxation.Relaxed`,
        positions those of ``attempts.crystals``).
    hull
        Convex hull by the same potential (:class:`~crystalcodec.relaxation.Hull`).
    wanted
        What each of the attempts should be, where they are reconstructions: as many crystals.
    properties
        By name: values of the attempts (n,), NaN where there are none, and of ``held_out``.
    jobs
        Number of processes.
    progress
        Called with what is done, how many are done, and of how many.
    """

    attempts: Attempts
    train: Crystals | None = None
    held_out: Crystals | None = None
    relaxed: Any = None
    hull: Any = None
    wanted: Crystals | None = None
    properties: Mapping[str, tuple[Floats, Floats]] = field(default_factory=dict)
    jobs: int = 1
    progress: Progress | None = None

    def each(self, name: str, crystals: Crystals, function: Callable[[Crystals], Array]) -> Array:
        """(n, ...) rows, one a crystal, of a function of a batch, in ``jobs`` processes.

        A subclass may keep them: ``name`` says what they are, with parameters and version.
        ``function`` stands at the top of its module, or is a ``functools.partial`` of one that
        does, so that another process can call it; a crystal's row does not depend on the others.
        """
        from crystalcodec.data.workers import pool_of

        size = 64
        parts = [crystals[start : start + size] for start in range(0, len(crystals), size)]
        if not parts:
            return np.asarray(function(crystals))
        rows = []
        with pool_of(min(self.jobs, len(parts))) as pool:
            for found in map(function, parts) if pool is None else pool.map(function, parts):
                rows.append(found)
                self.tell(name, min(len(rows) * size, len(crystals)), len(crystals))
        return np.concatenate(rows)

    def once(self, name: str, function: Callable[[], Mapping[str, Array]]) -> Mapping[str, Array]:
        """Arrays by name that a function gives; a subclass may keep them under ``name``.

        ``name`` says what they are and everything they were made of but the attempts, ``train``
        and ``held_out`` themselves.
        """
        return function()

    def tell(self, name: str, done: int, of: int) -> None:
        """Report progress, where somebody listens."""
        if self.progress:
            self.progress(name, done, of)
