"""Atoms that were found against those that are there: matched one to one, within a distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["FoundAtoms", "match_atoms"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FoundAtoms:
    """The outcome for one crystal.

    Parameters
    ----------
    n_wanted, n_found
        Atoms that are there, and that were found.
    distances : (m,)
        Å, between the two of each matched pair.
    named : (m,)
        Whether the pair has one element.
    """

    n_wanted: int
    n_found: int
    distances: Floats
    named: npt.NDArray[np.bool_]

    @property
    def n_matched(self) -> int:
        """Atoms that were found where they are."""
        return len(self.distances)

    @property
    def n_false(self) -> int:
        """Atoms that were found where there are none."""
        return self.n_found - self.n_matched


def match_atoms(
    found: npt.ArrayLike,
    found_numbers: npt.ArrayLike,
    wanted: npt.ArrayLike,
    wanted_numbers: npt.ArrayLike,
    cutoff: float,
    lattice: npt.ArrayLike | None = None,
) -> FoundAtoms:
    """Match atoms one to one so that as many as can be are nearer than ``cutoff``.

    Among the matchings of most pairs the one of the least sum of distances is taken (Hungarian
    algorithm). Elements do not count.

    Parameters
    ----------
    found : (f, 3), wanted : (w, 3)
        Positions, Å; with ``lattice`` fractional coordinates in it.
    found_numbers : (f,), wanted_numbers : (w,)
        Atomic numbers.
    cutoff
        Å.
    lattice : (3, 3)
        Cell vectors in rows, Å: distances are then to the nearest image. The 27 nearest by
        fractional coordinates are looked at: enough where planes of the lattice are at least the
        cutoff apart.

    Examples
    --------
    >>> atoms = match_atoms([[0, 0, 0], [2, 0, 0]], [11, 17], [[0, 0, 0.25]], [11], 0.5)
    >>> atoms.n_matched, atoms.n_false, atoms.distances.tolist(), atoms.named.tolist()
    (1, 1, [0.25], [True])
    """
    from scipy.optimize import linear_sum_assignment

    one, other = (np.asarray(places, float).reshape(-1, 3) for places in (found, wanted))
    numbers, theirs = (np.asarray(z, np.int64).reshape(-1) for z in (found_numbers, wanted_numbers))
    away = one[:, None] - other
    if lattice is None:
        distances = np.linalg.norm(away, axis=2)
    else:
        steps = np.indices((3, 3, 3)).reshape(3, -1).T - 1
        images = (away - np.rint(away))[:, :, None] + steps
        distances = np.linalg.norm(images @ np.asarray(lattice, float), axis=3).min(axis=2)
    # A pair beyond the cutoff costs more than all pairs within it together could.
    near = distances < cutoff
    beyond = cutoff * (min(len(one), len(other)) + 1)
    rows, columns = linear_sum_assignment(np.where(near, distances, beyond))
    kept = near[rows, columns]
    rows, columns = rows[kept], columns[kept]
    return FoundAtoms(
        len(other), len(one), distances[rows, columns], numbers[rows] == theirs[columns]
    )
