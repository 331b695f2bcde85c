"""Many-body tensor representation: distributions of distances and angles by elements."""

from crystalcodec.representations.mbtr.representation import MBTR, SparseMBTR

__all__ = ["MBTR", "SparseMBTR"]
