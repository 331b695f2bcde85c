"""The vectors of a crystal's elements or species, pooled into one, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from crystalcodec.crystals import Crystals
from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.registry import did_you_mean
from crystalcodec.representations.base import RepresentationError

__all__ = ["POOLINGS", "Parts", "checked_pooling", "element_parts", "pool"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_WIDTH: Final = MAX_ATOMIC_NUMBER + 1
_COUNTED_AT_ONCE: Final = 4096  # crystals: a table of counts of 4 MB
_NUMBERS_AT_ONCE: Final = 2**15  # of one pooled array of a block, so that its parts stay in cache


@dataclass(frozen=True, eq=False)
class Parts:
    """What crystals are made of: rows of a table, and how much of each.

    Parameters
    ----------
    starts : (n + 1,)
        Parts of crystal ``i`` are ``starts[i]:starts[i + 1]``; at least one each.
    rows : (p,)
        Row of the table that each part stands for.
    amounts : (p,)
        How many atoms of it, without a common divisor in a crystal.
    """

    starts: Ints
    rows: Ints
    amounts: Ints

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, key: slice) -> Parts:
        """Crystals from one position to another."""
        first, last, _ = key.indices(len(self))
        starts = self.starts[first : last + 1]
        part = slice(starts[0], starts[-1])
        return Parts(starts - starts[0], self.rows[part], self.amounts[part])

    @classmethod
    def reduced(cls, starts: Ints, rows: Ints, amounts: Ints) -> Parts:
        """Amounts over the greatest common divisor of each crystal's."""
        divisors = np.gcd.reduceat(amounts, starts[:-1]) if len(starts) > 1 else amounts
        return cls(starts, rows, amounts // np.repeat(divisors, np.diff(starts)))


def element_parts(crystals: Crystals) -> Parts:
    """The elements of each crystal in the order of atomic numbers; the row is that number."""
    places, amounts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for first in range(0, len(crystals), _COUNTED_AT_ONCE):
        counts = crystals[first : first + _COUNTED_AT_ONCE].element_counts.ravel()
        there = np.flatnonzero(counts != 0)
        places.append(there + first * _WIDTH)
        amounts.append(counts[there])
    owner, numbers = np.divmod(np.concatenate(places), _WIDTH)
    starts = np.searchsorted(owner, np.arange(len(crystals) + 1))
    return Parts.reduced(starts, numbers, np.concatenate(amounts))


class _Block:
    """Some crystals' parts, and each pooling of their rows as a method: (n, d)."""

    def __init__(self, parts: Parts, values: Floats) -> None:
        self.parts = parts
        self.values = values

    @cached_property
    def fractions(self) -> Floats:
        """(p,) of the atoms of each part's crystal."""
        parts = self.parts
        totals = np.add.reduceat(parts.amounts, parts.starts[:-1])
        fractions: Floats = parts.amounts / np.repeat(totals, np.diff(parts.starts))
        return fractions

    @cached_property
    def mean(self) -> Floats:
        return self._product(self.fractions, self.parts.rows, self.values)

    def sum(self) -> Floats:
        return self._product(self.parts.amounts.astype(float), self.parts.rows, self.values)

    @cached_property
    def minimum(self) -> Floats:
        return self._extreme(np.minimum, self.parts.starts, self.parts.rows)

    @cached_property
    def maximum(self) -> Floats:
        return self._extreme(np.maximum, self.parts.starts, self.parts.rows)

    def range(self) -> Floats:
        return self.maximum - self.minimum

    def standard_deviation(self) -> Floats:
        return np.sqrt(self._mean_of(self._deviations**2))

    def mean_absolute_deviation(self) -> Floats:
        return self._mean_of(np.abs(self._deviations))

    def mode(self) -> Floats:
        parts = self.parts
        most = np.maximum.reduceat(parts.amounts, parts.starts[:-1])
        kept = np.flatnonzero(parts.amounts == np.repeat(most, np.diff(parts.starts)))
        return self._extreme(np.minimum, np.searchsorted(kept, parts.starts), parts.rows[kept])

    @cached_property
    def _deviations(self) -> Floats:
        """(p, d) of each part from the mean of its crystal."""
        parts = self.parts
        return self.values[parts.rows] - np.repeat(self.mean, np.diff(parts.starts), axis=0)

    def _mean_of(self, numbers: Floats) -> Floats:
        """Of numbers (p, d), a row a part, weighted."""
        return self._product(self.fractions, np.arange(len(numbers)), numbers)

    def _product(self, weights: Floats, rows: Ints, values: Floats) -> Floats:
        """Sum of weighted rows of each crystal.

        One sparse matrix product, which adds up the parts of a crystal in their order: unlike a
        dense product it gives the same bits whatever stands beside the crystal in its batch.
        """
        shape = (len(self.parts), len(values))
        product: Floats = csr_array((weights, rows, self.parts.starts), shape=shape) @ values
        return product

    def _extreme(self, choose: Callable[[Any, Any], Any], starts: Ints, rows: Ints) -> Floats:
        """Smallest or largest row of each crystal: all first parts, then all second ones."""
        counts = np.diff(starts)
        extreme = self.values[rows[starts[:-1]]]
        for part in range(1, counts.max(initial=1)):
            more = np.flatnonzero(counts > part)
            extreme[more] = choose(extreme[more], self.values[rows[starts[more] + part]])
        return extreme


POOLINGS: Final[tuple[str, ...]] = (
    "mean",
    "sum",
    "minimum",
    "maximum",
    "range",
    "standard_deviation",
    "mean_absolute_deviation",
    "mode",
)
"""How rows are pooled. ``mean`` and both deviations are weighted with the fractions of the atoms,
``sum`` with the amounts of the reduced formula; ``mode`` is the row of what there is most of, the
smallest number of those where several are equally many."""


def checked_pooling(pooling: str | Iterable[str]) -> tuple[str, ...]:
    """The poolings as a tuple.

    Raises
    ------
    RepresentationError
        None, one twice, or an unknown one.
    """
    names = (pooling,) if isinstance(pooling, str) else tuple(pooling)
    for name in names:
        if name not in POOLINGS:
            raise RepresentationError(f"no pooling {name!r}{did_you_mean(str(name), POOLINGS)}")
    if not names or len(set(names)) < len(names):
        raise RepresentationError(f"pooling is {names}, wanted at least one, each once")
    return names


def pool(parts: Parts, values: Floats, pooling: tuple[str, ...], out: npt.NDArray[Any]) -> None:
    """Pool the rows of each crystal, block by block.

    Parameters
    ----------
    parts
        Of n crystals.
    values : (rows, d)
        The table, finite in every row that a part names.
    pooling
        Of :data:`POOLINGS`.
    out : (n, len(pooling), d)
        Where the numbers go; they are float64 on the way.
    """
    step = max(1, _NUMBERS_AT_ONCE // values.shape[1])
    for first in range(0, len(parts), step):
        block = _Block(parts[first : first + step], values)
        for place, name in enumerate(pooling):
            pooled = getattr(block, name)
            out[first : first + step, place] = pooled() if callable(pooled) else pooled
