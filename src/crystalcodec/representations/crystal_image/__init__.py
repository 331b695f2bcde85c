"""crystal_image, a picture that survives noise."""

from crystalcodec.representations.crystal_image.representation import CrystalImage, canonical_order

__all__ = ["CrystalImage", "canonical_order"]
