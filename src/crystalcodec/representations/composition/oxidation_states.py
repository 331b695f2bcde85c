"""The oxidation states of the elements of crystals: given, or guessed from the formula."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import MAX_ATOMIC_NUMBER, SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.representations.base import FailureNotes, RepresentationError
from crystalcodec.representations.composition.pooling import element_parts

__all__ = ["LARGEST_STATE", "AssignedSpecies", "assign_species", "species_name"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
States = tuple[tuple[str, int], ...]

LARGEST_STATE: Final = 9  # of either sign; Ir in IrO4+ has the highest known
_STATES: Final = 2 * LARGEST_STATE + 1

_REASONS: Final = {
    "no oxidation states": (
        "{formula}: no combination of the usual oxidation states is neutral; give them"
    ),
    "formula too long": (
        "{formula} has {n_atoms} atoms, oxidation states are guessed for at most {most} "
        "(max_formula_atoms); give them"
    ),
}


@dataclass(frozen=True, eq=False)
class AssignedSpecies:
    """The species of each crystal of a batch, and how its oxidation states are known.

    Parameters
    ----------
    starts : (n + 1,)
        Species of crystal ``i`` are ``starts[i]:starts[i + 1]``; none where there is a failure.
    numbers, oxidation_states : (m,)
        Atomic number and oxidation state of each species, in this order within a crystal.
    amounts : (m,)
        Atoms of it: in the cell where states are given by site or element, else in the reduced
        formula.
    how : (n,)
        ``"given"``, ``"guessed"`` or ``"none"``.
    failures
        Why crystals have none.
    """

    starts: Ints
    numbers: Ints
    oxidation_states: Ints
    amounts: Ints
    how: npt.NDArray[np.str_]
    failures: tuple[Failure, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Number of crystals whose oxidation states are given, guessed, not known."""
        counted = Counter(self.how.tolist())
        return {how: counted[how] for how in ("given", "guessed", "none")}

    def __str__(self) -> str:
        given, guessed, none = self.counts.values()
        return (
            f"oxidation states of {len(self.how)} crystals: {given} given, {guessed} guessed, "
            f"{none} not known"
        )


def species_name(number: int, state: int) -> str:
    """As the field writes it.

    >>> species_name(26, 3), species_name(17, -1), species_name(26, 0)
    ('Fe3+', 'Cl-', 'Fe0+')
    """
    size = "" if abs(state) == 1 else str(abs(state))
    return f"{SYMBOLS[number]}{size}{'-' if state < 0 else '+'}"


def assign_species(
    crystals: Crystals,
    site_states: npt.ArrayLike | None,
    element_states: dict[str, int],
    *,
    guess: bool,
    max_formula_atoms: int,
) -> AssignedSpecies:
    """Species of each crystal: by site where given, else by element, else guessed.

    Parameters
    ----------
    crystals
        A batch of n.
    site_states : (n_sites_total,)
        Oxidation state of each site, NaN for all sites of crystals where they are not known.
    element_states
        Oxidation state by symbol, for crystals without states by site.
    guess
        Whether to guess where elements of a crystal are left.
    max_formula_atoms
        Longest reduced formula to guess for: the work grows fast with it.

    Raises
    ------
    RepresentationError
        States that are not one number a site.
    """
    notes = FailureNotes()
    states = _given_states(crystals, site_states, element_states, notes)
    wrong = notes.mask(len(crystals))
    complete = _all_sites(crystals, np.isfinite(states)) & ~wrong
    how = np.where(complete, "given", "none").astype("<U7")  # room for "guessed"
    # A number for each (crystal, element, state), which sorts in this order.
    sites = complete[crystals.crystal_indices]
    places = crystals.crystal_indices[sites] * (MAX_ATOMIC_NUMBER + 1) + crystals.numbers[sites]
    keys, amounts = np.unique(
        places * _STATES + states[sites].astype(np.int64) + LARGEST_STATE, return_counts=True
    )
    left = np.flatnonzero(~complete & ~wrong)
    if guess:
        more, more_amounts, failed = _guessed(
            crystals[left], tuple(element_states.items()), max_formula_atoms
        )
        owners, rest = np.divmod(more, (MAX_ATOMIC_NUMBER + 1) * _STATES)
        how[left[np.unique(owners)]] = "guessed"
        more = left[owners] * (MAX_ATOMIC_NUMBER + 1) * _STATES + rest
        keys, amounts = np.r_[keys, more], np.r_[amounts, more_amounts]
        for reason in _REASONS:
            details = {int(left[i]): g.detail for i, g in failed.items() if g.reason == reason}
            found = np.zeros(len(crystals), bool)
            found[[*details]] = True
            notes.add(found, reason, details.__getitem__)
    else:
        notes.add(how == "none", "no oxidation states", "none are given, and none are guessed")
    order = np.argsort(keys)
    places, states_from_least = np.divmod(keys[order], _STATES)
    owners, numbers = np.divmod(places, MAX_ATOMIC_NUMBER + 1)
    return AssignedSpecies(
        np.searchsorted(owners, np.arange(len(crystals) + 1)),
        numbers,
        states_from_least - LARGEST_STATE,
        amounts[order],
        how,
        tuple(notes.in_order()),
    )


