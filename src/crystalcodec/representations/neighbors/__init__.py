"""Neighbours of every site of a batch, periodic images and all.

Cells may be thinner than the cut-off, skew, of one atom, left-handed: all images within reach are
found, each once. A crystal's neighbours are the same, bit for bit, in any batch.
"""

from crystalcodec.representations.neighbors.pairs import Neighbors
from crystalcodec.representations.neighbors.selection import (
    nearest_neighbors,
    neighbors_within,
    without_shells,
)

__all__ = ["Neighbors", "nearest_neighbors", "neighbors_within", "without_shells"]
