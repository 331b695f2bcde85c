"""What an interatomic potential has learned to see in a crystal, and at each of its sites."""

from crystalcodec.representations.potential_vectors.representation import (
    PotentialVectors,
    SitePotentialVectors,
)

__all__ = ["PotentialVectors", "SitePotentialVectors"]
