"""Write the table of Wyckoff positions that ``wyckoff_orbits`` reads, as moyopy tells them.

    python scripts/make_wyckoff_positions.py

moyopy names the position of a site of a crystal, and has no list of all. So crystals are made that
have each position: two general orbits, which leave no more symmetry than the group's, and a point
of every set of points that some operations leave where they are. About a minute.
"""

from __future__ import annotations

import csv
from itertools import product
from pathlib import Path
from typing import Any

import moyopy
import numpy as np
import numpy.typing as npt

from crystalcodec.geometry import lattices_from_cell_parameters, wrap
from crystalcodec.representations import wyckoff_orbits
from crystalcodec.representations.wyckoff_orbits.cells import symmetric_cells
from crystalcodec.representations.wyckoff_orbits.positions import LETTERS, N_SPACE_GROUPS

TABLE = Path(wyckoff_orbits.__file__).with_name("positions.csv")
HEAD = (
    "# Wyckoff positions of the space groups in the standard setting of moyopy, whose Hall number",
    "# stands beside: one point of each, and its multiplicity in the conventional cell.",
)
COLUMNS = ("number", "hall_number", "letter", "multiplicity", "site_symmetry", "coordinates")
SKEW = [10.6, 12.4, 14.5, 83, 97, 104]  # no cell has more symmetry than it is given
NEAR = np.array([*product((-1, 0, 1), repeat=3)], float)
AROUND = np.array([*product((-2, -1, 0, 1, 2), repeat=3)], float)

Floats = npt.NDArray[np.float64]


def main() -> None:
    """Write the table."""
    rows = []
    for number in range(1, N_SPACE_GROUPS + 1):
        found = positions(number)
        for letter in sorted(found, key=LETTERS.index):
            one = found[letter]
            rows.append([number, one.hall_number, letter, one.multiplicity])
            rows[-1] += [one.site_symmetry, one.coordinates]
    with TABLE.open("w", newline="") as file:
        file.write("\n".join(HEAD) + "\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    print(f"{len(rows)} positions in {TABLE}")


def positions(number: int) -> dict[str, Any]:
    """The positions of a group by letter."""
    setting = moyopy.Setting.standard()
    whole = moyopy.operations_from_number(number, setting=setting)
    rotations, shifts = np.array(whole.rotations, float), np.array(whole.translations)
    few = moyopy.operations_from_number(number, setting=setting, primitive=True)
    lattice = lattices_from_cell_parameters(symmetric_cells(np.array([SKEW]), np.array([number])))[
        0
    ]
    rng = np.random.default_rng(0)
    general = [orbit(rng.random(3), rotations, shifts) for _ in range(2)]
    hall = dataset(number, lattice, general).hall_number
    change = np.array(moyopy.HallSymbolEntry(hall_number=hall).centering.linear, float)
    found = {}
    everywhere = (np.zeros((1, 3)), np.zeros(1))
    for matrix, right in [
        *fixed_sets(np.array(few.rotations, float), few.translations),
        everywhere,
    ]:
        free = null_space(matrix)
        point = solution(matrix, right) + free @ rng.random(free.shape[1])
        own = orbit(np.linalg.solve(change, point), rotations, shifts)
        choices = dataset(number, lattice, [*general, own]).normalizer_wyckoff_positions()
        for _, sites in choices.coset_representatives:
            found |= {site.letter: site for site in sites}
    return found


def fixed_sets(rotations: Floats, shifts: Any) -> list[tuple[Floats, Floats]]:
    """Sets of points that some operations leave where they are: matrix and right-hand side."""
    found: dict[Any, tuple[Floats, Floats]] = {}

    def add(matrix: Floats, right: Floats) -> bool:
        point = solution(matrix, right)
        if point is None:
            return False
        free = null_space(matrix)
        off = np.eye(3) - free @ free.T
        # Sets that differ by whole numbers are one: its copy nearest to the origin tells it.
        copies = np.round((point - np.floor(point) + AROUND) @ off.T, 5) + 0.0
        lengths = np.round((copies**2).sum(axis=1), 4)
        copies = copies[lengths == lengths.min()]
        key = (off.round(5).tobytes(), copies[np.lexsort(copies.T[::-1])][0].tobytes())
        if key in found:
            return False
        found[key] = (matrix, right)
        return True

    single = []
    for rotation, shift in zip(rotations, np.array(shifts), strict=True):
        matrix = rotation - np.eye(3)
        if matrix.any():
            single += [(matrix, step - shift) for step in NEAR if add(matrix, step - shift)]
    last = single
    while last:
        joined = []
        for matrix, right in last:
            if null_space(matrix).shape[1]:
                for other, its in single:
                    both = (np.vstack([matrix, other]), np.concatenate([right, its]))
                    joined += [both] if add(*both) else []
        last = joined
    return [*found.values()]


def null_space(matrix: Floats) -> Floats:
    """(3, k) orthonormal columns that the matrix takes to 0."""
    _, sizes, rows = np.linalg.svd(matrix)
    return rows[int((sizes > 1e-8).sum()) :].T


def solution(matrix: Floats, right: Floats) -> Floats | None:
    """A point that the matrix takes to the right-hand side, None where there is none."""
    point = np.linalg.lstsq(matrix, right, rcond=None)[0]
    return point if np.abs(matrix @ point - right).max() < 1e-8 else None


def orbit(point: Floats, rotations: Floats, shifts: Floats) -> Floats:
    """The points of the conventional cell that operations take a point to."""
    points = wrap(rotations @ point + shifts)
    apart = points[:, None] - points
    same = np.abs(apart - np.rint(apart)).max(axis=2) < 1e-6
    return points[same.argmax(axis=1) == np.arange(len(points))]


def dataset(number: int, lattice: Floats, orbits: list[Floats]) -> Any:
    """What moyopy finds of a crystal with an element on each orbit: the group, or an exit."""
    numbers = np.repeat(np.arange(1, len(orbits) + 1), [len(one) for one in orbits])
    cell = moyopy.Cell(lattice.tolist(), np.concatenate(orbits).tolist(), numbers.tolist())
    found = moyopy.MoyoDataset(cell, symprec=1e-4)
    if found.number != number:
        raise SystemExit(f"a crystal made for group {number} has group {found.number}")
    return found


if __name__ == "__main__":
    main()
