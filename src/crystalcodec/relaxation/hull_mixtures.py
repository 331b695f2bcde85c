"""The mixture of phases of the lowest energy, for many compositions at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["Mixtures", "lowest_mixtures", "system_bits"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_GAIN: Final = 1e-11
"""eV/atom; a mixture that no exchange makes lower by more is the lowest."""
_PIVOT: Final = 1e-9
_AT_ONCE: Final = 2_000_000
"""Numbers in one array: 16 MB."""


@dataclass(frozen=True)
class Mixtures:
    """The lowest mixture for each of n compositions.

    Parameters
    ----------
    energies : (n,)
        eV/atom.
    phases : (n, k)
        Which phases, k being the most elements of any composition: the row of a phase, the
        number of phases plus the column for a pure element, and -1 for none.
    fractions : (n, k)
        Share of the atoms in each.
    """

    energies: Floats
    phases: Ints
    fractions: Floats


def lowest_mixtures(compositions: Floats, phases: Floats, energies: Floats) -> Mixtures:
    """For each composition the mixture of phases and pure elements of the lowest energy.

    A linear programme each: the lowest sum of ``fractions * energies`` with fractions of 0 or
    more whose mixture has the composition. The simplex method solves all of one number of
    elements together, from the pure elements on, which are always a mixture; it stops where no
    exchange of a phase lowers the energy.

    Parameters
    ----------
    compositions : (n, e)
        Share of each of e elements among the atoms; the rows add up to 1.
    phases : (m, e)
        The same of the phases.
    energies : (m,)
        Of the phases, eV/atom, from pure elements of 0.
    """
    present = compositions > 0
    n_elements = present.sum(axis=1)
    width = int(n_elements.max(initial=0))
    found = Mixtures(
        np.zeros(len(compositions)),
        np.full((len(compositions), width), -1, np.int64),
        np.zeros((len(compositions), width)),
    )
    starts, candidates, system_of = _candidates(system_bits(present), system_bits(phases > 0))
    counts = np.diff(starts)[system_of]
    for rows in _batches(n_elements, counts):
        k = int(n_elements[rows[0]])
        columns = np.nonzero(present[rows])[1].reshape(len(rows), k)
        widest = int(counts[rows].max())
        near = np.arange(widest)
        there = near < counts[rows][:, None]
        # Rows of fewer candidates are filled with one that is never chosen.
        at = np.minimum(starts[system_of[rows]][:, None] + near, max(len(candidates) - 1, 0))
        chosen = candidates[at] if len(candidates) else at
        costs = np.where(there, energies[chosen], np.inf) if widest else np.zeros(chosen.shape)
        offered = phases[chosen[:, :, None], columns[:, None, :]]
        basis, fractions, values = _simplex(
            np.take_along_axis(compositions[rows], columns, axis=1), offered, costs
        )
        pure = basis >= widest
        names = np.take_along_axis(columns, np.where(pure, basis - widest, 0), axis=1)
        names += len(phases)
        if widest:
            inside = np.take_along_axis(chosen, np.where(pure, 0, basis), axis=1)
            names = np.where(pure, names, inside)
        found.energies[rows] = values
        found.phases[rows[:, None], np.arange(k)] = names
        found.fractions[rows[:, None], np.arange(k)] = fractions
    return found


def system_bits(present: Bools) -> Words:
    """(n, w) which elements are there, as bits of words."""
    packed = np.packbits(present, axis=1)
    wide = np.zeros((len(packed), -(-packed.shape[1] // 8) * 8), np.uint8)
    wide[:, : packed.shape[1]] = packed
    return wide.view(np.uint64)


def _candidates(wanted: Words, offered: Words) -> tuple[Ints, Ints, Ints]:
    """Phases of no other elements: by distinct system from ``starts[i]``, and each row's system."""
    systems, system_of = np.unique(wanted, axis=0, return_inverse=True)
    counts, members = [np.zeros(1, np.int64)], [np.zeros(0, np.int64)]
    size = max(1, _AT_ONCE // max(len(offered), 1))
    for start in range(0, len(systems), size):
        others = ~systems[start : start + size]
        inside = np.ones((len(others), len(offered)), bool)
        for word in range(wanted.shape[1]):
            inside &= (offered[:, word] & others[:, None, word]) == 0
        counts.append(inside.sum(axis=1))
        members.append(np.nonzero(inside)[1])
    starts = np.cumsum(np.concatenate(counts))
    return starts, np.concatenate(members), np.asarray(system_of, np.int64).reshape(-1)


def _batches(n_elements: Ints, counts: Ints) -> Iterator[Ints]:
    """Rows of one number of elements and about as many candidates, as the memory holds."""
    order = np.lexsort((counts, n_elements))
    order = order[n_elements[order] > 0]
    bounds = np.flatnonzero(np.diff(n_elements[order])) + 1
    for rows in np.split(order, bounds):
        start = 0
        while start < len(rows):
            k, most = int(n_elements[rows[start]]), counts[rows[start:]]
            fits = np.arange(1, len(most) + 1) * np.maximum(most, 1) * k <= _AT_ONCE
            stop = start + max(1, int(fits.sum()))
            yield rows[start:stop]
            start = stop


def _simplex(wanted: Floats, offered: Floats, costs: Floats) -> tuple[Ints, Floats, Floats]:
    """Phases (q, k), their fractions (q, k) and energies (q,) of the lowest mixtures.

    Parameters
    ----------
    wanted : (q, k)
        Compositions, all above 0.
    offered : (q, m, k)
        Compositions of the phases offered to each; number m + i is the pure element i.
    costs : (q, m)
        eV/atom; infinite for what is not offered.
    """
    q, k = wanted.shape
    m = costs.shape[1]
    held = np.broadcast_to(np.eye(k), (q, k, k)).copy()
    prices = np.zeros((q, k))
    basis = np.broadcast_to(m + np.arange(k), (q, k)).copy()
    # A pure element that was used up may come back.
    offered = np.concatenate([offered, held], axis=1)
    costs = np.concatenate([costs, prices], axis=1)
    open_ = np.arange(q) if m else np.zeros(0, np.int64)
    step = 0
    while len(open_):
        inverse = np.linalg.inv(held[open_])
        potentials = np.einsum("qij,qj->qi", inverse, prices[open_])
        gains = costs[open_] - np.einsum("qmk,qk->qm", offered[open_], potentials)
        # Equal steps could lead around in a circle; the first that helps, after a while, cannot.
        entering = gains.argmin(axis=1) if step < 20 * k else (gains < -_GAIN).argmax(axis=1)
        going = np.take_along_axis(gains, entering[:, None], axis=1)[:, 0] < -_GAIN
        open_, entering, inverse = open_[going], entering[going], inverse[going]
        leaving = _leaving(
            np.einsum("qi,qij->qj", wanted[open_], inverse),
            np.einsum("qi,qij->qj", offered[open_, entering], inverse),
        )
        held[open_, leaving] = offered[open_, entering]
        prices[open_, leaving] = costs[open_, entering]
        basis[open_, leaving] = entering
        step += 1
    fractions = np.einsum("qi,qij->qj", wanted, np.linalg.inv(held)).clip(min=0)
    return basis, fractions, (fractions * prices).sum(axis=1)


def _leaving(fractions: Floats, directions: Floats) -> Ints:
    """Which phase is used up first; of several the one that the new phase replaces the most."""
    steps = np.full(fractions.shape, np.inf)
    np.divide(fractions.clip(min=0), directions, out=steps, where=directions > _PIVOT)
    first = steps.min(axis=1, keepdims=True)
    return np.asarray(np.where(steps <= first + 1e-12, directions, -np.inf).argmax(axis=1))
