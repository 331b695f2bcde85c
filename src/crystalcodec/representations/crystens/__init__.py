"""CrysTens, its clean-up and its decoders."""

from crystalcodec.representations.crystens.representation import CrysTens

__all__ = ["CrysTens"]
