"""Whether compositions make chemical sense by SMACT's rules: as published, and as they are now.

A composition passes if it is one element, or metals only, or if its elements can be given
oxidation states that sum to zero while every cation is less electronegative than every anion.
Tools that enumerate all combinations of states need minutes for a dozen elements. Here a set of
whole numbers, the bits of one, holds all sums that a part of the elements can have; adding an
element shifts it once for each of its states. The order of electronegativities is a split: up to
some value elements are cations, beyond it anions; each split is one such sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data.compositions import reduced_composition_numbers
from crystalcodec.elements import ATOMIC_NUMBERS, MAX_ATOMIC_NUMBER
from crystalcodec.evaluation.validity import published_tables
from crystalcodec.registry import import_extra

__all__ = [
    "CompositionChecks",
    "StateRules",
    "check_compositions",
    "current_rules",
    "published_rules",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
States = tuple[int, ...]

_N_NUMBERS = MAX_ATOMIC_NUMBER + 1
# As in CompositionChecks.
_N_COLUMNS = 5


@dataclass(frozen=True, eq=False)
class StateRules:
    """What a composition is judged by.

    Parameters
    ----------
    name
        With the version: ``"SMACT 2.2.1"``.
    states : 119 tuples
        Oxidation states by atomic number; none where an element has none.
    electronegativities : (119,)
        Pauling's; NaN where unknown.
    metals : (119,)
        Which elements are metals.
    known : (119,)
        Which elements the rules know; a composition with another one never passes.
    unknown
        What a pair with an unknown electronegativity means: ``"fails"``, that the order does not
        hold; ``"in turn"``, as SMACT 2.2.1 within CDVAE has it, see :func:`published_rules`.
    """

    name: str
    states: tuple[States, ...]
    electronegativities: Floats
    metals: Bools
    known: Bools
    unknown: Literal["fails", "in turn"] = "fails"


@dataclass(frozen=True, eq=False)
class CompositionChecks:
    """What holds for the compositions of n crystals.

    Parameters
    ----------
    valid : (n,)
        Passes: one element, or metals only, or oxidation states that sum to zero in the order of
        electronegativity.
    single_element, all_metal : (n,)
        Passes as that, whatever its oxidation states.
    neutral : (n,)
        Oxidation states can sum to zero; of itself, without the two exceptions.
    ordered : (n,)
        There can be cations and anions so that each cation is less electronegative than each
        anion, whatever the sum; of itself.
    """

    valid: Bools
    single_element: Bools
    all_metal: Bools
    neutral: Bools
    ordered: Bools


def check_compositions(crystals: Crystals, rules: StateRules) -> CompositionChecks:
    """Judge the composition of each crystal; every reduced one is looked at once.

    >>> salt = Crystals.single(3 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17])
    >>> check_compositions(salt, published_rules()).valid.tolist()
    [True]
    """
    _, first, inverse = np.unique(
        reduced_composition_numbers(crystals), return_index=True, return_inverse=True
    )
    counts = crystals[first].element_counts
    counts //= np.maximum(np.gcd.reduce(counts, axis=1), 1)[:, None]
    rows = np.zeros((len(first), _N_COLUMNS), bool)
    for row, amounts in zip(rows, counts, strict=True):
        numbers = np.flatnonzero(amounts)
        row[:] = _check(numbers.tolist(), amounts[numbers].tolist(), rules)
    return CompositionChecks(*rows[inverse.reshape(-1)].T)


def _check(numbers: list[int], counts: list[int], rules: StateRules) -> list[bool]:
    """The five columns of one reduced composition, elements by rising atomic number."""
    if not rules.known[numbers].all():
        return [False] * _N_COLUMNS
    states = [rules.states[z] for z in numbers]
    single, metal = len(numbers) == 1, bool(rules.metals[numbers].all())
    neutral = _can_sum_to_zero(states, counts)
    splits = list(_splits(numbers, states, rules))
    valid = single or metal
    if neutral and not valid:
        valid = any(_can_sum_to_zero(choice, counts) for choice in splits)
    return [valid, single, metal, neutral, any(_has_both_signs(choice) for choice in splits)]


def _splits(numbers: list[int], states: list[States], rules: StateRules) -> Iterator[list[States]]:
    """Choices of states for each element; all in one choice, and no others, are in order."""
    values = rules.electronegativities[numbers].tolist()
    if any(np.isnan(value) for value in values):
        if rules.unknown == "in turn":
            yield from _in_turn(values, states)
        return
    for limit in sorted(set(values)):
        yield [
            tuple(s for s in some if (s >= 0 if value <= limit else s <= 0))
            for some, value in zip(states, values, strict=True)
        ]


def _in_turn(values: list[float], states: list[States]) -> Iterator[list[States]]:
    """As :func:`_splits`, with an unknown electronegativity, for states that are never zero.

    Pairs are looked at in turn. One out of order ends it, and the states fail. One with an
    unknown value ends it too: opposite charges cannot be compared, which counts as passed, and
    equal ones fail. The first element meets each of the others before any other pair is looked
    at, so that it and those before the first unknown one decide.
    """
    if np.isnan(values[0]):
        if len(states) > 1:  # the unknown one is a cation in every table
            yield [_above(states[0]), _below(states[1]), *states[2:]]
            yield [_below(states[0]), _above(states[1]), *states[2:]]
        return
    unknown = next(i for i, value in enumerate(values) if np.isnan(value))
    for sign in (1, -1):
        own, opposite = (_above, _below) if sign > 0 else (_below, _above)
        choice = [own(states[0])]
        for value, some in zip(values[1:unknown], states[1:unknown], strict=True):
            in_order = sign * (value - values[0]) > 0
            choice.append(some if in_order else own(some))
        yield [*choice, opposite(states[unknown]), *states[unknown + 1 :]]


def _above(states: States) -> States:
    return tuple(s for s in states if s > 0)


def _below(states: States) -> States:
    return tuple(s for s in states if s < 0)


def _has_both_signs(choice: Sequence[States]) -> bool:
    """Whether each element has a state, so that one is positive and another one negative."""
    if not all(choice):
        return False
    positive = [i for i, states in enumerate(choice) if max(states) > 0]
    negative = [i for i, states in enumerate(choice) if min(states) < 0]
    return bool(positive and negative) and len({*positive, *negative}) > 1


def _can_sum_to_zero(choice: Sequence[States], counts: Sequence[int]) -> bool:
    """Whether one state for each element, times the number of its atoms, can sum to zero."""
    sums, lowest = 1, 0  # bit k: lowest + k is a sum
    for states, count in zip(choice, counts, strict=True):
        if not states:
            return False
        least = min(states)
        added = 0
        for state in states:
            added |= sums << (state - least) * count
        sums, lowest = added, lowest + least * count
    return lowest <= 0 and bool(sums >> -lowest & 1)


@cache
def published_rules() -> StateRules:
    """The rules with which CDVAE's evaluation counted: its own check with SMACT 2.2.1.

    All oxidation states of SMACT's set of 2014, of which many are rare (Na -1, O +2).
    Electronegativities as in that version, where Zr has 0.33. Unknown ones (Pm, Rn, Lr; He, Ne and
    Ar have no states) are met in turn: of the pairs of elements, by atomic number, the first that
    is out of order or has an unknown value decides; an unknown one between a cation and an anion
    passes, and between two cations it fails. Elements beyond Lr, with which that code stops, are
    not known.

    References
    ----------
    Xie et al., Crystal diffusion variational autoencoder, arXiv 2110.06197; Davies et al.,
    10.1016/j.chempr.2016.09.010 and 10.21105/joss.01361.
    """
    states: list[States] = [()] * _N_NUMBERS
    for word in published_tables.OXIDATION_STATES.split():
        symbol, _, numbers = word.partition(":")
        states[ATOMIC_NUMBERS[symbol]] = tuple(map(int, filter(None, numbers.split(","))))
    words = published_tables.ELECTRONEGATIVITIES.split()
    values = np.full(_N_NUMBERS, np.nan)
    values[1 : len(words) + 1] = [np.nan if word == "-" else float(word) for word in words]
    metals = np.zeros(_N_NUMBERS, bool)
    metals[[ATOMIC_NUMBERS[symbol] for symbol in published_tables.METALS.split()]] = True
    known = (np.arange(_N_NUMBERS) >= 1) & (np.arange(_N_NUMBERS) <= len(words))
    return StateRules("SMACT 2.2.1", tuple(states), values, metals, known, "in turn")


@cache
def current_rules() -> StateRules:
    """The rules of ``smact.screening.smact_validity`` as installed, with its defaults.

    Oxidation states found at least three times in the ICSD of 2024, metals as before, no mixed
    valence (each element has one state). An unknown electronegativity fails.

    Raises
    ------
    MissingExtraError
        If SMACT is not installed: it comes with the extra ``judge``.
    """
    smact: Any = import_extra("smact", "judge")
    screening: Any = import_extra("smact.screening", "judge")
    oxidation: Any = import_extra("smact.utils.oxidation", "judge")
    from importlib.metadata import version

    defaults = screening.ICSD24FilterConfig()
    table = oxidation.ICSD24OxStatesFilter().filter(
        consensus=defaults.consensus,
        include_zero=defaults.include_zero,
        commonality=defaults.commonality,
    )
    found: Mapping[str, str] = dict(zip(table["element"], table["oxidation_state"], strict=True))
    elements = smact.element_dictionary()
    states: list[States] = [()] * _N_NUMBERS
    values = np.full(_N_NUMBERS, np.nan)
    metals, known = np.zeros(_N_NUMBERS, bool), np.zeros(_N_NUMBERS, bool)
    for symbol, element in elements.items():
        z = ATOMIC_NUMBERS[symbol]
        known[z], metals[z] = True, symbol in smact.metals
        states[z] = tuple(map(int, str(found.get(symbol, "")).split()))
        if element.pauling_eneg is not None:
            values[z] = element.pauling_eneg
    return StateRules(f"SMACT {version('smact')}", tuple(states), values, metals, known)
