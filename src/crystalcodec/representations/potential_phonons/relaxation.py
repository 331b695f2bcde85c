"""Sites moved to where the forces of a potential vanish, in the cell as it is."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.representations.potential_phonons.forces import Forces

__all__ = ["relaxed"]

_FORCE: Final = 0.005  # eV/Å; below it a site stays
_STEPS: Final = 50


def relaxed(crystal: Crystals, forces: Forces) -> Crystals:
    """One crystal after at most 50 steps of BFGS, or once no force is above 0.005 eV/Å.

    Neighbours are those of the start, which the forces were made for.
    """
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from ase.optimize import BFGS

    start = crystal.cart_coords

    class OfForces(Calculator):  # type: ignore[misc]
        implemented_properties = ("energy", "forces")

        def calculate(self, atoms: Any, properties: Any, changes: Any) -> None:
            del properties, changes
            found = forces((atoms.positions - start)[None])[0]
            self.results = {"forces": found - found.mean(axis=0), "energy": 0.0}

    cell = crystal.lattices[0]
    atoms = Atoms(crystal.numbers, positions=start, cell=cell, pbc=True, calculator=OfForces())
    BFGS(atoms, logfile=None).run(fmax=_FORCE, steps=_STEPS)
    found: npt.NDArray[np.float64] = atoms.positions @ np.linalg.inv(cell)
    return Crystals.single(cell, found, crystal.numbers)
