"""Distances from each site to its nearest neighbours, averaged (AMD) or row by row (PDD)."""

from crystalcodec.representations.minimum_distances.average import (
    AMD,
    point_packing_coefficients,
)
from crystalcodec.representations.minimum_distances.pointwise import PDD, earth_movers_distance

__all__ = ["AMD", "PDD", "earth_movers_distance", "point_packing_coefficients"]
