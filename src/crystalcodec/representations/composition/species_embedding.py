"""Vectors of species, elements in oxidation states, pooled over a composition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import ATOMIC_NUMBERS, MAX_ATOMIC_NUMBER
from crystalcodec.failures import Failure
from crystalcodec.registry import did_you_mean
from crystalcodec.representations.base import (
    Encoded,
    FailureNotes,
    Field,
    Representation,
    RepresentationError,
    held_crystals,
)
from crystalcodec.representations.composition.missing import (
    MissingEntries,
    check_missing,
    filler,
)
from crystalcodec.representations.composition.oxidation_states import (
    LARGEST_STATE,
    AssignedSpecies,
    assign_species,
    species_name,
)
from crystalcodec.representations.composition.pooling import Parts, checked_pooling, pool
from crystalcodec.representations.element_tables import SPECIES_TABLES, species_table
from crystalcodec.representations.parameters import misfit

__all__ = ["SpeciesEmbedding"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SpeciesEmbedding(Representation):
    """The rows of a table of species, pooled over the species of a crystal.

    Oxidation states are given for each site (:meth:`encode`), or by element (a parameter), or
    else guessed from the reduced formula: the most frequent combination in the ICSD that is
    neutral, by pymatgen's ``Composition.add_charges_from_oxi_state_guesses``, where the atoms of
    one element may differ (Fe3O4 holds Fe2+ and Fe3+). A pure element is neutral.
    :meth:`assign` says which crystals are which. Given states are taken as they stand, neutral or
    not. Bond lengths are not looked at.

    Parameters
    ----------
    table
        Name in :data:`~crystalcodec.representations.element_tables.SPECIES_TABLES`.
    pooling
        As for :class:`ElementEmbedding`, over species: ``sum`` takes the amounts of the smallest
        formula with whole numbers of each species.
    missing
        What happens to a crystal of a species that the table lacks: ``error``, it is a failure;
        ``zero``, zeros stand in; ``mean``, the mean over the table's species.
        :meth:`missing_species` counts them.
    oxidation_states
        Pairs (symbol, state), or a mapping: they hold in every crystal without states by site,
        and a guess keeps to them.
    guess
        Whether to guess; where not, a crystal of an element without a given state is a failure.
    max_formula_atoms
        Longest reduced formula to guess for; longer ones are failures, since the work grows
        steeply.

    Raises
    ------
    RepresentationError
        An unknown table, pooling, policy or element, a state beyond 9 of either sign.
    MissingExtraError
        On encoding, where the package ElementEmbeddings is not installed.

    References
    ----------
    SkipSpecies: 10.26434/chemrxiv-2024-8621l.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> embedding = SpeciesEmbedding()
    >>> embedding.encode(salt)["species_embedding"].shape
    (1, 200)
    >>> print(embedding.assign(salt))
    oxidation states of 1 crystals: 0 given, 1 guessed, 0 not known
    """

    name: ClassVar[str] = "species_embedding"
    lost: ClassVar[str] = "the cell, all positions, and of the species all but the pooled vector"
    invariances: ClassVar = frozenset(
        {"permutation", "translation", "rotation", "supercell", "unit_cell"}
    )
    continuity: ClassVar = "constant"

    table: str = "skipspecies"
    pooling: tuple[str, ...] = ("mean",)
    missing: str = "error"
    oxidation_states: tuple[tuple[str, int], ...] = ()
    guess: bool = True
    max_formula_atoms: int = 60

    def __post_init__(self) -> None:
        if isinstance(self.pooling, str):
            object.__setattr__(self, "pooling", (self.pooling,))
        if isinstance(self.oxidation_states, Mapping):
            object.__setattr__(self, "oxidation_states", tuple(self.oxidation_states.items()))
        if wrong := misfit(type(self), vars(self)):
            raise RepresentationError(wrong)
        if self.table not in SPECIES_TABLES:
            raise RepresentationError(
                f"no table {self.table!r}{did_you_mean(self.table, [*SPECIES_TABLES])}"
            )
        object.__setattr__(self, "pooling", checked_pooling(self.pooling))
        check_missing(self.missing)
        for symbol, state in self.oxidation_states:
            known = range(-LARGEST_STATE, LARGEST_STATE + 1)
            if symbol not in ATOMIC_NUMBERS or state not in known:
                raise RepresentationError(
                    f"oxidation state {state!r} of {symbol!r}: wanted an element and a whole "
                    f"number from -{LARGEST_STATE} to {LARGEST_STATE}"
                )
        object.__setattr__(self, "oxidation_states", tuple(map(tuple, self.oxidation_states)))
        if len(dict(self.oxidation_states)) < len(self.oxidation_states):
            raise RepresentationError(f"an element is named twice: {self.oxidation_states}")
        if self.max_formula_atoms < 1:
            raise RepresentationError(f"max_formula_atoms is {self.max_formula_atoms}, wanted 1 up")

    @property
    def fields(self) -> tuple[Field, ...]:
        """A field for each pooling."""
        d = SPECIES_TABLES[self.table].dimension
        return tuple(
            Field(pooling, "continuous", self.name, (d,), (slice(i * d, (i + 1) * d),))
            for i, pooling in enumerate(self.pooling)
        )

    def feature_names(self) -> tuple[str, ...]:
        """Pooling and column of the table: ``"mean skipspecies_7"``."""
        columns = species_table(self.table).feature_names
        return tuple(f"{pooling} {column}" for pooling in self.pooling for column in columns)

    def assign(
        self, crystals: Crystals, site_oxidation_states: npt.ArrayLike | None = None
    ) -> AssignedSpecies:
        """The species of each crystal, and whether its states are given, guessed or not known.

        Parameters
        ----------
        crystals
            A batch.
        site_oxidation_states : (n_sites_total,)
            As for :meth:`encode`.
        """
        return assign_species(
            crystals,
            site_oxidation_states,
            dict(self.oxidation_states),
            guess=self.guess,
            max_formula_atoms=self.max_formula_atoms,
        )

    def missing_species(
        self, crystals: Crystals, site_oxidation_states: npt.ArrayLike | None = None
    ) -> MissingEntries:
        """How many of these crystals hold a species that the table lacks, and which."""
        assigned = self.assign(crystals, site_oxidation_states)
        owners, names = self._lacking(assigned)
        return MissingEntries.of(self.table, len(crystals), owners.tolist(), names)

    def encode(
        self, crystals: Crystals, site_oxidation_states: npt.ArrayLike | None = None
    ) -> Encoded:
        """Encode a batch; as :meth:`Representation.encode`.

        Parameters
        ----------
        crystals
            Any number of crystals.
        site_oxidation_states : (n_sites_total,)
            Oxidation state of each site, where they are known; NaN for all sites of a crystal
            where they are not.

        Raises
        ------
        RepresentationError
            States that are not one number a site.
        """
        self._check_ready(crystals)
        assigned = self.assign(crystals, site_oxidation_states)
        failures = self._failures(assigned)
        _, index = held_crystals(crystals, failures)
        return Encoded({self.name: self._pooled(assigned, index)}, index, tuple(failures))

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals whose oxidation states are not known, or of species that the table lacks."""
        return self._failures(self.assign(crystals))

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        return {self.name: self._pooled(self.assign(crystals), np.arange(len(crystals)))}

    def _failures(self, assigned: AssignedSpecies) -> list[Failure]:
        owners, names = self._lacking(assigned)
        if self.missing != "error":
            owners, names = owners[:0], []
        details: dict[int, str] = {}
        for owner, name in zip(owners.tolist(), names, strict=True):
            details[owner] = f"{details[owner]}, {name}" if owner in details else name
        found = np.zeros(len(assigned.how), bool)
        found[owners] = True
        notes = FailureNotes()
        notes.add(
            found,
            "species not in the table",
            lambda i: f"{details[i]}, not in {self.table!r}; use missing='zero' or 'mean'",
        )
        return sorted([*notes.in_order(), *assigned.failures], key=lambda failure: failure.index)

    def _rows(self, assigned: AssignedSpecies) -> Ints:
        """(m,) row of each species in the table, one past its end where it lacks it."""
        table = species_table(self.table)
        rows = np.full((MAX_ATOMIC_NUMBER + 1, 2 * LARGEST_STATE + 1), len(table.values))
        rows[table.numbers, table.oxidation_states + LARGEST_STATE] = np.arange(len(table.values))
        return rows[assigned.numbers, assigned.oxidation_states + LARGEST_STATE]

    def _lacking(self, assigned: AssignedSpecies) -> tuple[Ints, list[str]]:
        """Crystal and name of each species that the table lacks."""
        rows = self._rows(assigned)
        lacking = np.flatnonzero(rows == len(species_table(self.table).values))
        owners = np.searchsorted(assigned.starts, lacking, side="right") - 1
        numbers, states = assigned.numbers[lacking], assigned.oxidation_states[lacking]
        names = [species_name(z, s) for z, s in zip(numbers.tolist(), states.tolist(), strict=True)]
        return owners, names

    def _pooled(self, assigned: AssignedSpecies, index: Ints) -> npt.NDArray[np.float32]:
        """Of the crystals at these positions."""
        kept = np.zeros(len(assigned.how), bool)
        kept[index] = True
        counts = np.diff(assigned.starts)
        used = np.repeat(kept, counts)
        parts = Parts.reduced(
            np.r_[0, np.cumsum(counts[kept])], self._rows(assigned)[used], assigned.amounts[used]
        )
        values = species_table(self.table).values
        values = np.vstack([values, filler(values, self.missing)])
        array = np.empty((len(index), len(self.pooling), values.shape[1]), np.float32)
        pool(parts, values, self.pooling, array)
        return array.reshape(len(index), array.shape[1] * array.shape[2])
