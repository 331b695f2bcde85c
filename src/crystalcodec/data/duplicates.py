"""Crystals that are the same crystal, at about the same volume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data.matching import PYMATGEN, Tolerances, first_alike

__all__ = ["VOLUME_TOLERANCE", "find_duplicates"]

Ints = npt.NDArray[np.int64]

VOLUME_TOLERANCE: Final = 0.1
"""Largest difference of volume per atom of the same crystal, as a fraction of the larger one."""


def find_duplicates(
    crystals: Crystals,
    *,
    volume_tolerance: float | None = VOLUME_TOLERANCE,
    tolerances: Tolerances = PYMATGEN,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Ints:
    """For each crystal the first crystal that is the same one; itself where there is none before.

    Two crystals are the same if their reduced compositions are equal, their volumes per atom
    differ by at most ``volume_tolerance``, and pymatgen's ``StructureMatcher`` fits them, both
    reduced to primitive cells and scaled to one volume. So a supercell is a duplicate of its
    primitive cell; another choice of cell, origin, orientation or site order is a duplicate; a
    crystal strained by a few per cent is one; the mirror image of a chiral crystal is one. Each
    crystal is compared with the crystals before it that are no duplicates themselves, in their
    order. One that cannot be compared (:data:`crystalcodec.data.matching.REFUSALS`) is a
    duplicate only as an exact copy.

    Parameters
    ----------
    crystals
        n crystals.
    volume_tolerance
        See above; None for ``StructureMatcher`` alone, which scales volumes.
    tolerances
        How far apart is the same; by default that of ``StructureMatcher`` (lengths 0.2, sites
        0.3, angles 5°).
    jobs
        Number of processes.
    progress
        Called with how much is done, and of how much.

    Returns
    -------
    (n,) positions
        ``first[i] <= i``; the crystals to keep are those where ``first[i] == i``.

    Examples
    --------
    >>> iron = Crystals.single(2.87 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [26, 26])
    >>> both = Crystals.concatenate([iron, iron.supercell(2)])
    >>> find_duplicates(both).tolist()
    [0, 0]
    """

    def tell(what: str, done: int, of: int) -> None:
        # Crystals are reduced first and compared then: half of the work each.
        if progress:
            progress(done + (what == "compared") * of, 2 * of)

    return first_alike(
        crystals,
        tolerances=tolerances,
        volume_tolerance=volume_tolerance,
        jobs=jobs,
        progress=tell,
    ).positions
