"""Pairs of neighbouring sites as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Neighbors"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Neighbors:
    """Directed pairs of sites, one row for each periodic image of the second within reach.

    Rows come crystal after crystal, site after site; the function that made them says in which
    order those of one site stand.

    Parameters
    ----------
    centers, neighbors : (n_pairs,)
        Sites of the batch, rows of ``crystals.numbers``.
    images : (n_pairs, 3)
        Whole cell vectors between the neighbour and its image.
    vectors : (n_pairs, 3)
        From the centre to the image, Å: ``(frac[neighbors] + images - frac[centers]) @ lattice``.
    distances : (n_pairs,)
        Their lengths, Å. A site is no neighbour of itself, its images are; two sites in one place
        are neighbours at distance 0.
    offsets : (n + 1,)
        Pairs of crystal ``i`` are ``offsets[i]:offsets[i + 1]``.
    """

    centers: Ints
    neighbors: Ints
    images: Ints
    vectors: Floats
    distances: Floats
    offsets: Ints

    def __len__(self) -> int:
        return len(self.centers)
