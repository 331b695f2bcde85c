"""Graphs for other programs: one joined graph, dense matrices, NetworkX."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from crystalcodec.registry import import_extra
from crystalcodec.representations.base import Encoded, RepresentationError

__all__ = ["adjacency_matrices", "as_batch", "to_networkx"]

Array = npt.NDArray[Any]


def as_batch(encoded: Encoded) -> dict[str, Array]:
    """All graphs as one that is not connected: indices count through the batch.

    Parameters
    ----------
    encoded
        Of :class:`CrystalGraph`.

    Returns
    -------
    dict
        The arrays of ``encoded`` with ``edges`` (site rows), ``angle_edges`` (edge rows) and
        ``anchor_sites`` counted through the batch, and ``site_crystals`` (sites,) and
        ``edge_crystals`` (edges,): the crystal of each row.

    Examples
    --------
    >>> from crystalcodec.representations.crystal_graph import CrystalGraph
    >>> from crystalcodec.testing import sample_crystals
    >>> batch = as_batch(CrystalGraph().encode(sample_crystals(3)))
    >>> int(batch["edges"].max()) + 1 == len(batch["numbers"])
    True
    """
    offsets = _offsets(encoded)
    crystals = np.arange(len(encoded))
    owners = {axis: np.repeat(crystals, np.diff(cuts)) for axis, cuts in offsets.items()}
    batch = dict(encoded.arrays)
    for name, axis, counted in (
        ("edges", "edges", "sites"),
        ("anchor_sites", "parts", "sites"),
        ("angle_edges", "angles", "edges"),
    ):
        if name in batch:
            first = offsets[counted][:-1][owners[axis]]
            batch[name] = batch[name] + first.reshape(-1, *(1,) * (batch[name].ndim - 1))
    batch["site_crystals"], batch["edge_crystals"] = owners["sites"], owners["edges"]
    return batch


def adjacency_matrices(
    encoded: Encoded, *, n_max: int | None = None, distances: bool = False
) -> npt.NDArray[np.float32]:
    """Dense matrices (n, n_max, n_max): how many edges lead from one site to another.

    Parameters
    ----------
    encoded
        Of :class:`CrystalGraph`.
    n_max
        Rows of each; the largest number of sites where None is given. Rows beyond a crystal's
        sites are zero.
    distances
        Å of the shortest edge in place of the number of edges, 0 where there is none.

    Raises
    ------
    RepresentationError
        A crystal of more sites.
    """
    offsets = _offsets(encoded)
    sites = np.diff(offsets["sites"])
    size = int(sites.max(initial=0)) if n_max is None else n_max
    if sites.max(initial=0) > size:
        raise RepresentationError(f"a crystal of {sites.max()} sites, n_max is {size}")
    matrices = np.zeros((len(encoded), size, size), np.float32)
    owner = np.repeat(np.arange(len(encoded)), np.diff(offsets["edges"]))
    source, target = encoded["edges"].T
    if not distances:
        np.add.at(matrices, (owner, source, target), 1.0)
        return matrices
    matrices[owner, source, target] = np.inf
    np.minimum.at(matrices, (owner, source, target), encoded["distances"])
    return matrices


def to_networkx(encoded: Encoded) -> list[Any]:
    """One ``networkx.MultiDiGraph`` a crystal.

    Nodes carry ``number``, edges ``shift``, ``vector`` and ``distance``; features, where there
    are any, are ``features`` of nodes and edges and ``globals`` of the graph, whose ``lattice``
    is there too.

    Raises
    ------
    MissingExtraError
        NetworkX is not installed.
    """
    networkx = import_extra("networkx", "graphs")
    offsets, graphs = _offsets(encoded), []
    for i in range(len(encoded)):
        sites = slice(*offsets["sites"][i : i + 2].tolist())
        edges = slice(*offsets["edges"][i : i + 2].tolist())
        graph = networkx.MultiDiGraph(lattice=encoded["lattice"][i])
        if "globals" in encoded.arrays:
            graph.graph["globals"] = encoded["globals"][i]
        nodes = {"number": encoded["numbers"][sites].tolist()}
        if "node_features" in encoded.arrays:
            nodes["features"] = list(encoded["node_features"][sites])
        for k, values in enumerate(zip(*nodes.values(), strict=True)):
            graph.add_node(k, **dict(zip(nodes, values, strict=True)))
        columns = {
            "shift": [tuple(shift) for shift in encoded["shifts"][edges].tolist()],
            "vector": list(encoded["vectors"][edges]),
            "distance": encoded["distances"][edges].tolist(),
        }
        if "edge_features" in encoded.arrays:
            columns["features"] = list(encoded["edge_features"][edges])
        ends = encoded["edges"][edges].tolist()
        for (source, target), values in zip(ends, zip(*columns.values(), strict=True), strict=True):
            graph.add_edge(source, target, **dict(zip(columns, values, strict=True)))
        graphs.append(graph)
    return graphs


def _offsets(encoded: Encoded) -> dict[str, npt.NDArray[np.int64]]:
    missing = {"sites", "edges"} - {*encoded.offsets}
    if missing:
        raise RepresentationError(
            f"no offsets of the axes {', '.join(sorted(missing))}: give what CrystalGraph encodes"
        )
    return dict(encoded.offsets)
