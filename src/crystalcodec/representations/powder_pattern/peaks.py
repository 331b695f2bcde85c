"""Bragg peaks: the reflections of a powder, those of one angle together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.representations.powder_pattern.reflections import Reflections

__all__ = ["BraggPeaks", "merged"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_SAME: Final = 1e-5  # degrees or Å⁻¹; reflections nearer than that are one peak
_SEEN: Final = 1e-3  # of the highest peak, which is 100; lower ones are absent by symmetry


@dataclass(frozen=True)
class BraggPeaks:
    """The peaks of n crystals, crystal after crystal, by rising angle.

    Parameters
    ----------
    positions : (m,)
        2θ in degrees, or Q in Å⁻¹.
    intensities : (m,)
        The highest of each crystal is 100; none is below 0.001.
    multiplicities : (m,)
        Reciprocal points that meet there, absent ones included.
    hkl : (m, 3)
        Miller indices of one of them, in the given cell.
    offsets : (n + 1,)
        Peaks of crystal ``i`` are ``offsets[i]:offsets[i + 1]``.
    """

    positions: Floats
    intensities: Floats
    multiplicities: Ints
    hkl: Ints
    offsets: Ints

    @classmethod
    def joined(cls, parts: list[BraggPeaks]) -> BraggPeaks:
        """The peaks of all parts, in order."""
        counts = [np.diff(part.offsets) for part in parts]
        return cls(
            np.concatenate([np.zeros(0), *(part.positions for part in parts)]),
            np.concatenate([np.zeros(0), *(part.intensities for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.multiplicities for part in parts)]),
            np.concatenate([np.zeros((0, 3), np.int64), *(part.hkl for part in parts)]),
            np.concatenate([[0], np.cumsum(np.concatenate([np.zeros(0, np.int64), *counts]))]),
        )


def merged(
    positions: Floats, intensities: Floats, reflections: Reflections, low: float, high: float
) -> BraggPeaks:
    """Peaks from ``low`` to ``high``: reflections of a crystal next to each other are one.

    A peak ends where the next reflection stands 1e-5 of the axis' unit or more away.
    """
    n = len(reflections.offsets) - 1
    owner = np.repeat(np.arange(n), np.diff(reflections.offsets))
    inside = np.flatnonzero((positions >= low) & (positions <= high))
    order = inside[np.lexsort((positions[inside], owner[inside]))]
    owner, positions, intensities = owner[order], positions[order], intensities[order]
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(owner) > 0) | (np.diff(positions) >= _SAME)
    peak = first.cumsum() - 1
    totals = np.bincount(peak, weights=intensities) if len(peak) else np.zeros(0)
    multiplicities = 2 * np.bincount(peak)
    owner, positions, hkl = owner[first], positions[first], reflections.hkl[order][first]
    highest = np.zeros(n)
    np.maximum.at(highest, owner, totals)
    relative = 100 * totals / np.where(highest > 0, highest, 1)[owner]
    seen = relative > _SEEN
    counts = np.bincount(owner[seen], minlength=n)
    return BraggPeaks(
        positions[seen],
        relative[seen],
        multiplicities[seen],
        hkl[seen],
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )
