"""Hull: the lowest energies that known phases reach at each composition, by one potential."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import ATOMIC_NUMBERS, MAX_ATOMIC_NUMBER, SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.relaxation.base import PotentialError, Relaxed
from crystalcodec.relaxation.hull_compositions import (
    amounts_of,
    atom_fractions,
    composition_counts,
    formulas_of,
)
from crystalcodec.relaxation.hull_mixtures import Mixtures, lowest_mixtures

__all__ = ["NO_REFERENCE", "Hull", "Phase"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NO_REFERENCE: Final = "element without reference"
"""Reason of a crystal that has an element of which the hull holds no pure phase."""

_WIDTH: Final = MAX_ATOMIC_NUMBER + 1
_AT_ONCE: Final = 16384
_FORMS: Final = 1e-11
"""eV/atom below the elements from which on a phase can be part of the hull."""
_ON_HULL: Final = 1e-8
_PRESENT: Final = 1e-8


@dataclass(frozen=True)
class Phase:
    """A phase of a mixture.

    Parameters
    ----------
    id, formula
        Which it is.
    fraction
        Share of the atoms of the mixture that are in it.
    energy_per_atom, formation_energy_per_atom
        eV/atom.
    """

    id: str
    formula: str
    fraction: float
    energy_per_atom: float
    formation_energy_per_atom: float


@dataclass(frozen=True, eq=False)
class Hull:
    """Reference phases with their energies, all by one potential.

    Parameters
    ----------
    potential
        What the energies come from, with its version (``"chgnet-0.3.0"``). Each potential has its
        own zero of energy: nothing is compared across two names.
    compositions : (n, 119)
        Atoms in the reduced formula of each phase by atomic number.
    energies : (n,)
        eV/atom.
    ids : (n,)
        One text for each phase.
    source
        Where the phases come from.
    settings
        How the energies were made, and what was left out: anything that JSON holds.

    Raises
    ------
    PotentialError
        Columns of other lengths, energies that are not finite, no potential.
    """

    potential: str
    compositions: Ints
    energies: Floats
    ids: npt.NDArray[np.object_]
    source: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        compositions = np.array(self.compositions, np.int64).reshape(-1, _WIDTH)
        energies, ids = np.array(self.energies, np.float64), np.array(self.ids, object)
        if not self.potential:
            raise PotentialError("a hull without the name of its potential; give the name")
        if not len(compositions) == len(energies) == len(ids):
            raise PotentialError(
                f"{len(compositions)} compositions, {len(energies)} energies and {len(ids)} ids: "
                "wanted one of each a phase"
            )
        if not np.isfinite(energies).all():
            raise PotentialError(
                f"{(~np.isfinite(energies)).sum()} energies are not finite numbers; leave these "
                "phases out"
            )
        if len(compositions) and ((compositions < 0).any() or not compositions.any(axis=1).all()):
            raise PotentialError("a phase without atoms, or with fewer than none; leave it out")
        if len(compositions):
            compositions //= np.gcd.reduce(compositions, axis=1)[:, None]
        for array in (compositions, energies, ids):
            array.flags.writeable = False
        object.__setattr__(self, "compositions", compositions)
        object.__setattr__(self, "energies", energies)
        object.__setattr__(self, "ids", ids)

    @classmethod
    def of(
        cls,
        crystals: Crystals,
        energies: npt.ArrayLike,
        potential: str,
        ids: Sequence[str] | npt.NDArray[Any] | None = None,
        source: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> Self:
        """Hull of crystals with energies (n,) in eV/atom; those without, as NaN, are left out.

        How many are left out stands in ``settings["n_without_energy"]``.
        """
        energies = np.asarray(energies, np.float64)
        names = np.array([str(i) for i in range(len(crystals))] if ids is None else ids, object)
        if not len(crystals) == len(energies) == len(names):
            raise PotentialError(
                f"{len(crystals)} crystals, {len(energies)} energies and {len(names)} ids: wanted "
                "one of each a crystal"
            )
        known = np.flatnonzero(np.isfinite(energies))
        told = {**(settings or {}), "n_without_energy": len(crystals) - len(known)}
        counts = composition_counts(crystals[known])
        return cls(potential, counts, energies[known], names[known], source, told)

    @classmethod
    def elemental(cls, potential: str) -> Self:
        """Hull of the elements alone, from the references that come with the package.

        Energies above it are formation energies; they say nothing of whether a compound falls
        apart into other compounds.

        Raises
        ------
        PotentialError
            If the package has none for this potential.
        """
        from crystalcodec.relaxation.references import elemental_references

        references = elemental_references(potential)
        compositions = np.zeros((len(references), _WIDTH), np.int64)
        numbers = [ATOMIC_NUMBERS[symbol] for symbol in references]
        compositions[np.arange(len(references)), numbers] = 1
        return cls(
            potential,
            compositions,
            np.array([one.energy_per_atom for one in references.values()]),
            np.array([one.id for one in references.values()], object),
            "elemental references of crystalcodec",
        )

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a file of :meth:`write`.

        Raises
        ------
        PotentialError
            No such file, or one that holds no hull, or a damaged one.
        """
        from crystalcodec.relaxation.hull_files import read_hull

        return cls(**read_hull(path))

    def write(self, path: str | Path) -> None:
        """Write the hull as one Parquet file, whole or not at all; an existing one is replaced."""
        from crystalcodec.relaxation.hull_files import write_hull

        write_hull(self, path)

    def __len__(self) -> int:
        return len(self.energies)

    def __repr__(self) -> str:
        n_elements = int(np.isfinite(self.element_energies).sum())
        return f"Hull({self.potential}: {len(self):,} phases, {n_elements} elements)"

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the potential, compositions, energies and ids, 64 hexadecimal digits."""
        found = hashlib.sha256(f"crystalcodec.Hull 1 {len(self)} {self.potential}".encode())
        rows, columns = np.nonzero(self.compositions)
        amounts = self.compositions[rows, columns]
        for array in (rows, columns, amounts, self.energies + 0.0):
            found.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
        found.update(json.dumps(self.ids.tolist()).encode())
        return found.hexdigest()

    @cached_property
    def formulas(self) -> tuple[str, ...]:
        """(n,) reduced formula of each phase."""
        return formulas_of(self.compositions)

    @property
    def of_elements_only(self) -> bool:
        """Whether it holds no compound: energies above it are formation energies then."""
        return not ((self.compositions > 0).sum(axis=1) > 1).any()

    @cached_property
    def element_energies(self) -> Floats:
        """(119,) eV/atom of the lowest pure phase by atomic number, NaN where there is none."""
        pure = np.flatnonzero((self.compositions > 0).sum(axis=1) == 1)
        lowest = np.full(_WIDTH, np.inf)
        np.minimum.at(lowest, self.compositions[pure].argmax(axis=1), self.energies[pure])
        return np.where(np.isfinite(lowest), lowest, np.nan)

    @cached_property
    def formation_energies(self) -> Floats:
        """(n,) of the phases, eV/atom; NaN where an element has no pure phase."""
        return self._formation(self.compositions, self.energies)

    @cached_property
    def above(self) -> Floats:
        """(n,) energies of the phases above the hull that they make, eV/atom."""
        return self.formation_energies - self._lowest(self.compositions).energies

    @property
    def on_hull(self) -> Bools:
        """(n,) whether no mixture of the other phases is lower."""
        return np.asarray(self.above <= _ON_HULL)

    def failures_of(self, crystals: Crystals) -> list[Failure]:
        """Crystals with an element of which there is no pure phase: they have no energy above."""
        unknown = np.isnan(self.element_energies)[crystals.numbers]
        missing: dict[int, set[int]] = {}
        for i, z in zip(
            crystals.crystal_indices[unknown].tolist(),
            crystals.numbers[unknown].tolist(),
            strict=True,
        ):
            missing.setdefault(i, set()).add(z)
        return [
            Failure(
                i,
                NO_REFERENCE,
                f"the hull holds no pure {' nor '.join(SYMBOLS[z] for z in sorted(numbers))}",
            )
            for i, numbers in sorted(missing.items())
        ]

    def formation_energies_of(self, crystals: Crystals, energies: npt.ArrayLike) -> Floats:
        """(n,) energies of crystals, given in eV/atom, from those of the pure elements.

        NaN where an element has no pure phase, and where the energy is NaN.
        """
        return self._formation(composition_counts(crystals), self._checked(crystals, energies))

    def energies_above(self, crystals: Crystals, energies: npt.ArrayLike) -> Floats:
        """(n,) energies of crystals, given in eV/atom, above the hull of the phases.

        The phases are those of the hull and no others: the crystals are not among them, unless
        they were put there. One below all mixtures has a negative value (what is called the
        energy of its decomposition); one that is itself a phase of the hull has 0 or more. Take
        phases out with :meth:`without` to compare a crystal with all but itself.

        Parameters
        ----------
        crystals
            n crystals.
        energies : (n,)
            By the potential of the hull, eV/atom.

        Returns
        -------
        (n,) eV/atom, NaN where an element has no pure phase (:meth:`failures_of` names them) and
        where the energy is NaN.

        Examples
        --------
        >>> sodium = Crystals.single(4 * np.eye(3), [[0, 0, 0]], [11])
        >>> chlorine = Crystals.single(4 * np.eye(3), [[0, 0, 0]], [17])
        >>> salt = Crystals.single(4 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17])
        >>> hull = Hull.of(
        ...     Crystals.concatenate([sodium, chlorine, salt]), [-1.0, -2.0, -3.5], "made"
        ... )
        >>> hull.energies_above(salt, [-3.25])
        array([0.25])
        >>> hull.without(["2"]).energies_above(salt, [-3.5])
        array([-2.])
        """
        energies = self._checked(crystals, energies)
        out = np.empty(len(crystals))
        for start in range(0, len(crystals), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            counts = composition_counts(crystals[part])
            formation = self._formation(counts, energies[part])
            out[part] = formation - self._lowest(counts).energies
        return out

    def energies_above_of(self, relaxed: Relaxed) -> Floats:
        """(m,) energies of relaxed crystals above the hull, eV/atom.

        Raises
        ------
        PotentialError
            If another potential relaxed them.
        """
        self.require(relaxed.potential)
        return self.energies_above(relaxed.crystals, relaxed.energies)

    def require(self, potential: str) -> None:
        """Refuse energies of another potential.

        Raises
        ------
        PotentialError
            Unless it is the hull's.
        """
        if potential != self.potential:
            raise PotentialError(
                f"energies of {potential} and a hull of {self.potential}: each potential has its "
                f"own zero; build a hull with 'crystalcodec hull build --potential {potential}'"
            )

    def decompositions(self, crystals: Crystals) -> list[tuple[Phase, ...]]:
        """For each crystal the mixture of phases of its composition with the lowest energy.

        The largest share first; empty where an element has no pure phase. A crystal whose
        composition a phase of the hull has decomposes into that phase alone.
        """
        return self._phases(composition_counts(crystals))

    def competing_phases(self, of: Crystals | str | Mapping[str, float]) -> tuple[Phase, ...]:
        """The same for one crystal, a formula (``"LiFePO4"``) or amounts by element.

        Raises
        ------
        PotentialError
            Not one crystal, no formula, or an element of which there is no pure phase.
        """
        if isinstance(of, Crystals):
            if len(of) != 1:
                raise PotentialError(f"{len(of)} crystals, wanted one; see decompositions")
            amounts: npt.NDArray[Any] = composition_counts(of)
        else:
            amounts = amounts_of(of)[None]
        missing = np.flatnonzero((amounts[0] > 0) & np.isnan(self.element_energies))
        if len(missing):
            names = ", ".join(SYMBOLS[z] for z in missing)
            raise PotentialError(f"the hull holds no pure {names}; build it from more crystals")
        return self._phases(amounts)[0]

    def without(self, ids: Sequence[str]) -> Hull:
        """The hull of the phases that have none of some ids."""
        kept = ~np.isin(self.ids.astype(str), [str(one) for one in ids])
        return Hull(
            self.potential,
            self.compositions[kept],
            self.energies[kept],
            self.ids[kept],
            self.source,
            {**self.settings, "n_taken_out": int((~kept).sum())},
        )

    def _checked(self, crystals: Crystals, energies: npt.ArrayLike) -> Floats:
        values = np.asarray(energies, np.float64)
        if values.shape != (len(crystals),):
            raise PotentialError(
                f"energies of shape {values.shape} for {len(crystals)} crystals: wanted one a "
                "crystal, eV/atom"
            )
        return values

    def _formation(self, amounts: npt.NDArray[Any], energies: Floats) -> Floats:
        """Energies above the pure elements; NaN where one is missing."""
        fractions = atom_fractions(amounts)
        missing = np.isnan(self.element_energies)
        values = energies - fractions @ np.where(missing, 0, self.element_energies)
        values[(fractions[:, missing] > 0).any(axis=1)] = np.nan
        return np.where(np.isfinite(values), values, np.nan)

    @cached_property
    def _forming(self) -> Ints:
        """Phases below the elements, of each composition the lowest."""
        forming = np.flatnonzero(self.formation_energies < -_FORMS)
        keys = self.compositions[forming].astype(np.int32)
        if not len(keys):
            return forming
        words = keys.view(np.dtype((np.void, keys.shape[1] * keys.itemsize))).reshape(-1)
        order = np.lexsort((self.energies[forming], np.unique(words, return_inverse=True)[1]))
        first = np.ones(len(order), bool)
        first[1:] = words[order[1:]] != words[order[:-1]]
        return np.sort(forming[order[first]])

    def _lowest(self, amounts: npt.NDArray[Any]) -> Mixtures:
        """Lowest mixtures; phases are rows of ``_forming``, or beyond them atomic numbers."""
        forming = self._forming
        return lowest_mixtures(
            atom_fractions(amounts),
            atom_fractions(self.compositions[forming]),
            self.formation_energies[forming],
        )

    def _phases(self, amounts: npt.NDArray[Any]) -> list[tuple[Phase, ...]]:
        found = self._lowest(amounts)
        missing = np.any((amounts > 0) & np.isnan(self.element_energies), axis=1)
        m, pure = len(self._forming), self._pure_phases
        out: list[tuple[Phase, ...]] = []
        for names, fractions, unknown in zip(
            found.phases.tolist(), found.fractions.tolist(), np.atleast_1d(missing), strict=True
        ):
            kept = sorted(
                (-share, int(self._forming[name]) if name < m else int(pure[name - m]))
                for name, share in zip(names, fractions, strict=True)
                if share > _PRESENT and not unknown
            )
            out.append(tuple(self._phase(row, -share) for share, row in kept))
        return out

    @cached_property
    def _pure_phases(self) -> Ints:
        """(119,) row of the lowest pure phase of each element, -1 where there is none."""
        rows = np.full(_WIDTH, -1, np.int64)
        pure = np.flatnonzero((self.compositions > 0).sum(axis=1) == 1)
        pure = pure[np.argsort(-self.energies[pure], kind="stable")]
        rows[self.compositions[pure].argmax(axis=1)] = pure
        return rows

    def _phase(self, row: int, fraction: float) -> Phase:
        return Phase(
            str(self.ids[row]),
            self.formulas[row],
            fraction,
            float(self.energies[row]),
            float(self.formation_energies[row]),
        )
