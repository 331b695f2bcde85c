"""Elements or species that a table lacks: what stands in for them, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from crystalcodec.representations.base import RepresentationError

__all__ = ["MISSING", "MissingEntries", "check_missing", "filler"]

MISSING: Final[tuple[str, ...]] = ("error", "zero", "mean")
"""Policies: the crystal is a failure; zeros; the mean of each column over what the table has."""


@dataclass(frozen=True)
class MissingEntries:
    """How many crystals hold something that a table lacks.

    Parameters
    ----------
    table
        Name of the table.
    n_crystals
        How many were looked at.
    n_affected
        How many hold an element or species that the table lacks.
    counts
        Number of crystals by symbol of what is lacking, the most frequent first.
    """

    table: str
    n_crystals: int
    n_affected: int
    counts: Mapping[str, int]

    @classmethod
    def of(cls, table: str, n_crystals: int, owners: Sequence[int], names: Sequence[str]) -> Self:
        """From the crystal and the name of each lacking entry, once for each crystal."""
        counts = dict(Counter(names).most_common())
        return cls(table, n_crystals, len(set(owners)), counts)

    def __str__(self) -> str:
        which = ", ".join(f"{name} in {count}" for name, count in self.counts.items())
        text = f"{self.n_affected} of {self.n_crystals} crystals hold what {self.table!r} lacks"
        return f"{text}: {which}" if which else text


def check_missing(missing: str, policies: tuple[str, ...] = MISSING) -> None:
    """Raise :class:`RepresentationError` where there is no such policy."""
    if missing not in policies:
        raise RepresentationError(f"missing is {missing!r}, wanted one of {', '.join(policies)}")


def filler(values: npt.NDArray[np.float64], missing: str) -> npt.NDArray[np.float64]:
    """(d,) what stands in for a missing number of each column, NaN where that is an error."""
    if missing == "mean":
        mean: npt.NDArray[np.float64] = np.nanmean(values, axis=0)
        return mean
    return np.full(values.shape[1], 0.0 if missing == "zero" else np.nan)
