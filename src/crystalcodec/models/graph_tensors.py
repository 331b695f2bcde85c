"""Crystal graphs as tensors: plain torch, and PyTorch Geometric."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from crystalcodec.registry import import_extra
from crystalcodec.representations.base import Encoded
from crystalcodec.representations.crystal_graph import as_batch

__all__ = ["graph_tensors", "to_pyg", "to_pyg_batch"]


def graph_tensors(encoded: Encoded, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """All graphs as one of tensors: what ``as_batch`` gives, for any program that knows torch.

    Parameters
    ----------
    encoded
        Of ``CrystalGraph``.
    device
        Where the tensors are wanted.

    Examples
    --------
    >>> from crystalcodec.representations.crystal_graph import CrystalGraph
    >>> from crystalcodec.testing import sample_crystals
    >>> tensors = graph_tensors(CrystalGraph().encode(sample_crystals(3)))
    >>> tensors["edges"].dtype, tensors["vectors"].dtype
    (torch.int64, torch.float32)
    """
    # torch.tensor copies: arrays may be read-only memory maps.
    return {
        name: torch.tensor(np.asarray(a), device=device) for name, a in as_batch(encoded).items()
    }


def to_pyg(encoded: Encoded) -> list[Any]:
    """One ``torch_geometric.data.Data`` a crystal.

    ``z`` atomic numbers, ``edge_index`` (2, edges) with messages from neighbour to centre,
    ``shifts``, ``edge_vectors`` and ``edge_distances``, ``lattice`` (1, 3, 3); where there are
    features ``x``, ``edge_attr`` and ``u`` (1, d); with angles ``angle_edge_index`` (2, angles),
    which a batch of PyTorch Geometric shifts by the number of edges, and ``cosines``.

    Raises
    ------
    MissingExtraError
        PyTorch Geometric is not installed.
    """
    kind = _data_class()
    offsets = {axis: cuts.tolist() for axis, cuts in encoded.offsets.items()}
    return [kind(**_of_one(encoded, offsets, i)) for i in range(len(encoded))]


def to_pyg_batch(encoded: Encoded) -> Any:
    """All crystals as one ``torch_geometric.data.Batch``; see :func:`to_pyg`."""
    data = import_extra("torch_geometric.data", "graphs")
    return data.Batch.from_data_list(to_pyg(encoded))


def _of_one(encoded: Encoded, offsets: dict[str, list[int]], i: int) -> dict[str, Any]:
    def rows(name: str, axis: str) -> torch.Tensor:
        start, stop = offsets[axis][i : i + 2]
        return torch.tensor(np.asarray(encoded[name][start:stop]))

    values = {
        "z": rows("numbers", "sites"),
        "num_nodes": offsets["sites"][i + 1] - offsets["sites"][i],
        # Messages run from the first row to the second: from neighbour to centre.
        "edge_index": rows("edges", "edges").flip(1).T.contiguous(),
        "shifts": rows("shifts", "edges"),
        "edge_vectors": rows("vectors", "edges"),
        "edge_distances": rows("distances", "edges"),
        "lattice": torch.tensor(np.asarray(encoded["lattice"][i : i + 1])),
    }
    for name, array, axis in (
        ("x", "node_features", "sites"),
        ("edge_attr", "edge_features", "edges"),
        ("cosines", "cosines", "angles"),
    ):
        if array in encoded.arrays:
            values[name] = rows(array, axis)
    if "globals" in encoded.arrays:
        values["u"] = torch.tensor(np.asarray(encoded["globals"][i : i + 1]))
    if "angle_edges" in encoded.arrays:
        values["angle_edge_index"] = rows("angle_edges", "angles").T.contiguous()
    return values


def _data_class() -> Any:
    data = import_extra("torch_geometric.data", "graphs")

    class CrystalData(data.Data):  # type: ignore[misc, name-defined]
        """``Data`` whose pairs of edges are counted by edges when graphs are joined."""

        def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
            if key == "angle_edge_index":
                return self.edge_index.shape[1]
            return super().__inc__(key, value, *args, **kwargs)

    return CrystalData
