"""Values of a CIF: numbers with uncertainties, species, formulas, and where they stand."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final

from crystalcodec.elements import ATOMIC_NUMBERS

__all__ = [
    "CifError",
    "Tags",
    "formula_of",
    "is_null",
    "number",
    "number_of_label",
    "number_of_symbol",
]

Tags = Mapping[str, "str | list[str]"]
"""A block by lower-case tag: the value of a pair, the column of a loop."""


class CifError(ValueError):
    """A block that holds no crystal that can be held here.

    Parameters
    ----------
    reason
        The kind of failure, in few fixed words.
    detail
        Specifics, and what to do.
    tag, row
        Where it stands: the tag, and the row of its loop.
    value
        The text that is at fault.
    """

    def __init__(
        self, reason: str, detail: str, *, tag: str = "", row: int | None = None, value: str = ""
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail
        self.tag, self.row, self.value = tag, row, value


_NUMBER: Final = re.compile(
    r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?)\s*(?:\(\s*\d*\.?\d*\s*\))?"
)
_SYMBOL: Final = re.compile(r"([A-Za-z]{1,3})(?![A-Za-z])")
_FORMULA_TERM: Final = re.compile(r"([A-Z][a-z]?)(\d*\.?\d*)")
_ISOTOPES: Final = {"D": "deuterium", "T": "tritium"}
# Names of water and of groups in CIFs, with the element whose coordinates they carry.
_WITH_HYDROGEN: Final = {
    **dict.fromkeys(("OH", "OH2", "HOH", "H2O", "WAT", "O-H", "H3O"), "O"),
    **dict.fromkeys(("NH", "NH2", "NH3", "NH4"), "N"),
    **dict.fromkeys(("CH", "CH2", "CH3", "CH4"), "C"),
}
_CHARGE: Final = re.compile(r"(?:\d?[+-]|[+-]\d?)$")
# Groups whose capitals begin with the name of an element: carbonate is no cobalt.
_GROUP: Final = re.compile(
    r"(?:(?:NO[23]?|CN|PO[34]|BH4|HS|ND[34])(?:\d?[+-]|[+-]\d?)?|CO3(?:2?-|-2))$"
)
_LAST_IN_CAPITALS: Final = 101  # heavier ones are in no crystal: NH is not nihonium
_ALIASES: Final = {"OW": "O", "HW": "H"}


def is_null(value: str) -> bool:
    """Whether a value says nothing: ``?``, ``.`` or empty."""
    return value.strip("'\" ") in ("", "?", ".")


def number(value: str) -> float | None:
    """A number without its uncertainty: 5.431 for ``5.431(2)``; None for ``?`` and ``.``.

    Raises
    ------
    ValueError
        Other text.
    """
    try:
        # Python would also take 1_000; NaN and infinity are refused with the crystal.
        if "_" not in value:
            return float(value)
    except ValueError:
        pass
    bare = value.strip("'\" ")
    if is_null(bare):
        return None
    match = _NUMBER.fullmatch(bare)
    if match is None:
        raise ValueError(f"{value!r} is no number")
    return float(match[1].replace("d", "e").replace("D", "e"))


@lru_cache(maxsize=65536)
def number_of_symbol(value: str) -> int:
    """Atomic number of a type symbol: 26 for ``Fe``, ``Fe3+``, ``FE``.

    Raises
    ------
    CifError
        An isotope, a group with hydrogen in it, a dummy, or no element.
    """
    bare = value.strip("'\" ")
    name = _CHARGE.sub("", bare)
    for one in (bare, name, name.rstrip("0123456789")):
        _refuse_by_name(one)
    if _GROUP.match(bare):
        raise _group(value)
    match = _SYMBOL.match(bare)
    letters = match[1] if match else ""
    symbol = _ALIASES.get(letters.upper(), letters).title()
    if symbol in _ISOTOPES:
        raise _isotope(value, symbol)
    if symbol not in ATOMIC_NUMBERS:
        raise _unknown(value)
    if ATOMIC_NUMBERS[symbol] > _LAST_IN_CAPITALS and letters.isupper():
        raise _group(value)
    return ATOMIC_NUMBERS[symbol]


def number_of_label(value: str, formula: Collection[int]) -> int:
    """Atomic number of a site label, where the file gives no type symbol.

    ``Fe1`` is iron. Letters that may be one element or the first letter another (``HO1``:
    holmium, or a hydrogen called O1) are decided by the elements of the file's formula.

    Raises
    ------
    CifError
        As of a type symbol, and a label that could be either of two elements.
    """
    bare = value.strip("'\" ")
    letters = re.match(r"[A-Za-z]*", bare)
    start = letters[0] if letters else ""
    _refuse_by_name(start)
    if start.upper() in _ALIASES:
        return ATOMIC_NUMBERS[_ALIASES[start.upper()]]
    two, one = start[:2].title(), start[:1].upper()
    if one in _ISOTOPES and two not in ATOMIC_NUMBERS:
        raise _isotope(value, one)
    candidates = [ATOMIC_NUMBERS[s] for s in dict.fromkeys((two, one)) if s in ATOMIC_NUMBERS]
    if not candidates:
        raise _unknown(value)
    if start[1:2].islower() and two in ATOMIC_NUMBERS:
        return ATOMIC_NUMBERS[two]
    possible = [z for z in candidates if z in formula] if formula else candidates
    if len(possible) == 1:
        return possible[0]
    raise CifError(
        "unknown species",
        f"label {value} can stand for more than one element: add _atom_site_type_symbol",
        tag="_atom_site_label",
        value=value,
    )


def _refuse_by_name(bare: str) -> None:
    name = bare.upper()
    if name in _WITH_HYDROGEN and bare not in ATOMIC_NUMBERS:
        raise CifError(
            "implicit hydrogen",
            f"species {bare} stands for {_WITH_HYDROGEN[name]} with hydrogen that has no "
            "coordinates: add the hydrogen sites to the file",
            value=bare,
        )
    if " + " in bare or "," in bare:
        raise CifError(
            "partial occupancy",
            f"species {bare!r} is a mixture, and a site here holds exactly one atom: order the "
            "structure first",
            value=bare,
        )


def _isotope(value: str, symbol: str) -> CifError:
    return CifError(
        "isotope",
        f"species {value} is {_ISOTOPES[symbol]}, and crystals here hold no isotopes: write H "
        "where the isotope does not matter",
        value=value,
    )


def _group(value: str) -> CifError:
    return CifError(
        "unknown species",
        f"{value} is a group of atoms, and a site here holds exactly one: name an element (of two "
        "letters the second is small: No, Po, Nd)",
        value=value,
    )


def _unknown(value: str) -> CifError:
    return CifError(
        "unknown species",
        f"{value} is no element: name it, or take the site out where it is a dummy",
        value=value,
    )


def formula_of(value: str) -> dict[int, float] | None:
    """Amounts by atomic number of a chemical formula; None where it cannot be told for sure."""
    amounts: dict[int, float] = {}
    for word in value.strip("'\";\n\r ").split():
        for z, amount in _terms_of(word):
            amounts[z] = amounts.get(z, 0.0) + amount
    return None if 0 in amounts or not amounts else amounts


@lru_cache(maxsize=65536)
def _terms_of(word: str) -> tuple[tuple[int, float], ...]:
    """Elements and amounts of a word of a formula; element 0 where it is no such word."""
    terms = [*_FORMULA_TERM.finditer(word)]
    if "".join(term[0] for term in terms) != word:
        return ((0, 0.0),)
    parsed = []
    for symbol, amount in (term.groups() for term in terms):
        z = ATOMIC_NUMBERS.get(symbol, 0)
        value = float(amount or 1) if amount != "." else 0.0
        if z == 0 or value > 0:
            parsed.append((z, value))
    return tuple(parsed)
