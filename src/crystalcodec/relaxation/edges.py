"""Pairs of near sites as networks take them, and what their slopes say of sites and cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.representations.neighbors import Neighbors, neighbors_within

__all__ = ["MOST_TRIPLES", "Strains", "crowded", "lonely", "pairs_within", "strains_of"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_TRIPLES: Final = 1e7
"""Sites, times the square of the neighbours of each: CHGNet needs 3 GB for their angles."""


@dataclass(frozen=True)
class Strains:
    """Forces and stresses that slopes of the energy along edges add up to.

    Parameters
    ----------
    forces : (n_sites_total, 3)
        eV/Å.
    stresses : (n, 3, 3)
        eV/Å³, symmetric.
    """

    forces: Floats
    stresses: Floats


def pairs_within(crystals: Crystals, cutoff: float) -> Neighbors:
    """Directed pairs of sites up to ``cutoff`` Å, by centre, neighbour and image."""
    return neighbors_within(crystals, cutoff, order="site")


def crowded(crystals: Crystals, cutoff: float, most_pairs: float) -> list[Failure]:
    """Crystals so dense or large that their pairs, or the angles between them, fill the memory."""
    expected = crystals.n_sites * (4 / 3 * np.pi * cutoff**3) / crystals.volumes
    many = crystals.n_sites * expected > most_pairs
    many |= crystals.n_sites * expected**2 > MOST_TRIPLES
    return [
        Failure(
            i,
            "too many neighbours",
            f"{crystals.n_sites[i]} sites in {crystals.volumes[i]:.3g} Å³, about "
            f"{expected[i]:.0f} within {cutoff:g} Å of each: more than the memory is sure to hold",
        )
        for i in np.flatnonzero(many).tolist()
    ]


def lonely(crystals: Crystals, pairs: Neighbors, cutoff: float) -> list[Failure]:
    """Crystals with a site that no other is near: a network knows nothing but its element."""
    counts = np.bincount(pairs.centers, minlength=len(crystals.numbers))
    alone = np.add.reduceat(counts == 0, crystals.offsets[:-1], dtype=np.int64)
    return [
        Failure(i, "isolated atoms", f"{alone[i]} sites without another within {cutoff:g} Å")
        for i in np.flatnonzero(alone).tolist()
    ]


def strains_of(crystals: Crystals, pairs: Neighbors, slopes: Floats) -> Strains:
    """Forces and stresses of the energy's slopes (n_pairs, 3) along each pair's vector, eV/Å.

    A vector runs from centre to neighbour, so that its slope pulls at both ends; strained by
    ``e`` it becomes ``vector (1 + e)``, and the stress is the slope with respect to ``e`` over
    the volume, made symmetric: energies do not change when a crystal is turned.
    """
    n_sites, n = len(crystals.numbers), len(crystals)
    forces = np.stack(
        [
            np.bincount(pairs.centers, slopes[:, k], minlength=n_sites)
            - np.bincount(pairs.neighbors, slopes[:, k], minlength=n_sites)
            for k in range(3)
        ],
        axis=1,
    )
    owner = np.repeat(np.arange(n), np.diff(pairs.offsets))
    virials = np.empty((n, 3, 3))
    for a in range(3):
        for b in range(3):
            virials[:, a, b] = np.bincount(owner, pairs.vectors[:, a] * slopes[:, b], minlength=n)
    virials = (virials + virials.transpose(0, 2, 1)) / 2
    return Strains(forces, virials / crystals.volumes[:, None, None])
