"""The shortest vector between two sites of a periodic crystal, whole batches at once."""

from __future__ import annotations

from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["minimum_images", "reduced_cells"]

Floats = npt.NDArray[np.float64]

_STEPS: Final = np.array([s for s in product((-1, 0, 1), repeat=3) if any(s)], float)
# Of images equally near the one is taken whose steps in the given cell have the smallest product
# with this: no two have the same, and the reduced cell, which is not unique, has no say.
_PREFERENCE: Final = np.array([1.0, 2**-0.5, 3**-0.5])
# Å²; images nearer to each other than this are equally near.
_EQUAL: Final = 1e-8


def minimum_images(differences: Floats, lattices: Floats) -> tuple[Floats, Floats]:
    """The shortest of the periodic images of each difference.

    Parameters
    ----------
    differences : (n, p, 3)
        Differences of fractional coordinates, p for each crystal.
    lattices : (n, 3, 3)
        Cell vectors in rows, Å; any cell, however skew.

    Returns
    -------
    displacements : (n, p, 3)
        The fractional differences plus whole numbers; of images equally near (to 1e-8 Å²) one.
    distances : (n, p)
        Their lengths, Å.

    Examples
    --------
    >>> displacement, distance = minimum_images(np.array([[[0.8, 0, 0.1]]]), np.eye(3)[None] * 5)
    >>> displacement.round(9).tolist(), float(distance[0, 0].round(4))
    ([[[-0.2, 0.0, 0.1]]], 1.118)
    """
    reduced, changes = reduced_cells(lattices)
    # Rows of `reduced` are whole-number combinations (`changes`) of the cell's.
    inside = _rows_times(differences, np.asarray(np.linalg.inv(changes), float))
    inside = inside - np.rint(inside)
    metric = _rows_times(reduced, reduced.transpose(0, 2, 1))
    start = _squares(inside, reduced)
    shortest, taken, preferred = start, np.zeros(start.shape, np.int64), np.zeros(start.shape)
    preferences = (changes * _PREFERENCE).sum(axis=2)
    for k, step in enumerate(_STEPS, 1):
        # In a Minkowski-reduced cell no image further than one step is nearer.
        along = (metric * step).sum(axis=2)[:, None]
        x, y, z = (inside[..., axis] * along[..., axis] for axis in range(3))
        squares = start + (2 * (x + y + z) + (along[:, 0] * step).sum(axis=1)[:, None])
        gain = shortest - squares
        preference = (preferences * step).sum(axis=1)[:, None]
        nearer = (gain > _EQUAL) | ((gain > -_EQUAL) & (preference < preferred))
        taken = np.where(nearer, k, taken)
        shortest = np.where(nearer, squares, shortest)
        preferred = np.where(nearer, preference, preferred)
    best = inside + np.concatenate([np.zeros((1, 3)), _STEPS])[taken]
    moved = _rows_times(best, changes)
    # The steps are whole numbers: rounding errors of the change of cell leave nothing behind.
    return differences + np.rint(moved - differences), np.sqrt(_squares(best, reduced))


def reduced_cells(lattices: Floats) -> tuple[Floats, Floats]:
    """Minkowski-reduced cells (n, 3, 3) of the same lattices, and (n, 3, 3) how they came about.

    Each reduced cell is its change (whole numbers, determinant 1 or -1) times the lattice.
    """
    changes = np.broadcast_to(np.eye(3), lattices.shape).copy()
    cells = np.array(lattices, float)
    every = np.arange(len(cells))
    for _ in range(200):
        order = np.argsort(_lengths(cells), axis=1, kind="stable")
        cells, changes = cells[every[:, None], order], changes[every[:, None], order]
        before = _lengths(cells)
        for target, others in ((1, (0,)), (2, (0, 1))):
            # Whole projections first: very skew cells come down in few rounds.
            for other in others:
                scale = (cells[:, target] * cells[:, other]).sum(axis=1) / before[:, other]
                _step(cells, changes, target, {other: -np.rint(scale)})
            for steps in product((-1.0, 0.0, 1.0), repeat=len(others)):
                ones = np.ones(len(cells))
                _step(
                    cells,
                    changes,
                    target,
                    {o: s * ones for o, s in zip(others, steps, strict=True)},
                )
        if not (_lengths(cells) < before * (1 - 1e-9)).any():
            break
    return cells, changes


def _step(cells: Floats, changes: Floats, target: int, steps: dict[int, Floats]) -> None:
    """Add whole multiples of other vectors to one of each cell where that makes it shorter."""
    vectors, rows = cells[:, target].copy(), changes[:, target].copy()
    for other, times in steps.items():
        vectors += times[:, None] * cells[:, other]
        rows += times[:, None] * changes[:, other]
    lengths = (cells[:, target] ** 2).sum(axis=1)
    shorter = (vectors**2).sum(axis=1) < lengths * (1 - 1e-9)
    cells[shorter, target], changes[shorter, target] = vectors[shorter], rows[shorter]


def _lengths(cells: Floats) -> Floats:
    """(n, 3) squared lengths of cell vectors."""
    return np.asarray((cells * cells).sum(axis=2), float)


def _rows_times(rows: Floats, matrices: Floats) -> Floats:
    """(n, p, 3) rows times one matrix a crystal, summed in the same order for any batch."""
    out = rows[..., 0:1] * matrices[:, None, 0]
    out += rows[..., 1:2] * matrices[:, None, 1]
    out += rows[..., 2:3] * matrices[:, None, 2]
    return np.asarray(out, float)


def _squares(rows: Floats, lattices: Floats) -> Floats:
    """(n, p) squared lengths, Å², of fractional vectors."""
    vectors = _rows_times(rows, lattices)
    return np.asarray(
        vectors[..., 0] ** 2 + vectors[..., 1] ** 2 + vectors[..., 2] ** 2,
        float,
    )
