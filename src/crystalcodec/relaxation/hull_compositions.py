"""What crystals and phases are made of, as rows of amounts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import ATOMIC_NUMBERS, MAX_ATOMIC_NUMBER, reduced_formula
from crystalcodec.relaxation.base import PotentialError

__all__ = ["amounts_of", "atom_fractions", "composition_counts", "formulas_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_WIDTH: Final = MAX_ATOMIC_NUMBER + 1
_AT_ONCE: Final = 16384


def composition_counts(crystals: Crystals) -> Ints:
    """(n, 119) atoms in each reduced formula by atomic number."""
    out = np.zeros((len(crystals), _WIDTH), np.int64)
    for start in range(0, len(crystals), _AT_ONCE):
        counts = crystals[start : start + _AT_ONCE].element_counts
        out[start : start + _AT_ONCE] = counts // np.gcd.reduce(counts, axis=1)[:, None]
    return out


def atom_fractions(amounts: npt.NDArray[Any]) -> Floats:
    """(n, 119) share of each element among the atoms."""
    return np.asarray(amounts / amounts.sum(axis=1, keepdims=True), np.float64)


def formulas_of(compositions: Ints) -> tuple[str, ...]:
    """Reduced formula of each row."""
    amounts: list[dict[int, int]] = [{} for _ in range(len(compositions))]
    rows, numbers = np.nonzero(compositions)
    for row, z, amount in zip(
        rows.tolist(), numbers.tolist(), compositions[rows, numbers].tolist(), strict=True
    ):
        amounts[row][z] = amount
    return tuple(map(reduced_formula, amounts))


def amounts_of(of: str | Mapping[str, float]) -> Floats:
    """(119,) of a formula, or of amounts by element.

    Raises
    ------
    PotentialError
        If it is no composition.
    """
    given = _parsed(of) if isinstance(of, str) else of
    amounts = np.zeros(_WIDTH)
    for symbol, amount in given.items():
        if symbol not in ATOMIC_NUMBERS or not np.isfinite(amount) or amount < 0:
            raise PotentialError(f"{symbol} {amount}: wanted elements and amounts above 0")
        amounts[ATOMIC_NUMBERS[symbol]] += amount
    if not amounts.any():
        raise PotentialError("no elements, wanted a composition such as LiFePO4")
    return amounts


def _parsed(formula: str) -> Mapping[str, float]:
    from pymatgen.core import Composition

    try:
        return dict(Composition(formula).get_el_amt_dict())
    except ValueError as error:
        raise PotentialError(
            f"{formula!r} is no formula ({error}); wanted one such as LiFePO4"
        ) from None
