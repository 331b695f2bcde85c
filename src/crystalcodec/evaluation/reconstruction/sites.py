"""Sites of a crystal paired with those that they should be: displacements and species."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.base import EvaluationError
from crystalcodec.representations.minimum_images import reduced_cells

__all__ = ["MOST_SITES", "pair_sites", "site_differences"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_SITES: Final = 200
"""Crystals of more sites are not paired: the time grows with the cube of their number."""
# Shifts that are refined, the best ones, and in how many rounds at most.
_REFINED: Final = 8
_ROUNDS: Final = 4
# Sites that a shift is tried with first.
_PROBES: Final = 12
# In units of (V / n)^(2/3): a sum that cannot be improved.
_NOTHING: Final = 1e-12
# Squared, in units of (V / n)^(2/3): what a pair of unlike species costs.
_UNLIKE: Final = 0.25
_STEPS: Final = np.array([*product((-1, 0, 1), repeat=3)], float)


def site_differences(got: Crystals, wanted: Crystals) -> Floats:
    """How far the sites of crystals are from those they should be, each with its like.

    Fractional coordinates are compared in the cell of the wanted crystal, so that the strain of
    the cell does not count. Sites are paired one to one so that the sum over the pairs of the
    squared minimum-image distance plus (0.5 l)^2 for a pair of unlike species is least, where
    l = (V / n)^(1/3) of the wanted crystal, after the rigid shift that makes this sum least is
    removed. Shifts are sought among those that bring one site of the wanted crystal, of its
    rarest species, onto each site of that species in the other one, and no shift at all; the best
    eight are refined to the mean displacement of their pairs.

    Parameters
    ----------
    got, wanted
        n crystals each, in the same setting of the cell.

    Returns
    -------
    (n, 3)
        Mean displacement over the pairs, Å; largest displacement, Å; and the share of sites with
        the right species: pairs of like species over the larger of the two numbers of sites.
        NaN in all three where one of the two has more than :data:`MOST_SITES` sites.

    Raises
    ------
    EvaluationError
        Different numbers of crystals.

    Examples
    --------
    >>> wanted = Crystals.single(4 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [55, 17])
    >>> got = Crystals.single(4 * np.eye(3), [[0.6, 0.5, 0.5], [0, 0, 0]], [17, 55])
    >>> site_differences(got, wanted).round(6).tolist()  # 0.4 Å apart, shared by both sites
    [[0.2, 0.2, 1.0]]
    """
    if len(got) != len(wanted):
        raise EvaluationError(
            f"{len(got)} crystals and {len(wanted)} that they should be: wanted as many"
        )
    out = np.full((len(got), 3), np.nan)
    cells, changes = reduced_cells(wanted.lattices)
    to_reduced = np.linalg.inv(changes)
    for i in range(len(got)):
        one, other = slice(*got.offsets[i : i + 2]), slice(*wanted.offsets[i : i + 2])
        n = max(one.stop - one.start, other.stop - other.start)
        if n > MOST_SITES:
            continue
        found, target = got.numbers[one], wanted.numbers[other]
        rows, columns, vectors = pair_sites(
            got.frac_coords[one] @ to_reduced[i],
            found,
            wanted.frac_coords[other] @ to_reduced[i],
            target,
            cells[i],
        )
        distances = np.linalg.norm(vectors, axis=1)
        right = np.count_nonzero(found[rows] == target[columns])
        out[i] = distances.mean(), distances.max(), right / n
    return out


def pair_sites(
    got: Floats, got_numbers: Ints, wanted: Floats, wanted_numbers: Ints, cell: Floats
) -> tuple[Ints, Ints, Floats]:
    """The pairing of :func:`site_differences` for one crystal.

    Parameters
    ----------
    got, wanted : (n, 3), (m, 3)
        Fractional coordinates in ``cell``.
    got_numbers, wanted_numbers : (n,), (m,)
        Atomic numbers.
    cell : (3, 3)
        Cell vectors in rows, Å, Minkowski-reduced.

    Returns
    -------
    rows, columns : (p,)
        Sites of ``got`` and of ``wanted`` that are paired, p the smaller of n and m.
    vectors : (p, 3)
        Displacements from wanted to got, Å, without the shift.
    """
    length2 = (abs(np.linalg.det(cell)) / len(wanted)) ** (2 / 3)
    unlike = got_numbers[:, None] != wanted_numbers[None, :]
    sites = _Sites(got[:, None, :] - wanted[None, :, :], _UNLIKE * length2 * unlike, cell)
    best = sites.refined(np.zeros(3))
    rounds = []
    for shift in _shifts(got, got_numbers, wanted, wanted_numbers):
        if best.cost < _NOTHING * length2:
            break
        if sites.least(shift, best.cost) < best.cost:
            rounds.append(sites.paired(shift))
            best = min(best, rounds[-1], key=lambda one: one.cost)
    for one in sorted(rounds, key=lambda one: one.cost)[:_REFINED]:
        best = min(best, sites.refined(one.shift), key=lambda one: one.cost)
    return best.rows, best.columns, best.vectors


@dataclass(frozen=True)
class _Pairing:
    """Pairs after a shift, whose mean displacement is then removed as well."""

    cost: float
    rows: Ints
    columns: Ints
    vectors: Floats
    shift: Floats


class _Sites:
    """Sites to be paired: differences (n, m, 3) in a reduced cell and penalties (n, m), Å²."""

    def __init__(self, differences: Floats, penalty: Floats, cell: Floats) -> None:
        self.differences, self.penalty, self.cell = differences, penalty, cell
        self.back = np.linalg.inv(cell)
        # Of a few sites, spread over all.
        n = differences.shape[1]
        self.probes = np.unique(np.linspace(0, n - 1, min(n, _PROBES)).astype(int))

    def paired(self, shift: Floats) -> _Pairing:
        """The best pairs after a shift."""
        from scipy.optimize import linear_sum_assignment

        vectors = _shortest(self.differences - shift, self.cell)
        rows, columns = linear_sum_assignment((vectors**2).sum(axis=2) + self.penalty)
        chosen = vectors[rows, columns]
        mean = chosen.mean(axis=0)
        cost = ((chosen - mean) ** 2).sum() + self.penalty[rows, columns].sum()
        return _Pairing(float(cost), rows, columns, chosen - mean, shift + mean @ self.back)

    def refined(self, shift: Floats) -> _Pairing:
        """Paired and shifted in turn: the sum falls, or it is done."""
        best = self.paired(shift)
        for _ in range(_ROUNDS):
            again = self.paired(best.shift)
            if again.cost >= best.cost * (1 - 1e-9):
                break
            best = again
        return best

    def least(self, shift: Floats, cost: float) -> float:
        """Less than the sum of any pairs near this shift, or some number above ``cost``.

        The shift brings two sites together. Where these are a pair of a sum below ``cost``, the
        best shift is no further away than the root of it, and no distance changes by more.
        """
        if len(self.differences) < self.differences.shape[1]:
            return 0.0  # sites without a partner cost nothing
        vectors = _shortest(self.differences[:, self.probes] - shift, self.cell)
        distances = np.sqrt((vectors**2).sum(axis=2))
        shorter = np.maximum(distances - np.sqrt(cost), 0)
        return float((shorter**2 + self.penalty[:, self.probes]).min(axis=0).sum())


def _shifts(got: Floats, got_numbers: Ints, wanted: Floats, wanted_numbers: Ints) -> Floats:
    """(k, 3) those that bring a site of the rarest species onto each of that species."""
    species, counts = np.unique(got_numbers, return_counts=True)
    shared = np.isin(species, wanted_numbers)
    if shared.any():
        rarest = species[shared][np.argmin(counts[shared])]
        onto, site = got[got_numbers == rarest], wanted[wanted_numbers == rarest][0]
    else:
        onto, site = got, wanted[0]
    return np.asarray(onto - site, float)


def _shortest(differences: Floats, cell: Floats) -> Floats:
    """(..., 3) shortest images of fractional differences, Å, in a Minkowski-reduced cell."""
    vectors = np.asarray((differences - np.rint(differences)) @ cell, float)
    steps = _STEPS[_STEPS.any(axis=1)] @ cell
    halves = (steps**2).sum(axis=1) / 2
    # A step leads nearer where the vector goes more than half of it along it; most steps cannot,
    # from within half a cell.
    reach = np.abs(cell @ steps.T).sum(axis=0) / 2
    useful = reach > halves * (1 + 1e-9)
    far = (vectors @ steps[useful].T > halves[useful]).any(axis=-1)
    images = vectors[far][:, None, :] + _STEPS @ cell
    shortest = np.argmin((images**2).sum(axis=2), axis=1)
    vectors[far] = images[np.arange(len(images)), shortest]
    return vectors
