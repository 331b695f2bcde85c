"""The space group of each crystal of a batch, by moyopy, and by spglib where that gives up."""

from __future__ import annotations

import logging
import warnings
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals

__all__ = ["SYMPREC", "SymmetryError", "space_group_numbers"]

SYMPREC: Final = 0.01
"""Å; how far sites may be from symmetric places."""

_SHORT: Final = 0.5  # Å; of cells with shorter lattice vectors moyopy may never come to an end

_STEPS: Final = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
_STEPS_AWAY: Final = _STEPS[_STEPS.any(axis=1)]


class SymmetryError(ValueError):
    """A tolerance with which no symmetry can be sought."""


def space_group_numbers(crystals: Crystals, *, symprec: float = SYMPREC) -> npt.NDArray[np.int64]:
    """(n,) the number of each crystal's space group, 1 to 230; 0 where none could be found.

    None is sought in a flat cell, of which two copies stand nearer than 0.5 Å.

    Parameters
    ----------
    crystals
        n crystals.
    symprec
        Å; how far sites may be from symmetric places.

    Raises
    ------
    SymmetryError
        If ``symprec`` is not a positive number.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> space_group_numbers(salt)
    array([225])
    """
    import moyopy

    if not 0 < symprec < np.inf:
        raise SymmetryError(f"symprec is {symprec}, wanted a positive number of Å")
    # It warns of each supercell that its list of operations, which is not used here, is short.
    logging.getLogger("moyo").setLevel(logging.ERROR)
    numbers = np.zeros(len(crystals), np.int64)
    lattices = crystals.lattices.tolist()
    flat = _have_short_vectors(crystals.lattices)
    for i, (start, stop) in enumerate(pairwise(crystals.offsets.tolist())):
        if flat[i]:
            continue
        cell = moyopy.Cell(
            lattices[i],
            crystals.frac_coords[start:stop].tolist(),
            crystals.numbers[start:stop].tolist(),
        )
        try:
            numbers[i] = moyopy.MoyoDataset(cell, symprec=symprec).number
        except ValueError:
            # Some arrangements on half the points of a lattice end its search, not spglib's.
            numbers[i] = _by_spglib(crystals[i], symprec)
    return numbers


def _have_short_vectors(lattices: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """(n,) whether two cells of the crystal stand nearer than :data:`_SHORT`, as in a flat cell."""
    vectors = _STEPS_AWAY @ lattices
    return np.asarray((vectors**2).sum(axis=2).min(axis=1, initial=np.inf) < _SHORT**2, bool)


def _by_spglib(crystal: Crystals, symprec: float) -> int:
    import spglib

    cell = (crystal.lattices[0], crystal.frac_coords, crystal.numbers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # on how its next version fails
        try:
            found = spglib.get_symmetry_dataset(cell, symprec=symprec)
        except spglib.SpglibError:
            return 0
    return 0 if found is None else int(found.number)
