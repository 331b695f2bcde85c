"""The amounts of the elements of a crystal, and one-hot vectors of elements."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import ATOMIC_NUMBERS, MAX_ATOMIC_NUMBER, SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.representations.base import (
    FailureNotes,
    Field,
    Representation,
    RepresentationError,
)
from crystalcodec.representations.composition.pooling import element_parts
from crystalcodec.representations.parameters import misfit

__all__ = ["Composition", "one_hot"]

Ints = npt.NDArray[np.int64]

_VALUES: Final = ("fraction", "count", "presence")


@dataclass(frozen=True)
class Composition(Representation):
    """How much of each element a crystal holds, one number an element.

    Parameters
    ----------
    values
        ``fraction``: of the sites, so that the numbers add up to 1. ``count``: atoms in the
        reduced formula, that is over their greatest common divisor (2 and 3 for Al4O6; 1 for any
        pure element, also where the field writes H2). ``presence``: 1 where the element is there
        (multi-hot).
    elements
        Symbols of the columns, in their order; empty for all 118 by atomic number. A crystal of
        another element is a failure.
    discover
        Whether :meth:`fit` is to set ``elements`` to those of its crystals, by atomic number.

    Raises
    ------
    RepresentationError
        Unknown values, unknown elements or an element named twice.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> Composition(elements=("Li", "Na", "Cl")).encode(salt)["composition"]
    array([[0. , 0.5, 0.5]], dtype=float32)
    """

    name: ClassVar[str] = "composition"
    lost: ClassVar[str] = "the cell, all positions, and how many atoms the cell holds"
    invariances: ClassVar = frozenset(
        {"permutation", "translation", "rotation", "supercell", "unit_cell"}
    )
    continuity: ClassVar = "constant"

    values: str = "fraction"
    elements: tuple[str, ...] = ()
    discover: bool = False

    def __post_init__(self) -> None:
        if wrong := misfit(type(self), vars(self)):
            raise RepresentationError(wrong)
        object.__setattr__(self, "elements", tuple(self.elements))
        if self.values not in _VALUES:
            raise RepresentationError(
                f"values is {self.values!r}, wanted one of {', '.join(_VALUES)}"
            )
        _numbers_of(self.elements)
        if len(set(self.elements)) < len(self.elements):
            raise RepresentationError(f"an element is named twice: {', '.join(self.elements)}")

    @property
    def needs_fit(self) -> bool:
        """Whether elements are to be discovered and have not been."""
        return self.discover and not self.elements

    def fit(self, crystals: Crystals) -> Self:
        """With the elements of these crystals as columns, where they are to be discovered."""
        if not self.needs_fit:
            return self
        found = np.unique(crystals.numbers).tolist()
        return dataclasses.replace(self, elements=tuple(SYMBOLS[z] for z in found))

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbol of the element of each column."""
        return self.elements or SYMBOLS[1:]

    @property
    def fields(self) -> tuple[Field, ...]:
        """The amounts."""
        return (Field(self.values, "continuous", self.name, (len(self.symbols),)),)

    def feature_names(self) -> tuple[str, ...]:
        """What is counted, and of which element: ``"fraction Na"``."""
        return tuple(f"{self.values} {symbol}" for symbol in self.symbols)

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals of elements that have no column."""
        notes = FailureNotes()
        strange = _columns_by_number(self.symbols)[crystals.numbers] < 0
        found = np.zeros(len(crystals), bool)
        found[crystals.crystal_indices[strange]] = True

        def detail(i: int) -> str:
            there = np.unique(crystals[i].numbers).tolist()
            names = [SYMBOLS[z] for z in there if SYMBOLS[z] not in self.symbols]
            return f"{', '.join(names)}: not among the {len(self.symbols)} elements of the columns"

        notes.add(found, "element out of range", detail)
        return notes.in_order()

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        array = np.zeros((len(crystals), len(self.symbols)), np.float32)
        parts = element_parts(crystals)
        owner = np.repeat(np.arange(len(crystals)), np.diff(parts.starts))
        columns = _columns_by_number(self.symbols)[parts.rows]
        amounts = parts.amounts.astype(float)
        if self.values == "fraction":
            amounts /= np.bincount(owner, amounts, len(crystals))[owner]
        array[owner, columns] = 1.0 if self.values == "presence" else amounts
        return {self.name: array}


def one_hot(
    elements: Sequence[str | int] | npt.NDArray[Any], among: Sequence[str] = ()
) -> npt.NDArray[np.float32]:
    """One-hot vectors of elements.

    Parameters
    ----------
    elements : (n,)
        Symbols or atomic numbers.
    among
        Symbols of the columns in their order; empty for all 118 by atomic number.

    Returns
    -------
    (n, 118) or (n, len(among))
        1 in the column of the element, else 0.

    Raises
    ------
    RepresentationError
        No such element, or one that has no column.

    Examples
    --------
    >>> one_hot(["O", 11], among=("Na", "O"))
    array([[0., 1.],
           [1., 0.]], dtype=float32)
    """
    symbols = tuple(among) or SYMBOLS[1:]
    numbers = _numbers_of(elements)
    columns = _columns_by_number(symbols)[numbers]
    if (columns < 0).any():
        lacking = SYMBOLS[numbers[columns < 0][0]]
        raise RepresentationError(f"{lacking} is not among {', '.join(symbols)}")
    array = np.zeros((len(numbers), len(symbols)), np.float32)
    array[np.arange(len(numbers)), columns] = 1.0
    return array


def _numbers_of(elements: Sequence[str | int] | npt.NDArray[Any]) -> Ints:
    """(n,) atomic number of each symbol or number."""
    numbers = []
    for element in elements:
        known = ATOMIC_NUMBERS.get(element) if isinstance(element, str) else element
        if known is None or known != int(known) or not 1 <= known <= MAX_ATOMIC_NUMBER:
            raise RepresentationError(
                f"no element {element!r}: wanted a symbol or an atomic number from 1 to "
                f"{MAX_ATOMIC_NUMBER}"
            )
        numbers.append(int(known))
    return np.array(numbers, np.int64)


def _columns_by_number(symbols: Sequence[str]) -> Ints:
    """(119,) the column of each atomic number, -1 where it has none."""
    columns = np.full(MAX_ATOMIC_NUMBER + 1, -1)
    columns[_numbers_of(symbols)] = np.arange(len(symbols))
    return columns
