"""Any calculator of ASE as a potential, one crystal after another."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from importlib.metadata import packages_distributions
from typing import Any, Final

import numpy as np

from crystalcodec.crystals import Crystals
from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.failures import Failure
from crystalcodec.relaxation.base import Evaluated, Potential, PotentialError

__all__ = ["PREFIX", "ASEPotential", "distributions_of"]

PREFIX: Final = "ase:"


class ASEPotential(Potential):
    """A calculator of ASE.

    Parameters
    ----------
    factory
        Called without arguments, once; gives the calculator.
    name
        Under which its energies are kept: give the version or the parameters with it, since
        energies of one name are compared.

    Examples
    --------
    >>> from ase.calculators.emt import EMT
    >>> from crystalcodec.crystals import Crystals
    >>> copper = Crystals.single(np.full((3, 3), 1.8) - np.eye(3) * 1.8, [[0, 0, 0]], [29])
    >>> ASEPotential(EMT, "emt").evaluate(copper).energies.round(3).tolist()
    [-0.007]
    """

    packages: tuple[str, ...] = ("ase",)

    def __init__(self, factory: Callable[[], Any], name: str) -> None:
        self.name = name
        self.elements = np.ones(MAX_ATOMIC_NUMBER + 1, bool)
        self.elements[0] = False
        self._calculator = factory()

    @classmethod
    def named(cls, name: str) -> ASEPotential:
        """The calculator of ``ase:module:factory``, a class or function without arguments.

        Raises
        ------
        PotentialError
            A name of another form, a module that cannot be imported, nothing of that name in it,
            or one that raises or gives no calculator.
        """
        module, attribute = _parts(name)
        try:
            factory = getattr(importlib.import_module(module), attribute)
        except Exception as error:  # a foreign module may raise anything
            raise PotentialError(f"{name!r}: {_in_one_line(error)}") from None
        try:
            found = cls(factory, name)
        except Exception as error:  # as may a foreign factory
            raise PotentialError(
                f"{name!r}: {_in_one_line(error)}; wanted a class or function that takes no "
                "arguments: write one in a module of your own"
            ) from None
        if not hasattr(found._calculator, "get_potential_energy"):
            kind = type(found._calculator).__name__
            raise PotentialError(f"{name!r} gives {kind}, wanted a calculator of ASE")
        found.packages = distributions_of(name)
        return found

    def evaluate(self, crystals: Crystals) -> Evaluated:
        """Energies, forces and stresses of n crystals, each as if it were alone."""
        from crystalcodec.io import to_ase

        energies = np.full(len(crystals), np.nan)
        forces = np.full((len(crystals.numbers), 3), np.nan)
        stresses = np.full((len(crystals), 3, 3), np.nan)
        failures = []
        for i, atoms in enumerate(to_ase(crystals)):
            rows = slice(crystals.offsets[i], crystals.offsets[i + 1])
            try:
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")
                    energy, force, stress = self._of_one(atoms)
            except Exception as error:  # a foreign calculator may raise anything
                failures.append(Failure(i, "potential failed", _in_one_line(error)))
                continue
            if not (np.isfinite(energy) and np.isfinite(force).all()):
                told = "energy or forces are not finite numbers"
                failures.append(Failure(i, "energy not finite", told))
                continue
            energies[i], forces[rows], stresses[i] = energy, force, stress
        return Evaluated(energies, forces, stresses, tuple(failures))

    def _of_one(self, atoms: Any) -> tuple[float, Any, Any]:
        from ase.calculators.calculator import PropertyNotImplementedError

        if hasattr(self._calculator, "reset"):
            self._calculator.reset()  # of what an earlier crystal, or its failure, left
        atoms.calc = self._calculator
        energy, forces = float(atoms.get_potential_energy()), atoms.get_forces()
        try:
            stress = atoms.get_stress(voigt=False)
        except (PropertyNotImplementedError, NotImplementedError):
            stress = np.full((3, 3), np.nan)
        found = np.asarray(forces, float), np.asarray(stress, float)
        shapes = found[0].shape, found[1].shape
        if shapes != ((len(atoms), 3), (3, 3)):
            raise ValueError(
                f"forces of shape {shapes[0]} and a stress of shape {shapes[1]}, wanted "
                f"{(len(atoms), 3)} and (3, 3)"
            )
        return energy, *found


def distributions_of(name: str) -> tuple[str, ...]:
    """ASE, and what brings the module of ``ase:module:factory`` where that is installed.

    Raises
    ------
    PotentialError
        A name of another form.
    """
    module, _ = _parts(name)
    brings = packages_distributions().get(module.partition(".")[0], [])
    return tuple(dict.fromkeys(["ase", *sorted(brings)]))


def _in_one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _parts(name: str) -> tuple[str, str]:
    """Module and factory."""
    module, _, attribute = name.removeprefix(PREFIX).partition(":")
    if not (name.startswith(PREFIX) and module and attribute):
        raise PotentialError(f"{name!r}: wanted ase:module:factory, as ase:ase.calculators.emt:EMT")
    return module, attribute
