"""Coordination polyhedra of a batch, and which of them share atoms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import ELECTRONEGATIVITIES
from crystalcodec.representations.neighbors import neighbors_within

__all__ = ["Units", "anions_of", "shared_ligands", "units_of"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Units:
    """Units of a batch, rows by unit; a unit is a centre and its ligands.

    Parameters
    ----------
    centers : (n_units,)
        Site of the batch, rising.
    units, sites : (n_ligands,)
        Unit of the batch, rising, and the site that is its ligand.
    shifts : (n_ligands, 3)
        Whole cell vectors between the ligand and its image at the unit.
    vectors, distances : (n_ligands, 3), (n_ligands,)
        From the centre, Å.
    """

    centers: Ints
    units: Ints
    sites: Ints
    shifts: Ints
    vectors: Floats
    distances: Floats


def anions_of(crystals: Crystals, window: float, least_difference: float) -> tuple[Bools, Bools]:
    """Which sites are anions (n_sites_total,), and which crystals have any (n,).

    Sites of an element whose electronegativity lies within ``window`` of the crystal's highest,
    in crystals where highest and lowest differ by ``least_difference`` or more. Elements without
    a tabulated electronegativity are no anions.
    """
    values = np.nan_to_num(ELECTRONEGATIVITIES[crystals.numbers], nan=-1.0)
    starts = crystals.offsets[:-1]
    if not len(starts):
        return np.zeros(0, bool), np.zeros(0, bool)
    highest = np.maximum.reduceat(values, starts)
    lowest = np.minimum.reduceat(np.where(values < 0, np.inf, values), starts)
    ionic = highest - lowest >= least_difference
    owner = crystals.crystal_indices
    anions = ionic[owner] & (values >= highest[owner] - window)
    return anions, ionic


def units_of(
    crystals: Crystals, centers: Bools, ligands: Bools, cutoff: float, factor: float
) -> Units:
    """The units around these sites: ligands up to ``factor`` times the nearest one's distance.

    Parameters
    ----------
    crystals
        Any crystals.
    centers, ligands : (n_sites_total,)
        Which sites may be what.
    cutoff
        Å, the longest distance of a ligand.
    factor
        Times the distance of the nearest ligand, 1 or more.
    """
    near = neighbors_within(crystals, cutoff, order="site")
    kept = np.flatnonzero(centers[near.centers] & ligands[near.neighbors] & (near.distances > 0))
    n_sites = len(crystals.numbers)
    nearest = np.full(n_sites, np.inf)
    np.minimum.at(nearest, near.centers[kept], near.distances[kept])
    # A whole shell counts as within, whatever round-off says.
    kept = kept[near.distances[kept] <= factor * nearest[near.centers[kept]] + 1e-6]
    place = np.cumsum(centers) - 1
    return Units(
        np.flatnonzero(centers),
        place[near.centers[kept]],
        near.neighbors[kept],
        near.images[kept],
        near.vectors[kept],
        near.distances[kept],
    )


def shared_ligands(units: Units) -> tuple[Ints, Ints, Ints]:
    """Pairs of units that share ligands, both ways, by first unit, second unit and shift.

    Returns
    -------
    pairs : (n_pairs, 2)
        Units of the batch.
    shifts : (n_pairs, 3)
        Whole cell vectors between the second unit and its image that shares.
    shared : (n_pairs,)
        Ligands that both have.
    """
    by_site = np.argsort(units.sites, kind="stable")
    sites = units.sites[by_site]
    starts = np.searchsorted(sites, sites, side="left")
    counts = np.searchsorted(sites, sites, side="right") - starts
    first = np.repeat(np.arange(len(sites)), counts)
    within = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    one, other = by_site[first], by_site[starts[first] + within]
    different = one != other
    one, other = one[different], other[different]
    rows = np.concatenate(
        [
            units.units[one][:, None],
            units.units[other][:, None],
            # Both have the same image of the ligand.
            units.shifts[one] - units.shifts[other],
        ],
        axis=1,
    )
    rows = rows[np.lexsort(rows.T[::-1])]
    begins = np.ones(len(rows), bool)
    begins[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    at = np.flatnonzero(begins)
    shared = np.diff(np.append(at, len(rows)))
    return rows[at, :2], rows[at, 2:], shared.astype(np.int64)
