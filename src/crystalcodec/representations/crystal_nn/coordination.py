"""Which neighbours bond to a site, and how likely each coordination number is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import ELECTRONEGATIVITIES
from crystalcodec.representations.crystal_nn.voronoi import Faces

__all__ = ["COVALENT_RADII", "Coordination", "coordination"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# fmt: off
COVALENT_RADII: Final = np.array([
    0.0, 0.31, 0.28, 1.28, 0.96, 0.84, 0.73, 0.71, 0.66, 0.57, 0.58, 1.66, 1.41, 1.21, 1.11,
    1.07, 1.05, 1.02, 1.06, 2.03, 1.76, 1.7, 1.6, 1.53, 1.39, 1.5, 1.42, 1.38, 1.24, 1.32,
    1.22, 1.22, 1.2, 1.19, 1.2, 1.2, 1.16, 2.2, 1.95, 1.9, 1.75, 1.64, 1.54, 1.47, 1.46, 1.42,
    1.39, 1.45, 1.44, 1.42, 1.39, 1.39, 1.38, 1.39, 1.4, 2.44, 2.15, 2.07, 2.04, 2.03, 2.01,
    1.99, 1.98, 1.98, 1.96, 1.94, 1.92, 1.92, 1.89, 1.9, 1.87, 1.87, 1.75, 1.7, 1.62, 1.51,
    1.44, 1.41, 1.36, 1.36, 1.32, 1.45, 1.46, 1.48, 1.4, 1.5, 1.5, 2.6, 2.21, 2.15, 2.06, 2.0,
    1.96, 1.9, 1.87, 1.8, 1.69,
])
# fmt: on
"""Å, by atomic number up to curium (Cordero et al., 10.1039/b801115j); row 0 is no element."""
COVALENT_RADII.flags.writeable = False

# Bonds longer than the covalent radii by the first, Å, count for less, by the second for nothing.
_BOND_LIMITS: Final = (0.5, 1.0)
_ELECTRONEGATIVITY_WEIGHT: Final = 3.0
# The largest difference of electronegativity of two elements, as published.
_LARGEST_DIFFERENCE: Final = 3.3
_DECIMALS: Final = 3
# Weights that differ by less, relatively, are of neighbours in the same rank.
_TIE: Final = 1e-13


@dataclass(frozen=True)
class Coordination:
    """Neighbours of each site, the heaviest first, and its coordination numbers.

    Parameters
    ----------
    vectors : (n_bonds, 3)
        From the site to each neighbour of a weight above zero, Å, site after site.
    ranks : (n_bonds,)
        Neighbours of one site with the same rank have the same weight, to rounding.
    starts : (n_sites_total + 1,)
        Bonds of each site.
    sites, numbers : (n_levels,)
        For each coordination number that a site may have, the site and the number: these are its
        first neighbours.
    weights : (n_levels,)
        How likely it is; what is missing to 1 is likelihood of no neighbour.
    """

    vectors: Floats
    ranks: Ints
    starts: Ints
    sites: Ints
    numbers: Ints
    weights: Floats


def coordination(crystals: Crystals, faces: Faces) -> Coordination:
    """The coordination numbers of all sites, from the faces of their Voronoi cells."""
    n_sites = len(crystals.numbers)
    weights = _weights(crystals, faces)
    order = np.lexsort((-weights, faces.centers))
    weights, centers, vectors = weights[order], faces.centers[order], faces.vectors[order]
    rounded = np.round(weights, _DECIMALS)
    kept = rounded > 0
    weights, rounded = weights[kept], rounded[kept]
    centers, vectors = centers[kept], vectors[kept]

    same_site = centers[1:] == centers[:-1]
    apart = weights[:-1] - weights[1:] > _TIE * weights[:-1]
    ranks = np.cumsum(np.r_[False, ~same_site | apart]) if len(centers) else np.zeros(0, np.int64)
    starts = np.searchsorted(centers, np.arange(n_sites + 1)).astype(np.int64)
    # A level ends where the rounded weight falls; all neighbours up to there count.
    ends = np.r_[~same_site | (rounded[1:] != rounded[:-1]), True][: len(centers)]
    last = np.flatnonzero(ends)
    sites = centers[last]
    below = np.zeros(len(last))
    if len(last):
        below[:-1] = np.where(sites[1:] == sites[:-1], rounded[last[1:]], 0.0)
    likely = (_quarter_circle(rounded[last]) - _quarter_circle(below)) / (np.pi / 4)
    return Coordination(vectors, ranks, starts, sites, last + 1 - starts[sites], likely)


def _weights(crystals: Crystals, faces: Faces) -> Floats:
    """(n_faces,) how much each face counts as a bond, from 0 to 1."""
    n_sites = len(crystals.numbers)
    one, other = crystals.numbers[faces.centers], crystals.numbers[faces.neighbors]
    largest = _largest(faces.angles, faces.centers, n_sites)
    # Solid angle over area tells far faces of open structures from near ones.
    small = (faces.areas <= 0) | (faces.angles <= 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = faces.angles / largest * faces.angles / faces.areas
    weights[small] = 0.0
    difference = np.abs(ELECTRONEGATIVITIES[one] - ELECTRONEGATIVITIES[other])
    chemical = 1 + _ELECTRONEGATIVITY_WEIGHT * np.sqrt(difference / _LARGEST_DIFFERENCE)
    weights *= np.where(np.isnan(chemical), 1.0, chemical)
    highest = _largest(weights, faces.centers, n_sites)
    weights = np.where(highest > 0, weights / np.where(highest > 0, highest, 1.0), 0.0)
    near, far = (COVALENT_RADII[one] + COVALENT_RADII[other] + limit for limit in _BOND_LIMITS)
    phase = np.clip((faces.distances - near) / (far - near), 0.0, 1.0)
    return np.asarray(weights * ((np.cos(phase * np.pi) + 1) * 0.5), float)


def _largest(values: Floats, centers: Ints, n_sites: int) -> Floats:
    """For each face the largest value of a face of its site."""
    largest = np.zeros(n_sites)
    np.maximum.at(largest, centers, values)
    return largest[centers]


def _quarter_circle(x: Floats) -> Floats:
    """Area of the unit quarter circle from 0 to x."""
    return np.asarray(0.5 * (x * np.sqrt(1 - x * x) + np.arcsin(x)), float)
