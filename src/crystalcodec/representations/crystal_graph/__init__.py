"""Crystal graphs: sites, directed edges with cell shifts, features, angles, and the way back."""

from crystalcodec.representations.crystal_graph.conversions import (
    adjacency_matrices,
    as_batch,
    to_networkx,
)
from crystalcodec.representations.crystal_graph.representation import CrystalGraph

__all__ = ["CrystalGraph", "adjacency_matrices", "as_batch", "to_networkx"]
