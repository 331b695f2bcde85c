"""The smallest cell of a crystal, and its symmetry."""

from __future__ import annotations

from typing import Any

import moyopy
import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.symmetry import moyo_datasets

__all__ = ["smallest_cell"]


def smallest_cell(
    crystal: Crystals, symprec: float
) -> tuple[Crystals, npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """One crystal in a primitive cell of shortest vectors, and the operations of its space group.

    The sites are moved, by no more than about ``symprec``, to where the operations want them.
    Where no symmetry can be found the crystal keeps its sites, and has the identity alone.

    Returns
    -------
    cell
        In moyopy's standard frame.
    rotations, translations : (n, 3, 3), (n, 3)
        ``x -> rotation x + translation`` on fractional coordinates.
    """
    (found,) = moyo_datasets(crystal, symprec)
    if isinstance(found, str):
        return _reduced(crystal), np.eye(3, dtype=np.int64)[None], np.zeros((1, 3))
    standard: Any = found.prim_std_cell
    cell = _reduced(Crystals.single(standard.basis, standard.positions, standard.numbers))
    (again,) = moyo_datasets(cell, symprec)
    if isinstance(again, str) or len(again.prim_std_cell.numbers) < len(cell.numbers):
        return cell, np.eye(3, dtype=np.int64)[None], np.zeros((1, 3))
    operations = again.operations
    return cell, np.array(operations.rotations, np.int64), np.array(operations.translations)


def _reduced(crystal: Crystals) -> Crystals:
    """The crystal in a cell of the shortest vectors of its lattice."""
    reduced, transformation = moyopy.minkowski_reduce(crystal.lattices[0].tolist())
    change = np.linalg.inv(np.array(transformation, float).T)
    coords = crystal.frac_coords @ change
    return Crystals.single(reduced, coords, crystal.numbers)
