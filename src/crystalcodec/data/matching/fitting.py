"""pymatgen's StructureMatcher on arrays: the same steps, without a new object in each of them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.data.matching.cells import Cell
from crystalcodec.data.matching.tolerances import Tolerances
from crystalcodec.geometry import lattices_from_cell_parameters

__all__ = ["Fitter"]

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Angles held at once.
_AT_ONCE: Final = 1_000_000
_SLACK: Final = 1e-6
# Shifts that are quicker tried one by one.
_FEW: Final = 12


class Fitter:
    """Whether one cell can be laid over another; ``StructureMatcher.fit`` for reduced cells.

    With ``primitive_cell`` and ``scale``, without ``attempt_supercell`` and ``allow_subset``, as
    its defaults are.

    Parameters
    ----------
    tolerances
        See there.
    """

    def __init__(self, tolerances: Tolerances) -> None:
        self.tolerances = tolerances
        self._mask: Array = np.zeros((0, 0), np.int64)
        self._kind: bytes = b""

    def fit(self, one: Cell, other: Cell) -> bool:
        """Whether the crystals are the same, as ``StructureMatcher.fit(one, other)`` says."""
        from pymatgen.util.coord_cython import is_coord_subset_pbc

        found = self._mappings(one, other) if one.kind == other.kind else None
        if found is None:
            return False
        inverses, averages = found
        stol, mask = self.tolerances.stol, self._mask_of(one)
        coords = one.frac_coords @ inverses
        coords -= np.floor(coords)
        scales = (np.abs(np.linalg.det(averages)) / len(one.numbers)) ** (1 / 3)
        # Twice the tolerance along each axis: the sites that were put onto each other may be off.
        boxes = 2 * stol * scales[:, None] * np.linalg.norm(np.linalg.inv(averages), axis=1)
        shifts = coords[:, other.images] - other.frac_coords[other.rarest]
        exact: dict[bytes, _Exact] = {}
        for m, shift in zip(*_possible(coords, boxes, other, shifts), strict=True):
            shifted = other.frac_coords + shift
            if not is_coord_subset_pbc(shifted, coords[m], boxes[m], mask):
                continue
            # Mappings by the symmetry of a lattice have one mean.
            name = (averages[m].round(9) + 0.0).tobytes()
            if name not in exact:
                exact[name] = _Exact(averages[m], stol * scales[m])
            if exact[name].within(coords[m], shifted, mask):
                return True
        return False

    def _mask_of(self, cell: Cell) -> Array:
        """(n, n) 1 where two sites have different elements; the same for cells of one kind."""
        if cell.kind != self._kind:
            self._kind = cell.kind
            self._mask = (cell.numbers[:, None] != cell.numbers).astype(np.int64)
        return self._mask

    def _mappings(self, one: Cell, other: Cell) -> tuple[Floats, Floats] | None:
        """Cells of the first lattice that are like that of the other crystal.

        Returns
        -------
        inverses (m, 3, 3)
            Coordinates in the cell of ``one`` times these are those in the cell like the other.
        averages (m, 3, 3)
            Lattices of the mean lengths and angles of both, the likest first.
        """
        ltol, atol = self.tolerances.ltol, self.tolerances.angle_tol
        steps, vectors, lengths = one.points(float(other.lengths.max()) * (1 + ltol))
        low = np.searchsorted(lengths, other.lengths / (1 + ltol), "right")
        high = np.searchsorted(lengths, other.lengths * (1 + ltol), "left")
        if np.any(low >= high):
            return None
        directions = vectors / lengths[:, None]
        triples = _triples(directions, low, high, other.angles, atol)
        chosen = steps[triples]
        triples = triples[np.abs(np.rint(np.linalg.det(chosen))) == 1]
        if not len(triples):
            return None
        parameters = np.concatenate([lengths[triples], _angles(directions[triples])], axis=1)
        wanted = np.concatenate([other.lengths, other.angles])
        averages = lattices_from_cell_parameters((parameters + wanted) / 2)
        # Mean angles may close no cell; nothing is laid over there.
        closed = np.abs(np.linalg.det(averages)) > _SLACK
        off = np.abs(parameters - wanted) @ [*3 * [1 / ltol], *3 * [1 / atol]]
        order = np.argsort(off, kind="stable")
        order = order[closed[order]]
        return np.rint(np.linalg.inv(steps[triples[order]])), averages[order]


class _Exact:
    """Distances of sites on one lattice, once the boxes of the tolerance hold them.

    Parameters
    ----------
    lattice : (3, 3)
        The mean of both.
    largest
        Distance that a site may be off.
    """

    def __init__(self, lattice: Floats, largest: float) -> None:
        from pymatgen.core import Lattice

        self.lattice = Lattice(lattice)
        self.largest = largest
        reciprocal = np.linalg.norm(np.linalg.inv(self.lattice.lll_matrix), axis=0)
        self.box = 2 * largest * reciprocal

    def within(self, sites: Floats, others: Floats, mask: Array) -> bool:
        """Whether each of the others has a site of its own near enough, after one shift of all.

        The sites are those of the least sum of squared distances, and the shift the mean of what
        they are off.
        """
        from pymatgen.util.coord_cython import pbc_shortest_vectors
        from scipy.optimize import linear_sum_assignment

        vectors, squares = pbc_shortest_vectors(
            self.lattice, others, sites, mask, return_d2=True, lll_frac_tol=self.box
        )
        chosen = vectors[linear_sum_assignment(squares)]
        off = chosen - chosen.mean(axis=0)
        return bool((off * off).sum(axis=1).max() < self.largest**2)


def _possible(coords: Floats, boxes: Floats, other: Cell, shifts: Floats) -> tuple[Ints, Floats]:
    """Mappings and shifts that may lay the other cell over the first one.

    Most fail at one of their first sites: where there are many, they are looked at together, site
    after site, those of rare elements first.

    Parameters
    ----------
    coords (m, n, 3), boxes (m, 3)
        Of the first cell in each mapping, and the tolerance there.
    shifts (m, k, 3)
        Of the other cell.
    """
    mappings = np.repeat(np.arange(len(coords)), shifts.shape[1])
    shifts = shifts.reshape(-1, 3)
    counts = np.bincount(other.numbers)[other.numbers]
    for site in np.argsort(counts, kind="stable").tolist():
        if len(shifts) <= _FEW:
            break
        if site == other.rarest:
            continue
        alike = np.flatnonzero(other.numbers == other.numbers[site])
        off = (other.frac_coords[site] + shifts)[:, None] - coords[mappings[:, None], alike]
        off -= np.rint(off)
        found = (np.abs(off) <= boxes[mappings, None]).all(axis=2).any(axis=1)
        mappings, shifts = mappings[found], shifts[found]
    return mappings, shifts


def _triples(directions: Floats, low: Ints, high: Ints, angles: Floats, tolerance: float) -> Ints:
    """(t, 3) directions a, b, c, each from its range, with the angles alpha, beta, gamma."""
    a, b, c = (directions[i:j] for i, j in zip(low, high, strict=True))
    alpha_beta = [
        np.abs(_angle(side @ c.T) - wanted) <= tolerance
        for side, wanted in zip((b, a), angles[:2], strict=True)
    ]
    found = []
    step = max(1, _AT_ONCE // len(b))
    for start in range(0, len(a), step):
        near = np.abs(_angle(a[start : start + step] @ b.T) - angles[2]) <= tolerance
        i, j = np.nonzero(near)
        i += start
        pair, k = np.nonzero(alpha_beta[1][i] & alpha_beta[0][j])
        found.append(np.stack([i[pair], j[pair], k], axis=1))
    return np.concatenate(found) + low


def _angles(directions: Floats) -> Floats:
    """(t, 3) alpha, beta, gamma in degrees of (t, 3, 3) unit vectors a, b, c."""
    a, b, c = directions.transpose(1, 0, 2)
    return _angle(np.stack([(b * c).sum(1), (a * c).sum(1), (a * b).sum(1)], axis=1))


def _angle(cosines: Floats) -> Floats:
    return np.asarray(np.degrees(np.arccos(np.clip(cosines, -1, 1))), np.float64)
