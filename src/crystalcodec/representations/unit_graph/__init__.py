"""Coarse graphs: coordination polyhedra as nodes, joined where they share atoms."""

from crystalcodec.representations.unit_graph.representation import UnitGraph

__all__ = ["UnitGraph"]
