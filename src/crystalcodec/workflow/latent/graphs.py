"""Codes as a graph: which crystals are near each other, and which to take as parents."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from crystalcodec.io.whole import whole_file
from crystalcodec.registry import did_you_mean
from crystalcodec.workflow.latent.codes import LatentError
from crystalcodec.workflow.latent.windows import Window, in_windows

__all__ = ["METRICS", "LatentGraph", "choose_parents", "latent_graph"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

METRICS: Final = ("euclidean", "tanimoto")
_BLOCK: Final = 1 << 24  # numbers of a part of the matrix of all pairs
_KEYS: Final = {bool: "boolean", int: "long", float: "double", str: "string"}


@dataclass(frozen=True, eq=False)
class LatentGraph:
    """Crystals, and edges between those whose codes are near.

    Parameters
    ----------
    n
        Nodes.
    edges : (m, 2)
        Pairs, the smaller position first, each once, rising.
    weights : (m,)
        Of each edge: distance in units of the code, or Tanimoto coefficient.
    metric
        ``euclidean`` or ``tanimoto``.
    values
        By name, a number or a text of each node.
    """

    n: int
    edges: Ints
    weights: Floats
    metric: str
    values: Mapping[str, Sequence[Any] | npt.NDArray[Any]]

    @property
    def adjacency(self) -> Any:
        """(n, n) sparse, symmetric: 1 where two crystals are near."""
        i, j = self.edges.T
        ones = np.ones(2 * len(self.edges))
        return csr_array(
            (ones, (np.concatenate([i, j]), np.concatenate([j, i]))), shape=(self.n, self.n)
        )

    def degrees(self) -> Ints:
        """(n,) edges of each node."""
        return np.bincount(self.edges.ravel(), minlength=self.n)

    def components(self) -> Ints:
        """(n,) which connected part each node is in, numbered by first appearance."""
        return np.asarray(connected_components(self.adjacency, directed=False)[1], np.int64)

    def records(self) -> dict[str, Any]:
        """Nodes and edges in the node-link form that networkx reads."""
        nodes = [{"id": i, **self._told(i)} for i in range(self.n)]
        pairs = zip(self.edges.tolist(), self.weights.tolist(), strict=True)
        links = [{"source": i, "target": j, "weight": w} for (i, j), w in pairs]
        graph = {"metric": self.metric}
        return {
            "directed": False,
            "multigraph": False,
            "graph": graph,
            "nodes": nodes,
            "edges": links,
        }

    def _told(self, i: int) -> dict[str, Any]:
        told = {}
        for name, column in self.values.items():
            value = column[i]
            value = value.item() if isinstance(value, np.generic) else value
            if not (value is None or (isinstance(value, float) and not np.isfinite(value))):
                told[name] = value
        return told

    def write(self, path: str | Path) -> None:
        """GraphML or JSON, as the name ends; missing values are left out.

        Raises
        ------
        LatentError
            A name that ends in neither.
        """
        path = Path(path)
        if path.suffix == ".json":
            with whole_file(path) as partial:
                partial.write_text(json.dumps(self.records()))
        elif path.suffix == ".graphml":
            with whole_file(path) as partial:
                self._graphml().write(partial, encoding="utf-8", xml_declaration=True)
        else:
            raise LatentError(f"{path}: wanted a name that ends in .graphml or .json")

    def _graphml(self) -> ET.ElementTree[Any]:
        root = ET.Element("graphml", xmlns="http://graphml.graphdrawing.org/xmlns")
        records = self.records()
        kinds: dict[str, str] = {}
        for node in records["nodes"]:
            for name, value in node.items():
                if name != "id":
                    kind = _KEYS.get(type(value), "string")
                    both = {kind, kinds.setdefault(name, kind)}
                    if len(both) > 1:
                        kinds[name] = "double" if both == {"long", "double"} else "string"
        for name, kind in kinds.items():
            # A property may be called weight, too.
            key = {"id": f"node_{name}", "for": "node", "attr.name": name, "attr.type": kind}
            ET.SubElement(root, "key", key)
        weight = {"id": "weight", "for": "edge", "attr.name": "weight", "attr.type": "double"}
        ET.SubElement(root, "key", weight)
        graph = ET.SubElement(root, "graph", id=self.metric, edgedefault="undirected")
        for node in records["nodes"]:
            element = ET.SubElement(graph, "node", id=str(node["id"]))
            for name in kinds:
                if name in node:
                    value = node[name]
                    text = str(value).lower() if isinstance(value, bool) else str(value)
                    ET.SubElement(element, "data", key=f"node_{name}").text = text
        for edge in records["edges"]:
            ends = {"source": str(edge["source"]), "target": str(edge["target"])}
            element = ET.SubElement(graph, "edge", ends)
            ET.SubElement(element, "data", key="weight").text = repr(edge["weight"])
        return ET.ElementTree(root)


def latent_graph(
    codes: npt.ArrayLike,
    *,
    k: int = 10,
    metric: str = "euclidean",
    cutoff: float | None = None,
    values: Mapping[str, Sequence[Any] | npt.NDArray[Any]] | None = None,
) -> LatentGraph:
    """The graph of codes.

    Parameters
    ----------
    codes : (n, ...)
        Of at least two crystals.
    k
        Each node has an edge to its k nearest others, so it may have more edges than k.
    metric
        ``euclidean``; ``tanimoto``, a·b / (a·a + b·b - a·b), 1 for the same code, as published.
    cutoff
        In place of k: an edge wherever the distance is at most this, or the coefficient at least
        this; published (Mal, Seal and Sen, 10.1021/acs.jpclett.4c00068): Tanimoto, 0.4 and 0.8.
    values
        Of the nodes, (n,) each.

    Raises
    ------
    LatentError
        Less than two codes, numbers that are not finite, an unknown metric, k below 1, a cutoff
        that is no distance, values of another length or called ``id``.
    """
    rows = np.asarray(codes, np.float64)
    if rows.ndim < 2 or len(rows) < 2:
        raise LatentError(f"codes of shape {rows.shape}: wanted (n, ...) of at least two crystals")
    rows = rows.reshape(len(rows), -1)
    if not np.isfinite(rows).all():
        raise LatentError("a code holds NaN or infinity: leave such crystals out")
    if metric not in METRICS:
        raise LatentError(f"no metric {metric!r} of codes{did_you_mean(metric, METRICS)}")
    if k < 1:
        raise LatentError(f"k is {k}: wanted at least 1 neighbour")
    if cutoff is not None and not (np.isfinite(cutoff) and (cutoff > 0 or metric == "tanimoto")):
        raise LatentError(f"cutoff is {cutoff:g}: wanted a positive number")
    for name, column in (values or {}).items():
        if name == "id":
            raise LatentError("values called 'id', which is the position of a node: rename them")
        if len(column) != len(rows):
            raise LatentError(f"{len(column)} values of {name!r} for {len(rows)} codes")
    n = len(rows)
    k = min(k, n - 1)
    found, told = [], []
    for start in range(0, n, max(1, _BLOCK // n)):
        part = slice(start, start + max(1, _BLOCK // n))
        near = _nearness(rows[part], rows, metric)
        own = np.arange(len(near))
        near[own, start + own] = -np.inf
        if cutoff is None:
            others = np.argpartition(-near, k - 1, axis=1)[:, :k]
            i = np.repeat(own, k)
            j = others.ravel()
        else:
            least = -cutoff if metric == "euclidean" else cutoff
            i, j = np.nonzero(near >= least)
        found.append(np.stack([start + i, j], axis=1))
        told.append(near[i, j])
    edges, place = np.unique(np.sort(np.concatenate(found), axis=1), axis=0, return_index=True)
    weights = np.concatenate(told)[place]
    weights = np.abs(weights) if metric == "euclidean" else weights
    return LatentGraph(n, edges.astype(np.int64), weights, metric, dict(values or {}))


def _nearness(one: Floats, other: Floats, metric: str) -> Floats:
    """(m, n) larger for nearer: minus the distance, or the coefficient."""
    products = one @ other.T
    squares = np.square(one).sum(1)[:, None] + np.square(other).sum(1)
    if metric == "euclidean":
        return np.asarray(-np.sqrt(np.maximum(squares - 2 * products, 0.0)))
    with np.errstate(invalid="ignore"):
        # Two codes of zeros are the same.
        return np.asarray(np.nan_to_num(products / (squares - products), nan=1.0))


def choose_parents(
    graph: LatentGraph, windows: Sequence[Window], *, neighbourhood: float | None = None
) -> Ints:
    """Nodes to take as parents.

    Parameters
    ----------
    windows
        On values of the nodes; all are to be met.
    neighbourhood
        None: nodes that are in the windows themselves. A share: nodes of which at least this
        part of the neighbours, and at least one, is in them, whether or not they are.

    Raises
    ------
    LatentError
        No window, or one of a value that the nodes do not have; a share outside 0 to 1.
    """
    if not windows:
        raise LatentError("no window: say which property values parents are to have")
    inside = in_windows(windows, _numbers(graph, windows), graph.n)
    if neighbourhood is None:
        return np.flatnonzero(inside)
    if not 0 < neighbourhood <= 1:
        raise LatentError(f"neighbourhood is {neighbourhood:g}: wanted a share above 0, up to 1")
    met = graph.adjacency @ inside.astype(float)
    return np.flatnonzero((met >= 1) & (met >= neighbourhood * graph.degrees() - 1e-9))


def _numbers(graph: LatentGraph, windows: Sequence[Window]) -> dict[str, Floats]:
    found = {}
    for window in windows:
        column = graph.values.get(window.name)
        if column is None:
            known = [*graph.values]
            raise LatentError(
                f"nodes have no values of {window.name!r}{did_you_mean(window.name, known)}"
            )
        try:
            given = [np.nan if value is None else value for value in column]
            found[window.name] = np.asarray(given, np.float64)
        except (TypeError, ValueError):
            raise LatentError(f"{window.name!r} is not a number: it has no windows") from None
    return found
