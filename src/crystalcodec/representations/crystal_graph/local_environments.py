"""Edges by pymatgen's analysis of local environments: Voronoi cells and CrystalNN.

One crystal at a time, as pymatgen works: tens of milliseconds each. What pymatgen cannot analyse
is a failure with its message.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.geometry import transform
from crystalcodec.io import to_pymatgen
from crystalcodec.representations.neighbors import Neighbors

__all__ = ["environments"]

Ints = npt.NDArray[np.int64]


def environments(
    crystals: Crystals, rule: Literal["voronoi", "crystal_nn"]
) -> tuple[Neighbors, list[Failure]]:
    """Neighbours of every site of the crystals that can be analysed, and why others cannot.

    Parameters
    ----------
    crystals
        Any crystals.
    rule
        ``voronoi``: sites whose Voronoi cells share a face with the site's (faces of no area
        count as none: pymatgen's ``VoronoiNN(tol=0)``). ``crystal_nn``: the shell that pymatgen's
        ``CrystalNN`` finds most likely, with the parameters it comes with.

    Returns
    -------
    neighbors, failures
        Crystals that failed have no rows. Rows of a site stand by neighbour, then image.
    """
    from pymatgen.analysis.local_env import CrystalNN, VoronoiNN

    method = VoronoiNN(tol=0, compute_adj_neighbors=False) if rule == "voronoi" else CrystalNN()
    failures: list[Failure] = []
    rows: list[Ints] = [np.zeros((0, 5), np.int64)]
    for i, start in enumerate(crystals.offsets[:-1].tolist()):
        try:
            found = _of_one(method, crystals[i])
        except (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError) as error:
            # A TypeError where pymatgen has no radius of an element, and adds it none the less.
            said = " ".join(str(error).split())[:200] or type(error).__name__
            failures.append(Failure(i, "no local environment", f"{rule}: {said}"))
            continue
        found[:, :2] += start
        rows.append(found)
    table = np.concatenate(rows)
    centers, neighbors, images = table[:, 0], table[:, 1], table[:, 2:]
    owner = crystals.crystal_indices[centers]
    coords = crystals.frac_coords
    vectors = transform(coords[neighbors] - coords[centers] + images, crystals.lattices[owner])
    counts = np.bincount(owner, minlength=len(crystals))
    return Neighbors(
        centers,
        neighbors,
        images,
        vectors,
        np.sqrt((vectors * vectors).sum(axis=1)),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    ), failures


def _of_one(method: Any, crystal: Crystals) -> Ints:
    """(m, 5) centre, neighbour and image of each edge of a crystal, in rising order."""
    (structure,) = to_pymatgen(crystal)
    with warnings.catch_warnings():
        # CrystalNN asks for oxidation states, which crystals here do not have.
        warnings.simplefilter("ignore")
        found = [method.get_nn_info(structure, i) for i in range(len(structure))]
    rows = [
        (center, one["site_index"], *(round(x) for x in one["image"]))
        for center, near in enumerate(found)
        for one in near
    ]
    return np.array(sorted(set(rows)), np.int64).reshape(-1, 5)
