"""Potentials and what relaxing with one gives: data that other parts read without torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.registry import POTENTIALS, load

__all__ = ["Evaluated", "Potential", "PotentialError", "Relaxed", "load_potential", "packages_of"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class PotentialError(ValueError):
    """Energies that do not belong together, or a potential that cannot be used as asked."""


@dataclass(frozen=True)
class Evaluated:
    """Energies, forces and stresses of n crystals; NaN where a potential could not give them.

    Parameters
    ----------
    energies : (n,)
        Of the whole cell, eV.
    forces : (n_sites_total, 3)
        eV/Å.
    stresses : (n, 3, 3)
        Derivative of the energy with respect to strain over the volume, eV/Å³: positive on the
        diagonal where the cell wants to shrink (the sign of ASE).
    failures
        Why the others have none, by crystal.
    """

    energies: Floats
    forces: Floats
    stresses: Floats
    failures: tuple[Failure, ...] = ()


class Potential(ABC):
    """An interatomic potential: crystals to energies, forces and stresses.

    Attributes
    ----------
    name
        With its version (``"chgnet-0.3.0"``). Energies of two names are never compared.
    elements : (119,)
        Whether it knows the element, by atomic number.
    packages
        What its numbers come from, as it is called where it is installed.
    """

    name: str
    elements: Bools
    packages: tuple[str, ...] = ()

    @abstractmethod
    def evaluate(self, crystals: Crystals) -> Evaluated:
        """Energies, forces and stresses of n crystals, each as if it were alone."""


def load_potential(name: str) -> Potential:
    """The potential of a name.

    Parameters
    ----------
    name
        One of the registry, or ``ase:module:factory``, a class or function without arguments that
        gives a calculator of ASE (``"ase:ase.calculators.emt:EMT"``).

    Raises
    ------
    PotentialError
        If there is no such calculator.
    UnknownNameError
        If there is none; the message offers the nearest names.
    MissingExtraError
        If its package is not installed.
    """
    if name.startswith("ase:"):
        from crystalcodec.relaxation.calculators import ASEPotential

        return ASEPotential.named(name)
    potential: Potential = load(POTENTIALS, name)(name)
    return potential


def packages_of(name: str) -> tuple[str, ...]:
    """The packages, as they are called where they are installed, that a potential comes from.

    Raises
    ------
    PotentialError, UnknownNameError
        If there is no such potential. It is not loaded.
    """
    if name.startswith("ase:"):
        from crystalcodec.relaxation.calculators import distributions_of

        return distributions_of(name)
    packages: tuple[str, ...] = load(POTENTIALS, name).packages
    return packages


@dataclass(frozen=True)
class Relaxed:
    """What relaxation gave, one row for each crystal that has an energy; the others are failures.

    Parameters
    ----------
    potential
        Name of the potential.
    n
        Crystals given; each is a row or a failure.
    positions : (m,)
        Which of the n crystals each row is, rising.
    crystals
        The m crystals after the last step, sites in their order.
    energies : (m,)
        eV/atom, after the last step.
    initial_energies : (m,)
        eV/atom, before the first.
    max_forces : (m,)
        Largest force on a site after the last step, eV/Å.
    max_stresses : (m,)
        Largest component of the stress after the last step by absolute value, GPa.
    n_steps : (m,)
        Steps taken.
    converged : (m,)
        Whether forces and stress are below their limits.
    volume_changes : (m,)
        Volume after the last step over that before the first, minus 1.
    rmsds : (m,)
        Root of the mean squared displacement of the sites, at the shortest image and without the
        shift of them all, in the mean of both cells, Å.
    failures
        Why the others have no row, by crystal among the n.
    settings
        Limits, optimiser, versions: what else the numbers depend on.
    """

    potential: str
    n: int
    positions: Ints
    crystals: Crystals
    energies: Floats
    initial_energies: Floats
    max_forces: Floats
    max_stresses: Floats
    n_steps: Ints
    converged: Bools
    volume_changes: Floats
    rmsds: Floats
    failures: tuple[Failure, ...]
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        for column in fields(self):
            values = getattr(self, column.name)
            if isinstance(values, np.ndarray | Crystals) and len(values) != len(self.positions):
                raise PotentialError(
                    f"{column.name} has {len(values)} rows, wanted {len(self.positions)}"
                )
        failed = [failure.index for failure in self.failures]
        if sorted([*map(int, self.positions), *failed]) != list(range(self.n)):
            raise PotentialError(
                f"{self.n} crystals, {len(self.positions)} rows and {len(failed)} failures: "
                "wanted each crystal once"
            )

    @classmethod
    def concatenate(cls, parts: Iterable[Self]) -> Self:
        """Parts of one job, crystals after crystals."""
        parts = list(parts)
        if not parts:
            raise PotentialError("no parts of a relaxation to join, wanted one or more")
        names = {part.potential for part in parts}
        if len(names) > 1:
            raise PotentialError(
                f"energies of {' and '.join(sorted(names))} in one table: each potential has its "
                "own zero; relax all crystals with one"
            )
        starts = np.cumsum([0, *(part.n for part in parts)])
        columns: dict[str, Any] = {}
        for column in fields(cls):
            values = [getattr(part, column.name) for part in parts]
            if isinstance(values[0], Crystals):
                columns[column.name] = Crystals.concatenate(values)
            elif isinstance(values[0], np.ndarray):
                columns[column.name] = np.concatenate(values)
            else:
                columns[column.name] = values[0]
        columns["n"] = int(starts[-1])
        columns["positions"] = np.concatenate(
            [part.positions + start for part, start in zip(parts, starts[:-1], strict=True)]
        )
        columns["failures"] = tuple(
            Failure(one.index + int(start), one.reason, one.detail, one.source, one.line)
            for part, start in zip(parts, starts[:-1], strict=True)
            for one in part.failures
        )
        return cls(**columns)
