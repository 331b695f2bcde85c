"""Crystals numbered by what they are made of."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import MAX_ATOMIC_NUMBER

__all__ = ["chemical_system_numbers", "element_presence", "reduced_composition_numbers"]

Ints = npt.NDArray[np.int64]

_AT_ONCE = 16384


def reduced_composition_numbers(crystals: Crystals) -> Ints:
    """(n,) a number for each crystal, the same for those of one reduced composition.

    >>> salt = Crystals.single(3 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17])
    >>> reduced_composition_numbers(Crystals.concatenate([salt, salt.supercell(2)])).tolist()
    [0, 0]
    """
    # Four bytes an element instead of the eight of the counts: all crystals are held at once.
    reduced = np.zeros((len(crystals), MAX_ATOMIC_NUMBER + 1), np.int32)
    for start in range(0, len(crystals), _AT_ONCE):
        counts = crystals[start : start + _AT_ONCE].element_counts
        reduced[start : start + _AT_ONCE] = counts // np.gcd.reduce(counts, axis=1)[:, None]
    return _numbered(reduced)


def chemical_system_numbers(crystals: Crystals) -> Ints:
    """(n,) a number for each crystal, the same for those of the same set of elements."""
    return _numbered(element_presence(crystals))


def element_presence(crystals: Crystals) -> npt.NDArray[np.bool_]:
    """(n, 119) whether each crystal holds the element of each atomic number."""
    presence = np.zeros((len(crystals), MAX_ATOMIC_NUMBER + 1), bool)
    presence[crystals.crystal_indices, crystals.numbers] = True
    return presence


def _numbered(rows: npt.NDArray[np.int32] | npt.NDArray[np.bool_]) -> Ints:
    """The same number for equal rows; compared byte by byte, which is fast."""
    if not len(rows):
        return np.zeros(0, np.int64)
    keys = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).reshape(-1)
    return np.asarray(np.unique(keys, return_inverse=True)[1].reshape(-1), np.int64)