def _given_states(
    crystals: Crystals,
    site_states: npt.ArrayLike | None,
    element_states: dict[str, int],
    notes: FailureNotes,
) -> Floats:
    """(n_sites_total,) the state of each site, NaN where it is not given."""
    by_number = np.full(MAX_ATOMIC_NUMBER + 1, np.nan)
    for symbol, state in element_states.items():
        by_number[SYMBOLS.index(symbol)] = state
    by_element = by_number[crystals.numbers]
    if site_states is None:
        return by_element
    states = np.asarray(site_states)
    if states.shape != crystals.numbers.shape or states.dtype.kind not in "iuf":
        raise RepresentationError(
            f"oxidation states of shape {states.shape} and type {states.dtype}: wanted a number "
            f"for each of the {len(crystals.numbers)} sites, NaN where it is not known"
        )
    states = states.astype(float)
    known = ~np.isnan(states)
    known_any, known_all = ~_all_sites(crystals, ~known), _all_sites(crystals, known)
    notes.add(
        known_any & ~known_all,
        "oxidation states incomplete",
        "some sites have one and others NaN: give all or none",
    )
    fits = ~known | ((np.abs(states) <= LARGEST_STATE) & (states == np.rint(states)))

    def detail(i: int) -> str:
        of_crystal = slice(crystals.offsets[i], crystals.offsets[i + 1])
        first = states[of_crystal][~fits[of_crystal]][0]
        return f"{first:g}, wanted whole numbers from -{LARGEST_STATE} to {LARGEST_STATE}"

    notes.add(~_all_sites(crystals, fits), "no such oxidation state", detail)
    return np.where(known_any[crystals.crystal_indices], states, by_element)


def _all_sites(crystals: Crystals, holds: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(n,) whether it holds for all sites of a crystal."""
    all_sites = np.ones(len(crystals), bool)
    all_sites[crystals.crystal_indices[~holds]] = False
    return all_sites


def _guessed(
    crystals: Crystals, given: States, max_atoms: int
) -> tuple[Ints, Ints, dict[int, _Guess]]:
    """Keys and amounts of guessed species; the guesses that failed, by crystal."""
    parts = element_parts(crystals)
    counts = np.diff(parts.starts)
    width = int(counts.max(initial=1))
    owner = np.repeat(np.arange(len(crystals)), counts)
    place = np.arange(len(owner)) - parts.starts[owner]
    table = np.zeros((len(crystals), 2, width), np.int64)
    table[owner, 0, place], table[owner, 1, place] = parts.rows, parts.amounts
    formulas, which = np.unique(
        table.reshape(len(crystals), 2 * width), axis=0, return_inverse=True
    )
    # One guess for each formula, however many crystals have it.
    guesses = [
        _guess(tuple((z, a) for z, a in zip(*row, strict=True) if z), given, max_atoms)
        for row in formulas.reshape(-1, 2, width).tolist()
    ]
    failed = {
        i: guesses[formula]
        for i, formula in enumerate(which.tolist())
        if not guesses[formula].species
    }
    lengths = np.array([len(guess.species) for guess in guesses], np.int64)
    starts = np.r_[0, np.cumsum(lengths)]
    flat = np.array([s for guess in guesses for s in guess.species], np.int64).reshape(-1, 3)
    owners = np.repeat(np.arange(len(crystals)), lengths[which])
    firsts = np.r_[0, np.cumsum(lengths[which])]
    rows = flat[starts[which][owners] + np.arange(len(owners)) - firsts[owners]]
    keys = (owners * (MAX_ATOMIC_NUMBER + 1) + rows[:, 0]) * _STATES + rows[:, 1] + LARGEST_STATE
    return keys, rows[:, 2], failed


class _Guess(NamedTuple):
    """Atomic number, oxidation state and amount of each species; else why there are none."""

    species: tuple[tuple[int, int, int], ...]
    reason: str = ""
    detail: str = ""


@lru_cache(maxsize=2**17)
def _guess(formula: tuple[tuple[int, int], ...], given: States, max_atoms: int) -> _Guess:
    if len(formula) == 1:
        ((number, amount),) = formula
        return _Guess(((number, 0, amount),))
    n_atoms = sum(amount for _, amount in formula)
    amounts = {SYMBOLS[number]: amount for number, amount in formula}
    text = "".join(f"{symbol}{amount}" for symbol, amount in amounts.items())
    reason = "formula too long"
    if n_atoms <= max_atoms:
        from pymatgen.core import Composition  # takes a while to import

        reason = "no oxidation states"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            species = Composition(amounts).add_charges_from_oxi_state_guesses(
                oxi_states_override={symbol: [state] for symbol, state in given}
            )
        found = sorted((s.Z, int(s.oxi_state), int(amount)) for s, amount in species.items())
        if any(state for _, state, _ in found):  # pymatgen gives zeros where nothing fits
            return _Guess(tuple(found))
    detail = _REASONS[reason].format(formula=text, n_atoms=n_atoms, most=max_atoms)
    return _Guess((), reason, detail)
