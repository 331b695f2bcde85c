"""Features of edges and of whole crystals, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import ELECTRONEGATIVITIES, MAX_ATOMIC_NUMBER, SYMBOLS
from crystalcodec.representations.neighbors import Neighbors

__all__ = [
    "EDGE_FEATURES",
    "GLOBAL_FEATURES",
    "EdgeContext",
    "edge_columns",
    "global_columns",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EdgeContext:
    """What edge features are computed from.

    Parameters
    ----------
    near
        The edges.
    numbers
        Atomic numbers of all sites.
    centers : (k,)
        Of the Gaussians, Å.
    step
        Å, their width.
    cutoff
        Å.
    """

    near: Neighbors
    numbers: npt.NDArray[np.int64]
    centers: Floats
    step: float
    cutoff: float


def _gaussians(edges: EdgeContext) -> Floats:
    """As CGCNN: width as step."""
    scaled = (edges.near.distances[:, None] - edges.centers) / edges.step
    return np.asarray(np.exp(-(scaled**2)), float)


def _directions(edges: EdgeContext) -> Floats:
    lengths = edges.near.distances
    return edges.near.vectors / np.where(lengths > 0, lengths, 1.0)[:, None]


def _weights(edges: EdgeContext) -> Floats:
    """1 at no distance, 0 from the cut-off on, smooth between."""
    inside = np.minimum(edges.near.distances / edges.cutoff, 1.0)
    return np.asarray(0.5 * (1 + np.cos(np.pi * inside)), float)[:, None]


def _electronegativity_differences(edges: EdgeContext) -> Floats:
    values = ELECTRONEGATIVITIES[edges.numbers]
    return np.asarray(values[edges.near.neighbors] - values[edges.near.centers], float)[:, None]


EDGE_FEATURES: Final[
    Mapping[str, tuple[Callable[[EdgeContext], Floats], Callable[[Floats], list[str]]]]
] = {
    "distance": (lambda e: e.near.distances[:, None], lambda _: ["distance"]),
    "gaussians": (_gaussians, lambda centers: [f"gaussian_{c:.6g}" for c in centers]),
    "direction": (_directions, lambda _: ["direction_x", "direction_y", "direction_z"]),
    "cutoff_weight": (_weights, lambda _: ["cutoff_weight"]),
    "electronegativity_difference": (
        _electronegativity_differences,
        lambda _: ["electronegativity_difference"],
    ),
}
"""Features of an edge: how to compute (n_edges, d), and the names of the d columns."""

GLOBAL_FEATURES: Final[Mapping[str, tuple[Callable[[Crystals], Floats], tuple[str, ...]]]] = {
    "composition": (
        lambda c: c.element_counts[:, 1:] / c.n_sites[:, None],
        tuple(f"fraction_{symbol}" for symbol in SYMBOLS[1 : MAX_ATOMIC_NUMBER + 1]),
    ),
    "volume_per_atom": (lambda c: (c.volumes / c.n_sites)[:, None], ("volume_per_atom",)),
    "density": (lambda c: c.densities[:, None], ("density",)),
    "lattice_parameters": (
        lambda c: c.cell_parameters,
        ("a", "b", "c", "alpha", "beta", "gamma"),
    ),
    "n_sites": (lambda c: c.n_sites[:, None].astype(float), ("n_sites",)),
}
"""Features of a crystal: how to compute (n, d), and the names of the d columns."""


def edge_columns(names: tuple[str, ...], edges: EdgeContext) -> npt.NDArray[np.float32]:
    """(n_edges, d) the named features side by side."""
    parts = [EDGE_FEATURES[name][0](edges).astype(np.float32) for name in names]
    return np.concatenate(parts, axis=1)


def global_columns(names: tuple[str, ...], crystals: Crystals) -> npt.NDArray[np.float32]:
    """(n, d) the named features side by side."""
    if not len(crystals):
        width = sum(len(GLOBAL_FEATURES[name][1]) for name in names)
        return np.zeros((0, width), np.float32)
    parts = [GLOBAL_FEATURES[name][0](crystals).astype(np.float32) for name in names]
    return np.concatenate(parts, axis=1)
